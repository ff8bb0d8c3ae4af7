//! One node of the benchmark of a reader that stops, in a process of its own: the speaker, or a reader.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep_until};

use super::body::{Bodies, Header, Phase};
use super::own::{Own, listening, spawn};
use super::tally::{Histogram, Numbers};
use crate::cli::exit::Failure;
use crate::cli::scratch::monotonic_ns;
use crate::cli::worker::{commands, report};
use crate::event::Events;
use crate::{Group, Node, NodeError, NodeEvent, Publish, SubscribeOptions, Subscription};

const GROUP: &str = "bench";
/// Until every reader has heard one.
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// How often the speaker looks at what waits for whom.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The first line a node reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) network: String,
    pub(super) is_live: bool,
    pub(super) size: usize,
    /// Without one, nothing is kept on disk.
    pub(super) data_dir: Option<PathBuf>,
    /// The speaker's address; the speaker has none.
    pub(super) peer: Option<String>,
    /// Messages of a stretch: times are told for each.
    pub(super) stretch: u64,
}

/// What a node is told to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Command {
    Begin(Setup),
    /// To the speaker: say the messages of the next stretch, so many a second, and look at this reader.
    Speak {
        rate: u32,
        reader: String,
    },
    /// To a reader: say when so many messages are there.
    Await(u64),
    /// To a reader.
    Tell,
}

/// What a node tells.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    Ready {
        peer_id: String,
        listen: Vec<String>,
    },
    /// A reader hears the speaker.
    Linked,
    /// The speaker says of a reader that it is slow, suspect, and so on.
    Said {
        of: String,
        what: String,
        at_ns: u64,
    },
    /// The speaker has no link to the reader any more.
    Unlinked {
        at_ns: u64,
    },
    Spoke(Spoke),
    /// All that was waited for is there.
    There,
    Heard(Box<Heard>),
}

/// What the speaker has seen while it spoke.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Spoke {
    /// The most bytes that waited for the reader.
    pub(super) queued_max: usize,
    pub(super) rss_kib_before: Option<u64>,
    pub(super) rss_kib_after: Option<u64>,
}

/// What a reader has got by now.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Heard {
    pub(super) unique: u64,
    pub(super) duplicates: u64,
    pub(super) late: u64,
    pub(super) corrupt: u64,
    /// How long messages took, by stretch.
    pub(super) latencies: Vec<Histogram>,
}

/// The hidden subcommand.
pub(in crate::cli) async fn run() -> Result<(), Failure> {
    Ok(serve().await?)
}

async fn serve() -> Result<(), NodeError> {
    let mut commands = commands::<Command>();
    let Some(Command::Begin(setup)) = commands.recv().await else { return Ok(()) };
    let node = spawn(&setup.network, setup.data_dir.as_deref(), setup.peer.as_deref()).await?;
    let group = node.join(GROUP).await?;
    let bodies = Bodies::new(setup.size);
    if setup.peer.is_none() {
        let is_live = setup.is_live;
        report(&Report::Ready { peer_id: node.peer_id().to_string(), listen: listening(&node).await? });
        let speaker = Speaker { node: &node, group, bodies, is_live, stretch: setup.stretch, next: 0 };
        speaker.serve(&mut commands).await?;
    } else {
        let options = SubscribeOptions { skip_own: true, ..SubscribeOptions::default() };
        let messages = group.subscribe_with(options).await?;
        report(&Report::Ready { peer_id: node.peer_id().to_string(), listen: Vec::new() });
        Reader::new(messages, bodies, setup.stretch).serve(&mut commands).await;
    }
    node.shutdown().await
}

struct Speaker<'a> {
    node: &'a Node,
    group: Group,
    bodies: Bodies,
    is_live: bool,
    stretch: u64,
    /// The number of the next message.
    next: u64,
}

