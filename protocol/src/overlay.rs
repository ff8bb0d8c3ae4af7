//! The overlay: whom this node knows, dials and is linked to. One per node.
//!
//! On a LAN of up to 16 nodes that is everybody (full mesh). Peers come from discovery, from HELLO, and from
//! neighbours telling their neighbours. Of two links to one peer the one dialled by the lower [`PeerId`] stays.
//!
//! Not here: who is alive (presence), who belongs to a group.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{LinkId, PeerId};
use crate::limits;
use crate::time::{Duration, Timestamp};
use crate::wire::frame::{Address, Hello};

/// First pause before a failed dial is tried again; doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// A dial that has not been answered by then is over.
const DIAL_PATIENCE: Duration = Duration::from_secs(10);

/// What the overlay wants its owner to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// Dial a peer.
    Connect { peer: PeerId, addresses: Vec<Address> },
    /// Close a link.
    Disconnect { link: LinkId, cause: &'static str },
}

#[derive(Debug)]
pub(crate) struct Overlay {
    me: PeerId,
    known: BTreeMap<PeerId, Known>,
    n_linked: usize,
    next: Option<Timestamp>,
    facts: Vec<Fact>,
}

#[derive(Debug, Default)]
struct Known {
    /// Newest first.
    addresses: Vec<Address>,
    /// Links to it and whether we dialled them; more than one only for a moment.
    links: Vec<(LinkId, bool)>,
    dialing: Option<Timestamp>,
    failures: u32,
    retry_at: Option<Timestamp>,
    /// Whom it says it is linked to.
    neighbours: BTreeSet<PeerId>,
}

impl Overlay {
    pub(crate) fn new(me: PeerId) -> Self {
        Self { me, known: BTreeMap::new(), n_linked: 0, next: None, facts: Vec::new() }
    }

