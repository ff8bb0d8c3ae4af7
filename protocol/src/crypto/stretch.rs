//! Argon2id (RFC 9106) with the one set of parameters of version 1: the second recommendation of section 4,
//! with one lane because the engine that waits for it has one thread.

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

/// Memory in KiB: 64 MiB.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 1;

/// 32 bytes from a passphrase: some 200 ms and 64 MiB, for us and for whoever guesses.
pub(super) fn stretch(passphrase: &str, salt: &[u8; 16]) -> Zeroizing<[u8; 32]> {
    let params =
        Params::new(MEMORY_KIB, PASSES, LANES, Some(32)).expect("the parameters of version 1 are valid");
    let mut out = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, out.as_mut())
        .expect("a passphrase is shorter than 4 GiB, and 64 MiB can be had");
    out
}

#[cfg(test)]
mod tests;
