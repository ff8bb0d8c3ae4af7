//! `sweep`: one machine's part of many seeds.

use core::ops::Range;
use std::path::PathBuf;

use djembe_sim::panics;
use djembe_sim::search::{self, Plan, Told};

use super::progress::Meter;
use super::seeds::{self, Drawn, Named};
use super::{Done, NO_TIME, about, print};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The seeds s with s % N == I.
    #[arg(long, value_name = "I/N", value_parser = shard, default_value = "0/1")]
    shard: (u64, u64),
    /// From A to before B.
    #[arg(long, value_name = "A..B", value_parser = seeds::range)]
    seeds: Range<u64>,
    /// Lines are appended to this file; seeds that are in it are not run again.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Begin no run later than this.
    #[arg(long)]
    minutes: Option<f64>,
    /// Threads; all cores if not given.
    #[arg(long, value_parser = seeds::threads)]
    jobs: Option<usize>,
    /// Run this scenario from each seed, and not what is drawn from it: a name that is built in, or a TOML file.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["nodes", "at_least", "time", "bug"])]
    scenario: Option<String>,
    /// Another value for a field of that scenario, like nodes=100 or messages.rate=5.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "scenario")]
    sets: Vec<String>,
    /// Threads of each run; what happens in it is the same.
    #[arg(long, value_parser = seeds::threads)]
    threads: Option<usize>,
    /// Also write how much memory each part of a node takes, about, at the end.
    #[arg(long)]
    census: bool,
    #[command(flatten)]
    drawn: Drawn,
}

pub(super) fn run(args: &Args) -> Done {
    let time = seeds::minutes(args.minutes)?;
    let named = args.scenario.as_deref().map(|name| Named { name, sets: &args.sets });
    let source = named.as_ref().map_or_else(|| args.drawn.source(), Named::source)?;
    let plan = seeds::plan(source, args.seeds.clone(), args.jobs, time);
    let plan = Plan { threads: args.threads, census: args.census, ..plan };
    panics::hush_panics();
    let mut meter = Meter::new(time);
    let replay = |seed| named.as_ref().map_or_else(|| args.drawn.replay(seed), |named| named.replay(seed));
    let before = |seed| panics::on_abort(format!("replay: {}", replay(seed)));
    let swept = search::sweep(&plan, args.shard, &args.output, before, |told| match told {
        Told::Progress(progress) => meter.tell(progress),
        Told::Ran(seed, outcome) => {
            if let Some(first) = outcome.findings.first() {
                meter.clear();
                print(&format!("seed {seed}: {first}\n  {}\n", replay(seed)));
            }
        }
    });
    let swept = swept.map_err(|error| about(&args.output)(&error))?;
    meter.end(&swept.progress);
    match swept.progress {
        search::Progress { wanted: 0, .. } => {
            eprintln!("nothing was run: all seeds of this part were there already, or it has none");
        }
        search::Progress { runs: 0, .. } => return Err(NO_TIME.to_owned()),
        _ => {}
    }
    if swept.bad_before > 0 {
        eprintln!("{} bad were there already", swept.bad_before);
    }
    Ok(swept.is_good())
}

fn shard(text: &str) -> Result<(u64, u64), String> {
    let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    parts.filter(|(i, n)| i < n).ok_or_else(|| "expected I/N: part I of N, counted from 0".to_owned())
}
