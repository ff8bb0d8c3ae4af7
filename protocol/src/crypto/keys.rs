//! Where the key of an envelope comes from: the seam between sealing and the kinds of group.

use zeroize::Zeroizing;

use super::seal::SealError;
use crate::error::OpenError;
use crate::id::{EpochId, Lane, PeerId, Seq, TopicTag};
use crate::wire::envelope::{Header, KEYED_LEN};

/// The keys of one group. An open group derives all of them from one; a private group will look up epochs and
/// sender chains behind the same questions.
///
/// Asking changes nothing: a ratchet is moved by its owner, after the envelope was sealed durably or opened
/// well, so that a forgery cannot push it forward.
pub trait EnvelopeKeys {
    /// The group, as relays see it.
    fn topic_tag(&self) -> TopicTag;

    /// The key of the envelope `author` is about to seal, and the header fields that lead readers to it.
    ///
    /// # Errors
    /// [`SealError::NoEpoch`] while the group has no epoch for exactly its present readers.
    fn seal_key(&self, author: &PeerId, lane: Lane, seq: Seq) -> Result<SealKey, SealError>;

    /// The key of an envelope that was received.
    ///
    /// # Errors
    /// [`OpenError::Epoch`] without the epoch's secret; [`OpenError::NotZero`] if a field is set that means
    /// nothing in this kind of group.
    fn open_key(&self, header: &Header) -> Result<MessageKey, OpenError>;
}

/// `mk` of the key schedule: the secret of one envelope. Wiped when dropped.
pub struct MessageKey(Zeroizing<[u8; 32]>);

impl MessageKey {
    /// Takes a derived secret.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// `(fk, sk)` = 64 bytes of XOF(keyed mk, header[0..192]).
    pub(super) fn expand(&self, keyed_part: &[u8]) -> EnvelopeSecrets {
        debug_assert_eq!(keyed_part.len(), KEYED_LEN, "exactly the fields known before the root");
        let mut both = Zeroizing::new([0; 64]);
        blake3::Hasher::new_keyed(&self.0).update(keyed_part).finalize_xof().fill(both.as_mut());
        let mut out = EnvelopeSecrets { cipher: Zeroizing::new([0; 32]), salts: Zeroizing::new([0; 32]) };
        out.cipher.copy_from_slice(&both[..32]);
        out.salts.copy_from_slice(&both[32..]);
        out
    }
}

/// What a message key gives for one header: the cipher's key, used exactly once, and the key of the salts.
pub(super) struct EnvelopeSecrets {
    pub(super) cipher: Zeroizing<[u8; 32]>,
    pub(super) salts: Zeroizing<[u8; 32]>,
}

/// A key for sealing, with what the header says about it.
pub struct SealKey {
    /// The epoch, zero in the control lane.
    pub epoch_id: EpochId,
    /// The step of the author's chain.
    pub chain_idx: u32,
    /// The membership heads the author knows.
    pub heads_digest: [u8; 32],
    /// The secret.
    pub key: MessageKey,
}
