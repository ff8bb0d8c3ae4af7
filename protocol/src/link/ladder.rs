//! How far a neighbour lags, and what it gets for that: payload, announcements, patience, the door.
//!
//! ```text
//! prompt --250 ms--> slow --2 s--> blocked --10 s--> closed
//!    ^                |  ^            |
//!    +---- calm ------+  +-- takes ---+
//! ```
//!
//! The times are those for which it took nothing of what it was sent. Whoever takes something is not slow, however long
//! its queue: publishers are held to what it takes, for overload is to turn into delay and not into loss. The one
//! exception is a neighbour that is far behind the others, which then would all have to wait for it.
//!
//! A slow one gets announcements in place of payload and asks for what it can take; nobody waits for it. It is prompt
//! again once all is written and the receiver takes more: at once, unless publishers had to wait for it before; then
//! the later the more often they had.

use crate::io::Pace;
use crate::limits;
use crate::time::{Duration, Timestamp};

/// Spells are remembered for so long.
const MEMORY: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(crate) struct Ladder {
    pace: Option<Lag>,
    /// Spells of slowness lately in which publishers waited, and when the last one ended.
    spells: u32,
    calm_since: Timestamp,
}

/// A spell of slowness.
#[derive(Clone, Copy, Debug)]
struct Lag {
    is_blocked: bool,
    /// All is written; prompt again from then on.
    calm_at: Option<Timestamp>,
}

/// How a neighbour takes what it is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queue {
    /// Since when it has taken nothing.
    pub(crate) stalled_since: Option<Timestamp>,
    /// When that makes it slow, if it does.
    pub(crate) slow_at: Option<Timestamp>,
    /// Others take what this one does not.
    pub(crate) is_far_behind: bool,
    /// All is written, and the receiver takes more.
    pub(crate) is_drained: bool,
    /// So much that publishers wait.
    pub(crate) is_full: bool,
}

/// A step down, or back to the top.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    To(Pace),
    Close,
}

impl Ladder {
    /// One that was closed for being slow and came back.
    pub(crate) fn begin_slow(now: Timestamp, spells: u32) -> Self {
        let calm_at = Some(now + quarantine(spells));
        let lag = Lag { is_blocked: false, calm_at };
        Self { pace: Some(lag), spells, calm_since: now }
    }

    pub(crate) fn pace(&self) -> Pace {
        match self.pace {
            None => Pace::Prompt,
            Some(lag) if lag.is_blocked => Pace::Blocked,
            Some(_) => Pace::Slow,
        }
    }

    /// Slow, and what made it so still waits.
    pub(crate) fn is_stuck(&self) -> bool {
        self.pace.is_some_and(|lag| !lag.is_blocked && lag.calm_at.is_none())
    }

    /// Looks again. At most one step.
    pub(crate) fn look(&mut self, now: Timestamp, queue: &Queue) -> Option<Step> {
        let is_slow = queue.slow_at.is_some_and(|at| at <= now);
        let Some(lag) = &mut self.pace else {
            if !is_slow && !queue.is_far_behind {
                return None;
            }
            if now - self.calm_since >= MEMORY {
                self.spells = 0;
            }
            self.spells = self.spells.saturating_add(u32::from(queue.is_full));
            self.pace = Some(Lag { is_blocked: false, calm_at: None });
            return Some(Step::To(Pace::Slow));
        };
        let stalled_for = queue.stalled_since.map_or(Duration::ZERO, |since| now - since);
        if is_slow {
            lag.calm_at = None;
        } else if lag.calm_at.is_none() && queue.is_drained {
            let pause = quarantine(self.spells + u32::from(lag.is_blocked));
            lag.calm_at = Some(now + pause);
        }
        if lag.is_blocked {
            if stalled_for >= limits::CLOSED_AFTER {
                return Some(Step::Close);
            }
            lag.is_blocked = stalled_for >= limits::BLOCKED_AFTER;
            return (!lag.is_blocked).then_some(Step::To(Pace::Slow));
        }
        if lag.calm_at.is_some_and(|at| at <= now) {
            return self.recover(now);
        }
        if stalled_for < limits::BLOCKED_AFTER {
            return None;
        }
        // It was not as calm as it seemed, and is not looked at for that while it is blocked.
        *lag = Lag { is_blocked: true, calm_at: None };
        Some(Step::To(Pace::Blocked))
    }

    fn recover(&mut self, now: Timestamp) -> Option<Step> {
        self.pace = None;
        self.calm_since = now;
        Some(Step::To(Pace::Prompt))
    }

    /// When to look again at the latest, if nothing is taken until then.
    pub(crate) fn next_deadline(&self, queue: &Queue) -> Option<Timestamp> {
        let Some(lag) = self.pace else {
            return queue.slow_at;
        };
        let patience = if lag.is_blocked { limits::CLOSED_AFTER } else { limits::BLOCKED_AFTER };
        lag.calm_at.or(queue.stalled_since.map(|since| since + patience))
    }
}

/// How long one that has caught up still counts as slow.
fn quarantine(spells: u32) -> Duration {
    match spells.checked_sub(2) {
        None => Duration::ZERO,
        Some(n) => limits::SLOW_CALM * 2u32.pow(n.min(5)),
    }
}
