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
    /// Nodes that run.
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
    bytes: Bytes,
    n_latencies: usize,
    n_copies: u64,
    n_envelopes: u64,
    n_violations: usize,
}

impl Sampler {
    pub(super) fn look(&mut self, world: &World) {
        let ledger = &world.ledger;
        let bytes = Bytes::of(world);
        let spent = bytes.since(&self.bytes);
        let mut new = ledger.latencies[self.n_latencies..].to_vec();
        new.sort_unstable();
        let up = (0..world.n_nodes()).filter(|node| world.topology().places[*node].is_up).count();
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
            background_bytes: per_node(spent.all - spent.presence - spent.messages),
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
