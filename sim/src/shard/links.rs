//! Connections and what travels on them: dials, frames, closing; and probes.

use core::time::Duration;

use djembe_protocol::error::Reject;
use djembe_protocol::id::{LinkId, PeerId};
use djembe_protocol::io::{Input, LinkEnd};
use djembe_protocol::time::Timestamp;
use djembe_protocol::wire::frame::{
    CheckedFrame, Class, Encoded, Frame, check, check_frame, talk_signatures,
};

use super::events::Answer;
use super::{Happening, Shard, To};
use crate::meter::Arrival;
use crate::topology::{NodeIx, Topology, mix};
use crate::wire::{Carry, Content, End, Hop, Parcel};

/// A dial into nothing is given up after this.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// So is a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// What the other side is to hear of a connection is told again after so long where the way is cut.
const TELL_AGAIN: Duration = Duration::from_millis(500);
/// The kind of a frame with an envelope.
const DATA: u8 = 13;
/// So much of an envelope tells it from all others: its author, number and salt are in it.
const ENVELOPE_HEAD: usize = 192;

/// What bytes are counted as.
#[derive(Clone, Copy)]
pub(super) struct Label {
    pub(super) kind: u8,
    pub(super) hop: Option<Hop>,
}

impl Label {
    /// Something without an envelope.
    pub(super) fn of(kind: u8) -> Self {
        Self { kind, hop: None }
    }
}

impl Shard {
    /// Something travels from a node to another. Returns when it arrives if nothing goes before it.
    fn travel(&mut self, topology: &Topology, from: usize, to: NodeIx) -> Timestamp {
        let now = self.now();
        let host = &mut self.hosts[from];
        now + topology.passage(&mut host.net_rng, host.ix, to).takes
    }

    /// Sends another node word that nothing goes before.
    fn tell(&mut self, topology: &Topology, from: usize, to: NodeIx, what: To) {
        let at = self.travel(topology, from, to);
        self.schedule(topology, from, at, Happening { node: to, run: None, what });
    }

    // Dials.

    pub(super) fn connect(&mut self, topology: &Topology, local: usize, to: Option<NodeIx>, peer: PeerId) {
        let now = self.now();
        let host = &mut self.hosts[local];
        host.n_dials += 1;
        let from = host.ix;
        let link = LinkId((from as u64 + 1) << 32 | u64::from(host.n_dials));
        host.dialing.insert(link, (peer, Box::new(End::new(to.unwrap_or(from)))));
        self.schedule_own(topology, local, now + DIAL_TIMEOUT, To::DialTimeout { link });
        if let Some(to) = to {
            self.tell(topology, local, to, To::Dialed { from, link, peer });
        }
    }

    pub(super) fn on_dialed(
        &mut self,
        topology: &Topology,
        local: usize,
        from: NodeIx,
        link: LinkId,
        peer: PeerId,
    ) {
        let host = &self.hosts[local];
        let has_dialled = host.dialing.values().any(|(_, end)| end.other == from);
        if !topology.reaches(from, host.ix) || !topology.admits(from, host.ix, has_dialled) || host.is_off {
            return;
        }
        let answer = match &host.engine {
            None => Answer::Refused,
            Some(_) if host.peer != peer => Answer::Other,
            Some(_) => Answer::Accepted,
        };
        if answer == Answer::Accepted {
            self.tally.n_connections += 1;
            self.hosts[local].links.insert(link, Box::new(End::new(from)));
            self.link_up(topology, local, link, false);
        }
        self.tell(topology, local, from, To::Answered { link, answer });
    }

    pub(super) fn on_accepted(&mut self, topology: &Topology, local: usize, link: LinkId) {
        let host = &mut self.hosts[local];
        if host.dialing.get(&link).is_none_or(|(_, end)| !topology.reaches(end.other, host.ix)) {
            return;
        }
        let Some((_, end)) = host.dialing.remove(&link) else { return };
        host.links.insert(link, end);
        self.link_up(topology, local, link, true);
        // What came before the dialler knew that its connection stands.
        for class in Class::ALL {
            self.drain(topology, local, link, class);
        }
    }

    fn link_up(&mut self, topology: &Topology, local: usize, link: LinkId, dialed: bool) {
        let Some(other) = self.hosts[local].links.get(&link).map(|end| end.other) else { return };
        let (peer, address) = (topology.peers[other], Some(topology.address(other)));
        self.input(topology, local, Input::LinkUp { link, peer, dialed, address });
    }

    pub(super) fn on_dial_failed(&mut self, topology: &Topology, local: usize, link: LinkId, refused: bool) {
        let host = &mut self.hosts[local];
        let Some((peer, end)) = host.dialing.remove(&link) else { return };
        if end.other != host.ix {
            // The other side may have accepted all the same.
            self.tell(topology, local, end.other, To::PeerClosed { link });
        }
        self.input(topology, local, Input::DialFailed { peer, refused });
    }

