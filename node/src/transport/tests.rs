//! Transports that talk to each other over loopback. Nothing here depends on speed: every wait has a deadline
//! that only a hang meets.

use std::time::Duration;

use bytes::Bytes;
use djembe_protocol::error::{DecodeError, Reject};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;

mod elision;
mod floors;

const DEADLINE: Duration = Duration::from_secs(30);
/// The check of these tests refuses frames that begin with this byte.
const POISON: u8 = 0xff;

/// A transport in a task of its own, and what comes out of it.
struct Peer {
    id: PeerId,
    address: Multiaddr,
    commands: mpsc::Sender<Command>,
    events: mpsc::Receiver<TransportEvent>,
    inbound: [mpsc::Receiver<Inbound<Bytes>>; 4],
    task: JoinHandle<()>,
}

type Command = Box<dyn FnOnce(&mut Transport<Bytes>) + Send>;

impl Peer {
    async fn tcp(seed: u8) -> Self {
        Self::start(seed, "/ip4/127.0.0.1/tcp/0").await
    }

    #[cfg(feature = "quic")]
    async fn quic(seed: u8) -> Self {
        Self::start(seed, "/ip4/127.0.0.1/udp/0/quic-v1").await
    }

    async fn start(seed: u8, listen: &str) -> Self {
        let check: CheckFn<Bytes> = Arc::new(|frame| match frame.as_bytes().first() {
            Some(&POISON) => Err(Reject::Decode(DecodeError::Kind(POISON))),
            _ => Ok(frame.as_bytes().clone()),
        });
        let channels = [(); 4].map(|()| mpsc::channel(4));
        let (senders, inbound): (Vec<_>, Vec<_>) = channels.into_iter().unzip();
        let mut transport =
            Transport::new(config(seed, listen), check, senders.try_into().expect("four")).expect("listens");
        let id = transport.local_peer();
        let (commands, mut commands_in) = mpsc::channel::<Command>(16);
        // Wide enough that no test fills it: the driver task must not stand still while a test looks elsewhere.
        let (events_out, mut events) = mpsc::channel(100_000);
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    event = transport.next_event() => events_out.try_send(event).expect("room for events"),
                    command = commands_in.recv() => match command {
                        Some(command) => command(&mut transport),
                        None => return,
                    },
                }
            }
        });
        let TransportEvent::Listening { address } = within(events.recv()).await.expect("listens") else {
            panic!("first news is the address");
        };
        Self { id, address, commands, events, inbound: inbound.try_into().expect("four"), task }
    }

    async fn ask<R: Send + 'static>(
        &self,
        command: impl FnOnce(&mut Transport<Bytes>) -> R + Send + 'static,
    ) -> R {
        let (answer_out, answer) = oneshot::channel();
        let command: Command = Box::new(move |transport| {
            answer_out.send(command(transport)).ok();
        });
        assert!(self.commands.send(command).await.is_ok(), "driver runs");
        within(answer).await.expect("driver answers")
    }

    async fn dial(&self, other: &Peer) {
        let (id, address) = (other.id, other.address.clone());
        self.ask(move |transport| transport.dial(Some(id), vec![address])).await;
    }

    async fn send(&self, link: LinkId, class: Class, body: Bytes) -> Result<(), NotSent> {
        let (head, body) = (body.slice(..1), body.slice(1..));
        self.transmit(link, class, Transmit { head, body }).await
    }

    /// Queues a frame and has it written.
    async fn transmit(&self, link: LinkId, class: Class, frame: Transmit) -> Result<(), NotSent> {
        let send = move |transport: &mut Transport<_>| {
            let sent = transport.send(link, class, frame);
            transport.wake(link);
            sent
        };
        self.ask(send).await
    }

    /// The next event that is not about written bytes.
    async fn event(&mut self) -> TransportEvent {
        loop {
            match within(self.events.recv()).await.expect("driver runs") {
                TransportEvent::Written { .. } => {}
                event => return event,
            }
        }
    }

    async fn up(&mut self) -> LinkId {
        match self.event().await {
            TransportEvent::LinkUp { link, .. } => link,
            other => panic!("expected a link, got {other:?}"),
        }
    }

    async fn down(&mut self) -> (LinkId, Cause) {
        match self.event().await {
            TransportEvent::LinkDown { link, cause, .. } => (link, cause),
            other => panic!("expected the end of a link, got {other:?}"),
        }
    }

    /// Bytes of a class written since the last look, without waiting.
    fn written(&mut self, class: Class) -> usize {
        let mut sum = 0;
        while let Ok(event) = self.events.try_recv() {
            match event {
                TransportEvent::Written { class: of, bytes, .. } if of == class => sum += bytes,
                TransportEvent::Written { .. } => {}
                other => panic!("expected nothing but written bytes, got {other:?}"),
            }
        }
        sum
    }

    async fn inbound(&mut self, class: Class) -> Inbound<Bytes> {
        within(self.inbound[class as usize].recv()).await.expect("link is there")
    }

    async fn frame(&mut self, class: Class) -> Bytes {
        match self.inbound(class).await {
            Inbound::Frame { class: of, frame, bytes, .. } => {
                assert_eq!((of, bytes), (class, frame.len()));
                frame
            }
            other => panic!("expected a frame, got {other:?}"),
        }
    }

    /// As good as a process that dies: its sockets close and nothing more is said.
    async fn kill(self) {
        self.task.abort();
        self.task.await.ok();
    }
}

