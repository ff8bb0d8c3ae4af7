//! Who is root: authors that go on publishing, and volunteers while there are too few.
//!
//! Volunteers wait for a time drawn so that few wait little, whatever the size of the group (Nonnenmacher and
//! Biersack, "Optimal Multicast Feedback", 1998; RFC 5401, section 3.2.2.1 uses the same timers): the number of those
//! whose time has come doubles every 0.7 s, and whoever hears of enough roots by then stays what it is. So some 1.3
//! times as many volunteer as are wanted, be they drawn from a hundred or ten thousand.

use super::chain::OwnChain;
use super::{Chain, Forest, Ground};
use crate::limits;
use crate::time::{Duration, Timestamp};
use crate::wire::frame::TreeIx;

/// log2 of the largest group for which the volunteers' times are drawn.
const GROUP_LOG2: u32 = 14;

/// The part of the forest that grows it.
#[derive(Debug, Default)]
pub(super) struct Roots {
    own: Option<Own>,
    n_chains: u16,
    /// The last two messages of anybody, the newer first.
    traffic: [Option<Timestamp>; 2],
    spoke_at: Option<Timestamp>,
    /// News of members: how many since when, and when the last one came.
    n_news: u32,
    news_since: Timestamp,
    news_at: Option<Timestamp>,
    volunteer_at: Option<Timestamp>,
}

/// The tree whose root this node is.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) ix: TreeIx,
    chain: OwnChain,
    since: Timestamp,
    begun_at: Timestamp,
    n_rounds: u32,
    /// When the next round begins; none once it has retired.
    next_at: Option<Timestamp>,
}

impl Own {
    /// Its first adverts have reached everybody.
    pub(super) fn is_grown(&self, now: Timestamp) -> bool {
        now - self.since >= 2 * limits::READVERT_PAUSE
    }

    /// It has not retired.
    pub(super) fn is_tended(&self) -> bool {
        self.next_at.is_some()
    }
}

impl Roots {
    pub(super) fn own(&self) -> Option<&Own> {
        self.own.as_ref()
    }

    pub(super) fn is_own(&self, ix: TreeIx) -> bool {
        self.own.as_ref().is_some_and(|own| own.ix == ix)
    }

    pub(super) fn on_forgotten(&mut self, ix: TreeIx) {
        self.own.take_if(|own| own.ix == ix);
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let round = self.own.as_ref().and_then(|own| own.next_at);
        [round, self.volunteer_at].into_iter().flatten().min()
    }

    /// Somebody asks for a round. Returns when it begins.
    pub(super) fn hurry(&mut self, now: Timestamp) -> Option<Timestamp> {
        let own = self.own.as_mut()?;
        let next_at = own.next_at.as_mut()?;
        *next_at = (*next_at).min(now.max(own.begun_at + limits::ADVERT_PAUSE));
        Some(*next_at)
    }

    fn is_idle(&self, now: Timestamp) -> bool {
        let is_past = |at: Option<Timestamp>| at.is_none_or(|at| now - at >= limits::FOREST_IDLE);
        is_past(self.traffic[0]) && is_past(self.news_at)
    }

    /// Roots wanted now: for news alone it matters little how near the next one is.
    fn wanted(&self, ground: &Ground<'_>) -> usize {
        let talks = self.traffic[0].is_some_and(|at| ground.now - at < limits::FOREST_IDLE);
        let wanted = if talks { wanted(ground.n_members) } else { limits::NEWS_ROOTS };
        wanted.min(ground.trees_max / 2)
    }

    fn is_author(&self, now: Timestamp) -> bool {
        self.spoke_at.is_some_and(|at| now - at < limits::FOREST_IDLE)
    }
}

/// Roots wanted in a group of which `n` members are known: about the square root, but that a node that knows as many
/// as it keeps in mind cannot tell a hundred from ten thousand.
pub(crate) fn wanted(n: usize) -> usize {
    let least = if n < limits::COUNTED_MAX { limits::ROOTS_MIN } else { limits::ROOTS_LARGE };
    n.isqrt().clamp(least, limits::ROOTS_MAX)
}

