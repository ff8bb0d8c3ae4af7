//! One node of a benchmark, in a process of its own: the publisher, or a subscriber.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::{Group, Lane, Node, NodeError, Publish, SubscribeOptions, Subscription};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::body::{Bodies, Header, Phase};
use super::own::{Own, listening, spawn};
use super::tally::{Histogram, Numbers};
use crate::cli::exit::Failure;
use crate::cli::scratch::{cpu_ns, monotonic_ns};
use crate::cli::worker::{commands, report};

/// Until every subscriber has heard one.
const PROBE_EVERY: Duration = Duration::from_millis(50);
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// A subscriber that misses messages waits so long after the last one.
const IDLE_MAX: Duration = Duration::from_secs(2);
/// And so long in all.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// The first line a worker reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) network: String,
    pub(super) is_live: bool,
    pub(super) size: usize,
    /// Without one, nothing is kept on disk.
    pub(super) data_dir: Option<PathBuf>,
    pub(super) role: Role,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Role {
    Publisher,
    Subscriber { peer: String },
}

/// What a worker is told to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Command {
    Begin(Setup),
    /// To the publisher.
    Publish(Load),
    /// To the publisher: all has arrived.
    Finish,
    /// To a subscriber: so many were accepted.
    Expect(u64),
}

/// What a publisher is to send.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Load {
    pub(super) warm_up_ns: u64,
    pub(super) measured_ns: u64,
    /// Messages a second; without one, as fast as they are accepted.
    pub(super) rate: Option<u32>,
}

/// What a worker tells.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    Ready {
        listen: Vec<String>,
    },
    /// A subscriber hears the publisher.
    Linked,
    /// Messages by now, probes aside.
    Progress {
        messages: u64,
    },
    Published {
        accepted: u64,
        took_ns: u64,
    },
    Finished(Cost),
    Received(Box<Received>),
}

/// What a process used.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Cost {
    /// Processor time since the first measured message.
    pub(super) cpu_ns: u64,
    pub(super) rss_kib: Option<u64>,
    pub(super) rss_max_kib: Option<u64>,
    pub(super) counters: BTreeMap<String, u64>,
}

/// What a subscriber got of the measured messages.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Received {
    pub(super) unique: u64,
    pub(super) duplicates: u64,
    pub(super) late: u64,
    pub(super) corrupt: u64,
    pub(super) envelopes: u64,
    pub(super) first_ns: u64,
    pub(super) last_ns: u64,
    pub(super) latency: Histogram,
    pub(super) cost: Cost,
}

/// The hidden subcommand.
pub(in crate::cli) async fn run() -> Result<(), Failure> {
    Ok(serve().await?)
}

async fn serve() -> Result<(), NodeError> {
    let mut commands = commands::<Command>();
    let Some(Command::Begin(setup)) = commands.recv().await else { return Ok(()) };
    let peer = match &setup.role {
        Role::Publisher => None,
        Role::Subscriber { peer } => Some(peer.as_str()),
    };
    let node = spawn(&setup.network, setup.data_dir.as_deref(), peer).await?;
    let group = node.join("bench").await?;
    match setup.role {
        Role::Publisher => {
            report(&Report::Ready { listen: listening(&node).await? });
            let publisher = Publisher { group, bodies: Bodies::new(setup.size), is_live: setup.is_live };
            publisher.serve(&node, &mut commands).await?;
        }
        Role::Subscriber { .. } => {
            let options = SubscribeOptions { skip_own: true, ..SubscribeOptions::default() };
            let messages = group.subscribe_with(options).await?;
            report(&Report::Ready { listen: Vec::new() });
            Subscriber::new(messages, &setup).serve(&node, &mut commands).await?;
        }
    }
    node.shutdown().await
}

async fn cost(node: &Node, cpu_before: u64) -> Result<Cost, NodeError> {
    let cpu_ns = cpu_ns() - cpu_before;
    let own = Own::read();
    let (rss_kib, rss_max_kib) = (own.number("VmRSS"), own.number("VmHWM"));
    Ok(Cost { cpu_ns, rss_kib, rss_max_kib, counters: node.status().await?.counters })
}

struct Publisher {
    group: Group,
    bodies: Bodies,
    is_live: bool,
}

