//! `explore`: many seeds, on all cores.

use core::ops::Range;

use djembe_sim::ledger::Stop;
use djembe_sim::panics;
use djembe_sim::search::{self, Finding, Outcome, Plan, Told};
use serde::Serialize;

use super::progress::Meter;
use super::seeds::{self, Drawn};
use super::{Done, NO_TIME, print, print_json};

#[derive(clap::Args)]
pub(super) struct Args {
    /// From A to before B.
    #[arg(long, value_name = "A..B", value_parser = seeds::range, default_value = "0..1000")]
    seeds: Range<u64>,
    /// Begin no run later than this.
    #[arg(long)]
    minutes: Option<f64>,
    /// Threads; all cores if not given.
    #[arg(long, value_parser = seeds::threads)]
    jobs: Option<usize>,
    #[command(flatten)]
    drawn: Drawn,
    /// Go on with a run in which something is wrong, to its end.
    #[arg(long)]
    keep_going: bool,
    /// A JSON object for each failure, and one at the end.
    #[arg(long)]
    json: bool,
}

/// A failure.
#[derive(Serialize)]
struct Bad {
    seed: u64,
    /// How many there are in all.
    n: u64,
    /// The first few of each check.
    findings: Vec<Finding>,
    replay: String,
}

/// The end.
#[derive(Serialize)]
struct Sum {
    runs: u64,
    wanted: u64,
    bad: u64,
    events: u64,
    seconds: f64,
}

/// The command that runs a seed again.
fn replay(args: &Args, seed: u64) -> String {
    args.drawn.replay(seed) + if args.keep_going { " --keep-going" } else { "" }
}

pub(super) fn run(args: &Args) -> Done {
    let time = seeds::minutes(args.minutes)?;
    let plan = seeds::plan(args.drawn.source()?, args.seeds.clone(), args.jobs, time);
    let plan = Plan { stop: if args.keep_going { Stop::Never } else { Stop::AtAny }, ..plan };
    panics::hush_panics();
    let mut meter = Meter::new(time);
    let before = |seed| panics::on_abort(format!("replay: {}", replay(args, seed)));
    let progress = search::explore(
        &plan,
        |_| true,
        before,
        |told| match told {
            Told::Progress(progress) => meter.tell(progress),
            Told::Ran(seed, outcome) if !outcome.findings.is_empty() => {
                meter.clear();
                tell(args, seed, outcome);
            }
            Told::Ran(..) => {}
        },
    );
    meter.end(&progress);
    if args.json {
        let search::Progress { runs, wanted, bad, events, took, .. } = progress;
        print_json(&Sum { runs, wanted, bad, events, seconds: took.as_secs_f64() })?;
    }
    if progress.runs == 0 {
        return Err(NO_TIME.to_owned());
    }
    Ok(progress.bad == 0)
}

fn tell(args: &Args, seed: u64, outcome: &Outcome) {
    let replay = replay(args, seed);
    let (findings, n) = (&outcome.findings, outcome.n_findings());
    if args.json {
        // A run that cannot be told of is told of by the exit code.
        let _ = print_json(&Bad { seed, n, findings: outcome.in_short(), replay });
        return;
    }
    if let Some(first) = findings.first() {
        let more = if n > 1 { format!(" ({n} in all)") } else { String::new() };
        print(&format!("seed {seed}: {}{more}\n  {replay}\n", first));
    }
}
