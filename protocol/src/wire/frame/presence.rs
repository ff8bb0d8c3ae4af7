//! Who does not answer and who is alive after all, in SWIM's terms: each word is signed by whose it is, so that
//! anybody can pass it on.

use serde::{Deserialize, Serialize};

use super::Signature;
use crate::crypto::{self, Domain, Identity};
use crate::error::Reject;
use crate::id::{Incarnation, PeerId};

/// One observer's signed word that a node does not answer (SWIM's Suspect).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Alert {
    /// Who is silent.
    pub target: PeerId,
    /// In which of its incarnations.
    pub incarnation: Incarnation,
    /// Who says so.
    pub observer: PeerId,
    /// How many watch it, this one among them, as far as this one knows; 255 is that or more.
    pub observers: u8,
    /// Ed25519 over all of the above; 64 bytes.
    pub signature: Signature,
}

impl Alert {
    /// Signs that `target` is silent, which so many watch.
    pub fn new(target: PeerId, incarnation: Incarnation, observers: usize, observer: &Identity) -> Self {
        let observers = u8::try_from(observers).unwrap_or(u8::MAX);
        let signature = Signature([0; 64]);
        let unsigned = Self { target, incarnation, observer: observer.peer_id(), observers, signature };
        let signature = Signature(observer.sign(Domain::Alert, &unsigned.signed_bytes()));
        Self { signature, ..unsigned }
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let incarnation = self.incarnation.0.to_le_bytes();
        [&self.target.0[..], &incarnation, &self.observer.0, &[self.observers]].concat()
    }

    pub(crate) fn check(&self) -> Result<(), Reject> {
        crypto::verify(&self.observer, Domain::Alert, &self.signed_bytes(), &self.signature.0)
    }
}

/// A node's signed word that it is alive: refutes alerts of lower incarnations.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Alive {
    /// Who is alive.
    pub peer: PeerId,
    /// Its incarnation now.
    pub incarnation: Incarnation,
    /// Ed25519 over peer and incarnation.
    pub signature: Signature,
}

impl Alive {
    /// Signs that its owner is alive.
    pub fn new(incarnation: Incarnation, owner: &Identity) -> Self {
        let peer = owner.peer_id();
        let signature = Signature(owner.sign(Domain::Alive, &Self::signed_bytes(&peer, incarnation)));
        Self { peer, incarnation, signature }
    }

    fn signed_bytes(peer: &PeerId, incarnation: Incarnation) -> Vec<u8> {
        [&peer.0[..], &incarnation.0.to_le_bytes()].concat()
    }

    pub(super) fn check(&self) -> Result<(), Reject> {
        let unsigned = Self::signed_bytes(&self.peer, self.incarnation);
        crypto::verify(&self.peer, Domain::Alive, &unsigned, &self.signature.0)
    }
}

/// A node is gone: the votes that say so.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Gone {
    /// At least one, at most [`Gone::ALERTS_MAX`], all of one target.
    pub alerts: Vec<Alert>,
}

impl Gone {
    /// Votes in one frame.
    pub const ALERTS_MAX: usize = 8;
}
