//! One neighbour: the HELLO, whose groups are shared, what waits to be written, beats and digests.
//!
//! Not here: whether the peer is alive (presence), whether to be linked to it (overlay).

mod pulse;

use std::collections::{BTreeMap, BTreeSet};

use self::pulse::Pulse;
use crate::id::{GroupId, LinkId, PeerId};
use crate::limits;
use crate::time::{Duration, Timestamp};
use crate::wire::frame::{Beat, Class, GroupIx, Hello};

/// State of one link.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) peer: PeerId,
    pub(crate) dialed: bool,
    up_at: Timestamp,
    /// Ours, sent in our HELLO.
    pub(crate) nonce: [u8; 16],
    /// Theirs, once it came.
    pub(crate) hello: Option<Hello>,
    /// The host was asked to close it; nothing new begins on it.
    closing: bool,
    /// Another link to the same peer takes over; this one is closed then.
    retire_at: Option<Timestamp>,
    /// Our HELLO went out.
    pub(crate) has_greeted: bool,
    /// The overlay has given it up: what is under way still arrives.
    is_parting: bool,
    /// The peer's numbers for groups that we share, with the proof that each is.
    shared: BTreeMap<GroupIx, (GroupId, [u8; 32])>,
    /// Proofs that match no group of ours, in case we join one.
    unmatched: BTreeMap<GroupIx, [u8; 32]>,
    /// Whom it says it is linked to.
    pub(crate) neighbours: BTreeSet<PeerId>,
    queued: [usize; 4],
    full_since: Option<Timestamp>,
    /// Full for so long that payload is left to repair.
    passed_over: bool,
    last_sent: Timestamp,
    pulse: Pulse,
    /// When the next digest goes out, once a group is shared.
    pub(crate) digest_at: Option<Timestamp>,
    digest_pause: Duration,
    n_postponed: u32,
}

impl Link {
    pub(crate) fn new(now: Timestamp, id: LinkId, peer: PeerId, dialed: bool, nonce: [u8; 16]) -> Self {
        Self {
            id,
            peer,
            dialed,
            up_at: now,
            nonce,
            hello: None,
            closing: false,
            retire_at: None,
            has_greeted: false,
            is_parting: false,
            shared: BTreeMap::new(),
            unmatched: BTreeMap::new(),
            neighbours: BTreeSet::new(),
            queued: [0; 4],
            full_since: None,
            passed_over: false,
            last_sent: now,
            pulse: Pulse::new(now, dialed),
            digest_at: None,
            digest_pause: limits::DIGEST_MIN,
            n_postponed: 0,
        }
    }

