//! What is on its way out of one link: what waits here, what the host has and has not written, what the receiver
//! still takes.
//!
//! Talk goes to the host at once. Payload goes while the host has less than a window of it unwritten and the receiver
//! has given credit for it; else it waits here, where it can still be taken back. So a link that stands still costs a
//! bounded number of bytes, and what has waited too long leaves as an announcement.
//!
//! Not here: what follows from how long it waits ([`super::ladder`]).

use std::collections::VecDeque;

use crate::limits;
use crate::time::{Duration, Timestamp};
use crate::wire::frame::{Class, Frame};

/// Classes that share one credit and one bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flow {
    /// Own and forward.
    Live = 0,
    Bulk = 1,
}

impl Flow {
    /// Of a class; talk has none.
    pub(crate) const fn of(class: Class) -> Option<Self> {
        match class {
            Class::Control => None,
            Class::Own | Class::Forward => Some(Self::Live),
            Class::Bulk => Some(Self::Bulk),
        }
    }

    const fn queue_max(self) -> usize {
        match self {
            Self::Live => limits::LINK_QUEUE_MAX,
            Self::Bulk => limits::BULK_QUEUE_MAX,
        }
    }

    const fn window(self) -> usize {
        match self {
            Self::Live => limits::LINK_WINDOW,
            Self::Bulk => limits::BULK_WINDOW,
        }
    }
}

/// What became of a frame. Handed on at once, so its size matters to nobody.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "boxing would cost an allocation for every frame")]
pub(crate) enum Pushed {
    /// It is for the host, now.
    Goes(Frame),
    /// It waits here.
    Waits,
    /// There is no room for it.
    Full,
}

#[derive(Debug, Default)]
pub(crate) struct Outflow {
    /// Handed to the host and not written yet, by class.
    handed: [usize; 4],
    /// Only while something waits.
    waiting: Option<Box<Queues>>,
    /// Handed to the host since the link came up, by flow.
    used: [u64; 2],
    /// What the receiver allows to be used, by flow.
    granted: [u64; 2],
    /// Live bytes that were pending at a moment and still are. Their age is that of the queue, to within the time that
    /// the queue before them took.
    mark: Option<Mark>,
    /// What was sent of the live flow since something was last taken.
    stall: Option<Stall>,
    /// When anything last came from the receiver.
    heard_at: Timestamp,
    /// Bytes of own envelopes that went ahead of waiting forwards.
    own_run: usize,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Timestamp,
    left: usize,
}

/// Sent, and nothing taken since.
#[derive(Clone, Copy, Debug)]
struct Stall {
    since: Timestamp,
    bytes: usize,
    /// When the receiver was asked whether it is there.
    asked_at: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct Queues {
    frames: [VecDeque<Waiting>; 4],
    bytes: [usize; 4],
}

#[derive(Debug)]
struct Waiting {
    frame: Frame,
    since: Timestamp,
}

impl Outflow {
    pub(crate) fn new() -> Self {
        Self { granted: [limits::CREDIT_LIVE, limits::CREDIT_BULK], ..Self::default() }
    }

    /// Counts talk, which always goes. False if it piles up: the peer speaks and does not listen.
    #[must_use]
    pub(crate) fn push_talk(&mut self, len: usize) -> bool {
        self.handed[Class::Control as usize] += len;
        self.handed[Class::Control as usize] <= limits::CONTROL_QUEUE_MAX
    }

