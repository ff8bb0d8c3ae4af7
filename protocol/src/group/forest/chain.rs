//! Hash chains: what makes a round of adverts its root's own.

use crate::crypto::Identity;
use crate::id::{Incarnation, TopicTag};
use crate::limits;
use crate::wire::frame::{Anchor, AnchorId, ChainKey, key_before};

const LENGTH: u16 = limits::CHAIN_MAX as u16;

/// Our own chain: we know all its keys.
#[derive(Debug)]
pub(super) struct OwnChain {
    pub(super) anchor: Anchor,
    /// That of the last round.
    seed: ChainKey,
}

impl OwnChain {
    pub(super) fn new(
        tag: &TopicTag,
        identity: &Identity,
        incarnation: Incarnation,
        chain: u16,
        seed: ChainKey,
    ) -> Self {
        let end = back(&identity.peer_id(), seed, LENGTH);
        Self { anchor: Anchor::new(tag, incarnation, chain, LENGTH, end, identity), seed }
    }

    /// The key of a round, if the chain is good for so many.
    pub(super) fn key(&self, seq: u16) -> Option<ChainKey> {
        Some(back(&self.anchor.root, self.seed, LENGTH.checked_sub(seq)?))
    }
}

/// Another's chain, as far as it was shown; of our own, the same.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    pub(super) anchor: Anchor,
    pub(super) id: AnchorId,
    /// The newest round, 0 before the first.
    pub(super) seq: u16,
    key: ChainKey,
}

impl Chain {
    /// Its anchor was verified.
    pub(super) fn new(tag: &TopicTag, anchor: Anchor) -> Self {
        let (id, key) = (anchor.id(tag), anchor.end);
        Self { anchor, id, seq: 0, key }
    }

    /// Whether `key` belongs to the newest round.
    pub(super) fn is_newest(&self, seq: u16, key: &ChainKey) -> bool {
        (seq, key) == (self.seq, &self.key)
    }

    /// Goes on to a newer round. False if the key is not that round's: the root has not begun it.
    #[must_use]
    pub(super) fn go_on(&mut self, seq: u16, key: ChainKey) -> bool {
        let is_good = seq > self.seq
            && seq <= self.anchor.length
            && back(&self.anchor.root, key, seq - self.seq) == self.key;
        if is_good {
            (self.seq, self.key) = (seq, key);
        }
        is_good
    }

    pub(super) fn key(&self) -> ChainKey {
        self.key
    }

    /// A chain that a root began later makes the earlier one void.
    pub(super) fn is_before(&self, other: &Anchor) -> bool {
        (self.anchor.incarnation, self.anchor.chain) < (other.incarnation, other.chain)
    }
}

fn back(root: &crate::id::PeerId, mut key: ChainKey, steps: u16) -> ChainKey {
    for _ in 0..steps {
        key = key_before(root, &key);
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: TopicTag = TopicTag([4; 16]);

    /// Goal: only the root begins a round, in its group, and a chain has an end.
    #[test]
    fn rounds_are_proved_by_their_keys() {
        let root = Identity::from_seed([1; 32]);
        let own = OwnChain::new(&TAG, &root, Incarnation(3), 0, [7; 16]);
        assert!(own.anchor.verify(&TAG).is_ok());
        assert!(own.anchor.verify(&TopicTag([5; 16])).is_err(), "another group");
        let key = |seq| own.key(seq).expect("in the chain");
        let mut chain = Chain::new(&TAG, own.anchor.clone());
        assert!(chain.go_on(1, key(1)) && chain.is_newest(1, &key(1)));
        assert!(!chain.go_on(1, key(1)), "a round begins once");
        assert!(!chain.go_on(3, key(2)) && !chain.go_on(2, key(3)) && !chain.go_on(2, [0; 16]));
        assert!(chain.go_on(200, key(200)), "whoever missed rounds goes on with the newest");
        assert!(!chain.go_on(100, key(100)));
        assert!(chain.go_on(LENGTH, key(LENGTH)));
        assert_eq!(own.key(LENGTH + 1), None);
        assert!(!chain.go_on(LENGTH + 1, [7; 16]));
    }

    #[test]
    fn an_anchor_is_bound_to_all_it_says() {
        let root = Identity::from_seed([1; 32]);
        let good = OwnChain::new(&TAG, &root, Incarnation(3), 1, [7; 16]).anchor;
        let changes: [fn(&mut Anchor); 5] = [
            |anchor| anchor.root = Identity::from_seed([2; 32]).peer_id(),
            |anchor| anchor.incarnation = Incarnation(4),
            |anchor| anchor.chain = 2,
            |anchor| anchor.length -= 1,
            |anchor| anchor.end[15] ^= 1,
        ];
        for change in changes {
            let mut bad = good.clone();
            change(&mut bad);
            assert!(bad.verify(&TAG).is_err() && bad.id(&TAG) != good.id(&TAG));
        }
    }
}
