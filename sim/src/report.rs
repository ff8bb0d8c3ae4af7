//! What came of a run: a table for people, one JSON object for machines.

mod attack;
mod beside;
mod bytes;
mod due;
pub mod html;
mod memory;
pub mod picture;
mod ran;
mod series;
mod stalls;
mod timing;

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;

use djembe_protocol::persist::Frontier;
use djembe_protocol::time::Timestamp;
use serde::Serialize;

pub use self::attack::AttackReport;
pub use self::beside::Beside;
use self::bytes::{Bytes, Mark};
pub(crate) use self::due::each as each_due;
pub use self::memory::memory;
pub use self::picture::Picture;
pub use self::ran::{Ran, figures, forget_peak_rss, peak_rss_bytes};
pub use self::series::{Change, Sample, Standing};
pub use self::stalls::StallReport;
pub use self::timing::Quantiles;
use crate::baseline::Protocol;
use crate::ledger::{Sent, Violation};
use crate::scenario::Scenario;
pub use crate::shard::beacons::KIND as BEACON_KIND;
use crate::world::World;
use crate::world::overlay::OverlayReport;
use crate::world::rest::{self, Rest};

/// In a world of more nodes than these nobody looks for a full mesh: there is none.
const MESH_NODES_MAX: usize = 64;
/// A full mesh is looked for as often: a small part of how long it takes to form.
const MESH_EVERY: Duration = Duration::from_millis(10);
/// And only if there are no more than these, each of which keeps a link to all others, it is said that there was none.
const MESH_MAX: usize = 17;
/// So many violations are in a table.
const VIOLATIONS_TOLD: usize = 10;
/// Nodes from which the overlay is measured.
const OVERLAY_AUTHORS: usize = 20;

