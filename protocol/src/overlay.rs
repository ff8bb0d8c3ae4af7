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
/// A link that ends sooner counts as a failed dial, as the other side has no use for it; one that stood for longer
/// is not part of two nodes dialling each other at once.
const SETTLED_AFTER: Duration = Duration::from_secs(5);
/// A peer that discovery sees again is dialled again after this, however often it failed.
const FOUND_PAUSE: Duration = Duration::from_secs(1);

/// What the overlay wants its owner to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// Dial a peer.
    Connect { peer: PeerId, addresses: Vec<Address> },
    /// Another link to the same peer takes over from this one.
    Retire { link: LinkId },
    /// Close a link.
    Disconnect { link: LinkId, cause: &'static str },
}

#[derive(Debug)]
pub(crate) struct Overlay {
    me: PeerId,
    known: BTreeMap<PeerId, Known>,
    n_linked: usize,
    n_dialing: usize,
    next: Option<Timestamp>,
    facts: Vec<Fact>,
}

#[derive(Debug, Default)]
struct Known {
    /// Newest first.
    addresses: Vec<Address>,
    link: Option<Standing>,
    dialing: Option<Timestamp>,
    /// An address came while it was being dialled, and was not tried yet.
    has_news: bool,
    failures: u32,
    failed_at: Timestamp,
    retry_at: Option<Timestamp>,
    /// Whom it says it is linked to.
    neighbours: BTreeSet<PeerId>,
}

/// The one link to a peer.
#[derive(Clone, Copy, Debug)]
struct Standing {
    link: LinkId,
    /// We dialled it.
    dialed: bool,
    since: Timestamp,
}

impl Overlay {
    pub(crate) fn new(me: PeerId) -> Self {
        Self { me, known: BTreeMap::new(), n_linked: 0, n_dialing: 0, next: None, facts: Vec::new() }
    }

