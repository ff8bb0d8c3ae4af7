//! Who is asked for what, when, and whom nobody relies on.

use super::*;
use crate::id::{Lane, PeerId};

const LOG: LogId = LogId { author: PeerId([1; 32]), lane: Lane::Durable };
const A: LinkId = LinkId(1);
const B: LinkId = LinkId(2);

fn ask(repair: &mut Repair, now: u64, gaps: &[(Seq, Seq)]) -> Vec<(LinkId, Seq, Seq)> {
    let asks = repair.poll(Timestamp::from_micros(now), |_, end| {
        gaps.iter().filter(|(from, _)| *from < end).map(|(from, to)| (*from, (*to).min(end - 1))).collect()
    });
    asks.iter().map(|ask| (ask.link, ask.range.from, ask.range.to)).collect()
}

#[test]
fn a_claim_is_asked_for_when_it_is_due_and_once() {
    let mut repair = Repair::default();
    repair.claim(A, LOG, 0, 10, (Timestamp::from_micros(100), STAR));
    assert_eq!(ask(&mut repair, 50, &[(3, 20)]), []);
    assert_eq!(repair.next_deadline(), Some(Timestamp::from_micros(100)));
    assert_eq!(ask(&mut repair, 100, &[(3, 20)]), [(A, 3, 9)]);
    repair.claim(A, LOG, 0, 10, (Timestamp::from_micros(100), STAR));
    assert_eq!(ask(&mut repair, 101, &[(3, 20)]), []);
}

#[test]
fn the_next_holder_is_asked_when_one_is_silent_or_has_nothing() {
    let mut repair = Repair::default();
    let soon = Timestamp::ZERO;
    repair.claim(A, LOG, 0, 5, (soon, STAR));
    repair.claim(B, LOG, 0, 5, (soon, STAR));
    assert_eq!(ask(&mut repair, 0, &[(0, 4)]), [(A, 0, 4)]);
    let late = (soon + limits::WANT_PATIENCE + Duration::from_millis(1)).as_micros();
    assert_eq!(ask(&mut repair, late, &[(0, 4)]), [(B, 0, 4)]);
    repair.on_served(Timestamp::from_micros(late), B, 2);
    assert_eq!(ask(&mut repair, late, &[(0, 4)]), [], "nobody is left who claims to have it");
}

/// Goal: where payloads take longer than announcements they are given more time, and less again later.
#[test]
fn who_was_hasty_waits_longer_for_a_while() {
    let mut repair = Repair::default();
    let at = Timestamp::ZERO;
    repair.claim(A, LOG, 0, 5, (at, STAR));
    assert_eq!(ask(&mut repair, 0, &[(0, 4)]), [(A, 0, 4)]);
    repair.on_pushed(at, &LOG, 5);
    assert_eq!(repair.delay(at), limits::REPAIR_DELAY, "nobody asked for that");
    repair.on_pushed(at, &LOG, 3);
    repair.on_pulled(LOG, 4);
    repair.on_pushed(at, &LOG, 4);
    assert_eq!(repair.delay(at), limits::REPAIR_DELAY * 2, "a burst counts once");
    let mut now = at;
    for _ in 0..20 {
        now = now + repair.delay(now);
        repair.on_hasty(now);
    }
    assert_eq!(repair.delay(now), limits::REPAIR_DELAY_MAX);
    assert_eq!(repair.delay(now + limits::REPAIR_EASES), limits::REPAIR_DELAY_MAX / 2);
    assert_eq!(repair.delay(now + limits::REPAIR_EASES * 100), limits::REPAIR_DELAY);
}

/// Goal: an answer of which the log took nothing is not asked for again at once, whatever it was said to hold.
#[test]
fn an_answer_that_did_not_help_is_none() {
    let mut repair = Repair::default();
    let at = Timestamp::ZERO;
    repair.claim(A, LOG, 0, 100, (at, STAR));
    assert_eq!(ask(&mut repair, 0, &[(0, 63)]), [(A, 0, 63)]);
    // One that says that the whole range was skipped.
    repair.on_placed(&LOG, 0, 64);
    repair.on_served(at, A, 1);
    assert_eq!(ask(&mut repair, 0, &[(70, 99)]), [(A, 70, 99)], "it helped");
    assert!(repair.on_progress(at, A, &LOG, 75).is_some(), "an envelope came, and had no place");
    repair.on_placed(&LOG, 0, 69);
    repair.on_served(at, A, 2);
    assert_eq!(ask(&mut repair, 0, &[(70, 99)]), []);
}

