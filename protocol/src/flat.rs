//! A map whose keys lie side by side in their order, and the values in the same order.
//!
//! For tables of some dozen to some thousand entries that are read far more often than they change, and of which a
//! node has many: a tree leaves a third of its places empty, and going through it is slow.

use crate::heap;

/// Room for so many more is made in a map that is full, and for an eighth of those that are there.
const GROWTH: usize = 2;

/// Values by their keys.
#[derive(Debug)]
pub(crate) struct Flat<K, V> {
    /// Apart from the values: a search touches few lines of memory.
    keys: Vec<K>,
    values: Vec<V>,
}

impl<K, V> Default for Flat<K, V> {
    fn default() -> Self {
        Self { keys: Vec::new(), values: Vec::new() }
    }
}

impl<K: Ord, V> Flat<K, V> {
    /// Bytes of memory behind it.
    pub(crate) fn heap(&self) -> usize {
        heap::list(&self.keys) + heap::list(&self.values)
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.find(key).is_ok()
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.find(key).ok().map(|at| &self.values[at])
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.find(key).ok().map(|at| &mut self.values[at])
    }

    /// The value of a key, a new one if there is none.
    pub(crate) fn or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        let at = match self.find(&key) {
            Ok(at) => at,
            Err(at) => {
                self.put(at, key, V::default());
                at
            }
        };
        &mut self.values[at]
    }

    /// Puts a value in, in place of that which was there.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        match self.find(&key) {
            Ok(at) => self.values[at] = value,
            Err(at) => self.put(at, key, value),
        }
    }

    fn put(&mut self, at: usize, key: K, value: V) {
        if self.keys.len() == self.keys.capacity() {
            let more = GROWTH + self.keys.len() / 8;
            self.keys.reserve_exact(more);
            self.values.reserve_exact(more);
        }
        self.keys.insert(at, key);
        self.values.insert(at, value);
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.find(key).ok()?;
        self.keys.remove(at);
        Some(self.values.remove(at))
    }

    /// In order, as all that follow.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.keys.iter().zip(&self.values)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.keys.iter()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.values.iter()
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.values.iter_mut()
    }

    fn find(&self, key: &K) -> Result<usize, usize> {
        self.keys.binary_search(key)
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
        assert!(flat.keys.capacity() <= flat.len() * 5 / 4 + GROWTH);
    }
}
