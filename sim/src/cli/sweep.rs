//! `sweep`: one machine's part of many seeds.

use core::ops::Range;
use std::path::PathBuf;

use djembe_sim::search::{self, Told};

use super::progress::Meter;
use super::seeds::{self, Drawn};
use super::{Done, about};

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
    #[arg(long)]
    jobs: Option<usize>,
    #[command(flatten)]
    drawn: Drawn,
}

pub(super) fn run(args: &Args) -> Done {
    let time = seeds::minutes(args.minutes)?;
    let plan = args.drawn.plan(args.seeds.clone(), args.jobs, time);
    search::hush_panics();
    let mut meter = Meter::new(time);
    let before = |seed| search::on_abort(format!("replay: {}", args.drawn.replay(seed)));
    let swept = search::sweep(&plan, args.shard, &args.output, before, |told| {
        if let Told::Progress(progress) = told {
            meter.tell(progress);
        }
    });
    let swept = swept.map_err(|error| about(&args.output)(&error))?;
    meter.end(&swept.progress);
    if swept.bad_before > 0 {
        eprintln!("{} bad were there already", swept.bad_before);
    }
    Ok(swept.is_good())
}

fn shard(text: &str) -> Result<(u64, u64), String> {
    let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    parts.filter(|(i, n)| i < n).ok_or_else(|| "expected I/N: part I of N, counted from 0".to_owned())
}