    /// Takes a frame of a class with payload. Only envelopes find no room: the ends of answers are few, for so are
    /// the answers.
    pub(crate) fn push(&mut self, now: Timestamp, class: Class, len: usize, frame: Frame) -> Pushed {
        let Some(flow) = Flow::of(class) else {
            return Pushed::Full;
        };
        if matches!(frame, Frame::Data { .. }) && self.pending(flow) + len > flow.queue_max() {
            return Pushed::Full;
        }
        if flow == Flow::Live {
            if self.pending(flow) == 0 {
                self.mark = Some(Mark { at: now, left: len });
            }
            self.stall.get_or_insert(Stall { since: now, bytes: 0, asked_at: None }).bytes += len;
        }
        let is_first = self.waiting.as_ref().is_none_or(|queues| queues.of(flow) == 0);
        if is_first && self.may_go(flow, len) {
            self.hand_over(class, flow, len);
            return Pushed::Goes(frame);
        }
        let queues = self.waiting.get_or_insert_default();
        queues.bytes[class as usize] += len;
        queues.frames[class as usize].push_back(Waiting { frame, since: now });
        Pushed::Waits
    }

    /// The next frame for the host, if there is one and it may go.
    pub(crate) fn pop(&mut self) -> Option<(Class, Frame)> {
        let queues = self.waiting.as_deref()?;
        let live = match (queues.next_len(Class::Own), queues.next_len(Class::Forward)) {
            // Own envelopes go first, but not ten times as many bytes as forwards that wait.
            (Some(_), Some(forward)) if self.own_run >= 9 * forward => Some((Class::Forward, forward)),
            (Some(own), _) => Some((Class::Own, own)),
            (None, forward) => forward.map(|len| (Class::Forward, len)),
        };
        let bulk = queues.next_len(Class::Bulk).map(|len| (Class::Bulk, len));
        let live = live.filter(|(_, len)| self.may_go(Flow::Live, *len));
        let (class, len) = live.or_else(|| bulk.filter(|(_, len)| self.may_go(Flow::Bulk, *len)))?;
        let flow = Flow::of(class)?;
        self.own_run = match class {
            Class::Own => self.own_run + len,
            Class::Forward => 0,
            Class::Control | Class::Bulk => self.own_run,
        };
        let queues = self.waiting.as_deref_mut()?;
        queues.bytes[class as usize] -= len;
        let next = queues.frames[class as usize].pop_front()?;
        if queues.is_empty() {
            self.waiting = None;
        }
        self.hand_over(class, flow, len);
        Some((class, next.frame))
    }

    /// The host has written.
    pub(crate) fn on_written(&mut self, now: Timestamp, class: Class, bytes: usize) {
        let was_queue = self.is_queue();
        let handed = &mut self.handed[class as usize];
        let bytes = bytes.min(*handed);
        *handed -= bytes;
        if Flow::of(class) == Some(Flow::Live) {
            self.advance_mark(now, bytes);
            // What goes on being written to one who says nothing stays in the sockets.
            let is_heard = now - self.heard_at < limits::ASK_AFTER + limits::SLOW_AFTER;
            if was_queue && bytes > 0 && self.has_credit() && is_heard {
                self.took(now);
            }
        }
    }

    /// The receiver takes so much in all. It only ever takes more.
    pub(crate) fn grant(&mut self, now: Timestamp, flow: Flow, upto: u64) {
        let granted = &mut self.granted[flow as usize];
        let grew = upto > *granted;
        *granted = upto.max(*granted);
        if grew && flow == Flow::Live {
            self.took(now);
        }
    }

    /// Something came from the receiver. Of one that has little to take it is sign enough that it takes it.
    pub(crate) fn on_heard(&mut self, now: Timestamp) {
        self.heard_at = now;
        if self.stall.is_some() && !self.is_queue() && self.has_credit() {
            self.took(now);
        }
    }

    /// Something was taken: what is still to be taken counts from now on.
    fn took(&mut self, now: Timestamp) {
        let used = if self.has_credit() { 0 } else { self.unconfirmed() };
        let bytes = self.pending(Flow::Live) + used;
        self.stall = (bytes > 0).then_some(Stall { since: now, bytes, asked_at: None });
    }

    /// Since when the receiver has taken nothing of what it was sent.
    pub(crate) fn stalled_since(&self) -> Option<Timestamp> {
        self.stall.filter(|stall| stall.bytes >= limits::ASK_FROM).map(|stall| stall.since)
    }

