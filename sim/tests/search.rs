//! The search finds planted mistakes within few seeds, makes them small, and is the same on any machine.
//!
//! Bounds are small, for a debug build.

use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use djembe_sim::bug::Bug;
use djembe_sim::ledger::Stop;
use djembe_sim::panics;
use djembe_sim::scenario::Scenario;
use djembe_sim::search::{self, Attempt, Bounds, Finding, Plan, Told, Trace, attempt, attempt_with, draw};

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
    let plan = Plan::drawn(0..seeds, bounds.clone(), 2);
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
    assert_eq!(search::n_faults(&scenario), 0);
}

/// Goal: each of the other checks of what is delivered and kept is one that can fail.
#[test]
fn what_is_forged_late_or_lost_is_found() {
    for (bug, check) in [
        (Bug::Forgery, "forged"),
        (Bug::LateDelivery, "order"),
        (Bug::LostDelivery, "delivery"),
        (Bug::LostWrite, "convergence"),
    ] {
        let found = (0..6).any(|seed| attempt(&draw(seed, &small(Some(bug)))).fails(check));
        assert!(found, "{bug}: {check}");
    }
}

/// Goal: a run in which nobody can say anything is not one in which all is well. Method: the only author dies before it speaks.
#[test]
fn silence_is_found() {
    let text = r#"
        nodes = 3
        duration = "60s"
        messages = { rate = 1, senders = 1, start = "5s", stop = "10s" }
        crashes = [{ node = 0, at = "2s" }]
    "#;
    let outcome = attempt(&Scenario::parse(text, &[]).expect("a scenario"));
    assert!(outcome.fails("silence"), "{:?}", outcome.findings);
}

#[test]
fn a_presence_that_flaps_is_found() {
    let scenario = assert_found_and_shrunk(&small(Some(Bug::PresenceFlap)), 4, "presence", 100);
    assert!(search::n_faults(&scenario) <= 1);
}

/// Goal: the protocol as it is passes.
#[test]
fn the_protocol_passes() {
    for seed in 0..6 {
        let scenario = draw(seed, &small(None));
        assert_eq!(attempt(&scenario).findings, [], "seed {seed}\n{}", scenario.to_toml());
    }
}

/// A node dies that does not exist: reading a scenario refuses that, so it is put in behind its back.
fn panics() -> Scenario {
    let text = "nodes = 3\nduration = \"40s\"\ncrashes = [{node=2, at=\"1s\", restart=\"2s\"}]\n";
    let mut scenario = Scenario::parse(text, &[]).expect("a scenario");
    scenario.crashes[0].node = 99;
    scenario
}

/// Goal: a run that panics is a finding with its words, and others go on.
#[test]
fn a_panic_is_a_finding() {
    let outcome = attempt(&panics());
    assert!(outcome.report.is_none() && outcome.fails("panic"), "{:?}", outcome.findings);
    assert!(outcome.findings[0].text.contains("the index is 99"), "{:?}", outcome.findings);
}

