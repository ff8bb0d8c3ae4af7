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

/// Peers that one neighbour has named and of whom no more is known: as many as it can be linked to.
pub(super) const PER_LINK: usize = limits::LINKS_MAX;
/// Dials to those at once.
pub(super) const DIALS_BURST: u32 = PER_LINK as u32;
/// And a second, later: each goes to up to eight addresses, which may be anybody's.
pub(super) const DIALS_RATE: u32 = 2;
/// The two together.
pub(super) const DIALS: Rate = Rate::per_second(DIALS_BURST, DIALS_RATE);
/// After so many dials in vain, some 16 s, a peer that nobody names any longer is forgotten.
const FAILURES_MAX: u32 = 6;

impl Overlay {
    /// A neighbour tells of its neighbours.
    pub(super) fn hear_of(&mut self, now: Timestamp, from: PeerId, list: Vec<(PeerId, Vec<Address>)>) {
        let is_near = self.is_on_this_host(&from);
        let told = self.known.values().filter_map(|known| known.told_by);
        let (mut n_all, mut n_from) =
            told.fold((0, 0), |(n_all, n_from), teller| (n_all + 1, n_from + usize::from(teller == from)));
        for (peer, mut addresses) in list {
            addresses.retain(|address| block::may_be_dialed(address, is_near));
            if peer == self.me || addresses.is_empty() {
                continue;
            }
            if !self.known.contains_key(&peer) {
                let is_over = n_from >= PER_LINK || n_all >= limits::HEARSAY_MAX;
                if is_over || !self.make_room(&peer) {
                    self.facts.push(Fact::Count("hearsay-dropped"));
                    continue;
                }
                self.known.insert(peer, Known { told_by: Some(from), ..Known::default() });
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

    /// Whether one more dial to a peer that this neighbour has named is in measure. What is left of neighbours that went
    /// has one measure together.
    pub(super) fn may_dial_on_hearsay(&mut self, now: Timestamp, teller: &PeerId) -> bool {
        let standing = self.known.get_mut(teller).and_then(|known| known.link.as_mut());
        let budget = standing.map_or(&mut self.orphans, |standing| &mut standing.hearsay);
        budget.refill(now, DIALS);
        let may = budget.draw(1);
        if !may {
            self.facts.push(Fact::Count("hearsay-dials-put-off"));
        }
        may
    }

    /// Whether a peer is no more than a name that nobody gives any longer, and where nobody was found.
    pub(super) fn is_idle_talk(&self, peer: &PeerId) -> bool {
        let Some((known, teller)) = self.known.get(peer).and_then(|known| Some((known, known.told_by?)))
        else {
            return false;
        };
        let is_named = self.known.get(&teller).is_some_and(|teller| teller.neighbours.contains(peer));
        known.failures >= FAILURES_MAX && !is_named && known.link.is_none()
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
            if is_hearsay {
                self.addresses.insert(0, address);
            } else {
                self.addresses.push(address);
            }
        }
        self.addresses.truncate(PeerRecord::ADDRESSES_MAX);
    }
}
