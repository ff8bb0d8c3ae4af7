//! The libp2p side of links: who may connect, which streams a connection has, and when it is up.
//!
//! The dialer opens one stream per class as soon as the connection stands. On each it says the class in one
//! byte, and the listener says it back. Negotiation is lazy, so both ride on the round trip that the negotiation
//! takes anyway, and afterwards nothing of it is left in the stream: reader and writer may be polled by
//! different tasks. A link is up on each side when its control stream is there.
//!
//! Not here: frames (see `streams`), and any decision about which of two links between the same peers to keep.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::iter;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use djembe_protocol::id::LinkId;
use djembe_protocol::limits::HELLO_PATIENCE;
use futures::future::BoxFuture;
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
    NetworkBehaviour, StreamUpgradeError, SubstreamProtocol, THandler, THandlerInEvent, ToSwarm,
};
use libp2p::{Stream, StreamProtocol, connection_limits, mdns};
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep};

use super::guard::{Guard, PENDING_MAX};
use super::link::{Link, Reports};
use super::streams::{self, run_reader, run_writer};
use super::{Cause, CheckFn, Class, Inbound, Path, peer_from_libp2p};

const PROTOCOL: StreamProtocol = StreamProtocol::new("/djembe/1");
/// How long the last control frames of a link that is being closed may take to go out.
const LAST_WORD_PATIENCE: Duration = Duration::from_millis(500);

/// What readers need: how to check a frame, and where to put it.
pub(super) struct Wiring<T> {
    pub(super) check: CheckFn<T>,
    pub(super) inbound: [mpsc::Sender<Inbound<T>>; Class::ALL.len()],
}

/// Links, connection limits and mDNS in one behaviour.
pub(super) struct Behaviour<T> {
    limits: connection_limits::Behaviour,
    guard: Guard,
    mdns: Toggle<mdns::tokio::Behaviour>,
    wiring: Arc<Wiring<T>>,
    reports: Arc<Reports>,
    next_link: u64,
    links: HashMap<ConnectionId, Arc<Link>>,
    actions: VecDeque<Action>,
}

/// What the behaviour tells the transport.
pub(super) enum Notice {
    /// The control stream of a connection is there.
    Up(ConnectionId),
    /// Peers came into or went out of sight.
    Mdns(mdns::Event),
}

/// What waits to be done by the swarm.
enum Action {
    Up(ConnectionId),
    Close(libp2p::PeerId, ConnectionId),
}

impl<T: Send + 'static> Behaviour<T> {
    pub(super) fn new(
        links_max: u32,
        mdns: Option<mdns::tokio::Behaviour>,
        wiring: Wiring<T>,
        reports: Arc<Reports>,
    ) -> Self {
        Self {
            limits: connection_limits::Behaviour::new(limits(links_max)),
            guard: Guard::new(Instant::now(), incoming_max(links_max)),
            mdns: mdns.into(),
            wiring: Arc::new(wiring),
            reports,
            next_link: 0,
            links: HashMap::new(),
            actions: VecDeque::new(),
        }
    }

    pub(super) fn link(&self, connection: ConnectionId) -> Option<&Arc<Link>> {
        self.links.get(&connection)
    }

    pub(super) fn remove_link(&mut self, connection: ConnectionId) -> Option<Arc<Link>> {
        self.links.remove(&connection)
    }

    fn add_link(
        &mut self,
        connection: ConnectionId,
        peer: libp2p::PeerId,
        address: &Multiaddr,
        is_dialer: bool,
    ) -> Result<Handler<T>, ConnectionDenied> {
        let peer = peer_from_libp2p(&peer).ok_or_else(|| ConnectionDenied::new(ForeignIdentity))?;
        let path = Path::new(address.clone());
        let link = Link::new(LinkId(self.next_link), peer, path, is_dialer, self.reports.clone());
        self.next_link += 1;
        self.links.insert(connection, link.clone());
        Ok(Handler::new(link, self.wiring.clone()))
    }
}

impl<T> Drop for Behaviour<T> {
    fn drop(&mut self) {
        // Nobody will ask for their frames any more.
        self.links.values().for_each(|link| {
            link.released.set(false).ok();
        });
    }
}

/// The peer's identity is not an Ed25519 key.
#[derive(Debug, thiserror::Error)]
#[error("identity is not an Ed25519 key")]
pub(super) struct ForeignIdentity;

