//! What each kind of frame is for.

use crate::baseline::{self, Protocol};
use crate::shard::beacons;

/// Why something is on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Purpose {
    /// Envelopes, and what announces, asks for and acknowledges them, gives credit, and shapes the trees along which they
    /// travel.
    Messages,
    /// Who is there: beats, votes, words of members.
    Presence,
    /// Beacons.
    Discovery,
    /// What keeps the overlay up.
    Overlay,
    /// Everything else: links, groups, trees that nothing travels on, logs compared.
    Rest,
}

impl Purpose {
    /// Of a kind of frame, where messages are spread by a protocol: beside a baseline what engines say for messages, of
    /// which they have none, is for nothing that it does.
    pub fn of(kind: u8, protocol: Protocol) -> Self {
        match known(kind) {
            Some(Self::Messages) if protocol != Protocol::Djembe && !is_carried(kind) => Self::Rest,
            Some(purpose) => purpose,
            None => Self::Rest,
        }
    }
}

fn is_carried(kind: u8) -> bool {
    [baseline::PAYLOAD, baseline::TALK].contains(&kind)
}

/// None for a kind that nobody has thought of.
fn known(kind: u8) -> Option<Purpose> {
    Some(match kind {
        13..=18 | 42 | 43 | 50 => Purpose::Messages,
        kind if is_carried(kind) => Purpose::Messages,
        4..=8 | 24..=29 => Purpose::Presence,
        beacons::KIND => Purpose::Discovery,
        9 | 19..=23 | 30 => Purpose::Overlay,
        1..=3 | 10..=12 | 40 | 41 | 44 | 45 => Purpose::Rest,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use djembe_protocol::wire::frame::Frame;

    use super::*;

    /// Goal: a new kind of frame is put in its place by somebody, and not by default.
    #[test]
    fn every_kind_has_its_purpose() {
        for (kind, name) in Frame::KINDS {
            assert!(known(*kind).is_some(), "{kind}, {name}");
        }
        let named: Vec<u8> = Frame::KINDS.iter().map(|(kind, _)| *kind).collect();
        let ours = [baseline::PAYLOAD, baseline::TALK, beacons::KIND];
        let strangers = (0..=u8::MAX).filter(|kind| known(*kind).is_some() && !named.contains(kind));
        assert!(strangers.into_iter().all(|kind| ours.contains(&kind)));
    }
}
