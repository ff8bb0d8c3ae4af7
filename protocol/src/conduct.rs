//! How peers behave: blame for what an honest one does not send, allowances for what an honest one sends in
//! measure, and for how long whoever exceeds them is shut out.
//!
//! Blame belongs to the identity, not to the link, so that connecting anew washes nothing off. It fades with time:
//! an honest peer that was unlucky is forgiven, one that goes on is not. A peer is shut out for longer each time.
//!
//! Of what is signed the author is to blame, who may be far away; the neighbour is to blame for what it had to
//! notice before it passed it on: what cannot be read, is not signed, cannot be opened, or answers nothing.
//!
//! Not here: bounds that need no judgement (lengths, counts, queues), and how often somebody may connect (the host).

use std::collections::BTreeMap;

use crate::bucket::{Bucket, Rate};
use crate::error::Reject;
use crate::heap;
use crate::id::PeerId;
use crate::limits;
use crate::time::{Duration, Timestamp};
use crate::wire::frame::Frame;

/// A used allowance is remembered for so long after its last link: it is whole again by then.
const FORGOTTEN: Duration = Duration::from_secs(16);
/// Talk: presence, subscriptions, repair.
const TALK: Rate = Rate::per_second(limits::TALK_BURST, limits::TALK_RATE);
/// Envelopes of which nothing came: a copy, of an unknown group, with no place in its log.
const WASTE: Rate = Rate::per_second(limits::WASTE_BURST, limits::WASTE_RATE);

/// What a neighbour did that an honest one does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Offence {
    /// Bytes that are no frame.
    Unreadable,
    /// A signature or a hash that is not what it says: it has to be checked before it is passed on.
    Forged,
    /// An envelope that no member can open, or of another group than the frame says.
    Foreign,
    /// A frame that has no place in the conversation, such as a second HELLO.
    OutOfTurn,
    /// More of what is allowed in measure.
    Excess,
}

impl Offence {
    /// Of [`limits::BLAME_MAX`], at which the neighbour is shut out. A check of a signature costs a node 30 us, and a
    /// hundred of them the neighbour its place.
    const fn blame(self) -> u32 {
        match self {
            Self::Unreadable => 7,
            Self::Forged => 20,
            Self::Foreign => 10,
            Self::OutOfTurn => 7,
            Self::Excess => 1,
        }
    }
}

/// What is wrong with a frame for a group that its sender should have noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// An envelope that its author did not sign.
    Envelope(Reject),
    /// One that no member can open, or of another group.
    Foreign,
    /// A tree that its root did not sign.
    Anchor,
    /// A round that the tree's root has not begun. A root that begins anew makes void what its neighbours still say,
    /// so this is not held to be forged.
    ChainKey,
    /// A member's word or vote that it did not sign.
    Fact,
    OutOfTurn,
}

impl Fault {
    /// As it is counted.
    pub(crate) const fn cause(self) -> &'static str {
        match self {
            Self::Envelope(reject) => reject.cause(),
            Self::Foreign => "bad-envelope",
            Self::Anchor => "forged-anchor",
            Self::ChainKey => "chain-key",
            Self::Fact => "forged-fact",
            Self::OutOfTurn => "out-of-turn",
        }
    }

    pub(crate) const fn offence(self) -> Offence {
        match self {
            Self::Envelope(_) | Self::Anchor | Self::Fact => Offence::Forged,
            Self::Foreign | Self::ChainKey => Offence::Foreign,
            Self::OutOfTurn => Offence::OutOfTurn,
        }
    }
}

/// What is held against peers (nothing, for most), and what each neighbour may still say.
#[derive(Debug, Default)]
pub(crate) struct Conduct {
    peers: BTreeMap<PeerId, Record>,
    neighbours: BTreeMap<PeerId, Allowances>,
}

/// What one neighbour may still say, on all its links together, in units of a small frame.
#[derive(Debug)]
struct Allowances {
    n_links: u32,
    talk: Bucket,
    waste: Bucket,
}

/// What handling a frame has shown beside its result.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Toll {
    /// Envelopes of which nothing came.
    pub(crate) waste: u32,
    /// Work that answering made, in units of a small frame.
    pub(crate) work: u32,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    blame: u32,
    /// When the blame was that much.
    since: Timestamp,
    /// How often it was shut out, and until when.
    n_bans: u32,
    until: Timestamp,
}

impl Record {
    fn fade(&mut self, now: Timestamp) {
        let seconds = (now - self.since).as_secs();
        let faded = u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(limits::BLAME_FADES);
        if faded > 0 {
            self.blame = self.blame.saturating_sub(faded);
            self.since = self.since + Duration::from_secs(seconds);
        }
    }

    /// Nothing would change if it were forgotten.
    fn is_void(&self, now: Timestamp) -> bool {
        self.blame == 0 && (self.n_bans == 0 || self.until + limits::BAN_REMEMBERED <= now)
    }
}

impl Conduct {
    /// Bytes of memory behind it, about.
    pub(crate) fn heap(&self) -> usize {
        heap::map(&self.peers) + heap::map(&self.neighbours)
    }