/// The figures of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What spread the messages.
    pub protocol: Protocol,
    /// Threads that worked.
    pub threads: usize,
    /// Nodes at the start.
    pub nodes: usize,
    /// Everything random grew from it.
    pub seed: u64,
    /// Virtual seconds.
    pub seconds: f64,
    /// A violation has ended it after these, before its end.
    pub is_stopped: bool,
    /// Messages that the scenario has.
    pub planned: usize,
    /// Messages that left their authors.
    pub messages: usize,
    /// Messages that were refused, dropped with a reason, or lost with their author before they left it.
    pub not_sent: u64,
    /// Messages that nobody was there to say: their author was down, or the run was stopped before.
    pub not_said: u64,
    /// Deliveries of those that were expected, at nodes other than the author.
    pub delivered: u64,
    /// Deliveries to all who run at the end, or were there if it is not kept.
    pub expected: u64,
    /// `delivered / expected`.
    pub delivery_ratio: f64,
    /// Deliveries that were due and did not come: of what is not kept only those that nothing held up.
    pub missing: u64,
    /// Publish to delivery, in milliseconds. Null in JSON if nothing was delivered.
    #[serde(serialize_with = "timing::if_known")]
    pub latency_p50_ms: f64,
    /// The same.
    #[serde(serialize_with = "timing::if_known")]
    pub latency_p99_ms: f64,
    /// The same.
    #[serde(serialize_with = "timing::if_known")]
    pub latency_max_ms: f64,
    /// Of what was published in the second half of the talk.
    #[serde(serialize_with = "timing::if_known")]
    pub late_p99_ms: f64,
    /// How long messages took to 999 in 1,000 of the nodes that got them.
    #[serde(serialize_with = "timing::if_known")]
    pub nearly_full_delivery_ms: Quantiles,
    /// How long messages took to the last node that got them.
    #[serde(serialize_with = "timing::if_known")]
    pub full_delivery_ms: Quantiles,
    /// The same at best over the links that stood when they were published; zeros, and null in JSON, if that was not worked
    /// out.
    #[serde(serialize_with = "timing::if_known")]
    pub optimum_ms: Quantiles,
    /// Hops over which an envelope came to a node that it was new to: the most.
    pub last_hop_max: u8,
    /// Envelopes that arrived for each that was new.
    #[serde(rename = "copies_per_delivery")]
    pub copies: f64,
    /// Everything on the wire, overhead included, for each byte of content delivered.
    pub bytes_per_payload_byte: f64,
    /// Of a message's time to 99 % of the nodes, to the best that the links would have allowed: the mean. Zero, and null in
    /// JSON, if that was not worked out.
    #[serde(serialize_with = "timing::if_known")]
    pub optimum_ratio_p99: f64,
    /// The same of the time to the last node.
    #[serde(serialize_with = "timing::if_known")]
    pub optimum_ratio_full: f64,
    /// Bytes for messages on the wire, whatever is said about them included, for a byte of sealed envelopes delivered once.
    pub message_bytes_ratio: f64,
    /// The same without what transports add: Yamux, Noise, TCP, IP and Ethernet.
    pub message_bytes_ratio_bare: f64,
    /// These bytes a second and node, from the first message on.
    pub message_bytes_per_node_second: f64,
    /// Bytes a second and node for who is there, from the first message on.
    pub presence_bytes_per_node_second: f64,
    /// Bytes of beacons, the same; none where there are no segments.
    pub discovery_bytes_per_node_second: f64,
    /// And for everything else in that time: links, overlay, trees, comparing logs.
    pub background_bytes_per_node_second: f64,
    /// The same without what transports add.
    pub background_bytes_per_node_second_bare: f64,
    /// Everything on the wire, a node and second.
    pub wire_bytes_per_node_second: f64,
    /// Until all had been started and every node was linked to every other; none if never.
    pub mesh_seconds: Option<f64>,
    /// Nodes declared gone by a neighbour that were there.
    pub presence_false_alarms: u64,
    /// Nodes taken off somebody's list of members that were there.
    pub members_missed: u64,
    /// How often in an hour a node that is there is declared gone, by however many.
    pub false_gone_per_node_hour: f64,
    /// Nodes declared gone, by one that watched, that came back in the same run.
    pub presence_flaps: u64,
    /// Of nodes that died and stayed dead: how long each other node took to know. Null in JSON if none did.
    #[serde(serialize_with = "timing::if_known")]
    pub deaths_known_ms: Quantiles,
    /// And how long until all did.
    #[serde(serialize_with = "timing::if_known")]
    pub deaths_known_to_all_ms: Quantiles,
    /// How many nodes did not learn of a death.
    pub deaths_unknown: u64,
    /// The overlay at the end.
    pub overlay: OverlayReport,
    /// Frames by kind, with their bytes, of the whole run.
    pub frames: BTreeMap<u8, (u64, u64)>,
    /// Frames by kind, and their bytes on the wire, of a node and second.
    pub frames_per_node_second: BTreeMap<u8, (f64, f64)>,
    /// Events that the simulator worked off.
    pub events: u64,
    /// The hash over all of them.
    #[serde(rename = "trace_hash")]
    pub hash: String,
    /// What an attack came to, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attack: Option<AttackReport>,
    /// What readers that stood still came to, if there were some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stalls: Option<StallReport>,
    /// How often there was what must never be.
    pub n_violations: u64,
    /// The first of them.
    pub violations: Vec<Violation>,
    /// How it went, second by second.
    pub series: Vec<Sample>,
    /// What only a page shows.
    #[serde(skip)]
    pub picture: Picture,
}

impl Report {
    /// Whether something was sent if it was to be, everything was delivered, and nothing was violated.
    pub fn is_good(&self) -> bool {
        let is_silent = self.planned > 0 && self.messages == 0;
        !is_silent && self.violations.is_empty() && self.missing == 0
    }
}

impl Report {
    /// What became of the messages that the scenario has.
    fn sent(&self) -> String {
        if self.planned == 0 {
            return "nothing was to be said".to_owned();
        }
        let (sent, planned, not_sent) = (self.messages, self.planned, self.not_sent);
        let why = if self.is_stopped {
            "it was stopped, or their author was down"
        } else {
            "their author was down"
        };
        let not_said = match self.not_said {
            0 => String::new(),
            n => format!(", {n} not said: {why}"),
        };
        format!("{sent} of {planned} sent, {not_sent} not sent{not_said}")
    }
}

