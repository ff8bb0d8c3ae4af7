//! `djembe bench mesh`: many nodes in this very process, which all join through one of them, and random senders.
//!
//! What a delivery costs where not everybody can be linked to everybody: time, bytes on the wire, processor, memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::body::{Bodies, HEADER, Header, Phase};
use super::own::{Own, listening, loopback_bytes, spawn};
use super::tally::{Histogram, Numbers};
use super::{LaneArg, MeshArgs, print, unless_interrupted};
use crate::cli::exit::{Exit, Failure};
use crate::cli::global::Global;
use crate::cli::scratch::{cpu_ns, monotonic_ns, random_name};
use crate::group::{Group, Publish};
use crate::node::Node;
use crate::subscription::{SubscribeOptions, Subscription};

const GROUP: &str = "mesh";
/// For all nodes to have heard the first.
const REACH_MAX: Duration = Duration::from_secs(60);
/// The first says so as often.
const PROBE_EVERY: Duration = Duration::from_millis(200);
/// At rest before the first message, and measured.
const IDLE: Duration = Duration::from_secs(5);
/// For the last messages to arrive.
const TAIL_MAX: Duration = Duration::from_secs(10);

/// What came out. Names and units are part of the interface of `--json`.
#[derive(Clone, Debug, Serialize)]
struct Figures {
    measure: &'static str,
    nodes: usize,
    lane: &'static str,
    size: u32,
    seconds: f64,
    /// Until every node had heard the first, from the start of the first.
    reach_secs: f64,
    sent: u64,
    received: u64,
    /// `received / (sent x (nodes - 1))`.
    delivery: f64,
    duplicates: u64,
    corrupt: u64,
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
    /// Everything on the loopback while messages flowed, for each byte of a body delivered.
    wire_bytes_per_payload_byte: Option<f64>,
    cpu_us_per_delivery: f64,
    /// What the process grew by from before the first node to the end, for each node.
    rss_kib_per_node: Option<f64>,
    idle_bytes_per_node_s: Option<f64>,
    idle_cpu_ms_per_node_s: f64,
    links_mean: f64,
    links_max: usize,
    /// What all nodes counted while messages flowed, by cause: see `status`.
    counters: BTreeMap<String, u64>,
}

/// What all readers count together.
#[derive(Debug, Default)]
struct Tally {
    latency: Histogram,
    corrupt: u64,
    duplicates: u64,
}

/// A node and what it reads.
struct Member {
    node: Node,
    group: Group,
}

/// What is shared with the readers.
struct Shared {
    bodies: Bodies,
    tally: Mutex<Tally>,
    reached: AtomicU64,
    received: AtomicU64,
}

/// What the process and the machine have used so far.
#[derive(Clone, Copy)]
struct Used {
    at: Instant,
    cpu_ns: u64,
    wire: Option<u64>,
}

impl Used {
    fn now() -> Self {
        Self { at: Instant::now(), cpu_ns: cpu_ns(), wire: loopback_bytes() }
    }

    /// Seconds, nanoseconds of processor, bytes.
    fn since(&self, before: &Self) -> (f64, u64, Option<u64>) {
        let wire = self.wire.zip(before.wire).map(|(after, before)| after.saturating_sub(before));
        ((self.at - before.at).as_secs_f64(), self.cpu_ns - before.cpu_ns, wire)
    }
}

/// Runs it; the nodes end with it.
pub(super) async fn run(args: MeshArgs, global: &Global) -> Result<(), Failure> {
    let mut members = Vec::new();
    let mut readers = JoinSet::new();
    let figures = unless_interrupted(play(args, global, &mut members, &mut readers)).await;
    readers.abort_all();
    let mut ends = JoinSet::new();
    for member in members {
        ends.spawn(async move { member.node.shutdown().await });
    }
    ends.join_all().await;
    let figures = figures?;
    print(&figures, table, global)?;
    if figures.corrupt > 0 || figures.duplicates > 0 || figures.received != figures.sent * others(&args) {
        let what = "what came is not what was sent: see delivery, duplicates and corrupt";
        return Err(Failure::new(Exit::Failure, what));
    }
    Ok(())
}

fn others(args: &MeshArgs) -> u64 {
    u64::from(args.nodes) - 1
}

