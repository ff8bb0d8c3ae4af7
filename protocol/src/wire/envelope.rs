//! The envelope: a fixed header of 320 bytes, then the ciphertext. `docs/envelope.md` has the layout.
//!
//! What stands here is layout only: [`Envelope::parse`] says that the bytes are an envelope, not that anyone
//! signed it. [`crate::crypto::check`] does that, [`crate::crypto::open`] reads it.

use bytes::Bytes;

use crate::error::DecodeError;
use crate::hash::Label;
use crate::id::{EnvelopeId, EpochId, Lane, PeerId, Seq, TopicTag};
use crate::limits::{CIPHERTEXT_MAX, MESSAGES_PER_ENVELOPE_MAX};
use crate::wire::compress::Known;

/// Bytes before the ciphertext, signature included.
pub const HEADER_LEN: usize = 320;
/// Bytes of the header that the signature covers and the id hashes.
pub const SIGNED_LEN: usize = 256;
/// Bytes of the header that the message key is bound to and the cipher authenticates: all that is known before
/// the messages are hashed.
pub const KEYED_LEN: usize = 192;
/// Bytes of a Poly1305 tag, the last ones of the ciphertext.
pub const TAG_LEN: usize = 16;

const MAGIC: [u8; 2] = *b"DJ";
const VERSION: u8 = 1;

/// Offsets of the fields; each is as long as the distance to the next, the signature 64 bytes.
pub(crate) mod at {
    pub(crate) const VERSION: usize = 2;
    pub(crate) const FLAGS: usize = 3;
    pub(crate) const TOPIC_TAG: usize = 4;
    pub(crate) const AUTHOR: usize = 20;
    pub(crate) const SEQ: usize = 52;
    pub(crate) const PREV: usize = 60;
    pub(crate) const EPOCH_ID: usize = 92;
    pub(crate) const CHAIN_IDX: usize = 124;
    pub(crate) const HEADS_DIGEST: usize = 128;
    pub(crate) const FRAME_SALT: usize = 160;
    pub(crate) const MSG_COUNT: usize = 176;
    pub(crate) const RESERVED: usize = 178;
    pub(crate) const CT_LEN: usize = 180;
    pub(crate) const SKIP: usize = 184;
    pub(crate) const TTL_SECS: usize = 188;
    pub(crate) const MSG_ROOT: usize = 192;
    pub(crate) const CT_HASH: usize = 224;
    pub(crate) const SIG: usize = 256;
}

static ENVELOPE_ID: Label = Label::new("djembe/v1 envelope-id");

