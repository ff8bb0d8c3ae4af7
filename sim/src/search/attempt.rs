//! One run, and what is wrong with it.

use core::cell::{Cell, RefCell};
use core::fmt;
use core::time::Duration;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};

use djembe_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::trace;
use crate::ledger::{Sent, Violation};
use crate::report::{self, Report};
use crate::scenario::Scenario;
use crate::topology::NodeIx;
use crate::world::World;

/// Of what is missing at the end so many are named.
const MISSING_MAX: usize = 5;
/// Of what one check finds in a run so much is kept where there are many runs.
const SHORT: usize = 3;
/// After the last fault what is live may be missed for so long: ways are found anew.
const LIVE_GRACE: Duration = Duration::from_secs(30);

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
}

impl Outcome {
    /// Whether a check failed.
    pub fn fails(&self, check: &str) -> bool {
        self.findings.iter().any(|finding| finding.check == check)
    }

    /// The first of each check, in the order of time: one mistake is found many times.
    pub fn in_short(&self) -> Vec<Finding> {
        let firsts = self.findings.iter().enumerate().filter(|(n, finding)| {
            let before = self.findings[..*n].iter().filter(|other| other.check == finding.check);
            before.count() < SHORT
        });
        firsts.map(|(_, finding)| finding.clone()).collect()
    }
}

/// Runs a scenario. Nothing that goes wrong in it gets out.
pub fn attempt(scenario: &Scenario) -> Outcome {
    run(scenario, |_| ())
}

/// The same, and writes what applications are told: a line of JSON each. An error of the writer ends the trace.
pub fn attempt_traced(scenario: &Scenario, to: impl Write + Send + 'static) -> Outcome {
    run(scenario, |world| trace::write_to(world, to))
}

fn run(scenario: &Scenario, prepare: impl FnOnce(&mut World)) -> Outcome {
    let reached = Cell::new(Timestamp::ZERO);
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut world = scenario.world();
        prepare(&mut world);
        report::run_world(world, scenario, |now| reached.set(now))
    }));
    match result {
        Ok((report, world)) => {
            let mut findings: Vec<Finding> = report.violations.iter().map(finding).collect();
            findings.extend(missing(scenario, &world));
            if report.planned > 0 && report.messages == 0 {
                let text = "nothing could be sent".to_owned();
                findings.push(Finding { check: "silence".to_owned(), at: 0, node: None, text });
            }
            findings.sort_by(|a, b| (a.at, a.node, &a.check).cmp(&(b.at, b.node, &b.check)));
            Outcome { report: Some(report), findings }
        }
        Err(payload) => {
            let text = take_panic().unwrap_or_else(|| said(&*payload));
            let at = reached.get().as_micros();
            let finding = Finding { check: "panic".to_owned(), at, node: None, text };
            Outcome { report: None, findings: vec![finding] }
        }
    }
}

fn finding(violation: &Violation) -> Finding {
    let Violation { at, node, check, text } = violation;
    Finding { check: (*check).to_owned(), at: *at, node: Some(*node), text: text.clone() }
}

/// Messages that left their author and did not reach all to whom they were due.
fn missing(scenario: &Scenario, world: &World) -> Vec<Finding> {
    let up: Vec<NodeIx> = world.honest().filter(|node| world.host(*node).engine.is_some()).collect();
    let sealed = world.ledger.messages.iter().enumerate().filter(|(_, sent)| sent.is_sealed);
    let missed = sealed.flat_map(|(number, sent)| {
        let group = world.group_of(&sent.group);
        let members = up.iter().filter(move |node| group.is_some_and(|group| world.is_member(**node, group)));
        let due = members.filter(move |node| is_due(scenario, sent, **node));
        due.filter(|node| !sent.delivered.contains(node)).map(move |node| (number, sent, *node))
    });
    let missed: Vec<(usize, &Sent, NodeIx)> = missed.collect();
    let name = |(number, sent, node): &(usize, &Sent, NodeIx)| Finding {
        check: "delivery".to_owned(),
        at: sent.at.as_micros(),
        node: Some(*node),
        text: format!(
            "message {number} of node {} never came; {} deliveries are missing in all",
            sent.author,
            missed.len()
        ),
    };
    missed.iter().take(MISSING_MAX).map(name).collect()
}

/// What is kept is due to all that run at the end. What is live is due to those who were there, where nothing holds it
/// up: it is given up after a gap of 300 ms.
fn is_due(scenario: &Scenario, sent: &Sent, node: NodeIx) -> bool {
    if node == sent.author {
        return false;
    }
    if sent.lane.is_kept() {
        return true;
    }
    let is_smooth = [scenario.loss, scenario.corrupt].iter().all(|share| *share == 0.0)
        && scenario.burst.is_none()
        && scenario.bandwidth == 0
        && scenario.attackers == 0;
    let calm = Timestamp::ZERO + scenario.faults_end().max(scenario.joins) + LIVE_GRACE;
    is_smooth && sent.at >= calm && sent.expected.contains(&node)
}

// Panics.

thread_local! {
    /// What the last panic of this thread said, and where it was.
    static PANICKED: RefCell<Option<String>> = const { RefCell::new(None) };
    /// What to say before the process ends, where panics end it.
    static ON_ABORT: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn take_panic() -> Option<String> {
    PANICKED.with_borrow_mut(Option::take)
}

fn said(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}

/// From now on a panic anywhere in the process is not told on stderr but kept for its [`Finding`]. Where panics end the
/// process, it is told on stdout with what [`on_abort`] left, and the exit code is 1.
pub fn hush_panics() {
    hush_panics_that(cfg!(panic = "abort"));
}

/// The same, where it is said whether panics end the process.
#[doc(hidden)]
pub fn hush_panics_that(end_the_process: bool) {
    set_hook(Box::new(move |info| {
        let place = info.location().map_or_else(String::new, |at| format!(", {}:{}", at.file(), at.line()));
        let text = format!("{}{place}", said(info.payload()));
        if end_the_process {
            let last = ON_ABORT.with_borrow(Option::clone).unwrap_or_default();
            let _ = writeln!(std::io::stdout(), "panic: {text}\n{last}");
            std::process::exit(1);
        }
        PANICKED.with_borrow_mut(|panicked| *panicked = Some(text));
    }));
}

/// What to say if a panic of this thread ends the process.
pub fn on_abort(text: String) {
    ON_ABORT.with_borrow_mut(|last| *last = Some(text));
}
