//! One neighbour: the HELLO, whose groups are shared, what waits to be written and how far it lags, beats and digests.
//!
//! Not here: whether the peer is alive (presence), whether to be linked to it (overlay).

pub(crate) mod intake;
pub(crate) mod ladder;
pub(crate) mod outflow;
mod pulse;
pub(crate) mod slow_peers;

use std::collections::BTreeMap;

use self::pulse::Pulse;
use crate::heap;
use crate::id::{GroupId, Incarnation, LinkId, PeerId};
use crate::io::Pace;
use crate::limits;
use crate::time::{Duration, Timestamp};
use crate::timed::Timer;
use crate::wire::frame::{Beat, Class, Credit, Frame, GroupIx};
use intake::Intake;
use ladder::{Ladder, Queue, Step};
use outflow::{Flow, Outflow, Pushed};

/// The round trip to a peer that has answered no question yet.
const RTT_UNKNOWN: Duration = Duration::from_millis(100);

/// State of one link.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) peer: PeerId,
    pub(crate) dialed: bool,
    up_at: Timestamp,
    /// Ours, sent in our HELLO.
    pub(crate) nonce: [u8; 16],
    /// What matters of theirs, once it came.
    pub(crate) hello: Option<Greeting>,
    /// The host was asked to close it; nothing new begins on it.
    closing: bool,
    /// Another link to the same peer takes over; this one is closed then.
    retire_at: Option<Timestamp>,
    /// Our HELLO went out.
    pub(crate) has_greeted: bool,
    /// The overlay has given it up: what is under way still arrives.
    is_parting: bool,
    /// Groups that we share, in the order of the peer's numbers. Most links have one.
    shared: Vec<Shared>,
    /// Proofs that match no group of ours, in case we join one.
    unmatched: BTreeMap<GroupIx, [u8; 32]>,
    /// It was told whom we are linked to, as far as [`crate::engine::Engine`] has told anybody.
    pub(crate) knows_peers: bool,
    pub(crate) intake: Intake,
    outflow: Outflow,
    ladder: Ladder,
    /// So much live payload waits that publishers have to.
    is_full: bool,
    /// A request for history waits until there is room for the answer.
    has_deferred: bool,
    last_sent: Timestamp,
    pulse: Pulse,
    /// When the next digest goes out, once a group is shared.
    pub(crate) digest_at: Option<Timestamp>,
    digest_pause: Duration,
    n_postponed: u32,
}

/// What of a HELLO matters after it was taken in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Greeting {
    pub(crate) nonce: [u8; 16],
    pub(crate) incarnation: Incarnation,
}

/// A group that both are in.
#[derive(Debug)]
struct Shared {
    /// The peer's number for it.
    theirs: GroupIx,
    group: GroupId,
    /// That the peer is in it.
    proof: [u8; 32],
}

