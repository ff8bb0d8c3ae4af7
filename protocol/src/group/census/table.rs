//! The table of members, in the parts by which two of them are compared.
//!
//! A large group is most of what a node keeps, so members lie close together: in a tree a third of the room stays empty.
//! A part has a 64th of them, few enough to move when one comes in between.

use super::{Member, first_of};
use crate::heap;
use crate::id::PeerId;
use crate::wire::frame::MembersSums;

/// Room for so many more is made in a part that is full, and for an eighth of those that are there.
const GROWTH: usize = 2;

/// Members by their ids.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// None, or [`MembersSums::BUCKETS`].
    parts: Vec<Part>,
    len: usize,
}

#[derive(Debug, Default)]
struct Part {
    /// The lower halves of the ids of those who are there, added up: they are as good as the whole.
    sum: u32,
    members: Vec<Member>,
}

impl Part {
    /// Where a member is, or would be. Ids are public keys, as good as drawn evenly, so it is looked for around the place
    /// that its id alone gives: in a large network each other look is at memory that no cache has.
    fn find(&self, peer: &PeerId) -> Result<usize, usize> {
        const AROUND: usize = 8;
        let (first, n) = (first_of(peer), self.members.len());
        let order = |other: &Member| other.first.cmp(&first).then_with(|| other.peer().cmp(peer));
        let share = u128::from(first << MembersSums::BUCKETS.ilog2());
        let guess = ((share * n as u128) >> u64::BITS) as usize;
        // Whoever has picked its id is found as well, by steps that double.
        let (mut low, mut high) = (guess.saturating_sub(AROUND), (guess + AROUND).min(n));
        while low > 0 && order(&self.members[low]).is_gt() {
            low = guess.saturating_sub(2 * (guess - low));
        }
        while high < n && order(&self.members[high - 1]).is_lt() {
            high = (guess + 2 * (high - guess)).min(n);
        }
        match self.members[low..high].binary_search_by(order) {
            Ok(at) => Ok(low + at),
            Err(at) => Err(low + at),
        }
    }
}

impl Table {
    /// Bytes of memory behind it, about; the words are shared.
    pub(super) fn heap(&self) -> usize {
        heap::list(&self.parts) + self.parts.iter().map(|part| heap::list(&part.members)).sum::<usize>()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn contains(&self, peer: &PeerId) -> bool {
        self.get(peer).is_some()
    }

    pub(super) fn get(&self, peer: &PeerId) -> Option<&Member> {
        let part = self.parts.get(MembersSums::bucket(peer))?;
        part.find(peer).ok().map(|at| &part.members[at])
    }

    pub(super) fn get_mut(&mut self, peer: &PeerId) -> Option<&mut Member> {
        let part = self.parts.get_mut(MembersSums::bucket(peer))?;
        part.find(peer).ok().map(|at| &mut part.members[at])
    }

    /// Puts a member in, in place of what was known of it, which it returns.
    pub(super) fn insert(&mut self, member: Member) -> Option<Member> {
        self.parts.resize_with(MembersSums::BUCKETS, Part::default);
        let part = &mut self.parts[MembersSums::bucket(member.peer())];
        match part.find(member.peer()) {
            Ok(at) => Some(std::mem::replace(&mut part.members[at], member)),
            Err(at) => {
                if part.members.len() == part.members.capacity() {
                    part.members.reserve_exact(GROWTH + part.members.len() / 8);
                }
                part.members.insert(at, member);
                self.len += 1;
                None
            }
        }
    }

    pub(super) fn remove(&mut self, peer: &PeerId) {
        if let Some(part) = self.parts.get_mut(MembersSums::bucket(peer))
            && let Ok(at) = part.find(peer)
        {
            part.members.remove(at);
            self.len -= 1;
        }
    }

    /// All, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.parts.iter().flat_map(|part| &part.members)
    }

    /// Those of one part.
    pub(super) fn part(&self, bucket: usize) -> impl Iterator<Item = &Member> {
        self.parts.get(bucket).into_iter().flat_map(|part| &part.members)
    }

