//! The djembe protocol as pure state machines.
//!
//! No clock, no randomness, no I/O: time, entropy and bytes come in as arguments, and what to do comes out as
//! values. `djembe` (the node) and `djembe-sim` (the simulator) drive the same code.

pub mod crypto;
pub mod error;
mod hash;
pub mod id;
pub mod limits;
pub mod message;
pub mod persist;
pub mod time;
pub mod wire;
