//! Links to other nodes: authenticated, encrypted, four streams of frames each.
//!
//! The driver owns a [`Transport`] and learns of links by [`Transport::next_event`]. Frames come in by channels,
//! one per class, so that beats do not wait behind data; they are checked by then. Frames go out by
//! [`Transport::send`], which only queues; what was written comes back as [`TransportEvent::Written`].
//!
//! Two orders hold. A link's `LinkUp` is returned before any of its frames is in a channel. Its `LinkDown` is
//! returned after all its control frames are: drain the control channel first, and a goodbye is seen before the
//! end.
//!
//! Deliberately not here: which of two links to one peer stays, how long silence is borne, how much may be
//! queued (the engine decides all three), and beacons (`discovery`).
//!
//! TCP with Noise and Yamux is preferred: QUIC costs several times the CPU on a LAN. QUIC addresses of a peer
//! are tried when no TCP address answered. A refused TCP connection ends the dial, for a process that does not
//! listen on the one does not listen on the other.

mod behaviour;
mod bind;
mod connections;
mod failure;
mod gate;
mod guard;
mod link;
#[cfg(test)]
mod measure;
mod muxer;
mod probe;
mod streams;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use djembe_protocol::error::Reject;
use djembe_protocol::id::{LinkId, PeerId};
use djembe_protocol::io::Counters;
use djembe_protocol::limits::FRAME_MAX;
use djembe_protocol::wire::compress::Expanded;
use futures::StreamExt;
use libp2p::core::transport::TransportError as Libp2pTransportError;
use libp2p::core::upgrade::Version;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionError, ConnectionId, DialError, SwarmEvent};
use libp2p::{Swarm, identity, mdns, swarm};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use behaviour::{Behaviour, Notice, Wiring};
use connections::connections;
use link::{Link, Reports};

pub(crate) use djembe_protocol::wire::frame::Class;
pub(crate) use libp2p::Multiaddr;
pub(crate) use libp2p::mdns::Config as MdnsConfig;
pub(crate) use link::Transmit;

/// Addresses of one peer that are dialled; more are a mistake or a trick.
const DIAL_ADDRESSES_MAX: usize = 16;

/// What a transport is made with.
pub(crate) struct TransportConfig {
    /// Ed25519 seed: the node's identity.
    pub(crate) secret_key: Zeroizing<[u8; 32]>,
    /// Where to listen; each must succeed. Empty: a free port on every interface, by TCP and by QUIC.
    pub(crate) listen: Vec<Multiaddr>,
    /// Multicast DNS, for nodes that speak nothing else. Costs a socket and a task per interface.
    pub(crate) mdns: Option<MdnsConfig>,
    /// Connections at once, those in the making not counted. Each costs about 50 KiB at rest.
    pub(crate) links_max: u32,
}

/// Turns a frame's bytes into what the engine takes, or says what is wrong with them. Runs on worker threads.
pub(crate) type CheckFn<T> = Arc<dyn Fn(Expanded) -> Result<T, Reject> + Send + Sync>;

/// What arrives on links.
#[derive(Debug)]
pub(crate) enum Inbound<T> {
    /// A frame that was found good.
    Frame { link: LinkId, class: Class, frame: T, bytes: usize },
    /// A frame that was not. Reading goes on; whether the link does is the engine's decision.
    Bad { link: LinkId, class: Class, reject: Reject, bytes: usize },
}

/// What happens to links and listeners.
#[derive(Debug)]
pub(crate) enum TransportEvent {
    /// Peers can dial this address.
    Listening { address: Multiaddr },
    /// They cannot any more: an interface went away, or a listener failed.
    ListeningEnded { address: Multiaddr },
    /// A link stands. There may be several to one peer.
    LinkUp { link: LinkId, peer: PeerId, dialed: bool, path: Path },
    /// A link that stood is gone, and what was queued for it.
    LinkDown { link: LinkId, peer: PeerId, cause: Cause },
    /// No link came of a dial to these addresses. `refused`: the peer's system said that nobody listens there.
    DialFailed { peer: Option<PeerId>, addresses: Vec<Multiaddr>, refused: bool, error: String },
    /// Bytes of queued frames, with their lengths, that were handed to the connection since the last report.
    Written { link: LinkId, class: Class, bytes: usize },
    /// How far away a peer is that [`Transport::probe`] asked about; nothing if it does not answer.
    Probed { peer: PeerId, rtt: Option<Duration> },
    /// Addresses seen by mDNS.
    MdnsDiscovered(Vec<(PeerId, Multiaddr)>),
    /// Addresses that mDNS no longer sees.
    MdnsExpired(Vec<(PeerId, Multiaddr)>),
}

