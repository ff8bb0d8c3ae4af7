//! The virtual clock: events in the order of (time, source, the source's own count), so that the order depends
//! on nothing but the events.
//!
//! A time wheel (Varghese, Lauck 1987): what is due within a second lies in buckets of a quarter of a millisecond, and a
//! bucket is sorted when its time has come; what is due later lies by seconds, and is spread over the buckets then. An
//! event is put in and taken out in constant time, however many there are: a binary heap with a million of them spends
//! most of its time on memory that is far away.

use std::collections::BTreeMap;

use djembe_protocol::time::Timestamp;

/// Who scheduled an event: a node, or the world.
pub type Source = u32;

/// Microseconds of a bucket.
const WIDTH: u64 = 256;
/// Buckets of a turn of the wheel.
const RING: usize = 4096;
const WORDS: usize = RING / 64;

/// What stands before an event in the order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key {
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub source: Source,
    /// The how-many-th of its source.
    pub n: u32,
}

/// Events to come.
#[derive(Debug)]
pub struct Calendar<E> {
    /// The bucket that is worked off, counted from the beginning of time.
    bucket: u64,
    /// What is left of it and of those before, the next at the end.
    current: Vec<Entry>,
    /// The other buckets of this turn.
    ring: Vec<Vec<Entry>>,
    /// Which of them hold something.
    occupied: [u64; WORDS],
    /// Later turns.
    later: BTreeMap<u64, Vec<Entry>>,
    events: Vec<Option<E>>,
    free: Vec<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Entry {
    key: Key,
    /// Where its event lies.
    place: u32,
}

impl<E> Calendar<E> {
    /// Nothing is to come.
    pub fn new() -> Self {
        Self {
            bucket: 0,
            current: Vec::new(),
            ring: (0..RING).map(|_| Vec::new()).collect(),
            occupied: [0; WORDS],
            later: BTreeMap::new(),
            events: Vec::new(),
            free: Vec::new(),
        }
    }

    /// About how many bytes of memory it takes, without what lies behind events.
    pub(crate) fn heap(&self) -> usize {
        let entries = self.current.capacity() + self.ring.iter().map(Vec::capacity).sum::<usize>();
        let later = self.later.values().map(Vec::capacity).sum::<usize>();
        let places =
            self.events.capacity() * size_of::<Option<E>>() + self.free.capacity() * size_of::<u32>();
        (entries + later) * size_of::<Entry>() + places
    }

    /// Puts an event in.
    pub fn schedule(&mut self, key: Key, event: E) {
        let place = match self.free.pop() {
            Some(place) => {
                self.events[place as usize] = Some(event);
                place
            }
            None => {
                self.events.push(Some(event));
                u32::try_from(self.events.len() - 1).expect("fewer than 2^32 events are to come")
            }
        };
        let entry = Entry { key, place };
        let bucket = key.at.as_micros() / WIDTH;
        if bucket <= self.bucket {
            let at = self.current.partition_point(|other| *other > entry);
            self.current.insert(at, entry);
        } else if turn(bucket) == turn(self.bucket) {
            self.put(entry);
        } else {
            self.later.entry(turn(bucket)).or_default().push(entry);
        }
    }

    /// When the next event is due.
    pub fn next_at(&mut self) -> Option<Timestamp> {
        while self.current.is_empty() {
            match self.next_occupied() {
                Some(slot) => {
                    self.occupied[slot / 64] &= !(1 << (slot % 64));
                    self.bucket = turn(self.bucket) * RING as u64 + slot as u64;
                    // The bucket's room goes to the one before, which has none to give back.
                    std::mem::swap(&mut self.current, &mut self.ring[slot]);
                    self.current.sort_unstable_by(|a, b| b.cmp(a));
                }
                None => {
                    let (turn, entries) = self.later.pop_first()?;
                    self.bucket = turn * RING as u64;
                    entries.into_iter().for_each(|entry| self.put(entry));
                }
            }
        }
        self.current.last().map(|entry| entry.key.at)
    }