/// An envelope's header, field by field. [`Header::parse`] makes it from bytes and refuses what the layout
/// forbids; a literal is the author's own business and is checked when it is sealed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// Which of the author's three logs in the group. Flags, bits 0 and 1.
    pub lane: Lane,
    /// The group, as relays see it.
    pub topic_tag: TopicTag,
    /// Who sealed and signed.
    pub author: PeerId,
    /// The place in the log of (group, author, lane).
    pub seq: Seq,
    /// The envelope before, number `seq - skip - 1`; [`EnvelopeId::NONE`] exactly if there is none.
    pub prev: EnvelopeId,
    /// The epoch whose readers can open it; zero in the control lane.
    pub epoch_id: EpochId,
    /// The step of the author's ratchet; zero in an open group and in the control lane.
    pub chain_idx: u32,
    /// BLAKE3 of the membership heads that the author knew; zero in an open group.
    pub heads_digest: [u8; 32],
    /// Random: even a cloned or rolled-back author never uses a cipher key twice.
    pub frame_salt: [u8; 16],
    /// Messages inside, 1 to 1024.
    pub msg_count: u16,
    /// Bytes of ciphertext with its 16-byte tag, at most [`CIPHERTEXT_MAX`].
    pub ct_len: u32,
    /// How many numbers directly before `seq` were never issued: what a crash left of a reserved block.
    pub skip: u32,
    /// Seconds for which the messages matter, counted from local receipt; 0 is no limit.
    pub ttl_secs: u32,
    /// Root of the Merkle tree over the salted messages.
    pub msg_root: [u8; 32],
    /// BLAKE3 of the ciphertext.
    pub ct_hash: [u8; 32],
    /// Ed25519 over the domain label and the first [`SIGNED_LEN`] bytes.
    pub sig: [u8; 64],
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// [`DecodeError`] for anything but the one layout of version 1: magic, version, flags, `prev` against
    /// `seq` and `skip`, message count, reserved bytes, ciphertext length.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, DecodeError> {
        if bytes[..at::VERSION] != MAGIC {
            return Err(DecodeError::Magic);
        }
        if bytes[at::VERSION] != VERSION {
            return Err(DecodeError::Version(bytes[at::VERSION]));
        }
        let lane = Lane::from_u8(bytes[at::FLAGS]).ok_or(DecodeError::Invalid("flags"))?;
        if field::<2>(bytes, at::RESERVED) != [0; 2] {
            return Err(DecodeError::Invalid("reserved bytes"));
        }
        let header = Self {
            lane,
            topic_tag: TopicTag(field(bytes, at::TOPIC_TAG)),
            author: PeerId(field(bytes, at::AUTHOR)),
            seq: u64::from_le_bytes(field(bytes, at::SEQ)),
            prev: EnvelopeId(field(bytes, at::PREV)),
            epoch_id: EpochId(field(bytes, at::EPOCH_ID)),
            chain_idx: u32::from_le_bytes(field(bytes, at::CHAIN_IDX)),
            heads_digest: field(bytes, at::HEADS_DIGEST),
            frame_salt: field(bytes, at::FRAME_SALT),
            msg_count: u16::from_le_bytes(field(bytes, at::MSG_COUNT)),
            ct_len: u32::from_le_bytes(field(bytes, at::CT_LEN)),
            skip: u32::from_le_bytes(field(bytes, at::SKIP)),
            ttl_secs: u32::from_le_bytes(field(bytes, at::TTL_SECS)),
            msg_root: field(bytes, at::MSG_ROOT),
            ct_hash: field(bytes, at::CT_HASH),
            sig: field(bytes, at::SIG),
        };
        header.check_fields()?;
        Ok(header)
    }

    /// What the layout demands of the values: the same for a header that was read and one about to be sealed.
    pub(crate) fn check_fields(&self) -> Result<(), DecodeError> {
        let skip = u64::from(self.skip);
        if skip > self.seq {
            return Err(DecodeError::Invalid("skip"));
        }
        if (self.prev == EnvelopeId::NONE) != (skip == self.seq) {
            return Err(DecodeError::Invalid("previous id"));
        }
        if self.msg_count == 0 {
            return Err(DecodeError::Invalid("message count"));
        }
        if usize::from(self.msg_count) > MESSAGES_PER_ENVELOPE_MAX {
            return Err(DecodeError::TooLarge("message count"));
        }
        if (self.ct_len as usize) < TAG_LEN {
            return Err(DecodeError::Invalid("ciphertext length"));
        }
        if self.ct_len as usize > CIPHERTEXT_MAX {
            return Err(DecodeError::TooLarge("ciphertext"));
        }
        Ok(())
    }

    /// The header's bytes, which [`Header::parse`] reads back.
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut put =
            |offset: usize, value: &[u8]| bytes[offset..offset + value.len()].copy_from_slice(value);
        put(0, &MAGIC);
        put(at::VERSION, &[VERSION]);
        put(at::FLAGS, &[self.lane as u8]);
        put(at::TOPIC_TAG, &self.topic_tag.0);
        put(at::AUTHOR, &self.author.0);
        put(at::SEQ, &self.seq.to_le_bytes());
        put(at::PREV, &self.prev.0);
        put(at::EPOCH_ID, &self.epoch_id.0);
        put(at::CHAIN_IDX, &self.chain_idx.to_le_bytes());
        put(at::HEADS_DIGEST, &self.heads_digest);
        put(at::FRAME_SALT, &self.frame_salt);
        put(at::MSG_COUNT, &self.msg_count.to_le_bytes());
        put(at::CT_LEN, &self.ct_len.to_le_bytes());
        put(at::SKIP, &self.skip.to_le_bytes());
        put(at::TTL_SECS, &self.ttl_secs.to_le_bytes());
        put(at::MSG_ROOT, &self.msg_root);
        put(at::CT_HASH, &self.ct_hash);
        put(at::SIG, &self.sig);
        bytes
    }

    /// The number of the envelope before, if there is one.
    pub fn prev_seq(&self) -> Option<Seq> {
        self.seq.checked_sub(u64::from(self.skip))?.checked_sub(1)
    }
}

