//! One of the demo's nodes, in a process of its own.

use std::path::PathBuf;

use crate::{Group, GroupInfo, Node, NodeError, NodeEvent, PeerInfo, PresenceState, Status};
use serde::{Deserialize, Serialize};

use crate::cli::exit::Failure;
use crate::cli::scratch::monotonic_ns;
use crate::cli::worker::{commands, report};

/// The first line a node reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) network: String,
    pub(super) group: String,
    pub(super) passphrase: String,
    pub(super) data_dir: PathBuf,
    pub(super) beacon_port: u16,
}

/// What a node is told to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Command {
    Begin(Setup),
    Say(String),
    Tell,
}

/// The commands, as the demo writes them.
pub(super) fn begin(setup: Setup) -> impl Serialize {
    Command::Begin(setup)
}

/// See [`begin`].
pub(super) fn say(text: &str) -> impl Serialize {
    Command::Say(text.to_owned())
}

/// See [`begin`]: asks for a [`Report::Status`].
pub(super) fn tell() -> impl Serialize {
    Command::Tell
}

/// What a node tells. Stamps are on the clock that all processes share.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    Ready { peer: String, at: u64 },
    Member { peer: String, at: u64 },
    Gone { peer: String, at: u64 },
    Heard { author: String, text: String, at: u64 },
    Stored { text: String, at: u64, by: usize },
    Status { groups: Vec<GroupInfo>, peers: Vec<PeerInfo> },
}

/// The hidden subcommand.
pub(in crate::cli) async fn run() -> Result<(), Failure> {
    Ok(serve().await?)
}

async fn serve() -> Result<(), NodeError> {
    let mut commands = commands::<Command>();
    let Some(Command::Begin(setup)) = commands.recv().await else { return Ok(()) };
    // The beacon alone, so that whoever is found was found by it.
    let node = Node::builder()
        .data_dir(setup.data_dir)
        .network(setup.network)
        .listen("/ip4/127.0.0.1/tcp/0")
        .mdns(false)
        .beacon_port(setup.beacon_port)
        .spawn()
        .await?;
    let mut events = node.events();
    let group = node.join_with_passphrase(&setup.group, &setup.passphrase).await?;
    let mut messages = group.subscribe().await?;
    report(&Report::Ready { peer: node.peer_id().to_string(), at: monotonic_ns() });
    loop {
        tokio::select! {
            Some(message) = messages.next() => report(&Report::Heard {
                author: message.author().to_string(),
                text: String::from_utf8_lossy(message.body()).into_owned(),
                at: monotonic_ns(),
            }),
            Some(event) = events.next() => on_event(event),
            command = commands.recv() => match command {
                Some(Command::Say(text)) => speak(&group, text).await?,
                Some(Command::Tell) => {
                    let Status { groups, peers, .. } = node.status().await?;
                    report(&Report::Status { groups, peers });
                }
                Some(Command::Begin(_)) => {}
                None => break,
            },
            else => break,
        }
    }
    node.shutdown().await
}

fn on_event(event: NodeEvent) {
    let at = monotonic_ns();
    match event {
        NodeEvent::MemberJoined { peer, .. } => report(&Report::Member { peer: peer.to_string(), at }),
        NodeEvent::Peer { peer, state: PresenceState::Gone, .. } => {
            report(&Report::Gone { peer: peer.to_string(), at });
        }
        _ => {}
    }
}

/// Publishes, and follows what becomes of it for as long as the node lives.
async fn speak(group: &Group, text: String) -> Result<(), NodeError> {
    let receipt = group.publish(text.clone()).await?;
    tokio::spawn(async move {
        for n in 1.. {
            match receipt.stored_by(n).await {
                Ok(by) => report(&Report::Stored { text: text.clone(), at: monotonic_ns(), by: by.len() }),
                Err(_) => return,
            }
        }
    });
    Ok(())
}
