//! One virtual node: an engine with its disk, and what the world keeps about it.
//!
//! It does what a node's driver does: feeds one input, drains the outputs in order, keeps one deadline. What an
//! output wants of the network or the disk is given back as a [`Wish`] for the world to schedule.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use djembe_protocol::bounds::Bounds;
use djembe_protocol::crypto::Identity;
use djembe_protocol::engine::{Config, Engine};
use djembe_protocol::id::{EnvelopeId, GroupId, Incarnation, Lane, LinkId, PeerId};
use djembe_protocol::io::{CloseCause, Delivered, Event, Input, Output};
use djembe_protocol::limits;
use djembe_protocol::persist::{Query, StoreOp, Token};
use djembe_protocol::time::Timestamp;
use djembe_protocol::wire::frame::{Address, Class, Frame};

use crate::app::App;
use crate::disk::Disk;
use crate::holds::Holds;
use crate::meter::Meter;
use crate::rng::{Purpose, Rng, SeededSecrets, split_bytes};
use crate::shard::Carrier;
use crate::shard::Stops;
use crate::topology::{NodeIx, mix};
use crate::wire::{End, Hop, Weather};

/// Ids of envelopes a host remembers as verified; the oldest make room.
const SEEN_MAX: usize = 4096;
/// Envelopes of which it remembers how far they came: those that are on their way together.
const HOPS_MAX: usize = 64;

/// A node.
pub struct Host {
    /// Its place in the world.
    pub ix: NodeIx,
    /// Its key's public half.
    pub peer: PeerId,
    /// None while it is down.
    pub engine: Option<Engine>,
    /// What survives a crash.
    pub disk: Disk,
    /// Commits fail.
    pub disk_fails: bool,
    /// How often it was started.
    pub run: u64,
    /// The network it says it belongs to.
    pub network: [u8; 8],
    /// How much of others it keeps.
    pub bounds: Bounds,
    /// Thousandths of the usual; see the engine's configuration.
    pub patience: u16,
    /// Nothing is given to it while it is paused; it comes all at once afterwards.
    pub is_paused: bool,
    /// Its sockets are not read.
    pub is_stalled: bool,
    /// Its streams with payload are not read; talk is.
    pub is_clogged: bool,
    /// The machine is off: dials are not even refused.
    pub is_off: bool,
    /// When it is woken next; no later than its engine wants.
    pub(crate) timer: Option<Timestamp>,
    /// When a disk that is busy will be free; it works in order.
    pub(crate) disk_free: Timestamp,
    /// What runs on it beside the engine.
    pub(crate) app: Option<Box<dyn App>>,
    pub(crate) app_rng: Rng,
    /// How much was published, of each group and lane: by its application, and for the scenario.
    tickets: BTreeMap<(GroupId, Lane), u64>,
    /// How wrong its wall clock is.
    pub clock: Clock,
    /// Its disk is so many times as slow as others'.
    pub disk_slowness: u32,
    /// When its downlink will be free.
    pub(crate) downlink_free: Timestamp,
    /// How long its disk takes.
    pub(crate) disk_rng: Rng,
    /// How long what it sends takes.
    pub(crate) net_rng: Rng,
    /// When it hears of others.
    pub(crate) discovery_rng: Rng,
    /// When its uplink will be free.
    pub(crate) uplink_free: Timestamp,
    /// What takes beacons on their way to it.
    pub(crate) weather: Weather,
    /// Faults that last.
    pub(crate) holds: Holds,
    /// Its application is to be woken with these when it goes on.
    pub(crate) late_wakes: Vec<u64>,
    /// Events it has scheduled.
    pub(crate) n_scheduled: u32,
    /// Dials it has made.
    pub(crate) n_dials: u32,
    /// A hash over everything that happened to it.
    pub(crate) trace: u64,
    /// When it was last woken, and how often at that moment.
    pub(crate) woken: (Timestamp, u32),
    /// Whom it told to stop sending it somebody's envelopes.
    pub(crate) stops: Stops,
    /// What reports tell of it.
    pub(crate) meter: Meter,
    /// What a mistake of the host could have struck so far.
    pub(crate) n_spoilable: u32,
    /// What a planted mistake has kept back.
    pub(crate) late: Option<Box<Delivered>>,
    /// Dials under way.
    pub(crate) dialing: BTreeMap<LinkId, (PeerId, Box<End>)>,
    /// Probes under way.
    pub(crate) probing: BTreeSet<PeerId>,
    seed: u64,
    key: NodeIx,
    seen: Seen,
    backlog: VecDeque<Input>,
    /// What spreads its messages in place of its engine.
    pub(crate) carrier: Option<Carrier>,
    /// Its ends of connections that it was told of.
    pub links: BTreeMap<LinkId, Box<End>>,
}

