//! One author's log in a group: how far it is complete, what lies beyond, what is missing in between.
//!
//! Numbers that an author never issued (`skip`, after a crash) count as there.

use std::collections::BTreeMap;

use crate::id::{EnvelopeId, Seq};
use crate::limits;

/// What is known of a log. Complete below `next`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    next: Seq,
    head: EnvelopeIdOrNone,
    /// Envelopes at or above `next`, by number, with the numbers skipped before them.
    above: BTreeMap<Seq, (u32, EnvelopeId)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EnvelopeIdOrNone(EnvelopeId);

impl Default for EnvelopeIdOrNone {
    fn default() -> Self {
        Self(EnvelopeId::NONE)
    }
}

/// What became of an envelope offered to a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Placed {
    /// New; the log may be complete further than before.
    New,
    /// Its number is there already, under this id if it is still remembered.
    Known(Option<EnvelopeId>),
    /// It names another predecessor than the one that is here: the author has forked its log.
    Fork,
    /// Too far ahead of everything that is known.
    TooFar,
    /// Too much lies beyond a gap already: to be fetched again later.
    TooMany,
}

/// One envelope's place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) seq: Seq,
    pub(crate) skip: u32,
    pub(crate) id: EnvelopeId,
    pub(crate) prev: EnvelopeId,
}

impl Log {
    /// A log that was loaded from the store.
    pub(crate) fn load(
        next: Seq,
        head: EnvelopeId,
        above: impl IntoIterator<Item = (Seq, u32, EnvelopeId)>,
    ) -> Self {
        let above = above.into_iter().map(|(seq, skip, id)| (seq, (skip, id))).collect();
        let mut log = Self { next, head: EnvelopeIdOrNone(head), above };
        log.advance();
        log
    }

    /// A log whose beginning does not matter (live lane): it starts at `seq`.
    pub(crate) fn starting_at(seq: Seq) -> Self {
        Self { next: seq, ..Self::default() }
    }

    /// Everything below is there.
    pub(crate) fn next(&self) -> Seq {
        self.next
    }

    /// The last envelope below [`Log::next`].
    pub(crate) fn head(&self) -> EnvelopeId {
        self.head.0
    }

    /// The highest number known to exist here.
    pub(crate) fn highest(&self) -> Option<Seq> {
        self.above.last_key_value().map(|(seq, _)| *seq).or_else(|| self.next.checked_sub(1))
    }

    pub(crate) fn contains(&self, seq: Seq) -> bool {
        seq < self.next
            || self.above.range(seq..).next().is_some_and(|(end, (skip, _))| end - u64::from(*skip) <= seq)
    }

    /// Why there is no place for this number now, if there is none.
    pub(crate) fn refusal(&self, seq: Seq, skip: u32) -> Option<Placed> {
        let first = seq - u64::from(skip).min(seq);
        let far = self.highest().map_or(0, |highest| highest + 1) + limits::SEQ_JUMP_MAX;
        match first > self.next {
            true if seq > far => Some(Placed::TooFar),
            true if self.above.len() >= limits::RANGES_MAX => Some(Placed::TooMany),
            _ => None,
        }
    }

    /// Takes an envelope in.
    pub(crate) fn insert(&mut self, place: Place) -> Placed {
        let Place { seq, skip, id, prev } = place;
        if self.contains(seq) {
            let known = if seq + 1 == self.next {
                Some(self.head.0)
            } else {
                self.above.get(&seq).map(|(_, id)| *id)
            };
            return Placed::Known(known.filter(|id| *id != EnvelopeId::NONE));
        }
        if let Some(refusal) = self.refusal(seq, skip) {
            return refusal;
        }
        let first = seq - u64::from(skip).min(seq);
        let head_known = self.head.0 != EnvelopeId::NONE;
        if first == self.next && head_known && prev != EnvelopeId::NONE && prev != self.head.0 {
            return Placed::Fork;
        }
        if first <= self.next && self.above.is_empty() {
            self.next = seq + 1;
            self.head = EnvelopeIdOrNone(id);
        } else {
            self.above.insert(seq, (skip, id));
            self.advance();
        }
        Placed::New
    }

    /// Gives up on everything before the first envelope beyond the gap. Returns what was given up.
    pub(crate) fn skip_gap(&mut self) -> Option<(Seq, Seq)> {
        let (seq, (skip, _)) = self.above.first_key_value()?;
        let given_up = (self.next, seq - u64::from(*skip) - 1);
        self.next = given_up.1 + 1;
        self.head = EnvelopeIdOrNone::default();
        self.advance();
        Some(given_up)
    }

