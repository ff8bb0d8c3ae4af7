//! Many engines in virtual time: takes the next event, gives it to its node, schedules what the node wants.
//!
//! Nodes are spread over shards, each worked off by a thread of its own. Everything that happens to a node goes into its
//! trace in its order, and all traces into one hash: one seed is one hash, on any machine and any number of threads.

mod arrivals;
mod baseline;
mod bugs;
mod faults;
mod groups;
mod hostile;
pub mod overlay;
mod publish;
pub(crate) mod rest;
mod run;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use djembe_protocol::bounds::Bounds;
use djembe_protocol::crypto::GroupKey;
use djembe_protocol::id::{GroupId, LinkId};
use djembe_protocol::io::{CloseCause, Command, Input};
use djembe_protocol::limits;
use djembe_protocol::time::Timestamp;
use djembe_protocol::wire::frame::{Address, Class, Frame};

pub(crate) use self::arrivals::{first_come, in_turn};
pub use self::faults::Fault;
use self::publish::Held;
use self::run::Deed;
pub use self::run::Listener;
use crate::app::{App, Maker};
use crate::attack::Strain;
use crate::baseline::Protocol;
use crate::calendar::{Calendar, Key};
use crate::holds::Hold;
use crate::host::{Clock, Host};
use crate::ledger::Ledger;
use crate::shard::{Rules, Shard, Tally, To, Traffic};
use crate::topology::{Conditions, NodeIx, Place, Topology, ip4, mix};
use crate::wire::{Carry, Content};

/// What a world is made of.
#[derive(Clone, Debug)]
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
    /// Wall clocks are wrong by up to this, either way.
    pub clock_skew: Duration,
    /// And go so many millionths too fast or too slow, at most.
    pub clock_drift_ppm: f64,
    /// How frames travel.
    pub carry: Carry,
    /// What spreads messages.
    pub protocol: Protocol,
    /// What would be fastest over the links that stand is worked out for each so many-th message; zero is for none.
    pub optimum_every: usize,
    /// How much of others a node keeps.
    pub bounds: Bounds,
    /// How long silence is borne, in thousandths of the usual.
    pub patience: u16,
    /// In place of a contact a node knows so many others from before, drawn by lot.
    pub acquaintances: usize,
    /// Nodes are spread over so many threads. It makes no difference to what happens.
    pub threads: usize,
}

impl Default for WorldConfig {
    /// A quiet LAN: 0.2 to 0.5 ms one way, a disk that syncs in 5 ms.
    fn default() -> Self {
        Self {
            seed: 1,
            network: Conditions {
                latency: Duration::from_micros(200),
                jitter: Duration::from_micros(300),
                ..Conditions::default()
            },
            discovery: Duration::from_millis(500),
            beacon: Duration::from_secs(5),
            contact: None,
            persist: Duration::from_millis(5),
            fetch: Duration::from_millis(1),
            clock_skew: Duration::ZERO,
            clock_drift_ppm: 0.0,
            carry: Carry::Bytes,
            protocol: Protocol::Djembe,
            optimum_every: 0,
            bounds: Bounds::default(),
            patience: limits::PATIENCE,
            acquaintances: 0,
            threads: 1,
        }
    }
}

/// Nodes, network, calendars and ledger.
pub struct World {
    config: WorldConfig,
    now: Timestamp,
    topology: Topology,
    shards: Vec<Shard>,
    /// What is done from outside.
    calendar: Calendar<Deed>,
    n_deeds: u32,
    groups: Vec<(String, GroupId)>,
    by_id: BTreeMap<GroupId, usize>,
    /// Which groups a node joins when it starts.
    memberships: Vec<Vec<usize>>,
    /// Roots that each fall of them has struck.
    dead_roots: BTreeMap<u32, Vec<NodeIx>>,
    /// Who was linked to those that a cut took away, by its number.
    bystanders: BTreeMap<u32, BTreeSet<NodeIx>>,
    /// What applications of nodes that stand still would have published.
    held: BTreeMap<NodeIx, Vec<Held>>,
    /// Makes the application of each node that starts.
    maker: Option<Maker>,
    listener: Option<Listener>,
    /// What was sent and who got it.
    pub ledger: Ledger,
}

