//! The sockets of the beacon: two that listen on the shared port, and for each interface those that send.
//!
//! A beacon leaves on each *path*: from each address of each interface to the broadcast address of its network
//! and to the IPv4 group, and once per interface to the IPv6 link-local group. Each path has a socket bound to
//! its source address, because the source is what a listener will dial; Linux also chooses the interface of a
//! multicast by it. Sending is synchronous and never waits: a datagram that does not fit is lost, as on any LAN.
//!
//! IPv6 beacons come from a global or unique local address if the interface has one. From a link-local one they
//! only show that somebody is there: libp2p's transports cannot dial an address with a zone.
//!
//! What fails is kept as text with its path and tried again whenever interfaces are read; it is never fatal.
//! The one exception is a port that another program holds without sharing it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};

use djembe_protocol::wire::beacon::BEACON_LEN;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use super::StartError;
use super::bounds::RECEIVE_ERRORS_MAX;
use super::interfaces::Interface;
use super::report::{InterfaceReport, PathReport};

const GROUP_V4: Ipv4Addr = Ipv4Addr::new(239, 255, 43, 65);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x4365);
/// Longer than a beacon, so that longer datagrams are seen to be longer.
const DATAGRAM_MAX: usize = BEACON_LEN + 2;

/// All sockets of the beacon.
#[derive(Debug)]
pub(super) struct Sockets {
    port: u16,
    v4: Ear,
    v6: Ear,
    outlets: Vec<Outlet>,
    /// Datagrams from addresses of no interface's network.
    n_elsewhere: u64,
}

/// A listening socket, or why there is none.
#[derive(Debug)]
struct Ear {
    socket: Option<tokio::net::UdpSocket>,
    n_errors: u32,
    error: Option<String>,
}

/// An interface with its paths.
#[derive(Debug)]
struct Outlet {
    interface: Interface,
    /// Why a group could not be joined: what is sent to it is not heard here.
    join_v4: Result<(), String>,
    join_v6: Result<(), String>,
    paths: Vec<Path>,
    n_received: u64,
}

#[derive(Debug)]
struct Path {
    kind: PathKind,
    from: IpAddr,
    to: SocketAddr,
    socket: Result<UdpSocket, String>,
    n_sent: u64,
    n_errors: u64,
    last_error: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum PathKind {
    Broadcast,
    MulticastV4,
    MulticastV6,
}

/// A datagram heard.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) from: SocketAddr,
    bytes: [u8; DATAGRAM_MAX],
    n: usize,
}

impl Datagram {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.n]
    }
}

