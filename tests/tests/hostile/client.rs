//! A client that speaks libp2p as well as it has to, and whatever it likes on top.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use djembe_protocol::crypto::{GroupKey, Identity};
use djembe_protocol::id::{Incarnation, PeerId};
use djembe_protocol::wire::beacon::NetworkTag;
use djembe_protocol::wire::compress::Compressor;
use djembe_protocol::wire::frame::{Class, Frame, Hello, PeerRecord, Subscribe, Why};
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::core::Endpoint;
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt, SubstreamBox};
use libp2p::core::transport::{Boxed, DialOpts, PortUse, Transport as _};
use libp2p::core::upgrade::{OutboundConnectionUpgrade as _, Version};
use libp2p::{Multiaddr, identity, noise, quic, tcp, yamux};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Nothing a client waits for takes so long, unless it is refused by silence.
const PATIENCE: Duration = Duration::from_secs(10);

/// An identity that can dial.
pub(crate) struct Client {
    pub(crate) identity: Identity,
    transport: Boxed<(libp2p::PeerId, StreamMuxerBox)>,
}

impl Client {
    pub(crate) fn new(seed: u64) -> Self {
        let mut secret = [0x55; 32];
        secret[..8].copy_from_slice(&seed.to_le_bytes());
        let identity = Identity::from_seed(secret);
        let keypair = identity::Keypair::ed25519_from_bytes(secret).unwrap();
        let mut yamux = yamux::Config::default();
        // What it opens is limited by the other side only.
        yamux.set_max_num_streams(4000);
        let tcp = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true))
            .upgrade(Version::V1Lazy)
            .authenticate(noise::Config::new(&keypair).unwrap())
            .multiplex(yamux)
            .boxed();
        let quic = quic::tokio::Transport::new(quic::Config::new(&keypair))
            .map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)))
            .boxed();
        let transport = tcp.or_transport(quic).map(|either, _| either.into_inner()).boxed();
        Self { identity, transport }
    }

    pub(crate) async fn connect(&mut self, address: &Multiaddr) -> io::Result<Connection> {
        let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        let dial = self.transport.dial(address.clone(), options).map_err(io::Error::other)?;
        // QUIC's transport wants to be polled while a dial of it goes on.
        let drive = poll_fn(|cx| {
            let _ = Pin::new(&mut self.transport).poll(cx);
            Poll::<()>::Pending
        });
        let (_, muxer) = tokio::select! {
            made = timeout(PATIENCE, dial) => made.map_err(io::Error::other)?.map_err(io::Error::other)?,
            () = drive => unreachable!(),
        };
        let (ask, asked) = mpsc::channel(64);
        Ok(Connection { ask, task: tokio::spawn(run(muxer, asked)) })
    }

    /// A connection with its streams, on which nothing was said yet.
    pub(crate) async fn open(&mut self, address: &Multiaddr) -> io::Result<(Connection, Link)> {
        let connection = self.connect(address).await?;
        let mut streams = Vec::new();
        for class in Class::ALL {
            streams.push(connection.open_class(class as u8).await?);
        }
        let link = Link { streams, compressors: Default::default(), peer: peer_of(address) };
        Ok((connection, link))
    }

    /// All that a member does: connects, opens its streams, greets, and proves that it knows the group's key.
    pub(crate) async fn join(
        &mut self,
        address: &Multiaddr,
        network: &str,
        group: &str,
    ) -> io::Result<(Connection, Link)> {
        let hello = self.hello(network);
        self.join_with(address, network, group, hello).await
    }

    /// The same with a greeting of its own.
    pub(crate) async fn join_with(
        &mut self,
        address: &Multiaddr,
        network: &str,
        group: &str,
        hello: Hello,
    ) -> io::Result<(Connection, Link)> {
        let (connection, mut link) = self.open(address).await?;
        link.send(Class::Control, &hello.clone().into()).await?;
        let theirs = loop {
            if let Some(Frame::Hello(theirs)) = link.read_control().await? {
                break theirs;
            }
        };
        // It has heard our greeting once it says which groups it is in.
        while !matches!(link.read_control().await?, Some(Frame::Subscribe(_))) {}
        let key = GroupKey::open(network, group, None).unwrap();
        let me = self.identity.peer_id();
        let proof = key.link_proof(&me, &link.peer, &hello.nonce, &theirs.nonce);
        link.send(Class::Control, &Subscribe { group: 1, proof }.into()).await?;
        Ok((connection, link))
    }

    pub(crate) fn hello(&self, network: &str) -> Hello {
        Hello {
            min: 1,
            max: 1,
            features: 0,
            network: NetworkTag::of(network).0,
            nonce: [7; 16],
            incarnation: Incarnation(1),
            why: Why::Mesh,
            record: PeerRecord::new(&self.identity, 1, Vec::new(), Vec::new()),
        }
    }
}

/// The peer id that an address ends with.
fn peer_of(address: &Multiaddr) -> PeerId {
    let text = address.to_string();
    text.rsplit_once("/p2p/").and_then(|(_, id)| id.parse().ok()).expect("an address with a peer id")
}

type Ask = oneshot::Sender<io::Result<SubstreamBox>>;

