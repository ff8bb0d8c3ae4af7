//! Time passes: shards are worked off side by side, a window at a time, between what is done from outside.

use core::time::Duration;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use djembe_protocol::id::{Lane, PeerId};
use djembe_protocol::io::Event;
use djembe_protocol::time::Timestamp;

use super::{Fault, World};
use crate::calendar::Key;
use crate::panics::Words;
use crate::shard::{Happening, Note, Shard, Told};
use crate::topology::{NodeIx, Topology};

/// What applications were told is put into the books once it is so much.
const NOTES_MAX: usize = 256 * 1024;
/// A single shard needs no windows, but to look at its notes now and then.
const WINDOW_ALONE: Duration = Duration::from_millis(20);
/// A thread that waits for others looks so often before it lets others have its core.
const LOOKS: u32 = 2_000;
const TICK: Duration = Duration::from_micros(1);

/// Somebody who hears all that applications are told, in its order.
pub type Listener = Box<dyn FnMut(Timestamp, NodeIx, &Event) + Send>;

/// What is done from outside.
#[derive(Debug)]
pub(super) enum Deed {
    /// A node starts.
    Start(NodeIx),
    /// Somebody publishes.
    Publish { node: NodeIx, group: usize, lane: Lane, size: usize },
    /// Something breaks or heals.
    Fault(Fault),
}

impl World {
    /// All events up to and at a time, which it then is; or to when a violation stops the run.
    pub fn run_until(&mut self, at: Timestamp) {
        if self.ledger.is_stopped() {
            return;
        }
        while let Some(next) = self.calendar.next_at().filter(|next| *next <= at) {
            self.run_shards(next);
            self.now = self.now.max(next);
            if self.ledger.is_stopped() {
                return;
            }
            self.do_deeds(next);
        }
        self.run_shards(at + TICK);
        self.now = self.now.max(at);
    }

    /// All events of so much time from now on.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now() + time);
    }

    /// Runs while `go_on` says so, asked after each window, for `at_most`. Returns how long it took, if it stopped by
    /// itself.
    pub fn run_while(&mut self, at_most: Duration, mut go_on: impl FnMut(&Self) -> bool) -> Option<Duration> {
        let start = self.now();
        let window = self.topology.least_latency() - TICK;
        while go_on(self) {
            let shards = self.shards.iter_mut().filter_map(|shard| shard.calendar.next_at());
            let next = shards.chain(self.calendar.next_at()).min()?;
            if next - start >= at_most || self.ledger.is_stopped() {
                return None;
            }
            let at = (next + window).max(self.now());
            self.run_until(at);
        }
        Some(self.now() - start)
    }

    /// Does what is to be done from outside by then.
    fn do_deeds(&mut self, until: Timestamp) {
        while let Some((_, deed)) = self.calendar.pop_before(until + TICK) {
            match deed {
                Deed::Start(node) => self.start(node),
                Deed::Publish { node, group, lane, size } => {
                    self.publish(node, group, lane, size);
                }
                Deed::Fault(fault) => self.fault(fault),
            }
        }
    }

    fn do_at(&mut self, at: Timestamp, deed: Deed) {
        let Key { source, n, .. } = self.next_key();
        self.calendar.schedule(Key { at: at.max(self.now), source, n }, deed);
    }

    /// Starts a node at a later time.
    pub fn start_at(&mut self, at: Timestamp, node: NodeIx) {
        self.do_at(at, Deed::Start(node));
    }

    /// A publish at a later time.
    pub fn publish_at(&mut self, at: Timestamp, node: NodeIx, group: usize, lane: Lane, size: usize) {
        self.do_at(at, Deed::Publish { node, group, lane, size });
    }

    /// A fault at a later time.
    pub fn fault_at(&mut self, at: Timestamp, fault: Fault) {
        self.do_at(at, Deed::Fault(fault));
    }

    /// Works off all shards up to a time.
    fn run_shards(&mut self, end: Timestamp) {
        loop {
            let is_done = match &mut self.shards[..] {
                [shard] => run_alone(shard, &self.topology, end),
                shards => run_together(shards, &self.topology, end),
            };
            self.close_books();
            if is_done {
                return;
            }
        }
    }

    /// What shards have for each other gets there.
    pub(super) fn deliver(&mut self) {
        for from in 0..self.shards.len() {
            for (node, key, happening) in std::mem::take(&mut self.shards[from].outbox) {
                let to = usize::from(self.topology.places[node].home.0);
                self.shards[to].calendar.schedule(key, happening);
            }
        }
    }

    /// From now on somebody hears all that applications are told.
    pub fn listen(&mut self, listener: Listener) {
        self.listener = Some(listener);
    }

    /// What applications were told is looked at, in the order in which it happened.
    pub(super) fn close_books(&mut self) {
        let mut notes: Vec<Note> = Vec::new();
        self.shards.iter_mut().for_each(|shard| notes.append(&mut shard.notes));
        if self.shards.len() > 1 {
            notes.sort_by_key(|note| note.key);
        }
        for Note { key, node, told } in notes {
            if self.ledger.is_stopped() {
                break;
            }
            match told {
                Told::Event(event) => {
                    if let Some(listener) = &mut self.listener {
                        listener(key.at, node, &event);
                    }
                    self.book(key.at, node, event);
                }
                Told::Carried(carried) => self.ledger.on_carried(key.at, node, carried),
            }
        }
        self.judge_repeats();
        self.ledger.n_copies = self.sum(|tally| tally.n_copies);
    }

    fn book(&mut self, at: Timestamp, node: NodeIx, event: Event) {
        match &event {
            Event::Presence { peer, state, cause } if !self.is_of_hostile(peer) => {
                let is_there = self.is_there_for(node, peer);
                self.ledger.on_presence(at, node, *peer, (*state, *cause), is_there);
            }
            Event::MemberLeft { peer, cause, .. }
                if !self.is_of_hostile(peer) && self.is_there_for(node, peer) =>
            {
                self.ledger.on_missed(at, node, *peer, *cause);
            }
            _ => {}
        }
        self.ledger.on_event(at, node, event);
    }

    /// Whatever becomes of an attacker is right.
    fn is_of_hostile(&self, peer: &PeerId) -> bool {
        self.ledger.nodes_of(peer).iter().any(|subject| self.is_hostile(*subject))
    }

    /// Whether a peer runs, and each can hear the other. Who does not read cannot answer, and hears nobody.
    fn is_there_for(&self, node: NodeIx, peer: &PeerId) -> bool {
        let topology = &self.topology;
        !topology.places[node].is_stalled
            && self.ledger.nodes_of(peer).iter().any(|subject| {
                let place = topology.places[*subject];
                place.is_up
                    && !place.is_paused
                    && !place.is_stalled
                    && topology.reaches(node, *subject)
                    && topology.reaches(*subject, node)
            })
    }
}

