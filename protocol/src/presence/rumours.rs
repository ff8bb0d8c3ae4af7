//! Votes and refutations on their way through a partial overlay, where the observers of a node are not each other's
//! neighbours: everybody passes each on once, and of the votes against one run of a node no more than it takes. So it
//! is between nodes that share no group; members of a group tell each other through the group.
//!
//! What is passed on was signed, so nobody can vote for another. How much one neighbour and one observer can make
//! travel is bounded.

use std::collections::{BTreeMap, BTreeSet};

use super::Way;
use crate::id::{Incarnation, PeerId};
use crate::limits;
use crate::measure::{AtMost, Measure, OF_OBSERVERS};
use crate::time::Timestamp;
use crate::wire::frame::{Alert, Alive};

/// What one neighbour may make travel.
const FROM_ONE: AtMost = AtMost {
    window: limits::RUMOURS_WINDOW,
    of_one: limits::RUMOURS_FROM_ONE,
    peers: limits::CONNECTIONS_MAX,
};

#[derive(Debug, Default)]
pub(super) struct Rumours {
    about: BTreeMap<PeerId, Rumour>,
    /// How much came from each neighbour, and of each observer.
    from: Measure,
    of: Measure,
}

/// What was last said of a node.
#[derive(Debug)]
struct Rumour {
    incarnation: Incarnation,
    voters: BTreeSet<PeerId>,
    /// A vote was passed on: so is the answer.
    is_passed_on: bool,
    /// The answer that is newest, for who votes as if there were none.
    refuted: Option<Box<Alive>>,
    /// When the first vote came, or it was refuted.
    since: Timestamp,
}

