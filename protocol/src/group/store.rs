//! What the store was asked for: by token until it answers, and again when it fails.
//!
//! Nothing that was to be kept is given up because a disk was full for a while: what could not be written is
//! written again every [`limits::STORE_RETRY`], in its order. Until then it is neither released nor acknowledged.

use std::collections::BTreeMap;

use crate::id::{GroupId, Lane, LinkId, LogId, Seq};
use crate::limits;
use crate::persist::{StoreOp, Token};
use crate::time::Timestamp;
use crate::wire::frame::Want;

/// Why the store was asked.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    /// To take up the group.
    Load,
    /// To use more numbers of our own.
    Reserve { lane: Lane, upto: Seq },
    /// To release an envelope of our own.
    Own { lane: Lane, seq: Seq },
    /// To say "stored" to its author: the log is complete on disk below `next`.
    Theirs { log: LogId, next: Seq },
    /// To answer a WANT; `beyond` its range, if there was nothing in it.
    Serve { link: LinkId, want: Want, beyond: bool },
    /// To deliver what was kept before the gap in front of it was closed.
    Deliver { log: LogId },
}

#[derive(Debug)]
struct Open {
    group: GroupId,
    purpose: Purpose,
    /// What was to be kept; empty for a question.
    ops: Vec<StoreOp>,
}

/// Requests that the store has not answered, or could not fulfil.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    n_issued: u64,
    open: BTreeMap<Token, Open>,
    failed: Vec<Open>,
    retry_at: Option<Timestamp>,
}

impl Tokens {
    pub(super) fn issue(&mut self, group: GroupId, purpose: Purpose, ops: Vec<StoreOp>) -> Token {
        self.n_issued += 1;
        let token = Token(self.n_issued);
        self.open.insert(token, Open { group, purpose, ops });
        token
    }

    /// The store has answered.
    pub(crate) fn take(&mut self, token: Token) -> Option<(GroupId, Purpose)> {
        self.open.remove(&token).map(|open| (open.group, open.purpose))
    }

    /// The store could not. True if it will be asked again.
    pub(crate) fn fail(&mut self, now: Timestamp, token: Token) -> bool {
        let Some(open) = self.open.remove(&token) else {
            return false;
        };
        self.failed.push(open);
        self.retry_at.get_or_insert(now + limits::STORE_RETRY);
        true
    }

    /// What is to be asked again now.
    pub(crate) fn take_retries(&mut self, now: Timestamp) -> Vec<(Token, Vec<StoreOp>)> {
        if self.retry_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.retry_at = None;
        let failed = std::mem::take(&mut self.failed);
        let again = failed.into_iter().map(|open| {
            let ops = open.ops.clone();
            (self.issue(open.group, open.purpose, open.ops), ops)
        });
        again.collect()
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.retry_at
    }

    /// Whether something of a log is waiting to be written: what comes after it is not safe either.
    pub(super) fn is_writing(&self, group: &GroupId, log: &LogId) -> bool {
        let of_log = |open: &Open| {
            open.group == *group && matches!(open.purpose, Purpose::Theirs { log: of, .. } if of == *log)
        };
        self.failed.iter().any(of_log) || self.open.values().any(of_log)
    }

    /// Whether the store failed to write something of a log.
    pub(super) fn has_failed(&self, group: &GroupId, log: &LogId) -> bool {
        self.failed.iter().any(|open| {
            open.group == *group && matches!(open.purpose, Purpose::Theirs { log: of, .. } if of == *log)
        })
    }

    /// The group was left: its answers come to nobody.
    pub(super) fn forget(&mut self, group: &GroupId) {
        self.open.retain(|_, open| open.group != *group);
        self.failed.retain(|open| open.group != *group);
    }
}
