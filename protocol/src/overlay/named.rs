//! Whom neighbours say that they are linked to: who observes whom, who need not be told of an envelope, and which of two
//! links for one group can go.

use std::collections::BTreeSet;

use super::Overlay;
use crate::id::PeerId;
use crate::time::Timestamp;
use crate::wire::frame::{Address, Peers, PeersChange};

impl Overlay {
    /// Whether one that is linked says that it is linked to another.
    pub(crate) fn has_named(&self, by: &PeerId, peer: &PeerId) -> bool {
        self.named.get(by).is_some_and(|named| named.contains(peer))
    }

    /// To how many peers one that is linked says that it is linked.
    pub(crate) fn n_named_by(&self, peer: &PeerId) -> usize {
        self.named.get(peer).map_or(0, |named| named.len())
    }

    /// Everybody linked who says that it is linked to `peer`.
    pub(crate) fn observers(&self, peer: &PeerId) -> BTreeSet<PeerId> {
        let says_so = |other: &&PeerId| self.has_named(other, peer);
        self.active.keys().filter(says_so).copied().collect()
    }

    /// A neighbour tells its neighbours.
    pub(crate) fn neighbours_of(&mut self, now: Timestamp, peer: PeerId, list: Vec<(PeerId, Vec<Address>)>) {
        if self.active.contains_key(&peer) {
            self.named.insert(peer, list.iter().map(|(neighbour, _)| *neighbour).collect());
        }
        // One in partial mode says no addresses: it does not want everybody to dial.
        if !self.is_partial() {
            self.hear_of(now, peer, list);
        }
    }

    /// A neighbour tells what has changed since. False if nothing is known that could have.
    pub(crate) fn neighbours_changed(&mut self, peer: &PeerId, change: &PeersChange) -> bool {
        let Some(named) = self.named.get_mut(peer) else { return false };
        let stay = named.iter().filter(|other| !change.went.contains(other) && !change.came.contains(other));
        *named = stay.chain(&change.came).copied().take(Peers::MAX).collect();
        true
    }
}
