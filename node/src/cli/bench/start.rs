//! `djembe bench start`: from the start of a process to its first message, and where that time goes.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::start_node::{Command, Report, Role, Setup, Stages};
use super::tally::{median, percentile};
use super::{StartArgs, end, failed, print, scratch, unless_interrupted};
use crate::Node;
use crate::cli::exit::{Exit, Failure};
use crate::cli::global::Global;
use crate::cli::scratch::{Scratch, free_port, monotonic_ns, random_name};
use crate::cli::worker::{Crew, Trouble};

/// The hidden subcommand each of the nodes runs.
pub(in crate::cli) const WORKER: &str = "bench-start-node";

/// For the publisher to run.
const READY_MAX: Duration = Duration::from_secs(30);
/// The beacons of the publisher's own start are over by then.
const SETTLE: Duration = Duration::from_secs(2);
/// A start that takes longer has failed.
const RUN_MAX: Duration = Duration::from_secs(15);
/// Between two runs, at least.
const PAUSE: Duration = Duration::from_millis(100);
/// Pauses differ, so that no run begins at the same point of the publisher's rhythm as the last.
const PAUSE_STEPS: u32 = 97;

/// What came out. Names and units are part of the interface of `--json`.
#[derive(Clone, Debug, Serialize)]
struct Figures {
    measure: &'static str,
    runs: usize,
    succeeded: usize,
    /// From just before the process was started to its first message, of the runs that succeeded.
    min_ms: f64,
    median_ms: f64,
    p90_ms: f64,
    max_ms: f64,
    /// Medians of the same stamps of all runs that succeeded.
    stages_ms: Stages<f64>,
    /// Each run by itself; null for one that failed.
    each_ms: Vec<Option<Stages<f64>>>,
}

/// Runs it. Whatever happens, processes and directories are gone afterwards.
pub(super) async fn run(args: StartArgs, global: &Global) -> Result<(), Failure> {
    let mut run = Run {
        args,
        global,
        scratch: scratch()?,
        setup: Setup {
            network: format!("bench-{}", random_name()),
            beacon_port: free_port().map_err(|error| {
                let what = format!("no UDP port on 127.0.0.1: {error}; free one and try again");
                Failure::new(Exit::Address, what)
            })?,
            data_dir: PathBuf::new(),
            role: Role::Publisher,
        },
        publisher: Crew::new(WORKER),
    };
    let figures = unless_interrupted(run.play()).await;
    let figures = end(run.publisher, run.scratch, figures).await?;
    print(&figures, table, global)?;
    match figures.runs - figures.succeeded {
        0 => Ok(()),
        n => {
            let what = format!("{n} of {} starts brought no message within {RUN_MAX:?}", figures.runs);
            Err(Failure::new(Exit::TimedOut, what))
        }
    }
}

struct Run<'a> {
    args: StartArgs,
    global: &'a Global,
    scratch: Scratch,
    /// But for directory and role, the same for all.
    setup: Setup,
    publisher: Crew<Report>,
}

impl Run<'_> {
    async fn play(&mut self) -> Result<Figures, Failure> {
        let begin =
            Command::Begin(Setup { data_dir: self.scratch.path().join("publisher"), ..self.setup.clone() });
        self.publisher.start("publisher", &begin).await.map_err(failed)?;
        let deadline = Instant::now() + READY_MAX;
        while !matches!(self.publisher.next(deadline).await.map_err(failed)?, (_, Report::Publishing)) {}
        let since = Instant::now();
        let mut prepared = Vec::new();
        for n in 1..=self.args.runs {
            prepared.push(self.prepare(n).await?);
        }
        sleep(SETTLE.saturating_sub(since.elapsed())).await;
        let mut each_ms = Vec::with_capacity(prepared.len());
        for (n, data_dir) in (1..).zip(prepared) {
            sleep(PAUSE + Duration::from_millis(u64::from(n * 37 % PAUSE_STEPS))).await;
            let stages = self.start(data_dir).await?;
            match &stages {
                Some(stages) => self.global.say(format_args!("{n:>4}  {:.1} ms", stages.message)),
                None => self.global.say(format_args!("{n:>4}  failed: no message within {RUN_MAX:?}")),
            }
            each_ms.push(stages);
        }
        Ok(figures(each_ms))
    }

    /// An identity and a store of their own for each run, made by a node that met nobody: what a run leaves behind,
    /// such as the address of the publisher, helps no other.
    async fn prepare(&self, n: u32) -> Result<PathBuf, Failure> {
        let data_dir = self.scratch.path().join(format!("node-{n}"));
        let node = Node::builder()
            .network(&self.setup.network)
            .data_dir(&data_dir)
            .listen("/ip4/127.0.0.1/tcp/0")
            .discovery(false)
            .spawn()
            .await?;
        node.shutdown().await?;
        Ok(data_dir)
    }

    /// One start: its stages in milliseconds, if it succeeded.
    async fn start(&mut self, data_dir: PathBuf) -> Result<Option<Stages<f64>>, Failure> {
        let begin = Command::Begin(Setup { data_dir, role: Role::Subscriber, ..self.setup.clone() });
        let mut crew = Crew::new(WORKER);
        let deadline = Instant::now() + RUN_MAX;
        let spawned_ns = monotonic_ns();
        crew.start("subscriber", &begin).await.map_err(failed)?;
        let report = tokio::select! {
            report = crew.next(deadline) => report,
            // It has nothing more to say but its end.
            publisher = self.publisher.next(deadline) => match publisher {
                Err(Trouble::Late) | Ok(_) => Err(Trouble::Late),
                Err(trouble) => return Err(failed(trouble)),
            },
        };
        match report {
            Ok((_, Report::Heard(stages))) => {
                // Says goodbye, so that the publisher does not wait for it during the next run.
                crew.dismiss().await;
                Ok(Some(stages.since(spawned_ns)))
            }
            Ok((_, Report::Publishing)) | Err(Trouble::Late) => {
                crew.abandon().await;
                Ok(None)
            }
            Err(trouble) => Err(failed(trouble)),
        }
    }
}

fn figures(each_ms: Vec<Option<Stages<f64>>>) -> Figures {
    let good = || each_ms.iter().flatten();
    let messages = || good().map(|stages| stages.message);
    Figures {
        measure: "start",
        runs: each_ms.len(),
        succeeded: good().count(),
        min_ms: messages().reduce(f64::min).unwrap_or_default(),
        median_ms: median(messages()),
        p90_ms: percentile(messages(), 90),
        max_ms: messages().fold(0.0, f64::max),
        stages_ms: Stages::medians(good()),
        each_ms,
    }
}

/// For people.
fn table(figures: &Figures) -> String {
    let Figures { runs, succeeded, min_ms, median_ms, p90_ms, max_ms, stages_ms, .. } = figures;
    let mut lines = vec![
        format!("start  {succeeded} of {runs} starts, by beacon on the loopback"),
        format!(
            "  first message  median {median_ms:.1} ms, p90 {p90_ms:.1} ms, shortest {min_ms:.1} ms, longest \
             {max_ms:.1} ms"
        ),
        "  medians of the stages, in ms since the start, and after the stage before:".to_owned(),
    ];
    let mut before = 0.0;
    for (what, at) in stages_ms.named() {
        lines.push(format!("  {at:>8.2}  {:>+8.2}  {what}", at - before));
        before = at;
    }
    lines.join("\n")
}
