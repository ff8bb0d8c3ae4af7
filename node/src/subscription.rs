//! Messages of a group as a stream.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use djembe_protocol::id::PeerId;
use djembe_protocol::io::Delivered;
use djembe_protocol::message::SubjectPattern;
use tokio::sync::mpsc;

use crate::message::Message;

/// Envelopes that wait for one subscription before the group is given no more.
pub(crate) const QUEUE: usize = 32;

/// What of a group's messages is wanted.
#[derive(Clone, Debug, Default)]
pub struct SubscribeOptions {
    /// Only subjects that match; everything without it.
    pub pattern: Option<SubjectPattern>,
    /// Leave out what this node publishes itself.
    pub skip_own: bool,
}

/// A stream of messages, from the moment of subscribing on: what others publish, what is fetched because this
/// node was away, and what this node publishes itself.
///
/// A reader that lags is given the rest later: durable messages wait in the store, those who send are slowed down, other
/// groups are not. One that does not read for ten seconds while messages wait is passed over and told by
/// [`crate::NodeEvent::Lagged`].
#[derive(Debug)]
pub struct Subscription {
    pub(crate) receiver: mpsc::Receiver<Arc<Delivered>>,
    pub(crate) current: Option<(Arc<Delivered>, u16)>,
    pub(crate) group: Arc<str>,
    pub(crate) me: PeerId,
    pub(crate) options: SubscribeOptions,
}

impl Subscription {
    /// The next message; `None` once the node has ended or left the group. Cancel-safe.
    pub async fn next(&mut self) -> Option<Message> {
        std::future::poll_fn(|cx| self.poll_message(cx)).await
    }

    /// The next message if one is there already.
    pub fn try_next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.take_current() {
                return Some(message);
            }
            self.current = Some((self.receiver.try_recv().ok()?, 0));
        }
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        loop {
            if let Some(message) = self.take_current() {
                return Poll::Ready(Some(message));
            }
            match ready!(self.receiver.poll_recv(cx)) {
                Some(envelope) => self.current = Some((envelope, 0)),
                None => return Poll::Ready(None),
            }
        }
    }

    fn take_current(&mut self) -> Option<Message> {
        let (envelope, next) = self.current.as_mut()?;
        let is_own = envelope.log.author == self.me;
        if !(is_own && self.options.skip_own) {
            while let Some(body) = envelope.messages.get(usize::from(*next)) {
                let index = *next;
                *next += 1;
                let matches = self.options.pattern.as_ref().is_none_or(|p| p.matches(body.subject.as_str()));
                if matches {
                    let (envelope, group) = (envelope.clone(), self.group.clone());
                    return Some(Message { envelope, index, group, is_own });
                }
            }
        }
        self.current = None;
        None
    }
}

impl tokio_stream::Stream for Subscription {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.poll_message(cx)
    }
}
