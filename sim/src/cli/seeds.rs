//! What the commands of the search have in common: which seeds, how large, and the command that replays one.

use core::ops::Range;
use core::time::Duration;
use std::path::Path;

use clap::ValueEnum as _;
use djembe_sim::bug::Bug;
use djembe_sim::scenario::Scenario;
use djembe_sim::search::{Bounds, Plan, draw};

use super::about;

/// TOML has no larger numbers.
const SEED_MAX: u64 = i64::MAX as u64;

/// From what scenarios are drawn.
#[derive(clap::Args)]
pub(super) struct Drawn {
    /// Nodes at most. It is part of what a seed means.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(2..=1000))]
    nodes: u16,
    /// A mistake that hosts make, to see that it is found.
    #[arg(long, hide = true)]
    bug: Option<Planted>,
}

/// A [`Bug`] by its name.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Planted {
    LostPrune,
    LostGraft,
    LostRefusal,
    LostDial,
    DoubleDelivery,
    WrongGroup,
    PresenceFlap,
}

impl Drawn {
    pub(super) fn bounds(&self) -> Bounds {
        let bug = self.bug.map(|bug| match bug {
            Planted::LostPrune => Bug::LostPrune,
            Planted::LostGraft => Bug::LostGraft,
            Planted::LostRefusal => Bug::LostRefusal,
            Planted::LostDial => Bug::LostDial,
            Planted::WrongGroup => Bug::WrongGroup,
            Planted::DoubleDelivery => Bug::DoubleDelivery,
            Planted::PresenceFlap => Bug::PresenceFlap,
        });
        Bounds { nodes_max: usize::from(self.nodes), bug, ..Bounds::default() }
    }

    /// Runs of these seeds, for so long, on so many threads.
    pub(super) fn plan(&self, seeds: Range<u64>, jobs: Option<usize>, time: Option<Duration>) -> Plan {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        Plan { seeds, bounds: self.bounds(), jobs: jobs.unwrap_or_else(cores).max(1), time }
    }

    /// The command that runs a seed again.
    pub(super) fn replay(&self, seed: u64) -> String {
        format!("djembe-sim replay {seed}{}", self.options())
    }

    /// What the command line has to say for the same draw.
    pub(super) fn options(&self) -> String {
        let nodes = if self.nodes == 100 { String::new() } else { format!(" --nodes {}", self.nodes) };
        let bug = self.bug.and_then(|bug| bug.to_possible_value());
        nodes + &bug.map_or_else(String::new, |bug| format!(" --bug {}", bug.get_name()))
    }
}

/// The scenario of a seed, or of a file.
pub(super) fn scenario(what: &str, drawn: &Drawn) -> Result<Scenario, String> {
    if let Ok(seed) = what.parse() {
        return if seed <= SEED_MAX {
            Ok(draw(seed, &drawn.bounds()))
        } else {
            Err(format!("seeds end at {SEED_MAX}"))
        };
    }
    let path = Path::new(what);
    let text = std::fs::read_to_string(path).map_err(|error| about(path)(&error))?;
    Scenario::parse(&text, &[]).map_err(|error| about(path)(&error))
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
    if from < to { Ok(from..to) } else { Err(wrong()) }
}
