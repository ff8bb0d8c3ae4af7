//! A whole scenario from a seed.
//!
//! What is drawn keeps to what the simulator can do and the protocol promises: a contact does not die (nobody would tell of
//! it again), who dies for good has published nothing, networks carry what is said on them, and at the end there is quiet.

mod network;

use core::fmt;
use core::time::Duration;

use djembe_protocol::bounds::Bounds as Kept;
use djembe_protocol::id::Lane;

use crate::attack::Kind;
use crate::bug::Bug;
use crate::rng::{Purpose, Rng};
use crate::scenario::{
    Authors, Churn, Crash, Crowd, DiskTrouble, FallOfRoots, Flap, Messages, Partition, Scenario, Span,
    Starvation, Wave,
};
use crate::topology::Nat;

/// Attackers that cost a run little.
const CHEAP: [Kind; 9] = [
    Kind::Silent,
    Kind::Claims,
    Kind::Near,
    Kind::Grafts,
    Kind::Prunes,
    Kind::Replay,
    Kind::Votes,
    Kind::Slander,
    Kind::Equivocate,
];
/// Attackers that cost much: by themselves, or because many have to look at what they say.
const DEAR: [Kind; 6] = [Kind::Junk, Kind::Flood, Kind::Authors, Kind::Root, Kind::Sybil, Kind::Eclipse];
/// They attack so many nodes at most.
const SMALL: usize = 24;
/// Faults of one run.
const FAULTS_MAX: u64 = 7;
/// Between two faults of one node, or two partitions.
const APART: Duration = Duration::from_secs(1);

/// How large what is drawn may be. Together with a seed they say what is drawn.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Nodes, attackers not among them: the fewest; at least 2.
    pub nodes_min: usize,
    /// The most.
    pub nodes_max: usize,
    /// Virtual time of a run: the least, whatever it costs.
    pub time_min: Duration,
    /// The most; 25 s more than `settle` at least.
    pub time_max: Duration,
    /// Quiet at the end, in which everything must have converged.
    pub settle: Duration,
    /// Nodes times virtual seconds: what a run costs where little is said. Some 100,000 events at 12,000.
    pub node_seconds_max: u64,
    /// Messages times nodes: what is said costs so much.
    pub deliveries_max: u64,
    /// A mistake that hosts make.
    #[doc(hidden)]
    pub bug: Option<Bug>,
}

impl Default for Bounds {
    /// Some seconds for the largest runs, less than one for most.
    fn default() -> Self {
        Self {
            nodes_min: 2,
            nodes_max: 100,
            time_min: Duration::ZERO,
            time_max: Duration::from_secs(300),
            settle: Duration::from_secs(45),
            node_seconds_max: 12_000,
            deliveries_max: 20_000,
            bug: None,
        }
    }
}

/// What seeds stand for.
impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes_min, nodes_max, time_min, time_max, settle, node_seconds_max, deliveries_max, bug } =
            self;
        write!(
            f,
            "drawn of {nodes_min} to {nodes_max} nodes, {time_min:?} to {time_max:?}, quiet for {settle:?}"
        )?;
        write!(f, ", {node_seconds_max} node seconds, {deliveries_max} deliveries")?;
        bug.map_or(Ok(()), |bug| write!(f, ", {bug}"))
    }
}