impl Sockets {
    /// Listens on the port. Has no path yet: see [`Sockets::update`].
    pub(super) fn open(port: u16) -> Result<Self, StartError> {
        let v4 = Ear::open(Domain::IPV4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
        let v6 = Ear::open(Domain::IPV6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?;
        Ok(Self { port, v4, v6, outlets: Vec::new(), n_elsewhere: 0 })
    }

    /// Takes over the interfaces as they are now. Says whether a path was added.
    pub(super) fn update(&mut self, interfaces: Vec<Interface>) -> bool {
        let mut old = std::mem::take(&mut self.outlets);
        let mut added = false;
        for interface in interfaces {
            let former = old.iter().position(|outlet| outlet.interface.index == interface.index);
            let mut outlet = match former.map(|at| old.swap_remove(at)) {
                Some(former) => {
                    // A cable that was plugged in is as good as a new path.
                    added |= interface.carrier && !former.interface.carrier;
                    Outlet { interface, ..former }
                }
                None => Outlet {
                    interface,
                    join_v4: Err("not tried".to_owned()),
                    join_v6: Err("not tried".to_owned()),
                    paths: Vec::new(),
                    n_received: 0,
                },
            };
            self.join(&mut outlet);
            added |= outlet.update(self.port);
            self.outlets.push(outlet);
        }
        for gone in old {
            tracing::debug!(interface = gone.interface.name, "interface gone");
            self.leave(&gone);
        }
        added
    }

    /// Sends on all paths. Says how many took it.
    pub(super) fn send(&mut self, bytes: &[u8]) -> usize {
        self.outlets
            .iter_mut()
            .flat_map(|outlet| &mut outlet.paths)
            .filter_map(|path| path.send(bytes))
            .count()
    }

    /// The next datagram. Cancel-safe; pending for ever when nothing listens.
    pub(super) async fn receive(&mut self) -> Datagram {
        let (mut a, mut b) = ([0; DATAGRAM_MAX], [0; DATAGRAM_MAX]);
        tokio::select! {
            (n, from) = self.v4.receive(&mut a) => Datagram { from, bytes: a, n },
            (n, from) = self.v6.receive(&mut b) => Datagram { from, bytes: b, n },
        }
    }

    /// Books a datagram from elsewhere than ourselves to the interface it came by.
    pub(super) fn count(&mut self, from: SocketAddr) {
        match self.outlets.iter_mut().find(|outlet| outlet.is_source(from)) {
            Some(outlet) => outlet.n_received += 1,
            None => self.n_elsewhere += 1,
        }
    }

    pub(super) fn report(&self) -> Vec<InterfaceReport> {
        self.outlets.iter().map(Outlet::report).collect()
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn n_elsewhere(&self) -> u64 {
        self.n_elsewhere
    }

    /// Why one of the two address families is not listened to.
    pub(super) fn errors(&self) -> Vec<String> {
        [("IPv4", &self.v4), ("IPv6", &self.v6)]
            .into_iter()
            .filter_map(|(family, ear)| ear.error.as_ref().map(|error| format!("{family}: {error}")))
            .collect()
    }

    /// Joins the groups on an interface, where that has not been done. A group joined twice is an error that
    /// says all is well.
    fn join(&self, outlet: &mut Outlet) {
        let index = outlet.interface.index;
        if outlet.join_v4.is_err() && !outlet.interface.v4.is_empty() {
            outlet.join_v4 = self
                .v4
                .with(|socket| socket.join_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(index)));
        }
        if outlet.join_v6.is_err() && !outlet.interface.v6.is_empty() && !outlet.interface.loopback {
            outlet.join_v6 = self.v6.with(|socket| socket.join_multicast_v6(&GROUP_V6, index));
        }
    }

    /// Leaves the groups, so that the system's limit of memberships is not used up by interfaces that come and
    /// go. It fails where the interface no longer exists, and then nothing is left to leave.
    fn leave(&self, outlet: &Outlet) {
        let index = outlet.interface.index;
        if outlet.join_v4.is_ok() {
            let _ = self.v4.with(|socket| {
                socket.leave_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(index))
            });
        }
        if outlet.join_v6.is_ok() {
            let _ = self.v6.with(|socket| socket.leave_multicast_v6(&GROUP_V6, index));
        }
    }
}

impl Ear {
    /// Only a port that is held by another program is an error; a host without this address family is not.
    fn open(domain: Domain, address: SocketAddr) -> Result<Self, StartError> {
        match listen(domain, address) {
            Ok(socket) => Ok(Self { socket: Some(socket), n_errors: 0, error: None }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                Err(StartError::PortInUse { port: address.port() })
            }
            Err(error) => {
                tracing::debug!(%address, %error, "beacons are not listened to");
                Ok(Self { socket: None, n_errors: 0, error: Some(error.to_string()) })
            }
        }
    }

    async fn receive(&mut self, bytes: &mut [u8]) -> (usize, SocketAddr) {
        loop {
            let Some(socket) = &self.socket else {
                return std::future::pending().await;
            };
            match socket.recv_from(bytes).await {
                Ok(received) => {
                    self.n_errors = 0;
                    return received;
                }
                Err(error) => {
                    self.n_errors += 1;
                    self.error = Some(error.to_string());
                    if self.n_errors >= RECEIVE_ERRORS_MAX {
                        tracing::warn!(%error, "beacons are no longer listened to");
                        self.socket = None;
                    }
                }
            }
        }
    }

    fn with(&self, act: impl FnOnce(&socket2::SockRef<'_>) -> io::Result<()>) -> Result<(), String> {
        match &self.socket {
            None => Err("not listening".to_owned()),
            Some(socket) => match act(&socket2::SockRef::from(socket)) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(()),
                result => result.map_err(|error| format!("cannot join the group: {error}")),
            },
        }
    }
}

fn listen(domain: Domain, address: SocketAddr) -> io::Result<tokio::net::UdpSocket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
    }
    // Both, as BSD asks for the second one. On Linux the first shares the port between users as well.
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    tokio::net::UdpSocket::from_std(socket.into())
}

impl Outlet {
    /// Opens the paths that the interface's addresses call for, keeps those that work, drops the others.
    fn update(&mut self, port: u16) -> bool {
        let mut added = false;
        let mut old = std::mem::take(&mut self.paths);
        for (kind, from, to) in self.wanted(port) {
            let former = old.iter().position(|path| (path.kind, path.from, path.to) == (kind, from, to));
            let mut path = match former {
                Some(at) => old.swap_remove(at),
                None => Path {
                    kind,
                    from,
                    to,
                    socket: Err("not tried".to_owned()),
                    n_sent: 0,
                    n_errors: 0,
                    last_error: None,
                },
            };
            if path.socket.is_err() {
                path.socket = open(kind, from, self.interface.index).map_err(|error| error.to_string());
                added |= path.socket.is_ok();
            }
            self.paths.push(path);
        }
        added
    }

