//! Whom one could dial: peers with the addresses that a source still vouches for, reported until a link stands.
//!
//! One table serves all sources (beacon, mDNS, cache, `--peer`), because the rule is the same for each: a peer
//! to which no link stands is reported again, with growing pauses, as long as anyone vouches for it. mDNS alone
//! would report it once and then be silent for minutes. Pure: time comes in.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use djembe_protocol::id::PeerId;
use djembe_protocol::wire::frame::Address;
use libp2p::Multiaddr;
use serde::Serialize;

use super::bounds::{
    ADDRESSES_MAX, BACKOFF_MAX, BACKOFF_MIN, KNOWN_PEERS_MAX, LINK_PROVEN, MDNS_ADDRESSES_MAX, NUDGE_PART,
    STRANGER_FOR,
};
use super::jitter::Jitter;

/// Who says that a peer is at an address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    /// The user.
    Given,
    /// The peer, by a beacon heard on the LAN.
    Beacon,
    /// The peer, by mDNS.
    Mdns,
    /// A former run.
    Cache,
}

/// A peer to dial: at all its addresses, in parallel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Candidate {
    /// Who.
    pub(crate) peer: PeerId,
    /// Where, the most trustworthy source first, and of each source the newest.
    pub(crate) addresses: Vec<Multiaddr>,
    /// The most trustworthy source.
    pub(crate) source: Source,
}

/// The table.
#[derive(Debug)]
pub(super) struct Candidates {
    peers: HashMap<PeerId, Entry>,
    /// When to report which peer next: the same instants as in the entries, in order.
    due: BTreeSet<(Instant, PeerId)>,
    jitter: Jitter,
}

#[derive(Debug)]
struct Entry {
    vouches: Vec<Vouch>,
    linked: Option<Instant>,
    backoff: Duration,
    reported: Option<Instant>,
    due: Option<Instant>,
    stranger_until: Option<Instant>,
    touched: Instant,
}

#[derive(Debug)]
struct Vouch {
    source: Source,
    address: Multiaddr,
    /// When the source last said so.
    said: Instant,
    /// None: until withdrawn.
    until: Option<Instant>,
}

impl Candidates {
    pub(super) fn new(jitter: Jitter) -> Self {
        Self { peers: HashMap::new(), due: BTreeSet::new(), jitter }
    }

    /// `source` says that `peer` is at `address`, and answers for that until then. A new address of a peer
    /// without a link is reported at once.
    pub(super) fn vouch(
        &mut self,
        now: Instant,
        peer: PeerId,
        source: Source,
        address: Multiaddr,
        until: Option<Instant>,
    ) {
        // No transport of ours needs so long an address, and no neighbour could be told of it.
        if address.len() > Address::MAX {
            return;
        }
        if !self.peers.contains_key(&peer) && !self.make_room(now) {
            return;
        }
        let entry = self.peers.entry(peer).or_insert_with(|| Entry::new(now));
        entry.touched = now;
        entry.vouches.retain(|vouch| vouch.stands(now));
        let known = entry.vouches.iter().any(|vouch| vouch.address == address);
        match entry.vouches.iter_mut().find(|vouch| vouch.source == source && vouch.address == address) {
            Some(vouch) => (vouch.said, vouch.until) = (now, until),
            None => {
                if !entry.make_room(source) {
                    return;
                }
                entry.vouches.push(Vouch { source, address, said: now, until });
            }
        }
        if entry.linked.is_some() || (known && entry.due.is_some()) {
            return;
        }
        // With nothing due although it is not linked, the peer had fallen silent: it is as good as new.
        if entry.due.is_none() {
            entry.backoff = BACKOFF_MIN;
        }
        self.schedule(peer, Some(now));
    }

