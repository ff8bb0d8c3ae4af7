//! The attacks, one function each. Each ends with honest talk, and with what the node has counted of it.

use std::net::UdpSocket;
use std::time::Duration;

use bytes::Bytes;
use djembe_protocol::crypto::{self, GroupKey, Identity, SealInput};
use djembe_protocol::id::{EnvelopeId, Incarnation, Lane, LogId, PeerId};
use djembe_protocol::message::Draft;
use djembe_protocol::time::Hlc;
use djembe_protocol::wire::frame::{
    Alert, Announce, Class, Clock, ClockEntry, Frame, MembersDigest, OnTree, Part, Range, Roots, Subscribe,
    Want,
};
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::client::{Client, Link, NEGOTIATION};
use super::{GROUP, Scene, soon};

/// An identity nobody has used.
pub(super) fn client() -> Client {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    Client::new(COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}

pub(super) fn port(address: &Multiaddr) -> u16 {
    let port = address.iter().find_map(|part| match part {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
        _ => None,
    });
    port.unwrap()
}

/// Waits for a counter to rise above what it was.
pub(super) async fn counted(scene: &Scene, counter: &str, before: u64) {
    let rises = async {
        while scene.count(counter) <= before {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let soon = tokio::time::timeout(Duration::from_secs(30), rises).await;
    assert!(soon.is_ok(), "{counter} is not above {before} within 30 s: {:?}", scene.counts());
}

/// An envelope of the hostile one's own, good in all its parts.
fn envelope(author: &Identity, network: &str, group: &str, seq: u64) -> Bytes {
    let key = GroupKey::open(network, group, None).unwrap();
    let body = djembe_protocol::message::encode_body(&Draft::default(), Hlc(1)).unwrap();
    let input = SealInput {
        lane: Lane::Live,
        seq,
        prev: if seq == 0 { EnvelopeId::NONE } else { EnvelopeId([1; 32]) },
        skip: 0,
        ttl_secs: 0,
        bodies: &[body],
        frame_salt: [0; 16],
    };
    crypto::seal(author, &key, &input).unwrap().as_bytes().clone()
}

fn data(group: u16, envelope: Bytes) -> Frame {
    Frame::Data { group, tree: 0, envelope }
}

/// Bytes instead of Noise or TLS.
pub(crate) async fn junk_for_a_handshake(scene: &mut Scene, kind: usize) {
    println!("junk_for_a_handshake {kind}");
    let before = scene.count("handshake-failed");
    let junk = [0xa5; 1400];
    if kind == 0 {
        for _ in 0..20 {
            let mut socket = TcpStream::connect(("127.0.0.1", port(&scene.addresses[0]))).await.unwrap();
            let _ = socket.write_all(&junk).await;
        }
        counted(scene, "handshake-failed", before + 19).await;
    } else {
        // QUIC answers no packet that is none of its own: there is nothing to count.
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..1000 {
            let _ = socket.send_to(&junk, ("127.0.0.1", port(&scene.addresses[1])));
        }
    }
    scene.talk().await;
}

/// Streams are agreed upon; then come bytes that are no frames.
pub(crate) async fn junk_after_the_handshake(scene: &mut Scene, kind: usize) {
    println!("junk_after_the_handshake {kind}");
    let before = scene.count("unreadable");
    let (mut connection, mut link) =
        client().join(&scene.addresses[kind], &scene.network, GROUP).await.unwrap();
    // A length that a frame may have, a kind that none has.
    let frame = [&100u32.to_le_bytes()[..], &[99; 100]].concat();
    let mut n = 0;
    while n < 10_000 && link.write(Class::Control, &frame).await.is_ok() {
        n += 1;
    }
    assert!(connection.is_closed_within(Duration::from_secs(20)).await, "it is cut off");
    counted(scene, "unreadable", before).await;
    scene.talk().await;
}

pub(crate) async fn lengths_that_no_frame_has(scene: &mut Scene, kind: usize) {
    println!("lengths_that_no_frame_has {kind}");
    for length in [0, 64 * 1024 + 1, u32::MAX] {
        let before = scene.count("link-frame-length");
        let (mut connection, mut link) =
            client().join(&scene.addresses[kind], &scene.network, GROUP).await.unwrap();
        let _ = link.write(Class::Forward, &length.to_le_bytes()).await;
        assert!(connection.is_closed_within(Duration::from_secs(20)).await, "length {length}");
        counted(scene, "link-frame-length", before).await;
    }
    scene.talk().await;
}

/// Opens streams as fast as it can and says nothing on them.
pub(crate) async fn streams_without_end(scene: &mut Scene, kind: usize) {
    println!("streams_without_end {kind}");
    let before = scene.count("link-garbage") + scene.count("link-silent");
    let mut connection = client().connect(&scene.addresses[kind]).await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..500 {
        match tokio::time::timeout(Duration::from_millis(200), connection.open()).await {
            // Yamux tells nobody before something is said.
            Ok(Ok(mut stream)) => {
                let _ = stream.write_all(&NEGOTIATION[..1]).await;
                let _ = stream.flush().await;
                streams.push(stream);
            }
            // QUIC lets it have so many and no more.
            Ok(Err(_)) | Err(_) => break,
        }
    }
    assert!(connection.is_closed_within(Duration::from_secs(20)).await, "after {} streams", streams.len());
    assert!(scene.count("link-garbage") + scene.count("link-silent") > before, "it is said why");
    scene.talk().await;
}

/// A link that stands, and beside it streams whose negotiation never ends: one is borne, more end it.
pub(crate) async fn streams_half_open(scene: &mut Scene, kind: usize) {
    println!("streams_half_open {kind}");
    let before = scene.count("link-garbage");
    let (mut connection, _link) = client().join(&scene.addresses[kind], &scene.network, GROUP).await.unwrap();
    let mut streams = Vec::new();
    for n in 1..4 {
        let Ok(Ok(mut stream)) = tokio::time::timeout(Duration::from_millis(200), connection.open()).await
        else {
            break;
        };
        let _ = stream.write_all(&NEGOTIATION[..n]).await;
        let _ = stream.flush().await;
        streams.push(stream);
        if n == 1 {
            scene.talk().await;
            assert!(!connection.is_closed());
        }
    }
    assert!(connection.is_closed_within(Duration::from_secs(20)).await, "after {} streams", streams.len());
    counted(scene, "link-garbage", before).await;
    scene.talk().await;
}

pub(crate) async fn unknown_class(scene: &mut Scene, kind: usize) {
    println!("unknown_class {kind}");
    let before = scene.count("link-streams");
    let mut connection = client().connect(&scene.addresses[kind]).await.unwrap();
    let _stream = connection.open_class(77).await;
    assert!(connection.is_closed_within(Duration::from_secs(20)).await);
    counted(scene, "link-streams", before).await;
    scene.talk().await;
}

/// Envelopes whose signature was spoilt: each costs one check, and few are needed to be cut off.
pub(crate) async fn bad_signatures(scene: &mut Scene, kind: usize) {
    println!("bad_signatures {kind}");
    let (frames, checks) = (scene.count("frames-checked"), scene.count("signatures-checked"));
    let before = scene.count("signature");
    let mut client = client();
    let (mut connection, mut link) =
        client.join(&scene.addresses[kind], &scene.network, GROUP).await.unwrap();
    let mut bad = envelope(&client.identity, &scene.network, GROUP, 0).to_vec();
    // The signature stands between header and ciphertext.
    bad[300] ^= 1;
    let mut n = 0;
    while n < 5000 && link.send(Class::Forward, &data(1, bad.clone().into())).await.is_ok() {
        n += 1;
    }
    assert!(connection.is_closed_within(Duration::from_secs(20)).await);
    counted(scene, "signature", before).await;
    let frames = scene.count("frames-checked") - frames;
    let checks = scene.count("signatures-checked") - checks;
    assert!(checks <= frames, "{checks} checks of signatures for {frames} frames");
    // It comes back, and is not listened to any more.
    let banned = scene.count("banned");
    let again = client.join(&scene.addresses[kind], &scene.network, GROUP).await;
    if let Ok((mut connection, _link)) = again {
        assert!(connection.is_closed_within(Duration::from_secs(20)).await);
    }
    counted(scene, "banned", banned).await;
    scene.talk().await;
}

/// Signed envelopes for a group that the link does not share, by one who shares none.
pub(crate) async fn strangers_to_the_group(scene: &mut Scene, kind: usize) {
    println!("strangers_to_the_group {kind}");
    let before = scene.count("unknown-group");
    let mut client = client();
    let (mut connection, mut link) =
        client.join(&scene.addresses[kind], &scene.network, "elsewhere").await.unwrap();
    let mut n = 0;
    while n < 5000 {
        let stranger = envelope(&client.identity, &scene.network, "elsewhere", n);
        if link.send(Class::Forward, &data(9, stranger)).await.is_err() {
            break;
        }
        n += 1;
    }
    assert!(connection.is_closed_within(Duration::from_secs(20)).await, "after {n}");
    counted(scene, "unknown-group", before).await;
    scene.talk().await;
}

/// One good envelope, again and again: a hash each.
pub(crate) async fn duplicates(scene: &mut Scene, kind: usize) {
    println!("duplicates {kind}");
    let checks = scene.count("signatures-checked");
    let before = scene.count("duplicate");
    let mut client = client();
    let (_connection, mut link) = client.join(&scene.addresses[kind], &scene.network, GROUP).await.unwrap();
    let good = data(1, envelope(&client.identity, &scene.network, GROUP, 0));
    let mut n = 0;
    while n < 20_000 && link.send(Class::Forward, &good).await.is_ok() {
        n += 1;
    }
    counted(scene, "duplicate", before).await;
    let checks = scene.count("signatures-checked") - checks;
    assert!(checks < 500, "{checks} checks for copies of one envelope and some honest talk");
    scene.talk().await;
}

/// Talk that is well formed and costs work.
pub(crate) async fn control_talk(scene: &mut Scene, kind: usize) {
    println!("control_talk {kind}");
    let before = scene.count("flood");
    let mut client = client();
    let (connection, mut link) = client.join(&scene.addresses[kind], &scene.network, GROUP).await.unwrap();
    let log = |n: u64| LogId { author: PeerId([n as u8; 32]), lane: Lane::Durable };
    let entries =
        (0..200).map(|n| ClockEntry { log: log(n), next: 1000, floor: 0, head: [1; 8] }).collect::<Vec<_>>();
    let mut n = 0u64;
    while n < 40_000 {
        let range = Range { log: log(n % 200), from: 0, to: 63 };
        let frame: Frame = match n % 5 {
            0 => Clock { group: 1, part: Part::Ask, entries: entries.clone() }.into(),
            1 => Roots { roots: vec![(1, [n as u8; 32], MembersDigest::default())] }.into(),
            2 => Want { request: n as u32, group: 1, range, graft: n.is_multiple_of(2) }.into(),
            3 => Announce { group: 1, ranges: vec![OnTree { tree: 0, range }; 100] }.into(),
            _ => Alert::new(log(n % 200).author, Incarnation(n), 3, &client.identity).into(),
        };
        if connection.is_closed() || link.send(Class::Control, &frame).await.is_err() {
            break;
        }
        n += 1;
    }
    counted(scene, "flood", before).await;
    scene.talk().await;
}

/// "I am in this group", for more groups than anybody is in.
pub(crate) async fn subscriptions(scene: &mut Scene, kind: usize) {
    println!("subscriptions {kind}");
    let before = scene.count("too-many-subscriptions");
    let (mut connection, mut link) =
        client().join(&scene.addresses[kind], &scene.network, GROUP).await.unwrap();
    let mut n = 0u16;
    while n < 20_000 {
        let proof = [n as u8; 32];
        if link.send(Class::Control, &Subscribe { group: n + 2, proof }.into()).await.is_err() {
            break;
        }
        n += 1;
    }
    assert!(connection.is_closed_within(Duration::from_secs(20)).await, "after {n} subscriptions");
    counted(scene, "too-many-subscriptions", before).await;
    scene.talk().await;
}

/// Greets again and again, with other lists.
pub(crate) async fn hello_twice(scene: &mut Scene, kind: usize) {
    println!("hello_twice {kind}");
    let before = scene.count("out-of-turn");
    let client = &mut client();
    let (mut connection, mut link) =
        client.join(&scene.addresses[kind], &scene.network, GROUP).await.unwrap();
    for _ in 0..1000 {
        let hello = client.hello(&scene.network);
        if link.send(Class::Control, &hello.into()).await.is_err() {
            break;
        }
    }
    assert!(connection.is_closed_within(Duration::from_secs(20)).await);
    counted(scene, "out-of-turn", before).await;
    scene.talk().await;
}

/// Asks for history and for clocks, and reads none of it.
pub(crate) async fn reads_nothing(scene: &mut Scene, kind: usize) {
    println!("reads_nothing {kind}");
    let before = scene.count("history-refused");
    let (connection, mut link) = client().join(&scene.addresses[kind], &scene.network, GROUP).await.unwrap();
    let log = LogId { author: scene.honest[0].peer_id(), lane: Lane::Durable };
    for n in 0..3000 {
        let range = Range { log, from: n % 200, to: n % 200 + 63 };
        let want = Want { request: n as u32, group: 1, range, graft: false };
        let clock = Clock { group: 1, part: Part::Ask, entries: Vec::new() };
        let frames: [Frame; 2] = [want.into(), clock.into()];
        for frame in frames {
            if connection.is_closed() || link.send(Class::Control, &frame).await.is_err() {
                break;
            }
        }
    }
    counted(scene, "history-refused", before).await;
    scene.talk().await;
    drop::<Link>(link);
}

/// Yamux answers pings for ever; what sends nothing else is cut off. Said by hand, over Noise.
pub(crate) async fn yamux_pings(scene: &mut Scene) {
    println!("yamux_pings");
    let before = scene.count("link-garbage");
    let mut socket = super::client::noise(&scene.addresses[0]).await;
    // Version, type 2, SYN, stream 0, an opaque value.
    let ping = [0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7].repeat(1000);
    let flood = async {
        let mut answers = [0; 64 * 1024];
        loop {
            if socket.write_all(&ping).await.is_err() || socket.flush().await.is_err() {
                return;
            }
            // Who did not read would be stopped by that alone.
            match socket.read(&mut answers).await {
                Ok(1..) => {}
                _ => return,
            }
        }
    };
    soon("pings end", flood).await;
    counted(scene, "link-garbage", before).await;
    scene.talk().await;
}

/// Sockets of another address of this host that begin to speak, or do not even, and stay.
pub(crate) async fn slow_handshakes(scene: &mut Scene) {
    println!("slow_handshakes");
    let before = scene.count("handshake-too-slow");
    let over = scene.count("too-many-handshakes-of-address");
    let target = std::net::SocketAddr::from(([127, 0, 0, 1], port(&scene.addresses[0])));
    let mut sockets = Vec::new();
    for n in 0..200 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 66], 0).into()).unwrap();
        if let Ok(mut socket) = socket.connect(target).await {
            let _ = socket.write_all(&NEGOTIATION[..n % 2 * 7]).await;
            sockets.push(socket);
        }
    }
    counted(scene, "too-many-handshakes-of-address", over).await;
    // While they wait others get in.
    let joined = client().join(&scene.addresses[0], &scene.network, GROUP).await;
    assert!(joined.is_ok(), "{:?}", joined.err());
    scene.talk().await;
    counted(scene, "handshake-too-slow", before).await;
}

