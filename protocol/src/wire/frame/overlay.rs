//! What nodes say about the overlay: why a link was dialled, that it is not kept, who else is there.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Signature;
use crate::crypto::{self, Domain, Identity};
use crate::error::{DecodeError, Reject};
use crate::hash::Label;
use crate::id::{PeerId, TopicTag};
use crate::limits;

/// The first bytes of a hash of a group's topic tag and a peer: says to the group's members, and to nobody else,
/// that the peer is one of them.
pub type MateTag = [u8; 8];

/// What a peer's record says of it to the members of a group.
pub fn mate_tag(topic: &TopicTag, peer: &PeerId) -> MateTag {
    static LABEL: Label = Label::new("djembe/v1 mate");
    first_eight(&LABEL.derive(&[&topic.0, &peer.0]))
}

/// What those who look for members of a group call it: the same for all of them, so that two who look meet, and
/// nothing that can be traced to the group without knowing it.
pub fn find_tag(topic: &TopicTag) -> MateTag {
    static LABEL: Label = Label::new("djembe/v1 find");
    first_eight(&LABEL.derive(&[&topic.0]))
}

fn first_eight(hash: &[u8; 32]) -> MateTag {
    let mut tag = [0; 8];
    tag.copy_from_slice(&hash[..8]);
    tag
}

/// A multiaddr in its binary form; opaque here, bounded in length.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Address(pub Vec<u8>);

impl Address {
    /// Bytes of the longest address that is passed on.
    pub const MAX: usize = 96;

    /// Whether it may stand in a frame.
    pub fn fits(&self) -> bool {
        self.0.len() <= Self::MAX
    }
}

/// Where a node can be reached, signed by itself, so that anybody can pass it on. Its signature is checked by who
/// is about to dial it, not by those who only carry it. Frames and those who keep one share it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerRecord {
    /// Who.
    pub peer: PeerId,
    /// Later ones replace earlier ones; begins with the node's incarnation.
    pub seq: u64,
    /// Where it listens; at most [`PeerRecord::ADDRESSES_MAX`].
    pub addresses: Vec<Address>,
    /// Some of its groups, for those who know them; at most [`PeerRecord::TAGS_MAX`].
    pub tags: Vec<MateTag>,
    /// Ed25519 over all of the above.
    pub signature: Signature,
}

impl PeerRecord {
    /// Addresses in a record.
    pub const ADDRESSES_MAX: usize = 8;
    /// Tags in a record.
    pub const TAGS_MAX: usize = 16;

    /// A node's record of itself.
    pub fn new(identity: &Identity, seq: u64, addresses: Vec<Address>, tags: Vec<MateTag>) -> Arc<Self> {
        let peer = identity.peer_id();
        let mut record = Self { peer, seq, addresses, tags, signature: Signature([0; 64]) };
        record.signature = Signature(identity.sign(Domain::Address, &record.signed_bytes()));
        Arc::new(record)
    }

    /// Whether its peer signed it. About 30 us.
    ///
    /// # Errors
    /// [`Reject::Signature`] if not.
    pub fn check(&self) -> Result<(), Reject> {
        crypto::verify(&self.peer, Domain::Address, &self.signed_bytes(), &self.signature.0)
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&self.peer.0);
        bytes.extend_from_slice(&self.seq.to_le_bytes());
        let length = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
        bytes.push(length(self.addresses.len()));
        for address in &self.addresses {
            bytes.push(length(address.0.len()));
            bytes.extend_from_slice(&address.0);
        }
        bytes.push(length(self.tags.len()));
        bytes.extend(self.tags.iter().flatten());
        bytes
    }

    pub(super) fn check_counts(&self) -> Result<(), DecodeError> {
        if self.addresses.len() > Self::ADDRESSES_MAX || !self.addresses.iter().all(Address::fits) {
            return Err(DecodeError::TooLarge("addresses"));
        }
        if self.tags.len() > Self::TAGS_MAX {
            return Err(DecodeError::TooLarge("tags"));
        }
        Ok(())
    }
}

