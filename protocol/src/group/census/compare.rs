//! Two who know different members find out which: by sums over parts of the list, then the members of the parts
//! that differ, then what these have said. Somebody who knows few asks one neighbour for all, page by page.

use std::collections::{BTreeMap, BTreeSet};

use super::{Census, Ground, Member};
use crate::id::{LinkId, PeerId};
use crate::limits;
use crate::time::Timestamp;
use crate::wire::frame::{
    Class, Fact, Members, MembersAsk, MembersDigest, MembersHave, MembersSums, MembersWant,
};

/// What is being compared.
#[derive(Debug, Default)]
pub(super) struct Compare {
    /// With whom, and when: what is on its way is given time to come.
    due: BTreeMap<LinkId, Timestamp>,
    /// When sums were last sent, by link.
    sent: BTreeMap<LinkId, Timestamp>,
    asked: Option<Asked>,
    /// Whether what a neighbour has is a sample.
    samples: Vec<(LinkId, bool)>,
}

/// Who was asked for pages, when last, and for what comes after whom.
#[derive(Clone, Copy, Debug)]
struct Asked {
    link: LinkId,
    at: Timestamp,
    after: PeerId,
    /// The page has come, and what comes after this one is asked for next.
    next: Option<PeerId>,
}

impl Asked {
    fn next_at(&self) -> Option<Timestamp> {
        self.next.map(|_| self.at + limits::PAGE_PAUSE)
    }
}

impl Compare {
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let next_page = self.asked.and_then(|asked| asked.next_at());
        self.due.values().copied().chain(next_page).min()
    }

    /// Most neighbours have samples: what one of them does not list it does not pass on.
    pub(super) fn is_among_samples(&self) -> bool {
        let n_samples = self.samples.iter().filter(|(_, is_sample)| *is_sample).count();
        n_samples * 2 > self.samples.len()
    }
}

impl Census {
    pub(crate) fn link_down(&mut self, link: LinkId) {
        self.compare.due.remove(&link);
        self.compare.sent.remove(&link);
        self.compare.asked.take_if(|asked| asked.link == link);
        self.compare.samples.retain(|(of, _)| *of != link);
    }

    /// A neighbour knows so many.
    pub(crate) fn on_members_digest(&mut self, ground: &Ground<'_>, link: LinkId, theirs: MembersDigest) {
        let (now, ours) = (ground.now, self.digest());
        self.compare.samples.retain(|(of, _)| *of != link);
        self.compare.samples.push((link, theirs.sum == MembersDigest::SAMPLE));
        // Two samples have no more in common than by chance.
        if theirs == ours || self.is_sample || ours.n == 0 && !ground.is_partial {
            self.compare.due.remove(&link);
            return;
        }
        if theirs.n > ours.n.saturating_mul(2).saturating_add(16) {
            let is_asking = self.compare.asked.is_some_and(|asked| now - asked.at < limits::PAGE_PATIENCE);
            if !is_asking {
                self.ask(ground, link, PeerId([0; 32]));
            }
            return;
        }
        if theirs.sum == MembersDigest::SAMPLE {
            self.compare.due.remove(&link);
            return;
        }
        let soonest = self.compare.sent.get(&link).map_or(now, |at| *at + limits::SUMS_PAUSE);
        self.compare.due.entry(link).or_insert(soonest.max(now + limits::SUMS_DELAY));
    }

    pub(super) fn compare_when_due(&mut self, ground: &Ground<'_>) {
        let asked = self.compare.asked.filter(|asked| asked.next_at().is_some_and(|at| at <= ground.now));
        if let Some((link, next)) = asked.and_then(|asked| Some((asked.link, asked.next?))) {
            self.ask(ground, link, next);
        }
        let due = self.compare.due.iter().filter(|(_, at)| **at <= ground.now);
        for link in due.map(|(link, _)| *link).collect::<Vec<_>>() {
            self.compare.due.remove(&link);
            self.compare.sent.insert(link, ground.now);
            let sums = MembersSums { group: ground.group, sums: self.members.sums() };
            self.frames.push((link, Class::Control, sums.into()));
        }
    }