    // Probes: a round trip without a connection.

    pub(super) fn probe(&mut self, topology: &Topology, local: usize, peer: PeerId, to: Option<NodeIx>) {
        let now = self.now();
        let host = &mut self.hosts[local];
        host.probing.insert(peer);
        let from = host.ix;
        self.schedule_own(topology, local, now + PROBE_TIMEOUT, To::ProbeTimeout { peer });
        if let Some(to) = to {
            self.tell(topology, local, to, To::ProbeAsked { from, since: now });
        }
    }

    pub(super) fn on_probe_asked(
        &mut self,
        topology: &Topology,
        local: usize,
        from: NodeIx,
        since: Timestamp,
    ) {
        let host = &self.hosts[local];
        if topology.reaches(from, host.ix) && host.engine.is_some() && !host.is_off {
            let by = host.ix;
            self.tell(topology, local, from, To::Probed { by, since });
        }
    }

    pub(super) fn on_probed(&mut self, topology: &Topology, local: usize, by: NodeIx, since: Timestamp) {
        let peer = topology.peers[by];
        let rtt = Some(self.now() - since);
        if topology.reaches(by, self.hosts[local].ix) && self.hosts[local].probing.remove(&peer) {
            self.input(topology, local, Input::Probed { peer, rtt });
        }
    }

    // Closing.

    /// A node wants an end closed: it hears of it at once, the other side after everything that was sent.
    pub(super) fn disconnect(&mut self, topology: &Topology, local: usize, link: LinkId) {
        if self.close(topology, local, link) {
            let now = self.now();
            self.schedule_own(topology, local, now, To::Closed { link });
        }
    }

    /// Tells the other side that an end is closed. False if there is no such end.
    pub(crate) fn close(&mut self, topology: &Topology, local: usize, link: LinkId) -> bool {
        let Some(end) = self.hosts[local].links.get(&link) else { return false };
        let (other, last) = (end.other, end.last_arrival());
        let at = self.travel(topology, local, other).max(last);
        let what = To::PeerClosed { link };
        self.schedule(topology, local, at, Happening { node: other, run: None, what });
        true
    }

    pub(super) fn on_peer_closed(&mut self, topology: &Topology, local: usize, link: LinkId) {
        let host = &mut self.hosts[local];
        let Some(end) = host.links.get(&link) else {
            // It was accepted and closed before this side knew.
            if host.dialing.contains_key(&link) {
                self.on_dial_failed(topology, local, link, false);
            }
            return;
        };
        if !topology.reaches(end.other, host.ix) {
            // It comes when the network heals; until then the link only falls silent.
            let at = self.now() + TELL_AGAIN;
            self.schedule_own(topology, local, at, To::PeerClosed { link });
            return;
        }
        self.hosts[local].links.remove(&link);
        self.input(topology, local, Input::LinkDown { link, cause: LinkEnd::Reset });
    }

    // Frames.

    pub(crate) fn send(
        &mut self,
        topology: &Topology,
        local: usize,
        link: LinkId,
        class: Class,
        frame: Frame,
    ) {
        let encoded = frame.encode();
        let hop = match &frame {
            Frame::Data { envelope, .. } => {
                let envelope = mix(hash_on(0, envelope, ENVELOPE_HEAD));
                Some(Hop { envelope, n: self.hosts[local].hops_of(envelope).saturating_add(1) })
            }
            _ => None,
        };
        let is_whole = self.rules.carry == Carry::Frames && !topology.places[self.hosts[local].ix].is_hostile;
        self.send_bytes(
            topology,
            local,
            link,
            class,
            Label { kind: frame.kind(), hop },
            encoded,
            is_whole.then_some(Content::Frame(frame)),
        );
    }

