//! Who is sent an author's envelopes at once (eager) and who only hears of them (lazy).
//!
//! Plumtree's terms (Leitão, Pereira, Rodrigues 2007), one tree per author. Where every member is a neighbour
//! the author's own push reaches all and the tree is a star. A member that has no link to the author grafts
//! itself to the neighbour whose announcement came first. In larger networks the forest says who is sent what; what is
//! only told is kept here all the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::heap;
use crate::id::{LinkId, LogId, PeerId, Seq};
use crate::limits;
use crate::time::Timestamp;
use crate::wire::frame::{OnTree, Range, STAR, TreeIx};

/// Trees of one group, seen from this node.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Neighbours that asked to be sent an author's envelopes by us.
    children: BTreeMap<PeerId, BTreeSet<LinkId>>,
    /// Whom we asked for an author's envelopes.
    parents: BTreeMap<PeerId, LinkId>,
    announcements: BTreeMap<LinkId, Gathered>,
    lately: BTreeMap<LinkId, Lately>,
    /// What is told only to those who have not told it themselves by then, in the order of times.
    late: VecDeque<(Timestamp, LinkId, TreeIx, Range)>,
}

/// What one neighbour and this node have last said to each other, of a group's envelopes.
#[derive(Clone, Copy, Debug, Default)]
struct Lately {
    told_at: Option<Timestamp>,
    /// When it asked for something.
    asked_at: Option<Timestamp>,
    /// When it announced something.
    heard_at: Option<Timestamp>,
}

/// What waits to be told to one neighbour.
#[derive(Debug)]
struct Gathered {
    due: Timestamp,
    ranges: Vec<OnTree>,
}

/// Announcements to leave now, a frame each.
pub(crate) type Announcements = Vec<(LinkId, Vec<OnTree>)>;

impl Tree {
    /// Bytes of memory behind it, about.
    pub(crate) fn heap(&self) -> usize {
        let of_children = self.children.values().map(heap::set).sum::<usize>();
        let of_news = heap::map(&self.announcements) + heap::map(&self.lately) + heap::queue(&self.late);
        heap::map(&self.children) + of_children + heap::map(&self.parents) + of_news
    }

    /// A neighbour grafts itself to us for an author.
    pub(crate) fn graft(&mut self, author: PeerId, link: LinkId) {
        if self.children.len() < limits::AUTHORS_MAX || self.children.contains_key(&author) {
            self.children.entry(author).or_default().insert(link);
        }
    }

    /// It takes the graft back.
    pub(crate) fn prune(&mut self, author: PeerId, link: LinkId) {
        if let Some(children) = self.children.get_mut(&author) {
            children.remove(&link);
            if children.is_empty() {
                self.children.remove(&author);
            }
        }
    }

    /// Whether an envelope of `author` goes to `link` at once.
    pub(crate) fn is_child(&self, author: &PeerId, link: LinkId) -> bool {
        self.children.get(author).is_some_and(|children| children.contains(&link))
    }

    /// Whom we asked for this author.
    pub(crate) fn parent(&self, author: &PeerId) -> Option<LinkId> {
        self.parents.get(author).copied()
    }

    /// We ask this neighbour for an author from now on.
    pub(crate) fn set_parent(&mut self, author: PeerId, link: LinkId) {
        if self.parents.len() < limits::AUTHORS_MAX || self.parents.contains_key(&author) {
            self.parents.insert(author, link);
        }
    }

    /// We have a better way.
    pub(crate) fn take_parent(&mut self, author: &PeerId) -> Option<LinkId> {
        self.parents.remove(author)
    }

    /// An announcement to `link`, to leave with others.
    pub(crate) fn announce(&mut self, now: Timestamp, link: LinkId, tree: TreeIx, range: Range) {
        let soon = now + limits::ANNOUNCE_DELAY;
        let lately = self.lately(link);
        let is_lacking = lately.asked_at.is_some_and(|at| now - at < limits::ANNOUNCE_HURRIED);
        let told_at = lately.told_at.filter(|_| !is_lacking);
        let due = told_at.map_or(soon, |told| soon.max(told + limits::ANNOUNCE_PAUSE));
        let gathered = self.announcements.entry(link).or_insert_with(|| Gathered { due, ranges: Vec::new() });
        let n = gathered.ranges.len();
        let continues = |last: &&mut OnTree| {
            last.tree == tree && last.range.log == range.log && last.range.to + 1 == range.from
        };
        match gathered.ranges.iter_mut().find(continues) {
            Some(last) => last.range.to = range.to,
            None if n < limits::ANNOUNCE_RANGES_MAX => gathered.ranges.push(OnTree { tree, range }),
            // What finds no room is found by the next digest.
            None => {}
        }
        if n + 1 >= limits::ANNOUNCE_RANGES_MAX {
            gathered.due = gathered.due.min(soon);
        }
    }

