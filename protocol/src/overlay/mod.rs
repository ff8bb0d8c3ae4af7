//! The overlay: whom this node knows, dials and is linked to. One per node.
//!
//! Where up to [`limits::MESH_MAX`] others are known to live that is everybody (mesh mode). Peers come from discovery,
//! from HELLO, and from neighbours telling their neighbours. Of two links to one peer the one dialled by the lower
//! [`PeerId`] stays.
//!
//! Beyond that (partial mode) a node keeps some random links, which hold the network together, and some to peers
//! close by, which make it fast. The terms are HyParView's (Leitão, Pereira, Rodrigues, 2007): the links are the
//! active view, and known peers without a link the passive view. Unlike there a newcomer's walk ends between two
//! neighbours, whose link it takes the place of: so everybody can join through one contact, at any rate, and degrees
//! stay even. [`partial`] has the modes and whom to keep, [`walk`] the walks, [`view`] the exchange of known peers,
//! [`near`] the measuring, [`find`] the links that groups need, [`mates`] those that serve several of them, [`named`] whom
//! neighbours say to be linked to, [`block`] what keeps identities behind one address few, [`hearsay`] what becomes of
//! names that neighbours drop in mesh mode, [`allowance`] what a neighbour may have of this node.
//!
//! Not here: who is alive (presence), who belongs to a group.

mod allowance;
mod block;
pub(crate) mod find;
mod hearsay;
mod mates;
mod named;
mod near;
mod partial;
mod view;
mod walk;

use std::sync::Arc;

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use self::partial::Partial;
use crate::bucket::{Bucket, Rate};
use crate::flat::Flat;
use crate::id::{LinkId, PeerId, TopicTag};
use crate::io::{CloseCause, Slot};
use crate::limits;
use crate::time::{Duration, Timestamp};
use crate::wire::frame::{Address, Frame, PeerRecord, Refuse, Why};

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
/// Walks and shuffles of one neighbour.
const WALKS: Rate = Rate::per_second(limits::WALKS_BURST, limits::WALKS_RATE);

/// What the overlay wants its owner to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// Dial a peer.
    Connect { peer: PeerId, addresses: Vec<Address> },
    /// Another link to the same peer takes over from this one.
    Retire { link: LinkId },
    /// Close a link.
    Disconnect { link: LinkId, cause: CloseCause },
    /// Say something about the overlay to a neighbour.
    Send { link: LinkId, frame: Frame },
    /// A link that stood is not kept: say so, and close it if the peer does not.
    Part { link: LinkId, peer: PeerId, refuse: Refuse },
    /// Measure how far away a peer is.
    Probe { peer: PeerId, addresses: Vec<Address> },
    /// Which groups have which members linked is asked for: answered by [`Overlay::cover`].
    Cover,
    /// Something to count.
    Count(&'static str),
}

#[derive(Debug)]
pub(crate) struct Overlay {
    me: PeerId,
    known: Flat<PeerId, Known>,
    /// Whom those linked say that they are linked to.
    named: Flat<PeerId, Box<[PeerId]>>,
    /// The links that stand, to some of them.
    active: Flat<PeerId, Standing>,
    n_dialing: usize,
    next: Option<Timestamp>,
    facts: Vec<Fact>,
    rng: Xoshiro256PlusPlus,
    /// This node's own, for others to pass on.
    record: Option<Arc<PeerRecord>>,
    /// None in mesh mode.
    partial: Option<Partial>,
    /// When this node found itself to be one of few.
    left_at: Option<Timestamp>,
    searches: find::Searches,
    /// What our groups are called in the tags of records.
    topics: Vec<TopicTag>,
    siege: block::Siege,
    allowances: allowance::Allowances,
    /// Dials to whom neighbours name, all of them together.
    hearsay: Bucket,
    /// A record that was passed on with the frame in hand was checked.
    has_checked: bool,
    /// Known peers without a link in partial mode, at most; those that were lost of late come on top.
    passive_max: usize,
}