    pub(crate) fn take_facts(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.facts)
    }

    /// The link to use for a peer.
    pub(crate) fn link(&self, peer: &PeerId) -> Option<LinkId> {
        self.known.get(peer)?.link.map(|standing| standing.link)
    }

    /// Everybody linked, with where they can be reached.
    pub(crate) fn neighbours(&self) -> impl Iterator<Item = (PeerId, &[Address])> + '_ {
        self.known
            .iter()
            .filter(|(_, known)| known.link.is_some())
            .map(|(peer, known)| (*peer, &known.addresses[..]))
    }

    /// Everybody linked who says that it is linked to `peer`.
    pub(crate) fn observers(&self, peer: &PeerId) -> BTreeSet<PeerId> {
        self.known
            .iter()
            .filter(|(_, known)| known.link.is_some() && known.neighbours.contains(peer))
            .map(|(observer, _)| *observer)
            .collect()
    }

    /// Discovery has seen somebody there.
    pub(crate) fn found(&mut self, now: Timestamp, peer: PeerId, addresses: Vec<Address>) {
        if let Some(known) = self.known.get_mut(&peer)
            && now - known.failed_at >= FOUND_PAUSE
        {
            // It is there now: a back-off that grew while it was not is over.
            known.retry_at = None;
        }
        self.told(now, peer, addresses);
    }

    /// Somebody is said to be reachable there.
    pub(crate) fn told(&mut self, now: Timestamp, peer: PeerId, addresses: Vec<Address>) {
        if peer == self.me || !self.make_room(&peer) {
            return;
        }
        let known = self.known.entry(peer).or_default();
        known.learn(addresses);
        self.dial(now, peer);
    }

    /// A neighbour tells its neighbours.
    pub(crate) fn neighbours_of(&mut self, now: Timestamp, peer: PeerId, list: Vec<(PeerId, Vec<Address>)>) {
        if let Some(known) = self.known.get_mut(&peer) {
            known.neighbours = list.iter().map(|(neighbour, _)| *neighbour).collect();
        }
        for (neighbour, addresses) in list {
            self.told(now, neighbour, addresses);
        }
    }

    /// A link stands. Which of two stays both sides decide alike.
    pub(crate) fn link_up(&mut self, now: Timestamp, link: LinkId, peer: PeerId, dialed: bool) {
        if peer == self.me {
            self.facts.push(Fact::Disconnect { link, cause: "connected to myself" });
            return;
        }
        let is_new = self.known.get(&peer).is_none_or(|known| known.link.is_none());
        if !self.make_room(&peer) || is_new && self.n_linked >= limits::LINKS_MAX {
            self.facts.push(Fact::Disconnect { link, cause: "too many links" });
            return;
        }
        let known = self.known.entry(peer).or_default();
        self.n_linked += usize::from(is_new);
        self.n_dialing -= usize::from(known.dialing.take().is_some());
        known.retry_at = None;
        let new = Standing { link, dialed, since: now };
        // Both sides dialled at once: the link that the lower dialled stays. A link that had settled, or went the
        // same way, is the ghost of one that the other side has lost; else it would not have dialled.
        let keeps_old = known
            .link
            .filter(|old| old.dialed != dialed && old.dialed == (self.me < peer))
            .filter(|old| now - old.since < SETTLED_AFTER);
        let (kept, other) = match keeps_old {
            Some(old) => (old, Some(new)),
            None => (new, known.link),
        };
        known.link = Some(kept);
        if let Some(other) = other {
            self.facts.push(Fact::Retire { link: other.link });
        }
    }

    /// A link is over. True if it was the last one to its peer. `choice` spreads the retries.
    pub(crate) fn link_down(&mut self, now: Timestamp, link: LinkId, peer: PeerId, choice: u32) -> bool {
        let Some(known) = self.known.get_mut(&peer) else {
            return false;
        };
        let Some(standing) = known.link.take_if(|standing| standing.link == link) else {
            return false;
        };
        self.n_linked -= 1;
        known.neighbours.clear();
        if now - standing.since >= SETTLED_AFTER {
            known.failures = 0;
            self.dial(now, peer);
        } else {
            self.retry_later(now, peer, choice);
        }
        true
    }

    /// A dial came to nothing. `choice` spreads the retries.
    pub(crate) fn dial_failed(&mut self, now: Timestamp, peer: PeerId, choice: u32) {
        let Some(known) = self.known.get_mut(&peer) else {
            return;
        };
        self.n_dialing -= usize::from(known.dialing.take().is_some());
        if known.has_news {
            return self.dial(now, peer);
        }
        self.retry_later(now, peer, choice);
    }

    fn retry_later(&mut self, now: Timestamp, peer: PeerId, choice: u32) {
        let Some(known) = self.known.get_mut(&peer) else {
            return;
        };
        let pause = (RETRY_MIN * 2u32.pow(known.failures.min(7))).min(RETRY_MAX);
        known.failures = known.failures.saturating_add(1);
        known.failed_at = now;
        let at = now + pause + pause * (choice % 256) / 1024;
        known.retry_at = Some(at);
        self.wake_at(at);
    }

    /// Stop trying: it said goodbye.
    pub(crate) fn forget(&mut self, peer: &PeerId) {
        if self.known.get(peer).is_some_and(|known| known.link.is_none()) {
            self.remove(peer);
        } else if let Some(known) = self.known.get_mut(peer) {
            known.addresses.clear();
        }
    }

    fn remove(&mut self, peer: &PeerId) {
        if let Some(known) = self.known.remove(peer) {
            self.n_dialing -= usize::from(known.dialing.is_some());
        }
    }

    pub(crate) fn on_deadline(&mut self, now: Timestamp) {
        if self.next.is_none_or(|next| next > now) {
            return;
        }
        let mut next = None::<Timestamp>;
        let (mut overdue, mut retry) = (Vec::new(), Vec::new());
        for (peer, known) in &self.known {
            let due = match known.dialing {
                Some(since) => Some(since + DIAL_PATIENCE),
                None => known.retry_at,
            };
            match due {
                // The host never answered.
                Some(at) if at <= now && known.dialing.is_some() => overdue.push(*peer),
                Some(at) if at <= now => retry.push(*peer),
                later => next = later.into_iter().chain(next).min(),
            }
        }
        self.next = next;
        for peer in overdue {
            self.dial_failed(now, peer, 0);
        }
        for peer in retry {
            self.dial(now, peer);
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
        if known.link.is_some()
            || known.dialing.is_some()
            || waits
            || known.addresses.is_empty()
            || n_linked >= limits::LINKS_MAX
        {
            return;
        }
        if self.n_dialing >= limits::DIALS_MAX {
            known.retry_at = Some(now + RETRY_MIN);
            return self.wake_at(now + RETRY_MIN);
        }
        self.n_dialing += 1;
        known.dialing = Some(now);
        known.has_news = false;
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
            .filter(|(_, known)| known.link.is_none() && known.dialing.is_none())
            .max_by_key(|(_, known)| known.failures)
            .map(|(peer, _)| *peer);
        worst.is_some_and(|worst| self.known.remove(&worst).is_some())
    }

    fn wake_at(&mut self, at: Timestamp) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

impl Known {
    /// Adds addresses, newest first, without those too long to be passed on. One that is new is worth a try at
    /// once, whatever happened to the old ones.
    fn learn(&mut self, addresses: Vec<Address>) {
        for address in addresses.into_iter().filter(Address::fits) {
            if !self.addresses.contains(&address) {
                self.retry_at = None;
                self.has_news = self.dialing.is_some();
                self.addresses.insert(0, address);
            }
        }
        self.addresses.truncate(Hello::ADDRESSES_MAX);
    }
}

#[cfg(test)]
mod tests;
