//! The forest: active authors, and some more roots, keep each a tree of shortest ways over the links of a group; who
//! has none of its own sends along the tree of the nearest root, up and down (borrowing).
//!
//! ```text
//! root: a round every 120 s --Adverts--> neighbour: nearer than before? tell the others
//!                                       60 ms after the first news: choose the parent --Graft--> parent
//! parent lost: another that is feasible, else of another branch, else --SeqReq--> root
//! envelope on a tree: Data to parent and children but where it came from, Announce to everybody else
//! announced and not come: Want, and whoever answers becomes the parent, if that closes no loop
//! ```
//!
//! Loop-freedom within a round is Babel's (RFC 8966, section 2.4); rounds are Babel's sequence numbers. A root may
//! be hostile: its tree is a tree as long as those in it say the truth. A neighbour that lies about its distance
//! attracts envelopes; one that drops them is found by what others announce, and left alone in that tree.
//!
//! Pure, and per group. It knows no envelopes: its owner asks which links a tree has. Not here: announcements and
//! wants (repair), the star of a group in which everybody is a neighbour.

mod blame;
mod chain;
mod frames;
mod loops;
mod roots;
mod tree;

use std::collections::BTreeMap;

use crate::bucket::{Bucket, Rate};
use crate::crypto::Identity;
use crate::heap;
use crate::id::{Incarnation, LinkId, LogId, PeerId, Seq, TopicTag};
use crate::io::{Secrets, TreeStatus};
use crate::limits;
use crate::time::{Duration, Timestamp};
use crate::wire::frame::{Frame, Graft, GroupIx, SeqReq, TreeIx, UNREACHABLE, Ungraft};
use blame::{Blame, Misses};
use chain::Chain;
use roots::{Own, Roots};
use tree::{News, Tree};

/// One way of a link whose round trip was not measured yet, in 100 us.
const COST_UNKNOWN: u16 = 250;
/// The most that one link adds.
const COST_MAX: u16 = 20_000;
/// From so many who have left on they are gone through each time there are twice as many.
const LOOK_FROM: usize = 16;
/// Unknown anchors of one neighbour.
const ANCHORS: Rate = Rate { burst: limits::ANCHORS_BURST, tokens: 1, period: limits::ANCHOR_EVERY };

/// What the forest may see and use outside itself.
pub(crate) struct Ground<'a> {
    pub(crate) now: Timestamp,
    pub(crate) identity: &'a Identity,
    pub(crate) me: PeerId,
    pub(crate) incarnation: Incarnation,
    pub(crate) tag: TopicTag,
    /// Our number for the group.
    pub(crate) group: GroupIx,
    pub(crate) secrets: &'a mut dyn Secrets,
    /// The measured round trip of a link.
    pub(crate) rtt: &'a dyn Fn(LinkId) -> Option<Duration>,
    /// Members are thought to be there that are not our neighbours.
    pub(crate) is_partial: bool,
    /// Members thought to be there.
    pub(crate) n_members: usize,
    /// Trees of the group at most.
    pub(crate) trees_max: usize,
}

impl Ground<'_> {
    /// One way over a link, in 100 us.
    fn cost(&self, link: LinkId) -> u16 {
        (self.rtt)(link).map_or(COST_UNKNOWN, |rtt| {
            let cost = rtt.as_micros().div_ceil(200);
            u16::try_from(cost).unwrap_or(COST_MAX).clamp(1, COST_MAX)
        })
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.secrets.fill(&mut bytes);
        bytes
    }
}

/// What the forest wants sent.
pub(crate) type Fact = (LinkId, Frame);

/// A refused frame: its sender is at fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Junk {
    /// An anchor that its root did not sign.
    Anchor,
    /// A key that is not its round's.
    Key,
}