async fn within<F: Future>(future: F) -> F::Output {
    timeout(DEADLINE, future).await.expect("in time")
}

/// Waits until a condition holds that nothing tells us of.
async fn until(mut condition: impl AsyncFnMut() -> bool) {
    within(async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn config(seed: u8, listen: &str) -> TransportConfig {
    TransportConfig {
        secret_key: zeroize::Zeroizing::new([seed; 32]),
        listen: vec![listen.parse().expect("an address")],
        mdns: None,
        links_max: 16,
    }
}

async fn linked() -> (Peer, Peer, LinkId, LinkId) {
    link(Peer::tcp(1).await, Peer::tcp(2).await).await
}

async fn link(mut a: Peer, mut b: Peer) -> (Peer, Peer, LinkId, LinkId) {
    a.dial(&b).await;
    let (at_a, at_b) = (a.up().await, b.up().await);
    (a, b, at_a, at_b)
}

fn body(first: u8, length: usize) -> Bytes {
    let mut bytes: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
    bytes[0] = first;
    bytes.into()
}

async fn exchange(mut a: Peer, mut b: Peer, at_a: LinkId, at_b: LinkId) {
    let lengths = [1, 7, 1400, 8 * 1024 - 1, 8 * 1024, 48 * 1024, FRAME_MAX];
    for class in Class::ALL {
        for (n, length) in lengths.into_iter().enumerate() {
            a.send(at_a, class, body(n as u8, length)).await.expect("queued");
            b.send(at_b, class, body(n as u8 + 100, length)).await.expect("queued");
        }
    }
    for class in Class::ALL {
        for (n, length) in lengths.into_iter().enumerate() {
            assert_eq!(b.frame(class).await, body(n as u8, length), "{class:?} {length}");
            assert_eq!(a.frame(class).await, body(n as u8 + 100, length), "{class:?} {length}");
        }
    }
    let mut written = 0;
    until(async || {
        written += a.written(Class::Bulk);
        // Each with the four bytes of its length.
        written == lengths.iter().map(|length| length + 4).sum::<usize>()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_every_class_and_size_go_both_ways_over_tcp() {
    let (a, b, at_a, at_b) = linked().await;
    exchange(a, b, at_a, at_b).await;
}

#[cfg(feature = "quic")]
#[tokio::test(flavor = "multi_thread")]
async fn frames_of_every_class_and_size_go_both_ways_over_quic() {
    let (a, b, at_a, at_b) = link(Peer::quic(1).await, Peer::quic(2).await).await;
    exchange(a, b, at_a, at_b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn link_up_says_who_and_how() {
    let (mut a, mut b) = (Peer::tcp(1).await, Peer::tcp(2).await);
    a.dial(&b).await;
    let TransportEvent::LinkUp { peer, dialed, path, .. } = a.event().await else { panic!("no link") };
    assert_eq!((peer, dialed), (b.id, true));
    assert_eq!(path, Path { transport: "tcp", address: b.address.clone() });
    let TransportEvent::LinkUp { peer, dialed, .. } = b.event().await else { panic!("no link") };
    assert_eq!((peer, dialed), (a.id, false));
}

/// Goal: nothing is lost, and the sender learns that nobody reads. Method: 2000 frames of 48 KiB in rounds that
/// stay below the link's bound, against a reader that first does not read at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_holds_the_writer_up_and_loses_nothing() {
    const FRAMES: u32 = 2000;
    const LENGTH: usize = 48 * 1024;
    const ROUND: u32 = 30;
    let (mut a, mut b, at_a, _) = linked().await;
    let numbered = |n: u32| {
        let mut bytes = vec![0; LENGTH];
        bytes[1..5].copy_from_slice(&n.to_be_bytes());
        Bytes::from(bytes)
    };
    for n in 0..ROUND {
        a.send(at_a, Class::Forward, numbered(n)).await.expect("queued");
    }
    // What is written comes to rest below what was queued, and stays there.
    let mut written = 0;
    let mut at_rest = 0;
    until(async || {
        let more = a.written(Class::Forward);
        written += more;
        at_rest = if more == 0 { at_rest + 1 } else { 0 };
        at_rest == 20
    })
    .await;
    assert!(written > 0 && written < ROUND as usize * LENGTH, "{written} bytes written to nobody");
    // Control is not held up by it.
    a.send(at_a, Class::Control, body(1, 10)).await.expect("queued");
    assert_eq!(b.frame(Class::Control).await, body(1, 10));

    let mut n_sent = ROUND;
    for n in 0..FRAMES {
        assert_eq!(b.frame(Class::Forward).await[1..5], n.to_be_bytes());
        written += a.written(Class::Forward);
        while n_sent < FRAMES && n_sent as usize * LENGTH < written + ROUND as usize * LENGTH {
            a.send(at_a, Class::Forward, numbered(n_sent)).await.expect("queued");
            n_sent += 1;
        }
    }
    until(async || {
        written += a.written(Class::Forward);
        written == FRAMES as usize * (LENGTH + 4)
    })
    .await;
}

/// A limit from both sides: what fits is taken, one frame more ends the link.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_over_its_bound_ends_the_link() {
    let (mut a, _b, at_a, _) = linked().await;
    let mut n_queued = 0;
    while a.send(at_a, Class::Own, body(1, FRAME_MAX)).await.is_ok() {
        n_queued += 1;
    }
    assert!((n_queued + 1) * (FRAME_MAX + 100) > link::QUEUE_MAX, "{n_queued} frames filled the queue");
    assert_eq!(a.down().await, (at_a, Cause::QueueFull));
    assert_eq!(a.send(at_a, Class::Own, body(1, 1)).await, Err(NotSent::Gone));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_frame_is_told_and_reading_goes_on() {
    let (a, mut b, at_a, at_b) = linked().await;
    a.send(at_a, Class::Own, body(POISON, 100)).await.expect("queued");
    a.send(at_a, Class::Own, body(1, 100)).await.expect("queued");
    match b.inbound(Class::Own).await {
        Inbound::Bad { link, class: Class::Own, reject, bytes: 100 } => {
            assert_eq!((link, reject), (at_b, Reject::Decode(DecodeError::Kind(POISON))));
        }
        other => panic!("expected a bad frame, got {other:?}"),
    }
    assert_eq!(b.frame(Class::Own).await, body(1, 100));
}

/// The length is the one thing of a frame that cannot be skipped. At the limit passes (see `exchange`), one past
/// it and zero end the link. They go past `send`, which would not have them.
#[tokio::test(flavor = "multi_thread")]
async fn an_impossible_length_ends_the_link() {
    for length in [0, FRAME_MAX + 1] {
        let (mut a, mut b, at_a, at_b) = linked().await;
        let frame = Transmit { head: Bytes::new(), body: vec![1; length].into() };
        a.ask(move |transport| transport.links[&at_a].push(Class::Own, frame)).await.expect("queued");
        a.ask(move |transport| transport.wake(at_a)).await;
        assert_eq!(b.down().await, (at_b, Cause::Protocol("frame length")), "{length}");
        assert_eq!(a.down().await, (at_a, Cause::Closed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_peer_is_seen_by_its_socket() {
    let (a, mut b, _, at_b) = linked().await;
    a.kill().await;
    let (link, cause) = b.down().await;
    assert_eq!(link, at_b);
    assert!(matches!(cause, Cause::Closed | Cause::Reset), "{cause:?}");
}

#[cfg(feature = "quic")]
#[tokio::test(flavor = "multi_thread")]
async fn a_quic_peer_that_goes_away_is_seen() {
    let (a, mut b, _, at_b) = link(Peer::quic(1).await, Peer::quic(2).await).await;
    a.kill().await;
    let (link, cause) = b.down().await;
    assert_eq!(link, at_b);
    assert!(matches!(cause, Cause::Closed | Cause::Reset | Cause::TimedOut), "{cause:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_dial_says_so() {
    let (mut a, b) = (Peer::tcp(1).await, Peer::tcp(2).await);
    let (id, address) = (b.id, b.address.clone());
    b.kill().await;
    let quic: Multiaddr = "/ip4/127.0.0.1/udp/9/quic-v1".parse().expect("an address");
    a.ask(move |transport| transport.dial(Some(id), vec![quic, address])).await;
    match a.event().await {
        TransportEvent::DialFailed { peer, refused: true, error, .. } => {
            assert_eq!(peer, Some(id));
            assert!(error.contains("refused"), "{error}");
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_else_at_the_address_is_a_failure_but_no_refusal() {
    let (mut a, b) = (Peer::tcp(1).await, Peer::tcp(2).await);
    let address = b.address.clone();
    let wrong = Peer::tcp(3).await.id;
    a.ask(move |transport| transport.dial(Some(wrong), vec![address])).await;
    match a.event().await {
        TransportEvent::DialFailed { peer, refused: false, error, .. } => {
            assert_eq!(peer, Some(wrong));
            assert!(error.contains("somebody else"), "{error}");
        }
        other => panic!("expected a failure, got {other:?}"),
    }
}

#[cfg(feature = "quic")]
#[tokio::test(flavor = "multi_thread")]
async fn quic_is_tried_when_tcp_does_not_answer() {
    let (mut a, mut b) = (Peer::tcp(1).await, Peer::quic(2).await);
    let (id, address) = (b.id, b.address.clone());
    // An address that no transport of ours can dial fails like one that cannot be reached.
    let unreachable: Multiaddr = "/ip4/0.0.0.0/tcp/1".parse().expect("an address");
    a.ask(move |transport| transport.dial(Some(id), vec![address, unreachable])).await;
    let TransportEvent::LinkUp { path, .. } = a.event().await else { panic!("no link") };
    assert_eq!(path.transport, "quic");
    b.up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_without_a_name_finds_out_who_is_there() {
    let (mut a, b) = (Peer::tcp(1).await, Peer::tcp(2).await);
    let address = b.address.clone();
    a.ask(move |transport| transport.dial(None, vec![address.clone(), address])).await;
    let TransportEvent::LinkUp { peer, .. } = a.event().await else { panic!("no link") };
    assert_eq!(peer, b.id);
}

/// Both dial at once: each side reports both links, and closing one leaves the other as it was. Method: neither
/// driver goes on before both have dialled, so neither can know of the other's connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn simultaneous_dials_make_two_links_and_close_closes_one() {
    let (mut a, mut b) = (Peer::tcp(1).await, Peer::tcp(2).await);
    let both = Arc::new(std::sync::Barrier::new(2));
    let dial = |peer: &Peer| {
        let (id, address, both) = (peer.id, peer.address.clone(), both.clone());
        move |transport: &mut Transport<Bytes>| {
            transport.dial(Some(id), vec![address]);
            both.wait();
        }
    };
    tokio::join!(a.ask(dial(&b)), b.ask(dial(&a)));
    let (first, second) = (a.up().await, a.up().await);
    assert_ne!(b.up().await, b.up().await);
    a.ask(move |transport| transport.close(first)).await;
    assert_eq!(a.down().await, (first, Cause::Ours));
    let (_, cause) = b.down().await;
    assert_eq!(cause, Cause::Closed);
    a.send(second, Class::Own, body(5, 5000)).await.expect("the other link stands");
    assert_eq!(b.frame(Class::Own).await, body(5, 5000));
}

/// A goodbye is queued and the link closed in one breath; it arrives, and before the end does.
async fn last_words(mut a: Peer, mut b: Peer, at_a: LinkId, at_b: LinkId) {
    a.ask(move |transport| {
        let goodbye = Transmit { head: body(9, 3), body: body(1, 20_000) };
        transport.send(at_a, Class::Control, goodbye).expect("queued");
        transport.close(at_a);
        assert_eq!(
            transport.send(at_a, Class::Control, Transmit { head: body(1, 1), ..Transmit::default() }),
            Err(NotSent::Gone)
        );
    })
    .await;
    assert_eq!(b.down().await, (at_b, Cause::Closed));
    assert!(
        matches!(b.inbound[Class::Control as usize].try_recv(), Ok(Inbound::Frame { bytes: 20_003, .. })),
        "the goodbye is there when the end is told"
    );
    assert_eq!(a.down().await, (at_a, Cause::Ours));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goodbye_arrives_before_the_end_over_tcp() {
    let (a, b, at_a, at_b) = linked().await;
    last_words(a, b, at_a, at_b).await;
}

#[cfg(feature = "quic")]
#[tokio::test(flavor = "multi_thread")]
async fn a_goodbye_arrives_before_the_end_over_quic() {
    let (a, b, at_a, at_b) = link(Peer::quic(1).await, Peer::quic(2).await).await;
    last_words(a, b, at_a, at_b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_said_plainly() {
    let a = Peer::tcp(1).await;
    let error = Transport::<Bytes>::new(
        config(2, &a.address.to_string()),
        Arc::new(|frame| Ok(frame.as_bytes().clone())),
        [(); 4].map(|()| mpsc::channel(1).0),
    )
    .err()
    .expect("the port is taken");
    assert!(matches!(&error, TransportError::AddressInUse(address) if *address == a.address), "{error}");
    assert_eq!(error.to_string(), format!("{} is in use", a.address));
}

#[cfg(feature = "quic")]
#[tokio::test(flavor = "multi_thread")]
async fn a_udp_port_in_use_is_said_plainly() {
    let a = Peer::quic(1).await;
    let error = Transport::<Bytes>::new(
        config(2, &a.address.to_string()),
        Arc::new(|frame| Ok(frame.as_bytes().clone())),
        [(); 4].map(|()| mpsc::channel(1).0),
    )
    .err()
    .expect("the port is taken");
    assert!(matches!(error, TransportError::AddressInUse(_)), "{error}");
}

/// Whoever connects and says nothing of ours is cut off; here somebody who is not even libp2p.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_that_talks_garbage_is_closed_and_costs_no_link() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut a = Peer::tcp(1).await;
    let port =
        a.address.iter().find_map(|part| if let Protocol::Tcp(port) = part { Some(port) } else { None });
    let mut socket =
        tokio::net::TcpStream::connect(("127.0.0.1", port.expect("a port"))).await.expect("connects");
    socket.write_all(&[0x41; 4096]).await.expect("writes");
    let mut rest = Vec::new();
    // Ended or reset, either will do.
    within(socket.read_to_end(&mut rest)).await.ok();
    assert!(a.events.try_recv().is_err(), "nothing to report");
}

/// Connections over the bound are refused while those below it stand.
#[tokio::test(flavor = "multi_thread")]
async fn links_are_bounded() {
    let mut a = Peer::tcp(1).await;
    let mut others = Vec::new();
    for seed in 10..10 + 17 {
        let b = Peer::tcp(seed).await;
        b.dial(&a).await;
        others.push(b);
    }
    // Of 16 links three quarters are for those who dial, and three quarters of these for those of one address.
    for _ in 0..9 {
        a.up().await;
    }
    let mut n_failed = 0;
    for b in &mut others {
        match b.event().await {
            TransportEvent::LinkUp { .. } => {}
            TransportEvent::DialFailed { refused: false, .. } => n_failed += 1,
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(n_failed, 8);
    let refused = a.ask(|transport| transport.refusals().count("too-many-links-of-address")).await;
    assert!(refused >= 8, "{refused}");
}

/// Goal: whoever connects and never opens a control stream does not hold a place. Method: a libp2p node that
/// speaks no protocol at all and would stay for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_peer_is_closed() {
    let a = Peer::tcp(1).await;
    let keypair = identity::Keypair::ed25519_from_bytes([2; 32]).expect("a key");
    let local = keypair.public().to_peer_id();
    let config = swarm::Config::with_tokio_executor().with_idle_connection_timeout(10 * DEADLINE);
    let mut silent =
        Swarm::new(connections(&keypair).expect("a transport"), swarm::dummy::Behaviour, local, config);
    silent.dial(a.address.clone()).expect("dials");
    within(async {
        let mut was_connected = false;
        loop {
            match silent.select_next_some().await {
                SwarmEvent::ConnectionEstablished { .. } => was_connected = true,
                SwarmEvent::ConnectionClosed { .. } => break assert!(was_connected),
                _ => {}
            }
        }
    })
    .await;
}
