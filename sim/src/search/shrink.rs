//! A smaller scenario in which the same check fails: delta debugging, greedy, until nothing smaller fails.

use core::time::Duration;

use super::smaller::smaller;
use super::{Attempt, Finding, attempt_with};
use crate::ledger::Stop;
use crate::scenario::Scenario;

/// What came of it.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest that was found.
    pub scenario: Scenario,
    /// The failure in it.
    pub finding: Finding,
    /// Runs that it took.
    pub runs: u32,
    /// Nothing smaller fails; else runs ran out.
    pub is_least: bool,
}

/// A step on the way.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Runs so far.
    pub runs: u32,
    /// What was left out or made simpler.
    pub what: &'a str,
    /// Whether the check still fails.
    pub fails: bool,
    /// What is left of the scenario.
    pub scenario: &'a Scenario,
    /// The failure in that.
    pub finding: &'a Finding,
}

/// Makes a scenario smaller in which `finding` was found, with at most `runs_max` runs.
pub fn shrink(
    scenario: &Scenario,
    finding: &Finding,
    runs_max: u32,
    mut tell: impl FnMut(Step<'_>),
) -> Shrunk {
    let mut least = Shrunk { scenario: scenario.clone(), finding: finding.clone(), runs: 0, is_least: false };
    // What did not fail is not tried again before everything else was: most of it fails no sooner.
    let mut from = 0;
    let mut since_success = 0;
    loop {
        let at = Duration::from_micros(least.finding.at) + Duration::from_micros(1);
        let all = smaller(&least.scenario, at);
        if since_success >= all.len() {
            least.is_least = true;
            return least;
        }
        if least.runs >= runs_max {
            return least;
        }
        let (what, one) = &all[from % all.len()];
        least.runs += 1;
        // Other checks may fail before.
        let how = Attempt { stop: Stop::At(least.finding.check.clone()), ..Attempt::default() };
        let findings = attempt_with(one, how, |_| ()).findings;
        let found = findings.into_iter().find(|found| found.check == least.finding.check);
        let fails = found.is_some();
        if let Some(found) = found {
            (least.scenario, least.finding) = (one.clone(), found);
            since_success = 0;
        } else {
            from += 1;
            since_success += 1;
        }
        let Shrunk { scenario, finding, runs, .. } = &least;
        tell(Step { runs: *runs, what, fails, scenario, finding });
    }
}
