//! What lies between two nodes: reliable, ordered streams, one per link and class, as TCP and QUIC give them.
//!
//! A lost packet is not lost but late, by a retransmission time that doubles, and holds up what follows on its
//! stream. A partition holds everything up until it heals. Bytes count as written when they arrive, so that a
//! reader that stands still is felt by its writers, as a full socket is.
//!
//! Each stream elides the headers of envelopes, as the node's does. Charged for each frame are the bytes that are
//! left and 30 for Yamux (12) and Noise (2 of length, 16 of tag), and 70 for each
//! packet of 1400 bytes: Ethernet 18, IPv4 20, TCP with time stamps 32. Frames that leave on one link at one moment
//! share packets. Not charged: acknowledgements, which ride on the beats of the other direction or cost as much
//! again in packets of 70 bytes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use core::time::Duration;

use djembe_protocol::error::DecodeError;
use djembe_protocol::id::LinkId;
use djembe_protocol::time::Timestamp;
use djembe_protocol::wire::compress::{Compressor, Expanded, Expander};
use djembe_protocol::wire::frame::{Class, Encoded};

use crate::rng::{Purpose, Rng};

/// A node's place in the world.
pub type NodeIx = usize;

/// Bytes around a frame on a stream.
const FRAME_OVERHEAD: usize = 30;
/// Bytes around a packet.
const PACKET_OVERHEAD: usize = 70;
/// Payload of a packet.
const PACKET_PAYLOAD: usize = 1400;
/// The first retransmission time; Linux's least for TCP.
const RETRANSMIT: Duration = Duration::from_millis(200);

/// How the network behaves, everywhere alike.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    /// One way.
    pub latency: Duration,
    /// Up to this much more between two nodes, drawn once for each pair.
    pub spread: Duration,
    /// Up to this much more for each packet.
    pub jitter: Duration,
    /// And up to this share of the pair's time.
    pub jitter_share: f64,
    /// Share of packets that have to be sent again.
    pub loss: f64,
    /// Bits a second that a node can send; 0 is no limit.
    pub bandwidth: u64,
}

/// A frame on its way.
#[derive(Debug)]
pub struct Packet {
    arrives: Timestamp,
    /// What it carries, in part elided.
    pub frame: Encoded,
    /// Bytes of the whole frame.
    pub whole: usize,
}

/// Both ends of a stream's elision.
#[derive(Debug, Default)]
struct Codec {
    compressor: Compressor,
    expander: Expander,
}

/// One end of a connection.
#[derive(Debug)]
struct End {
    node: NodeIx,
    /// Frames from here to the other end, by class.
    streams: [VecDeque<Packet>; 4],
    codecs: [Codec; 4],
    last_arrival: [Timestamp; 4],
    /// When something last left, and how many bytes then.
    burst: (Timestamp, usize),
    is_open: bool,
}

/// A connection of two nodes.
#[derive(Debug)]
struct Wire {
    ends: [End; 2],
}

/// Which end of a wire: 0 dialled.
pub type Side = usize;

/// All wires and what is cut.
#[derive(Debug)]
pub struct Network {
    conditions: Conditions,
    wires: BTreeMap<LinkId, Wire>,
    n_wires: u64,
    /// Which part of the network a node is in; nodes of different parts do not reach each other.
    parts: Vec<u8>,
    /// Pairs that never reach each other, lower first.
    cuts: BTreeSet<(NodeIx, NodeIx)>,
    uplink_free: Vec<Timestamp>,
    rngs: Vec<Rng>,
    seed: u64,
    /// Bytes put on the wire, overhead included.
    pub bytes: u64,
    /// Packets put on the wire.
    pub packets: u64,
}

impl Network {
    /// A network without nodes.
    pub fn new(conditions: Conditions) -> Self {
        Self {
            conditions,
            wires: BTreeMap::new(),
            n_wires: 0,
            parts: Vec::new(),
            cuts: BTreeSet::new(),
            uplink_free: Vec::new(),
            rngs: Vec::new(),
            seed: 0,
            bytes: 0,
            packets: 0,
        }
    }