/// A wall clock that is wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clock {
    /// By so many milliseconds at the start of time.
    pub skew_ms: i64,
    /// And by so many millionths of the time that passes.
    pub drift_ppm: f64,
}

impl Clock {
    /// As wrong as `skew` and `drift_ppm` at most.
    pub(crate) fn drawn(seed: u64, node: NodeIx, skew: Duration, drift_ppm: f64) -> Self {
        let mut rng = Rng::split(seed, node, 0, Purpose::Clock);
        let max = i64::try_from(skew.as_millis()).unwrap_or(i64::MAX / 4);
        let skew_ms = i64::try_from(rng.below(2 * max.unsigned_abs() + 1)).unwrap_or(max) - max;
        let share = rng.below(2_000_001) as f64 / 1e6 - 1.0;
        Self { skew_ms, drift_ppm: share * drift_ppm }
    }

    /// What it shows, in milliseconds, when the true time is this.
    pub(crate) fn shows(&self, true_ms: u64, passed_ms: u64) -> u64 {
        let drift = (passed_ms as f64 * self.drift_ppm / 1e6) as i64;
        true_ms.saturating_add_signed(self.skew_ms + drift)
    }
}

/// What an output asks of the world.
#[derive(Debug)]
pub enum Wish {
    /// Send a frame.
    Send(LinkId, Class, Frame),
    /// Dial.
    Connect(PeerId, Vec<Address>),
    /// Measure the way to a peer.
    Probe(PeerId, Vec<Address>),
    /// Close a link.
    Disconnect(LinkId, CloseCause),
    /// Commit.
    Persist(Token, Vec<StoreOp>),
    /// Look up.
    Fetch(Token, Query),
    /// Tell the application.
    Event(Event),
}

impl Host {
    /// A node that has not been started. `key` is the node whose identity it has: its own but for a clone.
    pub fn new(seed: u64, ix: NodeIx, key: NodeIx, network: [u8; 8]) -> Self {
        let mut host = Self {
            ix,
            peer: PeerId([0; 32]),
            engine: None,
            disk: Disk::default(),
            disk_fails: false,
            run: 0,
            network,
            bounds: Bounds::default(),
            patience: limits::PATIENCE,
            is_paused: false,
            is_stalled: false,
            is_clogged: false,
            is_off: false,
            timer: None,
            disk_free: Timestamp::ZERO,
            app: None,
            app_rng: Rng::split(seed, ix, 0, Purpose::App),
            tickets: BTreeMap::new(),
            clock: Clock::default(),
            disk_slowness: 1,
            downlink_free: Timestamp::ZERO,
            disk_rng: Rng::split(seed, ix, 0, Purpose::Disk),
            net_rng: Rng::split(seed, ix, 0, Purpose::Network),
            discovery_rng: Rng::split(seed, ix, 0, Purpose::Discovery),
            uplink_free: Timestamp::ZERO,
            weather: Weather::default(),
            holds: Holds::default(),
            late_wakes: Vec::new(),
            n_scheduled: 0,
            n_dials: 0,
            trace: 0,
            woken: (Timestamp::ZERO, 0),
            stops: Stops::default(),
            meter: Meter::default(),
            n_spoilable: 0,
            late: None,
            dialing: BTreeMap::new(),
            probing: BTreeSet::new(),
            seed,
            key,
            seen: Seen::default(),
            backlog: VecDeque::new(),
            carrier: None,
            links: BTreeMap::new(),
        };
        host.peer = host.identity().peer_id();
        host
    }

    /// Its key.
    pub fn identity(&self) -> Identity {
        Identity::from_seed(split_bytes(self.seed, self.key, 0, Purpose::Identity))
    }

