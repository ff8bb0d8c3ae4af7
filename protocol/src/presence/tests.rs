//! Presence as a table of who says what when, and what this node makes of it.

mod last_call;
mod modes;
mod partition;
mod quiet;
mod weather;

use super::*;
use crate::wire::frame::Alive;
use PresenceState::{Alive as Live, Evasive, Gone as Dead, Suspect};

/// This node (0) and others; all linked to each other unless said otherwise.
struct Bench {
    presence: Presence,
    identities: Vec<Identity>,
    now: Timestamp,
    /// Who is said to be linked to the peer under test.
    observers: BTreeSet<PeerId>,
    seen: Vec<(PresenceState, PresenceCause)>,
    frames: Vec<Frame>,
    /// To whom alone something was said.
    told: Vec<PeerId>,
    n_spread: usize,
    unlinked: bool,
}

const TARGET: usize = 1;
/// Some neighbour that passes things on.
const FROM: PeerId = PeerId([0xf0; 32]);

impl Bench {
    /// `n_observers` others are linked to the target as this node is.
    fn new(n_observers: usize) -> Self {
        let identities: Vec<Identity> = (0..8u8).map(|n| Identity::from_seed([n + 1; 32])).collect();
        let mut bench = Self {
            presence: Presence::new(identities[0].peer_id(), Incarnation(10)),
            now: Timestamp::from_micros(1_000_000),
            observers: (2..2 + n_observers).map(|n| identities[n].peer_id()).collect(),
            identities,
            seen: Vec::new(),
            frames: Vec::new(),
            told: Vec::new(),
            n_spread: 0,
            unlinked: false,
        };
        for n in 1..2 + n_observers {
            let peer = bench.id(n);
            bench.presence.greeted(bench.now, peer, Incarnation(5), &bench.identities[0]);
        }
        bench.settle();
        bench.seen.clear();
        bench
    }

    fn id(&self, n: usize) -> PeerId {
        self.identities[n].peer_id()
    }

    fn settle(&mut self) {
        let target = self.id(TARGET);
        for fact in self.presence.take_facts() {
            match fact {
                Fact::Changed { peer, state, cause } if peer == target => self.seen.push((state, cause)),
                Fact::Broadcast(frame) => self.frames.push(frame),
                Fact::Tell(to, frame) => {
                    self.frames.push(frame);
                    self.told.push(to);
                }
                Fact::Spread { .. } => self.n_spread += 1,
                Fact::Unlink(peer) if peer == target => self.unlinked = true,
                _ => {}
            }
        }
    }

    /// Time passes in steps of 100 ms, while the observers are heard.
    fn pass(&mut self, millis: u64) -> &mut Self {
        let end = self.now + Duration::from_millis(millis);
        while self.now < end {
            self.now = (self.now + Duration::from_millis(100)).min(end);
            self.presence.on_time(self.now);
            for observer in self.observers.clone() {
                self.presence.heard(self.now, observer);
            }
            let observers = self.observers.clone();
            self.presence.on_deadline(self.now, &self.identities[0], |_| observers.clone());
            self.settle();
        }
        self
    }

    fn vote(&mut self, observer: usize, incarnation: u64) -> &mut Self {
        let alert = Alert::new(self.id(TARGET), Incarnation(incarnation), 3, &self.identities[observer]);
        self.presence.alert(self.now, Way::Neighbour(FROM), alert, &self.identities[0]);
        self.pass(1)
    }

    fn unlink(&mut self, end: LinkEnd) -> &mut Self {
        let (peer, observers) = (self.id(TARGET), self.observers.clone());
        self.presence.unlinked(self.now, peer, end, observers);
        self.pass(1)
    }

    fn state(&self) -> PresenceState {
        self.presence.state(&self.id(TARGET)).expect("known")
    }

    /// How often this node voted against the target since last asked.
    fn n_votes(&mut self) -> usize {
        let target = self.id(TARGET);
        let frames = std::mem::take(&mut self.frames);
        frames.iter().filter(|frame| matches!(frame, Frame::Alert(alert) if alert.target == target)).count()
    }
}

