//! A store that forgets: for tests, and for nodes that are to leave nothing behind.
//!
//! A node must not keep its identity when it forgets its numbers: it would issue them a second time.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use djembe_protocol::id::{EnvelopeId, GroupId, Lane, LogId, PeerId, Seq};
use djembe_protocol::persist::{Answer, Frontier, GroupRecord, Query, StoreOp, StoredEnvelope};

use super::{Store, StoreError, check};

/// Bytes of envelopes a node keeps in memory unless told otherwise. More is refused as a full disk would be.
pub(crate) const BYTES_MAX: usize = 256 * 1024 * 1024;

/// Everything in ordered maps.
#[derive(Debug)]
pub(crate) struct Memory {
    own: PeerId,
    bytes_max: usize,
    n_bytes: usize,
    incarnation: u64,
    groups: BTreeMap<GroupId, Group>,
}

#[derive(Debug, Default)]
struct Group {
    reserved: BTreeMap<Lane, Seq>,
    logs: BTreeMap<LogId, Log>,
}

#[derive(Debug)]
struct Log {
    frontier: Frontier,
    envelopes: BTreeMap<Seq, StoredEnvelope>,
}

impl Log {
    fn new(group: GroupId, log: LogId) -> Self {
        let frontier = Frontier { group, log, next: 0, head: EnvelopeId::NONE, floor: 0 };
        Self { frontier, envelopes: BTreeMap::new() }
    }
}

impl Memory {
    /// An empty store of the node `own`, for at most `bytes_max` bytes of envelopes (repeats count until they
    /// are recognised).
    pub(crate) const fn new(own: PeerId, bytes_max: usize) -> Self {
        Self { own, bytes_max, n_bytes: 0, incarnation: 0, groups: BTreeMap::new() }
    }

    fn apply_one(&mut self, op: &StoreOp) {
        match op {
            StoreOp::Reserve { group, lane, upto } => {
                let reserved = self.groups.entry(*group).or_default().reserved.entry(*lane).or_default();
                *reserved = (*reserved).max(*upto);
            }
            StoreOp::Append(envelope) => {
                let log = self.log(envelope.group, envelope.log);
                if let Entry::Vacant(place) = log.envelopes.entry(envelope.seq) {
                    place.insert(envelope.clone());
                    self.n_bytes += envelope.bytes.len();
                }
            }
            StoreOp::Frontier(frontier) => self.log(frontier.group, frontier.log).frontier = *frontier,
        }
    }

    fn log(&mut self, group: GroupId, log: LogId) -> &mut Log {
        let logs = &mut self.groups.entry(group).or_default().logs;
        logs.entry(log).or_insert_with(|| Log::new(group, log))
    }
}

impl Store for Memory {
    fn apply(&mut self, batches: &[&[StoreOp]]) -> Result<(), StoreError> {
        let mut n_bytes = self.n_bytes;
        for ops in batches {
            check(ops)?;
            n_bytes += ops.iter().map(n_bytes_of).sum::<usize>();
        }
        if n_bytes > self.bytes_max {
            return Err(StoreError::Full { path: "the store in memory".into() });
        }
        batches.iter().copied().flatten().for_each(|op| self.apply_one(op));
        Ok(())
    }

    fn query(&mut self, query: &Query) -> Answer {
        match query {
            Query::Group(group) => Answer::Group(
                self.groups.get(group).map_or_else(GroupRecord::default, |group| group.record(self.own)),
            ),
            Query::Range { group, log, from, to, bytes_max } => {
                let log = self.groups.get(group).and_then(|group| group.logs.get(log));
                Answer::Range(log.map_or_else(Vec::new, |log| log.range(*from, *to, *bytes_max)))
            }
        }
    }

    fn next_incarnation(&mut self) -> Result<u64, StoreError> {
        self.incarnation += 1;
        Ok(self.incarnation)
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

fn n_bytes_of(op: &StoreOp) -> usize {
    match op {
        StoreOp::Append(envelope) => envelope.bytes.len(),
        StoreOp::Reserve { .. } | StoreOp::Frontier(_) => 0,
    }
}

impl Group {
    fn record(&self, own: PeerId) -> GroupRecord {
        let above = |(id, log): (&LogId, &Log)| {
            let id = *id;
            let envelopes = log.envelopes.range(log.frontier.next..);
            envelopes.map(move |(seq, envelope)| (id, *seq, envelope.skip, envelope.id)).collect::<Vec<_>>()
        };
        let own_head = |lane: Lane| {
            let (seq, last) = self.logs.get(&LogId { author: own, lane })?.envelopes.last_key_value()?;
            Some((lane, *seq, last.id))
        };
        GroupRecord {
            frontiers: self.logs.values().map(|log| log.frontier).collect(),
            above: self.logs.iter().flat_map(above).collect(),
            reserved: self.reserved.iter().map(|(lane, upto)| (*lane, *upto)).collect(),
            own_heads: Lane::ALL.into_iter().filter_map(own_head).collect(),
        }
    }
}

impl Log {
    fn range(&self, from: Seq, to: Seq, bytes_max: usize) -> Vec<StoredEnvelope> {
        let mut n_bytes = 0;
        let mut found = Vec::new();
        // Not `from..=to`, which panics when they are the wrong way round.
        for (_, envelope) in self.envelopes.range(from..).take_while(|(seq, _)| **seq <= to) {
            n_bytes += envelope.bytes.len();
            if n_bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push(envelope.clone());
        }
        found
    }
}
