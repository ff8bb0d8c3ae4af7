//! Performs what the engine wants, in the order in which it wants it.

use std::sync::Arc;

use djembe_protocol::id::{GroupId, LogId, MessageId};
use djembe_protocol::io::{CloseCause, Event, Input, Output};
use djembe_protocol::time::Timestamp;
use djembe_protocol::wire::frame::Address;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use super::{CLONED_ADVICE, Driver};
use crate::event::NodeEvent;
use crate::store::worker::Job;
use crate::transport::Transmit;

impl Driver {
    /// Drains the engine, and tells it of groups that have got too much or have room again.
    pub(super) fn perform_outputs(&mut self, now: Timestamp) {
        self.drain();
        while let Some((group, has_room)) = self.next_turn() {
            self.engine.handle_input(now, Input::Inbox { group, has_room });
            self.drain();
        }
    }

    fn drain(&mut self) {
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
                        tracing::debug!(peer = %entry.peer.short(), %cause, "disconnect");
                        if cause == CloseCause::AnotherNetwork {
                            self.discovery.stranger(entry.peer);
                        }
                    }
                    if cause.is_abrupt() {
                        self.transport.cut_off(link);
                    } else {
                        self.transport.close(link);
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
            Event::Pace { peer, pace } => self.tell(NodeEvent::Pace { peer, pace }),
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
}

fn multiaddrs(addresses: Vec<Address>) -> Vec<Multiaddr> {
    addresses.into_iter().filter_map(|address| Multiaddr::try_from(address.0).ok()).filter(is_plain).collect()
}

/// Whether this is one IP address, one port, and nothing else but a zone before and a peer after them. The transport
/// reads an address from its end, the overlay judges it by its beginning: these must be the same.
fn is_plain(address: &Multiaddr) -> bool {
    let mut parts = address.iter().peekable();
    let has_zone = parts.next_if(|part| matches!(part, Protocol::Ip6zone(_))).is_some();
    let is_ip = match parts.next() {
        Some(Protocol::Ip4(_)) => !has_zone,
        Some(Protocol::Ip6(_)) => true,
        _ => false,
    };
    let has_port = match parts.next() {
        Some(Protocol::Tcp(_)) => true,
        Some(Protocol::Udp(_)) => matches!(parts.next(), Some(Protocol::QuicV1)),
        _ => false,
    };
    parts.next_if(|part| matches!(part, Protocol::P2p(_)));
    is_ip && has_port && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_within_another_is_not_dialled() {
        let is_dialled = |address: &str| is_plain(&address.parse().expect("a multiaddress"));
        for plain in [
            "/ip4/192.0.2.1/tcp/4001",
            "/ip6/2001:db8::1/udp/4001/quic-v1",
            "/ip6zone/eth0/ip6/fe80::1/tcp/4001",
            "/ip4/192.0.2.1/tcp/4001/p2p/12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X",
        ] {
            assert!(is_dialled(plain), "{plain}");
        }
        for nested in [
            "/ip4/192.0.2.1/ip4/127.0.0.1/tcp/631",
            "/ip4/127.0.0.1/ip4/192.0.2.1/tcp/4001",
            "/dns4/example.org/ip4/127.0.0.1/tcp/631",
            "/ip4/192.0.2.1/tcp/4001/tcp/631",
            "/ip4/192.0.2.1/udp/4001",
            "/ip6zone/eth0/ip4/192.0.2.1/tcp/4001",
            "/tcp/631",
        ] {
            assert!(!is_dialled(nested), "{nested}");
        }
    }
}
