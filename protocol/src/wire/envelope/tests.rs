//! Goal: one layout, each offset where the specification has it, everything else refused. Method: a header with
//! a different byte in every field, then one change at a time.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn header() -> Header {
    Header {
        lane: Lane::Live,
        topic_tag: TopicTag([1; 16]),
        author: PeerId([2; 32]),
        seq: 0x0303_0303,
        prev: EnvelopeId([4; 32]),
        epoch_id: EpochId([5; 32]),
        chain_idx: 0x0606_0606,
        heads_digest: [7; 32],
        frame_salt: [8; 16],
        msg_count: 0x0101,
        ct_len: 20,
        skip: 0x0202,
        ttl_secs: 0x0909_0909,
        msg_root: [10; 32],
        ct_hash: [11; 32],
        sig: [12; 64],
    }
}

fn envelope() -> Vec<u8> {
    [&header().to_bytes()[..], &[13; 20]].concat()
}

fn parse(bytes: &[u8]) -> Result<Envelope, DecodeError> {
    Envelope::parse(Bytes::copy_from_slice(bytes))
}

/// What comes of the envelope when the bytes at an offset are others.
fn patched(at: usize, bytes: &[u8]) -> Result<Envelope, DecodeError> {
    let mut all = envelope();
    all[at..at + bytes.len()].copy_from_slice(bytes);
    parse(&all)
}

#[test]
fn every_field_is_where_the_specification_has_it() {
    let bytes = header().to_bytes();
    let expected: [(usize, &[u8]); 18] = [
        (0, b"DJ"),
        (2, &[1]),
        (3, &[2]),
        (4, &[1; 16]),
        (20, &[2; 32]),
        (52, &[3, 3, 3, 3, 0, 0, 0, 0]),
        (60, &[4; 32]),
        (92, &[5; 32]),
        (124, &[6; 4]),
        (128, &[7; 32]),
        (160, &[8; 16]),
        (176, &[1, 1, 0, 0]),
        (180, &[20, 0, 0, 0]),
        (184, &[2, 2, 0, 0]),
        (188, &[9; 4]),
        (192, &[10; 32]),
        (224, &[11; 32]),
        (256, &[12; 64]),
    ];
    let mut next = 0;
    for (offset, field) in expected {
        assert_eq!(offset, next, "no byte between the fields");
        assert_eq!(&bytes[offset..offset + field.len()], field, "at {offset}");
        next += field.len();
    }
    assert_eq!((next, at::SIG), (HEADER_LEN, SIGNED_LEN));
    assert_eq!(Header::parse(&bytes), Ok(header()));
}

#[test]
fn an_envelope_gives_its_parts() {
    let envelope = parse(&envelope()).expect("well-formed");
    assert_eq!(envelope.header(), &header());
    assert_eq!(envelope.ciphertext(), [13; 20]);
    assert_eq!((envelope.signed_part().len(), envelope.keyed_part().len()), (256, 192));
}

#[test]
fn the_id_covers_what_is_signed_and_not_the_signature() {
    let id = parse(&envelope()).expect("well-formed").id();
    assert_eq!(patched(256, &[0]).expect("another signature").id(), id);
    assert_ne!(patched(255, &[0]).expect("another ciphertext hash").id(), id);
    assert_eq!(id.0, blake3::derive_key("djembe/v1 envelope-id", &envelope()[..256]));
}

#[test]
fn what_the_layout_forbids_is_refused_by_cause() {
    assert_eq!(patched(0, b"MF"), Err(DecodeError::Magic));
    assert_eq!(patched(2, &[2]), Err(DecodeError::Version(2)));
    assert_eq!(patched(3, &[3]), Err(DecodeError::Invalid("flags")), "there is no lane 3");
    for bit in 2..8 {
        assert_eq!(patched(3, &[1 << bit]), Err(DecodeError::Invalid("flags")));
    }
    assert_eq!(patched(178, &[1]), Err(DecodeError::Invalid("reserved bytes")));
    assert_eq!(patched(179, &[1]), Err(DecodeError::Invalid("reserved bytes")));
}

/// prev is the envelope numbered `seq - skip - 1`, and zero exactly if there is no such number.
#[test]
fn previous_id_number_and_skip_agree_or_are_refused() {
    let verdict = |seq: u64, skip: u32, prev: [u8; 32]| {
        Header { seq, skip, prev: EnvelopeId(prev), ..header() }.check_fields()
    };
    assert_eq!(verdict(0, 0, [0; 32]), Ok(()));
    assert_eq!(verdict(0, 0, [1; 32]), Err(DecodeError::Invalid("previous id")));
    assert_eq!(verdict(5, 0, [1; 32]), Ok(()));
    assert_eq!(verdict(5, 0, [0; 32]), Err(DecodeError::Invalid("previous id")));
    assert_eq!(verdict(5, 4, [1; 32]), Ok(()));
    assert_eq!(verdict(5, 5, [0; 32]), Ok(()));
    assert_eq!(verdict(5, 5, [1; 32]), Err(DecodeError::Invalid("previous id")));
    assert_eq!(verdict(5, 6, [0; 32]), Err(DecodeError::Invalid("skip")));
    assert_eq!(Header { seq: 9, skip: 3, ..header() }.prev_seq(), Some(5));
    assert_eq!(Header { seq: 3, skip: 3, ..header() }.prev_seq(), None);
}

#[test]
fn counts_and_lengths_pass_at_their_limit_and_fail_beyond() {
    let count = |n: u16| patched(176, &n.to_le_bytes()).map(|_| ());
    assert_eq!(count(0), Err(DecodeError::Invalid("message count")));
    assert_eq!(count(1), Ok(()));
    assert_eq!(count(1024), Ok(()));
    assert_eq!(count(1025), Err(DecodeError::TooLarge("message count")));

    let of_len = |n: usize| {
        let header = Header { ct_len: n as u32, ..header() };
        parse(&[&header.to_bytes()[..], &vec![0; n]].concat()).map(|_| ())
    };
    assert_eq!(of_len(15), Err(DecodeError::Invalid("ciphertext length")));
    assert_eq!(of_len(16), Ok(()));
    assert_eq!(of_len(61_000), Ok(()));
    assert_eq!(of_len(61_001), Err(DecodeError::TooLarge("ciphertext")));
}

#[test]
fn exactly_one_envelope_is_read() {
    let bytes = envelope();
    for len in 0..bytes.len() {
        assert_eq!(parse(&bytes[..len]), Err(DecodeError::Truncated), "cut to {len}");
    }
    assert_eq!(parse(&[&bytes[..], &[0]].concat()), Err(DecodeError::Trailing));
}

proptest! {
    #[test]
    fn garbage_is_refused(bytes in vec(any::<u8>(), 0..700)) {
        prop_assert!(parse(&bytes).is_err());
    }

    /// Whatever header is read, its fields make the same bytes.
    #[test]
    fn what_is_read_is_written_the_same(at in 0..HEADER_LEN, byte: u8, more in vec(any::<u8>(), 160)) {
        let mut bytes = header().to_bytes();
        bytes[160..].copy_from_slice(&more);
        bytes[178..184].copy_from_slice(&[0, 0, 20, 0, 0, 0]);
        bytes[177] &= 3;
        bytes[186..188].fill(0);
        bytes[at] = byte;
        if let Ok(header) = Header::parse(&bytes) {
            prop_assert_eq!(header.to_bytes(), bytes);
        }
    }
}
