//! Every kind of frame: round trip, golden bytes, and what is refused.

use std::sync::Arc;

use super::*;
use crate::crypto::Identity;
use crate::error::Reject;
use crate::id::{Lane, LogId, PeerId};

fn peer(n: u8) -> PeerId {
    PeerId([n; 32])
}

fn log(n: u8) -> LogId {
    LogId { author: peer(n), lane: Lane::Durable }
}

fn range(from: Seq, to: Seq) -> Range {
    Range { log: log(2), from, to }
}

fn alert(n: u8) -> Alert {
    Alert {
        target: peer(1),
        incarnation: Incarnation(300),
        observer: peer(n),
        observers: 8,
        signature: Signature([7; 64]),
    }
}

fn entry(n: u8) -> ClockEntry {
    ClockEntry { log: log(n), next: 251, floor: 3, head: [9; 8] }
}

fn hello() -> Hello {
    Hello {
        min: 1,
        max: 1,
        features: 0,
        network: *b"lobbynet",
        nonce: [5; 16],
        incarnation: Incarnation(1000),
        why: Why::Near { rtt: 300 },
        record: record(),
    }
}

fn record() -> Arc<PeerRecord> {
    Arc::new(PeerRecord {
        peer: peer(3),
        seq: 1001,
        addresses: vec![Address(vec![4, 127, 0, 0, 1])],
        tags: vec![[4; 8]],
        signature: Signature([9; 64]),
    })
}

fn advert(tree: TreeIx, name: Name) -> Advert {
    Advert { tree, name, seq: 2, key: [4; 16], dist: 251, branch: 1 }
}

fn word(n: u8) -> MemberRecord {
    MemberRecord {
        peer: peer(n),
        incarnation: Incarnation(300),
        seq: 2,
        stay: Stay::Left,
        signature: Signature([7; 64]),
    }
}

fn anchor() -> Anchor {
    Anchor {
        root: peer(1),
        incarnation: Incarnation(300),
        chain: 1,
        length: 256,
        end: [5; 16],
        signature: Signature([7; 64]),
    }
}