impl World {
    /// A world without nodes.
    pub fn new(config: WorldConfig) -> Self {
        let rules = Rules {
            beacon: config.beacon,
            persist: config.persist,
            fetch: config.fetch,
            carry: config.carry,
            bug: None,
            paths: false,
        };
        let n_shards = u16::try_from(config.threads.max(1)).unwrap_or(u16::MAX);
        Self {
            now: Timestamp::ZERO,
            topology: Topology::new(config.seed, config.network.clone()),
            shards: (0..n_shards).map(|ix| Shard::new(ix, rules)).collect(),
            calendar: Calendar::new(),
            n_deeds: 0,
            groups: Vec::new(),
            by_id: BTreeMap::new(),
            memberships: Vec::new(),
            dead_roots: BTreeMap::new(),
            bystanders: BTreeMap::new(),
            held: BTreeMap::new(),
            maker: None,
            listener: None,
            ledger: Ledger::default(),
            config,
        }
    }

    /// `n` nodes in one group `lobby`, all started now.
    pub fn lan(config: WorldConfig, n: usize) -> Self {
        Self::arriving(config, n, Duration::ZERO)
    }

    // Building.

    /// A group that nodes can be members of.
    pub fn add_group(&mut self, name: &str) -> usize {
        self.groups.push((name.to_owned(), key_of(name).group_id()));
        let id = self.group_id(self.groups.len() - 1);
        self.by_id.insert(id, self.groups.len() - 1);
        self.shards.iter_mut().for_each(|shard| shard.groups.push(id));
        self.groups.len() - 1
    }

    /// The group's id.
    pub fn group_id(&self, group: usize) -> GroupId {
        self.groups[group].1
    }

    /// One more node, not started yet.
    pub fn add_node(&mut self) -> NodeIx {
        self.add_node_with(None, *b"sim-net1", false)
    }

    /// A node with the key of another.
    pub fn add_clone(&mut self, of: NodeIx) -> NodeIx {
        self.add_node_with(Some(of), *b"sim-net1", false)
    }

    /// A node that says it belongs to this network.
    pub fn add_node_of_network(&mut self, network: [u8; 8]) -> NodeIx {
        self.add_node_with(None, network, false)
    }

    fn add_node_with(&mut self, key: Option<NodeIx>, network: [u8; 8], is_hostile: bool) -> NodeIx {
        let ix = self.topology.places.len();
        let mut host = Host::new(self.config.seed, ix, key.unwrap_or(ix), network);
        host.bounds = self.config.bounds;
        host.patience = self.config.patience;
        host.clock = Clock::drawn(self.config.seed, ix, self.config.clock_skew, self.config.clock_drift_ppm);
        // Attackers conspire, so they are all in one shard.
        let shard = if is_hostile { 0 } else { ix % self.shards.len() };
        let hosts = &mut self.shards[shard].hosts;
        let home = (shard as u16, u32::try_from(hosts.len()).unwrap_or(u32::MAX));
        let is_contact = self.config.contact == Some(ix);
        let site = if is_contact { self.topology.open_site() } else { None };
        let site = site.unwrap_or_else(|| self.topology.draw_site(ix));
        self.topology.put_on_segment(ix, site);
        self.topology.places.push(Place { home, site, is_hostile, ..Place::default() });
        self.topology.peers.push(host.peer);
        self.ledger.add_node(host.peer);
        hosts.push(host);
        self.memberships.push(Vec::new());
        ix
    }

    /// The node joins this group whenever it starts.
    pub fn member(&mut self, node: NodeIx, group: usize) {
        self.memberships[node].push(group);
        self.ledger.add_member(node, self.groups[group].1);
        if self.host(node).engine.is_some() {
            self.join(node, group);
        }
    }

