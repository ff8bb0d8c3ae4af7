//! Frames: the units two neighbours exchange over an authenticated, ordered stream.
//!
//! ```text
//! | length u32 LE | kind u8 | body ... |        length counts kind and body, 1 ..= FRAME_MAX
//! ```
//!
//! A `Data` body is `group u16 LE | tree u16 LE | envelope`; all others are bincode of the struct of that name. Kinds from
//! [`SKIPPABLE`] on may be skipped by a node that does not know them; an unknown kind below it is an error.
//! Names follow Plumtree (IHave is [`Announce`], IWant is [`Want`]) and SWIM.

mod forest;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::crypto::{self, CheckedEnvelope, Domain, Identity};
use crate::error::{DecodeError, Reject};
use crate::id::{EnvelopeId, Incarnation, LogId, PeerId, Seq};
use crate::limits;
use crate::wire::codec;
use crate::wire::compress::{self, Expanded};
use crate::wire::envelope::Envelope;

mod members;
mod overlay;

pub use forest::{
    Advert, Adverts, Anchor, AnchorId, AnchorReq, ChainKey, Graft, Name, SeqReq, UNREACHABLE, Ungraft,
    key_before,
};
pub use members::{
    Fact, MemberRecord, Members, MembersAsk, MembersDigest, MembersHave, MembersSums, MembersWant, News,
    Stay, member_id,
};
pub use overlay::{
    Find, Found, MateTag, PeerRecord, Refusal, Refuse, Shuffle, Walk, Why, find_tag, mate_tag,
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

/// The first frame each way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Lowest version spoken.
    pub min: u16,
    /// Highest version spoken.
    pub max: u16,
    /// Optional abilities, by bit; none yet.
    pub features: u64,
    /// Keeps meshes apart: first 8 bytes of the hash of the network's name.
    pub network: [u8; 8],
    /// Fresh for each link; subscriptions prove against it.
    pub nonce: [u8; 16],
    /// Of this run.
    pub incarnation: Incarnation,
    /// Why it dialled, or as what it keeps the link.
    pub why: Why,
    /// Where this node listens, for its neighbours to pass on.
    pub record: PeerRecord,
}

/// "I am in this group": proves knowledge of the group key and names no group to those without it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Subscribe {
    /// The sender's number for the group in later frames.
    pub group: GroupIx,
    /// Keyed hash over both ids and both nonces.
    pub proof: [u8; 32],
}

/// The sender has left the group with this number.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Unsubscribe {
    /// The sender's number.
    pub group: GroupIx,
}

/// Sign of life when nothing else is sent, and a measurement of the round trip.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Beat {
    /// The sender's number for it, 1 to 255 and round again; echoed back.
    pub n: u8,
    /// The number last heard from the receiver, zero if none.
    pub echo: u8,
    /// How long ago that was, in microseconds; [`u32::MAX`] is that or longer.
    pub held: u32,
    /// The sender asks for a beat at once.
    pub ask: bool,
}

/// An orderly farewell.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Goodbye {
    /// Of the run that ends.
    pub incarnation: Incarnation,
}

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

/// Neighbours of the sender: how a node with one contact finds the rest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Peers {
    /// At most [`Peers::MAX`].
    pub peers: Vec<(PeerId, Vec<Address>)>,
}

impl Peers {
    /// Peers in one frame: all neighbours that a node can have.
    pub const MAX: usize = limits::LINKS_MAX;
}

// Each address comes with up to two bytes of length, each list with one.
const _: () = assert!(Peers::MAX * (33 + PeerRecord::ADDRESSES_MAX * (Address::MAX + 2)) < limits::FRAME_MAX);

/// One hash over all logs of all groups that both share.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Digest {
    /// BLAKE3 over the shared groups' roots in the order of their topic tags.
    pub root: [u8; 32],
}

/// The roots of the shared groups, sent when the combined digest differed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Roots {
    /// Sender's number, root and members of each, sorted by number: each group once, for each may be answered by a
    /// clock.
    pub roots: Vec<(GroupIx, [u8; 32], MembersDigest)>,
}

/// How far the sender has every log of a group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Clock {
    /// The group.
    pub group: GroupIx,
    /// Which logs are named, and what is expected.
    pub part: Part,
    /// Sorted by log; at most [`limits::CLOCK_ENTRIES_MAX`].
    pub entries: Vec<ClockEntry>,
}

/// Which logs a [`Clock`] names, and what is expected of the receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Part {
    /// All, or a page of them. Nothing.
    All,
    /// All, or the last page of them. Its own.
    Ask,
    /// Those that grew lately. An answer to these and to those that grew lately there.
    Recent,
    /// Those, and the root of all others. All, if that differs here.
    Answer([u8; 32]),
}

/// One log in a [`Clock`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClockEntry {
    /// The log.
    pub log: LogId,
    /// Everything below is there.
    pub next: Seq,
    /// Everything below has been cut by retention.
    pub floor: Seq,
    /// The first bytes of the last envelope's id. A hint that the author forked its log, and no proof.
    pub head: [u8; 8],
}

/// Envelopes `from..=to` of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Range {
    /// The log.
    pub log: LogId,
    /// First number.
    pub from: Seq,
    /// Last number.
    pub to: Seq,
}

/// "I have these" (Plumtree's IHave).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Announce {
    /// The group.
    pub group: GroupIx,
    /// At most [`limits::ANNOUNCE_RANGES_MAX`]; all trees in one frame, since authors who talk have each their own.
    pub ranges: Vec<OnTree>,
}

/// Envelopes, and the tree they travel on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OnTree {
    /// The sender's number for the tree.
    pub tree: TreeIx,
    /// The envelopes.
    pub range: Range,
}

