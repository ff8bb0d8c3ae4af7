//! The djembe protocol as pure state machines.
//!
//! No clock, no randomness, no I/O: time, entropy and bytes come in as arguments, and what to do comes out as
//! values. `djembe` (the node) and `djembe-sim` (the simulator) drive the same code.

pub mod error;
pub mod id;
pub mod limits;
pub mod persist;
pub mod time;
pub mod wire;
