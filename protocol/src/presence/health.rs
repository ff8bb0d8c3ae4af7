//! Lifeguard's local health (Dadgar et al. 2018, section IV-A): how late this node's own timers have been.

use crate::limits;
use crate::time::{Duration, Timestamp};

/// From 0, well, to [`limits::HEALTH_MAX`].
#[derive(Debug, Default)]
pub(super) struct Health {
    pub(super) score: u32,
    changed_at: Timestamp,
}

impl Health {
    /// Late timers make it worse at once; every ten quiet seconds make it better by one.
    pub(super) fn observe(&mut self, now: Timestamp, late: Duration) {
        if late >= limits::LATE_TIMER {
            self.worse(now);
        } else if self.score > 0 && now - self.changed_at >= Duration::from_secs(10) {
            self.score -= 1;
            self.changed_at = now;
        }
    }

    pub(super) fn worse(&mut self, now: Timestamp) {
        self.changed_at = now;
        self.score = (self.score + 1).min(limits::HEALTH_MAX);
    }

    pub(super) fn stretch(&self) -> u32 {
        1 + self.score
    }
}
