//! `run`: a scenario by its name or from a file.

use std::collections::BTreeMap;
use std::fmt;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use djembe_sim::baseline::Protocol;
use djembe_sim::report::{self, Beside, Report};
use djembe_sim::scenario::{SHIPPED, Scenario};

use super::{Done, print, print_json};

/// Where nobody sees a line that changes, one is written as often.
const TOLD_EVERY: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(super) struct Args {
    /// The name of a scenario that is built in, or a TOML file.
    scenario: String,
    /// Another seed than the scenario's.
    #[arg(long)]
    seed: Option<u64>,
    /// Another value for a field of the scenario, like nodes=100 or messages.rate=5.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Run it with these protocols too, and report all side by side.
    #[arg(long, value_name = "PROTOCOL", value_delimiter = ',', conflicts_with = "html")]
    beside: Vec<Protocol>,
    /// Also say how much memory each part of a node takes, about, at the end.
    #[arg(long, conflicts_with = "beside")]
    census: bool,
    /// Report one JSON object.
    #[arg(long)]
    json: bool,
    /// Also write the report as a page with drawings.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Done {
    let scenario = load(args)?;
    if !args.beside.is_empty() {
        return run_beside(args, &scenario);
    }
    let started = Instant::now();
    let is_terminal = std::io::stderr().is_terminal();
    let mut told = started;
    let (report, world) = report::run_to_end(&scenario, |now| {
        let share = 100.0 * now.as_micros() as f64 / scenario.duration.as_micros() as f64;
        if is_terminal {
            eprint!("\r{share:3.0} % of {:?}", scenario.duration);
        } else if told.elapsed() >= TOLD_EVERY {
            told = Instant::now();
            eprintln!(
                "{share:3.0} % of {:?} after {:.0} s",
                scenario.duration,
                started.elapsed().as_secs_f64()
            );
        }
    });
    let took = started.elapsed().as_secs_f64();
    eprintln!(
        "{}{} events in {took:.2} s, {:.0} a second",
        if is_terminal { "\r" } else { "" },
        report.events,
        report.events as f64 / took
    );
    if let Some(file) = &args.html {
        let replay = replay(args, scenario.seed);
        let page = report::html::page(&args.scenario, &report, &report.to_string(), &replay);
        std::fs::write(file, page).map_err(|error| format!("{}: {error}", file.display()))?;
        eprintln!("the page is {}", file.display());
    }
    let is_good = report.is_good();
    let memory = args.census.then(|| report::memory(&world));
    conclude(args, scenario.seed, &Ran { memory, ..Ran::new(args, report, took) }, is_good)
}

/// A report with what this machine made of it.
#[derive(serde::Serialize)]
struct Ran {
    scenario: String,
    #[serde(flatten)]
    report: Report,
    /// Real seconds.
    took_s: f64,
    events_per_s: f64,
    /// The most memory that this process had; none where the system does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_rss_bytes: Option<u64>,
    /// The same for each node.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_node: Option<u64>,
    /// Bytes of each part of a node at the end, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<BTreeMap<String, u64>>,
}

impl Ran {
    fn new(args: &Args, report: Report, took_s: f64) -> Self {
        let peak_rss_bytes = peak_rss_bytes();
        Self {
            scenario: args.scenario.clone(),
            took_s,
            events_per_s: report.events as f64 / took_s,
            peak_rss_bytes,
            bytes_per_node: peak_rss_bytes.map(|bytes| bytes / report.nodes.max(1) as u64),
            memory: None,
            report,
        }
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.report.fmt(f)?;
        if let (Some(peak), Some(each)) = (self.peak_rss_bytes, self.bytes_per_node) {
            writeln!(
                f,
                "{:<28}{} MB, {:.1} KiB a node",
                "most memory",
                peak / 1_000_000,
                each as f64 / 1024.0
            )?;
        }
        for (part, bytes) in self.memory.iter().flatten() {
            writeln!(f, "{part:<28}{:.1} KiB a node, about", *bytes as f64 / 1024.0)?;
        }
        Ok(())
    }
}

/// As Linux says it.
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn run_beside(args: &Args, scenario: &Scenario) -> Done {
    let beside = Beside::run(scenario, &args.beside, |protocol, _, report| {
        if let Some(report) = report {
            eprintln!("{protocol}: {} events", report.events);
        }
    })
    .map_err(|error| error.to_string())?;
    conclude(args, scenario.seed, &beside, beside.is_good())
}

/// What came of it, and how to do it again if that is not good.
fn conclude<T: serde::Serialize + ToString>(args: &Args, seed: u64, report: &T, is_good: bool) -> Done {
    if args.json {
        print_json(report)?;
    } else {
        print(&report.to_string());
    }
    if !is_good {
        eprintln!("replay: {}", replay(args, seed));
    }
    Ok(is_good)
}

fn load(args: &Args) -> Result<Scenario, String> {
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
fn replay(args: &Args, seed: u64) -> String {
    let quote = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let sets = args.sets.iter().map(|set| format!(" --set {}", quote(set)));
    let beside: Vec<String> = args.beside.iter().map(ToString::to_string).collect();
    let beside = if beside.is_empty() { String::new() } else { format!(" --beside {}", beside.join(",")) };
    let json = if args.json { " --json" } else { "" };
    format!(
        "djembe-sim run {} --seed {seed}{}{beside}{json}",
        quote(&args.scenario),
        sets.collect::<String>()
    )
}
