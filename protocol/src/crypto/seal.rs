//! Sealing messages into an envelope, checking an envelope as every hop does, opening it as members do.
//!
//! The root over the messages is signed, and `open` always recomputes it: that commits the author to one
//! plaintext, which ChaCha20-Poly1305 alone does not (Dodis, Grubbs, Ristenpart, Woodage, "Fast message
//! franking", 2018, section 3).

use core::ops::Range;

use bytes::Bytes;

use super::aead;
use super::identity::{Domain, Identity, verify};
use super::keys::EnvelopeKeys;
use super::merkle::{self, Node, SALT_LEN};
use crate::error::{DecodeError, OpenError, Reject};
use crate::id::{EnvelopeId, Lane, Seq};
use crate::limits::{CIPHERTEXT_MAX, MESSAGES_PER_ENVELOPE_MAX, PAYLOAD_MAX};
use crate::message::{Body, decode_body};
use crate::wire::envelope::{Envelope, HEADER_LEN, Header, KEYED_LEN, SIGNED_LEN, TAG_LEN, at};

/// Bytes of a message's length in the payload.
const LEN_LEN: usize = 4;

/// What goes into an envelope beside the key: the place in the author's log, and the messages.
pub struct SealInput<'a> {
    /// Which log.
    pub lane: Lane,
    /// The number in it.
    pub seq: Seq,
    /// The envelope before; [`EnvelopeId::NONE`] exactly if `skip == seq`.
    pub prev: EnvelopeId,
    /// Numbers directly before `seq` that were never issued.
    pub skip: u32,
    /// Seconds for which the messages matter; 0 is no limit.
    pub ttl_secs: u32,
    /// Encoded bodies, as [`crate::message::encode_body`] gives them.
    pub bodies: &'a [Bytes],
    /// 16 bytes from the source of secrets, fresh for every envelope.
    pub frame_salt: [u8; 16],
}

/// Why nothing was sealed. The number may be used again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// No message.
    #[error("an envelope needs a message")]
    Empty,
    /// More than [`MESSAGES_PER_ENVELOPE_MAX`] messages.
    #[error("{0} messages are more than the {MESSAGES_PER_ENVELOPE_MAX} of an envelope")]
    TooMany(usize),
    /// Bodies with their lengths take more than [`PAYLOAD_MAX`] bytes.
    #[error("{0} bytes are more than the {PAYLOAD_MAX} of an envelope")]
    TooLarge(usize),
    /// A private group has no epoch for exactly its present readers.
    #[error("no epoch covers the present readers")]
    NoEpoch,
}

/// An envelope whose ciphertext hash and signature were found good. Only [`check`] and [`seal`] make it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckedEnvelope(Envelope);

impl CheckedEnvelope {
    /// The envelope.
    pub fn envelope(&self) -> &Envelope {
        &self.0
    }

    /// Its header.
    pub fn header(&self) -> &Header {
        self.0.header()
    }

    /// Its id.
    pub fn id(&self) -> EnvelopeId {
        self.0.id()
    }

    /// Everything, as it travels.
    pub fn as_bytes(&self) -> &Bytes {
        self.0.as_bytes()
    }
}

/// The messages of an envelope, decrypted and found to be those that were signed. Only [`open`] makes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    messages: Vec<Body>,
    payload: Bytes,
}

impl Opened {
    /// The messages, in the author's order; index i of a [`crate::id::MessageId`] is `messages()[i]`.
    pub fn messages(&self) -> &[Body] {
        &self.messages
    }

    /// The messages, to keep.
    pub fn into_messages(self) -> Vec<Body> {
        self.messages
    }

    /// All bodies with lengths and padding, as [`decode_payload`] reads them: what a store may seal again under
    /// its own key.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }
}

