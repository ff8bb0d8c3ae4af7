//! `djembe bench`: how fast, how quick, how dear, on this machine; docs/benchmarks.md says what the figures mean.
//!
//! Publisher and subscribers are processes of their own on loopback, in a network of their own, dialled by address.
//! A run also checks what it measures: every message complete, in order, once, as it was sent.

mod body;
mod run;
mod tally;
mod worker;

use std::io::Write;

use clap::ValueEnum;

use self::run::{Figures, Plan};
use super::exit::{Exit, Failure};
use super::global::Global;

pub(super) use self::run::WORKER;
pub(super) use self::worker::run as run_worker;

const WARM_UP_SECS: f64 = 1.0;
const SECS_MAX: f64 = 3600.0;
/// What one message may hold.
const CONTENT_MAX: i64 = djembe_protocol::limits::CONTENT_MAX as i64;

/// Measure rate, latency, loss, memory and processor time on this machine's loopback.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct BenchArgs {
    /// What to measure.
    #[arg(value_enum)]
    pub measure: Measure,
    /// Bytes of a message's body [default: 64 and 1024 for throughput, else 1024]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(16..=CONTENT_MAX))]
    pub size: Option<u32>,
    /// Seconds measured, after one of warm-up
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = secs)]
    pub secs: f64,
    /// Subscribers, each a process [default: 8 for fanout, else 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub subscribers: Option<u16>,
    /// Live messages are kept nowhere; durable ones are on the disk of each process
    #[arg(long, value_enum, default_value_t = LaneArg::Live)]
    pub lane: LaneArg,
    /// Messages a second [default: 100 for latency, else as many as are accepted]
    #[arg(long, value_name = "MSGS_PER_S", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
}

/// What to measure.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Measure {
    /// One publisher as fast as it can, one subscriber
    Throughput,
    /// One publisher at a steady rate, one subscriber
    Latency,
    /// One publisher as fast as it can, many subscribers
    Fanout,
}

/// Which promise the messages are given.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LaneArg {
    /// For who is there now
    Live,
    /// For everybody, also later
    Durable,
}

fn secs(text: &str) -> Result<f64, String> {
    let secs: f64 = text.parse().map_err(|_| "write a number of seconds, such as 5 or 0.5")?;
    let is_fit = secs > 0.0 && secs <= SECS_MAX;
    if is_fit { Ok(secs) } else { Err(format!("more than 0 and at most {SECS_MAX}")) }
}

/// Runs the benchmark and prints its figures.
///
/// # Errors
/// If a process failed or got stuck, or a message came changed, doubled or out of order.
pub(super) async fn run(args: BenchArgs, global: &Global) -> Result<(), Failure> {
    let sizes = match (args.size, args.measure) {
        (Some(size), _) => vec![size],
        (None, Measure::Throughput) => vec![64, 1024],
        (None, Measure::Latency | Measure::Fanout) => vec![1024],
    };
    for size in sizes {
        let plan = plan(&args, size);
        let (measure, subscribers, lane) = (plan.measure, plan.subscribers, lane(&plan));
        global.say(format_args!("{measure}: {size} B, {lane} lane, subscribers: {subscribers}"));
        let figures = run::run(&plan, global).await?;
        print(&figures, global)?;
        if !figures.is_sound() {
            let what = "what came is not what was sent: see loss, duplicates, out_of_order and corrupt";
            return Err(Failure::new(Exit::Failure, what));
        }
    }
    Ok(())
}

fn plan(args: &BenchArgs, size: u32) -> Plan {
    let (measure, subscribers, rate) = match args.measure {
        Measure::Throughput => ("throughput", 1, None),
        Measure::Latency => ("latency", 1, Some(100)),
        Measure::Fanout => ("fanout", 8, None),
    };
    Plan {
        measure,
        size,
        secs: args.secs,
        warm_up_secs: WARM_UP_SECS.min(args.secs),
        subscribers: args.subscribers.map_or(subscribers, usize::from),
        is_live: args.lane == LaneArg::Live,
        rate: args.rate.or(rate),
    }
}

fn lane(plan: &Plan) -> &'static str {
    if plan.is_live { "live" } else { "durable" }
}

fn print(figures: &Figures, global: &Global) -> Result<(), Failure> {
    let text = if global.json { serde_json::to_string(figures).unwrap_or_default() } else { table(figures) };
    writeln!(std::io::stdout().lock(), "{text}")
        .map_err(|error| Failure::new(Exit::Failure, error.to_string()))
}

/// For people.
fn table(figures: &Figures) -> String {
    let Figures { measure, lane, store, size, seconds, subscribers, .. } = figures;
    let mut lines = vec![
        format!(
            "{measure}  {size} B, {lane} lane (kept: {store}), subscribers: {subscribers}, {seconds:.1} s"
        ),
        format!(
            "  received  {:.0} msg/s, {:.2} MB/s (slowest subscriber {:.0} msg/s); {:.1} messages an envelope",
            figures.msgs_per_s, figures.mb_per_s, figures.min_msgs_per_s, figures.msgs_per_envelope
        ),
        format!(
            "  loss      {:.6} ({} of {} x {subscribers}); duplicates {}, out of order {}, changed {}",
            figures.loss,
            figures.received,
            figures.sent,
            figures.duplicates,
            figures.out_of_order,
            figures.corrupt
        ),
        format!(
            "  latency   p50 {:.0} us, p99 {:.0} us, longest {:.0} us",
            figures.p50_us, figures.p99_us, figures.max_us
        ),
        format!(
            "  cpu       {:.2} us a delivery (publisher {:.2}, subscribers {:.2})",
            figures.cpu_us_per_msg, figures.publisher_cpu_us_per_msg, figures.subscribers_cpu_us_per_msg
        ),
    ];
    let kib = |kib: Option<u64>| kib.map_or_else(|| "?".to_owned(), |kib| kib.to_string());
    lines.extend(figures.processes.iter().map(|process| {
        format!(
            "  memory    {}: {} KiB, at most {} KiB",
            process.role,
            kib(process.rss_kib),
            kib(process.rss_max_kib)
        )
    }));
    lines.join("\n")
}
