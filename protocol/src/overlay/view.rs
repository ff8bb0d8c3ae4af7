//! The passive view: known peers without a link, exchanged with neighbours, so that everybody knows a fresh random
//! part of the network.

use std::sync::Arc;

use super::{Fact, Known, Overlay, block};
use crate::heap;
use crate::id::PeerId;
use crate::io::Slot;
use crate::limits;
use crate::time::Timestamp;
use crate::wire::frame::{PeerRecord, Refusal, Refuse, Shuffle};

/// Of the peers in a shuffle so many are neighbours; the sender is one more, the rest passive.
const NEIGHBOURS_IN_SHUFFLE: usize = 3;
/// Of those that are told to a neighbour that is one for a group so many are passive members of it.
const MATES_IN_SHUFFLE: usize = 2;

impl Overlay {
    /// What a neighbour says of itself on its own link needs no signature for us, and one for those we tell.
    pub(super) fn learn_from_itself(&mut self, now: Timestamp, record: Arc<PeerRecord>) {
        let is_here = self.is_on_this_host(&record.peer);
        if let Some(known) = self.known.get_mut(&record.peer) {
            known.is_here |= is_here;
        }
        let mut addresses = record.addresses.clone();
        addresses.retain(|address| block::may_be_dialed(address, is_here));
        self.told(now, record.peer, addresses);
        if let Some(known) = self.known.get_mut(&record.peer)
            && known.record.as_ref().is_none_or(|old| old.seq <= record.seq)
        {
            known.set_record(record, &self.topics);
            known.is_verified = true;
        }
    }

    /// Somebody passes on what a peer signed. `is_told_here`: who does so is on this host.
    pub(super) fn learn(&mut self, record: Arc<PeerRecord>, is_told_here: bool) {
        let is_crowded = self.is_crowded(&record.peer, &record.addresses);
        if record.peer == self.me || is_crowded || !self.make_room(&record.peer) {
            return;
        }
        let known = self.known.or_default(record.peer);
        known.is_here |= is_told_here;
        if known.record.as_ref().is_some_and(|old| old.seq >= record.seq) {
            return;
        }
        // What is known to be good is not given up for what may be forged. One forgery in a frame costs a signature, the
        // others nothing; what is true comes again.
        if known.is_verified {
            if known.is_linked || std::mem::replace(&mut self.has_checked, true) {
                return;
            }
            self.facts.push(Fact::Count("signatures-checked"));
            if record.check().is_err() {
                return self.facts.push(Fact::Count("bad-record"));
            }
        }
        known.set_record(record, &self.topics);
        if known.is_verified {
            known.learn_record();
        }
    }

    /// Whether a peer may be dialled: what others say of it must be signed by it. A forgery is forgotten.
    pub(super) fn is_trusted(&mut self, peer: &PeerId) -> bool {
        let Some(known) = self.known.get_mut(peer) else {
            return false;
        };
        if let Some(record) = known.record.as_ref().filter(|_| !known.is_verified) {
            self.facts.push(Fact::Count("signatures-checked"));
            if record.check().is_err() {
                known.record = None;
                self.facts.push(Fact::Count("bad-record"));
                if self.known.get(peer).is_some_and(|known| {
                    !known.is_linked && known.dialing.is_none() && known.addresses.is_empty()
                }) {
                    self.known.remove(peer);
                    return false;
                }
                return true;
            }
            known.is_verified = true;
            known.learn_record();
        }
        true
    }

    /// Exchanges known peers with a random neighbour, when it is time.
    pub(super) fn mix(&mut self, now: Timestamp) {
        let Some(partial) = &self.partial else { return };
        if partial.shuffle_at > now {
            return;
        }
        let (is_young, has_changed) = (now - partial.since < limits::YOUNG_FOR, partial.has_changed);
        let links: Vec<(PeerId, Slot)> = self.kept().map(|(peer, standing)| (peer, standing.slot)).collect();
        let of = |wanted| links.iter().filter(move |(_, slot)| *slot == wanted).map(|(peer, _)| *peer);
        let (random, mates): (Vec<PeerId>, Vec<PeerId>) =
            (of(Slot::Random).collect(), of(Slot::Group).collect());
        let all: Vec<PeerId> = links.iter().map(|(peer, _)| *peer).collect();
        // Random neighbours mix the network, those made for groups know more members.
        let has_many = self.topics.len() > limits::MANY_GROUPS;
        let is_crowded = self.has_links_to_gather(now);
        let with_mates = has_many && !mates.is_empty() && (is_crowded || self.below(2) == 0);
        let of = if with_mates {
            &mates
        } else if random.is_empty() {
            &all
        } else {
            &random
        };
        let Some(peer) = self.pick(of) else { return };
        self.send_shuffle(peer, false);
        if let Some(partial) = &mut self.partial {
            let pause = match (is_young, has_changed) {
                (true, _) => limits::OVERLAY_TICK,
                _ if is_crowded => limits::GATHER_EVERY,
                (false, true) => limits::SHUFFLE_MIN,
                (false, false) => (partial.shuffle_pause * 2).min(limits::SHUFFLE_MAX),
            };
            partial.shuffle_pause = pause.max(limits::SHUFFLE_MIN);
            partial.has_changed = false;
            partial.shuffle_at = now + pause;
        }
    }

    /// A neighbour exchanges known peers with us.
    pub(crate) fn shuffle(&mut self, now: Timestamp, from: PeerId, shuffle: Shuffle) {
        if !self.may_speak(now, &from) {
            return self.facts.push(Fact::Count("walks-dropped"));
        }
        if !shuffle.reply {
            self.hint(now);
            self.send_shuffle(from, true);
        }
        if self.is_partial() {
            let is_here = self.is_on_this_host(&from);
            for record in shuffle.peers {
                if record.peer == from {
                    self.learn_from_itself(now, record);
                } else {
                    self.learn(record, is_here);
                }
            }
        }
    }