/// One frame of each kind, small.
fn samples() -> Vec<Frame> {
    vec![
        hello().into(),
        Subscribe { group: 3, proof: [6; 32] }.into(),
        Unsubscribe { group: 300 }.into(),
        Beat { n: 255, echo: 5, held: 1_000_000, ask: 1 }.into(),
        Goodbye { incarnation: Incarnation(1) }.into(),
        alert(2).into(),
        Alive { peer: peer(1), incarnation: Incarnation(70_000), signature: Signature([8; 64]) }.into(),
        Gone { alerts: vec![alert(2)] }.into(),
        Peers { peers: vec![(peer(1), vec![Address(vec![1, 2])]), (peer(2), vec![])] }.into(),
        Digest { root: [1; 32] }.into(),
        Roots { roots: vec![(3, [2; 32], MembersDigest { n: 4, sum: 251 })] }.into(),
        Clock { group: 3, part: Part::Ask, entries: vec![entry(1), entry(2)] }.into(),
        Frame::Data { group: 0x0102, tree: 0x0304, envelope: Bytes::from_static(b"envelope") },
        Announce { group: 3, ranges: vec![OnTree { tree: 7, range: range(4, 5) }] }.into(),
        Want { request: 9, group: 3, range: range(0, 63), graft: true }.into(),
        Served { request: 9, group: 3, count: 64, floor: 0, upto: 63 }.into(),
        Prune { group: 3, author: peer(2) }.into(),
        Stored { group: 3, logs: vec![(log(2), 7)] }.into(),
        Refuse { why: Refusal::Surplus, peers: vec![record()] }.into(),
        Walk { record: record(), split: true, hops: 12 }.into(),
        Shuffle { reply: false, peers: vec![record()] }.into(),
        Find { tag: [2; 8], record: record(), hops: 3 }.into(),
        Found { tag: [2; 8], seeker: peer(4), record: record() }.into(),
        News { group: 3, tree: 7, facts: vec![Fact::Said(word(5).into()), Fact::Vote(alert(2).into())] }
            .into(),
        MembersAsk { group: 3, after: peer(4) }.into(),
        Members { group: 3, facts: vec![Fact::Said(word(5).into())], more_after: Some(peer(5)) }.into(),
        MembersSums { group: 3, sums: vec![9; MembersSums::BUCKETS] }.into(),
        MembersHave { group: 3, buckets: 6, ids: vec![1, 251] }.into(),
        MembersWant { group: 3, ids: vec![1, 251] }.into(),
        PeersChange { came: vec![peer(2)], went: vec![peer(1), peer(3)] }.into(),
        Adverts {
            group: 3,
            trees: vec![
                advert(7, Name::Told),
                advert(300, Name::Id([8; 8])),
                advert(1, Name::Anchor(Box::new(anchor()))),
            ],
        }
        .into(),
        AnchorReq { group: 3, trees: vec![7, 300] }.into(),
        Graft { group: 3, mine: 7, yours: 300 }.into(),
        Ungraft { group: 3, yours: 300, fade: 300 }.into(),
        SeqReq { group: 3, yours: 7, seq: 255, branch: 2, ttl: 32 }.into(),
        LoopProbe { group: 3, yours: 7, nonce: [9; 8], ttl: 64 }.into(),
        Credit { live: 1_572_864, bulk: 1_048_576 }.into(),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `xx*n` in a golden text is the byte xx, n times.
fn written_out(golden: &str) -> String {
    golden
        .split_whitespace()
        .map(|part| match part.split_once('*') {
            Some((byte, n)) => byte.repeat(n.parse().expect("a count")),
            None => part.to_owned(),
        })
        .collect()
}

/// What stands on the stream, length included. A change here is a change of the protocol.
const GOLDEN: [&str; 37] = [
    "96000000 01 0101006c6f6262796e6574 05*16 fbe80304fb2c01 03*32 fbe9030105047f00000101 04*8 09*64",
    "22000000 02 03 06*32",
    "04000000 03 fb2c01",
    "09000000 04 ff05 fc40420f00 01",
    "02000000 05 01",
    "85000000 06 01*32 fb2c01 02*32 08 07*64",
    "66000000 07 01*32 fc70110100 08*64",
    "86000000 08 01*33 fb2c01 02*32 08 07*64",
    "47000000 09 02 01*33 0201 02*33 00",
    "21000000 0a 01*32",
    "27000000 0b 0103 02*32 04fbfb00",
    "5e000000 0c 030102 01*33 fbfb0003 09*8 02*32 01fbfb0003 09*8",
    "0d000000 0d 02010403656e76656c6f7065",
    "27000000 0e 030107 02*32 010405",
    "27000000 0f 0903 02*32 01003f01",
    "06000000 10 090340003f",
    "22000000 11 03 02*32",
    "25000000 12 0301 02*32 0107",
    "76000000 13 0101 03*32 fbe9030105047f00000101 04*8 09*64",
    "76000000 14 03*32 fbe9030105047f00000101 04*8 09*64 010c",
    "76000000 15 0001 03*32 fbe9030105047f00000101 04*8 09*64",
    "7d000000 16 02*8 03*32 fbe9030105047f00000101 04*8 09*64 03",
    "9c000000 17 02*8 04*32 03*32 fbe9030105047f00000101 04*8 09*64",
    "ef000000 18 030702 00 05*32 fb2c010201 07*64 01 01*32 fb2c01 02*32 08 07*64",
    "22000000 19 03 04*32",
    "8a000000 1a 0301 00 05*32 fb2c010201 07*64 01 05*32",
    "43000000 1b 0340 09*64",
    "08000000 1c 03060201fbfb00",
    "07000000 1d 030201fbfb00",
    "63000000 1e 01 02*32 02 01*32 03*32",
    "c9000000 28 0303 070002 04*16 fbfb0001 fb2c0101 08*8 02 04*16 fbfb0001 0102 01*32 fb2c0101fb0001 05*16 07*64 02 04*16 fbfb0001",
    "07000000 29 030207fb2c01",
    "06000000 2a 0307fb2c01",
    "08000000 2b 03fb2c01fb2c01",
    "08000000 2c 0307fbff000220",
    "0c000000 2d 0307 09*8 40",
    "0b000000 32 fc00001800fc00001000",
];

#[test]
fn every_kind_has_its_golden_bytes() {
    for (frame, golden) in samples().iter().zip(GOLDEN) {
        let encoded = frame.encode();
        let bytes = [&encoded.head[..], &encoded.body].concat();
        assert_eq!(hex(&bytes), written_out(golden), "kind {}", frame.kind());
    }
    let kinds: Vec<u8> = samples().iter().map(Frame::kind).collect();
    assert_eq!(kinds, (1..=30).chain(40..=45).chain([50]).collect::<Vec<u8>>(), "a sample of each kind");
}

#[test]
fn every_kind_comes_back_and_has_the_length_it_says() {
    for frame in samples() {
        let encoded = frame.encode();
        assert_eq!(encoded.len(), frame.encoded_len());
        let length = u32::from_le_bytes(encoded.head[..4].try_into().expect("four bytes"));
        assert_eq!(length as usize, encoded.concat().len());
        assert_eq!(Frame::decode(encoded.concat()), Ok(Some(frame)));
    }
}

/// Every frame cut anywhere, and with a byte too many, is refused; an envelope is cut by its own parser.
#[test]
fn missing_and_extra_bytes_are_refused() {
    for frame in samples() {
        let bytes = frame.encode().concat();
        let is_data = matches!(frame, Frame::Data { .. });
        for len in 0..bytes.len() {
            let cut = Frame::decode(bytes.slice(..len));
            assert!(cut.is_err() || is_data && len >= 5, "{frame:?} cut to {len}");
        }
        let longer: Bytes = [&bytes[..], &[0]].concat().into();
        if !is_data {
            assert_eq!(Frame::decode(longer), Err(DecodeError::Trailing), "{frame:?}");
        }
    }
}

#[test]
fn another_encoding_of_a_value_is_refused() {
    // 3 as a varint of three bytes instead of one.
    let long: Bytes = vec![3, 0xfb, 3, 0].into();
    assert_eq!(Frame::decode(long), Err(DecodeError::NotCanonical));
    let short: Bytes = vec![3, 3].into();
    assert!(Frame::decode(short).is_ok());
}

#[test]
fn unknown_kinds_are_skipped_from_128_on() {
    for kind in [0, 99, SKIPPABLE - 1] {
        assert_eq!(Frame::decode(vec![kind, 1, 2].into()), Err(DecodeError::Kind(kind)));
    }
    for kind in [SKIPPABLE, 255] {
        assert_eq!(Frame::decode(vec![kind, 1, 2].into()), Ok(None));
        assert!(matches!(check(Bytes::from(vec![kind]), |_| false), Ok(CheckedFrame(Checked::Skipped))));
    }
}

#[test]
fn a_frame_has_a_size_and_one_more_byte_is_too_much() {
    let data = |len: usize| {
        let mut bytes = vec![0; len];
        bytes[0] = Frame::DATA;
        Frame::decode(bytes.into())
    };
    assert!(data(limits::FRAME_MAX).is_ok());
    assert_eq!(data(limits::FRAME_MAX + 1), Err(DecodeError::TooLarge("frame")));
}

/// Every list at its limit fits a frame and comes back; with one more it is refused.
#[test]
fn lists_are_bounded_from_both_sides() {
    fn many<T>(n: usize, f: impl Fn(usize) -> T) -> Vec<T> {
        (0..n).map(f).collect()
    }
    let author = |n: usize| {
        let mut id = [0xff; 32];
        id[..8].copy_from_slice(&(n as u64).to_be_bytes());
        LogId { author: PeerId(id), lane: Lane::Live }
    };
    let address = |len: usize| Address(vec![1; len]);
    let big = limits::SEQ_MAX;
    let full = || PeerRecord {
        addresses: many(PeerRecord::ADDRESSES_MAX, |_| address(Address::MAX)),
        tags: vec![[1; 8]; PeerRecord::TAGS_MAX],
        ..PeerRecord::clone(&record())
    };
    let addresses = |n| -> Frame {
        let record = PeerRecord { addresses: many(n, |_| address(Address::MAX)), ..full() }.into();
        Hello { record, ..hello() }.into()
    };
    let tags = |n| -> Frame {
        let record = PeerRecord { tags: vec![[1; 8]; n], ..full() }.into();
        Walk { record, split: true, hops: 0 }.into()
    };
    let hops = |n: usize| -> Frame { Walk { record: full().into(), split: true, hops: n as u8 }.into() };
    let refuse = |n| -> Frame { Refuse { why: Refusal::Full, peers: many(n, |_| full().into()) }.into() };
    let shuffle = |n| -> Frame { Shuffle { reply: true, peers: many(n, |_| full().into()) }.into() };
    let peers = |n| -> Frame {
        let all = || many(PeerRecord::ADDRESSES_MAX, |_| address(Address::MAX));
        Peers { peers: many(n, |_| (peer(1), all())) }.into()
    };
    let gone = |n| -> Frame { Gone { alerts: many(n, |_| alert(2)) }.into() };
    let all = MembersDigest { n: u32::MAX, sum: u64::MAX };
    let roots = |n| -> Frame { Roots { roots: many(n, |n| (0xf000 + n as u16, [1; 32], all)) }.into() };
    let clock = |n| -> Frame {
        Clock {
            group: u16::MAX,
            part: Part::Ask,
            entries: many(n, |n| ClockEntry { log: author(n), next: big, floor: big, head: [1; 8] }),
        }
        .into()
    };
    let announce = |n| -> Frame {
        let range = |n| Range { log: author(n), from: big, to: big };
        Announce { group: u16::MAX, ranges: many(n, |n| OnTree { tree: u16::MAX, range: range(n) }) }.into()
    };
    let stored = |n| -> Frame { Stored { group: u16::MAX, logs: many(n, |n| (author(n), big)) }.into() };
    let told = |n| vec![advert(u16::MAX, Name::Anchor(Box::new(Anchor { chain: u16::MAX, ..anchor() }))); n];
    let adverts = |n| -> Frame { Adverts { group: u16::MAX, trees: told(n) }.into() };
    let anchors = |n| -> Frame {
        AnchorReq { group: u16::MAX, trees: (u16::MAX - n as u16..u16::MAX).collect() }.into()
    };
    let vote = || Fact::Vote(Alert { incarnation: Incarnation(limits::INCARNATION_MAX), ..alert(2) }.into());
    let news = |n| -> Frame { News { group: u16::MAX, tree: u16::MAX, facts: vec![vote(); n] }.into() };
    let more_after = Some(peer(1));
    let members = |n| -> Frame { Members { group: u16::MAX, facts: vec![vote(); n], more_after }.into() };
    let have =
        |n| -> Frame { MembersHave { group: u16::MAX, buckets: u64::MAX, ids: vec![u64::MAX; n] }.into() };
    let want = |n| -> Frame { MembersWant { group: u16::MAX, ids: vec![u64::MAX; n] }.into() };
    type Make<'a> = &'a dyn Fn(usize) -> Frame;
    let cases: [(Make<'_>, usize); 17] = [
        (&addresses, PeerRecord::ADDRESSES_MAX),
        (&tags, PeerRecord::TAGS_MAX),
        (&hops, Walk::HOPS_MAX.into()),
        (&refuse, Refuse::PEERS_MAX),
        (&shuffle, Shuffle::PEERS_MAX),
        (&peers, Peers::MAX),
        (&gone, Gone::ALERTS_MAX),
        (&roots, limits::GROUPS_MAX),
        (&clock, limits::CLOCK_ENTRIES_MAX),
        (&announce, limits::ANNOUNCE_RANGES_MAX),
        (&stored, 3),
        (&adverts, limits::TREES_MAX),
        (&anchors, limits::TREES_MAX),
        (&news, limits::FACTS_MAX),
        (&members, limits::FACTS_MAX),
        (&have, MembersHave::MAX),
        (&want, MembersWant::MAX),
    ];
    for (make, max) in cases {
        let frame = make(max);
        assert_eq!(Frame::decode(frame.encode().concat()), Ok(Some(frame)));
        let frame = make(max + 1);
        let mut bytes = vec![frame.kind()];
        frame.encode_body(&mut bytes);
        assert!(
            matches!(Frame::decode(bytes.into()), Err(DecodeError::TooLarge(_))),
            "kind {}",
            frame.kind()
        );
    }
}

#[test]
fn values_that_contradict_themselves_are_refused() {
    let refused = |frame: Frame| Frame::decode(frame.encode().concat()).expect_err("refused");
    let hello = |min, max| Hello { min, max, ..hello() };
    assert_eq!(refused(hello(2, 1).into()), DecodeError::Invalid("version range"));
    let want = |range| Want { request: 1, group: 1, range, graft: false };
    assert_eq!(refused(want(range(2, 1)).into()), DecodeError::Invalid("range"));
    let far = range(0, limits::SEQ_MAX + 1);
    assert_eq!(refused(want(far).into()), DecodeError::TooLarge("number"));
    for n in [MembersSums::BUCKETS - 1, MembersSums::BUCKETS + 1] {
        let sums = MembersSums { group: 1, sums: vec![1; n] };
        assert_eq!(refused(sums.into()), DecodeError::Invalid("sums"));
    }
    let late = MemberRecord { incarnation: Incarnation(limits::INCARNATION_MAX + 1), ..word(1) };
    let facts = vec![Fact::Said(late.into())];
    assert_eq!(refused(News { group: 1, tree: 1, facts }.into()), DecodeError::TooLarge("incarnation"));
    let clock = |entries: Vec<ClockEntry>| Clock { group: 1, part: Part::All, entries };
    assert_eq!(refused(clock(vec![entry(2), entry(1)]).into()), DecodeError::NotCanonical);
    assert_eq!(refused(clock(vec![entry(1), entry(1)]).into()), DecodeError::NotCanonical);
    let all = MembersDigest::default();
    let roots = |list: &[u16]| Roots { roots: list.iter().map(|group| (*group, [1; 32], all)).collect() };
    assert_eq!(refused(roots(&[2, 1]).into()), DecodeError::NotCanonical);
    assert_eq!(refused(roots(&[1, 1]).into()), DecodeError::NotCanonical);
    let upside_down = ClockEntry { floor: 252, ..entry(1) };
    assert_eq!(refused(clock(vec![upside_down]).into()), DecodeError::Invalid("floor"));
    let far = Anchor { length: limits::CHAIN_MAX as u16 + 1, ..anchor() };
    let asked = |trees: &[u16]| AnchorReq { group: 3, trees: trees.to_vec() };
    assert_eq!(refused(asked(&[8, 7]).into()), DecodeError::NotCanonical);
    assert_eq!(refused(asked(&[7, 7]).into()), DecodeError::NotCanonical);
    let adverts = |anchor| Adverts { group: 3, trees: vec![advert(1, Name::Anchor(Box::new(anchor)))] };
    assert_eq!(refused(adverts(far).into()), DecodeError::TooLarge("chain"));
    let mixed = Alert { target: peer(9), ..alert(2) };
    let gone = |alerts| Gone { alerts };
    assert_eq!(refused(gone(vec![alert(2), mixed]).into()), DecodeError::Invalid("alerts"));
    assert_eq!(refused(gone(vec![]).into()), DecodeError::Invalid("alerts"));
    let goodbye = Goodbye { incarnation: Incarnation(limits::INCARNATION_MAX + 1) };
    assert_eq!(refused(goodbye.into()), DecodeError::TooLarge("incarnation"));
}

#[test]
fn votes_and_refutations_are_signed() {
    let identity = Identity::from_seed([1; 32]);
    let good = Alert::new(peer(9), Incarnation(4), 3, &identity);
    let passes = |frame: Frame| check(frame.encode().concat(), |_| false).is_ok();
    assert!(passes(good.clone().into()));
    assert!(passes(Gone { alerts: vec![good.clone()] }.into()));
    let later = Alert { incarnation: Incarnation(5), ..good.clone() };
    assert!(!passes(later.clone().into()));
    assert!(!passes(Gone { alerts: vec![good, later] }.into()));
    let alive = Alive::new(Incarnation(6), &identity);
    assert!(passes(alive.clone().into()));
    let other = Alive { peer: peer(9), ..alive };
    assert!(!passes(other.into()));
}

#[test]
fn a_record_is_signed_by_its_peer_and_nothing_in_it_can_be_changed() {
    let identity = Identity::from_seed([1; 32]);
    let good = PeerRecord::new(&identity, 7, vec![Address(vec![1, 2])], vec![[3; 8]]);
    assert_eq!(good.check(), Ok(()));
    let changed = [
        PeerRecord { peer: peer(9), ..PeerRecord::clone(&good) },
        PeerRecord { seq: 8, ..PeerRecord::clone(&good) },
        PeerRecord { addresses: vec![Address(vec![1]), Address(vec![2])], ..PeerRecord::clone(&good) },
        PeerRecord { addresses: vec![Address(vec![1, 3])], ..PeerRecord::clone(&good) },
        PeerRecord { tags: vec![], ..PeerRecord::clone(&good) },
    ];
    for record in changed {
        assert_eq!(record.check(), Err(Reject::Signature), "{record:?}");
    }
}
