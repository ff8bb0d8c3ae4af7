//! The djembe protocol as pure state machines.
//!
//! No clock, no randomness, no I/O: time, entropy and bytes come in as arguments, and what to do comes out as
//! values. `djembe` (the node) and `djembe-sim` (the simulator) drive the same code.
//!
//! ```text
//! bytes from a peer -> wire::frame::check (any thread) -> Input::Frame --+
//! time, store, dials, commands -> Input ---------------------------------+-> Engine -> Output -> host
//! ```
//!
//! A module uses only what stands to its left: `time, timed, flat, bucket, id, limits, error <- persist, message <- crypto, wire
//! <- io <- conduct, link, overlay, presence, group <- engine`. Overlay and presence exist once per node, a group's parts
//! once per group; they hand facts to their owner and never call each other.

pub mod bounds;
mod bucket;
mod conduct;
pub mod crypto;
pub mod engine;
pub mod error;
mod flat;
mod group;
mod hash;
mod heap;
pub mod id;
pub mod io;
pub mod limits;
mod link;
mod measure;
pub mod message;
mod overlay;
pub mod persist;
mod presence;
pub mod time;
mod timed;
pub mod wire;
