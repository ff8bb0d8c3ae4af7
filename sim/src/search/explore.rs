//! Many seeds on all cores.

use core::fmt;
use core::ops::Range;
use core::time::Duration;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Instant;

use djembe_protocol::time::Timestamp;

use super::{Attempt, Bounds, Outcome, attempt_with, draw};
use crate::ledger::Stop;
use crate::report;
use crate::scenario::Scenario;

/// An engine in a debug build needs more than a thread has by default.
const STACK: usize = 16 * 1024 * 1024;
/// Progress is told so often.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// What is left of a run is counted in parts of so many.
const PARTS: u64 = 1000;

/// What a seed stands for.
#[derive(Clone, Debug)]
pub enum Source {
    /// A scenario that is drawn from it.
    Drawn(Bounds),
    /// This one, from that seed: what people call it, and what it is.
    Named(String, Box<Scenario>),
}

impl Source {
    /// The scenario of a seed.
    pub fn scenario(&self, seed: u64) -> Scenario {
        match self {
            Self::Drawn(bounds) => draw(seed, bounds),
            Self::Named(_, scenario) => Scenario { seed, ..(**scenario).clone() },
        }
    }
}

/// What seeds stand for: under another name they are other runs.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drawn(bounds) => bounds.fmt(f),
            Self::Named(name, _) => f.write_str(name),
        }
    }
}

/// What is to be explored.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Those of them for which `wants` says so.
    pub seeds: Range<u64>,
    /// What they stand for.
    pub source: Source,
    /// Threads that each have a run; at least one.
    pub jobs: usize,
    /// Threads of each run, if it is not to have those that its scenario says.
    pub threads: Option<usize>,
    /// No run begins later than this.
    pub time: Option<Duration>,
    /// What ends a run early.
    pub stop: Stop,
    /// Bytes of each part of a node are counted at the end of each run.
    pub census: bool,
}

impl Plan {
    /// The scenario of a seed as it is run.
    pub fn scenario(&self, seed: u64) -> Scenario {
        let scenario = self.source.scenario(seed);
        Scenario { threads: self.threads.unwrap_or(scenario.threads), ..scenario }
    }

    /// Drawn from these, each on one thread to its end.
    pub fn drawn(seeds: Range<u64>, bounds: Bounds, jobs: usize) -> Self {
        let source = Source::Drawn(bounds);
        Self { seeds, source, jobs, threads: None, time: None, stop: Stop::Never, census: false }
    }
}

/// How far it is.
#[derive(Clone, Copy, Default, Debug)]
pub struct Progress {
    /// Runs that are over.
    pub runs: u64,
    /// What is done, in runs, with what is done of those that are under way.
    pub done: f64,
    /// Runs that were wanted.
    pub wanted: u64,
    /// Runs in which something was found.
    pub bad: u64,
    /// Events of all of them.
    pub events: u64,
    /// Since the beginning.
    pub took: Duration,
}

impl Progress {
    /// Runs a second.
    pub fn rate(&self) -> f64 {
        self.runs as f64 / self.took.as_secs_f64().max(1e-9)
    }

    /// How much longer it takes, if it goes on like this.
    pub fn left(&self, time: Option<Duration>) -> Option<Duration> {
        let rest = (self.wanted as f64 - self.done).max(0.0) / self.done * self.took.as_secs_f64();
        let by_runs = (self.done > 0.0).then(|| Duration::try_from_secs_f64(rest).ok()).flatten();
        let by_time = time.map(|time| time.saturating_sub(self.took));
        by_runs.into_iter().chain(by_time).min()
    }
}

/// What is told on the way.
#[derive(Debug)]
pub enum Told<'a> {
    /// About once a second, and at the end.
    Progress(&'a Progress),
    /// A run is over.
    Ran(u64, &'a Outcome),
}

/// Runs all seeds of a plan that are wanted, in about their order, and tells of each. `before` is called on the thread
/// that is about to run a seed.
pub fn explore(
    plan: &Plan,
    wants: impl Fn(u64) -> bool + Sync,
    before: impl Fn(u64) + Sync,
    mut tell: impl FnMut(Told<'_>),
) -> Progress {
    let started = Instant::now();
    let next = AtomicU64::new(plan.seeds.start);
    let (sender, results) = mpsc::channel::<(u64, Outcome)>();
    let wanted = plan.seeds.clone().filter(|seed| wants(*seed)).count() as u64;
    let mut progress = Progress { wanted, ..Progress::default() };
    let under_way: Vec<AtomicU64> = (0..plan.jobs.max(1)).map(|_| AtomicU64::new(0)).collect();
    let work = |sender: mpsc::Sender<(u64, Outcome)>, parts: &AtomicU64| {
        while plan.time.is_none_or(|time| started.elapsed() < time) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= plan.seeds.end {
                return;
            }
            if !wants(seed) {
                continue;
            }
            before(seed);
            let outcome = one(plan, seed, parts);
            if sender.send((seed, outcome)).is_err() {
                return;
            }
        }
    };
    let work = &work;
    std::thread::scope(|scope| {
        for parts in &under_way {
            let sender = sender.clone();
            let thread = std::thread::Builder::new().stack_size(STACK);
            thread
                .spawn_scoped(scope, move || work(sender, parts))
                .expect("the machine has room for a thread");
        }
        drop(sender);
        let mut told = started;
        loop {
            match results.recv_timeout(TELL_EVERY) {
                Ok((seed, outcome)) => {
                    progress.runs += 1;
                    progress.bad += u64::from(!outcome.findings.is_empty());
                    progress.events += outcome.report.as_ref().map_or(0, |report| report.events);
                    tell(Told::Ran(seed, &outcome));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let parts: u64 = under_way.iter().map(|parts| parts.load(Ordering::Relaxed)).sum();
            progress.done = progress.runs as f64 + parts as f64 / PARTS as f64;
            progress.took = started.elapsed();
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                tell(Told::Progress(&progress));
            }
        }
    });
    (progress.done, progress.took) = (progress.runs as f64, started.elapsed());
    tell(Told::Progress(&progress));
    progress
}

/// Runs one seed, and says in `parts` how much of it is done.
fn one(plan: &Plan, seed: u64, parts: &AtomicU64) -> Outcome {
    let scenario = plan.scenario(seed);
    // What is drawn is not looked at for how much slower an attack makes it.
    let is_compared = matches!(plan.source, Source::Named(..));
    let how = Attempt { stop: plan.stop.clone(), is_compared, census: plan.census, ..Attempt::default() };
    let end = (scenario.duration.as_micros() as u64).max(1);
    // Memory is the process's, and tells of a run only where there is no other.
    let is_alone = plan.jobs == 1;
    if is_alone {
        report::forget_peak_rss();
    }
    let outcome = attempt_with(&scenario, how, |now: Timestamp| {
        parts.store(now.as_micros() * PARTS / end, Ordering::Relaxed);
    });
    parts.store(0, Ordering::Relaxed);
    let peak_rss_bytes = is_alone.then(report::peak_rss_bytes).flatten();
    Outcome { peak_rss_bytes, ..outcome }
}
