//! What commands that run seeds have in common: which seeds, of what, and the command that runs one again.

use core::ops::Range;
use core::time::Duration;

use djembe_sim::bug::Bug;
use djembe_sim::scenario::{SHIPPED, Scenario, THREADS_MAX, parse_time};
use djembe_sim::search::{Bounds, Plan, Source};

/// TOML has no larger numbers.
const SEED_MAX: u64 = i64::MAX as u64;
/// Seeds of one range: each is looked at before the first is run.
const RANGE_MAX: u64 = 100_000_000;
/// Nodes at most if nothing is said.
const NODES: u16 = 100;

/// From what scenarios are drawn. All of it is part of what a seed means.
#[derive(clap::Args)]
pub(super) struct Drawn {
    /// Nodes at most.
    #[arg(long, default_value_t = NODES, value_parser = clap::value_parser!(u16).range(2..=1000))]
    nodes: u16,
    /// Nodes at least; most runs have few otherwise.
    #[arg(long, value_name = "NODES", default_value_t = 2, value_parser = clap::value_parser!(u16).range(2..=1000))]
    at_least: u16,
    /// Virtual time of each run, like 5min; at most five minutes otherwise, and less where there are many nodes.
    #[arg(long = "virtual", value_name = "TIME", value_parser = parse_time)]
    time: Option<Duration>,
    /// A mistake that hosts make, to see that it is found: for testing the search.
    #[arg(long)]
    bug: Option<Bug>,
}

impl Drawn {
    pub(super) fn bounds(&self) -> Result<Bounds, String> {
        let (nodes_min, nodes_max) = (usize::from(self.at_least), usize::from(self.nodes));
        if nodes_min > nodes_max {
            return Err(format!("--at-least {nodes_min}: more than --nodes {nodes_max}"));
        }
        let bounds = Bounds { nodes_min, nodes_max, bug: self.bug, ..Bounds::default() };
        let Some(time) = self.time else { return Ok(bounds) };
        let least = bounds.settle + Duration::from_secs(25);
        if time < least {
            return Err(format!("--virtual {time:?}: expected {least:?} or more; it is quiet at the end"));
        }
        let node_seconds_max = bounds.node_seconds_max.max(nodes_max as u64 * (time.as_secs() + 1));
        let deliveries_max = bounds.deliveries_max * node_seconds_max / bounds.node_seconds_max;
        Ok(Bounds { time_min: time, time_max: time, node_seconds_max, deliveries_max, ..bounds })
    }

    pub(super) fn source(&self) -> Result<Source, String> {
        Ok(Source::Drawn(self.bounds()?))
    }

    /// The command that runs a seed again.
    pub(super) fn replay(&self, seed: u64) -> String {
        format!("djembe-sim replay {seed}{}", self.options())
    }

    /// What the command line has to say for the same draw.
    fn options(&self) -> String {
        let nodes = if self.nodes == NODES { String::new() } else { format!(" --nodes {}", self.nodes) };
        let least = if self.at_least == 2 { String::new() } else { format!(" --at-least {}", self.at_least) };
        let time = self.time.map_or_else(String::new, |time| format!(" --virtual {}ms", time.as_millis()));
        nodes + &least + &time + &self.bug.map_or_else(String::new, |bug| format!(" --bug {bug}"))
    }
}

/// A scenario by its name or from a file.
#[derive(Clone)]
pub(super) struct Named<'a> {
    pub(super) name: &'a str,
    pub(super) sets: &'a [String],
}

impl Named<'_> {
    pub(super) fn load(&self, seed: Option<u64>) -> Result<Scenario, String> {
        let shipped = SHIPPED.iter().find(|(name, _)| *name == self.name);
        let text = match shipped {
            Some((_, text)) => (*text).to_owned(),
            None => std::fs::read_to_string(self.name).map_err(|error| {
                let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
                format!("{}: {error}; built in are: {}", self.name, names.join(", "))
            })?,
        };
        let mut sets = self.sets.to_vec();
        sets.extend(seed.map(|seed| format!("seed={seed}")));
        Scenario::parse(&text, &sets)
            .map_err(|error| format!("{}: {}", self.name, error.to_string().trim_end()))
    }

    pub(super) fn source(&self) -> Result<Source, String> {
        Ok(Source::Named(self.to_string(), Box::new(self.load(None)?)))
    }

    /// The command that runs a seed again.
    pub(super) fn replay(&self, seed: u64) -> String {
        let sets = self.sets.iter().map(|set| format!(" --set {}", quote(set)));
        format!("djembe-sim run {} --seed {seed}{}", quote(self.name), sets.collect::<String>())
    }
}

/// With what is set.
impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)?;
        self.sets.iter().try_for_each(|set| write!(f, " {set}"))
    }
}

/// For a shell.
fn quote(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:".contains(c);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Runs on all cores, to their ends.
pub(super) fn plan(source: Source, seeds: Range<u64>, jobs: Option<usize>, time: Option<Duration>) -> Plan {
    let jobs = jobs.unwrap_or_else(cores).max(1);
    Plan { source, time, ..Plan::drawn(seeds, Bounds::default(), jobs) }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The scenario of a seed, of a name or of a file, and what it is called.
pub(super) fn scenario(what: &str, drawn: &Drawn) -> Result<(String, Scenario), String> {
    if let Ok(seed) = what.parse() {
        return if seed <= SEED_MAX {
            let source = drawn.source()?;
            Ok((source.to_string(), source.scenario(seed)))
        } else {
            Err(format!("seeds end at {SEED_MAX}"))
        };
    }
    Ok((what.to_owned(), Named { name: what, sets: &[] }.load(None)?))
}

/// How many threads: what a machine can have of them has an end.
pub(super) fn threads(text: &str) -> Result<usize, String> {
    let n = text.parse().ok().filter(|n| *n <= THREADS_MAX);
    n.ok_or_else(|| format!("expected a whole number, {THREADS_MAX} at most"))
}

pub(super) fn minutes(minutes: Option<f64>) -> Result<Option<Duration>, String> {
    let time = |minutes: f64| Duration::try_from_secs_f64(minutes * 60.0).map_err(|error| error.to_string());
    minutes.map(time).transpose().map_err(|error| format!("--minutes: {error}"))
}

/// Reads `A..B`: from A to before B.
pub(super) fn range(text: &str) -> Result<Range<u64>, String> {
    let wrong = || "expected A..B: from A to before B".to_owned();
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| wrong());
    let (from, to) = (number(from)?, number(to)?);
    if to > SEED_MAX {
        return Err(format!("seeds end at {SEED_MAX}"));
    }
    if from >= to {
        return Err(wrong());
    }
    if to - from > RANGE_MAX {
        return Err(format!("{} seeds: at most {RANGE_MAX} at a time", to - from));
    }
    Ok(from..to)
}
