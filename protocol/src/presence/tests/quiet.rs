//! Links that beat slowly, as only a group needs them.

use super::*;

/// What the target said of its next beat.
const SECS: u8 = limits::BEAT_QUIET.as_secs() as u8;

/// Goal: who said that it will be silent for eight seconds is given six more than others, and no more whatever it says.
#[test]
fn an_announced_silence_is_waited_for() {
    for secs in [SECS, u8::MAX] {
        let mut bench = Bench::new(2);
        let target = bench.id(TARGET);
        bench.presence.expect_by(&target, secs);
        bench.pass(8_400);
        assert_eq!(bench.state(), Live, "{secs}");
        bench.pass(200);
        assert_eq!(bench.state(), Evasive);
        bench.pass(1_500);
        assert_eq!(bench.state(), Suspect);
    }
}

/// Goal: a pause that it says anew counts from then on; a new link begins as others do.
#[test]
fn the_pause_said_last_counts() {
    for is_new_link in [false, true] {
        let mut bench = Bench::new(2);
        let target = bench.id(TARGET);
        bench.presence.expect_by(&target, SECS);
        if is_new_link {
            bench.presence.greeted(bench.now, target, Incarnation(5), &bench.identities[0]);
        } else {
            bench.presence.expect_by(&target, 2);
        }
        bench.pass(2_600);
        assert_eq!(bench.state(), Evasive);
    }
}

/// Goal: when somebody else misses it, it is asked at once, and suspect 1.5 s later; not if it answers.
#[test]
fn another_who_misses_it_has_it_asked_at_once() {
    for answers in [false, true] {
        let mut bench = Bench::new(2);
        let target = bench.id(TARGET);
        bench.presence.expect_by(&target, SECS);
        bench.pass(5_000);
        bench.vote(2, 5);
        assert_eq!(bench.state(), Evasive);
        if answers {
            bench.presence.heard(bench.now, target);
        }
        bench.pass(1_600);
        assert_eq!(bench.state(), if answers { Live } else { Suspect });
    }
}

/// Goal: in a cut a quiet neighbour falls silent with the others, though it was last heard long before them.
#[test]
fn in_a_cut_a_quiet_link_is_cut_with_the_others() {
    let mut bench = Bench::new(3);
    let target = bench.id(TARGET);
    bench.presence.expect_by(&target, SECS);
    bench.pass(6_000);
    bench.observers.clear();
    bench.pass(5_000);
    assert_eq!(bench.seen.last(), Some(&(Suspect, PresenceCause::Partition)));
}
