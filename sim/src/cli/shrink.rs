//! `shrink`: the scenario of a seed, small.

use std::path::PathBuf;

use djembe_sim::search;

use super::seeds::{self, Drawn};
use super::{Done, about, print};

#[derive(clap::Args)]
pub(super) struct Args {
    /// A seed, or a scenario's TOML file.
    seed: String,
    /// Where to write the scenario; stdout if not given.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Which of the checks that fail; the first if not given.
    #[arg(long)]
    check: Option<String>,
    /// Runs at most.
    #[arg(long, default_value_t = 400)]
    runs: u32,
    #[command(flatten)]
    drawn: Drawn,
}

pub(super) fn run(args: &Args) -> Done {
    let (_, scenario) = seeds::scenario(&args.seed, &args.drawn)?;
    search::hush_panics();
    search::on_abort("replay: build with `--profile sim` to shrink a panic".to_owned());
    eprintln!("run 0: does it fail?");
    let outcome = search::attempt(&scenario);
    let is_it = |check: &str| args.check.as_ref().is_none_or(|wanted| wanted == check);
    let Some(finding) = outcome.findings.iter().find(|finding| is_it(&finding.check)) else {
        eprintln!("{}: nothing fails that could be made small", args.seed);
        return Ok(true);
    };
    eprintln!("{}", finding);
    let shrunk = search::shrink(&scenario, finding, args.runs, |step| {
        let fails = if step.fails { "still fails" } else { "does not" };
        let scenario = step.scenario;
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
    let text = format!("# {}\n{}", shrunk.finding.to_string().replace('\n', " "), shrunk.scenario.to_toml());
    match &args.output {
        Some(path) => {
            std::fs::write(path, text).map_err(|error| about(path)(&error))?;
            print(&format!("djembe-sim run {}\n", path.display()));
        }
        None => print(&text),
    }
    Ok(false)
}
