//! About how much memory tables take: what lies behind them, by what they have room for. What an allocator adds to it is
//! left out, and of a tree it is taken that a third of its places is empty.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Behind a list.
pub(crate) fn list<T>(list: &Vec<T>) -> usize {
    list.capacity() * size_of::<T>()
}

/// Behind a queue.
pub(crate) fn queue<T>(queue: &VecDeque<T>) -> usize {
    queue.capacity() * size_of::<T>()
}

/// Behind a map.
pub(crate) fn map<K, V>(map: &BTreeMap<K, V>) -> usize {
    map.len() * (size_of::<K>() + size_of::<V>()) * 3 / 2
}

/// Behind a map whose values lie apart, each in memory of its own. Of a few large values a tree leaves most places empty.
pub(crate) fn boxes<K, V>(map: &BTreeMap<K, Box<V>>) -> usize {
    self::map(map) + map.len() * size_of::<V>()
}

/// Behind a set.
pub(crate) fn set<K>(set: &BTreeSet<K>) -> usize {
    set.len() * size_of::<K>() * 3 / 2
}
