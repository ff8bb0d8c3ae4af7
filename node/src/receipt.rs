//! What becomes of a message: queued, sent, stored by whom, dropped and why.
//!
//! Receipts cost nothing per message: a lane remembers which tickets left in which envelope, and how far each
//! member has stored it; a receipt is a ticket that asks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use djembe_protocol::id::{Lane, LogId, MessageId, PeerId, Seq};
use djembe_protocol::limits;
use tokio::sync::{Notify, Semaphore};

use crate::error::NodeError;

/// Envelopes a lane remembers. What became of a message that left before them is forgotten.
const REMEMBERED: usize = 16 * 1024;

/// What a published message has come to.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ReceiptState {
    /// It waits: for others to share its envelope, for the disk, or, in the live lane, for somebody to be there.
    Queued,
    /// It has left, or is in the log for whoever comes.
    Sent {
        /// Its id.
        id: MessageId,
        /// Members it was sent to at once.
        members: usize,
        /// Members that have it on their disk.
        stored_by: Vec<PeerId>,
    },
    /// It will never leave.
    Dropped {
        /// Why.
        reason: String,
    },
    /// It has left, or was dropped, so long ago that the node no longer knows: thousands of envelopes went after
    /// it.
    Forgotten,
}

/// A published message to ask about.
#[derive(Clone, Debug)]
pub struct Receipt {
    pub(crate) lane: Arc<LaneShared>,
    pub(crate) ticket: u64,
}

/// One lane of a group, shared between publishers and the driver.
#[derive(Debug)]
pub(crate) struct LaneShared {
    pub(crate) lane: Lane,
    me: PeerId,
    /// What may wait in the engine, in KiB: publishers wait for these.
    pub(crate) room: Semaphore,
    pub(crate) order: Mutex<Order>,
    progress: Mutex<Progress>,
    changed: Notify,
}

/// Tickets in the order in which drafts reach the engine.
#[derive(Debug, Default)]
pub(crate) struct Order {
    next: u64,
    /// The room taken by each draft that has not left, oldest first.
    weights: VecDeque<u8>,
    /// Nothing is handed on any more.
    is_closed: bool,
}

