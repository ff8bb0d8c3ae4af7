//! Connections that say nothing, at each place where something is due.

use std::net::UdpSocket;
use std::time::Duration;

use libp2p::Multiaddr;

use super::attacks::{client, counted, port};
use super::{GROUP, Scene};

/// More than a node has links.
const N: usize = 70;

/// Nobody opens a stream, or all streams stand and nobody greets: a newcomer is let in all the same, and they go.
pub(crate) async fn silent_connections(scene: &mut Scene, kind: usize) {
    println!("silent_connections {kind}");
    let before = scene.counts();
    let count = |cause| before.get(cause).copied().unwrap_or(0);
    let mut connections = Vec::new();
    for n in 0..N {
        let mut client = client();
        // Nothing but a connection; then with streams.
        let made = if n % 2 == 0 {
            client.connect(&scene.addresses[kind]).await.map(|connection| (connection, None))
        } else {
            client.open(&scene.addresses[kind]).await.map(|(connection, link)| (connection, Some(link)))
        };
        connections.push(made.unwrap());
    }
    let joined = client().join(&scene.addresses[kind], &scene.network, GROUP).await;
    assert!(joined.is_ok(), "{:?}", joined.err());
    scene.talk().await;
    for (n, (connection, _)) in connections.iter_mut().enumerate() {
        assert!(connection.is_closed_within(Duration::from_secs(20)).await, "connection {n}");
    }
    counted(scene, "link-silent", count("link-silent") + N as u64 / 2 - 1).await;
    counted(scene, "no-hello", count("no-hello") + N as u64 / 2 - 1).await;
    scene.talk().await;
}

/// QUIC handshakes that begin and never end, from another address of this host. Method: the first packets of honest
/// clients, which were sent to somebody else and have no second.
pub(crate) async fn quic_handshakes_without_end(scene: &mut Scene) {
    println!("quic_handshakes_without_end");
    let before = scene.counts();
    let count = |cause| before.get(cause).copied().unwrap_or(0);
    let nobody = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = nobody.local_addr().unwrap().port();
    let peer = scene.addresses[1].to_string();
    let peer = peer.rsplit_once("/p2p/").unwrap().1;
    let address: Multiaddr = format!("/ip4/127.0.0.1/udp/{at}/quic-v1/p2p/{peer}").parse().unwrap();
    let from = UdpSocket::bind("127.0.0.68:0").unwrap();
    let target = ("127.0.0.1", port(&scene.addresses[1]));
    for _ in 0..100 {
        let mut client = client();
        let mut packet = [0; 2048];
        let first = tokio::select! {
            n = nobody.recv(&mut packet) => n.unwrap(),
            _ = client.connect(&address) => panic!("nobody answered"),
        };
        assert!(first >= 1200, "QUIC begins with a full packet");
        from.send_to(&packet[..first], target).unwrap();
        // What it sends again is not the next one's.
        drop(client);
        tokio::time::sleep(Duration::from_millis(5)).await;
        while nobody.try_recv(&mut packet).is_ok() {}
    }
    counted(scene, "too-many-handshakes-of-address", count("too-many-handshakes-of-address")).await;
    let joined = client().join(&scene.addresses[1], &scene.network, GROUP).await;
    assert!(joined.is_ok(), "{:?}", joined.err());
    scene.talk().await;
    counted(scene, "handshake-too-slow", count("handshake-too-slow")).await;
}
