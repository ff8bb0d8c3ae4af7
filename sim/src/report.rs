//! What came of a run: a table for people, one JSON object for machines.

mod attack;
mod beside;
pub mod html;
mod series;

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;

use djembe_protocol::persist::Frontier;
use djembe_protocol::time::Timestamp;
use serde::Serialize;

pub use self::attack::AttackReport;
pub use self::beside::Beside;
pub use self::series::Sample;
use crate::baseline::{self, Protocol};
use crate::ledger::Violation;
use crate::scenario::Scenario;
use crate::shard::beacons;
use crate::world::World;
use crate::world::overlay::OverlayReport;
use crate::world::rest::{self, Rest};

/// In a world of more nodes than these nobody looks for a full mesh: there is none.
const MESH_NODES_MAX: usize = 64;
/// Frames for messages: with envelopes, that announce, ask, acknowledge, give credit, and shape the trees along which they
/// travel.
const MESSAGE_KINDS: [u8; 9] = [13, 14, 15, 16, 17, 18, 42, 43, 50];
/// The same of a baseline. What engines say for messages, of which they have none, is background then.
const CARRIED_KINDS: [u8; 2] = [baseline::PAYLOAD, baseline::TALK];
/// Frames that say who is there: beats, votes, words of members.
const PRESENCE_KINDS: [u8; 11] = [4, 5, 6, 7, 8, 24, 25, 26, 27, 28, 29];
/// A full mesh is looked for as often: a small part of how long it takes to form.
const MESH_EVERY: Duration = Duration::from_millis(10);
/// Nodes from which the overlay is measured.
const OVERLAY_AUTHORS: usize = 20;

/// The figures of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What spread the messages.
    pub protocol: Protocol,
    /// Nodes at the start.
    pub nodes: usize,
    /// Everything random grew from it.
    pub seed: u64,
    /// Virtual seconds.
    pub seconds: f64,
    /// Messages that the scenario has.
    pub planned: usize,
    /// Messages that left their authors.
    pub messages: usize,
    /// Messages that were refused, dropped with a reason, or lost with their author before they left it.
    pub not_sent: u64,
    /// Deliveries of those that were due, at nodes other than the author.
    pub delivered: u64,
    /// Deliveries that were due.
    pub expected: u64,
    /// `delivered / expected`.
    pub delivery_ratio: f64,
    /// Publish to delivery, in milliseconds.
    pub latency_p50_ms: f64,
    /// The same.
    pub latency_p99_ms: f64,
    /// The same.
    pub latency_max_ms: f64,
    /// Of what was published in the second half of the talk.
    pub late_p99_ms: f64,
    /// Envelopes that arrived for each that was new.
    pub copies: f64,
    /// Everything on the wire, overhead included, for each byte of content delivered.
    pub bytes_per_payload_byte: f64,
    /// Of a message's time to 99 % of the nodes, to the best that the links would have allowed: the mean. Zero if that was
    /// not worked out.
    pub optimum_ratio_p99: f64,
    /// Bytes for messages on the wire, whatever is said about them included, for a byte of sealed envelopes delivered once.
    pub message_bytes_ratio: f64,
    /// These bytes a second and node, from the first message on.
    pub message_bytes_per_node_second: f64,
    /// Bytes a second and node for who is there, from the first message on.
    pub presence_bytes_per_node_second: f64,
    /// Bytes of beacons, the same; none where there are no segments.
    pub discovery_bytes_per_node_second: f64,
    /// And for everything else in that time: links, overlay, trees, comparing logs.
    pub background_bytes_per_node_second: f64,
    /// Everything on the wire, a node and second.
    pub wire_bytes_per_node_second: f64,
    /// Until all had been started and every node was linked to every other; none if never.
    pub mesh_seconds: Option<f64>,
    /// Nodes declared gone that were there.
    pub presence_false_alarms: u64,
    /// Nodes declared gone, by one that watched, that came back in the same run.
    pub presence_flaps: u64,
    /// The overlay at the end.
    pub overlay: OverlayReport,
    /// Frames by kind, with their bytes.
    pub frames: BTreeMap<u8, (u64, u64)>,
    /// Events that the simulator worked off.
    pub events: u64,
    /// The hash over all of them.
    pub hash: String,
    /// What an attack came to, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attack: Option<AttackReport>,
    /// What must never be.
    pub violations: Vec<Violation>,
    /// How it went, second by second.
    pub series: Vec<Sample>,
}

impl Report {
    /// Whether something was sent if it was to be, everything was delivered, and nothing was violated.
    pub fn is_good(&self) -> bool {
        let is_silent = self.planned > 0 && self.messages == 0;
        !is_silent && self.violations.is_empty() && self.delivered == self.expected
    }
}

/// Runs a scenario to its end; one with attackers without them before.
pub fn run(scenario: &Scenario, mut progress: impl FnMut(Timestamp)) -> Report {
    let clean =
        scenario.attack.map(|_| run_world(scenario.clean().world(), &scenario.clean(), &mut progress).0);
    let (mut report, _) = run_world(scenario.world(), scenario, progress);
    if let (Some(attack), Some(clean)) = (&mut report.attack, clean) {
        attack.compare(&clean);
    }
    report
}