/// Runs a scenario to its end; one with attackers without them before.
pub fn run(scenario: &Scenario, progress: impl FnMut(Timestamp)) -> Report {
    run_to_end(scenario, progress).0
}

/// The same, with the world as it is then.
pub fn run_to_end(scenario: &Scenario, progress: impl FnMut(Timestamp)) -> (Report, World) {
    run_prepared(scenario, |_| (), progress)
}

/// The same of a world to which something is done before it begins.
pub fn run_prepared(
    scenario: &Scenario,
    prepare: impl FnOnce(&mut World),
    mut progress: impl FnMut(Timestamp),
) -> (Report, World) {
    let clean =
        scenario.attack.map(|_| run_world(scenario.clean().world(), &scenario.clean(), &mut progress).0);
    let mut world = scenario.world();
    prepare(&mut world);
    let (mut report, world) = run_world(world, scenario, progress);
    if let (Some(attack), Some(clean)) = (&mut report.attack, clean) {
        attack.compare(&clean);
    }
    (report, world)
}

/// Runs a scenario's world to its end, or to the violation that ends it. The figures of an attack have nothing beside them
/// then.
pub fn run_world(
    mut world: World,
    scenario: &Scenario,
    mut progress: impl FnMut(Timestamp),
) -> (Report, World) {
    let end = Timestamp::ZERO + scenario.duration;
    let measured_from = Timestamp::ZERO + scenario.messages.measured_from();
    let mut before = None;
    let mut sampler = series::Sampler::default();
    let mut mesh = None;
    let quiet = Timestamp::ZERO + scenario.quiet_at();
    let settled = quiet + scenario.settle;
    let mut rest = Rest::since(quiet);
    let mut next = world.now() + Duration::from_secs(1);
    while next < end && !world.ledger.is_stopped() {
        if before.is_none() && next > measured_from {
            world.run_until(measured_from.max(world.now()));
            before = Some(Mark::of(&world, sampler.node_seconds(&world)));
            if world.n_nodes() <= picture::PATHS_NODES_MAX {
                world.record_paths();
            }
        }
        if scenario.nodes <= MESH_NODES_MAX {
            mesh = mesh.or_else(|| run_until_mesh(&mut world, scenario.arrived_at(), next));
        }
        world.run_until(next);
        progress(next);
        if world.ledger.is_stopped() {
            break;
        }
        check_some_bounds(&mut world);
        sampler.look(&world);
        if next >= quiet && next < settled && next + rest::PATIENCE >= settled {
            rest.look(&world);
        }
        if world.now() < settled && next + Duration::from_secs(1) >= settled {
            world.run_until(settled);
            if world.ledger.is_stopped() {
                break;
            }
            check_same_logs(&mut world);
            rest.look(&world);
            if scenario.loss_max() < rest::LOSS_MAX {
                rest.conclude(&mut world);
            }
        }
        next = world.now().max(next) + Duration::from_secs(1);
    }
    world.run_until(end);
    // What has to be so at the end need not be before.
    if !world.ledger.is_stopped() {
        check_sent(&mut world);
        check_same_logs(&mut world);
        check_bounds(&mut world);
    }
    sampler.look(&world);
    let before = before.unwrap_or_default();
    let node_seconds = sampler.node_seconds(&world);
    let report = summarize(scenario, &world, mesh, &before, node_seconds);
    let (series, standings) = sampler.take();
    let picture = picture::of(scenario, &world, &before, standings);
    (Report { series, picture, ..report }, world)
}

/// Runs until there is a full mesh of all nodes, who have been started after `joins`, or until a time. Returns when it
/// was there.
fn run_until_mesh(world: &mut World, joins: Duration, until: Timestamp) -> Option<Duration> {
    while world.now() < until && !world.ledger.is_stopped() {
        world.run_until(until.min(world.now() + MESH_EVERY));
        let passed = world.now() - Timestamp::ZERO;
        if passed >= joins && world.is_full_mesh() {
            return Some(passed);
        }
    }
    None
}

