//! The key file: who this node is. Made on first use, 0600, optionally under a passphrase.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use djembe_protocol::crypto::{DataKey, Identity, KeyFile, KeyFileError, Lock};
use djembe_protocol::id::PeerId;
use zeroize::Zeroizing;

use crate::datadir::{DATABASE, write_private};
use crate::store::sqlite::Sqlite;

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file is there and cannot be read.
    #[error("cannot read the identity {}: {source}; check its owner and permissions", path.display())]
    Read {
        /// The key file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It could not be written.
    #[error("cannot write the identity: {0}")]
    Write(String),
    /// It is under a passphrase, damaged, or too new.
    #[error("identity {}: {source}; {}", path.display(), remedy(source))]
    KeyFile {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyFileError,
    },
    /// The system gives no entropy.
    #[error("no random numbers from the system: {0}")]
    Entropy(getrandom::Error),
}

fn remedy(error: &KeyFileError) -> &'static str {
    match error {
        KeyFileError::Locked => "give its passphrase with --key-passphrase-file",
        KeyFileError::WrongPassphrase => "give the right one with --key-passphrase-file",
        KeyFileError::NewerVersion(_) => "upgrade djembe",
        _ => "restore it from a backup, or move it away to start with a new identity",
    }
}

/// Reads the identity in a data directory, making it on first use. Returns its public half.
///
/// # Errors
/// [`IdentityError`] if there is one that cannot be read, or none could be written.
pub fn create_or_load(data_dir: &Path, passphrase: Option<&str>) -> Result<PeerId, IdentityError> {
    load(&data_dir.join("identity"), passphrase).map(|file| file.identity.peer_id())
}

/// What is wrong with the permissions of the identity in a data directory, with the remedy, if anything is.
pub(crate) fn exposed(data_dir: &Path) -> Option<String> {
    let path = data_dir.join("identity");
    let mode = path.metadata().ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        let path = path.display();
        format!("others may be able to use the identity {path} (mode {mode:04o}): chmod 600 {path}")
    })
}

/// The whole key file.
pub(crate) fn load(path: &Path, passphrase: Option<&str>) -> Result<KeyFile, IdentityError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return create(path, passphrase),
        Err(source) => return Err(IdentityError::Read { path: path.to_owned(), source }),
    };
    KeyFile::decode(&bytes, passphrase)
        .map_err(|source| IdentityError::KeyFile { path: path.to_owned(), source })
}

fn create(path: &Path, passphrase: Option<&str>) -> Result<KeyFile, IdentityError> {
    let mut seeds = Zeroizing::new([[0u8; 32]; 2]);
    let mut salt = [0; 16];
    for part in seeds.iter_mut() {
        getrandom::fill(part).map_err(IdentityError::Entropy)?;
    }
    getrandom::fill(&mut salt).map_err(IdentityError::Entropy)?;
    let file = KeyFile { identity: Identity::from_seed(seeds[0]), data_key: DataKey::new(seeds[1]) };
    let lock = passphrase.map(|passphrase| Lock { passphrase, salt });
    // The store first: a key without one is taken for a restored key.
    Sqlite::open(&path.with_file_name(DATABASE), file.identity.peer_id())
        .map_err(|error| IdentityError::Write(error.to_string()))?;
    write_private(path, &file.encode(lock.as_ref()))
        .map_err(|error| IdentityError::Write(error.to_string()))?;
    Ok(file)
}