/// Draws a scenario: the same for the same seed and bounds.
pub fn draw(seed: u64, bounds: &Bounds) -> Scenario {
    let mut rng = Rng::split(seed, 0, 0, Purpose::Scenario);
    // What was thought of later: it changes nothing else.
    let mut more = Rng::split(seed, 0, 1, Purpose::Scenario);
    let mut scenario = size(seed, bounds, &mut rng);
    network::network(&mut scenario, &mut rng);
    network::sites(&mut scenario, &mut rng);
    network::acquaintances(&mut scenario, &mut more);
    talk(&mut scenario, bounds, &mut rng);
    authors(&mut scenario, &mut more);
    if rng.chance(0.15) && scenario.nodes >= 8 {
        let attack = CHEAP[rng.below(CHEAP.len() as u64) as usize];
        let n = 1 + rng.below(scenario.nodes as u64 / 8) as usize;
        // A storm of many is a matter of patience.
        let is_storm = [Kind::Grafts, Kind::Prunes].contains(&attack);
        (scenario.attack, scenario.attackers) = (Some(attack), if is_storm { 1 } else { n });
        scenario.attack_at = between(&mut rng, secs(3), scenario.messages.stop);
        dear_attack(&mut scenario, &mut more);
    }
    faults(&mut scenario, &mut rng);
    crowds(&mut scenario, &mut rng);
    fall_of_roots(&mut scenario, &mut more);
    network::uplinks(&mut scenario, &mut rng);
    network::uplinks_of_sites(&mut scenario, &mut more);
    groups(&mut scenario, &mut rng);
    small_tables(&mut scenario, &mut more);
    network::weather(&mut scenario, &mut more);
    newcomers(&mut scenario, &mut more);
    second_blows(&mut scenario, &mut more);
    scenario
}

fn size(seed: u64, bounds: &Bounds, rng: &mut Rng) -> Scenario {
    // Most bugs need few nodes, and a mesh is another thing than what is larger than one.
    let most = match rng.below(20) {
        0..10 => 12,
        10..15 => 24,
        15..18 => 50,
        _ => bounds.nodes_max,
    };
    let least = bounds.nodes_min.max(2);
    let most = if most < least { bounds.nodes_max } else { bounds.nodes_max.min(most) }.max(least);
    let nodes = least + rng.below((most - least + 1) as u64) as usize;
    let affordable = secs(bounds.node_seconds_max / nodes as u64).max(bounds.settle + secs(30));
    let duration =
        between(rng, bounds.settle + secs(25), affordable.min(bounds.time_max)).max(bounds.time_min);
    Scenario { seed, bug: bounds.bug, settle: bounds.settle, ..Scenario::plain(nodes, duration) }
}

fn talk(scenario: &mut Scenario, bounds: &Bounds, rng: &mut Rng) {
    let stop = scenario.duration - scenario.settle;
    let start = (scenario.joins + between(rng, secs(2), secs(12))).min(stop - secs(5));
    let senders = 1 + rng.below(scenario.nodes.min(20) as u64) as usize;
    let seconds = (stop - start).as_secs_f64();
    let rate_max = bounds.deliveries_max as f64 / (senders * scenario.nodes) as f64 / seconds;
    let rate = log_uniform(rng, 0.05, 10.0).min(rate_max);
    let size_max = if rng.chance(0.1) { 30_000.0 } else { 1_000.0 };
    let size = log_uniform(rng, 8.0, size_max);
    scenario.messages = Messages {
        // Rounded, so that people can read it.
        rate: (rate * 1000.0).ceil() / 1000.0,
        size: size as usize,
        lane: if rng.chance(0.75) { Lane::Durable } else { Lane::Live },
        senders,
        start,
        stop,
        ..Messages::default()
    };
}

