//! What the engine asks of a store, and what a store answers: plain values, so that a slow or failing disk is a
//! thing a test can play.
//!
//! `Output::Persist` carries [`StoreOp`]s, answered by `Input::Persisted` once all of them are durable (one
//! transaction). `Output::Fetch` carries a [`Query`], answered by `Input::Fetched` with an [`Answer`].

use bytes::Bytes;

use crate::id::{EnvelopeId, GroupId, Lane, LogId, Seq};

/// Names one request to the store; answers carry it back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Token(pub u64);

/// One change to the store. Those of one `Persist` are applied together or not at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreOp {
    /// Our own numbers below `upto` may be used from now on; none of them is ever issued twice.
    Reserve {
        /// In this group.
        group: GroupId,
        /// In this lane of our own log.
        lane: Lane,
        /// The first number that is not reserved.
        upto: Seq,
    },
    /// Keep an envelope. One that is there already stays as it is.
    Append(StoredEnvelope),
    /// A log is complete below `next`, whose last envelope is `head`.
    Frontier(Frontier),
}

/// An envelope as it lies in the store: sealed, with what is needed to find it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredEnvelope {
    /// Its group.
    pub group: GroupId,
    /// Its log.
    pub log: LogId,
    /// Its place in the log.
    pub seq: Seq,
    /// How many numbers before it were never issued.
    pub skip: u32,
    /// Its id.
    pub id: EnvelopeId,
    /// Header, signature and ciphertext, as received.
    pub bytes: Bytes,
}

/// How far a log is known without a gap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frontier {
    /// The group.
    pub group: GroupId,
    /// The log.
    pub log: LogId,
    /// Every envelope before this number is there, or was never issued.
    pub next: Seq,
    /// The last envelope before `next`; [`EnvelopeId::NONE`] if there is none.
    pub head: EnvelopeId,
    /// Retention has cut everything before this number.
    pub floor: Seq,
}

/// A question to the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Query {
    /// Everything needed to take up a group again: asked once when it is joined.
    Group(GroupId),
    /// Envelopes `from..=to` of a log, in order, at most `bytes_max` bytes (but at least one envelope).
    Range {
        /// The group.
        group: GroupId,
        /// The log.
        log: LogId,
        /// The first number wanted.
        from: Seq,
        /// The last number wanted.
        to: Seq,
        /// Where to stop.
        bytes_max: usize,
    },
}

/// What the store found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// To [`Query::Group`].
    Group(GroupRecord),
    /// To [`Query::Range`].
    Range(Vec<StoredEnvelope>),
    /// The store could not answer; the text is for the log.
    Failed(String),
}

/// What the store knows of a group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GroupRecord {
    /// One for each log.
    pub frontiers: Vec<Frontier>,
    /// Envelopes at or above their log's frontier (number, skip, id), sorted by log and number.
    pub above: Vec<(LogId, Seq, u32, EnvelopeId)>,
    /// Our own reservations: the first number of each lane that is not reserved.
    pub reserved: Vec<(Lane, Seq)>,
    /// Our own last kept envelope of each lane: its number and id.
    pub own_heads: Vec<(Lane, Seq, EnvelopeId)>,
}
