//! How long messages took, and how long they would have taken at best.

use core::fmt;

use djembe_protocol::time::Timestamp;
use serde::{Serialize, Serializer};

use super::quantile_ms;
use crate::ledger::Sent;
use crate::world::World;

/// Milliseconds: the median, what 99 % do not exceed, and the most.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// 99 % take no longer.
    pub p99: f64,
    /// Nothing takes longer.
    pub max: f64,
}

impl Quantiles {
    /// Of microseconds.
    fn of(mut micros: Vec<u64>) -> Self {
        micros.sort_unstable();
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| quantile_ms(&micros, share));
        Self { p50, p99, max }
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} / {:.1} / {:.1} ms", self.p50, self.p99, self.max)
    }
}

/// In JSON what was not measured is null, and not a zero that could be taken for a figure.
pub(super) fn if_known<T: Serialize + Default + PartialEq, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if *value == T::default() { serializer.serialize_none() } else { serializer.serialize_some(value) }
}

/// Of the messages that were measured.
#[derive(Default)]
pub(super) struct Timing {
    /// To each node.
    pub(super) latency_ms: Quantiles,
    /// To 999 nodes of 1,000.
    pub(super) nearly_ms: Quantiles,
    /// To the last node.
    pub(super) full_ms: Quantiles,
    /// To the last node at best.
    pub(super) optimum_ms: Quantiles,
    /// Time to 99 % of the nodes, to the best that the links would have allowed: the mean over messages.
    pub(super) ratio_p99: f64,
    /// The same to all.
    pub(super) ratio_full: f64,
}

/// Of messages that were published from a time on.
pub(super) fn of(world: &World, from: Timestamp) -> Timing {
    let measured: Vec<&Sent> =
        world.ledger.messages.iter().filter(|sent| sent.at >= from && !sent.latencies.is_empty()).collect();
    let all = measured.iter().flat_map(|sent| &sent.latencies).copied().collect();
    let last = |sent: &&Sent| sent.latencies.iter().copied().max().unwrap_or(0);
    let known: Vec<&Sent> = measured.iter().filter(|sent| sent.best_full > 0).copied().collect();
    let sorted = |sent: &Sent| {
        let mut latencies = sent.latencies.clone();
        latencies.sort_unstable();
        latencies
    };
    let to_p99 = known.iter().map(|sent| quantile_ms(&sorted(sent), 0.99) / sent.best_p99);
    let nearly = measured.iter().map(|sent| (quantile_ms(&sorted(sent), 0.999) * 1e3) as u64);
    let to_all = known.iter().map(|sent| last(sent) as f64 / sent.best_full as f64);
    Timing {
        latency_ms: Quantiles::of(all),
        nearly_ms: Quantiles::of(nearly.collect()),
        full_ms: Quantiles::of(measured.iter().map(last).collect()),
        optimum_ms: Quantiles::of(known.iter().map(|sent| sent.best_full).collect()),
        ratio_p99: mean(to_p99),
        ratio_full: mean(to_all),
    }
}

/// How soon others know that nodes have died.
#[derive(Default)]
pub(super) struct Deaths {
    pub(super) each_ms: Quantiles,
    pub(super) all_ms: Quantiles,
    pub(super) n_unknown: u64,
}

pub(super) fn of_deaths(world: &World) -> Deaths {
    let up: Vec<usize> = world.honest().filter(|node| world.host(*node).engine.is_some()).collect();
    let known = world.ledger.deaths_known(&up);
    let all = known
        .iter()
        .filter_map(|death| death.iter().copied().collect::<Option<Vec<u64>>>()?.into_iter().max());
    Deaths {
        each_ms: Quantiles::of(known.iter().flatten().flatten().copied().collect()),
        all_ms: Quantiles::of(all.collect()),
        n_unknown: known.iter().flatten().filter(|known| known.is_none()).count() as u64,
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (n, sum) = values.fold((0.0f64, 0.0), |(n, sum), value| (n + 1.0, sum + value));
    sum / n.max(1.0)
}
