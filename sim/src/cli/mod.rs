//! `djembe-sim run SCENARIO|FILE [--seed N | --seeds A..B] [--set key=value]... [--json]`, and what searches for failures: `explore`,
//! `replay`, `shrink`, `sweep`, `merge`, `compare`.
//!
//! stdout carries results, stderr everything else. Exit code 0: all delivered and nothing violated; 1: not so, with the
//! command that replays it; 2: the command line, a scenario or a file is wrong.

mod compare;
mod explore;
mod merge;
mod progress;
mod replay;
mod run;
mod seeds;
mod shrink;
mod spread;
mod sweep;
mod verdict;

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use djembe_sim::scenario::SHIPPED;

/// Simulates thousands of djembe nodes: the very code of a node, in virtual time.
#[derive(Parser)]
#[command(name = "djembe-sim", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a scenario and report.
    Run(run::Args),
    /// List the scenarios that are built in.
    List,
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
        Command::List => {
            let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
            print(&format!("{}\n", names.join("\n")));
            Ok(true)
        }
        Command::Explore(args) => explore::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Shrink(args) => shrink::run(&args),
        Command::Sweep(args) => sweep::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Compare(args) => compare::run(&args),
    };
    match result {
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

/// Writes to stdout; a reader that has gone away is no error.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Writes one JSON object on a line of its own.
fn print_json(value: &impl serde::Serialize) -> Result<(), String> {
    let json = serde_json::to_string(value).map_err(|error| error.to_string())?;
    print(&format!("{json}\n"));
    Ok(())
}

/// An error with the file that it is about.
fn about(path: &std::path::Path) -> impl Fn(&dyn Display) -> String {
    move |error| format!("{}: {error}", path.display())
}