/// Goal: where panics end the process, as in a release build, the last words are what panicked, where, and how to do it
/// again, and the exit code says that something was found. Method: this test runs itself in a process of its own.
#[test]
fn a_panic_that_ends_the_process_is_told() {
    const CHILD: &str = "DJEMBE_SIM_PANICS";
    if std::env::var_os(CHILD).is_some() {
        panics::hush_panics_that(true);
        panics::on_abort("replay: this".to_owned());
        attempt(&panics());
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
    assert!(last[1].contains("panic: index out of bounds") && last[1].contains("world.rs:"), "{told}");
}

/// Goal: a sweep that has found something says so each time. Method: of a host that delivers twice, twice.
#[test]
fn a_sweep_that_goes_on_remembers_what_it_has_found() {
    let plan = Plan::drawn(0..3, small(Some(Bug::DoubleDelivery)), 2);
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

/// What is left of a run whose trace is written, and the lines.
fn traced(scenario: &Scenario, stop: Stop) -> (search::Outcome, Vec<serde_json::Value>) {
    static N: AtomicUsize = AtomicUsize::new(0);
    let n = N.fetch_add(1, Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("djembe-sim-trace-{}-{n}", std::process::id()));
    let trace = Trace::new(std::fs::File::create(&file).expect("a file"));
    let how = Attempt { stop, trace: Some(trace.clone()), ..Attempt::default() };
    let outcome = attempt_with(scenario, how, |_| ());
    trace.end(&outcome.findings).expect("there is room");
    let text = std::fs::read_to_string(&file).expect("it was written");
    std::fs::remove_file(&file).expect("it is ours");
    (outcome, text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect())
}

/// Goal: what applications are told can be written, each line by itself, and changes nothing.
#[test]
fn a_trace_tells_every_delivery() {
    let scenario = draw(1, &small(None));
    let (outcome, lines) = traced(&scenario, Stop::AtAny);
    let told = lines.iter().filter(|line| line["event"]["kind"] == "delivered").count();
    assert!(told > 0 && lines.is_sorted_by_key(|line| line["at"].as_u64()));
    let hash = |outcome: search::Outcome| outcome.report.expect("no panic").hash;
    assert_eq!(hash(outcome), hash(attempt(&scenario)));
}

/// Goal: a violation ends a run, its trace ends with what it was, at the same time on any number of threads; and who wants
/// to gets all of them.
#[test]
fn a_violation_ends_a_run_and_its_trace() {
    let bounds = small(Some(Bug::DoubleDelivery));
    let (seed, finding) = find(&bounds, 4, "twice");
    let scenario = draw(seed, &bounds);
    let [(one, lines), (two, same)] =
        [1, 2].map(|threads| traced(&Scenario { threads, ..scenario.clone() }, Stop::AtAny));
    assert_eq!((&one.findings[..], &two.findings[..]), (&[finding.clone()][..], &[finding.clone()][..]));
    assert_eq!(lines, same);
    let [.., event, last] = &lines[..] else { panic!("{lines:?}") };
    let at = |line: &serde_json::Value| (line["at"].as_u64(), line["node"].as_u64());
    assert_eq!(at(last), (Some(finding.at), finding.node.map(|node| node as u64)));
    assert_eq!((at(event), &event["event"]["kind"]), (at(last), &"delivered".into()));
    assert_eq!(last["finding"]["check"], "twice");
    let [one, two] = [one, two].map(|outcome| outcome.report.expect("it did not panic"));
    assert_eq!((one.seconds, &one.hash), (two.seconds, &two.hash));
    assert!(one.is_stopped && one.missing == 0 && one.seconds < scenario.duration.as_secs_f64());
    assert!(one.seconds >= finding.at as f64 / 1e6 && one.seconds <= finding.at as f64 / 1e6 + 1.0);
    // Of another check it does not end it, and without being told to nothing does.
    let (all, _) = traced(&scenario, Stop::At("order".to_owned()));
    let report = all.report.as_ref().expect("it did not panic");
    assert!(
        all.findings.len() > 1 && !report.is_stopped && report.seconds == scenario.duration.as_secs_f64()
    );
    assert_eq!(all.findings, attempt(&scenario).findings);
}

/// Goal: a disk that is full is told of, and does not end the run.
#[test]
fn a_trace_that_cannot_be_written_is_told_of() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("full"))
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let trace = Trace::new(Full);
    let how = Attempt { trace: Some(trace.clone()), ..Attempt::default() };
    assert_eq!(attempt_with(&draw(1, &small(None)), how, |_| ()).findings, []);
    assert_eq!(trace.end(&[]).expect_err("it is full").to_string(), "full");
}

/// Goal: a sweep that is cut off goes on where it was, parts do not overlap, and together they are the whole.
#[test]
fn parts_of_a_sweep_are_the_whole_also_when_they_were_cut_off() {
    let plan = Plan::drawn(0..6, small(None), 2);
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
    let other = Plan::drawn(0..6, Bounds { nodes_max: 8, ..small(None) }, 2);
    assert!(search::sweep(&other, (0, 2), &file(0), |_| (), |_| ()).is_err());
    (0..2).for_each(|part| std::fs::remove_file(file(part)).expect("ours"));
}
