//! Identity, group keys, sealing, opening, proofs.
//!
//! One envelope is sealed once (ChaCha20-Poly1305, RFC 8439) and signed once (Ed25519, RFC 8032) for up to 1024
//! messages; a salted Merkle tree under the signature (Wong and Lam, 1998) keeps every single message provable.
//! `docs/envelope.md` is the specification, with every label and offset.
//!
//! Not here: private groups. [`EnvelopeKeys`] is where their epochs and sender chains will join in. Randomness
//! is not here either: whoever calls brings the salts and seeds.

mod aead;
mod group_key;
mod identity;
mod keyfile;
mod keys;
mod merkle;
mod proof;
mod seal;
mod stretch;
mod verdicts;

pub use group_key::{GroupKey, GroupKeyError, NAME_MAX};
pub use identity::{Domain, Identity, verify};
pub use keyfile::{DataKey, KeyFile, KeyFileError, Lock};
pub use keys::{EnvelopeKeys, MessageKey, SealKey};
pub use proof::{Proof, ProofError, ProveError, Proven, prove, verify_proof};
pub use seal::{CheckedEnvelope, Opened, SealError, SealInput, check, decode_payload, open, seal};
pub use verdicts::GoodSignatures;

#[cfg(test)]
mod vectors;
