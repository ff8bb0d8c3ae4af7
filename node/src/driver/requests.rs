//! Answers what handles ask.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use djembe_protocol::id::{GroupId, Lane};
use djembe_protocol::io::{Command, GroupStatus, Input, PeerStatus};
use djembe_protocol::limits;

use super::readers::{Early, GroupEntry, Reader};
use super::{Driver, Request};
use crate::NodeError;
use crate::group::GroupShared;
use crate::receipt::LaneShared;
use crate::status::{GapInfo, GroupInfo, PeerInfo, Status};

impl Driver {
    pub(super) fn on_request(&mut self, request: Request) {
        // An asker that has gone away needs no answer.
        match request {
            Request::Join { key, name, reply } => {
                let id = key.group_id();
                if self.groups.len() >= limits::GROUPS_MAX && !self.groups.contains_key(&id) {
                    let _ = reply.send(Err(NodeError::TooManyGroups(limits::GROUPS_MAX)));
                    return;
                }
                let _ = reply.send(Ok(self.group(id, &name)));
                self.input(Input::Command(Command::Join { key, name }));
            }
            Request::Leave { group, reply } => {
                // It may have been left, and joined again, since this handle was made.
                if self.entry_of(&group).is_some() {
                    group.durable.close();
                    group.live.close();
                    self.take_publishes();
                    self.input(Input::Command(Command::Leave { group: group.id }));
                    self.groups.remove(&group.id);
                }
                let _ = reply.send(());
            }
            Request::Subscribe { group, sender, reply } => {
                if let Some(entry) = self.entry_of(&group) {
                    let early = entry.early.take().filter(|early| !early.is_over());
                    let envelopes = early.map(|early| early.envelopes).unwrap_or_default();
                    entry.readers.push(Reader::new(sender, envelopes));
                    self.stirred.insert(group.id);
                    self.perform_outputs(self.now());
                }
                let _ = reply.send(());
            }
            Request::Status { reply } => {
                let _ = reply.send(self.status());
            }
            Request::Shutdown => self.ending = true,
        }
    }

    /// The group, if it was not left since.
    fn entry_of(&mut self, shared: &Arc<GroupShared>) -> Option<&mut GroupEntry> {
        self.groups.get_mut(&shared.id).filter(|entry| Arc::ptr_eq(&entry.shared, shared))
    }

    fn group(&mut self, id: GroupId, name: &str) -> Arc<GroupShared> {
        let me = self.me;
        let entry = self.groups.entry(id).or_insert_with(|| GroupEntry {
            shared: Arc::new(GroupShared {
                id,
                name: name.into(),
                durable: Arc::new(LaneShared::new(Lane::Durable, me)),
                live: Arc::new(LaneShared::new(Lane::Live, me)),
            }),
            readers: Vec::new(),
            early: Some(Early { since: Instant::now(), envelopes: VecDeque::new() }),
            is_held: false,
        });
        entry.shared.clone()
    }

    fn status(&self) -> Status {
        let status = self.engine.status();
        let report = self.discovery.report();
        let mut counters = status.counters;
        self.transport.refusals().iter().for_each(|(cause, n)| counters.add(cause, n));
        counters.add("frames-checked", self.effort.frames());
        counters.add("signatures-checked", self.effort.signatures());
        Status {
            peer_id: self.me.to_string(),
            network: self.network.clone(),
            listen: self.listening.iter().map(ToString::to_string).collect(),
            uptime_secs: self.started.elapsed().as_secs(),
            health: status.health,
            was_linked: report.was_linked,
            peers: status.peers.iter().map(|peer| self.peer_info(peer)).collect(),
            groups: status.groups.iter().map(group_info).collect(),
            counters: counters.iter().map(|(cause, n)| (cause.to_owned(), n)).collect(),
            discovery: serde_json::to_value(&report).unwrap_or_default(),
            discovery_text: report.to_string(),
            advice: report.advice(),
        }
    }

    fn peer_info(&self, peer: &PeerStatus) -> PeerInfo {
        let link = peer.link.and_then(|link| self.links.get(&link));
        let found_by = self.found_by.get(&peer.peer);
        PeerInfo {
            peer_id: peer.peer.to_string(),
            state: peer.state.name().to_owned(),
            found_by: found_by.into_iter().flatten().map(|source| (*source).to_owned()).collect(),
            path: link
                .map(|link| format!("{} {}", link.path.transport, link.path.address))
                .unwrap_or_default(),
            rtt_ms: peer.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
            queued_bytes: peer.queued,
            blame: peer.blame,
            pace: peer.pace.name().to_owned(),
        }
    }
}

fn group_info(group: &GroupStatus) -> GroupInfo {
    GroupInfo {
        name: group.name.clone(),
        member_count: group.n_members,
        is_sample: group.is_sample,
        linked: group.n_linked,
        members: group.members.iter().map(ToString::to_string).collect(),
        envelopes: group.envelopes,
        missing: group.missing,
        gaps: group.gaps.iter().map(GapInfo::of).collect(),
        trees: group.trees,
        is_root: group.is_root,
        queued: group.drafts + usize::try_from(group.untaken).unwrap_or(usize::MAX),
        log_hash: group.root.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}
