//! Scenarios that are smaller than another in one respect.
//!
//! Each has less of something, or something simpler, so that a walk from one to the next comes to an end.

use core::fmt;
use core::time::Duration;

use djembe_protocol::bounds::Bounds;
use djembe_protocol::id::Lane;

use crate::scenario::{
    Authors, Crash, Crowd, DiskTrouble, FallOfRoots, Flap, Messages, Partition, Scenario, Span,
};

/// Times of faults and messages are made simpler to this.
const ROUND: [Duration; 2] = [Duration::from_secs(1), Duration::from_millis(100)];
/// Talk is no shorter.
const FRAME_OF_TALK: Duration = Duration::from_secs(1);
/// A fault is no shorter, in milliseconds.
const SHORT: u64 = 50;

/// A fault by its list and place there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    Partition(usize),
    Crash(usize),
    Pause(usize),
    Stall(usize),
    Clog(usize),
    Flap(usize),
    Disk(usize),
    Wave(usize),
    Crowd(usize),
    Roots(usize),
    Churn,
    Starvation,
}

/// For people; of several of a kind, the how-many-th, from 0.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, n) = match self {
            Self::Partition(n) => ("partition", n),
            Self::Crash(n) => ("crash", n),
            Self::Pause(n) => ("pause", n),
            Self::Stall(n) => ("stall", n),
            Self::Clog(n) => ("clog", n),
            Self::Flap(n) => ("flap", n),
            Self::Disk(n) => ("disk", n),
            Self::Wave(n) => ("wave", n),
            Self::Crowd(n) => ("crowd", n),
            Self::Roots(n) => ("fall", n),
            Self::Churn => return f.write_str("churn"),
            Self::Starvation => return f.write_str("starvation"),
        };
        write!(f, "{what} {n}")
    }
}

/// All smaller ones, those first that promise most; each with what is smaller. `at` is when the failure shows.
pub(super) fn smaller(scenario: &Scenario, at: Duration) -> Vec<(String, Scenario)> {
    let mut all = Vec::new();
    let mut add = |what: String, one: Scenario| {
        let mut one = one;
        tidy(&mut one);
        if one.check().is_ok() && one.to_toml() != scenario.to_toml() {
            all.push((what, one));
        }
    };
    let with = |change: &dyn Fn(&mut Scenario)| {
        let mut one = scenario.clone();
        change(&mut one);
        one
    };
    add("nothing after the failure".to_owned(), with(&|one| cut_off(one, at)));
    if scenario.attack.is_some() {
        add("no attack".to_owned(), scenario.clean());
    }
    for (what, part) in parts(&faults(scenario)) {
        add(format!("without {what}"), with(&|one| keep(one, |fault| !part.contains(&fault))));
    }
    for n in fewer(scenario.nodes, 1) {
        add(format!("{n} nodes"), with(&|one| resize(one, n)));
    }
    let senders = scenario.messages.senders.min(scenario.nodes);
    for n in fewer(senders, 1) {
        add(format!("{n} senders"), with(&|one| one.messages.senders = n));
    }
    for n in fewer(scenario.attackers, 1) {
        add(format!("{n} attackers"), with(&|one| one.attackers = n));
    }
    talk(scenario, &mut |what, messages| {
        add(what, with(&|one| one.messages = messages.clone()));
    });
    network(&with, &mut add);
    spans(scenario, &with, &mut add);
    for round in ROUND {
        add(format!("times rounded to {round:?}"), with(&|one| round_times(one, round)));
    }
    all
}

/// How many faults a scenario has; those that strike many are one.
pub fn n_faults(scenario: &Scenario) -> usize {
    faults(scenario).len()
}

/// No later than it must be, and without what cannot be any more.
fn tidy(scenario: &mut Scenario) {
    scenario.duration = scenario.quiet_at() + scenario.settle;
    if scenario.attackers == 0 {
        scenario.attack = None;
        scenario.attack_at = Duration::ZERO;
    }
}

/// One less, but in great steps first: from nothing but the least to one less.
fn fewer(n: usize, least: usize) -> Vec<usize> {
    let mut all = vec![least, n / 4, n / 2, n * 3 / 4, n.saturating_sub(1)];
    all.retain(|fewer| (least..n).contains(fewer));
    all.dedup();
    all
}

