//! Discovery with real sockets, on the loopback interface only. No test depends on how fast things go; each
//! waits, generously, for what must happen.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use djembe_protocol::wire::beacon::{BEACON_LEN, Beacon, NetworkTag, UncheckedBeacon};

use super::testing::{Signer, scratch};
use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

/// A UDP port for one test, so that tests in parallel do not hear each other. It is below the range from which
/// the system takes ports for sockets that do not ask for one.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = std::process::id().wrapping_mul(31) + NEXT.fetch_add(1, Ordering::Relaxed);
    20_000 + (n % 12_000) as u16
}

/// The name of the loopback interface.
fn loopback() -> String {
    let all = interfaces::snapshot(&[]).expect("interfaces can be read");
    all.into_iter().find(|i| i.reaches([127, 0, 0, 1].into())).expect("a loopback").name
}

fn options(port: u16) -> Options {
    Options { beacon_port: port, interfaces: vec![loopback()], mdns: false, ..Options::new("test") }
}

fn start(n: u16, options: Options) -> Discovery {
    let signer = Signer::numbered(n);
    Discovery::new(signer.peer(), Box::new(move |bytes| signer.sign(bytes)), options).expect("it starts")
}

fn ports(n: u16) -> Ports {
    Ports { tcp: 1000 + n, quic: 2000 + n }
}

fn peer(n: u16) -> PeerId {
    Signer::numbered(n).peer()
}

fn beacon(n: u16, boot: u64, counter: u32, kind: Kind) -> [u8; BEACON_LEN] {
    let signer = Signer::numbered(n);
    let network = NetworkTag::of("test");
    Beacon { kind, network, peer: signer.peer(), ports: ports(n), boot, counter }.encode(|b| signer.sign(b))
}

/// A socket that sends by hand what a node would not.
struct Hand {
    socket: UdpSocket,
    port: u16,
}

impl Hand {
    fn new(port: u16) -> Self {
        Self { socket: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket"), port }
    }

    fn send(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, (Ipv4Addr::LOCALHOST, self.port)).expect("sent");
    }
}

/// Waits for the first event that `wanted` makes something of.
async fn wait<T>(discovery: &mut Discovery, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = wanted(discovery.next_event().await) {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it happens in time")
}

async fn wait_found(discovery: &mut Discovery, n: u16) -> Vec<Multiaddr> {
    wait(discovery, |event| match event {
        Event::Found { peer: Some(found), addresses, source: Source::Beacon } if found == peer(n) => {
            Some(addresses)
        }
        _ => None,
    })
    .await
}

/// Lets it work until the report is as wanted.
async fn run_until(discovery: &mut Discovery, wanted: impl Fn(&DiscoveryReport) -> bool) {
    let start = Instant::now();
    while !wanted(&discovery.report()) {
        assert!(start.elapsed() < PATIENCE, "{:#?}", discovery.report());
        let _ = tokio::time::timeout(Duration::from_millis(20), discovery.next_event()).await;
    }
}

#[tokio::test]
async fn two_nodes_find_each_other() {
    let port = free_port();
    let (mut a, mut b) = (start(1, options(port)), start(2, options(port)));
    a.listening(ports(1));
    b.listening(ports(2));
    let (of_b, of_a) = tokio::join!(wait_found(&mut a, 2), wait_found(&mut b, 1));
    for (addresses, ports) in [(of_a, ports(1)), (of_b, ports(2))] {
        let expected = [
            format!("/ip4/127.0.0.1/udp/{}/quic-v1", ports.quic),
            format!("/ip4/127.0.0.1/tcp/{}", ports.tcp),
        ];
        for address in expected {
            assert!(addresses.contains(&address.parse().expect("an address")), "{addresses:?}");
        }
    }
    let report = a.report();
    let beacon = report.beacon.as_ref().expect("switched on");
    assert!(beacon.sent > 0 && beacon.heard == 1, "{report:#?}");
    let path = &beacon.interfaces[0].broadcast[0];
    assert!(path.sent > 0 && path.last_error.is_none(), "{path:?}");
    assert!(!a.report().to_string().is_empty());
}

/// The consumer may drop the future at any time, as a select loop does.
#[tokio::test]
async fn nothing_is_lost_when_waiting_is_cancelled() {
    let port = free_port();
    let (mut a, mut b) = (start(1, options(port)), start(2, options(port)));
    b.listening(ports(2));
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < PATIENCE, "never found");
        tokio::select! {
            biased;
            event = a.next_event() => if matches!(event, Event::Found { .. }) { break },
            () = tokio::task::yield_now() => {}
        }
        let _ = tokio::time::timeout(Duration::from_millis(1), b.next_event()).await;
    }
}