    /// The source takes back what it said of the peer, or of one of its addresses.
    pub(super) fn withdraw(&mut self, peer: PeerId, source: Source, address: Option<&Multiaddr>) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.vouches.retain(|vouch| {
                vouch.source != source || address.is_some_and(|address| *address != vouch.address)
            });
        }
    }

    /// The peer asks to be dialled: it need not wait for a long pause to end.
    pub(super) fn nudge(&mut self, now: Instant, peer: PeerId) {
        let Some(entry) = self.peers.get(&peer) else {
            return;
        };
        let gap = (entry.backoff / NUDGE_PART).max(BACKOFF_MIN);
        let earliest = entry.reported.map_or(now, |reported| (reported + gap).max(now));
        if entry.due.is_none_or(|due| earliest < due) {
            self.schedule(peer, Some(earliest));
        }
    }

    /// A link stands: no more reports.
    pub(super) fn linked(&mut self, now: Instant, peer: PeerId) {
        if !self.peers.contains_key(&peer) && !self.make_room(now) {
            return;
        }
        let entry = self.peers.entry(peer).or_insert_with(|| Entry::new(now));
        entry.linked.get_or_insert(now);
        entry.stranger_until = None;
        self.schedule(peer, None);
    }

    /// The link is gone: reports begin again after a short pause, so that both sides do not dial at once.
    pub(super) fn unlinked(&mut self, now: Instant, peer: PeerId) {
        let Some(entry) = self.peers.get_mut(&peer) else {
            return;
        };
        let Some(since) = entry.linked.take() else { return };
        entry.touched = now;
        if now.saturating_duration_since(since) >= LINK_PROVEN {
            entry.backoff = BACKOFF_MIN;
        }
        let pause = self.pause(peer);
        self.schedule(peer, Some(now + pause));
    }

    /// The peer restarted: the link to its former run is dead, whatever was said, and it is reported at once.
    pub(super) fn restarted(&mut self, now: Instant, peer: PeerId) {
        let Some(entry) = self.peers.get_mut(&peer) else {
            return;
        };
        entry.linked = None;
        entry.stranger_until = None;
        entry.backoff = BACKOFF_MIN;
        self.schedule(peer, Some(now));
    }

    /// The peer speaks another protocol or is in another network: left alone for a while.
    pub(super) fn stranger(&mut self, now: Instant, peer: PeerId) {
        let Some(entry) = self.peers.get_mut(&peer) else {
            return;
        };
        entry.linked = None;
        entry.stranger_until = Some(now + STRANGER_FOR);
        self.schedule(peer, Some(now + STRANGER_FOR));
    }

    pub(super) fn is_linked(&self, peer: PeerId) -> bool {
        self.peers.get(&peer).is_some_and(|entry| entry.linked.is_some())
    }

    pub(super) fn n_linked(&self) -> usize {
        self.peers.values().filter(|entry| entry.linked.is_some()).count()
    }

    /// How many peers a source vouches for.
    pub(super) fn n_vouched(&self, now: Instant, source: Source) -> usize {
        let vouched = |entry: &&Entry| entry.vouches.iter().any(|v| v.source == source && v.stands(now));
        self.peers.values().filter(vouched).count()
    }

    /// The addresses of a peer, the most trustworthy source first.
    pub(super) fn addresses(&self, now: Instant, peer: PeerId) -> Vec<Multiaddr> {
        self.peers.get(&peer).map(|entry| entry.addresses(now, |_| true).0).unwrap_or_default()
    }

    /// Of these, the addresses that someone vouches for in this run. What only the cache says may be long stale.
    pub(super) fn fresh_addresses(&self, now: Instant, peer: PeerId) -> Vec<Multiaddr> {
        let is_fresh = |source| source != Source::Cache;
        self.peers.get(&peer).map(|entry| entry.addresses(now, is_fresh).0).unwrap_or_default()
    }

    /// When to call [`Candidates::poll`].
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.due.first().map(|&(at, _)| at)
    }

    /// The next peer to dial, if one is due.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Candidate> {
        while let Some(&(at, peer)) = self.due.first() {
            if now < at {
                return None;
            }
            let pause = self.pause(peer);
            let Some(entry) = self.peers.get_mut(&peer) else {
                self.due.pop_first();
                continue;
            };
            entry.vouches.retain(|vouch| vouch.stands(now));
            let (addresses, source) = entry.addresses(now, |_| true);
            let Some(source) = source else {
                // Nobody vouches for it any more.
                self.schedule(peer, None);
                continue;
            };
            entry.reported = Some(now);
            entry.backoff = (entry.backoff * 2).min(BACKOFF_MAX);
            self.schedule(peer, Some(now + pause));
            return Some(Candidate { peer, addresses, source });
        }
        None
    }

    /// The present pause of a peer, drawn from 75 to 125 %.
    fn pause(&mut self, peer: PeerId) -> Duration {
        let backoff = self.peers.get(&peer).map_or(BACKOFF_MIN, |entry| entry.backoff);
        backoff.mul_f64(0.75 + 0.5 * self.jitter.unit()).min(BACKOFF_MAX)
    }

    /// Sets when a peer is reported next; a linked one is not, and a stranger not before its time is over.
    fn schedule(&mut self, peer: PeerId, at: Option<Instant>) {
        let Some(entry) = self.peers.get_mut(&peer) else {
            return;
        };
        if let Some(old) = entry.due.take() {
            self.due.remove(&(old, peer));
        }
        let at =
            at.filter(|_| entry.linked.is_none()).map(|at| entry.stranger_until.map_or(at, |u| at.max(u)));
        entry.due = at;
        if let Some(at) = at {
            self.due.insert((at, peer));
        }
    }

    /// When the table is full, the longest untouched peer without a link makes room.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.peers.len() < KNOWN_PEERS_MAX {
            return true;
        }
        let loose = self.peers.iter().filter(|(_, entry)| {
            entry.linked.is_none() && !entry.vouches.iter().any(|vouch| vouch.source == Source::Given)
        });
        let least =
            loose.min_by_key(|(_, entry)| (entry.vouches.iter().any(|v| v.stands(now)), entry.touched));
        let Some(peer) = least.map(|(&peer, _)| peer) else {
            return false;
        };
        self.schedule(peer, None);
        self.peers.remove(&peer);
        true
    }
}

