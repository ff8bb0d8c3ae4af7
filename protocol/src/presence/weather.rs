//! Whether the network loses so many packets that silence says little.
//!
//! On a stream a packet that is lost again and again holds up all that follows: with three in ten lost, one second in
//! twelve is spent in silences of more than four seconds (measured with TCP), and each node has neighbours that seem to be
//! dead. Then a node counts the silences that came to an end, and gives silence more time while they are many.

use std::collections::{BTreeSet, VecDeque};

use crate::id::PeerId;
use crate::limits;
use crate::time::Timestamp;

/// Silences of neighbours that were none.
#[derive(Debug, Default)]
pub(super) struct Weather {
    /// When each ended, and whose it was; the last [`limits::STALLS_KEPT`] of them.
    stalls: VecDeque<(Timestamp, PeerId)>,
}

impl Weather {
    /// A neighbour was silent for long, and was there all the same.
    pub(super) fn on_stall(&mut self, now: Timestamp, peer: PeerId) {
        // Many at once are a cut that was mended, or a host that woke up.
        if self.stalls.back().is_some_and(|(at, _)| now - *at < limits::STALL_PAUSE) {
            return;
        }
        if self.stalls.len() >= limits::STALLS_KEPT {
            self.stalls.pop_front();
        }
        self.stalls.push_back((now, peer));
    }

    /// Whether there were many lately, and of several neighbours: one alone makes no weather.
    pub(super) fn is_bad(&self, now: Timestamp) -> bool {
        let fresh = self.stalls.iter().filter(|(at, _)| now - *at < limits::STALLS_WINDOW);
        fresh.map(|(_, peer)| peer).collect::<BTreeSet<_>>().len() >= limits::STALLS_BAD
    }
}