    /// One more node.
    pub fn add_node(&mut self, seed: u64) {
        self.seed = seed;
        self.rngs.push(Rng::split(seed, self.rngs.len(), 0, Purpose::Network));
        self.parts.push(0);
        self.uplink_free.push(Timestamp::ZERO);
    }

    /// Puts a node into a part of the network.
    pub fn set_part(&mut self, node: NodeIx, part: u8) {
        self.parts[node] = part;
    }

    /// Cuts two nodes from each other for good.
    pub fn cut(&mut self, a: NodeIx, b: NodeIx) {
        self.cuts.insert((a.min(b), a.max(b)));
    }

    /// Whether anything gets from one to the other.
    pub fn reaches(&self, a: NodeIx, b: NodeIx) -> bool {
        self.parts[a] == self.parts[b] && !self.cuts.contains(&(a.min(b), a.max(b)))
    }

    /// The time of one way between two nodes, without what differs from packet to packet.
    pub fn distance(&self, a: NodeIx, b: NodeIx) -> Duration {
        let spread = u64::try_from(self.conditions.spread.as_micros()).unwrap_or(u64::MAX);
        if spread == 0 {
            return self.conditions.latency;
        }
        let pair = (a.min(b) as u64) << 32 | a.max(b) as u64;
        let drawn = mix(mix(self.seed) ^ pair);
        self.conditions.latency + Duration::from_micros(drawn % spread)
    }

    /// The mean of what is added to a packet's time.
    pub fn mean_jitter(&self, distance: Duration) -> Duration {
        self.conditions.jitter / 2 + distance.mul_f64(self.conditions.jitter_share / 2.0)
    }

    /// The time of one way, as drawn for the sender.
    pub fn latency(&mut self, from: NodeIx, to: NodeIx) -> Duration {
        let conditions = self.conditions;
        let distance = self.distance(from, to);
        let rng = &mut self.rngs[from];
        let mut time = distance + rng.time_below(conditions.jitter);
        if conditions.jitter_share > 0.0 {
            time += rng.time_below(distance.mul_f64(conditions.jitter_share));
        }
        let mut wait = RETRANSMIT;
        while rng.chance(conditions.loss) {
            time += wait;
            wait *= 2;
        }
        time
    }

    /// A connection of `dialler` to `listener`; one end is open already.
    pub fn connect(&mut self, dialler: NodeIx, listener: NodeIx) -> LinkId {
        self.n_wires += 1;
        let link = LinkId(self.n_wires);
        let end = |node| End {
            node,
            streams: Default::default(),
            codecs: Default::default(),
            last_arrival: [Timestamp::ZERO; 4],
            burst: (Timestamp::ZERO, 0),
            is_open: true,
        };
        let wire = Wire { ends: [end(dialler), end(listener)] };
        self.wires.insert(link, wire);
        link
    }

    /// Which end of a wire a node is.
    pub fn side(&self, link: LinkId, node: NodeIx) -> Option<Side> {
        let wire = self.wires.get(&link)?;
        wire.ends.iter().position(|end| end.node == node)
    }

    /// The node at an end.
    pub fn node_at(&self, link: LinkId, side: Side) -> Option<NodeIx> {
        Some(self.wires.get(&link)?.ends[side].node)
    }

    /// Whether this end has not been closed.
    pub fn is_open(&self, link: LinkId, side: Side) -> bool {
        self.wires.get(&link).is_some_and(|wire| wire.ends[side].is_open)
    }

