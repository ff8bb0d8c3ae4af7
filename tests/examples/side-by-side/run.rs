//! The command line, and who does what: this process watches over a child that runs both sides, which starts a process
//! for each node.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use djembe_sim::scenario::{SHIPPED, Scenario};
use djembe_tests::{emulation, netns};
use tokio::signal::unix::{SignalKind, signal};

use crate::figures::Comparison;
use crate::{node, real, simulated};

/// Runs a scenario with real nodes, and in the simulator, and prints both side by side.
#[derive(Parser)]
#[command(name = "side-by-side")]
struct Args {
    #[command(flatten)]
    compare: CompareArgs,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(clap::Args)]
struct CompareArgs {
    /// The name of a scenario that is built into the simulator, or a TOML file.
    #[arg(default_value = "reality-30")]
    scenario: String,
    /// Another value for a field of the scenario, like nodes=10 or messages.rate=5.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What this program starts itself for.
#[derive(Subcommand)]
enum Part {
    /// Run both sides.
    #[command(hide = true)]
    Compare(CompareArgs),
    /// Be one node.
    #[command(hide = true)]
    Node,
}

pub(crate) fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.part {
        None => watch(&args.compare),
        Some(Part::Compare(args)) => compare(&args),
        Some(Part::Node) => {
            runtime().and_then(|runtime| runtime.block_on(node::run())).map(|()| ExitCode::SUCCESS)
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("side-by-side: {error}");
        ExitCode::from(2)
    })
}

/// One thread: a node takes one for four cores, and none of thirty on one machine has more than that.
fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().map_err(|error| format!("cannot start: {error}"))
}

/// Has a child do the work, and removes what it has left when it is gone.
fn watch(args: &CompareArgs) -> Result<ExitCode, String> {
    if cfg!(debug_assertions) {
        return Err("a debug build measures nothing: cargo run --release".to_owned());
    }
    scenario(args)?;
    emulation::available()?;
    let ended = runtime()?.block_on(async {
        let failed = |error| format!("cannot start: {error}");
        let mut signals = Vec::new();
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            signals.push(signal(kind).map_err(failed)?);
        }
        let [interrupt, terminate, hangup] = &mut signals[..] else { unreachable!("three were made") };
        let program = std::env::current_exe().map_err(failed)?;
        let mut child = tokio::process::Command::new(program);
        child.arg("compare").arg(&args.scenario).args(args.sets.iter().flat_map(|set| ["--set", set]));
        child.args(args.json.then_some("--json"));
        let mut child = child.kill_on_drop(true).spawn().map_err(failed)?;
        let status = tokio::select! {
            status = child.wait() => Some(status.map_err(failed)?),
            _ = interrupt.recv() => None,
            _ = terminate.recv() => None,
            _ = hangup.recv() => None,
        };
        if status.is_none() {
            child.kill().await.map_err(|error| format!("its child does not end: {error}"))?;
        }
        Ok::<_, String>(status)
    });
    netns::sweep_dead_runs();
    match ended? {
        Some(status) => match status.code().and_then(|code| u8::try_from(code).ok()) {
            Some(code) => Ok(ExitCode::from(code)),
            None => Err(format!("its child has ended ({status}); nothing is left")),
        },
        None => Err("interrupted; nothing is left".to_owned()),
    }
}

fn compare(args: &CompareArgs) -> Result<ExitCode, String> {
    let scenario = scenario(args)?;
    let (nodes, seconds) = (scenario.nodes, scenario.duration.as_secs_f64());
    eprintln!("side-by-side: {nodes} real nodes for {seconds} s");
    let real = real::run(&scenario)?;
    eprintln!("side-by-side: the same simulated");
    let simulated = simulated::run(&scenario);
    let comparison = Comparison::new(args.scenario.clone(), &scenario, &real, &simulated);
    let text = if args.json { comparison.json()? } else { comparison.to_string() };
    // A reader that has gone away is no error.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(if real.is_complete() && simulated.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads the scenario, and refuses what cannot be emulated.
fn scenario(args: &CompareArgs) -> Result<Scenario, String> {
    let shipped = SHIPPED.iter().find(|(name, _)| *name == args.scenario);
    let text = match shipped {
        Some((_, text)) => (*text).to_owned(),
        None => {
            std::fs::read_to_string(&args.scenario).map_err(|error| format!("{}: {error}", args.scenario))?
        }
    };
    let scenario = Scenario::parse(&text, &args.sets).map_err(|error| error.to_string())?;
    let Scenario { nodes, groups, loss, reorder, duplicate, corrupt, .. } = scenario;
    let is_disturbed = loss + reorder + duplicate + corrupt > 0.0 || scenario.burst.is_some();
    let is_quiet = scenario.faults_end().is_zero() && scenario.attackers == 0;
    let is_narrow = scenario.bandwidth > 0 || scenario.sites.iter().any(|site| site.up + site.down > 0);
    if is_disturbed || !is_quiet || is_narrow {
        return Err("the emulated network knows no loss, no bandwidth, no faults and no attackers".to_owned());
    }
    if nodes > 200 || groups > 1 || scenario.contact.is_some() {
        return Err("real nodes are at most 200, in one group, and find each other by themselves".to_owned());
    }
    if scenario.messages.lane.is_kept() || scenario.messages.size < node::HEADER {
        return Err(format!("messages must be live, and of {} bytes at least", node::HEADER));
    }
    Ok(scenario)
}
