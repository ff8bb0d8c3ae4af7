//! What is said again so that a suspect can answer.

use super::*;

/// Goal: who finds itself alone with a suspicion says its vote once more before the time is over, and whoever answers
/// that is not gone. Method: silence with three other observers, who say nothing; an answer after the second vote; silence
/// again.
#[test]
fn a_lone_observer_asks_once_more() {
    let millis = |time: Duration| time.as_millis() as u64;
    for is_partial in [false, true] {
        let mut bench = Bench::new(3);
        bench.presence.set_partial(is_partial);
        for incarnation in [5, 6] {
            bench.pass(millis(limits::SUSPECT_AFTER));
            assert_eq!((bench.state(), bench.n_votes()), (Suspect, 1));
            bench.pass(millis(limits::SUSPICION_MAX - limits::LAST_CALL) - 100);
            assert_eq!(bench.n_votes(), 0, "not yet");
            bench.pass(100);
            assert_eq!((bench.state(), bench.n_votes()), (Suspect, 1));
            bench.pass(millis(limits::LAST_CALL) - 100);
            assert_eq!((bench.state(), bench.n_votes()), (Suspect, 0));
            if incarnation == 5 {
                let answer = Alive::new(Incarnation(6), &bench.identities[TARGET]);
                bench.presence.alive(bench.now, FROM, answer);
                // It is linked again, so that it is watched.
                let target = bench.id(TARGET);
                bench.presence.greeted(bench.now, target, Incarnation(6), &bench.identities[0]);
                bench.settle();
                assert_eq!(bench.state(), Live);
                bench.frames.clear();
            }
        }
        bench.pass(100);
        assert_eq!(bench.seen.last(), Some(&(Dead, PresenceCause::TimedOut)), "partial: {is_partial}");
    }
}

/// Goal: a second vote that comes when the time of two is over leaves the suspect the time for an answer all the same; a
/// third one does not wait for it.
#[test]
fn a_late_vote_leaves_time_for_an_answer() {
    for (voters, millis, state) in
        [(&[2][..], 4900, Suspect), (&[2], 5000, Dead), (&[2, 3], 1, Dead), (&[], 4900, Suspect)]
    {
        let mut bench = Bench::new(5);
        bench.pass(24_000);
        assert_eq!((bench.state(), bench.n_votes()), (Suspect, 1));
        for voter in voters {
            bench.vote(*voter, 5);
        }
        bench.pass(millis);
        assert_eq!(bench.state(), state, "{voters:?}, {millis} ms");
        assert_eq!(bench.n_votes(), usize::from(!voters.is_empty()));
    }
}