impl Publisher {
    async fn serve(&self, node: &Node, commands: &mut mpsc::Receiver<Command>) -> Result<(), NodeError> {
        let mut probes = 0..;
        let mut probe = tokio::time::interval(PROBE_EVERY);
        let load = loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Publish(load)) => break load,
                    Some(_) => {}
                    None => return Ok(()),
                },
                _ = probe.tick() => {
                    self.publish(Phase::Probe, probes.next().unwrap_or_default()).await?;
                }
            }
        };
        let published = Arc::new(AtomicU64::new(0));
        let told = tokio::spawn(tell_progress(published.clone()));
        let result = tokio::select! {
            result = self.load(load, &published) => result?,
            // Nothing but the end is expected now.
            _ = commands.recv() => return Ok(()),
        };
        told.abort();
        report(&Report::Published { accepted: result.accepted, took_ns: result.took_ns });
        // Told when all has arrived, so that the tail counts as cost.
        if commands.recv().await.is_some() {
            report(&Report::Finished(cost(node, result.cpu_before).await?));
            let _ = commands.recv().await;
        }
        Ok(())
    }

    /// Warms up, then sends what counts.
    async fn load(&self, load: Load, published: &AtomicU64) -> Result<Accepted, NodeError> {
        let measure_from = monotonic_ns() + load.warm_up_ns;
        self.stretch(Phase::WarmUp, measure_from, load.rate, published).await?;
        let (from, cpu_before) = (monotonic_ns(), cpu_ns());
        let accepted = self.stretch(Phase::Measured, from + load.measured_ns, load.rate, published).await?;
        Ok(Accepted { accepted, took_ns: monotonic_ns() - from, cpu_before })
    }

    /// Publishes until then; how many were accepted.
    async fn stretch(
        &self,
        phase: Phase,
        until: u64,
        rate: Option<u32>,
        published: &AtomicU64,
    ) -> Result<u64, NodeError> {
        let (from, started) = (monotonic_ns(), Instant::now());
        let mut number = 0;
        while monotonic_ns() < until {
            if let Some(rate) = rate {
                let due = Duration::from_nanos(number * 1_000_000_000 / u64::from(rate));
                if u128::from(monotonic_ns() - from) < due.as_nanos() {
                    tokio::time::sleep_until(started + due).await;
                }
            }
            self.publish(phase, number).await?;
            number += 1;
            published.fetch_add(1, Ordering::Relaxed);
        }
        Ok(number)
    }

    async fn publish(&self, phase: Phase, number: u64) -> Result<(), NodeError> {
        let body = self.bodies.make(Header { stamp_ns: monotonic_ns(), phase, number });
        let message = Publish::new(body);
        self.group.publish(if self.is_live { message.live() } else { message }).await.map(drop)
    }
}

struct Accepted {
    accepted: u64,
    took_ns: u64,
    cpu_before: u64,
}

async fn tell_progress(messages: Arc<AtomicU64>) {
    loop {
        tokio::time::sleep(PROGRESS_EVERY).await;
        report(&Report::Progress { messages: messages.load(Ordering::Relaxed) });
    }
}

struct Subscriber {
    messages: Subscription,
    bodies: Bodies,
    lane: Lane,
    is_linked: bool,
    all: u64,
    numbers: Numbers,
    corrupt: u64,
    envelopes: u64,
    envelope: Option<u64>,
    first_ns: u64,
    last_ns: u64,
    cpu_before: u64,
    latency: Histogram,
}

impl Subscriber {
    fn new(messages: Subscription, setup: &Setup) -> Self {
        Self {
            messages,
            bodies: Bodies::new(setup.size),
            lane: if setup.is_live { Lane::Live } else { Lane::Durable },
            is_linked: false,
            all: 0,
            numbers: Numbers::default(),
            corrupt: 0,
            envelopes: 0,
            envelope: None,
            first_ns: 0,
            last_ns: 0,
            cpu_before: 0,
            latency: Histogram::default(),
        }
    }

    async fn serve(mut self, node: &Node, commands: &mut mpsc::Receiver<Command>) -> Result<(), NodeError> {
        let mut tick = tokio::time::interval(PROGRESS_EVERY);
        let (mut expected, mut deadline) = (None, Instant::now());
        loop {
            if let Some(expected) = expected
                && (self.numbers.unique >= expected || Instant::now() >= deadline || self.is_idle())
            {
                break;
            }
            tokio::select! {
                message = self.messages.next() => match message {
                    Some(message) => {
                        self.take(&message);
                        while let Some(message) = self.messages.try_next() {
                            self.take(&message);
                        }
                    }
                    None => return Ok(()),
                },
                command = commands.recv() => match command {
                    Some(Command::Expect(accepted)) => {
                        expected = Some(accepted);
                        deadline = Instant::now() + DRAIN_MAX;
                    }
                    Some(_) => {}
                    None => return Ok(()),
                },
                _ = tick.tick() => report(&Report::Progress { messages: self.all }),
            }
        }
        let cost = cost(node, self.cpu_before).await?;
        report(&Report::Received(Box::new(self.received(cost))));
        // Stays, so that the others are not disturbed.
        while commands.recv().await.is_some() {}
        Ok(())
    }

    fn take(&mut self, message: &crate::Message) {
        let now = monotonic_ns();
        let Some(header) = self.bodies.read(message.body()).filter(|_| message.lane() == self.lane) else {
            self.corrupt += 1;
            return;
        };
        if !self.is_linked {
            self.is_linked = true;
            report(&Report::Linked);
        }
        if header.phase == Phase::Probe {
            return;
        }
        self.all += 1;
        if header.phase == Phase::WarmUp {
            return;
        }
        if self.numbers.unique == 0 {
            (self.first_ns, self.cpu_before) = (now, cpu_ns());
        }
        if self.numbers.add(header.number) {
            self.last_ns = now;
            self.latency.add(now.saturating_sub(header.stamp_ns));
        }
        let envelope = message.id().seq;
        if self.envelope != Some(envelope) {
            self.envelope = Some(envelope);
            self.envelopes += 1;
        }
    }

    /// Nothing has come for so long that nothing more will.
    fn is_idle(&self) -> bool {
        let idle_max = u64::try_from(IDLE_MAX.as_nanos()).unwrap_or(u64::MAX);
        self.last_ns > 0 && monotonic_ns().saturating_sub(self.last_ns) > idle_max
    }

    fn received(self, cost: Cost) -> Received {
        Received {
            unique: self.numbers.unique,
            duplicates: self.numbers.duplicates,
            late: self.numbers.late,
            corrupt: self.corrupt,
            envelopes: self.envelopes,
            first_ns: self.first_ns,
            last_ns: self.last_ns,
            latency: self.latency,
            cost,
        }
    }
}