    /// The same, to a neighbour that is expected to have it before us and to tell us.
    pub(crate) fn announce_late(&mut self, now: Timestamp, link: LinkId, tree: TreeIx, range: Range) {
        if self.late.len() >= limits::LATE_MAX {
            return self.announce(now, link, tree, range);
        }
        let late = now + limits::ANNOUNCE_LATE;
        let heard_at = self.lately(link).heard_at;
        let due = heard_at.map_or(late, |heard| late.max(heard + limits::ANNOUNCE_GATHERED));
        let at = self.late.partition_point(|(other, ..)| *other <= due);
        self.late.insert(at, (due, link, tree, range));
    }

    /// A neighbour lacks something that others did not bring: what comes next it may lack as well, and is told soon.
    pub(crate) fn asked(&mut self, now: Timestamp, link: LinkId) {
        self.lately.entry(link).or_default().asked_at = Some(now);
        if let Some(gathered) = self.announcements.get_mut(&link) {
            gathered.due = gathered.due.min(now + limits::ANNOUNCE_DELAY);
        }
    }

    /// A neighbour has announced something: what it has next it will gather.
    pub(crate) fn heard(&mut self, now: Timestamp, link: LinkId) {
        self.lately.entry(link).or_default().heard_at = Some(now);
    }

    fn lately(&self, link: LinkId) -> Lately {
        self.lately.get(&link).copied().unwrap_or_default()
    }

    /// The neighbour turned out to have all these: what waits is looked through once, however many they are.
    pub(crate) fn has_these(&mut self, link: LinkId, ranges: &[OnTree]) {
        let mut had: Vec<(LogId, Seq, Seq)> =
            ranges.iter().map(|told| (told.range.log, told.range.from, told.range.to)).collect();
        had.sort_unstable();
        // How far those reach that begin there or before.
        let mut reach: Option<(LogId, Seq)> = None;
        for (log, _, to) in &mut had {
            if let Some((_, farthest)) = reach.filter(|(of, _)| of == log) {
                *to = farthest.max(*to);
            }
            reach = Some((*log, *to));
        }
        let is_had = |waiting: &Range| {
            let n = had.partition_point(|(log, from, _)| (*log, *from) <= (waiting.log, waiting.from));
            had[..n].last().is_some_and(|(log, _, to)| *log == waiting.log && *to >= waiting.to)
        };
        self.late.retain(|(_, to, _, waiting)| *to != link || !is_had(waiting));
        if let Some(gathered) = self.announcements.get_mut(&link) {
            gathered.ranges.retain(|told| !is_had(&told.range));
        }
    }

    /// The neighbour turned out to have this.
    pub(crate) fn has_it(&mut self, link: LinkId, range: &Range) {
        self.has_these(link, &[OnTree { tree: STAR, range: *range }]);
    }

    /// Announcements whose time has come.
    pub(crate) fn take_announcements(&mut self, now: Timestamp) -> Announcements {
        while let Some((_, link, tree, range)) = self.late.pop_front_if(|(due, ..)| *due <= now) {
            self.announce(now, link, tree, range);
        }
        let due = self.announcements.iter().filter(|(_, gathered)| gathered.due <= now);
        let links: Vec<LinkId> = due.map(|(link, _)| *link).collect();
        links.into_iter().filter_map(|link| self.take(now, link)).collect()
    }

    /// Announcements that may leave with something else that goes to this neighbour just now: they cost no packet.
    pub(crate) fn take_riding(&mut self, now: Timestamp, link: LinkId) -> Announcements {
        let told_at = self.lately(link).told_at;
        let may_ride = told_at.is_none_or(|told| told + limits::ANNOUNCE_DELAY <= now);
        if may_ride { self.take(now, link).into_iter().collect() } else { Vec::new() }
    }

    /// All announcements for a neighbour, those that were to wait for its own as well.
    pub(crate) fn take_all(&mut self, now: Timestamp, link: LinkId) -> Announcements {
        let (mine, rest): (VecDeque<_>, _) =
            std::mem::take(&mut self.late).into_iter().partition(|(_, to, ..)| *to == link);
        self.late = rest;
        for (_, link, tree, range) in mine {
            self.announce(now, link, tree, range);
        }
        self.take(now, link).into_iter().collect()
    }

    fn take(&mut self, now: Timestamp, link: LinkId) -> Option<(LinkId, Vec<OnTree>)> {
        let ranges = self.announcements.remove(&link)?.ranges;
        if ranges.is_empty() {
            return None;
        }
        self.lately.entry(link).or_default().told_at = Some(now);
        Some((link, ranges))
    }

