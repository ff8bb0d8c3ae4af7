//! Baselines beside engines: they learn of the engine's links, and send and hear their own packets on them.

use core::time::Duration;
use std::collections::BTreeSet;

use djembe_protocol::id::{LinkId, PeerId};
use djembe_protocol::time::Timestamp;

use super::{Label, Note, Shard, To, Told};
use crate::baseline::{Baseline, Carried, In, Message, Out, Packet};
use crate::topology::{NodeIx, Topology, mix};
use crate::wire::{Content, Hop};

/// How often it is looked which links the engine keeps, beside when one comes or goes: it decides that by itself.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A node's baseline.
pub(crate) struct Carrier {
    machine: Box<dyn Baseline>,
    neighbours: BTreeSet<NodeIx>,
    /// When it is woken next.
    timer: Option<Timestamp>,
}

impl Shard {
    /// A node that was just started spreads messages by this.
    pub(crate) fn carry(&mut self, topology: &Topology, local: usize, machine: Box<dyn Baseline>) {
        self.hosts[local].carrier = Some(Carrier { machine, neighbours: BTreeSet::new(), timer: None });
        self.on_look(topology, local);
    }

    /// A node publishes by its baseline.
    pub(crate) fn carry_message(&mut self, topology: &Topology, local: usize, message: Message) {
        self.tell_carrier(topology, local, In::Publish(message));
    }

    pub(super) fn on_look(&mut self, topology: &Topology, local: usize) {
        self.look(topology, local);
        let at = self.now() + LOOK_EVERY;
        self.schedule_own(topology, local, at, To::Look);
    }

    /// Tells the baseline which links have come and gone. One counts while its engine lists it.
    pub(super) fn look(&mut self, topology: &Topology, local: usize) {
        let host = &mut self.hosts[local];
        let (Some(carrier), Some(engine), false) = (&mut host.carrier, &host.engine, host.is_paused) else {
            return;
        };
        let kept: BTreeSet<PeerId> = engine.overlay().links.into_iter().map(|(peer, ..)| peer).collect();
        let others = host.links.values().map(|end| end.other);
        let present: BTreeSet<NodeIx> =
            others.filter(|other| kept.contains(&topology.peers[*other])).collect();
        if present == carrier.neighbours {
            return;
        }
        let before = std::mem::replace(&mut carrier.neighbours, present.clone());
        for gone in before.difference(&present) {
            self.tell_carrier(topology, local, In::Down(*gone));
        }
        for new in present.difference(&before) {
            self.tell_carrier(topology, local, In::Up(*new));
        }
    }

    /// A packet has come.
    pub(super) fn hear(&mut self, topology: &Topology, local: usize, from: NodeIx, packet: Packet) {
        self.tally.n_copies += u64::from(matches!(packet, Packet::Payload(..)));
        self.tell_carrier(topology, local, In::Packet(from, packet));
    }

    /// The baseline's deadline has come.
    pub(super) fn on_tick(&mut self, topology: &Topology, local: usize) {
        let now = self.now();
        let host = &mut self.hosts[local];
        let Some(carrier) = &mut host.carrier else { return };
        if carrier.timer != Some(now) {
            return;
        }
        carrier.timer = None;
        if host.is_paused {
            // It finds out how late it is when it goes on.
            let at = now + LOOK_EVERY;
            carrier.timer = Some(at);
            self.schedule_own(topology, local, at, To::Tick);
        } else {
            self.tell_carrier(topology, local, In::Timeout);
        }
    }

    /// Gives an input to a node's baseline and does what it wants.
    fn tell_carrier(&mut self, topology: &Topology, local: usize, input: In) {
        let now = self.now();
        let mut wanted = Vec::new();
        let Some(carrier) = &mut self.hosts[local].carrier else { return };
        carrier.machine.handle(now, input, &mut wanted);
        for out in wanted {
            match out {
                Out::Send(to, packet) => self.send_packet(topology, local, to, packet),
                Out::Deliver(message) => self.on_carried(local, &message),
            }
        }
        self.set_tick(topology, local);
    }

    fn set_tick(&mut self, topology: &Topology, local: usize) {
        let now = self.now();
        let Some(carrier) = &mut self.hosts[local].carrier else { return };
        let Some(wanted) = carrier.machine.next_deadline().map(|at| at.max(now)) else { return };
        if carrier.timer.is_none_or(|at| wanted < at) {
            carrier.timer = Some(wanted);
            self.schedule_own(topology, local, wanted, To::Tick);
        }
    }

    /// Sends a packet, if there is still a connection. Of two to one node it takes the one of the lower number: which of
    /// them the engine will close is not known here, and what is on its way on that one then is lost.
    fn send_packet(&mut self, topology: &Topology, local: usize, to: NodeIx, packet: Packet) {
        let host = &self.hosts[local];
        let Some(carrier) = &host.carrier else { return };
        let ends = host.links.iter().filter(|(_, end)| end.other == to);
        let Some(link) = ends.map(|(link, _)| *link).min_by_key(|link: &LinkId| link.0) else { return };
        let encoded = packet.encode(carrier.machine.header_len(&packet));
        let (class, kind) = (packet.class(), packet.kind());
        let hop = match &packet {
            Packet::Payload(message, _) => {
                let envelope = mix(u64::from(message.number));
                Some(Hop { envelope, n: host.hops_of(envelope).saturating_add(1) })
            }
            _ => None,
        };
        self.send_bytes(
            topology,
            local,
            link,
            class,
            Label { kind, hop },
            encoded,
            Some(Content::Packet(packet)),
        );
    }

    fn on_carried(&mut self, local: usize, message: &Message) {
        let Message { number, author, envelope } = message;
        let host = &mut self.hosts[local];
        host.note(mix(u64::from(*number)));
        let carried = Carried { number: *number, author: *author, sealed: envelope.len() };
        self.notes.push(Note { key: self.key, node: host.ix, told: Told::Carried(carried) });
    }
}