    /// Puts an offence down. True if the peer is shut out from now on.
    pub(crate) fn blame(&mut self, now: Timestamp, peer: PeerId, offence: Offence) -> bool {
        self.make_room(now, &peer);
        let record = self.peers.entry(peer).or_insert(Record {
            blame: 0,
            since: now,
            n_bans: 0,
            until: Timestamp::ZERO,
        });
        record.fade(now);
        if record.until > now {
            return false;
        }
        if record.until + limits::BAN_REMEMBERED <= now {
            record.n_bans = 0;
        }
        record.blame += offence.blame();
        if record.blame < limits::BLAME_MAX {
            return false;
        }
        let pause = (limits::BAN_MIN * 2u32.pow(record.n_bans.min(16))).min(limits::BAN_MAX);
        *record = Record { blame: 0, since: now, n_bans: record.n_bans + 1, until: now + pause };
        true
    }

    pub(crate) fn link_up(&mut self, now: Timestamp, peer: PeerId) {
        if self.neighbours.len() >= limits::OFFENDERS_MAX {
            // After so long an allowance is whole again, and a new one the same.
            self.neighbours.retain(|_, known| known.n_links > 0 || now - known.talk.since() < FORGOTTEN);
        }
        let fresh = || {
            let (talk, waste) = (Bucket::full(now, TALK), Bucket::full(now, WASTE));
            Allowances { n_links: 0, talk, waste }
        };
        self.neighbours.entry(peer).or_insert_with(fresh).n_links += 1;
    }

    /// What a neighbour has used up it does not get back by connecting anew.
    pub(crate) fn link_down(&mut self, peer: PeerId) {
        if let Some(known) = self.neighbours.get_mut(&peer) {
            known.n_links = known.n_links.saturating_sub(1);
            if known.n_links == 0 && self.neighbours.len() > limits::OFFENDERS_MAX {
                self.neighbours.remove(&peer);
            }
        }
    }

    /// Whether talk of this cost is within what the neighbour may say.
    #[must_use]
    pub(crate) fn may_talk(&mut self, now: Timestamp, peer: &PeerId, cost: u32) -> bool {
        self.neighbours.get_mut(peer).is_none_or(|known| pay(&mut known.talk, now, TALK, cost))
    }

    /// Whether what a frame turned out to cost is.
    #[must_use]
    pub(crate) fn may_cost(&mut self, now: Timestamp, peer: &PeerId, toll: Toll) -> bool {
        self.neighbours.get_mut(peer).is_none_or(|known| {
            let talk = toll.work == 0 || pay(&mut known.talk, now, TALK, toll.work);
            let waste = toll.waste == 0 || pay(&mut known.waste, now, WASTE, toll.waste);
            talk && waste
        })
    }

    /// See [`crate::engine::Engine::table_sizes`].
    pub(crate) fn table_sizes(&self) -> [(&'static str, usize, usize); 2] {
        [
            ("offenders", self.peers.len(), limits::OFFENDERS_MAX),
            ("allowances", self.neighbours.len(), limits::OFFENDERS_MAX + 2 * limits::CONNECTIONS_MAX),
        ]
    }

    /// Whether a peer is shut out.
    pub(crate) fn is_banned(&self, now: Timestamp, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|record| record.until > now)
    }

    /// What is held against a peer now, of [`limits::BLAME_MAX`].
    pub(crate) fn held_against(&self, now: Timestamp, peer: &PeerId) -> u32 {
        self.peers.get(peer).map_or(0, |record| {
            let mut record = *record;
            record.fade(now);
            if record.until > now { limits::BLAME_MAX } else { record.blame }
        })
    }

    /// Identities cost nothing, so records of them are few: who is held least against makes room.
    fn make_room(&mut self, now: Timestamp, peer: &PeerId) {
        if self.peers.len() < limits::OFFENDERS_MAX || self.peers.contains_key(peer) {
            return;
        }
        self.peers.retain(|_, record| {
            record.fade(now);
            !record.is_void(now)
        });
        if self.peers.len() >= limits::OFFENDERS_MAX {
            let least = self.peers.iter().min_by_key(|(_, record)| (record.until, record.blame));
            if let Some(least) = least.map(|(peer, _)| *peer) {
                self.peers.remove(&least);
            }
        }
    }
}

/// Takes what a neighbour's frame cost, in units of a small one. False if there is not so much left.
///
/// Filled up only when it is needed: most frames cost no division.
#[must_use]
fn pay(allowance: &mut Bucket, now: Timestamp, rate: Rate, cost: u32) -> bool {
    if !allowance.has(cost) {
        allowance.refill(now, rate);
    }
    allowance.draw(cost)
}

