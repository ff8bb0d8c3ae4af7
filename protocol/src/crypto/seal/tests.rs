//! Goal: what is sealed opens to the same messages, and nothing else passes. Method: one author in an open
//! group, small envelopes, every kind of damage; and envelopes that a hostile author signs herself.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::crypto::GroupKey;
use crate::limits::{BODY_MAX, CONTENT_MAX};
use crate::message::{Draft, encode_body};
use crate::time::Hlc;

fn author() -> Identity {
    Identity::from_seed([1; 32])
}

fn lobby() -> GroupKey {
    GroupKey::open("home", "lobby", None).expect("names")
}

fn body(content: impl Into<Bytes>) -> Bytes {
    let draft = Draft { subject: "a/b".into(), content: content.into(), ..Draft::default() };
    encode_body(&draft, Hlc(7)).expect("a draft")
}

fn input(lane: Lane, bodies: &[Bytes]) -> SealInput<'_> {
    let prev = EnvelopeId([9; 32]);
    SealInput { lane, seq: 5, prev, skip: 2, ttl_secs: 60, bodies, frame_salt: [3; 16] }
}

fn sealed(lane: Lane, bodies: &[Bytes]) -> Result<CheckedEnvelope, SealError> {
    seal(&author(), &lobby(), &input(lane, bodies))
}

fn received(bytes: &[u8]) -> Result<CheckedEnvelope, Reject> {
    check(Envelope::parse(Bytes::copy_from_slice(bytes))?)
}

/// What a hostile author can do: change her own envelope and sign it again.
fn resigned(envelope: &CheckedEnvelope, change: impl FnOnce(&mut Vec<u8>)) -> CheckedEnvelope {
    let mut bytes = envelope.as_bytes().to_vec();
    change(&mut bytes);
    let ct_len = (bytes.len() - HEADER_LEN) as u32;
    bytes[at::CT_LEN..at::SKIP].copy_from_slice(&ct_len.to_le_bytes());
    let ct_hash = blake3::hash(&bytes[HEADER_LEN..]);
    bytes[at::CT_HASH..at::SIG].copy_from_slice(ct_hash.as_bytes());
    let sig = author().sign(Domain::Envelope, &bytes[..SIGNED_LEN]);
    bytes[at::SIG..HEADER_LEN].copy_from_slice(&sig);
    received(&bytes).expect("signed by its author")
}

/// An envelope around any payload: well sealed and signed, over a root of `bodies`.
fn around(payload: &[u8], count: u16, bodies: &[Bytes]) -> CheckedEnvelope {
    let template = sealed(Lane::Durable, &[body("x")]).expect("sealed");
    let header =
        Header { msg_count: count, ct_len: (payload.len() + TAG_LEN) as u32, ..template.header().clone() };
    let head = header.to_bytes();
    let secrets = lobby().open_key(&header).expect("our key").expand(&head[..KEYED_LEN]);
    let salts = merkle::salts(&secrets.salts, bodies.len());
    let leaves = bodies.iter().zip(salts.chunks_exact(SALT_LEN)).map(|(body, salt)| merkle::leaf(salt, body));
    let mut ciphertext = payload.to_vec();
    let tag = aead::encrypt(&secrets.cipher, &head[..KEYED_LEN], &mut ciphertext);
    let root = merkle::root(leaves.collect());
    resigned(&template, |bytes| {
        *bytes = [&head[..], &ciphertext, &tag].concat();
        bytes[at::MSG_ROOT..at::CT_HASH].copy_from_slice(&root);
    })
}

fn payload_of(bodies: &[Bytes], padding: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    for body in bodies {
        payload.extend_from_slice(&(body.len() as u32).to_le_bytes());
        payload.extend_from_slice(body);
    }
    payload.extend_from_slice(padding);
    payload
}

#[test]
fn every_lane_round_trips() {
    for lane in Lane::ALL {
        let bodies = [body("hello"), body(""), body("world")];
        let made = sealed(lane, &bodies).expect("sealed");
        let checked = received(made.as_bytes()).expect("signed");
        assert_eq!(checked, made);
        let opened = open(&lobby(), &checked).expect("opens");
        let read: Vec<_> = opened.messages().iter().map(|m| m.content.clone()).collect();
        assert_eq!(read, ["hello", "", "world"]);
        assert_eq!(decode_payload(opened.payload(), 3), Ok(opened.clone().into_messages()));
        assert_eq!(decode_payload(opened.payload(), 2), Err(DecodeError::Invalid("padding length")));
    }
}