impl<T: Send + 'static> NetworkBehaviour for Behaviour<T> {
    type ConnectionHandler = Handler<T>;
    type ToSwarm = Notice;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.limits.handle_pending_inbound_connection(connection, local, remote)?;
        self.guard.knock(Instant::now(), connection, remote).map_err(ConnectionDenied::new)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<libp2p::PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.limits.handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: libp2p::PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.limits.handle_established_inbound_connection(connection, peer, local, remote)?;
        self.guard.admit(connection).map_err(ConnectionDenied::new)?;
        self.add_link(connection, peer, remote, false)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: libp2p::PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.limits.handle_established_outbound_connection(connection, peer, address, role, port_use)?;
        self.add_link(connection, peer, address, true)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ListenFailure(failure) => self.guard.gone(failure.connection_id),
            FromSwarm::ConnectionClosed(closed) => self.guard.gone(closed.connection_id),
            _ => {}
        }
        self.limits.on_swarm_event(event);
        self.mdns.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: libp2p::PeerId, connection: ConnectionId, event: Signal) {
        self.actions.push_back(match event {
            Signal::Up => Action::Up(connection),
            Signal::Close => Action::Close(peer, connection),
        });
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Notice, THandlerInEvent<Self>>> {
        match self.actions.pop_front() {
            Some(Action::Up(connection)) => {
                return Poll::Ready(ToSwarm::GenerateEvent(Notice::Up(connection)));
            }
            Some(Action::Close(peer_id, connection)) => {
                return Poll::Ready(ToSwarm::CloseConnection {
                    peer_id,
                    connection: CloseConnection::One(connection),
                });
            }
            None => {}
        }
        // The limits never have anything to say, and mDNS neither dials nor talks to handlers.
        while let Poll::Ready(action) = self.mdns.poll(cx) {
            if let ToSwarm::GenerateEvent(event) = action {
                return Poll::Ready(ToSwarm::GenerateEvent(Notice::Mdns(event)));
            }
        }
        Poll::Pending
    }
}

/// What a connection tells the behaviour.
#[derive(Debug)]
pub(super) enum Signal {
    Up,
    Close,
}

/// The streams of one connection.
pub(super) struct Handler<T> {
    link: Arc<Link>,
    wiring: Arc<Wiring<T>>,
    /// Streams still to be asked for: the dialer opens all.
    to_open: VecDeque<Class>,
    has: [bool; Class::ALL.len()],
    signals: VecDeque<Signal>,
    has_signalled_close: bool,
    /// Until the control stream is there, and again while the last words go out.
    patience: Option<Pin<Box<Sleep>>>,
    is_closing: bool,
}

impl<T: Send + 'static> Handler<T> {
    fn new(link: Arc<Link>, wiring: Arc<Wiring<T>>) -> Self {
        Self {
            to_open: if link.dialed { Class::ALL.into() } else { VecDeque::new() },
            link,
            wiring,
            has: [false; Class::ALL.len()],
            signals: VecDeque::new(),
            has_signalled_close: false,
            patience: Some(Box::pin(sleep(HELLO_PATIENCE))),
            is_closing: false,
        }
    }

    fn on_stream(&mut self, class: Class, stream: Stream) {
        if std::mem::replace(&mut self.has[class as usize], true) {
            self.link.fail(Cause::Protocol("second stream of a class"));
            return;
        }
        let (read, write) = streams::split(stream);
        self.link.queues().streams.push((class, write));
        self.link.writer.wake();
        tokio::spawn(run_reader(
            self.link.clone(),
            class,
            read,
            self.wiring.check.clone(),
            self.wiring.inbound[class as usize].clone(),
        ));
        if class == Class::Control {
            tokio::spawn(run_writer(self.link.clone()));
            self.signals.push_back(Signal::Up);
            self.patience = None;
        }
    }

    fn on_patience(&mut self, cx: &mut Context<'_>) {
        if !self.is_closing && self.link.is_closing() {
            self.is_closing = true;
            self.patience = Some(Box::pin(sleep(LAST_WORD_PATIENCE)));
        }
        if let Some(patience) = &mut self.patience
            && patience.as_mut().poll(cx).is_ready()
        {
            self.patience = None;
            // After a close of our own this changes nothing but that it happens now.
            self.link.fail(Cause::Silent);
        }
    }
}

