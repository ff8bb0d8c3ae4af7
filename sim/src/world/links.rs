//! Connections and what travels on them: dials, frames, closing.

use core::time::Duration;
use std::collections::BTreeMap;

use djembe_protocol::crypto::{self, CheckedEnvelope};
use djembe_protocol::error::Reject;
use djembe_protocol::id::{EnvelopeId, LinkId, PeerId};
use djembe_protocol::io::{Input, LinkEnd};
use djembe_protocol::wire::envelope::Envelope;
use djembe_protocol::wire::frame::{Class, Encoded, Frame, check_with, talk_signatures};

use super::events::Happening;
use super::{World, source};
use crate::network::{NodeIx, Side};

/// A dial into nothing is given up after this.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// So is a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

impl World {
    pub(super) fn dial(&mut self, from: NodeIx, run: u64, to: Option<NodeIx>, peer: PeerId) {
        if !self.is_run(from, run) {
            return;
        }
        let now = self.now();
        let (at, refused) = match to {
            Some(to) if self.network.reaches(from, to) && !self.hosts[to].is_off => {
                let back = self.network.latency(to, from);
                if self.hosts[to].engine.is_some() && self.hosts[to].peer == peer {
                    let link = self.network.connect(from, to);
                    self.n_connections += 1;
                    self.open(link, 1);
                    self.calendar.schedule(now + back, source(to), Happening::DialOpen { link });
                    return;
                }
                (now + back, self.hosts[to].engine.is_none())
            }
            _ => (now + DIAL_TIMEOUT, false),
        };
        let happening = Happening::DialFailed { node: from, run, peer, refused };
        self.calendar.schedule(at, source(from), happening);
    }

    /// A round trip without a connection.
    pub(super) fn probe(&mut self, node: NodeIx, run: u64, peer: PeerId, to: Option<NodeIx>) {
        let answers = to.filter(|to| {
            self.network.reaches(node, *to) && self.hosts[*to].engine.is_some() && !self.hosts[*to].is_off
        });
        let rtt = answers.map(|to| self.network.latency(node, to) + self.network.latency(to, node));
        let at = self.now() + rtt.unwrap_or(PROBE_TIMEOUT);
        self.calendar.schedule(at, source(node), Happening::Probed { node, run, peer, rtt });
    }

    /// An end of a new connection is told to its node.
    pub(super) fn open(&mut self, link: LinkId, side: Side) {
        let (Some(node), Some(other)) =
            (self.network.node_at(link, side), self.network.node_at(link, 1 - side))
        else {
            return;
        };
        if self.hosts[node].engine.is_none() || !self.network.is_open(link, side) {
            return;
        }
        self.hosts[node].links.insert(link);
        let peer = self.hosts[other].peer;
        let address = Some(self.address(other));
        self.input(node, Input::LinkUp { link, peer, dialed: side == 0, address });
        // What came before the dialler knew that its connection stands.
        self.let_go_of(link);
    }

    fn let_go_of(&mut self, link: LinkId) {
        let now = self.now();
        for (from, class) in self.network.waiting_on(now, link) {
            self.calendar.schedule(now, source(0), Happening::Arrive { link, from, class });
        }
    }

    pub(super) fn peer_closed(&mut self, link: LinkId, side: Side) {
        let Some(node) = self.network.node_at(link, side) else {
            return;
        };
        let other = self.network.node_at(link, 1 - side).unwrap_or(node);
        if !self.network.reaches(node, other) {
            // It comes when the network heals; until then the link only falls silent.
            let at = self.now() + Duration::from_millis(500);
            self.calendar.schedule(at, source(node), Happening::PeerClosed { link, side });
            return;
        }
        self.network.close(self.now(), link, side);
        if self.hosts[node].links.remove(&link) {
            let cause = LinkEnd::Reset;
            self.input(node, Input::LinkDown { link, cause });
        }
    }

    pub(super) fn send(&mut self, node: NodeIx, link: LinkId, class: Class, frame: &Frame) {
        self.send_bytes(node, link, class, frame.kind(), &frame.encode());
    }

