//! How a run went, second by second.

use djembe_protocol::time::Timestamp;
use serde::Serialize;

use super::bytes::Bytes;
use super::quantile_ms;
use crate::world::World;

/// Of a run so many changes of nodes' states are kept.
const CHANGES_MAX: usize = 50_000;

/// What happened between this time and the one before.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Sample {
    /// Virtual seconds since the start.
    pub seconds: f64,
    /// Nodes that run and are no attackers.
    pub up: usize,
    /// Connections between them, each counted once; those to attackers by half.
    pub links: usize,
    /// First deliveries of a message at a node.
    pub deliveries: usize,
    /// How long these had taken: the median, in milliseconds.
    pub p50_ms: f64,
    /// 90 % of them.
    pub p90_ms: f64,
    /// And 99 % of them.
    pub p99_ms: f64,
    /// What was published since, to 99 % of the nodes at best: the mean of the messages for which that was worked out;
    /// zero if there were none.
    pub best_p99_ms: f64,
    /// Arrivals of an envelope for each of its first ones; zero where nothing arrived.
    pub copies: f64,
    /// Bytes a second and node for messages.
    pub message_bytes: f64,
    /// For who is there.
    pub presence_bytes: f64,
    /// For beacons.
    pub discovery_bytes: f64,
    /// For everything else.
    pub background_bytes: f64,
    /// Nodes that run and are suspected by somebody to be gone.
    pub suspected: usize,
    /// Nodes that run and of which somebody says that they are gone.
    pub declared_gone: usize,
    /// Nodes that do not run and of which nobody says so yet.
    pub unnoticed: usize,
    /// Words of neighbours, and of lists of members, that somebody is gone who is there and reachable.
    pub false_alarms: u64,
    /// Things that must never be.
    pub violations: usize,
}

/// What a node is, and what others say of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(into = "u8")]
pub enum Standing {
    /// It has not run yet.
    #[default]
    Unborn,
    /// It runs, and nobody doubts that.
    Up,
    /// It runs, and stands still or does not read.
    Still,
    /// It runs, and somebody suspects that it does not.
    Suspected,
    /// It runs, and somebody says that it does not.
    DeclaredGone,
    /// It does not run, and nobody says so yet.
    DownUnnoticed,
    /// It does not run, and somebody says so.
    DownKnown,
}

impl From<Standing> for u8 {
    fn from(standing: Standing) -> Self {
        standing as Self
    }
}

/// A node is something else from then on.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Change {
    /// Virtual seconds.
    pub seconds: f64,
    /// Who.
    pub node: usize,
    /// What it is.
    pub standing: Standing,
}

/// Takes samples of a world.
#[derive(Default)]
pub(super) struct Sampler {
    samples: Vec<Sample>,
    /// When it was last looked, and the seconds that nodes that are no attackers had run until then, of all together.
    passed: Timestamp,
    node_seconds: f64,
    standings: Vec<Standing>,
    changes: Vec<Change>,
    bytes: Bytes,
    n_latencies: usize,
    n_messages: usize,
    n_copies: u64,
    n_envelopes: u64,
    n_false_alarms: u64,
    n_violations: u64,
}

impl Sampler {
    /// Seconds that nodes have run, of all that are no attackers together.
    pub(super) fn node_seconds(&mut self, world: &World) -> f64 {
        let passed = world.now() - self.passed;
        self.node_seconds += n_up(world) as f64 * passed.as_secs_f64();
        self.passed = world.now();
        self.node_seconds
    }

    pub(super) fn look(&mut self, world: &World) {
        self.node_seconds(world);
        let ledger = &world.ledger;
        let bytes = Bytes::of(world);
        let spent = bytes.since(&self.bytes);
        let mut new = ledger.latencies[self.n_latencies..].to_vec();
        new.sort_unstable();
        let mut sample = self.sample_nodes(world);
        let per_node = |bytes: u64| bytes as f64 / sample.up.max(1) as f64 / spent.seconds;
        let envelopes = ledger.n_envelopes - self.n_envelopes;
        let copies = (ledger.n_copies - self.n_copies) as f64;
        let best = ledger.messages[self.n_messages..].iter().map(|sent| sent.best_p99);
        let (n_best, best) =
            best.filter(|best| *best > 0.0).fold((0.0f64, 0.0), |(n, sum), best| (n + 1.0, sum + best));
        let n_false_alarms = ledger.n_false_alarms + ledger.n_members_missed;
        sample = Sample {
            deliveries: new.len(),
            p50_ms: quantile_ms(&new, 0.5),
            p90_ms: quantile_ms(&new, 0.9),
            p99_ms: quantile_ms(&new, 0.99),
            best_p99_ms: best / n_best.max(1.0),
            copies: if envelopes == 0 { 0.0 } else { copies / envelopes as f64 },
            message_bytes: per_node(spent.messages),
            presence_bytes: per_node(spent.presence),
            discovery_bytes: per_node(spent.discovery),
            background_bytes: per_node(spent.background),
            false_alarms: n_false_alarms - self.n_false_alarms,
            violations: (ledger.n_violations - self.n_violations) as usize,
            ..sample
        };
        self.samples.push(sample);
        self.bytes = bytes;
        self.n_latencies = ledger.latencies.len();
        self.n_messages = ledger.messages.len();
        (self.n_copies, self.n_envelopes) = (ledger.n_copies, ledger.n_envelopes);
        self.n_false_alarms = n_false_alarms;
        self.n_violations = ledger.n_violations;
    }

    /// What the nodes are at present. Attackers are none of them.
    fn sample_nodes(&mut self, world: &World) -> Sample {
        let seconds = (world.now() - Timestamp::ZERO).as_secs_f64();
        let mut sample = Sample { seconds, ..Sample::default() };
        self.standings.resize(world.n_nodes(), Standing::Unborn);
        let mut n_ends = 0;
        for node in 0..world.n_nodes() {
            let place = world.topology().places[node];
            if place.is_hostile {
                continue;
            }
            if place.is_up {
                sample.up += 1;
                n_ends += world.host(node).links.len();
            }
            let doubt = world.ledger.doubted(node);
            let before = self.standings[node];
            let standing = match (place.is_up, doubt.gone > 0) {
                (false, _) if before == Standing::Unborn => Standing::Unborn,
                (false, false) => Standing::DownUnnoticed,
                (false, true) => Standing::DownKnown,
                (true, true) => Standing::DeclaredGone,
                (true, false) if doubt.suspecting > 0 => Standing::Suspected,
                (true, false) if place.is_paused || place.is_stalled => Standing::Still,
                (true, false) => Standing::Up,
            };
            sample.suspected += usize::from(place.is_up && doubt.suspecting > 0);
            sample.declared_gone += usize::from(standing == Standing::DeclaredGone);
            sample.unnoticed += usize::from(standing == Standing::DownUnnoticed);
            if standing != before && self.changes.len() < CHANGES_MAX {
                self.changes.push(Change { seconds, node, standing });
            }
            self.standings[node] = standing;
        }
        sample.links = n_ends / 2;
        sample
    }

    /// All of it, and what became of each node.
    pub(super) fn take(self) -> (Vec<Sample>, Vec<Change>) {
        (self.samples, self.changes)
    }
}

fn n_up(world: &World) -> usize {
    world.honest().filter(|node| world.topology().places[*node].is_up).count()
}
