//! One function for each decoder of bytes that a peer or a disk can choose: it must not panic, and what it accepts
//! must have been the one encoding of its value. `fuzz/` throws bytes at them; `tests/fuzz_corpus.rs` replays the
//! corpus in every test run.
//!
//! Each returns whether the bytes were accepted, so that a corpus can be seen to hold both kinds.

use bytes::Bytes;
use djembe_protocol::crypto::{KeyFile, KeyFileError, Proof, check};
use djembe_protocol::limits::FRAME_MAX;
use djembe_protocol::message::{Draft, decode_body, encode_body};
use djembe_protocol::wire::beacon::UncheckedBeacon;
use djembe_protocol::wire::compress::{Compressor, Expander};
use djembe_protocol::wire::envelope::{Envelope, HEADER_LEN};
use djembe_protocol::wire::frame::{self, Frame};

/// A fuzz target.
pub type Target = fn(&[u8]) -> bool;

/// All of them, by the name of their corpus.
pub const TARGETS: [(&str, Target); 7] = [
    ("beacon", beacon),
    ("body", body),
    ("elided", elided),
    ("envelope", envelope),
    ("frame", frame),
    ("keyfile", keyfile),
    ("proof", proof),
];

/// A UDP beacon: from anyone on the LAN.
pub fn beacon(bytes: &[u8]) -> bool {
    let Ok(beacon) = UncheckedBeacon::decode(bytes) else { return false };
    assert_eq!(beacon.claims().encode(|_| beacon.signature()), bytes);
    let _ = beacon.check();
    true
}

/// A message inside an envelope: from any member.
pub fn body(bytes: &[u8]) -> bool {
    let Ok(body) = decode_body(Bytes::copy_from_slice(bytes)) else { return false };
    let draft = Draft {
        subject: body.subject.to_string(),
        content_type: body.content_type.to_string(),
        headers: body.headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        content: body.content.clone(),
        parents: body.parents.clone(),
    };
    let again = encode_body(&draft, body.hlc).expect("what was received could have been sent");
    assert_eq!(again, bytes);
    true
}

/// A stream of frames with elided headers, each with its length (u16, little-endian) in front: from any neighbour.
/// What comes of it can be elided again and comes back.
pub fn elided(bytes: &[u8]) -> bool {
    /// The kind of a frame with an envelope, and the bytes before that.
    const DATA: u8 = 13;
    const PREFIX: usize = 5;
    let ct_hash = PREFIX + 224..PREFIX + 256;
    let (mut expander, mut compressor, mut again) =
        (Expander::default(), Compressor::default(), Expander::default());
    let mut rest = bytes;
    let mut is_honest = true;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let Some((frame, after)) = after.split_at_checked(u16::from_le_bytes(*length).into()) else {
            return false;
        };
        rest = after;
        let Ok(expanded) = expander.expand(frame) else {
            assert!(expander.expand(&[1]).is_err(), "a broken stream stays broken");
            return false;
        };
        let whole = expanded.as_bytes();
        assert!(whole.len() <= FRAME_MAX + Expander::ROOM);
        if is_honest && !whole.is_empty() {
            let is_data = whole[0] == DATA && whole.len() >= PREFIX;
            let (head, body) = whole.split_at(if is_data { PREFIX } else { whole.len() });
            let mut wire = Vec::new();
            let from = compressor.elide(head, body, &mut wire);
            wire.extend_from_slice(&body[from..]);
            let back = again.expand(&wire).expect("what was expanded can be sent");
            // A hash that is not the ciphertext's comes back as the right one: nobody who checks sends such.
            is_honest = back.as_bytes().get(ct_hash.clone()) == whole.get(ct_hash.clone());
            assert!(!is_honest || back.as_bytes() == whole);
        }
    }
    rest.is_empty()
}

/// An envelope as it travels: from any neighbour.
pub fn envelope(bytes: &[u8]) -> bool {
    let Ok(envelope) = Envelope::parse(Bytes::copy_from_slice(bytes)) else { return false };
    assert_eq!(envelope.as_bytes(), bytes);
    assert_eq!(envelope.header().to_bytes(), bytes[..HEADER_LEN]);
    if let Ok(checked) = check(envelope) {
        assert_eq!(checked.as_bytes(), bytes);
    }
    true
}

/// A frame: from any neighbour. A kind that may be skipped counts as accepted.
pub fn frame(bytes: &[u8]) -> bool {
    let checked = frame::check(Bytes::copy_from_slice(bytes), |_| false);
    match Frame::decode(Bytes::copy_from_slice(bytes)) {
        Ok(Some(frame)) => assert_eq!(frame.encode().concat(), bytes),
        Ok(None) => assert!(checked.is_ok()),
        Err(_) => {
            assert!(checked.is_err());
            return false;
        }
    }
    true
}

/// A key file without a passphrase: from a disk that may be damaged, or swapped. Unlocking takes 100 ms by
/// design and is not tried.
pub fn keyfile(bytes: &[u8]) -> bool {
    match KeyFile::decode(bytes, None) {
        Ok(keys) => {
            assert_eq!(keys.encode(None).as_slice(), bytes);
            true
        }
        Err(error) => error == KeyFileError::Locked,
    }
}

/// The proof of a message: from any third party.
pub fn proof(bytes: &[u8]) -> bool {
    let Ok(proof) = Proof::decode(bytes) else { return false };
    assert_eq!(proof.encode(), bytes);
    let _ = proof.verify();
    true
}
