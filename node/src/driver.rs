//! The sole owner of engine, transport, store and discovery: feeds inputs, performs outputs in order.
//!
//! One task, one loop. Nothing here decides anything about the protocol. What may not grow is bounded by not
//! reading on: while the store has no room, no more payload is taken from neighbours, and their transports feel it.
//! While a subscription is full the engine is told, which delivers nothing more of that group and lets its neighbours
//! feel it by their credit.

mod output;
mod readers;
mod requests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use djembe_protocol::crypto::GroupKey;
use djembe_protocol::engine::{Config, Engine};
use djembe_protocol::id::{GroupId, Incarnation, Lane, LinkId, PeerId};
use djembe_protocol::io::{Command, Delivered, Input, LinkEnd, Secrets};
use djembe_protocol::limits::KNOWN_PEERS_MAX;
use djembe_protocol::message::Draft;
use djembe_protocol::time::{Timestamp, WallTime};
use djembe_protocol::wire::beacon::{NetworkTag, Ports};
use djembe_protocol::wire::frame::{Address, CheckedFrame};
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use tokio::sync::{mpsc, oneshot};

use crate::builder::Builder;
use crate::check;
use crate::control::{Server, WeakNode};
use crate::datadir::DataDir;
use crate::discovery::{self, Discovery, Given};
use crate::error::NodeError;
use crate::event::{Listeners, NodeEvent};
use crate::group::GroupShared;
use crate::identity;
use crate::status::Status;
use crate::store::worker::{Done, Job, Worker};
use crate::store::{Store, memory, sqlite};
use crate::transport::{Cause, Inbound, Path, Transport, TransportConfig, TransportEvent};
use readers::GroupEntry;

