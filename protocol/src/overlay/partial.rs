//! Mesh or partial, whom to keep in partial mode, and the look at it each second.
//!
//! A node is in mesh mode until it knows for itself that more than [`limits::MESH_MAX`] others live, or a neighbour
//! says so by refusing it or sending it a walk. The word of a neighbour costs nothing if it is a lie: in partial mode
//! links are given up only by who has counted for itself, and with few known peers all of them are linked anyway.

use std::sync::Arc;

use super::{Dial, Fact, Known, Overlay, Standing};
use crate::bucket::{Bucket, Rate};
use crate::id::{LinkId, PeerId};
use crate::io::{OverlayStatus, Slot};
use crate::limits;
use crate::time::{Duration, Timestamp};
use crate::wire::frame::{PeerRecord, Refusal, Refuse, Why};

/// Dials to which walks and refusals make us.
const WALK_DIALS: Rate = Rate::per_second(limits::WALK_DIALS_BURST, limits::WALK_DIALS_RATE);

/// What only partial mode has.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) since: Timestamp,
    pub(super) tick_at: Timestamp,
    pub(super) shuffle_at: Timestamp,
    pub(super) shuffle_pause: Duration,
    pub(super) probe_at: Timestamp,
    /// Few seem to be there: since then others are asked whether they are.
    pub(super) doubted_at: Option<Timestamp>,
    /// A link came or went since the last shuffle.
    pub(super) has_changed: bool,
    /// Dials to which others made us.
    pub(super) dials: Bucket,
}

impl Overlay {
    pub(crate) fn is_partial(&self) -> bool {
        self.partial.is_some()
    }

    /// What to say in our HELLO on a link.
    pub(crate) fn why(&self, link: LinkId, peer: &PeerId) -> Why {
        let standing = self.standing(peer);
        match standing.filter(|standing| standing.link == link) {
            Some(standing) if standing.dialed => standing.why,
            Some(standing) => match standing.slot {
                Slot::Mesh => Why::Mesh,
                Slot::Random => Why::Random,
                Slot::Near => Why::Near { rtt: 0 },
                Slot::Group => Why::Group,
            },
            None => Why::Mesh,
        }
    }

    /// Both have said HELLO. Returns a refusal if the link is not kept; it is then not ours any more.
    pub(crate) fn greeted(
        &mut self,
        now: Timestamp,
        link: LinkId,
        peer: PeerId,
        why: Why,
        record: Arc<PeerRecord>,
    ) -> Option<Refuse> {
        let standing = self.standing(&peer).filter(|standing| standing.link == link)?;
        let is_old_friend = self.known.get(&peer).is_some_and(|known| known.lost.is_some());
        self.learn_from_itself(now, record);
        let slot = if standing.dialed {
            if why != Why::Mesh {
                self.hint(now);
            }
            self.slot_of_dial(standing.why)
        } else {
            match self.admit(now, peer, why, is_old_friend) {
                Ok(slot) => slot,
                Err(why) => {
                    // It is there, whatever becomes of it.
                    if let Some(known) = self.known.get_mut(&peer) {
                        known.seen_at = Some(now);
                    }
                    self.unlink(peer);
                    let refusal = self.refusal(why, &peer);
                    self.forget_crowd(now, &peer, standing.block);
                    return Some(refusal);
                }
            }
        };
        if let Some(known) = self.known.get_mut(&peer) {
            known.lost = None;
            known.told_by = None;
            known.refused_at = None;
            known.seen_at = Some(now);
        }
        if let Some(standing) = self.active.get_mut(&peer) {
            (standing.greeted, standing.slot) = (true, slot);
        }
        self.on_change();
        if standing.split {
            self.make_way(now, peer);
        }
        if slot == Slot::Near && self.count(Slot::Near) > limits::NEAR_LINKS {
            self.part_farthest(
                peer,
                if standing.dialed { limits::NEAR_LINKS } else { limits::NEAR_LINKS_MAX },
            );
        }
        self.review_mode(now);
        None
    }

