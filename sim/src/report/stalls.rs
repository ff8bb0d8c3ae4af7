//! What a reader that stands still costs the others.

use core::fmt;

use djembe_protocol::time::Timestamp;
use serde::Serialize;

use super::{quantile_ms, timing};
use crate::ledger::Sent;
use crate::scenario::Scenario;
use crate::world::World;

/// Of a run in which some nodes read nothing for a while.
#[derive(Clone, Debug, Serialize)]
pub struct StallReport {
    /// How long messages took to all others that were published before the first stood still, in milliseconds.
    #[serde(serialize_with = "timing::if_known")]
    pub others_p99_before_ms: f64,
    /// The same of those published from then on.
    #[serde(serialize_with = "timing::if_known")]
    pub others_p99_ms: f64,
    /// Messages that never came to one that stood still.
    pub missed: u64,
    /// Bytes that waited for one link at any node, as seen once a second: the most.
    pub queue_max_bytes: u64,
}

pub(super) fn summarize(scenario: &Scenario, world: &World) -> Option<StallReport> {
    let first = Timestamp::ZERO + scenario.stalls.iter().map(|stall| stall.at).min()?;
    let all = &world.ledger.messages;
    let struck = &world.ledger.struck;
    let misses = |sent: &Sent| {
        let due = struck.iter().filter(|node| sent.author != *node && sent.expected.contains(node));
        due.filter(|node| !sent.delivered.contains(node)).count()
    };
    Some(StallReport {
        others_p99_before_ms: others_p99(all.iter().filter(|sent| sent.at < first)),
        others_p99_ms: others_p99(all.iter().filter(|sent| sent.at >= first)),
        missed: all.iter().filter(|sent| sent.is_sealed).map(|sent| misses(sent) as u64).sum(),
        queue_max_bytes: world.ledger.queue_max as u64,
    })
}

/// Over deliveries to nodes that did not stand still.
fn others_p99<'a>(messages: impl Iterator<Item = &'a Sent>) -> f64 {
    let (mut all, mut struck): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
    for sent in messages {
        all.extend(&sent.latencies);
        struck.extend(&sent.struck);
    }
    all.sort_unstable();
    struck.sort_unstable();
    let mut struck = struck.into_iter().peekable();
    // Each of theirs is among all once.
    all.retain(|took| struck.next_if_eq(took).is_none());
    quantile_ms(&all, 0.99)
}

impl StallReport {
    pub(super) fn write(&self, line: &mut impl FnMut(&str, String) -> fmt::Result) -> fmt::Result {
        let (before, now) = (self.others_p99_before_ms, self.others_p99_ms);
        let rise =
            if before > 0.0 { format!(": {:+.1} %", (now / before - 1.0) * 100.0) } else { String::new() };
        line("p99 of those that read", format!("{now:.1} ms, {before:.1} before{rise}"))?;
        let text = format!("{} bytes waited for one link at the most", self.queue_max_bytes);
        line("missed by the others", format!("{}; {text}", self.missed))
    }
}
