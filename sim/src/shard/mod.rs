//! A part of the world: some of its nodes, and what is to happen to them.
//!
//! Nodes of one shard meet those of another only by what they send, and that takes at least the network's least
//! latency: for so long a time each shard can be worked off by itself (conservative windows; Chandy and Misra 1979,
//! Fujimoto 1990). The order in which a node's events come depends on their keys alone, and so not on how many shards
//! there are.

mod apps;
mod baseline;
pub(crate) mod beacons;
mod bugs;
mod events;
mod hostile;
mod links;
mod stops;

use core::time::Duration;
use std::collections::BTreeMap;

use djembe_protocol::crypto::GoodSignatures;
use djembe_protocol::id::{GroupId, LinkId, PeerId};
use djembe_protocol::io::{CloseCause, Event, Input};
use djembe_protocol::time::Timestamp;
use djembe_protocol::wire::frame::Class;

pub(crate) use self::baseline::Carrier;
pub(crate) use self::events::{Happening, To};
pub(crate) use self::hostile::Villain;
use self::links::Label;
pub(crate) use self::stops::{Repeat, Stops};
use crate::attack::{Club, Strain};
use crate::baseline::Carried;
use crate::bug::Bug;
use crate::calendar::{Calendar, Key};
use crate::host::{Host, Wish};
use crate::topology::{NodeIx, Topology, mix};
use crate::wire::Carry;

/// Good signatures that are remembered, so that all nodes of a shard together check each once: 16 bytes each.
const VERDICTS: usize = 256 * 1024;
/// A node that is woken so often at one moment spins.
const SPINS_MAX: u32 = 10_000;

/// What all shards are told once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) beacon: Duration,
    pub(crate) persist: Duration,
    pub(crate) fetch: Duration,
    pub(crate) carry: Carry,
    /// A mistake that hosts make.
    pub(crate) bug: Option<Bug>,
    /// Nodes remember from whom envelopes came.
    pub(crate) paths: bool,
}

/// What a node's application was told, to be put into the books.
#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) key: Key,
    pub(crate) node: NodeIx,
    pub(crate) told: Told,
}

/// By its engine, or by a baseline.
#[derive(Debug)]
pub(crate) enum Told {
    Event(Event),
    Carried(Carried),
}

/// Frames of one kind.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Traffic {
    pub(crate) frames: u64,
    /// Without overhead.
    pub(crate) bytes: u64,
    /// With it.
    pub(crate) wire_bytes: u64,
}

/// What is counted as it happens.
#[derive(Default, Debug)]
pub(crate) struct Tally {
    pub(crate) n_events: u64,
    /// Frames by kind.
    pub(crate) frames: BTreeMap<u8, Traffic>,
    pub(crate) disconnects: BTreeMap<CloseCause, u64>,
    pub(crate) n_connections: u64,
    /// Bytes put on the wire, overhead included.
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
    /// Those of them that were sent again because they had been lost.
    pub(crate) packets_again: u64,
    /// Arrivals of an envelope.
    pub(crate) n_copies: u64,
    /// Hops that an envelope took to a node that it was new to: the most.
    pub(crate) last_hop_max: u8,
    /// Envelopes that were new to their node, by the hops that they took; the last is for more as well.
    pub(crate) hops: [u64; 32],
    pub(crate) strain: Strain,
}

/// Some nodes.
pub(crate) struct Shard {
    pub(crate) ix: u16,
    pub(crate) rules: Rules,
    /// All groups; attackers are in the first.
    pub(crate) groups: Vec<GroupId>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) calendar: Calendar<Happening>,
    /// For nodes of other shards.
    pub(crate) outbox: Vec<(NodeIx, Key, Happening)>,
    pub(crate) notes: Vec<Note>,
    /// Neighbours that were told again to stop.
    pub(crate) repeats: Vec<Repeat>,
    pub(crate) tally: Tally,
    /// All of them are in the first shard.
    pub(crate) villains: BTreeMap<NodeIx, Villain>,
    pub(crate) club: Club,
    /// The event in hand.
    key: Key,
    verdicts: GoodSignatures,
    wishes: Vec<Wish>,
    written: Vec<(LinkId, Class, u32)>,
}