/// Goal: how long silence takes to mean what, by the number of other observers who agree.
#[test]
fn silence_means_more_the_longer_it_lasts() {
    for (n_observers, passes, state) in [
        (0, 2400, Live),
        (0, 2600, Evasive),
        (0, 3900, Evasive),
        // Nobody else could say: one vote is enough, once there was time to be heard over a new link.
        (0, 4900, Suspect),
        (0, 5100, Dead),
        (3, 4100, Suspect),
        // Alone against others who do not confirm it takes the longest time-out.
        (3, 33_900, Suspect),
        (3, 34_200, Dead),
    ] {
        let mut bench = Bench::new(n_observers);
        bench.pass(passes);
        assert_eq!(bench.state(), state, "{n_observers} observers, {passes} ms");
    }
}

/// Goal: min(3, 1 + other observers) votes make a node gone, and fewer shorten the wait.
#[test]
fn votes_are_counted_against_those_who_could_vote() {
    // Other observers, votes of others, further time, state.
    for (n_observers, votes, passes, state) in [
        (1, 0, 100, Suspect),
        // It might be many who fell silent, or a link that was stuck: that shows within a second.
        (1, 1, 940, Suspect),
        (1, 1, 960, Dead),
        (2, 1, 1, Suspect),
        (2, 2, 940, Suspect),
        (2, 2, 960, Dead),
        (5, 1, 1, Suspect),
        (5, 2, 940, Suspect),
        (5, 2, 960, Dead),
        (5, 1, 17_500, Suspect),
        (5, 1, 18_200, Dead),
    ] {
        let mut bench = Bench::new(n_observers);
        bench.pass(4050);
        for n in 0..votes {
            bench.vote(2 + n, 5);
        }
        bench.pass(passes);
        let told = (n_observers, votes, passes);
        assert_eq!(bench.state(), state, "(observers, votes, ms) = {told:?}");
    }
}

#[test]
fn a_reset_is_stronger_than_silence() {
    let mut bench = Bench::new(0);
    bench.unlink(LinkEnd::Reset);
    assert_eq!(bench.state(), Evasive);
    bench.pass(1400);
    assert_eq!(bench.state(), Evasive);
    bench.pass(200);
    assert_eq!(bench.state(), Dead);
    assert_eq!(bench.seen.last(), Some(&(Dead, PresenceCause::Voted)));
}

#[test]
fn votes_that_do_not_count() {
    let mut bench = Bench::new(2);
    // We hear it ourselves: it is shown the vote instead.
    bench.vote(2, 5);
    assert_eq!(bench.state(), Live);
    assert!(matches!(bench.frames.last(), Some(Frame::Alert(_))));
    bench.pass(4050);
    // An older incarnation, and somebody we do not know.
    bench.vote(2, 4).vote(3, 4).vote(6, 5).vote(7, 5);
    assert_eq!(bench.state(), Suspect);
    // The same one twice is one.
    bench.vote(2, 5).vote(2, 5);
    assert_eq!(bench.state(), Suspect);
    bench.pass(1000);
    assert_eq!(bench.state(), Suspect);
    bench.vote(3, 5);
    assert_eq!(bench.state(), Dead);
}

#[test]
fn whoever_is_heard_again_or_refutes_is_alive() {
    let mut bench = Bench::new(3);
    bench.pass(3000);
    assert_eq!(bench.state(), Evasive);
    let target = bench.id(TARGET);
    bench.presence.heard(bench.now, target);
    bench.settle();
    assert_eq!(bench.seen.last(), Some(&(Live, PresenceCause::Heard)));
    bench.pass(4050);
    assert!(bench.unlinked, "a silent link is closed");
    bench.unlink(LinkEnd::Closed);
    let refutation =
        |bench: &Bench, incarnation| Alive::new(Incarnation(incarnation), &bench.identities[TARGET]);
    let old = refutation(&bench, 5);
    bench.presence.alive(bench.now, FROM, old);
    bench.settle();
    assert_eq!(bench.state(), Suspect);
    let new = refutation(&bench, 6);
    bench.frames.clear();
    bench.presence.alive(bench.now, FROM, new.clone());
    bench.presence.alive(bench.now, FROM, new);
    bench.settle();
    assert_eq!(bench.state(), Live);
    let passed_on = bench.frames.iter().filter(|frame| matches!(frame, Frame::Alive(_)));
    assert_eq!(passed_on.count(), 1, "passed on once");
    // No link of ours, but of others: its silence here says nothing. Then they lose it too.
    bench.pass(30_000);
    assert_eq!(bench.state(), Live);
    let others = std::mem::take(&mut bench.observers);
    bench.pass(7000);
    assert_eq!(bench.state(), Dead, "nobody vouches for it");
    drop(others);
}

