//! What comes in from transport, store, discovery and handles, as the engine takes it.

use std::collections::BTreeSet;

use djembe_protocol::id::{LinkId, PeerId};
use djembe_protocol::io::{Command, Input, LinkEnd};
use djembe_protocol::limits::KNOWN_PEERS_MAX;
use djembe_protocol::wire::beacon::Ports;
use djembe_protocol::wire::frame::{Address, CheckedFrame};
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use super::{CLONED_ADVICE, Driver, INBOUND_CONTROL, INBOUND_DATA, LinkEntry, PublishRequest};
use crate::discovery;
use crate::event::NodeEvent;
use crate::store::worker::Done;
use crate::transport::{Cause, Inbound, Path, TransportEvent, is_loopback, is_quic};

/// The engine counts a frame with its length, which the transport has taken off.
const LENGTH: usize = 4;

impl Driver {
    pub(super) fn on_frames(&mut self, frames: &mut Vec<Inbound<CheckedFrame>>) {
        self.tell_wall_time();
        for inbound in frames.drain(..) {
            self.input(match inbound {
                Inbound::Frame { link, class, frame, bytes } => {
                    Input::Frame { link, class, bytes: bytes + LENGTH, frame }
                }
                Inbound::Bad { link, class, reject, bytes } => {
                    Input::Rejected { link, class, bytes: bytes + LENGTH, reject }
                }
            });
            // Of large frames a burst takes long, and somebody waits for the answer.
            if !self.ending
                && let Ok(request) = self.requests.try_recv()
            {
                self.on_request(request);
            }
        }
    }

    /// What was accepted before a request that ends a group or the node.
    pub(super) fn take_publishes(&mut self) {
        let mut published: Vec<_> = std::iter::from_fn(|| self.publish.try_recv().ok()).collect();
        self.on_publish(&mut published);
    }

    pub(super) fn on_publish(&mut self, published: &mut Vec<PublishRequest>) {
        self.tell_wall_time();
        // They come at once: neither the clock nor what is due is looked at for each.
        let now = self.now();
        for request in published.drain(..) {
            let PublishRequest { group, lane, ttl_secs, draft, ticket } = request;
            self.input_at(now, Input::Command(Command::Publish { group, lane, ttl_secs, draft, ticket }));
        }
    }

    pub(super) fn on_transport(&mut self, event: TransportEvent) {
        match event {
            TransportEvent::Listening { address } => {
                tracing::debug!(%address, "listening");
                self.listening.push(address);
                self.on_listening();
            }
            TransportEvent::ListeningEnded { address } => {
                self.listening.retain(|known| *known != address);
                self.on_listening();
            }
            TransportEvent::LinkUp { link, peer, dialed, path } => self.on_link_up(link, peer, dialed, path),
            TransportEvent::LinkDown { link, peer, cause } => self.on_link_down(link, peer, &cause),
            TransportEvent::DialFailed { peer, addresses, refused, error } => {
                tracing::debug!(peer = peer.map(|peer| peer.short()), error, "dial failed");
                self.discovery.dial_failed(peer, &addresses, &error);
                if let Some(peer) = peer {
                    self.input(Input::DialFailed { peer, refused });
                }
            }
            TransportEvent::Written { link, class, bytes } => {
                self.input(Input::Written { link, class, bytes });
            }
            TransportEvent::MdnsDiscovered(list) => self.discovery.on_mdns_listed(list),
            TransportEvent::Probed { peer, rtt } => self.input(Input::Probed { peer, rtt }),
            TransportEvent::MdnsExpired(list) => self.discovery.on_mdns_expired(list),
        }
    }

    fn on_link_up(&mut self, link: LinkId, peer: PeerId, dialed: bool, path: Path) {
        if !dialed {
            self.note_source(peer, "incoming");
        }
        if self.discovery.linked(peer, dialed.then_some(&path.address)) {
            self.note_source(peer, source_name(discovery::Source::Given));
        }
        let address = Some(Address(path.address.to_vec()));
        self.links.insert(link, LinkEntry { peer, path });
        self.input(Input::LinkUp { link, peer, dialed, address });
    }

