//! What happens: the calendar's entries as inputs of nodes, and what nodes want as new entries.

use core::time::Duration;

use djembe_protocol::id::{Lane, LinkId, PeerId};
use djembe_protocol::io::{Event, Input, LinkEnd};
use djembe_protocol::persist::{Query, StoreOp, Token};
use djembe_protocol::time::{Timestamp, WallTime};
use djembe_protocol::wire::frame::Class;

use super::{Fault, World, source};
use crate::host::Wish;
use crate::network::{NodeIx, Side};

/// The wall clock at the start of time: 2026-01-01.
const WALL_AT_START: u64 = 1_767_225_600_000;
/// How often a node is told the wall time.
const WALL_EVERY: Duration = Duration::from_secs(5);
/// A node that is woken so often at one moment spins.
const SPINS_MAX: u32 = 10_000;

/// What can happen.
#[derive(Debug)]
pub(super) enum Happening {
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
    /// The answer to a probe, or that none came.
    Probed { node: NodeIx, run: u64, peer: PeerId, rtt: Option<Duration> },
    /// A node starts.
    Start(NodeIx),
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
    /// An attacker acts.
    Attack { node: NodeIx, run: u64 },
    /// Something breaks or heals.
    Fault(Fault),
}

impl World {
    pub(super) fn happen(&mut self, happening: Happening) {
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
            Happening::Probed { node, run, peer, rtt } => {
                if self.is_run(node, run) {
                    self.input(node, Input::Probed { peer, rtt });
                }
            }
            Happening::Start(node) => self.start(node),
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
            Happening::Attack { node, run } => {
                if self.is_run(node, run) {
                    self.act(node);
                }
            }
            Happening::Fault(fault) => self.fault(fault),
        }
    }

    pub(super) fn is_run(&self, node: NodeIx, run: u64) -> bool {
        let host = &self.hosts[node];
        host.run == run && host.engine.is_some()
    }

    fn check_spin(&mut self, node: NodeIx) {
        let (at, who, n) = self.spins;
        let n = if (at, who) == (self.now(), node) { n + 1 } else { 0 };
        assert!(n < SPINS_MAX, "node {node} asks for a time-out that does not help it, at {:?}", self.now());
        self.spins = (self.now(), node, n);
    }

    pub(super) fn tell_wall(&mut self, node: NodeIx, run: u64) {
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
            let addresses = vec![self.address(about)];
            self.input(node, Input::Found { peer, addresses });
        }
        if !self.config.beacon.is_zero() {
            let at = self.now() + self.config.beacon;
            self.calendar.schedule(at, source(node), Happening::Discover { node, run, about });
        }
    }

    // What a node wants.

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
        let Some(engine) = &mut host.engine else { return };
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
        if !self.is_hostile(node) {
            return self.grant_as_it_is(node, wish);
        }
        if let Some(wish) = self.villain_wishes(node, wish) {
            self.grant_as_it_is(node, wish);
        }
    }

    pub(super) fn grant_as_it_is(&mut self, node: NodeIx, wish: Wish) {
        let now = self.now();
        let run = self.hosts[node].run;
        match wish {
            Wish::Send(link, class, frame) => self.send(node, link, class, &frame),
            Wish::Connect(peer, addresses) => {
                let to = addresses.iter().find_map(|address| self.by_address.get(address).copied());
                let at = now + self.network.latency(node, to.unwrap_or(node));
                let from = node;
                self.calendar.schedule(at, source(node), Happening::Dial { from, run, to, peer });
            }
            Wish::Probe(peer, addresses) => {
                let to = addresses.iter().find_map(|address| self.by_address.get(address).copied());
                self.probe(node, run, peer, to);
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

    fn on_event(&mut self, node: NodeIx, event: Event) {
        if self.is_hostile(node) {
            return;
        }
        self.trace.update(format!("{node} {event:?}").as_bytes());
        let now = self.now();
        if let Event::Presence { peer, state, cause } = &event {
            let subject = self.by_peer.get(peer).map_or(&[][..], |nodes| &nodes[..]);
            if subject.iter().any(|subject| self.is_hostile(*subject)) {
                // Whatever becomes of it is right.
                return;
            }
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
