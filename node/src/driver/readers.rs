//! Who reads a group's messages, and what waits for those who read slowly.
//!
//! A subscription that is full, or that is expected and not there yet, holds its group: the engine is told and delivers
//! nothing more of it. That ends when there is room, or when the reader has had patience enough.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use djembe_protocol::id::GroupId;
use djembe_protocol::io::Delivered;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc;

use super::Driver;
use crate::event::NodeEvent;
use crate::group::GroupShared;

/// A subscription that is not read for so long while messages wait is passed over.
const READER_PATIENCE: Duration = Duration::from_secs(10);
/// How often a full one is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// A subscription made so soon after joining misses nothing.
const EARLY: Duration = Duration::from_secs(1);
/// Envelopes kept for it before no more is taken in.
const EARLY_MAX: usize = 64;

/// One reader of a group.
pub(super) struct Reader {
    pub(super) sender: mpsc::Sender<Arc<Delivered>>,
    /// What found no room, and for how long.
    pub(super) backlog: VecDeque<Arc<Delivered>>,
    pub(super) full: Option<Full>,
    pub(super) missed: u64,
}

/// How long a reader's queue has been full, as far as this node ran meanwhile: one that stood still as a whole has not
/// lost patience with its readers.
pub(super) struct Full {
    waited: Duration,
    looked_at: Instant,
}

impl Full {
    fn new() -> Self {
        Self { waited: Duration::ZERO, looked_at: Instant::now() }
    }

    fn look(&mut self) {
        let now = Instant::now();
        self.waited += (now - self.looked_at).min(2 * LOOK);
        self.looked_at = now;
    }
}

pub(super) struct GroupEntry {
    pub(super) shared: Arc<GroupShared>,
    pub(super) readers: Vec<Reader>,
    pub(super) early: Option<Early>,
    /// The engine was told that there is no more room for it.
    pub(super) is_held: bool,
}

impl Drop for GroupEntry {
    /// Whoever waits for a receipt learns that nothing will change any more.
    fn drop(&mut self) {
        self.shared.durable.on_ended();
        self.shared.live.on_ended();
    }
}

/// What came between joining a group and the first subscription to it: a node that was away is given what it
/// missed as soon as it joins, and whoever joined to read it is to have it.
pub(super) struct Early {
    pub(super) since: Instant,
    pub(super) envelopes: VecDeque<Arc<Delivered>>,
}

impl Driver {
    pub(super) fn deliver(&mut self, delivered: Arc<Delivered>) {
        let Some(entry) = self.groups.get_mut(&delivered.group) else { return };
        entry.readers.retain_mut(|reader| reader.offer(&delivered));
        if entry.is_held || entry.readers.iter().any(Reader::is_waiting) || entry.early.is_some() {
            self.stirred.insert(delivered.group);
        }
        if let Some(early) = &mut entry.early {
            if early.is_over() {
                entry.early = None;
            } else if delivered.log.author != self.me {
                early.envelopes.push_back(delivered);
            }
        }
    }

    /// A group whose readers have got too much, or have room again, and which of the two.
    pub(super) fn next_turn(&mut self) -> Option<(GroupId, bool)> {
        while let Some(group) = self.stirred.pop_first() {
            if let Some(entry) = self.groups.get_mut(&group)
                && entry.is_held != entry.is_full()
            {
                entry.is_held = !entry.is_held;
                return Some((group, !entry.is_held));
            }
        }
        None
    }

    /// Whether something waits for a reader, or one is to be told what it missed.
    pub(super) fn has_waiting_reader(&self) -> bool {
        self.groups
            .values()
            .any(|entry| entry.early.is_some() || entry.readers.iter().any(Reader::is_waiting))
    }

