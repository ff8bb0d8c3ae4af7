//! Performs what the engine wants, in the order in which it wants it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use djembe_protocol::id::{GroupId, LogId, MessageId};
use djembe_protocol::io::{Delivered, Event, Output};
use djembe_protocol::wire::frame::Address;
use libp2p::Multiaddr;
use tokio::sync::mpsc;

use super::{CLONED_ADVICE, Driver, EARLY, EARLY_MAX, Early, GroupEntry, READER_PATIENCE, Reader};
use crate::event::NodeEvent;
use crate::store::worker::Job;
use crate::transport::Transmit;

impl Driver {
    /// Drains the engine.
    pub(super) fn perform_outputs(&mut self) {
        // Frames for one link come together: its writer is to find them all, for each of its writes is a packet.
        let mut fed = None;
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Send { link, class, frame } => {
                    if let Some(other) = fed.replace(link).filter(|other| *other != link) {
                        self.transport.wake(other);
                    }
                    let encoded = frame.encode();
                    // The transport writes the length itself.
                    let transmit = Transmit { head: encoded.head.slice(4..), body: encoded.body };
                    if let Err(error) = self.transport.send(link, class, transmit) {
                        tracing::debug!(link = link.0, %error, "not sent");
                    }
                }
                Output::Connect { peer, addresses } => {
                    self.transport.dial(Some(peer), multiaddrs(addresses));
                }
                Output::Probe { peer, addresses } => self.transport.probe(peer, &multiaddrs(addresses)),
                Output::Disconnect { link, cause } => {
                    if let Some(entry) = self.links.get(&link) {
                        tracing::debug!(peer = %entry.peer.short(), cause, "disconnect");
                        if cause == "another network" {
                            self.discovery.stranger(entry.peer);
                        }
                    }
                    match cause {
                        "misconduct" | "shut out" => self.transport.cut_off(link),
                        _ => self.transport.close(link),
                    }
                }
                Output::Persist { token, ops } => self.jobs.push_back(self.store.changes(token, ops)),
                Output::Fetch { token, query } => self.jobs.push_back(Job::Query { token, query }),
                Output::Event(event) => self.on_event(event),
            }
        }
        if let Some(link) = fed {
            self.transport.wake(link);
        }
    }

    /// Hands jobs to the store while it has room. What is left holds up the intake.
    pub(super) fn submit_jobs(&mut self) {
        while let Some(job) = self.jobs.pop_front() {
            if let Err(refused) = self.store.try_submit(job) {
                self.jobs.push_front(refused.0);
                return;
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Joined { group } => tracing::debug!(?group, "joined"),
            Event::Delivered(delivered) => self.deliver(Arc::new(*delivered)),
            Event::Sealed { group, lane, tickets, seq, sent } => {
                if let Some(entry) = self.groups.get(&group) {
                    entry.shared.lane(lane).on_sealed(tickets, seq, sent);
                }
            }
            Event::Stored { group, peer, lane, next } => {
                if let Some(entry) = self.groups.get(&group) {
                    entry.shared.lane(lane).on_stored(peer, next);
                }
            }
            Event::Dropped { group, lane, tickets, reason } => {
                if let Some(entry) = self.groups.get(&group) {
                    entry.shared.lane(lane).on_dropped(tickets, &reason);
                }
            }
            Event::Gap { group, log, from, to } => {
                let event = |group| NodeEvent::Gap { group, author: log.author, envelopes: to - from + 1 };
                self.tell_of(group, event);
            }
            Event::Fork { group, log, seq } => {
                let id = MessageId { log: LogId { ..log }, seq, index: 0 };
                self.tell_of(group, |group| NodeEvent::Fork { group, id });
            }
            Event::Cloned { .. } => {
                self.tell(NodeEvent::Cloned { advice: CLONED_ADVICE.to_owned(), proven: true });
            }
            Event::Presence { peer, state, cause } => self.tell(NodeEvent::Peer { peer, state, cause }),
            Event::MemberJoined { group, peer } => {
                self.tell_of(group, |group| NodeEvent::MemberJoined { group, peer });
            }
            Event::MemberLeft { group, peer, cause } => {
                self.tell_of(group, |group| NodeEvent::MemberLeft { group, peer, cause });
            }
            Event::StoreFailed { error } => {
                tracing::error!(error, "store");
                self.tell(NodeEvent::StoreFailed { error });
            }
        }
    }

    fn tell_of(&self, group: GroupId, event: impl FnOnce(Arc<str>) -> NodeEvent) {
        if let Some(entry) = self.groups.get(&group) {
            self.tell(event(entry.shared.name.clone()));
        }
    }

    // Readers.

    fn deliver(&mut self, delivered: Arc<Delivered>) {
        let Some(entry) = self.groups.get_mut(&delivered.group) else { return };
        entry.readers.retain_mut(|reader| reader.offer(&delivered));
        if let Some(early) = &mut entry.early {
            if early.is_over() {
                entry.early = None;
            } else if delivered.log.author != self.me {
                early.envelopes.push_back(delivered);
            }
        }
    }

    /// Whether somebody reads too slowly: then no more is taken in.
    pub(super) fn has_full_reader(&self) -> bool {
        let early = |entry: &GroupEntry| entry.early.as_ref().is_some_and(Early::is_full);
        self.groups.values().any(|entry| early(entry) || entry.readers.iter().any(Reader::is_full))
    }

    /// Whether something waits for a reader, or one is to be told what it missed.
    pub(super) fn has_waiting_reader(&self) -> bool {
        let early = |entry: &GroupEntry| entry.early.as_ref().is_some_and(Early::is_full);
        self.groups.values().any(|entry| early(entry) || entry.readers.iter().any(Reader::is_waiting))
    }

    /// Waits until one of them has room, has gone, or has run out of patience.
    pub(super) async fn reader_ready(groups: &BTreeMap<GroupId, GroupEntry>) {
        let early = groups.values().filter_map(|entry| entry.early.as_ref()).find(|early| early.is_full());
        let waiting = groups.values().flat_map(|entry| &entry.readers).filter(|reader| reader.is_waiting());
        let waiting: Vec<_> = waiting.map(|reader| Box::pin(reader.ready())).collect();
        match early {
            Some(early) => tokio::time::sleep_until((early.since + EARLY).into()).await,
            None if waiting.is_empty() => std::future::pending().await,
            None => drop(futures::future::select_all(waiting).await),
        }
    }

    pub(super) fn refill_readers(&mut self) {
        let mut lagged = Vec::new();
        for entry in self.groups.values_mut() {
            entry.readers.retain_mut(Reader::refill);
            for reader in entry.readers.iter_mut().filter(|reader| reader.has_room()) {
                if reader.missed > 0 {
                    let messages = std::mem::take(&mut reader.missed);
                    lagged.push(NodeEvent::Lagged { group: entry.shared.name.clone(), messages });
                }
            }
        }
        for event in lagged {
            self.tell(event);
        }
    }
}