impl Entry {
    fn new(now: Instant) -> Self {
        Self {
            vouches: Vec::new(),
            linked: None,
            backoff: BACKOFF_MIN,
            reported: None,
            due: None,
            stranger_until: None,
            touched: now,
        }
    }

    /// Makes room for what this source says: the least trustworthy goes first, and of these the oldest, because
    /// ports change. mDNS has a share of its own; the cache may only take the place of what it said itself.
    fn make_room(&mut self, source: Source) -> bool {
        let n_same = self.vouches.iter().filter(|vouch| vouch.source == source).count();
        let only_same = match source {
            Source::Mdns if n_same >= MDNS_ADDRESSES_MAX => true,
            _ if self.vouches.len() < ADDRESSES_MAX => return true,
            Source::Cache => true,
            Source::Given | Source::Beacon | Source::Mdns => false,
        };
        let all = self.vouches.iter().enumerate().filter(|(_, vouch)| !only_same || vouch.source == source);
        let last = all.max_by_key(|&(index, vouch)| (vouch.source, Reverse((vouch.said, index))));
        let Some((index, _)) = last else { return false };
        self.vouches.remove(index);
        true
    }

    /// The most trustworthy source first, and of each source what it said last.
    fn addresses(&self, now: Instant, wanted: impl Fn(Source) -> bool) -> (Vec<Multiaddr>, Option<Source>) {
        let stands = |vouch: &&Vouch| vouch.stands(now) && wanted(vouch.source);
        let mut vouches: Vec<&Vouch> = self.vouches.iter().filter(stands).collect();
        vouches.sort_by_key(|vouch| (vouch.source, Reverse(vouch.said)));
        let mut addresses = Vec::<Multiaddr>::new();
        for vouch in &vouches {
            if !addresses.contains(&vouch.address) {
                addresses.push(vouch.address.clone());
            }
        }
        (addresses, vouches.first().map(|vouch| vouch.source))
    }
}

