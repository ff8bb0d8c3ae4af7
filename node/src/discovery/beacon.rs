//! The beacon: sends it on its schedule, and hears those of others.
//!
//! What is left to `mod.rs` is what a beacon heard means for the table of candidates.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use djembe_protocol::id::PeerId;
use djembe_protocol::wire::beacon::{Beacon, Kind, NetworkTag, Ports};
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use super::bounds::REREAD;
use super::candidates::Candidates;
use super::interfaces::{self, Watcher};
use super::jitter::Jitter;
use super::listener::{Heard, Listener, Refusal};
use super::pace::{Due, Pace, period};
use super::report::BeaconReport;
use super::sockets::{Datagram, Sockets};
use super::{Options, Sign, StartError};

/// The beacon with all that it needs.
pub(super) struct Beacons {
    me: PeerId,
    sign: Sign,
    network: NetworkTag,
    boot: u64,
    counter: u32,
    /// None: not listening yet, and silent.
    ports: Option<Ports>,
    pub(super) sockets: Sockets,
    wanted_interfaces: Vec<String>,
    interfaces_error: Option<String>,
    watcher: Watcher,
    reread: Instant,
    pace: Pace,
    listener: Listener,
    n_sent: u64,
}

impl Beacons {
    /// Opens the sockets and reads the interfaces. Silent until [`Beacons::listening`].
    pub(super) fn open(
        now: Instant,
        me: PeerId,
        sign: Sign,
        options: &Options,
        jitter: Jitter,
    ) -> Result<Self, StartError> {
        let network = NetworkTag::of(&options.network);
        let boot = getrandom::u64().map_err(StartError::Entropy)?;
        let mut beacons = Self {
            me,
            sign,
            network,
            boot,
            counter: 0,
            ports: None,
            sockets: Sockets::open(options.beacon_port)?,
            wanted_interfaces: options.interfaces.clone(),
            interfaces_error: None,
            watcher: Watcher::new(),
            reread: now,
            pace: Pace::new(jitter),
            listener: Listener::new(now, me, boot, network),
            n_sent: 0,
        };
        beacons.read_interfaces(now);
        Ok(beacons)
    }

    /// The node listens on these ports: starts a burst, of which the first beacon leaves here.
    pub(super) fn listening(&mut self, now: Instant, ports: Ports, has_link: bool) {
        if self.ports != Some(ports) {
            self.ports = Some(ports);
            self.pace.start(now);
            self.poll(now, has_link);
        }
    }

    /// The next datagram; None when the interfaces may have changed. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Datagram> {
        tokio::select! {
            datagram = self.sockets.receive() => Some(datagram),
            () = self.watcher.changed() => None,
        }
    }

    /// What a datagram says, if it is to be believed.
    pub(super) fn hear(&mut self, now: Instant, datagram: &Datagram) -> Option<Heard> {
        let verdict = self.listener.hear(now, datagram.from, datagram.bytes());
        if verdict != Err(Refusal::Own) {
            self.sockets.count(datagram.from);
        }
        match verdict {
            Ok(Heard::News { beacon, .. }) if beacon.kind == Kind::Goodbye => {
                self.listener.forget(beacon.peer)
            }
            _ => {}
        }
        verdict.ok()
    }

    /// How many peers were heard of late.
    pub(super) fn n_known(&self, now: Instant) -> usize {
        self.listener.n_known(now)
    }

    /// A peer without a link to us asked for a sign of life.
    pub(super) fn on_query(&mut self, now: Instant) {
        self.pace.on_query(now, self.listener.n_known(now));
    }

    /// When to call [`Beacons::poll`].
    pub(super) fn next_deadline(&self) -> Instant {
        self.pace.next_deadline().map_or(self.reread, |at| at.min(self.reread))
    }

    /// Does what time asks for. A node without a link asks to be dialled.
    pub(super) fn poll(&mut self, now: Instant, has_link: bool) {
        if self.reread <= now {
            self.read_interfaces(now);
        }
        match self.pace.poll(now, self.listener.n_known(now)) {
            Some(Due::Own) if !has_link => self.send(Kind::Query),
            Some(Due::Own | Due::Answer) => self.send(Kind::Announce),
            None => {}
        }
    }

    /// Says goodbye.
    pub(super) fn goodbye(&mut self) {
        self.send(Kind::Goodbye);
    }

    /// Reads the interfaces again; a new one gets a burst, for nobody behind it has heard of us.
    pub(super) fn read_interfaces(&mut self, now: Instant) {
        self.reread = now + REREAD;
        match interfaces::snapshot(&self.wanted_interfaces) {
            Ok(interfaces) => {
                self.interfaces_error = None;
                if self.sockets.update(interfaces) && self.ports.is_some() {
                    self.pace.start(now);
                }
            }
            Err(error) => self.interfaces_error = Some(format!("interfaces cannot be read: {error}")),
        }
    }

    fn send(&mut self, kind: Kind) {
        let Some(ports) = self.ports else { return };
        let beacon = Beacon {
            kind,
            network: self.network,
            peer: self.me,
            ports,
            boot: self.boot,
            counter: self.counter,
        };
        self.counter += 1;
        let n_paths = self.sockets.send(&beacon.encode(&self.sign));
        self.n_sent += 1;
        tracing::trace!(?kind, n_paths, "beacon sent");
    }

    pub(super) fn report(&self, now: Instant, candidates: &Candidates) -> BeaconReport {
        let n_known = self.listener.n_known(now);
        let is_undialable = |&peer: &PeerId| candidates.addresses(now, peer).is_empty();
        let n_undialable = self.listener.known(now).filter(is_undialable).count();
        BeaconReport {
            port: self.sockets.port(),
            sent: self.n_sent,
            period_ms: period(n_known).as_millis() as u64,
            heard: n_known,
            heard_undialable: n_undialable,
            heard_own: self.listener.n_own(),
            refused: self.listener.refusals(),
            received_elsewhere: self.sockets.n_elsewhere(),
            errors: self.sockets.errors().into_iter().chain(self.interfaces_error.clone()).collect(),
            interfaces: self.sockets.report(),
        }
    }
}

/// Where a node may be dialled whose beacon came from this source. An IPv6 link-local address would need a
/// zone, which libp2p's transports do not take.
pub(super) fn dialable(from: SocketAddr, ports: Ports) -> Vec<Multiaddr> {
    let is_dialable = match from.ip() {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_unicast_link_local(),
    };
    let host = || Multiaddr::from(from.ip());
    let quic = (ports.quic != 0).then(|| host().with(Protocol::Udp(ports.quic)).with(Protocol::QuicV1));
    let tcp = (ports.tcp != 0).then(|| host().with(Protocol::Tcp(ports.tcp)));
    [quic, tcp].into_iter().flatten().filter(|_| is_dialable).collect()
}
