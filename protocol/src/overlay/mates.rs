//! Links that serve several groups at once: who is in many groups would need too many links if each served one.
//!
//! The tags of a peer's record tell which of our groups it is in. Those that are in several are kept in the passive view
//! longer than others, told of among members, and dialled first; and a link that serves one group goes when each of its
//! two ends has others enough for that.

use super::find::Cover;
use super::{Dial, Known, Overlay};
use crate::id::{LinkId, PeerId, TopicTag};
use crate::io::Slot;
use crate::limits;
use crate::time::Timestamp;
use crate::wire::frame::{PeerRecord, Refusal, Why, mate_tag};

/// Some of our groups, by their places among them.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct GroupSet([u64; limits::GROUPS_MAX.div_ceil(64)]);

impl GroupSet {
    pub(super) fn insert(&mut self, place: usize) {
        if let Some(word) = self.0.get_mut(place / 64) {
            *word |= 1 << (place % 64);
        }
    }

    pub(super) fn remove(&mut self, place: usize) {
        if let Some(word) = self.0.get_mut(place / 64) {
            *word &= !(1 << (place % 64));
        }
    }

    pub(super) fn has(&self, place: usize) -> bool {
        self.0.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        let mut both = *self;
        both.0.iter_mut().zip(other.0).for_each(|(word, other)| *word &= other);
        both
    }

    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        let words = self.0.into_iter().enumerate();
        words.flat_map(|(n, word)| {
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| n * 64 + bit)
        })
    }
}

/// How many links to members each group is to have at least, where there are so many groups.
pub(super) fn wanted(n_groups: usize) -> usize {
    if n_groups > limits::MANY_GROUPS { limits::GROUP_LINKS_OF_MANY } else { limits::GROUP_LINKS }
}

/// In how many of these groups a record says that its peer is; it does not matter unless they are many.
pub(super) fn n_shared(topics: &[TopicTag], record: &PeerRecord) -> u8 {
    if topics.len() <= limits::MANY_GROUPS || record.tags.is_empty() {
        return 0;
    }
    let is_tagged = |topic: &&TopicTag| record.tags.contains(&mate_tag(topic, &record.peer));
    u8::try_from(topics.iter().filter(is_tagged).count()).unwrap_or(u8::MAX)
}

impl Overlay {
    /// Our groups have changed: who is in several of them is counted anew.
    pub(super) fn set_topics(&mut self, groups: &[Cover]) {
        let is_same = self.topics.len() == groups.len()
            && self.topics.iter().zip(groups).all(|(topic, group)| *topic == group.topic);
        if is_same {
            return;
        }
        self.topics = groups.iter().map(|group| group.topic).collect();
        for known in self.known.values_mut() {
            known.n_shared = known.record.as_ref().map_or(0, |record| n_shared(&self.topics, record));
        }
    }

    /// Those of our groups that a peer is in, as its record says.
    pub(super) fn shared_with(&self, peer: &PeerId) -> GroupSet {
        let mut shared = GroupSet::default();
        if let Some(record) = self.known.get(peer).and_then(|known| known.record.as_ref()) {
            let places = self.topics.iter().enumerate();
            places
                .filter(|(_, topic)| record.tags.contains(&mate_tag(topic, peer)))
                .for_each(|(place, _)| shared.insert(place));
        }
        shared
    }

    /// Passive peers that are in so many of these groups, and in which.
    fn known_mates(&self, now: Timestamp, of: &GroupSet, least: u8) -> Vec<(PeerId, GroupSet)> {
        // To find out costs a hash for each group: where groups are many most peers are in none of ours.
        let is_counted = self.topics.len() > limits::MANY_GROUPS;
        let may_be =
            |peer: &PeerId| !is_counted || self.known.get(peer).is_some_and(|known| known.n_shared >= least);
        let candidates = self.candidates(now).into_iter().filter(may_be);
        let shared = candidates.map(|peer| (peer, self.shared_with(&peer).and(of)));
        shared.filter(|(_, shared)| shared.len() >= usize::from(least)).collect()
    }

    /// Dials passive peers that are in groups which lack so many members, those first that are in most of them. Returns the
    /// groups of which fewer are left to be tried next time than are lacking now.
    pub(super) fn dial_mates(&mut self, now: Timestamp, missing: &[(usize, usize)]) -> Vec<usize> {
        let mut lacking = GroupSet::default();
        missing.iter().for_each(|(place, _)| lacking.insert(*place));
        let (mut mates, mut still) = (self.known_mates(now, &lacking, 1), missing.to_vec());
        loop {
            let most = mates.iter().map(|(_, shared)| shared.and(&lacking).len()).max().unwrap_or(0);
            let best = mates.iter().enumerate().filter(|(_, (_, shared))| shared.and(&lacking).len() == most);
            let best: Vec<usize> = best.map(|(ix, _)| ix).collect();
            let Some(ix) = self.pick(&best).filter(|_| most > 0) else { break };
            let (peer, shared) = mates.swap_remove(ix);
            self.dial(now, peer, Why::Group, false);
            for (place, n) in still.iter_mut().filter(|(place, _)| shared.has(*place)) {
                *n = n.saturating_sub(1);
                if *n == 0 {
                    lacking.remove(*place);
                }
            }
        }
        let n_left = |place: usize| mates.iter().filter(|(_, shared)| shared.has(place)).count();
        missing.iter().filter(|(place, n)| n_left(*place) < *n).map(|(place, _)| *place).collect()
    }