impl Shard {
    pub(crate) fn new(ix: u16, rules: Rules) -> Self {
        Self {
            ix,
            rules,
            groups: Vec::new(),
            hosts: Vec::new(),
            calendar: Calendar::new(),
            outbox: Vec::new(),
            notes: Vec::new(),
            repeats: Vec::new(),
            tally: Tally::default(),
            villains: BTreeMap::new(),
            club: Club::default(),
            key: Key { at: Timestamp::ZERO, source: 0, n: 0 },
            verdicts: GoodSignatures::with_room(VERDICTS),
            wishes: Vec::new(),
            written: Vec::new(),
        }
    }

    /// The nodes of this shard are worked on by this thread: its verdicts are at hand. Called again to end it.
    pub(crate) fn swap_verdicts(&mut self) {
        self.verdicts = std::mem::take(&mut self.verdicts).install();
    }

    /// The time of the event in hand.
    pub(crate) fn now(&self) -> Timestamp {
        self.key.at
    }

    /// Something is done to its nodes from outside.
    pub(crate) fn at(&mut self, key: Key) {
        self.key = key;
    }

    /// Works off what is due before a time.
    pub(crate) fn run_before(&mut self, topology: &Topology, end: Timestamp) {
        while let Some((key, happening)) = self.calendar.pop_before(end) {
            self.key = key;
            self.tally.n_events += 1;
            let local = happening.local(topology);
            let host = &mut self.hosts[local];
            host.note(key.at.as_micros() ^ mix(u64::from(key.source) << 32 | u64::from(key.n)));
            self.happen(topology, local, happening);
        }
    }

    /// Schedules something for a node, as one of this shard's nodes wants it.
    pub(crate) fn schedule(&mut self, topology: &Topology, by: usize, at: Timestamp, happening: Happening) {
        let host = &mut self.hosts[by];
        host.n_scheduled += 1;
        let key = Key {
            at: at.max(self.key.at),
            source: u32::try_from(host.ix + 1).unwrap_or(u32::MAX),
            n: host.n_scheduled,
        };
        let (shard, _) = topology.places[happening.node].home;
        if shard == self.ix {
            self.calendar.schedule(key, happening);
        } else {
            self.outbox.push((happening.node, key, happening));
        }
    }

    /// The same for the node itself, in its present run.
    pub(crate) fn schedule_own(&mut self, topology: &Topology, local: usize, at: Timestamp, what: To) {
        let Host { ix, run, .. } = self.hosts[local];
        self.schedule(topology, local, at, Happening { node: ix, run: Some(run), what });
    }

    /// Gives an input to a node and does what it wants.
    pub(crate) fn input(&mut self, topology: &Topology, local: usize, input: Input) {
        let is_about_links = matches!(input, Input::LinkUp { .. } | Input::LinkDown { .. });
        let mut wishes = std::mem::take(&mut self.wishes);
        self.hear_of_stops(local, &input);
        let cause = stops::cause(&input);
        self.hosts[local].handle(self.key.at, input, &mut wishes);
        for wish in wishes.drain(..) {
            self.watch_stops(topology, local, cause, &wish);
            let Some(wish) = self.spoil(topology, local, wish) else { continue };
            self.grant(topology, local, wish);
        }
        self.wishes = wishes;
        while !self.written.is_empty() {
            let written = std::mem::take(&mut self.written);
            for (link, class, bytes) in written {
                self.input(topology, local, Input::Written { link, class, bytes: bytes as usize });
            }
        }
        self.set_timer(topology, local);
        if is_about_links {
            self.look(topology, local);
        }
    }

    /// A node is woken no later than its engine wants. It may be woken for nothing: to schedule less is worth it.
    fn set_timer(&mut self, topology: &Topology, local: usize) {
        let now = self.key.at;
        let host = &mut self.hosts[local];
        if host.is_paused {
            return;
        }
        let Some(engine) = &mut host.engine else { return };
        let Some(wanted) = engine.next_deadline().map(|at| at.max(now)) else { return };
        if host.timer.is_none_or(|at| wanted < at) {
            host.timer = Some(wanted);
            self.schedule_own(topology, local, wanted, To::Timer);
        }
    }