#[derive(Debug, Default)]
struct Known {
    /// Newest first.
    addresses: Vec<Address>,
    /// Those of them that only neighbours gave: for dials of this node, and not to be told to others as the peer's own.
    hearsay: Vec<Address>,
    /// [`block::bits`] of all its addresses, and perhaps of some that it had.
    bits: u64,
    /// It, or who told of it, is on this host, or discovery has seen it: it may be at a loopback address.
    is_here: bool,
    /// A link to it stands: it is among those active.
    is_linked: bool,
    dialing: Option<Box<Dial>>,
    /// An address came while it was being dialled, and was not tried yet.
    has_news: bool,
    failures: u32,
    failed_at: Timestamp,
    retry_at: Option<Timestamp>,
    /// What it signed of itself, to pass on.
    record: Option<Arc<PeerRecord>>,
    /// In how many of our groups it is, as that says.
    n_shared: u8,
    /// The record's signature was looked at, or the record came from the peer itself.
    is_verified: bool,
    /// The neighbour that named it, if nothing more than that is known of it.
    told_by: Option<Box<PeerId>>,
    /// Discovery has seen it.
    is_found: bool,
    /// When there was last a sign of its life: discovery, an answer, the end of a link that was not an accident.
    seen_at: Option<Timestamp>,
    /// The round trip, if it was measured.
    rtt: Option<Duration>,
    /// It was measured by a probe, not by beats.
    is_probed: bool,
    /// It was asked for a link and did not want it.
    refused_at: Option<Timestamp>,
    /// The link to it broke; since when that link had stood.
    lost: Option<Timestamp>,
}

/// A dial under way.
#[derive(Clone, Copy, Debug)]
struct Dial {
    since: Timestamp,
    why: Why,
    /// If it comes to something, one of our links makes room.
    split: bool,
    /// Nobody else made us, see [`block`].
    is_chosen: bool,
}

/// The one link to a peer.
#[derive(Clone, Copy, Debug)]
struct Standing {
    link: LinkId,
    /// We dialled it.
    dialed: bool,
    /// Since then. A link that broke and was made again is as old as it was: in partial mode the youngest goes first.
    since: Timestamp,
    up_at: Timestamp,
    why: Why,
    split: bool,
    is_chosen: bool,
    /// Where the other end is.
    block: Option<block::Block>,
    /// The other end is on this host.
    is_on_this_host: bool,
    /// Both have said HELLO, and this side keeps it.
    greeted: bool,
    slot: Slot,
}