#[tokio::test]
async fn goodbye_is_heard_and_a_restart_is_found_at_once_though_linked() {
    let port = free_port();
    let (mut a, mut b) = (start(1, options(port)), start(2, options(port)));
    b.listening(ports(2));
    wait_found(&mut a, 2).await;
    a.linked(peer(2), None);
    b.shutdown();
    wait(&mut a, |event| (event == Event::Goodbye { peer: peer(2) }).then_some(())).await;
    b = start(2, options(port));
    b.listening(ports(3));
    let addresses = wait_found(&mut a, 2).await;
    assert!(addresses.iter().all(|address| !address.to_string().contains("1002")), "stale: {addresses:?}");
}

#[tokio::test]
async fn an_unlinked_peer_is_reported_again_and_a_linked_one_is_not() {
    let port = free_port();
    let mut a = start(1, options(port));
    Hand::new(port).send(&beacon(2, 1, 1, Kind::Announce));
    wait_found(&mut a, 2).await;
    wait_found(&mut a, 2).await;
    a.linked(peer(2), None);
    assert_eq!(a.candidates.next_deadline(), None);
    a.unlinked(peer(2));
    wait_found(&mut a, 2).await;
}

#[tokio::test]
async fn what_is_dropped_is_counted_by_cause() {
    let port = free_port();
    let mut a = start(1, options(port));
    let hand = Hand::new(port);
    hand.send(b"garbage");
    hand.send(&[0; 1000]);
    hand.send(&beacon(2, 1, 5, Kind::Announce));
    hand.send(&beacon(2, 1, 4, Kind::Announce));
    let mut forged = beacon(3, 1, 1, Kind::Announce);
    forged[80] ^= 1;
    hand.send(&forged);
    let mut foreign = beacon(3, 1, 1, Kind::Announce);
    foreign[6] ^= 1;
    hand.send(&foreign);
    let expected = [("unreadable", 2), ("other-network", 1), ("replay", 1), ("signature", 1)];
    run_until(&mut a, |report| {
        let refused = &report.beacon.as_ref().expect("switched on").refused;
        expected.iter().all(|(cause, n)| refused.get(cause) == Some(n))
    })
    .await;
    let beacon = a.report().beacon.expect("switched on");
    assert_eq!((beacon.refused.len(), beacon.heard), (4, 1), "{beacon:#?}");
}

#[tokio::test]
async fn a_double_of_ourselves_that_stays_alive_is_reported() {
    let port = free_port();
    let mut a = start(1, options(port));
    a.listening(ports(1));
    let hand = Hand::new(port);
    let mut counter = 0;
    let start = Instant::now();
    let cloned = loop {
        assert!(start.elapsed() < PATIENCE, "never reported");
        hand.send(&beacon(1, 99, counter, Kind::Announce));
        counter += 1;
        match tokio::time::timeout(Duration::from_millis(200), a.next_event()).await {
            Ok(Event::Cloned { peer, .. }) => break peer,
            Ok(Event::Found { peer, .. }) => panic!("found {peer:?}"),
            _ => {}
        }
    };
    assert_eq!(cloned, peer(1));
}

#[tokio::test]
async fn a_query_is_answered_by_a_beacon_and_by_being_found() {
    let port = free_port();
    let mut a = start(1, options(port));
    a.listening(ports(1));
    // Past the burst and into the period.
    run_until(&mut a, |report| report.beacon.as_ref().is_some_and(|beacon| beacon.sent >= BURST_LEN)).await;
    let n_sent = |a: &Discovery| a.report().beacon.expect("switched on").sent;
    let before = n_sent(&a);
    Hand::new(port).send(&beacon(2, 1, 1, Kind::Query));
    wait_found(&mut a, 2).await;
    run_until(&mut a, |report| report.beacon.as_ref().is_some_and(|beacon| beacon.sent > before)).await;
}

