//! How a connection comes about: TCP or QUIC, encrypted and multiplexed.

#[cfg(feature = "quic")]
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use djembe_protocol::limits::HELLO_PATIENCE;
#[cfg(feature = "quic")]
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::transport::Transport as _;
use libp2p::core::upgrade::Version;
use libp2p::{identity, noise, tcp};

#[cfg(feature = "quic")]
use super::Class;
#[cfg(feature = "quic")]
use super::gate::OPENED_MAX;
use super::muxer::Yamux;
use super::{TransportError, failure};

type Connections = libp2p::core::transport::Boxed<(libp2p::PeerId, libp2p::core::muxing::StreamMuxerBox)>;

/// TCP with Noise and Yamux, and QUIC if it is built in. Lazy negotiation: the dialer's offers ride on what it
/// says anyway, so a link is up three round trips after the first packet.
pub(super) fn connections(keypair: &identity::Keypair) -> Result<Connections, TransportError> {
    let noise = noise::Config::new(keypair).map_err(|error| TransportError::Key(error.to_string()))?;
    let tcp = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true))
        .map_err(failure::Socket)
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(Yamux)
        .timeout(HELLO_PATIENCE)
        .boxed();
    #[cfg(feature = "quic")]
    let tcp = {
        use libp2p::core::muxing::StreamMuxerBox;
        let quic = libp2p::quic::tokio::Transport::new(quic_config(keypair))
            .map(|(peer, connection), _| (peer, StreamMuxerBox::new(Frugal { connection, n_opened: 0 })))
            .map_err(failure::of_quic)
            .boxed();
        tcp.or_transport(quic)
            .map(|either, _| either.into_inner())
            .map_err(|error| error.into_inner())
            .boxed()
    };
    Ok(tcp)
}

#[cfg(feature = "quic")]
fn quic_config(keypair: &identity::Keypair) -> libp2p::quic::Config {
    let mut config = libp2p::quic::Config::new(keypair);
    config.handshake_timeout = HELLO_PATIENCE;
    // The engine beats every other second and judges silence itself; this only clears away what it does not see.
    config.max_idle_timeout = 10_000;
    config.keep_alive_interval = std::time::Duration::from_secs(4);
    config.max_concurrent_stream_limit = 2 * Class::ALL.len() as u32;
    config.max_stream_data = 512 * 1024;
    config.max_connection_data = 1024 * 1024;
    config
}

/// A QUIC connection on which the peer opens few streams, as the gate sees to it under Yamux.
#[cfg(feature = "quic")]
struct Frugal {
    connection: libp2p::quic::Connection,
    n_opened: u32,
}

#[cfg(feature = "quic")]
impl StreamMuxer for Frugal {
    type Substream = libp2p::quic::Stream;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        let stream = ready!(Pin::new(&mut self.connection).poll_inbound(cx)).map_err(io::Error::other)?;
        self.n_opened += 1;
        if self.n_opened > OPENED_MAX {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "opens stream after stream")));
        }
        Poll::Ready(Ok(stream))
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        Pin::new(&mut self.connection).poll_outbound(cx).map_err(io::Error::other)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_close(cx).map_err(io::Error::other)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        Pin::new(&mut self.connection).poll(cx).map_err(io::Error::other)
    }
}