/// How a link reaches its peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Path {
    /// `tcp` or `quic`.
    pub(crate) transport: &'static str,
    /// The peer's end. Its port is of use for dialling only if we dialled it.
    pub(crate) address: Multiaddr,
}

impl Path {
    fn new(mut address: Multiaddr) -> Self {
        if let Some(Protocol::P2p(_)) = address.iter().last() {
            address.pop();
        }
        Self { transport: if is_quic(&address) { "quic" } else { "tcp" }, address }
    }
}

/// Why a link ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    /// We closed it.
    Ours,
    /// The peer's end closed it: by intent, or because its process ended.
    Closed,
    /// It broke: the peer's system knows nothing of the connection.
    Reset,
    /// Nothing came for too long; QUIC's way to see a dead process.
    TimedOut,
    /// The peer connected and never opened its control stream.
    Silent,
    /// The peer broke the rules of framing or of streams.
    Protocol(&'static str),
    /// More was queued than a link may hold.
    QueueFull,
    /// Anything else, in the words of the library.
    Failed(String),
}

impl Cause {
    /// A word for `status`, if it is the peer's fault.
    fn counter(&self) -> Option<&'static str> {
        match self {
            Self::Silent => Some("link-silent"),
            Self::Protocol("frame length") => Some("link-frame-length"),
            Self::Protocol(
                "unknown class" | "second stream of a class" | "stream from the side that listens",
            ) => Some("link-streams"),
            Self::Protocol("not a djembe node") => Some("link-other-protocol"),
            Self::Protocol(_) => Some("link-garbage"),
            Self::QueueFull => Some("link-queue-full"),
            Self::Ours | Self::Closed | Self::Reset | Self::TimedOut | Self::Failed(_) => None,
        }
    }
}

/// A frame was not queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum NotSent {
    /// The link is gone or going; its `LinkDown` is on the way or was returned.
    #[error("link is gone")]
    Gone,
    /// The link's queue is over its bound. The link is being closed.
    #[error("link's queue is full")]
    Full,
}

/// A transport could not be made, or cannot listen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportError {
    /// Somebody else, perhaps another node, has the port.
    #[error("{0} is in use")]
    AddressInUse(Multiaddr),
    /// This host has no such address.
    #[error("{0} is not an address of this host")]
    AddressNotAvailable(Multiaddr),
    /// An address for which there is no transport.
    #[error("cannot listen on {0}: expected /ip4/ADDRESS/tcp/PORT or /ip4/ADDRESS/udp/PORT/quic-v1, or ip6")]
    AddressNotSupported(Multiaddr),
    /// The system refuses for another reason.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: Multiaddr,
        /// What the system said.
        source: io::Error,
    },
    /// The key makes no identity, or the encryption cannot use it.
    #[error("key: {0}")]
    Key(String),
    /// mDNS does not start.
    #[error("mDNS: {0}")]
    Mdns(io::Error),
}

/// Owns the sockets. Everything but this is tasks that end with it.
pub(crate) struct Transport<T: Send + 'static> {
    swarm: Swarm<Behaviour<T>>,
    reports: Arc<Reports>,
    links: HashMap<LinkId, Arc<Link>>,
    /// Links whose connection is gone, until their control frames are handed over.
    ended: Vec<(Arc<Link>, Cause)>,
    dials: HashMap<ConnectionId, Dial>,
    events: VecDeque<TransportEvent>,
    /// Connections that were not let in and links that were ended for what came on them, by cause.
    refusals: Counters,
    probes: probe::Probes,
}

/// A dial under way.
struct Dial {
    peer: Option<PeerId>,
    addresses: Vec<Multiaddr>,
    /// QUIC addresses, for when no TCP address answers.
    fallback: Vec<Multiaddr>,
}