/// What was to be kept has left its author, unless that died before, or was told why not.
fn check_sent(world: &mut World) {
    let is_up = |node: usize| world.host(node).engine.is_some() && !world.topology().places[node].is_paused;
    let is_stuck =
        |sent: &Sent| sent.lane.is_kept() && !sent.is_sealed && !sent.is_lost && is_up(sent.author);
    let messages = world.ledger.messages.iter().enumerate();
    let stuck: Vec<(usize, usize)> =
        messages.filter(|(_, sent)| is_stuck(sent)).map(|(number, sent)| (number, sent.author)).collect();
    for (number, author) in stuck {
        world.ledger.violate(
            world.now(),
            author,
            "delivery",
            format!("message {number} never left its author"),
        );
    }
}

/// After faults and messages have stopped, all running nodes hold the same kept logs.
pub fn check_same_logs(world: &mut World) {
    let up = world.honest().filter(|node| world.host(*node).engine.is_some());
    for (group, members) in world.by_group(up).into_iter().enumerate() {
        check_same_logs_of(world, group, &members);
    }
}

fn check_same_logs_of(world: &mut World, group: usize, members: &[usize]) {
    let group = world.group_id(group);
    let Some((first, rest)) = members.split_first() else {
        return;
    };
    // What attackers publish is no business of this.
    let frontiers = |world: &World, node: usize| -> Vec<Frontier> {
        let all = world.host(node).disk.frontiers(&group);
        all.into_iter().filter(|frontier| world.ledger.is_honest(&frontier.log.author)).collect()
    };
    let expected = frontiers(world, *first);
    for node in rest {
        if frontiers(world, *node) != expected {
            let text = format!("its logs differ from those of node {first}");
            world.ledger.violate(world.now(), *node, "convergence", text);
        }
    }
}

/// In a larger world each second so many nodes are looked at, others each time, and all at the end: what is beyond its
/// bound stays so for longer than that, and a look costs as much as some ten events.
const BOUNDS_AT_ONCE: usize = 250;

/// Queues and tables stay within their limits.
pub fn check_bounds(world: &mut World) {
    let nodes = world.honest().collect();
    check_bounds_of(world, nodes);
}

fn check_some_bounds(world: &mut World) {
    let second = usize::try_from((world.now() - Timestamp::ZERO).as_secs()).unwrap_or_default();
    let turns = world.n_nodes().div_ceil(BOUNDS_AT_ONCE).max(1);
    let nodes = world.honest().filter(|node| node % turns == second % turns).collect();
    check_bounds_of(world, nodes);
}

fn check_bounds_of(world: &mut World, nodes: Vec<usize>) {
    for node in nodes {
        let Some(engine) = &world.host(node).engine else { continue };
        for (table, n, max) in engine.table_sizes() {
            if table == "queue of a link" {
                world.ledger.queue_max = world.ledger.queue_max.max(n);
            }
            if n > max {
                world.ledger.violate(world.now(), node, "bounds", format!("{table}: {n} of {max}"));
            }
        }
    }
}