async fn play(
    args: MeshArgs,
    global: &Global,
    members: &mut Vec<Member>,
    readers: &mut JoinSet<()>,
) -> Result<Figures, Failure> {
    let shared = Arc::new(Shared {
        bodies: Bodies::new(args.size as usize),
        tally: Mutex::default(),
        reached: AtomicU64::new(0),
        received: AtomicU64::new(0),
    });
    let rss_before = Own::read().number("VmRSS");
    let started = Instant::now();
    global.say(format_args!("mesh: {} nodes in this process, joining through the first", args.nodes));
    gather(args, members, readers, &shared).await?;
    reach(args, members, &shared).await?;
    let reach_secs = started.elapsed().as_secs_f64();
    global.say(format_args!(
        "mesh: all have heard the first after {reach_secs:.1} s; {} s to settle",
        args.settle
    ));
    sleep(Duration::from_secs_f64(args.settle)).await;

    let idle_from = Used::now();
    sleep(IDLE).await;
    let (idle_secs, idle_cpu_ns, idle_wire) = Used::now().since(&idle_from);

    global.say(format_args!("mesh: {} messages a second for {} s", args.rate, args.secs));
    let counted = survey(members).await?.counters;
    let from = Used::now();
    let sent = send(args, members, &shared).await?;
    let due = sent * others(&args);
    let deadline = Instant::now() + TAIL_MAX;
    while shared.received.load(Ordering::Relaxed) < due && Instant::now() < deadline {
        sleep(Duration::from_millis(10)).await;
    }
    let (seconds, cpu, wire) = Used::now().since(&from);
    let rss_after = Own::read().number("VmRSS");
    let Survey { links, mut counters } = survey(members).await?;
    for (cause, before) in counted {
        counters.entry(cause).and_modify(|n| *n = n.saturating_sub(before));
    }
    counters.retain(|_, n| *n > 0);
    let received = shared.received.load(Ordering::Relaxed);
    let tally = shared.tally.lock().unwrap_or_else(PoisonError::into_inner);
    let us = |ns: u64| ns as f64 / 1000.0;
    let nodes = f64::from(args.nodes);
    let payload = (received * u64::from(args.size)) as f64;
    Ok(Figures {
        measure: "mesh",
        nodes: usize::from(args.nodes),
        lane: if args.lane == LaneArg::Live { "live" } else { "durable" },
        size: args.size,
        seconds,
        reach_secs,
        sent,
        received,
        delivery: received as f64 / due.max(1) as f64,
        duplicates: tally.duplicates,
        corrupt: tally.corrupt,
        p50_us: us(tally.latency.percentile(50)),
        p99_us: us(tally.latency.percentile(99)),
        max_us: us(tally.latency.percentile(100)),
        wire_bytes_per_payload_byte: wire.map(|wire| wire as f64 / payload.max(1.0)),
        cpu_us_per_delivery: us(cpu) / received.max(1) as f64,
        rss_kib_per_node: rss_before
            .zip(rss_after)
            .map(|(before, after)| after.saturating_sub(before) as f64 / nodes),
        idle_bytes_per_node_s: idle_wire.map(|wire| wire as f64 / nodes / idle_secs),
        idle_cpu_ms_per_node_s: us(idle_cpu_ns) / 1000.0 / nodes / idle_secs,
        links_mean: links.iter().sum::<usize>() as f64 / nodes,
        links_max: links.iter().copied().max().unwrap_or_default(),
        counters,
    })
}

/// Starts all nodes; each but the first knows nothing but the address of the first.
async fn gather(
    args: MeshArgs,
    members: &mut Vec<Member>,
    readers: &mut JoinSet<()>,
    shared: &Arc<Shared>,
) -> Result<(), Failure> {
    let network = format!("bench-{}", random_name());
    let mut contact = None;
    for _ in 0..args.nodes {
        let node = spawn(&network, None, contact.as_deref()).await?;
        if contact.is_none() {
            let address = listening(&node).await?.into_iter().next();
            let failed = || Failure::new(Exit::Address, "the first node does not listen on 127.0.0.1");
            contact = Some(address.ok_or_else(failed)?);
        }
        let group = node.join(GROUP).await?;
        let options = SubscribeOptions { skip_own: true, ..SubscribeOptions::default() };
        let subscription = group.subscribe_with(options).await?;
        let is_first = members.is_empty();
        members.push(Member { node, group });
        readers.spawn(read(subscription, shared.clone(), is_first));
    }
    Ok(())
}

/// Counts what one node is given.
async fn read(mut subscription: Subscription, shared: Arc<Shared>, is_first: bool) {
    let mut numbers = Numbers::default();
    let mut is_reached = is_first;
    while let Some(message) = subscription.next().await {
        let now = monotonic_ns();
        let header = shared.bodies.read(message.body());
        let lock = || shared.tally.lock().unwrap_or_else(PoisonError::into_inner);
        match header {
            Some(Header { phase: Phase::Measured, number, stamp_ns }) => {
                if numbers.add(number) {
                    lock().latency.add(now.saturating_sub(stamp_ns));
                    shared.received.fetch_add(1, Ordering::Relaxed);
                } else {
                    lock().duplicates += 1;
                }
            }
            Some(_) if is_reached => {}
            Some(_) => {
                is_reached = true;
                shared.reached.fetch_add(1, Ordering::Relaxed);
            }
            None => lock().corrupt += 1,
        }
    }
}

