//! What is asked and what is answered, as values; `wire` makes lines of JSON of them.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::record::{MessageRecord, PublishRecord};
use crate::error::NodeError;
use crate::event::NodeEvent;
use crate::receipt::ReceiptState;
use crate::status::Status;

/// The version of this protocol. Fields may be added within a version; readers skip those they do not know.
pub(crate) const VERSION: u32 = 1;

/// A command and the number by which its answers are known.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// Chosen by the client; 0 where none is given.
    #[serde(default)]
    pub(crate) id: u64,
    #[serde(flatten)]
    pub(crate) ask: Ask,
}

/// Commands. Groups are known by name once joined on this connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Ask {
    /// Joins an open group. Answer: done.
    Join {
        group: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        passphrase: Option<Passphrase>,
    },
    /// Leaves it, for all of the node. Answer: done.
    Leave { group: String },
    /// Publishes, once there is room. Answer: a receipt, unless quiet.
    Publish(PublishRecord),
    /// Follows the message published last on this connection in that group and lane. Answers: receipts, the
    /// present one at once, then one for each change, until it is dropped or forgotten.
    Follow {
        group: String,
        #[serde(default)]
        live: bool,
    },
    /// Answers: done, then messages.
    Subscribe {
        group: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subject: Option<String>,
        #[serde(default)]
        skip_own: bool,
    },
    /// Answers: done, then events.
    Events,
    /// Answer: the status.
    Status,
    /// Ends the stream of answers to another request. Answer: done.
    Cancel { of: u64 },
}

/// A passphrase on its way to the node: no log shows it, and it is wiped when it has been used.
#[derive(Clone, Zeroize, ZeroizeOnDrop, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Passphrase(String);

impl Passphrase {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    /// The request's number; 0 where there is none.
    pub(crate) re: u64,
    pub(crate) reply: Reply,
}

/// Answers.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// The first line of every connection.
    Hello(Hello),
    Done,
    Receipt(ReceiptRecord),
    Message(MessageRecord),
    Event(EventRecord),
    Status(Box<Status>),
    Error(Refused),
    /// No more answers come to this request.
    End,
}

/// Who answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) peer_id: String,
    pub(crate) network: String,
    /// Of the program, for people.
    pub(crate) version: String,
}

/// A request was refused; nothing was done.
#[derive(Clone, Debug, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub(crate) struct Refused {
    /// `group`, `draft`, `subject`, `unknown-group`, `left`, `ended`, `dropped`, `busy`, `request`, `version`,
    /// `too-long`, `too-many` or `failed`.
    pub(crate) code: String,
    /// With the remedy.
    pub(crate) message: String,
}

impl Refused {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }

    /// Whether the one who asked is at fault.
    pub(crate) fn is_usage(&self) -> bool {
        matches!(self.code.as_str(), "group" | "draft" | "subject")
    }
}

impl From<NodeError> for Refused {
    fn from(error: NodeError) -> Self {
        let code = match &error {
            NodeError::Group(_) => "group",
            NodeError::Draft(_) => "draft",
            NodeError::TooManyGroups(_) => "too-many",
            NodeError::Busy => "busy",
            NodeError::Dropped(_) => "dropped",
            NodeError::Left => "left",
            NodeError::Ended(_) => "ended",
            _ => "failed",
        };
        Self::new(code, error.to_string())
    }
}

/// What became of a message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct ReceiptRecord {
    pub(crate) state: ReceiptWord,
    /// Once it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// Members it was sent to at once.
    #[serde(default)]
    pub(crate) members: usize,
    /// Members that have it on their disk.
    #[serde(default)]
    pub(crate) stored_by: Vec<String>,
    /// Why it was dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReceiptWord {
    Queued,
    Sent,
    Dropped,
    Forgotten,
}

impl From<ReceiptState> for ReceiptRecord {
    fn from(state: ReceiptState) -> Self {
        let plain = |state| Self { state, id: None, members: 0, stored_by: Vec::new(), reason: None };
        match state {
            ReceiptState::Queued => plain(ReceiptWord::Queued),
            ReceiptState::Forgotten => plain(ReceiptWord::Forgotten),
            ReceiptState::Sent { id, members, stored_by } => Self {
                id: Some(id.to_string()),
                members,
                stored_by: stored_by.iter().map(ToString::to_string).collect(),
                ..plain(ReceiptWord::Sent)
            },
            ReceiptState::Dropped { reason } => Self { reason: Some(reason), ..plain(ReceiptWord::Dropped) },
        }
    }
}

/// What happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum EventRecord {
    Peer {
        peer_id: String,
        state: String,
        cause: String,
    },
    MemberJoined {
        group: String,
        peer_id: String,
    },
    MemberLeft {
        group: String,
        peer_id: String,
        cause: String,
    },
    Gap {
        group: String,
        author: String,
        envelopes: u64,
    },
    Fork {
        group: String,
        id: String,
    },
    Cloned {
        advice: String,
        proven: bool,
    },
    Pace {
        peer_id: String,
        pace: String,
    },
    Lagged {
        group: String,
        messages: u64,
    },
    StoreFailed {
        error: String,
    },
    Missed {
        events: u64,
    },
    /// Of a newer version.
    #[serde(other)]
    Unknown,
}

impl From<NodeEvent> for EventRecord {
    fn from(event: NodeEvent) -> Self {
        match event {
            NodeEvent::Peer { peer, state, cause } => Self::Peer {
                peer_id: peer.to_string(),
                state: state.name().to_owned(),
                cause: cause.name().to_owned(),
            },
            NodeEvent::MemberJoined { group, peer } => {
                Self::MemberJoined { group: group.to_string(), peer_id: peer.to_string() }
            }
            NodeEvent::MemberLeft { group, peer, cause } => Self::MemberLeft {
                group: group.to_string(),
                peer_id: peer.to_string(),
                cause: cause.name().to_owned(),
            },
            NodeEvent::Gap { group, author, envelopes } => {
                Self::Gap { group: group.to_string(), author: author.to_string(), envelopes }
            }
            NodeEvent::Fork { group, id } => Self::Fork { group: group.to_string(), id: id.to_string() },
            NodeEvent::Cloned { advice, proven } => Self::Cloned { advice, proven },
            NodeEvent::Pace { peer, pace } => {
                Self::Pace { peer_id: peer.to_string(), pace: pace.name().to_owned() }
            }
            NodeEvent::Lagged { group, messages } => Self::Lagged { group: group.to_string(), messages },
            NodeEvent::StoreFailed { error } => Self::StoreFailed { error },
            NodeEvent::Missed { events } => Self::Missed { events },
        }
    }
}
