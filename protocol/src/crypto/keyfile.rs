//! The file that makes a device the same device after a restart: its identity's seed, and the key under which
//! the store seals what it keeps. Bytes only; the host writes them, readable by the owner alone.
//!
//! ```text
//! 0   "DJK1"                                   4
//! 4   form: 0 plain, 1 under a passphrase      1
//! plain                                        under a passphrase
//! 5   identity seed    32                      5    Argon2id salt                    16
//! 37  data key         32                      21   ChaCha20-Poly1305 of seed || data key, aad = bytes 0..21,
//!                                                   nonce zero, key = Argon2id       64 + 16
//! 69  check             8                      101  check                             8
//! ```
//!
//! `check` is the first 8 bytes of `derive_key("djembe/v1 key-file", everything before)`. It tells a damaged
//! file from a wrong passphrase, and keeps a flipped bit from becoming another identity.

use zeroize::Zeroizing;

use super::aead;
use super::identity::Identity;
use super::stretch::stretch;
use crate::hash::Label;
use crate::wire::envelope::TAG_LEN;

const MAGIC: [u8; 3] = *b"DJK";
const VERSION: u8 = b'1';
const PLAIN: u8 = 0;
const LOCKED: u8 = 1;

const BODY_AT: usize = 5;
const SALT_LEN: usize = 16;
const SECRETS_LEN: usize = 64;
const CHECK_LEN: usize = 8;
const PLAIN_LEN: usize = BODY_AT + SECRETS_LEN + CHECK_LEN;
const LOCKED_LEN: usize = BODY_AT + SALT_LEN + SECRETS_LEN + TAG_LEN + CHECK_LEN;

static CHECK: Label = Label::new("djembe/v1 key-file");

/// Why a key file gives no keys. Nothing of it was kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// It is under a passphrase, and none was given.
    #[error("the key file is under a passphrase")]
    Locked,
    /// The passphrase is another one.
    #[error("wrong passphrase")]
    WrongPassphrase,
    /// Not a key file, or a damaged one.
    #[error("the key file is damaged, or is none")]
    Corrupt,
    /// Written by a newer djembe.
    #[error("the key file is of version {}, which is newer than this program", char::from(*.0))]
    NewerVersion(u8),
}

/// The key of the store. Wiped when dropped.
pub struct DataKey(Zeroizing<[u8; 32]>);

impl DataKey {
    /// Takes 32 bytes from the source of secrets.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What a passphrase needs to lock a key file.
pub struct Lock<'a> {
    /// What the user types.
    pub passphrase: &'a str,
    /// 16 bytes from the source of secrets, fresh for every file: the cipher's key depends on it.
    pub salt: [u8; 16],
}

/// A device's secrets at rest.
pub struct KeyFile {
    /// Who this device is.
    pub identity: Identity,
    /// What its store is sealed under.
    pub data_key: DataKey,
}

impl KeyFile {
    /// The file's bytes, 77 plain or 109 locked. Locking takes some 200 ms and 64 MiB.
    pub fn encode(&self, lock: Option<&Lock<'_>>) -> Zeroizing<Vec<u8>> {
        let mut secrets = Zeroizing::new([0; SECRETS_LEN]);
        secrets[..32].copy_from_slice(self.identity.seed().as_ref());
        secrets[32..].copy_from_slice(self.data_key.as_bytes());

        let mut bytes = Zeroizing::new(Vec::with_capacity(LOCKED_LEN));
        bytes.extend_from_slice(&MAGIC);
        bytes.push(VERSION);
        match lock {
            None => {
                bytes.push(PLAIN);
                bytes.extend_from_slice(secrets.as_ref());
            }
            Some(lock) => {
                bytes.push(LOCKED);
                bytes.extend_from_slice(&lock.salt);
                let tag = aead::encrypt(&stretch(lock.passphrase, &lock.salt), &bytes, secrets.as_mut());
                bytes.extend_from_slice(secrets.as_ref());
                bytes.extend_from_slice(&tag);
            }
        }
        let check = check_of(&bytes);
        bytes.extend_from_slice(&check);
        bytes
    }

    /// Reads a key file. A passphrase for a file that has none is not an error; it is not looked at.
    ///
    /// # Errors
    /// [`KeyFileError`], the first thing found wrong.
    pub fn decode(bytes: &[u8], passphrase: Option<&str>) -> Result<Self, KeyFileError> {
        let rest = bytes.strip_prefix(&MAGIC).ok_or(KeyFileError::Corrupt)?;
        match rest.first() {
            Some(&VERSION) => {}
            Some(&version) if version > VERSION && version.is_ascii_alphanumeric() => {
                return Err(KeyFileError::NewerVersion(version));
            }
            _ => return Err(KeyFileError::Corrupt),
        }
        let (before, check) = bytes.split_last_chunk::<CHECK_LEN>().ok_or(KeyFileError::Corrupt)?;
        if check_of(before) != *check {
            return Err(KeyFileError::Corrupt);
        }
        let mut secrets = Zeroizing::new([0; SECRETS_LEN]);
        match (bytes.len(), before[BODY_AT - 1]) {
            (PLAIN_LEN, PLAIN) => secrets.copy_from_slice(&before[BODY_AT..]),
            (LOCKED_LEN, LOCKED) => {
                let passphrase = passphrase.ok_or(KeyFileError::Locked)?;
                let (aad, sealed) = before.split_at(BODY_AT + SALT_LEN);
                let (sealed, tag) = sealed.split_last_chunk::<TAG_LEN>().ok_or(KeyFileError::Corrupt)?;
                let (_, salt) = aad.split_last_chunk::<SALT_LEN>().ok_or(KeyFileError::Corrupt)?;
                secrets.copy_from_slice(sealed);
                aead::decrypt(&stretch(passphrase, salt), aad, secrets.as_mut(), tag)
                    .map_err(|_| KeyFileError::WrongPassphrase)?;
            }
            _ => return Err(KeyFileError::Corrupt),
        }
        let mut seed = [0; 32];
        seed.copy_from_slice(&secrets[..32]);
        let mut data_key = Zeroizing::new([0; 32]);
        data_key.copy_from_slice(&secrets[32..]);
        let file = Self { identity: Identity::from_seed(seed), data_key: DataKey(data_key) };
        zeroize::Zeroize::zeroize(&mut seed);
        Ok(file)
    }
}

fn check_of(bytes: &[u8]) -> [u8; CHECK_LEN] {
    let mut check = [0; CHECK_LEN];
    check.copy_from_slice(&CHECK.derive(&[bytes])[..CHECK_LEN]);
    check
}

#[cfg(test)]
mod tests;
