//! Goal (T8): every message of every shape of envelope can be proven to a stranger, nothing else can, and a proof
//! shows no other message. Method: envelopes of odd and even size; each part of a proof replaced.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::crypto::{GroupKey, Identity, SealInput, seal};
use crate::message::{Draft, encode_body};
use crate::time::Hlc;

fn lobby() -> GroupKey {
    GroupKey::open("home", "lobby", None).expect("names")
}

fn content(index: u16) -> String {
    format!("secret of message {index}")
}

fn envelope(n: u16) -> CheckedEnvelope {
    let draft = |i| Draft { content: content(i).into(), ..Draft::default() };
    let bodies: Vec<_> = (0..n).map(|i| encode_body(&draft(i), Hlc(1)).expect("a draft")).collect();
    let input = SealInput {
        lane: Lane::Durable,
        seq: 9,
        prev: EnvelopeId([1; 32]),
        skip: 0,
        ttl_secs: 0,
        bodies: &bodies,
        frame_salt: [2; 16],
    };
    seal(&Identity::from_seed([1; 32]), &lobby(), &input).expect("sealed")
}

fn proof(n: u16, index: u16) -> Proof {
    prove(&lobby(), &envelope(n), index).expect("a message")
}

#[test]
fn every_message_proves_itself_to_a_stranger() {
    for n in [1, 2, 3, 5, 7, 8, 13, 1024] {
        let envelope = envelope(n);
        for index in (0..n).step_by(if n > 13 { 341 } else { 1 }) {
            let bytes = prove(&lobby(), &envelope, index).expect("a message").encode();
            let proven = verify_proof(&bytes).expect("proves");
            assert_eq!(proven.author, envelope.header().author);
            assert_eq!((proven.lane, proven.seq, proven.index), (Lane::Durable, 9, index));
            assert_eq!(proven.envelope, envelope.id());
            assert_eq!(proven.body.content, content(index));
            assert_eq!(Proof::decode(&bytes).map(|proof| proof.encode()), Ok(bytes));
        }
        assert_eq!(prove(&lobby(), &envelope, n), Err(ProveError::Index(n)));
    }
}

#[test]
fn a_proof_shows_no_other_message() {
    let bytes = proof(7, 3).encode();
    let shows = |text: String| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(shows(content(3)));
    assert!((0..7).filter(|&index| index != 3).all(|index| !shows(content(index))));
}

#[test]
fn another_index_salt_sibling_body_or_count_proves_nothing() {
    for n in [2, 5, 7] {
        for index in 0..n {
            let good = proof(n, index);
            let verdict = |change: &dyn Fn(&mut Proof)| {
                let mut proof = good.clone();
                change(&mut proof);
                proof.verify().map(|_| ())
            };
            assert_eq!(verdict(&|_| ()), Ok(()));
            for other in (0..n).filter(|&other| other != index) {
                assert_eq!(verdict(&|p| p.index = other), Err(ProofError::Root));
                assert_eq!(verdict(&|p| p.body = proof(n, other).body), Err(ProofError::Root));
            }
            assert_eq!(verdict(&|p| p.salt[0] ^= 1), Err(ProofError::Root));
            for i in 0..good.siblings.len() {
                assert_eq!(verdict(&|p| p.siblings[i][0] ^= 1), Err(ProofError::Root));
            }
            assert_eq!(verdict(&|p| p.header.msg_count += 1), Err(ProofError::Signature));
            assert_eq!(verdict(&|p| p.header.author.0[0] ^= 1), Err(ProofError::Signature));
        }
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    let bytes = proof(3, 1).encode();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            assert!(verify_proof(&damaged).is_err(), "byte {at}, bit {bit}");
        }
        assert!(verify_proof(&bytes[..at]).is_err(), "cut to {at}");
    }
    for more in [1, 32] {
        let longer = [&bytes[..], &vec![0; more]].concat();
        assert_eq!(verify_proof(&longer), Err(ProofError::Decode(DecodeError::Trailing)));
    }
}

proptest! {
    #[test]
    fn garbage_is_refused(garbage in vec(any::<u8>(), 0..600), keep in 0usize..330) {
        let bytes = [&proof(1, 0).encode()[..keep], &garbage].concat();
        if let Ok(proof) = Proof::decode(&bytes) {
            prop_assert_eq!(proof.encode(), bytes);
        }
    }
}
