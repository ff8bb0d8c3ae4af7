//! Yamux under libp2p, with the settings that libp2p's own adapter keeps to itself.
//!
//! Same protocol on the wire (`/yamux/1.0.0`), three differences. A data frame carries up to one Noise message
//! instead of 16 KiB: a quarter of the system calls and wake-ups for an envelope. The receive window of a
//! connection has a bound that fits our few streams, so a peer cannot make us buffer a gigabyte. And closing has
//! a time limit, because a peer that stopped reading would otherwise hold the connection open for ever.

use std::collections::VecDeque;
use std::future::{Future, Ready, ready};
use std::io;
use std::iter;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use tokio::time::{Sleep, sleep};
use yamux::{Connection, ConnectionError, FrameDecodeError, Mode};

use super::gate::{Gate, OPENED_MAX};

/// Streams of one connection: no more than may be opened in its life.
const STREAMS_MAX: usize = OPENED_MAX as usize;
/// What all streams of a connection together may have in flight above the 256 KiB that each has by right.
const EXTRA_WINDOW: usize = 1024 * 1024;
/// Payload of a Noise message less a Yamux header: a full data frame becomes exactly one Noise message.
const SPLIT: usize = 65_535 - 1024 - 12;
/// How long closing may wait for a peer that does not read.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// The upgrade from an encrypted byte stream to a multiplexed connection.
#[derive(Clone, Copy)]
pub(super) struct Yamux;

/// A multiplexed connection. Only [`StreamMuxer::poll`] drives it: the swarm polls that first every time.
pub(super) struct Muxer<C> {
    connection: Connection<Gate<C>>,
    /// Streams that the peer opened, until the swarm takes them. Bounded by [`STREAMS_MAX`] inside Yamux.
    inbound: VecDeque<yamux::Stream>,
    taker: Option<Waker>,
    closing: Option<Pin<Box<Sleep>>>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = yamux::Stream;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<yamux::Stream>> {
        match self.inbound.pop_front() {
            Some(stream) => Poll::Ready(Ok(stream)),
            None => {
                self.taker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<yamux::Stream>> {
        self.connection.poll_new_outbound(cx).map_err(into_io)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Poll::Ready(result) = this.connection.poll_close(cx) {
            return Poll::Ready(result.map_err(into_io));
        }
        let patience = this.closing.get_or_insert_with(|| Box::pin(sleep(CLOSE_PATIENCE)));
        patience.as_mut().poll(cx).map(Ok)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        let this = &mut *self;
        loop {
            match this.connection.poll_next_inbound(cx) {
                Poll::Ready(Some(Ok(stream))) => {
                    this.inbound.push_back(stream);
                    this.taker.take().inspect(Waker::wake_by_ref);
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(into_io(error))),
                Poll::Ready(None) => return Poll::Ready(Err(into_io(ConnectionError::Closed))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// The cause at the bottom, so that a reset, an end and a fault of the peer stay apart.
fn into_io(error: ConnectionError) -> io::Error {
    match error {
        ConnectionError::Io(error) | ConnectionError::Decode(FrameDecodeError::Io(error)) => error,
        ConnectionError::Closed => io::ErrorKind::UnexpectedEof.into(),
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}

fn muxer<C: AsyncRead + AsyncWrite + Unpin>(io: C, mode: Mode) -> Muxer<C> {
    let mut config = yamux::Config::default();
    config
        .set_max_num_streams(STREAMS_MAX)
        .set_max_connection_receive_window(Some(STREAMS_MAX * yamux::DEFAULT_CREDIT as usize + EXTRA_WINDOW))
        .set_split_send_size(SPLIT);
    Muxer {
        connection: Connection::new(Gate::new(io, mode == Mode::Client), config, mode),
        inbound: VecDeque::new(),
        taker: None,
        closing: None,
    }
}

impl UpgradeInfo for Yamux {
    type Info = &'static str;
    type InfoIter = iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::once("/yamux/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Muxer<C>>>;

    fn upgrade_inbound(self, io: C, _: Self::Info) -> Self::Future {
        ready(Ok(muxer(io, Mode::Server)))
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Muxer<C>>>;

    fn upgrade_outbound(self, io: C, _: Self::Info) -> Self::Future {
        ready(Ok(muxer(io, Mode::Client)))
    }
}