    /// About how many bytes of memory the simulator has for it.
    pub(crate) fn memory(&self) -> [(&'static str, usize); 3] {
        let links = self.links.len() * (size_of::<End>() + size_of::<(LinkId, Box<End>)>() * 3 / 2);
        let ends = self.links.values().map(|end| end.heap()).sum::<usize>();
        let seen = (self.seen.ids.len() + self.seen.order.capacity()) * size_of::<u64>();
        let engine = if self.engine.is_some() { size_of::<Engine>() } else { 0 };
        let host = size_of::<Self>() - engine + self.backlog.len() * size_of::<Input>();
        [
            ("simulator: connections", links + ends),
            ("simulator: disks", self.disk.heap()),
            ("simulator: hosts", host + seen + self.seen.hops.capacity() * size_of::<Hop>()),
        ]
    }

    /// With which one it publishes next: they rise by one in each group and lane.
    pub(crate) fn next_ticket(&mut self, group: GroupId, lane: Lane) -> u64 {
        let ticket = self.tickets.entry((group, lane)).or_default();
        *ticket += 1;
        *ticket
    }

    /// Starts it, with a higher incarnation than before.
    pub fn start(&mut self) {
        assert!(self.engine.is_none(), "a node runs once at a time");
        self.run += 1;
        self.is_off = false;
        let split = |purpose| Rng::split(self.seed, self.ix, self.run, purpose);
        let config = Config {
            network: self.network,
            incarnation: Incarnation::of_run(self.run),
            seed: split(Purpose::Choices).next_u64(),
            bounds: self.bounds,
            patience: self.patience,
        };
        let secrets = Box::new(SeededSecrets(split(Purpose::Secrets)));
        let engine = Engine::new(config, self.identity(), secrets);
        let is_restored = self.run > 1 && self.disk.n_commits() == 0;
        self.engine = Some(if is_restored { engine.restored() } else { engine });
    }

    /// Its process is dead; the disk is as it was.
    pub fn crash(&mut self) {
        self.engine = None;
        self.app = None;
        self.late_wakes.clear();
        self.timer = None;
        self.seen = Seen::default();
        self.backlog.clear();
        self.carrier = None;
        self.links.clear();
        self.stops = Stops::default();
        self.dialing.clear();
        self.probing.clear();
        self.is_paused = false;
        self.is_stalled = false;
        self.is_clogged = false;
    }

    /// Whether it reads this stream. What comes to an engine that is paused waits with its inputs, and what comes to a
    /// baseline in its socket.
    pub fn reads(&self, class: Class) -> bool {
        let waits = self.is_paused && self.carrier.is_some();
        !self.is_stalled && !waits && (class == Class::Control || !self.is_clogged)
    }

    /// Gives an input to the engine and returns what it wants, in order. A paused node gets it later.
    pub fn handle(&mut self, now: Timestamp, input: Input, wishes: &mut Vec<Wish>) {
        if self.is_paused {
            self.backlog.push_back(input);
            return;
        }
        let Some(engine) = &mut self.engine else { return };
        engine.handle_input(now, input);
        while let Some(output) = engine.poll_output() {
            wishes.push(match output {
                Output::Send { link, class, frame } => Wish::Send(link, class, frame),
                Output::Connect { peer, addresses } => Wish::Connect(peer, addresses),
                Output::Probe { peer, addresses } => Wish::Probe(peer, addresses),
                Output::Disconnect { link, cause } => Wish::Disconnect(link, cause),
                Output::Persist { token, ops } => Wish::Persist(token, ops),
                Output::Fetch { token, query } => Wish::Fetch(token, query),
                Output::Event(event) => Wish::Event(event),
            });
        }
    }

    /// What came while it was paused.
    pub fn take_backlog(&mut self) -> VecDeque<Input> {
        std::mem::take(&mut self.backlog)
    }

    /// Whether it runs and is not paused.
    pub fn is_up(&self) -> bool {
        self.engine.is_some() && !self.is_paused
    }

    /// Puts something down that happened to it.
    pub(crate) fn note(&mut self, what: u64) {
        self.trace = mix(self.trace ^ what);
    }

    /// Whether an envelope was verified before.
    pub fn has_seen(&self, id: &EnvelopeId) -> bool {
        self.seen.ids.contains(&print_of(id))
    }

    /// Remembers that an envelope was verified.
    pub fn mark_seen(&mut self, id: EnvelopeId) {
        let print = print_of(&id);
        if self.seen.ids.insert(print) {
            self.seen.order.push_back(print);
        }
        if self.seen.order.len() > SEEN_MAX
            && let Some(oldest) = self.seen.order.pop_front()
        {
            self.seen.ids.remove(&oldest);
        }
    }
}

impl Host {
    /// Notes over how many hops an envelope came. True if it came for the first time, as far as is remembered.
    pub(crate) fn note_hop(&mut self, hop: Hop) -> bool {
        let hops = &mut self.seen.hops;
        let is_new = hops.iter().all(|known| known.envelope != hop.envelope);
        if is_new {
            if hops.len() == HOPS_MAX {
                hops.pop_front();
            }
            hops.push_back(hop);
        }
        is_new
    }

    /// Over how many hops an envelope came: none if it is this node's own.
    pub(crate) fn hops_of(&self, envelope: u64) -> u8 {
        self.seen.hops.iter().rev().find(|known| known.envelope == envelope).map_or(0, |known| known.n)
    }
}

/// The beginning of an id: it is a hash already, and nobody here breaks it.
fn print_of(id: &EnvelopeId) -> u64 {
    id.0.first_chunk().map_or(0, |print| u64::from_le_bytes(*print))
}

#[derive(Debug, Default)]
struct Seen {
    ids: BTreeSet<u64>,
    order: VecDeque<u64>,
    /// Over how many hops the last ones came.
    hops: VecDeque<Hop>,
}