impl Link {
    /// Bytes of memory behind it, about.
    pub(crate) fn heap(&self) -> usize {
        heap::list(&self.shared) + heap::map(&self.unmatched) + self.queued()
    }

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
            shared: Vec::new(),
            unmatched: BTreeMap::new(),
            knows_peers: false,
            intake: Intake::new(),
            outflow: Outflow::new(),
            ladder: Ladder::default(),
            is_full: false,
            has_deferred: false,
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
        self.shared.retain(|known| known.group != group && known.theirs != theirs);
        self.shared.reserve_exact(1);
        let at = self.shared.partition_point(|known| known.theirs < theirs);
        self.shared.insert(at, Shared { theirs, group, proof });
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
        self.shared.extract_if(.., |known| known.theirs == theirs).next().map(|known| known.group)
    }

    /// We have left a group; the peer has not, and we may come back.
    pub(crate) fn forget_group(&mut self, group: &GroupId) {
        if let Some(at) = self.shared.iter().position(|known| known.group == *group) {
            let Shared { theirs, proof, .. } = self.shared.remove(at);
            self.keep_unmatched(theirs, proof);
        }
    }

    /// The peer's number of the unmatched subscription whose proof `is_ours`, and the proof.
    pub(crate) fn find_unmatched(&self, is_ours: impl Fn(&[u8; 32]) -> bool) -> Option<(GroupIx, [u8; 32])> {
        self.unmatched.iter().find(|(_, proof)| is_ours(proof)).map(|(ix, proof)| (*ix, *proof))
    }

    /// The group behind the peer's number.
    pub(crate) fn group(&self, theirs: GroupIx) -> Option<GroupId> {
        self.shared.iter().find(|known| known.theirs == theirs).map(|known| known.group)
    }

    pub(crate) fn shared_groups(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.shared.iter().map(|known| known.group)
    }

    // What waits to be written.

    /// Counts talk on its way. False if it piles up: the peer speaks and does not listen.
    #[must_use]
    pub(crate) fn on_talk(&mut self, now: Timestamp, len: usize) -> bool {
        self.last_sent = now;
        self.outflow.push_talk(len)
    }

    /// Takes a frame of a class with payload.
    pub(crate) fn push(&mut self, now: Timestamp, class: Class, len: usize, frame: Frame) -> Pushed {
        let pushed = self.outflow.push(now, class, len, frame);
        if matches!(pushed, Pushed::Goes(_)) {
            self.last_sent = now;
        }
        self.is_full |= self.outflow.pending(Flow::Live) >= limits::LINK_QUEUE_HIGH;
        pushed
    }

    /// The next frame that may go to the host.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<(Class, Frame)> {
        let next = self.outflow.pop();
        if next.is_some() {
            self.last_sent = now;
        }
        next
    }

    /// The transport has written.
    pub(crate) fn on_written(&mut self, now: Timestamp, class: Class, bytes: usize) {
        self.outflow.on_written(now, class, bytes);
    }

    /// The peer takes more.
    pub(crate) fn on_credit(&mut self, now: Timestamp, credit: &Credit) {
        self.outflow.grant(now, Flow::Live, credit.live);
        self.outflow.grant(now, Flow::Bulk, credit.bulk);
    }

    /// Takes back what has waited too long for a live class.
    pub(crate) fn take_expired(&mut self, now: Timestamp) -> Vec<Frame> {
        self.outflow.take_expired(now, self.pace() == Pace::Blocked)
    }

    /// True once a full link has become free.
    pub(crate) fn take_freed(&mut self) -> bool {
        let is_free = self.outflow.pending(Flow::Live) <= limits::LINK_QUEUE_LOW;
        is_free && std::mem::take(&mut self.is_full)
    }

    pub(crate) fn queued(&self) -> usize {
        self.outflow.queued()
    }

    /// Whether there is room for an envelope of any size beside what is live.
    pub(crate) fn has_live_room(&self) -> bool {
        self.outflow.pending(Flow::Live) < limits::LINK_QUEUE_HIGH
    }

    /// Whether an answer with history may be begun.
    pub(crate) fn takes_history(&self) -> bool {
        self.outflow.takes_history()
    }

    /// So many requests wait for their answers' ends that the peer cannot be reading them.
    pub(crate) fn reads_no_answers(&self) -> bool {
        self.outflow.pending(Flow::Bulk) > limits::ANSWER_QUEUE_MAX
    }

    /// A request waits for room; it is to be told of it.
    pub(crate) fn defer(&mut self) {
        self.has_deferred = true;
    }

    /// True once there is room for a request that waits.
    pub(crate) fn take_deferred(&mut self) -> bool {
        self.outflow.takes_history() && std::mem::take(&mut self.has_deferred)
    }

    // How far it lags.

    pub(crate) fn pace(&self) -> Pace {
        self.ladder.pace()
    }

    /// It was closed for being slow before.
    pub(crate) fn begin_slow(&mut self, now: Timestamp, spells: u32) {
        self.ladder = Ladder::begin_slow(now, spells);
    }

    /// It is sent payload; else it is told what there is, and asks for it.
    pub(crate) fn is_prompt(&self) -> bool {
        self.pace() == Pace::Prompt
    }

    /// Full, and a publisher should wait for it.
    pub(crate) fn holds_up(&self) -> bool {
        self.is_full && self.is_prompt()
    }

    /// Slow, and still at what made it so: worth waiting for if there is nobody else.
    pub(crate) fn is_stuck(&self) -> bool {
        self.ladder.is_stuck()
    }

    /// Looks again at how it takes what it is sent. `is_alone`: most others do not lag as it does.
    pub(crate) fn look_at_pace(&mut self, now: Timestamp, is_alone: bool) -> Option<Step> {
        let is_far_behind = is_alone && self.is_behind(now, limits::FAR_BEHIND);
        let queue = Queue { is_far_behind, ..self.queue(self.outflow.is_drained(now)) };
        self.ladder.look(now, &queue)
    }

    fn queue(&self, is_drained: bool) -> Queue {
        Queue {
            stalled_since: self.outflow.stalled_since(),
            slow_at: self.outflow.slow_at(self.rtt().unwrap_or(RTT_UNKNOWN)),
            is_far_behind: false,
            is_drained,
            is_full: self.is_full,
        }
    }

    /// What waits for it has waited for so long.
    pub(crate) fn is_behind(&self, now: Timestamp, age: Duration) -> bool {
        self.outflow.behind_since().is_some_and(|since| since + age <= now)
    }

    /// It is sent live payload, so that others can be compared with it.
    pub(crate) fn is_sent_to(&self) -> bool {
        self.is_prompt() && !self.closing && self.outflow.is_used()
    }

    /// It has been sent something, and nothing was heard of it for a while.
    pub(crate) fn wants_question(&self, now: Timestamp) -> bool {
        self.hello.is_some() && self.outflow.ask_at().is_some_and(|at| at <= now)
    }

    /// This node has stood still.
    pub(crate) fn forgive(&mut self, now: Timestamp, still: Duration) {
        self.outflow.forgive(now, still);
    }

    // Beats.

    /// Something came. True if that may make it less slow than it was.
    #[must_use]
    pub(crate) fn heard(&mut self, now: Timestamp) -> bool {
        self.pulse.heard(now);
        self.outflow.on_heard(now);
        !self.is_prompt()
    }

    pub(crate) fn beat(&mut self, now: Timestamp, ask: bool) -> Beat {
        if ask {
            self.outflow.on_asked(now);
        }
        self.pulse.beat(now, ask)
    }

    /// Whether it may beat slowly: others watch whoever is at the other end.
    pub(crate) fn set_quiet(&mut self, is_quiet: bool) {
        self.pulse.set_quiet(is_quiet);
    }

    pub(crate) fn on_beat(&mut self, now: Timestamp, beat: &Beat) {
        self.pulse.on_beat(now, beat);
    }

    // Time.

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

impl Timer for Link {
    fn next_deadline(&self) -> Option<Timestamp> {
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
        let pace = self.ladder.next_deadline(&self.queue(false));
        let ask = self.outflow.ask_at().filter(|_| self.hello.is_some());
        let expiry = self.outflow.next_expiry();
        [beat, self.digest_at, pace, ask, expiry, self.retire_at].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests;
