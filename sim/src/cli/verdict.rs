//! What is said of a run in which something is wrong: what, the command that does it again, and the trace up to there.

use std::fs::File;
use std::path::{Path, PathBuf};

use djembe_sim::ledger::Stop;
use djembe_sim::scenario::Scenario;
use djembe_sim::search::{self, Attempt, Finding, Trace};

use super::{about, lost, progress};

/// What a run has to be told of, so that it stops where something is wrong.
#[derive(clap::Args)]
pub(super) struct Watch {
    /// Write what applications are told to this file: a JSON object a line. Without it that is done only if something must
    /// not be, in a second run up to there.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Go on to the end whatever is wrong.
    #[arg(long)]
    keep_going: bool,
}

impl Watch {
    pub(super) fn stop(&self) -> Stop {
        if self.keep_going { Stop::Never } else { Stop::AtAny }
    }

    /// What the command line has to say for the same.
    pub(super) fn option(&self) -> &'static str {
        if self.keep_going { " --keep-going" } else { "" }
    }

    /// The trace that was asked for.
    pub(super) fn open(&self) -> Result<Option<Trace>, String> {
        let Some(path) = &self.trace else { return Ok(None) };
        let file = File::create(path).map_err(|error| about(path)(&error))?;
        Ok(Some(Trace::new(file)))
    }

    /// The end of a run: what is wrong with it, and how to do it again. `name` is that of the scenario; of
    /// findings there may be more than are kept.
    pub(super) fn conclude(
        &self,
        name: &str,
        scenario: &Scenario,
        findings: &[Finding],
        n_in_all: u64,
        replay: &str,
        trace: Trail,
    ) {
        if let Some(first) = findings.first() {
            let more = if n_in_all > 1 { format!(" ({n_in_all} in all)") } else { String::new() };
            eprintln!("failed: {first}{more}\nreplay: {replay}");
        }
        match (&self.trace, trace) {
            (Some(path), Trail::Written(trace)) => match trace.end(findings) {
                Ok(()) => eprintln!("trace: {}", path.display()),
                Err(error) => lost(&format!("no trace: {}", about(path)(&error))),
            },
            (_, Trail::Wanted) => {
                let stem = Path::new(name).file_stem().map_or("run".into(), |stem| stem.to_string_lossy());
                write_trace(
                    scenario,
                    self.stop(),
                    Path::new(&format!("{stem}-{}.trace.jsonl", scenario.seed)),
                );
            }
            _ => {}
        }
    }
}

/// What there is of a trace once a run is over.
pub(super) enum Trail {
    /// It was asked for.
    Written(Trace),
    /// There is none, and something is wrong.
    Wanted,
    /// There is none, and nobody wants one.
    None,
}

impl Trail {
    pub(super) fn new(trace: Option<Trace>, is_wrong: bool) -> Self {
        match trace {
            Some(trace) => Self::Written(trace),
            None if is_wrong => Self::Wanted,
            None => Self::None,
        }
    }
}

/// Runs it once more: it is the same run, and most of the time nobody wants to pay for a trace.
fn write_trace(scenario: &Scenario, stop: Stop, path: &Path) {
    let file = match File::create(path) {
        Ok(file) => file,
        Err(error) => return eprintln!("no trace: {}", about(path)(&error)),
    };
    let trace = Trace::new(file);
    let how = Attempt { stop, trace: Some(trace.clone()), ..Attempt::default() };
    let mut bar = progress::Run::new(scenario.duration, 1);
    let outcome = search::attempt_with(scenario, how, |now| bar.tell(&"for the trace", now));
    bar.clear();
    match trace.end(&outcome.findings) {
        Ok(()) => eprintln!("trace: {}", path.display()),
        Err(error) => eprintln!("no trace: {}", about(path)(&error)),
    }
}