fn faults(scenario: &mut Scenario, rng: &mut Rng) {
    let quiet = scenario.duration - scenario.settle;
    let from = scenario.joins + secs(2);
    // Sometimes there is talk after the last fault, and sometimes there are faults up to the end.
    let to = if rng.chance(0.5) { quiet } else { from + (quiet - from).mul_f64(0.6) };
    let mut taken: Vec<(Option<usize>, Duration, Duration)> = Vec::new();
    for _ in 0..rng.below(FAULTS_MAX + 1) {
        let kind = rng.below(13);
        let node = (kind >= 2).then(|| rng.below(scenario.nodes as u64) as usize);
        let long = Duration::from_secs_f64(log_uniform(rng, 0.1, 60.0));
        let at = between(rng, from, to);
        let until = at + micros(1000 * (long.as_millis() as u64));
        let is_free = |(whose, start, end): &(Option<usize>, Duration, Duration)| {
            *whose != node || until + APART < *start || *end + APART < at
        };
        let dies = (2..5).contains(&kind);
        if until > to || !taken.iter().all(is_free) || dies && scenario.contact == node {
            continue;
        }
        let Some(node) = node else {
            let nodes = 1 + rng.below(scenario.nodes as u64 - 1) as usize;
            let one_way = rng.chance(0.25);
            scenario.partitions.push(Partition { nodes, at, until, one_way });
            taken.push((None, at, until));
            continue;
        };
        let is_silent = is_silent(scenario, node);
        let is_final = dies && rng.chance(0.2) && is_silent;
        taken.push((Some(node), at, if is_final { Duration::MAX / 2 } else { until }));
        match kind {
            2..5 => {
                let restart = (!is_final).then_some(until);
                let power_off = rng.chance(0.4);
                let is_forgetful = power_off && is_silent;
                let lost_commits =
                    if is_forgetful && rng.chance(0.3) { 1 + rng.below(3) as usize } else { 0 };
                scenario.crashes.push(Crash { node, at, restart, power_off, lost_commits });
            }
            5..8 => scenario.pauses.push(Span { node, at, until }),
            8 => scenario.stalls.push(Span { node, at, until }),
            9 => scenario.clogs.push(Span { node, at, until }),
            10 => {
                let slow = if rng.chance(0.5) { 0 } else { 2 + rng.below(100) as u32 };
                scenario.disks.push(DiskTrouble { node, at, until, slow });
            }
            _ => {
                let (down, up) = (between(rng, millis(100), secs(10)), between(rng, millis(100), secs(10)));
                scenario.flaps.push(Flap { node, at, until, down, up });
            }
        }
    }
}

/// Without what strikes one node.
fn strike_nobody(scenario: &mut Scenario) {
    scenario.crashes.clear();
    [&mut scenario.pauses, &mut scenario.stalls, &mut scenario.clogs].into_iter().for_each(Vec::clear);
}

/// What strikes many: waves, churn, starvation. Such a run has none of the faults that strike one node, so that nobody is
/// struck twice at a time; and in it all come back.
fn crowds(scenario: &mut Scenario, rng: &mut Rng) {
    let quiet = scenario.duration - scenario.settle;
    let from = scenario.joins + secs(3);
    if !rng.chance(0.2) || quiet < from + secs(10) {
        return;
    }
    strike_nobody(scenario);
    let until = quiet;
    let at = between(rng, from, until - secs(8));
    match rng.below(3) {
        0 => {
            let over = between(rng, Duration::ZERO, secs(2));
            let back = between(rng, millis(500), (until - at - over).min(secs(40)));
            scenario.waves.push(Wave {
                share: (5 + rng.below(46)) as f64 / 100.0,
                at,
                over,
                goodbye: rng.chance(0.3),
                power_off: rng.chance(0.4),
                back: Some(back),
            });
        }
        1 => {
            scenario.churn = Some(Churn {
                rate: log_uniform(rng, 0.05, 2.0),
                goodbye: rng.below(11) as f64 / 10.0,
                down: between(rng, millis(500), secs(30)),
                at,
                until,
            });
        }
        _ => {
            let min = between(rng, millis(10), secs(1));
            scenario.starvation = Some(Starvation {
                share: (5 + rng.below(46)) as f64 / 100.0,
                min,
                max: min + between(rng, millis(10), secs(4)),
                every: between(rng, millis(500), secs(10)),
                at,
                until,
            });
        }
    }
}

/// One speaks after the other, as often as all together would.
fn authors(scenario: &mut Scenario, rng: &mut Rng) {
    let messages = &mut scenario.messages;
    if rng.chance(0.15) {
        messages.authors = [Authors::Active, Authors::Fresh, Authors::Zipf][rng.below(3) as usize];
        messages.rate = (messages.rate * messages.senders as f64 * 1000.0).floor() / 1000.0;
    }
}

/// Whether a node publishes nothing.
fn is_silent(scenario: &Scenario, node: usize) -> bool {
    match scenario.messages.authors {
        Authors::Each | Authors::Active => node >= scenario.messages.senders,
        Authors::Fresh | Authors::Zipf => false,
    }
}

