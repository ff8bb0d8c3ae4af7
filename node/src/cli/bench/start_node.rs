//! A node that publishes all the time, or one that is started to hear it, each in a process of its own.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::tally::median;
use crate::cli::exit::Failure;
use crate::cli::scratch::monotonic_ns;
use crate::cli::worker::{commands, report};
use crate::{Group, Node, NodeError, NodeEvent, PresenceState, Publish};

const GROUP: &str = "bench";
const PUBLISH_EVERY: Duration = Duration::from_millis(5);
const BODY: [u8; 64] = [b'.'; 64];

/// The first line a node reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) network: String,
    pub(super) beacon_port: u16,
    pub(super) data_dir: PathBuf,
    pub(super) role: Role,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Role {
    Publisher,
    Subscriber,
}

/// What a node is told to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Command {
    Begin(Setup),
}

/// What a node tells.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// Messages leave from now on.
    Publishing,
    /// The first message came; stamps in nanoseconds on the clock that all processes share.
    Heard(Stages<u64>),
}

/// When a start had come how far.
#[derive(Clone, Copy, Default, Debug, Serialize, Deserialize)]
pub(super) struct Stages<T> {
    /// The system had loaded the program.
    pub(super) main: T,
    /// Options and settings were read, the runtime ran.
    pub(super) runtime: T,
    /// Identity and store were open, sockets bound: `spawn` returned.
    pub(super) node: T,
    /// In the group, and subscribed.
    pub(super) subscribed: T,
    /// The publisher was known to be alive. None if the message was faster.
    pub(super) peer: Option<T>,
    /// It had proved to be in the group. None if the message was faster.
    pub(super) member: Option<T>,
    /// The first message was in the application's hands.
    pub(super) message: T,
}

impl Stages<u64> {
    fn on_event(&mut self, event: &NodeEvent) {
        match event {
            NodeEvent::Peer { state: PresenceState::Alive, .. } => {
                self.peer.get_or_insert_with(monotonic_ns);
            }
            NodeEvent::MemberJoined { .. } => {
                self.member.get_or_insert_with(monotonic_ns);
            }
            _ => {}
        }
    }

    /// In milliseconds since then.
    #[expect(clippy::cast_precision_loss, reason = "a run takes seconds")]
    pub(super) fn since(self, from_ns: u64) -> Stages<f64> {
        let ms = |at: u64| at.saturating_sub(from_ns) as f64 / 1e6;
        Stages {
            main: ms(self.main),
            runtime: ms(self.runtime),
            node: ms(self.node),
            subscribed: ms(self.subscribed),
            peer: self.peer.map(ms),
            member: self.member.map(ms),
            message: ms(self.message),
        }
    }
}

impl Stages<f64> {
    /// Of each stage by itself.
    pub(super) fn medians<'a>(all: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let of = |stage: fn(&Self) -> Option<f64>| {
            let values: Vec<f64> = all.clone().filter_map(stage).collect();
            (!values.is_empty()).then(|| median(values))
        };
        let always = |stage| of(stage).unwrap_or_default();
        Self {
            main: always(|stages| Some(stages.main)),
            runtime: always(|stages| Some(stages.runtime)),
            node: always(|stages| Some(stages.node)),
            subscribed: always(|stages| Some(stages.subscribed)),
            peer: of(|stages| stages.peer),
            member: of(|stages| stages.member),
            message: always(|stages| Some(stages.message)),
        }
    }

    /// In the order in which they are passed, in words.
    pub(super) fn named(&self) -> impl Iterator<Item = (&'static str, f64)> {
        [
            ("main entered", Some(self.main)),
            ("options read, runtime up", Some(self.runtime)),
            ("node spawned", Some(self.node)),
            ("group joined, subscribed", Some(self.subscribed)),
            ("peer alive", self.peer),
            ("member joined", self.member),
            ("first message", Some(self.message)),
        ]
        .into_iter()
        .filter_map(|(what, at)| Some((what, at?)))
    }
}

/// The hidden subcommand, in a process whose `main` was entered then.
pub(in crate::cli) async fn run(entered_ns: u64) -> Result<(), Failure> {
    Ok(serve(entered_ns).await?)
}

async fn serve(entered_ns: u64) -> Result<(), NodeError> {
    let mut commands = commands::<Command>();
    let Some(Command::Begin(setup)) = commands.recv().await else { return Ok(()) };
    let mut stages = Stages { main: entered_ns, runtime: monotonic_ns(), ..Stages::default() };
    let node = spawn(&setup).await?;
    stages.node = monotonic_ns();
    match setup.role {
        Role::Publisher => publish(&node.join(GROUP).await?, &mut commands).await?,
        Role::Subscriber => hear(&node, stages, &mut commands).await?,
    }
    node.shutdown().await
}

/// Beacons stay on the loopback, because the listeners do; mDNS would be heard by all of the LAN.
async fn spawn(setup: &Setup) -> Result<Node, NodeError> {
    let mut builder = Node::builder()
        .network(&setup.network)
        .data_dir(&setup.data_dir)
        .beacon_port(setup.beacon_port)
        .mdns(false)
        .listen("/ip4/127.0.0.1/tcp/0");
    if cfg!(feature = "quic") {
        builder = builder.listen("/ip4/127.0.0.1/udp/0/quic-v1");
    }
    builder.spawn().await
}

async fn publish(group: &Group, commands: &mut mpsc::Receiver<Command>) -> Result<(), NodeError> {
    report(&Report::Publishing);
    let mut tick = interval(PUBLISH_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => drop(group.publish(Publish::new(&BODY[..]).live()).await?),
            command = commands.recv() => if command.is_none() { return Ok(()) },
        }
    }
}

/// Tells how long the first message took, and stays until the end is wanted.
async fn hear(
    node: &Node,
    mut stages: Stages<u64>,
    commands: &mut mpsc::Receiver<Command>,
) -> Result<(), NodeError> {
    let mut events = node.events();
    let open = async { node.join(GROUP).await?.subscribe().await };
    tokio::pin!(open);
    let mut messages = loop {
        tokio::select! {
            Some(event) = events.next() => stages.on_event(&event),
            messages = &mut open => break messages?,
        }
    };
    stages.subscribed = monotonic_ns();
    let mut is_told = false;
    loop {
        tokio::select! {
            // What came first is stamped first.
            biased;
            command = commands.recv() => if command.is_none() { return Ok(()) },
            Some(event) = events.next() => stages.on_event(&event),
            message = messages.next() => match message {
                Some(_) if is_told => {}
                Some(_) => {
                    stages.message = monotonic_ns();
                    is_told = true;
                    report(&Report::Heard(stages));
                }
                None => return Ok(()),
            },
        }
    }
}
