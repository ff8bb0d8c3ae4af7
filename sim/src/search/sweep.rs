//! Many seeds on many machines: each takes its share and appends a line of JSON for each to a file of its own.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Finding, Outcome, Plan, Progress, Told, explore};
use crate::report::{Ran, figures};

/// How each line of ours begins.
const BEGINNING: &[u8] = b"{\"seed\":";
/// No line is longer: one has some kilobytes.
const LINE_MAX: u64 = 8 << 20;
/// What a run prints as one object is no longer; a run has some hundred kilobytes.
const OBJECT_MAX: u64 = 1 << 30;

/// What is kept of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Line {
    /// From which it was drawn.
    pub seed: u64,
    /// What a seed stands for: seeds of something else are other runs.
    pub of: String,
    /// Over everything that happened; none if it panicked.
    pub hash: Option<String>,
    /// The figures, by the names that they have in the JSON of a run; a dot leads into an object.
    pub figures: BTreeMap<String, f64>,
    /// What is wrong: the first three of each check.
    pub findings: Vec<Finding>,
}

impl Line {
    fn new(seed: u64, of: &str, outcome: &Outcome) -> Self {
        let ran = outcome.ran(of);
        Self {
            seed,
            of: of.to_owned(),
            hash: ran.as_ref().map(|ran| ran.report.hash.clone()),
            figures: ran.as_ref().map(Ran::figures).unwrap_or_default(),
            findings: outcome.in_short(),
        }
    }

    /// From the JSON of a run; nothing if it is none.
    fn of_run(run: &Value) -> Option<Self> {
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let finding = |violation: &Value| {
            let node = violation.get("node").and_then(Value::as_u64).and_then(|node| node.try_into().ok());
            let at = violation.get("at").and_then(Value::as_u64)?;
            Some(Finding { check: text(violation, "check")?, at, node, text: text(violation, "text")? })
        };
        let violations = run.get("violations").and_then(Value::as_array).into_iter().flatten();
        Some(Self {
            seed: run.get("seed")?.as_u64()?,
            of: text(run, "scenario")?,
            hash: Some(text(run, "trace_hash")?),
            figures: figures(run),
            findings: violations.filter_map(finding).collect(),
        })
    }
}

/// Of one hash and one figure, for tests.
#[cfg(test)]
pub(super) fn line(seed: u64, hash: &str, copies: f64) -> Line {
    let figures = BTreeMap::from([("copies_per_delivery".to_owned(), copies)]);
    Line { seed, of: "it".to_owned(), hash: Some(hash.to_owned()), figures, findings: Vec::new() }
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
    /// A line is none of ours.
    #[error("line {0} is none that `sweep` has written: {1}")]
    Line(usize, serde_json::Error),
    /// A line has no end, or is too long to be one of ours.
    #[error("line {0} is none that `sweep` has written")]
    Foreign(usize),
    /// It has no whole line.
    #[error("there is no result in it")]
    Empty,
    /// Seeds stand for something else in the file.
    #[error("the file was made with {0}, and this is {1}")]
    Other(String, String),
    /// It has no results.
    #[error("neither the lines of a sweep, nor what `run --json` prints")]
    None,
}

/// What a file holds.
#[derive(Clone, Default, Debug)]
pub struct Results {
    /// In the order of the file.
    pub lines: Vec<Line>,
    /// Bytes of whole lines: what follows was torn off by the end of a process or machine.
    pub whole: u64,
}

/// Reads results. A last line that has no end was torn off, and is left out if it can have been one of ours.
///
/// # Errors
/// [`SweepError`] if it cannot be read, or is something else.
pub fn read_lines(from: impl Read) -> Result<Results, SweepError> {
    let mut from = BufReader::new(from);
    let mut results = Results::default();
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let n = from.by_ref().take(LINE_MAX).read_until(b'\n', &mut bytes)? as u64;
        let number = results.lines.len() + 1;
        if n == LINE_MAX {
            return Err(SweepError::Foreign(number));
        }
        if bytes.last() != Some(&b'\n') {
            // After lines of ours a machine that died may have left anything; alone it has to look like one of ours.
            let is_ours = number > 1 || begins_like_ours(&bytes);
            return if is_ours { Ok(results) } else { Err(SweepError::Foreign(number)) };
        }
        let line = serde_json::from_slice(&bytes).map_err(|error| SweepError::Line(number, error))?;
        results.lines.push(line);
        results.whole += n;
    }
}

fn begins_like_ours(bytes: &[u8]) -> bool {
    bytes.iter().zip(BEGINNING).all(|(byte, ours)| byte == ours)
}

/// Reads what `sweep` has written, to be put together: there has to be something.
///
/// # Errors
/// [`SweepError`] if there is nothing, it is something else, or cannot be read.
pub fn read_part(from: impl Read) -> Result<Vec<Line>, SweepError> {
    let lines = read_lines(from)?.lines;
    if lines.is_empty() { Err(SweepError::Empty) } else { Ok(lines) }
}

