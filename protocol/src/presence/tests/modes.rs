//! What is so in a mesh and in a partial overlay alike: whoever is cut off from most takes the few for a mesh.

use super::*;

/// Goal: a new neighbour may be the first from the other side of a cut, and is told whom this node suspects; in a mesh
/// too, for whoever is cut off from most takes the few for a mesh.
#[test]
fn a_new_neighbour_is_told_of_suspicions() {
    for is_partial in [false, true] {
        let mut bench = Bench::new(3);
        bench.presence.set_partial(is_partial);
        bench.pass(5000);
        assert_eq!((bench.state(), bench.n_votes()), (Suspect, 1));
        let newcomer = bench.id(7);
        bench.presence.greeted(bench.now, newcomer, Incarnation(5), &bench.identities[0]);
        bench.settle();
        assert_eq!(bench.n_votes(), 1, "partial: {is_partial}");
    }
}

/// Goal: votes against this node are answered whoever says so and however few it is linked to, as it may have been cut
/// off from them; of those who never were near, in measure, and they say nothing of its health.
#[test]
fn strangers_are_answered_in_measure() {
    for is_partial in [false, true] {
        let mut bench = Bench::new(1);
        bench.presence.set_partial(is_partial);
        let me = bench.id(0);
        let mut n_answers = 0;
        for n in 0..290 {
            let incarnation = bench.presence.incarnation();
            let stranger = &bench.identities[6 + n % 2];
            let alert = Alert::new(me, incarnation, 3, stranger);
            bench.presence.alert(bench.now, Way::Neighbour(FROM), alert, &bench.identities[0]);
            bench.pass(100);
            n_answers += u32::from(bench.presence.incarnation() > incarnation);
        }
        assert_eq!(n_answers, 3, "partial: {is_partial}");
        assert_eq!(bench.presence.health(), 0);
        // A member of a group is no stranger.
        let incarnation = bench.presence.incarnation();
        let alert = Alert::new(me, incarnation, 3, &bench.identities[6]);
        bench.pass(1000);
        bench.presence.alert(bench.now, Way::Group, alert, &bench.identities[0]);
        assert_eq!(bench.presence.incarnation(), Incarnation(incarnation.0 + 1));
    }
}

/// Goal: whoever votes as if a vote had never been answered is told the answer, by who knows it, and is not taken at
/// its word. It was cut off when the answer came, and its target is no neighbour of it any more (seed 114 of
/// `explore`).
#[test]
fn who_votes_against_an_old_run_is_told_of_the_new_one() {
    let mut bench = Bench::new(1);
    bench.presence.set_partial(true);
    let told = |bench: &mut Bench| {
        let frames = std::mem::take(&mut bench.frames).into_iter();
        let alive = frames.filter_map(|frame| match frame {
            Frame::Alive(alive) => Some((alive.peer, alive.incarnation)),
            _ => None,
        });
        alive.collect::<Vec<_>>()
    };
    bench.presence.parted(&bench.id(TARGET));
    bench.vote(4, 5);
    assert_eq!((bench.n_spread, told(&mut bench)), (1, vec![]), "a vote travels");
    let answer = Alive::new(Incarnation(6), &bench.identities[TARGET]);
    bench.presence.alive(bench.now, FROM, answer);
    bench.settle();
    assert_eq!((bench.n_spread, told(&mut bench)), (2, vec![]), "and so does the answer");
    bench.vote(5, 5);
    assert_eq!((bench.n_spread, told(&mut bench)), (2, vec![(bench.id(TARGET), Incarnation(6))]));
    assert_eq!(bench.told, [FROM], "who says so, and nobody else");
    bench.vote(5, 6);
    assert_eq!((bench.n_spread, told(&mut bench)), (3, vec![]), "another is news");
    bench.vote(6, 5);
    assert_eq!(told(&mut bench), [(bench.id(TARGET), Incarnation(6))], "which does not undo the answer");

    let me = bench.id(0);
    for (voted, answered) in [(9, 10), (10, 11), (10, 11), (11, 12)] {
        let alert = Alert::new(me, Incarnation(voted), 3, &bench.identities[4]);
        bench.presence.alert(bench.now, Way::Neighbour(FROM), alert, &bench.identities[0]);
        bench.pass(30_000);
        assert_eq!(told(&mut bench), [(me, Incarnation(answered))]);
    }
    assert_eq!(bench.presence.incarnation(), Incarnation(12), "an old vote is no reason for a new run");
}