fn faults(scenario: &Scenario) -> Vec<Fault> {
    let partitions = (0..scenario.partitions.len()).map(Fault::Partition);
    let crashes = (0..scenario.crashes.len()).map(Fault::Crash);
    let pauses = (0..scenario.pauses.len()).map(Fault::Pause);
    let stalls = (0..scenario.stalls.len()).map(Fault::Stall);
    let clogs = (0..scenario.clogs.len()).map(Fault::Clog);
    let flaps = (0..scenario.flaps.len()).map(Fault::Flap);
    let disks = (0..scenario.disks.len()).map(Fault::Disk);
    let waves = (0..scenario.waves.len()).map(Fault::Wave);
    let crowds = (0..scenario.crowds.len()).map(Fault::Crowd);
    let roots = (0..scenario.roots.len()).map(Fault::Roots);
    let some = [
        scenario.churn.as_ref().map(|_| Fault::Churn),
        scenario.starvation.as_ref().map(|_| Fault::Starvation),
    ];
    let spans = partitions.chain(crashes).chain(pauses).chain(stalls).chain(clogs).chain(flaps);
    spans.chain(disks).chain(waves).chain(crowds).chain(roots).chain(some.into_iter().flatten()).collect()
}

/// All of them, halves, single ones.
fn parts(faults: &[Fault]) -> Vec<(String, Vec<Fault>)> {
    let mut parts = Vec::new();
    let mut size = faults.len();
    while size > 0 {
        for part in faults.chunks(size) {
            let names: Vec<String> = part.iter().map(Fault::to_string).collect();
            let what = if part.len() == faults.len() { "all faults".to_owned() } else { names.join(", ") };
            parts.push((what, part.to_vec()));
        }
        size /= 2;
    }
    parts
}

fn keep(scenario: &mut Scenario, keeps: impl Fn(Fault) -> bool) {
    fn filter<T>(all: &mut Vec<T>, keeps: impl Fn(usize) -> bool) {
        let mut at = 0;
        all.retain(|_| {
            at += 1;
            keeps(at - 1)
        });
    }
    filter(&mut scenario.partitions, |n| keeps(Fault::Partition(n)));
    filter(&mut scenario.crashes, |n| keeps(Fault::Crash(n)));
    filter(&mut scenario.pauses, |n| keeps(Fault::Pause(n)));
    filter(&mut scenario.stalls, |n| keeps(Fault::Stall(n)));
    filter(&mut scenario.clogs, |n| keeps(Fault::Clog(n)));
    filter(&mut scenario.flaps, |n| keeps(Fault::Flap(n)));
    filter(&mut scenario.disks, |n| keeps(Fault::Disk(n)));
    filter(&mut scenario.waves, |n| keeps(Fault::Wave(n)));
    filter(&mut scenario.crowds, |n| keeps(Fault::Crowd(n)));
    filter(&mut scenario.roots, |n| keeps(Fault::Roots(n)));
    scenario.churn.take_if(|_| !keeps(Fault::Churn));
    scenario.starvation.take_if(|_| !keeps(Fault::Starvation));
}

/// Faults and messages that begin later than the failure did not bring it about.
fn cut_off(scenario: &mut Scenario, at: Duration) {
    scenario.partitions.retain(|partition| partition.at < at);
    scenario.crashes.retain(|crash| crash.at < at);
    scenario.pauses.retain(|span| span.at < at);
    scenario.stalls.retain(|span| span.at < at);
    scenario.clogs.retain(|span| span.at < at);
    scenario.flaps.retain(|flap| flap.at < at);
    scenario.disks.retain(|disk| disk.at < at);
    scenario.waves.retain(|wave| wave.at < at);
    scenario.crowds.retain(|crowd| crowd.at < at);
    scenario.roots.retain(|fall| fall.at < at);
    scenario.messages.stop = scenario.messages.stop.min(at.max(scenario.messages.start + FRAME_OF_TALK));
}

/// Fewer nodes, and no fault of those that are gone.
fn resize(scenario: &mut Scenario, nodes: usize) {
    scenario.nodes = nodes;
    scenario.messages.senders = scenario.messages.senders.min(nodes);
    scenario.crashes.retain(|crash| crash.node < nodes);
    scenario.pauses.retain(|span| span.node < nodes);
    scenario.stalls.retain(|span| span.node < nodes);
    scenario.clogs.retain(|span| span.node < nodes);
    scenario.flaps.retain(|flap| flap.node < nodes);
    scenario.disks.retain(|disk| disk.node < nodes);
    scenario.contact.take_if(|contact| *contact >= nodes);
    // Of those who come later there are fewer first: they have the highest numbers.
    let mut n_late = nodes - 1;
    for crowd in &mut scenario.crowds {
        crowd.nodes = crowd.nodes.min(n_late);
        n_late -= crowd.nodes;
    }
    scenario.crowds.retain(|crowd| crowd.nodes > 0);
    scenario.partitions.retain(|_| nodes > 1);
    for partition in &mut scenario.partitions {
        partition.nodes = partition.nodes.min(nodes - 1);
    }
}