fn summarize(
    scenario: &Scenario,
    world: &World,
    mesh: Option<Duration>,
    before: &Mark,
    node_seconds: f64,
) -> Report {
    let ledger = &world.ledger;
    let unsealed = ledger.messages.iter().filter(|sent| !sent.is_sealed).count() as u64;
    let planned = scenario.publishes().count();
    let messages = ledger.messages.iter().filter(|sent| sent.is_sealed).count();
    let not_sent = ledger.n_refused + unsealed;
    let (mut delivered, mut expected, mut missing) = (0, 0, 0);
    due::each(scenario, world, |due| {
        expected += 1;
        delivered += u64::from(due.is_there);
        missing += u64::from(due.is_missing());
    });
    let timing = timing::of(world, Timestamp::ZERO + scenario.messages.measured_from());
    let deaths = timing::of_deaths(world);
    let seconds = world.now().as_micros() as f64 / 1e6;
    let spent = Bytes::of(world).since(&before.bytes);
    let per_node = |bytes: u64| bytes as f64 / (node_seconds - before.node_seconds).max(1e-6);
    Report {
        protocol: scenario.protocol,
        threads: world.n_shards(),
        nodes: scenario.nodes,
        seed: scenario.seed,
        seconds,
        is_stopped: ledger.is_stopped(),
        planned,
        messages,
        not_sent,
        not_said: (planned as u64).saturating_sub(messages as u64 + not_sent),
        delivered,
        expected,
        delivery_ratio: ratio(delivered, expected),
        missing,
        latency_p50_ms: timing.latency_ms.p50,
        latency_p99_ms: timing.latency_ms.p99,
        latency_max_ms: timing.latency_ms.max,
        nearly_full_delivery_ms: timing.nearly_ms,
        full_delivery_ms: timing.full_ms,
        optimum_ms: timing.optimum_ms,
        last_hop_max: world.last_hop_max(),
        late_p99_ms: attack::late_p99(scenario, world),
        copies: ratio(spent.copies, spent.envelopes),
        optimum_ratio_p99: timing.ratio_p99,
        optimum_ratio_full: timing.ratio_full,
        message_bytes_ratio: ratio(spent.messages, spent.sealed),
        message_bytes_ratio_bare: ratio(spent.messages_bare, spent.sealed),
        message_bytes_per_node_second: per_node(spent.messages),
        presence_bytes_per_node_second: per_node(spent.presence),
        discovery_bytes_per_node_second: per_node(spent.discovery),
        background_bytes_per_node_second: per_node(spent.background),
        background_bytes_per_node_second_bare: per_node(spent.background_bare),
        bytes_per_payload_byte: ratio(world.wire_bytes(), ledger.payload),
        wire_bytes_per_node_second: world.wire_bytes() as f64 / node_seconds.max(1e-6),
        mesh_seconds: mesh.map(|time| time.as_secs_f64()),
        presence_false_alarms: ledger.n_false_alarms,
        members_missed: ledger.n_members_missed,
        false_gone_per_node_hour: ledger.n_buried as f64 / (node_seconds / 3600.0).max(1e-6),
        presence_flaps: ledger.n_flaps,
        deaths_known_ms: deaths.each_ms,
        deaths_known_to_all_ms: deaths.all_ms,
        deaths_unknown: deaths.n_unknown,
        overlay: world.overlay_report(OVERLAY_AUTHORS),
        frames: world.frames(),
        frames_per_node_second: before.rates(world, node_seconds),
        events: world.n_events(),
        hash: world.trace_hash(),
        attack: attack::summarize(scenario, world),
        stalls: stalls::summarize(scenario, world),
        n_violations: ledger.n_violations,
        violations: ledger.violations.clone(),
        series: Vec::new(),
        picture: Picture::default(),
    }
}

