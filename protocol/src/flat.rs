//! A map whose entries lie side by side, in the order of their keys.
//!
//! For tables of some dozen to some thousand entries that are read far more often than they change, and of which a
//! node has many: a tree leaves a third of its places empty, and going through it is slow.

/// Room for so many more is made in a map that is full, and for an eighth of those that are there.
const GROWTH: usize = 2;

/// Entries by their keys.
#[derive(Debug)]
pub(crate) struct Flat<K, V> {
    entries: Vec<(K, V)>,
}

impl<K, V> Default for Flat<K, V> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<K: Ord, V> Flat<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.find(key).is_ok()
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.find(key).ok().map(|at| &self.entries[at].1)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.find(key).ok().map(|at| &mut self.entries[at].1)
    }

    /// The value of a key, a new one if there is none.
    pub(crate) fn or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        let at = match self.find(&key) {
            Ok(at) => at,
            Err(at) => self.put(at, key, V::default()),
        };
        &mut self.entries[at].1
    }

    /// Puts a value in, in place of that which was there.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        match self.find(&key) {
            Ok(at) => self.entries[at].1 = value,
            Err(at) => drop(self.put(at, key, value)),
        }
    }

    fn put(&mut self, at: usize, key: K, value: V) -> usize {
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(GROWTH + self.entries.len() / 8);
        }
        self.entries.insert(at, (key, value));
        at
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.find(key).ok().map(|at| self.entries.remove(at).1)
    }

    /// In order, as all that follow.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.iter().map(|(key, _)| key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    fn find(&self, key: &K) -> Result<usize, usize> {
        self.entries.binary_search_by(|(other, _)| other.cmp(key))
    }
}

#[cfg(test)]
impl<K: Ord, V> std::ops::Index<&K> for Flat<K, V> {
    type Output = V;

    fn index(&self, key: &K) -> &V {
        self.get(key).expect("there")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Goal: it is what a map is, in the same order, and has not much more room than it needs.
    #[test]
    fn entries_lie_in_the_order_of_their_keys() {
        let (mut flat, mut map) = (Flat::default(), BTreeMap::new());
        for n in 0..1000u64 {
            let key = n * 7919 % 613;
            match n % 5 {
                4 => assert_eq!(flat.remove(&key), map.remove(&key)),
                3 => *flat.or_default(key) = *map.entry(key).and_modify(|value| *value = n).or_insert(n),
                _ => {
                    flat.insert(key, n);
                    map.insert(key, n);
                }
            }
            assert_eq!((flat.get(&key), flat.contains_key(&key)), (map.get(&key), map.contains_key(&key)));
        }
        assert!(flat.iter().eq(map.iter()) && flat.keys().eq(map.keys()) && flat.values().eq(map.values()));
        flat.values_mut().for_each(|value| *value += 1);
        map.values_mut().for_each(|value| *value += 1);
        assert!(flat.iter().rev().eq(map.iter().rev()));
        assert_eq!(flat.len(), map.len());
        assert!(flat.entries.capacity() <= flat.len() * 5 / 4 + GROWTH);
    }
}
