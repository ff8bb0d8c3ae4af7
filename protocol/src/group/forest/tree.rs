//! One tree as this node sees it: how far the root is, over whom, and who sends along it.
//!
//! Terms of Babel (RFC 8966). A neighbour is *feasible* if it says it is nearer to the root than this node ever said
//! of itself in the round (`fd`, the feasible distance): its way cannot lead over us. If none is, or its way is much
//! longer, one is taken whose way begins at another neighbour of the root (`branch`): that is no way over our own
//! children either, as long as they know our branch.

use super::Ground;
use super::chain::Chain;
use super::loops::Doubt;
use crate::id::LinkId;
use crate::limits;
use crate::time::{Duration, Timestamp};
use crate::wire::frame::{TreeIx, UNREACHABLE};

/// A way must be so much better to be told again within a round, in 100 us.
const BETTER: u16 = 10;
/// The present parent's advantage over others.
const LOYALTY: u16 = 15;
/// A way that cannot lead over us is taken though it is so much longer than one that does not as far as we know.
const CERTAIN: u16 = 50;
/// A neighbour's news of a round may come so much later than the way it tells of would have them come, in 100 us: links
/// jitter.
const LATE: u16 = 100;

/// A tree.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) chain: Chain,
    /// Counts the chains of this root, so that an age compares over them.
    generation: u16,
    pub(super) dist: u16,
    /// The least distance said of ourselves in this round.
    pub(super) fd: u16,
    pub(super) branch: u8,
    pub(super) parent: Option<LinkId>,
    adopted_at: Timestamp,
    /// Who took another parent, and until when it is still sent what comes.
    pub(super) fading: Vec<(LinkId, Timestamp)>,
    pub(super) vias: Vec<Via>,
    pub(super) settle_at: Option<Timestamp>,
    /// When the newest round was heard of.
    pub(super) heard_at: Timestamp,
    /// Until when the rounds that were taken would last if one came each [`limits::ROUND_EVERY`].
    rounds_until: Timestamp,
    /// When what changed within the round is told.
    pub(super) advert_at: Option<Timestamp>,
    told_at: Timestamp,
    n_told: u8,
    /// The present round was seen to spread: whose news come later is farther.
    is_measured: bool,
    /// When somebody first told of it, and the length of the way over that neighbour.
    first: Option<(Timestamp, u16)>,
    /// Without a parent: when the root is asked for a round, and how often it was.
    pub(super) ask_at: Option<Timestamp>,
    pub(super) n_asked: u32,
    /// When another's request was last passed on.
    pub(super) relayed_at: Option<Timestamp>,
    pub(super) doubt: Doubt,
}

/// One neighbour in one tree.
#[derive(Clone, Debug)]
pub(super) struct Via {
    pub(super) link: LinkId,
    /// Its number for the tree, once it said so.
    pub(super) theirs: Option<TreeIx>,
    /// It can resolve our number.
    pub(super) knows_ours: bool,
    /// It knows the anchor.
    pub(super) knows_anchor: bool,
    /// In which round we last told it.
    pub(super) told: u32,
    /// Of which round is what follows.
    age: u32,
    /// What it says.
    pub(super) dist: u16,
    /// What is true at the least, by when its news came.
    least: u16,
    pub(super) branch: u8,
    pub(super) is_child: bool,
    /// See [`limits::PARENT_MISSES_MAX`].
    blame: u8,
    n_shunned: u8,
    shunned_until: Option<Timestamp>,
}

impl Via {
    fn new(link: LinkId) -> Self {
        Self {
            link,
            theirs: None,
            knows_ours: false,
            knows_anchor: false,
            told: 0,
            age: 0,
            dist: UNREACHABLE,
            least: 0,
            branch: 0,
            is_child: false,
            blame: 0,
            n_shunned: 0,
            shunned_until: None,
        }
    }

    pub(super) fn is_shunned(&self, now: Timestamp) -> bool {
        self.shunned_until.is_some_and(|until| until > now)
    }
}

/// What a neighbour says of its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    /// It is the first to tell of the round.
    pub(super) is_new: bool,
    /// When the link to it came up.
    pub(super) up_at: Timestamp,
    pub(super) dist: u16,
    pub(super) branch: u8,
}