impl Speaker<'_> {
    async fn serve(mut self, commands: &mut mpsc::Receiver<Command>) -> Result<(), NodeError> {
        let events = tokio::spawn(tell_events(self.node.events()));
        let mut probes = 0..;
        let mut probe = interval(PROBE_EVERY);
        let mut has_begun = false;
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Speak { rate, reader }) => {
                        has_begun = true;
                        // Nothing but the end is expected meanwhile.
                        let spoke = tokio::select! {
                            spoke = self.speak(rate, &reader) => spoke?,
                            _ = commands.recv() => break,
                        };
                        report(&Report::Spoke(spoke));
                    }
                    Some(_) => {}
                    None => break,
                },
                _ = probe.tick(), if !has_begun => {
                    self.publish(Phase::Probe, probes.next().unwrap_or_default()).await?;
                }
            }
        }
        events.abort();
        Ok(())
    }

    /// One stretch: each message at its time, and a look at the reader now and then.
    async fn speak(&mut self, rate: u32, reader: &str) -> Result<Spoke, NodeError> {
        let mut spoke = Spoke { rss_kib_before: Own::read().number("VmRSS"), ..Spoke::default() };
        let (started, first, last) = (Instant::now(), self.next, self.next + self.stretch);
        let mut look = interval(LOOK_EVERY);
        let mut is_linked = true;
        // The time after the last message is a part of the stretch.
        let due =
            |number: u64| started + Duration::from_nanos((number - first) * 1_000_000_000 / u64::from(rate));
        loop {
            tokio::select! {
                biased;
                () = sleep_until(due(self.next)) => {
                    if self.next == last {
                        break;
                    }
                    self.publish(Phase::Measured, self.next).await?;
                    self.next += 1;
                }
                _ = look.tick() => {
                    let status = self.node.status().await?;
                    let found = status.peers.iter().find(|peer| peer.peer_id == reader);
                    spoke.queued_max = spoke.queued_max.max(found.map_or(0, |peer| peer.queued_bytes));
                    let was_linked = is_linked;
                    is_linked = found.is_some_and(|peer| !peer.path.is_empty());
                    if was_linked && !is_linked {
                        report(&Report::Unlinked { at_ns: monotonic_ns() });
                    }
                }
            }
        }
        spoke.rss_kib_after = Own::read().number("VmRSS");
        Ok(spoke)
    }

    async fn publish(&self, phase: Phase, number: u64) -> Result<(), NodeError> {
        let body = self.bodies.make(Header { stamp_ns: monotonic_ns(), phase, number });
        let message = Publish::new(body);
        self.group.publish(if self.is_live { message.live() } else { message }).await.map(drop)
    }
}

async fn tell_events(mut events: Events) {
    while let Some(event) = events.next().await {
        let (of, what) = match event {
            NodeEvent::Pace { peer, pace } => (peer, pace.name()),
            NodeEvent::Peer { peer, state, .. } => (peer, state.name()),
            _ => continue,
        };
        report(&Report::Said { of: of.to_string(), what: what.to_owned(), at_ns: monotonic_ns() });
    }
}

struct Reader {
    messages: Subscription,
    bodies: Bodies,
    stretch: u64,
    is_linked: bool,
    numbers: Numbers,
    corrupt: u64,
    latencies: Vec<Histogram>,
    awaited: Option<u64>,
}

impl Reader {
    fn new(messages: Subscription, bodies: Bodies, stretch: u64) -> Self {
        Self {
            messages,
            bodies,
            stretch,
            is_linked: false,
            numbers: Numbers::default(),
            corrupt: 0,
            latencies: Vec::new(),
            awaited: None,
        }
    }

    async fn serve(mut self, commands: &mut mpsc::Receiver<Command>) {
        loop {
            tokio::select! {
                message = self.messages.next() => match message {
                    Some(message) => self.take(&message),
                    None => return,
                },
                command = commands.recv() => match command {
                    Some(Command::Await(all)) => self.awaited = Some(all),
                    Some(Command::Tell) => report(&Report::Heard(Box::new(self.heard()))),
                    Some(_) => {}
                    None => return,
                },
            }
            if self.awaited.is_some_and(|all| self.numbers.unique >= all) {
                self.awaited = None;
                report(&Report::There);
            }
        }
    }

    fn take(&mut self, message: &crate::Message) {
        let now = monotonic_ns();
        let Some(header) = self.bodies.read(message.body()) else {
            self.corrupt += 1;
            return;
        };
        if !self.is_linked {
            self.is_linked = true;
            report(&Report::Linked);
        }
        if header.phase != Phase::Measured || !self.numbers.add(header.number) {
            return;
        }
        let stretch = usize::try_from(header.number / self.stretch).unwrap_or_default();
        if self.latencies.len() <= stretch {
            self.latencies.resize_with(stretch + 1, Histogram::default);
        }
        self.latencies[stretch].add(now.saturating_sub(header.stamp_ns));
    }

    fn heard(&self) -> Heard {
        Heard {
            unique: self.numbers.unique,
            duplicates: self.numbers.duplicates,
            late: self.numbers.late,
            corrupt: self.corrupt,
            latencies: self.latencies.clone(),
        }
    }
}
