//! What is known to be missing, since when, and who says that it exists: gaps made visible.
//!
//! An author's numbers have no holes, so whatever censors shows as a gap, or as a neighbour who claims what nobody
//! gives: a stale log. Repair forgets a claim that came to nothing; this remembers it, for people.

use std::collections::BTreeMap;

use crate::id::{LogId, PeerId, Seq};
use crate::limits;
use crate::time::{Duration, Timestamp};

/// One log that is longer elsewhere.
#[derive(Clone, Copy, Debug)]
struct Gap {
    /// Somebody said that it goes up to here, exclusive.
    end: Seq,
    by: PeerId,
    since: Timestamp,
}

#[derive(Debug, Default)]
pub(crate) struct Gaps {
    logs: BTreeMap<LogId, Gap>,
}

impl Gaps {
    /// `by` claims that a log goes up to `end`; here it is complete up to `next`.
    pub(crate) fn note(&mut self, now: Timestamp, log: LogId, end: Seq, by: PeerId, next: Seq) {
        if let Some(gap) = self.logs.get_mut(&log) {
            if next >= gap.end {
                // What was missing then has come; this is another gap.
                *gap = Gap { end, by, since: now };
            } else if end > gap.end {
                (gap.end, gap.by) = (end, by);
            }
            return;
        }
        if self.logs.len() >= limits::GAPS_MAX {
            // The youngest is the likeliest to close by itself. A new one is younger still.
            return;
        }
        self.logs.insert(log, Gap { end, by, since: now });
    }

    /// Forgets what is missing no more; `next` says how far a log is complete.
    pub(crate) fn close(&mut self, next: impl Fn(&LogId) -> Seq) {
        self.logs.retain(|log, gap| next(log) < gap.end);
    }

    pub(crate) fn len(&self) -> usize {
        self.logs.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.logs.len() >= limits::GAPS_MAX
    }

    /// Log, where the claim ends, who claims it, and how long the gap has been there; the oldest first.
    pub(crate) fn iter(&self, now: Timestamp) -> Vec<(LogId, Seq, PeerId, Duration)> {
        let mut gaps: Vec<_> =
            self.logs.iter().map(|(log, gap)| (*log, gap.end, gap.by, now - gap.since)).collect();
        gaps.sort_by_key(|(.., age)| std::cmp::Reverse(*age));
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Lane;

    fn log(n: u64) -> LogId {
        let mut author = [0; 32];
        author[..8].copy_from_slice(&n.to_le_bytes());
        LogId { author: PeerId(author), lane: Lane::Durable }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_gap_is_as_old_as_what_is_missing() {
        let (a, b) = (PeerId([1; 32]), PeerId([2; 32]));
        let mut gaps = Gaps::default();
        gaps.note(at(1), log(1), 10, a, 0);
        gaps.note(at(3), log(1), 12, b, 5);
        gaps.note(at(4), log(1), 11, a, 5);
        assert_eq!(gaps.iter(at(5)), [(log(1), 12, b, Duration::from_secs(4))]);
        gaps.note(at(6), log(1), 20, a, 12);
        assert_eq!(gaps.iter(at(6)), [(log(1), 20, a, Duration::ZERO)], "the old one was filled");
        gaps.close(|_| 19);
        assert_eq!(gaps.iter(at(6)).len(), 1);
        gaps.close(|_| 20);
        assert!(gaps.iter(at(6)).is_empty());
    }

    #[test]
    fn gaps_are_bounded_and_the_oldest_stay() {
        let mut gaps = Gaps::default();
        for n in 0..2 * limits::GAPS_MAX as u64 {
            gaps.note(at(n), log(n), 1, PeerId([1; 32]), 0);
        }
        let listed = gaps.iter(at(10_000));
        assert_eq!((listed.len(), listed[0].0), (limits::GAPS_MAX, log(0)));
        assert!(gaps.is_full());
    }
}
