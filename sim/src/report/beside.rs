//! One scenario, spread by several protocols: a column for each.

use core::fmt;
use std::time::Instant;

use djembe_protocol::time::Timestamp;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::{Ran, Report, forget_peak_rss, peak_rss_bytes, run_prepared};
use crate::baseline::Protocol;
use crate::ledger::Stop;
use crate::scenario::{Scenario, ScenarioError};
use crate::world::World;

/// Runs of the same scenario, the scenario's own protocol first.
#[derive(Clone, Debug)]
pub struct Beside {
    /// One for each protocol.
    pub runs: Vec<Ran>,
}

/// A line of the table: what it is, and what a report says of it.
type Row = (&'static str, fn(&Report) -> String);

const ROWS: [Row; 19] = [
    ("messages sent", |report| format!("{} of {}", report.messages, report.planned)),
    ("delivered", |report| format!("{:.4}", report.delivery_ratio)),
    ("latency p50 ms", |report| format!("{:.1}", report.latency_p50_ms)),
    ("latency p99 ms", |report| format!("{:.1}", report.latency_p99_ms)),
    ("latency max ms", |report| format!("{:.1}", report.latency_max_ms)),
    ("to 99 % / optimum of each", |report| match report.optimum_ratio_p99 {
        0.0 => "-".to_owned(),
        ratio => format!("{ratio:.3}"),
    }),
    ("time to all, p99 ms", |report| format!("{:.1}", report.full_delivery_ms.p99)),
    ("most hops", |report| report.last_hop_max.to_string()),
    ("copies of a payload", |report| format!("{:.3}", report.copies)),
    ("message bytes / sealed byte", |report| format!("{:.3}", report.message_bytes_ratio)),
    ("wire bytes / payload byte", |report| format!("{:.2}", report.bytes_per_payload_byte)),
    ("wire bytes / node / s", |report| format!("{:.0}", report.wire_bytes_per_node_second)),
    ("  from the first message on", |report| format!("{:.0}", talking(report))),
    ("  of messages then", |report| format!("{:.0}", report.message_bytes_per_node_second)),
    ("  of presence then", |report| format!("{:.0}", report.presence_bytes_per_node_second)),
    ("  of background then", |report| format!("{:.0}", report.background_bytes_per_node_second)),
    ("links of a node", |report| format!("{:.1}", report.overlay.degree_mean)),
    ("violations", |report| report.n_violations.to_string()),
    ("hash", |report| report.hash.clone()),
];

/// What is said of each of these reports, line by line.
pub(super) fn rows<'a>(reports: &'a [&'a Report]) -> impl Iterator<Item = (&'static str, Vec<String>)> + 'a {
    ROWS.into_iter().map(|(what, value)| (what, reports.iter().map(|report| value(report)).collect()))
}

/// Everything on the wire from the first message on, a node and second.
fn talking(report: &Report) -> f64 {
    report.message_bytes_per_node_second
        + report.presence_bytes_per_node_second
        + report.discovery_bytes_per_node_second
        + report.background_bytes_per_node_second
}

impl Beside {
    /// Runs a scenario as it is, and with each of these protocols that is another, one after the other, each to its end or
    /// to what stops it. `progress` is told the time of each.
    ///
    /// # Errors
    /// [`ScenarioError`] if the scenario makes no sense with one of them; nothing was run then.
    pub fn run(
        name: &str,
        scenario: &Scenario,
        others: &[Protocol],
        stop: &Stop,
        mut progress: impl FnMut(Protocol, Timestamp),
    ) -> Result<Self, ScenarioError> {
        let mut scenarios = vec![scenario.clone()];
        for protocol in others {
            if scenarios.iter().all(|scenario| scenario.protocol != *protocol) {
                scenarios.push(scenario.with_protocol(*protocol)?);
            }
        }
        let runs = scenarios.iter().map(|scenario| {
            let started = Instant::now();
            forget_peak_rss();
            let prepare = |world: &mut World| world.ledger.stop_at(stop.clone());
            let (report, _) = run_prepared(scenario, prepare, |now| progress(scenario.protocol, now));
            Ran::new(name, report, started.elapsed()).with_peak(peak_rss_bytes())
        });
        Ok(Self { runs: runs.collect() })
    }

    /// Their reports.
    pub fn reports(&self) -> impl Iterator<Item = &Report> {
        self.runs.iter().map(|ran| &ran.report)
    }

    /// Whether the first is good, and nothing was violated in the others, who need not deliver everything.
    pub fn is_good(&self) -> bool {
        self.reports().next().is_some_and(Report::is_good)
            && self.reports().all(|report| report.violations.is_empty())
    }
}

/// One object with a run for each protocol, by its name.
impl Serialize for Beside {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.runs.len()))?;
        for ran in &self.runs {
            map.serialize_entry(ran.report.protocol.name(), ran)?;
        }
        map.end()
    }
}

impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(first) = self.reports().next() {
            writeln!(f, "{} nodes, {} s, seed {}\n", first.nodes, first.seconds, first.seed)?;
        }
        let reports: Vec<&Report> = self.reports().collect();
        write!(f, "{:<31}", "")?;
        for report in self.reports() {
            write!(f, "{:>17}", report.protocol)?;
        }
        writeln!(f)?;
        for (what, values) in rows(&reports) {
            write!(f, "{what:<31}")?;
            for value in values {
                write!(f, "{value:>17}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
