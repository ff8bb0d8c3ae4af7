//! The sole owner of engine, transport, store and discovery: feeds inputs, performs outputs in order.
//!
//! One task, one loop. Nothing here decides anything about the protocol. What may not grow is bounded by not
//! reading on: while the store has no room, no more payload is taken from neighbours, and their transports feel it.
//! While a subscription is full the engine is told, which delivers nothing more of that group and lets its neighbours
//! feel it by their credit.

mod inputs;
mod output;
mod readers;
mod requests;
mod start;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use djembe_protocol::crypto::GroupKey;
use djembe_protocol::engine::Engine;
use djembe_protocol::id::{GroupId, Lane, LinkId, PeerId};
use djembe_protocol::io::{Command, Delivered, Input, Secrets};
use djembe_protocol::message::Draft;
use djembe_protocol::time::{Timestamp, WallTime};
use djembe_protocol::wire::frame::CheckedFrame;
use libp2p::Multiaddr;
use tokio::sync::{mpsc, oneshot};

use crate::check;
use crate::control::{Server, WeakNode};
use crate::datadir::DataDir;
use crate::discovery::Discovery;
use crate::error::NodeError;
use crate::event::{Listeners, NodeEvent};
use crate::group::GroupShared;
use crate::status::Status;
use crate::store::worker::{Job, Worker};
use crate::transport::{Inbound, Path, Transport, TransportEvent};
use readers::GroupEntry;

/// Requests that wait for the driver.
pub(crate) const REQUESTS: usize = 64;
/// Frames of talk that wait for the engine.
const INBOUND_CONTROL: usize = 256;
/// Frames with payload that wait for the engine, up to 64 KiB each.
const INBOUND_DATA: usize = 32;
/// Taken from a channel at once.
const BURST: usize = 64;
/// The wall clock is told to the engine at most this often.
const WALL_EVERY: Duration = Duration::from_millis(100);
/// How long the store may take to finish when the node ends, before the goodbye goes out without it.
const STORE_PATIENCE: Duration = Duration::from_secs(2);
/// How long goodbyes may take to be written.
const GOODBYE_PATIENCE: Duration = Duration::from_millis(700);

/// What handles ask of the driver.
#[derive(Debug)]
pub(crate) enum Request {
    Join { key: Box<GroupKey>, name: String, reply: oneshot::Sender<Result<Arc<GroupShared>, NodeError>> },
    Leave { group: Arc<GroupShared>, reply: oneshot::Sender<()> },
    Subscribe { group: Arc<GroupShared>, sender: mpsc::Sender<Arc<Delivered>>, reply: oneshot::Sender<()> },
    Status { reply: oneshot::Sender<Status> },
    Shutdown,
}

/// A message on its way to the engine; its room was taken before.
#[derive(Debug)]
pub(crate) struct PublishRequest {
    pub(crate) group: GroupId,
    pub(crate) lane: Lane,
    pub(crate) ttl_secs: u32,
    pub(crate) draft: Draft,
    pub(crate) ticket: u64,
}

/// Salts and nonces from the operating system.
struct OsSecrets;

impl Secrets for OsSecrets {
    fn fill(&mut self, out: &mut [u8]) {
        getrandom::fill(out).expect("the system gave entropy when the node started");
    }
}

struct LinkEntry {
    peer: PeerId,
    path: Path,
}

/// The running node.
pub(crate) struct Driver {
    me: PeerId,
    network: String,
    engine: Engine,
    transport: Transport<CheckedFrame>,
    effort: Arc<check::Effort>,
    store: Worker,
    discovery: Discovery,
    requests: mpsc::Receiver<Request>,
    publish: mpsc::UnboundedReceiver<PublishRequest>,
    control: mpsc::Receiver<Inbound<CheckedFrame>>,
    data: mpsc::Receiver<Inbound<CheckedFrame>>,
    events: Arc<Listeners>,
    groups: BTreeMap<GroupId, GroupEntry>,
    /// Groups of which something was delivered, or read, since the engine was last told of their room.
    stirred: BTreeSet<GroupId>,
    links: BTreeMap<LinkId, LinkEntry>,
    found_by: BTreeMap<PeerId, BTreeSet<&'static str>>,
    listening: Vec<Multiaddr>,
    /// Jobs for which the store has no room yet.
    jobs: VecDeque<Job>,
    store_error: Option<String>,
    started: Instant,
    wall_told: Option<Instant>,
    ending: bool,
    /// Gone before the directory is, so that the next node's socket is left alone.
    _socket: Option<Server>,
    /// Held until the node has ended.
    data_dir: Option<DataDir>,
}

impl Driver {
    pub(crate) fn peer_id(&self) -> PeerId {
        self.me
    }