#[test]
fn a_goodbye_is_final_until_it_is_met_again() {
    let mut bench = Bench::new(2);
    let target = bench.id(TARGET);
    bench.presence.goodbye(bench.now, target);
    bench.settle();
    bench.presence.heard(bench.now, target);
    bench.settle();
    assert_eq!(bench.seen, [(Dead, PresenceCause::Goodbye)], "what was under way is no sign of life");
    bench.unlink(LinkEnd::Reset).pass(5000);
    assert_eq!(bench.seen.len(), 1);
    bench.frames.clear();
    bench.presence.greeted(bench.now, target, Incarnation(5), &bench.identities[0]);
    bench.settle();
    assert_eq!(bench.state(), Live);
    assert!(bench.frames.is_empty(), "it has nothing to refute");
}

/// Goal: who was voted gone and comes back in the same incarnation is told, so that it raises its own.
#[test]
fn the_dead_are_told_when_they_return() {
    for (incarnation, is_told) in [(4, true), (5, true), (6, false)] {
        let mut bench = Bench::new(0);
        bench.pass(5000);
        assert_eq!(bench.state(), Dead);
        bench.frames.clear();
        let target = bench.id(TARGET);
        bench.presence.greeted(bench.now, target, Incarnation(incarnation), &bench.identities[0]);
        bench.settle();
        assert_eq!(bench.state(), Live);
        let told = bench.frames.iter().any(|frame| matches!(frame, Frame::Alert(_)));
        assert_eq!(told, is_told, "in incarnation {incarnation}");
    }
}

/// Goal: this node refutes votes against itself, once in a while, up to the highest incarnation there is.
#[test]
fn votes_against_this_node_are_refuted() {
    let mut bench = Bench::new(1);
    let me = bench.id(0);
    let against =
        |bench: &Bench, incarnation| Alert::new(me, Incarnation(incarnation), 3, &bench.identities[2]);
    for (wait, incarnation, now_is) in [
        (0, 9, 10),
        (0, 10, 11),
        (100, 11, 11),
        (1000, 11, 12),
        (1000, 50, 51),
        (1000, 51 + limits::INCARNATION_JUMP_MAX + 1, 51),
        (1000, 51 + limits::INCARNATION_JUMP_MAX, 52 + limits::INCARNATION_JUMP_MAX),
    ] {
        bench.pass(wait);
        let alert = against(&bench, incarnation);
        bench.presence.alert(bench.now, Way::Neighbour(FROM), alert, &bench.identities[0]);
        bench.settle();
        assert_eq!(bench.presence.incarnation(), Incarnation(now_is), "vote against {incarnation}");
    }
    bench.presence.incarnation = Incarnation(limits::INCARNATION_MAX);
    bench.pass(1000);
    let alert = against(&bench, limits::INCARNATION_MAX);
    bench.presence.alert(bench.now, Way::Neighbour(FROM), alert, &bench.identities[0]);
    assert_eq!(bench.presence.incarnation(), Incarnation(limits::INCARNATION_MAX));
}

/// Goal: one identity cannot make this node doubt itself.
#[test]
fn one_accuser_is_not_enough() {
    let mut bench = Bench::new(2);
    let me = bench.id(0);
    let accuse = |bench: &mut Bench, observer: usize, incarnation| {
        let alert = Alert::new(me, incarnation, 3, &bench.identities[observer]);
        bench.presence.alert(bench.now, Way::Neighbour(FROM), alert, &bench.identities[0]);
        bench.settle();
    };
    for n in 0..10 {
        let incarnation = bench.presence.incarnation();
        accuse(&mut bench, 2, incarnation);
        accuse(&mut bench, 2, incarnation);
        assert_eq!(bench.presence.incarnation(), Incarnation(incarnation.0 + 1));
        assert_eq!(bench.presence.health(), 0, "after {n} votes of one");
        bench.pass(1000);
    }
    let incarnation = bench.presence.incarnation();
    for observer in [2, 3, 2, 3] {
        accuse(&mut bench, observer, incarnation);
    }
    assert_eq!(bench.presence.health(), 1, "two agree, once");
}