impl Rumours {
    /// Nodes that something is said of, and who said something.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.about.len(), self.of.len())
    }

    /// Takes a vote. True if it is news, to be passed on if it came from a neighbour.
    pub(super) fn vote(&mut self, now: Timestamp, way: Way, alert: &Alert) -> bool {
        let known = self.about.get(&alert.target);
        let is_known = known.is_some_and(|rumour| {
            rumour.incarnation > alert.incarnation
                || rumour.incarnation == alert.incarnation
                    && (rumour.voters.contains(&alert.observer) || rumour.voters.len() >= limits::VOTES)
        });
        if is_known || !self.admits(now, way, alert.observer) {
            return false;
        }
        let rumour = self.entry(now, alert.target, alert.incarnation);
        rumour.voters.insert(alert.observer);
        rumour.is_passed_on |= way != Way::Group;
        true
    }

    /// Takes a refutation. True if it is news, and answers votes that were passed on.
    pub(super) fn refutation(&mut self, now: Timestamp, from: PeerId, alive: &Alive) -> bool {
        let known = self.about.get(&alive.peer);
        let answers =
            known.is_some_and(|rumour| rumour.incarnation < alive.incarnation && rumour.is_passed_on);
        if !answers || !self.admits(now, Way::Neighbour(from), alive.peer) {
            return false;
        }
        let rumour = self.entry(now, alive.peer, alive.incarnation);
        (rumour.is_passed_on, rumour.refuted) = (true, Some(Box::new(alive.clone())));
        true
    }

    /// What its target has said since to a vote that is not passed on for that. Who votes so has not heard it: it was
    /// cut off, and is no neighbour any more.
    pub(super) fn answer(&self, alert: &Alert) -> Option<Alive> {
        let refuted = self.about.get(&alert.target)?.refuted.as_deref();
        refuted.filter(|alive| alert.incarnation < alive.incarnation).cloned()
    }

    /// How many nodes were voted against lately, if the votes are of several observers. The first vote against a node
    /// that fell silent with ours may have come a window before ours, and ours is judged later.
    pub(super) fn n_accused(&self, now: Timestamp) -> usize {
        let fresh = |rumour: &&Rumour| {
            !rumour.voters.is_empty() && now - rumour.since <= 2 * limits::PARTITION_WINDOW
        };
        let voters: BTreeSet<&PeerId> =
            self.about.values().filter(fresh).flat_map(|rumour| &rumour.voters).collect();
        if voters.len() < limits::VOTES { 0 } else { self.about.values().filter(fresh).count() }
    }

    /// Room for what is said of a node in this run; what was said of an earlier one is forgotten.
    fn entry(&mut self, now: Timestamp, about: PeerId, incarnation: Incarnation) -> &mut Rumour {
        if self.about.len() >= limits::RUMOURS_MAX && !self.about.contains_key(&about) {
            let oldest = self.about.iter().min_by_key(|(_, rumour)| rumour.since).map(|(peer, _)| *peer);
            oldest.and_then(|oldest| self.about.remove(&oldest));
        }
        let new = || Rumour {
            incarnation,
            voters: BTreeSet::new(),
            is_passed_on: false,
            refuted: None,
            since: now,
        };
        let rumour = self.about.entry(about).or_insert_with(new);
        if rumour.incarnation < incarnation {
            let refuted = rumour.refuted.take();
            *rumour = Rumour { refuted, ..new() };
        }
        rumour
    }

    /// Whether a neighbour and the one who signed may say more for now.
    fn admits(&mut self, now: Timestamp, way: Way, signer: PeerId) -> bool {
        let is_admitted = match way {
            Way::Neighbour(from) => self.from.admits(now, FROM_ONE, from),
            Way::Group => true,
        };
        is_admitted && self.of.admits(now, OF_OBSERVERS, signer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Identity;

    const A: PeerId = PeerId([0xa; 32]);
    const B: PeerId = PeerId([0xb; 32]);

    fn someone(n: u64) -> Identity {
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&n.to_le_bytes());
        Identity::from_seed(seed)
    }

    fn vote(target: u64, incarnation: u64, observer: u64) -> Alert {
        let mut id = [1; 32];
        id[..8].copy_from_slice(&target.to_le_bytes());
        Alert::new(PeerId(id), Incarnation(incarnation), 3, &someone(observer))
    }

    const T0: Timestamp = Timestamp::from_micros(1_000_000);

    /// Each vote travels once, three against one run, and none against a run that was refuted.
    #[test]
    fn a_vote_is_news_once() {
        let mut rumours = Rumours::default();
        assert!(rumours.vote(T0, Way::Neighbour(A), &vote(1, 5, 1)));
        assert!(!rumours.vote(T0, Way::Neighbour(B), &vote(1, 5, 1)));
        assert!(rumours.vote(T0, Way::Neighbour(B), &vote(1, 5, 2)));
        assert!(!rumours.vote(T0, Way::Neighbour(B), &vote(1, 4, 3)), "of an earlier run");
        assert!(rumours.vote(T0, Way::Neighbour(A), &vote(1, 5, 3)));
        assert!(!rumours.vote(T0, Way::Neighbour(A), &vote(1, 5, 4)), "three are enough");
        assert!(rumours.vote(T0, Way::Neighbour(A), &vote(1, 6, 4)), "a later run is another matter");
        let target = someone(9);
        let against = Alert::new(target.peer_id(), Incarnation(5), 3, &someone(1));
        assert!(rumours.vote(T0, Way::Neighbour(A), &against));
        let refutation = Alive::new(Incarnation(6), &target);
        assert!(rumours.refutation(T0, A, &refutation));
        assert!(!rumours.refutation(T0, B, &refutation));
        assert!(!rumours.vote(
            T0,
            Way::Neighbour(B),
            &Alert::new(target.peer_id(), Incarnation(5), 3, &someone(2))
        ));
    }

    /// A neighbour, and an observer through whomever, can make only so much travel, and fill only so much memory.
    #[test]
    fn floods_are_bounded_from_both_sides() {
        let mut rumours = Rumours::default();
        let max = u64::from(limits::RUMOURS_OF_ONE);
        let n =
            (0..max + 9).filter(|target| rumours.vote(T0, Way::Neighbour(A), &vote(*target, 1, 1))).count();
        assert_eq!(n as u64, max, "of one observer");
        let later = T0 + limits::RUMOURS_WINDOW;
        assert!(rumours.vote(later, Way::Neighbour(A), &vote(max + 20, 1, 1)), "again in the next window");
        let later = later + limits::RUMOURS_WINDOW;
        let max = u64::from(limits::RUMOURS_FROM_ONE);
        let mut flood = (0..max + 9).map(|n| {
            let mut alert = vote(10_000 + n, 1, 2);
            alert.observer = PeerId([u8::try_from(n / 40 % 250).unwrap_or(0); 32]);
            alert.observer.0[1] = u8::try_from(n / 10_000).unwrap_or(0);
            alert
        });
        let n = flood.by_ref().filter(|alert| rumours.vote(later, Way::Neighbour(A), alert)).count();
        assert_eq!(n as u64, max, "from one neighbour");
        assert!(rumours.vote(later, Way::Neighbour(B), &vote(1, 1, 77)), "another is still heard");
        assert!(rumours.about.len() <= limits::RUMOURS_MAX);
        // And whoever signed them.
        let mut rumours = Rumours::default();
        let of = |n: u64| {
            let mut alert = vote(n, 1, 2);
            alert.observer.0[..8].copy_from_slice(&n.to_le_bytes());
            alert
        };
        let max = limits::RUMOURS_OF_MAX as u64;
        let n = (0..max + 9).filter(|n| rumours.vote(T0, Way::Group, &of(*n))).count();
        assert_eq!(n as u64, max);
        assert!(rumours.vote(T0, Way::Group, &Alert { target: PeerId([9; 32]), ..of(0) }), "known already");
        assert!(rumours.vote(T0 + limits::RUMOURS_WINDOW, Way::Group, &of(max + 9)), "in the next window");
    }
}