    fn slot_of_dial(&self, why: Why) -> Slot {
        match why {
            _ if !self.is_partial() => Slot::Mesh,
            Why::Mesh | Why::Join | Why::Random | Why::Priority => Slot::Random,
            Why::Near { .. } => Slot::Near,
            Why::Group => Slot::Group,
        }
    }

    /// Whether somebody who dialled is kept, and as what.
    fn admit(
        &mut self,
        now: Timestamp,
        peer: PeerId,
        why: Why,
        is_old_friend: bool,
    ) -> Result<Slot, Refusal> {
        if !self.is_partial() {
            return Ok(Slot::Mesh);
        }
        if why == Why::Join {
            self.send_on_walks(peer);
        }
        if self.is_crowding(now, &peer) {
            let block = self.standing(&peer).and_then(|standing| standing.block);
            self.on_crowded(now, block);
            return Err(Refusal::Full);
        }
        if self.n_kept() >= self.links_max() {
            return Err(Refusal::Full);
        }
        let (random, near) = (self.count(Slot::Random), self.count(Slot::Near));
        match why {
            Why::Priority => Ok(Slot::Random),
            _ if is_old_friend => Ok(Slot::Random),
            Why::Mesh | Why::Join if random < limits::RANDOM_LINKS => Ok(Slot::Random),
            Why::Random if random < limits::RANDOM_LINKS_MAX => Ok(Slot::Random),
            Why::Near { rtt } => {
                let rtt = Duration::from_micros(rtt.into());
                // It is measured again, and goes if that was a lie.
                let may_claim = !self.is_besieged(now);
                let is_better =
                    near < limits::NEAR_LINKS_MAX || may_claim && self.beats_the_farthest(now, rtt);
                if is_better { Ok(Slot::Near) } else { Err(Refusal::Full) }
            }
            Why::Group => Ok(Slot::Group),
            Why::Mesh | Why::Join | Why::Random => Err(Refusal::Full),
        }
    }

    /// The other side does not keep the link. True if it had stood.
    pub(crate) fn refused(&mut self, now: Timestamp, link: LinkId, peer: PeerId, refuse: Refuse) -> bool {
        let standing = self.standing(&peer);
        let Some(standing) = standing.filter(|standing| standing.link == link) else {
            return false;
        };
        let is_here = self.is_on_this_host(&peer);
        self.unlink(peer);
        if let Some(known) = self.known.get_mut(&peer) {
            known.refused_at = Some(now);
            known.retry_at = Some(now + limits::REFUSED_PAUSE);
            known.lost = None;
            known.seen_at = Some(now);
        }
        // Only who was dialled has something to tell before both have greeted. Else every connection would fill the view.
        if !standing.dialed && !standing.greeted {
            return false;
        }
        self.hint(now);
        let heir = refuse.peers.first().filter(|_| refuse.why == Refusal::Replaced && standing.greeted);
        let heir = heir.map(|record| record.peer);
        for record in refuse.peers {
            self.learn(record, is_here);
        }
        if let Some(heir) = heir.filter(|heir| *heir != self.me)
            && self.may_dial_for_others(now)
        {
            self.dial(now, heir, Why::Random, false);
        }
        standing.greeted
    }

    /// Gives a link up: the peer is told, and stays known.
    pub(super) fn part(&mut self, peer: PeerId, why: Refusal, peers: Vec<Arc<PeerRecord>>) {
        let Some(standing) = self.standing(&peer) else {
            return;
        };
        self.unlink(peer);
        self.facts.push(Fact::Part { link: standing.link, peer, refuse: Refuse { why, peers } });
    }

    /// The link is no longer ours, whatever still comes on it.
    fn unlink(&mut self, peer: PeerId) {
        if let Some(known) = self.known.get_mut(&peer)
            && std::mem::take(&mut known.is_linked)
        {
            self.active.remove(&peer);
            self.named.remove(&peer);
            self.on_change();
            if self.is_partial() {
                self.shrink_view();
            }
        }
    }

