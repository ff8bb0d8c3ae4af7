//! `djembe bench idle`: what nodes cost that are linked, all to all, and have nothing to say.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::idle_node::{Command, Report, Sample, Setup};
use super::own::loopback_bytes;
use super::tally::median;
use super::{IdleArgs, end, failed, print, scratch, unless_interrupted};
use crate::cli::exit::{Exit, Failure};
use crate::cli::global::Global;
use crate::cli::scratch::{Scratch, free_port, random_name};
use crate::cli::worker::{Crew, Trouble};

/// The hidden subcommand each of the nodes runs.
pub(in crate::cli) const WORKER: &str = "bench-idle-node";

/// For all to see all.
const LINK_MAX: Duration = Duration::from_secs(30);
/// What meeting has set going comes to rest; beats become rarer after ten.
const SETTLE: Duration = Duration::from_secs(13);
/// For a node to tell what it uses.
const SAMPLE_MAX: Duration = Duration::from_secs(10);

/// What came out. Names and units are part of the interface of `--json`.
#[derive(Clone, Debug, Serialize)]
struct Figures {
    measure: &'static str,
    /// Members that each node sees.
    peers: usize,
    seconds: f64,
    rss_kib_max: u64,
    rss_kib_median: f64,
    cpu_percent_max: f64,
    cpu_percent_median: f64,
    /// Of the node with the most.
    threads: u64,
    /// Everything on this machine's loopback, whoever sent it.
    loopback_bytes_per_s: Option<f64>,
    processes: Vec<Process>,
}

/// One of the nodes.
#[derive(Clone, Debug, Serialize)]
struct Process {
    role: String,
    rss_kib: u64,
    /// The part of it that is no file's, and so not shared with other nodes.
    rss_anon_kib: Option<u64>,
    cpu_percent: f64,
    threads: u64,
}

/// Runs it. Whatever happens, processes and directories are gone afterwards.
pub(super) async fn run(args: IdleArgs, global: &Global) -> Result<(), Failure> {
    let scratch = scratch()?;
    let mut crew = Crew::new(WORKER);
    let figures = unless_interrupted(play(args, global, &scratch, &mut crew)).await;
    print(&end(crew, scratch, figures).await?, table, global)
}

async fn play(
    args: IdleArgs,
    global: &Global,
    scratch: &Scratch,
    crew: &mut Crew<Report>,
) -> Result<Figures, Failure> {
    let peers = usize::from(args.peers);
    let n = peers + 1;
    gather(peers, scratch, crew).await?;
    let secs = args.secs;
    global.say(format_args!("idle: {n} nodes linked, all to all; measured in {SETTLE:?}, for {secs} s"));
    sleep(SETTLE).await;
    let (before, loopback_before) = (samples(n, crew).await?, loopback_bytes());
    let started = Instant::now();
    sleep(Duration::from_secs_f64(secs)).await;
    let (loopback_after, took) = (loopback_bytes(), started.elapsed().as_secs_f64());
    let after = samples(n, crew).await?;
    let processes: Vec<Process> =
        (0..n).map(|of| process(crew.name(of).to_owned(), &before[of], &after[of])).collect();
    let rss = || processes.iter().map(|process| process.rss_kib);
    let cpu = || processes.iter().map(|process| process.cpu_percent);
    #[expect(clippy::cast_precision_loss, reason = "memory and traffic of a run are far below 2^52")]
    Ok(Figures {
        measure: "idle",
        peers,
        seconds: took,
        rss_kib_max: rss().max().unwrap_or_default(),
        rss_kib_median: median(rss().map(|kib| kib as f64)),
        cpu_percent_max: cpu().fold(0.0, f64::max),
        cpu_percent_median: median(cpu()),
        threads: processes.iter().map(|process| process.threads).max().unwrap_or_default(),
        loopback_bytes_per_s: loopback_before
            .zip(loopback_after)
            .map(|(before, after)| after.saturating_sub(before) as f64 / took),
        processes,
    })
}

