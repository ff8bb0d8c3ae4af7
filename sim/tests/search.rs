//! The search finds planted mistakes within few seeds, makes them small, and is the same on any machine.
//!
//! Bounds are small, for a debug build.

use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::Mutex;

use djembe_sim::bug::Bug;
use djembe_sim::scenario::Scenario;
use djembe_sim::search::{self, Bounds, Finding, Plan, Told, attempt, draw};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn small(bug: Option<Bug>) -> Bounds {
    Bounds {
        nodes_min: 2,
        nodes_max: 9,
        time_min: Duration::ZERO,
        time_max: secs(75),
        settle: secs(20),
        node_seconds_max: 400,
        deliveries_max: 400,
        bug,
    }
}

/// The first seed in which a check fails, found by as many threads as there are cores.
fn find(bounds: &Bounds, seeds: u64, check: &str) -> (u64, Finding) {
    let plan = Plan { seeds: 0..seeds, bounds: bounds.clone(), jobs: 2, time: None };
    let mut found: Vec<(u64, Finding)> = Vec::new();
    search::explore(
        &plan,
        |_| true,
        |_| (),
        |told| {
            if let Told::Ran(seed, outcome) = told {
                let first = outcome.findings.iter().find(|finding| finding.check == check);
                found.extend(first.map(|first| (seed, first.clone())));
            }
        },
    );
    found.sort_by_key(|(seed, _)| *seed);
    println!("{:?}: {} of {seeds} seeds", bounds.bug, found.len());
    found.into_iter().next().expect("the mistake is found")
}

/// Goal: a mistake is found, and what is left of its scenario can be read at a glance, be written and read, and still fails.
fn assert_found_and_shrunk(bounds: &Bounds, seeds: u64, check: &str, runs: u32) -> Scenario {
    let (seed, finding) = find(bounds, seeds, check);
    let scenario = draw(seed, bounds);
    let shrunk = search::shrink(&scenario, &finding, runs, |_| ());
    let text = shrunk.scenario.to_toml();
    println!("seed {seed}: {finding:?}\n{text}");
    let again = Scenario::parse(&text, &[]).expect("what is written can be read");
    assert!(attempt(&again).fails(check), "{text}");
    let n = |one: &Scenario| (one.nodes, one.publishes().count(), one.duration);
    assert!(n(&again).0 <= n(&scenario).0 && n(&again).1 <= n(&scenario).1 && n(&again).2 <= n(&scenario).2);
    assert!(!attempt(&Scenario { bug: None, ..again.clone() }).fails(check), "the mistake is to blame");
    again
}

fn n_faults(scenario: &Scenario) -> usize {
    let Scenario { partitions, crashes, pauses, stalls, flaps, .. } = scenario;
    partitions.len() + crashes.len() + pauses.len() + stalls.len() + flaps.len()
}

/// More than a mesh: along trees there is something to stop, and links are given up.
fn partial(bug: Bug) -> Bounds {
    Bounds { nodes_min: 18, nodes_max: 20, node_seconds_max: 1200, ..small(Some(bug)) }
}

#[test]
fn a_lost_prune_is_found() {
    assert_found_and_shrunk(&partial(Bug::LostPrune), 8, "prune", 10);
}

#[test]
fn a_parent_that_does_not_know_its_child_is_found() {
    assert_found_and_shrunk(&partial(Bug::LostGraft), 6, "trees", 5);
}

#[test]
fn a_link_that_only_one_side_counts_is_found() {
    assert_found_and_shrunk(&partial(Bug::LostRefusal), 10, "links", 5);
}

#[test]
fn an_overlay_of_two_parts_is_found() {
    assert_found_and_shrunk(&small(Some(Bug::LostDial)), 2, "overlay", 20);
}

#[test]
fn a_double_delivery_is_found() {
    let scenario = assert_found_and_shrunk(&small(Some(Bug::DoubleDelivery)), 4, "twice", 100);
    assert_eq!(n_faults(&scenario), 0);
}

#[test]
fn a_presence_that_flaps_is_found() {
    let scenario = assert_found_and_shrunk(&small(Some(Bug::PresenceFlap)), 4, "presence", 100);
    assert!(n_faults(&scenario) <= 1);
}

/// Goal: the protocol as it is passes, and a seed is one hash on any number of threads.
#[test]
fn the_protocol_passes_and_a_seed_is_one_hash() {
    for seed in 0..6 {
        let scenario = draw(seed, &small(None));
        let outcome = attempt(&scenario);
        assert_eq!(outcome.findings, [], "seed {seed}\n{}", scenario.to_toml());
        let hash = outcome.report.expect("it did not panic").hash;
        let again = attempt(&Scenario {
            threads: 2,
            latency: scenario.latency.max(secs(1) / 1000),
            ..scenario.clone()
        });
        if scenario.latency >= secs(1) / 1000 {
            assert_eq!(again.report.expect("nor did this").hash, hash, "seed {seed}");
        }
    }
}

/// A node that dies before it was started is started twice, which the host asserts never happens.
const PANICS: &str =
    "nodes = 3\nduration = \"40s\"\njoins = \"9s\"\ncrashes = [{node=2, at=\"1s\", restart=\"2s\"}]\n";