/// Seals and signs messages: pads, encrypts once, signs once.
///
/// # Errors
/// [`SealError`]; no key was used up.
///
/// # Panics
/// If `prev`, `skip` and `seq` contradict each other, which is a bug of the log that numbers envelopes.
pub fn seal(
    identity: &Identity,
    keys: &(impl EnvelopeKeys + ?Sized),
    input: &SealInput<'_>,
) -> Result<CheckedEnvelope, SealError> {
    let n_messages = input.bodies.len();
    let unpadded_len = input.bodies.iter().map(|body| LEN_LEN + body.len()).sum();
    match n_messages {
        0 => return Err(SealError::Empty),
        n if n > MESSAGES_PER_ENVELOPE_MAX => return Err(SealError::TooMany(n)),
        _ if unpadded_len > PAYLOAD_MAX => return Err(SealError::TooLarge(unpadded_len)),
        _ => {}
    }
    let author = identity.peer_id();
    let key = keys.seal_key(&author, input.lane, input.seq)?;
    let ct_len = padme(unpadded_len) + TAG_LEN;
    let mut header = Header {
        lane: input.lane,
        topic_tag: keys.topic_tag(),
        author,
        seq: input.seq,
        prev: input.prev,
        epoch_id: key.epoch_id,
        chain_idx: key.chain_idx,
        heads_digest: key.heads_digest,
        frame_salt: input.frame_salt,
        msg_count: u16::try_from(n_messages).expect("at most 1024 messages"),
        ct_len: u32::try_from(ct_len).expect("at most 61,000 bytes"),
        skip: input.skip,
        ttl_secs: input.ttl_secs,
        msg_root: [0; 32],
        ct_hash: [0; 32],
        sig: [0; 64],
    };
    let checked = header.check_fields();
    assert!(checked.is_ok(), "the log gives seq, skip and prev that agree: {checked:?}");

    let mut bytes = Vec::with_capacity(HEADER_LEN + ct_len);
    bytes.extend_from_slice(&header.to_bytes());
    for body in input.bodies {
        debug_assert!(decode_body(body.clone()).is_ok(), "bodies come from encode_body");
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(body);
    }
    bytes.resize(HEADER_LEN + ct_len - TAG_LEN, 0);

    let (head, payload) = bytes.split_at_mut(HEADER_LEN);
    let keyed_part = &head[..KEYED_LEN];
    let secrets = key.key.expand(keyed_part);
    let salts = merkle::salts(&secrets.salts, n_messages);
    let leaves =
        input.bodies.iter().zip(salts.chunks_exact(SALT_LEN)).map(|(body, salt)| merkle::leaf(salt, body));
    header.msg_root = merkle::root(leaves.collect());
    let tag = aead::encrypt(&secrets.cipher, keyed_part, payload);
    bytes.extend_from_slice(&tag);
    header.ct_hash = *blake3::hash(&bytes[HEADER_LEN..]).as_bytes();
    bytes[at::MSG_ROOT..at::CT_HASH].copy_from_slice(&header.msg_root);
    bytes[at::CT_HASH..at::SIG].copy_from_slice(&header.ct_hash);
    header.sig = identity.sign(Domain::Envelope, &bytes[..SIGNED_LEN]);
    bytes[at::SIG..HEADER_LEN].copy_from_slice(&header.sig);
    Ok(CheckedEnvelope(Envelope::assemble(bytes.into(), header)))
}

/// What every hop checks of a well-formed envelope before it forwards: the ciphertext's hash and one signature.
///
/// # Errors
/// [`Reject`]; the neighbour that sent it is at fault.
pub fn check(envelope: Envelope) -> Result<CheckedEnvelope, Reject> {
    if !envelope.has_its_hash() {
        return Err(Reject::CiphertextHash);
    }
    let Header { author, sig, .. } = envelope.header();
    verify(author, Domain::Envelope, envelope.signed_part(), sig)?;
    Ok(CheckedEnvelope(envelope))
}

/// Decrypts an envelope, recomputes the signed root and reads the messages.
///
/// # Errors
/// [`OpenError`]: of another group or epoch, or its author sealed what nobody may accept. All members find the
/// same.
pub fn open(keys: &(impl EnvelopeKeys + ?Sized), envelope: &CheckedEnvelope) -> Result<Opened, OpenError> {
    let Unsealed { payload, spans, .. } = unseal(keys, envelope)?;
    let messages = decode_spans(&payload, spans)?;
    Ok(Opened { messages, payload })
}

