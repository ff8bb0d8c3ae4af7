//! Many seeds on all cores.

use core::ops::Range;
use core::time::Duration;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Instant;

use super::{Bounds, Outcome, attempt, draw};

/// An engine in a debug build needs more than a thread has by default.
const STACK: usize = 16 * 1024 * 1024;
/// Progress is told so often.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What is to be explored.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Those of them for which `wants` says so.
    pub seeds: Range<u64>,
    /// What they are drawn from.
    pub bounds: Bounds,
    /// Threads; at least one.
    pub jobs: usize,
    /// No run begins later than this.
    pub time: Option<Duration>,
}

/// How far it is.
#[derive(Clone, Copy, Default, Debug)]
pub struct Progress {
    /// Runs that are over.
    pub runs: u64,
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
        let rest = (self.wanted - self.runs) as f64 / self.rate();
        let by_runs = (self.runs > 0).then(|| Duration::try_from_secs_f64(rest).ok()).flatten();
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
    let work = |sender: mpsc::Sender<(u64, Outcome)>| {
        while plan.time.is_none_or(|time| started.elapsed() < time) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= plan.seeds.end {
                return;
            }
            if !wants(seed) {
                continue;
            }
            before(seed);
            let outcome = attempt(&draw(seed, &plan.bounds));
            if sender.send((seed, outcome)).is_err() {
                return;
            }
        }
    };
    let work = &work;
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs.max(1) {
            let sender = sender.clone();
            let thread = std::thread::Builder::new().stack_size(STACK);
            thread.spawn_scoped(scope, move || work(sender)).expect("the machine has room for a thread");
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
            progress.took = started.elapsed();
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                tell(Told::Progress(&progress));
            }
        }
    });
    progress.took = started.elapsed();
    tell(Told::Progress(&progress));
    progress
}
