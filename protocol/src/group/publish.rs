//! Our own log in one lane: drafts wait, become a batch, are sealed with the next number.
//!
//! An idle author seals a single message at once; under load a batch fills to [`limits::BATCH_MESSAGES`],
//! [`limits::BATCH_BYTES`] or [`limits::BATCH_DELAY`], whichever is first. Numbers are reserved in the store
//! before they are used, so that none is ever issued twice.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::id::{EnvelopeId, Lane, Seq};
use crate::limits;
use crate::time::Timestamp;

/// Stands for an envelope before, whose id is not known any more.
const FORGOTTEN: EnvelopeId = EnvelopeId([0xff; 32]);

/// A message that waits to be sealed.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Encoded; its time is the moment of publishing.
    pub(crate) body: Bytes,
    pub(crate) ttl_secs: u32,
    pub(crate) ticket: u64,
}

/// Messages that share the next envelope, and its place.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) bodies: Vec<Bytes>,
    pub(crate) ttl_secs: u32,
    /// First and last.
    pub(crate) tickets: (u64, u64),
    pub(crate) seq: Seq,
    pub(crate) skip: u32,
    pub(crate) prev: EnvelopeId,
}

/// One lane of our own log.
#[derive(Debug)]
pub(crate) struct OwnLane {
    lane: Lane,
    /// The number of the next envelope.
    next: Seq,
    /// Some member has stored everything of this run below it.
    taken: Seq,
    /// The first number that is not reserved durably.
    reserved: Seq,
    /// What a reservation under way will make of `reserved`.
    reserving: Option<Seq>,
    /// The last envelope issued and kept, which the next one names.
    head: Option<(Seq, EnvelopeId)>,
    drafts: VecDeque<Pending>,
    bytes: usize,
    sealed_at: Option<Timestamp>,
    /// Bytes of sealed envelopes that the store does not have yet.
    unpersisted: usize,
    /// Something outside keeps it from sealing; it will be pumped when that ends.
    held_up: bool,
}

impl OwnLane {
    /// A lane taken up again: everything below `reserved` may have been issued. What was taken back from peers
    /// after the store was lost can lie beyond it.
    pub(crate) fn new(lane: Lane, reserved: Seq, head: Option<(Seq, EnvelopeId)>) -> Self {
        let next = head.map_or(reserved, |(seq, _)| reserved.max(seq + 1));
        Self {
            lane,
            next,
            taken: next,
            reserved: next,
            reserving: None,
            head,
            drafts: VecDeque::new(),
            bytes: 0,
            sealed_at: None,
            unpersisted: 0,
            held_up: false,
        }
    }

    pub(crate) fn set_held_up(&mut self, held_up: bool) {
        self.held_up = held_up;
    }

    pub(crate) fn is_held_up(&self) -> bool {
        self.held_up
    }

    pub(crate) fn lane(&self) -> Lane {
        self.lane
    }

    /// The number of the next envelope.
    pub(crate) fn next(&self) -> Seq {
        self.next
    }

    pub(crate) fn n_drafts(&self) -> usize {
        self.drafts.len()
    }

    /// Some member has stored everything below `next`.
    pub(crate) fn on_taken(&mut self, next: Seq) {
        self.taken = self.taken.max(next.min(self.next));
    }

    /// Envelopes of this run that no member has said to have stored.
    pub(crate) fn n_untaken(&self) -> u64 {
        self.next - self.taken
    }

    pub(crate) fn has_published(&self) -> bool {
        self.sealed_at.is_some()
    }

    /// Whether there is room for a draft.
    pub(crate) fn accepts(&self) -> bool {
        self.drafts.len() < limits::DRAFTS_MAX && self.bytes < limits::DRAFT_BYTES_MAX
    }

    /// Takes a draft. False if the host did not ask [`OwnLane::accepts`] and there is no room.
    pub(crate) fn push(&mut self, pending: Pending) -> bool {
        // One batch of grace: what was on its way when the lane became full.
        let room = self.drafts.len() < limits::DRAFTS_MAX + limits::BATCH_MESSAGES;
        if room {
            self.bytes += pending.body.len();
            self.drafts.push_back(pending);
        }
        room
    }

    /// Everything that waits, given up.
    pub(crate) fn drain(&mut self) -> Option<(u64, u64)> {
        let tickets = (self.drafts.front()?.ticket, self.drafts.back()?.ticket);
        self.drafts.clear();
        self.bytes = 0;
        Some(tickets)
    }

    /// Takes over what waited in a lane that this one replaces.
    pub(crate) fn adopt_drafts(&mut self, other: Self) {
        self.drafts = other.drafts;
        self.bytes = other.bytes;
    }

    // Numbers.

    /// The reservation to ask the store for now, if any.
    pub(crate) fn take_reservation(&mut self) -> Option<Seq> {
        let low = self.reserved - self.next < limits::SEQ_BLOCK / 2;
        if !low || self.reserving.is_some() {
            return None;
        }
        let upto = self.reserved.max(self.next) + limits::SEQ_BLOCK;
        self.reserving = Some(upto);
        Some(upto)
    }