/// Runs a scenario's world to its end. The figures of an attack have nothing beside them then.
pub fn run_world(
    mut world: World,
    scenario: &Scenario,
    mut progress: impl FnMut(Timestamp),
) -> (Report, World) {
    let end = Timestamp::ZERO + scenario.duration;
    let mut before = None;
    let mut sampler = series::Sampler::default();
    let mut mesh = None;
    let quiet = Timestamp::ZERO + scenario.quiet_at().max(scenario.joins);
    let settled = Timestamp::ZERO + scenario.quiet_at() + scenario.settle;
    let mut rest = Rest::since(quiet);
    let mut next = world.now() + Duration::from_secs(1);
    while next < end {
        if scenario.nodes <= MESH_NODES_MAX {
            mesh = mesh.or_else(|| run_until_mesh(&mut world, scenario.joins, next));
        }
        if before.is_none() && next >= Timestamp::ZERO + scenario.messages.start {
            before = Some(Bytes::of(&world));
        }
        world.run_until(next);
        progress(next);
        check_bounds(&mut world);
        sampler.look(&world);
        if next >= quiet && next < settled && next + rest::PATIENCE >= settled {
            rest.look(&world);
        }
        if world.now() < settled && next + Duration::from_secs(1) >= settled {
            world.run_until(settled);
            check_same_logs(&mut world);
            rest.look(&world);
            rest.conclude(&mut world);
        }
        next = world.now().max(next) + Duration::from_secs(1);
    }
    world.run_until(end);
    check_same_logs(&mut world);
    check_bounds(&mut world);
    sampler.look(&world);
    let report = summarize(scenario, &world, mesh, &before.unwrap_or_default());
    (Report { series: sampler.take(), ..report }, world)
}

