//! Where a node keeps what must outlive it: reservations of its own numbers, envelopes, frontiers.
//!
//! The engine asks by `Output::Persist` and `Output::Fetch`; what they mean is said in
//! `djembe_protocol::persist`. A [`Store`] is synchronous and used from one thread, the one of [`worker`];
//! [`sqlite`] lasts, [`memory`] does not. Both are held to the same tests.
//!
//! Deliberately not here, yet: retention (a frontier's `floor` is kept and deletes nothing: a floor may come
//! from a peer, and a peer shall not delete our history), key material and opened messages, setting a corrupt
//! file aside.

pub(crate) mod memory;
#[cfg(test)]
mod outage_tests;
pub(crate) mod sqlite;
#[cfg(test)]
mod tests;
pub(crate) mod worker;

use std::path::PathBuf;

use djembe_protocol::id::Seq;
use djembe_protocol::persist::{Answer, Query, StoreOp};

/// What keeps envelopes and numbers for one node.
pub(crate) trait Store: Send {
    /// Makes all the changes durable, in order, in one transaction. After an error none of them is seen; if
    /// the disk failed at the very end, all of them may turn up after a restart.
    ///
    /// `Reserve` never lowers; `Append` leaves an envelope that is there as it is; `Frontier` replaces.
    fn apply(&mut self, batches: &[&[StoreOp]]) -> Result<(), StoreError>;

    /// Answers from what was applied; a failure is an answer too.
    ///
    /// A log has a frontier from its first envelope on, even if nobody set one.
    fn query(&mut self, query: &Query) -> Answer;

    /// Counts the starts of the node, durably: 1 is the first. To be called once per opening.
    fn next_incarnation(&mut self) -> Result<u64, StoreError>;

    /// Lets go of the store. Everything applied is kept, also after an error, and also without this call;
    /// then the next opening has to tidy up.
    fn close(self: Box<Self>) -> Result<(), StoreError>;
}

/// Why the store could not be opened, or could not do what it was asked. What was there before is still there,
/// and nothing is seen of what failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StoreError {
    /// A later version wrote it.
    #[error(
        "{} was written by a newer djembe (schema {found}, this one knows {known}): upgrade djembe, or \
         name another data directory",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema this program knows.
        known: i64,
    },
    /// It is a database, of another program.
    #[error("{} is not a djembe store: move it away, or name another data directory", path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// It cannot be made sense of.
    #[error(
        "{} is damaged ({cause}): move it away (with its -wal file) and start djembe again; history comes \
         back from peers",
        path.display()
    )]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What gave it away.
        cause: String,
    },
    /// It can be read and not written.
    #[error(
        "{} cannot be written: make it and its directory writable (chmod u+w, or mount it read-write)",
        path.display()
    )]
    ReadOnly {
        /// The database.
        path: PathBuf,
    },
    /// It can be neither read nor created.
    #[error(
        "{} cannot be opened: check that its directory is there and that both belong to you",
        path.display()
    )]
    NotReadable {
        /// The database.
        path: PathBuf,
    },
    /// No space for more.
    #[error("no space is left for {}: free some", path.display())]
    Full {
        /// The database.
        path: PathBuf,
    },
    /// Another program holds it.
    #[error("{} is locked by another program: close that program", path.display())]
    Busy {
        /// The database.
        path: PathBuf,
    },
    /// Anything else SQLite or the system says.
    #[error("{} failed: {cause}; check the disk", path.display())]
    Io {
        /// The database.
        path: PathBuf,
        /// SQLite's word on it.
        cause: String,
    },
    /// A sequence number beyond what a store can hold. The one who asked is at fault.
    #[error("sequence number {0} is beyond what a store can hold")]
    SeqTooLarge(Seq),
    /// An earlier write failed, and this one may rest on it.
    #[error("an earlier write to the store failed, and this one may rest on it")]
    Halted,
    /// The thread of the store is gone; what was not answered may or may not be kept.
    #[error("the store has stopped: start djembe again")]
    Stopped,
}

/// The largest number a store holds: SQLite's integers are signed.
pub(crate) const SEQ_MAX: Seq = i64::MAX as Seq;

/// Refuses numbers that a store cannot hold, before anything is changed.
fn check(ops: &[StoreOp]) -> Result<(), StoreError> {
    let largest = |op: &StoreOp| match op {
        StoreOp::Reserve { upto, .. } => *upto,
        StoreOp::Append(envelope) => envelope.seq,
        StoreOp::Frontier(frontier) => frontier.next.max(frontier.floor),
    };
    match ops.iter().map(largest).max() {
        Some(seq) if seq > SEQ_MAX => Err(StoreError::SeqTooLarge(seq)),
        _ => Ok(()),
    }
}
