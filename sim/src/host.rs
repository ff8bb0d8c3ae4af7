//! One virtual node: an engine with its disk, and what the world keeps about it.
//!
//! It does what a node's driver does: feeds one input, drains the outputs in order, keeps one deadline. What an
//! output wants of the network or the disk is given back as a [`Wish`] for the world to schedule.

use std::collections::{BTreeSet, VecDeque};

use djembe_protocol::crypto::Identity;
use djembe_protocol::engine::{Config, Engine};
use djembe_protocol::id::{EnvelopeId, Incarnation, LinkId, PeerId};
use djembe_protocol::io::{CloseCause, Event, Input, Output};
use djembe_protocol::persist::{Query, StoreOp, Token};
use djembe_protocol::time::Timestamp;
use djembe_protocol::wire::frame::{Address, Class, Frame};

use crate::disk::Disk;
use crate::network::NodeIx;
use crate::rng::{Purpose, Rng, SeededSecrets, split_bytes};

/// Ids of envelopes a host remembers as verified; the oldest make room.
const SEEN_MAX: usize = 16 * 1024;

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
    /// Nothing is given to it while it is paused; it comes all at once afterwards.
    pub is_paused: bool,
    /// Its sockets are not read.
    pub is_stalled: bool,
    /// Its streams with payload are not read; talk is.
    pub is_clogged: bool,
    /// The machine is off: dials are not even refused.
    pub is_off: bool,
    /// The one deadline that counts.
    pub timer: Option<Timestamp>,
    /// When a disk that is busy will be free; it works in order.
    pub disk_free: Timestamp,
    /// How long its disk takes.
    pub disk_rng: Rng,
    seed: u64,
    key: NodeIx,
    seen: Seen,
    backlog: VecDeque<Input>,
    /// Links the world has told it of.
    pub links: BTreeSet<LinkId>,
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
            is_paused: false,
            is_stalled: false,
            is_clogged: false,
            is_off: false,
            timer: None,
            disk_free: Timestamp::ZERO,
            disk_rng: Rng::split(seed, ix, 0, Purpose::Disk),
            seed,
            key,
            seen: Seen::default(),
            backlog: VecDeque::new(),
            links: BTreeSet::new(),
        };
        host.peer = host.identity().peer_id();
        host
    }

    /// Its key.
    pub fn identity(&self) -> Identity {
        Identity::from_seed(split_bytes(self.seed, self.key, 0, Purpose::Identity))
    }

    /// Starts it, with a higher incarnation than before.
    pub fn start(&mut self) {
        assert!(self.engine.is_none(), "a node runs once at a time");
        self.run += 1;
        self.is_off = false;
        let split = |purpose| Rng::split(self.seed, self.ix, self.run, purpose);
        let config = Config {
            network: self.network,
            incarnation: Incarnation(self.run * 1000),
            seed: split(Purpose::Choices).next_u64(),
        };
        let secrets = Box::new(SeededSecrets(split(Purpose::Secrets)));
        let engine = Engine::new(config, self.identity(), secrets);
        let is_restored = self.run > 1 && self.disk.n_commits() == 0;
        self.engine = Some(if is_restored { engine.restored() } else { engine });
    }

    /// Its process is dead; the disk is as it was.
    pub fn crash(&mut self) {
        self.engine = None;
        self.timer = None;
        self.seen = Seen::default();
        self.backlog.clear();
        self.links.clear();
        self.is_paused = false;
        self.is_stalled = false;
        self.is_clogged = false;
    }

    /// Whether it reads this stream.
    pub fn reads(&self, class: Class) -> bool {
        !self.is_stalled && (class == Class::Control || !self.is_clogged)
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

    /// Whether an envelope was verified before.
    pub fn has_seen(&self, id: &EnvelopeId) -> bool {
        self.seen.ids.contains(id)
    }

    /// Remembers that an envelope was verified.
    pub fn mark_seen(&mut self, id: EnvelopeId) {
        if self.seen.ids.insert(id) {
            self.seen.order.push_back(id);
        }
        if self.seen.order.len() > SEEN_MAX
            && let Some(oldest) = self.seen.order.pop_front()
        {
            self.seen.ids.remove(&oldest);
        }
    }
}

#[derive(Debug, Default)]
struct Seen {
    ids: BTreeSet<EnvelopeId>,
    order: VecDeque<EnvelopeId>,
}
