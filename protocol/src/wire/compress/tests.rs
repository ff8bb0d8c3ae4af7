//! Goal: what is elided comes back to the byte, whatever the order of authors, lanes and groups; a sender that
//! breaks the rules is noticed and costs no memory. Method: both ends of a stream side by side, first with golden
//! bytes, then with made-up envelopes in any order, then with damage.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::crypto::{GroupKey, Identity, SealInput, seal};
use crate::error::Reject;
use crate::id::LogId;
use crate::limits::{ANNOUNCE_RANGES_MAX, SEQ_MAX};
use crate::message::{Draft, encode_body};
use crate::time::Hlc;
use crate::wire::frame::{Announce, Checked, Frame, OnTree, Range, check};

/// A stream between two nodes, with a second receiver that expands in place.
#[derive(Default)]
struct Stream {
    out: Compressor,
    into: Expander,
    in_place: Expander,
}

impl Stream {
    /// Kind and body as they travel.
    fn elide(&mut self, frame: &Frame) -> Vec<u8> {
        let encoded = frame.encode();
        let mut wire = Vec::new();
        let rest = self.out.elide(&encoded.head[4..], &encoded.body, &mut wire);
        wire.extend_from_slice(&encoded.body[rest..]);
        wire
    }

    fn expand(&mut self, wire: &[u8]) -> Result<Expanded, DecodeError> {
        let expanded = self.into.expand(wire);
        let mut buffer = BytesMut::zeroed(Expander::ROOM);
        buffer.extend_from_slice(wire);
        let in_place = self.in_place.expand_in_place(buffer);
        assert_eq!(in_place.map(|it| it.bytes), expanded.clone().map(|it| it.bytes));
        expanded
    }

    /// Sends a frame; what arrives is the frame. Returns what travelled.
    fn pass(&mut self, frame: &Frame) -> Vec<u8> {
        let wire = self.elide(frame);
        let expanded = self.expand(&wire).expect("an honest sender");
        assert_eq!(expanded.bytes, frame.encode().concat());
        assert_eq!(self.out.tables, self.into.tables);
        wire
    }

    fn pass_all(&mut self, frames: &[Frame]) -> Vec<usize> {
        frames.iter().map(|frame| self.pass(frame).len()).collect()
    }
}

fn header() -> Header {
    Header {
        lane: Lane::Live,
        topic_tag: TopicTag([1; 16]),
        author: PeerId([2; 32]),
        seq: 0,
        prev: EnvelopeId::NONE,
        epoch_id: EpochId([5; 32]),
        chain_idx: 0,
        heads_digest: [0; 32],
        frame_salt: [8; 16],
        msg_count: 1,
        ct_len: 17,
        skip: 0,
        ttl_secs: 0,
        msg_root: [10; 32],
        ct_hash: [0; 32],
        sig: [12; 64],
    }
}

/// A frame around a header and as much ciphertext as it says, hashed.
fn data(header: &Header) -> Frame {
    let ciphertext = vec![13; header.ct_len as usize];
    let ct_hash = *blake3::hash(&ciphertext).as_bytes();
    let head = Header { ct_hash, ..header.clone() }.to_bytes();
    Frame::Data { group: 0x0102, tree: 0x0304, envelope: [&head[..], &ciphertext].concat().into() }
}

fn id_of(frame: &Frame) -> EnvelopeId {
    let Frame::Data { envelope, .. } = frame else { panic!("no envelope in {frame:?}") };
    envelope_id(envelope)
}