/// Goal: a node that stands still blames itself. Method: 20 s without an input, then a frame of one of two peers.
#[test]
fn standing_still_is_ones_own_fault() {
    let mut bench = Bench::new(1);
    bench.now = bench.now + Duration::from_secs(20);
    bench.presence.on_time(bench.now);
    let (target, observers) = (bench.id(TARGET), bench.observers.clone());
    bench.presence.heard(bench.now, target);
    bench.presence.on_deadline(bench.now, &bench.identities[0], |_| observers.clone());
    bench.settle();
    assert_eq!(bench.seen, []);
    assert_eq!(bench.presence.health(), 1);
    // Its own time-outs are twice as long now, and count from now: not from the future.
    bench.pass(4900);
    assert_eq!(bench.state(), Live);
    bench.pass(300);
    assert_eq!(bench.state(), Evasive);
}

#[test]
fn a_starved_node_does_not_vote() {
    let mut bench = Bench::new(3);
    bench.frames.clear();
    for _ in 0..4 * (1 + limits::HEALTH_NO_VOTE) + 1 {
        bench.presence.health.score = limits::HEALTH_NO_VOTE;
        bench.pass(1000);
    }
    assert_eq!(bench.state(), Suspect);
    assert!(bench.frames.is_empty(), "{:?}", bench.frames);
}

#[test]
fn health_comes_back_by_one_every_ten_seconds() {
    let mut health = Health::default();
    let at = Timestamp::from_micros;
    for _ in 0..20 {
        health.observe(at(0), limits::LATE_TIMER);
    }
    assert_eq!(health.score, limits::HEALTH_MAX);
    health.observe(at(9_999_999), Duration::ZERO);
    assert_eq!(health.score, limits::HEALTH_MAX);
    health.observe(at(10_000_000), Duration::ZERO);
    assert_eq!(health.score, limits::HEALTH_MAX - 1);
}

#[test]
fn the_longest_gone_are_forgotten_first() {
    let mut bench = Bench::new(0);
    let target = bench.id(TARGET);
    bench.presence.goodbye(bench.now, target);
    for n in 0..limits::GONE_MAX as u64 {
        let mut id = [0xee; 32];
        id[..8].copy_from_slice(&n.to_le_bytes());
        bench.now = bench.now + Duration::from_millis(1);
        bench.presence.greeted(bench.now, PeerId(id), Incarnation(1), &bench.identities[0]);
        bench.presence.goodbye(bench.now, PeerId(id));
    }
    assert_eq!(bench.presence.peers.len(), limits::GONE_MAX);
    assert_eq!(bench.presence.state(&target), None);
}

/// Goal: identities that come and vanish without ever being gone do not fill the memory. Method: more than fit are
/// met and lose their link at once; somebody else stays linked.
#[test]
fn the_memory_of_peers_is_bounded_whatever_their_state() {
    let mut bench = Bench::new(0);
    let target = bench.id(TARGET);
    for n in 0..2 * limits::GONE_MAX as u64 {
        let mut id = [0xee; 32];
        id[..8].copy_from_slice(&n.to_le_bytes());
        bench.now = bench.now + Duration::from_micros(1);
        bench.presence.greeted(bench.now, PeerId(id), Incarnation(1), &bench.identities[0]);
        bench.presence.unlinked(bench.now, PeerId(id), LinkEnd::Closed, BTreeSet::new());
        assert!(bench.presence.peers.len() <= limits::GONE_MAX);
    }
    assert_eq!(bench.state(), Live);
    let facts = bench.presence.take_facts();
    let n_told = |wanted: PresenceState| {
        let told =
            facts.iter().filter(|fact| matches!(fact, Fact::Changed { state, .. } if *state == wanted));
        told.count()
    };
    let alive = 1 + n_told(Live) - n_told(Dead);
    assert_eq!(alive, bench.presence.peers.len(), "the application was told of each that was forgotten");
    bench.presence.greeted(bench.now, target, Incarnation(5), &bench.identities[0]);
    assert_eq!(bench.presence.peers.len(), limits::GONE_MAX, "who is known needs no room");
}

/// Goal: a starved node does not hold on to a death that others have found out. Method: its health is as bad as that
/// of one that does not vote; a connection breaks, and three others vote before it has noticed.
#[test]
fn a_starved_node_believes_three_others() {
    for (votes, passes, state) in [(3, 1600, Dead), (2, 1600, Evasive), (2, 7600, Suspect)] {
        let mut bench = Bench::new(5);
        bench.presence.health.score = limits::HEALTH_NO_VOTE;
        for observer in 2..2 + votes {
            bench.vote(observer, 5);
        }
        bench.unlink(LinkEnd::Reset).pass(passes);
        assert_eq!(bench.state(), state, "{votes} votes, {passes} ms");
    }
}

