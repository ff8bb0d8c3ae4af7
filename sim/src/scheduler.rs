//! The virtual clock: events in the order of (time, source, the source's own count), so that the order depends
//! on nothing but the events.
//!
//! A binary heap serves some thousand nodes; the time wheel for a million will go behind the same three methods.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use djembe_protocol::time::Timestamp;

/// Who scheduled an event: a node, or the world.
pub type Source = u32;

/// Events to come.
#[derive(Debug)]
pub struct Scheduler<E> {
    now: Timestamp,
    heap: BinaryHeap<Reverse<Entry<E>>>,
    n_scheduled: Vec<u64>,
}

/// What stands before an event in the order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key {
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub source: Source,
    /// The how-many-th of its source.
    pub n: u64,
}

#[derive(Debug)]
struct Entry<E> {
    key: Key,
    event: E,
}

impl<E> Scheduler<E> {
    /// An empty calendar at the start of time.
    pub fn new() -> Self {
        Self { now: Timestamp::ZERO, heap: BinaryHeap::new(), n_scheduled: Vec::new() }
    }

    /// The time of the last event taken.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Puts an event in. What would lie in the past happens now.
    pub fn schedule(&mut self, at: Timestamp, source: Source, event: E) {
        let ix = source as usize;
        if self.n_scheduled.len() <= ix {
            self.n_scheduled.resize(ix + 1, 0);
        }
        self.n_scheduled[ix] += 1;
        let key = Key { at: at.max(self.now), source, n: self.n_scheduled[ix] };
        self.heap.push(Reverse(Entry { key, event }));
    }

    /// When the next event is due.
    pub fn next_at(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse(entry)| entry.key.at)
    }

    /// Takes the next event; its time is now.
    pub fn pop(&mut self) -> Option<(Key, E)> {
        let Reverse(Entry { key, event }) = self.heap.pop()?;
        self.now = key.at;
        Some((key, event))
    }

    /// Time passes without an event.
    pub fn advance_to(&mut self, at: Timestamp) {
        assert!(self.next_at().is_none_or(|next| next >= at), "no event is jumped over");
        self.now = self.now.max(at);
    }
}

impl<E> Default for Scheduler<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_then_source_then_count() {
        let at = Timestamp::from_micros;
        let mut calendar = Scheduler::new();
        calendar.schedule(at(2), 0, "d");
        calendar.schedule(at(1), 1, "b");
        calendar.schedule(at(1), 1, "c");
        calendar.schedule(at(1), 0, "a");
        let order: Vec<_> = std::iter::from_fn(|| calendar.pop()).map(|(_, event)| event).collect();
        assert_eq!(order, ["a", "b", "c", "d"]);
        calendar.schedule(at(0), 0, "late");
        assert_eq!(calendar.next_at(), Some(at(2)), "nothing happens in the past");
    }
}
