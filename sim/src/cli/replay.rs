//! `replay`: one seed again.

use std::path::PathBuf;

use djembe_sim::panics;
use djembe_sim::report;
use djembe_sim::search::{self, Attempt};

use super::seeds::{self, Drawn};
use super::verdict::{Trail, Watch};
use super::{Done, about, print, print_json, progress};

#[derive(clap::Args)]
pub(super) struct Args {
    /// A seed, the name of a scenario that is built in, or a TOML file.
    seed: String,
    /// Write the scenario to this file, for `run`.
    #[arg(long, value_name = "FILE")]
    toml: Option<PathBuf>,
    #[command(flatten)]
    drawn: Drawn,
    #[command(flatten)]
    watch: Watch,
    /// Also say how much memory each part of a node takes, about, at the end.
    #[arg(long)]
    census: bool,
    /// Report one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Done {
    let (name, scenario) = seeds::scenario(&args.seed, &args.drawn)?;
    if let Some(path) = &args.toml {
        std::fs::write(path, scenario.to_toml()).map_err(|error| about(path)(&error))?;
    }
    let replay = match args.seed.parse() {
        Ok(seed) => args.drawn.replay(seed),
        Err(_) => format!("djembe-sim replay {}", args.seed),
    };
    let replay = replay + args.watch.option();
    panics::hush_panics();
    panics::on_abort(format!("replay: {replay}"));
    let trace = args.watch.open()?;
    let how =
        Attempt { stop: args.watch.stop(), trace: trace.clone(), census: args.census, ..Attempt::default() };
    let mut bar = progress::Run::new(scenario.duration, 1);
    let outcome = search::attempt_with(&scenario, how, |now| bar.tell(&args.seed, now));
    bar.clear();
    if let Some(ran) = outcome.ran(&name) {
        let ran = ran.with_peak(report::peak_rss_bytes());
        if args.json {
            print_json(&ran)?;
        } else {
            print(&ran.to_string());
        }
    }
    let is_told = |check: &str| !args.json && !["delivery", "silence", "panic"].contains(&check);
    for finding in outcome.findings.iter().filter(|finding| !is_told(&finding.check)) {
        let text = format!("seed {}: {}\n", args.seed, finding);
        if args.json { eprint!("{text}") } else { print(&text) }
    }
    let stem = if args.seed.parse::<u64>().is_ok() { "drawn" } else { &args.seed };
    let trail = Trail::new(trace, !outcome.findings.is_empty());
    args.watch.conclude(stem, &scenario, &outcome.findings, outcome.n_findings(), &replay, trail);
    Ok(outcome.findings.is_empty())
}