/// What news of a neighbour mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum News {
    /// Nothing for others.
    None,
    /// A round begins, or a much better way: all others are told at once.
    TellAll,
    /// Something changed: all others are told soon.
    TellSoon,
    /// There is no parent, or none any more: this may be one.
    Orphan,
}

impl Tree {
    pub(super) fn new(now: Timestamp, chain: Chain) -> Self {
        Self {
            chain,
            generation: 1,
            dist: UNREACHABLE,
            fd: UNREACHABLE,
            branch: 0,
            parent: None,
            adopted_at: now,
            fading: Vec::new(),
            vias: Vec::new(),
            settle_at: None,
            heard_at: now,
            rounds_until: now,
            advert_at: None,
            told_at: now,
            n_told: 0,
            is_measured: false,
            first: None,
            ask_at: None,
            n_asked: 0,
            relayed_at: None,
            doubt: Doubt::default(),
        }
    }

    /// Its root began a new chain, which no neighbour is known to know.
    pub(super) fn renew(&mut self, chain: Chain) {
        self.chain = chain;
        self.generation = self.generation.wrapping_add(1).max(1);
        for via in &mut self.vias {
            via.knows_anchor = false;
            via.knows_ours = false;
        }
    }

    /// The round, over all chains.
    pub(super) fn age(&self) -> u32 {
        u32::from(self.generation) << 16 | u32::from(self.chain.seq)
    }

    pub(super) fn via(&mut self, link: LinkId) -> &mut Via {
        let at = match self.vias.iter().position(|via| via.link == link) {
            Some(at) => at,
            None => {
                self.vias.push(Via::new(link));
                self.vias.len() - 1
            }
        };
        &mut self.vias[at]
    }

    pub(super) fn find(&self, link: LinkId) -> Option<&Via> {
        self.vias.iter().find(|via| via.link == link)
    }

