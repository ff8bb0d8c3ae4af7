//! How far away a peer is to which no link stands: the time of a TCP handshake, which the kernel at the other end
//! answers, whatever its process is busy with. Nothing is said on the connection.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use djembe_protocol::id::PeerId;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Nobody who takes longer is near.
const PATIENCE: Duration = Duration::from_secs(2);
/// Addresses of one peer that are tried.
const ADDRESSES_MAX: usize = 4;
/// Probes under way; the engine starts a few each second.
const PROBES_MAX: usize = 64;

/// Probes under way.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    tasks: JoinSet<(PeerId, Option<Duration>)>,
}

impl Probes {
    /// Measures a peer by the first of its addresses that answers. False if too many are under way.
    pub(crate) fn start(&mut self, peer: PeerId, addresses: &[Multiaddr]) -> bool {
        if self.tasks.len() >= PROBES_MAX {
            return false;
        }
        let addresses: Vec<SocketAddr> =
            addresses.iter().filter_map(tcp_address).take(ADDRESSES_MAX).collect();
        self.tasks.spawn(async move { (peer, measure(addresses).await) });
        true
    }

    /// The next result. Pends for ever while there is nothing under way. Cancel-safe.
    pub(crate) async fn next(&mut self) -> (PeerId, Option<Duration>) {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(result)) => return result,
                // A probe that panicked or was aborted has nothing to say.
                Some(Err(error)) => tracing::debug!(%error, "probe"),
                None => std::future::pending().await,
            }
        }
    }
}

async fn measure(addresses: Vec<SocketAddr>) -> Option<Duration> {
    let mut attempts = JoinSet::new();
    for address in addresses {
        attempts.spawn(async move {
            let start = Instant::now();
            TcpStream::connect(address).await.ok().map(|_| start.elapsed())
        });
    }
    let first = async {
        while let Some(attempt) = attempts.join_next().await {
            if let Ok(Some(rtt)) = attempt {
                return Some(rtt);
            }
        }
        None
    };
    tokio::time::timeout(PATIENCE, first).await.ok().flatten()
}

fn tcp_address(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

    use super::*;

    /// Goal: who listens is measured, who does not is not there.
    #[tokio::test]
    async fn a_listener_answers_and_a_closed_port_does_not() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open: Multiaddr =
            format!("/ip4/127.0.0.1/tcp/{}", listener.local_addr().unwrap().port()).parse().unwrap();
        let closed: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        let quic: Multiaddr = "/ip4/127.0.0.1/udp/1/quic-v1".parse().unwrap();
        let mut probes = Probes::default();
        let peer = PeerId([1; 32]);
        for (addresses, answers) in
            [(vec![closed.clone(), quic.clone(), open], true), (vec![closed, quic], false), (vec![], false)]
        {
            assert!(probes.start(peer, &addresses));
            let (of, rtt) = probes.next().await;
            assert_eq!((of, rtt.is_some()), (peer, answers));
        }
    }
}