fn talk(scenario: &Scenario, add: &mut dyn FnMut(String, Messages)) {
    let now = &scenario.messages;
    let half = Duration::from_millis((now.stop.saturating_sub(now.start).as_millis() / 2) as u64);
    if half >= FRAME_OF_TALK {
        add("the first half of the talk".to_owned(), Messages { stop: now.stop - half, ..now.clone() });
        add("the second half of the talk".to_owned(), Messages { start: now.start + half, ..now.clone() });
    }
    let sooner = Duration::from_millis((now.start.as_millis() / 2) as u64);
    if sooner >= FRAME_OF_TALK {
        let (start, stop) = (now.start - sooner, now.stop - sooner);
        add("talk sooner".to_owned(), Messages { start, stop, ..now.clone() });
    }
    if now.rate > 0.0 {
        add("no messages".to_owned(), Messages { rate: 0.0, ..now.clone() });
    }
    if now.rate > 0.02 {
        add(
            "half the rate".to_owned(),
            Messages { rate: (now.rate * 500.0).floor() / 1000.0, ..now.clone() },
        );
    }
    for size in [8, now.size / 2].into_iter().filter(|size| (8..now.size).contains(size)) {
        add(format!("{size} bytes"), Messages { size, ..now.clone() });
    }
    if now.authors != Authors::Each {
        add("each for itself".to_owned(), Messages { authors: Authors::Each, ..now.clone() });
    }
    if now.lane != Lane::Durable {
        add("durable".to_owned(), Messages { lane: Lane::Durable, ..now.clone() });
    }
}

/// A change, and what comes of it.
type With<'a> = dyn Fn(&dyn Fn(&mut Scenario)) -> Scenario + 'a;
type Change = fn(&mut Scenario);
type Add<'a> = dyn FnMut(String, Scenario) + 'a;

fn network(with: &With<'_>, add: &mut Add<'_>) {
    let calm: [(&str, Change); 20] = [
        ("one group", |one| (one.groups, one.groups_per_node) = (1, 1)),
        ("no loss", |one| one.loss = 0.0),
        ("half the loss", |one| one.loss = (one.loss * 500.0).floor() / 1000.0),
        ("no spread", |one| one.spread = Duration::ZERO),
        ("no jitter", |one| (one.jitter, one.jitter_share) = (Duration::ZERO, 0.0)),
        ("no bursts", |one| one.burst = None),
        ("no reordering", |one| one.reorder = 0.0),
        ("no duplicates", |one| one.duplicate = 0.0),
        ("no corruption", |one| one.corrupt = 0.0),
        ("right clocks", |one| (one.clock_skew, one.clock_drift_ppm) = (Duration::ZERO, 0.0)),
        ("one site", |one| (one.sites, one.paths) = (Vec::new(), Vec::new())),
        ("one weather", |one| {
            for site in &mut one.sites {
                (site.loss, site.burst, site.jitter, site.jitter_share) = (None, None, None, None);
                (site.reorder, site.duplicate, site.corrupt) = (None, None, None);
            }
            for path in &mut one.paths {
                (path.loss, path.burst, path.jitter, path.jitter_share) = (None, None, None, None);
                (path.reorder, path.duplicate, path.corrupt) = (None, None, None);
            }
        }),
        ("no limit of bandwidth", |one| one.bandwidth = 0),
        ("no limits of sites", |one| {
            one.sites.iter_mut().for_each(|site| (site.up, site.down) = (0, 0));
        }),
        ("no contact", |one| one.contact = None),
        ("no acquaintances", |one| one.acquaintances = 0),
        ("usual bounds", |one| one.bounds = Bounds::default()),
        ("all start at once", |one| one.joins = Duration::ZERO),
        ("a millisecond one way", |one| one.latency = one.latency.min(Duration::from_millis(1))),
        ("a usual disk", |one| one.persist = Duration::from_millis(5)),
    ];
    for (what, change) in calm {
        add(what.to_owned(), with(&change));
    }
}