/// Reads results to compare: the lines of a sweep, or what `run` prints of one seed or of several.
///
/// # Errors
/// [`SweepError`] if there is nothing, it is something else, or cannot be read.
pub fn read_results(mut from: impl Read) -> Result<Vec<Line>, SweepError> {
    let mut bytes = Vec::new();
    from.by_ref().take(BEGINNING.len() as u64).read_to_end(&mut bytes)?;
    let part = |part: &mut dyn Read| match read_part(part) {
        Err(SweepError::Line(1, _) | SweepError::Foreign(1)) => Err(SweepError::None),
        lines => lines,
    };
    if begins_like_ours(&bytes) {
        return part(&mut bytes.chain(from));
    }
    from.take(OBJECT_MAX).read_to_end(&mut bytes)?;
    // Lines of a sweep that somebody else has written are not one value, but for a single one.
    let Some(one) = serde_json::from_slice::<Value>(&bytes).ok().filter(|one| one.get("of").is_none()) else {
        return part(&mut &bytes[..]);
    };
    let runs = one.get("seeds").and_then(Value::as_array);
    let runs = runs.map_or_else(|| vec![&one], |runs| runs.iter().collect());
    let lines = runs.into_iter().map(Line::of_run).collect::<Option<Vec<Line>>>().ok_or(SweepError::None)?;
    if lines.is_empty() { Err(SweepError::Empty) } else { Ok(lines) }
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
    let of = plan.source.to_string();
    let held = open_at_end(&mut file, &of)?;
    let is_ours = |seed: u64| seed % shard.1.max(1) == shard.0;
    let failed: OnceLock<io::Error> = OnceLock::new();
    let wants = |seed: u64| is_ours(seed) && !held.contains_key(&seed) && failed.get().is_none();
    let ours = held.iter().filter(|(seed, is_bad)| **is_bad && is_ours(**seed) && plan.seeds.contains(seed));
    let bad_before = ours.count() as u64;
    let progress = explore(plan, wants, before, |told| {
        if let Told::Ran(seed, outcome) = &told
            && failed.get().is_none()
            && let Err(error) = append(&mut file, &Line::new(*seed, &of, outcome))
        {
            failed.get_or_init(|| error);
        }
        tell(told);
    });
    failed.into_inner().map_or(Ok(Swept { progress, bad_before }), |error| Err(error.into()))
}

/// Takes a torn line off, and says which seeds are there, and whether something was found.
fn open_at_end(file: &mut File, of: &str) -> Result<BTreeMap<u64, bool>, SweepError> {
    let results = read_lines(&mut *file)?;
    if let Some(other) = results.lines.iter().find(|line| line.of != of) {
        return Err(SweepError::Other(other.of.clone(), of.to_owned()));
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
        assert_eq!(read_lines((two.clone() + "\0\0\0").as_bytes()).expect("two").lines.len(), 2);
        let torn = two.clone() + "{\"seed\n" + &line(5);
        assert!(matches!(read_lines(torn.as_bytes()), Err(SweepError::Line(3, _))));
        assert!(matches!(read_results(&b"{\"seed\": 1}\n"[..]), Err(SweepError::None)));
        assert_eq!(read_results(line(1).as_bytes()).expect("a single line").len(), 1);
        assert_eq!(read_results(two.as_bytes()).expect("two lines").len(), 2);
        assert_eq!(read_lines(&b""[..]).expect("nothing").lines, []);
    }

    /// Goal: what is no sweep's is not taken for a torn line of one, however it ends, nor read without end.
    #[test]
    fn what_is_somebody_elses_is_an_error() {
        for text in ["my notes\n", "my notes", "{\"seed\n", "{\"name\":", "\0\0\0", "{\"seed\":1}\n"] {
            assert!(read_lines(text.as_bytes()).is_err(), "{text:?}");
        }
        let ours = line(1) + "my notes\n";
        assert!(matches!(read_lines(ours.as_bytes()), Err(SweepError::Line(2, _))));
        assert!(matches!(read_lines(io::repeat(b'{')), Err(SweepError::Foreign(1))));
        let endless = io::Cursor::new(line(1)).chain(io::repeat(0));
        assert!(matches!(read_lines(endless), Err(SweepError::Foreign(2))));
        for text in ["", "{\"se", "{\"seed\":1"] {
            assert!(matches!(read_part(text.as_bytes()), Err(SweepError::Empty)), "{text:?}");
            assert!(read_results(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(matches!(read_results(&b"{\"seeds\":[]}"[..]), Err(SweepError::Empty)));
    }

    /// Goal: a file that is no sweep's is as it was.
    #[test]
    fn a_file_of_somebody_else_is_left_alone() {
        let path = std::env::temp_dir().join(format!("djembe-sim-notes-{}", std::process::id()));
        let plan = Plan::drawn(0..1, super::super::Bounds::default(), 1);
        for text in ["my notes\n", "my notes"] {
            std::fs::write(&path, text).expect("there is room");
            assert!(sweep(&plan, (0, 1), &path, |_| (), |_| ()).is_err());
            assert_eq!(std::fs::read_to_string(&path).expect("it is there"), text);
        }
        std::fs::remove_file(&path).expect("it is ours");
    }
}