    /// Sends a frame. Returns when it arrives, if nothing holds it up, and how many bytes of it travel.
    pub fn send(
        &mut self,
        now: Timestamp,
        link: LinkId,
        from: Side,
        class: Class,
        frame: &Encoded,
    ) -> Option<(Timestamp, usize)> {
        let wire = self.wires.get_mut(&link)?;
        let to = wire.ends.get(1 - from)?.node;
        let end = wire.ends.get_mut(from)?;
        if !end.is_open {
            return None;
        }
        let node = end.node;
        let whole = frame.len();
        let frame = elide(&mut end.codecs[class as usize].compressor, frame);
        let len = frame.len();
        let (charge, packets) = end.charge(now, len);
        self.bytes += charge as u64;
        self.packets += packets as u64;
        let mut departs = now;
        let micros = charge as u64 * 8 * 1_000_000;
        if let Some(micros) = micros.checked_div(self.conditions.bandwidth) {
            departs = self.uplink_free[node].max(now) + Duration::from_micros(micros);
            self.uplink_free[node] = departs;
        }
        let mut travels = self.latency(node, to);
        for _ in 1..packets {
            // The frame is whole when its last packet is there.
            travels = travels.max(self.latency(node, to));
        }
        let end = &mut self.wires.get_mut(&link)?.ends[from];
        let last = &mut end.last_arrival[class as usize];
        *last = (departs + travels).max(*last);
        let arrives = *last;
        end.streams[class as usize].push_back(Packet { arrives, frame, whole });
        Some((arrives, len))
    }

    /// Takes the next frame of a stream that has arrived, unless something holds it up.
    pub fn receive(&mut self, now: Timestamp, link: LinkId, from: Side, class: Class) -> Option<Packet> {
        let wire = self.wires.get(&link)?;
        if !self.reaches(wire.ends[0].node, wire.ends[1].node) {
            return None;
        }
        let stream = &mut self.wires.get_mut(&link)?.ends[from].streams[class as usize];
        if stream.front()?.arrives > now {
            return None;
        }
        stream.pop_front()
    }

    /// What a packet taken from a stream means to its receiver.
    pub fn expand(
        &mut self,
        link: LinkId,
        from: Side,
        class: Class,
        packet: &Packet,
    ) -> Option<Result<Expanded, DecodeError>> {
        let end = &mut self.wires.get_mut(&link)?.ends[from];
        Some(end.codecs[class as usize].expander.expand(&packet.frame.concat()))
    }

    /// Changes a byte behind the kind of the first frame with an envelope that is on its way on any stream of a
    /// link: no network does that to a secured stream, but a broken or hostile sender can. False if there is none.
    pub fn garble(&mut self, link: LinkId, from: Side, at: usize) -> bool {
        let Some(wire) = self.wires.get_mut(&link) else { return false };
        let mut packets = wire.ends[from].streams.iter_mut().flatten();
        let Some(packet) = packets.find(|packet| !packet.frame.body.is_empty()) else { return false };
        let mut head = packet.frame.head.to_vec();
        head[5 + at] ^= 0x40;
        packet.frame.head = head.into();
        true
    }

    /// Everything that stands still and may go on now: one entry for each frame, in order.
    pub fn waiting(&mut self, now: Timestamp) -> Vec<(LinkId, Side, Class, Timestamp)> {
        let links: Vec<LinkId> = self.wires.keys().copied().collect();
        let mut found = Vec::new();
        for link in links {
            for (side, class) in self.waiting_on(now, link) {
                let ends = &self.wires[&link].ends;
                let at = now + self.latency(ends[side].node, ends[1 - side].node);
                found.push((link, side, class, at));
            }
        }
        found
    }

    /// The same on one wire.
    pub fn waiting_on(&self, now: Timestamp, link: LinkId) -> Vec<(Side, Class)> {
        let Some(wire) = self.wires.get(&link) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        if self.parts[wire.ends[0].node] != self.parts[wire.ends[1].node] {
            return found;
        }
        for side in 0..2 {
            for class in Class::ALL {
                let stream = &wire.ends[side].streams[class as usize];
                let late = stream.iter().filter(|packet| packet.arrives <= now).count();
                found.extend((0..late).map(|_| (side, class)));
            }
        }
        found
    }

    /// Closes an end. When nobody is left at it the wire is gone. Returns when the other end may hear of it: after
    /// everything sent before.
    pub fn close(&mut self, now: Timestamp, link: LinkId, side: Side) -> Option<Timestamp> {
        let wire = self.wires.get_mut(&link)?;
        if !wire.ends[side].is_open {
            return None;
        }
        wire.ends[side].is_open = false;
        let (node, to) = (wire.ends[side].node, wire.ends[1 - side].node);
        let last = wire.ends[side].last_arrival.into_iter().max().unwrap_or(now);
        if !wire.ends[1 - side].is_open {
            self.wires.remove(&link);
            return None;
        }
        Some((now + self.latency(node, to)).max(last))
    }

