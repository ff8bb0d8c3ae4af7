//! Every kind of attacker among honest nodes in a partial overlay: these get everything, in their order, once, hold no
//! more in memory than they may, and check at most one signature for each that an attacker sends.
//!
//! Two dozen honest nodes here; a hundred in `djembe-sim run hostile --set attack=KIND`, whose figures the threat model has.

use djembe_sim::attack::{Kind, Strain};
use djembe_sim::report::{self, AttackReport, Report};
use djembe_sim::scenario::{SHIPPED, Scenario};

/// More messages: to find out who lies costs a few of them, whatever their number.
const TALK: [&str; 2] = ["messages.rate=2", "messages.senders=12"];

/// Nine of the honest are cut off from the others, and from the attackers, for some seconds of the talk.
const PARTITION: &str = "partitions=[{nodes=9, at=\"14s\", until=\"20s\"}]";

/// For a test whose first half is a matter of luck: who is next to whom before it is known who lies.
const SEEDS: [&str; 3] = ["seed=1", "seed=2", "seed=3"];

/// The shipped scenario, smaller.
fn scenario(kind: Kind, attackers: usize, sets: &[&str]) -> Scenario {
    let (_, text) = SHIPPED.iter().find(|(name, _)| *name == "hostile").expect("shipped");
    let small = [
        "nodes=24",
        "duration=\"38s\"",
        "joins=\"300ms\"",
        "settle=\"12s\"",
        "attack_at=\"6s\"",
        "messages.start=\"12s\"",
        "messages.stop=\"26s\"",
        "messages.senders=6",
    ];
    let mut all: Vec<String> = small.iter().chain(sets).map(|set| (*set).to_owned()).collect();
    all.extend([format!("attack={kind}"), format!("attackers={attackers}")]);
    Scenario::parse(text, &all).expect("a scenario")
}

fn attacked(kind: Kind, attackers: usize, sets: &[&str]) -> (Report, AttackReport) {
    let report = report::run(&scenario(kind, attackers, sets), |_| ());
    let attack = report.attack.clone().expect("there was one");
    println!("{report}");
    (report, attack)
}

/// What holds whoever attacks.
fn assert_withstood(report: &Report, attack: &AttackReport) {
    assert_eq!(report.violations, []);
    assert_eq!(report.delivered, report.expected);
    assert!(report.messages > 0 && report.not_sent == 0);
    assert!(report.planned == report.messages);
    // Their engines talk as all do: an attack is what they do beside these, or keep back.
    let does_nothing = [Kind::Silent, Kind::Near].map(|kind| kind.to_string()).contains(&attack.kind);
    let Strain { deeds, bent, .. } = attack.strain;
    assert!(if does_nothing { bent > 0 && deeds == 0 } else { deeds > 0 }, "no attack: {:?}", attack.strain);
    assert!(attack.fullest.1 <= attack.fullest.2);
}

/// And where each frame carries at most one signature.
fn assert_cheap(attack: &AttackReport) {
    assert!(attack.strain.checks_max <= 1, "{} signatures for a frame", attack.strain.checks_max);
}

/// Attackers delay little, until they are known and later: at most twice what is without them.
fn assert_quick(report: &Report, attack: &AttackReport) {
    let (with, clean) = (report.latency_p99_ms, attack.clean_p99_ms);
    assert!(with <= 2.0 * clean, "{with} ms in place of {clean} ms");
    assert_quick_later(attack);
}

fn assert_quick_later(attack: &AttackReport) {
    let (late, clean) = (attack.late_p99_ms, attack.clean_late_p99_ms);
    assert!(late <= 2.0 * clean, "{late} ms in place of {clean} ms in the second half");
}

/// In the second half of each run; and in the whole of it, about, in the run in the middle.
fn assert_mostly_quick(runs: &[(Report, AttackReport)]) {
    let mut factors: Vec<f64> =
        runs.iter().map(|(report, attack)| report.latency_p99_ms / attack.clean_p99_ms).collect();
    factors.sort_by(f64::total_cmp);
    assert!(factors[factors.len() / 2] <= 2.2, "{factors:?} times what is without them");
    runs.iter().for_each(|(_, attack)| assert_quick_later(attack));
}