#[derive(Debug, Default)]
struct Progress {
    sent: VecDeque<Sent>,
    dropped: VecDeque<((u64, u64), String)>,
    /// Of tickets below this one only those are known that stand above.
    forgotten: u64,
    stored: BTreeMap<PeerId, Seq>,
    ended: bool,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    tickets: (u64, u64),
    seq: Seq,
    members: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LaneShared {
    pub(crate) fn new(lane: Lane, me: PeerId) -> Self {
        Self {
            lane,
            me,
            room: Semaphore::new(limits::DRAFTS_MAX),
            order: Mutex::default(),
            progress: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// How much of the lane's room a draft takes: one for each KiB begun.
    pub(crate) fn weight(content: usize) -> u8 {
        u8::try_from(1 + content / 1024).unwrap_or(u8::MAX)
    }

    /// Gives a draft its ticket and hands it on in the same breath, so that tickets rise in the order of arrival.
    pub(crate) fn issue(&self, weight: u8, hand_on: impl FnOnce(u64) -> bool) -> Option<u64> {
        let mut order = lock(&self.order);
        let ticket = order.next;
        if order.is_closed || !hand_on(ticket) {
            return None;
        }
        order.next += 1;
        order.weights.push_back(weight);
        Some(ticket)
    }

    /// These drafts wait no longer.
    fn release(&self, tickets: (u64, u64)) {
        let n = usize::try_from(tickets.1 - tickets.0 + 1).unwrap_or(0);
        let mut order = lock(&self.order);
        let n = n.min(order.weights.len());
        let room: usize = order.weights.drain(..n).map(usize::from).sum();
        self.room.add_permits(room);
    }

    pub(crate) fn on_sealed(&self, tickets: (u64, u64), seq: Seq, members: usize) {
        self.release(tickets);
        let mut progress = lock(&self.progress);
        progress.sent.push_back(Sent { tickets, seq, members });
        if progress.sent.len() > REMEMBERED
            && let Some(oldest) = progress.sent.pop_front()
        {
            progress.forgotten = progress.forgotten.max(oldest.tickets.1 + 1);
        }
        drop(progress);
        self.changed.notify_waiters();
    }

    pub(crate) fn on_dropped(&self, tickets: (u64, u64), reason: &str) {
        self.release(tickets);
        let mut progress = lock(&self.progress);
        match progress.dropped.back_mut() {
            // One after the other for one reason: a group left, a store that is damaged.
            Some((last, why)) if last.1 + 1 == tickets.0 && why == reason => last.1 = tickets.1,
            _ => progress.dropped.push_back((tickets, reason.to_owned())),
        }
        if progress.dropped.len() > REMEMBERED
            && let Some((oldest, _)) = progress.dropped.pop_front()
        {
            progress.forgotten = progress.forgotten.max(oldest.1 + 1);
        }
        drop(progress);
        self.changed.notify_waiters();
    }

    pub(crate) fn on_stored(&self, peer: PeerId, next: Seq) {
        let mut progress = lock(&self.progress);
        // Whoever comes after so many members is not asked about.
        if progress.stored.len() < limits::AUTHORS_MAX || progress.stored.contains_key(&peer) {
            let known = progress.stored.entry(peer).or_default();
            *known = next.max(*known);
        }
        drop(progress);
        self.changed.notify_waiters();
    }

    /// The group is about to be left: from now on no draft of this lane reaches the engine, where it would be
    /// taken for one of those who join again.
    pub(crate) fn close(&self) {
        lock(&self.order).is_closed = true;
        self.room.close();
    }

    /// The node has ended or left the group: nothing will change any more.
    pub(crate) fn on_ended(&self) {
        self.close();
        lock(&self.progress).ended = true;
        self.changed.notify_waiters();
    }

    fn state(&self, ticket: u64) -> ReceiptState {
        let progress = lock(&self.progress);
        let covers = |tickets: (u64, u64)| (tickets.0..=tickets.1).contains(&ticket);
        let at = progress.sent.partition_point(|sent| sent.tickets.1 < ticket);
        if let Some(sent) = progress.sent.get(at).filter(|sent| covers(sent.tickets)) {
            let stored_by =
                progress.stored.iter().filter(|(_, next)| **next > sent.seq).map(|(peer, _)| *peer).collect();
            let index = u16::try_from(ticket - sent.tickets.0).unwrap_or(u16::MAX);
            let id = MessageId { log: LogId { author: self.me, lane: self.lane }, seq: sent.seq, index };
            return ReceiptState::Sent { id, members: sent.members, stored_by };
        }
        match progress.dropped.iter().find(|(tickets, _)| covers(*tickets)) {
            Some((_, reason)) => ReceiptState::Dropped { reason: reason.clone() },
            None if ticket < progress.forgotten => ReceiptState::Forgotten,
            None => ReceiptState::Queued,
        }
    }

    fn has_ended(&self) -> bool {
        lock(&self.progress).ended
    }
}

impl Receipt {
    /// What the message has come to by now.
    pub fn state(&self) -> ReceiptState {
        self.lane.state(self.ticket)
    }

    /// Waits until the message has left, or is in the log for whoever comes. Cancel-safe.
    ///
    /// # Errors
    /// [`NodeError::Dropped`] if it never will, [`NodeError::Forgotten`] if it was so long ago that nobody knows,
    /// [`NodeError::Ended`] if the node ends or leaves the group first.
    pub async fn sent(&self) -> Result<MessageId, NodeError> {
        self.wait(|state| match state {
            ReceiptState::Sent { id, .. } => Some(*id),
            _ => None,
        })
        .await
    }

    /// Waits until `n` other members have stored the message, and says who. Cancel-safe. In the live lane
    /// nothing is stored, so this waits in vain.
    ///
    /// # Errors
    /// As [`Receipt::sent`].
    pub async fn stored_by(&self, n: usize) -> Result<Vec<PeerId>, NodeError> {
        self.wait(|state| match state {
            ReceiptState::Sent { stored_by, .. } if stored_by.len() >= n => Some(stored_by.clone()),
            _ => None,
        })
        .await
    }

    /// Waits until the state is another than `known`, and says which. Cancel-safe.
    ///
    /// # Errors
    /// As [`Receipt::sent`], if that is known already.
    pub async fn changed(&self, known: &ReceiptState) -> Result<ReceiptState, NodeError> {
        self.wait(|state| (state != known).then(|| state.clone())).await
    }

    async fn wait<T>(&self, done: impl Fn(&ReceiptState) -> Option<T>) -> Result<T, NodeError> {
        loop {
            let changed = self.lane.changed.notified();
            tokio::pin!(changed);
            // Listening before looking, so that no change is missed in between.
            changed.as_mut().enable();
            let state = self.state();
            if let Some(value) = done(&state) {
                return Ok(value);
            }
            match state {
                ReceiptState::Dropped { reason } => return Err(NodeError::Dropped(reason)),
                ReceiptState::Forgotten => return Err(NodeError::Forgotten),
                ReceiptState::Queued | ReceiptState::Sent { .. } => {}
            }
            if self.lane.has_ended() {
                return Err(NodeError::Ended(None));
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane() -> Arc<LaneShared> {
        Arc::new(LaneShared::new(Lane::Durable, PeerId([1; 32])))
    }

    fn publish(lane: &Arc<LaneShared>) -> Receipt {
        let ticket = lane.issue(1, |_| true).expect("open");
        Receipt { lane: lane.clone(), ticket }
    }

    /// The limit from both sides: as many envelopes as are remembered, and one more. It was taken for queued.
    #[tokio::test]
    async fn a_receipt_older_than_what_is_remembered_says_so() {
        let lane = lane();
        let first = publish(&lane);
        lane.on_sealed((0, 0), 0, 1);
        for n in 1..REMEMBERED as u64 {
            publish(&lane);
            lane.on_sealed((n, n), n, 1);
        }
        assert!(matches!(first.state(), ReceiptState::Sent { .. }));
        let last = publish(&lane);
        lane.on_sealed((last.ticket, last.ticket), last.ticket, 1);
        assert_eq!(first.state(), ReceiptState::Forgotten);
        assert!(matches!(first.sent().await, Err(NodeError::Forgotten)));
        assert!(matches!(first.stored_by(1).await, Err(NodeError::Forgotten)));
        assert!(matches!(last.state(), ReceiptState::Sent { .. }));
        assert_eq!(publish(&lane).state(), ReceiptState::Queued);
    }

    #[test]
    fn what_was_dropped_in_a_row_for_one_reason_is_remembered_as_one() {
        let lane = lane();
        let first = publish(&lane);
        lane.on_dropped((0, 0), "left");
        for n in 1..=REMEMBERED as u64 {
            publish(&lane);
            lane.on_dropped((n, n), "left");
        }
        assert_eq!(first.state(), ReceiptState::Dropped { reason: "left".to_owned() });
        assert_eq!(lock(&lane.progress).dropped.len(), 1);
    }

    #[test]
    fn a_closed_lane_hands_nothing_on() {
        let lane = lane();
        lane.close();
        assert!(lane.issue(1, |_| panic!("handed on")).is_none());
    }
}
