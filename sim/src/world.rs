//! Many engines in virtual time: takes the next event, gives it to its node, schedules what the node wants.
//!
//! Every event goes into the trace hash in its order, so one seed is one hash, on any machine.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use djembe_protocol::crypto::{self, CheckedEnvelope, GroupKey};
use djembe_protocol::error::Reject;
use djembe_protocol::id::{EnvelopeId, GroupId, Lane, LinkId, PeerId};
use djembe_protocol::io::{Command, Event, Input, LinkEnd};
use djembe_protocol::message::Draft;
use djembe_protocol::persist::{Query, StoreOp, Token};
use djembe_protocol::time::{Timestamp, WallTime};
use djembe_protocol::wire::envelope::Envelope;
use djembe_protocol::wire::frame::{Address, Class, Frame, check_with};

use crate::host::{Host, Wish};
use crate::ledger::Ledger;
use crate::network::{Conditions, Network, NodeIx, Side};
use crate::rng::{Purpose, Rng};
use crate::scheduler::{Scheduler, Source};

/// The wall clock at the start of time: 2026-01-01.
const WALL_AT_START: u64 = 1_767_225_600_000;
/// How often a node is told the wall time.
const WALL_EVERY: Duration = Duration::from_secs(5);
/// A dial into nothing is given up after this.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// A node that is woken so often at one moment spins.
const SPINS_MAX: u32 = 10_000;

/// What a world is made of.
#[derive(Clone, Copy, Debug)]
pub struct WorldConfig {
    /// Everything random grows from it.
    pub seed: u64,
    /// The network.
    pub network: Conditions,
    /// A node hears of another within this, once both run.
    pub discovery: Duration,
    /// And again and again after so long; zero is never again.
    pub beacon: Duration,
    /// A commit takes between half of this and this.
    pub persist: Duration,
    /// A look-up takes between half of this and this.
    pub fetch: Duration,
}

impl Default for WorldConfig {
    /// A quiet LAN: 0.2 to 0.5 ms one way, a disk that syncs in 5 ms.
    fn default() -> Self {
        Self {
            seed: 1,
            network: Conditions {
                latency: Duration::from_micros(200),
                jitter: Duration::from_micros(300),
                loss: 0.0,
                bandwidth: 0,
            },
            discovery: Duration::from_millis(500),
            beacon: Duration::from_secs(5),
            persist: Duration::from_millis(5),
            fetch: Duration::from_millis(1),
        }
    }
}

/// What can happen.
#[derive(Debug)]
enum Happening {
    /// A node's deadline has come.
    Timer { node: NodeIx, run: u64 },
    /// The wall clock is told.
    Wall { node: NodeIx, run: u64 },
    /// A frame may have arrived at the other end.
    Arrive { link: LinkId, from: Side, class: Class },
    /// A dial arrives.
    Dial { from: NodeIx, run: u64, to: Option<NodeIx>, peer: PeerId },
    /// And its answer.
    DialFailed { node: NodeIx, run: u64, peer: PeerId, refused: bool },
    /// The dialler's end opens.
    DialOpen { link: LinkId },
    /// An end closes because its own node wants it.
    Closed { node: NodeIx, run: u64, link: LinkId },
    /// An end hears that the other is closed.
    PeerClosed { link: LinkId, side: Side },
    /// Discovery tells.
    Discover { node: NodeIx, run: u64, about: NodeIx },
    /// A commit is durable.
    Committed { node: NodeIx, run: u64, token: Token, ops: Vec<StoreOp> },
    /// A look-up is done.
    Looked { node: NodeIx, run: u64, token: Token, query: Query },
    /// Somebody publishes.
    Publish { node: NodeIx, group: usize, lane: Lane, size: usize },
    /// Something breaks or heals.
    Fault(Fault),
}