    /// The same of bytes that may be no frame; `kind` is what they are counted as.
    pub(super) fn send_bytes(&mut self, node: NodeIx, link: LinkId, class: Class, kind: u8, bytes: &Encoded) {
        let Some(from) = self.network.side(link, node) else {
            return;
        };
        let sent = self.network.send(self.calendar.now(), link, from, class, bytes);
        if let Some((at, len)) = sent {
            let kind = self.frames.entry(kind).or_default();
            *kind = (kind.0 + 1, kind.1 + len as u64);
            self.calendar.schedule(at, source(node), Happening::Arrive { link, from, class });
        }
    }

    /// Has a node say something on all its links that its engine would not: the node is hostile.
    pub fn inject(&mut self, node: NodeIx, class: Class, frame: &Frame) {
        for link in self.hosts[node].links.clone() {
            self.send(node, link, class, frame);
        }
    }

    pub(super) fn arrive(&mut self, link: LinkId, from: Side, class: Class) {
        let (Some(sender), Some(node)) =
            (self.network.node_at(link, from), self.network.node_at(link, 1 - from))
        else {
            return;
        };
        if !self.hosts[node].reads(class) || !self.hosts[node].links.contains(&link) {
            return;
        }
        let Some(packet) = self.network.receive(self.calendar.now(), link, from, class) else {
            return;
        };
        self.trace.update(&packet.frame.head);
        self.trace.update(&packet.frame.body[..packet.frame.body.len().min(320)]);
        let bytes = packet.whole;
        let Some(expanded) = self.network.expand(link, from, class, &packet) else {
            return;
        };
        if self.is_hostile(node)
            && let Ok(frame) = &expanded
            && let Ok(Some(frame)) = Frame::decode(frame.as_bytes().clone())
            && !self.villain_hears(node, link, &frame)
        {
            return self.written(sender, link, class, bytes);
        }
        let is_strain = self.is_hostile(sender) && !self.is_hostile(node);
        let before = if is_strain { self.checks_of(node) } else { 0 };
        let (verdicts, host) = (&mut self.verdicts, &self.hosts[node]);
        let mut checks = expanded.as_ref().map_or(0, |frame| talk_signatures(frame.as_bytes()) as u64);
        let checked = expanded.map_err(Reject::Elided).and_then(|frame| {
            let verify = |envelope| {
                checks += 1;
                remember(verdicts, envelope)
            };
            check_with(frame, |id| host.has_seen(id), verify)
        });
        self.ledger.on_arrival(node, &packet.frame);
        let input = match checked {
            Ok(frame) => {
                if let Some(id) = frame.verified() {
                    self.hosts[node].mark_seen(id);
                }
                Input::Frame { link, class, bytes, frame }
            }
            Err(reject) => Input::Rejected { link, class, bytes, reject },
        };
        self.input(node, input);
        if is_strain {
            let checks = checks + self.checks_of(node).saturating_sub(before);
            self.on_strained(bytes, checks);
        }
        self.written(sender, link, class, bytes);
    }

    /// An acknowledgement would travel back; the writer learns of it at once, which changes nothing much.
    fn written(&mut self, sender: NodeIx, link: LinkId, class: Class, bytes: usize) {
        if self.hosts[sender].links.contains(&link) {
            self.input(sender, Input::Written { link, class, bytes });
        }
    }
}

/// The verdict on an envelope, worked out once in the whole world. Remembered are the very bytes: another copy
/// with the same id and another signature is looked at anew.
fn remember(
    verdicts: &mut BTreeMap<EnvelopeId, CheckedEnvelope>,
    envelope: Envelope,
) -> Result<CheckedEnvelope, Reject> {
    if let Some(known) = verdicts.get(&envelope.id())
        && known.as_bytes() == envelope.as_bytes()
    {
        return Ok(known.clone());
    }
    let id = envelope.id();
    let checked = crypto::check(envelope)?;
    verdicts.insert(id, checked.clone());
    Ok(checked)
}
