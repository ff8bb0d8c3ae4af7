//! `replay`: one seed again.

use std::fs::File;
use std::path::PathBuf;

use djembe_sim::search;

use super::seeds::{self, Drawn};
use super::{Done, about, print, print_json};

#[derive(clap::Args)]
pub(super) struct Args {
    /// A seed, or a scenario's TOML file.
    seed: String,
    /// Write what applications are told to this file: a JSON object a line.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Write the scenario to this file, for `run`.
    #[arg(long, value_name = "FILE")]
    toml: Option<PathBuf>,
    #[command(flatten)]
    drawn: Drawn,
    /// Report one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Done {
    let scenario = seeds::scenario(&args.seed, &args.drawn)?;
    if let Some(path) = &args.toml {
        std::fs::write(path, scenario.to_toml()).map_err(|error| about(path)(&error))?;
    }
    search::hush_panics();
    let outcome = match &args.trace {
        Some(path) => {
            let file = File::create(path).map_err(|error| about(path)(&error))?;
            search::attempt_traced(&scenario, file)
        }
        None => search::attempt(&scenario),
    };
    match &outcome.report {
        Some(report) if args.json => print_json(report)?,
        Some(report) => print(&report.to_string()),
        None => {}
    }
    let is_told = |check: &str| !args.json && !["delivery", "silence", "panic"].contains(&check);
    for finding in outcome.findings.iter().filter(|finding| !is_told(&finding.check)) {
        let text = format!("seed {}: {}\n", args.seed, finding);
        if args.json { eprint!("{text}") } else { print(&text) }
    }
    Ok(outcome.findings.is_empty())
}
