//! What has been put on the wire, by purpose, so that two times can be compared.

use std::collections::BTreeMap;

use crate::baseline::{self, Protocol};
use crate::shard::beacons;
use crate::world::World;

/// Kinds of frames for messages: with envelopes, that announce, ask, acknowledge, give credit, and shape the trees along
/// which they travel.
pub const MESSAGE_KINDS: [u8; 9] = [13, 14, 15, 16, 17, 18, 42, 43, 50];
/// The same of a baseline. What engines say for messages, of which they have none, is background then.
const CARRIED_KINDS: [u8; 2] = [baseline::PAYLOAD, baseline::TALK];
/// Kinds of frames that say who is there: beats, votes, words of members.
pub const PRESENCE_KINDS: [u8; 11] = [4, 5, 6, 7, 8, 24, 25, 26, 27, 28, 29];

/// What has been put on the wire up to a time, by purpose and by kind of frame.
#[derive(Default)]
pub(super) struct Mark {
    pub(super) bytes: Bytes,
    kinds: BTreeMap<u8, (u64, u64)>,
}

impl Mark {
    pub(super) fn of(world: &World) -> Self {
        Self { bytes: Bytes::of(world), kinds: world.frames_on_wire() }
    }

    /// Frames and bytes on the wire since then, by kind, of a node and second.
    pub(super) fn rates(&self, world: &World, nodes: usize, seconds: f64) -> BTreeMap<u8, (f64, f64)> {
        let rate = |kind: u8, (frames, bytes): (u64, u64)| {
            let before = self.kinds.get(&kind).copied().unwrap_or_default();
            let per = |n: u64| n as f64 / nodes as f64 / seconds;
            (kind, (per(frames - before.0), per(bytes - before.1)))
        };
        world.frames_on_wire().into_iter().map(|(kind, all)| rate(kind, all)).collect()
    }
}

/// What has been put on the wire up to a time.
#[derive(Clone, Copy, Default)]
pub(super) struct Bytes {
    /// The time.
    pub(super) seconds: f64,
    pub(super) all: u64,
    pub(super) messages: u64,
    pub(super) presence: u64,
    pub(super) discovery: u64,
    /// Without what transports add.
    pub(super) messages_bare: u64,
    /// What is neither for messages nor for presence, the same way.
    pub(super) background_bare: u64,
    /// Arrivals of envelopes, and those of them that were new.
    pub(super) copies: u64,
    pub(super) envelopes: u64,
    /// Bytes of the latter.
    pub(super) sealed: u64,
}

impl Bytes {
    pub(super) fn of(world: &World) -> Self {
        let kinds = match world.protocol() {
            Protocol::Djembe => &MESSAGE_KINDS[..],
            _ => &CARRIED_KINDS,
        };
        let all_bare: u64 = world.frames().values().map(|(_, bytes)| bytes).sum();
        let bare = |kinds| world.frame_bytes_of(kinds);
        let messages_bare = bare(kinds);
        Self {
            seconds: world.now().as_micros() as f64 / 1e6,
            all: world.wire_bytes(),
            messages: world.wire_bytes_of(kinds),
            presence: world.wire_bytes_of(&PRESENCE_KINDS),
            discovery: world.wire_bytes_of(&[beacons::KIND]),
            messages_bare,
            background_bare: all_bare - messages_bare - bare(&PRESENCE_KINDS) - bare(&[beacons::KIND]),
            copies: world.ledger.n_copies,
            envelopes: world.ledger.n_envelopes,
            sealed: world.ledger.sealed,
        }
    }

    pub(super) fn since(self, before: &Self) -> Self {
        Self {
            seconds: (self.seconds - before.seconds).max(1e-6),
            all: self.all - before.all,
            messages: self.messages - before.messages,
            presence: self.presence - before.presence,
            discovery: self.discovery - before.discovery,
            messages_bare: self.messages_bare - before.messages_bare,
            background_bare: self.background_bare - before.background_bare,
            copies: self.copies - before.copies,
            envelopes: self.envelopes - before.envelopes,
            sealed: self.sealed - before.sealed,
        }
    }
}