/// An authenticated connection. It ends when this is dropped.
pub(crate) struct Connection {
    ask: mpsc::Sender<Ask>,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Opens streams, and refuses those of the other side, until the connection ends.
async fn run(mut muxer: StreamMuxerBox, mut asked: mpsc::Receiver<Ask>) {
    let mut waiting: VecDeque<Ask> = VecDeque::new();
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(Some(ask)) = asked.poll_recv(cx) {
                waiting.push_back(ask);
                continue;
            }
            match muxer.poll_unpin(cx) {
                Poll::Ready(Ok(_)) => continue,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            // QUIC tells of its end here.
            match muxer.poll_inbound_unpin(cx) {
                Poll::Ready(Ok(_)) => continue,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            if !waiting.is_empty()
                && let Poll::Ready(stream) = muxer.poll_outbound_unpin(cx)
            {
                let _ = waiting.pop_front().map(|ask| ask.send(stream));
                continue;
            }
            return Poll::Pending;
        }
    })
    .await;
}

impl Connection {
    /// A stream on which nothing was said.
    pub(crate) async fn open(&self) -> io::Result<SubstreamBox> {
        let (ask, stream) = oneshot::channel();
        self.ask.send(ask).await.map_err(io::Error::other)?;
        timeout(PATIENCE, stream).await.map_err(io::Error::other)?.map_err(io::Error::other)?
    }

    /// A stream of a class, agreed upon.
    pub(crate) async fn open_class(&self, class: u8) -> io::Result<SubstreamBox> {
        let mut stream = self.open().await?;
        stream.write_all(NEGOTIATION).await?;
        stream.write_all(&[class]).await?;
        stream.flush().await?;
        let mut answer = [0; NEGOTIATION.len() + 1];
        timeout(PATIENCE, stream.read_exact(&mut answer)).await.map_err(io::Error::other)??;
        Ok(stream)
    }

    /// Whether the other side has closed it, after it had time to.
    pub(crate) async fn is_closed_within(&mut self, patience: Duration) -> bool {
        timeout(patience, &mut self.task).await.is_ok()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.task.is_finished()
    }
}

/// multistream-select, both lines at once.
pub(crate) const NEGOTIATION: &[u8] = b"\x13/multistream/1.0.0\n\x0a/djembe/1\n";

/// The four streams of a link.
pub(crate) struct Link {
    pub(crate) streams: Vec<SubstreamBox>,
    compressors: [Compressor; Class::ALL.len()],
    pub(crate) peer: PeerId,
}

impl Link {
    pub(crate) async fn send(&mut self, class: Class, frame: &Frame) -> io::Result<()> {
        let encoded = frame.encode();
        let mut bytes = vec![0; 4];
        let compressor = &mut self.compressors[class as usize];
        let rest = compressor.elide(&encoded.head[4..], &encoded.body, &mut bytes);
        bytes.extend_from_slice(&encoded.body[rest..]);
        let length = u32::try_from(bytes.len() - 4).unwrap();
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        self.write(class, &bytes).await
    }

    /// Whatever it is. Who does not read on is not waited for without end.
    pub(crate) async fn write(&mut self, class: Class, bytes: &[u8]) -> io::Result<()> {
        let stream = &mut self.streams[class as usize];
        let write = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        timeout(PATIENCE, write).await.map_err(io::Error::other)?
    }

    /// The next frame on the control stream that can be read.
    pub(crate) async fn read_control(&mut self) -> io::Result<Option<Frame>> {
        let stream = &mut self.streams[Class::Control as usize];
        let read = async {
            let mut length = [0; 4];
            stream.read_exact(&mut length).await?;
            let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
            stream.read_exact(&mut bytes).await?;
            io::Result::Ok(bytes)
        };
        let bytes = timeout(PATIENCE, read).await.map_err(io::Error::other)??;
        Ok(Frame::decode(bytes.into()).ok().flatten())
    }
}

/// A socket with Noise on it, and Yamux agreed upon and left to the caller.
pub(crate) async fn noise(
    address: &Multiaddr,
) -> impl futures::AsyncRead + futures::AsyncWrite + Unpin + use<> {
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    let mut tcp = tcp::tokio::Transport::new(tcp::Config::new());
    let mut address = address.clone();
    address.pop();
    let mut socket = tcp.dial(address, options).unwrap().await.unwrap();
    agree(&mut socket, b"\x13/multistream/1.0.0\n\x07/noise\n").await;
    let noise = noise::Config::new(&identity::Keypair::generate_ed25519()).unwrap();
    let (_, mut socket) = noise.upgrade_outbound(socket, "/noise").await.unwrap();
    agree(&mut socket, b"\x13/multistream/1.0.0\n\x0d/yamux/1.0.0\n").await;
    socket
}

/// Says what it wants to speak, and hears the same.
async fn agree(socket: &mut (impl futures::AsyncRead + futures::AsyncWrite + Unpin), offer: &[u8]) {
    socket.write_all(offer).await.unwrap();
    socket.flush().await.unwrap();
    let mut answer = vec![0; offer.len()];
    timeout(PATIENCE, socket.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, offer);
}
