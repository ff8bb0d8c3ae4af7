//! What the store was asked for: by token until it answers, and again when it fails.
//!
//! Nothing that was to be kept is given up because a disk was full for a while: what could not be written is
//! written again every [`limits::STORE_RETRY`], in its order. Until then it is neither released nor acknowledged,
//! and its group adds nothing to it. The store answers in the order in which it was asked.

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
    /// Its place in the order in which all was asked for first.
    place: u64,
    group: GroupId,
    purpose: Purpose,
    /// What was to be kept; empty for a question.
    ops: Vec<StoreOp>,
    /// It has failed before.
    is_retry: bool,
}

/// Requests that the store has not answered, or could not fulfil.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    n_issued: u64,
    open: BTreeMap<Token, Open>,
    failed: Vec<Open>,
    /// How many requests of a group have failed and are not done yet.
    failing: BTreeMap<GroupId, usize>,
    /// Frontiers that were written while an earlier write of the group was failing.
    overtaken: BTreeMap<(GroupId, LogId), Seq>,
    retry_at: Option<Timestamp>,
}

impl Tokens {
    pub(super) fn issue(&mut self, group: GroupId, purpose: Purpose, ops: Vec<StoreOp>) -> Token {
        self.open(Open { place: self.n_issued, group, purpose, ops, is_retry: false })
    }

    fn open(&mut self, open: Open) -> Token {
        self.n_issued += 1;
        let token = Token(self.n_issued);
        self.open.insert(token, open);
        token
    }

    /// The store has answered.
    pub(crate) fn take(&mut self, token: Token) -> Option<(GroupId, Purpose)> {
        let open = self.open.remove(&token)?;
        if self.open.is_empty() {
            // An empty tree keeps room for eleven, and most nodes are at rest.
            self.open = BTreeMap::new();
        }
        if self.is_failing(&open.group) {
            for op in &open.ops {
                if let StoreOp::Frontier(frontier) = op {
                    let written = self.overtaken.entry((frontier.group, frontier.log)).or_default();
                    *written = (*written).max(frontier.next);
                }
            }
        }
        if open.is_retry
            && let Some(n) = self.failing.get_mut(&open.group)
        {
            *n -= 1;
            if *n == 0 {
                self.recover(&open.group);
            }
        }
        Some((open.group, open.purpose))
    }

    fn recover(&mut self, group: &GroupId) {
        self.failing.remove(group);
        self.overtaken.retain(|(of, _), _| of != group);
    }

    /// Whether a write of a group has failed and is not done yet.
    pub(super) fn is_failing(&self, group: &GroupId) -> bool {
        self.failing.contains_key(group)
    }

    /// The store could not, and will be asked again. True if this is news: all was well before.
    pub(crate) fn fail(&mut self, now: Timestamp, token: Token) -> bool {
        let Some(open) = self.open.remove(&token) else {
            return false;
        };
        let is_news = self.failing.is_empty();
        if !open.is_retry {
            *self.failing.entry(open.group).or_default() += 1;
        }
        self.failed.push(Open { is_retry: true, ..open });
        self.retry_at.get_or_insert(now + limits::STORE_RETRY);
        is_news
    }

    /// What is to be asked again now.
    pub(crate) fn take_retries(&mut self, now: Timestamp) -> Vec<(Token, Vec<StoreOp>)> {
        if self.retry_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.retry_at = None;
        // A second failure may be told before the first failure of what was asked for later.
        let mut failed = std::mem::take(&mut self.failed);
        failed.sort_by_key(|open| open.place);
        let again = failed.into_iter().map(|mut open| {
            let overtaken = &self.overtaken;
            let written = |log: &LogId| overtaken.get(&(open.group, *log)).copied().unwrap_or(0);
            // A frontier replaces the one before it: those that others have gone beyond are not written again.
            open.ops.retain(|op| match op {
                StoreOp::Frontier(frontier) => frontier.next >= written(&frontier.log),
                StoreOp::Reserve { .. } | StoreOp::Append(_) => true,
            });
            if let Purpose::Theirs { log, next } = &mut open.purpose {
                *next = written(log).max(*next);
            }
            let ops = open.ops.clone();
            (self.open(open), ops)
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
        let retried = self.open.values().filter(|open| open.is_retry);
        self.failed.iter().chain(retried).any(|open| {
            open.group == *group && matches!(open.purpose, Purpose::Theirs { log: of, .. } if of == *log)
        })
    }

    /// The group was left: its answers come to nobody.
    pub(super) fn forget(&mut self, group: &GroupId) {
        self.open.retain(|_, open| open.group != *group);
        self.failed.retain(|open| open.group != *group);
        self.recover(group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{EnvelopeId, PeerId};
    use crate::persist::Frontier;

    const GROUP: GroupId = GroupId([1; 32]);
    const LOG: LogId = LogId { author: PeerId([2; 32]), lane: Lane::Durable };

    fn issue(tokens: &mut Tokens, next: Seq) -> Token {
        let head = EnvelopeId([3; 32]);
        let ops = vec![StoreOp::Frontier(Frontier { group: GROUP, log: LOG, next, head, floor: 0 })];
        tokens.issue(GROUP, Purpose::Theirs { log: LOG, next }, ops)
    }

    /// Goal: what is asked for again keeps its order, also when what came first fails a second time before what came
    /// second has failed once.
    #[test]
    fn what_is_written_again_keeps_its_order() {
        let mut tokens = Tokens::default();
        let now = Timestamp::ZERO + limits::STORE_RETRY;
        let [first, second] = [1, 2].map(|next| issue(&mut tokens, next));
        tokens.fail(Timestamp::ZERO, first);
        let again = tokens.take_retries(now);
        tokens.fail(now, second);
        tokens.fail(now, again[0].0);
        let again = tokens.take_retries(now + limits::STORE_RETRY);
        let nexts = again.iter().flat_map(|(_, ops)| ops).filter_map(|op| match op {
            StoreOp::Frontier(frontier) => Some(frontier.next),
            StoreOp::Reserve { .. } | StoreOp::Append(_) => None,
        });
        assert_eq!(nexts.collect::<Vec<_>>(), [1, 2]);
    }

    /// Goal: an outage is told once and ends when all is written, and no frontier goes back.
    #[test]
    fn what_failed_is_written_again_and_lowers_nothing() {
        let mut tokens = Tokens::default();
        let now = Timestamp::ZERO;
        let [first, second, third] = [1, 2, 3].map(|next| issue(&mut tokens, next));
        assert!(tokens.fail(now, first));
        assert!(tokens.take(second).is_some(), "written meanwhile");
        assert!(!tokens.fail(now, third), "no news");
        let again = tokens.take_retries(now + limits::STORE_RETRY);
        assert_eq!(again.iter().map(|(_, ops)| ops.len()).collect::<Vec<_>>(), [0, 1]);
        assert!(!tokens.fail(now, again[0].0) && !tokens.fail(now, again[1].0), "no news");
        let again = tokens.take_retries(now + 2 * limits::STORE_RETRY);
        assert!(tokens.take(again[0].0).is_some());
        assert!(tokens.is_failing(&GROUP) && tokens.has_failed(&GROUP, &LOG));
        assert!(tokens.take(again[1].0).is_some());
        assert!(!tokens.is_failing(&GROUP) && !tokens.has_failed(&GROUP, &LOG));
        let next = issue(&mut tokens, 4);
        assert!(tokens.fail(now, next), "another outage");
    }
}
