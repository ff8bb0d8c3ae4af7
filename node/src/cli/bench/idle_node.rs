//! One node at rest, in a process of its own: `djembe up`, and somebody who asks now and then what it uses.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::own::Own;
use crate::cli::exit::{Exit, Failure};
use crate::cli::global::Global;
use crate::cli::scratch::{cpu_ns, monotonic_ns};
use crate::cli::worker::{commands, report};
use crate::cli::{up, waiting};
use crate::control::Session;

const GROUP: &str = "bench";
/// How often the node looks for the others, until all are there.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The first line a node reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) network: String,
    pub(super) beacon_port: u16,
    pub(super) data_dir: PathBuf,
    /// Members to wait for.
    pub(super) peers: usize,
}

/// What a node is told to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Command {
    Begin(Setup),
    /// Say what was used by now.
    Sample,
}

/// What a node tells.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// All the others are in sight.
    Linked,
    Sample(Sample),
}

/// What a process uses, and has used.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Sample {
    /// On the clock that all processes share.
    pub(super) at_ns: u64,
    pub(super) cpu_ns: u64,
    pub(super) rss_kib: u64,
    pub(super) rss_anon_kib: Option<u64>,
    /// But for the one that reads commands, which `djembe up` has not.
    pub(super) threads: u64,
}

/// The hidden subcommand.
pub(in crate::cli) async fn run() -> Result<(), Failure> {
    let mut commands = commands::<Command>();
    let Some(Command::Begin(setup)) = commands.recv().await else { return Ok(()) };
    let global = global(&setup);
    let session = Session::start(global.builder()?).await?;
    let result = tokio::select! {
        result = up::run(up::UpArgs::open(GROUP), &session, &global) => result,
        failure = waiting::trouble(&session, &global, false) => Err(failure),
        result = answer(&session, setup.peers, &mut commands) => result,
    };
    result.and(session.end().await.map_err(Failure::from))
}

/// Beacons stay on the loopback, because the listeners do.
fn global(setup: &Setup) -> Global {
    let mut listen = vec!["/ip4/127.0.0.1/tcp/0".to_owned()];
    if cfg!(feature = "quic") {
        listen.push("/ip4/127.0.0.1/udp/0/quic-v1".to_owned());
    }
    Global {
        data_dir: Some(setup.data_dir.clone()),
        network: Some(setup.network.clone()),
        listen,
        beacon_port: Some(setup.beacon_port),
        // It would be heard by all of the LAN.
        no_mdns: true,
        quiet: true,
        ..Global::default()
    }
}

async fn answer(
    session: &Session,
    peers: usize,
    commands: &mut mpsc::Receiver<Command>,
) -> Result<(), Failure> {
    while waiting::linked_members(&session.status().await?, GROUP).len() < peers {
        tokio::select! {
            () = sleep(LOOK_EVERY) => {}
            command = commands.recv() => if command.is_none() { return Ok(()) },
        }
    }
    report(&Report::Linked);
    while let Some(command) = commands.recv().await {
        if matches!(command, Command::Sample) {
            report(&Report::Sample(sample()?));
        }
    }
    Ok(())
}

fn sample() -> Result<Sample, Failure> {
    let own = Own::read();
    let none = || Failure::new(Exit::Failure, "what a process uses is read from /proc, which is not there");
    Ok(Sample {
        at_ns: monotonic_ns(),
        cpu_ns: cpu_ns(),
        rss_kib: own.number("VmRSS").ok_or_else(none)?,
        rss_anon_kib: own.number("RssAnon"),
        threads: own.number("Threads").ok_or_else(none)?.saturating_sub(1),
    })
}