/// A time up to [`limits::VOLUNTEER_MAX`], from 64 random bits: that it is below a share x of it has probability
/// 2^(14 (x - 1)), joined by straight lines.
fn delay(random: u64) -> Duration {
    let zeros = random.leading_zeros().min(GROUP_LOG2 - 1);
    // Below the first one, how far the rest is towards the next zero.
    let rest = u32::try_from((random << zeros) >> 47 & 0xffff).unwrap_or(0);
    let part = (zeros << 16) + (0xffff - rest);
    limits::VOLUNTEER_MAX * ((GROUP_LOG2 << 16) - part) / (GROUP_LOG2 << 16)
}

impl Forest {
    /// A new envelope came by, or left us.
    pub(crate) fn on_traffic(&mut self, ground: &mut Ground<'_>, is_own: bool) {
        let now = ground.now;
        self.roots.traffic = [Some(now), self.roots.traffic[0]];
        let spoke_before = self.roots.spoke_at;
        if is_own {
            self.roots.spoke_at = Some(now);
        }
        if !ground.is_partial {
            return;
        }
        let within = |at: Option<Timestamp>, time| at.is_some_and(|at| now - at < time);
        if is_own && self.is_worth_a_tree(ground, spoke_before) {
            self.become_root(ground);
        }
        // One message in a while is not worth trees.
        if within(self.roots.traffic[1], limits::AUTHOR_RECENT) {
            self.think_of_volunteering(ground);
        }
    }

    /// News of a member came by, or left us. From everybody to everybody each costs some eight copies; many of them
    /// are worth a tree.
    pub(crate) fn on_news(&mut self, ground: &mut Ground<'_>) {
        if !ground.is_partial {
            return;
        }
        let now = ground.now;
        if now - self.roots.news_since >= limits::AUTHOR_RECENT {
            (self.roots.n_news, self.roots.news_since) = (0, now);
        }
        self.roots.n_news = self.roots.n_news.saturating_add(1);
        if self.roots.n_news >= limits::NEWS_BUSY {
            self.roots.news_at = Some(now);
            self.think_of_volunteering(ground);
        }
    }

    /// Whether this node, which speaks and has spoken before, is to have a tree of its own.
    fn is_worth_a_tree(&self, ground: &Ground<'_>, spoke_before: Option<Timestamp>) -> bool {
        let within = |at: Option<Timestamp>, time| at.is_some_and(|at| ground.now - at < time);
        // Where many talk, each a little, trees for all would cost more than the messages.
        let is_enough = self.trees.len() >= self.roots.wanted(ground);
        let (busy, pause) = if self.is_root_near(ground.now) {
            (limits::AUTHOR_BUSY, limits::TREE_PAUSE)
        } else {
            (limits::AUTHOR_BUSY_FAR, limits::TREE_PAUSE_FAR)
        };
        let often = if is_enough { busy } else { limits::AUTHOR_RECENT };
        let is_early = !self.lacks_roots(ground) && within(self.grew_at, pause);
        within(spoke_before, often) && !is_early && self.trees.len() < ground.trees_max * 3 / 4
    }

    /// Whether what is sent along the tree of the nearest root is hardly later than along an own one.
    fn is_root_near(&self, now: Timestamp) -> bool {
        let nearest = self.choose(now).and_then(|ix| self.trees.get(&ix)).map(|tree| tree.dist);
        nearest.is_some_and(|dist| dist <= limits::ROOT_NEAR)
    }

    fn think_of_volunteering(&mut self, ground: &mut Ground<'_>) {
        if self.roots.own.is_some() || self.roots.volunteer_at.is_some() || !self.lacks_roots(ground) {
            return;
        }
        let at = ground.now + delay(u64::from_le_bytes(ground.bytes()));
        self.roots.volunteer_at = Some(at);
        self.wake_at(at);
    }

    fn lacks_roots(&self, ground: &Ground<'_>) -> bool {
        let fresh = self.trees.values().filter(|tree| ground.now - tree.heard_at < limits::TREE_FRESH);
        fresh.count() < (self.roots.wanted(ground) * 3).div_ceil(4)
    }

