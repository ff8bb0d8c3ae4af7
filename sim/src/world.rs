//! Many engines in virtual time: takes the next event, gives it to its node, schedules what the node wants.
//!
//! Every event goes into the trace hash in its order, so one seed is one hash, on any machine.

mod events;
mod faults;
mod hostile;
mod links;
pub mod overlay;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use djembe_protocol::crypto::{self, CheckedEnvelope, GroupKey};
use djembe_protocol::id::{EnvelopeId, GroupId, Lane, LinkId, PeerId};
use djembe_protocol::io::{CloseCause, Command, Input};
use djembe_protocol::message::Draft;
use djembe_protocol::time::Timestamp;
use djembe_protocol::wire::frame::Address;

use self::events::Happening;
pub use self::faults::Fault;
use self::hostile::Villain;
use crate::attack::{Club, Strain};
use crate::host::Host;
use crate::ledger::Ledger;
use crate::network::{Conditions, Network, NodeIx};
use crate::rng::{Purpose, Rng};
use crate::scheduler::{Scheduler, Source};

/// Good signatures that are remembered, so that all nodes together check each once: 16 bytes each.
const VERDICTS: usize = 256 * 1024;

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
    /// There is no discovery: each node is told of this one when it starts, and of nobody else.
    pub contact: Option<NodeIx>,
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
                spread: Duration::ZERO,
                jitter: Duration::from_micros(300),
                jitter_share: 0.0,
                loss: 0.0,
                bandwidth: 0,
            },
            discovery: Duration::from_millis(500),
            beacon: Duration::from_secs(5),
            contact: None,
            persist: Duration::from_millis(5),
            fetch: Duration::from_millis(1),
        }
    }
}

/// Nodes, network, calendar and ledger.
pub struct World {
    config: WorldConfig,
    calendar: Scheduler<Happening>,
    hosts: Vec<Host>,
    by_peer: BTreeMap<PeerId, Vec<NodeIx>>,
    addresses: Vec<Address>,
    by_address: BTreeMap<Address, NodeIx>,
    network: Network,
    groups: Vec<(String, GroupId)>,
    /// Which groups a node joins when it starts.
    memberships: Vec<Vec<usize>>,
    discovery: Vec<Rng>,
    verdicts: BTreeMap<EnvelopeId, CheckedEnvelope>,
    /// What was sent and who got it.
    pub ledger: Ledger,
    trace: blake3::Hasher,
    villains: BTreeMap<NodeIx, Villain>,
    club: Club,
    /// What attackers cost the honest.
    pub strain: Strain,
    spins: (Timestamp, NodeIx, u32),
    /// Events so far.
    pub n_events: u64,
    /// Frames by kind: how many, and their bytes without overhead.
    pub frames: BTreeMap<u8, (u64, u64)>,
    /// Disconnects by cause.
    pub disconnects: BTreeMap<CloseCause, u64>,
    /// Connections that were opened.
    pub n_connections: u64,
}

impl World {
    /// A world without nodes.
    pub fn new(config: WorldConfig) -> Self {
        crypto::remember_verdicts(VERDICTS);
        Self {
            config,
            calendar: Scheduler::new(),
            hosts: Vec::new(),
            by_peer: BTreeMap::new(),
            addresses: Vec::new(),
            by_address: BTreeMap::new(),
            network: Network::new(config.network),
            groups: Vec::new(),
            memberships: Vec::new(),
            discovery: Vec::new(),
            verdicts: BTreeMap::new(),
            ledger: Ledger::default(),
            trace: blake3::Hasher::new(),
            villains: BTreeMap::new(),
            club: Club::default(),
            strain: Strain::default(),
            spins: (Timestamp::ZERO, 0, 0),
            n_events: 0,
            frames: BTreeMap::new(),
            disconnects: BTreeMap::new(),
            n_connections: 0,
        }
    }

    /// `n` nodes in one group `lobby`, all started now.
    pub fn lan(config: WorldConfig, n: usize) -> Self {
        Self::arriving(config, n, Duration::ZERO)
    }

    /// The same, started one after the other over `joins`: the contact first, if there is one.
    pub fn arriving(config: WorldConfig, n: usize, joins: Duration) -> Self {
        let mut world = Self::new(config);
        let lobby = world.add_group("lobby");
        for _ in 0..n {
            let node = world.add_node();
            world.member(node, lobby);
        }
        let contact = config.contact.unwrap_or(0);
        let mut order: Vec<NodeIx> = (0..n).collect();
        order.swap(0, contact.min(n.saturating_sub(1)));
        for (ix, node) in order.into_iter().enumerate() {
            let at = Timestamp::ZERO
                + joins * u32::try_from(ix).unwrap_or(u32::MAX) / u32::try_from(n).unwrap_or(1);
            if at == Timestamp::ZERO {
                world.start(node);
            } else {
                world.calendar.schedule(at, source(node), Happening::Start(node));
            }
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
        self.addresses.push(own_address(ix));
        self.by_address.insert(own_address(ix), ix);
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
        let address = self.address(node);
        self.input(node, Input::Listening(vec![address]));
        for group in self.memberships[node].clone() {
            self.join(node, group);
        }
        if self.is_hostile(node) {
            self.on_villain_started(node);
        }
        if let Some(contact) = self.config.contact {
            if contact != node {
                self.discover_soon(node, contact, Duration::ZERO);
            }
            return;
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

    /// Where a node listens.
    pub fn address(&self, node: NodeIx) -> Address {
        self.addresses[node].clone()
    }

    /// These nodes, none of which was started yet, are on one machine: they share its IP address.
    pub fn house(&mut self, nodes: &[NodeIx]) {
        for node in nodes {
            self.set_address(*node, ip4([172, 17, 0, 1], *node as u16));
        }
    }

    fn set_address(&mut self, node: NodeIx, address: Address) {
        let old = std::mem::replace(&mut self.addresses[node], address.clone());
        self.by_address.remove(&old);
        self.by_address.insert(address, node);
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

    /// What lies between the nodes, to break it.
    pub fn network_mut(&mut self) -> &mut Network {
        &mut self.network
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

    /// Whom a running node takes for its neighbours.
    pub fn neighbours(&self, node: NodeIx) -> Vec<NodeIx> {
        let Some(engine) = &self.hosts[node].engine else {
            return Vec::new();
        };
        let links = engine.overlay().links;
        links.iter().filter_map(|(peer, ..)| self.by_peer.get(peer)?.first().copied()).collect()
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
            .filter(|other| self.memberships[*other].contains(&group) && !self.is_hostile(*other));
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
}

fn source(node: NodeIx) -> Source {
    // Zero is the world.
    Source::try_from(node + 1).unwrap_or(Source::MAX)
}

fn key_of(name: &str) -> GroupKey {
    GroupKey::open("sim", name, None).expect("a simulated group has a name")
}

/// A node has an IP address of its own.
fn own_address(node: NodeIx) -> Address {
    let [_, b, c, d] = (node as u32).to_be_bytes();
    ip4([10, b, c, d], 24_365)
}

/// An attacker shares that of its operator.
fn operators_address(operator: u16, node: NodeIx) -> Address {
    let [c, d] = operator.to_be_bytes();
    ip4([172, 16, c, d], node as u16)
}

/// A multiaddr.
fn ip4([a, b, c, d]: [u8; 4], port: u16) -> Address {
    let [p, q] = port.to_be_bytes();
    Address(vec![4, a, b, c, d, 6, p, q])
}