/// Sockets that are opened and left, at a rate that a program in a loop has.
pub(crate) async fn abandoned_sockets(scene: &mut Scene) {
    println!("abandoned_sockets");
    // Which of the two bounds is met first depends on how fast the handshakes fail.
    let refused =
        |scene: &Scene| scene.count("connects-too-often") + scene.count("too-many-handshakes-of-address");
    let before = refused(scene);
    let target = std::net::SocketAddr::from(([127, 0, 0, 1], port(&scene.addresses[0])));
    for _ in 0..1000 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 67], 0).into()).unwrap();
        drop(socket.connect(target).await);
    }
    let rises = async {
        while refused(scene) <= before {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    soon("sockets are refused", rises).await;
    scene.talk().await;
}

/// A node with beacons on is sent thousands, forged.
pub(crate) async fn forged_beacons(scene: &mut Scene) {
    println!("forged_beacons");
    let port = 24_590;
    let node = djembe::Node::builder()
        .in_memory()
        .network(&scene.network)
        .listen("/ip4/127.0.0.1/tcp/0")
        .mdns(false)
        .beacon_port(port)
        .interface("lo")
        .peer(scene.addresses[0].to_string())
        .spawn()
        .await
        .unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for n in 0..20_000u32 {
        let mut beacon = [0x5a; 126];
        beacon[40..44].copy_from_slice(&n.to_le_bytes());
        let _ = socket.send_to(&beacon, ("127.0.0.1", port));
    }
    let said = async {
        loop {
            let status = node.status().await.unwrap();
            if status.discovery.to_string().contains("unreadable") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    soon("forged beacons are counted", said).await;
    let linked = async {
        while !node.status().await.unwrap().peers.iter().any(|peer| !peer.path.is_empty()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    soon("it links all the same", linked).await;
    node.shutdown().await.unwrap();
}
