//! What happens: the calendar's entries as inputs of nodes.

use core::time::Duration;

use djembe_protocol::id::{LinkId, PeerId};
use djembe_protocol::io::{Input, LinkEnd};
use djembe_protocol::persist::{Query, StoreOp, Token};
use djembe_protocol::time::WallTime;
use djembe_protocol::wire::frame::Class;

use super::Shard;
use crate::topology::{NodeIx, Topology};
use crate::wire::Parcel;

/// The wall clock at the start of time: 2026-01-01.
const WALL_AT_START: u64 = 1_767_225_600_000;
/// How often a node is told the wall time.
const WALL_EVERY: Duration = Duration::from_secs(5);

/// Something that will happen to a node.
#[derive(Debug)]
pub(crate) struct Happening {
    pub(crate) node: NodeIx,
    /// Only in this run of it.
    pub(crate) run: Option<u64>,
    pub(crate) what: To,
}

impl Happening {
    /// Where its node is in the shard.
    pub(super) fn local(&self, topology: &Topology) -> usize {
        topology.places[self.node].home.1 as usize
    }
}

/// What can happen to a node.
#[derive(Debug)]
pub(crate) enum To {
    // By itself.
    /// Its deadline has come.
    Timer,
    /// That of its baseline has.
    Tick,
    /// Its baseline looks for links.
    Look,
    /// The wall clock is told.
    Wall,
    /// It is time for the beacon of this number.
    Beacon { n: usize },
    /// Discovery tells.
    Discover { about: NodeIx },
    /// A commit is durable.
    Committed { token: Token, ops: Vec<StoreOp> },
    /// A look-up is done.
    Looked { token: Token, query: Query },
    /// It is an attacker, and acts.
    Attack,
    /// Its application wanted to be woken.
    WakeApp { token: u64 },
    /// An end closes because its own node wants it.
    Closed { link: LinkId },
    /// A dial was not answered.
    DialTimeout { link: LinkId },
    /// A probe was not answered.
    ProbeTimeout { peer: PeerId },
    /// A beacon has come through the node's line.
    Noticed { about: NodeIx },
    /// What could not be read can be now.
    Drain { link: LinkId, class: Class },
    // From others.
    /// A beacon.
    Heard { about: NodeIx },
    /// Somebody dials.
    Dialed { from: NodeIx, link: LinkId, peer: PeerId },
    /// The answer to a dial.
    Answered { link: LinkId, answer: Answer },
    /// A frame has come through a narrow line.
    Came { link: LinkId, parcel: Box<Parcel> },
    /// A frame.
    Arrived { link: LinkId, parcel: Box<Parcel> },
    /// A frame that was changed on the way.
    Spoilt { link: LinkId },
    /// The other side has read so much.
    Read { link: LinkId, class: Class, bytes: u32 },
    /// The other side has closed.
    PeerClosed { link: LinkId },
    /// Somebody measures how far this node is.
    ProbeAsked { from: NodeIx, since: djembe_protocol::time::Timestamp },
    /// The answer to a probe.
    Probed { by: NodeIx, since: djembe_protocol::time::Timestamp },
}

/// What comes of a dial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    Accepted,
    /// Nobody listens there.
    Refused,
    /// Somebody else listens there.
    Other,
}

impl Shard {
    pub(super) fn happen(&mut self, topology: &Topology, local: usize, happening: Happening) {
        let host = &self.hosts[local];
        if happening.run.is_some_and(|run| host.run != run || host.engine.is_none()) {
            return;
        }
        match happening.what {
            To::Timer => self.on_timer(topology, local),
            To::Tick => self.on_tick(topology, local),
            To::Look => self.on_look(topology, local),
            To::Wall => self.tell_wall(topology, local),
            To::Beacon { n } => self.on_beacon(topology, local, n),
            To::Heard { about } => self.on_heard(topology, local, about),
            To::Noticed { about } => self.on_noticed(topology, local, about),
            To::Discover { about } => self.discover(topology, local, about),
            To::Committed { token, ops } => {
                let host = &mut self.hosts[local];
                let input = if host.disk_fails {
                    Input::PersistFailed(token, "the disk is full".to_owned())
                } else {
                    host.disk.commit(ops);
                    Input::Persisted(token)
                };
                self.input(topology, local, input);
            }
            To::Looked { token, query } => {
                let host = &self.hosts[local];
                let answer = host.disk.answer(&host.peer, &query);
                self.input(topology, local, Input::Fetched(token, answer));
            }
            To::Attack => self.act(topology, local),
            To::WakeApp { token } => self.wake_app(topology, local, token),
            To::Closed { link } => {
                if self.hosts[local].links.remove(&link).is_some() {
                    self.input(topology, local, Input::LinkDown { link, cause: LinkEnd::Closed });
                }
            }
            To::DialTimeout { link } => self.on_dial_failed(topology, local, link, false),
            To::ProbeTimeout { peer } => {
                if self.hosts[local].probing.remove(&peer) {
                    self.input(topology, local, Input::Probed { peer, rtt: None });
                }
            }
            To::Drain { link, class } => self.drain(topology, local, link, class),
            To::Dialed { from, link, peer } => self.on_dialed(topology, local, from, link, peer),
            To::Answered { link, answer } => match answer {
                Answer::Accepted => self.on_accepted(topology, local, link),
                Answer::Refused => self.on_dial_failed(topology, local, link, true),
                Answer::Other => self.on_dial_failed(topology, local, link, false),
            },
            To::Arrived { link, parcel } => self.on_arrived(topology, local, link, parcel),
            To::Came { link, parcel } => self.on_came(topology, local, link, parcel),
            To::Spoilt { link } => self.on_spoilt(topology, local, link),
            To::Read { link, class, bytes } => self.on_read(topology, local, link, class, bytes),
            To::PeerClosed { link } => self.on_peer_closed(topology, local, link),
            To::ProbeAsked { from, since } => self.on_probe_asked(topology, local, from, since),
            To::Probed { by, since } => self.on_probed(topology, local, by, since),
        }
    }

    pub(crate) fn tell_wall(&mut self, topology: &Topology, local: usize) {
        let passed = self.now().as_micros() / 1000;
        let wall = WallTime(self.hosts[local].clock.shows(WALL_AT_START + passed, passed));
        self.input(topology, local, Input::WallTime(wall));
        let at = self.now() + WALL_EVERY;
        self.schedule_own(topology, local, at, To::Wall);
    }

    /// Tells a node of another within so long.
    pub(crate) fn discover_soon(
        &mut self,
        topology: &Topology,
        local: usize,
        about: NodeIx,
        within: Duration,
    ) {
        let at = self.now() + self.hosts[local].discovery_rng.time_below(within);
        self.schedule_own(topology, local, at, To::Discover { about });
    }

    fn discover(&mut self, topology: &Topology, local: usize, about: NodeIx) {
        let place = topology.places[about];
        if !place.is_up {
            return;
        }
        if topology.reaches(about, self.hosts[local].ix) && !place.is_paused {
            let (peer, addresses) = (topology.peers[about], vec![topology.address(about)]);
            self.input(topology, local, Input::Found { peer, addresses });
        }
        if !self.rules.beacon.is_zero() {
            let at = self.now() + self.rules.beacon;
            self.schedule_own(topology, local, at, To::Discover { about });
        }
    }
}
