//! Walks: how a newcomer gets its links, evenly from everywhere, whoever its contact is.
//!
//! A walk is passed on over random links. Where it ends the node dials the newcomer. It had room, or it makes room: in
//! a *split* it gives one of its own links up once the new one stands, and tells the peer at the other end to link to
//! the newcomer in its place. So two links come of one, and nobody's number of links changes but the newcomer's.
//! Nothing is given up for a newcomer that cannot be reached.

use std::sync::Arc;

use super::{Fact, Overlay};
use crate::id::PeerId;
use crate::io::Slot;
use crate::limits;
use crate::time::Timestamp;
use crate::wire::frame::{PeerRecord, Refusal, Walk, Why};

impl Overlay {
    /// A newcomer has come to us: two walks that split and one that does not give it its five links.
    pub(super) fn send_on_walks(&mut self, peer: PeerId) {
        let Some(record) = self.known.get(&peer).and_then(|known| known.record.clone()) else {
            return;
        };
        for split in [true, true, false] {
            self.start_walk(record.clone(), split);
        }
    }

    /// We are short of links ourselves.
    pub(super) fn walk_for_me(&mut self, split: bool) {
        if let Some(record) = self.record.clone() {
            self.start_walk(record, split);
        }
    }

    fn start_walk(&mut self, record: Arc<PeerRecord>, split: bool) {
        let hops = limits::WALK_HOPS + if split { 0 } else { limits::WALK_HOPS_MORE };
        let peer = record.peer;
        self.pass_on(Walk { record, split, hops }, peer);
    }

    /// A neighbour passes a walk on to us.
    pub(crate) fn walk(&mut self, now: Timestamp, from: PeerId, walk: Walk) {
        if !self.may_speak(now, &from) {
            return self.facts.push(Fact::Count("walks-dropped"));
        }
        self.hint(now);
        let newcomer = walk.record.peer;
        let is_ours = newcomer == self.me
            || self.known.get(&newcomer).is_some_and(|known| known.is_linked || known.dialing.is_some());
        let has_room = self.n_random() < limits::RANDOM_LINKS && !is_ours;
        let may_end_early = !walk.split && walk.hops <= limits::WALK_HOPS_MORE && has_room;
        if walk.hops > 0 && !may_end_early {
            let hops = walk.hops - 1;
            if self.pass_on(Walk { hops, ..walk.clone() }, from) {
                return;
            }
        }
        // The end, or there is nobody else to pass it on to.
        let takes = match walk.split {
            _ if is_ours => false,
            _ if has_room => true,
            true => self.count(Slot::Random) > 0 && !self.is_besieged(now),
            false => self.n_random() < limits::RANDOM_LINKS_MAX,
        };
        if !takes {
            return self.facts.push(Fact::Count("walks-lost"));
        }
        if self.may_dial_for_others(now) {
            self.learn(walk.record, self.is_on_this_host(&from));
            self.dial(now, newcomer, Why::Random, walk.split && !has_room);
        }
    }

    /// To a neighbour by a random link, but not back and not to the newcomer itself. False if there is none.
    fn pass_on(&mut self, walk: Walk, from: PeerId) -> bool {
        let newcomer = walk.record.peer;
        let others = || self.kept().filter(|(peer, _)| *peer != from && *peer != newcomer);
        let random = others().filter(|(_, standing)| standing.slot == Slot::Random);
        let mut links: Vec<_> = random.map(|(_, standing)| standing.link).collect();
        if links.is_empty() {
            links = others().map(|(_, standing)| standing.link).collect();
        }
        let next = self.pick(&links);
        if let Some(link) = next {
            self.facts.push(Fact::Send { link, frame: walk.into() });
        }
        next.is_some()
    }

    /// The link to a newcomer stands: one of ours goes, and its peer links to the newcomer too.
    pub(super) fn make_way(&mut self, now: Timestamp, newcomer: PeerId) {
        let random = self
            .kept()
            .filter(|(peer, standing)| standing.slot == Slot::Random && !standing.split && *peer != newcomer);
        let random: Vec<PeerId> = random.map(|(peer, _)| peer).collect();
        // A newcomer of a moment ago is not the one to make way for the next.
        if self.count(Slot::Random) <= limits::RANDOM_LINKS || self.is_besieged(now) {
            return;
        }
        let record = self.known.get(&newcomer).and_then(|known| known.record.clone());
        if let (Some(peer), Some(record)) = (self.pick(&random), record) {
            self.part(peer, Refusal::Replaced, vec![record]);
        }
        if let Some(standing) = self.active.get_mut(&newcomer) {
            standing.split = false;
        }
    }

    /// Whether a neighbour may still send walks and shuffles.
    pub(super) fn may_speak(&mut self, now: Timestamp, peer: &PeerId) -> bool {
        self.link(peer).is_some() && self.allowances.may_walk(now, peer)
    }
}
