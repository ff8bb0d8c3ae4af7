//! Frames of the forest: which roots a group has, how far each is, and who sends along which tree.
//!
//! Terms of Babel (RFC 8966): a root raises `seq` with each round of adverts, and what is said of one seq is only
//! compared with what is said of the same. A round is authentic by a hash chain: the root signs the chain's end
//! once ([`Anchor`]), and each round shows one more key, whose hash is the key of the round before. How far the
//! root is cannot be proved.

use serde::{Deserialize, Serialize};

use super::{GroupIx, Signature, TreeIx};
use crate::crypto::{self, Domain, Identity};
use crate::error::Reject;
use crate::hash::Label;
use crate::id::{Incarnation, PeerId, TopicTag};
use crate::limits;

/// The distance of a root to which the sender knows no way.
pub const UNREACHABLE: u16 = u16::MAX;

/// One link of a root's hash chain.
pub type ChainKey = [u8; 16];

static CHAIN: Label = Label::new("djembe/v1 root-chain");
static ANCHOR: Label = Label::new("djembe/v1 root-anchor");

/// The key of the round before that of `key`.
pub fn key_before(root: &PeerId, key: &ChainKey) -> ChainKey {
    let mut before = [0; 16];
    before.copy_from_slice(&CHAIN.derive(&[&root.0, key])[..16]);
    before
}

/// The end of a root's hash chain, signed for one group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Anchor {
    /// Who is root.
    pub root: PeerId,
    /// In which of its runs.
    pub incarnation: Incarnation,
    /// Which of the run's chains, in order.
    pub chain: u16,
    /// How many rounds it is good for; at most [`limits::CHAIN_MAX`].
    pub length: u16,
    /// The key of round 0, which is never sent.
    pub end: ChainKey,
    /// Ed25519 over the group's topic tag and all of the above.
    pub signature: Signature,
}

impl Anchor {
    /// Signs a chain for a group.
    pub fn new(
        tag: &TopicTag,
        incarnation: Incarnation,
        chain: u16,
        length: u16,
        end: ChainKey,
        identity: &Identity,
    ) -> Self {
        let signature = Signature([0; 64]);
        let unsigned = Self { root: identity.peer_id(), incarnation, chain, length, end, signature };
        let signature = Signature(identity.sign(Domain::Root, &unsigned.signed_bytes(tag)));
        Self { signature, ..unsigned }
    }

    /// Whether its root signed it for this group.
    ///
    /// # Errors
    /// [`Reject::Signature`].
    pub fn verify(&self, tag: &TopicTag) -> Result<(), Reject> {
        crypto::verify(&self.root, Domain::Root, &self.signed_bytes(tag), &self.signature.0)
    }

    /// What names it between two who know it.
    pub fn id(&self, tag: &TopicTag) -> AnchorId {
        let mut id = [0; 8];
        id.copy_from_slice(&ANCHOR.derive(&[&self.signed_bytes(tag)])[..8]);
        id
    }

    fn signed_bytes(&self, tag: &TopicTag) -> Vec<u8> {
        [
            &tag.0[..],
            &self.root.0,
            &self.incarnation.0.to_le_bytes(),
            &self.chain.to_le_bytes(),
            &self.length.to_le_bytes(),
            &self.end,
        ]
        .concat()
    }
}

/// Names an anchor between two who know it.
pub type AnchorId = [u8; 8];

/// Which tree an advert is for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Name {
    /// The one that this number stood for on this link before.
    Told,
    /// The receiver has said that it knows this anchor, or may know it: it asks if not.
    Id(AnchorId),
    /// The receiver has not said that it knows it.
    Anchor(Box<Anchor>),
}

/// How far the sender is from a root, in the newest round it knows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Advert {
    /// The sender's number for the tree.
    pub tree: TreeIx,
    /// Which that is.
    pub name: Name,
    /// The round, from 1.
    pub seq: u16,
    /// Shows that the root has begun it.
    pub key: ChainKey,
    /// To the root over the sender, in 100 us of one way; [`UNREACHABLE`] if there is no way any more.
    pub dist: u16,
    /// Which neighbour of the root the way begins with, as the root numbers them.
    pub branch: u8,
}

/// What the sender has to say of trees: all it knows on a new link, and news later.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Adverts {
    /// The group.
    pub group: GroupIx,
    /// At most [`limits::TREES_MAX`].
    pub trees: Vec<Advert>,
}

/// "Which trees are these?"
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AnchorReq {
    /// The group.
    pub group: GroupIx,
    /// The receiver's numbers, sorted: each once, for each is answered by an anchor. At most [`limits::TREES_MAX`].
    pub trees: Vec<TreeIx>,
}

/// "You are my parent": send me what travels on the tree, and take it from me.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Graft {
    /// The group.
    pub group: GroupIx,
    /// The sender's number for the tree.
    pub mine: TreeIx,
    /// The receiver's.
    pub yours: TreeIx,
}

/// "We are not neighbours in this tree, or no more."
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ungraft {
    /// The group.
    pub group: GroupIx,
    /// The receiver's number for the tree.
    pub yours: TreeIx,
    /// Milliseconds for which the receiver still sends what comes. It is heard of by then at another neighbour.
    pub fade: u16,
}

/// "I have no way to the root that is sure to be free of loops": let it begin a round after `seq`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SeqReq {
    /// The group.
    pub group: GroupIx,
    /// The receiver's number for the tree.
    pub yours: TreeIx,
    /// The newest round that the asker knows.
    pub seq: u16,
    /// The branch that the asker is in: what is below it cannot help.
    pub branch: u8,
    /// How many more may pass it on.
    pub ttl: u8,
}

/// "Whoever is above me": goes from parent to parent, and comes back if they lead round.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LoopProbe {
    /// The group.
    pub group: GroupIx,
    /// The receiver's number for the tree.
    pub yours: TreeIx,
    /// By this whoever sent it first knows it again.
    pub nonce: [u8; 8],
    /// How many more may pass it on.
    pub ttl: u8,
}

// An advert with its anchor is at most 3 + 1 + 32 + 9 + 3 + 3 + 16 + 64 + 3 + 16 + 3 + 1 bytes.
const _: () = assert!(16 + limits::TREES_MAX * 154 < limits::FRAME_MAX);