/// What can be done to nodes and network from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process dies; its sockets are reset.
    Crash(NodeIx),
    /// The machine dies; nobody is told.
    PowerOff(NodeIx),
    /// It starts again from its disk and joins its groups.
    Restart(NodeIx),
    /// It stands still.
    Pause(NodeIx),
    /// It goes on.
    Resume(NodeIx),
    /// Its sockets are not read any more.
    Stall(NodeIx),
    /// They are read again.
    Unstall(NodeIx),
    /// It says goodbye and ends.
    Shutdown(NodeIx),
    /// These are cut off from all others.
    Partition(Vec<NodeIx>),
    /// No partition any more.
    Heal,
}

/// Nodes, network, calendar and ledger.
pub struct World {
    config: WorldConfig,
    calendar: Scheduler<Happening>,
    hosts: Vec<Host>,
    by_peer: BTreeMap<PeerId, Vec<NodeIx>>,
    network: Network,
    groups: Vec<(String, GroupId)>,
    /// Which groups a node joins when it starts.
    memberships: Vec<Vec<usize>>,
    discovery: Vec<Rng>,
    verdicts: BTreeMap<EnvelopeId, CheckedEnvelope>,
    /// What was sent and who got it.
    pub ledger: Ledger,
    trace: blake3::Hasher,
    spins: (Timestamp, NodeIx, u32),
    /// Events so far.
    pub n_events: u64,
    /// Frames by kind: how many, and their bytes without overhead.
    pub frames: BTreeMap<u8, (u64, u64)>,
    /// Disconnects by cause.
    pub disconnects: BTreeMap<&'static str, u64>,
}

impl World {
    /// A world without nodes.
    pub fn new(config: WorldConfig) -> Self {
        Self {
            config,
            calendar: Scheduler::new(),
            hosts: Vec::new(),
            by_peer: BTreeMap::new(),
            network: Network::new(config.network),
            groups: Vec::new(),
            memberships: Vec::new(),
            discovery: Vec::new(),
            verdicts: BTreeMap::new(),
            ledger: Ledger::default(),
            trace: blake3::Hasher::new(),
            spins: (Timestamp::ZERO, 0, 0),
            n_events: 0,
            frames: BTreeMap::new(),
            disconnects: BTreeMap::new(),
        }
    }

    /// `n` nodes in one group `lobby`, all started now.
    pub fn lan(config: WorldConfig, n: usize) -> Self {
        let mut world = Self::new(config);
        let lobby = world.add_group("lobby");
        for _ in 0..n {
            let node = world.add_node();
            world.member(node, lobby);
        }
        for node in 0..n {
            world.start(node);
        }
        world
    }

    // Building.

    /// A group that nodes can be members of.
    pub fn add_group(&mut self, name: &str) -> usize {
        self.groups.push((name.to_owned(), key_of(name).group_id()));
        self.groups.len() - 1
    }

    /// The group's id.
    pub fn group_id(&self, group: usize) -> GroupId {
        self.groups[group].1
    }

    /// One more node, not started yet.
    pub fn add_node(&mut self) -> NodeIx {
        self.add_node_with(None, *b"sim-net1")
    }

    /// A node with the key of another.
    pub fn add_clone(&mut self, of: NodeIx) -> NodeIx {
        self.add_node_with(Some(of), *b"sim-net1")
    }

    /// A node that says it belongs to this network.
    pub fn add_node_of_network(&mut self, network: [u8; 8]) -> NodeIx {
        self.add_node_with(None, network)
    }

    fn add_node_with(&mut self, key: Option<NodeIx>, network: [u8; 8]) -> NodeIx {
        let ix = self.hosts.len();
        let host = Host::new(self.config.seed, ix, key.unwrap_or(ix), network);
        self.by_peer.entry(host.peer).or_default().push(ix);
        self.ledger.add_node(host.peer);
        self.hosts.push(host);
        self.network.add_node(self.config.seed);
        self.memberships.push(Vec::new());
        self.discovery.push(Rng::split(self.config.seed, ix, 0, Purpose::Discovery));
        ix
    }

    /// The node joins this group whenever it starts.
    pub fn member(&mut self, node: NodeIx, group: usize) {
        self.memberships[node].push(group);
        if self.hosts[node].engine.is_some() {
            self.join(node, group);
        }
    }

    /// Two nodes never reach each other.
    pub fn cut(&mut self, a: NodeIx, b: NodeIx) {
        self.network.cut(a, b);
    }