/// Requests that wait for the driver.
pub(crate) const REQUESTS: usize = 64;
/// Frames of talk that wait for the engine.
const INBOUND_CONTROL: usize = 256;
/// Frames with payload that wait for the engine, up to 64 KiB each.
const INBOUND_DATA: usize = 32;
/// The engine counts a frame with its length, which the transport has taken off.
const LENGTH: usize = 4;
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
    Join { key: Box<GroupKey>, name: String, reply: oneshot::Sender<Arc<GroupShared>> },
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
    /// Opens everything. Sockets, store and discovery are ready when this returns.
    pub(crate) async fn start(
        builder: Builder,
        requests: mpsc::Receiver<Request>,
        publish: mpsc::UnboundedReceiver<PublishRequest>,
        events: Arc<Listeners>,
    ) -> Result<Self, NodeError> {
        let mut is_restored = false;
        let (data_dir, keys) = if builder.in_memory {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(|error| NodeError::Entropy(error.to_string()))?;
            (None, djembe_protocol::crypto::Identity::from_seed(seed))
        } else {
            let path = builder.data_dir.clone().map_or_else(DataDir::default_path, Ok)?;
            let data_dir = DataDir::open(path)?;
            // A key without the store that was made with it: from a backup, or the disk was lost.
            is_restored = data_dir.identity().exists() && !data_dir.database().exists();
            let passphrase = builder.key_passphrase.as_ref().map(|text| text.as_str());
            let keys = identity::load(&data_dir.identity(), passphrase)?;
            (Some(data_dir), keys.identity)
        };
        let me = keys.peer_id();
        let database = data_dir.as_ref().map(DataDir::database);
        // The disk and the sockets do not wait for each other.
        let opening = tokio::task::spawn_blocking(move || open_store(database, me));

        let discovery = Self::discovery(&builder, &data_dir, &keys)?;
        let (control_out, control) = mpsc::channel(INBOUND_CONTROL);
        let (data_out, data) = mpsc::channel(INBOUND_DATA);
        let mut listen = Vec::with_capacity(builder.listen.len());
        for address in &builder.listen {
            listen.push(address.parse().map_err(|_| {
                NodeError::Address(format!(
                    "\"{address}\" is not a multiaddress; write for instance /ip4/0.0.0.0/tcp/4001"
                ))
            })?);
        }
        let mdns = (builder.discovery && builder.mdns).then(|| discovery::mdns::config(false));
        let config = TransportConfig {
            secret_key: keys.seed(),
            listen,
            mdns,
            links_max: u32::try_from(djembe_protocol::limits::CONNECTIONS_MAX).unwrap_or(u32::MAX),
        };
        let inbound = [control_out, data_out.clone(), data_out.clone(), data_out];
        let (check, effort) = check::checker();
        let transport = Transport::new(config, check, inbound)
            .map_err(|error| NodeError::Listen(format!("{error}; choose another with --listen")))?;

        let (store, incarnation) = opening.await.map_err(|error| NodeError::Store(error.to_string()))??;
        let store = Worker::spawn(store).map_err(|error| NodeError::Store(error.to_string()))?;
        let config = Config {
            network: NetworkTag::of(&builder.network).0,
            incarnation: Incarnation(incarnation),
            seed: getrandom::u64().map_err(|error| NodeError::Entropy(error.to_string()))?,
        };
        let engine = Engine::new(config, keys, Box::new(OsSecrets));
        Ok(Self {
            me,
            network: builder.network,
            engine: if is_restored { engine.restored() } else { engine },
            transport,
            effort,
            store,
            discovery,
            requests,
            publish,
            control,
            data,
            events,
            groups: BTreeMap::new(),
            stirred: BTreeSet::new(),
            links: BTreeMap::new(),
            found_by: BTreeMap::new(),
            listening: Vec::new(),
            jobs: VecDeque::new(),
            store_error: None,
            started: Instant::now(),
            wall_told: None,
            ending: false,
            _socket: None,
            data_dir,
        })
    }

    fn discovery(
        builder: &Builder,
        data_dir: &Option<DataDir>,
        keys: &djembe_protocol::crypto::Identity,
    ) -> Result<Discovery, NodeError> {
        let given = builder.peers.iter().map(|address| address.parse::<Given>());
        let given: Result<Vec<Given>, _> = given.collect();
        let mut options = if builder.discovery {
            discovery::Options::new(builder.network.as_str())
        } else {
            discovery::Options::only_given(builder.network.as_str())
        };
        options.beacon &= builder.beacon;
        options.mdns &= builder.mdns;
        options.given = given.map_err(|error| NodeError::Address(error.to_string()))?;
        options.cache = data_dir.as_ref().map(DataDir::peers).filter(|_| builder.discovery);
        options.interfaces = builder.interfaces.clone();
        let is_local = |address: &String| address.parse().is_ok_and(|address| is_loopback(&address));
        if options.interfaces.is_empty() && !builder.listen.is_empty() && builder.listen.iter().all(is_local)
        {
            // Nobody else could dial this node.
            options.interfaces.push(LOOPBACK.to_owned());
        }
        if let Some(port) = builder.beacon_port {
            options.beacon_port = port;
        }
        let signer = djembe_protocol::crypto::Identity::from_seed(*keys.seed());
        let sign: discovery::Sign =
            Box::new(move |bytes| signer.sign(djembe_protocol::crypto::Domain::Beacon, bytes));
        Discovery::new(keys.peer_id(), sign, options).map_err(|error| NodeError::Discovery(error.to_string()))
    }

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
            let now = self.now();
            self.engine.handle_input(now, Input::WallTime(wall));
            self.perform_outputs();
        }
    }

    // Inputs.

    fn input(&mut self, input: Input) {
        let now = self.now();
        self.engine.handle_input(now, input);
        self.perform_outputs();
    }

    fn on_frames(&mut self, frames: &mut Vec<Inbound<CheckedFrame>>) {
        self.tell_wall_time();
        for inbound in frames.drain(..) {
            self.input(match inbound {
                Inbound::Frame { link, class, frame, bytes } => {
                    Input::Frame { link, class, bytes: bytes + LENGTH, frame }
                }
                Inbound::Bad { link, class, reject, bytes } => {
                    Input::Rejected { link, class, bytes: bytes + LENGTH, reject }
                }
            });
        }
    }

    /// What was accepted before a request that ends a group or the node.
    fn take_publishes(&mut self) {
        let mut published: Vec<_> = std::iter::from_fn(|| self.publish.try_recv().ok()).collect();
        self.on_publish(&mut published);
    }

    fn on_publish(&mut self, published: &mut Vec<PublishRequest>) {
        self.tell_wall_time();
        for request in published.drain(..) {
            let PublishRequest { group, lane, ttl_secs, draft, ticket } = request;
            self.input(Input::Command(Command::Publish { group, lane, ttl_secs, draft, ticket }));
        }
    }

    fn on_transport(&mut self, event: TransportEvent) {
        match event {
            TransportEvent::Listening { address } => {
                tracing::debug!(%address, "listening");
                self.listening.push(address);
                self.on_listening();
            }
            TransportEvent::ListeningEnded { address } => {
                self.listening.retain(|known| *known != address);
                self.on_listening();
            }
            TransportEvent::LinkUp { link, peer, dialed, path } => {
                if !dialed {
                    self.note_source(peer, "incoming");
                }
                if self.discovery.linked(peer, dialed.then_some(&path.address)) {
                    self.note_source(peer, source_name(discovery::Source::Given));
                }
                let address = Some(Address(path.address.to_vec()));
                self.links.insert(link, LinkEntry { peer, path });
                self.input(Input::LinkUp { link, peer, dialed, address });
            }
            TransportEvent::LinkDown { link, peer, cause } => {
                // What came before the end counts: talk, and what is taken in already.
                let mut before = Vec::with_capacity(INBOUND_DATA);
                before.extend(std::iter::from_fn(|| self.control.try_recv().ok()).take(INBOUND_CONTROL));
                before.extend(std::iter::from_fn(|| self.data.try_recv().ok()).take(INBOUND_DATA));
                self.on_frames(&mut before);
                tracing::debug!(peer = %peer.short(), ?cause, "link down");
                self.links.remove(&link);
                if !self.links.values().any(|other| other.peer == peer) {
                    self.discovery.unlinked(peer);
                }
                let cause = match cause {
                    Cause::Ours => LinkEnd::Closed,
                    Cause::Closed | Cause::Reset => LinkEnd::Reset,
                    Cause::TimedOut
                    | Cause::Silent
                    | Cause::Protocol(_)
                    | Cause::QueueFull
                    | Cause::Failed(_) => LinkEnd::Silent,
                };
                self.input(Input::LinkDown { link, cause });
            }
            TransportEvent::DialFailed { peer, addresses, refused, error } => {
                tracing::debug!(peer = peer.map(|peer| peer.short()), error, "dial failed");
                self.discovery.dial_failed(peer, &addresses, &error);
                if let Some(peer) = peer {
                    self.input(Input::DialFailed { peer, refused });
                }
            }
            TransportEvent::Written { link, class, bytes } => {
                self.input(Input::Written { link, class, bytes });
            }
            TransportEvent::MdnsDiscovered(list) => self.discovery.on_mdns_listed(list),
            TransportEvent::Probed { peer, rtt } => self.input(Input::Probed { peer, rtt }),
            TransportEvent::MdnsExpired(list) => self.discovery.on_mdns_expired(list),
        }
    }

    fn on_listening(&mut self) {
        let port = |quic: bool| {
            let ports = self.listening.iter().filter_map(|address| port_of(address, quic));
            ports.max().unwrap_or(0)
        };
        self.discovery.listening(Ports { tcp: port(false), quic: port(true) });
        let mut addresses: Vec<&Multiaddr> = self.listening.iter().collect();
        // Loopback last: it helps only nodes on this host.
        addresses.sort_by_key(|address| (is_loopback(address), port_of(address, true).is_some()));
        let addresses = addresses.iter().map(|address| Address(address.to_vec())).collect();
        self.input(Input::Listening(addresses));
    }

    fn on_store(&mut self, done: Done) {
        match done {
            Done::Persisted(token) => self.input(Input::Persisted(token)),
            Done::Failed(token, error) => self.input(Input::PersistFailed(token, error.to_string())),
            Done::Fetched(token, answer) => self.input(Input::Fetched(token, answer)),
        }
    }

    fn on_discovery(&mut self, event: discovery::Event) {
        match event {
            discovery::Event::Found { peer: Some(peer), addresses, source } => {
                self.note_source(peer, source_name(source));
                let addresses = addresses.iter().map(|address| Address(address.to_vec())).collect();
                self.input(Input::Found { peer, addresses });
            }
            discovery::Event::Found { peer: None, addresses, .. } => self.transport.dial(None, addresses),
            discovery::Event::Cloned { peer, .. } if peer == self.me => {
                self.tell(NodeEvent::Cloned { advice: CLONED_ADVICE.to_owned(), proven: false });
            }
            discovery::Event::Cloned { peer, .. } => {
                tracing::warn!(peer = %peer.short(), "two nodes use one identity");
            }
            // The link says so as well, signed and in order.
            discovery::Event::Goodbye { peer } => tracing::debug!(peer = %peer.short(), "goodbye"),
        }
    }

    /// Remembers how a peer was found, of as many as may be known at once.
    fn note_source(&mut self, peer: PeerId, source: &'static str) {
        if self.found_by.len() >= KNOWN_PEERS_MAX && !self.found_by.contains_key(&peer) {
            let linked: BTreeSet<PeerId> = self.links.values().map(|link| link.peer).collect();
            self.found_by.retain(|peer, _| linked.contains(peer));
        }
        self.found_by.entry(peer).or_default().insert(source);
    }

    fn tell(&self, event: NodeEvent) {
        self.events.tell(event);
    }
}