    /// The store has it.
    pub(crate) fn on_reserved(&mut self, upto: Seq) {
        self.reserved = self.reserved.max(upto);
        self.reserving = None;
    }

    /// Our own log is longer than we knew (a restored identity): go on behind it.
    pub(crate) fn resume_after(&mut self, seq: Seq, id: EnvelopeId) {
        if seq >= self.next {
            self.next = seq + 1;
            self.reserved = self.reserved.max(self.next);
            self.head = Some((seq, id));
        }
    }

    /// Bytes that went to the store and bytes that arrived there.
    pub(crate) fn on_persisting(&mut self, bytes: usize) {
        self.unpersisted += bytes;
    }

    /// See [`OwnLane::on_persisting`].
    pub(crate) fn on_persisted(&mut self, bytes: usize) {
        self.unpersisted = self.unpersisted.saturating_sub(bytes);
    }

    // Batches.

    /// When a batch that is not full yet will be sealed.
    pub(crate) fn seal_at(&self) -> Option<Timestamp> {
        if self.held_up || self.drafts.is_empty() || !self.may_seal() || self.is_full() {
            return None;
        }
        self.sealed_at.map(|at| at + limits::BATCH_DELAY)
    }

    /// The next batch, if one is full or has waited long enough.
    pub(crate) fn take_batch(&mut self, now: Timestamp) -> Option<Batch> {
        let waited = self.sealed_at.is_none_or(|at| now >= at + limits::BATCH_DELAY);
        if self.drafts.is_empty() || !self.may_seal() || !(self.is_full() || waited) {
            return None;
        }
        let ttl_secs = self.drafts.front()?.ttl_secs;
        let mut bytes = 0;
        let mut tickets = None;
        let mut bodies = Vec::with_capacity(self.drafts.len().min(limits::BATCH_MESSAGES));
        while let Some(next) = self.drafts.front() {
            // Each body is preceded by four bytes of length.
            let fits = bodies.is_empty() || bytes + next.body.len() + 4 <= limits::BATCH_BYTES;
            if bodies.len() == limits::BATCH_MESSAGES || !fits || next.ttl_secs != ttl_secs {
                break;
            }
            let Some(pending) = self.drafts.pop_front() else {
                break;
            };
            bytes += pending.body.len() + 4;
            self.bytes -= pending.body.len();
            tickets = Some((tickets.map_or(pending.ticket, |(first, _)| first), pending.ticket));
            bodies.push(pending.body);
        }
        self.sealed_at = Some(now);
        let (skip, prev) = self.place_of_next();
        Some(Batch { bodies, ttl_secs, tickets: tickets?, seq: self.next, skip, prev })
    }

    /// The batch of this number was sealed as `id`.
    pub(crate) fn on_sealed(&mut self, seq: Seq, id: EnvelopeId) {
        assert_eq!(seq, self.next, "envelopes are numbered in the order in which they are sealed");
        self.next = seq + 1;
        self.head = Some((seq, id));
    }

    /// How many numbers the next envelope skips, and whom it names. Without a head it starts anew.
    ///
    /// A live lane keeps no head, and after years its numbers do not fit a `skip` any more. Then it skips as many as
    /// fit, which is beyond all that anybody waits for, and names an envelope that nobody has.
    fn place_of_next(&self) -> (u32, EnvelopeId) {
        let (skip, prev) = match self.head {
            Some((seq, id)) => (self.next - seq - 1, id),
            None => (self.next, EnvelopeId::NONE),
        };
        match u32::try_from(skip) {
            Ok(skip) => (skip, prev),
            Err(_) => (u32::MAX, FORGOTTEN),
        }
    }

    fn may_seal(&self) -> bool {
        self.next < self.reserved && self.unpersisted < limits::DRAFT_BYTES_MAX
    }