/// Starts everybody, and waits until each sees all the others.
async fn gather(peers: usize, scratch: &Scratch, crew: &mut Crew<Report>) -> Result<(), Failure> {
    let port = free_port().map_err(|error| {
        Failure::new(Exit::Address, format!("no UDP port on 127.0.0.1: {error}; free one and try again"))
    })?;
    let setup = |name: &str, network: &str| Setup {
        network: network.to_owned(),
        beacon_port: port,
        data_dir: scratch.path().join(name),
        peers,
    };
    let network = format!("bench-{}", random_name());
    let deadline = Instant::now() + LINK_MAX;
    for n in 0..=peers {
        let name = format!("node-{n}");
        crew.start(&name, &Command::Begin(setup(&name, &network))).await.map_err(failed)?;
    }
    let mut linked = 0;
    while linked <= peers {
        match crew.next(deadline).await {
            Ok((_, Report::Linked)) => linked += 1,
            Ok(_) => {}
            Err(Trouble::Late) => {
                let (all, secs) = (peers + 1, LINK_MAX.as_secs());
                let what = format!(
                    "only {linked} of {all} nodes saw all the others within {secs} s; try fewer with --peers, or when \
                     the machine is less busy"
                );
                return Err(Failure::new(Exit::TimedOut, what));
            }
            Err(trouble) => return Err(failed(trouble)),
        }
    }
    Ok(())
}

/// What each has used by now.
async fn samples(n: usize, crew: &mut Crew<Report>) -> Result<Vec<Sample>, Failure> {
    for of in 0..n {
        crew.tell(of, &Command::Sample).await.map_err(failed)?;
    }
    let deadline = Instant::now() + SAMPLE_MAX;
    let mut samples: Vec<Option<Sample>> = vec![None; n];
    while samples.iter().any(Option::is_none) {
        if let (of, Report::Sample(sample)) = crew.next(deadline).await.map_err(failed)? {
            samples[of] = Some(sample);
        }
    }
    Ok(samples.into_iter().flatten().collect())
}

#[expect(clippy::cast_precision_loss, reason = "hours fit into 2^52 nanoseconds")]
fn process(role: String, before: &Sample, after: &Sample) -> Process {
    let (cpu_ns, took_ns) = (after.cpu_ns - before.cpu_ns, after.at_ns - before.at_ns);
    Process {
        role,
        rss_kib: after.rss_kib,
        rss_anon_kib: after.rss_anon_kib,
        cpu_percent: 100.0 * cpu_ns as f64 / took_ns.max(1) as f64,
        threads: after.threads,
    }
}

/// For people.
fn table(figures: &Figures) -> String {
    let Figures { peers, seconds, processes, .. } = figures;
    let most_rss = processes.iter().max_by_key(|process| process.rss_kib);
    let most_cpu = processes.iter().max_by(|a, b| a.cpu_percent.total_cmp(&b.cpu_percent));
    let role = |process: Option<&Process>| process.map_or("?", |process| process.role.as_str()).to_owned();
    let mut lines = vec![
        format!("idle  {} nodes, each with {peers} members in sight, {seconds:.1} s", processes.len()),
        format!(
            "  memory    at most {} KiB ({}), median {:.0} KiB",
            figures.rss_kib_max,
            role(most_rss),
            figures.rss_kib_median
        ),
        format!(
            "  cpu       at most {:.2} % of a core ({}), median {:.2} %",
            figures.cpu_percent_max,
            role(most_cpu),
            figures.cpu_percent_median
        ),
        format!("  threads   {}", figures.threads),
    ];
    if let Some(bytes) = figures.loopback_bytes_per_s {
        lines.push(format!("  loopback  {bytes:.0} B/s, all nodes and whatever else runs on this machine"));
    }
    lines.join("\n")
}