/// An attack that costs a run much, by one in a small network.
fn dear_attack(scenario: &mut Scenario, rng: &mut Rng) {
    if scenario.nodes > SMALL || !rng.chance(0.5) {
        return;
    }
    let attack = DEAR[rng.below(DEAR.len() as u64) as usize];
    scenario.attack = Some(attack);
    if attack == Kind::Sybil {
        scenario.operators = 1;
    } else if attack != Kind::Eclipse {
        scenario.attackers = 1;
    }
}

/// Roots of trees die together, and come back. As with a wave, nothing else strikes a single node then. Trees are where
/// there is more than a mesh.
fn fall_of_roots(scenario: &mut Scenario, rng: &mut Rng) {
    let quiet = scenario.duration - scenario.settle;
    let from = scenario.joins + secs(3);
    let has_crowd = !scenario.waves.is_empty() || scenario.churn.is_some() || scenario.starvation.is_some();
    let is_tree = scenario.nodes > 17 && scenario.attackers == 0;
    if !is_tree || has_crowd || quiet < from + secs(10) || !rng.chance(0.2) {
        return;
    }
    strike_nobody(scenario);
    let at = between(rng, from, quiet - secs(8));
    let back = Some(between(rng, millis(500), (quiet - at).min(secs(40))));
    scenario.roots.push(FallOfRoots { percent: 10 + rng.below(91) as u8, at, back });
}

/// The last nodes come together, later than the others, and nothing strikes one of them before.
fn newcomers(scenario: &mut Scenario, rng: &mut Rng) {
    let quiet = scenario.duration - scenario.settle;
    let from = scenario.joins + secs(3);
    if scenario.nodes < 4 || quiet < from + secs(10) || !rng.chance(0.12) {
        return;
    }
    let nodes = 1 + rng.below(scenario.nodes as u64 / 2) as usize;
    let at = between(rng, from, quiet - secs(6));
    let over = below(rng, secs(5));
    let first = scenario.nodes - nodes;
    let is_there = |node: usize, when: Duration| node < first || when > at + over;
    scenario.crashes.retain(|crash| is_there(crash.node, crash.at));
    scenario.pauses.retain(|span| is_there(span.node, span.at));
    scenario.stalls.retain(|span| is_there(span.node, span.at));
    scenario.clogs.retain(|span| is_there(span.node, span.at));
    scenario.crowds.push(Crowd { nodes, at, over });
}

/// Of the faults that strike one node some strike it once more while they last: faults are stacked.
fn second_blows(scenario: &mut Scenario, rng: &mut Rng) {
    if !rng.chance(0.2) {
        return;
    }
    let quiet = scenario.duration - scenario.settle;
    let crashes = scenario.crashes.iter().filter_map(|crash| Some((crash.node, crash.at, crash.restart?)));
    let pauses = scenario.pauses.iter().map(|span| (span.node, span.at, span.until));
    let struck: Vec<(usize, Duration, Duration)> = crashes.chain(pauses).collect();
    for (node, at, until) in struck {
        let again = between(rng, at, until);
        let long = millis(1 + rng.below(10_000));
        let end = (again + long).min(quiet);
        if end <= again {
            continue;
        }
        // The contact may stand still, but whoever comes meanwhile knows nobody else.
        let may_crash = scenario.contact != Some(node);
        match rng.below(3) {
            0 => scenario.pauses.push(Span { node, at: again, until: end }),
            n if n == 1 || !may_crash => scenario.stalls.push(Span { node, at: again, until: end }),
            _ => scenario.crashes.push(Crash {
                node,
                at: again,
                restart: Some(end),
                power_off: rng.chance(0.4),
                lost_commits: 0,
            }),
        }
    }
    for partition in scenario.partitions.clone() {
        let at = between(rng, partition.at, partition.until);
        let until = (at + millis(1 + rng.below(10_000))).min(quiet);
        let nodes = 1 + rng.below(scenario.nodes as u64 - 1) as usize;
        if until > at {
            scenario.partitions.push(Partition { nodes, at, until, one_way: rng.chance(0.25) });
        }
    }
}