/// T5: a hop alone refuses every changed bit, because hash and signature cover all of them.
#[test]
fn every_flipped_bit_is_refused_before_it_is_forwarded() {
    let bytes = sealed(Lane::Durable, &[body("hi")]).expect("sealed").as_bytes().to_vec();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            let error = received(&damaged).expect_err("refused");
            if at >= HEADER_LEN {
                assert_eq!(error, Reject::CiphertextHash, "byte {at}, bit {bit}");
            }
        }
    }
    for len in 0..bytes.len() {
        assert!(received(&bytes[..len]).is_err(), "cut to {len}");
    }
}

#[test]
fn a_copy_with_a_bad_signature_has_the_same_id_and_does_not_pass() {
    let good = sealed(Lane::Durable, &[body("hi")]).expect("sealed");
    let mut bytes = good.as_bytes().to_vec();
    bytes[HEADER_LEN - 1] ^= 1;
    let bad = Envelope::parse(bytes.into()).expect("well-formed");
    assert_eq!(bad.id(), good.id());
    assert_eq!(check(bad), Err(Reject::Signature));
}

#[test]
fn what_belongs_elsewhere_does_not_open() {
    let envelope = sealed(Lane::Durable, &[body("hi")]).expect("sealed");
    let other = GroupKey::open("home", "lobby2", None).expect("names");
    assert_eq!(open(&other, &envelope), Err(OpenError::Topic));
    let patched = |at: usize| resigned(&envelope, |bytes| bytes[at] ^= 1);
    assert_eq!(open(&lobby(), &patched(at::TOPIC_TAG)), Err(OpenError::Topic));
    assert_eq!(open(&lobby(), &patched(at::EPOCH_ID)), Err(OpenError::Epoch));
    assert_eq!(open(&lobby(), &patched(at::CHAIN_IDX)), Err(OpenError::NotZero("chain index")));
    assert_eq!(open(&lobby(), &patched(at::HEADS_DIGEST)), Err(OpenError::NotZero("heads digest")));
    // The control lane knows no epoch.
    let control = sealed(Lane::Control, &[body("hi")]).expect("sealed");
    assert_eq!(control.header().epoch_id.0, [0; 32]);
    assert_eq!(open(&lobby(), &resigned(&control, |bytes| bytes[at::FLAGS] = 1)), Err(OpenError::Epoch));
}

/// The key hangs on every field before the root, so no field can be moved to another ciphertext.
#[test]
fn a_changed_header_changes_the_key() {
    let envelope = sealed(Lane::Durable, &[body("hi")]).expect("sealed");
    for field in [at::SEQ, at::PREV, at::FRAME_SALT, at::SKIP, at::TTL_SECS, at::MSG_COUNT + 1] {
        let changed = resigned(&envelope, |bytes| bytes[field] ^= 1);
        assert_eq!(open(&lobby(), &changed), Err(OpenError::Cipher), "at {field}");
    }
}

/// T7: the root under the signature is what commits the author to one plaintext.
#[test]
fn a_signed_root_of_other_messages_is_refused() {
    let bodies = [body("one"), body("two")];
    let payload = payload_of(&bodies, &[0; 2]);
    assert!(open(&lobby(), &around(&payload, 2, &bodies)).is_ok(), "the helper makes what seal makes");
    let swapped = [body("two"), body("one")];
    assert_eq!(open(&lobby(), &around(&payload, 2, &swapped)), Err(OpenError::Root));
    let envelope = sealed(Lane::Durable, &bodies).expect("sealed");
    let wrong_root = resigned(&envelope, |bytes| bytes[at::MSG_ROOT] ^= 1);
    assert_eq!(open(&lobby(), &wrong_root), Err(OpenError::Root));
}