    /// Gives up a link that was made for a group and that none needs: the other side has none of our groups; or we
    /// dialled it, and both sides have links enough in each group that they share, as far as its neighbours are known.
    pub(super) fn give_up_group_link(
        &mut self,
        now: Timestamp,
        groups: &[Cover],
        is_member: impl Fn(usize, &PeerId) -> bool,
    ) {
        let settled = self.kept().filter(|(_, standing)| standing.slot == Slot::Group);
        let settled = settled.filter(|(_, standing)| now - standing.up_at >= limits::HELLO_PATIENCE);
        let useless = settled
            .filter_map(|(peer, standing)| {
                let shared = shared_of(groups, &peer);
                let is_spare = |place: usize| self.is_spare(groups, place, &peer, &is_member);
                let is_useless = shared.len() == 0 || standing.dialed && shared.iter().all(is_spare);
                is_useless.then_some((shared.len(), std::cmp::Reverse(standing.since), peer))
            })
            .min();
        if let Some((.., peer)) = useless {
            self.part(peer, Refusal::Surplus, Vec::new());
        }
    }

    /// Whether a group can do without a link to this member.
    fn is_spare(
        &self,
        groups: &[Cover],
        place: usize,
        peer: &PeerId,
        is_member: impl Fn(usize, &PeerId) -> bool,
    ) -> bool {
        let (wanted, n_mates) = (wanted(groups.len()), groups[place].mates.len());
        // Who is in few groups can afford some more links, which help against neighbours that bring nothing.
        if n_mates > limits::GROUP_LINKS_MAX || groups.len() <= limits::MANY_GROUPS {
            return n_mates > limits::GROUP_LINKS_MAX;
        }
        let theirs = || {
            self.named
                .get(peer)
                .into_iter()
                .flat_map(|named| named.iter())
                .filter(|other| is_member(place, other))
                .count()
        };
        n_mates > wanted && theirs() > wanted
    }

    /// Dials a passive peer that is in several groups of which each has a link that serves it alone: both ends have one more
    /// in each of these then than they need, and two such links can go for each that is made.
    pub(super) fn gather(&mut self, now: Timestamp, groups: &[Cover]) {
        let is_free = |known: &Known| !known.is_linked && known.n_shared >= 2;
        let is_asking = |dial: &Dial| dial.why == Why::Group;
        if !self.known.values().any(is_free)
            || self.known.values().any(|known| known.dialing.as_deref().is_some_and(is_asking))
            || self.n_kept() + 2 > self.links_max()
        {
            return;
        }
        let mut lone = GroupSet::default();
        for (peer, _) in self.kept().filter(|(_, standing)| standing.slot == Slot::Group) {
            let shared = shared_of(groups, &peer);
            if shared.len() == 1 {
                shared.iter().for_each(|place| lone.insert(place));
            }
        }
        let mates = self.known_mates(now, &lone, 2);
        if let Some((peer, _)) = mates.into_iter().max_by_key(|(peer, shared)| (shared.len(), *peer)) {
            self.dial(now, peer, Why::Group, false);
        }
    }

    /// Links that are kept at most.
    pub(super) fn links_max(&self) -> usize {
        if self.topics.len() > limits::MANY_GROUPS {
            limits::PARTIAL_LINKS_OF_MANY
        } else {
            limits::PARTIAL_LINKS_MAX
        }
    }

    /// Whether members are to be told of each other often: there are more links than there should be, and this node has
    /// not long been in the network.
    pub(super) fn has_links_to_gather(&self, now: Timestamp) -> bool {
        let is_new = self.partial.as_ref().is_some_and(|partial| now - partial.since < limits::GATHER_FOR);
        is_new && self.n_kept() > limits::PARTIAL_LINKS_MAX
    }

    /// Whether a link was made for a group, and nothing else needs it.
    pub(crate) fn is_for_group(&self, link: LinkId, peer: &PeerId) -> bool {
        let standing = self.active.get(peer).filter(|standing| standing.link == link);
        standing.is_some_and(|standing| standing.greeted && standing.slot == Slot::Group)
    }

    /// Of peers that may be evicted from the view, those that are in several groups stay while they are few.
    pub(super) fn keeps_mates(&self) -> bool {
        let n = self.known.values().filter(|known| known.is_mate_of_several()).count();
        0 < n && n <= self.passive_max / 2
    }

    /// Whether a peer is in a group that another is in as well, of ours.
    pub(super) fn is_mate(&self, shared: &GroupSet, peer: &PeerId) -> bool {
        self.shared_with(peer).and(shared).len() > 0
    }
}

impl Known {
    pub(super) fn is_mate_of_several(&self) -> bool {
        !self.is_linked && self.n_shared >= 2
    }
}

/// Those of our groups that a neighbour has proved to be in.
fn shared_of(groups: &[Cover], peer: &PeerId) -> GroupSet {
    let mut shared = GroupSet::default();
    let places = groups.iter().enumerate().filter(|(_, group)| group.mates.contains(peer));
    places.for_each(|(place, _)| shared.insert(place));
    shared
}
