//! Members that say what is not so.

use super::*;

/// Goal: votes ahead of what a member has said keep nobody on the list who is dead, and do not travel for ever. Method: two
/// liars take turns, each against a later run than the other, while three honest members vote.
#[test]
fn votes_against_later_runs_do_not_keep_the_dead() {
    let mut bench = Bench::new(0);
    bench.join(1..10);
    let mut n_news = 0;
    for turn in 0..100 {
        let vote = vote(7 + turn % 2, 9, 6 + turn as u64, 200);
        n_news += usize::from(bench.take(&vote) == Ok(Worth::News));
        if (10..13).contains(&turn) {
            bench.take(&super::vote(turn - 9, 9, 5, 3)).expect("signed");
        }
        bench.pass(Duration::from_millis(50));
    }
    assert!(!bench.has(9));
    assert_eq!(n_news, 2, "each liar is heard once");
}

/// Goal: whoever votes in vain is not heard again for a while, whoever else votes meanwhile, so that liars who take turns
/// make a member speak up as often as there are liars.
#[test]
fn liars_that_take_turns_are_heard_once_each() {
    let mut bench = Bench::new(0);
    bench.join(1..10);
    let (mut run, mut n_heard) = (5, 0);
    for turn in 0..20 {
        if bench.take(&vote(1 + turn % 4, 9, run, 1)) == Ok(Worth::News) {
            n_heard += 1;
            run += 1;
            assert_eq!(bench.take(&said(9, run, 1, Stay::Here)), Ok(Worth::News));
        }
        bench.pass(Duration::from_secs(1));
        assert!(bench.has(9));
    }
    assert_eq!(n_heard, 4);
}

/// Goal: answers are passed on however many votes there are: a living member is not gone because it spoke up too often.
#[test]
fn answers_are_passed_on_without_measure() {
    let mut bench = Bench::new(0);
    bench.join(1..40);
    for n in 1..30 {
        assert_eq!(bench.take(&vote(n, 39, 4 + n as u64, 1)), Ok(Worth::News));
        assert_eq!(bench.take(&said(39, 5 + n as u64, 1, Stay::Here)), Ok(Worth::News), "{n}");
    }
    let idle = said(39, 80, 1, Stay::Here);
    assert_eq!(bench.take(&idle), Ok(Worth::Noted), "nobody asked");
}

/// Goal: one member's votes against all others do not all travel.
#[test]
fn votes_of_one_are_passed_on_in_measure() {
    let mut bench = Bench::new(0);
    bench.join(1..200);
    let is_heard = |bench: &mut Bench, target| bench.take(&vote(1, target, 5, 3)) == Ok(Worth::News);
    let n_heard = (2..200).filter(|target| is_heard(&mut bench, *target)).count();
    assert_eq!(n_heard, limits::RUMOURS_OF_ONE as usize);
    bench.pass(limits::RUMOURS_WINDOW);
    assert!(is_heard(&mut bench, 199));
}

/// Goal: farewells of those who never were there are passed on by nobody, and nobody who was there is forgotten for them.
#[test]
fn invented_farewells_go_nowhere() {
    let mut bench = Bench::new(0);
    bench.join(1..10);
    assert_eq!(bench.take(&said(9, 5, 2, Stay::Left)), Ok(Worth::News));
    for n in 0..limits::GONE_MAX + 9 {
        let worth = bench.take(&said(5000 + n, 5, 2, Stay::Left));
        assert!(matches!(worth, Ok(Worth::Noted | Worth::Old)), "{worth:?}");
    }
    assert_eq!(bench.take(&said(9, 5, 1, Stay::Here)), Ok(Worth::Outdated), "that it left is remembered");
    assert_eq!(bench.take(&said(5000, 5, 1, Stay::Here)), Ok(Worth::Outdated), "as is one that came late");
}
