//! One benchmark run: starts the processes, drives them, and makes figures of what they tell.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::tally::Histogram;
use super::worker::{Command, Load, Received, Report, Role, Setup};
use super::{end, failed, scratch, unless_interrupted};
use crate::cli::exit::{Exit, Failure};
use crate::cli::global::Global;
use crate::cli::scratch::{Scratch, random_name};
use crate::cli::worker::{Crew, Trouble};

/// The hidden subcommand each of the processes runs.
pub(in crate::cli) const WORKER: &str = "bench-worker";

/// For processes to start and to be heard.
const START_MAX: Duration = Duration::from_secs(30);
/// A publisher that gets nothing accepted for so long is stuck.
const STALL_MAX: Duration = Duration::from_secs(5);
/// For the rest to arrive; subscribers themselves wait ten seconds.
const DRAIN_MAX: Duration = Duration::from_secs(15);

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) measure: &'static str,
    pub(super) size: u32,
    pub(super) secs: f64,
    pub(super) warm_up_secs: f64,
    pub(super) subscribers: usize,
    pub(super) is_live: bool,
    pub(super) rate: Option<u32>,
}

/// What came out. Names and units are part of the interface of `--json`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    pub(super) measure: &'static str,
    pub(super) lane: &'static str,
    /// Where messages were kept: `memory` or `disk`.
    pub(super) store: &'static str,
    pub(super) size: u32,
    pub(super) seconds: f64,
    pub(super) subscribers: usize,
    pub(super) rate: Option<u32>,
    /// Mean of the subscribers.
    pub(super) msgs_per_s: f64,
    /// Slowest subscriber.
    pub(super) min_msgs_per_s: f64,
    pub(super) mb_per_s: f64,
    pub(super) loss: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) max_us: f64,
    pub(super) cpu_us_per_msg: f64,
    pub(super) publisher_cpu_us_per_msg: f64,
    pub(super) subscribers_cpu_us_per_msg: f64,
    /// Accepted by `publish`.
    pub(super) sent: u64,
    pub(super) sent_per_s: f64,
    /// Unique messages, all subscribers together.
    pub(super) received: u64,
    pub(super) duplicates: u64,
    pub(super) out_of_order: u64,
    pub(super) corrupt: u64,
    pub(super) msgs_per_envelope: f64,
    pub(super) processes: Vec<Process>,
}

/// One of the processes.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Process {
    pub(super) role: String,
    pub(super) received: Option<u64>,
    pub(super) msgs_per_s: Option<f64>,
    pub(super) cpu_s: f64,
    pub(super) rss_kib: Option<u64>,
    pub(super) rss_max_kib: Option<u64>,
    pub(super) counters: std::collections::BTreeMap<String, u64>,
}

impl Figures {
    /// Each message came, once, in order, as it was sent; live ones may be lost.
    pub(super) fn is_sound(&self) -> bool {
        let is_whole = self.loss == 0.0 || self.lane == "live";
        is_whole && self.duplicates == 0 && self.out_of_order == 0 && self.corrupt == 0
    }
}

/// Runs it. Whatever happens, processes and directories are gone afterwards.
pub(super) async fn run(plan: &Plan, global: &Global) -> Result<Figures, Failure> {
    let scratch = scratch()?;
    let mut run =
        Run { plan, global, scratch, crew: Crew::new(WORKER), publisher: 0, subscribers: Vec::new() };
    let figures = unless_interrupted(run.play()).await;
    end(run.crew, run.scratch, figures).await
}

struct Run<'a> {
    plan: &'a Plan,
    global: &'a Global,
    scratch: Scratch,
    crew: Crew<Report>,
    publisher: usize,
    subscribers: Vec<usize>,
}