    /// When the receiver ought to be asked whether it is there.
    pub(crate) fn ask_at(&self) -> Option<Timestamp> {
        let stall = self.stall.filter(|stall| stall.bytes >= limits::ASK_FROM && stall.asked_at.is_none());
        stall.map(|stall| stall.since + limits::ASK_AFTER)
    }

    pub(crate) fn on_asked(&mut self, now: Timestamp) {
        if let Some(stall) = &mut self.stall {
            stall.asked_at = Some(now);
        }
    }

    /// When a receiver at `rtt` is slow, if it takes nothing until then. Where nothing piles up, only a question that
    /// stays without an answer says so: it need not have had anything to say.
    pub(crate) fn slow_at(&self, rtt: Duration) -> Option<Timestamp> {
        let stall = self.stall?;
        let since = match self.behind_since() {
            Some(since) => Some(since.max(stall.since)),
            None if self.has_credit() => stall.asked_at,
            None => Some(stall.since),
        };
        since.map(|since| since + limits::SLOW_AFTER + rtt)
    }

    /// This node has stood still for so long: nobody else has, as far as it knows.
    pub(crate) fn forgive(&mut self, now: Timestamp, still: Duration) {
        let later = |at: Timestamp| (at + still).min(now);
        if let Some(stall) = &mut self.stall {
            stall.since = later(stall.since);
            stall.asked_at = stall.asked_at.map(later);
        }
        if let Some(mark) = &mut self.mark {
            mark.at = later(mark.at);
        }
        self.heard_at = later(self.heard_at);
    }

    /// Whether anything was ever sent on the live flow.
    pub(crate) fn is_used(&self) -> bool {
        self.used[Flow::Live as usize] > 0
    }

    /// More waits than what is just on its way.
    fn is_queue(&self) -> bool {
        self.pending(Flow::Live) >= limits::SLOW_FROM
    }

    /// The receiver takes more than it would if it stood still: one whose application reads nothing of a group leaves
    /// half of the window.
    fn has_credit(&self) -> bool {
        self.credit(Flow::Live) >= limits::CREDIT_LIVE / 4
    }

