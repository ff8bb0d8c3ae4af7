//! Frames: the units two neighbours exchange over an authenticated, ordered stream.
//!
//! ```text
//! | length u32 LE | kind u8 | body ... |        length counts kind and body, 1 ..= FRAME_MAX
//! ```
//!
//! A `Data` body is `group u16 LE | tree u16 LE | envelope`; all others are bincode of the struct of that name. Kinds from
//! [`SKIPPABLE`] on may be skipped by a node that does not know them; an unknown kind below it is an error.
//! Names follow Plumtree (IHave is [`Announce`], IWant is [`Want`]) and SWIM.

mod check;
mod forest;
mod link;
mod members;
mod overlay;
mod presence;
mod repair;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::error::DecodeError;
use crate::id::{Incarnation, Seq};
use crate::limits;
use crate::wire::{codec, compress};

pub(crate) use check::Checked;
pub use check::{CheckedFrame, check, check_frame, check_with, talk_signatures};
pub use forest::{
    Advert, Adverts, Anchor, AnchorId, AnchorReq, ChainKey, Graft, LoopProbe, Name, SeqReq, UNREACHABLE,
    Ungraft, key_before,
};
pub use link::{Beat, Credit, Goodbye, Hello, Subscribe, Unsubscribe};
pub use members::{
    Fact, MemberRecord, Members, MembersAsk, MembersDigest, MembersHave, MembersSums, MembersWant, News,
    Stay, member_id,
};
pub use overlay::{
    Address, Find, Found, MateTag, PeerRecord, Peers, PeersChange, Refusal, Refuse, Shuffle, Walk, Why,
    find_tag, mate_tag,
};
pub use presence::{Alert, Alive, Gone};
pub use repair::{
    Announce, Clock, ClockEntry, Digest, OnTree, Part, Prune, Range, Roots, Served, Stored, Want,
};

/// The lowest and the highest version of this frame protocol that this node speaks.
pub const VERSION_MIN: u16 = 1;
/// See [`VERSION_MIN`].
pub const VERSION_MAX: u16 = 1;
/// From this kind on an unknown frame is skipped, not an error.
pub const SKIPPABLE: u8 = 128;

/// A sender's own number for a group on one link, given by its [`Subscribe`].
pub type GroupIx = u16;

/// A sender's own number for a tree of a group, on all its links.
pub type TreeIx = u16;

/// Along no tree: the author sends to all its neighbours in the group.
pub const STAR: TreeIx = 0;

/// Along no tree: whoever gets it sends it on to all its neighbours in the group, unless it knows a tree.
pub const FLOOD: TreeIx = TreeIx::MAX;

/// Which stream of a link a frame takes; served in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Class {
    /// Presence, subscriptions, repair talk.
    Control = 0,
    /// Envelopes of our own.
    Own = 1,
    /// Envelopes passed on.
    Forward = 2,
    /// History.
    Bulk = 3,
}

impl Class {
    /// All classes, most urgent first.
    pub const ALL: [Self; 4] = [Self::Control, Self::Own, Self::Forward, Self::Bulk];

    /// The class of a wire number.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Control),
            1 => Some(Self::Own),
            2 => Some(Self::Forward),
            3 => Some(Self::Bulk),
            _ => None,
        }
    }
}

/// 64 bytes of Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signature(pub [u8; 64]);

impl Serialize for Signature {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (a, b) = self.0.split_at(32);
        <([u8; 32], [u8; 32])>::serialize(
            &(a.try_into().expect("half of 64 bytes"), b.try_into().expect("half of 64 bytes")),
            serializer,
        )
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (a, b) = <([u8; 32], [u8; 32])>::deserialize(deserializer)?;
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&a);
        bytes[32..].copy_from_slice(&b);
        Ok(Self(bytes))
    }
}

