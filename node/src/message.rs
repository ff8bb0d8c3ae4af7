//! A message as an application reads it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use djembe_protocol::id::{Lane, MessageId, PeerId};
use djembe_protocol::io::Delivered;
use djembe_protocol::message::Body;

/// A message that was received, decrypted, and found to be its author's. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Message {
    pub(crate) envelope: Arc<Delivered>,
    pub(crate) index: u16,
    pub(crate) group: Arc<str>,
    pub(crate) is_own: bool,
}

impl Message {
    fn inner(&self) -> &Body {
        &self.envelope.messages[usize::from(self.index)]
    }

    /// Its id: author, lane, number of its envelope, place in it. Never used twice within a group.
    pub fn id(&self) -> MessageId {
        MessageId { log: self.envelope.log, seq: self.envelope.seq, index: self.index }
    }

    /// The group's name.
    pub fn group(&self) -> &str {
        &self.group
    }

    pub(crate) fn group_shared(&self) -> Arc<str> {
        self.group.clone()
    }

    pub(crate) fn body_shared(&self) -> bytes::Bytes {
        self.inner().content.clone()
    }

    /// Who wrote it.
    pub fn author(&self) -> PeerId {
        self.envelope.log.author
    }

    /// Whether this node wrote it.
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// Whether it was kept for those who were away.
    pub fn lane(&self) -> Lane {
        self.envelope.log.lane
    }

    /// When its author says that it was written. For display and order only.
    pub fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.time_ms())
    }

    /// The same in milliseconds since 1970.
    pub fn time_ms(&self) -> u64 {
        self.inner().hlc.millis()
    }

    /// A slash-separated path, or empty.
    pub fn subject(&self) -> &str {
        self.inner().subject.as_str()
    }

    /// A media type, or empty.
    pub fn content_type(&self) -> &str {
        self.inner().content_type.as_str()
    }

    /// Names and values, sorted by name.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.inner().headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// What was written.
    pub fn body(&self) -> &[u8] {
        &self.inner().content
    }

    /// Whether it was fetched later rather than received when it was sent.
    pub fn is_backfilled(&self) -> bool {
        self.envelope.backfilled
    }
}
