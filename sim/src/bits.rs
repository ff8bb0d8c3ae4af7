//! Sets of nodes: a bit each.

use std::fmt;

use crate::topology::NodeIx;

/// A set of nodes, for worlds in which a tree with an entry for each would not fit.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct NodeSet {
    words: Vec<u64>,
    n: usize,
}

impl NodeSet {
    /// Puts a node in. True if it was not there.
    pub fn insert(&mut self, node: NodeIx) -> bool {
        let (word, bit) = (node / 64, 1 << (node % 64));
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.n += usize::from(is_new);
        is_new
    }

    /// Takes a node out.
    pub fn remove(&mut self, node: NodeIx) {
        if self.contains(&node) {
            self.words[node / 64] &= !(1 << (node % 64));
            self.n -= 1;
        }
    }

    /// Whether a node is there.
    pub fn contains(&self, node: &NodeIx) -> bool {
        self.words.get(node / 64).is_some_and(|word| word & 1 << (node % 64) != 0)
    }

    /// Those that are not in another set.
    pub fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = NodeIx> + 'a {
        let others = other.words.iter().copied().chain(std::iter::repeat(0));
        self.words.iter().zip(others).enumerate().flat_map(|(at, (word, other))| ones(at, word & !other))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = NodeIx> + '_ {
        self.words.iter().enumerate().flat_map(|(at, word)| ones(at, *word))
    }
}

/// The nodes of one word.
fn ones(at: usize, word: u64) -> impl Iterator<Item = NodeIx> {
    let n = if word == 0 { 0 } else { 64 };
    (0..n).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit)
}

impl FromIterator<NodeIx> for NodeSet {
    fn from_iter<I: IntoIterator<Item = NodeIx>>(nodes: I) -> Self {
        let mut set = Self::default();
        nodes.into_iter().for_each(|node| {
            set.insert(node);
        });
        set
    }
}

impl fmt::Debug for NodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let mut set: NodeSet = [3, 64, 1000, 3].into_iter().collect();
        assert_eq!((set.len(), set.iter().collect::<Vec<_>>()), (3, vec![3, 64, 1000]));
        assert!(!set.insert(64) && set.contains(&64) && !set.contains(&65) && !set.contains(&5000));
        set.remove(64);
        set.remove(64);
        assert_eq!((set.len(), set.contains(&64)), (2, false));
        let other: NodeSet = [1000, 2000].into_iter().collect();
        assert_eq!(set.without(&other).collect::<Vec<_>>(), [3]);
        assert_eq!(other.without(&set).collect::<Vec<_>>(), [2000]);
    }
}