    /// A link broke without a word.
    pub(super) fn on_lost(&mut self, peer: PeerId, standing: &Standing) {
        self.on_change();
        let lost = || self.known.iter().filter(|(_, known)| known.lost.is_some());
        let n_lost = lost().count();
        let hopeless = lost().max_by_key(|(_, known)| known.failures).map(|(peer, _)| *peer);
        let Some(known) = self.known.get_mut(&peer) else { return };
        // Who said goodbye has no addresses left.
        if !standing.greeted || known.addresses.is_empty() {
            return;
        }
        known.lost = Some(standing.since);
        known.failures = 0;
        if n_lost >= limits::LOST_MAX
            && let Some(known) = hopeless.and_then(|peer| self.known.get_mut(&peer))
        {
            known.lost = None;
        }
    }

    pub(super) fn on_change(&mut self) {
        if let Some(partial) = &mut self.partial {
            partial.has_changed = true;
            partial.shuffle_pause = limits::SHUFFLE_MIN;
        }
    }

    /// Whether this peer is dialled without anybody wanting a link just now: all in a mesh, else those that were
    /// lost, and those that discovery shows to who is alone.
    pub(super) fn dials_by_itself(&self, peer: &PeerId) -> bool {
        let known = self.known.get(peer);
        !self.is_partial()
            || known.is_some_and(|known| known.lost.is_some())
            || known.is_some_and(|known| known.is_found) && self.n_kept() == 0
    }

    pub(super) fn own_why(&self) -> Why {
        match (self.n_kept(), self.is_partial()) {
            (0, _) => Why::Join,
            (_, true) => Why::Priority,
            (_, false) => Why::Mesh,
        }
    }

    /// What there is to know.
    pub(crate) fn status(&self) -> OverlayStatus {
        OverlayStatus {
            is_partial: self.is_partial(),
            links: self.kept().map(|(peer, standing)| (peer, standing.slot, standing.dialed)).collect(),
            passive: self.known.len() - self.active.len(),
        }
    }

    /// See [`crate::engine::Engine::table_sizes`].
    pub(crate) fn table_sizes(&self) -> [(&'static str, usize, usize); 4] {
        let max = match self.partial {
            None => limits::KNOWN_PEERS_MAX + limits::LINKS_MAX,
            // Those being dialled and linked are beside the passive ones.
            Some(_) => {
                let passive = self.passive_max + limits::LOST_MAX;
                passive + limits::CONNECTIONS_MAX + limits::DIALS_MAX
            }
        };
        [
            ("known peers", self.known.len(), max),
            ("searches", self.n_crumbs(), limits::CRUMBS_MAX),
            ("overlay allowances", self.allowances.len(), limits::OFFENDERS_MAX),
            ("crowds", self.n_crowds(), limits::CROWDS_MAX),
        ]
    }

    // Counting.

    pub(super) fn kept(&self) -> impl Iterator<Item = (PeerId, &Standing)> + '_ {
        self.active.iter().filter(|(_, standing)| standing.greeted).map(|(peer, standing)| (*peer, standing))
    }

    pub(super) fn n_kept(&self) -> usize {
        self.kept().count()
    }

    pub(super) fn count(&self, slot: Slot) -> usize {
        self.kept().filter(|(_, standing)| standing.slot == slot).count()
    }

    /// Links to random peers, with those being made.
    pub(super) fn n_random(&self) -> usize {
        let coming = |dial: &Dial| matches!(dial.why, Why::Random | Why::Priority | Why::Join);
        let is_dialed =
            |known: &Known| known.dialing.as_deref().is_some_and(|dial| coming(dial) && !dial.split);
        let n_dialed = if self.n_dialing == 0 {
            0
        } else {
            self.known.values().filter(|known| is_dialed(known)).count()
        };
        let is_greeting = |standing: &Standing| {
            !standing.greeted && standing.dialed && !standing.split && standing.why == Why::Random
        };
        let linked = self.active.values();
        self.count(Slot::Random) + n_dialed + linked.filter(|standing| is_greeting(standing)).count()
    }

