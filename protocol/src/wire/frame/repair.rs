//! Who has which envelopes: how two find out that they differ, what one announces, asks for and has stored.

use serde::{Deserialize, Serialize};

use super::{GroupIx, MembersDigest, TreeIx};
use crate::id::{LogId, PeerId, Seq};

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
    /// Sorted by log; at most [`CLOCK_ENTRIES_MAX`](crate::limits::CLOCK_ENTRIES_MAX).
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
    /// At most [`ANNOUNCE_RANGES_MAX`](crate::limits::ANNOUNCE_RANGES_MAX); all trees in one frame, since authors who
    /// talk have each their own.
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
