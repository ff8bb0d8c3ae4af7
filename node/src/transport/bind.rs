//! Whether an address can be listened on, and why not.

use std::io;
use std::net::SocketAddr;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use socket2::{Domain, Socket, Type};

use super::{TransportError, failure};

/// libp2p listens with a shared port, and two nodes would take turns at getting connections. So we first try to
/// have the port alone.
pub(super) fn try_alone(address: &Multiaddr) -> Result<(), TransportError> {
    let parts: Vec<_> = address.iter().collect();
    let socket_address = match parts[..] {
        [Protocol::Ip4(ip), Protocol::Tcp(port)] => SocketAddr::from((ip, port)),
        [Protocol::Ip6(ip), Protocol::Tcp(port)] => SocketAddr::from((ip, port)),
        _ => return Ok(()),
    };
    if socket_address.port() == 0 {
        return Ok(());
    }
    let attempt = || {
        let socket = Socket::new(Domain::for_address(socket_address), Type::STREAM, None)?;
        if socket_address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&socket_address.into())
    };
    attempt().map_err(|error| listen_error(address.clone(), error))
}

pub(super) fn listen_error(address: Multiaddr, error: io::Error) -> TransportError {
    match failure::root_kind(&error) {
        Some(io::ErrorKind::AddrInUse) => TransportError::AddressInUse(address),
        Some(io::ErrorKind::AddrNotAvailable) => TransportError::AddressNotAvailable(address),
        _ => TransportError::Listen { address, source: error },
    }
}
