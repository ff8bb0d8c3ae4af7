//! `djembe-sim run SCENARIO|FILE [--seed N | --seeds A..B] [--set key=value]... [--json]`, and what searches for failures: `explore`,
//! `replay`, `shrink`, `sweep`, `merge`, `compare`.
//!
//! stdout carries results, stderr everything else. Exit code 0: all delivered and nothing violated; 1: not so, with the
//! command that replays it; 2: the command line, a scenario or a file is wrong, or a result could not be written.

mod compare;
mod explore;
mod list;
mod merge;
mod output;
mod progress;
mod replay;
mod run;
mod seeds;
mod shrink;
mod spread;
mod sweep;
mod verdict;

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Parser, Subcommand};

const HELP: &str = "\
Exit codes:
    0  all that was due was delivered, nothing violated, nothing missing
    1  not so: a check failed (run, explore, replay, sweep), a part is missing or has findings (merge), the second result
       has findings that the first has not, or with --same is another (compare), something fails and was made small (shrink)
    2  the command line, a scenario or a file is wrong, or a result could not be written
  130  broken off by Ctrl-C; what sweep has written stays, and it goes on from there

Results go to standard output, everything else to standard error.";

/// Simulates thousands of djembe nodes: the very code of a node, in virtual time.
#[derive(Parser)]
#[command(name = "djembe-sim", version, after_help = HELP)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a scenario and report.
    Run(run::Args),
    /// List the scenarios that are built in.
    List(list::Args),
    /// Draw a scenario from each of many seeds, run them all, and tell what goes wrong.
    Explore(explore::Args),
    /// Run the scenario of one seed again.
    Replay(replay::Args),
    /// Make the scenario of a seed small in which something goes wrong.
    Shrink(shrink::Args),
    /// Run one part of many of the seeds, and append a line of JSON for each to a file.
    Sweep(sweep::Args),
    /// Put the files of a sweep together, and sum up.
    Merge(merge::Args),
    /// Compare two results.
    Compare(compare::Args),
}

/// Does what the command line says.
pub(crate) fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Run(args) => run::run(&args),
        Command::List(args) => list::run(&args),
        Command::Explore(args) => explore::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Shrink(args) => shrink::run(&args),
        Command::Sweep(args) => sweep::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Compare(args) => compare::run(&args),
    };
    match result {
        Ok(true) if IS_LOST.load(Ordering::Relaxed) => ExitCode::from(2),
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("djembe-sim: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether all was good, or why there is no telling.
type Done = Result<bool, String>;

/// Something could not be written where it was to be: a run in which nothing is wrong does not end with 0 then.
static IS_LOST: AtomicBool = AtomicBool::new(false);

/// Says that something could not be written.
fn lost(text: &str) {
    IS_LOST.store(true, Ordering::Relaxed);
    eprintln!("djembe-sim: {text}");
}

/// Writes to stdout; a reader that has gone away is no error. What else goes wrong is said once.
fn print(text: &str) {
    static IS_SAID: AtomicBool = AtomicBool::new(false);
    let mut stdout = std::io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe && !IS_SAID.swap(true, Ordering::Relaxed) => {
            lost(&format!("stdout: {error}"));
        }
        _ => {}
    }
}

/// Writes one JSON object on a line of its own.
fn print_json(value: &impl serde::Serialize) -> Result<(), String> {
    let json = serde_json::to_string(value).map_err(|error| error.to_string())?;
    print(&format!("{json}\n"));
    Ok(())
}

/// Why a search ends without having looked at anything.
const NO_TIME: &str = "nothing was run: the time of --minutes was over before the first run began";

/// An error with the file that it is about.
fn about(path: &std::path::Path) -> impl Fn(&dyn Display) -> String {
    move |error| format!("{}: {error}", path.display())
}