/// The first speaks until all have heard it.
async fn reach(args: MeshArgs, members: &[Member], shared: &Shared) -> Result<(), Failure> {
    let deadline = Instant::now() + REACH_MAX;
    let mut number = 0;
    while shared.reached.load(Ordering::Relaxed) < others(&args) {
        if Instant::now() >= deadline {
            let reached = shared.reached.load(Ordering::Relaxed);
            let what = format!(
                "after {} s {reached} of {} nodes had heard the first; try fewer with --nodes",
                REACH_MAX.as_secs(),
                others(&args)
            );
            return Err(Failure::new(Exit::TimedOut, what));
        }
        publish(&args, &members[0].group, shared, Phase::Probe, number, deadline).await?;
        number += 1;
        sleep(PROBE_EVERY).await;
    }
    Ok(())
}

/// Random nodes speak, each message at its time.
async fn send(args: MeshArgs, members: &[Member], shared: &Shared) -> Result<u64, Failure> {
    let started = Instant::now();
    let n = (f64::from(args.rate) * args.secs).round() as u64;
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    for number in 0..n {
        sleep_until(started + Duration::from_secs_f64(number as f64 / f64::from(args.rate))).await;
        // xorshift64: the same senders in each run.
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        let sender = usize::try_from(dice % members.len() as u64).unwrap_or_default();
        let deadline = Instant::now() + TAIL_MAX;
        publish(&args, &members[sender].group, shared, Phase::Measured, number, deadline).await?;
    }
    Ok(n)
}

async fn publish(
    args: &MeshArgs,
    group: &Group,
    shared: &Shared,
    phase: Phase,
    number: u64,
    deadline: Instant,
) -> Result<(), Failure> {
    let body = shared.bodies.make(Header { stamp_ns: monotonic_ns(), phase, number });
    let message = Publish::new(body);
    let message = if args.lane == LaneArg::Live { message.live() } else { message };
    match timeout_at(deadline, group.publish(message)).await {
        Ok(published) => published.map(drop).map_err(Failure::from),
        Err(_) => Err(Failure::new(Exit::TimedOut, "a node took no message for 10 s")),
    }
}

/// What all nodes say of themselves.
#[derive(Default)]
struct Survey {
    /// Peers that each node is linked to.
    links: Vec<usize>,
    /// Of all nodes together.
    counters: BTreeMap<String, u64>,
}

async fn survey(members: &[Member]) -> Result<Survey, Failure> {
    let mut survey = Survey::default();
    for member in members {
        let status = member.node.status().await?;
        survey.links.push(status.peers.iter().filter(|peer| !peer.path.is_empty()).count());
        for (cause, n) in status.counters {
            *survey.counters.entry(cause).or_default() += n;
        }
    }
    Ok(survey)
}

/// For people.
fn table(figures: &Figures) -> String {
    let or = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "?".to_owned(), |value| format!("{value:.digits$}"))
    };
    [
        format!(
            "mesh  {} nodes, {} lane, {} messages of {} B in {:.1} s",
            figures.nodes, figures.lane, figures.sent, figures.size, figures.seconds
        ),
        format!(
            "  delivery  {:.6} ({} deliveries); duplicates {}, changed {}; all met after {:.1} s",
            figures.delivery, figures.received, figures.duplicates, figures.corrupt, figures.reach_secs
        ),
        format!(
            "  latency   p50 {:.0} us, p99 {:.0} us, longest {:.0} us",
            figures.p50_us, figures.p99_us, figures.max_us
        ),
        format!("  wire      {} bytes for each byte delivered", or(figures.wire_bytes_per_payload_byte, 3)),
        format!("  cpu       {:.1} us a delivery", figures.cpu_us_per_delivery),
        format!("  memory    {} KiB a node", or(figures.rss_kib_per_node, 0)),
        format!(
            "  at rest   {} bytes/s and {:.2} ms/s of processor a node",
            or(figures.idle_bytes_per_node_s, 0),
            figures.idle_cpu_ms_per_node_s
        ),
        format!("  links     {:.1} a node, at most {}", figures.links_mean, figures.links_max),
        format!("  counted   {}", counted(&figures.counters)),
    ]
    .join("\n")
}

fn counted(counters: &BTreeMap<String, u64>) -> String {
    let counters: Vec<String> = counters.iter().map(|(cause, n)| format!("{cause} {n}")).collect();
    if counters.is_empty() { "nothing unusual".to_owned() } else { counters.join(", ") }
}

const _: () = assert!(HEADER <= 16, "the smallest size that can be asked for");