/// The loopback interface's name.
const LOOPBACK: &str = if cfg!(any(target_os = "linux", target_os = "android")) { "lo" } else { "lo0" };

/// What to do about a copied identity.
const CLONED_ADVICE: &str = "this node's identity is in use on another node too; stop one of them and give it \
                             an identity of its own (another --data-dir, or move its identity file away)";

/// The store of a node, and the number of this start.
fn open_store(database: Option<PathBuf>, me: PeerId) -> Result<(Box<dyn Store>, u64), NodeError> {
    let mut store: Box<dyn Store> = match database {
        Some(path) => Box::new(sqlite::Sqlite::open(&path, me)?),
        None => Box::new(memory::Memory::new(me, memory::BYTES_MAX)),
    };
    let incarnation = store.next_incarnation()?;
    Ok((store, incarnation))
}

fn source_name(source: discovery::Source) -> &'static str {
    match source {
        discovery::Source::Given => "given",
        discovery::Source::Beacon => "beacon",
        discovery::Source::Mdns => "mdns",
        discovery::Source::Cache => "cache",
    }
}

fn port_of(address: &Multiaddr, quic: bool) -> Option<u16> {
    let is_quic = address.iter().any(|part| matches!(part, Protocol::QuicV1));
    address.iter().find_map(|part| match part {
        Protocol::Tcp(port) if !quic => Some(port),
        Protocol::Udp(port) if quic && is_quic => Some(port),
        _ => None,
    })
}

fn is_loopback(address: &Multiaddr) -> bool {
    address.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_loopback(),
        Protocol::Ip6(ip) => ip.is_loopback(),
        _ => false,
    })
}
