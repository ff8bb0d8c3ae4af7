//! Links to members of our groups, in a network of which few are members.
//!
//! A peer's record carries a few tags that say to members of its groups, and to nobody else, that it is one. So members
//! among the known peers are seen at once. If there are too few, walks look for more: each node they come to remembers
//! who is looking for what (a breadcrumb), and if somebody else looked for the same before, tells the later one, back
//! over the breadcrumbs. A member that a walk comes to dials whoever is looking.
//!
//! Those on the way learn that these two look for the same group, and not which it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Fact, Overlay, mates};
use crate::id::{PeerId, TopicTag};
use crate::limits;
use crate::time::{Duration, Timestamp};
use crate::wire::frame::{Find, Found, MateTag, PeerRecord, Walk, Why, find_tag};

/// A group of ours, as far as the overlay is concerned.
#[derive(Clone, Debug)]
pub(crate) struct Cover {
    pub(crate) topic: TopicTag,
    /// Members of it that are linked.
    pub(crate) mates: Vec<PeerId>,
}

/// What is remembered of searches.
#[derive(Debug, Default)]
pub(super) struct Searches {
    /// Our groups by the name under which they are looked for, and when we look again.
    ours: BTreeMap<MateTag, Search>,
    /// Those of others, and by which neighbour they came.
    crumbs: BTreeMap<(MateTag, PeerId), Crumb>,
}

#[derive(Debug)]
struct Search {
    n_mates: usize,
    at: Timestamp,
    pause: Duration,
}

#[derive(Debug)]
struct Crumb {
    record: Arc<PeerRecord>,
    from: PeerId,
    at: Timestamp,
}

impl Overlay {
    /// Searches of others that are remembered.
    pub(super) fn n_crumbs(&self) -> usize {
        self.searches.crumbs.len()
    }

    /// Our groups with their linked members, told at each tick in partial mode. Looks for more where there are too
    /// few, and gives up links that no group needs any more.
    pub(crate) fn cover(
        &mut self,
        now: Timestamp,
        groups: &[Cover],
        is_member: impl Fn(usize, &PeerId) -> bool,
    ) {
        if !self.is_partial() {
            return;
        }
        self.set_topics(groups);
        let wanted = mates::wanted(groups.len());
        self.searches.ours.retain(|tag, _| groups.iter().any(|group| find_tag(&group.topic) == *tag));
        let mut missing = Vec::new();
        for (place, group) in groups.iter().enumerate() {
            let (tag, n_mates) = (find_tag(&group.topic), group.mates.len());
            let new = Search { n_mates, at: now, pause: limits::FIND_MIN };
            let search = self.searches.ours.entry(tag).or_insert(new);
            if search.n_mates != n_mates {
                *search =
                    Search { at: search.at.min(now + limits::FIND_MIN), n_mates, pause: limits::FIND_MIN };
            }
            if n_mates < wanted && search.at <= now && missing.len() < limits::COVERED_AT_ONCE {
                search.at = now + search.pause;
                search.pause = (search.pause * 2).min(limits::FIND_MAX);
                missing.push((place, wanted - n_mates));
            }
        }
        if missing.is_empty() {
            self.gather(now, groups);
        } else {
            let scarce = self.dial_mates(now, &missing);
            scarce.into_iter().for_each(|place| self.look_for(&groups[place]));
        }
        self.give_up_group_link(now, groups, &is_member);
    }

    /// Sends out for more members.
    fn look_for(&mut self, group: &Cover) {
        let Some(record) = self.record.clone() else { return };
        let tag = find_tag(&group.topic);
        for _ in 0..limits::FIND_WALKS {
            self.pass_find_on(Find { tag, record: record.clone(), hops: Walk::HOPS_MAX }, self.me);
        }
    }

    /// A neighbour passes a search on to us.
    pub(crate) fn find(&mut self, now: Timestamp, from: PeerId, find: Find) {
        if !self.may_speak(now, &from) {
            return self.facts.push(Fact::Count("walks-dropped"));
        }
        self.hint(now);
        let seeker = find.record.peer;
        if seeker == self.me {
            return;
        }
        if self.searches.ours.contains_key(&find.tag) {
            let is_known = self.known.get(&seeker).is_some_and(|known| known.is_linked);
            if !is_known && self.n_kept() < self.links_max() && self.may_dial_for_others(now) {
                self.learn(find.record, self.is_on_this_host(&from));
                self.dial(now, seeker, Why::Group, false);
                return;
            }
        }
        let others = (find.tag, PeerId([0; 32]))..=(find.tag, PeerId([0xff; 32]));
        let met = self
            .searches
            .crumbs
            .range(others)
            .find(|((_, other), crumb)| *other != seeker && now - crumb.at < limits::CRUMBS_FOR);
        if let Some(record) = met.map(|(_, crumb)| crumb.record.clone()) {
            let found = Found { tag: find.tag, seeker, record };
            if let Some(link) = self.link(&from) {
                self.facts.push(Fact::Send { link, frame: found.into() });
            }
        }
        self.remember(now, from, &find);
        if let Some(hops) = find.hops.checked_sub(1) {
            self.pass_find_on(Find { hops, ..find }, from);
        }
    }

    fn remember(&mut self, now: Timestamp, from: PeerId, find: &Find) {
        let key = (find.tag, find.record.peer);
        let crumbs = &mut self.searches.crumbs;
        if crumbs.len() >= limits::CRUMBS_MAX && !crumbs.contains_key(&key) {
            let oldest = crumbs.iter().min_by_key(|(_, crumb)| crumb.at).map(|(key, _)| *key);
            oldest.and_then(|oldest| crumbs.remove(&oldest));
        }
        // The first way back is as good as a later one, and is not led in a circle by it.
        let crumb = Crumb { record: find.record.clone(), from, at: now };
        let old = crumbs.insert(key, crumb);
        if let (Some(old), Some(new)) =
            (old.filter(|old| now - old.at < limits::CRUMBS_FOR), crumbs.get_mut(&key))
        {
            new.from = old.from;
        }
    }

    /// Somebody else looks for the same group: for us, or for one whose search came by us.
    pub(crate) fn found_mate(&mut self, now: Timestamp, from: PeerId, found: Found) {
        if !self.may_speak(now, &from) {
            return self.facts.push(Fact::Count("walks-dropped"));
        }
        let mate = found.record.peer;
        if found.seeker == self.me {
            let wanted = mates::wanted(self.topics.len());
            let lacks = self.searches.ours.get(&found.tag).is_some_and(|search| search.n_mates < wanted);
            if lacks && mate != self.me && self.may_dial_for_others(now) {
                self.learn(found.record, self.is_on_this_host(&from));
                self.dial(now, mate, Why::Group, false);
            }
            return;
        }
        let crumb = self.searches.crumbs.get(&(found.tag, found.seeker));
        let back = crumb.filter(|crumb| now - crumb.at < limits::CRUMBS_FOR && crumb.from != from);
        if let Some(link) = back.and_then(|crumb| self.link(&crumb.from)) {
            self.facts.push(Fact::Send { link, frame: found.into() });
        }
    }

    fn pass_find_on(&mut self, find: Find, from: PeerId) {
        let seeker = find.record.peer;
        let others = self.kept().filter(|(peer, _)| *peer != from && *peer != seeker);
        let links: Vec<_> = others.map(|(_, standing)| standing.link).collect();
        if let Some(link) = self.pick(&links) {
            self.facts.push(Fact::Send { link, frame: find.into() });
        }
    }
}
