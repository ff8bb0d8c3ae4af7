//! A deterministic simulator of the djembe engine: the very code of a node, in virtual time.
//!
//! ```
//! use core::time::Duration;
//! use djembe_protocol::id::Lane;
//! use djembe_sim::world::{World, WorldConfig};
//!
//! let mut world = World::lan(WorldConfig::default(), 3);
//! world.run_for(Duration::from_secs(2));
//! let message = world.publish(0, 0, Lane::Durable, 100).expect("there is room");
//! world.run_for(Duration::from_secs(1));
//! assert!(world.ledger.reached(message, 0..3));
//! assert!(world.ledger.violations.is_empty());
//! ```

pub mod app;
pub mod attack;
pub mod baseline;
pub mod bits;
#[doc(hidden)]
pub mod bug;
pub mod calendar;
pub mod disk;
mod holds;
pub mod host;
pub mod kinds;
pub mod ledger;
mod meter;
pub mod panics;
pub mod report;
pub mod rng;
pub mod scenario;
pub mod search;
mod shard;
pub mod topology;
pub mod wire;
pub mod world;