/// In the dialler's HELLO: why it dialled. In the other's: as what it keeps the link, `Mesh` while it is linked to
/// everybody it knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Why {
    /// Everybody here is linked to everybody.
    Mesh,
    /// The dialler has no link yet: it is to be sent on walks.
    Join,
    /// One of the random links that hold the network together.
    Random,
    /// The same, for one that has next to none, or meets an old neighbour again: not to be refused if there is room.
    Priority,
    /// A link to somebody close by.
    Near {
        /// The round trip that the dialler measured, in microseconds.
        rtt: u32,
    },
    /// Both are likely to be in one group.
    Group,
}

/// Why a link is not kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// There are enough links of this kind; the peers are others to try.
    Full,
    /// One more than wanted.
    Surplus,
    /// The first of the peers takes the sender's place: link to it.
    Replaced,
}

/// A link is not kept: in place of HELLO, or later. The receiver closes it; nobody has died.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refuse {
    /// Why.
    pub why: Refusal,
    /// At most [`Refuse::PEERS_MAX`].
    pub peers: Vec<Arc<PeerRecord>>,
}

impl Refuse {
    /// Peers in a refusal.
    pub const PEERS_MAX: usize = 12;
}

/// A newcomer looks for links: passed on at random until its hops are used up (HyParView's ForwardJoin).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Walk {
    /// Who is looking.
    pub record: Arc<PeerRecord>,
    /// Whoever the walk ends at puts the newcomer between itself and one of its neighbours; else it takes it as one
    /// more neighbour, if it has room.
    pub split: bool,
    /// Hops left; at most [`Walk::HOPS_MAX`].
    pub hops: u8,
}

impl Walk {
    /// Hops of any walk.
    pub const HOPS_MAX: u8 = 20;
}

/// Two neighbours exchange whom they know of (HyParView's Shuffle, between neighbours only).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Shuffle {
    /// This is the answer.
    pub reply: bool,
    /// At most [`Shuffle::PEERS_MAX`].
    pub peers: Vec<Arc<PeerRecord>>,
}

impl Shuffle {
    /// Peers in one exchange.
    pub const PEERS_MAX: usize = 8;
}

/// Somebody looks for members of a group: passed on at random, and remembered for a while by those it comes to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Find {
    /// The group, as those who look for it call it.
    pub tag: MateTag,
    /// Who is looking.
    pub record: Arc<PeerRecord>,
    /// Hops left; at most [`Walk::HOPS_MAX`].
    pub hops: u8,
}

/// Two who look for members of the same group have come by one node: goes back the way that the [`Find`] came.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Found {
    /// The group.
    pub tag: MateTag,
    /// Who was looking, and is told.
    pub seeker: PeerId,
    /// Who else is.
    pub record: Arc<PeerRecord>,
}

/// Neighbours of the sender: how a node with one contact finds the rest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Peers {
    /// At most [`Peers::MAX`].
    pub peers: Vec<(PeerId, Vec<Address>)>,
}

impl Peers {
    /// Peers in one frame: as many as a node dials to have. Of one whom more have dialled the others are not named.
    pub const MAX: usize = limits::LINKS_MAX;
}

/// What has changed of [`Peers`] since the sender last said, in partial mode.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeersChange {
    /// Neighbours it has now, in order, each once. At most [`Peers::MAX`].
    pub came: Vec<PeerId>,
    /// Those it has no more, likewise.
    pub went: Vec<PeerId>,
}

// Each address comes with up to two bytes of length, each list with one.
const _: () = assert!(Peers::MAX * (33 + PeerRecord::ADDRESSES_MAX * (Address::MAX + 2)) < limits::FRAME_MAX);

pub(super) fn check_records(records: &[Arc<PeerRecord>], max: usize) -> Result<(), DecodeError> {
    if records.len() > max {
        return Err(DecodeError::TooLarge("peer records"));
    }
    records.iter().try_for_each(|record| record.check_counts())
}
