//! What has been put on the wire, by purpose, so that two times can be compared.

use std::collections::BTreeMap;

use crate::kinds::Purpose;
use crate::world::World;

const BACKGROUND: [Purpose; 2] = [Purpose::Overlay, Purpose::Rest];

/// What has been put on the wire up to a time, by purpose and by kind of frame.
#[derive(Default)]
pub(super) struct Mark {
    pub(super) bytes: Bytes,
    /// Seconds that nodes had run, of all together.
    pub(super) node_seconds: f64,
    kinds: BTreeMap<u8, (u64, u64)>,
    /// What each node has sent and received.
    pub(super) of_nodes: Vec<(u64, u64)>,
    /// Envelopes by their hops.
    pub(super) hops: [u64; 32],
}

impl Mark {
    pub(super) fn of(world: &World, node_seconds: f64) -> Self {
        let of_node = |node| {
            let meter = &world.host(node).meter;
            (meter.sent, meter.received)
        };
        Self {
            bytes: Bytes::of(world),
            kinds: world.frames_on_wire(),
            node_seconds,
            of_nodes: (0..world.n_nodes()).map(of_node).collect(),
            hops: world.hops(),
        }
    }

    /// Frames and bytes on the wire since then, by kind, of a node and second.
    pub(super) fn rates(&self, world: &World, node_seconds: f64) -> BTreeMap<u8, (f64, f64)> {
        let rate = |kind: u8, (frames, bytes): (u64, u64)| {
            let before = self.kinds.get(&kind).copied().unwrap_or_default();
            let per = |n: u64| n as f64 / (node_seconds - self.node_seconds).max(1e-6);
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
    pub(super) messages: u64,
    pub(super) presence: u64,
    pub(super) discovery: u64,
    /// What is for none of these.
    pub(super) background: u64,
    /// Without what transports add.
    pub(super) messages_bare: u64,
    pub(super) background_bare: u64,
    /// Arrivals of envelopes, and those of them that were new.
    pub(super) copies: u64,
    pub(super) envelopes: u64,
    /// Bytes of the latter.
    pub(super) sealed: u64,
}

impl Bytes {
    pub(super) fn of(world: &World) -> Self {
        let sum = |frames: &BTreeMap<u8, (u64, u64)>, purposes: &[Purpose]| -> u64 {
            let of = |kind: &u8| Purpose::of(*kind, world.protocol());
            frames.iter().filter(|(kind, _)| purposes.contains(&of(kind))).map(|(_, (_, bytes))| bytes).sum()
        };
        let (bare, wire) = (world.frames(), world.frames_on_wire());
        Self {
            seconds: world.now().as_micros() as f64 / 1e6,
            messages: sum(&wire, &[Purpose::Messages]),
            presence: sum(&wire, &[Purpose::Presence]),
            discovery: sum(&wire, &[Purpose::Discovery]),
            background: sum(&wire, &BACKGROUND),
            messages_bare: sum(&bare, &[Purpose::Messages]),
            background_bare: sum(&bare, &BACKGROUND),
            copies: world.ledger.n_copies,
            envelopes: world.ledger.n_envelopes,
            sealed: world.ledger.sealed,
        }
    }

    pub(super) fn since(self, before: &Self) -> Self {
        Self {
            seconds: (self.seconds - before.seconds).max(1e-6),
            messages: self.messages - before.messages,
            presence: self.presence - before.presence,
            discovery: self.discovery - before.discovery,
            background: self.background - before.background,
            messages_bare: self.messages_bare - before.messages_bare,
            background_bare: self.background_bare - before.background_bare,
            copies: self.copies - before.copies,
            envelopes: self.envelopes - before.envelopes,
            sealed: self.sealed - before.sealed,
        }
    }
}