    pub(crate) fn take_facts(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.facts)
    }

    /// The link to use for a peer.
    pub(crate) fn link(&self, peer: &PeerId) -> Option<LinkId> {
        self.known.get(peer)?.links.last().map(|(link, _)| *link)
    }

    /// Everybody linked, with where they can be reached.
    pub(crate) fn neighbours(&self) -> impl Iterator<Item = (PeerId, &[Address])> + '_ {
        self.known
            .iter()
            .filter(|(_, known)| !known.links.is_empty())
            .map(|(peer, known)| (*peer, &known.addresses[..]))
    }

    /// Everybody linked who says that it is linked to `peer`.
    pub(crate) fn observers(&self, peer: &PeerId) -> BTreeSet<PeerId> {
        self.known
            .iter()
            .filter(|(_, known)| !known.links.is_empty() && known.neighbours.contains(peer))
            .map(|(observer, _)| *observer)
            .collect()
    }

    /// Somebody can be reached there.
    pub(crate) fn found(&mut self, now: Timestamp, peer: PeerId, addresses: Vec<Address>) {
        if peer == self.me || !self.make_room(&peer) {
            return;
        }
        let known = self.known.entry(peer).or_default();
        let fresh = known.learn(addresses);
        if fresh {
            // A new address is worth a try at once, whatever happened to the old ones.
            known.retry_at = None;
        }
        self.dial(now, peer);
    }

    /// A neighbour tells its neighbours.
    pub(crate) fn neighbours_of(&mut self, now: Timestamp, peer: PeerId, list: Vec<(PeerId, Vec<Address>)>) {
        if let Some(known) = self.known.get_mut(&peer) {
            known.neighbours = list.iter().map(|(neighbour, _)| *neighbour).collect();
        }
        for (neighbour, addresses) in list {
            self.found(now, neighbour, addresses);
        }
    }

    /// A link stands. Which of two stays both sides decide alike.
    pub(crate) fn link_up(&mut self, link: LinkId, peer: PeerId, dialed: bool) {
        if peer == self.me {
            self.facts.push(Fact::Disconnect { link, cause: "connected to myself" });
            return;
        }
        let is_new = self.known.get(&peer).is_none_or(|known| known.links.is_empty());
        if !self.make_room(&peer) || is_new && self.n_linked >= limits::LINKS_MAX {
            self.facts.push(Fact::Disconnect { link, cause: "too many links" });
            return;
        }
        let known = self.known.entry(peer).or_default();
        self.n_linked += usize::from(is_new);
        known.dialing = None;
        known.failures = 0;
        known.retry_at = None;
        known.links.push((link, dialed));
        // The dialler of a second link in the same direction had no use for the first: the newest stays.
        let keep_dialed = self.me < peer;
        let keep = known.links.iter().rposition(|(_, dialed)| *dialed == keep_dialed);
        if let Some(keep) = keep {
            let kept = known.links[keep];
            for (other, _) in known.links.iter().filter(|entry| **entry != kept) {
                self.facts.push(Fact::Disconnect { link: *other, cause: "duplicate link" });
            }
            known.links = vec![kept];
        }
    }

    /// A link is over. True if it was the last one to its peer.
    pub(crate) fn link_down(&mut self, now: Timestamp, link: LinkId, peer: PeerId) -> bool {
        let Some(known) = self.known.get_mut(&peer) else {
            return false;
        };
        let before = known.links.len();
        known.links.retain(|(other, _)| *other != link);
        if !known.links.is_empty() || before == 0 {
            return false;
        }
        self.n_linked -= 1;
        known.neighbours.clear();
        self.dial(now, peer);
        true
    }

    /// A dial came to nothing. `choice` spreads the retries.
    pub(crate) fn dial_failed(&mut self, now: Timestamp, peer: PeerId, choice: u32) {
        let Some(known) = self.known.get_mut(&peer) else {
            return;
        };
        known.dialing = None;
        let pause = (RETRY_MIN * 2u32.pow(known.failures.min(7))).min(RETRY_MAX);
        known.failures += 1;
        let at = now + pause + pause * (choice % 256) / 1024;
        known.retry_at = Some(at);
        self.wake_at(at);
    }

    /// Stop trying: it said goodbye.
    pub(crate) fn forget(&mut self, peer: &PeerId) {
        if self.known.get(peer).is_some_and(|known| known.links.is_empty()) {
            self.known.remove(peer);
        } else if let Some(known) = self.known.get_mut(peer) {
            known.addresses.clear();
        }
    }

    pub(crate) fn on_deadline(&mut self, now: Timestamp) {
        if self.next.is_none_or(|next| next > now) {
            return;
        }
        self.next = None;
        let peers: Vec<PeerId> = self.known.keys().copied().collect();
        for peer in peers {
            let Some(known) = self.known.get_mut(&peer) else {
                continue;
            };
            if let Some(since) = known.dialing {
                if now - since < DIAL_PATIENCE {
                    self.wake_at(since + DIAL_PATIENCE);
                    continue;
                }
                known.dialing = None;
            }
            match known.retry_at {
                Some(at) if at > now => self.wake_at(at),
                Some(_) => self.dial(now, peer),
                None => {}
            }
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.next
    }

    fn dial(&mut self, now: Timestamp, peer: PeerId) {
        let n_linked = self.n_linked;
        let Some(known) = self.known.get_mut(&peer) else {
            return;
        };
        let waits = known.retry_at.is_some_and(|at| at > now);
        if !known.links.is_empty()
            || known.dialing.is_some()
            || waits
            || known.addresses.is_empty()
            || n_linked >= limits::LINKS_MAX
        {
            return;
        }
        known.dialing = Some(now);
        known.retry_at = None;
        let addresses = known.addresses.clone();
        self.facts.push(Fact::Connect { peer, addresses });
        self.wake_at(now + DIAL_PATIENCE);
    }

    /// Room for one more, at the cost of somebody unlinked who failed most. False if there is none.
    fn make_room(&mut self, peer: &PeerId) -> bool {
        if self.known.contains_key(peer) || self.known.len() < limits::KNOWN_PEERS_MAX {
            return true;
        }
        let worst = self
            .known
            .iter()
            .filter(|(_, known)| known.links.is_empty() && known.dialing.is_none())
            .max_by_key(|(_, known)| known.failures)
            .map(|(peer, _)| *peer);
        worst.is_some_and(|worst| self.known.remove(&worst).is_some())
    }

    fn wake_at(&mut self, at: Timestamp) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

impl Known {
    /// Adds addresses, newest first. True if one was new.
    fn learn(&mut self, addresses: Vec<Address>) -> bool {
        let mut fresh = false;
        for address in addresses {
            if !self.addresses.contains(&address) {
                fresh = true;
                self.addresses.insert(0, address);
            }
        }
        self.addresses.truncate(Hello::ADDRESSES_MAX);
        fresh
    }
}

#[cfg(test)]
mod tests;