    /// The same of bytes that may be no frame. `content`, if it is given, is what arrives in their place.
    #[expect(clippy::too_many_arguments, reason = "who sends what on which link, counted as what")]
    pub(super) fn send_bytes(
        &mut self,
        topology: &Topology,
        local: usize,
        link: LinkId,
        class: Class,
        Label { kind, hop }: Label,
        encoded: Encoded,
        content: Option<Content>,
    ) {
        let now = self.now();
        let host = &mut self.hosts[local];
        let Some(end) = host.links.get_mut(&link) else { return };
        let (whole, to) = (u32::try_from(encoded.len()).unwrap_or(u32::MAX), end.other);
        let (packed, charge) = end.pack(now, class, encoded);
        // The engine is told what was written of its own frames; a baseline does not care.
        let is_frame = !matches!(content, Some(Content::Packet(_)));
        let written = if is_frame { end.on_sent(class, whole) } else { 0 };
        if written > 0 {
            self.written.push((link, class, written));
        }
        let mut departs = now;
        let uplink = topology.bandwidth(host.ix).0;
        if let Some(takes) = transfer_time(charge.bytes, uplink) {
            departs = host.uplink_free.max(now) + takes;
            host.uplink_free = departs;
        }
        let way = topology.way(host.ix, to);
        let more_loss = way.burst.map_or(0.0, |burst| end.weather(now, &mut host.net_rng, &burst));
        let distance = topology.distance_by(&way, host.ix, to);
        let mut travels = Duration::ZERO;
        let (mut n_again, mut n_twice) = (0, 0);
        for _ in 0..charge.packets.max(1) {
            // The frame is whole when its last packet is there.
            let passage = way.passage(&mut host.net_rng, distance, more_loss);
            travels = travels.max(passage.takes);
            n_again += passage.n_lost as usize;
            n_twice += usize::from(host.net_rng.chance(way.duplicate));
        }
        // Of a packet that it shares with frames before it, its own part: they draw for theirs.
        let each = charge.bytes / charge.packets.max(1);
        if let Some(takes) = transfer_time(n_again * each, uplink) {
            host.uplink_free = host.uplink_free + takes;
        }
        let kind = self.tally.frames.entry(kind).or_default();
        kind.frames += 1;
        kind.bytes += charge.len as u64;
        let bytes = charge.bytes + (n_again + n_twice) * each;
        kind.wire_bytes += bytes as u64;
        self.tally.bytes += bytes as u64;
        host.meter.sent += bytes as u64;
        self.tally.packets += (charge.packets + (n_again + n_twice) * charge.packets.min(1)) as u64;
        self.tally.packets_again += (n_again * charge.packets.min(1)) as u64;
        let at = end.queue(departs + travels, class);
        if host.net_rng.chance(way.corrupt) {
            // The receiver's cipher finds it out, and ends the connection.
            let what = To::Spoilt { link };
            return self.schedule(topology, local, at, Happening { node: to, run: None, what });
        }
        let charged = u32::try_from(charge.bytes + n_twice * each).unwrap_or(u32::MAX);
        let print = print_of(&packed);
        let content = content.unwrap_or(Content::Bytes(packed));
        let parcel = Box::new(Parcel { class, whole, charged, print, hop, content });
        let what = To::Arrived { link, parcel };
        self.schedule(topology, local, at, Happening { node: to, run: None, what });
    }

    /// A frame that is not what was sent: its receiver ends the connection at once.
    pub(super) fn on_spoilt(&mut self, topology: &Topology, local: usize, link: LinkId) {
        if self.close(topology, local, link) {
            self.hosts[local].links.remove(&link);
            self.input(topology, local, Input::LinkDown { link, cause: LinkEnd::Reset });
        }
    }

    /// A frame comes in by the node's line, after those that came before it.
    pub(super) fn on_arrived(
        &mut self,
        topology: &Topology,
        local: usize,
        link: LinkId,
        parcel: Box<Parcel>,
    ) {
        let now = self.now();
        let host = &mut self.hosts[local];
        host.meter.received += u64::from(parcel.charged);
        let Some(takes) = transfer_time(parcel.charged as usize, topology.bandwidth(host.ix).1) else {
            return self.on_came(topology, local, link, parcel);
        };
        let at = host.downlink_free.max(now) + takes;
        host.downlink_free = at;
        self.schedule_own(topology, local, at, To::Came { link, parcel });
    }

    pub(super) fn on_came(&mut self, topology: &Topology, local: usize, link: LinkId, parcel: Box<Parcel>) {
        let host = &mut self.hosts[local];
        if let Some((_, end)) = host.dialing.get_mut(&link) {
            return end.keep(parcel);
        }
        let is_read = host.reads(parcel.class);
        let Some(end) = host.links.get_mut(&link) else { return };
        if !is_read || end.has_waiting(parcel.class) || !topology.reaches(end.other, host.ix) {
            return end.keep(parcel);
        }
        self.read(topology, local, link, *parcel);
    }

    /// Reads what waits on a stream, for as long as that is possible.
    pub(crate) fn drain(&mut self, topology: &Topology, local: usize, link: LinkId, class: Class) {
        loop {
            let host = &mut self.hosts[local];
            let is_read = host.reads(class);
            let Some(end) = host.links.get_mut(&link) else { return };
            if !is_read || !topology.reaches(end.other, host.ix) {
                return;
            }
            let Some(parcel) = end.next_waiting(class) else { return };
            self.read(topology, local, link, *parcel);
        }
    }