/// The author of an envelope may be hostile: what she seals must still have the one form.
#[test]
fn a_payload_in_another_form_is_refused() {
    let bodies = [body("one")];
    // A length, 16 bytes before the content, the content: 4 + 16 + 3, which Padme makes 24.
    let len = payload_of(&bodies, &[]).len();
    assert_eq!((len, padme(len), padme(len + 1)), (23, 24, 24));
    let verdict = |payload: &[u8], count| open(&lobby(), &around(payload, count, &bodies)).map(|_| ());
    assert_eq!(verdict(&payload_of(&bodies, &[0]), 1), Ok(()));
    let refused = |error| Err(OpenError::Payload(error));
    assert_eq!(verdict(&payload_of(&bodies, &[]), 1), refused(DecodeError::Invalid("padding length")));
    assert_eq!(verdict(&payload_of(&bodies, &[0; 3]), 1), refused(DecodeError::Invalid("padding length")));
    assert_eq!(verdict(&payload_of(&bodies, &[1]), 1), refused(DecodeError::Invalid("padding")));
    assert_eq!(verdict(&payload_of(&bodies, &[0]), 2), refused(DecodeError::Truncated), "a count too high");
    assert_eq!(verdict(&[0xff; 24], 1), refused(DecodeError::Truncated), "a length too large");
    let no_body = [Bytes::from_static(&[1; 19])];
    let envelope = around(&payload_of(&no_body, &[0]), 1, &no_body);
    assert_eq!(open(&lobby(), &envelope), Err(OpenError::Payload(DecodeError::Invalid("message type"))));
}

#[test]
fn an_envelope_takes_1_to_1024_messages() {
    let bodies = vec![body("x"); 1025];
    assert_eq!(sealed(Lane::Live, &bodies), Err(SealError::TooMany(1025)));
    assert_eq!(sealed(Lane::Live, &[]), Err(SealError::Empty));
    let full = sealed(Lane::Live, &bodies[..1024]).expect("1024 messages");
    assert_eq!(open(&lobby(), &full).expect("opens").messages().len(), 1024);
}

#[test]
fn an_envelope_takes_payload_max_bytes_and_one_message_of_the_largest_size() {
    let largest = body(vec![7; CONTENT_MAX]);
    let opened = open(&lobby(), &sealed(Lane::Durable, &[largest]).expect("sealed")).expect("opens");
    assert_eq!(opened.messages()[0].content.len(), CONTENT_MAX);

    // Two bodies that fill the payload exactly, and then one byte more. 16 bytes stand before each content.
    let with_total = |total: usize| [body(vec![1; 30_000]), body(vec![2; total - 30_000 - 2 * (16 + 4)])];
    let full = sealed(Lane::Durable, &with_total(PAYLOAD_MAX)).expect("full");
    assert_eq!(full.header().ct_len as usize, PAYLOAD_MAX + TAG_LEN);
    assert!(open(&lobby(), &full).is_ok());
    let error = sealed(Lane::Durable, &with_total(PAYLOAD_MAX + 1));
    assert_eq!(error, Err(SealError::TooLarge(PAYLOAD_MAX + 1)));
    const { assert!(BODY_MAX + LEN_LEN <= PAYLOAD_MAX, "the largest body has room") };
}

#[test]
#[should_panic(expected = "the log gives seq, skip and prev that agree")]
fn a_log_that_contradicts_itself_is_stopped() {
    let bodies = [body("x")];
    let _ = seal(&author(), &lobby(), &SealInput { skip: 6, ..input(Lane::Live, &bodies) });
}

/// The figures of the PURBs paper's construction, worked out by hand.
#[test]
fn padme_rounds_up_a_little() {
    for (len, padded) in
        [(1, 1), (2, 2), (9, 10), (17, 18), (100, 104), (1000, 1024), (1025, 1088), (59_391, 59_392)]
    {
        assert_eq!(padme(len), padded, "{len}");
    }
    for len in 1..70_000 {
        let padded = padme(len);
        assert!(padded >= len && (padded - len) * 100 <= 12 * len, "{len} becomes {padded}");
        assert_eq!(padme(padded), padded);
    }
}

proptest! {
    #[test]
    fn any_messages_come_back(
        contents in vec(vec(any::<u8>(), 0..300), 1..40), seq in 1..u64::MAX, lane in 0u8..3, ttl_secs: u32,
        frame_salt: [u8; 16],
    ) {
        let bodies: Vec<_> = contents.iter().cloned().map(body).collect();
        let lane = Lane::from_u8(lane).expect("a lane");
        let input = SealInput { seq, skip: 0, ttl_secs, frame_salt, ..input(lane, &bodies) };
        let envelope = seal(&author(), &lobby(), &input).expect("sealed");
        let opened = open(&lobby(), &received(envelope.as_bytes()).expect("signed")).expect("opens");
        let read: Vec<_> = opened.messages().iter().map(|message| message.content.to_vec()).collect();
        prop_assert_eq!(read, contents);
    }

    /// A payload comes from the store, too, where anything may have happened to it.
    #[test]
    fn any_payload_is_read_or_refused(payload in vec(any::<u8>(), 0..300), count: u16) {
        let _ = decode_payload(&payload.into(), count);
    }
}
