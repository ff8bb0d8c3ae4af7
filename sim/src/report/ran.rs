//! A report with what the machine made of it: what every command says of a run, in the same words.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::Report;

/// Of what is one for each second, or each kind of frame, and of what is no measure, no mean is taken.
const NO_FIGURES: [&str; 6] = ["frames", "frames_per_node_second", "seed", "series", "threads", "violations"];

/// A run that is over.
#[derive(Clone, Debug, Serialize)]
pub struct Ran {
    /// Of what: a scenario's name or file, or how it was drawn.
    pub scenario: String,
    /// What came of it.
    #[serde(flatten)]
    pub report: Report,
    /// Real time.
    #[serde(rename = "took_s", serialize_with = "seconds")]
    pub took: Duration,
    /// Events in a real second.
    pub events_per_s: f64,
    /// The most memory that the process had; none where the system does not say, or where it had other runs beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_rss_bytes: Option<u64>,
    /// The same for each node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_node: Option<u64>,
    /// Bytes of each part of a node at the end, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<BTreeMap<String, u64>>,
}

impl Ran {
    /// A run that took so long.
    pub fn new(scenario: impl Into<String>, report: Report, took: Duration) -> Self {
        let events_per_s = report.events as f64 / took.as_secs_f64().max(1e-9);
        let scenario = scenario.into();
        Self {
            scenario,
            report,
            took,
            events_per_s,
            peak_rss_bytes: None,
            bytes_per_node: None,
            memory: None,
        }
    }

    /// With the most memory that the process has had, which has run nothing else since it was last forgotten.
    #[must_use]
    pub fn with_peak(self, peak_rss_bytes: Option<u64>) -> Self {
        let each = |bytes| bytes / self.report.nodes.max(1) as u64;
        Self { peak_rss_bytes, bytes_per_node: peak_rss_bytes.map(each), ..self }
    }

    /// All that can be compared, by the names that it has as JSON; a dot leads into an object.
    pub fn figures(&self) -> BTreeMap<String, f64> {
        serde_json::to_value(self).as_ref().map(figures).unwrap_or_default()
    }
}

/// The figures of a run from its JSON.
pub fn figures(run: &Value) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    let fields = run.as_object().into_iter().flatten();
    fields.filter(|(name, _)| !NO_FIGURES.contains(&name.as_str())).for_each(|(name, value)| {
        put(name, value, &mut all);
    });
    all
}

fn put(name: &str, value: &Value, all: &mut BTreeMap<String, f64>) {
    match value {
        Value::Number(n) => all.extend(n.as_f64().map(|n| (name.to_owned(), n))),
        Value::Object(fields) => {
            fields.iter().for_each(|(field, value)| put(&format!("{name}.{field}"), value, all));
        }
        _ => {}
    }
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.report.is_good() { "good" } else { "NOT good" };
        let (threads, s) = (self.report.threads, if self.report.threads == 1 { "" } else { "s" });
        let of = format!("{}, seed {}, {threads} thread{s}: {verdict}", self.scenario, self.report.seed);
        writeln!(f, "{:<28}{of}", "run of")?;
        self.report.fmt(f)?;
        if let (Some(peak), Some(each)) = (self.peak_rss_bytes, self.bytes_per_node) {
            let (peak, each) = (peak / 1_000_000, each as f64 / 1024.0);
            writeln!(f, "{:<28}{peak} MB, {each:.1} KiB a node", "most memory")?;
        }
        for (part, bytes) in self.memory.iter().flatten() {
            writeln!(f, "{part:<28}{:.1} KiB a node, about", *bytes as f64 / 1024.0)?;
        }
        Ok(())
    }
}

/// The most memory that this process has had, as Linux says it.
pub fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// From now on [`peak_rss_bytes`] is of what comes, and of what is there now. Where the system does not do that it stays.
pub fn forget_peak_rss() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