    /// Bytes that were handed to the host and that the receiver has not said to have taken in.
    fn unconfirmed(&self) -> usize {
        let confirmed = self.granted[Flow::Live as usize].saturating_sub(limits::CREDIT_LIVE);
        let left = self.used[Flow::Live as usize].saturating_sub(confirmed);
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    /// Takes back envelopes that have waited too long, all of them if `all`. They are dropped, those of the live flow
    /// to become announcements.
    pub(crate) fn take_expired(&mut self, now: Timestamp, all: bool) -> Vec<Frame> {
        let mut expired = Vec::new();
        let Some(queues) = self.waiting.as_deref_mut() else {
            return expired;
        };
        let mut gone = 0;
        for class in [Class::Own, Class::Forward, Class::Bulk] {
            let frames = &mut queues.frames[class as usize];
            let is_due = |since| all || expiry(class, since).is_some_and(|at| at <= now);
            if !frames.front().is_some_and(|first| is_due(first.since)) {
                continue;
            }
            for waiting in std::mem::take(frames) {
                // Ends of answers do not expire: somebody counts on them.
                if !matches!(waiting.frame, Frame::Data { .. }) || !is_due(waiting.since) {
                    frames.push_back(waiting);
                    continue;
                }
                let len = waiting.frame.encoded_len();
                queues.bytes[class as usize] -= len;
                if class != Class::Bulk {
                    gone += len;
                    expired.push(waiting.frame);
                }
            }
        }
        if queues.is_empty() {
            self.waiting = None;
        }
        self.advance_mark(now, gone);
        expired
    }

    /// When something that waits will have waited too long.
    pub(crate) fn next_expiry(&self) -> Option<Timestamp> {
        let queues = self.waiting.as_deref()?;
        let first = |class: Class| {
            let mut envelopes = queues.frames[class as usize].iter();
            let first = envelopes.find(|waiting| matches!(waiting.frame, Frame::Data { .. }));
            first.and_then(|waiting| expiry(class, waiting.since))
        };
        [first(Class::Own), first(Class::Forward)].into_iter().flatten().min()
    }

    /// Bytes of a flow that the host has not written.
    pub(crate) fn pending(&self, flow: Flow) -> usize {
        let waiting = self.waiting.as_ref().map_or(0, |queues| queues.of(flow));
        self.handed(flow) + waiting
    }

    /// Everything that is not written.
    pub(crate) fn queued(&self) -> usize {
        let waiting = self.waiting.as_ref().map_or(0, |queues| queues.bytes.iter().sum());
        self.handed.iter().sum::<usize>() + waiting
    }

    /// Since when the live flow has waited, at least, if it is more than a little.
    pub(crate) fn behind_since(&self) -> Option<Timestamp> {
        self.mark.filter(|_| self.is_queue()).map(|mark| mark.at)
    }

    /// All that was live is written, the receiver takes more, and was heard since.
    pub(crate) fn is_drained(&self, now: Timestamp) -> bool {
        let is_fresh = self.stall.is_none_or(|stall| now - stall.since < limits::SLOW_AFTER);
        self.pending(Flow::Live) == 0 && self.has_credit() && is_fresh
    }

    /// Whether an answer may be begun: there will be room for an envelope of any size.
    pub(crate) fn takes_history(&self) -> bool {
        self.pending(Flow::Bulk) + limits::FRAME_MAX <= limits::BULK_QUEUE_MAX
    }

    #[cfg(test)]
    pub(crate) fn n_waiting_of(&self, class: Class) -> usize {
        let is_data = |waiting: &&Waiting| matches!(waiting.frame, Frame::Data { .. });
        let queues = self.waiting.as_deref();
        queues.map_or(0, |queues| queues.frames[class as usize].iter().filter(is_data).count())
    }

    fn handed(&self, flow: Flow) -> usize {
        match flow {
            Flow::Live => self.handed[Class::Own as usize] + self.handed[Class::Forward as usize],
            Flow::Bulk => self.handed[Class::Bulk as usize],
        }
    }

    fn credit(&self, flow: Flow) -> u64 {
        self.granted[flow as usize].saturating_sub(self.used[flow as usize])
    }

    fn may_go(&self, flow: Flow, len: usize) -> bool {
        self.handed(flow) + len <= flow.window() && len as u64 <= self.credit(flow)
    }

    fn hand_over(&mut self, class: Class, flow: Flow, len: usize) {
        self.handed[class as usize] += len;
        self.used[flow as usize] += len as u64;
    }

    fn advance_mark(&mut self, now: Timestamp, bytes: usize) {
        let left = self.mark.map_or(0, |mark| mark.left.saturating_sub(bytes));
        let pending = self.pending(Flow::Live);
        match &mut self.mark {
            Some(mark) if left > 0 && pending > 0 => mark.left = left,
            mark => *mark = (pending > 0).then_some(Mark { at: now, left: pending }),
        }
    }
}

impl Queues {
    fn of(&self, flow: Flow) -> usize {
        match flow {
            Flow::Live => self.bytes[Class::Own as usize] + self.bytes[Class::Forward as usize],
            Flow::Bulk => self.bytes[Class::Bulk as usize],
        }
    }

    fn next_len(&self, class: Class) -> Option<usize> {
        self.frames[class as usize].front().map(|waiting| waiting.frame.encoded_len())
    }

    fn is_empty(&self) -> bool {
        self.frames.iter().all(VecDeque::is_empty)
    }
}

/// Until when an envelope may wait. Of history nobody says so: who asked will ask again.
fn expiry(class: Class, since: Timestamp) -> Option<Timestamp> {
    let patience: Duration = match class {
        Class::Own => limits::OWN_DEADLINE,
        Class::Forward => limits::FORWARD_DEADLINE,
        Class::Control | Class::Bulk => return None,
    };
    Some(since + patience)
}
