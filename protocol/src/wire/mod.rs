//! What goes over the wire: the envelope (end to end), the frame (between two peers), the beacon (UDP).

pub mod beacon;
pub(crate) mod codec;
pub mod compress;
pub mod envelope;
pub mod frame;
