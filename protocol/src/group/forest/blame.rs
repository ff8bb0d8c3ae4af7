//! Parents that do not bring what others have: left alone in a tree, and those that bring nothing at all in every tree.
//!
//! A parent has missed an envelope when another neighbour was asked for it and gave it: what somebody says to have blames
//! nobody. Who is itself below one that keeps envelopes back has them late, and is no liar: a late copy makes good what
//! counts for all trees, and misses in a row count once.

use std::collections::{BTreeMap, VecDeque};

use super::{Forest, Ground, Neighbour};
use crate::id::{LinkId, LogId, PeerId, Seq};
use crate::limits;
use crate::time::{Duration, Timestamp};
use crate::wire::frame::{Range, TreeIx};

/// What is held against neighbours of one group.
#[derive(Debug, Default)]
pub(super) struct Blame {
    /// What parents did not bring and others were asked for, the oldest first.
    misses: VecDeque<Miss>,
    /// Neighbours that were left alone in all trees, whatever link they come on.
    shunned: BTreeMap<PeerId, Shunned>,
}

#[derive(Debug)]
struct Miss {
    parent: LinkId,
    ix: TreeIx,
    range: Range,
}

#[derive(Clone, Copy, Debug)]
struct Shunned {
    until: Timestamp,
    n: u8,
}

/// How often on end one neighbour did not bring something, on whichever tree.
#[derive(PartialEq, Eq, Debug, Default)]
pub(super) struct Misses {
    n: u8,
    last: Option<(Timestamp, Range)>,
    /// It has brought something since.
    is_proven: bool,
}

impl Misses {
    const PROVEN: Self = Self { n: 0, last: None, is_proven: true };
}

impl Forest {
    /// An envelope that travels on a tree did not come and is asked for elsewhere: who has it is the better parent.
    pub(crate) fn on_missing(&mut self, ground: &mut Ground<'_>, ix: TreeIx, range: Range, link: LinkId) {
        let Some(tree) = self.trees.get(&ix) else { return };
        if self.roots.is_own(ix) || tree.parent == Some(link) {
            return;
        }
        if let Some(parent) = tree.parent {
            if self.blame.misses.len() >= limits::MISSES_MAX {
                self.blame.misses.pop_front();
            }
            self.blame.misses.push_back(Miss { parent, ix, range });
        }
        if tree.may_be_parent(ground, link) {
            self.adopt(ground, ix, link);
        }
    }

    /// What was asked for came: those who should have brought it are to blame.
    pub(crate) fn on_pulled(&mut self, ground: &mut Ground<'_>, link: LinkId, log: LogId, seq: Seq) {
        for miss in self.take_misses(log, seq, |_| true) {
            if miss.parent != link {
                self.on_missed(ground, miss);
            }
        }
    }

    /// A parent brought something after all, if late.
    pub(super) fn on_late(&mut self, link: LinkId, log: LogId, seq: Seq) {
        self.take_misses(log, seq, |parent| parent == link);
        let Some(neighbour) = self.links.get_mut(&link) else { return };
        let misses = &mut neighbour.used.misses;
        if misses.last.is_some_and(|(_, last)| covers(&last, log, seq)) {
            *misses = Misses::PROVEN;
        }
    }

    /// A neighbour brought something that was new.
    pub(crate) fn on_pushed(&mut self, link: LinkId, theirs: TreeIx, log: LogId, seq: Seq) {
        self.take_misses(log, seq, |parent| parent == link);
        let tree = self.resolve(link, theirs).and_then(|ix| self.trees.get_mut(&ix));
        let is_parent = tree.is_some_and(|tree| {
            tree.praise(link);
            tree.parent == Some(link)
        });
        // Who brings only its own does nothing for others.
        let served = self.links.get_mut(&link).filter(|neighbour| neighbour.peer != log.author);
        if let Some(neighbour) = served.filter(|neighbour| is_parent || neighbour.used.misses.n == 0) {
            neighbour.used.misses = Misses::PROVEN;
        }
    }

    /// For how long an envelope on this tree may still come by itself: not at all without a parent, and less long from one
    /// that has not brought anything of late, so that who lures others into its branch delays them less.
    pub(crate) fn patience(&self, ix: TreeIx, usual: Duration) -> Duration {
        let parent = self.trees.get(&ix).and_then(|tree| tree.parent);
        let is_proven = |parent| self.links.get(&parent).is_some_and(|parent| parent.used.misses.is_proven);
        match parent {
            None if !self.roots.is_own(ix) => Duration::ZERO,
            Some(parent) if !is_proven(parent) => usual / 4,
            _ => usual,
        }
    }

    /// Neighbours that are sent an own envelope beside parent and children: some, if the parent has not shown of late that
    /// it passes anything on, for nobody tells an author whether it did. `turn` says which.
    pub(crate) fn helpers(&self, ix: TreeIx, turn: usize) -> Vec<LinkId> {
        let parent = self.trees.get(&ix).and_then(|tree| tree.parent);
        let is_proven = |link: &LinkId| self.links.get(link).is_some_and(|link| link.used.misses.is_proven);
        if parent.is_none_or(|parent| is_proven(&parent)) {
            return Vec::new();
        }
        let others = self.standing().filter(|link| !self.has(ix, *link));
        let (mut helpers, mut others): (Vec<LinkId>, Vec<LinkId>) = others.partition(is_proven);
        for others in [&mut helpers, &mut others] {
            let n = others.len().max(1);
            others.rotate_left(turn % n);
        }
        helpers.append(&mut others);
        helpers.truncate(limits::HELPERS);
        helpers
    }