    /// Starts a node.
    pub fn start(&mut self, node: NodeIx) {
        self.hosts[node].start();
        self.ledger.on_start(self.now(), node);
        let run = self.hosts[node].run;
        self.tell_wall(node, run);
        self.input(node, Input::Listening(vec![address_of(node)]));
        for group in self.memberships[node].clone() {
            self.join(node, group);
        }
        for other in 0..self.hosts.len() {
            if other != node && self.hosts[other].engine.is_some() {
                self.discover_soon(node, other, self.config.discovery);
                self.discover_soon(other, node, self.config.discovery);
            }
        }
    }

    fn join(&mut self, node: NodeIx, group: usize) {
        let name = self.groups[group].0.clone();
        let key = Box::new(key_of(&name));
        self.input(node, Input::Command(Command::Join { key, name }));
    }

    fn discover_soon(&mut self, node: NodeIx, about: NodeIx, within: Duration) {
        let at = self.now() + self.discovery[node].time_below(within);
        let run = self.hosts[node].run;
        self.calendar.schedule(at, source(node), Happening::Discover { node, run, about });
    }

    // Looking.

    /// Virtual time.
    pub fn now(&self) -> Timestamp {
        self.calendar.now()
    }

    /// How many nodes there are.
    pub fn n_nodes(&self) -> usize {
        self.hosts.len()
    }

    /// A node.
    pub fn host(&self, node: NodeIx) -> &Host {
        &self.hosts[node]
    }

    /// A node, to break its disk.
    pub fn host_mut(&mut self, node: NodeIx) -> &mut Host {
        &mut self.hosts[node]
    }

    /// What lies between the nodes.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// A count of one node's engine.
    pub fn count(&self, node: NodeIx, cause: &str) -> u64 {
        let engine = self.hosts[node].engine.as_ref();
        engine.map_or(0, |engine| engine.status().counters.count(cause))
    }

    /// The hash over everything that happened.
    pub fn trace_hash(&self) -> String {
        self.trace.finalize().to_hex()[..16].to_owned()
    }

    /// Whether every running node has a link to every other.
    pub fn is_full_mesh(&self) -> bool {
        let up: Vec<&Host> = self.hosts.iter().filter(|host| host.engine.is_some()).collect();
        // Two links to one peer stand for a while after both have dialled.
        up.iter().all(|host| host.links.len() >= up.len() - 1 && self.n_linked(host.ix) == up.len() - 1)
    }

    /// How many nodes a node is linked to.
    pub fn n_linked(&self, node: NodeIx) -> usize {
        let other = |link: &LinkId| {
            let side = self.network.side(*link, node)?;
            self.network.node_at(*link, 1 - side)
        };
        self.hosts[node].links.iter().filter_map(other).collect::<BTreeSet<_>>().len()
    }

    // Running.

    /// The next event. False if there is none.
    pub fn step(&mut self) -> bool {
        let Some((key, happening)) = self.calendar.pop() else {
            return false;
        };
        self.n_events += 1;
        self.trace.update(&key.at.as_micros().to_le_bytes());
        self.trace.update(&key.source.to_le_bytes());
        self.trace.update(&key.n.to_le_bytes());
        self.happen(happening);
        true
    }

    /// All events up to and at a time, which it then is.
    pub fn run_until(&mut self, at: Timestamp) {
        while self.calendar.next_at().is_some_and(|next| next <= at) {
            self.step();
        }
        self.calendar.advance_to(at);
    }