impl Vouch {
    fn stands(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now <= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u16) -> PeerId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        PeerId(bytes)
    }

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/10.0.0.1/tcp/{port}").parse().expect("an address")
    }

    fn table() -> (Candidates, Instant) {
        (Candidates::new(Jitter::seeded(1)), Instant::now())
    }

    /// Polls at every deadline until `end`; returns when something was reported, in milliseconds after `now`.
    fn reports(table: &mut Candidates, now: Instant, end: Duration) -> Vec<u128> {
        let mut at = Vec::new();
        while let Some(deadline) = table.next_deadline().filter(|&deadline| deadline <= now + end) {
            at.extend(table.poll(deadline).map(|_| (deadline - now).as_millis()));
        }
        at
    }

    #[test]
    fn an_unlinked_peer_is_reported_again_with_growing_pauses() {
        let (mut table, now) = table();
        table.vouch(now, peer(1), Source::Mdns, address(1), None);
        let at = reports(&mut table, now, Duration::from_secs(300));
        assert_eq!(at[0], 0);
        let pauses: Vec<u128> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!((187..=313).contains(&pauses[0]), "{pauses:?}");
        assert!(pauses.iter().all(|&pause| pause <= BACKOFF_MAX.as_millis()), "{pauses:?}");
        assert!(pauses[7..].iter().all(|&pause| pause >= 22_500), "{pauses:?}");
    }

    #[test]
    fn a_linked_peer_is_not_reported_until_the_link_is_gone() {
        let (mut table, now) = table();
        table.vouch(now, peer(1), Source::Beacon, address(1), None);
        table.linked(now, peer(1));
        table.vouch(now, peer(1), Source::Beacon, address(2), None);
        table.nudge(now, peer(1));
        assert_eq!(table.next_deadline(), None);
        let lost = now + LINK_PROVEN;
        table.unlinked(lost, peer(1));
        let due = table.next_deadline().expect("reported again");
        assert!(due > lost && due <= lost + BACKOFF_MIN * 2);
        let found = table.poll(due).expect("due");
        assert_eq!(found.addresses, [address(1), address(2)]);
    }

    #[test]
    fn a_flapping_link_does_not_reset_the_pause() {
        let (mut table, now) = table();
        table.vouch(now, peer(1), Source::Beacon, address(1), None);
        reports(&mut table, now, Duration::from_secs(60));
        let later = now + Duration::from_secs(60);
        table.linked(later, peer(1));
        table.unlinked(later, peer(1));
        assert!(table.next_deadline().expect("due") >= later + BACKOFF_MAX / 2);
    }

    #[test]
    fn it_ends_when_nobody_vouches_and_begins_anew_when_someone_does() {
        let (mut table, now) = table();
        let until = now + Duration::from_secs(10);
        table.vouch(now, peer(1), Source::Beacon, address(1), Some(until));
        table.vouch(now, peer(1), Source::Mdns, address(2), None);
        table.withdraw(peer(1), Source::Mdns, Some(&address(2)));
        let last = reports(&mut table, now, Duration::from_secs(300)).pop().expect("reported");
        assert!(last <= 10_000, "{last}");
        let back = now + Duration::from_secs(300);
        table.vouch(back, peer(1), Source::Beacon, address(1), None);
        assert_eq!(table.next_deadline(), Some(back));
    }

    #[test]
    fn a_new_address_and_a_query_do_not_wait_for_the_pause() {
        let (mut table, now) = table();
        table.vouch(now, peer(1), Source::Cache, address(1), None);
        reports(&mut table, now, Duration::from_secs(60));
        let later = now + Duration::from_secs(60);
        table.vouch(later, peer(1), Source::Beacon, address(2), None);
        let found = table.poll(later).expect("at once");
        assert_eq!((found.source, found.addresses), (Source::Beacon, vec![address(2), address(1)]));
        table.nudge(later, peer(1));
        assert_eq!(table.next_deadline(), Some(later + BACKOFF_MAX / NUDGE_PART));
    }

    #[test]
    fn a_restarted_peer_is_reported_though_its_link_was_not_given_up() {
        let (mut table, now) = table();
        table.vouch(now, peer(1), Source::Beacon, address(1), None);
        table.linked(now, peer(1));
        table.restarted(now, peer(1));
        assert!(table.poll(now).is_some());
    }

    #[test]
    fn a_stranger_is_left_alone_for_a_while() {
        let (mut table, now) = table();
        table.vouch(now, peer(1), Source::Mdns, address(1), None);
        table.stranger(now, peer(1));
        table.vouch(now, peer(1), Source::Mdns, address(2), None);
        assert_eq!(table.next_deadline(), Some(now + STRANGER_FOR));
        assert!(table.poll(now + STRANGER_FOR).is_some());
    }

    #[test]
    fn addresses_of_a_peer_are_bounded() {
        let (mut table, now) = table();
        table.vouch(now, peer(1), Source::Given, address(9), None);
        for port in 100..100 + 2 * ADDRESSES_MAX as u16 {
            table.vouch(now, peer(1), Source::Beacon, address(port), None);
        }
        let found = table.poll(now).expect("due");
        assert_eq!(found.addresses.len(), ADDRESSES_MAX);
        assert_eq!(found.addresses[0], address(9));
    }

    #[test]
    fn what_is_heard_now_takes_the_place_of_what_is_cached() {
        for source in [Source::Given, Source::Beacon, Source::Mdns] {
            let (mut table, now) = table();
            for port in 100..100 + ADDRESSES_MAX as u16 {
                table.vouch(now, peer(1), Source::Cache, address(port), None);
            }
            reports(&mut table, now, Duration::from_secs(60));
            let later = now + Duration::from_secs(60);
            table.vouch(later, peer(1), source, address(1), None);
            let found = table.poll(later).expect("at once");
            assert_eq!((found.source, &found.addresses[0]), (source, &address(1)));
            assert_eq!(found.addresses.len(), ADDRESSES_MAX);
            assert!(!found.addresses.contains(&address(100)), "the oldest has gone");
            assert_eq!(table.fresh_addresses(later, peer(1)), [address(1)]);
        }
    }

    #[test]
    fn mdns_fills_no_more_than_its_share() {
        let (mut table, now) = table();
        table.vouch(now, peer(1), Source::Cache, address(1), None);
        for port in 100..200 {
            table.vouch(now, peer(1), Source::Mdns, address(port), None);
        }
        let addresses = table.addresses(now, peer(1));
        assert_eq!(addresses.len(), MDNS_ADDRESSES_MAX + 1);
        assert!(addresses.contains(&address(199)) && addresses.contains(&address(1)), "{addresses:?}");
    }

    #[test]
    fn an_address_of_any_length_is_not_taken() {
        let (mut table, now) = table();
        let named = |len: usize| -> Multiaddr {
            format!("/dns/{}/tcp/1", "a".repeat(len)).parse().expect("an address")
        };
        let overhead = named(1).len() - 1;
        table.vouch(now, peer(1), Source::Mdns, named(Address::MAX - overhead + 1), None);
        assert!(table.peers.is_empty());
        table.vouch(now, peer(1), Source::Mdns, named(Address::MAX - overhead), None);
        assert_eq!(table.addresses(now, peer(1)).len(), 1);
    }

    #[test]
    fn of_one_source_the_newest_address_comes_first_and_the_oldest_goes() {
        let (mut table, now) = table();
        for port in 1..=ADDRESSES_MAX as u16 {
            let at = now + Duration::from_secs(port.into());
            table.vouch(at, peer(1), Source::Beacon, address(port), None);
        }
        let later = now + Duration::from_secs(60);
        table.vouch(later, peer(1), Source::Beacon, address(1), None);
        table.vouch(later + Duration::from_secs(1), peer(1), Source::Mdns, address(99), None);
        table.vouch(later + Duration::from_secs(2), peer(1), Source::Cache, address(98), None);
        let addresses = table.addresses(later, peer(1));
        assert_eq!(addresses[..2], [address(1), address(ADDRESSES_MAX as u16)]);
        assert_eq!(addresses.last(), Some(&address(99)));
        assert_eq!(addresses.len(), ADDRESSES_MAX);
        assert!(!addresses.contains(&address(2)) && !addresses.contains(&address(98)), "{addresses:?}");
    }

    #[test]
    fn peers_are_bounded_and_links_and_given_ones_stay() {
        let (mut table, now) = table();
        table.vouch(now, peer(0), Source::Given, address(1), None);
        table.linked(now, peer(1));
        for n in 2..2 + 2 * KNOWN_PEERS_MAX as u16 {
            table.vouch(now + Duration::from_millis(n.into()), peer(n), Source::Beacon, address(1), None);
        }
        assert_eq!(table.peers.len(), KNOWN_PEERS_MAX);
        assert!(table.is_linked(peer(1)));
        assert_eq!(table.n_vouched(now, Source::Given), 1);
        assert_eq!(table.due.len(), KNOWN_PEERS_MAX - 1);
    }
}
