//! What bytes mean: one module for each kind of packet or frame.

pub mod beacon;
