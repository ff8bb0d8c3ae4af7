//! Proof to a third party that an author published one message, without a key and without its neighbours in the
//! envelope.
//!
//! `magic "DJP1" | header[0..256] | signature 64 | index u16 | body length u32 | body | salt 16 | siblings`,
//! little-endian. The siblings, up to 10 of 32 bytes, are as many as the index and the signed count demand. A
//! proof shows author, topic tag, lane, number, TTL and message; it hides the other messages behind salted
//! hashes. It cannot be taken back: messages here are signed, and that is not deniable.

use bytes::Bytes;

use super::identity::{Domain, verify};
use super::keys::EnvelopeKeys;
use super::merkle::{self, Node, SALT_LEN};
use super::seal::{CheckedEnvelope, unseal};
use crate::error::{DecodeError, OpenError};
use crate::id::{EnvelopeId, Lane, PeerId, Seq, TopicTag};
use crate::limits::BODY_MAX;
use crate::message::{Body, decode_body};
use crate::wire::envelope::{HEADER_LEN, Header, SIGNED_LEN, envelope_id};

const MAGIC: [u8; 4] = *b"DJP1";

/// Why there is no proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProveError {
    /// The envelope cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The envelope has no message with this index.
    #[error("the envelope has no message {0}")]
    Index(u16),
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// It, or the message in it, cannot be read.
    #[error("unreadable: {0}")]
    Decode(#[from] DecodeError),
    /// The header is not signed by its author.
    #[error("bad signature")]
    Signature,
    /// The message is not the one that was signed at this index.
    #[error("message root differs")]
    Root,
}

/// One message with all that proves it. Well-formed, and no more until [`Proof::verify`] says so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proof {
    header: Header,
    index: u16,
    body: Bytes,
    salt: [u8; SALT_LEN],
    siblings: Vec<Node>,
}

/// What a valid proof says.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Proven {
    /// Who signed.
    pub author: PeerId,
    /// In which group, as relays see it.
    pub topic_tag: TopicTag,
    /// In which log.
    pub lane: Lane,
    /// The envelope's place in the log.
    pub seq: Seq,
    /// The envelope.
    pub envelope: EnvelopeId,
    /// The message's place in the envelope.
    pub index: u16,
    /// The message.
    pub body: Body,
}

/// The proof of one message of an envelope that this node can open.
///
/// # Errors
/// [`ProveError`] without the key, or without such a message.
pub fn prove(
    keys: &(impl EnvelopeKeys + ?Sized),
    envelope: &CheckedEnvelope,
    index: u16,
) -> Result<Proof, ProveError> {
    let unsealed = unseal(keys, envelope)?;
    let at = usize::from(index);
    let span = unsealed.spans.get(at).ok_or(ProveError::Index(index))?.clone();
    let mut salt = [0; SALT_LEN];
    salt.copy_from_slice(&unsealed.salts[at * SALT_LEN..][..SALT_LEN]);
    Ok(Proof {
        header: envelope.header().clone(),
        index,
        body: unsealed.payload.slice(span),
        salt,
        siblings: merkle::path(unsealed.leaves(), at),
    })
}

/// Reads and verifies a proof: about 30 us, no key needed.
///
/// # Errors
/// [`ProofError`], the first thing found wrong.
pub fn verify_proof(bytes: &[u8]) -> Result<Proven, ProofError> {
    Proof::decode(bytes)?.verify()
}

impl Proof {
    /// The one encoding.
    pub fn encode(&self) -> Vec<u8> {
        let body_len = u32::try_from(self.body.len()).expect("a body is far below 4 GiB").to_le_bytes();
        let header = self.header.to_bytes();
        let parts: [&[u8]; 6] =
            [&MAGIC, &header, &self.index.to_le_bytes(), &body_len, &self.body, &self.salt];
        [&parts.concat(), self.siblings.as_flattened()].concat()
    }

    /// Reads the one encoding.
    ///
    /// # Errors
    /// [`DecodeError`] for anything else; signature and message are not looked at.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let rest = bytes.strip_prefix(&MAGIC).ok_or(DecodeError::Magic)?;
        let (header, rest) = rest.split_first_chunk::<HEADER_LEN>().ok_or(DecodeError::Truncated)?;
        let header = Header::parse(header)?;
        let (index, rest) = rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        let index = u16::from_le_bytes(*index);
        if index >= header.msg_count {
            return Err(DecodeError::Invalid("message index"));
        }
        let (body_len, rest) = rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        let body_len = u32::from_le_bytes(*body_len) as usize;
        if body_len > BODY_MAX {
            return Err(DecodeError::TooLarge("message"));
        }
        let (body, rest) = rest.split_at_checked(body_len).ok_or(DecodeError::Truncated)?;
        let (salt, rest) = rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        let (siblings, left_over) = rest.as_chunks();
        match merkle::path_len(index.into(), header.msg_count.into()) {
            n if siblings.len() < n => return Err(DecodeError::Truncated),
            n if siblings.len() > n || !left_over.is_empty() => return Err(DecodeError::Trailing),
            _ => {}
        }
        Ok(Self {
            header,
            index,
            body: Bytes::copy_from_slice(body),
            salt: *salt,
            siblings: siblings.to_vec(),
        })
    }

    /// Checks the signature, then that root, index, salt and siblings lead to this message.
    ///
    /// # Errors
    /// [`ProofError`], the first thing found wrong.
    pub fn verify(&self) -> Result<Proven, ProofError> {
        let Header { author, topic_tag, lane, seq, msg_count, msg_root, sig, .. } = self.header;
        let header = self.header.to_bytes();
        verify(&author, Domain::Envelope, &header[..SIGNED_LEN], &sig).map_err(|_| ProofError::Signature)?;
        let leaf = merkle::leaf(&self.salt, &self.body);
        if merkle::climb(leaf, self.index.into(), msg_count.into(), &self.siblings) != Some(msg_root) {
            return Err(ProofError::Root);
        }
        let body = decode_body(self.body.clone())?;
        Ok(Proven { author, topic_tag, lane, seq, envelope: envelope_id(&header), index: self.index, body })
    }
}

#[cfg(test)]
mod tests;
