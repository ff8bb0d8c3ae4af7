//! `shrink`: the scenario of a seed, small.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use djembe_sim::panics;
use djembe_sim::scenario::Scenario;
use djembe_sim::search::{self, CHECKS, Finding};

use super::output::Output;
use super::seeds::{self, Drawn};
use super::{Done, print};

#[derive(clap::Args)]
pub(super) struct Args {
    /// A seed, the name of a scenario that is built in, or a TOML file.
    seed: String,
    /// Where to write the scenario, the smallest so far after each step; stdout at the end if not given.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Which of the checks that fail; the first if not given.
    #[arg(long, value_parser = PossibleValuesParser::new(CHECKS))]
    check: Option<String>,
    /// Runs at most.
    #[arg(long, default_value_t = 400)]
    runs: u32,
    #[command(flatten)]
    drawn: Drawn,
}

pub(super) fn run(args: &Args) -> Done {
    let (_, scenario) = seeds::scenario(&args.seed, &args.drawn)?;
    // Before the runs, which may take long.
    let mut file = args.output.as_deref().map(Output::open).transpose()?;
    panics::hush_panics();
    panics::on_abort("replay: build with `--profile sim` to shrink a panic".to_owned());
    eprintln!(
        "run 0 of {}: does it fail? {:?} of {} nodes; each run takes about as long as this one, or less",
        args.runs, scenario.duration, scenario.nodes
    );
    let outcome = search::attempt(&scenario);
    let is_it = |check: &str| args.check.as_ref().is_none_or(|wanted| wanted == check);
    let Some(finding) = outcome.findings.iter().find(|finding| is_it(&finding.check)) else {
        match (&args.check, outcome.findings.first()) {
            (Some(wanted), Some(other)) => {
                let check = &other.check;
                eprintln!("seed {}: {wanted} does not fail, but {check} does: --check {check}", args.seed);
            }
            _ => eprintln!("seed {}: nothing fails, so there is nothing to make small", args.seed),
        }
        file.iter().for_each(Output::forget);
        return Ok(true);
    };
    eprintln!("{}", finding);
    // Who breaks it off has the smallest that was found until then.
    let mut keep = |scenario: &Scenario, finding: &Finding, is_last: bool| {
        file.as_mut().is_some_and(|file| file.write(&toml(scenario, finding), is_last))
    };
    keep(&scenario, finding, false);
    let shrunk = search::shrink(&scenario, finding, args.runs, |step| {
        let fails = if step.fails { "still fails" } else { "does not" };
        let scenario = step.scenario;
        if step.fails {
            keep(scenario, step.finding, false);
        }
        eprintln!(
            "run {} of {}: {}: {fails}; left are {} nodes, {} faults, {} messages, {:?}",
            step.runs,
            args.runs,
            step.what,
            scenario.nodes,
            search::n_faults(scenario),
            scenario.publishes().count(),
            scenario.duration
        );
    });
    let end = if shrunk.is_least { "nothing smaller fails" } else { "runs ran out" };
    eprintln!("{} runs; {end}: {}", shrunk.runs, &shrunk.finding);
    match &args.output {
        Some(path) if keep(&shrunk.scenario, &shrunk.finding, true) => {
            print(&format!("djembe-sim run {}\n", path.display()));
        }
        _ => print(&toml(&shrunk.scenario, &shrunk.finding)),
    }
    Ok(false)
}

/// What is written: the failure, and the scenario.
fn toml(scenario: &Scenario, finding: &Finding) -> String {
    format!("# {}\n{}", finding.to_string().replace('\n', " "), scenario.to_toml())
}