/// What comes after this one in its log.
fn after(frame: &Frame, header: &Header) -> Header {
    Header { seq: header.seq + 1, prev: id_of(frame), skip: 0, ..header.clone() }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `xx*n` in a golden text is the byte xx, n times.
fn written_out(golden: &str) -> String {
    let part = |part: &str| match part.split_once('*') {
        Some((byte, n)) => byte.repeat(n.parse().expect("a count")),
        None => part.to_owned(),
    };
    golden.split_whitespace().map(part).collect()
}

/// A log's first envelope, the next, one after a crash with another time to live and of three messages, one that
/// is another's successor, the same author in another lane, a private group's, and one of another group.
fn story() -> Vec<Frame> {
    let first = header();
    let second = after(&data(&first), &first);
    let crashed = Header {
        seq: 700,
        skip: 698,
        prev: id_of(&data(&second)),
        ttl_secs: 60,
        msg_count: 3,
        ..second.clone()
    };
    let stray = Header { seq: 900, prev: EnvelopeId([4; 32]), ..crashed.clone() };
    let other_lane = Header { lane: Lane::Durable, ..first.clone() };
    let heads_digest = [7; 32];
    let private = Header { topic_tag: TopicTag([3; 16]), heads_digest, chain_idx: 1 << 20, ..first.clone() };
    let private_next = Header { chain_idx: private.chain_idx + 1, ..after(&data(&private), &private) };
    let third = after(&data(&stray), &Header { msg_count: 1, ..stray.clone() });
    [first, second, crashed, stray, other_lane, private, private_next, third].iter().map(data).collect()
}

/// Kind, group and tree, flags and log; new log and scope if there are; given fields; salt, root, signature, ciphertext.
const GOLDEN: [&str; 8] = [
    "0d 02010403 01 80 02*32 02 80 01*16 05*32 00*32 08*16 0a*32 0c*64 0d*17",
    "0d 02010403 00 00 08*16 0a*32 0c*64 0d*17",
    "0d 02010403 32 00 fbbc02 fbba02 3c 03 08*16 0a*32 0c*64 0d*17",
    "0d 02010403 26 00 fb8403 fbba02 04*32 03 08*16 0a*32 0c*64 0d*17",
    "0d 02010403 00 81 02*32 01 08*16 0a*32 0c*64 0d*17",
    "0d 02010403 09 82 02*32 02 81 03*16 05*32 07*32 fc00001000 08*16 0a*32 0c*64 0d*17",
    "0d 02010403 00 02 08*16 0a*32 0c*64 0d*17",
    "0d 02010403 00 00 08*16 0a*32 0c*64 0d*17",
];

#[test]
fn a_story_has_its_golden_bytes() {
    let mut stream = Stream::default();
    for (n, (frame, golden)) in story().iter().zip(GOLDEN).enumerate() {
        assert_eq!(hex(&stream.pass(frame)), written_out(golden), "envelope {n}");
    }
}

#[test]
fn frames_without_an_envelope_pass_as_they_are() {
    let mut stream = Stream::default();
    let frame: Frame = crate::wire::frame::Digest { root: [1; 32] }.into();
    assert_eq!(stream.pass(&frame), frame.encode().concat());
}

/// What is not an envelope of this version is the receiver's to judge: it gets the very bytes, and the tables stay.
#[test]
fn what_is_no_envelope_travels_whole() {
    let mut stream = Stream::default();
    stream.pass(&data(&header()));
    let tables = stream.out.tables.clone();
    let Frame::Data { group, tree, envelope } = data(&header()) else { panic!("an envelope") };
    for damage in [0, 2, 3, 178, 180] {
        let mut envelope = envelope.to_vec();
        envelope[damage] ^= 0x55;
        let frame = Frame::Data { group, tree, envelope: envelope.into() };
        assert_eq!(stream.pass(&frame).len(), frame.encode().concat().len() + 1);
        assert!(check(stream.expand(&stream_bytes(&frame)).expect("whole"), |_| false).is_err());
    }
    for len in [0, 1, 319, 320, 336] {
        stream.pass(&Frame::Data { group, tree, envelope: envelope.slice(..len) });
    }
    assert_eq!(stream.out.tables, tables);
}

fn stream_bytes(frame: &Frame) -> Vec<u8> {
    let encoded = frame.encode();
    [&encoded.head[4..], &[is_given::WHOLE], &encoded.body].concat()
}

// Announcements.

fn range(author: u8, from: Seq, to: Seq) -> Range {
    Range { log: LogId { author: PeerId([author; 32]), lane: Lane::Durable }, from, to }
}

fn announce(tree: u16, ranges: &[Range]) -> Frame {
    let ranges = ranges.iter().map(|range| OnTree { tree, range: *range }).collect();
    Announce { group: 3, ranges }.into()
}

/// New logs, the next numbers of both, one again with a gap before it on another tree, and one that is behind.
#[test]
fn announcements_have_their_golden_bytes() {
    let mut stream = Stream::default();
    let story = [
        (
            announce(300, &[range(1, 4, 5), range(2, 0, 0)]),
            "7f 03 02 80 01*32 01 04 03 fb2c01 81 02*32 01 00 01 fb2c01",
        ),
        (announce(300, &[range(1, 6, 6), range(2, 1, 1)]), "7f 03 02 00 00 00 01 00 00"),
        (announce(7, &[range(1, 9, 300)]), "7f 03 01 00 02 fb4702 07"),
        (announce(7, &[range(1, 300, 300)]), "7f 03 01 00 fdffffffffffffffff 00"),
        (announce(0, &[]), "7f 03 00"),
    ];
    for (frame, golden) in story {
        assert_eq!(hex(&stream.pass(&frame)), written_out(golden));
    }
}

/// As many ranges as a frame may have, of more authors than a table has: twice, the second time with the tables full.
#[test]
fn the_longest_announcement_of_new_authors_comes_back() {
    let mut stream = Stream::default();
    let ranges: Vec<Range> = (0..ANNOUNCE_RANGES_MAX).map(|n| range(n as u8, SEQ_MAX, SEQ_MAX)).collect();
    for _ in 0..2 {
        stream.pass(&announce(u16::MAX, &ranges));
    }
    assert_eq!(stream.into.tables.told.len(), ELIDED_LOGS_MAX);
}

/// Another layout than this one's, or values that contradict themselves: the receiver gets the very bytes.
#[test]
fn what_is_no_announcement_travels_as_it_is() {
    let mut stream = Stream::default();
    let mut wire = Vec::new();
    let good = announce(2, &[range(1, 4, 5)]).encode().concat();
    for bad in [&good[..good.len() - 1], &[&good[..], &[0]].concat(), &[ANNOUNCE], &[ANNOUNCE, 3, 0xfe]] {
        wire.clear();
        assert_eq!(stream.out.elide(bad, &[], &mut wire), 0);
        assert_eq!(wire, bad);
        assert_eq!(stream.expand(&wire).expect("as it is").bytes, bad);
    }
    for odd in [announce(2, &[range(1, 5, 4)]), announce(2, &[range(1, 0, u64::MAX)])] {
        assert_eq!(stream.pass(&odd), odd.encode().concat());
    }
}

#[test]
fn an_announcement_of_unknown_logs_or_too_much_breaks_the_stream() {
    let error = |wire: &[u8]| Stream::default().expand(wire).expect_err("refused");
    let new = |place: u8| [&[ANNOUNCE_ELIDED, 3, 1, place][..], &[9; 32], &[1, 0, 0]].concat();
    assert_eq!(error(&[ANNOUNCE_ELIDED, 3, 1, 0, 0, 0]), DecodeError::Invalid("log number"));
    assert_eq!(error(&new(NEW | 1)), DecodeError::Invalid("log number"));
    assert!(Stream::default().expand(&new(NEW)).is_ok());
    assert_eq!(error(&[&new(NEW)[..], &[0]].concat()), DecodeError::Trailing);
    assert_eq!(error(&new(NEW)[..30]), DecodeError::Truncated);
    assert_eq!(error(&[ANNOUNCE_ELIDED, 3, 0xfb, 1, 1]), DecodeError::TooLarge("ranges"));
    // A range that goes backwards is a bad frame and no more.
    let mut stream = Stream::default();
    let backwards = [&new(NEW)[..37], &[1, 0xfd], &[0xfe], &[0xff; 7]].concat();
    let expanded = stream.expand(&backwards).expect("the tables are as they were");
    assert!(check(expanded, |_| false).is_err());
}

// Real envelopes.

fn sealed(author: &Identity, seq: Seq, prev: EnvelopeId, len: usize) -> Frame {
    let draft = Draft { content: vec![7; len].into(), ..Draft::default() };
    let bodies = [encode_body(&draft, Hlc(7)).expect("a draft")];
    let group = GroupKey::open("home", "lobby", None).expect("names");
    let frame_salt = [seq as u8; 16];
    let input = SealInput { lane: Lane::Live, seq, prev, skip: 0, ttl_secs: 0, bodies: &bodies, frame_salt };
    let envelope = seal(author, &group, &input).expect("sealed").as_bytes().clone();
    Frame::Data { group: 1, tree: 0, envelope }
}

/// The project's aim, of which the padding of the payload is no part.
#[test]
fn a_lone_message_of_a_kibibyte_has_at_most_160_bytes_around_it() {
    let author = Identity::from_seed([1; 32]);
    let mut stream = Stream::default();
    let first = sealed(&author, 0, EnvelopeId::NONE, 1024);
    stream.pass(&first);
    let second = sealed(&author, 1, id_of(&first), 1024);
    let on_link = 4 + stream.pass(&second).len();
    let padding = 1088 - (4 + 13 + 1024);
    assert_eq!(on_link, 123 + 16 + 4 + 13 + padding + 1024, "frame and header, tag, body, padding, content");
    assert!(on_link - padding - 1024 <= 160);
    assert_eq!(second.encoded_len() - on_link, 206);
}

/// The receiver computed id and hash; the check comes to the same verdict as for bytes of which nothing is known.
#[test]
fn an_expanded_envelope_is_checked_like_any_other() {
    let author = Identity::from_seed([1; 32]);
    for len in [10, 8000] {
        let mut stream = Stream::default();
        let frame = sealed(&author, 0, EnvelopeId::NONE, len);
        let wire = stream.elide(&frame);
        let id = check(stream.expand(&wire).expect("honest"), |_| false).expect("good").verified();
        assert_eq!(id, Some(id_of(&frame)));
        let seen = check(stream.expand(&stream_bytes(&frame)).expect("whole"), |id| *id == id_of(&frame));
        assert!(matches!(seen.expect("good").0, Checked::Seen { .. }));
    }
}

/// A changed ciphertext under an elided hash is another header, which nobody signed; under a given one it differs.
#[test]
fn a_changed_ciphertext_is_refused_with_and_without_its_hash() {
    let author = Identity::from_seed([1; 32]);
    for (len, reject) in [(10, Reject::Signature), (8000, Reject::CiphertextHash)] {
        let mut stream = Stream::default();
        let mut wire = stream.elide(&sealed(&author, 0, EnvelopeId::NONE, len));
        *wire.last_mut().expect("bytes") ^= 1;
        let checked = check(stream.expand(&wire).expect("well-formed"), |_| false);
        assert_eq!(checked.expect_err("refused"), reject);
    }
}

// Bounds.

/// The tables at their limit: what was used of late is still there, the one that was not is described again.
#[test]
fn the_log_unused_for_longest_makes_room() {
    let of = |n: u8| data(&Header { author: PeerId([n; 32]), ..header() });
    let mut stream = Stream::default();
    let max = ELIDED_LOGS_MAX as u8;
    let lens = stream.pass_all(&(0..max).map(of).collect::<Vec<_>>());
    let new = lens[1];
    assert!(lens[2..].iter().all(|len| *len == new));
    let seen = new - 33;
    assert_eq!(stream.pass_all(&[of(0), of(1)]), [seen + 2; 2], "number and skip are those of before");
    assert_eq!(stream.pass_all(&[of(max)]), [new], "takes the place of 2");
    assert_eq!(stream.pass_all(&[of(0), of(3), of(2)]), [seen + 2, seen + 2, new]);
    assert_eq!(stream.into.tables.logs.len(), ELIDED_LOGS_MAX);
}

#[test]
fn the_oldest_scope_makes_room() {
    let of = |n: u8| data(&Header { topic_tag: TopicTag([n; 16]), ..header() });
    let mut stream = Stream::default();
    let max = ELIDED_SCOPES_MAX as u8;
    let all = stream.pass_all(&(0..=max).map(of).collect::<Vec<_>>());
    assert!(all[1..].iter().all(|len| *len == all[1]));
    assert_eq!(stream.into.tables.scopes.len(), ELIDED_SCOPES_MAX);
    stream.pass(&of(0));
    stream.pass(&of(max));
}

/// Places from both sides: the last that may be named, and one past it.
#[test]
fn places_that_do_not_exist_are_errors() {
    const LOG: usize = PREFIX + 1;
    const SCOPE: usize = LOG + 1 + 33;
    let first = Stream::default().pass(&data(&header()));
    let with = |at: usize, byte: u8| {
        let mut wire = first.clone();
        wire[at] = byte;
        wire
    };
    let error = |wire: &[u8]| Stream::default().expand(wire).expect_err("refused");
    assert_eq!((first[LOG], first[SCOPE]), (NEW, NEW));
    assert_eq!(error(&with(LOG, NEW | 1)), DecodeError::Invalid("log number"));
    assert_eq!(error(&with(LOG, NEW | 127)), DecodeError::Invalid("log number"));
    assert_eq!(error(&with(LOG, 0)), DecodeError::Invalid("log number"));
    assert_eq!(error(&with(SCOPE, NEW | 1)), DecodeError::Invalid("scope number"));
    assert_eq!(error(&with(SCOPE, 0)), DecodeError::Invalid("scope number"));
    assert_eq!(error(&with(LOG + 33, 3)), DecodeError::Invalid("lane"));
    assert_eq!(error(&with(PREFIX, 0x81)), DecodeError::Invalid("flags of an elided header"));

    let mut stream = Stream::default();
    for n in 0..ELIDED_SCOPES_MAX as u8 {
        stream.expand(&with(SCOPE, NEW | n)).expect("one after the other");
    }
    let at_limit = stream.expand(&with(SCOPE, NEW | ELIDED_SCOPES_MAX as u8));
    assert_eq!(at_limit.expect_err("one too many"), DecodeError::Invalid("scope number"));
}

/// After an error nothing has a meaning, not even what had one before.
#[test]
fn a_broken_stream_stays_broken() {
    let mut stream = Stream::default();
    let good = stream.elide(&data(&header()));
    stream.expand(&good).expect("good");
    let error = stream.expand(&good[..PREFIX + 2]).expect_err("cut short");
    assert_eq!(error, DecodeError::Truncated);
    assert_eq!(stream.expand(&good).expect_err("still"), error);
    let talk: &[u8] = &[10, 1];
    assert_eq!(stream.expand(talk).expect_err("still"), error);
}

#[test]
fn a_ciphertext_has_a_size_and_one_more_byte_is_too_much() {
    let mut stream = Stream::default();
    let mut wire = stream.pass(&data(&Header { ct_len: CIPHERTEXT_MAX as u32, ..header() }));
    wire.push(0);
    assert_eq!(stream.expand(&wire).expect_err("too long"), DecodeError::TooLarge("ciphertext"));
}

#[test]
fn a_number_has_one_varint() {
    for value in [0, 250, 251, 65_535, 65_536, u64::from(u32::MAX), 1 << 32, u64::MAX] {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, value);
        assert_eq!(Rest(&bytes).varint(), Ok(value));
        let mut bincode = Vec::new();
        crate::wire::codec::encode_into(&value, &mut bincode);
        assert_eq!(bytes, bincode);
    }
    assert_eq!(Rest(&[0xfb, 250, 0]).varint(), Err(DecodeError::NotCanonical));
    assert_eq!(Rest(&[0xfc, 0, 1, 0, 0]).varint(), Err(DecodeError::NotCanonical));
    assert_eq!(Rest(&[0xfe]).varint(), Err(DecodeError::Invalid("varint")));
    assert_eq!(Rest(&[0xfb, 0, 4]).varint_at_most::<u16>(), Ok(1024));
    assert_eq!(Rest(&[0xfc, 0, 0, 1, 0]).varint_at_most::<u16>(), Err(DecodeError::TooLarge("varint")));
}