    /// The host was asked to close it. True the first time.
    pub(crate) fn close(&mut self) -> bool {
        !std::mem::replace(&mut self.closing, true)
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }

    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.pulse.rtt()
    }

    // Groups.

    pub(crate) fn share(&mut self, theirs: GroupIx, group: GroupId, proof: [u8; 32]) {
        self.unmatched.remove(&theirs);
        self.shared.retain(|_, (known, _)| *known != group);
        self.shared.insert(theirs, (group, proof));
    }

    /// Keeps a proof for later. False if there are too many.
    pub(crate) fn keep_unmatched(&mut self, theirs: GroupIx, proof: [u8; 32]) -> bool {
        let room = self.unmatched.len() < limits::UNMATCHED_SUBSCRIPTIONS_MAX;
        if room {
            self.unmatched.insert(theirs, proof);
        }
        room
    }

    pub(crate) fn unshare(&mut self, theirs: GroupIx) -> Option<GroupId> {
        self.unmatched.remove(&theirs);
        self.shared.remove(&theirs).map(|(group, _)| group)
    }

    /// We have left a group; the peer has not, and we may come back.
    pub(crate) fn forget_group(&mut self, group: &GroupId) {
        let theirs = self.shared.iter().find(|(_, (known, _))| known == group);
        if let Some((theirs, (_, proof))) = theirs.map(|(theirs, shared)| (*theirs, *shared)) {
            self.shared.remove(&theirs);
            self.keep_unmatched(theirs, proof);
        }
    }

    /// The peer's number of the unmatched subscription whose proof `is_ours`, and the proof.
    pub(crate) fn find_unmatched(&self, is_ours: impl Fn(&[u8; 32]) -> bool) -> Option<(GroupIx, [u8; 32])> {
        self.unmatched.iter().find(|(_, proof)| is_ours(proof)).map(|(ix, proof)| (*ix, *proof))
    }

    /// The group behind the peer's number.
    pub(crate) fn group(&self, theirs: GroupIx) -> Option<GroupId> {
        self.shared.get(&theirs).map(|(group, _)| *group)
    }

    pub(crate) fn shared_groups(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.shared.values().map(|(group, _)| *group)
    }

    // What waits to be written.

    /// Counts what is on its way. False if talk piles up: the peer speaks and does not listen.
    #[must_use]
    pub(crate) fn on_sent(&mut self, now: Timestamp, class: Class, bytes: usize) -> bool {
        self.last_sent = now;
        self.queued[class as usize] += bytes;
        if self.full_since.is_none() && self.waiting() >= limits::LINK_QUEUE_HIGH {
            self.full_since = Some(now);
        }
        self.queued[Class::Control as usize] <= limits::CONTROL_QUEUE_MAX
            && self.queued[Class::Bulk as usize] <= limits::ANSWER_QUEUE_MAX
    }

    /// Whether more history may be queued.
    pub(crate) fn takes_history(&self) -> bool {
        self.queued[Class::Bulk as usize] < limits::BULK_QUEUE_MAX
    }

    /// The transport has written. True if a full link has become free.
    pub(crate) fn on_written(&mut self, class: Class, bytes: usize) -> bool {
        let queued = &mut self.queued[class as usize];
        *queued = queued.saturating_sub(bytes);
        let free = self.full_since.is_some() && self.waiting() <= limits::LINK_QUEUE_LOW;
        if free {
            self.full_since = None;
            self.passed_over = false;
        }
        free
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued.iter().sum()
    }

    /// What a publisher has to wait for; history is bounded by the requests for it.
    fn waiting(&self) -> usize {
        self.queued[Class::Own as usize] + self.queued[Class::Forward as usize]
    }

    pub(crate) fn full_since(&self) -> Option<Timestamp> {
        self.full_since
    }

    /// Full, and a publisher should still wait for it.
    pub(crate) fn holds_up(&self) -> bool {
        self.full_since.is_some() && !self.passed_over
    }

    /// Payload is left to repair: it has been full for too long, or what is passed on has doubled the queue.
    pub(crate) fn is_passed_over(&self) -> bool {
        self.passed_over || self.waiting() >= 2 * limits::LINK_QUEUE_HIGH
    }

    /// True when the publisher stops waiting for this link.
    pub(crate) fn lose_patience(&mut self, now: Timestamp) -> bool {
        let lost =
            !self.passed_over && self.full_since.is_some_and(|since| now - since >= limits::LINK_PATIENCE);
        self.passed_over |= lost;
        lost
    }

    // Beats.

    pub(crate) fn heard(&mut self, now: Timestamp) {
        self.pulse.heard(now);
    }

    pub(crate) fn beat(&mut self, now: Timestamp, ask: bool) -> Beat {
        self.pulse.beat(now, ask)
    }

    pub(crate) fn on_beat(&mut self, now: Timestamp, beat: &Beat) {
        self.pulse.on_beat(now, beat);
    }

    // Time.

    /// When this link wants a look.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        if self.closing {
            return None;
        }
        if self.is_parting {
            return self.retire_at;
        }
        let beat = match self.hello {
            Some(_) => self.pulse.next_deadline(self.last_sent),
            None => Some(self.up_at + limits::HELLO_PATIENCE),
        };
        let waits = self.full_since.filter(|_| !self.passed_over);
        let patience = waits.map(|since| since + limits::LINK_PATIENCE);
        [beat, self.digest_at, patience, self.retire_at].into_iter().flatten().min()
    }

    /// Another link takes over.
    pub(crate) fn retire(&mut self, now: Timestamp) {
        self.retire_at.get_or_insert(now + limits::RETIRE);
    }

    /// One side does not keep it.
    pub(crate) fn part(&mut self, now: Timestamp) {
        self.is_parting = true;
        self.retire(now);
    }

    pub(crate) fn is_parting(&self) -> bool {
        self.is_parting
    }

    pub(crate) fn is_retiring(&self) -> bool {
        self.retire_at.is_some()
    }

    pub(crate) fn has_retired(&self, now: Timestamp) -> bool {
        self.retire_at.is_some_and(|at| at <= now)
    }

    /// What is here has changed: compare soon, however long all was equal.
    pub(crate) fn hurry_digest(&mut self, now: Timestamp) {
        self.digest_pause = limits::DIGEST_MIN;
        if let Some(at) = &mut self.digest_at {
            *at = (*at).min(now + limits::DIGEST_MIN);
        }
    }

    /// The next digest goes out by then.
    pub(crate) fn digest_by(&mut self, at: Timestamp) {
        if let Some(digest_at) = &mut self.digest_at {
            *digest_at = (*digest_at).min(at);
        }
    }

    /// Something has just come and is on its way elsewhere: a digest would only say so. True if it waits, which it
    /// does not do for ever.
    pub(crate) fn postpone_digest(&mut self, now: Timestamp) -> bool {
        let waits = self.n_postponed < limits::DIGEST_WAITS;
        if waits {
            self.n_postponed += 1;
            self.digest_at = Some(now + limits::DIGEST_QUIET);
        } else {
            self.n_postponed = 0;
        }
        waits
    }

    pub(crate) fn is_mute(&self, now: Timestamp) -> bool {
        self.hello.is_none() && now - self.up_at >= limits::HELLO_PATIENCE
    }

    pub(crate) fn wants_beat(&self, now: Timestamp) -> bool {
        self.hello.is_some() && self.pulse.next_deadline(self.last_sent).is_some_and(|at| at <= now)
    }

    /// As far as this side knows both agree: look again later and later.
    pub(crate) fn digest_equal(&mut self) {
        self.n_postponed = 0;
        self.digest_pause = (self.digest_pause * 2).min(limits::DIGEST_MAX);
    }

    /// They differ: look again soon.
    pub(crate) fn digest_differs(&mut self) {
        self.digest_pause = limits::DIGEST_MIN;
    }

    /// Sets the next digest, `jitter` being in 0..256 for 0 to 25 % more.
    pub(crate) fn schedule_digest(&mut self, now: Timestamp, jitter: u32) {
        self.digest_at = Some(now + self.digest_pause + self.digest_pause * jitter / 1024);
    }
}