/// Works off a shard that is the only one. False if its notes are to be looked at before it goes on.
fn run_alone(shard: &mut Shard, topology: &Topology, end: Timestamp) -> bool {
    shard.swap_verdicts();
    let mut is_done = true;
    while let Some(next) = shard.calendar.next_at().filter(|next| *next < end) {
        if shard.notes.len() >= NOTES_MAX {
            is_done = false;
            break;
        }
        shard.run_before(topology, end.min(next + WINDOW_ALONE));
    }
    shard.swap_verdicts();
    is_done
}

/// The same for several, on a thread each.
fn run_together(shards: &mut [Shard], topology: &Topology, end: Timestamp) -> bool {
    let window = topology.least_latency();
    let meeting = Meeting::new(shards.len());
    let next: Vec<AtomicU64> = shards.iter().map(|_| AtomicU64::new(0)).collect();
    let mail: Vec<Mutex<Vec<(Key, Happening)>>> = shards.iter().map(|_| Mutex::default()).collect();
    let is_full = AtomicBool::new(false);
    let work = |shard: &mut Shard| {
        let me = usize::from(shard.ix);
        let _leaves = meeting.enter();
        shard.swap_verdicts();
        loop {
            let at = shard.calendar.next_at().map_or(u64::MAX, Timestamp::as_micros);
            next[me].store(at, Ordering::Release);
            if !meeting.wait() {
                break;
            }
            let first = next.iter().map(|at| at.load(Ordering::Acquire)).min().unwrap_or(u64::MAX);
            if first >= end.as_micros() || is_full.load(Ordering::Acquire) {
                break;
            }
            shard.run_before(topology, end.min(Timestamp::from_micros(first) + window));
            for (node, key, happening) in shard.outbox.drain(..) {
                let to = usize::from(topology.places[node].home.0);
                lock(&mail[to]).push((key, happening));
            }
            if !meeting.wait() {
                break;
            }
            for (key, happening) in lock(&mail[me]).drain(..) {
                shard.calendar.schedule(key, happening);
            }
            if shard.notes.len() >= NOTES_MAX {
                is_full.store(true, Ordering::Release);
            }
        }
        shard.swap_verdicts();
    };
    let words = Words::here();
    std::thread::scope(|scope| {
        let Some((first, rest)) = shards.split_first_mut() else { return };
        for shard in rest {
            scope.spawn(|| {
                words.share();
                work(shard);
            });
        }
        work(first);
    });
    !is_full.into_inner()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where threads wait for each other. They meet thousands of times a second, mostly within a microsecond.
struct Meeting {
    n: usize,
    arrived: AtomicUsize,
    round: AtomicUsize,
    is_broken: AtomicBool,
}

/// One of those who meet. If it panics, the others would wait for ever: they are told.
struct Attendance<'a>(&'a Meeting);

impl Drop for Attendance<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.is_broken.store(true, Ordering::Release);
        }
    }
}

impl Meeting {
    fn new(n: usize) -> Self {
        let (arrived, round) = Default::default();
        Self { n, arrived, round, is_broken: AtomicBool::new(false) }
    }

    fn enter(&self) -> Attendance<'_> {
        Attendance(self)
    }

    /// True once all are here, false if one will never be.
    fn wait(&self) -> bool {
        let round = self.round.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.n {
            self.arrived.store(0, Ordering::Release);
            self.round.store(round + 1, Ordering::Release);
            return true;
        }
        let mut looks = 0;
        while self.round.load(Ordering::Acquire) == round {
            if self.is_broken.load(Ordering::Acquire) {
                return false;
            }
            looks += 1;
            if looks < LOOKS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: one thread that panics ends the run, and does not leave the others waiting for it.
    #[test]
    fn nobody_waits_for_one_that_panicked() {
        let meeting = Meeting::new(3);
        let work = |rounds: usize| {
            let _leaves = meeting.enter();
            for _ in 0..rounds {
                if !meeting.wait() {
                    return false;
                }
            }
            assert!(rounds > 10, "planted");
            true
        };
        std::thread::scope(|scope| {
            let (one, other) = (scope.spawn(|| work(20)), scope.spawn(|| work(20)));
            let failed = scope.spawn(|| work(10));
            assert!(failed.join().is_err());
            assert_eq!((one.join().ok(), other.join().ok()), (Some(false), Some(false)));
        });
    }
}
