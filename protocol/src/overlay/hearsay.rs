//! Hearsay: whom neighbours name in mesh mode, and at which addresses. Nobody has signed it.
//!
//! A neighbour can name whom it likes, anywhere: at the hosts of others, or at a port that is open on this host only. So
//! hearsay changes next to nothing about peers of whom more is known, each neighbour has a share of what is remembered,
//! makes this node dial in measure, and what comes to nothing is forgotten once it does not name it any longer.

use super::block;
use super::{Fact, Known, Overlay};
use crate::bucket::Rate;
use crate::id::PeerId;
use crate::limits;
use crate::time::Timestamp;
use crate::wire::frame::{Address, PeerRecord};

/// Dials to whom one neighbour names.
pub(super) const DIALS: Rate = Rate::per_second(limits::HEARSAY_DIALS_BURST, limits::HEARSAY_DIALS_RATE);
/// Those to whom all name together.
pub(super) const DIALS_OF_ALL: Rate =
    Rate::per_second(limits::HEARSAY_DIALS_ALL_BURST, limits::HEARSAY_DIALS_ALL_RATE);

impl Overlay {
    /// A neighbour tells of its neighbours.
    pub(super) fn hear_of(&mut self, now: Timestamp, from: PeerId, list: Vec<(PeerId, Vec<Address>)>) {
        let is_near = self.is_on_this_host(&from);
        let told = self.known.values().filter_map(|known| known.told_by.as_deref());
        let (mut n_all, mut n_from) =
            told.fold((0, 0), |(n_all, n_from), teller| (n_all + 1, n_from + usize::from(*teller == from)));
        let mut idle = None;
        for (peer, mut addresses) in list {
            addresses.retain(|address| block::may_be_dialed(address, is_near));
            if peer == self.me || addresses.is_empty() {
                continue;
            }
            if !self.known.contains_key(&peer) {
                if n_from < limits::HEARSAY_PER_LINK && n_all >= limits::HEARSAY_MAX {
                    let idle = idle.get_or_insert_with(|| self.names_nobody_gives());
                    n_all -= usize::from(self.forget_one(idle));
                }
                let is_over = n_from >= limits::HEARSAY_PER_LINK || n_all >= limits::HEARSAY_MAX;
                // A name takes nobody's place but another's.
                let is_full = self.known.len() >= limits::KNOWN_PEERS_MAX;
                if is_over || is_full && !self.forget_worst(|known| known.told_by.is_some()) {
                    self.facts.push(Fact::Count("hearsay-dropped"));
                    continue;
                }
                let told_by = Some(Box::new(from));
                self.known.insert(peer, Known { told_by, ..Known::default() });
                (n_all, n_from) = (n_all + 1, n_from + 1);
            }
            if let Some(known) = self.known.get_mut(&peer) {
                known.hear(addresses);
            }
            if self.dials_by_itself(&peer) {
                self.dial(now, peer, self.own_why(), false);
            }
        }
    }

    /// Names that nobody gives any longer, and that are not being dialled.
    fn names_nobody_gives(&self) -> Vec<PeerId> {
        let is_idle = |known: &Known| !known.is_linked && known.dialing.is_none();
        let names = self.known.iter().filter(|(peer, known)| is_idle(known) && self.is_unnamed(peer, known));
        names.map(|(peer, _)| *peer).collect()
    }

    /// Forgets the last of these names, but not one that has come to be dialled meanwhile. False if there is none.
    fn forget_one(&mut self, names: &mut Vec<PeerId>) -> bool {
        while let Some(peer) = names.pop() {
            if self.known.get(&peer).is_some_and(|known| known.dialing.is_none()) {
                return self.known.remove(&peer).is_some();
            }
        }
        false
    }

    /// Whether nothing more is known of a peer than its name, and who gave that does so no longer.
    fn is_unnamed(&self, peer: &PeerId, known: &Known) -> bool {
        known.told_by.as_ref().is_some_and(|teller| !self.has_named(teller, peer))
    }

    fn has_dials_enough(&self) -> bool {
        let is_dialed = |known: &Known| known.dialing.is_some() && known.told_by.is_some();
        self.n_dialing >= limits::HEARSAY_DIALS_MAX
            && self.known.values().filter(|known| is_dialed(known)).count() >= limits::HEARSAY_DIALS_MAX
    }

    /// Whether one more dial to a peer that this neighbour has named is in measure.
    pub(super) fn may_dial_on_hearsay(&mut self, now: Timestamp, teller: &PeerId) -> bool {
        self.hearsay.refill(now, DIALS_OF_ALL);
        let may = !self.has_dials_enough()
            && self.hearsay.has(1)
            && self.allowances.may_dial(now, teller)
            && self.hearsay.draw(1);
        if !may {
            self.facts.push(Fact::Count("hearsay-dials-put-off"));
        }
        may
    }

    /// Whether a peer is no more than a name that nobody gives any longer, and where nobody was found.
    pub(super) fn is_idle_talk(&self, peer: &PeerId) -> bool {
        self.known.get(peer).is_some_and(|known| {
            known.failures >= limits::HEARSAY_FAILURES_MAX && !known.is_linked && self.is_unnamed(peer, known)
        })
    }
}

impl Known {
    /// Adds addresses for the next dial, which comes no sooner for it. Of a peer of which more is known, only as far as
    /// there is room; of another those said last.
    fn hear(&mut self, addresses: Vec<Address>) {
        let is_hearsay = self.told_by.is_some();
        for address in addresses.into_iter().filter(Address::fits) {
            if self.addresses.contains(&address) {
                continue;
            }
            self.bits |= block::bits([&address]);
            if is_hearsay {
                self.addresses.insert(0, address.clone());
            } else {
                self.addresses.push(address.clone());
            }
            self.hearsay.push(address);
        }
        self.addresses.truncate(PeerRecord::ADDRESSES_MAX);
        self.hearsay.retain(|address| self.addresses.contains(address));
    }
}