/// Goal: neighbours that take links and places in trees and bring nothing are gone round, also where packets are lost.
#[test]
fn the_silent_are_gone_round() {
    let runs = SEEDS.map(|seed| attacked(Kind::Silent, 3, &["loss=0.01", seed]));
    for (report, attack) in &runs {
        assert_withstood(report, attack);
        assert_cheap(attack);
    }
    // Whether the slowest hundredth has a packet that was lost is luck, with attackers and without: of twelve seeds three
    // take three times as long in one half, and as many others half as long.
    let middle = |factor: fn(&(Report, AttackReport)) -> f64| {
        let mut factors: Vec<f64> = runs.iter().map(factor).collect();
        factors.sort_by(f64::total_cmp);
        factors[factors.len() / 2]
    };
    let all = middle(|(report, attack)| report.latency_p99_ms / attack.clean_p99_ms);
    let late = middle(|(_, attack)| attack.late_p99_ms / attack.clean_late_p99_ms);
    assert!(all <= 2.0 && late <= 2.0, "{all} times what is without them, {late} times in the second half");
}

/// Goal: bytes that are no frame and forged envelopes cost a signature each at most, and their sender its links.
#[test]
fn junk_is_shut_out() {
    let (report, attack) = attacked(Kind::Junk, 3, &[]);
    assert_withstood(&report, &attack);
    assert_cheap(&attack);
    assert_quick(&report, &attack);
    assert!(attack.refused.get("cut-off").is_some_and(|n| *n >= 3), "{:?}", attack.refused);
    assert!(attack.refused.get("banned").is_some_and(|n| *n > 0), "and comes back in vain");
}

/// Goal: a member that talks without end does not keep others from being heard.
#[test]
fn who_talks_without_end_drowns_nobody() {
    let (report, attack) = attacked(Kind::Flood, 2, &[]);
    assert_withstood(&report, &attack);
    assert_cheap(&attack);
    assert_quick(&report, &attack);
    assert!(attack.foreign > 0, "it is a member");
}

/// Goal: authors that somebody makes up fill no table beyond its bound.
#[test]
fn made_up_authors_stay_within_bounds() {
    let (report, attack) = attacked(Kind::Authors, 2, &[]);
    assert_withstood(&report, &attack);
    assert_cheap(&attack);
    assert_quick(&report, &attack);
}

/// Goal: who says that it has what it does not have is asked in vain, and others after it, also across a partition.
#[test]
fn false_claims_cost_little() {
    let (report, attack) = attacked(Kind::Claims, 3, &[PARTITION]);
    assert_withstood(&report, &attack);
    assert_quick(&report, &attack);
    assert_cheap(&attack);
}

/// Goal: who says that it is next to every root, and forwards nothing, is found out and left alone. Until then it delays
/// what it is trusted with: over ten seeds the slowest hundredth of the whole took 1.2 to 3.9 times as long, 1.9 in the
/// mean, that of the second half 0.8 to 2.0 times.
#[test]
fn black_holes_are_left_alone() {
    let runs = SEEDS.map(|seed| attacked(Kind::Near, 3, &[&TALK[..], &[seed]].concat()));
    for (report, attack) in &runs {
        assert_withstood(report, attack);
        assert_cheap(attack);
    }
    assert_mostly_quick(&runs);
}

/// Goal: storms that rearrange trees leave them what they are for others.
#[test]
fn storms_of_grafts_and_prunes_pass() {
    for kind in [Kind::Grafts, Kind::Prunes] {
        let (report, attack) = attacked(kind, 2, &[]);
        assert_withstood(&report, &attack);
        assert_cheap(&attack);
        assert_quick(&report, &attack);
    }
}

/// Goal: attackers with an address each who all want one victim do not cut it off, nor delay it much. Method: one to
/// eight honest nodes.
#[test]
fn a_victim_is_not_surrounded() {
    let (report, attack) = attacked(Kind::Eclipse, 3, &TALK);
    assert_withstood(&report, &attack);
    assert_cheap(&attack);
    assert!(attack.hostile_links_max < 100.0, "{attack:?}");
    assert_quick(&report, &attack);
}

/// Goal: one attacker to three honest nodes does not cut its victim off either. Not judged is how fast: the victim has two
/// links in three to attackers, and over six seeds the slowest hundredth, which is the victim's, took 2 to 6 times as long.
#[test]
fn a_victim_of_many_gets_everything() {
    let (report, attack) = attacked(Kind::Eclipse, 8, &TALK);
    assert_withstood(&report, &attack);
    assert_cheap(&attack);
    assert!(attack.hostile_links_max < 100.0, "{attack:?}");
}

/// Goal: three identities to one honest node, behind a few addresses, take few links and delay nothing much, also where
/// packets are lost.
#[test]
fn a_crowd_behind_few_addresses_is_few() {
    let (report, attack) = attacked(Kind::Sybil, 72, &[&TALK[..], &["operators=3", "loss=0.01"]].concat());
    assert_withstood(&report, &attack);
    assert_cheap(&attack);
    assert_quick(&report, &attack);
    assert!(attack.refused.get("crowded").is_some_and(|n| *n > 100), "{:?}", attack.refused);
    assert!(attack.hostile_links_max <= 50.0, "{attack:?}");
}