impl<T: Send + 'static> ConnectionHandler for Handler<T> {
    type FromBehaviour = std::convert::Infallible;
    type ToBehaviour = Signal;
    type InboundProtocol = Accept;
    type OutboundProtocol = Open;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Class;

    fn listen_protocol(&self) -> SubstreamProtocol<Accept> {
        SubstreamProtocol::new(Accept, ()).with_timeout(HELLO_PATIENCE)
    }

    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Open, Class, Signal>> {
        self.link.handler.register(cx.waker());
        self.link.report_written();
        if let Some(class) = self.to_open.pop_front() {
            let protocol = SubstreamProtocol::new(Open(class), class).with_timeout(HELLO_PATIENCE);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        self.on_patience(cx);
        if self.link.is_over() && !self.has_signalled_close {
            self.has_signalled_close = true;
            self.signals.push_back(Signal::Close);
        }
        match self.signals.pop_front() {
            Some(signal) => Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(signal)),
            None => Poll::Pending,
        }
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Accept, Open, (), Class>) {
        match event {
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: stream,
                info: class,
            }) => {
                self.on_stream(class, stream);
            }
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (class, stream),
                ..
            }) => match class {
                Some(class) if !self.link.dialed => self.on_stream(class, stream),
                Some(_) => self.link.fail(Cause::Protocol("stream from the side that listens")),
                None => self.link.fail(Cause::Protocol("unknown class")),
            },
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => match error {
                StreamUpgradeError::NegotiationFailed => self.link.fail(Cause::Protocol("not a djembe node")),
                StreamUpgradeError::Timeout => self.link.fail(Cause::Silent),
                // The connection knows better what happened to it.
                StreamUpgradeError::Io(_) | StreamUpgradeError::Apply(_) => self.link.end(),
            },
            // An inbound stream that came to nothing costs nothing; without a control stream patience ends.
            _ => {}
        }
    }
}

impl<T> Drop for Handler<T> {
    fn drop(&mut self) {
        self.link.bury();
    }
}

/// The dialer's side of a stream: says the class, hears it back.
pub(super) struct Open(Class);

/// The listener's side of a stream: hears the class, says it back.
pub(super) struct Accept;

impl UpgradeInfo for Open {
    type Info = StreamProtocol;
    type InfoIter = iter::Once<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::once(PROTOCOL)
    }
}

impl UpgradeInfo for Accept {
    type Info = StreamProtocol;
    type InfoIter = iter::Once<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::once(PROTOCOL)
    }
}

impl OutboundUpgrade<Stream> for Open {
    type Output = Stream;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Stream>>;

    fn upgrade_outbound(self, mut stream: Stream, _: StreamProtocol) -> Self::Future {
        async move {
            stream.write_all(&[self.0 as u8]).await?;
            stream.flush().await?;
            let mut echo = [0];
            stream.read_exact(&mut echo).await?;
            if echo != [self.0 as u8] {
                return Err(io::ErrorKind::InvalidData.into());
            }
            Ok(stream)
        }
        .boxed()
    }
}

impl InboundUpgrade<Stream> for Accept {
    /// No class: a number that this version does not know.
    type Output = (Option<Class>, Stream);
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Output>>;

    fn upgrade_inbound(self, mut stream: Stream, _: StreamProtocol) -> Self::Future {
        async move {
            let mut class = [0];
            stream.read_exact(&mut class).await?;
            stream.write_all(&class).await?;
            stream.flush().await?;
            Ok((Class::from_u8(class[0]), stream))
        }
        .boxed()
    }
}

/// A quarter of the links is kept for peers that this node chooses itself.
fn incoming_max(links_max: u32) -> u32 {
    links_max - links_max / 4
}

/// libp2p's limits say what stands at once; a peer gets room for a link in each direction and one in the making.
fn limits(links_max: u32) -> connection_limits::ConnectionLimits {
    const DIALS_MAX: u32 = 64;
    const PER_PEER_MAX: u32 = 3;
    connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(u32::try_from(PENDING_MAX).ok())
        .with_max_pending_outgoing(Some(DIALS_MAX))
        .with_max_established_per_peer(Some(PER_PEER_MAX))
        .with_max_established_incoming(Some(incoming_max(links_max)))
        .with_max_established(Some(links_max))
}
