//! One run, and what is wrong with it.

use core::cell::Cell;
use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use djembe_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::Trace;
use crate::ledger::{Stop, Violation};
use crate::panics;
use crate::report::{self, Ran, Report};
use crate::scenario::Scenario;
use crate::topology::NodeIx;
use crate::world::World;

/// Of what is missing at the end so many are named.
const MISSING_MAX: usize = 5;
/// Of what one check finds in a run so much is kept where there are many runs.
const SHORT: usize = 3;

/// Everything that is looked at, by the names that findings have.
pub const CHECKS: [&str; 15] = [
    "delivery",
    "silence",
    "panic",
    "forged",
    "twice",
    "order",
    "groups",
    "presence",
    "convergence",
    "bounds",
    "overlay",
    "links",
    "trees",
    "members",
    "prune",
];

/// Something that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// Which checker says so: one of the ledger's or the report's, `delivery`, `silence` or `panic`.
    pub check: String,
    /// When, in virtual microseconds; of a panic, the last second that was reached.
    pub at: u64,
    /// At which node, if it is one's.
    pub node: Option<NodeIx>,
    /// What.
    pub text: String,
}

/// On a line.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { check, at, node, text } = self;
        let node = node.map_or_else(String::new, |node| format!(" at node {node}"));
        write!(f, "{check}{node}, {:.6} s: {text}", *at as f64 / 1e6)
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The figures; none if it panicked.
    pub report: Option<Report>,
    /// In the order of time.
    pub findings: Vec<Finding>,
    /// Real time.
    pub took: Duration,
    /// The most memory that the process had, if that was looked at.
    pub peak_rss_bytes: Option<u64>,
    /// Bytes of each part of a node at the end, if they were asked for.
    pub memory: Option<BTreeMap<String, u64>>,
}

impl Outcome {
    /// Whether a check failed.
    pub fn fails(&self, check: &str) -> bool {
        self.findings.iter().any(|finding| finding.check == check)
    }

    /// How many there are in all: of many violations not each is kept.
    pub fn n_findings(&self) -> u64 {
        n_findings(&self.findings, self.report.as_ref())
    }

    /// Whether it ended before its end.
    pub fn is_stopped(&self) -> bool {
        self.report.as_ref().is_none_or(|report| report.is_stopped)
    }

    /// What every command says of a run; nothing if it panicked.
    pub fn ran(&self, scenario: &str) -> Option<Ran> {
        let report = self.report.clone()?;
        let ran = Ran::new(scenario, report, self.took).with_peak(self.peak_rss_bytes);
        Some(Ran { memory: self.memory.clone(), ..ran })
    }

    /// The first few of each check, in the order of time: one mistake is found many times.
    pub fn in_short(&self) -> Vec<Finding> {
        let firsts = self.findings.iter().enumerate().filter(|(n, finding)| {
            let before = self.findings[..*n].iter().filter(|other| other.check == finding.check);
            before.count() < SHORT
        });
        firsts.map(|(_, finding)| finding.clone()).collect()
    }
}

/// How a scenario is tried.
#[derive(Default)]
pub struct Attempt {
    /// What ends it early.
    pub stop: Stop,
    /// It is run without its attackers before, to have something to compare with.
    pub is_compared: bool,
    /// Where to write what applications are told.
    pub trace: Option<Trace>,
    /// Bytes of each part of a node are counted at the end.
    pub census: bool,
}

/// Runs a scenario to its end. Nothing that goes wrong in it gets out.
pub fn attempt(scenario: &Scenario) -> Outcome {
    attempt_with(scenario, Attempt::default(), |_| ())
}

/// The same, and tells the time.
pub fn attempt_with(scenario: &Scenario, how: Attempt, mut progress: impl FnMut(Timestamp)) -> Outcome {
    let started = Instant::now();
    let reached = Cell::new(Timestamp::ZERO);
    let census = how.census;
    let result = catch_unwind(AssertUnwindSafe(|| {
        let prepare = |world: &mut World| {
            world.ledger.stop_at(how.stop);
            how.trace.iter().for_each(|trace| trace.listen_to(world));
        };
        let tell = |now| {
            reached.set(now);
            progress(now);
        };
        if how.is_compared {
            return report::run_prepared(scenario, prepare, tell);
        }
        let mut world = scenario.world();
        prepare(&mut world);
        report::run_world(world, scenario, tell)
    }));
    match result {
        Ok((report, world)) => Outcome {
            findings: findings(scenario, &report, &world),
            report: Some(report),
            took: started.elapsed(),
            peak_rss_bytes: None,
            memory: census.then(|| report::memory(&world)),
        },
        Err(payload) => {
            let text = panics::take().unwrap_or_else(|| panics::said(&*payload));
            let at = reached.get().as_micros();
            let finding = Finding { check: "panic".to_owned(), at, node: None, text };
            Outcome {
                report: None,
                findings: vec![finding],
                took: started.elapsed(),
                peak_rss_bytes: None,
                memory: None,
            }
        }
    }
}

/// All that is wrong with a run, in the order of time.
pub fn findings(scenario: &Scenario, report: &Report, world: &World) -> Vec<Finding> {
    let mut findings: Vec<Finding> = report.violations.iter().map(Finding::from).collect();
    findings.extend(missing(scenario, report, world));
    if report.planned > 0 && report.messages == 0 && !report.is_stopped {
        let text = "nothing could be sent".to_owned();
        findings.push(Finding { check: "silence".to_owned(), at: 0, node: None, text });
    }
    findings.sort_by(|a, b| (a.at, a.node, &a.check).cmp(&(b.at, b.node, &b.check)));
    findings
}

/// How many findings there are in all, with the violations that are counted and not kept.
pub fn n_findings(findings: &[Finding], report: Option<&Report>) -> u64 {
    let n_kept = |report: &Report| report.violations.len() as u64;
    let n_more = report.map_or(0, |report| report.n_violations.saturating_sub(n_kept(report)));
    findings.len() as u64 + n_more
}

impl From<&Violation> for Finding {
    fn from(violation: &Violation) -> Self {
        let Violation { at, node, check, text } = violation;
        Self { check: (*check).to_owned(), at: *at, node: Some(*node), text: text.clone() }
    }
}

/// Messages that left their author and did not reach all to whom they were due.
fn missing(scenario: &Scenario, report: &Report, world: &World) -> Vec<Finding> {
    let mut missed = Vec::new();
    if report.missing == 0 {
        return missed;
    }
    report::each_due(scenario, world, |due| {
        if due.is_missing() && missed.len() < MISSING_MAX {
            let (number, author, all) = (due.number, due.sent.author, report.missing);
            missed.push(Finding {
                check: "delivery".to_owned(),
                at: due.sent.at.as_micros(),
                node: Some(due.node),
                text: format!(
                    "message {number} of node {author} never came; {all} deliveries are missing in all"
                ),
            });
        }
    });
    missed
}