/// Each fault for half as long, and simpler.
fn spans(scenario: &Scenario, with: &With<'_>, add: &mut Add<'_>) {
    for n in 0..scenario.partitions.len() {
        add(
            format!("partition {n} half as long"),
            with(&|one| {
                let Partition { at, until, .. } = &mut one.partitions[n];
                *until = half(*at, *until);
            }),
        );
        add(format!("partition {n} both ways"), with(&|one| one.partitions[n].one_way = false));
        for nodes in fewer(scenario.partitions[n].nodes, 1) {
            add(format!("partition {n} of {nodes}"), with(&|one| one.partitions[n].nodes = nodes));
        }
    }
    for n in 0..scenario.crashes.len() {
        add(
            format!("crash {n} half as long"),
            with(&|one| {
                let Crash { at, restart, .. } = &mut one.crashes[n];
                *restart = restart.map(|restart| half(*at, restart));
            }),
        );
        add(format!("crash {n} without power-off"), with(&|one| one.crashes[n].power_off = false));
        add(format!("crash {n} without loss"), with(&|one| one.crashes[n].lost_commits = 0));
    }
    for n in 0..scenario.flaps.len() {
        add(
            format!("flap {n} half as long"),
            with(&|one| {
                let Flap { at, until, .. } = &mut one.flaps[n];
                *until = half(*at, *until);
            }),
        );
        add(
            format!("flap {n} once"),
            with(&|one| {
                let Flap { at, until, down, .. } = &mut one.flaps[n];
                *until = (*until).min(*at + *down);
            }),
        );
    }
    for n in 0..scenario.disks.len() {
        add(
            format!("disk {n} half as long"),
            with(&|one| {
                let DiskTrouble { at, until, .. } = &mut one.disks[n];
                *until = half(*at, *until);
            }),
        );
    }
    for n in 0..scenario.crowds.len() {
        add(format!("crowd {n} at once"), with(&|one| one.crowds[n].over = Duration::ZERO));
        for nodes in fewer(scenario.crowds[n].nodes, 1) {
            add(format!("crowd {n} of {nodes}"), with(&|one| one.crowds[n].nodes = nodes));
        }
    }
    for n in 0..scenario.roots.len() {
        let back = scenario.roots[n].back.map(|back| half(Duration::ZERO, back));
        add(format!("fall {n} half as long"), with(&|one| one.roots[n].back = back));
        let percent = scenario.roots[n].percent / 2;
        if percent > 0 {
            add(format!("fall {n} of {percent} %"), with(&|one| one.roots[n].percent = percent));
        }
    }
    type Spans = fn(&mut Scenario) -> &mut Vec<Span>;
    let spans: [(&str, Spans); 3] =
        [("pause", |one| &mut one.pauses), ("stall", |one| &mut one.stalls), ("clog", |one| &mut one.clogs)];
    for (what, of) in spans {
        for n in 0..of(&mut scenario.clone()).len() {
            add(
                format!("{what} {n} half as long"),
                with(&|one| {
                    let Span { at, until, .. } = &mut of(one)[n];
                    *until = half(*at, *until);
                }),
            );
        }
    }
}

/// The end of a span half as long, or the same if it is short already.
fn half(at: Duration, until: Duration) -> Duration {
    let millis = (until - at).as_millis() as u64 / 2;
    if millis < SHORT { until } else { at + Duration::from_millis(millis) }
}

fn round_times(scenario: &mut Scenario, to: Duration) {
    let round = |time: &mut Duration| {
        let n = time.as_micros() / to.as_micros();
        *time = to * u32::try_from(n).unwrap_or(u32::MAX);
    };
    for Partition { at, until, .. } in &mut scenario.partitions {
        [at, until].into_iter().for_each(round);
    }
    for Crash { at, restart, .. } in &mut scenario.crashes {
        round(at);
        restart.iter_mut().for_each(round);
    }
    for Crowd { at, over, .. } in &mut scenario.crowds {
        [at, over].into_iter().for_each(round);
    }
    for FallOfRoots { at, back, .. } in &mut scenario.roots {
        round(at);
        back.iter_mut().for_each(round);
    }
    let spans = scenario.pauses.iter_mut().chain(&mut scenario.stalls).chain(&mut scenario.clogs);
    for Span { at, until, .. } in spans {
        [at, until].into_iter().for_each(round);
    }
    for Flap { at, until, .. } in &mut scenario.flaps {
        [at, until].into_iter().for_each(round);
    }
    for DiskTrouble { at, until, .. } in &mut scenario.disks {
        [at, until].into_iter().for_each(round);
    }
    let Messages { start, stop, .. } = &mut scenario.messages;
    [start, stop, &mut scenario.attack_at, &mut scenario.joins].into_iter().for_each(round);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::{self, draw};

    /// Goal: what is called smaller is a scenario, another one, and a walk ends. Method: always the first, and always the
    /// last, as if all of them failed.
    #[test]
    fn a_walk_to_smaller_ones_ends() {
        for seed in 0..4 {
            for last in [false, true] {
                let mut scenario = draw(seed, &search::Bounds::default());
                let mut steps = 0;
                loop {
                    let mut all = smaller(&scenario, Duration::from_secs(60));
                    assert!(all.iter().all(|(_, one)| one.check().is_ok()));
                    if all.is_empty() {
                        break;
                    }
                    let at = if last { all.len() - 1 } else { 0 };
                    scenario = all.swap_remove(at).1;
                    steps += 1;
                    assert!(steps < 500, "{}", scenario.to_toml());
                }
                assert_eq!((scenario.nodes, scenario.attackers, faults(&scenario).len()), (1, 0, 0));
            }
        }
    }
}
