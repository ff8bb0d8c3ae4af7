//! `run`: a scenario by its name or from a file, once, from several seeds, or by several protocols.

use core::ops::Range;
use std::path::PathBuf;

use djembe_sim::baseline::Protocol;
use djembe_sim::panics;
use djembe_sim::report::{self, Beside, Ran, Report};
use djembe_sim::scenario::Scenario;
use djembe_sim::search;

use super::output::Output;
use super::seeds::{self, Named};
use super::verdict::{Trail, Watch};
use super::{Done, print, print_json, progress, spread};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The name of a scenario that is built in, or a TOML file.
    pub(super) scenario: String,
    /// Another seed than the scenario's.
    #[arg(long)]
    seed: Option<u64>,
    /// Run it once from each seed from A to before B, and report the mean and the worst of all figures.
    #[arg(long, value_name = "A..B", value_parser = seeds::range, conflicts_with_all = ["seed", "beside", "html", "trace"])]
    pub(super) seeds: Option<Range<u64>>,
    /// Of several seeds so many at once. How much memory a run takes is said only of one at a time.
    #[arg(long, default_value_t = 1, requires = "seeds", value_parser = seeds::threads)]
    pub(super) jobs: usize,
    /// Another value for a field of the scenario, like nodes=100 or messages.rate=5.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Run it with these protocols too, and report all side by side.
    #[arg(long, value_name = "PROTOCOL", value_delimiter = ',', conflicts_with = "trace")]
    beside: Vec<Protocol>,
    /// Also say how much memory each part of a node takes, about, at the end.
    #[arg(long, conflicts_with = "beside")]
    pub(super) census: bool,
    #[command(flatten)]
    pub(super) watch: Watch,
    /// Report one JSON object.
    #[arg(long)]
    pub(super) json: bool,
    /// Also write the report as a page with drawings.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl Args {
    pub(super) fn named(&self) -> Named<'_> {
        Named { name: &self.scenario, sets: &self.sets }
    }
}

pub(super) fn run(args: &Args) -> Done {
    if let Some(seeds) = &args.seeds {
        return spread::run(args, seeds.clone());
    }
    let scenario = args.named().load(args.seed)?;
    panics::hush_panics_that(true);
    panics::on_abort(format!("replay: {}", replay(args, scenario.seed)));
    if !args.beside.is_empty() {
        return run_beside(args, &scenario);
    }
    let trace = args.watch.open()?;
    let page = open_page(args)?;
    let mut bar = progress::Run::new(scenario.duration, n_runs(&scenario));
    let (report, world) = report::run_prepared(
        &scenario,
        |world| {
            world.ledger.stop_at(args.watch.stop());
            trace.iter().for_each(|trace| trace.listen_to(world));
        },
        |now| bar.tell(&args.scenario, now),
    );
    let took = bar.clear();
    let memory = args.census.then(|| report::memory(&world));
    let findings = search::findings(&scenario, &report, &world);
    let ran = Ran::new(&args.scenario, report, took).with_peak(report::peak_rss_bytes());
    eprintln!(
        "{} events in {:.2} s, {:.0} a second",
        ran.report.events,
        took.as_secs_f64(),
        ran.events_per_s
    );
    let replay = replay(args, scenario.seed);
    let ran = Ran { memory, ..ran };
    tell(args, &ran)?;
    write_page(args, page, &[&ran.report], &replay);
    let trail = Trail::new(trace, !findings.is_empty());
    let n = search::n_findings(&findings, Some(&ran.report));
    args.watch.conclude(&args.scenario, &scenario, &findings, n, &replay, trail);
    Ok(ran.report.is_good())
}

/// With attackers it is run without them before.
fn n_runs(scenario: &Scenario) -> usize {
    1 + usize::from(scenario.attack.is_some())
}

fn run_beside(args: &Args, scenario: &Scenario) -> Done {
    let n = 1 + args.beside.iter().filter(|protocol| **protocol != scenario.protocol).count();
    let page = open_page(args)?;
    let mut bar = progress::Run::new(scenario.duration, n * n_runs(scenario));
    let stop = args.watch.stop();
    let beside = Beside::run(&args.scenario, scenario, &args.beside, &stop, |protocol, now| {
        bar.tell(&format!("{} by {protocol}", args.scenario), now);
    });
    bar.clear();
    let beside = beside.map_err(|error| error.to_string())?;
    tell(args, &beside)?;
    let replay = replay(args, scenario.seed);
    write_page(args, page, &beside.reports().collect::<Vec<_>>(), &replay);
    let bad = beside.runs.iter().find(|ran| !ran.report.violations.is_empty());
    if let Some(ran) = bad {
        let findings: Vec<search::Finding> = ran.report.violations.iter().map(Into::into).collect();
        let scenario = scenario.with_protocol(ran.report.protocol).map_err(|error| error.to_string())?;
        let trail = Trail::new(None, ran.report.is_stopped);
        args.watch.conclude(&args.scenario, &scenario, &findings, ran.report.n_violations, &replay, trail);
    } else if !beside.is_good() {
        eprintln!("replay: {replay}");
    }
    Ok(beside.is_good())
}

/// The page's file, if one is wanted: before the run, which may take long.
fn open_page(args: &Args) -> Result<Option<Output<'_>>, String> {
    args.html.as_deref().map(Output::open).transpose()
}

fn write_page(args: &Args, page: Option<Output<'_>>, reports: &[&Report], replay: &str) {
    let (Some(mut page), Some(file)) = (page, &args.html) else { return };
    if page.write(&report::html::page(&args.scenario, reports, replay), true) {
        eprintln!("the page is {}", file.display());
    }
}

/// What came of it.
fn tell<T: serde::Serialize + ToString>(args: &Args, report: &T) -> Result<(), String> {
    if args.json {
        return print_json(report);
    }
    print(&report.to_string());
    Ok(())
}

/// The command that does the same again.
fn replay(args: &Args, seed: u64) -> String {
    let beside: Vec<String> = args.beside.iter().map(ToString::to_string).collect();
    let beside = if beside.is_empty() { String::new() } else { format!(" --beside {}", beside.join(",")) };
    let json = if args.json { " --json" } else { "" };
    format!("{}{beside}{}{json}", args.named().replay(seed), args.watch.option())
}
