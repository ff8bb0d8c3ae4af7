//! A node's disk: what was committed survives a crash, what was not is gone; and the last commits can be lost too.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use djembe_protocol::id::{GroupId, Lane, LogId, PeerId, Seq};
use djembe_protocol::persist::{Answer, Frontier, GroupRecord, Query, StoreOp, StoredEnvelope};

/// The most commits that [`Disk::lose_commits`] takes back.
pub const LOST_MAX: usize = 64;

/// What a disk holds.
#[derive(Debug, Default)]
pub struct Disk {
    n_commits: u64,
    /// How to take back the last commits, the latest at the end; at most [`LOST_MAX`].
    journal: VecDeque<Vec<Undo>>,
    groups: BTreeMap<GroupId, Records>,
}

/// What an operation has changed: what was there before.
#[derive(Debug)]
enum Undo {
    Nothing,
    Reserve(GroupId, Lane, Option<Seq>),
    Append(GroupId, LogId, Seq),
    Frontier(GroupId, LogId, Option<Frontier>),
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
        let journal: usize = self.journal.iter().map(|undos| undos.capacity() * size_of::<Undo>()).sum();
        journal + self.groups.values().map(of_group).sum::<usize>()
    }

    /// Makes operations durable together.
    pub fn commit(&mut self, ops: Vec<StoreOp>) {
        self.n_commits += 1;
        if self.journal.len() == LOST_MAX {
            self.journal.pop_front();
        }
        let undos = ops.into_iter().map(|op| self.apply(op)).collect();
        self.journal.push_back(undos);
    }

    /// The last `n` commits never happened, although the disk said that they had; [`LOST_MAX`] at most.
    pub fn lose_commits(&mut self, n: usize) {
        for _ in 0..n {
            let Some(undos) = self.journal.pop_back() else { break };
            self.n_commits -= 1;
            undos.into_iter().rev().for_each(|undo| self.take_back(undo));
        }
    }

    /// Everything is lost.
    pub fn wipe(&mut self) {
        *self = Self::default();
    }

    /// Commits so far.
    pub fn n_commits(&self) -> u64 {
        self.n_commits
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

    fn apply(&mut self, op: StoreOp) -> Undo {
        match op {
            StoreOp::Reserve { group, lane, upto } => {
                let reserved = &mut self.groups.entry(group).or_default().reserved;
                let before = reserved.get(&lane).copied();
                reserved.insert(lane, before.map_or(upto, |before| before.max(upto)));
                Undo::Reserve(group, lane, before)
            }
            StoreOp::Append(envelope) => {
                let (group, log, seq) = (envelope.group, envelope.log, envelope.seq);
                match self.groups.entry(group).or_default().envelopes.entry((log, seq)) {
                    Entry::Occupied(_) => Undo::Nothing,
                    Entry::Vacant(free) => {
                        free.insert(envelope);
                        Undo::Append(group, log, seq)
                    }
                }
            }
            StoreOp::Frontier(frontier) => {
                let (group, log) = (frontier.group, frontier.log);
                let before = self.groups.entry(group).or_default().frontiers.insert(log, frontier);
                Undo::Frontier(group, log, before)
            }
        }
    }

    fn take_back(&mut self, undo: Undo) {
        match undo {
            Undo::Nothing => {}
            Undo::Reserve(group, lane, before) => {
                restore(&mut self.groups.entry(group).or_default().reserved, lane, before);
            }
            Undo::Append(group, log, seq) => {
                self.groups.entry(group).or_default().envelopes.remove(&(log, seq));
            }
            Undo::Frontier(group, log, before) => {
                restore(&mut self.groups.entry(group).or_default().frontiers, log, before);
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

fn restore<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, before: Option<V>) {
    match before {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
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

#[cfg(test)]
mod tests {
    use djembe_protocol::id::EnvelopeId;

    use super::*;

    /// Goal: what is lost is the tail and nothing else. Method: reservations and frontiers, each twice, then all but the first
    /// commits are lost one by one: after each the disk says what it said after the commit before.
    #[test]
    fn lost_commits_are_taken_back_one_by_one() {
        let me = PeerId([7; 32]);
        let group = GroupId([1; 32]);
        let log = LogId { author: me, lane: Lane::Durable };
        let mut disk = Disk::default();
        let mut said = vec![];
        for n in 1..=10 {
            said.push(disk.answer(&me, &Query::Group(group)));
            disk.commit(vec![
                StoreOp::Reserve { group, lane: Lane::Durable, upto: 8 * n },
                StoreOp::Frontier(Frontier {
                    group,
                    log,
                    next: n,
                    head: EnvelopeId([n as u8; 32]),
                    floor: 0,
                }),
                StoreOp::Frontier(Frontier {
                    group,
                    log,
                    next: n + 1,
                    head: EnvelopeId([n as u8; 32]),
                    floor: 0,
                }),
            ]);
        }
        for before in said.into_iter().rev() {
            disk.lose_commits(1);
            assert_eq!(disk.answer(&me, &Query::Group(group)), before);
        }
        assert_eq!(disk.n_commits(), 0);
        (0..1000).for_each(|n| disk.commit(vec![StoreOp::Reserve { group, lane: Lane::Durable, upto: n }]));
        assert_eq!(disk.journal.len(), LOST_MAX);
    }
}