/// Reads back what [`Opened::payload`] gave.
///
/// # Errors
/// [`DecodeError`] unless it is `count` messages and their padding.
pub fn decode_payload(payload: &Bytes, count: u16) -> Result<Vec<Body>, DecodeError> {
    decode_spans(payload, split(payload, count.into())?)
}

fn decode_spans(payload: &Bytes, spans: Vec<Range<usize>>) -> Result<Vec<Body>, DecodeError> {
    spans.into_iter().map(|span| decode_body(payload.slice(span))).collect()
}

/// A decrypted payload whose root is the signed one; its bodies are not read yet.
pub(super) struct Unsealed {
    pub(super) payload: Bytes,
    /// Where the bodies are.
    pub(super) spans: Vec<Range<usize>>,
    /// One salt after the other.
    pub(super) salts: zeroize::Zeroizing<Vec<u8>>,
}

impl Unsealed {
    pub(super) fn leaves(&self) -> Vec<Node> {
        let salts = self.salts.chunks_exact(SALT_LEN);
        self.spans
            .iter()
            .zip(salts)
            .map(|(span, salt)| merkle::leaf(salt, &self.payload[span.clone()]))
            .collect()
    }
}

pub(super) fn unseal(
    keys: &(impl EnvelopeKeys + ?Sized),
    envelope: &CheckedEnvelope,
) -> Result<Unsealed, OpenError> {
    let header = envelope.header();
    if header.topic_tag != keys.topic_tag() {
        return Err(OpenError::Topic);
    }
    let secrets = keys.open_key(header)?.expand(envelope.0.keyed_part());
    let (sealed, tag) =
        envelope.0.ciphertext().split_last_chunk::<TAG_LEN>().expect("a parsed ciphertext has a tag");
    let mut payload = sealed.to_vec();
    aead::decrypt(&secrets.cipher, envelope.0.keyed_part(), &mut payload, tag)
        .map_err(|_| OpenError::Cipher)?;
    let spans = split(&payload, header.msg_count.into())?;
    let salts = merkle::salts(&secrets.salts, spans.len());
    let unsealed = Unsealed { payload: payload.into(), spans, salts };
    if merkle::root(unsealed.leaves()) != header.msg_root {
        return Err(OpenError::Root);
    }
    Ok(unsealed)
}

/// Where the bodies of a payload are: exactly `count`, then zeros up to the Padme size.
fn split(payload: &[u8], count: usize) -> Result<Vec<Range<usize>>, DecodeError> {
    let mut spans = Vec::with_capacity(count.min(MESSAGES_PER_ENVELOPE_MAX));
    let mut rest = payload;
    for _ in 0..count {
        let (len, after) = rest.split_first_chunk::<LEN_LEN>().ok_or(DecodeError::Truncated)?;
        let len = u32::from_le_bytes(*len) as usize;
        let start = payload.len() - after.len();
        rest = after.get(len..).ok_or(DecodeError::Truncated)?;
        spans.push(start..start + len);
    }
    if payload.len() != padme(payload.len() - rest.len()) {
        return Err(DecodeError::Invalid("padding length"));
    }
    if rest.iter().any(|&byte| byte != 0) {
        return Err(DecodeError::Invalid("padding"));
    }
    Ok(spans)
}

/// Padme: the next length whose binary form has at most as many significant bits as it has bits in the number
/// of its bits (Nikitin and others, "Reducing metadata leakage from encrypted files and communication with
/// PURBs", 2019, section 4). It adds at most 12 %, less for long payloads, and leaves few distinct sizes.
const fn padme(len: usize) -> usize {
    if len < 2 {
        return len;
    }
    let exponent = len.ilog2();
    let free_bits = exponent - (u32::BITS - exponent.leading_zeros());
    let mask = (1 << free_bits) - 1;
    (len + mask) & !mask
}

const _: () = {
    assert!(padme(PAYLOAD_MAX) == PAYLOAD_MAX);
    assert!(padme(PAYLOAD_MAX + 1) + TAG_LEN > CIPHERTEXT_MAX, "PAYLOAD_MAX could be larger");
};

#[cfg(test)]
mod tests;