    /// All events of so much time from now on.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now() + time);
    }

    /// Runs while `go_on` says so, for `at_most`. Returns how long it took, if it stopped by itself.
    pub fn run_while(&mut self, at_most: Duration, mut go_on: impl FnMut(&Self) -> bool) -> Option<Duration> {
        let start = self.now();
        while go_on(self) {
            if self.now() - start >= at_most || !self.step() {
                return None;
            }
        }
        Some(self.now() - start)
    }

    // Doing.

    /// A node publishes `size` bytes. Returns the message's number in the ledger, or nothing if the node is down
    /// or takes no more.
    pub fn publish(&mut self, node: NodeIx, group: usize, lane: Lane, size: usize) -> Option<usize> {
        let id = self.group_id(group);
        let engine = self.hosts[node].engine.as_mut()?;
        if !engine.accepts(id, lane) {
            self.ledger.n_refused += 1;
            return None;
        }
        let receivers = (0..self.hosts.len())
            .filter(|other| self.hosts[*other].is_up() && self.network.reaches(node, *other))
            .filter(|other| self.memberships[*other].contains(&group));
        let receivers: Vec<NodeIx> = receivers.collect();
        let (number, ticket, content) =
            self.ledger.on_publish(self.calendar.now(), node, id, lane, size, &receivers);
        let draft = Draft { content, ..Draft::default() };
        let command = Command::Publish { group: id, lane, ttl_secs: 0, draft, ticket };
        self.input(node, Input::Command(command));
        Some(number)
    }

    /// A publish at a later time.
    pub fn publish_at(&mut self, at: Timestamp, node: NodeIx, group: usize, lane: Lane, size: usize) {
        let happening = Happening::Publish { node, group, lane, size };
        self.calendar.schedule(at, source(node), happening);
    }

    /// A fault at a later time.
    pub fn fault_at(&mut self, at: Timestamp, fault: Fault) {
        self.calendar.schedule(at, 0, Happening::Fault(fault));
    }

    /// A fault now.
    pub fn fault(&mut self, fault: Fault) {
        let now = self.now();
        match fault {
            Fault::Crash(node) => self.crash(node, true),
            Fault::PowerOff(node) => self.crash(node, false),
            Fault::Restart(node) => self.start(node),
            Fault::Pause(node) => {
                self.hosts[node].is_paused = true;
                self.ledger.on_disturbed(now, node);
            }
            Fault::Resume(node) => {
                self.ledger.on_disturbed(now, node);
                self.hosts[node].is_paused = false;
                for input in self.hosts[node].take_backlog() {
                    self.input(node, input);
                }
                self.input(node, Input::Timeout);
            }
            Fault::Stall(node) => {
                self.hosts[node].is_stalled = true;
                self.ledger.on_disturbed(now, node);
            }
            Fault::Unstall(node) => {
                self.hosts[node].is_stalled = false;
                self.ledger.on_disturbed(now, node);
                self.let_go();
            }
            Fault::Shutdown(node) => {
                self.input(node, Input::Command(Command::Shutdown));
                self.crash(node, true);
            }
            Fault::Partition(nodes) => {
                for node in 0..self.hosts.len() {
                    self.network.set_part(node, u8::from(nodes.contains(&node)));
                    self.ledger.on_disturbed(now, node);
                }
            }
            Fault::Heal => {
                for node in 0..self.hosts.len() {
                    self.network.set_part(node, 0);
                    self.ledger.on_disturbed(now, node);
                }
                self.let_go();
            }
        }
    }

    fn crash(&mut self, node: NodeIx, resets: bool) {
        if self.hosts[node].engine.is_none() {
            return;
        }
        self.ledger.on_crash(self.now(), node);
        self.hosts[node].crash();
        self.hosts[node].is_off = !resets;
        for (link, side) in self.network.links_of(node) {
            let heard = self.network.close(self.now(), link, side);
            if let Some(at) = heard.filter(|_| resets) {
                let happening = Happening::PeerClosed { link, side: 1 - side };
                self.calendar.schedule(at, source(node), happening);
            }
        }
    }

    /// What was held up goes on.
    fn let_go(&mut self) {
        for (link, from, class, at) in self.network.waiting(self.calendar.now()) {
            let node = self.network.node_at(link, from).unwrap_or(0);
            self.calendar.schedule(at, source(node), Happening::Arrive { link, from, class });
        }
    }

    // Events.

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Timer { node, run } => {
                if self.is_run(node, run) && self.hosts[node].timer == Some(self.now()) {
                    self.hosts[node].timer = None;
                    self.check_spin(node);
                    self.input(node, Input::Timeout);
                }
            }
            Happening::Wall { node, run } => {
                if self.is_run(node, run) {
                    self.tell_wall(node, run);
                }
            }
            Happening::Arrive { link, from, class } => self.arrive(link, from, class),
            Happening::Dial { from, run, to, peer } => self.dial(from, run, to, peer),
            Happening::DialFailed { node, run, peer, refused } => {
                if self.is_run(node, run) {
                    self.input(node, Input::DialFailed { peer, refused });
                }
            }
            Happening::DialOpen { link } => self.open(link, 0),
            Happening::Closed { node, run, link } => {
                if self.is_run(node, run) && self.hosts[node].links.remove(&link) {
                    let cause = LinkEnd::Closed;
                    self.input(node, Input::LinkDown { link, cause });
                }
            }
            Happening::PeerClosed { link, side } => self.peer_closed(link, side),
            Happening::Discover { node, run, about } => self.discover(node, run, about),
            Happening::Committed { node, run, token, ops } => {
                if self.is_run(node, run) {
                    let input = if self.hosts[node].disk_fails {
                        Input::PersistFailed(token, "the disk is full".to_owned())
                    } else {
                        self.hosts[node].disk.commit(ops);
                        Input::Persisted(token)
                    };
                    self.input(node, input);
                }
            }
            Happening::Looked { node, run, token, query } => {
                if self.is_run(node, run) {
                    let host = &self.hosts[node];
                    let answer = host.disk.answer(&host.peer, &query);
                    self.input(node, Input::Fetched(token, answer));
                }
            }
            Happening::Publish { node, group, lane, size } => {
                self.publish(node, group, lane, size);
            }
            Happening::Fault(fault) => self.fault(fault),
        }
    }

    fn is_run(&self, node: NodeIx, run: u64) -> bool {
        let host = &self.hosts[node];
        host.run == run && host.engine.is_some()
    }

    fn check_spin(&mut self, node: NodeIx) {
        let (at, who, n) = self.spins;
        let n = if (at, who) == (self.now(), node) { n + 1 } else { 0 };
        assert!(n < SPINS_MAX, "node {node} asks for a time-out that does not help it, at {:?}", self.now());
        self.spins = (self.now(), node, n);
    }

    fn tell_wall(&mut self, node: NodeIx, run: u64) {
        let wall = WallTime(WALL_AT_START + self.now().as_micros() / 1000);
        self.input(node, Input::WallTime(wall));
        let at = self.now() + WALL_EVERY;
        self.calendar.schedule(at, source(node), Happening::Wall { node, run });
    }

    fn discover(&mut self, node: NodeIx, run: u64, about: NodeIx) {
        if !self.is_run(node, run) || self.hosts[about].engine.is_none() {
            return;
        }
        if self.network.reaches(node, about) && !self.hosts[about].is_paused {
            let peer = self.hosts[about].peer;
            let addresses = vec![address_of(about)];
            self.input(node, Input::Found { peer, addresses });
        }
        if !self.config.beacon.is_zero() {
            let at = self.now() + self.config.beacon;
            self.calendar.schedule(at, source(node), Happening::Discover { node, run, about });
        }
    }

    fn dial(&mut self, from: NodeIx, run: u64, to: Option<NodeIx>, peer: PeerId) {
        if !self.is_run(from, run) {
            return;
        }
        let now = self.now();
        let (at, refused) = match to {
            Some(to) if self.network.reaches(from, to) && !self.hosts[to].is_off => {
                let back = self.network.latency(to);
                if self.hosts[to].engine.is_some() && self.hosts[to].peer == peer {
                    let link = self.network.connect(from, to);
                    self.open(link, 1);
                    self.calendar.schedule(now + back, source(to), Happening::DialOpen { link });
                    return;
                }
                (now + back, self.hosts[to].engine.is_none())
            }
            _ => (now + DIAL_TIMEOUT, false),
        };
        let happening = Happening::DialFailed { node: from, run, peer, refused };
        self.calendar.schedule(at, source(from), happening);
    }

    /// An end of a new connection is told to its node.
    fn open(&mut self, link: LinkId, side: Side) {
        let (Some(node), Some(other)) =
            (self.network.node_at(link, side), self.network.node_at(link, 1 - side))
        else {
            return;
        };
        if self.hosts[node].engine.is_none() || !self.network.is_open(link, side) {
            return;
        }
        self.hosts[node].links.insert(link);
        let peer = self.hosts[other].peer;
        self.input(node, Input::LinkUp { link, peer, dialed: side == 0 });
        // What came before the dialler knew that its connection stands.
        self.let_go_of(link);
    }

    fn let_go_of(&mut self, link: LinkId) {
        let now = self.now();
        for (waiting, from, class, _) in self.network.waiting(now) {
            if waiting == link {
                self.calendar.schedule(now, source(0), Happening::Arrive { link, from, class });
            }
        }
    }

    fn peer_closed(&mut self, link: LinkId, side: Side) {
        let Some(node) = self.network.node_at(link, side) else {
            return;
        };
        let other = self.network.node_at(link, 1 - side).unwrap_or(node);
        if !self.network.reaches(node, other) {
            // It comes when the network heals; until then the link only falls silent.
            let at = self.now() + Duration::from_millis(500);
            self.calendar.schedule(at, source(node), Happening::PeerClosed { link, side });
            return;
        }
        self.network.close(self.now(), link, side);
        if self.hosts[node].links.remove(&link) {
            let cause = LinkEnd::Reset;
            self.input(node, Input::LinkDown { link, cause });
        }
    }

    fn arrive(&mut self, link: LinkId, from: Side, class: Class) {
        let (Some(sender), Some(node)) =
            (self.network.node_at(link, from), self.network.node_at(link, 1 - from))
        else {
            return;
        };
        if self.hosts[node].is_stalled || !self.hosts[node].links.contains(&link) {
            return;
        }
        let Some(packet) = self.network.receive(self.calendar.now(), link, from, class) else {
            return;
        };
        let frame = packet.frame;
        let bytes = frame.len();
        self.trace.update(&frame.head);
        self.trace.update(&frame.body[..frame.body.len().min(320)]);
        let verdicts = &mut self.verdicts;
        let host = &self.hosts[node];
        let checked =
            check_with(frame.concat(), |id| host.has_seen(id), |envelope| remember(verdicts, envelope));
        self.ledger.on_arrival(node, &frame);
        let input = match checked {
            Ok(frame) => {
                if let Some(id) = frame.verified() {
                    self.hosts[node].mark_seen(id);
                }
                Input::Frame { link, frame }
            }
            Err(reject) => Input::Rejected { link, reject },
        };
        self.input(node, input);
        // An acknowledgement would travel back; the writer learns of it at once, which changes nothing much.
        if self.hosts[sender].links.contains(&link) {
            self.input(sender, Input::Written { link, class, bytes });
        }
    }

    /// Gives an input to a node and does what it wants.
    pub fn input(&mut self, node: NodeIx, input: Input) {
        let mut wishes = Vec::new();
        let now = self.now();
        self.hosts[node].handle(now, input, &mut wishes);
        for wish in wishes {
            self.grant(node, wish);
        }
        self.set_timer(node);
    }

    fn set_timer(&mut self, node: NodeIx) {
        let now = self.now();
        let host = &mut self.hosts[node];
        if host.is_paused {
            return;
        }
        let Some(engine) = &host.engine else { return };
        let wanted = engine.next_deadline().map(|at| at.max(now));
        if wanted != host.timer {
            host.timer = wanted;
            if let Some(at) = wanted {
                let run = host.run;
                self.calendar.schedule(at, source(node), Happening::Timer { node, run });
            }
        }
    }

    fn grant(&mut self, node: NodeIx, wish: Wish) {
        let now = self.now();
        let run = self.hosts[node].run;
        match wish {
            Wish::Send(link, class, frame) => self.send(node, link, class, &frame),
            Wish::Connect(peer, addresses) => {
                let to = addresses.iter().find_map(node_at);
                let at = now + self.network.latency(node);
                let from = node;
                self.calendar.schedule(at, source(node), Happening::Dial { from, run, to, peer });
            }
            Wish::Disconnect(link, cause) => {
                *self.disconnects.entry(cause).or_default() += 1;
                let Some(side) = self.network.side(link, node) else {
                    return;
                };
                if !self.hosts[node].links.contains(&link) {
                    return;
                }
                if let Some(at) = self.network.close(now, link, side) {
                    let happening = Happening::PeerClosed { link, side: 1 - side };
                    self.calendar.schedule(at, source(node), happening);
                }
                self.calendar.schedule(now, source(node), Happening::Closed { node, run, link });
            }
            Wish::Persist(token, ops) => {
                let at = self.disk_time(node, self.config.persist);
                self.calendar.schedule(at, source(node), Happening::Committed { node, run, token, ops });
            }
            Wish::Fetch(token, query) => {
                // Readers do not wait for the writer: a look-up may overtake a commit.
                let max = self.config.fetch;
                let at = now + max / 2 + self.hosts[node].disk_rng.time_below(max / 2);
                self.calendar.schedule(at, source(node), Happening::Looked { node, run, token, query });
            }
            Wish::Event(event) => self.on_event(node, event),
        }
    }

    /// When a commit asked for now is durable: after those before it.
    fn disk_time(&mut self, node: NodeIx, max: Duration) -> Timestamp {
        let now = self.now();
        let host = &mut self.hosts[node];
        // Those that wait are committed together, as a group commit does it.
        let at = now + max / 2 + host.disk_rng.time_below(max / 2);
        host.disk_free = host.disk_free.max(at);
        host.disk_free
    }

    fn send(&mut self, node: NodeIx, link: LinkId, class: Class, frame: &Frame) {
        let Some(from) = self.network.side(link, node) else {
            return;
        };
        let encoded = frame.encode();
        let kind = self.frames.entry(frame.kind()).or_default();
        *kind = (kind.0 + 1, kind.1 + encoded.len() as u64);
        if let Some(at) = self.network.send(self.calendar.now(), link, from, class, encoded) {
            self.calendar.schedule(at, source(node), Happening::Arrive { link, from, class });
        }
    }

    fn on_event(&mut self, node: NodeIx, event: Event) {
        self.trace.update(format!("{node} {event:?}").as_bytes());
        let now = self.now();
        if let Event::Presence { peer, state, cause } = &event {
            let subject = self.by_peer.get(peer).map_or(&[][..], |nodes| &nodes[..]);
            // Who does not read cannot answer, and hears nobody.
            let is_there = !self.hosts[node].is_stalled
                && subject.iter().any(|subject| {
                    let host = &self.hosts[*subject];
                    host.is_up() && !host.is_stalled && self.network.reaches(node, *subject)
                });
            self.ledger.on_presence(now, node, *peer, subject, (*state, *cause), is_there);
        }
        self.ledger.on_event(now, node, event);
    }
}

fn source(node: NodeIx) -> Source {
    // Zero is the world.
    Source::try_from(node + 1).unwrap_or(Source::MAX)
}

fn key_of(name: &str) -> GroupKey {
    GroupKey::open("sim", name, None).expect("a simulated group has a name")
}

/// A node's number is its address.
pub fn address_of(node: NodeIx) -> Address {
    Address((node as u32).to_le_bytes().to_vec())
}

fn node_at(address: &Address) -> Option<NodeIx> {
    let bytes: [u8; 4] = address.0[..].try_into().ok()?;
    Some(u32::from_le_bytes(bytes) as usize)
}

/// The verdict on an envelope, worked out once in the whole world. Remembered are the very bytes: another copy
/// with the same id and another signature is looked at anew.
fn remember(
    verdicts: &mut BTreeMap<EnvelopeId, CheckedEnvelope>,
    envelope: Envelope,
) -> Result<CheckedEnvelope, Reject> {
    if let Some(known) = verdicts.get(&envelope.id())
        && known.as_bytes() == envelope.as_bytes()
    {
        return Ok(known.clone());
    }
    let id = envelope.id();
    let checked = crypto::check(envelope)?;
    verdicts.insert(id, checked.clone());
    Ok(checked)
}