macro_rules! frames {
    ($($kind:literal => $name:ident),* $(,)?) => {
        /// One unit between two peers.
        #[derive(Clone, PartialEq, Eq, Debug)]
        #[non_exhaustive]
        pub enum Frame {
            /// An envelope.
            Data {
                /// The sender's number for its group.
                group: GroupIx,
                /// The sender's number for the tree it travels on.
                tree: TreeIx,
                /// The envelope's bytes, shared, not copied.
                envelope: Bytes,
            },
            $(#[doc = concat!("See [`", stringify!($name), "`].")] $name($name),)*
        }

        impl Frame {
            /// All kinds: their numbers, and what they are called.
            pub const KINDS: &[(u8, &'static str)] = &[(Self::DATA, "Data"), $(($kind, stringify!($name))),*];

            /// The number that stands before the body.
            pub const fn kind(&self) -> u8 {
                match self { Self::Data { .. } => Self::DATA, $(Self::$name(_) => $kind,)* }
            }

            fn encode_body(&self, out: &mut Vec<u8>) {
                match self {
                    Self::Data { group, tree, .. } => {
                        out.extend_from_slice(&group.to_le_bytes());
                        out.extend_from_slice(&tree.to_le_bytes());
                    }
                    $(Self::$name(body) => codec::encode_into(body, out),)*
                }
            }

            /// Bytes that [`Frame::encode`] makes: what the host reports as written, once it is.
            pub fn encoded_len(&self) -> usize {
                match self {
                    Self::Data { envelope, .. } => Self::data_len(envelope),
                    $(Self::$name(body) => Self::HEAD + codec::encoded_len(body),)*
                }
            }

            fn decode_body(kind: u8, body: &[u8]) -> Result<Option<Self>, DecodeError> {
                Ok(Some(match kind {
                    $($kind => Self::$name(codec::decode(body)?),)*
                    SKIPPABLE.. => return Ok(None),
                    _ => return Err(DecodeError::Kind(kind)),
                }))
            }
        }

        $(impl From<$name> for Frame {
            fn from(body: $name) -> Self { Self::$name(body) }
        })*
    };
}

frames! {
    1 => Hello,
    2 => Subscribe,
    3 => Unsubscribe,
    4 => Beat,
    5 => Goodbye,
    6 => Alert,
    7 => Alive,
    8 => Gone,
    9 => Peers,
    10 => Digest,
    11 => Roots,
    12 => Clock,
    14 => Announce,
    15 => Want,
    16 => Served,
    17 => Prune,
    18 => Stored,
    19 => Refuse,
    20 => Walk,
    21 => Shuffle,
    22 => Find,
    23 => Found,
    24 => News,
    25 => MembersAsk,
    26 => Members,
    27 => MembersSums,
    28 => MembersHave,
    29 => MembersWant,
    30 => PeersChange,
    40 => Adverts,
    41 => AnchorReq,
    42 => Graft,
    43 => Ungraft,
    44 => SeqReq,
    45 => LoopProbe,
    50 => Credit,
}

/// A frame ready for a stream: what is written first, and the shared bytes that follow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Encoded {
    /// Length, kind and everything but the envelope.
    pub head: Bytes,
    /// The envelope, or nothing.
    pub body: Bytes,
}

impl Encoded {
    /// Bytes on the stream.
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Never: a frame has a length field.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Kind and body in one piece, without the length: what [`check`] takes.
    pub fn concat(&self) -> Bytes {
        let mut all = BytesMut::with_capacity(self.len() - 4);
        all.put_slice(&self.head[4..]);
        all.put_slice(&self.body);
        all.freeze()
    }
}

impl Frame {
    const DATA: u8 = compress::DATA;
    /// Bytes of length and kind.
    const HEAD: usize = 4 + 1;
    /// Bytes of a `Data` frame before its envelope: length, kind, group, tree.
    const DATA_HEAD: usize = Self::HEAD + compress::DATA_NUMBERS;

    /// Length, kind and body. Panics if a body that we built is over [`limits::FRAME_MAX`].
    pub fn encode(&self) -> Encoded {
        let mut head = Vec::with_capacity(64);
        head.extend_from_slice(&[0; 4]);
        head.push(self.kind());
        self.encode_body(&mut head);
        let body = match self {
            Self::Data { envelope, .. } => envelope.clone(),
            _ => Bytes::new(),
        };
        let length = head.len() - 4 + body.len();
        assert!(length <= limits::FRAME_MAX, "a frame of kind {} has {length} bytes", self.kind());
        head[..4].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        Encoded { head: head.into(), body }
    }

    /// Bytes that [`Frame::encode`] would make of a `Data` frame.
    pub fn data_len(envelope: &Bytes) -> usize {
        Self::DATA_HEAD + envelope.len()
    }

    /// Reads kind and body (the bytes after the length). `None` for an unknown kind that may be skipped.
    pub fn decode(bytes: Bytes) -> Result<Option<Self>, DecodeError> {
        if bytes.len() > limits::FRAME_MAX {
            return Err(DecodeError::TooLarge("frame"));
        }
        let Some((&kind, body)) = bytes.split_first() else {
            return Err(DecodeError::Truncated);
        };
        let frame = if kind == Self::DATA {
            let Some(([g0, g1, t0, t1], _)) = body.split_first_chunk::<4>() else {
                return Err(DecodeError::Truncated);
            };
            let (group, tree) = (u16::from_le_bytes([*g0, *g1]), u16::from_le_bytes([*t0, *t1]));
            Self::Data { group, tree, envelope: bytes.slice(5..) }
        } else {
            match Self::decode_body(kind, body)? {
                Some(frame) => frame,
                None => return Ok(None),
            }
        };
        frame.check_counts()?;
        Ok(Some(frame))
    }

    /// Lists no longer than their limits, ranges that go forward, numbers that leave room to count on.
    fn check_counts(&self) -> Result<(), DecodeError> {
        fn at_most(n: usize, max: usize, what: &'static str) -> Result<(), DecodeError> {
            if n > max { Err(DecodeError::TooLarge(what)) } else { Ok(()) }
        }
        fn addresses(list: &[Address]) -> Result<(), DecodeError> {
            at_most(list.len(), PeerRecord::ADDRESSES_MAX, "addresses")?;
            list.iter().try_for_each(|address| at_most(address.0.len(), Address::MAX, "address"))
        }
        fn seq(seq: Seq) -> Result<(), DecodeError> {
            if seq > limits::SEQ_MAX { Err(DecodeError::TooLarge("number")) } else { Ok(()) }
        }
        fn forward(range: &Range) -> Result<(), DecodeError> {
            if range.from > range.to {
                return Err(DecodeError::Invalid("range"));
            }
            seq(range.to)
        }
        fn incarnation(incarnation: Incarnation) -> Result<(), DecodeError> {
            if incarnation.0 > limits::INCARNATION_MAX {
                Err(DecodeError::TooLarge("incarnation"))
            } else {
                Ok(())
            }
        }
        match self {
            Self::Hello(hello) => {
                if hello.min > hello.max {
                    return Err(DecodeError::Invalid("version range"));
                }
                incarnation(hello.incarnation)?;
                hello.record.check_counts()
            }
            Self::Goodbye(goodbye) => incarnation(goodbye.incarnation),
            Self::Alert(alert) => incarnation(alert.incarnation),
            Self::Alive(alive) => incarnation(alive.incarnation),
            Self::Gone(gone) => {
                at_most(gone.alerts.len(), Gone::ALERTS_MAX, "alerts")?;
                gone.alerts.iter().try_for_each(|alert| incarnation(alert.incarnation))?;
                match gone.alerts.first() {
                    Some(first) if gone.alerts.iter().all(|alert| alert.target == first.target) => Ok(()),
                    _ => Err(DecodeError::Invalid("alerts")),
                }
            }
            Self::Peers(peers) => {
                at_most(peers.peers.len(), Peers::MAX, "peers")?;
                peers.peers.iter().try_for_each(|(_, list)| addresses(list))
            }
            Self::PeersChange(change) => {
                at_most(change.came.len(), Peers::MAX, "peers")?;
                at_most(change.went.len(), Peers::MAX, "peers")?;
                let is_canonical =
                    [&change.came, &change.went].iter().all(|list| list.is_sorted_by(|a, b| a < b));
                is_canonical.then_some(()).ok_or(DecodeError::NotCanonical)
            }
            Self::Roots(roots) => {
                at_most(roots.roots.len(), limits::GROUPS_MAX, "roots")?;
                if !roots.roots.is_sorted_by(|a, b| a.0 < b.0) {
                    return Err(DecodeError::NotCanonical);
                }
                Ok(())
            }
            Self::Clock(clock) => {
                at_most(clock.entries.len(), limits::CLOCK_ENTRIES_MAX, "clock entries")?;
                if !clock.entries.is_sorted_by(|a, b| a.log < b.log) {
                    return Err(DecodeError::NotCanonical);
                }
                clock.entries.iter().try_for_each(|entry| {
                    if entry.floor > entry.next {
                        return Err(DecodeError::Invalid("floor"));
                    }
                    seq(entry.next)
                })
            }
            Self::Announce(announce) => {
                at_most(announce.ranges.len(), limits::ANNOUNCE_RANGES_MAX, "ranges")?;
                announce.ranges.iter().try_for_each(|told| forward(&told.range))
            }
            Self::Want(want) => forward(&want.range),
            Self::Refuse(refuse) => overlay::check_records(&refuse.peers, Refuse::PEERS_MAX),
            Self::Walk(walk) => {
                at_most(walk.hops.into(), Walk::HOPS_MAX.into(), "hops")?;
                walk.record.check_counts()
            }
            Self::Find(find) => {
                at_most(find.hops.into(), Walk::HOPS_MAX.into(), "hops")?;
                find.record.check_counts()
            }
            Self::Found(found) => found.record.check_counts(),
            Self::Shuffle(shuffle) => overlay::check_records(&shuffle.peers, Shuffle::PEERS_MAX),
            Self::Stored(stored) => at_most(stored.logs.len(), 3, "logs"),
            Self::News(news) => members::check_facts(&news.facts),
            Self::Members(members) => members::check_facts(&members.facts),
            Self::MembersSums(sums) if sums.sums.len() != MembersSums::BUCKETS => {
                Err(DecodeError::Invalid("sums"))
            }
            Self::MembersHave(have) => at_most(have.ids.len(), MembersHave::MAX, "members"),
            Self::MembersWant(want) => at_most(want.ids.len(), MembersWant::MAX, "members"),
            Self::Adverts(adverts) => {
                at_most(adverts.trees.len(), limits::TREES_MAX, "trees")?;
                adverts.trees.iter().try_for_each(|advert| match &advert.name {
                    Name::Anchor(anchor) => {
                        at_most(usize::from(anchor.length), limits::CHAIN_MAX, "chain")?;
                        incarnation(anchor.incarnation)
                    }
                    Name::Told | Name::Id(_) => Ok(()),
                })
            }
            Self::AnchorReq(request) => {
                at_most(request.trees.len(), limits::TREES_MAX, "trees")?;
                if !request.trees.is_sorted_by(|a, b| a < b) {
                    return Err(DecodeError::NotCanonical);
                }
                Ok(())
            }
            Self::Data { .. }
            | Self::MembersAsk(_)
            | Self::MembersSums(_)
            | Self::Subscribe(_)
            | Self::Unsubscribe(_)
            | Self::Beat(_)
            | Self::Digest(_)
            | Self::Served(_)
            | Self::Prune(_)
            | Self::Graft(_)
            | Self::Ungraft(_)
            | Self::SeqReq(_)
            | Self::LoopProbe(_)
            | Self::Credit(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