/// The `N` bytes at a fixed offset of a header.
fn field<const N: usize>(bytes: &[u8; HEADER_LEN], offset: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[offset..offset + N]);
    out
}

/// Well-formed bytes of an envelope that nobody has vouched for yet. Clones share the bytes.
#[derive(Clone)]
pub struct Envelope {
    bytes: Bytes,
    header: Header,
    id: EnvelopeId,
    /// The ciphertext's hash is known to be right.
    is_hashed: bool,
}

impl PartialEq for Envelope {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Envelope {}

impl Envelope {
    /// Reads exactly one envelope and hashes its id.
    ///
    /// # Errors
    /// [`DecodeError`] for what [`Header::parse`] refuses, and for bytes missing or left over.
    pub fn parse(bytes: Bytes) -> Result<Self, DecodeError> {
        Self::parse_known(bytes, None)
    }

    /// The same for bytes of which something may be known already.
    pub(crate) fn parse_known(bytes: Bytes, known: Option<Known>) -> Result<Self, DecodeError> {
        let head = bytes.first_chunk::<HEADER_LEN>().ok_or(DecodeError::Truncated)?;
        let header = Header::parse(head)?;
        match bytes.len() - HEADER_LEN {
            n if n < header.ct_len as usize => Err(DecodeError::Truncated),
            n if n > header.ct_len as usize => Err(DecodeError::Trailing),
            _ => {
                let Known { id, is_hashed } =
                    known.unwrap_or_else(|| Known { id: envelope_id(&bytes), is_hashed: false });
                debug_assert_eq!(id, envelope_id(&bytes), "what is known is known of these bytes");
                Ok(Self { bytes, header, id, is_hashed })
            }
        }
    }

    /// Puts together what the author has just made: a header and the bytes that begin with it.
    pub(crate) fn assemble(bytes: Bytes, header: Header) -> Self {
        let id = envelope_id(&bytes);
        Self { bytes, header, id, is_hashed: true }
    }

    /// The fields of the header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The hash of the signed part: copies with another valid signature share it.
    pub fn id(&self) -> EnvelopeId {
        self.id
    }

    /// Everything, as it travels.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What the signature covers, after its domain label.
    pub fn signed_part(&self) -> &[u8] {
        &self.bytes[..SIGNED_LEN]
    }

    /// What the message key is bound to, and the cipher's associated data.
    pub(crate) fn keyed_part(&self) -> &[u8] {
        &self.bytes[..KEYED_LEN]
    }

    /// Whether the header's hash is that of the ciphertext.
    pub(crate) fn has_its_hash(&self) -> bool {
        self.is_hashed || *blake3::hash(self.ciphertext()).as_bytes() == self.header.ct_hash
    }

    /// The sealed messages, tag last.
    pub fn ciphertext(&self) -> &[u8] {
        &self.bytes[HEADER_LEN..]
    }
}

impl core::fmt::Debug for Envelope {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Header { author, lane, seq, .. } = &self.header;
        write!(f, "Envelope({:?} {author:?}/{}/{seq}, {} bytes)", self.id, lane.name(), self.bytes.len())
    }
}

/// `derive_key("djembe/v1 envelope-id", header[0..256])`.
pub(crate) fn envelope_id(bytes: &[u8]) -> EnvelopeId {
    EnvelopeId(ENVELOPE_ID.derive(&[&bytes[..SIGNED_LEN]]))
}

#[cfg(test)]
mod tests;
