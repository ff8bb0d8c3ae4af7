//! `djembe-sim run SCENARIO|FILE [--seed N] [--set key=value]... [--beside PROTOCOL,...] [--json]`
//!
//! stdout carries the report, stderr everything else. Exit code 0: all delivered and nothing violated; 1: not so,
//! with the command that replays it; 2: the command line or the scenario is wrong.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use djembe_sim::baseline::Protocol;
use djembe_sim::report::{self, Beside};
use djembe_sim::scenario::{SHIPPED, Scenario};

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
    Run(Run),
    /// List the scenarios that are built in.
    List,
}

#[derive(clap::Args)]
struct Run {
    /// The name of a scenario that is built in, or a TOML file.
    scenario: String,
    /// Another seed than the scenario's.
    #[arg(long)]
    seed: Option<u64>,
    /// Another value for a field of the scenario, like nodes=100 or messages.rate=5.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Run it with these protocols too, and report all side by side.
    #[arg(long, value_name = "PROTOCOL", value_delimiter = ',')]
    beside: Vec<Protocol>,
    /// Report one JSON object.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Run(args) => run(&args),
        Command::List => {
            let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
            print(&format!("{}\n", names.join("\n")));
            ExitCode::SUCCESS
        }
    }
}

fn run(args: &Run) -> ExitCode {
    let scenario = match load(args) {
        Ok(scenario) => scenario,
        Err(error) => {
            eprintln!("djembe-sim: {error}");
            return ExitCode::from(2);
        }
    };
    if !args.beside.is_empty() {
        return run_beside(args, &scenario);
    }
    let started = Instant::now();
    let is_terminal = std::io::stderr().is_terminal();
    let report = report::run(&scenario, |now| {
        if is_terminal {
            let share = now.as_micros() as f64 / scenario.duration.as_micros() as f64;
            eprint!("\r{:3.0} % of {:?}", share * 100.0, scenario.duration);
        }
    });
    let took = started.elapsed().as_secs_f64();
    eprintln!(
        "{}{} events in {took:.2} s, {:.0} a second",
        if is_terminal { "\r" } else { "" },
        report.events,
        report.events as f64 / took
    );
    conclude(args, scenario.seed, &report, report.is_good())
}

/// The same with several protocols.
fn run_beside(args: &Run, scenario: &Scenario) -> ExitCode {
    let result = Beside::run(scenario, &args.beside, |protocol, _, report| {
        if let Some(report) = report {
            eprintln!("{protocol}: {} events", report.events);
        }
    });
    match result {
        Ok(beside) => conclude(args, scenario.seed, &beside, beside.is_good()),
        Err(error) => {
            eprintln!("djembe-sim: {error}");
            ExitCode::from(2)
        }
    }
}

/// Prints a report and says whether it is good.
fn conclude<T: serde::Serialize + ToString>(args: &Run, seed: u64, report: &T, is_good: bool) -> ExitCode {
    if args.json {
        match serde_json::to_string(report) {
            Ok(json) => print(&format!("{json}\n")),
            Err(error) => {
                eprintln!("djembe-sim: {error}");
                return ExitCode::FAILURE;
            }
        }
    } else {
        print(&report.to_string());
    }
    if is_good {
        ExitCode::SUCCESS
    } else {
        eprintln!("replay: {}", replay(args, seed));
        ExitCode::FAILURE
    }
}

fn load(args: &Run) -> Result<Scenario, String> {
    let shipped = SHIPPED.iter().find(|(name, _)| *name == args.scenario);
    let text = match shipped {
        Some((_, text)) => (*text).to_owned(),
        None => std::fs::read_to_string(&args.scenario).map_err(|error| {
            let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
            format!("{}: {error}; built in are: {}", args.scenario, names.join(", "))
        })?,
    };
    let mut sets = args.sets.clone();
    sets.extend(args.seed.map(|seed| format!("seed={seed}")));
    Scenario::parse(&text, &sets).map_err(|error| error.to_string().trim_end().to_owned())
}

/// The command that does the same again.
fn replay(args: &Run, seed: u64) -> String {
    let quote = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let sets = args.sets.iter().map(|set| format!(" --set {}", quote(set)));
    let json = if args.json { " --json" } else { "" };
    format!("djembe-sim run {} --seed {seed}{}{json}", quote(&args.scenario), sets.collect::<String>())
}

/// Writes to stdout; a reader that has gone away is no error.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