impl Overlay {
    /// `seed` is for choices that make no difference to anybody.
    pub(crate) fn new(me: PeerId, seed: u64) -> Self {
        Self {
            me,
            known: Flat::default(),
            named: Flat::default(),
            active: Flat::default(),
            n_dialing: 0,
            next: None,
            facts: Vec::new(),
            // Apart from the engine's other choices, so that one walk more changes none of them.
            rng: Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x6f76_6572_6c61_7900),
            record: None,
            partial: None,
            left_at: None,
            searches: find::Searches::default(),
            topics: Vec::new(),
            siege: block::Siege::default(),
            allowances: allowance::Allowances::default(),
            hearsay: Bucket::full(Timestamp::ZERO, hearsay::DIALS_OF_ALL),
            has_checked: false,
            passive_max: limits::PASSIVE_MAX,
        }
    }

    /// With a bound of its own for those known without a link.
    pub(crate) fn with_passive(self, passive_max: usize) -> Self {
        Self { passive_max, ..self }
    }

    /// Where this node listens and which groups it is in, signed by itself.
    pub(crate) fn record(&self) -> Option<&Arc<PeerRecord>> {
        self.record.as_ref()
    }

    /// It is to be made anew, or has been.
    pub(crate) fn set_record(&mut self, record: Option<Arc<PeerRecord>>) {
        self.record = record;
    }

    /// A number below `n`, which is not 0.
    fn below(&mut self, n: usize) -> usize {
        (self.rng.next_u64() % n as u64) as usize
    }

    /// One of them.
    fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        (!of.is_empty()).then(|| of[self.below(of.len())])
    }

    pub(crate) fn n_known(&self) -> usize {
        self.known.len() + 1
    }

    pub(crate) fn take_facts(&mut self) -> Vec<Fact> {
        self.has_checked = false;
        std::mem::take(&mut self.facts)
    }

    /// The link to use for a peer.
    pub(crate) fn link(&self, peer: &PeerId) -> Option<LinkId> {
        self.active.get(peer).map(|standing| standing.link)
    }

    /// The link to a peer, as it stands.
    fn standing(&self, peer: &PeerId) -> Option<Standing> {
        self.active.get(peer).copied()
    }

    /// Everybody linked, with where it says, or discovery, that they can be reached.
    pub(crate) fn neighbours(&self) -> impl Iterator<Item = (PeerId, impl Iterator<Item = &Address>)> + '_ {
        self.active.keys().filter_map(|peer| {
            let known = self.known.get(peer)?;
            Some((*peer, known.addresses.iter().filter(|address| !known.hearsay.contains(address))))
        })
    }

    /// Discovery has seen somebody there.
    pub(crate) fn found(&mut self, now: Timestamp, peer: PeerId, mut addresses: Vec<Address>) {
        addresses.retain(|address| block::may_be_dialed(address, true));
        if let Some(known) = self.known.get_mut(&peer)
            && now - known.failed_at >= FOUND_PAUSE
        {
            // It is there now: a back-off that grew while it was not is over.
            known.retry_at = None;
        }
        self.told(now, peer, addresses);
        if let Some(known) = self.known.get_mut(&peer) {
            known.is_here = true;
            known.is_found = true;
            known.told_by = None;
            known.seen_at = Some(now);
        }
    }

    /// Somebody is reachable there: it says so itself, or was seen.
    pub(crate) fn told(&mut self, now: Timestamp, peer: PeerId, addresses: Vec<Address>) {
        if peer == self.me || self.is_crowded(&peer, &addresses) || !self.make_room(&peer) {
            return;
        }
        let known = self.known.or_default(peer);
        known.learn(addresses);
        if self.dials_by_itself(&peer) {
            self.dial(now, peer, self.own_why(), false);
        }
    }

    /// A link stands. Which of two stays both sides decide alike.
    pub(crate) fn link_up(&mut self, now: Timestamp, link: LinkId, peer: PeerId, dialed: bool) {
        if peer == self.me {
            self.facts.push(Fact::Disconnect { link, cause: CloseCause::Ourselves });
            return;
        }
        let is_new = !self.active.contains_key(&peer);
        // Many come only to be told where to go, or say nothing: they take nobody's place.
        if !self.make_room(&peer) || is_new && self.active.len() >= limits::CONNECTIONS_MAX {
            self.facts.push(Fact::Disconnect { link, cause: CloseCause::TooManyLinks });
            return;
        }
        let known = self.known.or_default(peer);
        let dial = known.dialing.take();
        self.n_dialing -= usize::from(dial.is_some());
        known.retry_at = None;
        let dial = dial.filter(|_| dialed).map(|dial| *dial);
        let new = Standing {
            link,
            dialed,
            since: known.lost.unwrap_or(now),
            up_at: now,
            why: dial.map_or(Why::Mesh, |dial| dial.why),
            split: dial.is_some_and(|dial| dial.split),
            is_chosen: dial.is_some_and(|dial| dial.is_chosen),
            block: None,
            is_on_this_host: false,
            greeted: false,
            slot: Slot::Mesh,
        };
        // Both sides dialled at once: the link that the lower dialled stays. A link that had settled, or went the
        // same way, is the ghost of one that the other side has lost; else it would not have dialled.
        let standing = self.active.get(&peer).copied();
        let keeps_old = standing
            .filter(|old| old.dialed != dialed && old.dialed == (self.me < peer))
            .filter(|old| now - old.up_at < SETTLED_AFTER);
        let (kept, other) = match keeps_old {
            Some(old) => (old, Some(new)),
            None => (new, standing),
        };
        known.is_linked = true;
        self.active.insert(peer, kept);
        if let Some(other) = other {
            self.facts.push(Fact::Retire { link: other.link });
        }
    }

    /// A link is over. True if it was the last one to its peer. `choice` spreads the retries.
    pub(crate) fn link_down(&mut self, now: Timestamp, link: LinkId, peer: PeerId, choice: u32) -> bool {
        let Some(known) = self.known.get_mut(&peer) else {
            // Whoever is not known has no link.
            self.active.remove(&peer);
            return false;
        };
        let Some(standing) = self.active.get(&peer).filter(|standing| standing.link == link).copied() else {
            return false;
        };
        self.active.remove(&peer);
        known.is_linked = false;
        self.named.remove(&peer);
        known.seen_at = None;
        if !standing.greeted && !standing.dialed && known.addresses.is_empty() {
            // It came, said nothing and went: nothing is known of it.
            self.remove(&peer);
            return true;
        }
        let has_settled = now - standing.up_at >= SETTLED_AFTER;
        if self.is_partial() {
            self.on_lost(peer, &standing);
        }
        if has_settled {
            if let Some(known) = self.known.get_mut(&peer) {
                known.failures = 0;
            }
            if self.dials_by_itself(&peer) {
                self.dial(now, peer, self.own_why(), false);
            }
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
        known.seen_at = None;
        if known.has_news && self.dials_by_itself(&peer) {
            return self.dial(now, peer, self.own_why(), false);
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
        if known.failures >= limits::LOST_FAILURES_MAX {
            known.lost = None;
        }
        if known.is_linked {
            // It dialled us meanwhile.
            return;
        }
        let at = now + pause + pause * (choice % 256) / 1024;
        known.retry_at = Some(at);
        // A mesh links all, so it tries each again and again; but one that was gone for an hour has most likely another
        // name or place by now, and would be dialled for ever. Discovery brings it back.
        let is_hopeless = known.failures >= limits::LOST_FAILURES_MAX;
        if is_hopeless && !self.is_partial() || self.is_idle_talk(&peer) {
            self.known.remove(&peer);
        } else if self.dials_by_itself(&peer) {
            self.wake_at(at);
        } else if self.known.get(&peer).is_some_and(|known| known.failures >= 2 && !known.is_found) {
            // In partial mode nobody waits for one peer, and who has failed is not worth a place.
            self.known.remove(&peer);
        }
    }

    /// Stop trying: it said goodbye.
    pub(crate) fn forget(&mut self, peer: &PeerId) {
        if self.known.get(peer).is_some_and(|known| !known.is_linked) {
            self.remove(peer);
        } else if let Some(known) = self.known.get_mut(peer) {
            known.addresses.clear();
            known.hearsay.clear();
            known.record = None;
            known.seen_at = None;
        }
    }

    fn remove(&mut self, peer: &PeerId) {
        if let Some(known) = self.known.remove(peer) {
            self.n_dialing -= usize::from(known.dialing.is_some());
        }
    }

    pub(crate) fn on_deadline(&mut self, now: Timestamp) {
        self.on_tick(now);
        if self.next.is_none_or(|next| next > now) {
            return;
        }
        let mut next = None::<Timestamp>;
        let (mut overdue, mut retry) = (Vec::new(), Vec::new());
        for (peer, known) in self.known.iter() {
            let due = match &known.dialing {
                Some(dial) => Some(dial.since + DIAL_PATIENCE),
                None => known.retry_at.filter(|_| !known.is_linked && self.dials_by_itself(peer)),
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
            self.dial(now, peer, self.own_why(), false);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        let tick = self.partial.as_ref().map(|partial| partial.tick_at);
        [self.next, tick].into_iter().flatten().min()
    }

    /// Dials, if there is reason and room. What others say of a peer must be signed by it.
    fn dial(&mut self, now: Timestamp, peer: PeerId, why: Why, split: bool) {
        if !self.is_trusted(&peer) {
            return;
        }
        if self.is_crowding(now, &peer) {
            return self.on_crowded(now, None);
        }
        // Most who come to a large network are not kept, and who says nothing takes nobody's place.
        let counts = |standing: &Standing| standing.greeted || standing.dialed;
        let n_linked = self.active.values().filter(|standing| counts(standing)).count();
        let Some(known) = self.known.get_mut(&peer) else {
            return;
        };
        let waits = known.retry_at.is_some_and(|at| at > now);
        if known.is_linked || known.dialing.is_some() || waits || known.addresses.is_empty() {
            return;
        }
        let teller = known.told_by.as_deref().copied();
        if n_linked >= limits::LINKS_MAX {
            // Those that say nothing are gone by then.
            return self.put_off(now, &peer, limits::HELLO_PATIENCE);
        }
        if self.n_dialing >= limits::DIALS_MAX {
            return self.put_off(now, &peer, RETRY_MIN);
        }
        if let Some(teller) = teller.filter(|_| !self.is_partial())
            && !self.may_dial_on_hearsay(now, &teller)
        {
            return self.put_off(now, &peer, FOUND_PAUSE);
        }
        let Some(known) = self.known.get_mut(&peer) else {
            return;
        };
        self.n_dialing += 1;
        known.dialing = Some(Box::new(Dial { since: now, why, split, is_chosen: false }));
        known.has_news = false;
        known.retry_at = None;
        let addresses = known.addresses.clone();
        self.facts.push(Fact::Connect { peer, addresses });
        self.wake_at(now + DIAL_PATIENCE);
    }

    /// Dials later, though the peer has not failed.
    fn put_off(&mut self, now: Timestamp, peer: &PeerId, pause: Duration) {
        if let Some(known) = self.known.get_mut(peer) {
            known.retry_at = Some(now + pause);
            self.wake_at(now + pause);
        }
    }

    /// Room for one more, at the cost of somebody unlinked: hearsay first, then who failed most. False if there is none.
    fn make_room(&mut self, peer: &PeerId) -> bool {
        if self.is_partial() {
            return self.make_room_in_view(peer);
        }
        if self.known.contains_key(peer) || self.known.len() < limits::KNOWN_PEERS_MAX {
            return true;
        }
        self.forget_worst(|_| true)
    }

    /// Forgets one of these that is neither linked nor dialled. False if there is none.
    fn forget_worst(&mut self, of: impl Fn(&Known) -> bool) -> bool {
        let worst = self
            .known
            .iter()
            .filter(|(_, known)| !known.is_linked && known.dialing.is_none() && of(known))
            .max_by_key(|(_, known)| (known.told_by.is_some(), known.failures))
            .map(|(peer, _)| *peer);
        worst.is_some_and(|worst| self.known.remove(&worst).is_some())
    }

    fn wake_at(&mut self, at: Timestamp) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

impl Known {
    /// Where it says, or others say, that it can be reached.
    fn places(&self) -> impl Iterator<Item = &Address> {
        let signed = self.record.iter().flat_map(|record| &record.addresses);
        self.addresses.iter().chain(signed)
    }

    fn set_record(&mut self, record: Arc<PeerRecord>, topics: &[TopicTag]) {
        self.n_shared = mates::n_shared(topics, &record);
        self.bits |= block::bits(&record.addresses);
        self.record = Some(record);
    }

    /// Adds addresses, newest first, without those too long to be passed on. One that is new is worth a try at
    /// once, whatever happened to the old ones.
    fn learn(&mut self, addresses: Vec<Address>) {
        for address in addresses.into_iter().filter(Address::fits) {
            self.hearsay.retain(|heard| *heard != address);
            if !self.addresses.contains(&address) {
                self.retry_at = None;
                self.has_news = self.dialing.is_some();
                self.bits |= block::bits([&address]);
                self.addresses.insert(0, address);
            }
        }
        self.addresses.truncate(PeerRecord::ADDRESSES_MAX);
    }
}

#[cfg(test)]
mod partial_tests;
#[cfg(test)]
mod tests;
