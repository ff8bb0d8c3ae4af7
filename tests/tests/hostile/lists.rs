//! Lists in a greeting, and of others: too long, made up, said twice, out of order, or only claimed to be there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use djembe_protocol::id::{Incarnation, Lane, LogId, PeerId};
use djembe_protocol::wire::frame::{
    Address, Class, Clock, ClockEntry, Fact, Frame, Hello, MemberRecord, MembersDigest, News, Part,
    PeerRecord, Peers, Roots, STAR, Signature, Stay,
};

use super::attacks::{client, counted};
use super::{GROUP, Scene, soon};

/// An address on loopback at which nobody listens.
fn nowhere(n: u8) -> Address {
    Address(vec![4, 127, 0, 0, n, 6, 0, 9])
}

/// Greetings that no node would send: each is refused, and its cause counted.
pub(crate) async fn greetings(scene: &mut Scene, kind: usize) {
    println!("greetings {kind}");
    type Spoil = fn(&mut Hello);
    let cases: [(&'static str, Spoil); 8] = [
        ("oversized", |hello| Arc::make_mut(&mut hello.record).addresses = (0..9).map(nowhere).collect()),
        ("oversized", |hello| {
            Arc::make_mut(&mut hello.record).addresses = vec![Address(vec![4; Address::MAX + 1])]
        }),
        // In thousands of groups.
        ("oversized", |hello| Arc::make_mut(&mut hello.record).tags = vec![[7; 8]; 8000]),
        ("oversized", |hello| hello.incarnation = Incarnation(u64::MAX)),
        ("unreadable", |hello| (hello.min, hello.max) = (2, 1)),
        // Somebody else.
        ("out-of-turn", |hello| Arc::make_mut(&mut hello.record).peer = PeerId([1; 32])),
        ("version", |hello| (hello.min, hello.max) = (90, 99)),
        ("wrong-network", |hello| hello.network = *b"elsewher"),
    ];
    let before = scene.counts();
    let mut wanted: BTreeMap<&str, u64> = BTreeMap::new();
    // One that ends at once might be gone before it was read.
    let mut connections = Vec::new();
    for (cause, spoil) in cases {
        let mut client = client();
        let (connection, mut link) = client.open(&scene.addresses[kind]).await.unwrap();
        let mut hello = client.hello(&scene.network);
        spoil(&mut hello);
        link.send(Class::Control, &hello.into()).await.unwrap();
        *wanted.entry(cause).or_insert_with(|| before.get(cause).copied().unwrap_or(0)) += 1;
        connections.push((connection, link));
    }
    for (cause, n) in wanted {
        counted(scene, cause, n - 1).await;
    }
    scene.talk().await;
}

/// A list that claims to be longer than anything, of which nothing comes: no memory is set aside for it.
pub(crate) async fn claimed_lengths(scene: &mut Scene, kind: usize) {
    println!("claimed_lengths {kind}");
    /// Where the number of addresses stands in a HELLO's body: after versions, features, network, nonce, incarnation,
    /// why, peer and number of the record.
    const AT: usize = 1 + 1 + 1 + 8 + 16 + 1 + 1 + 32 + 1;
    // As bincode writes 32 and 64 bits.
    for length in [&[252, 0xff, 0xff, 0xff, 0xff][..], &[253, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]]
    {
        // What the bytes of the signature mean as a list is chance.
        let refused =
            |scene: &Scene| ["oversized", "truncated", "unreadable"].map(|c| scene.count(c)).iter().sum();
        let before: u64 = refused(scene);
        let mut client = client();
        let (_connection, mut link) = client.open(&scene.addresses[kind]).await.unwrap();
        let hello = Frame::from(client.hello(&scene.network)).encode().concat();
        let (head, rest) = hello.split_at(1 + AT);
        assert_eq!(rest[0], 0, "no addresses");
        let body = [head, length, &rest[1..]].concat();
        let frame = [&u32::try_from(body.len()).unwrap().to_le_bytes()[..], &body].concat();
        link.write(Class::Control, &frame).await.unwrap();
        let rises = async {
            while refused(scene) <= before {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        soon("the claim is refused", rises).await;
    }
    scene.talk().await;
}

/// What has no order and no rule against saying it twice is taken as it is.
pub(crate) async fn doubles_in_a_greeting(scene: &mut Scene, kind: usize) {
    println!("doubles_in_a_greeting {kind}");
    let mut client = client();
    let mut hello = client.hello(&scene.network);
    let tags = vec![[9; 8], [3; 8], [9; 8], [0; 8]];
    hello.record = PeerRecord::new(&client.identity, 1, vec![nowhere(1); 8], tags);
    let joined = client.join_with(&scene.addresses[kind], &scene.network, GROUP, hello).await;
    let (connection, _link) = joined.unwrap();
    scene.talk().await;
    assert!(!connection.is_closed());
}

/// Lists in later talk that break their rules, and members that nobody is.
pub(crate) async fn lists_out_of_order(scene: &mut Scene, kind: usize) {
    println!("lists_out_of_order {kind}");
    let before = scene.counts();
    let peer = |n: u8| PeerId([n; 32]);
    let entry = |n: u8| {
        let log = LogId { author: peer(n), lane: Lane::Durable };
        ClockEntry { log, next: 1, floor: 0, head: [1; 8] }
    };
    let made_up = MemberRecord {
        peer: peer(1),
        incarnation: Incarnation(1),
        seq: 1,
        stay: Stay::Here,
        signature: Signature([7; 64]),
    };
    let roots = [3, 1].map(|group| (group, [0; 32], MembersDigest::default())).to_vec();
    let clock = |entries| -> Frame { Clock { group: 1, part: Part::All, entries }.into() };
    let news = News { group: 1, tree: STAR, facts: vec![Fact::Said(made_up.into())] };
    let cases: [(&str, Frame); 6] = [
        ("oversized", Peers { peers: (0..65).map(|n| (peer(n), vec![nowhere(1)])).collect() }.into()),
        ("oversized", Peers { peers: vec![(peer(1), (0..9).map(nowhere).collect())] }.into()),
        ("unreadable", Roots { roots }.into()),
        ("unreadable", clock(vec![entry(2), entry(1)])),
        ("unreadable", clock(vec![entry(1), entry(1)])),
        ("forged-fact", news.into()),
    ];
    let (_connection, mut link) = client().join(&scene.addresses[kind], &scene.network, GROUP).await.unwrap();
    let mut wanted: BTreeMap<&str, u64> = BTreeMap::new();
    for (cause, frame) in cases {
        link.send(Class::Control, &frame).await.unwrap();
        *wanted.entry(cause).or_insert_with(|| before.get(cause).copied().unwrap_or(0)) += 1;
    }
    for (cause, n) in wanted {
        counted(scene, cause, n - 1).await;
    }
    scene.talk().await;
}

/// A member that is linked to thousands, if it is to be believed, each at eight addresses: the node dials in measure.
pub(crate) async fn invented_peers(scene: &mut Scene, kind: usize) {
    println!("invented_peers {kind}");
    let before = scene.counts();
    let since = Instant::now();
    let (_connection, mut link) = client().join(&scene.addresses[kind], &scene.network, GROUP).await.unwrap();
    for round in 0..50u8 {
        let peer = |n: u8| {
            let mut id = [n; 32];
            (id[0], id[1]) = (round, kind as u8);
            (PeerId(id), (1..9).map(nowhere).collect())
        };
        let peers = Peers { peers: (0..64).map(peer).collect() };
        link.send(Class::Control, &peers.into()).await.unwrap();
    }
    let dropped = before.get("hearsay-dropped").copied().unwrap_or(0);
    counted(scene, "hearsay-dropped", dropped).await;
    // Dials that had to wait are made by and by.
    let put_off = before.get("hearsay-dials-put-off").copied().unwrap_or(0);
    counted(scene, "hearsay-dials-put-off", put_off).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = scene.counts();
    let n_dials = ["dial-refused", "dial-failed"]
        .map(|cause| after.get(cause).copied().unwrap_or(0) - before.get(cause).copied().unwrap_or(0));
    // At once, by the second, and what is left of others that did the same.
    let most = 64 + 2 * (1 + since.elapsed().as_secs()) * 2 + 64;
    assert!((1..=most).contains(&n_dials.iter().sum()), "{n_dials:?} dials, not {most}");
    scene.talk().await;
}
