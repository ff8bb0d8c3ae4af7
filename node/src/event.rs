//! What a node tells about peers, members and trouble.

use std::sync::{Arc, OnceLock};

use djembe_protocol::id::{MessageId, PeerId};
use djembe_protocol::io::{Pace, PresenceCause, PresenceState};
use tokio::sync::broadcast;

/// Something happened. Clone and keep what you need.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NodeEvent {
    /// What is known of a peer has changed.
    Peer {
        /// Who.
        peer: PeerId,
        /// Alive, evasive, suspect or gone.
        state: PresenceState,
        /// Why.
        cause: PresenceCause,
    },
    /// A peer is in a group: it proved so on a link, or its signed word came by way of others.
    MemberJoined {
        /// The group's name.
        group: Arc<str>,
        /// Who.
        peer: PeerId,
    },
    /// A member is gone or left.
    MemberLeft {
        /// The group's name.
        group: Arc<str>,
        /// Who.
        peer: PeerId,
        /// Why.
        cause: PresenceCause,
    },
    /// Live messages that never came.
    Gap {
        /// The group's name.
        group: Arc<str>,
        /// The author.
        author: PeerId,
        /// How many envelopes.
        envelopes: u64,
    },
    /// An author signed two different envelopes with one number: its identity was copied, or it lies.
    Fork {
        /// The group's name.
        group: Arc<str>,
        /// Which; the index means nothing.
        id: MessageId,
    },
    /// This node's own identity is in use elsewhere. It publishes nothing any more.
    Cloned {
        /// What to do.
        advice: String,
        /// Whether it is certain. Without, someone on the LAN may be playing back recorded beacons.
        proven: bool,
    },
    /// A neighbour takes less than it is sent, or has caught up.
    Pace {
        /// Who.
        peer: PeerId,
        /// How far it is behind.
        pace: Pace,
    },
    /// A subscription was not read for so long that messages passed it by.
    Lagged {
        /// The group's name.
        group: Arc<str>,
        /// How many messages.
        messages: u64,
    },
    /// The store failed: what was to be kept is not.
    StoreFailed {
        /// The cause and the remedy.
        error: String,
    },
    /// These events were read too slowly, and the oldest made room: [`crate::Node::status`] tells how things are now.
    Missed {
        /// How many events.
        events: u64,
    },
}

/// Events a slow reader may lag behind, some 100 bytes each.
const EVENTS: usize = 256;

/// Who reads events. The driver holds it: its end is the end of the events. Takes memory once somebody reads.
#[derive(Debug, Default)]
pub(crate) struct Listeners(OnceLock<broadcast::Sender<NodeEvent>>);

impl Listeners {
    pub(crate) fn listen(&self) -> Events {
        Events { receiver: self.0.get_or_init(|| broadcast::channel(EVENTS).0).subscribe() }
    }

    /// Nobody need listen.
    pub(crate) fn tell(&self, event: NodeEvent) {
        if let Some(listeners) = self.0.get() {
            let _ = listeners.send(event);
        }
    }
}

/// A stream of events. A reader that lags misses the oldest, is told how many
/// ([`NodeEvent::Missed`]), and goes on.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<NodeEvent>,
}

impl Events {
    /// Of a node that has ended.
    pub(crate) fn ended() -> Self {
        Self { receiver: broadcast::channel(1).1 }
    }

    /// The next event; `None` once the node has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<NodeEvent> {
        match self.receiver.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(events)) => Some(NodeEvent::Missed { events }),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: whoever reads events too slowly learns how many it missed, and then has the newest.
    #[tokio::test]
    async fn missed_events_are_told() {
        let listeners = Listeners::default();
        listeners.tell(NodeEvent::StoreFailed { error: "before anybody listens".to_owned() });
        let mut events = listeners.listen();
        for n in 0..EVENTS as u64 + 3 {
            listeners.tell(NodeEvent::Missed { events: n });
        }
        assert!(matches!(events.next().await, Some(NodeEvent::Missed { events: 3 })));
        assert!(
            matches!(events.next().await, Some(NodeEvent::Missed { events: 3 })),
            "the first that is there"
        );
        drop(listeners);
        for _ in 4..EVENTS as u64 + 3 {
            assert!(events.next().await.is_some());
        }
        assert!(events.next().await.is_none());
    }
}