/// Goal: in a partial overlay a node is gone by three votes, of whomever and whoever passes them on, and not by one
/// alone; and nobody's votes say anything of a node that is heard. Method: votes of others, with and without a broken
/// link.
#[test]
fn observers_need_not_be_neighbours() {
    for (is_broken, voters, state) in [
        (true, &[][..], Suspect),
        (true, &[2], Suspect),
        (true, &[2, 2], Suspect),
        (true, &[2, 7], Dead),
        (false, &[2, 5, 6, 7], Live),
    ] {
        let mut bench = Bench::new(0);
        bench.presence.set_partial(true);
        if is_broken {
            bench.unlink(LinkEnd::Reset).pass(1600);
            assert_eq!(bench.state(), Suspect);
        }
        for observer in voters {
            bench.vote(*observer, 5);
        }
        assert_eq!(bench.state(), state, "votes of {voters:?}");
        let n_passed_on = bench.n_spread;
        assert_eq!(n_passed_on, BTreeSet::from_iter(voters).len().min(limits::VOTES), "{voters:?}");
    }
}

/// Goal: a vote that comes too soon after an answer is answered later, so that its observer is not left in the dark.
#[test]
fn an_answer_that_had_to_wait_is_given() {
    let mut bench = Bench::new(1);
    bench.presence.set_partial(true);
    let me = bench.id(0);
    for (incarnation, passes, now_is) in [(10, 0, 11), (11, 9800, 11), (11, 400, 12)] {
        let alert = Alert::new(me, Incarnation(incarnation), 3, &bench.identities[7]);
        bench.presence.alert(bench.now, Way::Neighbour(FROM), alert, &bench.identities[0]);
        bench.pass(passes);
        assert_eq!(bench.presence.incarnation(), Incarnation(now_is), "{incarnation}, {passes} ms");
    }
}

/// Goal: who hears a node it voted against lets it know, for others have heard the vote, and only its target can take it
/// back; votes through the group are not passed on once more.
#[test]
fn a_vote_that_was_wrong_is_shown_to_its_target() {
    for is_partial in [false, true] {
        let mut bench = Bench::new(4);
        bench.presence.set_partial(is_partial);
        bench.pass(4100);
        assert_eq!(bench.state(), Suspect);
        bench.frames.clear();
        let target = bench.id(TARGET);
        bench.presence.heard(bench.now, target);
        bench.settle();
        assert_eq!(bench.state(), Live);
        let told = bench.frames.iter().filter(|frame| matches!(frame, Frame::Alert(_))).count();
        assert_eq!(told, 1, "partial: {is_partial}");
        let alert = Alert::new(target, Incarnation(5), 3, &bench.identities[2]);
        bench.presence.alert(bench.now, Way::Group, alert, &bench.identities[0]);
        bench.settle();
        assert_eq!(bench.n_spread, 0);
    }
}

/// Goal: a node that says it has two neighbours is gone by two votes in a partial overlay too; one that says nothing
/// may have many, and takes three.
#[test]
fn votes_needed_are_those_of_all_who_watch() {
    for (watched_by, state) in [(Some(2), Dead), (Some(3), Suspect), (None, Suspect)] {
        let mut bench = Bench::new(0);
        bench.presence.set_partial(true);
        if let Some(n) = watched_by {
            let target = bench.id(TARGET);
            bench.presence.watched_by(&target, n);
        }
        bench.unlink(LinkEnd::Reset).pass(1600);
        bench.vote(2, 5);
        assert_eq!(bench.state(), state, "{watched_by:?}");
    }
}

/// Goal: after a cut a group repeats the votes of the time of the cut; a neighbour that is back and whose first link
/// breaks is not gone for them. Method: three votes by way of the group, then a reset; then the same votes from the
/// neighbours themselves.
#[test]
fn what_a_group_repeats_of_a_neighbour_counts_nothing_in_a_mesh() {
    for (is_repeated, state) in [(true, Suspect), (false, Dead)] {
        let mut bench = Bench::new(4);
        for observer in 2..5 {
            let alert = Alert::new(bench.id(TARGET), Incarnation(5), 5, &bench.identities[observer]);
            let way = if is_repeated { Way::Group } else { Way::Neighbour(bench.id(observer)) };
            bench.presence.alert(bench.now, way, alert, &bench.identities[0]);
        }
        bench.unlink(LinkEnd::Reset).pass(2_000);
        assert_eq!(bench.state(), state);
    }
}
