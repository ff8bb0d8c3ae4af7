//! Peers whose link was closed because they were too slow: not dialled for a while, and watched when they come.

use std::collections::BTreeMap;

use crate::id::PeerId;
use crate::limits;
use crate::time::{Duration, Timestamp};

#[derive(Debug, Default)]
pub(crate) struct SlowPeers(BTreeMap<PeerId, SlowPeer>);

#[derive(Clone, Copy, Debug)]
struct SlowPeer {
    /// How often it was closed.
    times: u32,
    /// Not dialled before.
    until: Timestamp,
    /// Forgotten then.
    forget_at: Timestamp,
}

impl SlowPeers {
    /// Its link is being closed.
    pub(crate) fn closed(&mut self, now: Timestamp, peer: PeerId) {
        self.0.retain(|_, slow| slow.forget_at > now);
        let times = self.0.get(&peer).map_or(0, |slow| slow.times);
        if self.0.len() >= limits::SLOW_PEERS_MAX
            && !self.0.contains_key(&peer)
            && let Some(first) = self.0.iter().min_by_key(|(_, slow)| slow.until).map(|(peer, _)| *peer)
        {
            self.0.remove(&first);
        }
        let pause = (limits::SLOW_BACKOFF * 2u32.pow(times.min(16))).min(limits::SLOW_BACKOFF_MAX);
        let slow =
            SlowPeer { times: times + 1, until: now + pause, forget_at: now + 2 * pause.max(FORGIVEN) };
        self.0.insert(peer, slow);
    }

    /// Whether it is not to be dialled now.
    pub(crate) fn is_shunned(&self, now: Timestamp, peer: &PeerId) -> bool {
        self.0.get(peer).is_some_and(|slow| slow.until > now)
    }

    /// How it is to be received: as one that was slow so often.
    pub(crate) fn spells(&self, now: Timestamp, peer: &PeerId) -> Option<u32> {
        // Once more than it was closed, so that it has to be calm for a while.
        self.0.get(peer).filter(|slow| slow.forget_at > now).map(|slow| slow.times + 1)
    }
}

/// A single closing is remembered for twice this.
const FORGIVEN: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn each_closing_doubles_the_pause() {
        let (mut slow, peer) = (SlowPeers::default(), PeerId([1; 32]));
        assert!(!slow.is_shunned(at(0), &peer));
        assert_eq!(slow.spells(at(0), &peer), None);
        slow.closed(at(0), peer);
        assert!(slow.is_shunned(at(29), &peer) && !slow.is_shunned(at(30), &peer));
        slow.closed(at(100), peer);
        assert!(slow.is_shunned(at(159), &peer) && !slow.is_shunned(at(160), &peer));
        assert_eq!(slow.spells(at(160), &peer), Some(3));
        assert_eq!(slow.spells(at(1000), &peer), None, "forgiven");
        slow.closed(at(1000), peer);
        assert!(!slow.is_shunned(at(1030), &peer));
    }

    #[test]
    fn the_slow_are_bounded_from_both_sides() {
        let mut slow = SlowPeers::default();
        let peer = |n: usize| PeerId([n as u8; 32]);
        for n in 0..limits::SLOW_PEERS_MAX {
            let mut peer = peer(n);
            peer.0[0] = (n >> 8) as u8;
            slow.closed(at(n as u64 / 10), peer);
        }
        assert_eq!(slow.0.len(), limits::SLOW_PEERS_MAX);
        slow.closed(at(26), PeerId([7; 32]));
        slow.closed(at(26), PeerId([0xab; 32]));
        assert!(slow.0.len() <= limits::SLOW_PEERS_MAX);
        assert!(slow.is_shunned(at(27), &PeerId([0xab; 32])));
    }
}