    /// Others of whom there was a sign of life lately, not counting what anybody else says.
    fn n_live(&self, now: Timestamp) -> usize {
        let is_live = |known: &Known| known.seen_at.is_some_and(|at| now - at < limits::LIVE_FOR);
        let is_kept = |peer| self.active.get(peer).is_some_and(|standing| standing.greeted);
        self.known.iter().filter(|(peer, known)| is_live(known) || known.is_linked && is_kept(peer)).count()
    }

    // Modes.

    fn review_mode(&mut self, now: Timestamp) {
        if !self.is_partial()
            && self.n_kept() >= limits::MESH_LINKS_MIN
            && self.n_live(now) > limits::MESH_MAX
        {
            self.enter_partial(now);
        }
    }

    /// Somebody says that the network is larger than a mesh.
    pub(super) fn hint(&mut self, now: Timestamp) {
        // Who has counted for itself that few are left is not told otherwise by one that has not yet; else all would
        // keep each other in partial mode.
        let knows_better =
            self.left_at.is_some_and(|at| now - at < 2 * limits::LIVE_FOR) && self.n_kept() > 0;
        if !self.is_partial() && !knows_better {
            self.enter_partial(now);
        }
    }

    fn enter_partial(&mut self, now: Timestamp) {
        // Newcomers of one moment do not all act at one moment later.
        let spread = Duration::from_millis(self.below(500) as u64);
        let tick_at = now + (limits::OVERLAY_TICK - spread);
        self.partial = Some(Partial {
            since: now,
            tick_at,
            shuffle_at: now,
            shuffle_pause: limits::SHUFFLE_MIN,
            probe_at: now,
            doubted_at: None,
            has_changed: true,
            dials: Bucket::full(Timestamp::ZERO, WALK_DIALS),
        });
        let mut links: Vec<(Duration, PeerId)> =
            self.kept().map(|(peer, _)| (self.rtt_of(&peer).unwrap_or(Duration::MAX), peer)).collect();
        links.sort_unstable();
        for (n, (rtt, peer)) in links.into_iter().enumerate() {
            let is_near = n < limits::NEAR_LINKS && rtt < Duration::MAX;
            if let Some(standing) = self.active.get_mut(&peer) {
                standing.slot = if is_near { Slot::Near } else { Slot::Random };
            }
        }
        self.shrink_view();
        self.facts.push(Fact::Count("overlay-partial"));
    }

    fn leave_partial(&mut self, now: Timestamp) {
        self.partial = None;
        self.left_at = Some(now);
        self.facts.push(Fact::Count("overlay-mesh"));
        self.active.values_mut().for_each(|standing| standing.slot = Slot::Mesh);
        for known in self.known.values_mut() {
            known.lost = None;
        }
        for peer in self.known.keys().copied().collect::<Vec<_>>() {
            self.dial(now, peer, self.own_why(), false);
        }
    }

    /// The look at everything each second.
    pub(super) fn on_tick(&mut self, now: Timestamp) {
        if self.partial.as_ref().is_none_or(|partial| partial.tick_at > now) {
            return;
        }
        let n_live = self.n_live(now);
        let is_young = self.partial.as_ref().is_some_and(|partial| now - partial.since < limits::PARTIAL_MIN);
        let is_small = n_live < limits::MESH_AGAIN && !is_young;
        if is_small && self.has_asked_around(now) {
            return self.leave_partial(now);
        }
        if let Some(partial) = &mut self.partial {
            partial.tick_at = now + limits::OVERLAY_TICK;
            partial.doubted_at = partial.doubted_at.filter(|_| is_small);
        }
        if n_live > limits::MESH_MAX {
            self.trim(now);
            self.thin_out(now);
        }
        self.seek(now);
        self.choose(now);
        self.measure(now);
        self.mix(now);
        self.facts.push(Fact::Cover);
    }