/// "Send me these" (Plumtree's IWant, with Graft in one flag).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Want {
    /// Named again in [`Served`].
    pub request: u32,
    /// The group.
    pub group: GroupIx,
    /// What is wanted.
    pub range: Range,
    /// Push this author's later envelopes to me as well.
    pub graft: bool,
}

/// All that will be sent for a [`Want`] has been sent before this frame.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Served {
    /// The request.
    pub request: u32,
    /// The group.
    pub group: GroupIx,
    /// How many envelopes were sent.
    pub count: u32,
    /// Everything below was cut by retention here.
    pub floor: Seq,
    /// Every envelope of the asked range up to here, that this node has, was sent.
    pub upto: Seq,
}

/// "So much you may have sent me in all, since the link came up." Counted are the bytes of frames of the classes
/// with payload, lengths included, as they are before headers are elided. Numbers only grow.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Credit {
    /// Of own and forward together.
    pub live: u64,
    /// Of bulk.
    pub bulk: u64,
}

/// "Stop pushing this author to me" (Plumtree's Prune).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Prune {
    /// The group.
    pub group: GroupIx,
    /// The author.
    pub author: PeerId,
}

/// "Your envelopes below these numbers are on my disk."
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stored {
    /// The group.
    pub group: GroupIx,
    /// The receiver's own logs; at most three.
    pub logs: Vec<(LogId, Seq)>,
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
    40 => Adverts,
    41 => AnchorReq,
    42 => Graft,
    43 => Ungraft,
    44 => SeqReq,
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
            | Self::Credit(_) => Ok(()),
        }
    }
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

    fn check(&self) -> Result<(), Reject> {
        let unsigned = Self::signed_bytes(&self.peer, self.incarnation);
        crypto::verify(&self.peer, Domain::Alive, &unsigned, &self.signature.0)
    }
}

/// A frame whose signatures are good. Only [`check`] makes one.
#[derive(Clone, Debug)]
pub struct CheckedFrame(pub(crate) Checked);

/// What a [`CheckedFrame`] holds.
#[derive(Clone, Debug)]
pub(crate) enum Checked {
    /// An envelope seen for the first time.
    Data { group: GroupIx, tree: TreeIx, envelope: Box<CheckedEnvelope> },
    /// An envelope whose id was verified before. Its bytes were not: whoever needs them checks them again.
    Seen { group: GroupIx, tree: TreeIx, envelope: Box<Envelope> },
    /// Anything else; signatures in it are good.
    Talk(Box<Frame>),
    /// A kind that this version does not know and may skip.
    Skipped,
}

impl CheckedFrame {
    /// The sender's number of the group whose envelope it carries.
    pub(crate) fn group(&self) -> Option<GroupIx> {
        match &self.0 {
            Checked::Data { group, .. } | Checked::Seen { group, .. } => Some(*group),
            Checked::Talk(_) | Checked::Skipped => None,
        }
    }

    /// The id of the envelope that was verified here for the first time: the host marks it seen.
    pub fn verified(&self) -> Option<EnvelopeId> {
        match &self.0 {
            Checked::Data { envelope, .. } => Some(envelope.id()),
            _ => None,
        }
    }
}

/// How many signatures are checked, at most, to find out whether the talk in these bytes is good. An envelope's is
/// not among them: it may have been seen before.
pub fn talk_signatures(bytes: &[u8]) -> usize {
    /// Kinds of [`Alert`], [`Alive`] and [`Gone`].
    const SIGNED: [u8; 3] = [6, 7, 8];
    match bytes {
        [kind, ..] if SIGNED[..2].contains(kind) => 1,
        // The list's length, which fits a byte as long as the list is short enough to be looked at.
        [kind, n, ..] if *kind == SIGNED[2] => usize::from(*n).min(Gone::ALERTS_MAX),
        _ => 0,
    }
}

/// Decodes kind and body, looks an envelope's id up among those `seen` (verified before), and checks whatever
/// signature is left to check. Pure; the node runs it on worker threads.
///
/// An id is to be marked as seen only after this returned `Ok`: a copy with a bad signature must not make the
/// good one look like a duplicate.
pub fn check(
    frame: impl Into<Expanded>,
    seen: impl FnOnce(&EnvelopeId) -> bool,
) -> Result<CheckedFrame, Reject> {
    check_with(frame, seen, crypto::check)
}

/// The same with another way to check an envelope: the simulator's remembers the verdict on every envelope, so
/// that a thousand nodes check one signature once.
pub fn check_with(
    frame: impl Into<Expanded>,
    seen: impl FnOnce(&EnvelopeId) -> bool,
    verify: impl FnOnce(Envelope) -> Result<CheckedEnvelope, Reject>,
) -> Result<CheckedFrame, Reject> {
    let (bytes, known) = frame.into().into_parts();
    let Some(frame) = Frame::decode(bytes)? else {
        return Ok(CheckedFrame(Checked::Skipped));
    };
    Ok(CheckedFrame(match frame {
        Frame::Data { group, tree, envelope } => {
            let envelope = Envelope::parse_known(envelope, known)?;
            let id = envelope.id();
            if seen(&id) {
                Checked::Seen { group, tree, envelope: Box::new(envelope) }
            } else {
                Checked::Data { group, tree, envelope: Box::new(verify(envelope)?) }
            }
        }
        Frame::Alert(alert) => {
            alert.check()?;
            Checked::Talk(Box::new(alert.into()))
        }
        Frame::Alive(alive) => {
            alive.check()?;
            Checked::Talk(Box::new(alive.into()))
        }
        Frame::Gone(gone) => {
            gone.alerts.iter().try_for_each(Alert::check)?;
            Checked::Talk(Box::new(gone.into()))
        }
        talk => Checked::Talk(Box::new(talk)),
    }))
}

#[cfg(test)]
mod tests;