/// Nodes keep little of others in mind.
fn small_tables(scenario: &mut Scenario, rng: &mut Rng) {
    if rng.chance(0.1) {
        let members = 16 + rng.below(49) as usize;
        let peers = 8 + rng.below(25) as usize;
        let trees = 2 + rng.below(15) as usize;
        scenario.bounds = Kept { members, peers, trees }.workable();
    }
}

/// Several groups, of four or more each, sometimes so many that links have to serve more than one. Attackers are for one;
/// and all members of one may be at sites into which nobody can dial.
fn groups(scenario: &mut Scenario, rng: &mut Rng) {
    let is_shut = scenario.sites.iter().any(|site| site.nat != Nat::Open);
    if scenario.nodes < 8 || scenario.attackers > 0 || is_shut || !rng.chance(0.25) {
        return;
    }
    let each = 1 + rng.below(8) as usize;
    let most = (scenario.nodes * each / 4).min(24);
    scenario.groups = each.max(2) + rng.below((most - each.max(2) + 1) as u64) as usize;
    scenario.groups_per_node = each;
}

/// In whole milliseconds, or microseconds where it is short.
fn between(rng: &mut Rng, least: Duration, most: Duration) -> Duration {
    least + below(rng, most.saturating_sub(least))
}

fn below(rng: &mut Rng, most: Duration) -> Duration {
    let time = rng.time_below(most + micros(1));
    if most < millis(10) { time } else { millis(time.as_millis() as u64) }
}

fn log_uniform(rng: &mut Rng, least: f64, most: f64) -> f64 {
    least * power(most / least, rng.below(1 << 32) as u32)
}

