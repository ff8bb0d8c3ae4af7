//! Whether the network loses so many packets that silence says little.
//!
//! On a stream a packet that is lost again and again holds up all that follows: with three in ten lost, one second in
//! twelve is spent in silences of more than four seconds (measured with TCP), and each node has neighbours that seem to be
//! dead. Then a node counts the silences that came to an end, and gives silence more time while they are many.

use std::collections::BTreeMap;

use crate::id::PeerId;
use crate::limits;
use crate::time::Timestamp;

/// Silences of neighbours that were none.
#[derive(Debug, Default)]
pub(super) struct Weather {
    /// When the last one of each ended; of [`limits::STALLS_KEPT`] neighbours.
    stalls: BTreeMap<PeerId, Timestamp>,
    last_at: Option<Timestamp>,
    /// How many members answered votes against them since when, and when these were last too many.
    vain: (Timestamp, usize),
    vain_at: Option<Timestamp>,
}

impl Weather {
    /// A neighbour was silent for long, and was there all the same.
    pub(super) fn on_stall(&mut self, now: Timestamp, peer: PeerId) {
        // Many at once are a cut that was mended, or a host that woke up.
        if self.last_at.is_some_and(|at| now - at < limits::STALL_PAUSE) {
            return;
        }
        self.last_at = Some(now);
        self.stalls.insert(peer, now);
        if self.stalls.len() > limits::STALLS_KEPT {
            let oldest = self.stalls.iter().min_by_key(|(_, at)| **at).map(|(peer, _)| *peer);
            oldest.and_then(|peer| self.stalls.remove(&peer));
        }
    }

    /// Somebody was voted against, in a group of so many, and was there all the same: each member hears of all of these,
    /// long before its own neighbours have been silent often enough.
    pub(super) fn on_vain_vote(&mut self, now: Timestamp, n_members: usize) {
        if now - self.vain.0 >= limits::STALLS_WINDOW {
            self.vain = (now, 0);
        }
        self.vain.1 += 1;
        if self.vain.1 >= limits::VAIN_BAD.max(n_members / limits::VAIN_SHARE) {
            self.vain_at = Some(now);
        }
    }

    /// Whether there were many lately, and of several neighbours: one alone makes no weather.
    pub(super) fn is_bad(&self, now: Timestamp) -> bool {
        if self.vain_at.is_some_and(|at| now - at < limits::STALLS_WINDOW) {
            return true;
        }
        let n_fresh = self.stalls.values().filter(|at| now - **at < limits::STALLS_WINDOW).count();
        n_fresh >= limits::STALLS_BAD
    }
}
