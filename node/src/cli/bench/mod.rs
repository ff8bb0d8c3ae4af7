//! `djembe bench`: how fast, how quick, how dear, on this machine; docs/benchmarks.md says what the figures mean.
//!
//! Every node is a process of its own on loopback, in a network of its own. Under load, publisher and subscribers
//! are dialled by address, and a run also checks what it measures: every message complete, in order, once, as it was
//! sent. At rest and at the start, nodes find each other by beacon, as they do in life.

mod body;
mod idle;
mod idle_node;
mod mesh;
mod own;
mod run;
mod slow_reader;
mod slow_reader_node;
mod start;
mod start_node;
mod tally;
mod worker;

use std::io::Write;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::run::{Figures, Plan};
use super::exit::{Exit, Failure};
use super::global::Global;
use super::scratch::Scratch;
use super::worker::{Crew, Trouble, interrupted};

pub(super) use self::idle::WORKER as IDLE_WORKER;
pub(super) use self::idle_node::run as run_idle_node;
pub(super) use self::run::WORKER;
pub(super) use self::slow_reader::WORKER as SLOW_READER_WORKER;
pub(super) use self::slow_reader_node::run as run_slow_reader_node;
pub(super) use self::start::WORKER as START_WORKER;
pub(super) use self::start_node::run as run_start_node;
pub(super) use self::worker::run as run_worker;

const WARM_UP_SECS: f64 = 1.0;
const SECS_MAX: f64 = 3600.0;
/// What one message may hold.
const CONTENT_MAX: i64 = djembe_protocol::limits::CONTENT_MAX as i64;
/// A node holds so many links.
const PEERS_MAX: i64 = djembe_protocol::limits::LINKS_MAX as i64;

/// Measure rate, latency, loss, memory, processor time and time to the first message on this machine's loopback.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    measure: Measure,
}

impl BenchArgs {
    /// Whether this process runs many nodes itself.
    pub(super) fn is_crowd(&self) -> bool {
        matches!(self.measure, Measure::Mesh(_))
    }
}

/// What to measure.
#[derive(clap::Subcommand, Clone, Debug)]
enum Measure {
    /// One publisher as fast as it can, one subscriber
    Throughput(LoadArgs),
    /// One publisher at a steady rate, one subscriber
    Latency(LoadArgs),
    /// One publisher as fast as it can, many subscribers
    Fanout(LoadArgs),
    /// What nodes cost that are linked and have nothing to say
    Idle(IdleArgs),
    /// From the start of a process to its first message
    Start(StartArgs),
    /// Many nodes in one process that all join through one of them, and random senders
    Mesh(MeshArgs),
    /// What it costs the others that one reader is stopped
    SlowReader(SlowReaderArgs),
}

#[derive(clap::Args, Clone, Debug)]
struct LoadArgs {
    /// Bytes of a message's body [default: 64 and 1024 for throughput, else 1024]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(16..=CONTENT_MAX))]
    size: Option<u32>,
    /// Seconds measured, after one of warm-up
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = secs)]
    secs: f64,
    /// Subscribers, each a process [default: 8 for fanout, else 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    subscribers: Option<u16>,
    /// Live messages are kept nowhere; durable ones are on the disk of each process
    #[arg(long, value_enum, default_value_t = LaneArg::Live)]
    lane: LaneArg,
    /// Messages a second [default: 100 for latency, else as many as are accepted]
    #[arg(long, value_name = "MSGS_PER_S", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
}

#[derive(clap::Args, Clone, Copy, Debug)]
struct IdleArgs {
    /// Members that each node sees; one node more is started
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=PEERS_MAX))]
    peers: u16,
    /// Seconds measured, after all are linked and 13 more
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = secs)]
    secs: f64,
}

#[derive(clap::Args, Clone, Copy, Debug)]
struct StartArgs {
    /// Starts measured, one after the other
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    runs: u32,
}

#[derive(clap::Args, Clone, Copy, Debug)]
struct MeshArgs {
    /// Nodes in this process
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(2..=1000))]
    nodes: u16,
    /// Messages a second, of all nodes together
    #[arg(long, value_name = "MSGS_PER_S", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Bytes of a message's body
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(16..=CONTENT_MAX))]
    size: u32,
    /// Seconds of messages
    #[arg(long, value_name = "SECONDS", default_value_t = 20.0, value_parser = secs)]
    secs: f64,
    /// Seconds for the mesh to find its shape, after every node has heard the first
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = secs)]
    settle: f64,
    /// Live messages are kept nowhere; durable ones in the memory of each node
    #[arg(long, value_enum, default_value_t = LaneArg::Live)]
    lane: LaneArg,
}