    /// Those after a peer.
    pub(super) fn after(&self, peer: PeerId) -> impl Iterator<Item = &Member> {
        let rest = self.parts.iter().skip(MembersSums::bucket(&peer)).flat_map(|part| &part.members);
        rest.skip_while(move |other| *other.peer() <= peer)
    }

    // Sums.

    /// Adds to the sum of the part in which a member is.
    pub(super) fn add(&mut self, peer: &PeerId, id: u64) {
        if let Some(part) = self.parts.get_mut(MembersSums::bucket(peer)) {
            part.sum = part.sum.wrapping_add(id as u32);
        }
    }

    /// Over those of each part who are there.
    pub(super) fn sums(&self) -> Vec<u32> {
        let is_right = |part: &Part| {
            let here = part.members.iter().filter(|member| member.is_here());
            part.sum == here.fold(0u32, |sum, member| sum.wrapping_add(member.id as u32))
        };
        debug_assert!(self.parts.iter().all(is_right), "they are kept up to date");
        let mut sums: Vec<u32> = self.parts.iter().map(|part| part.sum).collect();
        sums.resize(MembersSums::BUCKETS, 0);
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::Table;
    use crate::wire::frame::Signature;

    fn member(peer: PeerId, id: u64) -> Member {
        let (incarnation, signature) = (Incarnation(1), Signature([0; 64]));
        let word = Arc::new(MemberRecord { peer, incarnation, seq: 0, stay: Stay::Here, signature });
        Member::new(id, word, 0)
    }

    /// Goal: it is what a map is, in the same order, from wherever it is read on, whoever comes and goes.
    #[test]
    fn members_lie_in_the_order_of_their_ids() {
        let (mut table, mut map) = (Table::default(), BTreeMap::new());
        for n in 0..1000u32 {
            let peer = PeerId(*blake3::hash(&(n % 700).to_le_bytes()).as_bytes());
            if n % 7 == 6 {
                table.remove(&peer);
                map.remove(&peer);
            } else {
                table.insert(member(peer, n.into()));
                map.insert(peer, u64::from(n));
            }
        }
        let all: Vec<_> = map.iter().map(|(peer, id)| (*peer, *id)).collect();
        assert!(table.iter().map(|member| (*member.peer(), member.id)).eq(all.iter().copied()));
        assert!(
            (0..64).flat_map(|part| table.part(part)).map(|member| *member.peer()).eq(map.keys().copied())
        );
        assert_eq!(table.len(), map.len());
        for (n, (peer, id)) in all.iter().enumerate() {
            assert_eq!(table.get(peer).map(|member| member.id), Some(*id));
            assert!(table.after(*peer).map(Member::peer).eq(all[n + 1..].iter().map(|(peer, _)| peer)));
        }
        assert_eq!(table.after(PeerId([0; 32])).count(), all.len());
    }

    /// Goal: ids that somebody has picked to lie close together, at either end of a part or in its middle, are found too.
    #[test]
    fn picked_ids_are_found() {
        for byte in [0, 1, 127, 254, 255] {
            let mut table = Table::default();
            let picked = |n: u32| {
                let mut id = [byte; 32];
                id[0] &= 3;
                id[28..].copy_from_slice(&n.to_be_bytes());
                PeerId(id)
            };
            for n in 0..300 {
                // Every second one, from the middle to both ends.
                let n = if n % 2 == 0 { 600 + 2 * n } else { 600 - 2 * n };
                table.insert(member(picked(n), n.into()));
            }
            for n in 0..1300 {
                let peer = picked(n);
                let is_in = (0..300).any(|m| n == if m % 2 == 0 { 600 + 2 * m } else { 600 - 2 * m });
                assert_eq!(table.get(&peer).map(|member| member.id), is_in.then_some(n.into()));
            }
            assert!(table.iter().map(Member::peer).is_sorted());
        }
    }
}
