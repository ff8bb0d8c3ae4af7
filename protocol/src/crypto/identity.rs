//! A device's Ed25519 key (RFC 8032), and the one way to check a signature.
//!
//! Every signature covers a domain label before the bytes, so that nothing signed as one thing can be shown as
//! another. Acceptance is `verify_strict` plus a canonical key, and nothing else: nodes that disagree about
//! what is signed would disagree about logs for ever (Chalkias, Garillot, Nikolaenko, "Taming the many
//! EdDSAs", 2020). For the same reason there is no batch verification here.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use zeroize::{Zeroize, Zeroizing};

use super::verdicts::remembered;
use crate::error::Reject;
use crate::id::PeerId;

/// What a signature is for. Each has its own label, and no label is the beginning of another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum Domain {
    /// The first 256 bytes of an envelope.
    Envelope,
    /// A UDP beacon.
    Beacon,
    /// An observer's word that a node is gone.
    Alert,
    /// A node's own word that it is alive, or that it leaves.
    Alive,
    /// An operation on a private group's roster.
    Op,
    /// The anchor of a root's hash chain.
    Root,
    /// An address record.
    Address,
    /// A member's word that it is in a group, or not any more.
    Member,
}

impl Domain {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Envelope,
        Self::Beacon,
        Self::Alert,
        Self::Alive,
        Self::Op,
        Self::Root,
        Self::Address,
        Self::Member,
    ];

    /// What stands before the signed bytes; it ends in a zero byte.
    pub const fn label(self) -> &'static [u8] {
        match self {
            Self::Envelope => b"djembe/v1 envelope\0",
            Self::Beacon => b"djembe/v1 beacon\0",
            Self::Alert => b"djembe/v1 alert\0",
            Self::Alive => b"djembe/v1 alive\0",
            Self::Op => b"djembe/v1 op\0",
            Self::Root => b"djembe/v1 root\0",
            Self::Address => b"djembe/v1 address\0",
            Self::Member => b"djembe/v1 member\0",
        }
    }

    fn before(self, bytes: &[u8]) -> Vec<u8> {
        [self.label(), bytes].concat()
    }
}

/// This device's signing key. Wiped when dropped; shows no secret.
pub struct Identity {
    key: SigningKey,
    peer_id: PeerId,
}

impl Identity {
    /// The key that grows from a seed (RFC 8032, section 5.1.5). The seed is the secret.
    pub fn from_seed(mut seed: [u8; 32]) -> Self {
        let key = SigningKey::from_bytes(&seed);
        seed.zeroize();
        let peer_id = PeerId(key.verifying_key().to_bytes());
        Self { key, peer_id }
    }

    /// The seed, for the key file and for libp2p.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }

    /// The public half: author, neighbour and libp2p identity.
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// Signs `bytes` as what `domain` says. Deterministic (RFC 8032, section 5.1.6).
    pub fn sign(&self, domain: Domain, bytes: &[u8]) -> [u8; 64] {
        self.key.sign(&domain.before(bytes)).to_bytes()
    }
}

impl core::fmt::Debug for Identity {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Identity({})", self.peer_id.short())
    }
}

/// Whether `peer` signed `bytes` as what `domain` says. About 30 us.
///
/// # Errors
/// [`Reject::Signature`] for every other signature, and for a key or nonce point of small order or in a
/// non-canonical encoding, whatever it signed.
pub fn verify(peer: &PeerId, domain: Domain, bytes: &[u8], sig: &[u8; 64]) -> Result<(), Reject> {
    verify_raw(&peer.0, &domain.before(bytes), sig)
}

pub(super) fn verify_raw(key: &[u8; 32], message: &[u8], sig: &[u8; 64]) -> Result<(), Reject> {
    if !is_canonical(key) {
        return Err(Reject::Signature);
    }
    remembered(key, message, sig, || {
        // `verify_strict` refuses small orders and s >= L, and compares encodings of R, which no non-canonical one
        // survives.
        VerifyingKey::from_bytes(key)
            .and_then(|key| key.verify_strict(message, &Signature::from_bytes(sig)))
            .map_err(|_| Reject::Signature)
    })
}

/// Whether the y coordinate is below p = 2^255 - 19 (RFC 8032, section 5.1.3, step 1), which dalek does not
/// ask. The other non-canonical form, x = 0 with a sign, only points of small order have.
fn is_canonical(key: &[u8; 32]) -> bool {
    key[31] & 0x7f != 0x7f || key[1..31].iter().any(|&byte| byte != 0xff) || key[0] < 0xed
}

#[cfg(test)]
mod tests;