    fn ids(&self) -> impl Iterator<Item = (PeerId, u64)> + '_ {
        let here = self.members.iter().filter(|member| member.is_here());
        here.map(|member| (*member.peer(), member.id))
    }

    /// Those of one part.
    fn ids_in(&self, bucket: usize) -> impl Iterator<Item = (PeerId, u64)> + '_ {
        let part = self.members.part(bucket).filter(|member| member.is_here());
        part.map(|member| (*member.peer(), member.id))
    }

    pub(crate) fn on_sums(&mut self, ground: &Ground<'_>, link: LinkId, sums: &MembersSums) {
        let pairs = sums.sums.iter().zip(self.members.sums()).enumerate();
        let (mut buckets, mut ids) = (0u64, Vec::new());
        for (bucket, _) in pairs.filter(|(_, (theirs, ours))| **theirs != *ours) {
            let n_before = ids.len();
            ids.extend(self.ids_in(bucket).map(|(_, id)| id));
            // A part that somebody has filled on purpose is not compared: the others are.
            if ids.len() <= MembersHave::MAX {
                buckets |= 1 << bucket;
            } else {
                ids.truncate(n_before);
            }
        }
        if buckets != 0 {
            let have = MembersHave { group: ground.group, buckets, ids };
            self.frames.push((link, Class::Control, have.into()));
        }
    }

    pub(crate) fn on_have(&mut self, ground: &Ground<'_>, link: LinkId, have: &MembersHave) {
        let mut missing: BTreeSet<u64> = have.ids.iter().copied().collect();
        let mut facts = Vec::new();
        let parts = (0..MembersSums::BUCKETS).filter(|bucket| have.buckets >> bucket & 1 == 1);
        for (peer, id) in parts.flat_map(|bucket| self.ids_in(bucket)) {
            if !missing.remove(&id) && facts.len() < limits::FACTS_MAX {
                facts.extend(self.facts_about(&peer));
            }
        }
        if !missing.is_empty() {
            let ids = missing.into_iter().take(MembersWant::MAX).collect();
            self.frames.push((link, Class::Control, MembersWant { group: ground.group, ids }.into()));
        }
        self.tell(ground, link, facts);
    }

    pub(crate) fn on_want(&mut self, ground: &Ground<'_>, link: LinkId, want: &MembersWant) {
        let wanted: BTreeSet<u64> = want.ids.iter().copied().collect();
        let found = self.ids().filter(|(_, id)| wanted.contains(id)).take(wanted.len());
        let facts = found.flat_map(|(peer, _)| self.facts_about(&peer)).take(limits::FACTS_MAX).collect();
        self.tell(ground, link, facts);
    }

    /// Tells a neighbour what it does not know.
    pub(crate) fn tell(&mut self, ground: &Ground<'_>, link: LinkId, facts: Vec<Fact>) {
        if !facts.is_empty() {
            let members = Members { group: ground.group, facts, more_after: None };
            self.frames.push((link, Class::Bulk, members.into()));
        }
    }

    // Pages.

    fn ask(&mut self, ground: &Ground<'_>, link: LinkId, after: PeerId) {
        self.compare.asked = Some(Asked { link, at: ground.now, after, next: None });
        self.frames.push((link, Class::Control, MembersAsk { group: ground.group, after }.into()));
    }

    pub(crate) fn on_ask(&mut self, ground: &Ground<'_>, link: LinkId, ask: &MembersAsk) {
        let mut rest = self.members.after(ask.after).filter(|member| member.is_here());
        let page: Vec<&Member> = rest.by_ref().take(limits::FACTS_MAX).collect();
        let more_after = rest.next().and_then(|_| page.last()).map(|member| *member.peer());
        let facts = page.into_iter().map(|member| Fact::Said(member.word.clone())).collect();
        let members = Members { group: ground.group, facts, more_after };
        self.frames.push((link, Class::Bulk, members.into()));
    }

    /// Whether what comes from this neighbour is a page that we asked for: everybody else knows what is in it, and to check
    /// it is not the neighbour's fault.
    pub(crate) fn is_page(&self, link: LinkId) -> bool {
        self.compare.asked.is_some_and(|asked| asked.link == link && asked.next.is_none())
    }

    /// The page was taken in. The next one is asked for if this one was full, and ends where it says.
    pub(crate) fn on_page(&mut self, ground: &Ground<'_>, page: &Members) {
        let last = page.facts.last().filter(|_| page.facts.len() == limits::FACTS_MAX);
        let last = last.map(|fact| *fact.subject());
        // Who does not go on would be asked for ever.
        let goes_on = |after: &PeerId| {
            last == Some(*after) && self.compare.asked.is_some_and(|asked| *after > asked.after)
        };
        let next = page.more_after.filter(|after| goes_on(after) && !self.is_full(ground));
        self.compare.asked =
            self.compare.asked.filter(|_| next.is_some()).map(|asked| Asked { next, ..asked });
        self.compare_when_due(ground);
    }
}