    /// All wires with an open end at a node.
    pub fn links_of(&self, node: NodeIx) -> Vec<(LinkId, Side)> {
        let ends = self.wires.iter().flat_map(|(link, wire)| {
            (0..2)
                .filter(|side| wire.ends[*side].node == node && wire.ends[*side].is_open)
                .map(|side| (*link, side))
        });
        ends.collect()
    }

    /// Wires that stand.
    pub fn n_wires(&self) -> usize {
        self.wires.len()
    }
}

/// What travels of a frame, with its new length.
fn elide(compressor: &mut Compressor, frame: &Encoded) -> Encoded {
    let mut head = vec![0; 4];
    let rest = compressor.elide(&frame.head[4..], &frame.body, &mut head);
    let body = frame.body.slice(rest..);
    let length = (head.len() - 4 + body.len()) as u32;
    head[..4].copy_from_slice(&length.to_le_bytes());
    Encoded { head: head.into(), body }
}

impl End {
    /// Bytes and packets that a frame costs, given what left at the same moment.
    fn charge(&mut self, now: Timestamp, len: usize) -> (usize, usize) {
        let before = if self.burst.0 == now { self.burst.1 } else { 0 };
        let after = before + len + FRAME_OVERHEAD;
        self.burst = (now, after);
        let packets = after.div_ceil(PACKET_PAYLOAD) - before.div_ceil(PACKET_PAYLOAD);
        (len + FRAME_OVERHEAD + packets * PACKET_OVERHEAD, packets)
    }
}

/// Spreads a number over all others (the finalizer of SplitMix64).
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(loss: f64) -> (Network, LinkId) {
        let mut network = Network::new(Conditions {
            latency: Duration::from_millis(1),
            spread: Duration::ZERO,
            jitter: Duration::from_millis(5),
            jitter_share: 0.0,
            loss,
            bandwidth: 0,
        });
        network.add_node(1);
        network.add_node(1);
        let link = network.connect(0, 1);
        (network, link)
    }

    fn frame(n: u8) -> Encoded {
        let mut head = vec![n; 10];
        head[..5].copy_from_slice(&[6, 0, 0, 0, 99]);
        Encoded { head: head.into(), body: bytes::Bytes::new() }
    }

    /// Jitter and loss delay, but neither reorders a stream nor loses anything.
    #[test]
    fn a_stream_keeps_its_order() {
        let (mut network, link) = network(0.3);
        let mut last = Timestamp::ZERO;
        for n in 0..100 {
            let at = Timestamp::from_micros(u64::from(n) * 100);
            let (arrives, _) = network.send(at, link, 0, Class::Own, &frame(n)).expect("open");
            assert!(arrives >= last);
            last = arrives;
        }
        assert!(last > Timestamp::from_micros(200_000), "something was sent again");
        for n in 0..100 {
            let packet = network.receive(last, link, 0, Class::Own).expect("arrived");
            assert_eq!(packet.frame, frame(n));
        }
    }

    #[test]
    fn a_partition_holds_up_and_lets_go() {
        let (mut network, link) = network(0.0);
        let (at, _) = network.send(Timestamp::ZERO, link, 0, Class::Own, &frame(1)).expect("open");
        network.set_part(1, 1);
        assert!(network.receive(at, link, 0, Class::Own).is_none());
        assert!(network.waiting(at).is_empty());
        network.set_part(1, 0);
        let waiting = network.waiting(at);
        assert_eq!(waiting.len(), 1);
        assert!(network.receive(waiting[0].3, link, 0, Class::Own).is_some());
    }

    #[test]
    fn frames_of_one_moment_share_packets() {
        let (mut network, link) = network(0.0);
        for n in 0..3 {
            network.send(Timestamp::ZERO, link, 0, Class::Own, &frame(n));
        }
        assert_eq!((network.packets, network.bytes), (1, 3 * 40 + 70));
        network.send(Timestamp::from_micros(1), link, 0, Class::Own, &frame(9));
        assert_eq!((network.packets, network.bytes), (2, 4 * 40 + 2 * 70));
    }
}