    fn become_root(&mut self, ground: &mut Ground<'_>) {
        let now = ground.now;
        if let Some(own) = &mut self.roots.own {
            // One that had retired comes back.
            own.next_at.get_or_insert_with(|| {
                own.n_rounds = 0;
                now.max(own.begun_at + limits::ADVERT_PAUSE)
            });
        } else if !self.by_root.contains_key(&ground.me) && self.trees.len() < ground.trees_max {
            let chain = self.new_chain(ground);
            let ix = self.insert(now, Chain::new(&ground.tag, chain.anchor.clone()));
            let next_at = Some(now + limits::FIRST_ROUND);
            self.roots.own = Some(Own { ix, chain, since: now, begun_at: now, n_rounds: 0, next_at });
        }
        if let Some(at) = self.roots.next_deadline() {
            self.wake_at(at);
        }
    }

    fn new_chain(&mut self, ground: &mut Ground<'_>) -> OwnChain {
        let seed = ground.bytes();
        let n = self.roots.n_chains;
        self.roots.n_chains = n.saturating_add(1);
        OwnChain::new(&ground.tag, ground.identity, ground.incarnation, n, seed)
    }

    /// Begins a round when it is time, retires when nobody needs us, volunteers when somebody is needed.
    pub(super) fn tend_roots(&mut self, ground: &mut Ground<'_>) {
        let now = ground.now;
        if self.roots.volunteer_at.take_if(|at| *at <= now).is_some()
            && ground.is_partial
            && !self.roots.is_idle(now)
            && self.lacks_roots(ground)
        {
            self.become_root(ground);
        }
        let surplus = self.trees.len() > self.roots.wanted(ground);
        let is_needed =
            ground.is_partial && !self.roots.is_idle(now) && (self.roots.is_author(now) || !surplus);
        let Some(own) = &mut self.roots.own else { return };
        if own.next_at.take_if(|at| *at <= now).is_none() || !is_needed {
            return;
        }
        self.begin_round(ground);
    }

    fn begin_round(&mut self, ground: &mut Ground<'_>) {
        let now = ground.now;
        let jitter = ground.bytes::<1>()[0];
        let Some(own) = &self.roots.own else { return };
        let (ix, seq) = (own.ix, self.trees.get(&own.ix).map_or(0, |tree| tree.chain.seq) + 1);
        if own.chain.key(seq).is_none() {
            let fresh = self.new_chain(ground);
            if let Some(tree) = self.trees.get_mut(&ix) {
                tree.renew(Chain::new(&ground.tag, fresh.anchor.clone()));
            }
            if let Some(own) = &mut self.roots.own {
                own.chain = fresh;
            }
        }
        let Some(own) = &mut self.roots.own else { return };
        let Some(tree) = self.trees.get_mut(&ix) else { return };
        let seq = tree.chain.seq + 1;
        let begun = own.chain.key(seq).is_some_and(|key| tree.chain.go_on(seq, key));
        debug_assert!(begun, "our own chain is ours");
        own.begun_at = now;
        let pause = (limits::ADVERT_MIN * (1 << own.n_rounds.min(8))).min(limits::ADVERT_MAX);
        own.n_rounds = own.n_rounds.saturating_add(1);
        own.next_at = Some(now + pause + pause * u32::from(jitter) / 2048);
        tree.begin(now);
        self.tell_all(ground, ix, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: few volunteer early, whatever the size of the group. Method: of the 64-bit numbers, take some evenly.
    #[test]
    fn few_volunteer_early() {
        let n = 1u64 << 14;
        let mut delays: Vec<Duration> = (0..n).map(|i| delay(i << 50)).collect();
        delays.sort_unstable();
        assert!(delays[0] < limits::VOLUNTEER_MAX / 14 && delays[n as usize - 1] <= limits::VOLUNTEER_MAX);
        // Half of them in the last fourteenth, half of the rest in the one before.
        for (rank, fourteenths) in [(n / 2, 13), (n / 4, 12), (n / 64, 8)] {
            let exact = limits::VOLUNTEER_MAX * fourteenths / 14;
            let drawn = delays[rank as usize];
            assert!(drawn.abs_diff(exact) < Duration::from_millis(20), "{drawn:?} of {exact:?}");
        }
    }

    #[test]
    fn roots_grow_with_the_square_root() {
        for (n, roots) in [(0, 8), (59, 8), (60, 28), (100, 28), (1000, 31), (10_000, 100), (1_000_000, 100)]
        {
            assert_eq!(wanted(n), roots);
        }
    }
}