impl Run<'_> {
    async fn play(&mut self) -> Result<Figures, Failure> {
        self.gather().await?;
        let (sent, took) = self.publish().await?;
        let received = self.drain(sent).await?;
        self.crew.tell(self.publisher, &Command::Finish).await.map_err(failed)?;
        let deadline = Instant::now() + START_MAX;
        let cost = loop {
            if let (_, Report::Finished(cost)) = self.crew.next(deadline).await.map_err(failed)? {
                break cost;
            }
        };
        let publisher = Process {
            role: "publisher".to_owned(),
            received: None,
            msgs_per_s: None,
            cpu_s: seconds(cost.cpu_ns),
            rss_kib: cost.rss_kib,
            rss_max_kib: cost.rss_max_kib,
            counters: cost.counters,
        };
        Ok(figures(self.plan, sent, took, publisher, &received))
    }

    /// Starts everybody, and waits until every subscriber hears the publisher.
    async fn gather(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + START_MAX;
        let setup = Setup {
            network: format!("bench-{}", random_name()),
            is_live: self.plan.is_live,
            size: self.plan.size as usize,
            data_dir: None,
            role: Role::Publisher,
        };
        self.publisher = self.start("publisher", setup.clone()).await?;
        let peer = loop {
            if let (_, Report::Ready { listen }) = self.crew.next(deadline).await.map_err(failed)? {
                let none = || Failure::new(Exit::Address, "the publisher could not listen on 127.0.0.1");
                break listen.into_iter().next().ok_or_else(none)?;
            }
        };
        for n in 1..=self.plan.subscribers {
            let role = Role::Subscriber { peer: peer.clone() };
            let number = self.start(&format!("subscriber-{n}"), Setup { role, ..setup.clone() }).await?;
            self.subscribers.push(number);
        }
        let mut linked = 0;
        while linked < self.plan.subscribers {
            match self.crew.next(deadline).await {
                Ok((_, Report::Linked)) => linked += 1,
                Ok(_) => {}
                Err(Trouble::Late) => {
                    let (all, secs) = (self.plan.subscribers, START_MAX.as_secs());
                    let what = format!(
                        "only {linked} of {all} subscribers heard the publisher within {secs} s; try fewer with \
                         --subscribers, or when the machine is less busy"
                    );
                    return Err(Failure::new(Exit::TimedOut, what));
                }
                Err(trouble) => return Err(failed(trouble)),
            }
        }
        Ok(())
    }

    async fn start(&mut self, name: &str, setup: Setup) -> Result<usize, Failure> {
        // What is live is kept nowhere, so the disk has no part in it.
        let data_dir = (!self.plan.is_live).then(|| self.scratch.path().join(name));
        self.crew.start(name, &Command::Begin(Setup { data_dir, ..setup })).await.map_err(failed)
    }

    /// Lets the publisher publish; how many were accepted, in which time.
    async fn publish(&mut self) -> Result<(u64, u64), Failure> {
        let load = Load {
            warm_up_ns: nanoseconds(self.plan.warm_up_secs),
            measured_ns: nanoseconds(self.plan.secs),
            rate: self.plan.rate,
        };
        self.crew.tell(self.publisher, &Command::Publish(load)).await.map_err(failed)?;
        let started = Instant::now();
        // At one message in several seconds, nothing for five is not yet a sign.
        let stall_max = STALL_MAX.max(Duration::from_secs_f64(3.0 / f64::from(self.plan.rate.unwrap_or(1))));
        let (mut accepted, mut moved) = (0, Instant::now());
        let mut received = vec![0; self.subscribers.len()];
        loop {
            match self.crew.next(moved + stall_max).await {
                Ok((_, Report::Published { accepted, took_ns })) => return Ok((accepted, took_ns)),
                Ok((number, Report::Progress { messages })) if number == self.publisher => {
                    if messages > accepted {
                        (accepted, moved) = (messages, Instant::now());
                    }
                    let secs = started.elapsed().as_secs();
                    let (least, most) = (received.iter().min(), received.iter().max());
                    let (least, most) = (least.copied().unwrap_or(0), most.copied().unwrap_or(0));
                    self.global
                        .say(format_args!("{secs:>4} s  published {messages}, received {least} to {most}"));
                }
                Ok((number, Report::Progress { messages })) => {
                    if let Some(n) = self.subscribers.iter().position(|of| *of == number) {
                        received[n] = messages;
                    }
                }
                Ok(_) => {}
                Err(Trouble::Late) => {}
                Err(trouble) => return Err(failed(trouble)),
            }
            if moved.elapsed() >= stall_max {
                let secs = stall_max.as_secs();
                let what = format!(
                    "stuck: the publisher got nothing accepted for {secs} s, after {accepted}; the subscribers had \
                     {received:?}. Report this with the command line"
                );
                return Err(Failure::new(Exit::TimedOut, what));
            }
        }
    }

    /// Waits until everything has arrived, or nothing more will.
    async fn drain(&mut self, sent: u64) -> Result<Vec<Received>, Failure> {
        for number in self.subscribers.clone() {
            self.crew.tell(number, &Command::Expect(sent)).await.map_err(failed)?;
        }
        let deadline = Instant::now() + DRAIN_MAX;
        let mut received: Vec<Option<Received>> = self.subscribers.iter().map(|_| None).collect();
        while received.iter().any(Option::is_none) {
            match self.crew.next(deadline).await {
                Ok((number, Report::Received(what))) => {
                    if let Some(n) = self.subscribers.iter().position(|of| *of == number) {
                        received[n] = Some(*what);
                    }
                }
                Ok(_) => {}
                Err(Trouble::Late) => {
                    let what = "stuck: a subscriber did not say what it had received; report this with the \
                                command line";
                    return Err(Failure::new(Exit::TimedOut, what));
                }
                Err(trouble) => return Err(failed(trouble)),
            }
        }
        Ok(received.into_iter().flatten().collect())
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run of minutes are far below 2^52")]
fn figures(plan: &Plan, sent: u64, took_ns: u64, publisher: Process, all: &[Received]) -> Figures {
    let rate = |received: &Received| match received.last_ns.saturating_sub(received.first_ns) {
        0 => 0.0,
        span => received.unique.saturating_sub(1) as f64 / seconds(span),
    };
    let sum = |count: fn(&Received) -> u64| all.iter().map(count).sum::<u64>();
    let received = sum(|one| one.unique);
    let per_delivery = |secs: f64| secs * 1e6 / received.max(1) as f64;
    let mut latency = Histogram::default();
    all.iter().for_each(|one| latency.merge(&one.latency));
    let us = |ns: u64| ns as f64 / 1000.0;
    let msgs_per_s = all.iter().map(rate).sum::<f64>() / all.len().max(1) as f64;
    let subscribers_cpu = seconds(sum(|one| one.cost.cpu_ns));
    let publisher_cpu = publisher.cpu_s;
    let subscribers = all.iter().enumerate().map(|(n, one)| Process {
        role: format!("subscriber-{}", n + 1),
        received: Some(one.unique),
        msgs_per_s: Some(rate(one)),
        cpu_s: seconds(one.cost.cpu_ns),
        rss_kib: one.cost.rss_kib,
        rss_max_kib: one.cost.rss_max_kib,
        counters: one.cost.counters.clone(),
    });
    Figures {
        measure: plan.measure,
        lane: if plan.is_live { "live" } else { "durable" },
        store: if plan.is_live { "memory" } else { "disk" },
        size: plan.size,
        seconds: seconds(took_ns),
        subscribers: plan.subscribers,
        rate: plan.rate,
        msgs_per_s,
        min_msgs_per_s: all.iter().map(rate).reduce(f64::min).unwrap_or_default(),
        mb_per_s: msgs_per_s * f64::from(plan.size) / 1e6,
        loss: 1.0 - received as f64 / (sent * all.len() as u64).max(1) as f64,
        p50_us: us(latency.percentile(50)),
        p99_us: us(latency.percentile(99)),
        max_us: us(latency.max()),
        cpu_us_per_msg: per_delivery(publisher_cpu + subscribers_cpu),
        publisher_cpu_us_per_msg: per_delivery(publisher_cpu),
        subscribers_cpu_us_per_msg: per_delivery(subscribers_cpu),
        sent,
        sent_per_s: sent as f64 / seconds(took_ns.max(1)),
        received,
        duplicates: sum(|one| one.duplicates),
        out_of_order: sum(|one| one.late),
        corrupt: sum(|one| one.corrupt),
        msgs_per_envelope: received as f64 / sum(|one| one.envelopes).max(1) as f64,
        processes: std::iter::once(publisher).chain(subscribers).collect(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "months fit into 2^52 nanoseconds")]
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

fn nanoseconds(seconds: f64) -> u64 {
    u64::try_from(Duration::from_secs_f64(seconds).as_nanos()).unwrap_or(u64::MAX)
}
