//! Frames about the link itself: who is there, which groups both are in, signs of life, how much may be sent.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{GroupIx, PeerRecord, Why};
use crate::id::Incarnation;

/// The first frame each way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Lowest version spoken.
    pub min: u16,
    /// Highest version spoken.
    pub max: u16,
    /// Optional abilities, by bit; none yet.
    pub features: u64,
    /// Keeps meshes apart: first 8 bytes of the hash of the network's name.
    pub network: [u8; 8],
    /// Fresh for each link; subscriptions prove against it.
    pub nonce: [u8; 16],
    /// Of this run.
    pub incarnation: Incarnation,
    /// Why it dialled, or as what it keeps the link.
    pub why: Why,
    /// Where this node listens, for its neighbours to pass on.
    pub record: Arc<PeerRecord>,
}

/// "I am in this group": proves knowledge of the group key and names no group to those without it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Subscribe {
    /// The sender's number for the group in later frames.
    pub group: GroupIx,
    /// Keyed hash over both ids and both nonces.
    pub proof: [u8; 32],
}

/// The sender has left the group with this number.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Unsubscribe {
    /// The sender's number.
    pub group: GroupIx,
}

/// Sign of life when nothing else is sent, and a measurement of the round trip.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Beat {
    /// The sender's number for it, 1 to 255 and round again; echoed back.
    pub n: u8,
    /// The number last heard from the receiver, zero if none.
    pub echo: u8,
    /// How long ago that was, in microseconds; [`u32::MAX`] is that or longer.
    pub held: u32,
    /// Not zero: the sender asks for a beat at once, and, if it dialled the link, again when nothing went one of the two
    /// ways for so many seconds.
    pub ask: u8,
}

/// An orderly farewell.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Goodbye {
    /// Of the run that ends.
    pub incarnation: Incarnation,
}

/// "So much you may have sent me in all, since the link came up." Counted are the bytes of frames of the classes
/// with payload, lengths included, as they are before headers are elided. Numbers only grow.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Credit {
    /// Of own and forward together.
    pub live: u64,
    /// Of bulk.
    pub bulk: u64,
}
