//! Many seeds on many machines: each takes its share and appends a line of JSON for each to a file of its own.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Finding, Outcome, Plan, Progress, Told, explore};
use crate::report::Report;

/// What is kept of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Line {
    /// From which it was drawn.
    pub seed: u64,
    /// The bound of nodes with which it was drawn: another is another scenario.
    pub nodes_max: usize,
    /// Over everything that happened; none if it panicked.
    pub hash: Option<String>,
    /// The figures of the report, by name.
    pub figures: BTreeMap<String, f64>,
    /// What is wrong: the first three of each check.
    pub findings: Vec<Finding>,
}

impl Line {
    fn new(seed: u64, nodes_max: usize, outcome: &Outcome) -> Self {
        let report = outcome.report.as_ref();
        Self {
            seed,
            nodes_max,
            hash: report.map(|report| report.hash.clone()),
            figures: report.map(figures).unwrap_or_default(),
            findings: outcome.in_short(),
        }
    }
}

fn figures(report: &Report) -> BTreeMap<String, f64> {
    let all = [
        ("nodes", Some(report.nodes as f64)),
        ("seconds", Some(report.seconds)),
        ("messages", Some(report.messages as f64)),
        ("not_sent", Some(report.not_sent as f64)),
        ("delivery_ratio", Some(report.delivery_ratio)),
        ("latency_p50_ms", Some(report.latency_p50_ms)),
        ("latency_p99_ms", Some(report.latency_p99_ms)),
        ("latency_max_ms", Some(report.latency_max_ms)),
        ("late_p99_ms", Some(report.late_p99_ms)),
        ("copies", Some(report.copies)),
        ("bytes_per_payload_byte", Some(report.bytes_per_payload_byte)),
        ("wire_bytes_per_node_second", Some(report.wire_bytes_per_node_second)),
        ("mesh_seconds", report.mesh_seconds),
        ("presence_false_alarms", Some(report.presence_false_alarms as f64)),
        ("presence_flaps", Some(report.presence_flaps as f64)),
        ("degree_mean", Some(report.overlay.degree_mean)),
        ("unreached", Some(report.overlay.unreached as f64)),
        ("events", Some(report.events as f64)),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// Of one hash and one figure, for tests.
#[cfg(test)]
pub(super) fn line(seed: u64, hash: &str, copies: f64) -> Line {
    let figures = BTreeMap::from([("copies".to_owned(), copies)]);
    Line { seed, nodes_max: 9, hash: Some(hash.to_owned()), figures, findings: Vec::new() }
}

/// What a file holds once its part is swept.
#[derive(Clone, Copy, Debug)]
pub struct Swept {
    /// Of this time.
    pub progress: Progress,
    /// Runs of earlier times, of this part and these seeds, in which something was found.
    pub bad_before: u64,
}

impl Swept {
    /// Whether nothing was found, now or before.
    pub fn is_good(&self) -> bool {
        self.progress.bad + self.bad_before == 0
    }
}

/// Why there are no results. What was in the file is as it was, but for a torn last line.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The file cannot be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A line in the middle is none of ours.
    #[error("line {0}: {1}")]
    Line(usize, serde_json::Error),
    /// The file was made with another bound of nodes.
    #[error("the file was made with --nodes {0}, and this is --nodes {1}")]
    Bounds(usize, usize),
}

/// What a file holds.
#[derive(Clone, Default, Debug)]
pub struct Results {
    /// In the order of the file.
    pub lines: Vec<Line>,
    /// Bytes of whole lines: what follows was torn off by the end of a process or machine.
    pub whole: u64,
}

/// Reads results. A last line that is not whole is left out.
///
/// # Errors
/// [`SweepError`] if it cannot be read, or is something else.
pub fn read_lines(from: impl Read) -> Result<Results, SweepError> {
    let mut from = BufReader::new(from);
    let mut results = Results::default();
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let n = from.read_until(b'\n', &mut bytes)?;
        let is_torn = bytes.last() != Some(&b'\n');
        if n == 0 || is_torn {
            return Ok(results);
        }
        match serde_json::from_slice(&bytes) {
            Ok(line) => results.lines.push(line),
            // A machine that died may have left anything in its last line.
            Err(_) if from.fill_buf()?.is_empty() => return Ok(results),
            Err(error) => return Err(SweepError::Line(results.lines.len() + 1, error)),
        }
        results.whole += n as u64;
    }
}

/// Runs the seeds of `shard.0` of `shard.1` parts that a file does not hold yet, and appends a line for each.
///
/// # Errors
/// [`SweepError`]; a line that cannot be written ends it.
pub fn sweep(
    plan: &Plan,
    shard: (u64, u64),
    path: &Path,
    before: impl Fn(u64) + Sync,
    mut tell: impl FnMut(Told<'_>),
) -> Result<Swept, SweepError> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let held = open_at_end(&mut file, plan.bounds.nodes_max)?;
    let is_ours = |seed: u64| seed % shard.1.max(1) == shard.0;
    let wants = |seed: u64| is_ours(seed) && !held.contains_key(&seed);
    let ours = held.iter().filter(|(seed, is_bad)| **is_bad && is_ours(**seed) && plan.seeds.contains(seed));
    let bad_before = ours.count() as u64;
    let mut failed = None;
    let progress = explore(plan, wants, before, |told| {
        if let Told::Ran(seed, outcome) = &told
            && failed.is_none()
        {
            failed = append(&mut file, &Line::new(*seed, plan.bounds.nodes_max, outcome)).err();
        }
        tell(told);
    });
    failed.map_or(Ok(Swept { progress, bad_before }), |error| Err(error.into()))
}

/// Takes a torn line off, and says which seeds are there, and whether something was found.
fn open_at_end(file: &mut File, nodes_max: usize) -> Result<BTreeMap<u64, bool>, SweepError> {
    let results = read_lines(&mut *file)?;
    if let Some(other) = results.lines.iter().find(|line| line.nodes_max != nodes_max) {
        return Err(SweepError::Bounds(other.nodes_max, nodes_max));
    }
    file.set_len(results.whole)?;
    file.seek(SeekFrom::End(0))?;
    Ok(results.lines.iter().map(|line| (line.seed, !line.findings.is_empty())).collect())
}

/// In one write, so that a process that is killed tears at most one line.
fn append(file: &mut File, line: &Line) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    file.write_all(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seed: u64) -> String {
        serde_json::to_string(&super::line(seed, "0123", 1.25)).expect("JSON") + "\n"
    }

    /// Goal: however a file ends, what is whole is read, and what is wrong elsewhere is said.
    #[test]
    fn a_torn_last_line_is_left_out_and_another_is_an_error() {
        let two = line(1) + &line(3);
        for cut in 0..line(5).len() {
            let text = two.clone() + &line(5)[..cut];
            let results = read_lines(text.as_bytes()).expect("two lines");
            assert_eq!((results.lines.len(), results.whole), (2, two.len() as u64), "cut at {cut}");
        }
        assert_eq!(read_lines((two.clone() + "\0\0\0\n").as_bytes()).expect("two").lines.len(), 2);
        let torn = two.clone() + "{\"seed\n" + &line(5);
        assert!(matches!(read_lines(torn.as_bytes()), Err(SweepError::Line(3, _))));
        assert_eq!(read_lines(&b""[..]).expect("nothing").lines, []);
    }
}
