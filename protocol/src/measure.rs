//! How much each of many may do in a while, where a bucket for each would be too much to keep.

use std::collections::BTreeMap;

use crate::id::PeerId;
use crate::limits;
use crate::time::{Duration, Timestamp};

/// How often each did something since the window began.
#[derive(Debug, Default)]
pub(crate) struct Measure {
    of: BTreeMap<PeerId, u32>,
    since: Timestamp,
}

/// What is let through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AtMost {
    /// In a window of this length ...
    pub(crate) window: Duration,
    /// ... each may so often,
    pub(crate) of_one: u32,
    /// ... and so many may at all.
    pub(crate) peers: usize,
}

/// What one observer's votes may make travel, through whomever they come.
pub(crate) const OF_OBSERVERS: AtMost =
    AtMost { window: limits::RUMOURS_WINDOW, of_one: limits::RUMOURS_OF_ONE, peers: limits::RUMOURS_OF_MAX };

impl Measure {
    /// Those who did something in this window, or in the last one in which anybody did.
    pub(crate) fn len(&self) -> usize {
        self.of.len()
    }

    /// Whether somebody may do it once more, which is counted.
    pub(crate) fn admits(&mut self, now: Timestamp, most: AtMost, peer: PeerId) -> bool {
        if now - self.since >= most.window {
            self.since = now;
            self.of.clear();
        }
        if self.of.len() >= most.peers && !self.of.contains_key(&peer) {
            return false;
        }
        let n = self.of.entry(peer).or_default();
        *n = n.saturating_add(1);
        *n <= most.of_one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each has its share in each window, and there is room for so many.
    #[test]
    fn everybody_has_a_share_in_each_window() {
        let most = AtMost { window: Duration::from_secs(10), of_one: 3, peers: 4 };
        let mut measure = Measure::default();
        let start = Timestamp::from_micros(50_000_000);
        let peer = |n: u8| PeerId([n; 32]);
        let n_admitted =
            |measure: &mut Measure, at, n| (0..5).filter(|_| measure.admits(at, most, peer(n))).count();
        for window in [start, start + most.window] {
            for n in 0..4 {
                assert_eq!(n_admitted(&mut measure, window, n), 3);
            }
            assert_eq!(n_admitted(&mut measure, window, 4), 0, "there is no room to count it");
            assert_eq!(measure.len(), 4);
        }
    }
}