    /// Gives every node that starts from now on an application of its own. What applications publish is checked to be
    /// delivered once and in order; whether it arrives everywhere is for them to say. They hear what the scenario says, too.
    pub fn attach(&mut self, maker: impl Fn(NodeIx) -> Box<dyn App> + Send + Sync + 'static) {
        self.maker = Some(Arc::new(maker));
        self.ledger.has_apps = true;
    }

    /// The application of a node that runs.
    pub fn app<A: App + 'static>(&self, node: NodeIx) -> Option<&A> {
        self.host(node).app.as_ref()?.as_any().downcast_ref()
    }

    /// Two nodes never reach each other.
    pub fn cut(&mut self, a: NodeIx, b: NodeIx) {
        self.topology.cut(a, b);
    }

    /// Starts a node; one that a fault holds as soon as nothing does any more.
    pub fn start(&mut self, node: NodeIx) {
        self.host_mut(node).holds.is_wanted = true;
        self.go_on(node);
    }

    fn launch(&mut self, node: NodeIx) {
        let host = self.host_mut(node);
        host.start();
        host.is_clogged = host.holds.has(Hold::Clog);
        let is_stalled = host.holds.has(Hold::Stall);
        host.is_stalled = is_stalled;
        let place = &mut self.topology.places[node];
        (place.is_up, place.is_stalled) = (true, is_stalled);
        self.ledger.on_start(self.now, node);
        self.start_baseline(node);
        self.with_shard(node, |shard, topology, local| shard.tell_wall(topology, local));
        let address = self.address(node);
        self.input(node, Input::Listening(vec![address]));
        for group in self.memberships[node].clone() {
            self.join(node, group);
        }
        if self.is_hostile(node) {
            self.on_villain_started(node);
        } else if let Some(maker) = &self.maker {
            let app = maker(node);
            self.host_mut(node).app = Some(app);
            self.with_shard(node, |shard, topology, local| shard.start_app(topology, local));
        }
        self.with_shard(node, |shard, topology, local| shard.start_beacons(topology, local));
        if let Some(contact) = self.config.contact {
            if contact != node {
                self.discover_soon(node, contact, Duration::ZERO);
            }
            return;
        }
        let n = self.n_nodes();
        for _ in 0..self.config.acquaintances {
            let other = self.host_mut(node).discovery_rng.below(n as u64) as NodeIx;
            if other != node {
                let (peer, addresses) = (self.topology.peers[other], vec![self.topology.address(other)]);
                self.input(node, Input::Found { peer, addresses });
            }
        }
        if self.topology.has_segments() || self.config.acquaintances > 0 {
            return;
        }
        for other in 0..self.n_nodes() {
            if other != node && self.topology.places[other].is_up {
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
        self.with_shard(node, |shard, topology, local| shard.discover_soon(topology, local, about, within));
    }

    /// Where a node listens.
    pub fn address(&self, node: NodeIx) -> Address {
        self.topology.address(node)
    }

    /// These nodes, none of which was started yet, are on one machine: they share its IP address.
    pub fn house(&mut self, nodes: &[NodeIx]) {
        for node in nodes {
            self.topology.set_address(*node, ip4([172, 17, 0, 1], *node as u16));
        }
    }

    // Looking.

    /// Virtual time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// About how many bytes of memory is what all nodes have in common.
    pub(crate) fn memory(&self) -> [(&'static str, usize); 2] {
        [
            ("simulator: what is to come", self.shards.iter().map(|shard| shard.calendar.heap()).sum()),
            ("simulator: books", self.ledger.heap()),
        ]
    }

    /// How many nodes there are.
    pub fn n_nodes(&self) -> usize {
        self.topology.places.len()
    }

    /// A node.
    pub fn host(&self, node: NodeIx) -> &Host {
        let (shard, local) = self.topology.places[node].home;
        &self.shards[usize::from(shard)].hosts[local as usize]
    }

    /// A node, to break its disk.
    pub fn host_mut(&mut self, node: NodeIx) -> &mut Host {
        let (shard, local) = self.topology.places[node].home;
        &mut self.shards[usize::from(shard)].hosts[local as usize]
    }

    /// What spreads messages.
    pub fn protocol(&self) -> Protocol {
        self.config.protocol
    }

    /// What lies between the nodes.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// What lies between the nodes, to break it.
    pub fn topology_mut(&mut self) -> &mut Topology {
        &mut self.topology
    }

    fn sum(&self, of: impl Fn(&Tally) -> u64) -> u64 {
        self.shards.iter().map(|shard| of(&shard.tally)).sum()
    }

    /// Events so far.
    pub fn n_events(&self) -> u64 {
        self.sum(|tally| tally.n_events) + u64::from(self.n_deeds)
    }

    /// Bytes put on the wire, overhead included.
    pub fn wire_bytes(&self) -> u64 {
        self.sum(|tally| tally.bytes)
    }

    /// Packets put on the wire.
    pub fn n_packets(&self) -> u64 {
        self.sum(|tally| tally.packets)
    }

    /// Those of them that were sent again because they had been lost.
    pub fn n_packets_again(&self) -> u64 {
        self.sum(|tally| tally.packets_again)
    }

    /// Hops over which an envelope came to a node that it was new to: the most.
    pub fn last_hop_max(&self) -> u8 {
        self.shards.iter().map(|shard| shard.tally.last_hop_max).max().unwrap_or(0)
    }

    /// Threads that work.
    pub fn n_shards(&self) -> usize {
        self.shards.len()
    }

    /// Connections that were opened.
    pub fn n_connections(&self) -> u64 {
        self.sum(|tally| tally.n_connections)
    }

    /// Frames by kind: how many, and their bytes without overhead.
    pub fn frames(&self) -> BTreeMap<u8, (u64, u64)> {
        self.frames_with(|traffic| traffic.bytes)
    }

    /// Frames by kind: how many, and what they took on the wire.
    pub(crate) fn frames_on_wire(&self) -> BTreeMap<u8, (u64, u64)> {
        self.frames_with(|traffic| traffic.wire_bytes)
    }

    fn frames_with(&self, bytes: impl Fn(&Traffic) -> u64) -> BTreeMap<u8, (u64, u64)> {
        let mut all: BTreeMap<u8, (u64, u64)> = BTreeMap::new();
        for (kind, traffic) in self.shards.iter().flat_map(|shard| &shard.tally.frames) {
            let sum = all.entry(*kind).or_default();
            *sum = (sum.0 + traffic.frames, sum.1 + bytes(traffic));
        }
        all
    }

    /// Bytes of these kinds of frames, without what is around them.
    pub fn frame_bytes_of(&self, kinds: &[u8]) -> u64 {
        self.sum(|tally| kinds.iter().filter_map(|kind| tally.frames.get(kind)).map(|all| all.bytes).sum())
    }

    /// Bytes of these kinds of frames on the wire, with everything around them.
    pub fn wire_bytes_of(&self, kinds: &[u8]) -> u64 {
        self.sum(|tally| {
            kinds.iter().filter_map(|kind| tally.frames.get(kind)).map(|all| all.wire_bytes).sum()
        })
    }

    /// Disconnects by cause.
    pub fn disconnects(&self) -> BTreeMap<CloseCause, u64> {
        let mut all: BTreeMap<CloseCause, u64> = BTreeMap::new();
        for (cause, n) in self.shards.iter().flat_map(|shard| &shard.tally.disconnects) {
            *all.entry(*cause).or_default() += n;
        }
        all
    }

    /// What attackers cost the honest.
    pub fn strain(&self) -> Strain {
        let all = self.shards.iter().map(|shard| shard.tally.strain);
        all.fold(Strain::default(), Strain::and)
    }

    /// A count of one node's engine.
    pub fn count(&self, node: NodeIx, cause: &str) -> u64 {
        let engine = self.host(node).engine.as_ref();
        engine.map_or(0, |engine| engine.counters().count(cause))
    }

    /// The hash over everything that happened.
    pub fn trace_hash(&self) -> String {
        let traces = (0..self.n_nodes()).map(|node| self.host(node).trace);
        format!("{:016x}", traces.fold(mix(self.now.as_micros()), |all, trace| mix(all ^ trace)))
    }

    /// Whether every running node has a link to every other.
    pub fn is_full_mesh(&self) -> bool {
        let is_up = |node: &NodeIx| self.topology.places[*node].is_up;
        let n_up = (0..self.n_nodes()).filter(is_up).count();
        // Two links to one peer stand for a while after both have dialled.
        (0..self.n_nodes())
            .filter(is_up)
            .all(|node| self.host(node).links.len() >= n_up - 1 && self.n_linked(node) == n_up - 1)
    }

    /// Whom a running node takes for its neighbours.
    pub fn neighbours(&self, node: NodeIx) -> Vec<NodeIx> {
        let Some(engine) = &self.host(node).engine else {
            return Vec::new();
        };
        let links = engine.overlay().links;
        links.iter().filter_map(|(peer, ..)| self.ledger.nodes_of(peer).first().copied()).collect()
    }

    /// How many nodes a node is linked to.
    pub fn n_linked(&self, node: NodeIx) -> usize {
        self.host(node).links.values().map(|end| end.other).collect::<BTreeSet<_>>().len()
    }

    /// Connections of which both ends stand.
    pub fn n_wires(&self) -> usize {
        let has = |node: NodeIx, link: &LinkId| self.host(node).links.contains_key(link);
        let ends = (0..self.n_nodes()).flat_map(|node| &self.host(node).links);
        ends.filter(|(link, end)| has(end.other, link)).count() / 2
    }

    // Doing.

    /// Has a node say something on all its links that its engine would not: the node is hostile.
    pub fn inject(&mut self, node: NodeIx, class: Class, frame: &Frame) {
        let links: Vec<LinkId> = self.host(node).links.keys().copied().collect();
        self.with_shard(node, |shard, topology, local| {
            for link in links {
                shard.send(topology, local, link, class, frame.clone());
            }
        });
    }

    /// Changes a byte behind the kind of the first frame with an envelope that is on its way to a node on a link: no
    /// network does that to a secured stream, but a broken or hostile sender can. False if there is none.
    pub fn garble(&mut self, link: LinkId, to: NodeIx, at: usize) -> bool {
        let shard = usize::from(self.topology.places[to].home.0);
        let mut coming = self.shards[shard].calendar.events_mut().filter(|happening| happening.node == to);
        let frame = coming.find_map(|happening| match &mut happening.what {
            To::Arrived { link: on, parcel } if *on == link => match &mut parcel.content {
                Content::Bytes(frame) if !frame.body.is_empty() => Some(frame),
                _ => None,
            },
            _ => None,
        });
        let Some(frame) = frame else { return false };
        let mut head = frame.head.to_vec();
        head[5 + at] ^= 0x40;
        frame.head = head.into();
        true
    }

    /// Gives an input to a node, from outside.
    pub fn input(&mut self, node: NodeIx, input: Input) {
        self.with_shard(node, |shard, topology, local| shard.input(topology, local, input));
    }

    /// Does something to a node from outside, now.
    fn with_shard<T>(&mut self, node: NodeIx, f: impl FnOnce(&mut Shard, &Topology, usize) -> T) -> T {
        let (shard, local) = self.topology.places[node].home;
        let key = self.next_key();
        let shard = &mut self.shards[usize::from(shard)];
        shard.at(key);
        let result = f(shard, &self.topology, local as usize);
        self.deliver();
        self.close_books();
        result
    }

    /// The key of what is done from outside, now.
    fn next_key(&mut self) -> Key {
        self.n_deeds += 1;
        Key { at: self.now, source: 0, n: self.n_deeds }
    }
}

fn key_of(name: &str) -> GroupKey {
    GroupKey::open("sim", name, None).expect("a simulated group has a name")
}