    /// Links over which it goes on from here.
    pub(super) fn children(&self) -> impl Iterator<Item = LinkId> + '_ {
        self.vias.iter().filter(|via| via.is_child).map(|via| via.link)
    }

    /// Whether what travels on the tree goes over this link.
    pub(super) fn has(&self, link: LinkId) -> bool {
        self.parent == Some(link) || self.find(link).is_some_and(|via| via.is_child)
    }

    /// Whether a neighbour was nearer to the root in this round.
    pub(super) fn is_nearer(&self, link: LinkId) -> bool {
        let is_nearer = |via: &Via| via.age == self.age() && via.dist.max(via.least) < self.dist;
        self.find(link).is_some_and(is_nearer)
    }

    /// Whether an own message can travel on it: somebody takes it on.
    pub(super) fn carries(&self) -> bool {
        self.parent.is_some() || self.vias.iter().any(|via| via.is_child)
    }

    /// This node is the root, and begins a round.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.start_round(now);
        (self.dist, self.fd, self.branch) = (0, 0, 0);
    }

    /// Whether a round of another's may begin: an honest root leaves twice the time between two of them, but some may
    /// come late, and a new neighbour tells of one that is about to end.
    pub(super) fn may_begin(&self, now: Timestamp) -> bool {
        self.rounds_until <= now + limits::ROUND_EVERY * (limits::ROUNDS_BURST - 1)
    }

    fn start_round(&mut self, now: Timestamp) {
        self.heard_at = now;
        self.rounds_until = self.rounds_until.max(now) + limits::ROUND_EVERY;
        self.first = None;
        self.n_told = 0;
        self.advert_at = None;
        self.ask_at = None;
        self.n_asked = 0;
    }

    /// A neighbour said how far it is.
    pub(super) fn on_route(&mut self, ground: &Ground<'_>, link: LinkId, route: Route) -> News {
        let (now, age) = (ground.now, self.age());
        let Route { is_new, up_at, dist, branch } = route;
        if is_new {
            self.start_round(now);
            // Else it may tell because the link came up, and not because the round has come to it just now.
            self.is_measured = now - up_at >= limits::LINK_NEW;
        }
        let least = self.least(now, up_at, ground.cost(link));
        let via = self.via(link);
        if std::mem::replace(&mut via.age, age) != age {
            via.least = least;
        }
        (via.dist, via.branch, via.knows_anchor) = (dist, branch, true);
        if dist == UNREACHABLE {
            return if self.parent == Some(link) { News::Orphan } else { News::None };
        }
        let is_shunned = self.via(link).is_shunned(now);
        if self.is_measured && !is_shunned && self.first.is_none() {
            self.first = Some((now, self.over(ground, link)));
        }
        if is_new && !is_shunned {
            self.dist = self.over(ground, link);
            self.fd = self.dist;
            self.branch = branch;
            self.settle_at = Some(now + limits::SETTLE);
            return News::TellAll;
        }
        if is_new {
            // The round has begun; the way over this neighbour is not taken.
            (self.dist, self.fd) = (UNREACHABLE, UNREACHABLE);
            self.settle_at = Some(now + limits::SETTLE);
            return News::None;
        }
        if is_shunned {
            return News::None;
        }
        let new = self.over(ground, link);
        // While a round spreads that is so of all who tell of something better. Later it may be our own way that they
        // tell of.
        let is_feasible = dist < self.fd;
        if is_feasible && new.saturating_add(BETTER) < self.dist {
            let is_first = self.fd == UNREACHABLE;
            self.dist = new;
            self.fd = self.fd.min(new);
            self.branch = branch;
            self.settle_at.get_or_insert(now + limits::SETTLE);
            self.n_told = self.n_told.saturating_add(1);
            let at_once = is_first || self.n_told <= limits::READVERTS_AT_ONCE;
            return if at_once { News::TellAll } else { News::TellSoon };
        }
        if self.parent == Some(link) && self.settle_at.is_none() {
            let before = self.dist;
            let must_tell = self.follow(ground, link);
            if self.dist > before.saturating_add(LOYALTY) {
                self.settle_at = Some(now + limits::SETTLE);
            }
            if must_tell || self.dist.saturating_add(BETTER) < before {
                return News::TellSoon;
            }
        }
        if self.parent.is_none() && self.settle_at.is_none() { News::Orphan } else { News::None }
    }

    /// Whether it has told of a way in this round.
    pub(super) fn may_follow(&self, parent: LinkId) -> bool {
        self.find(parent).is_some_and(|via| via.age == self.age() && via.dist != UNREACHABLE)
    }

    /// Our way is the parent's and the link to it. True if it begins elsewhere now: the others have to know.
    pub(super) fn follow(&mut self, ground: &Ground<'_>, parent: LinkId) -> bool {
        self.dist = self.over(ground, parent);
        self.fd = self.fd.min(self.dist);
        let branch = self.find(parent).map_or(self.branch, |via| via.branch);
        std::mem::replace(&mut self.branch, branch) != branch
    }

    /// The distance over a neighbour, as it says, unless when it told shows that it lies.
    fn over(&self, ground: &Ground<'_>, link: LinkId) -> u16 {
        let dist = self.find(link).map_or(UNREACHABLE, |via| via.dist.max(via.least));
        dist.saturating_add(ground.cost(link)).min(UNREACHABLE - 1)
    }

    /// How long `old` is to send what comes, from when it hears that `new` is the parent: what passed `new` before that
    /// heard of it may come over `old` as much later as its way is longer.
    pub(super) fn fade(&self, ground: &Ground<'_>, old: LinkId, new: LinkId) -> Duration {
        let longer = self.over(ground, old).saturating_sub(self.over(ground, new));
        let later = (Duration::from_micros(u64::from(longer) * 100) + limits::FADE_MARGIN)
            .min(limits::FADE_LONGER_MAX);
        let [to_old, to_new] = [old, new].map(|link| (ground.rtt)(link).unwrap_or_default());
        (later + to_new).saturating_sub(to_old)
    }

    /// A child took another parent.
    pub(super) fn fade_out(&mut self, now: Timestamp, link: LinkId, fade: Duration) {
        self.fading.retain(|(other, until)| *other != link && *until > now);
        if !fade.is_zero() {
            self.fading.push((link, now + fade.min(limits::FADE_MAX)));
        }
    }

    /// Those who took another parent just now.
    pub(super) fn fading(&self, now: Timestamp) -> impl Iterator<Item = LinkId> + '_ {
        self.fading.iter().filter(move |(_, until)| *until > now).map(|(link, _)| *link)
    }

    /// How far somebody is at the least who first tells of the round now, `cost` away. Rounds cannot be made up, and
    /// whoever is nearer hears of one earlier: by so much later than the first one's its news came, so much farther it
    /// is. Who was no neighbour yet could not tell: the way over it counts as longer than the first one's, so that nobody
    /// attracts those who have a good one by coming anew.
    fn least(&self, now: Timestamp, up_at: Timestamp, cost: u16) -> u16 {
        self.first.map_or(0, |(at, over)| {
            let later = u16::try_from((now - at).as_micros() / 100).unwrap_or(u16::MAX);
            let later = if up_at > at { 2 * LATE } else { later };
            over.saturating_add(later).saturating_sub(cost).saturating_sub(LATE).min(UNREACHABLE - 1)
        })
    }

    /// The neighbour that is the best parent among those that cannot have their way over us.
    pub(super) fn best_feasible(&self, ground: &Ground<'_>) -> Option<LinkId> {
        self.best(ground, |via| via.dist < self.fd)
    }

    /// The same among some.
    pub(super) fn best_feasible_of(
        &self,
        ground: &Ground<'_>,
        of: impl Fn(LinkId) -> bool,
    ) -> Option<LinkId> {
        self.best(ground, |via| via.dist < self.fd && of(via.link))
    }

    /// The best one to settle on. Those that cannot have their way over us come first, unless the way of the present parent
    /// is much shorter, or that of another that does not lead over us as far as we know is shorter still.
    pub(super) fn best_to_settle(&self, ground: &Ground<'_>) -> Option<LinkId> {
        let is_way = |parent: &LinkId| self.find(*parent).is_some_and(|via| self.is_way(ground.now, via));
        let known = [(self.best_feasible(ground), 0), (self.parent.filter(is_way), CERTAIN)];
        if known.iter().all(|(link, _)| link.is_none()) {
            // The parent may not have told of this round yet.
            return None;
        }
        let ways = known.into_iter().chain([(self.best_of_another_branch(ground), 2 * CERTAIN)]);
        let cost = |(link, doubt): (Option<LinkId>, u16)| {
            link.map(|link| (self.over(ground, link).saturating_add(doubt), link))
        };
        ways.filter_map(cost).min().map(|(_, link)| link)
    }

    /// The best of those that cannot have their way over us and of those that do not as far as we know: near neighbours
    /// are about as far from the root as we are, so the former may be left with long links only.
    pub(super) fn best_way(&self, ground: &Ground<'_>) -> Option<LinkId> {
        let (sure, other) = (self.best_feasible(ground), self.best_of_another_branch(ground));
        let cost = |link: LinkId| self.over(ground, link);
        let is_shorter =
            |other: &LinkId| sure.is_none_or(|sure| cost(*other).saturating_add(CERTAIN) < cost(sure));
        other.filter(is_shorter).or(sure)
    }

    /// The best one whose way begins elsewhere at the root.
    pub(super) fn best_of_another_branch(&self, ground: &Ground<'_>) -> Option<LinkId> {
        self.best(ground, |via| via.branch != self.branch && !via.is_child)
    }

    /// Nothing is to go over a neighbour any more.
    pub(super) fn no_way_over(&mut self, link: LinkId) {
        self.vias.iter_mut().filter(|via| via.link == link).for_each(|via| via.dist = UNREACHABLE);
    }

    /// The neighbour's number for the tree, if it told one.
    pub(super) fn theirs(&self, link: LinkId) -> Option<TreeIx> {
        self.find(link)?.theirs
    }

    /// The parent and its number for the tree.
    pub(super) fn known_parent(&self) -> Option<(LinkId, TreeIx)> {
        let parent = self.parent?;
        Some((parent, self.theirs(parent)?))
    }

    /// Whether the way over a parent cannot lead over us.
    pub(super) fn is_sure(&self, parent: LinkId) -> bool {
        self.find(parent).is_some_and(|via| via.age == self.age() && via.dist < self.fd)
    }

    /// Whether a parent there would not close a loop, as far as we know.
    pub(super) fn may_be_parent(&self, ground: &Ground<'_>, link: LinkId) -> bool {
        self.find(link).is_some_and(|via| {
            self.is_way(ground.now, via) && (via.dist < self.fd || via.branch != self.branch && !via.is_child)
        })
    }

    fn is_way(&self, now: Timestamp, via: &Via) -> bool {
        via.age == self.age() && via.dist != UNREACHABLE && via.theirs.is_some() && !via.is_shunned(now)
    }

    fn best(&self, ground: &Ground<'_>, suits: impl Fn(&Via) -> bool) -> Option<LinkId> {
        let ways = self.vias.iter().filter(|via| self.is_way(ground.now, via) && suits(via));
        let cost = |via: &Via| {
            let loyalty = if self.parent == Some(via.link) { LOYALTY } else { 0 };
            self.over(ground, via.link).saturating_sub(loyalty)
        };
        ways.min_by_key(|via| (cost(via), via.link)).map(|via| via.link)
    }

    /// Somebody who may know more, for a request to the root: not the one that asks, and who is not below that one,
    /// as far as its branch tells; the nearest first, others in turn.
    pub(super) fn whom_to_ask(&self, not: Option<LinkId>, branch: u8, turn: u32) -> Option<(LinkId, TreeIx)> {
        // Who has said that it has no way has asked itself.
        let is_able = |via: &&Via| via.theirs.is_some() && via.dist != UNREACHABLE && Some(via.link) != not;
        let mut able: Vec<&Via> = self.vias.iter().filter(is_able).collect();
        able.sort_by_key(|via| (via.branch == branch, via.is_child, via.dist, via.link));
        let via = able.get(turn as usize % able.len().max(1))?;
        Some((via.link, via.theirs?))
    }

    /// Takes a parent; the caller tells it, and the one there was. True if the others have to know.
    pub(super) fn adopt(&mut self, ground: &Ground<'_>, link: LinkId) -> bool {
        self.parent = Some(link);
        self.adopted_at = ground.now;
        // Who gives a parent and takes it away again does not make us ask more often.
        self.ask_at = self.ask_at.map(|at| at.min(ground.now + limits::ORPHAN_PAUSE));
        if self.is_sure(link) {
            self.n_asked = 0;
        }
        self.via(link).is_child = false;
        let was_lost = self.dist == UNREACHABLE;
        self.follow(ground, link) || was_lost
    }

    /// Sets when a change is told: not too soon after the last one.
    pub(super) fn tell_soon(&mut self, now: Timestamp) {
        let at = now.max(self.told_at + limits::READVERT_PAUSE);
        self.advert_at.get_or_insert(at);
    }

    pub(super) fn on_told(&mut self, now: Timestamp) {
        self.told_at = now;
        self.advert_at = None;
    }

    /// The parent brought an envelope.
    pub(super) fn praise(&mut self, link: LinkId) {
        let via = self.via(link);
        via.blame = via.blame.saturating_sub(1);
    }

    /// Others had an envelope that a parent did not bring. True if it is left alone from now on.
    pub(super) fn blame(&mut self, now: Timestamp, parent: LinkId) -> bool {
        let via = self.via(parent);
        via.blame = via.blame.saturating_add(limits::PARENT_MISS);
        if via.blame < limits::PARENT_MISSES_MAX || via.is_shunned(now) {
            return false;
        }
        // It is given one more chance, not two.
        via.blame = limits::PARENT_MISSES_MAX - limits::PARENT_MISS;
        let until = now + super::blame::pause(via.n_shunned);
        via.n_shunned = via.n_shunned.saturating_add(1);
        self.shun_until(parent, until);
        true
    }

    /// A neighbour is no parent until then.
    pub(super) fn shun_until(&mut self, link: LinkId, until: Timestamp) {
        let via = self.via(link);
        via.shunned_until = Some(via.shunned_until.map_or(until, |other| other.max(until)));
    }

    /// The parent may not have heard yet that it is one: a Graft that takes longer finds no link any more.
    pub(super) fn was_just_adopted(&self, now: Timestamp) -> bool {
        now - self.adopted_at < limits::SUSPECT_AFTER
    }

    /// When something is to be done.
    pub(super) fn next_deadline(&self) -> Timestamp {
        let expires = self.heard_at + limits::TREE_EXPIRES;
        [self.settle_at, self.advert_at, self.ask_at, self.doubt.probe_at]
            .into_iter()
            .flatten()
            .fold(expires, Timestamp::min)
    }

    /// The pause before the root is asked again.
    pub(super) fn ask_pause(&self) -> Duration {
        limits::ORPHAN_PAUSE * (1 << self.n_asked.min(4))
    }
}
