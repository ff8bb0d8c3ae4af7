//! What a drawn scenario says of the network: how far it is, what happens to packets, places, and who knows whom.

use core::time::Duration;

use super::{below, between, log_uniform, micros, millis, secs};
use crate::rng::Rng;
use crate::scenario::{Authors, BurstText, Messages, PathText, Scenario, SiteText};
use crate::topology::Nat;

/// Distances, weather, clocks, disks, and how they come.
pub(super) fn network(scenario: &mut Scenario, rng: &mut Rng) {
    let (latency, spread) = match rng.below(4) {
        0 | 1 => (micros(100), Duration::ZERO),
        2 => (millis(1), millis(20)),
        _ => (millis(10), millis(200)),
    };
    scenario.latency = between(rng, latency, latency * 10);
    scenario.spread = if rng.chance(0.5) { below(rng, spread) } else { Duration::ZERO };
    if rng.chance(0.5) {
        scenario.jitter = below(rng, scenario.latency);
        scenario.jitter_share = rng.below(4) as f64 / 10.0;
    }
    let loss_max = match rng.below(20) {
        0..10 => 0,
        10..14 => 10,
        14..18 => 50,
        _ => 150,
    };
    scenario.loss = rng.below(loss_max + 1) as f64 / 1000.0;
    if rng.chance(0.15) {
        let loss = 0.1 + rng.below(6) as f64 / 10.0;
        let good = between(rng, secs(1), secs(30));
        scenario.burst = Some(BurstText { good, bad: between(rng, millis(10), secs(1)), loss });
    }
    if rng.chance(0.3) {
        scenario.reorder = rng.below(20) as f64 / 100.0;
        scenario.duplicate = rng.below(10) as f64 / 100.0;
    }
    if rng.chance(0.08) {
        scenario.corrupt = (1 + rng.below(20)) as f64 / 1e6;
    }
    if rng.chance(0.3) {
        scenario.clock_skew = below(rng, secs(60));
        scenario.clock_drift_ppm = rng.below(200) as f64;
    }
    scenario.contact = rng.chance(0.35).then_some(0);
    scenario.joins = if rng.chance(0.5) { between(rng, millis(10), secs(8)) } else { Duration::ZERO };
    scenario.persist = between(rng, millis(1), millis(20));
}

/// Two or three places, each near in itself and farther from the others; some of them segments, if there is a contact.
pub(super) fn sites(scenario: &mut Scenario, rng: &mut Rng) {
    if !rng.chance(0.25) {
        return;
    }
    let n = 2 + rng.below(2) as usize;
    let near = scenario.latency.max(micros(100));
    let far = scenario.spread.max(near * 2);
    let is_segmented = scenario.contact.is_some() && rng.chance(0.4);
    // Without a contact two sites into which nobody can dial might be all that is left.
    let is_shut = scenario.contact.is_some() && rng.chance(0.6);
    for site in 0..n {
        scenario.sites.push(SiteText {
            name: format!("site-{site}"),
            share: (1 + rng.below(4)) as f64,
            latency: between(rng, near, near * 2),
            spread: Duration::ZERO,
            up: 0,
            down: 0,
            // The first is open, and there the contact is.
            nat: if is_shut && site > 0 {
                [Nat::Cone, Nat::Closed][rng.below(2) as usize]
            } else {
                Nat::Open
            },
            segment: is_segmented && rng.chance(0.7),
            ..SiteText::default()
        });
    }
    for b in 1..n {
        for a in 0..b {
            let sites = [a, b].map(|site| format!("site-{site}"));
            let latency = between(rng, far, far * 2);
            scenario.paths.push(PathText { sites, latency, ..PathText::default() });
        }
    }
}

/// Places and the ways between them have weather of their own.
pub(super) fn weather(scenario: &mut Scenario, rng: &mut Rng) {
    if scenario.sites.is_empty() || !rng.chance(0.3) {
        return;
    }
    for site in &mut scenario.sites {
        if rng.chance(0.4) {
            (site.loss, site.reorder) =
                (Some(rng.below(51) as f64 / 1000.0), Some(rng.below(10) as f64 / 100.0));
        }
    }
    for path in &mut scenario.paths {
        if rng.chance(0.5) {
            path.loss = Some(rng.below(81) as f64 / 1000.0);
            path.jitter = Some(below(rng, path.latency));
            path.duplicate = Some(rng.below(10) as f64 / 100.0);
        }
        if rng.chance(0.25) {
            let good = between(rng, secs(1), secs(30));
            path.burst = Some(BurstText { good, bad: between(rng, millis(10), secs(1)), loss: 0.5 });
        }
    }
}

/// Instead of discovery some know a few others from before. So few that some know nobody would be no network.
pub(super) fn acquaintances(scenario: &mut Scenario, rng: &mut Rng) {
    if scenario.contact.is_none() && scenario.sites.is_empty() && rng.chance(0.2) {
        scenario.acquaintances = 4 + rng.below(13) as usize;
    }
}

/// Uplinks are slow sometimes, and never too slow for what is said.
pub(super) fn uplinks(scenario: &mut Scenario, rng: &mut Rng) {
    if !rng.chance(0.2) {
        return;
    }
    scenario.bandwidth = log_uniform(rng, 2e6, 1e8).max(enough(scenario)) as u64;
}

/// And what can be sent from, or heard at, a site.
pub(super) fn uplinks_of_sites(scenario: &mut Scenario, rng: &mut Rng) {
    if scenario.sites.is_empty() || !rng.chance(0.4) {
        return;
    }
    let least = enough(scenario);
    for site in &mut scenario.sites {
        for limit in [&mut site.up, &mut site.down] {
            if rng.chance(0.5) {
                *limit = log_uniform(rng, 2e6, 1e8).max(least) as u64;
            }
        }
    }
}

/// Bits a second that are enough for what is said.
fn enough(scenario: &Scenario) -> f64 {
    let Messages { rate, size, senders, authors, .. } = scenario.messages;
    let at_once = if authors == Authors::Each { senders } else { 1 };
    // Each sends its own to all, at worst, and passes on as much again; the overhead of a small message is larger than it.
    let said = rate * (size + 500) as f64 * 8.0;
    8.0 * said * (scenario.nodes + at_once) as f64
}