    fn wanted(&self, port: u16) -> Vec<(PathKind, IpAddr, SocketAddr)> {
        let mut wanted = Vec::new();
        for v4 in &self.interface.v4 {
            if let Some(broadcast) = v4.broadcast {
                let to = SocketAddrV4::new(broadcast, port).into();
                wanted.push((PathKind::Broadcast, v4.address.into(), to));
            }
            let to = SocketAddrV4::new(GROUP_V4, port).into();
            wanted.push((PathKind::MulticastV4, v4.address.into(), to));
        }
        // One is enough for all who hear it, and one that can be dialled is better. Linux has no route for IPv6
        // multicast on its loopback, where broadcast and the IPv4 group serve.
        let v6 = self.interface.v6.iter().map(|v6| v6.address).filter(|_| !self.interface.loopback);
        if let Some(from) = v6.min_by_key(|address| address.is_unicast_link_local()) {
            let to = SocketAddrV6::new(GROUP_V6, port, 0, self.interface.index).into();
            wanted.push((PathKind::MulticastV6, from.into(), to));
        }
        wanted
    }

    /// Whether a datagram with this source came in here, as far as its address tells.
    fn is_source(&self, from: SocketAddr) -> bool {
        match from {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => v6.scope_id() == self.interface.index,
            _ => self.interface.reaches(from.ip()),
        }
    }

    fn report(&self) -> InterfaceReport {
        let paths = |kind: PathKind, join: &Result<(), String>| {
            self.paths.iter().filter(|path| path.kind == kind).map(|path| path.report(join)).collect()
        };
        let addresses = self.interface.v4.iter().map(|v4| v4.address.to_string());
        InterfaceReport {
            name: self.interface.name.clone(),
            index: self.interface.index,
            carrier: self.interface.carrier,
            addresses: addresses.chain(self.interface.v6.iter().map(|v6| v6.address.to_string())).collect(),
            broadcast: paths(PathKind::Broadcast, &Ok(())),
            multicast_v4: paths(PathKind::MulticastV4, &self.join_v4),
            multicast_v6: paths(PathKind::MulticastV6, &self.join_v6),
            received: self.n_received,
        }
    }
}

/// A socket that sends from this address on this interface.
fn open(kind: PathKind, from: IpAddr, index: u32) -> io::Result<UdpSocket> {
    let domain = if from.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    match (kind, from) {
        (PathKind::Broadcast, _) => socket.set_broadcast(true)?,
        (_, IpAddr::V4(from)) => {
            socket.set_multicast_if_v4(&from)?;
            socket.set_multicast_ttl_v4(1)?;
            // Other nodes of this host want to hear it too.
            socket.set_multicast_loop_v4(true)?;
        }
        (_, IpAddr::V6(_)) => {
            socket.set_multicast_if_v6(index)?;
            socket.set_multicast_hops_v6(1)?;
            socket.set_multicast_loop_v6(true)?;
        }
    }
    let from = match from {
        IpAddr::V4(from) => SocketAddrV4::new(from, 0).into(),
        IpAddr::V6(from) => {
            let scope = if from.is_unicast_link_local() { index } else { 0 };
            SocketAddr::from(SocketAddrV6::new(from, 0, 0, scope))
        }
    };
    socket.bind(&from.into())?;
    Ok(socket.into())
}

impl Path {
    fn send(&mut self, bytes: &[u8]) -> Option<()> {
        let Ok(socket) = &self.socket else { return None };
        match socket.send_to(bytes, self.to) {
            Ok(_) => {
                self.n_sent += 1;
                Some(())
            }
            Err(error) => {
                tracing::trace!(from = %self.from, to = %self.to, %error, "beacon not sent");
                self.n_errors += 1;
                self.last_error = Some(error.to_string());
                None
            }
        }
    }

    fn report(&self, join: &Result<(), String>) -> PathReport {
        let error = [self.socket.as_ref().err(), join.as_ref().err(), self.last_error.as_ref()];
        PathReport {
            from: self.from.to_string(),
            to: self.to.ip().to_string(),
            sent: self.n_sent,
            errors: self.n_errors,
            last_error: error.into_iter().flatten().next().cloned(),
        }
    }
}
