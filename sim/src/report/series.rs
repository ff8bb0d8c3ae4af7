//! How a run went, second by second.

use djembe_protocol::time::Timestamp;
use serde::Serialize;

use super::bytes::Bytes;
use super::quantile_ms;
use crate::world::World;

/// What happened between this time and the one before.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Sample {
    /// Virtual seconds since the start.
    pub seconds: f64,
    /// Nodes that run and are no attackers.
    pub up: usize,
    /// First deliveries of a message at a node.
    pub deliveries: usize,
    /// How long these had taken: the median, in milliseconds.
    pub p50_ms: f64,
    /// And 99 % of them.
    pub p99_ms: f64,
    /// Arrivals of an envelope for each of its first ones; zero where nothing arrived.
    pub copies: f64,
    /// Bytes a second and node for messages.
    pub message_bytes: f64,
    /// For who is there.
    pub presence_bytes: f64,
    /// For everything else.
    pub background_bytes: f64,
    /// Things that must never be.
    pub violations: usize,
}

/// Takes samples of a world.
#[derive(Default)]
pub(super) struct Sampler {
    samples: Vec<Sample>,
    /// When it was last looked, and the seconds that nodes that are no attackers had run until then, of all together.
    passed: Timestamp,
    node_seconds: f64,
    bytes: Bytes,
    n_latencies: usize,
    n_copies: u64,
    n_envelopes: u64,
    n_violations: usize,
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
        let up = n_up(world);
        let per_node = |bytes: u64| bytes as f64 / up.max(1) as f64 / spent.seconds;
        let envelopes = ledger.n_envelopes - self.n_envelopes;
        let copies = (ledger.n_copies - self.n_copies) as f64;
        self.samples.push(Sample {
            seconds: (world.now() - Timestamp::ZERO).as_secs_f64(),
            up,
            deliveries: new.len(),
            p50_ms: quantile_ms(&new, 0.5),
            p99_ms: quantile_ms(&new, 0.99),
            copies: if envelopes == 0 { 0.0 } else { copies / envelopes as f64 },
            message_bytes: per_node(spent.messages),
            presence_bytes: per_node(spent.presence),
            background_bytes: per_node(spent.background),
            violations: ledger.violations.len() - self.n_violations,
        });
        self.bytes = bytes;
        self.n_latencies = ledger.latencies.len();
        (self.n_copies, self.n_envelopes) = (ledger.n_copies, ledger.n_envelopes);
        self.n_violations = ledger.violations.len();
    }

    pub(super) fn take(self) -> Vec<Sample> {
        self.samples
    }
}

fn n_up(world: &World) -> usize {
    world.honest().filter(|node| world.topology().places[*node].is_up).count()
}
