//! Verbs for the tests of discovery.

use std::path::PathBuf;

use djembe_protocol::id::PeerId;
use libp2p::identity::Keypair;

/// A key that signs beacons.
#[derive(Clone)]
pub(super) struct Signer(Keypair);

impl Signer {
    pub(super) fn numbered(n: u16) -> Self {
        let mut seed = [1; 32];
        seed[..2].copy_from_slice(&n.to_be_bytes());
        Self(Keypair::ed25519_from_bytes(seed).expect("32 bytes are a seed"))
    }

    pub(super) fn libp2p_peer(&self) -> libp2p::PeerId {
        self.0.public().to_peer_id()
    }

    pub(super) fn peer(&self) -> PeerId {
        super::from_libp2p(&self.libp2p_peer()).expect("an Ed25519 key")
    }

    pub(super) fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.0
            .sign(&[b"djembe/v1 beacon\0", bytes].concat())
            .expect("Ed25519 always signs")
            .try_into()
            .expect("64 bytes")
    }
}

/// A directory that is removed when this is dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An empty directory of this name.
pub(super) fn scratch(name: &str) -> Scratch {
    let path = std::env::temp_dir().join(format!("djembe-discovery-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("a temporary directory");
    Scratch(path)
}