const BURST_LEN: u64 = super::bounds::BURST.len() as u64;

/// The first beacon must not wait for anything that is asynchronous: it has left when `listening` returns.
#[tokio::test]
async fn the_first_beacon_leaves_at_once_and_asks_to_be_dialled() {
    let port = free_port();
    let before = Instant::now();
    let mut a = start(1, options(port));
    let opened = before.elapsed();
    let listener = start(2, options(port));
    let before = Instant::now();
    a.listening(ports(1));
    println!("opened in {opened:?}, first beacon out {:?} after it listens", before.elapsed());
    assert_eq!(a.report().beacon.expect("switched on").sent, 1);
    let mut beacons = listener.beacons.expect("switched on");
    let datagram = tokio::time::timeout(PATIENCE, beacons.sockets.receive()).await.expect("received");
    let unchecked = UncheckedBeacon::decode(datagram.bytes()).expect("well formed");
    assert_eq!((unchecked.claims().kind, unchecked.claims().counter), (Kind::Query, 0));
}

/// Which paths work on a loopback interface; the others must at least not be reported as errors.
#[tokio::test]
async fn broadcast_and_both_multicasts_arrive_on_loopback() {
    let port = free_port();
    let mut a = start(1, options(port));
    let b = start(2, options(port));
    a.listening(ports(1));
    let report = a.report().beacon.expect("switched on");
    println!("{report}");
    let interface = &report.interfaces[0];
    let n_sent: u64 = [&interface.broadcast, &interface.multicast_v4, &interface.multicast_v6]
        .into_iter()
        .flatten()
        .map(|path| path.sent)
        .sum();
    let mut sockets = b.beacons.expect("switched on").sockets;
    for _ in 0..n_sent {
        let datagram = tokio::time::timeout(PATIENCE, sockets.receive()).await.expect("each path arrives");
        println!("from {}", datagram.from);
    }
    assert!(n_sent >= 2, "{interface:?}");
}

#[tokio::test]
async fn a_port_that_is_not_shared_is_a_clear_error() {
    let taken = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let signer = Signer::numbered(1);
    let result = Discovery::new(signer.peer(), Box::new(move |b| signer.sign(b)), options(port));
    let error = result.expect_err("the port is taken");
    assert!(matches!(error, StartError::PortInUse { port: held } if held == port), "{error}");
    assert!(error.to_string().contains("--beacon-port"), "{error}");
}

#[tokio::test]
async fn an_interface_that_is_not_there_is_a_clear_error() {
    let signer = Signer::numbered(1);
    let options = Options { interfaces: vec![loopback(), "nosuch".to_owned()], ..options(free_port()) };
    let result = Discovery::new(signer.peer(), Box::new(move |b| signer.sign(b)), options);
    let error = result.expect_err("no interface is called so");
    assert!(matches!(&error, StartError::NoInterface { name, .. } if name == "nosuch"), "{error}");
    assert!(error.to_string().starts_with("there is no interface nosuch; there are "), "{error}");
    assert!(error.to_string().contains(&loopback()), "{error}");
}

/// The command's exit code for it is that of an address that cannot be used.
#[tokio::test]
async fn a_node_on_an_interface_that_is_not_there_does_not_start() {
    let node = crate::Node::builder().in_memory().beacon_port(free_port()).interface("nosuch").spawn().await;
    let error = node.expect_err("no interface is called so");
    assert!(matches!(error, crate::NodeError::Discovery(_)), "{error}");
}