    fn is_full(&self) -> bool {
        self.drafts.len() >= limits::BATCH_MESSAGES || self.bytes >= limits::BATCH_BYTES
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    fn pending(ticket: u64, size: usize) -> Pending {
        Pending { body: Bytes::from(vec![0; size]), ttl_secs: 0, ticket }
    }

    fn seal(lane: &mut OwnLane, now: Timestamp) -> Option<(u64, u64)> {
        let batch = lane.take_batch(now)?;
        lane.on_sealed(batch.seq, EnvelopeId([7; 32]));
        Some(batch.tickets)
    }

    fn ready() -> OwnLane {
        let mut lane = OwnLane::new(Lane::Durable, 0, None);
        let upto = lane.take_reservation().expect("nothing is reserved at first");
        assert_eq!(lane.take_batch(Timestamp::ZERO).map(|_| ()), None, "no number before it is durable");
        lane.on_reserved(upto);
        lane
    }

    #[test]
    fn an_idle_author_seals_at_once_and_a_busy_one_fills_a_batch() {
        let mut lane = ready();
        let t0 = Timestamp::from_micros(1_000_000);
        lane.push(pending(1, 10));
        assert_eq!(seal(&mut lane, t0), Some((1, 1)));
        lane.push(pending(2, 10));
        lane.push(pending(3, 10));
        assert_eq!(seal(&mut lane, t0 + Duration::from_millis(1)), None);
        assert_eq!(lane.seal_at(), Some(t0 + limits::BATCH_DELAY));
        assert_eq!(seal(&mut lane, t0 + limits::BATCH_DELAY), Some((2, 3)));
        for ticket in 4..4 + limits::BATCH_MESSAGES as u64 + 1 {
            lane.push(pending(ticket, 10));
        }
        let t1 = t0 + limits::BATCH_DELAY + Duration::from_micros(1);
        assert_eq!(seal(&mut lane, t1), Some((4, 3 + limits::BATCH_MESSAGES as u64)), "full");
        assert_eq!(seal(&mut lane, t1), None, "the one left over waits for company");
    }

    #[test]
    fn a_batch_holds_one_time_to_live_and_so_many_bytes() {
        let mut lane = ready();
        lane.push(pending(1, limits::BATCH_BYTES));
        lane.push(pending(2, 100));
        lane.push(Pending { ttl_secs: 9, ..pending(3, 100) });
        assert_eq!(seal(&mut lane, Timestamp::ZERO), Some((1, 1)));
        let later = Timestamp::ZERO + limits::BATCH_DELAY;
        assert_eq!(seal(&mut lane, later), Some((2, 2)));
        assert_eq!(seal(&mut lane, later + limits::BATCH_DELAY), Some((3, 3)));
    }

    #[test]
    fn after_a_restart_the_reserved_numbers_are_skipped() {
        let mut lane = OwnLane::new(Lane::Durable, 1024, Some((4, EnvelopeId([5; 32]))));
        let upto = lane.take_reservation().expect("the old block is used up");
        lane.on_reserved(upto);
        lane.push(pending(1, 1));
        let batch = lane.take_batch(Timestamp::ZERO).expect("idle");
        assert_eq!((batch.seq, batch.skip, batch.prev), (1024, 1019, EnvelopeId([5; 32])));
    }

    /// A live lane has no head after a restart: past 2^32 numbers the skip no longer reaches back to zero.
    #[test]
    fn a_lane_of_many_years_starts_again() {
        for (reserved, skip, is_first) in
            [(u64::from(u32::MAX), u32::MAX, true), (u64::from(u32::MAX) + 1, u32::MAX, false)]
        {
            let mut lane = OwnLane::new(Lane::Live, reserved, None);
            let upto = lane.take_reservation().expect("nothing is reserved");
            lane.on_reserved(upto);
            lane.push(pending(1, 1));
            let batch = lane.take_batch(Timestamp::ZERO).expect("idle");
            assert_eq!((batch.seq, batch.skip), (reserved, skip));
            // What an envelope must say about itself.
            assert_eq!(batch.prev == EnvelopeId::NONE, is_first);
        }
    }

    #[test]
    fn what_no_member_has_stored_is_counted() {
        let mut lane = ready();
        for ticket in 1..=3 {
            lane.push(pending(ticket, limits::BATCH_BYTES));
            seal(&mut lane, Timestamp::ZERO);
        }
        assert_eq!(lane.n_untaken(), 3);
        lane.on_taken(2);
        lane.on_taken(1);
        assert_eq!(lane.n_untaken(), 1, "another member may have less");
        lane.on_taken(Seq::MAX);
        assert_eq!(lane.n_untaken(), 0);
        let again = OwnLane::new(Lane::Durable, 1024, Some((2, EnvelopeId([5; 32]))));
        assert_eq!(again.n_untaken(), 0, "what an earlier run has left is not known");
    }

    /// A store that was lost and filled from peers has no reservation, but a head.
    #[test]
    fn what_was_taken_back_counts_as_issued() {
        let mut lane = OwnLane::new(Lane::Durable, 0, Some((4, EnvelopeId([5; 32]))));
        let upto = lane.take_reservation().expect("nothing is reserved");
        assert_eq!(upto, 5 + limits::SEQ_BLOCK);
        lane.on_reserved(upto);
        lane.push(pending(1, 1));
        let batch = lane.take_batch(Timestamp::ZERO).expect("idle");
        assert_eq!((batch.seq, batch.skip), (5, 0));
    }

    /// A lane that nothing can leave asks for no time-out.
    #[test]
    fn a_lane_that_is_held_up_does_not_spin() {
        let mut lane = ready();
        lane.push(pending(1, 10));
        seal(&mut lane, Timestamp::ZERO).expect("idle");
        lane.push(pending(2, 10));
        assert!(lane.seal_at().is_some());
        lane.set_held_up(true);
        assert_eq!(lane.seal_at(), None);
    }

    #[test]
    fn drafts_are_bounded_and_there_is_room_again_once_they_leave() {
        let mut lane = ready();
        for ticket in 0..limits::DRAFTS_MAX as u64 {
            assert!(lane.accepts());
            assert!(lane.push(pending(ticket, 1)));
        }
        assert!(!lane.accepts());
        seal(&mut lane, Timestamp::ZERO).expect("full");
        assert!(lane.accepts());
    }
}