    fn send_shuffle(&mut self, to: PeerId, reply: bool) {
        let Some(link) = self.link(&to) else { return };
        let mut peers: Vec<Arc<PeerRecord>> = self.record.iter().cloned().collect();
        peers.extend(self.sample(NEIGHBOURS_IN_SHUFFLE, &to, |known| known.is_linked));
        let is_for_group = self.active.get(&to).is_some_and(|standing| standing.slot == Slot::Group);
        if is_for_group && self.topics.len() > limits::MANY_GROUPS {
            peers.extend(self.sample_mates(MATES_IN_SHUFFLE, &to));
        }
        let rest = Shuffle::PEERS_MAX - peers.len();
        peers.extend(self.sample(rest, &to, |known| !known.is_linked && known.failures == 0));
        self.facts.push(Fact::Send { link, frame: Shuffle { reply, peers }.into() });
    }

    /// A refusal that says whom to try instead.
    pub(super) fn refusal(&mut self, why: Refusal, to: &PeerId) -> Refuse {
        let peers = self.sample(Refuse::PEERS_MAX, to, |known| known.failures == 0);
        Refuse { why, peers }
    }

    /// Bytes of memory behind it, about; records are shared.
    pub(crate) fn heap(&self) -> usize {
        let of_known = |known: &Known| {
            let addresses = known.addresses.iter().chain(&known.hearsay).map(|address| address.0.capacity());
            heap::list(&known.addresses) + heap::list(&known.hearsay) + addresses.sum::<usize>()
        };
        let known = self.known.iter().map(|(_, known)| of_known(known)).sum::<usize>();
        let named = self.named.iter().map(|(_, named)| size_of_val(&**named)).sum::<usize>();
        self.known.heap() + known + self.named.heap() + named + self.active.heap()
    }

    /// Up to `n` of them, at random.
    pub(super) fn draw<T>(&mut self, n: usize, mut of: Vec<T>) -> Vec<T> {
        let mut drawn = Vec::with_capacity(n.min(of.len()));
        while drawn.len() < n && !of.is_empty() {
            let ix = self.below(of.len());
            drawn.push(of.swap_remove(ix));
        }
        drawn
    }

    /// Up to `n` records of known peers other than `to`, drawn at random.
    fn sample(&mut self, n: usize, to: &PeerId, of: impl Fn(&Known) -> bool) -> Vec<Arc<PeerRecord>> {
        let has_it = |peer: &PeerId, known: &Known| peer != to && known.record.is_some() && of(known);
        let peers =
            self.known.iter().filter(|(peer, known)| has_it(peer, known)).map(|(peer, _)| *peer).collect();
        let drawn = self.draw(n, peers);
        drawn.iter().filter_map(|peer| self.known.get(peer)?.record.clone()).collect()
    }

    /// Up to `n` records of passive peers that are in a group which `to` is in as well.
    fn sample_mates(&mut self, n: usize, to: &PeerId) -> Vec<Arc<PeerRecord>> {
        let shared = self.shared_with(to);
        let passive = self.known.iter().filter(|(_, known)| !known.is_linked && known.failures == 0);
        let mates = passive.filter(|(peer, _)| self.is_mate(&shared, peer)).map(|(peer, _)| *peer).collect();
        let drawn = self.draw(n, mates);
        drawn.iter().filter_map(|peer| self.known.get(peer)?.record.clone()).collect()
    }

    /// Room for one more, at the cost of a passive peer: one that failed, else any.
    pub(super) fn make_room_in_view(&mut self, peer: &PeerId) -> bool {
        if self.known.contains_key(peer) || self.n_passive() < self.passive_max + limits::LOST_MAX {
            return true;
        }
        self.evict()
    }

    pub(super) fn shrink_view(&mut self) {
        while self.n_passive() > self.passive_max + limits::LOST_MAX && self.evict() {}
    }

    fn n_passive(&self) -> usize {
        self.known.len() - self.active.len()
    }

    fn evict(&mut self) -> bool {
        let keeps_mates = self.keeps_mates();
        let is_free = |known: &Known| {
            !known.is_linked
                && known.dialing.is_none()
                && known.lost.is_none()
                && !(keeps_mates && known.is_mate_of_several() && known.failures == 0)
        };
        // Drawn by its place among them: a list of them would be made for each record in a shuffle.
        let free = self.known.values().filter(|known| is_free(known));
        let (n_free, n_failed) =
            free.fold((0, 0), |(all, failed), known| (all + 1, failed + usize::from(known.failures > 0)));
        let n = if n_failed > 0 { n_failed } else { n_free };
        if n == 0 {
            return false;
        }
        let drawn = self.below(n);
        let may_go = |known: &Known| is_free(known) && (n_failed == 0 || known.failures > 0);
        let evicted = self.known.iter().filter(|(_, known)| may_go(known)).nth(drawn).map(|(peer, _)| *peer);
        evicted.is_some_and(|peer| self.known.remove(&peer).is_some())
    }
}

impl Known {
    fn learn_record(&mut self) {
        if let Some(mut addresses) = self.record.as_ref().map(|record| record.addresses.clone()) {
            // Whoever makes up an identity can sign that it is anywhere.
            addresses.retain(|address| block::may_be_dialed(address, self.is_here));
            self.learn(addresses);
        }
    }
}