#[tokio::test]
async fn given_peers_and_cached_ones_are_found_without_a_lan() {
    let dir = scratch("tests-cache");
    let cache = dir.join("peers");
    let known: Multiaddr = "/ip4/10.0.0.9/tcp/9".parse().expect("an address");
    std::fs::write(&cache, format!("{known}/p2p/{}\n{known}/p2p/{}\n", peer(9), peer(1))).expect("written");
    let given = vec![
        "/ip4/10.0.0.1/tcp/1".parse().expect("good"),
        format!("/dns4/localhost/tcp/2/p2p/{}", peer(2)).parse().expect("good"),
    ];
    let mut a = start(1, Options { given, cache: Some(cache.clone()), ..Options::only_given("test") });
    assert_eq!((a.report().beacon, a.report().mdns), (None, None));
    let mut seen = BTreeSet::new();
    while seen.len() < 3 {
        let (peer, source, address) = wait(&mut a, |event| match event {
            Event::Found { peer, addresses, source } => Some((peer, source, addresses[0].to_string())),
            _ => None,
        })
        .await;
        seen.insert((source, peer, address));
    }
    let expected = [
        (Source::Given, None, "/ip4/10.0.0.1/tcp/1".to_owned()),
        (Source::Given, Some(peer(2)), "/ip4/127.0.0.1/tcp/2".to_owned()),
        (Source::Cache, Some(peer(9)), known.to_string()),
    ];
    assert_eq!(seen, BTreeSet::from(expected), "our own line in the cache is passed over");
    // Who answers is remembered for the next run.
    let address = "/ip4/10.0.0.1/tcp/1".parse().expect("an address");
    assert!(a.linked(peer(3), Some(&address)));
    assert!(a.report().given[0].linked);
    a.shutdown();
    let text = std::fs::read_to_string(&cache).expect("written");
    assert!(text.starts_with(&format!("{address}/p2p/{}\n", peer(3))), "{text}");
}

/// Nodes that take whatever port is free meet again and again, one of them remembering the other.
#[tokio::test]
async fn ports_that_change_do_not_pile_up_in_the_cache() {
    let dir = scratch("tests-meetings");
    let cache = dir.join("peers");
    let old: String = (1..=40).map(|n| format!("/ip4/10.0.0.2/tcp/{n}/p2p/{}\n", peer(2))).collect();
    std::fs::write(&cache, old).expect("written");
    for n in 0..20 {
        let mut a = start(1, Options { cache: Some(cache.clone()), ..Options::only_given("test") });
        // It is reported where it was, and does not answer there.
        wait(&mut a, |event| matches!(event, Event::Found { peer: Some(_), .. }).then_some(())).await;
        let now = Instant::now();
        let here = dialable("10.0.0.2:9".parse().expect("an address"), ports(n));
        for address in &here {
            a.candidates.vouch(now, peer(2), Source::Beacon, address.clone(), Some(now + PATIENCE));
        }
        let found = a.candidates.poll(now).expect("at once");
        assert_eq!((found.source, &found.addresses[..2]), (Source::Beacon, &here[..]), "meeting {n}");
        assert!(!a.linked(peer(2), (n % 2 == 0).then_some(&here[1])), "nobody gave it");
        a.shutdown();
        let text = std::fs::read_to_string(&cache).expect("written");
        assert_eq!(text.lines().count(), here.len(), "{text}");
        assert!(here.iter().all(|address| text.contains(&format!("{address}/p2p/"))), "{text}");
    }
}

/// What worked is worth keeping, even if only the cache knew it; what else the cache said is not.
#[tokio::test]
async fn the_cache_keeps_an_address_that_worked() {
    let dir = scratch("tests-worked");
    let cache = dir.join("peers");
    let line = |n: u16| format!("/ip4/10.0.0.2/tcp/{n}/p2p/{}\n", peer(2));
    std::fs::write(&cache, line(1) + &line(2)).expect("written");
    let mut a = start(1, Options { cache: Some(cache.clone()), ..Options::only_given("test") });
    let addresses = wait(&mut a, |event| match event {
        Event::Found { addresses, source: Source::Cache, .. } => Some(addresses),
        _ => None,
    })
    .await;
    assert!(addresses[0].to_string().ends_with("/tcp/1"), "in the order of the file: {addresses:?}");
    assert!(!a.linked(peer(2), Some(&addresses[1])));
    a.shutdown();
    assert_eq!(std::fs::read_to_string(&cache).expect("written"), line(2));
}

#[test]
fn link_local_addresses_are_evidence_only() {
    let from = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let both = Ports { tcp: 1, quic: 2 };
    assert!(dialable(from("[fe80::1%3]:9"), both).is_empty());
    assert_eq!(dialable(from("[fd00::1]:9"), both).len(), 2);
    assert_eq!(dialable(from("10.0.0.1:9"), Ports { tcp: 1, quic: 0 }).len(), 1);
}