impl<T: Send + 'static> Transport<T> {
    /// Makes a transport and starts to listen. `inbound` has a sender per class, in the order of [`Class::ALL`];
    /// classes may share a channel, but control should have its own. Needs a tokio runtime.
    pub(crate) fn new(
        mut config: TransportConfig,
        check: CheckFn<T>,
        inbound: [mpsc::Sender<Inbound<T>>; Class::ALL.len()],
    ) -> Result<Self, TransportError> {
        let keypair = identity::Keypair::ed25519_from_bytes(config.secret_key.as_mut_slice())
            .map_err(|error| TransportError::Key(error.to_string()))?;
        let local = keypair.public().to_peer_id();
        let mdns = config.mdns.map(|config| mdns::tokio::Behaviour::new(config, local)).transpose();
        let reports = Arc::new(Reports::default());
        let behaviour = Behaviour::new(
            config.links_max,
            mdns.map_err(TransportError::Mdns)?,
            Wiring { check, inbound },
            reports.clone(),
        );
        let swarm_config = swarm::Config::with_tokio_executor()
            .with_substream_upgrade_protocol_override(Version::V1Lazy)
            .with_max_negotiating_inbound_streams(Class::ALL.len())
            .with_per_connection_event_buffer_size(2);
        let mut this = Self {
            swarm: Swarm::new(connections(&keypair)?, behaviour, local, swarm_config),
            reports,
            links: HashMap::new(),
            ended: Vec::new(),
            dials: HashMap::new(),
            events: VecDeque::new(),
            refusals: Counters::default(),
            probes: probe::Probes::default(),
        };
        this.listen_on_all(config.listen)?;
        Ok(this)
    }

    /// This node's identity as others see it.
    #[cfg(test)]
    pub(crate) fn local_peer(&self) -> PeerId {
        peer_from_libp2p(self.swarm.local_peer_id()).expect("the identity was made from an Ed25519 key")
    }

    /// What was refused so far, by cause.
    pub(crate) fn refusals(&self) -> &Counters {
        &self.refusals
    }

    /// Listens on one more address; `Listening` tells what came of port 0 and of unspecified addresses.
    pub(crate) fn listen(&mut self, address: Multiaddr) -> Result<(), TransportError> {
        bind::try_alone(&address)?;
        match self.swarm.listen_on(address.clone()) {
            Ok(_) => Ok(()),
            Err(Libp2pTransportError::MultiaddrNotSupported(_)) => {
                Err(TransportError::AddressNotSupported(address))
            }
            Err(Libp2pTransportError::Other(error)) => Err(bind::listen_error(address, error)),
        }
    }

    /// Dials a peer at all its addresses at once, unless it is connected or being dialled; then the link or the
    /// dial that there is will speak for both. Without a peer each address is a dial of its own.
    pub(crate) fn dial(&mut self, peer: Option<PeerId>, addresses: Vec<Multiaddr>) {
        let mut known: Vec<Multiaddr> = Vec::new();
        for mut address in addresses {
            let named = match address.iter().last() {
                Some(Protocol::P2p(named)) => {
                    address.pop();
                    peer_from_libp2p(&named)
                }
                _ => None,
            };
            match (peer, named) {
                (None, None) => self.dial_address(address),
                (None, Some(named)) => self.dial_peer(named, vec![address]),
                // What is known to be somebody else's address is not dialled.
                (Some(peer), Some(named)) if peer != named => {}
                (Some(_), _) => known.push(address),
            }
        }
        if let Some(peer) = peer {
            self.dial_peer(peer, known);
        }
    }

    /// Measures the round trip to a peer without a link to it.
    pub(crate) fn probe(&mut self, peer: PeerId, addresses: &[Multiaddr]) {
        if !self.probes.start(peer, addresses) {
            tracing::debug!(peer = %peer.short(), "too many probes under way");
        }
    }

    /// Queues a frame; it leaves when the link is woken. Never blocks; the caller keeps account of what it queued and
    /// what was written.
    pub(crate) fn send(&self, link: LinkId, class: Class, frame: Transmit) -> Result<(), NotSent> {
        assert!((1..=FRAME_MAX).contains(&frame.len()), "a frame has 1 to {FRAME_MAX} bytes");
        self.links.get(&link).ok_or(NotSent::Gone)?.push(class, frame)
    }

    /// Has what was queued for a link written.
    pub(crate) fn wake(&self, link: LinkId) {
        if let Some(link) = self.links.get(&link) {
            link.writer.wake();
        }
    }

    /// Closes one link. What is queued as control still goes out, for half a second at most; `LinkDown` follows.
    pub(crate) fn close(&mut self, link: LinkId) {
        if let Some(link) = self.links.get(&link) {
            link.close();
        }
    }

    /// Closes a link whose peer deserves no last word, and listens to nothing more on it; `LinkDown` follows.
    pub(crate) fn cut_off(&mut self, link: LinkId) {
        if let Some(link) = self.links.get(&link) {
            link.cut_off();
        }
    }

    /// What happens next. Cancel-safe: nothing is lost when the future is dropped.
    pub(crate) async fn next_event(&mut self) -> TransportEvent {
        loop {
            if let Some(event) = self.events.pop_front() {
                if let TransportEvent::LinkUp { link, .. } = event
                    && let Some(link) = self.links.get(&link)
                {
                    link.released.set(true).ok();
                }
                return event;
            }
            // No await between the end of one of these and what is done about it.
            tokio::select! {
                biased;
                () = self.reports.notify.notified() => self.on_reports(),
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                (peer, rtt) = self.probes.next() => return TransportEvent::Probed { peer, rtt },
            }
        }
    }

    fn on_reports(&mut self) {
        for link in self.reports.take() {
            let written = link.take_written();
            for (class, bytes) in Class::ALL.into_iter().zip(written) {
                if bytes > 0 && self.links.contains_key(&link.id) {
                    self.events.push_back(TransportEvent::Written { link: link.id, class, bytes });
                }
            }
        }
        self.bring_down();
    }

    /// Reports the links that are gone and drained.
    fn bring_down(&mut self) {
        for (link, cause) in self.ended.extract_if(.., |(link, _)| link.is_drained()) {
            self.links.remove(&link.id);
            self.events.push_back(TransportEvent::LinkDown { link: link.id, peer: link.peer, cause });
        }
    }

    fn on_swarm_event(&mut self, event: SwarmEvent<Notice>) {
        match event {
            SwarmEvent::Behaviour(Notice::Up(connection)) => self.on_up(connection),
            SwarmEvent::Behaviour(Notice::Mdns(event)) => self.events.push_back(match event {
                mdns::Event::Discovered(list) => TransportEvent::MdnsDiscovered(own_names(list)),
                mdns::Event::Expired(list) => TransportEvent::MdnsExpired(own_names(list)),
            }),
            SwarmEvent::ConnectionClosed { connection_id, cause, .. } => {
                self.on_closed(connection_id, cause.as_ref())
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                if let Some(dial) = self.dials.remove(&connection_id) {
                    self.on_dial_error(dial, &error);
                }
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(from = %send_back_addr, %error, "incoming connection fails");
                self.refusals.add(failure::cause_of_refusal(&error), 1);
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                self.events.push_back(TransportEvent::Listening { address })
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.events.push_back(TransportEvent::ListeningEnded { address });
            }
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                if let Err(error) = reason {
                    tracing::warn!(%error, ?addresses, "listener fails");
                }
                let ended = addresses.into_iter().map(|address| TransportEvent::ListeningEnded { address });
                self.events.extend(ended);
            }
            SwarmEvent::ListenerError { error, .. } => tracing::debug!(%error, "listener has an error"),
            _ => {}
        }
    }

    fn on_up(&mut self, connection: ConnectionId) {
        self.dials.remove(&connection);
        let Some(link) = self.swarm.behaviour().link(connection) else {
            return;
        };
        let Link { id, peer, dialed, path, .. } = &**link;
        tracing::debug!(link = id.0, peer = %peer.short(), dialed, path = %path.address, "link up");
        self.links.insert(*id, link.clone());
        self.events.push_back(TransportEvent::LinkUp {
            link: *id,
            peer: *peer,
            dialed: *dialed,
            path: path.clone(),
        });
    }

    fn on_closed(&mut self, connection: ConnectionId, error: Option<&ConnectionError>) {
        let Some(link) = self.swarm.behaviour_mut().remove_link(connection) else {
            return;
        };
        let cause = link.fault().unwrap_or_else(|| failure::cause_of_end(error));
        tracing::debug!(link = link.id.0, peer = %link.peer.short(), ?cause, "link down");
        if let Some(counter) = cause.counter() {
            self.refusals.add(counter, 1);
        }
        if self.links.contains_key(&link.id) {
            self.ended.push((link, cause));
            self.bring_down();
            return;
        }
        link.released.set(false).ok();
        if let Some(dial) = self.dials.remove(&connection) {
            let error = format!("connected, but the link did not come up: {cause:?}");
            let Dial { peer, addresses, .. } = dial;
            self.events.push_back(TransportEvent::DialFailed { peer, addresses, refused: false, error });
        }
    }

    fn listen_on_all(&mut self, addresses: Vec<Multiaddr>) -> Result<(), TransportError> {
        if !addresses.is_empty() {
            return addresses.into_iter().try_for_each(|address| self.listen(address));
        }
        // Where IPv6 is switched off, IPv4 must do.
        let results: Vec<_> = default_addresses().into_iter().map(|address| self.listen(address)).collect();
        if results.iter().all(Result::is_err) { results.into_iter().collect() } else { Ok(()) }
    }

    /// Every address by itself: who is there will be seen.
    fn dial_address(&mut self, address: Multiaddr) {
        if self.dials.values().any(|dial| dial.peer.is_none() && dial.addresses.contains(&address)) {
            return;
        }
        let options = DialOpts::unknown_peer_id().address(address.clone());
        let options = if is_quic(&address) { options } else { options.allocate_new_port() }.build();
        self.start_dial(options, Dial { peer: None, addresses: vec![address], fallback: Vec::new() });
    }

    fn dial_peer(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        if self.dials.values().any(|dial| dial.peer == Some(peer)) {
            return;
        }
        let mut seen = HashSet::new();
        let (quic, tcp): (Vec<_>, Vec<_>) = addresses
            .into_iter()
            .filter(|address| seen.insert(address.clone()))
            .take(DIAL_ADDRESSES_MAX)
            .partition(is_quic);
        if tcp.is_empty() { self.dial_all(peer, quic, Vec::new()) } else { self.dial_all(peer, tcp, quic) }
    }

    /// Dials addresses of one kind at once.
    fn dial_all(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, fallback: Vec<Multiaddr>) {
        let Some(libp2p_peer) = peer_to_libp2p(&peer) else {
            // Whoever asked waits for an answer, and the place among dials with it.
            let (peer, error) = (Some(peer), "the peer id is not a key".to_owned());
            self.events.push_back(TransportEvent::DialFailed { peer, addresses, refused: false, error });
            return;
        };
        let factor = u8::try_from(addresses.len()).ok().and_then(NonZeroU8::new).unwrap_or(NonZeroU8::MIN);
        let options = DialOpts::peer_id(libp2p_peer).override_dial_concurrency_factor(factor);
        let is_quic = addresses.first().is_some_and(is_quic);
        let options = options.addresses(addresses.clone());
        // QUIC shares the listener's socket. TCP must not: from listening port to listening port, two nodes that
        // dial each other make one connection with two dialers.
        let options = if is_quic { options } else { options.allocate_new_port() };
        self.start_dial(options.build(), Dial { peer: Some(peer), addresses, fallback });
    }

    fn start_dial(&mut self, options: DialOpts, dial: Dial) {
        let connection = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.dials.insert(connection, dial);
            }
            Err(DialError::DialPeerConditionFalse(_)) => {
                tracing::debug!(peer = ?dial.peer, "already connected")
            }
            Err(error) => self.on_dial_error(dial, &error),
        }
    }

    fn on_dial_error(&mut self, dial: Dial, error: &DialError) {
        let refused = failure::is_refused(error);
        let text = failure::dial_text(error);
        tracing::debug!(peer = ?dial.peer, refused, error = %text, "dial fails");
        match dial.peer {
            Some(peer) if !refused && !dial.fallback.is_empty() => {
                self.dial_all(peer, dial.fallback, Vec::new())
            }
            peer => {
                let addresses = dial.addresses;
                self.events.push_back(TransportEvent::DialFailed { peer, addresses, refused, error: text });
            }
        }
    }
}

