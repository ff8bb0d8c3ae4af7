//! ChaCha20-Poly1305 (RFC 8439) under keys that are used exactly once, and so with a nonce of zero.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};

use crate::wire::envelope::TAG_LEN;

/// The cipher refused: another key or associated data, or changed bytes. The buffer holds no plaintext.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused;

const NONCE: [u8; 12] = [0; 12];

/// Encrypts `buffer` where it stands and returns the tag. `key` must never be used again.
pub(super) fn encrypt(key: &[u8; 32], aad: &[u8], buffer: &mut [u8]) -> [u8; TAG_LEN] {
    encrypt_with_nonce(key, &NONCE, aad, buffer)
}

/// Decrypts `buffer` where it stands, if `tag` is right.
pub(super) fn decrypt(
    key: &[u8; 32],
    aad: &[u8],
    buffer: &mut [u8],
    tag: &[u8; TAG_LEN],
) -> Result<(), Refused> {
    decrypt_with_nonce(key, &NONCE, aad, buffer, tag)
}

fn encrypt_with_nonce(key: &[u8; 32], nonce: &[u8; 12], aad: &[u8], buffer: &mut [u8]) -> [u8; TAG_LEN] {
    ChaCha20Poly1305::new(key.into())
        .encrypt_inout_detached(nonce.into(), aad, buffer.into())
        .expect("an envelope is far below the cipher's limit of 256 GiB")
        .into()
}

fn decrypt_with_nonce(
    key: &[u8; 32],
    nonce: &[u8; 12],
    aad: &[u8],
    buffer: &mut [u8],
    tag: &[u8; TAG_LEN],
) -> Result<(), Refused> {
    ChaCha20Poly1305::new(key.into())
        .decrypt_inout_detached(nonce.into(), aad, buffer.into(), tag.into())
        .map_err(|_| Refused)
}

#[cfg(test)]
mod tests;