/// Runs until there is a full mesh of all nodes, who have been started after `joins`, or until a time. Returns when it
/// was there.
fn run_until_mesh(world: &mut World, joins: Duration, until: Timestamp) -> Option<Duration> {
    while world.now() < until {
        world.run_until(until.min(world.now() + MESH_EVERY));
        let passed = world.now() - Timestamp::ZERO;
        if passed >= joins && world.is_full_mesh() {
            return Some(passed);
        }
    }
    None
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

/// Queues and tables stay within their limits.
pub fn check_bounds(world: &mut World) {
    for node in world.honest().collect::<Vec<_>>() {
        let Some(engine) = &world.host(node).engine else { continue };
        for (table, n, max) in engine.table_sizes() {
            if n > max {
                world.ledger.violate(world.now(), node, "bounds", format!("{table}: {n} of {max}"));
            }
        }
    }
}

fn summarize(scenario: &Scenario, world: &World, mesh: Option<Duration>, before: &Bytes) -> Report {
    let ledger = &world.ledger;
    let (mut delivered, mut expected, mut not_sent) = (0, 0, ledger.n_refused);
    let is_up = |node: &usize| world.host(*node).engine.is_some();
    for sent in &ledger.messages {
        if !sent.is_sealed {
            not_sent += 1;
            continue;
        }
        // What is kept is due to all that run at the end; what is live to those who were there.
        let due: Vec<usize> = if sent.lane.is_kept() {
            let group = world.group_of(&sent.group);
            let is_member = |node: &usize| group.is_some_and(|group| world.is_member(*node, group));
            world.honest().filter(is_up).filter(is_member).collect()
        } else {
            sent.expected.iter().filter(is_up).collect()
        };
        let due = due.into_iter().filter(|node| *node != sent.author);
        for node in due {
            expected += 1;
            delivered += u64::from(sent.delivered.contains(&node));
        }
    }
    let mut latencies = ledger.latencies.clone();
    latencies.sort_unstable();
    let quantile = |share| quantile_ms(&latencies, share);
    let seconds = scenario.duration.as_secs_f64();
    let spent = Bytes::of(world).since(before);
    let per_node = |bytes: u64| bytes as f64 / scenario.nodes as f64 / spent.seconds;
    Report {
        protocol: scenario.protocol,
        nodes: scenario.nodes,
        seed: scenario.seed,
        seconds,
        planned: scenario.publishes().count(),
        messages: ledger.messages.iter().filter(|sent| sent.is_sealed).count(),
        not_sent,
        delivered,
        expected,
        delivery_ratio: ratio(delivered, expected),
        latency_p50_ms: quantile(0.5),
        latency_p99_ms: quantile(0.99),
        latency_max_ms: quantile(1.0),
        late_p99_ms: attack::late_p99(scenario, world),
        copies: ratio(ledger.n_copies, ledger.n_envelopes),
        optimum_ratio_p99: optimum_ratio(world),
        message_bytes_ratio: ratio(spent.messages, ledger.sealed),
        message_bytes_per_node_second: per_node(spent.messages),
        presence_bytes_per_node_second: per_node(spent.presence),
        discovery_bytes_per_node_second: per_node(spent.discovery),
        background_bytes_per_node_second: per_node(
            spent.all - spent.presence - spent.messages - spent.discovery,
        ),
        bytes_per_payload_byte: ratio(world.wire_bytes(), ledger.payload),
        wire_bytes_per_node_second: world.wire_bytes() as f64 / scenario.nodes as f64 / seconds,
        mesh_seconds: mesh.map(|time| time.as_secs_f64()),
        presence_false_alarms: ledger.n_false_alarms,
        presence_flaps: ledger.n_flaps,
        overlay: world.overlay_report(OVERLAY_AUTHORS),
        frames: world.frames(),
        events: world.n_events(),
        hash: world.trace_hash(),
        attack: attack::summarize(scenario, world),
        violations: ledger.violations.clone(),
        series: Vec::new(),
    }
}

/// In milliseconds what so large a share of these sorted microseconds does not exceed; zero if there are none.
pub fn quantile_ms(sorted: &[u64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let at = (share * last as f64).round() as usize;
    sorted.get(at).map_or(0.0, |micros| *micros as f64 / 1000.0)
}

/// What has been put on the wire.
#[derive(Clone, Copy, Default)]
struct Bytes {
    /// At this time.
    seconds: f64,
    all: u64,
    messages: u64,
    presence: u64,
    discovery: u64,
}

impl Bytes {
    fn of(world: &World) -> Self {
        Self {
            seconds: world.now().as_micros() as f64 / 1e6,
            all: world.wire_bytes(),
            messages: match world.protocol() {
                Protocol::Djembe => world.wire_bytes_of(&MESSAGE_KINDS),
                _ => world.wire_bytes_of(&CARRIED_KINDS),
            },
            presence: world.wire_bytes_of(&PRESENCE_KINDS),
            discovery: world.wire_bytes_of(&[beacons::KIND]),
        }
    }

    fn since(self, before: &Self) -> Self {
        Self {
            seconds: (self.seconds - before.seconds).max(1e-6),
            all: self.all - before.all,
            messages: self.messages - before.messages,
            presence: self.presence - before.presence,
            discovery: self.discovery - before.discovery,
        }
    }
}

/// How much longer messages took to 99 % of the nodes than they would have at best over the links that stood; the mean
/// over those of which that was worked out, zero if there are none.
fn optimum_ratio(world: &World) -> f64 {
    let measured =
        world.ledger.messages.iter().filter(|sent| sent.best_p99 > 0.0 && !sent.latencies.is_empty());
    let ratios = measured.map(|sent| {
        let mut latencies = sent.latencies.clone();
        latencies.sort_unstable();
        quantile_ms(&latencies, 0.99) / sent.best_p99
    });
    let (n, sum) = ratios.fold((0.0f64, 0.0), |(n, sum), ratio| (n + 1.0, sum + ratio));
    sum / n.max(1.0)
}

fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 1.0 } else { a as f64 / b as f64 }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |what: &str, value: String| writeln!(f, "{what:<28}{value}");
        line("protocol", self.protocol.to_string())?;
        line("nodes", self.nodes.to_string())?;
        line("virtual time", format!("{} s", self.seconds))?;
        let (sent, planned) = (self.messages, self.planned);
        line("messages", format!("{sent} of {planned} sent, {} not sent", self.not_sent))?;
        line("delivered", format!("{:.4} ({} of {})", self.delivery_ratio, self.delivered, self.expected))?;
        line(
            "latency p50 / p99 / max",
            format!(
                "{:.2} / {:.2} / {:.2} ms",
                self.latency_p50_ms, self.latency_p99_ms, self.latency_max_ms
            ),
        )?;
        line("copies of a payload", format!("{:.4}", self.copies))?;
        line("wire bytes / payload byte", format!("{:.2}", self.bytes_per_payload_byte))?;
        if self.optimum_ratio_p99 > 0.0 {
            line("p99 / optimum of each", format!("{:.3}", self.optimum_ratio_p99))?;
        }
        line("message bytes / sealed byte", format!("{:.3}", self.message_bytes_ratio))?;
        line(
            "wire bytes / node / s",
            format!(
                "{:.0}; once there are messages presence {:.0}, background {:.0}",
                self.wire_bytes_per_node_second,
                self.presence_bytes_per_node_second,
                self.background_bytes_per_node_second
            ),
        )?;
        if self.discovery_bytes_per_node_second > 0.0 {
            let bytes = self.discovery_bytes_per_node_second;
            line("of which for beacons", format!("{bytes:.0}, beside presence and background"))?;
        }
        let mesh = self.mesh_seconds.map_or("never".to_owned(), |s| format!("{s:.3} s"));
        line("full mesh after", mesh)?;
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
        for violation in self.violations.iter().take(10) {
            let Violation { at, node, check, text } = violation;
            line("violation", format!("{check} at node {node}, {:.6} s: {text}", *at as f64 / 1e6))?;
        }
        Ok(())
    }
}