/// In milliseconds what so large a share of these sorted microseconds does not exceed; zero if there are none.
pub fn quantile_ms(sorted: &[u64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let at = (share * last as f64).round() as usize;
    sorted.get(at).map_or(0.0, |micros| *micros as f64 / 1000.0)
}

fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 1.0 } else { a as f64 / b as f64 }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |what: &str, value: String| writeln!(f, "{what:<28}{value}");
        line("protocol", self.protocol.to_string())?;
        line("nodes", self.nodes.to_string())?;
        let stopped = if self.is_stopped { ", then it was stopped" } else { "" };
        line("virtual time", format!("{} s{stopped}", self.seconds))?;
        line("messages", self.sent())?;
        line("delivered", format!("{:.4} ({} of {})", self.delivery_ratio, self.delivered, self.expected))?;
        if self.missing > 0 {
            line("missing", format!("{} deliveries that were due", self.missing))?;
        }
        let (p50, p99, max) = (self.latency_p50_ms, self.latency_p99_ms, self.latency_max_ms);
        if max > 0.0 {
            line("latency p50 / p99 / max", format!("{p50:.2} / {p99:.2} / {max:.2} ms"))?;
        }
        line("copies of a payload", format!("{:.4}", self.copies))?;
        line("wire bytes / payload byte", format!("{:.2}", self.bytes_per_payload_byte))?;
        if self.optimum_ratio_p99 > 0.0 {
            let (p99, full) = (self.optimum_ratio_p99, self.optimum_ratio_full);
            line("to 99 % / optimum of each", format!("{p99:.3}; to all {full:.3}"))?;
        }
        if self.full_delivery_ms != Quantiles::default() {
            line("time to 99.9 %, p50/p99/max", self.nearly_full_delivery_ms.to_string())?;
            line("time to all, p50/p99/max", self.full_delivery_ms.to_string())?;
        }
        if self.optimum_ms != Quantiles::default() {
            line("at best, p50/p99/max", self.optimum_ms.to_string())?;
        }
        line("most hops", self.last_hop_max.to_string())?;
        let (wire, bare) = (self.message_bytes_ratio, self.message_bytes_ratio_bare);
        line("message bytes / sealed byte", format!("{wire:.3}; {bare:.3} without transports"))?;
        line(
            "wire bytes / node / s",
            format!(
                "{:.0}; while measured presence {:.0}, background {:.0} ({:.0} without transports)",
                self.wire_bytes_per_node_second,
                self.presence_bytes_per_node_second,
                self.background_bytes_per_node_second,
                self.background_bytes_per_node_second_bare
            ),
        )?;
        if self.discovery_bytes_per_node_second > 0.0 {
            let bytes = self.discovery_bytes_per_node_second;
            line("of which for beacons", format!("{bytes:.0}, beside presence and background"))?;
        }
        if self.mesh_seconds.is_some() || self.nodes <= MESH_MAX {
            let mesh = self.mesh_seconds.map_or("never".to_owned(), |s| format!("{s:.3} s"));
            line("full mesh after", mesh)?;
        }
        if self.deaths_known_ms != Quantiles::default() {
            line(
                "death known, p50/p99/max",
                format!("{}, {} never", self.deaths_known_ms, self.deaths_unknown),
            )?;
            line("  to all", self.deaths_known_to_all_ms.to_string())?;
        }
        let overlay = &self.overlay;
        line(
            "links of a node",
            format!(
                "{} to {}, {:.1} in the mean; {:.1} connections opened",
                overlay.degree_min, overlay.degree_max, overlay.degree_mean, overlay.connections_per_node
            ),
        )?;
        line(
            "optimum p99 / max",
            format!(
                "{:.1} / {:.1} ms, {} hops, {} not reached",
                overlay.optimum_p99_ms, overlay.optimum_max_ms, overlay.hops, overlay.unreached
            ),
        )?;
        line("overlay upkeep", format!("{:.0} bytes a node", overlay.upkeep_bytes_per_node))?;
        line("presence false alarms", self.presence_false_alarms.to_string())?;
        line("presence flaps", self.presence_flaps.to_string())?;
        line("events", self.events.to_string())?;
        line("hash", self.hash.clone())?;
        if let Some(attack) = &self.attack {
            attack.write(&mut line)?;
        }
        if let Some(stalls) = &self.stalls {
            stalls.write(&mut line)?;
        }
        for violation in self.violations.iter().take(VIOLATIONS_TOLD) {
            let Violation { at, node, check, text } = violation;
            line("violation", format!("{check} at node {node}, {:.6} s: {text}", *at as f64 / 1e6))?;
        }
        let n_told = self.violations.len().min(VIOLATIONS_TOLD) as u64;
        if self.n_violations > n_told {
            line(
                "violations",
                format!("and {} more, {} in all", self.n_violations - n_told, self.n_violations),
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What comes of a scenario, given as TOML.
    pub(crate) fn report_of(scenario: &str) -> Report {
        run(&Scenario::parse(scenario, &[]).expect("a scenario"), |_| ())
    }
}