    fn on_timer(&mut self, topology: &Topology, local: usize) {
        let now = self.key.at;
        let host = &mut self.hosts[local];
        if host.timer != Some(now) {
            return;
        }
        host.timer = None;
        let Some(engine) = &mut host.engine else { return };
        if host.is_paused || engine.next_deadline().is_some_and(|at| at <= now) {
            let n = if host.woken.0 == now { host.woken.1 + 1 } else { 0 };
            assert!(n < SPINS_MAX, "node {} asks for a time-out that does not help it, at {now:?}", host.ix);
            host.woken = (now, n);
            self.input(topology, local, Input::Timeout);
        } else {
            self.set_timer(topology, local);
        }
    }

    fn grant(&mut self, topology: &Topology, local: usize, wish: Wish) {
        if !self.villains.contains_key(&self.hosts[local].ix) {
            return self.grant_as_it_is(topology, local, wish);
        }
        if let Some(wish) = self.villain_wishes(topology, local, wish) {
            self.grant_as_it_is(topology, local, wish);
        }
    }

    fn grant_as_it_is(&mut self, topology: &Topology, local: usize, wish: Wish) {
        let now = self.key.at;
        match wish {
            Wish::Send(link, class, frame) => self.send(topology, local, link, class, frame),
            Wish::Connect(peer, addresses) => {
                let to = addresses.iter().find_map(|address| topology.node_at(address));
                self.connect(topology, local, to, peer);
            }
            Wish::Probe(peer, addresses) => {
                let to = addresses.iter().find_map(|address| topology.node_at(address));
                self.probe(topology, local, peer, to);
            }
            Wish::Disconnect(link, cause) => {
                *self.tally.disconnects.entry(cause).or_default() += 1;
                self.disconnect(topology, local, link);
            }
            Wish::Persist(token, ops) => {
                let host = &mut self.hosts[local];
                let max = self.rules.persist * host.disk_slowness;
                // Those that wait are committed together, as a group commit does it.
                let at = now + max / 2 + host.disk_rng.time_below(max / 2);
                host.disk_free = host.disk_free.max(at);
                let at = host.disk_free;
                self.schedule_own(topology, local, at, To::Committed { token, ops });
            }
            Wish::Fetch(token, query) => {
                // Readers do not wait for the writer: a look-up may overtake a commit.
                let max = self.rules.fetch * self.hosts[local].disk_slowness;
                let at = now + max / 2 + self.hosts[local].disk_rng.time_below(max / 2);
                self.schedule_own(topology, local, at, To::Looked { token, query });
            }
            Wish::Event(event) => self.on_event(topology, local, event),
        }
    }

    fn on_event(&mut self, topology: &Topology, local: usize, event: Event) {
        let host = &mut self.hosts[local];
        if topology.places[host.ix].is_hostile {
            return;
        }
        host.note(print_of(&event));
        let (node, has_app) = (host.ix, host.app.is_some());
        if has_app {
            self.tell_app(topology, local, &event);
        }
        self.notes.push(Note { key: self.key, node, told: Told::Event(event) });
    }
}

/// What tells one event from another.
fn print_of(event: &Event) -> u64 {
    let of_peer = |peer: &PeerId| peer.0.first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk));
    let (kind, what) = match event {
        Event::Joined { group } => (1, u64::from(group.0[0])),
        Event::Delivered(delivered) => {
            (2, of_peer(&delivered.log.author) ^ delivered.seq << 2 ^ delivered.log.lane as u64)
        }
        Event::Sealed { seq, tickets, .. } => (3, seq ^ tickets.0 << 32),
        Event::Stored { peer, next, .. } => (4, of_peer(peer) ^ next),
        Event::Dropped { tickets, .. } => (5, tickets.0 ^ tickets.1 << 32),
        Event::Gap { log, from, .. } => (6, of_peer(&log.author) ^ from),
        Event::Fork { log, seq, .. } => (7, of_peer(&log.author) ^ seq),
        Event::Cloned { .. } => (8, 0),
        Event::Presence { peer, state, cause } => (9, of_peer(peer) ^ (*state as u64) << 8 ^ *cause as u64),
        Event::MemberJoined { peer, .. } => (10, of_peer(peer)),
        Event::MemberLeft { peer, cause, .. } => (11, of_peer(peer) ^ *cause as u64),
        Event::Pace { peer, pace } => (12, of_peer(peer) ^ *pace as u64),
        Event::StoreFailed { error } => (13, error.len() as u64),
    };
    mix(what ^ kind << 56)
}