    /// Whether nobody more has answered who might be there. At rest nobody is measured any more, and who has not been seen
    /// for long need not be gone.
    fn has_asked_around(&mut self, now: Timestamp) -> bool {
        let Some(partial) = &mut self.partial else { return false };
        if let Some(at) = partial.doubted_at {
            return now - at >= limits::ASK_AROUND;
        }
        partial.doubted_at = Some(now);
        let silent = self.known.iter().filter(|(_, known)| !known.is_linked && known.dialing.is_none());
        let silent = silent.map(|(peer, _)| *peer).collect();
        self.draw(limits::MESH_MAX, silent).into_iter().for_each(|peer| self.probe(peer));
        false
    }

    /// One link more than wanted goes, the youngest first: what has proved itself stays, and who comes in number
    /// pushes nobody out.
    fn trim(&mut self, now: Timestamp) {
        if self.count(Slot::Near) > limits::NEAR_LINKS_MAX {
            self.part_farthest(self.me, limits::NEAR_LINKS_MAX);
        }
        let random = self.count(Slot::Random);
        if random <= limits::RANDOM_LINKS + 1 {
            return;
        }
        let is_far_over = random > 2 * limits::RANDOM_LINKS;
        if self.is_besieged(now) && !is_far_over {
            return;
        }
        let n_dialed = self.n_dialed();
        let youngest = self
            .kept()
            .filter(|(_, standing)| standing.slot == Slot::Random)
            .filter(|(_, standing)| !standing.dialed || n_dialed > limits::DIALED_LINKS_MIN)
            .filter(|(_, standing)| !standing.is_chosen)
            // Who has few neighbours needs us.
            .filter(|(peer, _)| is_far_over || self.n_named_by(peer) >= limits::RANDOM_LINKS)
            .max_by_key(|(peer, standing)| (standing.since, *peer))
            .map(|(peer, _)| peer);
        if let Some(youngest) = youngest {
            self.part(youngest, Refusal::Surplus, Vec::new());
        }
    }

    /// Links that stand and that we dialled.
    pub(super) fn n_dialed(&self) -> usize {
        self.kept().filter(|(_, standing)| standing.dialed).count()
    }

    /// Looks for what is missing.
    fn seek(&mut self, now: Timestamp) {
        let missing = limits::RANDOM_LINKS.saturating_sub(self.n_random());
        for n in 0..missing / 2 + missing % 2 {
            self.walk_for_me(n < missing / 2);
        }
        let n_kept = self.n_kept();
        if missing < 3 && n_kept > 2 {
            return;
        }
        let why = if n_kept <= 2 { Why::Priority } else { Why::Random };
        let mut candidates = self.candidates(now);
        for _ in self.n_dialing..limits::NEIGHBOR_DIALS.min(missing) {
            let Some(ix) = (!candidates.is_empty()).then(|| self.below(candidates.len())) else {
                break;
            };
            self.dial(now, candidates.swap_remove(ix), why, false);
        }
    }

    /// Passive peers that may be dialled now.
    pub(super) fn candidates(&self, now: Timestamp) -> Vec<PeerId> {
        let is_free = |known: &Known| {
            !known.is_linked
                && known.dialing.is_none()
                && known.retry_at.is_none_or(|at| at <= now)
                && known.refused_at.is_none_or(|at| now - at >= limits::REFUSED_PAUSE)
        };
        self.known.iter().filter(|(_, known)| is_free(known)).map(|(peer, _)| *peer).collect()
    }

    /// Whether walks and refusals may make us dial once more.
    pub(super) fn may_dial_for_others(&mut self, now: Timestamp) -> bool {
        let may = self.partial.as_mut().is_none_or(|partial| partial.dials.take(now, WALK_DIALS));
        if !may {
            self.facts.push(Fact::Count("walk-dials-dropped"));
        }
        may
    }
}