/// Goal: a run that panics is a finding with its words, and others go on.
#[test]
fn a_panic_is_a_finding() {
    let outcome = attempt(&Scenario::parse(PANICS, &[]).expect("a scenario"));
    assert!(outcome.report.is_none() && outcome.fails("panic"), "{:?}", outcome.findings);
    assert!(outcome.findings[0].text.contains("a node runs once at a time"), "{:?}", outcome.findings);
}

/// Goal: where panics end the process, as in a release build, the last words are what panicked, where, and how to do it
/// again, and the exit code says that something was found. Method: this test runs itself in a process of its own.
#[test]
fn a_panic_that_ends_the_process_is_told() {
    const CHILD: &str = "DJEMBE_SIM_PANICS";
    if std::env::var_os(CHILD).is_some() {
        search::hush_panics_that(true);
        search::on_abort("replay: this".to_owned());
        attempt(&Scenario::parse(PANICS, &[]).expect("a scenario"));
        unreachable!("the process has ended");
    }
    let me = std::env::current_exe().expect("this is one");
    let output = std::process::Command::new(me)
        .args(["--exact", "a_panic_that_ends_the_process_is_told", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .expect("it can be run");
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    let last: Vec<&str> = told.lines().rev().take(2).collect();
    assert_eq!(last[0], "replay: this", "{told}");
    assert!(last[1].contains("panic: a node runs once at a time") && last[1].contains("host.rs:"), "{told}");
}

/// Goal: a sweep that has found something says so each time. Method: of a host that delivers twice, twice.
#[test]
fn a_sweep_that_goes_on_remembers_what_it_has_found() {
    let plan = Plan { seeds: 0..3, bounds: small(Some(Bug::DoubleDelivery)), jobs: 2, time: None };
    let file = std::env::temp_dir().join(format!("djembe-sim-bad-sweep-{}", std::process::id()));
    let run = |seeds| {
        let plan = Plan { seeds, ..plan.clone() };
        search::sweep(&plan, (0, 1), &file, |_| (), |_| ()).expect("it can be written")
    };
    let first = run(0..3);
    assert!(first.progress.bad > 0 && first.bad_before == 0 && !first.is_good());
    let again = run(0..3);
    assert_eq!((again.progress.runs, again.bad_before), (0, first.progress.bad));
    assert!(!again.is_good());
    assert_eq!(run(3..3).bad_before, 0, "of other seeds");
    std::fs::remove_file(&file).expect("it is ours");
}

/// Goal: what applications are told can be written, each line by itself, and changes nothing.
#[test]
fn a_trace_tells_every_delivery() {
    let scenario = draw(1, &small(None));
    let file = std::env::temp_dir().join(format!("djembe-sim-trace-{}", std::process::id()));
    let outcome = search::attempt_traced(&scenario, std::fs::File::create(&file).expect("a file"));
    let text = std::fs::read_to_string(&file).expect("it was written");
    std::fs::remove_file(&file).expect("it is ours");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let told = lines.iter().filter(|line| line["event"]["kind"] == "delivered").count();
    assert!(told > 0 && lines.is_sorted_by_key(|line| line["at"].as_u64()));
    let hash = |outcome: search::Outcome| outcome.report.expect("no panic").hash;
    assert_eq!(hash(outcome), hash(attempt(&scenario)));
}

/// Goal: a sweep that is cut off goes on where it was, parts do not overlap, and together they are the whole.
#[test]
fn parts_of_a_sweep_are_the_whole_also_when_they_were_cut_off() {
    let plan = Plan { seeds: 0..6, bounds: small(None), jobs: 2, time: None };
    let file =
        |part: u64| std::env::temp_dir().join(format!("djembe-sim-sweep-{}-{part}", std::process::id()));
    let run = |part: u64| {
        let ran = Mutex::new(BTreeSet::new());
        let before = |seed| {
            ran.lock().expect("no panic").insert(seed);
        };
        search::sweep(&plan, (part, 2), &file(part), before, |_| ()).expect("it can be written");
        ran.into_inner().expect("no panic")
    };
    assert_eq!(run(0), BTreeSet::from([0, 2, 4]));
    assert_eq!(run(1), BTreeSet::from([1, 3, 5]));
    let read =
        |part: u64| search::read_lines(std::fs::File::open(file(part)).expect("there")).expect("lines");
    // The last line is torn, and run again; the others are not.
    let whole = std::fs::read(file(1)).expect("there");
    std::fs::write(file(1), &whole[..whole.len() - 9]).expect("ours");
    assert_eq!(run(1).len(), 1);
    let lines = read(0).lines.into_iter().chain(read(1).lines);
    let merged = search::merge(lines, Some(0..6));
    assert_eq!((merged.runs, &merged.complaints[..]), (6, &[][..]));
    let again = search::merge(read(0).lines.into_iter().chain(read(1).lines), None);
    let compared = search::compare(&merged, &again);
    assert!(compared.differ.is_empty() && compared.figures.values().all(|change| change.a == change.b));
    // Another bound of nodes is another scenario under the same seed.
    let other = Plan { bounds: Bounds { nodes_max: 8, ..small(None) }, ..plan.clone() };
    assert!(search::sweep(&other, (0, 2), &file(0), |_| (), |_| ()).is_err());
    (0..2).for_each(|part| std::fs::remove_file(file(part)).expect("ours"));
}