// Anything.

/// An envelope made up from few authors and groups, related to the one before in its log or not.
#[derive(Clone, Debug)]
struct Step {
    author: u8,
    lane: Lane,
    topic: u8,
    epoch: u8,
    jump: u8,
    skip: u32,
    is_after: bool,
    chain: u32,
    ttl_secs: u32,
    msg_count: u16,
    ct_len: u32,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lane = prop_oneof![Just(Lane::Control), Just(Lane::Durable), Just(Lane::Live)];
    let lens = prop_oneof![16u32..80, 4090u32..4100];
    let mostly = |value: u32| prop_oneof![4 => Just(value), 1 => any::<u32>()];
    let who = (0u8..90, lane, 0u8..70, 0u8..3);
    let what = (0u8..3, 0u32..3, any::<bool>(), mostly(0), mostly(0), 1u16..4, lens);
    let step = (who, what).prop_map(|((author, lane, topic, epoch), rest)| {
        let (jump, skip, is_after, chain, ttl_secs, msg_count, ct_len) = rest;
        Step { author, lane, topic, epoch, jump, skip, is_after, chain, ttl_secs, msg_count, ct_len }
    });
    // Few different ones, and then again and again: tables are used, and overflow.
    prop_oneof![vec(step.clone(), 1..40), vec(step, 300..400)]
}

