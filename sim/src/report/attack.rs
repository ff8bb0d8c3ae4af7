//! What an attack came to, beside the same run without it.

use core::fmt;
use std::collections::BTreeMap;

use djembe_protocol::time::Timestamp;
use serde::Serialize;

use super::{Report, timing};
use crate::attack::Strain;
use crate::scenario::Scenario;
use crate::world::World;

/// Causes of refusals, as engines count them.
const REFUSALS: [&str; 16] = [
    "crowded",
    "flood",
    "cut-off",
    "banned",
    "bad-envelope",
    "forged-anchor",
    "chain-key",
    "forged-fact",
    "bad-record",
    "signature",
    "duplicate",
    "fork",
    "authors-full",
    "too-far",
    "walks-dropped",
    "walk-dials-dropped",
];

/// The figures of an attack.
#[derive(Clone, Debug, Serialize)]
pub struct AttackReport {
    /// What the attackers did.
    pub kind: String,
    /// How many.
    pub attackers: usize,
    /// Publish to delivery without them, in milliseconds.
    #[serde(serialize_with = "timing::if_known")]
    pub clean_p99_ms: f64,
    /// With them, in the second half of the talk: what is left of it once they are known.
    #[serde(serialize_with = "timing::if_known")]
    pub late_p99_ms: f64,
    /// The same without them.
    #[serde(serialize_with = "timing::if_known")]
    pub clean_late_p99_ms: f64,
    /// Of an honest node's links so many in a hundred are to attackers, in the mean, at the end.
    pub hostile_links: f64,
    /// And at the node that has the most.
    pub hostile_links_max: f64,
    /// What the attackers did beside their engines, and what the honest had to do for their frames.
    pub strain: Strain,
    /// What the honest refused, by cause.
    pub refused: BTreeMap<&'static str, u64>,
    /// The table of an honest node that came nearest to its bound: which, entries, bound.
    pub fullest: (&'static str, usize, usize),
    /// Messages of attackers that were delivered.
    pub foreign: u64,
}

/// Nothing, if there was none.
pub(super) fn summarize(scenario: &Scenario, world: &World) -> Option<AttackReport> {
    let kind = scenario.attack.filter(|_| scenario.attackers > 0)?;
    let honest: Vec<usize> = world.honest().collect();
    let shares: Vec<f64> = honest
        .iter()
        .map(|node| world.surrounded(*node))
        .map(|(hostile, all)| 100.0 * hostile as f64 / all.max(1) as f64)
        .collect();
    let refused = |cause: &'static str| (cause, honest.iter().map(|node| world.count(*node, cause)).sum());
    let tables = honest
        .iter()
        .filter_map(|node| world.host(*node).engine.as_ref())
        .flat_map(|engine| engine.table_sizes());
    let fullest = tables.max_by_key(|(_, n, max)| n * 1000 / max).unwrap_or_default();
    Some(AttackReport {
        kind: kind.to_string(),
        attackers: scenario.attackers,
        clean_p99_ms: 0.0,
        late_p99_ms: late_p99(scenario, world),
        clean_late_p99_ms: 0.0,
        hostile_links: shares.iter().sum::<f64>() / shares.len().max(1) as f64,
        hostile_links_max: shares.iter().copied().fold(0.0, f64::max),
        strain: world.strain(),
        refused: REFUSALS.into_iter().map(refused).filter(|(_, n)| *n > 0).collect(),
        fullest,
        foreign: world.ledger.n_foreign,
    })
}

/// Of what was published in the second half of the talk, in milliseconds.
pub(super) fn late_p99(scenario: &Scenario, world: &World) -> f64 {
    let from = Timestamp::ZERO + (scenario.messages.start + scenario.messages.stop) / 2;
    timing::of(world, from).latency_ms.p99
}

impl AttackReport {
    /// What the same run was without the attack.
    pub(super) fn compare(&mut self, clean: &Report) {
        (self.clean_p99_ms, self.clean_late_p99_ms) = (clean.latency_p99_ms, clean.late_p99_ms);
    }

    /// Signatures checked for a frame of an attacker, in the mean.
    pub fn checks_per_frame(&self) -> f64 {
        self.strain.checks as f64 / self.strain.frames.max(1) as f64
    }

    pub(super) fn write(&self, line: &mut impl FnMut(&str, String) -> fmt::Result) -> fmt::Result {
        line("attack", format!("{} by {}", self.kind, self.attackers))?;
        line("p99 without it", format!("{:.2} ms", self.clean_p99_ms))?;
        line(
            "p99 of the second half",
            format!("{:.2} ms, {:.2} without it", self.late_p99_ms, self.clean_late_p99_ms),
        )?;
        line(
            "links to attackers",
            format!("{:.0} % in the mean, {:.0} % at most", self.hostile_links, self.hostile_links_max),
        )?;
        let Strain { deeds, bent, frames, checks_max, .. } = self.strain;
        line("deeds of attackers", format!("{deeds}; {bent} frames changed or kept"))?;
        line(
            "frames of attackers",
            format!("{frames}; {:.3} signature checks each, {checks_max} at most", self.checks_per_frame()),
        )?;
        let refused: Vec<String> = self.refused.iter().map(|(cause, n)| format!("{cause} {n}")).collect();
        line("refused", refused.join(", "))?;
        let (table, n, max) = self.fullest;
        line("fullest table", format!("{table}: {n} of {max}"))?;
        line("messages of attackers", self.foreign.to_string())
    }
}