    fn on_missed(&mut self, ground: &mut Ground<'_>, Miss { parent, ix, range }: Miss) {
        let now = ground.now;
        let Some(Neighbour { used, peer, .. }) = self.links.get_mut(&parent).map(|parent| &mut **parent)
        else {
            return;
        };
        let misses = &mut used.misses;
        let ago = misses.last.map(|(at, _)| now - at);
        if ago.is_some_and(|ago| ago >= limits::SHUN_MIN) {
            *misses = Misses::default();
        }
        let is_first = misses.n == 0;
        if ago.is_none_or(|ago| ago >= limits::MISS_EVERY) {
            *misses = Misses { n: misses.n + 1, last: Some((now, range)), is_proven: false };
        }
        let is_useless = misses.n >= limits::MISSES_IN_A_ROW;
        if is_useless {
            let peer = *peer;
            *misses = Misses::default();
            self.blame.shun(now, peer);
            for ix in self.all() {
                self.apply(now, ix, parent);
                self.leave_alone(ground, ix, parent);
            }
        } else if self.trees.get_mut(&ix).is_some_and(|tree| tree.blame(now, parent)) {
            self.leave_alone(ground, ix, parent);
        } else if is_first {
            for ix in self.all() {
                self.look_for_better(ground, ix, parent);
            }
        }
    }

    /// A parent is in doubt: whoever else is no worse, but for the length of its way, takes its place.
    fn look_for_better(&mut self, ground: &Ground<'_>, ix: TreeIx, parent: LinkId) {
        let links = &self.links;
        let is_sound = |link: LinkId| links.get(&link).is_some_and(|neighbour| neighbour.used.misses.n == 0);
        let tree = self.trees.get(&ix).filter(|tree| tree.parent == Some(parent));
        if let Some(better) = tree.and_then(|tree| tree.best_feasible_of(ground, is_sound)) {
            self.adopt(ground, ix, better);
        }
    }

    /// A tree does not go over a neighbour for now.
    fn leave_alone(&mut self, ground: &mut Ground<'_>, ix: TreeIx, link: LinkId) {
        if self.trees.get(&ix).is_some_and(|tree| tree.parent == Some(link)) {
            self.leave_parent(ground, ix);
            self.find_parent(ground, ix);
            // What it said of its distance may have spoilt ours: only a new round makes it good.
            if self.trees.get(&ix).is_some_and(|tree| tree.ask_at.is_none()) {
                self.ask_root(ground, ix, None);
            }
        }
    }

    /// A neighbour that is left alone in all trees is so in this one.
    pub(super) fn apply(&mut self, now: Timestamp, ix: TreeIx, link: LinkId) {
        let peer = self.links.get(&link).map(|neighbour| neighbour.peer);
        let until = peer.and_then(|peer| self.blame.shunned.get(&peer)).map(|shunned| shunned.until);
        if let Some(until) = until.filter(|until| *until > now)
            && let Some(tree) = self.trees.get_mut(&ix)
        {
            tree.shun_until(link, until);
        }
    }

    fn take_misses(&mut self, log: LogId, seq: Seq, of: impl Fn(LinkId) -> bool) -> Vec<Miss> {
        let is_it = |miss: &Miss| covers(&miss.range, log, seq) && of(miss.parent);
        let (taken, rest) = std::mem::take(&mut self.blame.misses).into_iter().partition(is_it);
        self.blame.misses = rest;
        Vec::from(taken)
    }
}

impl Blame {
    /// It is left alone for a while, longer each time.
    pub(super) fn shun(&mut self, now: Timestamp, peer: PeerId) {
        if !self.shunned.contains_key(&peer) && self.shunned.len() >= limits::SHUNNED_MAX {
            let first = self.shunned.iter().min_by_key(|(_, shunned)| shunned.until).map(|(peer, _)| *peer);
            first.and_then(|first| self.shunned.remove(&first));
        }
        let shunned = self.shunned.entry(peer).or_insert(Shunned { until: now, n: 0 });
        shunned.until = now + pause(shunned.n);
        shunned.n = shunned.n.saturating_add(1);
    }

    #[cfg(test)]
    pub(super) fn until(&self, peer: &PeerId) -> Option<Timestamp> {
        Some(self.shunned.get(peer)?.until)
    }

    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.misses.len(), self.shunned.len())
    }
}

/// For how long a neighbour is left alone that was so `n` times before.
pub(super) fn pause(n: u8) -> Duration {
    (limits::SHUN_MIN * (1 << n.min(8))).min(limits::SHUN_MAX)
}

fn covers(range: &Range, log: LogId, seq: Seq) -> bool {
    range.log == log && (range.from..=range.to).contains(&seq)
}
