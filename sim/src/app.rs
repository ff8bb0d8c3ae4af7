//! An application's own code on virtual nodes: what it does with messages, with members that come and go, and with time.
//!
//! ```
//! use core::time::Duration;
//! use bytes::Bytes;
//! use djembe_protocol::id::Lane;
//! use djembe_sim::app::{App, Desk, Received};
//! use djembe_sim::world::{World, WorldConfig};
//!
//! /// Says hello, and counts who does.
//! struct Hello { heard: usize }
//!
//! impl App for Hello {
//!     fn on_start(&mut self, desk: &mut Desk<'_>) {
//!         desk.wake_in(Duration::from_secs(2), 0);
//!     }
//!     fn on_wake(&mut self, desk: &mut Desk<'_>, _token: u64) {
//!         desk.publish(0, Lane::Durable, "hello", Bytes::from_static(b"I am here"));
//!     }
//!     fn on_message(&mut self, desk: &mut Desk<'_>, message: &Received<'_>) {
//!         self.heard += usize::from(message.subject == "hello" && message.author != desk.peer());
//!     }
//!     fn as_any(&self) -> &dyn core::any::Any { self }
//! }
//!
//! let mut world = World::new(WorldConfig::default());
//! let lobby = world.add_group("lobby");
//! world.attach(|_node| Box::new(Hello { heard: 0 }));
//! for _ in 0..20 {
//!     let node = world.add_node();
//!     world.member(node, lobby);
//!     world.start(node);
//! }
//! world.run_for(Duration::from_secs(10));
//! assert!((0..20).all(|node| world.app::<Hello>(node).is_some_and(|app| app.heard == 19)));
//! ```

use core::any::Any;
use core::time::Duration;

use bytes::Bytes;
use djembe_protocol::id::{GroupId, Lane, MessageId, PeerId};
use djembe_protocol::io::Event;
use djembe_protocol::time::Timestamp;

use crate::rng::Rng;
use crate::topology::NodeIx;

/// An application on one node, in one run of it: it starts anew with its node.
///
/// It may do whatever it likes, as long as it does the same again in the same situation: no clock and no randomness but
/// those of its [`Desk`].
pub trait App: Send {
    /// The node was started.
    fn on_start(&mut self, desk: &mut Desk<'_>) {
        let _ = desk;
    }

    /// A message was delivered, one's own included.
    fn on_message(&mut self, desk: &mut Desk<'_>, message: &Received<'_>) {
        let _ = (desk, message);
    }

    /// Anything else that a node tells its application: who comes and goes, receipts, lost messages.
    fn on_event(&mut self, desk: &mut Desk<'_>, event: &Event) {
        let _ = (desk, event);
    }

    /// The time of a [`Desk::wake_in`] has come.
    fn on_wake(&mut self, desk: &mut Desk<'_>, token: u64) {
        let _ = (desk, token);
    }

    /// Itself, for [`crate::world::World::app`].
    fn as_any(&self) -> &dyn Any;
}

/// A message as an application gets it.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Which.
    pub id: MessageId,
    /// In which group.
    pub group: GroupId,
    /// By whom.
    pub author: PeerId,
    /// Its subject, empty for none.
    pub subject: &'a str,
    /// Its content.
    pub content: &'a Bytes,
}

/// What an application can see and do.
pub struct Desk<'a> {
    pub(crate) now: Timestamp,
    pub(crate) node: NodeIx,
    pub(crate) peer: PeerId,
    pub(crate) rng: &'a mut Rng,
    pub(crate) acts: Vec<Act>,
}

/// What an application has decided.
#[derive(Debug)]
pub(crate) enum Act {
    Publish { group: usize, lane: Lane, subject: String, content: Bytes },
    Wake { after: Duration, token: u64 },
}

impl Desk<'_> {
    /// Virtual time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The node's number in the world.
    pub fn node(&self) -> NodeIx {
        self.node
    }

    /// Who the node is to others.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// A number below `n`, from the seed.
    pub fn random_below(&mut self, n: u64) -> u64 {
        self.rng.below(n)
    }

    /// Publishes in the world's `group`th group. A message for which there is no room is dropped, and the application
    /// is told by [`Event::Dropped`].
    pub fn publish(&mut self, group: usize, lane: Lane, subject: &str, content: Bytes) {
        self.acts.push(Act::Publish { group, lane, subject: subject.to_owned(), content });
    }

    /// Asks for [`App::on_wake`] after so long, in this run.
    pub fn wake_in(&mut self, after: Duration, token: u64) {
        self.acts.push(Act::Wake { after, token });
    }
}

/// Makes the application of a node, each time it starts.
pub(crate) type Maker = std::sync::Arc<dyn Fn(NodeIx) -> Box<dyn App> + Send + Sync>;