    fn read(&mut self, topology: &Topology, local: usize, link: LinkId, parcel: Parcel) {
        let Parcel { class, whole, print, hop, content, .. } = parcel;
        let at = self.key.at;
        let host = &mut self.hosts[local];
        host.note(print);
        let Some(sender) = host.links.get(&link).map(|end| end.other) else { return };
        if let Some(hop) = hop.filter(|_| !topology.places[host.ix].is_hostile)
            && host.note_hop(hop)
        {
            self.tally.last_hop_max = self.tally.last_hop_max.max(hop.n);
            let deepest = self.tally.hops.len() - 1;
            self.tally.hops[usize::from(hop.n).min(deepest)] += 1;
            if self.rules.paths {
                host.meter.arrived(Arrival { at, from: sender, hop });
            }
        }
        let Some(end) = host.links.get_mut(&link) else { return };
        let content = match content {
            Content::Packet(packet) => return self.hear(topology, local, sender, packet),
            content => content,
        };
        if let Some(bytes) = end.read(class, whole) {
            self.tell(topology, local, sender, To::Read { link, class, bytes });
        }
        let host = &mut self.hosts[local];
        let is_strain = topology.places[sender].is_hostile && !topology.places[host.ix].is_hostile;
        let before = if is_strain { self.checks_of(local) } else { 0 };
        let Some((checked, checks)) = self.check(topology, local, link, class, content) else { return };
        let bytes = whole as usize;
        let input = match checked {
            Ok(frame) => {
                if let Some(id) = frame.verified() {
                    self.hosts[local].mark_seen(id);
                }
                Input::Frame { link, class, bytes, frame }
            }
            Err(reject) => Input::Rejected { link, class, bytes, reject },
        };
        self.input(topology, local, input);
        if is_strain {
            let checks = checks + self.checks_of(local).saturating_sub(before);
            self.on_strained(bytes, checks);
        }
    }

    /// What a node makes of what came, and how many signatures it checks for that. Nothing if an attacker keeps it from
    /// its engine.
    fn check(
        &mut self,
        topology: &Topology,
        local: usize,
        link: LinkId,
        class: Class,
        content: Content,
    ) -> Option<(Result<CheckedFrame, Reject>, u64)> {
        let is_hostile = topology.places[self.hosts[local].ix].is_hostile;
        match content {
            Content::Frame(frame) => {
                self.tally.n_copies += u64::from(frame.kind() == DATA);
                if is_hostile && !self.villain_hears(topology, local, link, &frame) {
                    return None;
                }
                let host = &self.hosts[local];
                Some((check_frame(frame, |id| host.has_seen(id)), 0))
            }
            // It was taken out on its way here.
            Content::Packet(_) => None,
            Content::Bytes(frame) => {
                self.tally.n_copies += u64::from(frame.head.get(4) == Some(&DATA));
                let end = self.hosts[local].links.get_mut(&link)?;
                let expanded = end.expander(class).expand(&frame.concat());
                if is_hostile
                    && let Ok(bytes) = &expanded
                    && let Ok(Some(frame)) = Frame::decode(bytes.as_bytes().clone())
                    && !self.villain_hears(topology, local, link, &frame)
                {
                    return None;
                }
                let mut checks =
                    expanded.as_ref().map_or(0, |frame| talk_signatures(frame.as_bytes()) as u64);
                let host = &self.hosts[local];
                let checked = expanded.map_err(Reject::Elided).and_then(|frame| {
                    check(frame, |id| {
                        let is_seen = host.has_seen(id);
                        checks += u64::from(!is_seen);
                        is_seen
                    })
                });
                Some((checked, checks))
            }
        }
    }

    pub(super) fn on_read(
        &mut self,
        topology: &Topology,
        local: usize,
        link: LinkId,
        class: Class,
        bytes: u32,
    ) {
        let host = &mut self.hosts[local];
        let Some(end) = host.links.get_mut(&link) else { return };
        if !topology.reaches(end.other, host.ix) {
            // Where the way back is cut a sender hears of nothing that was read.
            let at = self.now() + TELL_AGAIN;
            return self.schedule_own(topology, local, at, To::Read { link, class, bytes });
        }
        let written = end.on_read(class, bytes) as usize;
        if written > 0 {
            self.input(topology, local, Input::Written { link, class, bytes: written });
        }
    }
}

/// How long so many bytes take at so many bits a second; nothing if there is no limit.
pub(super) fn transfer_time(bytes: usize, bandwidth: u64) -> Option<Duration> {
    (bytes as u64 * 8 * 1_000_000).checked_div(bandwidth).map(Duration::from_micros)
}

/// A hash over the beginning of what travels: envelopes begin with what tells them apart.
fn print_of(frame: &Encoded) -> u64 {
    const MOST: usize = 320;
    let print = frame.len() as u64;
    mix([&frame.head, &frame.body].iter().fold(print, |print, part| hash_on(print, part, MOST)))
}

fn hash_on(mut print: u64, bytes: &[u8], most: usize) -> u64 {
    for chunk in bytes[..bytes.len().min(most)].chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        print = (print ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
    print
}
