//! A node's disk: what was committed survives a crash, what was not is gone; and the last commits can be lost too.

use std::collections::BTreeMap;

use djembe_protocol::id::{GroupId, Lane, LogId, PeerId, Seq};
use djembe_protocol::persist::{Answer, Frontier, GroupRecord, Query, StoreOp, StoredEnvelope};

/// What a disk holds.
#[derive(Debug, Default)]
pub struct Disk {
    /// Every commit, in order: what [`Disk::lose_commits`] takes back.
    journal: Vec<Vec<StoreOp>>,
    groups: BTreeMap<GroupId, Records>,
}

#[derive(Debug, Default)]
struct Records {
    envelopes: BTreeMap<(LogId, Seq), StoredEnvelope>,
    frontiers: BTreeMap<LogId, Frontier>,
    reserved: BTreeMap<Lane, Seq>,
}

impl Disk {
    /// About how many bytes of memory it takes; envelopes are shared.
    pub(crate) fn heap(&self) -> usize {
        let of_group = |records: &Records| {
            records.envelopes.len() * size_of::<((LogId, Seq), StoredEnvelope)>()
                + records.frontiers.len() * size_of::<(LogId, Frontier)>()
        };
        let journal =
            self.journal.iter().map(|ops| ops.capacity() * size_of::<StoreOp>() + size_of::<Vec<StoreOp>>());
        journal.sum::<usize>() + self.groups.values().map(of_group).sum::<usize>()
    }

    /// Makes operations durable together.
    pub fn commit(&mut self, ops: Vec<StoreOp>) {
        for op in &ops {
            self.apply(op);
        }
        self.journal.push(ops);
    }

    /// The last `n` commits never happened, although the disk said that they had.
    pub fn lose_commits(&mut self, n: usize) {
        self.journal.truncate(self.journal.len().saturating_sub(n));
        let journal = std::mem::take(&mut self.journal);
        self.groups.clear();
        for ops in &journal {
            for op in ops {
                self.apply(op);
            }
        }
        self.journal = journal;
    }

    /// Everything is lost.
    pub fn wipe(&mut self) {
        *self = Self::default();
    }

    /// Commits so far.
    pub fn n_commits(&self) -> usize {
        self.journal.len()
    }

    /// Envelopes kept in a group.
    pub fn n_envelopes(&self, group: &GroupId) -> usize {
        self.groups.get(group).map_or(0, |records| records.envelopes.len())
    }

    /// How far every kept log is complete, and its last id.
    pub fn frontiers(&self, group: &GroupId) -> Vec<Frontier> {
        let records = self.groups.get(group);
        records.into_iter().flat_map(|records| records.frontiers.values().copied()).collect()
    }

    fn apply(&mut self, op: &StoreOp) {
        match op {
            StoreOp::Reserve { group, lane, upto } => {
                let reserved = self.groups.entry(*group).or_default().reserved.entry(*lane).or_default();
                *reserved = (*reserved).max(*upto);
            }
            StoreOp::Append(envelope) => {
                let records = self.groups.entry(envelope.group).or_default();
                records.envelopes.entry((envelope.log, envelope.seq)).or_insert_with(|| envelope.clone());
            }
            StoreOp::Frontier(frontier) => {
                let records = self.groups.entry(frontier.group).or_default();
                records.frontiers.insert(frontier.log, *frontier);
            }
        }
    }

    /// Answers `me`.
    pub fn answer(&self, me: &PeerId, query: &Query) -> Answer {
        match query {
            Query::Group(group) => Answer::Group(
                self.groups.get(group).map_or_else(GroupRecord::default, |records| records.record(me)),
            ),
            Query::Range { group, log, from, to, bytes_max } => {
                let mut bytes = 0;
                let mut found = Vec::new();
                let records = self.groups.get(group);
                let range = records
                    .into_iter()
                    .flat_map(|records| records.envelopes.range((*log, *from)..=(*log, *to)));
                for (_, envelope) in range {
                    bytes += envelope.bytes.len();
                    if !found.is_empty() && bytes > *bytes_max {
                        break;
                    }
                    found.push(envelope.clone());
                }
                Answer::Range(found)
            }
        }
    }
}

impl Records {
    fn record(&self, me: &PeerId) -> GroupRecord {
        let next = |log: &LogId| self.frontiers.get(log).map_or(0, |frontier| frontier.next);
        let own_heads = [Lane::Control, Lane::Durable].into_iter().filter_map(|lane| {
            let log = LogId { author: *me, lane };
            let last = self.envelopes.range((log, 0)..=(log, Seq::MAX)).next_back();
            last.map(|((_, seq), envelope)| (lane, *seq, envelope.id))
        });
        GroupRecord {
            frontiers: self.frontiers.values().copied().collect(),
            above: self
                .envelopes
                .iter()
                .filter(|((log, seq), _)| *seq >= next(log))
                .map(|((log, seq), envelope)| (*log, *seq, envelope.skip, envelope.id))
                .collect(),
            reserved: self.reserved.iter().map(|(lane, upto)| (*lane, *upto)).collect(),
            own_heads: own_heads.collect(),
        }
    }
}