#[derive(clap::Args, Clone, Copy, Debug)]
struct SlowReaderArgs {
    /// Readers, each a process; the last one is stopped
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(2..=PEERS_MAX))]
    readers: u16,
    /// Messages a second
    #[arg(long, value_name = "MSGS_PER_S", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Bytes of a message's body
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(16..=CONTENT_MAX))]
    size: u32,
    /// Seconds for which all read, for which one is stopped, and for which it goes on; all three in each round
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = secs)]
    secs: f64,
    /// Rounds
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Durable messages are on the disk of each process, and the one that was stopped gets all of them
    #[arg(long, value_enum, default_value_t = LaneArg::Durable)]
    lane: LaneArg,
}

/// Which promise the messages are given.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum LaneArg {
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
/// If a process failed or got stuck, a message came changed, doubled or out of order, or a start did not succeed.
pub(super) async fn run(args: BenchArgs, global: &Global) -> Result<(), Failure> {
    match args.measure {
        Measure::Throughput(args) => load("throughput", &args, global).await,
        Measure::Latency(args) => load("latency", &args, global).await,
        Measure::Fanout(args) => load("fanout", &args, global).await,
        Measure::Idle(args) => idle::run(args, global).await,
        Measure::Start(args) => start::run(args, global).await,
        Measure::Mesh(args) => mesh::run(args, global).await,
        Measure::SlowReader(args) => slow_reader::run(args, global).await,
    }
}

async fn load(measure: &'static str, args: &LoadArgs, global: &Global) -> Result<(), Failure> {
    let sizes = match (args.size, measure) {
        (Some(size), _) => vec![size],
        (None, "throughput") => vec![64, 1024],
        (None, _) => vec![1024],
    };
    for size in sizes {
        let plan = plan(measure, args, size);
        let (subscribers, lane) = (plan.subscribers, lane(&plan));
        let (warm_up, secs) = (plan.warm_up_secs, plan.secs);
        global.say(format_args!(
            "{measure}: {size} B, {lane} lane, subscribers: {subscribers}; {warm_up} s of warm-up, {secs} s measured"
        ));
        let figures = run::run(&plan, global).await?;
        print(&figures, table, global)?;
        if !figures.is_sound() {
            let what = "what came is not what was sent: see loss, duplicates, out_of_order and corrupt";
            return Err(Failure::new(Exit::Failure, what));
        }
    }
    Ok(())
}

fn plan(measure: &'static str, args: &LoadArgs, size: u32) -> Plan {
    Plan {
        measure,
        size,
        secs: args.secs,
        warm_up_secs: WARM_UP_SECS.min(args.secs),
        subscribers: args.subscribers.map_or(if measure == "fanout" { 8 } else { 1 }, usize::from),
        is_live: args.lane == LaneArg::Live,
        rate: args.rate.or((measure == "latency").then_some(100)),
    }
}

fn lane(plan: &Plan) -> &'static str {
    if plan.is_live { "live" } else { "durable" }
}

/// One object a line for programs, a table for people.
fn print<F: Serialize>(figures: &F, table: fn(&F) -> String, global: &Global) -> Result<(), Failure> {
    let text = if global.json { serde_json::to_string(figures).unwrap_or_default() } else { table(figures) };
    writeln!(std::io::stdout().lock(), "{text}")
        .map_err(|error| Failure::new(Exit::Failure, error.to_string()))
}

fn scratch() -> Result<Scratch, Failure> {
    Scratch::new("bench").map_err(|error| {
        let what = format!("no directory for the run: {error}; make room where temporary files are kept");
        Failure::new(Exit::Data, what)
    })
}

/// What a run comes to, unless somebody has had enough of it.
async fn unless_interrupted<T>(played: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        played = played => played,
        () = interrupted() => Err(Failure::new(Exit::Interrupted, "interrupted")),
    }
}

/// Whatever a run has come to, its processes and directories are gone afterwards.
async fn end<E, T>(crew: Crew<E>, scratch: Scratch, played: Result<T, Failure>) -> Result<T, Failure>
where
    E: DeserializeOwned + Send + 'static,
{
    match &played {
        Ok(_) => drop(crew.dismiss().await),
        Err(_) => crew.abandon().await,
    }
    drop(scratch);
    played
}

fn failed(trouble: Trouble) -> Failure {
    let exit = if matches!(trouble, Trouble::Late) { Exit::TimedOut } else { Exit::Failure };
    Failure::new(exit, trouble.to_string())
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