/// A number to the power of `share` / 2^32, with nothing but products and square roots, which are the same on all
/// machines: powers of libraries differ in the last bit.
fn power(of: f64, share: u32) -> f64 {
    let (mut root, mut product) = (of, 1.0);
    for bit in (0..32).rev() {
        root = root.sqrt();
        if share >> bit & 1 == 1 {
            product *= root;
        }
    }
    product
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn micros(n: u64) -> Duration {
    Duration::from_micros(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: whatever the bounds, what is drawn is a scenario and within them.
    #[test]
    fn every_seed_is_a_scenario_within_the_bounds() {
        let small = Bounds { nodes_max: 2, time_max: secs(70), settle: secs(20), ..Bounds::default() };
        for bounds in [Bounds::default(), small] {
            for seed in 0..2000 {
                let scenario = draw(seed, &bounds);
                assert_eq!(scenario.check(), Ok(()), "seed {seed}: {scenario:?}");
                assert!(scenario.nodes >= 2 && scenario.nodes <= bounds.nodes_max);
                assert!(scenario.duration <= bounds.time_max, "seed {seed}: {:?}", scenario.duration);
                assert!(scenario.publishes().count() * scenario.nodes <= 25_000, "seed {seed}");
            }
        }
    }

    #[test]
    fn a_power_is_one() {
        for (of, share) in [(2.0f64, 0.5f64), (200.0, 0.1), (1e4, 0.999), (50.0, 0.0)] {
            let is = power(of, (share * 4_294_967_296.0) as u32);
            assert!((is / of.powf(share) - 1.0).abs() < 1e-8, "{of} to the {share}: {is}");
        }
    }

    /// Goal: one size and one time can be asked for, and all of it is used.
    #[test]
    fn as_large_and_long_as_it_is_wanted() {
        let time = secs(300);
        let bounds = Bounds { nodes_min: 100, time_min: time, time_max: time, ..Bounds::default() };
        for seed in 0..100 {
            let scenario = draw(seed, &bounds);
            assert_eq!(
                (scenario.check(), scenario.nodes, scenario.duration),
                (Ok(()), 100, time),
                "seed {seed}"
            );
        }
        let large = Bounds { nodes_min: 200, nodes_max: 400, ..Bounds::default() };
        let nodes: Vec<usize> = (0..100).map(|seed| draw(seed, &large).nodes).collect();
        assert!(nodes.iter().all(|n| (200..=400).contains(n)) && nodes.iter().any(|n| *n > 300), "{nodes:?}");
    }

    /// Goal: nothing is left out. Method: over many seeds everything occurs.
    #[test]
    fn everything_is_drawn_at_some_time() {
        let all: Vec<Scenario> = (0..1000).map(|seed| draw(seed, &Bounds::default())).collect();
        let share = |what: &str, is: fn(&Scenario) -> bool| {
            let n = all.iter().filter(|scenario| is(scenario)).count();
            println!("{what}: {n} of {}", all.len());
            assert!(n >= 20, "{what}: {n} of {}", all.len());
        };
        share("more than a mesh", |one| one.nodes > 17);
        share("more than fifty", |one| one.nodes > 50);
        share("contact", |one| one.contact.is_some());
        share("loss", |one| one.loss > 0.05);
        share("no loss", |one| one.loss == 0.0);
        share("bandwidth", |one| one.bandwidth > 0);
        share("live", |one| one.messages.lane == Lane::Live);
        share("partition", |one| !one.partitions.is_empty());
        share("pause", |one| !one.pauses.is_empty());
        share("stall", |one| !one.stalls.is_empty());
        share("clog", |one| !one.clogs.is_empty());
        share("crash", |one| one.crashes.iter().any(|crash| !crash.power_off));
        share("power", |one| one.crashes.iter().any(|crash| crash.power_off));
        share("for good", |one| one.crashes.iter().any(|crash| crash.restart.is_none()));
        share("attackers", |one| one.attackers > 0);
        for (attack, _) in Kind::ALL {
            assert!(all.iter().any(|one| one.attack == Some(attack)), "{attack}");
        }
        share("flap", |one| !one.flaps.is_empty());
        share("disk", |one| !one.disks.is_empty());
        share("burst", |one| one.burst.is_some());
        share("corrupt", |one| one.corrupt > 0.0);
        share("clocks", |one| one.clock_drift_ppm > 0.0);
        share("sites", |one| !one.sites.is_empty());
        share("routers", |one| one.sites.iter().any(|site| site.nat != Nat::Open));
        share("a disk that lied", |one| one.crashes.iter().any(|crash| crash.lost_commits > 0));
        share("segments", |one| one.sites.iter().any(|site| site.segment));
        share("groups", |one| one.groups > 1);
        share("many groups", |one| one.groups_per_node > 4 && one.nodes > 17);
        share("wave", |one| !one.waves.is_empty());
        share("churn", |one| one.churn.is_some());
        share("starvation", |one| one.starvation.is_some());
        share("fall of roots", |one| !one.roots.is_empty());
        share("acquaintances", |one| one.acquaintances > 0);
        share("newcomers", |one| !one.crowds.is_empty());
        share("weather of places", |one| one.paths.iter().any(|path| path.loss.is_some()));
        share("two faults of a node at a time", |one| {
            let spans: Vec<&Span> = one.pauses.iter().chain(&one.stalls).collect();
            let holds = |crash: &Crash, span: &Span| {
                crash.node == span.node
                    && crash.at <= span.at
                    && crash.restart.is_some_and(|restart| span.at < restart)
            };
            one.crashes.iter().any(|crash| spans.iter().any(|span| holds(crash, span)))
        });
        share("two cuts at a time", |one| {
            let all = one.partitions.iter().enumerate();
            let mut pairs = all.flat_map(|(n, a)| one.partitions[..n].iter().map(move |b| (a, b)));
            pairs.any(|(a, b)| a.at < b.until && b.at < a.until)
        });
        share("small tables", |one| one.bounds != Kept::default());
        share("uplinks of sites", |one| one.sites.iter().any(|site| site.up > 0));
        share("downlinks of sites", |one| one.sites.iter().any(|site| site.down > 0));
        share("active authors", |one| one.messages.authors == Authors::Active);
        share("fresh authors", |one| one.messages.authors == Authors::Fresh);
        share("drawn authors", |one| one.messages.authors == Authors::Zipf);
        share("no fault", |one| one.faults_end() == Duration::ZERO);
    }
}