    /// Takes the next event that is due before a time.
    pub fn pop_before(&mut self, end: Timestamp) -> Option<(Key, E)> {
        if self.next_at()? >= end {
            return None;
        }
        let Entry { key, place } = self.current.pop()?;
        self.free.push(place);
        self.events[place as usize].take().map(|event| (key, event))
    }

    /// All events to come, in no order that means anything.
    pub fn events_mut(&mut self) -> impl Iterator<Item = &mut E> {
        self.events.iter_mut().flatten()
    }

    /// How many events are to come.
    pub fn len(&self) -> usize {
        self.events.len() - self.free.len()
    }

    /// Whether nothing is to come.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn put(&mut self, entry: Entry) {
        let slot = (entry.key.at.as_micros() / WIDTH) as usize % RING;
        self.ring[slot].push(entry);
        self.occupied[slot / 64] |= 1 << (slot % 64);
    }

    /// The next bucket of this turn that holds something, from the present one on: that may have been filled with
    /// others of its turn.
    fn next_occupied(&self) -> Option<usize> {
        let from = (self.bucket % RING as u64) as usize;
        let first = self.occupied[from / 64] & (u64::MAX << (from % 64));
        let words = std::iter::once(first).chain(self.occupied[from / 64 + 1..].iter().copied());
        let (ahead, word) = words.enumerate().find(|(_, word)| *word != 0)?;
        Some((from / 64 + ahead) * 64 + word.trailing_zeros() as usize)
    }
}

/// The turn of the wheel that a bucket belongs to.
fn turn(bucket: u64) -> u64 {
    bucket / RING as u64
}

impl<E> Default for Calendar<E> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rng::{Purpose, Rng};

    const END: Timestamp = Timestamp::from_micros(u64::MAX);

    fn key(at: u64, source: Source, n: u32) -> Key {
        Key { at: Timestamp::from_micros(at), source, n }
    }

    #[test]
    fn events_come_by_time_then_source_then_count() {
        let mut calendar = Calendar::new();
        calendar.schedule(key(2, 0, 2), "d");
        calendar.schedule(key(1, 1, 0), "b");
        calendar.schedule(key(1, 1, 1), "c");
        calendar.schedule(key(1, 0, 1), "a");
        let end = Timestamp::from_micros(3);
        let order: Vec<_> = std::iter::from_fn(|| calendar.pop_before(end)).map(|(_, event)| event).collect();
        assert_eq!(order, ["a", "b", "c", "d"]);
        assert!(calendar.is_empty());
    }

    /// Goal: the wheel is in the order of a sorted map, whatever comes in when. Method: put in near and far, also
    /// into the bucket that is worked off, and take out by turns.
    #[test]
    fn the_wheel_turns_as_a_sorted_map_would() {
        let mut rng = Rng::split(1, 0, 0, Purpose::Workload);
        let (mut wheel, mut map) = (Calendar::new(), BTreeMap::new());
        let mut now = 0;
        for n in 0..20_000 {
            let ahead = [0, 1, 300, 5_000, 999_999, 1_048_576, 40_000_000][rng.below(7) as usize];
            let key = key(now + rng.below(ahead + 1), rng.below(3) as u32, n);
            wheel.schedule(key, n);
            map.insert(key, n);
            if rng.chance(0.45) {
                let end = Timestamp::from_micros(now + rng.below(50_000));
                let expected = map.first_key_value().map(|(key, _)| *key).filter(|key| key.at < end);
                let popped = wheel.pop_before(end);
                assert_eq!(popped.as_ref().map(|(key, _)| *key), expected);
                if let Some((key, event)) = popped {
                    assert_eq!(map.remove(&key), Some(event));
                    now = key.at.as_micros();
                }
            }
        }
        let rest: Vec<Key> = std::iter::from_fn(|| wheel.pop_before(END)).map(|(key, _)| key).collect();
        assert_eq!(rest, map.into_keys().collect::<Vec<_>>());
    }
}
