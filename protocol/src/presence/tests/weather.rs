//! Where many packets are lost, silence means less.

use super::*;

/// These neighbours, one after the other, are silent for long enough to be asked, and are heard again.
fn stall(bench: &mut Bench, neighbours: &[usize], apart: u64) {
    let all = bench.observers.clone();
    for n in neighbours {
        let silent = bench.id(*n);
        bench.observers.remove(&silent);
        // The target itself speaks.
        for _ in 0..27 {
            bench.presence.heard(bench.now, bench.id(TARGET));
            bench.pass(100);
        }
        bench.observers.clone_from(&all);
        bench.pass(apart);
    }
    bench.presence.heard(bench.now, bench.id(TARGET));
    bench.settle();
}

/// Goal: after the silences of several neighbours came to an end a neighbour that is silent is dialled anew as early as
/// ever, and voted against later; a minute later all is as it was.
#[test]
fn silence_means_less_where_many_were_silent() {
    let millis = |time: Duration| time.as_millis() as u64;
    let (given_up, suspected) = (millis(limits::SUSPECT_AFTER), millis(limits::SUSPECT_AFTER_BAD));
    let mut bench = Bench::new(6);
    stall(&mut bench, &[2, 3, 4, 5], 1000);
    bench.pass(given_up - 100);
    assert!(!bench.unlinked);
    bench.pass(200);
    assert_eq!((bench.unlinked, bench.state(), bench.n_votes()), (true, Evasive, 0));
    // Another link may stand before this one is closed: it is not given up as well.
    bench.unlinked = false;
    bench.pass(500);
    assert!(!bench.unlinked);
    bench.unlink(LinkEnd::Silent).pass(suspected - given_up - 800);
    assert_eq!((bench.state(), bench.n_votes()), (Evasive, 0));
    bench.pass(300);
    assert_eq!((bench.state(), bench.n_votes()), (Suspect, 1));

    // The votes of two others are enough, but its answer takes longer as well.
    bench.vote(2, 5).vote(3, 5).pass(millis(limits::SETTLE_AFTER_BAD) - 400);
    assert_eq!(bench.state(), Suspect);
    bench.pass(500);
    assert_eq!(bench.state(), Dead);

    let mut bench = Bench::new(6);
    stall(&mut bench, &[2, 3, 4, 5], 1000);
    for _ in 0..millis(limits::STALLS_WINDOW) / 100 {
        bench.presence.heard(bench.now, bench.id(TARGET));
        bench.pass(100);
    }
    bench.pass(given_up + 100);
    assert_eq!((bench.state(), bench.n_votes()), (Suspect, 1));
}

/// Goal: what befalls others tells of the weather too, if it befalls many: in a large group more.
#[test]
fn silence_means_less_where_many_are_voted_against_in_vain() {
    for (n_members, n_vain, is_bad) in [(300, 7, false), (300, 8, true), (1280, 19, false), (1280, 20, true)]
    {
        let mut bench = Bench::new(6);
        for _ in 0..n_vain {
            bench.presence.voted_in_vain(bench.now, n_members);
        }
        assert_eq!(bench.presence.is_weather_bad(bench.now), is_bad, "{n_vain} of {n_members}");
        assert!(!bench.presence.is_weather_bad(bench.now + limits::STALLS_WINDOW));
    }
    let mut bench = Bench::new(6);
    for n in 0..20 {
        let at = bench.now + limits::STALLS_WINDOW / 6 * n;
        bench.presence.voted_in_vain(at, 300);
        assert!(!bench.presence.is_weather_bad(at), "one now and then");
    }
}

/// Goal: one neighbour that stalls again and again makes no weather, nor do many at one moment: that was a cut.
#[test]
fn one_that_stalls_and_many_at_once_change_nothing() {
    let mut bench = Bench::new(6);
    stall(&mut bench, &[2, 2, 2, 2, 2, 3, 4], 1000);
    assert!(!bench.presence.is_weather_bad(bench.now));

    let mut bench = Bench::new(6);
    let all = std::mem::take(&mut bench.observers);
    bench.pass(3000);
    bench.observers = all;
    bench.pass(200);
    assert!(!bench.presence.is_weather_bad(bench.now));
}