    /// Waits until one of them has room, has gone, or is to be looked at again, or until a group is early no more. It is
    /// made anew at each turn of the driver, so all of its times are points in time.
    pub(super) async fn reader_ready(groups: &BTreeMap<GroupId, GroupEntry>) {
        let mut first: Vec<BoxFuture<'_, ()>> = Vec::new();
        for entry in groups.values() {
            let waiting = entry.readers.iter().filter(|reader| reader.is_waiting());
            first.extend(waiting.map(|reader| reader.ready().boxed()));
            let early = entry.early.iter();
            first.extend(early.map(|early| tokio::time::sleep_until((early.since + EARLY).into()).boxed()));
        }
        if first.is_empty() {
            std::future::pending().await
        } else {
            futures::future::select_all(first).await;
        }
    }

    pub(super) fn refill_readers(&mut self) {
        let mut lagged = Vec::new();
        self.stirred.extend(self.groups.iter().filter(|(_, entry)| entry.is_held).map(|(group, _)| *group));
        for entry in self.groups.values_mut() {
            entry.early.take_if(|early| early.is_over());
            entry.readers.retain_mut(Reader::refill);
            for reader in entry.readers.iter_mut().filter(|reader| reader.has_room()) {
                if reader.missed > 0 {
                    let messages = std::mem::take(&mut reader.missed);
                    lagged.push(NodeEvent::Lagged { group: entry.shared.name.clone(), messages });
                }
            }
        }
        for event in lagged {
            self.tell(event);
        }
        self.perform_outputs(self.now());
    }
}

impl GroupEntry {
    /// Somebody reads too slowly, or has not begun: then no more is to be delivered.
    fn is_full(&self) -> bool {
        self.early.as_ref().is_some_and(Early::is_full) || self.readers.iter().any(Reader::is_full)
    }
}

impl Early {
    pub(super) fn is_over(&self) -> bool {
        self.since.elapsed() >= EARLY
    }

    /// Nobody has subscribed yet, and there is no room for more.
    fn is_full(&self) -> bool {
        self.envelopes.len() >= EARLY_MAX && !self.is_over()
    }
}

impl Reader {
    /// A reader for whom there is something already.
    pub(super) fn new(sender: mpsc::Sender<Arc<Delivered>>, backlog: VecDeque<Arc<Delivered>>) -> Self {
        let full = (!backlog.is_empty()).then(Full::new);
        let mut reader = Self { sender, backlog, full, missed: 0 };
        reader.refill();
        reader
    }

    /// Its queue is full, and its patience is not: no more is delivered.
    fn is_full(&self) -> bool {
        self.full.as_ref().is_some_and(|full| full.waited < READER_PATIENCE)
    }

    fn is_waiting(&self) -> bool {
        self.full.is_some() || self.missed > 0
    }

    fn has_room(&self) -> bool {
        self.full.is_none()
    }

    /// Until there is room, the reader is gone, or it is time to look again.
    async fn ready(&self) {
        let room = self.sender.reserve();
        if let Some(full) = &self.full {
            let _ = tokio::time::timeout_at((full.looked_at + LOOK).into(), room).await;
        } else {
            drop(room.await);
        }
    }