    /// Lets other processes of this user talk to the node, if it has a data directory.
    pub(crate) fn serve(&mut self, node: WeakNode) {
        let Some(data_dir) = &self.data_dir else { return };
        match Server::bind(&data_dir.socket(), node) {
            Ok(server) => self._socket = Some(server),
            // Some file systems have no sockets; the node itself does without.
            Err(error) => tracing::warn!(%error, "no local socket: other commands cannot use this node"),
        }
    }

    /// Runs until shut down or until every handle is gone.
    pub(crate) async fn run(mut self: Box<Self>) -> Result<(), NodeError> {
        let timer = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(timer);
        let (mut talk, mut frames, mut published) = (Vec::new(), Vec::new(), Vec::new());
        // Talk goes first, but not twice running: a neighbour that floods with it must not silence all else.
        let mut talked = false;
        while !self.ending {
            self.submit_jobs();
            let deadline = self.engine.next_deadline().map(|at| self.instant(at));
            if let Some(deadline) = deadline
                && timer.deadline().into_std() != deadline
            {
                timer.as_mut().reset(deadline.into());
            }
            let is_free = self.jobs.is_empty();
            tokio::select! {
                biased;
                _ = self.control.recv_many(&mut talk, BURST), if !talked => {
                    self.on_frames(&mut talk);
                    talked = true;
                    continue;
                }
                // Rare, and somebody waits for the answer; under load transport and store always have something.
                request = self.requests.recv() => match request {
                    Some(request) => self.on_request(request),
                    None => break,
                },
                event = self.transport.next_event() => self.on_transport(event),
                done = self.store.next_done() => match done {
                    Some(done) => self.on_store(done),
                    None => {
                        self.store_error = Some("the store's thread has ended".to_owned());
                        break;
                    }
                },
                _ = self.data.recv_many(&mut frames, BURST), if is_free => self.on_frames(&mut frames),
                n = self.publish.recv_many(&mut published, BURST), if is_free => {
                    if n > 0 {
                        self.on_publish(&mut published);
                    }
                }
                event = self.discovery.next_event() => self.on_discovery(event),
                () = timer.as_mut(), if deadline.is_some() => self.input(Input::Timeout),
                () = Self::reader_ready(&self.groups), if self.has_waiting_reader() => self.refill_readers(),
                () = std::future::ready(()), if talked => {}
            }
            talked = false;
        }
        self.end().await
    }

    /// Lets the store finish and tells the others what it has, says goodbye, closes the store.
    async fn end(mut self: Box<Self>) -> Result<(), NodeError> {
        self.ending = true;
        self.take_publishes();
        let _ = tokio::time::timeout(STORE_PATIENCE, self.finish()).await;
        self.input(Input::Command(Command::Shutdown));
        self.groups.clear();
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.transport.close(link);
        }
        let goodbye = async {
            while !self.links.is_empty() {
                if let TransportEvent::LinkDown { link, .. } = self.transport.next_event().await {
                    self.links.remove(&link);
                }
            }
        };
        let _ = tokio::time::timeout(GOODBYE_PATIENCE, goodbye).await;
        self.discovery.shutdown();
        let closed = self.store.close().await.map_err(NodeError::from);
        match self.store_error {
            Some(error) => Err(NodeError::Ended(Some(error))),
            None => closed,
        }
    }

    /// Works on until what was published has left: sealed, on the disk, and written to whoever is linked. A live
    /// message that nobody is there to hear does not keep the node.
    async fn finish(&mut self) {
        let mut talk = Vec::new();
        loop {
            self.submit_jobs();
            if self.jobs.is_empty() && self.store.is_idle() && self.engine.is_flushed() {
                return;
            }
            tokio::select! {
                // Neighbours say there how much more they take.
                _ = self.control.recv_many(&mut talk, BURST) => self.on_frames(&mut talk),
                done = self.store.next_done() => match done {
                    Some(done) => self.on_store(done),
                    None => return,
                },
                event = self.transport.next_event() => self.on_transport(event),
                () = tokio::time::sleep(Duration::from_millis(1)) => self.input(Input::Timeout),
            }
        }
    }

    // Time.

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn instant(&self, at: Timestamp) -> Instant {
        self.started + Duration::from_micros(at.as_micros())
    }

    fn tell_wall_time(&mut self) {
        if self.wall_told.is_none_or(|told| told.elapsed() >= WALL_EVERY) {
            self.wall_told = Some(Instant::now());
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let wall = WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
            self.input(Input::WallTime(wall));
        }
    }

    // Inputs.

    fn input(&mut self, input: Input) {
        self.input_at(self.now(), input);
    }

    fn input_at(&mut self, now: Timestamp, input: Input) {
        self.engine.handle_input(now, input);
        self.perform_outputs(now);
    }

    fn tell(&self, event: NodeEvent) {
        self.events.tell(event);
    }
}

/// What to do about a copied identity.
const CLONED_ADVICE: &str = "this node's identity is in use on another node too; stop one of them and give it \
                             an identity of its own (another --data-dir, or move its identity file away)";
