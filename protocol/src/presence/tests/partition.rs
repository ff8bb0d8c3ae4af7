//! Many that fall silent at once.

use super::*;

/// Neighbours of this node, of whom the first fall silent while the others are heard each 100 ms.
struct Cut {
    presence: Presence,
    identities: Vec<Identity>,
    now: Timestamp,
    /// When the first of them, who fall silent, are heard for the last time.
    last: Vec<Timestamp>,
    n_silent: usize,
    told: Vec<(PeerId, PresenceState, PresenceCause)>,
}

impl Cut {
    /// `n` neighbours, of whom `n_silent` are heard for the last time within `spread`, from now on.
    fn new(n: usize, n_silent: usize, spread: Duration) -> Self {
        let identities: Vec<Identity> = (0..=n).map(|n| Identity::from_seed([n as u8 + 1; 32])).collect();
        let now = Timestamp::from_micros(1_000_000);
        let presence = Presence::new(identities[0].peer_id(), Incarnation(10));
        let last = (0..n_silent).map(|n| now + spread * n as u32 / (n_silent as u32 - 1)).collect();
        let mut cut = Self { presence, identities, now, last, n_silent, told: Vec::new() };
        for n in 1..cut.identities.len() {
            let peer = cut.id(n);
            cut.presence.greeted(now, peer, Incarnation(5), &cut.identities[0]);
        }
        cut.presence.take_facts();
        cut.pass(spread.as_millis() as u64);
        cut
    }

    fn id(&self, n: usize) -> PeerId {
        self.identities[n].peer_id()
    }

    fn pass(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while self.now < end {
            self.now = (self.now + Duration::from_millis(100)).min(end);
            self.presence.on_time(self.now);
            for n in 1..self.identities.len() {
                if self.last.get(n - 1).is_none_or(|last| *last >= self.now) {
                    self.presence.heard(self.now, self.identities[n].peer_id());
                }
            }
            let all: BTreeSet<PeerId> = self.identities.iter().map(Identity::peer_id).collect();
            let others = |peer: &PeerId| all.iter().filter(|other| *other != peer).copied().collect();
            self.presence.on_deadline(self.now, &self.identities[0], others);
            for fact in self.presence.take_facts() {
                match fact {
                    Fact::Changed { peer, state, cause } => self.told.push((peer, state, cause)),
                    Fact::Unlink(peer) => {
                        self.presence.unlinked(self.now, peer, LinkEnd::Closed, BTreeSet::new());
                    }
                    _ => {}
                }
            }
        }
    }

    /// All who are heard vote against all who are not.
    fn vote(&mut self) {
        for observer in self.n_silent + 1..self.identities.len() {
            for target in 1..=self.n_silent {
                let alert = Alert::new(self.id(target), Incarnation(5), 3, &self.identities[observer]);
                self.presence.alert(self.now, Way::Neighbour(FROM), alert, &self.identities[0]);
            }
        }
    }

    fn states(&self) -> BTreeSet<PresenceState> {
        (1..=self.n_silent).filter_map(|n| self.presence.state(&self.id(n))).collect()
    }

    fn is_partition(&self) -> bool {
        self.told.iter().any(|(_, _, cause)| *cause == PresenceCause::Partition)
    }
}

/// Goal: a quarter of the neighbours, at least three and at most five, that fall silent together are a partition,
/// and one less are that many deaths. Method: by the number of neighbours, of the silent, and how far apart they
/// were heard last; everybody else votes against them.
#[test]
fn many_deaths_at_once_are_a_partition() {
    for (n, n_silent, spread_ms, is_partition) in [
        (11, 6, 1000, true),
        (11, 3, 1000, true),
        (11, 2, 1000, false),
        (16, 4, 1000, true),
        (16, 3, 1000, false),
        (30, 5, 1000, true),
        (30, 4, 1000, false),
        (3, 3, 1000, true),
        (2, 2, 1000, false),
        // The first and the last just not together: no three are.
        (11, 3, 2400, true),
        (11, 3, 5200, false),
    ] {
        let mut cut = Cut::new(n, n_silent, Duration::from_millis(spread_ms));
        cut.pass(2000);
        for _ in 0..40 {
            cut.vote();
            cut.pass(100);
        }
        let told = (n, n_silent, spread_ms);
        assert_eq!(cut.is_partition(), is_partition, "{told:?}");
        let expected = if is_partition { Suspect } else { Dead };
        assert_eq!(cut.states(), BTreeSet::from([expected]), "{told:?}");
    }
}

/// Goal: who was lost in a partition is not gone before PARTITION_HOLD, whoever votes; and is then.
#[test]
fn a_partition_is_waited_out() {
    let mut cut = Cut::new(11, 6, Duration::from_millis(900));
    cut.pass(5000);
    cut.vote();
    cut.pass(88_000);
    assert_eq!(cut.states(), BTreeSet::from([Suspect]));
    cut.pass(3000);
    assert_eq!(cut.states(), BTreeSet::from([Dead]));
    assert!(cut.told.contains(&(cut.id(1), Dead, PresenceCause::TimedOut)));
}

/// Goal: nobody flaps. Method: all come back, one after the other, and none was gone; one has died meanwhile, which
/// its host says, and is gone by the votes that are there.
#[test]
fn who_comes_back_from_a_partition_was_never_gone() {
    let mut cut = Cut::new(11, 6, Duration::from_millis(900));
    cut.pass(5000);
    cut.vote();
    cut.pass(15_000);
    for n in 2..=6 {
        let peer = cut.id(n);
        cut.presence.greeted(cut.now, peer, Incarnation(5), &cut.identities[0]);
        cut.pass(1000);
    }
    assert!(cut.told.iter().all(|(_, state, _)| *state != Dead));
    assert_eq!(cut.presence.state(&cut.id(1)), Some(Suspect));
    let dead = cut.id(1);
    cut.presence.refused(cut.now, dead);
    cut.pass(100);
    assert_eq!(cut.told.last(), Some(&(dead, Dead, PresenceCause::Voted)));
}

/// Goal: broken connections are deaths, however many. Method: six of eleven processes are killed at once.
#[test]
fn many_broken_connections_are_as_many_deaths() {
    let mut cut = Cut::new(11, 6, Duration::from_millis(900));
    for n in 1..=6 {
        let (peer, others) = (cut.id(n), (7..=11).map(|n| cut.id(n)).collect());
        cut.presence.unlinked(cut.now, peer, LinkEnd::Reset, others);
    }
    cut.pass(1600);
    cut.vote();
    cut.pass(100);
    assert_eq!(cut.states(), BTreeSet::from([Dead]));
    assert!(!cut.is_partition());
}