    /// Takes an envelope; false if the reader is gone.
    fn offer(&mut self, delivered: &Arc<Delivered>) -> bool {
        if !self.refill() {
            return false;
        }
        match self.full {
            None => match self.sender.try_send(delivered.clone()) {
                Ok(()) => return true,
                Err(mpsc::error::TrySendError::Closed(_)) => return false,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    self.full = Some(Full::new());
                    self.backlog.push_back(delivered.clone());
                }
            },
            // Grows by what the engine gave in one go: it is told at once.
            Some(_) if self.is_full() => self.backlog.push_back(delivered.clone()),
            Some(_) => self.missed += delivered.messages.len() as u64,
        }
        true
    }

    /// Moves on what waited, or gives it up; false if the reader is gone.
    fn refill(&mut self) -> bool {
        if let Some(full) = &mut self.full {
            full.look();
        }
        while let Some(next) = self.backlog.front() {
            match self.sender.try_send(next.clone()) {
                Ok(()) => drop(self.backlog.pop_front()),
                Err(mpsc::error::TrySendError::Closed(_)) => return false,
                Err(mpsc::error::TrySendError::Full(_)) if self.is_full() => return true,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    self.missed += self.backlog.drain(..).map(|d| d.messages.len() as u64).sum::<u64>();
                }
            }
        }
        if self.sender.capacity() > 0 {
            self.full = None;
        }
        !self.sender.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use djembe_protocol::crypto::{self, GroupKey, Identity, SealInput};
    use djembe_protocol::id::{EnvelopeId, Lane, LogId};

    use super::*;

    fn delivered() -> Arc<Delivered> {
        let author = Identity::from_seed([1; 32]);
        let key = GroupKey::open("test", "lobby", None).expect("a name");
        let draft = djembe_protocol::message::Draft::default();
        let body = djembe_protocol::message::encode_body(&draft, Default::default()).expect("a draft");
        let input = SealInput {
            lane: Lane::Live,
            seq: 0,
            prev: EnvelopeId::NONE,
            skip: 0,
            ttl_secs: 0,
            bodies: &[body],
            frame_salt: [0; 16],
        };
        Arc::new(Delivered {
            group: key.group_id(),
            log: LogId { author: author.peer_id(), lane: Lane::Live },
            seq: 0,
            envelope: crypto::seal(&author, &key, &input).expect("small"),
            messages: Vec::new(),
            backfilled: false,
        })
    }

    /// Goal: a reader that was full and is read is seen to have room, also when what had waited for it just filled it
    /// again. It was not looked at then, and its group stayed held for ever.
    #[tokio::test]
    async fn a_full_reader_that_is_read_has_room() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut reader = Reader::new(sender, VecDeque::new());
        for _ in 0..2 {
            assert!(reader.offer(&delivered()));
        }
        assert!(reader.is_full() && reader.is_waiting());
        receiver.recv().await.expect("the first");
        assert!(reader.refill());
        assert!(reader.is_full() && reader.is_waiting(), "the second has taken the room");
        receiver.recv().await.expect("the second");
        reader.ready().await;
        assert!(reader.refill());
        assert!(!reader.is_full() && !reader.is_waiting());
    }

    /// Goal: a full reader is looked at in its time also by a driver that always has something else to do. Method: what
    /// waits for it is made anew every few milliseconds, as at each turn of the driver.
    #[tokio::test(start_paused = true)]
    async fn a_busy_node_loses_patience_too() {
        let (sender, _receiver) = mpsc::channel(1);
        let mut reader = Reader::new(sender, VecDeque::new());
        for _ in 0..2 {
            assert!(reader.offer(&delivered()));
        }
        let looked_at = reader.full.as_ref().expect("full").looked_at;
        let turns = LOOK.as_millis() / 5 + 1;
        let mut is_ready = false;
        for _ in 0..turns {
            is_ready |= tokio::time::timeout(Duration::from_millis(5), reader.ready()).await.is_ok();
        }
        assert!(is_ready, "not looked at since {looked_at:?}");
    }

    /// Goal: patience is counted in time that the node ran. Method: a full one that was not looked at for an hour.
    #[tokio::test]
    async fn a_node_that_stood_still_has_not_lost_patience() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut reader = Reader::new(sender, VecDeque::new());
        for _ in 0..3 {
            assert!(reader.offer(&delivered()));
        }
        if let Some(full) = &mut reader.full {
            full.looked_at = full.looked_at.checked_sub(Duration::from_secs(3600)).unwrap_or(full.looked_at);
        }
        assert!(reader.refill() && reader.is_full());
        for _ in 0..3 {
            receiver.recv().await.expect("nothing is missed");
            reader.refill();
        }
        assert_eq!(reader.missed, 0);
    }
}
