//! The scenario with real nodes: a process and a namespace for each, on an emulated network of the scenario's ways.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use djembe_sim::rng::{Purpose, Rng};
use djembe_sim::scenario::Scenario;
use djembe_tests::emulation::{Emulation, LATE, Seen, Way};
use djembe_tests::netns::{Host, Lab};
use djembe_tests::traffic::{Count, Kind};

use crate::figures::{Figures, Sum};
use crate::node::{Setup, Told, monotonic_ns};

/// For a node to tell what it has heard, when all is over.
const PATIENCE: Duration = Duration::from_secs(20);

/// A node that runs. Dropped, it ends.
struct Running {
    child: Child,
    /// Open as long as it is to run.
    _input: ChildStdin,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs it to its end.
pub(crate) fn run(scenario: &Scenario) -> Result<Figures, String> {
    let n = u8::try_from(scenario.nodes).map_err(|error| error.to_string())?;
    let lab = Lab::apart(n);
    let emulation = Emulation::start(lab.hosts(), way(scenario));
    let (sender, told) = channel();
    let begin = Instant::now();
    let epoch = monotonic_ns();
    let wait_until =
        |at: Duration| std::thread::sleep((begin + at).saturating_duration_since(Instant::now()));
    let mut nodes = Vec::new();
    for (node, host) in lab.hosts().iter().enumerate() {
        wait_until(scenario.joins * u32::from(host_number(node)) / u32::from(n));
        nodes.push(start(scenario, node, host, epoch, sender.clone())?);
    }
    drop(sender);
    let measured_from = scenario.messages.measured_from();
    wait_until(measured_from);
    let (before, began) = (emulation.seen(), Instant::now());
    wait_until(scenario.duration);
    let (after, seconds) = (emulation.seen(), began.elapsed().as_secs_f64());
    let told = collect(&told, scenario.nodes)?;
    let measured = scenario.publishes().filter(|(at, _)| *at >= measured_from).count();
    let mut figures = summarize(&told, &before, &after);
    (figures.expected, figures.seconds) = (measured * (scenario.nodes - 1), seconds);
    Ok(figures)
}

fn host_number(node: usize) -> u8 {
    u8::try_from(node).unwrap_or(u8::MAX)
}

/// The ways of the simulator's own topology.
fn way(scenario: &Scenario) -> Way {
    let world = scenario.world();
    let topology = world.topology();
    let n = scenario.nodes;
    let ways: Vec<Duration> = (0..n * n).map(|pair| topology.distance(pair / n, pair % n)).collect();
    let (jitter, share) = (scenario.jitter, scenario.jitter_share);
    let mut rng = Rng::split(scenario.seed, n, 0, Purpose::Network);
    Box::new(move |from, to| {
        let way = ways[from * n + to];
        Some(way + rng.time_below(jitter) + rng.time_below(way.mul_f64(share)))
    })
}

fn start(
    scenario: &Scenario,
    node: usize,
    host: &Host,
    epoch: u64,
    told: Sender<(usize, String)>,
) -> Result<Running, String> {
    let failed = |error: std::io::Error| format!("node {node} cannot be started: {error}");
    let at = |time: Duration| epoch + u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let publishes = scenario.publishes().filter(|(_, author)| *author == node).map(|(time, _)| at(time));
    let setup = Setup {
        network: format!("side-by-side-{}", std::process::id()),
        node: host_number(node).into(),
        size: scenario.messages.size,
        publishes: publishes.collect(),
        measure: at(scenario.messages.measured_from()),
        end: at(scenario.duration),
    };
    let program = std::env::current_exe().map_err(failed)?;
    let mut child = host
        .command(program)
        .arg("node")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("a pipe that was asked for is not there".to_owned());
    };
    let line = serde_json::to_string(&setup).map_err(|error| error.to_string())?;
    writeln!(input, "{line}").map_err(failed)?;
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // Nobody waits for it any more.
            let _ = told.send((node, line));
        }
    });
    Ok(Running { child, _input: input })
}

/// Waits for all nodes to tell.
fn collect(lines: &Receiver<(usize, String)>, n: usize) -> Result<Vec<Told>, String> {
    let give_up = Instant::now() + PATIENCE;
    let mut all = BTreeMap::new();
    while all.len() < n {
        let line = lines.recv_timeout(give_up.saturating_duration_since(Instant::now()));
        let (node, line) = line.map_err(|_| {
            let silent: Vec<usize> = (0..n).filter(|node| !all.contains_key(node)).collect();
            format!("nodes {silent:?} have not told what they heard; see above")
        })?;
        let told: Told =
            serde_json::from_str(&line).map_err(|error| format!("node {node}: {error}: {line}"))?;
        all.insert(node, told);
    }
    Ok(all.into_values().collect())
}

fn summarize(all: &[Told], before: &Seen, after: &Seen) -> Figures {
    let mut figures = Figures::default();
    let mut to_all: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    let mut transports: BTreeMap<&str, usize> = BTreeMap::new();
    let mut counters: BTreeMap<&str, u64> = BTreeMap::new();
    for told in all {
        for (author, number, micros) in &told.heard {
            figures.latencies.push(*micros);
            let last = to_all.entry((*author, *number)).or_default();
            *last = (*last).max(*micros);
        }
        for (kind, (n, bytes)) in &told.frames {
            figures.frames.add(*kind, *n, *bytes);
        }
        figures.writes = Some(figures.writes.unwrap_or_default() + told.writes);
        figures.new_envelopes += told.envelopes;
        figures.links += told.paths.len();
        for (cause, n) in &told.counters {
            *counters.entry(cause).or_default() += n;
        }
        for path in &told.paths {
            *transports.entry(path.split(' ').next().unwrap_or_default()).or_default() += 1;
        }
    }
    figures.latencies.sort_unstable();
    figures.to_all = to_all.into_values().collect();
    figures.to_all.sort_unstable();
    let of = |kinds: &[Kind]| {
        let count = |seen: &Seen, kind: &Kind| seen.traffic.get(kind).copied().unwrap_or_default();
        let sum = kinds.iter().map(|kind| count(after, kind) - count(before, kind));
        let sum = sum.fold(Count::default(), |all, one| all + one);
        Sum { n: sum.frames, bytes: sum.bytes }
    };
    figures.packets = of(&[Kind::Data, Kind::Datagram]);
    figures.acknowledgements = Some(of(&[Kind::Acknowledgement]));
    figures.dials = of(&[Kind::Dial]).n;
    figures.connections = Some(of(&[Kind::Dial, Kind::Connection]));
    figures.beacons = of(&[Kind::Beacon]);
    figures.mdns = Some(of(&[Kind::Mdns]));
    figures.kernel = Some(of(&[Kind::Neighbour, Kind::Membership, Kind::Other]));
    let n = (after.delivered - before.delivered).max(1);
    let late = (after.late - before.late).as_secs_f64() * 1e6 / n as f64;
    let n_late = after.n_late - before.n_late;
    let dropped = after.dropped - before.dropped;
    figures.notes.push(format!(
        "emulated: {n} frames, {late:.0} us late in the mean, {n_late} of them more than {LATE:?}; {dropped} dropped",
    ));
    let late = all.iter().map(|told| told.late).max().unwrap_or_default();
    figures
        .notes
        .push(format!("real links by transport: {transports:?}; messages left up to {late} us late"));
    figures.notes.push(format!("real nodes counted since measuring began: {counters:?}"));
    if let Ok(load) = std::fs::read_to_string("/proc/loadavg") {
        figures.notes.push(format!("load of the machine at the end: {}", load.trim()));
    }
    figures
}