impl Early {
    pub(super) fn is_over(&self) -> bool {
        self.since.elapsed() >= EARLY
    }

    /// Nobody has subscribed yet, and there is no room for more.
    fn is_full(&self) -> bool {
        self.envelopes.len() >= EARLY_MAX && !self.is_over()
    }
}

impl Reader {
    /// A reader for whom there is something already.
    pub(super) fn new(sender: mpsc::Sender<Arc<Delivered>>, backlog: VecDeque<Arc<Delivered>>) -> Self {
        let full_since = (!backlog.is_empty()).then(Instant::now);
        let mut reader = Self { sender, backlog, full_since, missed: 0 };
        reader.refill();
        reader
    }

    /// Its queue is full, and its patience is not: no more is taken in.
    fn is_full(&self) -> bool {
        self.full_since.is_some_and(|since| since.elapsed() < READER_PATIENCE)
    }

    fn is_waiting(&self) -> bool {
        !self.backlog.is_empty() || self.missed > 0
    }

    fn has_room(&self) -> bool {
        self.full_since.is_none()
    }

    /// Until there is room, the reader is gone, or what waits is given up.
    async fn ready(&self) {
        let room = self.sender.reserve();
        match self.full_since.filter(|_| !self.backlog.is_empty()) {
            Some(since) => {
                let _ = tokio::time::timeout_at((since + READER_PATIENCE).into(), room).await;
            }
            None => drop(room.await),
        }
    }

    /// Takes an envelope; false if the reader is gone.
    fn offer(&mut self, delivered: &Arc<Delivered>) -> bool {
        if !self.refill() {
            return false;
        }
        match self.full_since {
            None => match self.sender.try_send(delivered.clone()) {
                Ok(()) => return true,
                Err(mpsc::error::TrySendError::Closed(_)) => return false,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    self.full_since = Some(Instant::now());
                    self.backlog.push_back(delivered.clone());
                }
            },
            // Grows by what was in the engine already: nothing more is taken in.
            Some(_) if self.is_full() => self.backlog.push_back(delivered.clone()),
            Some(_) => self.missed += delivered.messages.len() as u64,
        }
        true
    }

    /// Moves on what waited, or gives it up; false if the reader is gone.
    fn refill(&mut self) -> bool {
        while let Some(next) = self.backlog.front() {
            match self.sender.try_send(next.clone()) {
                Ok(()) => drop(self.backlog.pop_front()),
                Err(mpsc::error::TrySendError::Closed(_)) => return false,
                Err(mpsc::error::TrySendError::Full(_)) if self.is_full() => return true,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    self.missed += self.backlog.drain(..).map(|d| d.messages.len() as u64).sum::<u64>();
                }
            }
        }
        if self.sender.capacity() > 0 {
            self.full_since = None;
        }
        !self.sender.is_closed()
    }
}

fn multiaddrs(addresses: Vec<Address>) -> Vec<Multiaddr> {
    addresses.into_iter().filter_map(|address| Multiaddr::try_from(address.0).ok()).collect()
}
