//! Who is in a group beyond the neighbours: what members say of themselves, what is said of them, and how two who
//! know different things find out what.
//!
//! A member is in the group because it says so, signed by itself; it is gone because observers say so, signed by
//! them. So nobody can invent what another said, and everything can be passed on by anybody.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Alert, GroupIx, Signature, TreeIx};
use crate::crypto::{self, Domain, Identity};
use crate::error::{DecodeError, Reject};
use crate::hash::Label;
use crate::id::{Incarnation, PeerId, TopicTag};
use crate::limits;

/// What a member says of itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Stay {
    /// It is in the group.
    Here,
    /// It has left the group.
    Left,
    /// Its node stops.
    Stopped,
}

/// A member's word about itself. Of two of one member the later one counts: by incarnation, `seq` and `stay`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MemberRecord {
    /// Who.
    pub peer: PeerId,
    /// In which run.
    pub incarnation: Incarnation,
    /// Rises with each word in a run, over all groups.
    pub seq: u32,
    /// What it says.
    pub stay: Stay,
    /// Ed25519 over the group's topic tag and all of the above.
    pub signature: Signature,
}

impl MemberRecord {
    /// Signs a member's word for a group.
    pub fn new(tag: &TopicTag, incarnation: Incarnation, seq: u32, stay: Stay, identity: &Identity) -> Self {
        let signature = Signature([0; 64]);
        let unsigned = Self { peer: identity.peer_id(), incarnation, seq, stay, signature };
        let signature = Signature(identity.sign(Domain::Member, &unsigned.signed_bytes(tag)));
        Self { signature, ..unsigned }
    }

    /// Whether its peer signed it for this group. About 30 us.
    ///
    /// # Errors
    /// [`Reject::Signature`] if not.
    pub fn verify(&self, tag: &TopicTag) -> Result<(), Reject> {
        crypto::verify(&self.peer, Domain::Member, &self.signed_bytes(tag), &self.signature.0)
    }

    fn signed_bytes(&self, tag: &TopicTag) -> Vec<u8> {
        let (incarnation, seq) = (self.incarnation.0.to_le_bytes(), self.seq.to_le_bytes());
        [&tag.0[..], &self.peer.0, &incarnation, &seq, &[self.stay as u8]].concat()
    }
}

/// What names a member in one of its runs, where sets of members are compared.
pub fn member_id(peer: &PeerId, incarnation: Incarnation) -> u64 {
    static LABEL: Label = Label::new("djembe/v1 member-id");
    let hash = LABEL.derive(&[&peer.0, &incarnation.0.to_le_bytes()]);
    let mut id = [0; 8];
    id.copy_from_slice(&hash[..8]);
    u64::from_le_bytes(id)
}

/// Something about a member that travels through the group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Fact {
    /// Its own word, shared by who keeps it and who passes it on.
    Said(Arc<MemberRecord>),
    /// An observer's vote that it is gone, shared likewise.
    Vote(Arc<Alert>),
}

impl Fact {
    /// Whom it is about.
    pub fn subject(&self) -> &PeerId {
        match self {
            Self::Said(record) => &record.peer,
            Self::Vote(alert) => &alert.target,
        }
    }
}

/// News of members on their way through the group. Signatures are checked by who did not know them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct News {
    /// The group.
    pub group: GroupIx,
    /// The sender's number for the tree along which they travel, or [`super::FLOOD`].
    pub tree: TreeIx,
    /// At most [`limits::FACTS_MAX`].
    pub facts: Vec<Fact>,
}

/// "Who is in the group?" Answered by the first members after this one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MembersAsk {
    /// The group.
    pub group: GroupIx,
    /// In the order of ids; zero for the beginning.
    pub after: PeerId,
}

/// A page of members, or what the receiver lacks or has wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Members {
    /// The group.
    pub group: GroupIx,
    /// At most [`limits::FACTS_MAX`].
    pub facts: Vec<Fact>,
    /// There are more after this one.
    pub more_after: Option<PeerId>,
}

/// How many are in a group, and the sum of their [`member_id`]s, modulo 2^64.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct MembersDigest {
    /// Members, the sender among them.
    pub n: u32,
    /// Of their ids; [`MembersDigest::SAMPLE`] if there are more than the sender keeps in mind.
    pub sum: u64,
}

impl MembersDigest {
    /// In place of a sum: the list is a sample, not to be compared with others.
    pub const SAMPLE: u64 = u64::MAX;
}

/// The sums of members by the first six bits of their peer ids.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MembersSums {
    /// The group.
    pub group: GroupIx,
    /// The sums modulo 2^32; [`MembersSums::BUCKETS`] of them.
    pub sums: Vec<u32>,
}

impl MembersSums {
    /// Parts into which members are divided.
    pub const BUCKETS: usize = 64;

    /// The part in which a member is.
    pub fn bucket(peer: &PeerId) -> usize {
        usize::from(peer.0[0] >> 2)
    }
}

/// All members in those parts whose sums differ, or in some of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MembersHave {
    /// The group.
    pub group: GroupIx,
    /// The parts, one bit each, the lowest for the first.
    pub buckets: u64,
    /// Their [`member_id`]s; at most [`MembersHave::MAX`].
    pub ids: Vec<u64>,
}

impl MembersHave {
    /// Ids in a frame: a few parts of the largest group that is known.
    pub const MAX: usize = 1024;
}

/// "Tell me of these."
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MembersWant {
    /// The group.
    pub group: GroupIx,
    /// At most [`MembersWant::MAX`].
    pub ids: Vec<u64>,
}

impl MembersWant {
    /// Ids in a frame: what fits one answer.
    pub const MAX: usize = limits::FACTS_MAX;
}

pub(super) fn check_facts(facts: &[Fact]) -> Result<(), DecodeError> {
    if facts.len() > limits::FACTS_MAX {
        return Err(DecodeError::TooLarge("facts"));
    }
    let incarnation = |fact: &Fact| match fact {
        Fact::Said(record) => record.incarnation,
        Fact::Vote(alert) => alert.incarnation,
    };
    if facts.iter().any(|fact| incarnation(fact).0 > limits::INCARNATION_MAX) {
        return Err(DecodeError::TooLarge("incarnation"));
    }
    Ok(())
}

// A vote is at most 1 + 32 + 9 + 32 + 1 + 64 bytes, and an id 9; each part of the largest group fits one frame.
const _: () = assert!(64 + limits::FACTS_MAX * 139 < limits::FRAME_MAX);
const _: () = assert!(16 + MembersHave::MAX * 9 < limits::FRAME_MAX);
