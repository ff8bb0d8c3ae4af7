//! A table of parts that each want a look some time, and when the first of them does.
//!
//! What a part wants is asked again only after it may have changed: whoever borrows it mutably is taken to have changed
//! it. So one of many neighbours that says something costs one question, and not one for each of the others. Parts lie
//! in the order of their keys, and there are few enough to search and move their places.

use crate::heap;
use crate::time::Timestamp;

/// Something that wants a look.
pub(crate) trait Timer {
    /// When, at the latest.
    fn next_deadline(&self) -> Option<Timestamp>;
}

/// Parts by their keys.
#[derive(Debug)]
pub(crate) struct Timed<K, V> {
    places: Vec<Place<K, V>>,
}

#[derive(Debug)]
struct Place<K, V> {
    key: K,
    /// When it wanted a look when it was last asked.
    due: Option<Timestamp>,
    /// It may have changed since.
    is_stale: bool,
    part: Box<V>,
}

impl<K, V: Timer> Place<K, V> {
    fn due(&mut self) -> Option<Timestamp> {
        if std::mem::take(&mut self.is_stale) {
            self.due = self.part.next_deadline();
        }
        debug_assert_eq!(self.due, self.part.next_deadline(), "nobody has changed it");
        self.due
    }
}

impl<K, V> Default for Timed<K, V> {
    fn default() -> Self {
        Self { places: Vec::new() }
    }
}

impl<K: Ord + Copy, V: Timer> Timed<K, V> {
    /// Bytes of memory behind it but what its parts hold, about.
    pub(crate) fn heap(&self) -> usize {
        heap::list(&self.places) + self.places.len() * size_of::<V>()
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.find(key).is_ok()
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.find(key).ok().map(|at| &*self.places[at].part)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = self.find(key).ok()?;
        let place = &mut self.places[at];
        place.is_stale = true;
        Some(&mut place.part)
    }

    pub(crate) fn insert(&mut self, key: K, part: Box<V>) {
        let new = Place { key, due: None, is_stale: true, part };
        match self.find(&key) {
            Ok(at) => self.places[at] = new,
            Err(at) => self.places.insert(at, new),
        }
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<Box<V>> {
        let at = self.find(key).ok()?;
        Some(self.places.remove(at).part)
    }

    /// In order, as all that follow.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.places.iter().map(|place| &place.key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.places.iter().map(|place| &*place.part)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.places.iter_mut().map(|place| {
            place.is_stale = true;
            &mut *place.part
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.places.iter().map(|place| (&place.key, &*place.part))
    }

    /// When the first wants a look.
    pub(crate) fn next_deadline(&mut self) -> Option<Timestamp> {
        self.places.iter_mut().filter_map(Place::due).min()
    }

    /// The first after a key whose time has come.
    pub(crate) fn next_due(&mut self, now: Timestamp, after: Option<K>) -> Option<K> {
        let rest = self.places.iter_mut().filter(|place| after.is_none_or(|after| place.key > after));
        rest.filter_map(|place| place.due().filter(|at| *at <= now).map(|_| place.key)).next()
    }

    fn find(&self, key: &K) -> Result<usize, usize> {
        self.places.binary_search_by(|place| place.key.cmp(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Part(Option<u64>);

    impl Timer for Part {
        fn next_deadline(&self) -> Option<Timestamp> {
            self.0.map(Timestamp::from_micros)
        }
    }

    /// Goal: whatever happens to parts, the first deadline is that of the first, and those due come in the order of keys.
    #[test]
    fn the_first_deadline_is_that_of_all() {
        let at = Timestamp::from_micros;
        let mut timed = Timed::default();
        assert_eq!(timed.next_deadline(), None);
        for (key, due) in [(3, Some(30)), (1, Some(40)), (2, None)] {
            timed.insert(key, Box::new(Part(due)));
        }
        assert_eq!(timed.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(timed.next_deadline(), Some(at(30)));
        timed.get_mut(&2).expect("there").0 = Some(20);
        assert_eq!(timed.next_deadline(), Some(at(20)));
        assert_eq!(timed.next_due(at(19), None), None);
        assert_eq!(timed.next_due(at(30), None), Some(2));
        assert_eq!(timed.next_due(at(30), Some(2)), Some(3));
        timed.values_mut().for_each(|part| part.0 = part.0.map(|due| due + 5));
        assert_eq!(timed.next_deadline(), Some(at(25)));
        assert!(timed.remove(&2).is_some() && timed.remove(&2).is_none() && timed.get(&2).is_none());
        assert_eq!((timed.next_deadline(), timed.len()), (Some(at(35)), 2));
    }
}
