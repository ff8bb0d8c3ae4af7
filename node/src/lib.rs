//! Group messaging for machines and people that share a network, with no server.
//!
//! A [`Node`] finds others on the LAN, knows who is present, and exchanges signed, end-to-end encrypted messages
//! with the members of its groups.
//!
//! ```no_run
//! # async fn example() -> Result<(), djembe::NodeError> {
//! let node = djembe::Node::builder().data_dir("my-data").spawn().await?;
//! let group = node.join("lobby").await?;
//! let mut messages = group.subscribe().await?;
//! let receipt = group.publish("hello").await?;
//! receipt.stored_by(1).await?;
//! while let Some(message) = messages.next().await {
//!     println!("{}: {}", message.author(), String::from_utf8_lossy(message.body()));
//! }
//! node.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! No type of libp2p stands in this interface. The protocol itself is in `djembe-protocol`, which this crate
//! drives with sockets, a clock and a disk.

mod builder;
mod check;
#[doc(hidden)]
pub mod cli;
mod control;
mod datadir;
mod discovery;
mod driver;
mod error;
mod event;
mod group;
mod identity;
mod message;
mod node;
mod receipt;
mod status;
mod store;
mod subscription;
mod transport;

pub use builder::Builder;
pub use djembe_protocol::bounds::Bounds;
pub use djembe_protocol::error::DraftError;
pub use djembe_protocol::id::{GroupId, Lane, MessageId, PeerId};
pub use djembe_protocol::io::{Pace, PresenceCause, PresenceState};
pub use djembe_protocol::message::SubjectPattern;
pub use error::NodeError;
pub use event::{Events, NodeEvent};
pub use group::{Group, Publish};
pub use identity::{IdentityError, create_or_load as identity};
pub use message::Message;
pub use node::Node;
pub use receipt::{Receipt, ReceiptState};
pub use status::{GapInfo, GroupInfo, PeerInfo, Status};
pub use subscription::{SubscribeOptions, Subscription};

/// Compiles what the README shows.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct ReadmeExamples;