/// What a frame of talk costs to take in, a small one being 1 (some microseconds). A signature was checked by then.
pub(crate) fn cost(frame: &Frame) -> u32 {
    let listed = |n: usize, each: usize| 1 + u32::try_from(n / each).unwrap_or(u32::MAX);
    match frame {
        Frame::Alert(_) | Frame::Alive(_) => 8,
        Frame::Gone(gone) => 8 * listed(gone.alerts.len(), 1),
        // Every group's key is tried.
        Frame::Subscribe(_) => 8,
        Frame::Peers(peers) => 4 * listed(peers.peers.len(), 4),
        Frame::PeersChange(change) => listed(change.came.len() + change.went.len(), 4),
        Frame::Roots(roots) => 4 * listed(roots.roots.len(), 8),
        Frame::Clock(clock) => 4 * listed(clock.entries.len(), 16),
        Frame::Announce(announce) => listed(announce.ranges.len(), 8),
        Frame::Adverts(adverts) => listed(adverts.trees.len(), 4),
        // Each is answered with an anchor, some 150 bytes.
        Frame::AnchorReq(request) => listed(request.trees.len(), 2),
        Frame::Want(_) => 2,
        // Signatures are charged when they are checked.
        Frame::News(news) => listed(news.facts.len(), 2),
        Frame::Members(members) => listed(members.facts.len(), 2),
        Frame::MembersAsk(_) => 32,
        Frame::MembersSums(_) => 16,
        Frame::MembersHave(have) => 16 * listed(have.ids.len(), 64),
        Frame::MembersWant(want) => 8 * listed(want.ids.len(), 8),
        // Passed on, or answered with a list.
        Frame::Walk(_) | Frame::Shuffle(_) | Frame::Find(_) | Frame::Found(_) => 8,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::{Advert, Adverts, AnchorReq, Name};

    const PEER: PeerId = PeerId([1; 32]);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    /// Offences until it is shut out.
    fn n_until_banned(conduct: &mut Conduct, now: Timestamp, offence: Offence) -> u32 {
        (1..).find(|_| conduct.blame(now, PEER, offence)).expect("some day")
    }

    #[test]
    fn blame_shuts_out_and_longer_each_time() {
        let mut conduct = Conduct::default();
        let mut now = at(10);
        for pause in [limits::BAN_MIN, 2 * limits::BAN_MIN, 4 * limits::BAN_MIN] {
            assert_eq!(n_until_banned(&mut conduct, now, Offence::Forged), 5);
            assert_eq!(conduct.held_against(now, &PEER), limits::BLAME_MAX);
            assert!(conduct.is_banned(now + (pause - Duration::from_micros(1)), &PEER), "a moment before");
            now = now + pause;
            assert!(!conduct.is_banned(now, &PEER));
        }
        for _ in 0..20 {
            n_until_banned(&mut conduct, now, Offence::Unreadable);
            now = now + limits::BAN_MAX;
            assert!(!conduct.is_banned(now, &PEER), "there is a longest time");
        }
        now = now + limits::BAN_REMEMBERED;
        n_until_banned(&mut conduct, now, Offence::Excess);
        assert!(!conduct.is_banned(now + limits::BAN_MIN, &PEER), "what is long past is forgotten");
    }

    #[test]
    fn blame_fades() {
        let mut conduct = Conduct::default();
        for n in 0..1000 {
            assert!(!conduct.blame(at(8 * n), PEER, Offence::Unreadable), "one each 8 s");
        }
        assert_eq!(conduct.held_against(at(8 * 999), &PEER), 7);
        assert_eq!(conduct.held_against(at(8 * 999 + 7), &PEER), 0);
        assert_eq!(n_until_banned(&mut conduct, at(9000), Offence::Unreadable), 15);
    }

    #[test]
    fn offenders_are_remembered_in_a_bounded_number_and_the_worst_longest() {
        let mut conduct = Conduct::default();
        n_until_banned(&mut conduct, at(1), Offence::Foreign);
        for n in 0..3 * limits::OFFENDERS_MAX as u64 {
            let mut peer = PeerId([9; 32]);
            peer.0[..8].copy_from_slice(&n.to_le_bytes());
            conduct.blame(at(2), peer, Offence::Excess);
        }
        assert_eq!(conduct.peers.len(), limits::OFFENDERS_MAX);
        assert!(conduct.is_banned(at(2), &PEER));
    }

    #[test]
    fn lists_cost_by_their_length() {
        let of = |n: u16| cost(&AnchorReq { group: 1, trees: (0..n).collect() }.into());
        assert_eq!((of(1), of(256)), (1, 129));
        let advert = Advert { tree: 1, name: Name::Told, seq: 1, key: [0; 16], dist: 1, branch: 1 };
        let of = |n: usize| cost(&Adverts { group: 1, trees: vec![advert.clone(); n] }.into());
        assert_eq!((of(1), of(256)), (1, 65));
    }

    #[test]
    fn an_allowance_is_used_up_and_comes_back() {
        let mut allowance = Bucket::full(at(0), TALK);
        let mut take = |now, cost| pay(&mut allowance, now, TALK, cost);
        assert!((0..limits::TALK_BURST).all(|_| take(at(0), 1)));
        assert!(!take(at(0), 1), "one more");
        assert!((0..limits::TALK_RATE).all(|_| take(at(1), 1)));
        assert!(!take(at(1), 1), "one more a second later");
        assert!(take(at(3600), limits::TALK_BURST));
        assert!(!take(at(3600), 1), "it does not pile up");
    }
}
