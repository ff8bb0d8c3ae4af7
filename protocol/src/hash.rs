//! BLAKE3 with a label for every purpose, so that no two hashes of this protocol can be taken for one another.
//!
//! `derive_key` hashes the label first and then, under what comes of it, the material (BLAKE3 paper, section
//! 2.3). A [`Label`] keeps the first result, because the labels of the hot path are used a million times a
//! second and never change.

use std::sync::OnceLock;

use blake3::Hasher;
use blake3::hazmat::{ContextKey, HasherExt, hash_derive_key_context};

/// A purpose: `derive_key`'s context string, `djembe/v1 <name>`.
pub(crate) struct Label {
    context: &'static str,
    key: OnceLock<ContextKey>,
}

impl Label {
    pub(crate) const fn new(context: &'static str) -> Self {
        Self { context, key: OnceLock::new() }
    }

    /// `derive_key(label, parts[0] || parts[1] || ..)`, 32 bytes.
    pub(crate) fn derive(&self, parts: &[&[u8]]) -> [u8; 32] {
        let key = self.key.get_or_init(|| hash_derive_key_context(self.context));
        let mut hasher = Hasher::new_from_context_key(key);
        for part in parts {
            hasher.update(part);
        }
        *hasher.finalize().as_bytes()
    }
}