fn frames(steps: &[Step]) -> Vec<Frame> {
    let mut logs = std::collections::BTreeMap::new();
    let make = |step: &Step| {
        let log = (step.author, step.lane, step.topic);
        let (seq, prev) = *logs.get(&log).unwrap_or(&(0, EnvelopeId::NONE));
        let seq: Seq = seq + u64::from(step.jump);
        let skip = u64::from(step.skip).min(seq) as u32;
        let prev = match u64::from(skip) == seq {
            true => EnvelopeId::NONE,
            false if step.is_after && prev != EnvelopeId::NONE => prev,
            false => EnvelopeId([9; 32]),
        };
        let frame = data(&Header {
            lane: step.lane,
            topic_tag: TopicTag([step.topic; 16]),
            author: PeerId([step.author; 32]),
            seq,
            prev,
            epoch_id: EpochId([step.epoch; 32]),
            chain_idx: step.chain,
            msg_count: step.msg_count,
            ct_len: step.ct_len,
            skip,
            ttl_secs: step.ttl_secs,
            ..header()
        });
        logs.insert(log, (seq + 1, id_of(&frame)));
        frame
    };
    steps.iter().map(make).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every sequence comes back, and no envelope grows by more than what it costs to describe it anew.
    #[test]
    fn any_sequence_of_envelopes_comes_back(steps in steps()) {
        let mut stream = Stream::default();
        for frame in frames(&steps) {
            let wire = stream.pass(&frame);
            let Frame::Data { envelope, .. } = &frame else { panic!("an envelope") };
            prop_assert!(wire.len() <= PREFIX + ELIDED_MIN + 33 + 81 + 14 + 32 + 10 + 3 + 32 + envelope.len() - HEADER_LEN);
        }
        prop_assert!(stream.out.tables.logs.len() <= ELIDED_LOGS_MAX);
        prop_assert!(stream.out.tables.scopes.len() <= ELIDED_SCOPES_MAX);
    }

    #[test]
    fn any_sequence_of_announcements_comes_back(
        frames in vec((0u16..3, vec((0u8..200, 0u64..1000, 0u64..3), 0..20)), 1..40),
    ) {
        let mut stream = Stream::default();
        for (tree, frame) in frames {
            let ranges = frame.into_iter().map(|(author, from, more)| range(author, from, from + more));
            stream.pass(&announce(tree, &ranges.collect::<Vec<_>>()));
        }
        prop_assert!(stream.out.tables.told.len() <= ELIDED_LOGS_MAX);
    }

    /// A flipped bit anywhere in a stream gives other bytes or an error, and never a panic; memory stays bounded.
    #[test]
    fn damage_is_survived(steps in steps(), at: prop::sample::Index, bit in 0u8..8) {
        let mut stream = Stream::default();
        let wires: Vec<Vec<u8>> = frames(&steps).iter().map(|frame| stream.elide(frame)).collect();
        let n = at.index(wires.len());
        for (i, mut wire) in wires.into_iter().enumerate() {
            let len = wire.len();
            if i == n {
                wire[at.index(len)] ^= 1 << bit;
            }
            if let Ok(expanded) = stream.expand(&wire) {
                prop_assert!(expanded.bytes.len() <= len + Expander::ROOM);
            }
        }
        prop_assert!(stream.into.tables.logs.len() <= ELIDED_LOGS_MAX);
        prop_assert!(stream.into.tables.scopes.len() <= ELIDED_SCOPES_MAX);
    }

    #[test]
    fn garbage_never_panics(frames in vec(vec(any::<u8>(), 0..300), 1..20)) {
        let mut stream = Stream::default();
        for mut frame in frames {
            if let Some(kind) = frame.first_mut() {
                *kind = if *kind < 128 { DATA } else { ANNOUNCE_ELIDED };
            }
            let _ = stream.expand(&frame);
        }
    }
}