fn default_addresses() -> Vec<Multiaddr> {
    use std::net::{Ipv4Addr, Ipv6Addr};
    let ips = [Protocol::Ip4(Ipv4Addr::UNSPECIFIED), Protocol::Ip6(Ipv6Addr::UNSPECIFIED)];
    let tcp = ips.clone().map(|ip| Multiaddr::empty().with(ip).with(Protocol::Tcp(0)));
    let mut addresses = Vec::from(tcp);
    if cfg!(feature = "quic") {
        let quic = |ip| Multiaddr::empty().with(ip).with(Protocol::Udp(0)).with(Protocol::QuicV1);
        addresses.extend(ips.map(quic));
    }
    addresses
}

pub(crate) fn is_quic(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::QuicV1)
}

pub(crate) fn is_loopback(address: &Multiaddr) -> bool {
    address.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_loopback(),
        Protocol::Ip6(ip) => ip.is_loopback(),
        _ => false,
    })
}

/// Only Ed25519 identities have a name here.
fn peer_from_libp2p(peer: &libp2p::PeerId) -> Option<PeerId> {
    peer.to_base58().parse().ok()
}

fn peer_to_libp2p(peer: &PeerId) -> Option<libp2p::PeerId> {
    let key = identity::ed25519::PublicKey::try_from_bytes(&peer.0).ok()?;
    Some(identity::PublicKey::from(key).to_peer_id())
}

fn own_names(list: Vec<(libp2p::PeerId, Multiaddr)>) -> Vec<(PeerId, Multiaddr)> {
    list.into_iter().filter_map(|(peer, address)| Some((peer_from_libp2p(&peer)?, address))).collect()
}