/// All trees of one group.
#[derive(Debug, Default)]
pub(crate) struct Forest {
    links: BTreeMap<LinkId, Box<Neighbour>>,
    /// What those had used up who have left: it is not given back for coming again.
    left: BTreeMap<PeerId, Used>,
    trees: BTreeMap<TreeIx, Box<Tree>>,
    by_root: BTreeMap<PeerId, TreeIx>,
    /// Which of our trees a neighbour's number stands for.
    theirs: BTreeMap<(LinkId, TreeIx), TreeIx>,
    last_ix: TreeIx,
    /// When the last tree came up.
    grew_at: Option<Timestamp>,
    roots: Roots,
    blame: Blame,
    facts: Vec<Fact>,
    /// Signatures checked since last asked.
    n_checked: u64,
    /// Nothing happens by itself before this.
    next: Option<Timestamp>,
}

/// What is kept for a link over all trees.
#[derive(Debug)]
struct Neighbour {
    peer: PeerId,
    up_at: Timestamp,
    /// Our name for ways that begin there, in trees whose root we are.
    branch: u8,
    /// When unknown numbers were last asked for.
    asked_at: Option<Timestamp>,
    used: Used,
    /// The link was given up. Until it is closed it carries what those below it on trees would miss.
    is_parting: bool,
}

/// What is kept of a neighbour beyond its link.
#[derive(Debug)]
struct Used {
    /// Unknown anchors that may be checked now.
    anchors: Bucket,
    misses: Misses,
}

impl Used {
    fn fresh(now: Timestamp) -> Self {
        Self { anchors: Bucket::full(now, ANCHORS), misses: Misses::default() }
    }

    /// A new one would be the same.
    fn is_whole(&mut self, now: Timestamp) -> bool {
        self.anchors.refill(now, ANCHORS);
        self.anchors.has(ANCHORS.burst) && self.misses == Misses::default()
    }
}

impl Forest {
    /// Bytes of memory behind it, about.
    pub(crate) fn heap(&self) -> usize {
        let of_trees = self.trees.values().map(|tree| heap::list(&tree.vias)).sum::<usize>();
        let numbers = heap::map(&self.by_root) + heap::map(&self.theirs);
        heap::boxes(&self.trees) + of_trees + numbers + heap::boxes(&self.links) + heap::map(&self.left)
    }