    /// Whether something lies beyond a gap.
    pub(crate) fn has_gap(&self) -> bool {
        !self.above.is_empty()
    }

    /// The missing ranges below `end`, in order.
    pub(crate) fn missing_below(&self, end: Seq) -> impl Iterator<Item = (Seq, Seq)> + '_ {
        let mut from = self.next;
        let ends = self.above.iter().map(|(seq, (skip, _))| (seq - u64::from(*skip), *seq + 1));
        ends.chain(std::iter::once((end, end))).filter_map(move |(first, after)| {
            let gap = (from < first.min(end)).then(|| (from, first.min(end) - 1));
            from = from.max(after);
            gap
        })
    }

    fn advance(&mut self) {
        while let Some(entry) = self.above.first_entry() {
            let (seq, (skip, id)) = (*entry.key(), *entry.get());
            if seq >= self.next && seq - u64::from(skip).min(seq) > self.next {
                break;
            }
            entry.remove();
            if seq >= self.next {
                self.next = seq + 1;
                self.head = EnvelopeIdOrNone(id);
            }
        }
        if self.above.is_empty() {
            // An emptied map keeps 500 bytes, and there is one for each author.
            self.above = BTreeMap::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(seq: Seq) -> EnvelopeId {
        EnvelopeId([u8::try_from(seq % 250).expect("small") + 1; 32])
    }

    fn place(seq: Seq, skip: u32) -> Place {
        let prev = (seq - u64::from(skip)).checked_sub(1).map_or(EnvelopeId::NONE, id);
        Place { seq, skip, id: id(seq), prev }
    }

    #[test]
    fn a_log_fills_its_gaps_in_any_order() {
        let mut log = Log::default();
        for seq in [3, 1, 4, 0] {
            assert_eq!(log.insert(place(seq, 0)), Placed::New);
        }
        assert_eq!(log.next(), 2);
        assert_eq!(log.missing_below(7).collect::<Vec<_>>(), [(2, 2), (5, 6)]);
        assert_eq!(log.insert(place(2, 0)), Placed::New);
        assert_eq!((log.next(), log.head()), (5, id(4)));
        assert!(!log.has_gap());
        assert_eq!(log.insert(place(4, 0)), Placed::Known(Some(id(4))));
        assert_eq!(log.missing_below(5).count(), 0);
    }

    #[test]
    fn skipped_numbers_are_not_missing() {
        let mut log = Log::default();
        log.insert(place(0, 0));
        assert_eq!(log.insert(place(1024, 1023)), Placed::New);
        assert_eq!(log.next(), 1025);
        assert!(log.contains(500));
        assert_eq!(log.insert(place(2000, 10)), Placed::New);
        assert_eq!(log.missing_below(3000).collect::<Vec<_>>(), [(1025, 1989), (2001, 2999)]);
    }

    #[test]
    fn another_predecessor_is_a_fork() {
        let mut log = Log::default();
        log.insert(place(0, 0));
        let forged = Place { prev: EnvelopeId([99; 32]), ..place(1, 0) };
        assert_eq!(log.insert(forged), Placed::Fork);
        assert_eq!(log.insert(place(1, 0)), Placed::New);
    }

    #[test]
    fn jumps_and_gaps_are_bounded_from_both_sides() {
        let mut log = Log::default();
        let far = limits::SEQ_JUMP_MAX;
        assert_eq!(log.insert(place(far + 1, 0)), Placed::TooFar);
        assert_eq!(log.insert(place(far, 0)), Placed::New);
        let mut log = Log::default();
        for n in 0..limits::RANGES_MAX as u64 {
            assert_eq!(log.insert(place(2 * n + 1, 0)), Placed::New);
        }
        assert_eq!(log.insert(place(5000, 0)), Placed::TooMany);
        assert_eq!(log.insert(place(0, 0)), Placed::New, "what closes a gap is always welcome");
    }

    #[test]
    fn a_gap_that_is_given_up_is_told() {
        let mut log = Log::starting_at(10);
        log.insert(place(12, 0));
        assert_eq!(log.skip_gap(), Some((10, 11)));
        assert_eq!(log.next(), 13);
        assert_eq!(log.skip_gap(), None);
    }
}