    /// Authors that somebody asked us for, and announcements that wait for the other side's.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.children.len(), self.late.len())
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        let late = self.late.front().map(|(due, ..)| *due);
        self.announcements.values().map(|gathered| gathered.due).chain(late).min()
    }

    pub(crate) fn link_down(&mut self, link: LinkId) {
        self.announcements.remove(&link);
        self.lately.remove(&link);
        self.late.retain(|(_, to, ..)| *to != link);
        self.parents.retain(|_, parent| *parent != link);
        self.children.retain(|_, children| {
            children.remove(&link);
            !children.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::id::Lane;

    const A: LinkId = LinkId(1);
    const B: LinkId = LinkId(2);

    fn range(author: u8, from: Seq, to: Seq) -> Range {
        let author = PeerId([author; 32]);
        let lane = Lane::Durable;
        Range { log: LogId { author, lane }, from, to }
    }

    fn on<const N: usize>(tree: TreeIx, ranges: [Range; N]) -> Vec<OnTree> {
        ranges.map(|range| OnTree { tree, range }).to_vec()
    }

    /// Announcements gather for ANNOUNCE_DELAY from the first on, neighbours in number share a range, and what the
    /// neighbour turns out to have is not told.
    #[test]
    fn announcements_gather() {
        let mut tree = Tree::default();
        let t0 = Timestamp::from_micros(5);
        tree.announce(t0, A, STAR, range(1, 7, 7));
        tree.announce(t0 + Duration::from_millis(10), A, STAR, range(1, 8, 8));
        tree.announce(t0 + Duration::from_millis(10), A, STAR, range(2, 0, 0));
        tree.announce(t0 + Duration::from_millis(15), A, STAR, range(1, 10, 10));
        tree.announce(t0 + Duration::from_millis(15), B, STAR, range(1, 8, 8));
        tree.has_it(B, &range(1, 8, 8));
        let due = t0 + limits::ANNOUNCE_DELAY;
        assert_eq!(tree.next_deadline(), Some(due));
        let early = Timestamp::from_micros(due.as_micros() - 1);
        assert!(tree.take_announcements(early).is_empty());
        let gathered = on(STAR, [range(1, 7, 8), range(2, 0, 0), range(1, 10, 10)]);
        assert_eq!(tree.take_announcements(due), [(A, gathered)]);
        // What there was for B is known to it.
        assert!(tree.take_announcements(due + limits::ANNOUNCE_DELAY).is_empty());
        assert_eq!(tree.next_deadline(), None);
    }

    /// What a neighbour has by any of the ranges that it tells of is not told, and what sticks out of all of them is.
    #[test]
    fn what_a_neighbour_has_by_one_of_many_ranges_is_not_told() {
        let (mut tree, now) = (Tree::default(), Timestamp::from_micros(5));
        let waiting = [range(1, 2, 3), range(1, 8, 9), range(2, 0, 4), range(2, 6, 6), range(3, 5, 5)];
        for waiting in waiting {
            tree.announce(now, A, 7, waiting);
            tree.announce_late(now, A, 7, waiting);
            tree.announce_late(now, B, 7, waiting);
        }
        tree.has_these(A, &on(STAR, [range(2, 6, 8), range(1, 2, 2), range(1, 0, 8), range(2, 1, 9)]));
        assert_eq!((tree.announcements[&A].ranges.len(), tree.late.len()), (3, 3 + 5));
        let told = tree.take_all(now, A);
        assert!([1, 2, 4].iter().all(|n| told[0].1.iter().any(|told| told.range == waiting[*n])));
    }

    /// A neighbour that was told lately is told again after ANNOUNCE_PAUSE, or with an envelope that goes there.
    #[test]
    fn announcements_of_a_busy_group_share_packets() {
        let mut tree = Tree::default();
        let t0 = Timestamp::from_micros(5);
        tree.announce(t0, A, STAR, range(1, 0, 0));
        let told_at = t0 + limits::ANNOUNCE_DELAY;
        assert_eq!(tree.take_announcements(told_at).len(), 1);
        tree.announce(told_at, A, STAR, range(1, 1, 1));
        tree.announce(told_at, B, STAR, range(1, 1, 1));
        assert!(tree.take_riding(told_at, A).is_empty(), "it was told just now");
        let soon = told_at + limits::ANNOUNCE_DELAY;
        assert_eq!(tree.take_announcements(soon), [(B, on(STAR, [range(1, 1, 1)]))]);
        assert_eq!(tree.next_deadline(), Some(told_at + limits::ANNOUNCE_PAUSE));
        assert_eq!(tree.take_riding(soon, A), [(A, on(STAR, [range(1, 1, 1)]))]);
        assert_eq!(tree.next_deadline(), None);
        // Who has to ask for what it lacks is told soon for a while.
        tree.announce(soon, A, STAR, range(1, 2, 2));
        tree.asked(soon, A);
        assert_eq!(tree.next_deadline(), Some(soon + limits::ANNOUNCE_DELAY));
        assert_eq!(tree.take_announcements(soon + limits::ANNOUNCE_DELAY).len(), 1);
        let later = soon + limits::ANNOUNCE_DELAY * 2;
        tree.announce(later, A, STAR, range(1, 3, 3));
        assert_eq!(tree.next_deadline(), Some(later + limits::ANNOUNCE_DELAY));
        assert_eq!(tree.take_announcements(later + limits::ANNOUNCE_DELAY).len(), 1);
        let calm = soon + limits::ANNOUNCE_HURRIED;
        tree.announce(calm, A, STAR, range(1, 4, 4));
        let told_at = calm + limits::ANNOUNCE_DELAY;
        assert_eq!(tree.take_announcements(told_at).len(), 1);
        tree.announce(told_at, A, STAR, range(1, 5, 5));
        assert_eq!(tree.next_deadline(), Some(told_at + limits::ANNOUNCE_PAUSE));
    }

    /// Who is expected to have it first is told only if it does not tell us.
    #[test]
    fn a_late_announcement_waits_for_that_of_the_other() {
        let mut tree = Tree::default();
        let t0 = Timestamp::from_micros(5);
        tree.announce_late(t0, A, 7, range(1, 3, 3));
        tree.announce_late(t0, B, 7, range(1, 3, 3));
        assert_eq!(tree.next_deadline(), Some(t0 + limits::ANNOUNCE_LATE));
        tree.has_it(A, &range(1, 2, 3));
        assert!(tree.take_announcements(t0 + limits::ANNOUNCE_DELAY).is_empty());
        assert!(tree.take_announcements(t0 + limits::ANNOUNCE_LATE).is_empty(), "gathered with others");
        let told = tree.take_announcements(t0 + limits::ANNOUNCE_LATE + limits::ANNOUNCE_DELAY);
        assert_eq!(told, [(B, on(7, [range(1, 3, 3)]))]);
        // One that has announced something gathers what it has next.
        tree.heard(t0, B);
        tree.announce_late(t0, B, 7, range(1, 4, 4));
        tree.announce_late(t0, A, 7, range(1, 4, 4));
        assert_eq!(tree.next_deadline(), Some(t0 + limits::ANNOUNCE_LATE));
        tree.has_it(A, &range(1, 4, 4));
        assert_eq!(tree.next_deadline(), Some(t0 + limits::ANNOUNCE_GATHERED));
        // A child is told all at once.
        assert_eq!(tree.take_all(t0, B), [(B, on(7, [range(1, 4, 4)]))]);
        for n in 0..=limits::LATE_MAX as u64 {
            tree.announce_late(t0, A, 7, range(1, 2 * n, 2 * n));
        }
        assert_eq!(tree.late.len(), limits::LATE_MAX);
        tree.link_down(A);
        assert_eq!(tree.late.len(), 0);
    }

    #[test]
    fn announcements_are_bounded_from_both_sides() {
        let mut tree = Tree::default();
        let now = Timestamp::ZERO;
        let max = limits::ANNOUNCE_RANGES_MAX as u64;
        for n in 0..max + 1 {
            tree.announce(now, A, STAR, range(1, 2 * n, 2 * n));
        }
        // What continues a range that is there needs no room.
        tree.announce(now, A, STAR, range(1, 1, 1));
        let told = tree.take_announcements(now + limits::ANNOUNCE_DELAY);
        assert_eq!(told[0].1.len(), limits::ANNOUNCE_RANGES_MAX);
        assert_eq!(told[0].1[0].range, range(1, 0, 1));
        // So many do not wait for the pause.
        for n in 0..max {
            tree.announce(now + limits::ANNOUNCE_DELAY, A, STAR, range(1, 2 * n, 2 * n));
        }
        assert_eq!(tree.next_deadline(), Some(now + limits::ANNOUNCE_DELAY * 2));
    }

    #[test]
    fn a_link_that_is_down_is_nobodys_parent_and_nobodys_child() {
        let (one, two) = (PeerId([1; 32]), PeerId([2; 32]));
        let mut tree = Tree::default();
        tree.graft(one, A);
        tree.graft(one, B);
        tree.graft(two, B);
        tree.set_parent(two, A);
        tree.prune(two, B);
        assert!(tree.is_child(&one, A) && !tree.is_child(&two, B));
        tree.link_down(A);
        assert!(!tree.is_child(&one, A) && tree.is_child(&one, B));
        assert_eq!(tree.parent(&two), None);
    }
}