    pub(crate) fn take_facts(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.facts)
    }

    /// How many signatures were checked since last asked.
    pub(crate) fn take_checked(&mut self) -> u64 {
        std::mem::take(&mut self.n_checked)
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.next
    }

    /// How many trees are known, for people.
    pub(crate) fn len(&self) -> usize {
        self.trees.len()
    }

    /// Whether this node is a root.
    pub(crate) fn is_root(&self) -> bool {
        self.roots.own().is_some()
    }

    /// All trees, for people and checkers.
    pub(crate) fn status(&self, now: Timestamp) -> Vec<TreeStatus> {
        let peer = |link: &LinkId| self.links.get(link).map(|neighbour| neighbour.peer);
        let status = |ix: &TreeIx, tree: &Tree| {
            let own = self.roots.own().filter(|own| own.ix == *ix);
            let is_fresh = now - tree.heard_at < limits::TREE_FRESH;
            TreeStatus {
                root: tree.chain.anchor.root,
                parent: tree.parent.as_ref().and_then(peer),
                children: tree.children().filter_map(|link| peer(&link)).collect(),
                heard_at: tree.heard_at,
                is_tended: own.map_or(is_fresh, Own::is_tended),
            }
        };
        self.trees.iter().map(|(ix, tree)| status(ix, tree)).collect()
    }

    // Links.

    /// A member's link stands: it is told all trees. Who says so once more has said nothing.
    pub(crate) fn link_up(&mut self, ground: &mut Ground<'_>, link: LinkId, peer: PeerId) {
        if self.links.contains_key(&link) {
            return;
        }
        let taken: Vec<u8> = self.links.values().map(|neighbour| neighbour.branch).collect();
        let branch = (1..=u8::MAX).find(|branch| !taken.contains(branch)).unwrap_or(u8::MAX);
        let used = self.left.remove(&peer).unwrap_or_else(|| Used::fresh(ground.now));
        let neighbour =
            Neighbour { peer, up_at: ground.now, branch, asked_at: None, used, is_parting: false };
        self.links.insert(link, Box::new(neighbour));
        self.tell_everything(ground, link);
    }

    /// A member's link is given up, and will be closed: it is nobody's way any more. Who is below it on a tree is sent what
    /// comes until it says that it has another parent: by a few at a time, that stood for a while, as no bound of links
    /// counts them any more.
    pub(crate) fn link_parts(&mut self, ground: &mut Ground<'_>, link: LinkId) {
        let n_parting = self.links.values().filter(|neighbour| neighbour.is_parting).count();
        let Some(neighbour) = self.links.get_mut(&link).filter(|neighbour| !neighbour.is_parting) else {
            return;
        };
        if n_parting >= limits::PARTING_MAX || ground.now < neighbour.up_at + limits::LINK_NEW {
            return self.link_down(ground, link);
        }
        neighbour.is_parting = true;
        // The peer may come back over another link before this one is closed.
        let used = std::mem::replace(&mut neighbour.used, Used::fresh(ground.now));
        let peer = neighbour.peer;
        self.remember(ground.now, peer, used);
        for ix in self.all() {
            let Some(tree) = self.trees.get_mut(&ix) else { continue };
            tree.no_way_over(link);
            if tree.parent != Some(link) {
                continue;
            }
            match tree.best_way(ground) {
                Some(other) => self.adopt(ground, ix, other),
                None => {
                    tree.parent = None;
                    self.find_parent(ground, ix);
                }
            }
        }
    }

    /// Neighbours whose links were given up that are sent what travels on a tree.
    pub(crate) fn parting_children(&self, now: Timestamp, ix: TreeIx) -> Vec<(LinkId, PeerId)> {
        let tree = self.trees.get(&ix);
        let links = tree.into_iter().flat_map(|tree| tree.children().chain(tree.fading(now)));
        let neighbours = links.filter_map(|link| Some((link, self.links.get(&link)?)));
        let parting = neighbours.filter(|(_, neighbour)| neighbour.is_parting);
        parting.map(|(link, neighbour)| (link, neighbour.peer)).collect()
    }

    /// Those with whom there is talk.
    fn standing(&self) -> impl Iterator<Item = LinkId> + '_ {
        self.links.iter().filter(|(_, neighbour)| !neighbour.is_parting).map(|(link, _)| *link)
    }

    pub(crate) fn link_down(&mut self, ground: &mut Ground<'_>, link: LinkId) {
        let Some(neighbour) = self.links.remove(&link) else { return };
        if !neighbour.is_parting {
            self.remember(ground.now, neighbour.peer, neighbour.used);
        }
        self.theirs.retain(|(of, _), _| *of != link);
        for ix in self.all() {
            let Some(tree) = self.trees.get_mut(&ix) else { continue };
            tree.vias.retain(|via| via.link != link);
            tree.fading.retain(|(left, _)| *left != link);
            if tree.parent == Some(link) {
                tree.parent = None;
                self.find_parent(ground, ix);
            }
        }
    }

    fn remember(&mut self, now: Timestamp, peer: PeerId, used: Used) {
        if self.left.len() >= LOOK_FROM && self.left.len().is_power_of_two() {
            self.left.retain(|_, used| !used.is_whole(now));
        }
        if !self.left.contains_key(&peer) && self.left.len() >= limits::SHUNNED_MAX {
            let first = self.left.iter().min_by_key(|(_, used)| used.anchors.since()).map(|(peer, _)| *peer);
            first.and_then(|first| self.left.remove(&first));
        }
        self.left.insert(peer, used);
    }

    // Envelopes.

    /// The tree for an own envelope: our own, else the one whose root is nearest.
    pub(crate) fn choose(&self, now: Timestamp) -> Option<TreeIx> {
        let own = self.roots.own().filter(|own| own.is_grown(now)).map(|own| own.ix);
        let is_usable = |ix: &TreeIx| {
            self.trees.get(ix).is_some_and(|tree| {
                tree.carries() && tree.dist != UNREACHABLE && now - tree.heard_at < limits::TREE_FRESH
            })
        };
        own.filter(is_usable).or_else(|| {
            let lent = self.trees.iter().filter(|(ix, _)| is_usable(ix));
            lent.min_by_key(|(ix, tree)| (tree.dist, **ix)).map(|(ix, _)| *ix)
        })
    }

    /// The tree behind a neighbour's number.
    pub(crate) fn resolve(&self, link: LinkId, theirs: TreeIx) -> Option<TreeIx> {
        self.theirs.get(&(link, theirs)).copied()
    }

    /// Whether a tree goes over a link.
    pub(crate) fn has(&self, ix: TreeIx, link: LinkId) -> bool {
        self.trees.get(&ix).is_some_and(|tree| tree.has(link))
    }

    /// Whether a neighbour that took another parent is still sent what travels on the tree.
    pub(crate) fn is_fading(&self, now: Timestamp, ix: TreeIx, link: LinkId) -> bool {
        self.trees.get(&ix).is_some_and(|tree| tree.fading(now).any(|fading| fading == link))
    }

    /// Whether a neighbour has told that it is nearer to the root than we are.
    pub(crate) fn is_nearer(&self, ix: TreeIx, link: LinkId) -> bool {
        self.trees.get(&ix).is_some_and(|tree| tree.is_nearer(link))
    }

    /// One that was here already came along a tree: the sender is told if it is wrong about us.
    pub(crate) fn on_duplicate(
        &mut self,
        ground: &Ground<'_>,
        link: LinkId,
        theirs: TreeIx,
        (log, seq): (LogId, Seq),
    ) {
        self.on_late(link, log, seq);
        let ours = self.resolve(link, theirs);
        if !ours.is_some_and(|ix| self.has(ix, link)) {
            self.facts.push((link, Ungraft { group: ground.group, yours: theirs, fade: 0 }.into()));
        }
    }

    /// See [`crate::engine::Engine::table_sizes`].
    pub(crate) fn sizes(&self) -> (usize, usize) {
        self.blame.sizes()
    }

    /// The same: who left, and numbers that neighbours have for trees.
    pub(crate) fn sizes_of_links(&self) -> (usize, usize) {
        (self.left.len(), self.theirs.len())
    }

    // Parents.

    fn adopt(&mut self, ground: &Ground<'_>, ix: TreeIx, link: LinkId) {
        let Some(tree) = self.trees.get_mut(&ix) else { return };
        if tree.parent == Some(link) {
            return;
        }
        let Some(yours) = tree.theirs(link) else { return };
        // What passed the new one before it hears of us still comes over the old one.
        let fade = tree.parent.map_or(Duration::ZERO, |old| tree.fade(ground, old, link));
        self.leave_parent_slowly(ground, ix, fade);
        let Some(tree) = self.trees.get_mut(&ix) else { return };
        let age = tree.age();
        let must_tell = tree.adopt(ground, link);
        let via = tree.via(link);
        (via.knows_ours, via.told) = (true, age);
        if must_tell {
            tree.tell_soon(ground.now);
        }
        self.doubt(ground.now, ix);
        self.look_at(ix);
        self.facts.push((link, Graft { group: ground.group, mine: ix, yours }.into()));
    }

    fn leave_parent(&mut self, ground: &Ground<'_>, ix: TreeIx) {
        self.leave_parent_slowly(ground, ix, Duration::ZERO);
    }

    /// It is to send what comes for so long.
    fn leave_parent_slowly(&mut self, ground: &Ground<'_>, ix: TreeIx, fade: Duration) {
        let Some(tree) = self.trees.get_mut(&ix) else { return };
        if let Some(old) = tree.parent.take()
            && let Some(yours) = tree.theirs(old)
        {
            let fade = u16::try_from(fade.as_millis()).unwrap_or(u16::MAX);
            self.facts.push((old, Ungraft { group: ground.group, yours, fade }.into()));
        }
    }

    /// There is none: the best of those that are feasible or of another branch, else the root is asked for a round.
    fn find_parent(&mut self, ground: &mut Ground<'_>, ix: TreeIx) {
        if self.roots.is_own(ix) {
            return;
        }
        let Some(tree) = self.trees.get(&ix) else { return };
        match tree.best_way(ground) {
            Some(link) => self.adopt(ground, ix, link),
            None if tree.ask_at.is_none() && tree.settle_at.is_none() => self.ask_root(ground, ix, None),
            None => {}
        }
    }

    /// There is none, and what seemed to be a way past us led over us: a feasible one, else the root is asked for a
    /// round.
    fn find_sure_parent(&mut self, ground: &Ground<'_>, ix: TreeIx) {
        let Some(tree) = self.trees.get(&ix) else { return };
        match tree.best_feasible(ground) {
            Some(link) => self.adopt(ground, ix, link),
            None => self.ask_root(ground, ix, None),
        }
    }

    /// The time to choose has come: everybody who knows of the round has told us.
    fn settle(&mut self, ground: &mut Ground<'_>, ix: TreeIx) {
        let Some(tree) = self.trees.get_mut(&ix) else { return };
        tree.settle_at = None;
        match (tree.best_to_settle(ground), tree.parent) {
            (Some(best), parent) if parent != Some(best) => self.adopt(ground, ix, best),
            // While others told of the round, the best of them stood for the parent, which may be below somebody else.
            // Only we have to know: to tell everybody costs a third of all adverts.
            (Some(parent), _) => {
                tree.follow(ground, parent);
            }
            (None, None) => self.find_parent(ground, ix),
            // It may have said nothing of this round yet.
            (None, Some(parent)) => {
                if tree.may_follow(parent) {
                    tree.follow(ground, parent);
                }
            }
        }
        if self.trees.get(&ix).is_some_and(|tree| tree.doubt.probe_at.is_none()) {
            self.doubt(ground.now, ix);
        }
        self.tell_the_rest(ground, ix);
    }

    /// Asks the root for a round, over somebody who may be nearer. If that was in vain all neighbours may be below us
    /// and send the question back: they are told that there is no way here, and look for another.
    fn ask_root(&mut self, ground: &Ground<'_>, ix: TreeIx, not: Option<LinkId>) {
        let Some(tree) = self.trees.get_mut(&ix) else { return };
        let branch = tree.branch;
        let whom = tree.whom_to_ask(not, branch, tree.n_asked);
        tree.ask_at = Some(ground.now + tree.ask_pause());
        tree.n_asked = tree.n_asked.saturating_add(1);
        let is_lost = tree.n_asked >= limits::ASKED_IN_VAIN && tree.parent.is_none();
        let (seq, ttl) = (tree.chain.seq, limits::SEQ_REQ_TTL);
        self.look_at(ix);
        if let Some((link, yours)) = whom {
            self.facts.push((link, SeqReq { group: ground.group, yours, seq, branch, ttl }.into()));
        }
        if is_lost {
            self.retract(ground, ix);
        }
    }

    /// There is no way here any more, which is told soon: by then there may be one again, and who gives one and takes
    /// it away makes us say no more than that. How far we have been (`fd`) still counts, or neighbours below would be
    /// parents.
    fn retract(&mut self, ground: &Ground<'_>, ix: TreeIx) {
        let Some(tree) = self.trees.get_mut(&ix) else { return };
        if std::mem::replace(&mut tree.dist, UNREACHABLE) != UNREACHABLE {
            tree.tell_soon(ground.now);
            self.look_at(ix);
        }
    }

    // Time.

    pub(crate) fn on_deadline(&mut self, ground: &mut Ground<'_>) {
        let now = ground.now;
        if self.next.is_none_or(|next| next > now) {
            return;
        }
        self.tend_roots(ground);
        for ix in self.all() {
            let Some(tree) = self.trees.get_mut(&ix) else { continue };
            if tree.next_deadline() > now {
                continue;
            }
            if tree.heard_at + limits::TREE_EXPIRES <= now {
                self.forget(ix);
                continue;
            }
            if tree.settle_at.is_some_and(|at| at <= now) {
                self.settle(ground, ix);
            }
            let Some(tree) = self.trees.get_mut(&ix) else { continue };
            if tree.ask_at.take_if(|at| *at <= now).is_some() && tree.parent.is_none() {
                self.find_parent(ground, ix);
            }
            self.probe_if_due(ground, ix);
            let Some(tree) = self.trees.get_mut(&ix) else { continue };
            if tree.advert_at.is_some_and(|at| at <= now) {
                self.tell_all(ground, ix, None);
            }
        }
        self.next =
            self.trees.values().map(|tree| tree.next_deadline()).chain(self.roots.next_deadline()).min();
    }

    fn wake_at(&mut self, at: Timestamp) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// A tree's times may have changed.
    fn look_at(&mut self, ix: TreeIx) {
        if let Some(tree) = self.trees.get(&ix) {
            self.wake_at(tree.next_deadline());
        }
    }

    /// A root is gone: its tree has fallen apart, and what came into one part of it would only be repaired.
    pub(crate) fn root_gone(&mut self, ground: &Ground<'_>, root: &PeerId) {
        if *root != ground.me
            && let Some(ix) = self.by_root.get(root).copied()
        {
            self.forget(ix);
        }
    }

    // The table.

    fn all(&self) -> Vec<TreeIx> {
        self.trees.keys().copied().collect()
    }

    /// A number for a tree that was not used lately, and is not that of no tree.
    fn insert(&mut self, now: Timestamp, chain: Chain) -> TreeIx {
        loop {
            self.last_ix = self.last_ix.wrapping_add(1);
            if self.last_ix != 0 && self.last_ix != TreeIx::MAX && !self.trees.contains_key(&self.last_ix) {
                break;
            }
        }
        let ix = self.last_ix;
        self.grew_at = Some(now);
        self.by_root.insert(chain.anchor.root, ix);
        self.trees.insert(ix, Box::new(Tree::new(now, chain)));
        self.look_at(ix);
        ix
    }

    fn forget(&mut self, ix: TreeIx) {
        if let Some(tree) = self.trees.remove(&ix) {
            self.by_root.remove(&tree.chain.anchor.root);
            self.theirs.retain(|_, ours| *ours != ix);
            self.roots.on_forgotten(ix);
        }
    }

    /// What a neighbour's news mean for the others.
    fn act_on(&mut self, ground: &mut Ground<'_>, ix: TreeIx, link: LinkId, news: News) {
        match news {
            News::None => {}
            News::TellAll => self.tell_all(ground, ix, Some(link)),
            News::TellSoon => {
                if let Some(tree) = self.trees.get_mut(&ix) {
                    tree.tell_soon(ground.now);
                }
            }
            News::Orphan => {
                let parent = |forest: &Self| forest.trees.get(&ix).and_then(|tree| tree.parent);
                let had_one = parent(self).is_some();
                self.leave_parent(ground, ix);
                self.find_parent(ground, ix);
                if had_one && parent(self).is_none() {
                    // That one has asked in vain.
                    self.retract(ground, ix);
                }
            }
        }
        self.look_at(ix);
    }
}

#[cfg(test)]
mod tests;