/// An announcement is given its time even if an earlier one of the same neighbour has had its own.
#[test]
fn a_longer_claim_waits_anew_for_what_is_new() {
    let mut repair = Repair::default();
    let at = Timestamp::from_micros;
    repair.claim(A, LOG, 0, 5, (at(100), STAR));
    repair.claim(A, LOG, 0, 6, (at(170), STAR));
    assert_eq!(ask(&mut repair, 100, &[(5, 5)]), []);
    assert_eq!(repair.next_deadline(), Some(at(170)));
    assert_eq!(ask(&mut repair, 170, &[(5, 5)]), [(A, 5, 5)]);
    for n in 0..100 {
        repair.claim(B, LOG, 0, 10 + n, (at(200 + n), STAR));
    }
    let steps = repair.claims[&LOG][&B].steps.len();
    assert_eq!(steps, CLAIM_STEPS_MAX);
    assert_eq!(repair.claimed().collect::<Vec<_>>(), [(LOG, 0, 109)]);
}

/// Of a live log only what was announced can be had: the rest of a gap is not asked for.
#[test]
fn nothing_is_asked_for_that_nobody_claims() {
    let mut repair = Repair::default();
    let soon = Timestamp::ZERO;
    repair.claim(A, LOG, 10, 11, (soon, STAR));
    repair.claim(B, LOG, 5, 7, (soon, STAR));
    assert_eq!(ask(&mut repair, 0, &[(0, 100)]), [(B, 5, 6), (A, 10, 10)]);
    assert_eq!(repair.first_claimed(&LOG), Some(5));
}

#[test]
fn long_ranges_are_cut_and_shared_among_holders() {
    let mut repair = Repair::default();
    repair.claim(A, LOG, 0, 1000, (Timestamp::ZERO, STAR));
    repair.claim(B, LOG, 0, 1000, (Timestamp::ZERO, STAR));
    let asks = ask(&mut repair, 0, &[(0, 999)]);
    assert_eq!(asks.len(), 2 * WANTS_PER_LINK);
    assert!(asks.iter().all(|(_, from, to)| to - from < limits::FETCH_RANGE_MAX));
    assert_eq!(asks.iter().filter(|(link, ..)| *link == A).count(), WANTS_PER_LINK);
}

/// Goal: who claims logs that do not exist keeps nobody else's from being repaired. Method: 5,000 of one neighbour,
/// and one of another.
#[test]
fn a_liar_does_not_keep_real_gaps_open() {
    let mut repair = Repair::default();
    let made_up = |n: u64| {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_le_bytes());
        LogId { author: PeerId(id), lane: Lane::Durable }
    };
    for n in 0..5000 {
        repair.claim(A, made_up(n), 0, 10, (Timestamp::ZERO, STAR));
    }
    assert_eq!(repair.n_logs(), limits::AUTHORS_MAX);
    assert_eq!(ask(&mut repair, 0, &[(0, 9)]).len(), WANTS_PER_LINK);
    let soon = Timestamp::ZERO + POLL_PAUSE;
    repair.claim(B, LOG, 0, 10, (Timestamp::ZERO, STAR));
    assert_eq!((repair.n_logs(), repair.next_deadline()), (limits::AUTHORS_MAX, Some(soon)));
    assert_eq!(ask(&mut repair, soon.as_micros(), &[(0, 9)]), [(B, 0, 9)]);
    // Nor does it take room back from who claims less, and what it says is gone with it.
    repair.claim(A, made_up(5000), 0, 10, (Timestamp::ZERO, STAR));
    assert!(!repair.claims.contains_key(&made_up(5000)) && repair.claims.contains_key(&LOG));
    repair.link_down(soon, A);
    assert_eq!((repair.n_logs(), repair.claimed_by.len()), (1, 1));
    repair.forget(&LOG);
    assert!(repair.claimed_by.is_empty());
}

/// Goal: who claims more than it can be asked for at once is not waited for where others have it too, though these were
/// late before. Method: an honest neighbour is asked and late; a liar claims the same, and logs without end.
#[test]
fn a_busy_liar_is_not_waited_for() {
    let mut repair = Repair::default();
    let at = Timestamp::from_micros;
    let on_tree = STAR + 1;
    repair.claim(A, LOG, 0, 10, (at(0), on_tree));
    assert_eq!(ask(&mut repair, 0, &[(7, 7)]), [(A, 7, 7)]);
    let late = limits::WANT_PATIENCE_BRIEF.as_micros() as u64;
    for n in 0..2 * WANTS_PER_LINK as u8 {
        // They come before the log in question.
        let made_up = LogId { author: PeerId([0, n].repeat(16).try_into().expect("32 bytes")), ..LOG };
        repair.claim(B, made_up, 0, 10, (at(0), STAR));
    }
    repair.claim(B, LOG, 0, 100, (at(0), STAR));
    let asks = ask(&mut repair, late, &[(7, 7)]);
    assert_eq!(asks.iter().filter(|(link, ..)| *link == B).count(), WANTS_PER_LINK);
    assert_eq!(asks.last(), Some(&(A, 7, 7)));
}