    fn on_link_down(&mut self, link: LinkId, peer: PeerId, cause: &Cause) {
        // What came before the end counts: talk, and what is taken in already.
        let mut before = Vec::with_capacity(INBOUND_DATA);
        before.extend(std::iter::from_fn(|| self.control.try_recv().ok()).take(INBOUND_CONTROL));
        before.extend(std::iter::from_fn(|| self.data.try_recv().ok()).take(INBOUND_DATA));
        self.on_frames(&mut before);
        tracing::debug!(peer = %peer.short(), ?cause, "link down");
        self.links.remove(&link);
        if !self.links.values().any(|other| other.peer == peer) {
            self.discovery.unlinked(peer);
        }
        let cause = match cause {
            Cause::Ours => LinkEnd::Closed,
            Cause::Closed | Cause::Reset => LinkEnd::Reset,
            Cause::TimedOut | Cause::Silent | Cause::Protocol(_) | Cause::QueueFull | Cause::Failed(_) => {
                LinkEnd::Silent
            }
        };
        self.input(Input::LinkDown { link, cause });
    }

    fn on_listening(&mut self) {
        let port = |quic: bool| {
            let ports = self.listening.iter().filter_map(|address| port_of(address, quic));
            ports.max().unwrap_or(0)
        };
        self.discovery.listening(Ports { tcp: port(false), quic: port(true) });
        let mut addresses: Vec<&Multiaddr> = self.listening.iter().collect();
        // Loopback last: it helps only nodes on this host.
        addresses.sort_by_key(|address| (is_loopback(address), port_of(address, true).is_some()));
        let addresses = addresses.iter().map(|address| Address(address.to_vec())).collect();
        self.input(Input::Listening(addresses));
    }

    pub(super) fn on_store(&mut self, done: Done) {
        match done {
            Done::Persisted(token) => self.input(Input::Persisted(token)),
            Done::Failed(token, error) => self.input(Input::PersistFailed(token, error.to_string())),
            Done::Fetched(token, answer) => self.input(Input::Fetched(token, answer)),
        }
    }

    pub(super) fn on_discovery(&mut self, event: discovery::Event) {
        match event {
            discovery::Event::Found { peer: Some(peer), addresses, source } => {
                self.note_source(peer, source_name(source));
                let addresses = addresses.iter().map(|address| Address(address.to_vec())).collect();
                self.input(Input::Found { peer, addresses });
            }
            discovery::Event::Found { peer: None, addresses, .. } => self.transport.dial(None, addresses),
            discovery::Event::Cloned { peer, .. } if peer == self.me => {
                self.tell(NodeEvent::Cloned { advice: CLONED_ADVICE.to_owned(), proven: false });
            }
            discovery::Event::Cloned { peer, .. } => {
                tracing::warn!(peer = %peer.short(), "two nodes use one identity");
            }
            // The link says so as well, signed and in order.
            discovery::Event::Goodbye { peer } => tracing::debug!(peer = %peer.short(), "goodbye"),
        }
    }

    /// Remembers how a peer was found, of as many as may be known at once.
    fn note_source(&mut self, peer: PeerId, source: &'static str) {
        if self.found_by.len() >= KNOWN_PEERS_MAX && !self.found_by.contains_key(&peer) {
            let linked: BTreeSet<PeerId> = self.links.values().map(|link| link.peer).collect();
            self.found_by.retain(|peer, _| linked.contains(peer));
        }
        self.found_by.entry(peer).or_default().insert(source);
    }
}

fn source_name(source: discovery::Source) -> &'static str {
    match source {
        discovery::Source::Given => "given",
        discovery::Source::Beacon => "beacon",
        discovery::Source::Mdns => "mdns",
        discovery::Source::Cache => "cache",
    }
}

fn port_of(address: &Multiaddr, quic: bool) -> Option<u16> {
    address.iter().find_map(|part| match part {
        Protocol::Tcp(port) if !quic => Some(port),
        Protocol::Udp(port) if quic && is_quic(address) => Some(port),
        _ => None,
    })
}