/// Goal: whatever attackers do, nothing is lost or told twice where packets are lost and the network is cut and mended, and
/// nobody is buried. How fast it was says little across a cut.
fn withstands_loss_and_a_cut(kind: Kind, attackers: usize) {
    let (report, attack) = attacked(kind, attackers, &[PARTITION, "loss=0.01"]);
    assert_withstood(&report, &attack);
    assert!(attack.strain.checks_max <= if kind == Kind::Votes { 8 } else { 64 });
}

#[test]
fn storms_across_a_cut_lose_nothing() {
    withstands_loss_and_a_cut(Kind::Grafts, 2);
    withstands_loss_and_a_cut(Kind::Prunes, 2);
}

#[test]
fn a_victim_across_a_cut_gets_everything() {
    withstands_loss_and_a_cut(Kind::Eclipse, 4);
}

#[test]
fn votes_across_a_cut_bury_nobody_for_good() {
    withstands_loss_and_a_cut(Kind::Votes, 4);
}

#[test]
fn slander_across_a_cut_buries_nobody_for_good() {
    withstands_loss_and_a_cut(Kind::Slander, 4);
}

#[test]
fn old_frames_across_a_cut_change_nothing() {
    withstands_loss_and_a_cut(Kind::Replay, 2);
}

/// Goal: who says that it is next to every root is found out across a partition as well.
#[test]
fn black_holes_are_left_alone_across_a_partition() {
    let (report, attack) = attacked(Kind::Near, 3, &[&TALK[..], &[PARTITION, "loss=0.01"]].concat());
    assert_withstood(&report, &attack);
    assert_cheap(&attack);
}

/// Goal: what was said before changes nothing when it is said again.
#[test]
fn old_frames_change_nothing() {
    let (report, attack) = attacked(Kind::Replay, 2, &[]);
    assert_withstood(&report, &attack);
    assert_quick(&report, &attack);
}

/// Goal: whoever votes together against the living buries nobody. Method: votes, some of incarnations to come, and
/// lists of them; presence of the honest is checked at every step.
#[test]
fn false_votes_bury_nobody() {
    let (report, attack) = attacked(Kind::Votes, 4, &[]);
    assert_withstood(&report, &attack);
    assert_quick(&report, &attack);
    assert_eq!((report.presence_false_alarms, report.presence_flaps), (0, 0));
    // A list carries up to eight signatures.
    assert!(attack.strain.checks_max <= 8);
}

/// Goal: whoever votes in turn, through the group, against one member until it tires of answering buries nobody, nor makes
/// others carry votes without end.
#[test]
fn slander_buries_nobody() {
    for liars in [2, 12] {
        let (report, attack) = attacked(Kind::Slander, liars, &[]);
        assert_withstood(&report, &attack);
        assert_quick(&report, &attack);
        assert_eq!((report.presence_false_alarms, report.presence_flaps), (0, 0));
    }
}

/// Goal: who signs two envelopes for one number divides nobody: both are told to be his, and what others say arrives as
/// ever, also across a partition and where packets are lost.
#[test]
fn who_says_two_things_is_found_out() {
    let (report, attack) = attacked(Kind::Equivocate, 3, &[]);
    assert_withstood(&report, &attack);
    assert_cheap(&attack);
    assert_quick(&report, &attack);
    assert!(attack.foreign > 0, "it is a member");
    withstands_loss_and_a_cut(Kind::Equivocate, 3);
}

/// Goal: where two stories of one author meet, both are known, and told to applications once. Who has neighbours of one
/// story only does not hear of the other. Method: 24 honest nodes among three such authors.
#[test]
fn a_fork_is_told_once_by_those_who_hear_of_it() {
    let (_, world) = report::run_to_end(&scenario(Kind::Equivocate, 3, &[]), |_| ());
    let forks = |node: usize| {
        let notes = world.ledger.notes.iter().filter(|(_, at, _)| *at == node);
        notes.filter(|(.., text)| text.starts_with("fork")).count()
    };
    let told: Vec<usize> = world.honest().map(forks).collect();
    println!("{told:?}");
    assert!(told.iter().all(|n| *n <= 3), "once for each author: {told:?}");
    assert!(told.iter().sum::<usize>() >= 24 * 3 / 2, "most have heard of most: {told:?}");
}
