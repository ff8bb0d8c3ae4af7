//! Where nodes are and what lies between them: how far they are apart, who reaches whom, who is there.
//!
//! Nothing is stored for a pair that can be computed: a distance is a hash of seed and pair. It changes only between
//! two stretches of a run, when faults strike, so that all shards may read it at once.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use djembe_protocol::id::PeerId;
use djembe_protocol::wire::frame::Address;

use crate::rng::Rng;

/// A node's place in the world.
pub type NodeIx = usize;

/// The first retransmission time; Linux's least for TCP.
const RETRANSMIT: Duration = Duration::from_millis(200);

/// How the network behaves, everywhere alike.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    /// One way. More than nothing: it is how far ahead of others a part of the world can be worked off.
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

/// What others can find out about a node without asking it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// Which part of the network it is in; nodes of different parts do not reach each other.
    pub part: u8,
    /// It runs.
    pub is_up: bool,
    /// It runs, and stands still.
    pub is_paused: bool,
    /// Its sockets are not read.
    pub is_stalled: bool,
    /// It is an attacker.
    pub is_hostile: bool,
    /// The shard it is in, and its number there.
    pub home: (u16, u32),
}

/// All places, and what is cut.
#[derive(Debug)]
pub struct Topology {
    /// How the network behaves.
    pub conditions: Conditions,
    seed: u64,
    /// Where each node is.
    pub places: Vec<Place>,
    /// Who each node is.
    pub peers: Vec<PeerId>,
    /// Nodes that do not listen at an address of their own.
    housed: BTreeMap<NodeIx, Address>,
    by_housed: BTreeMap<Address, NodeIx>,
    /// Pairs that never reach each other, lower first.
    cuts: BTreeSet<(NodeIx, NodeIx)>,
}

impl Topology {
    /// A network without nodes.
    pub fn new(seed: u64, conditions: Conditions) -> Self {
        Self {
            conditions,
            seed,
            places: Vec::new(),
            peers: Vec::new(),
            housed: BTreeMap::new(),
            by_housed: BTreeMap::new(),
            cuts: BTreeSet::new(),
        }
    }

    /// The shortest time that anything takes from one node to another.
    pub fn least_latency(&self) -> Duration {
        self.conditions.latency.max(Duration::from_micros(1))
    }

    /// Cuts two nodes from each other for good.
    pub fn cut(&mut self, a: NodeIx, b: NodeIx) {
        self.cuts.insert((a.min(b), a.max(b)));
    }

    /// Whether anything gets from one to the other.
    pub fn reaches(&self, a: NodeIx, b: NodeIx) -> bool {
        self.places[a].part == self.places[b].part
            && (self.cuts.is_empty() || !self.cuts.contains(&(a.min(b), a.max(b))))
    }

    /// The time of one way between two nodes, without what differs from packet to packet.
    pub fn distance(&self, a: NodeIx, b: NodeIx) -> Duration {
        let latency = self.least_latency();
        let spread = u64::try_from(self.conditions.spread.as_micros()).unwrap_or(u64::MAX);
        if spread == 0 {
            return latency;
        }
        let pair = (a.min(b) as u64) << 32 | a.max(b) as u64;
        let drawn = mix(mix(self.seed) ^ pair);
        latency + Duration::from_micros(drawn % spread)
    }

    /// The mean of what is added to a packet's time.
    pub fn mean_jitter(&self, distance: Duration) -> Duration {
        self.conditions.jitter / 2 + distance.mul_f64(self.conditions.jitter_share / 2.0)
    }

    /// The time of one way, as drawn for the sender: a packet that is lost comes later, by retransmission times that
    /// double.
    pub fn latency(&self, rng: &mut Rng, from: NodeIx, to: NodeIx) -> Duration {
        let conditions = &self.conditions;
        let distance = self.distance(from, to);
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

    /// Where a node listens.
    pub fn address(&self, node: NodeIx) -> Address {
        self.housed.get(&node).cloned().unwrap_or_else(|| own_address(node))
    }

    /// Gives a node another address than its own.
    pub fn set_address(&mut self, node: NodeIx, address: Address) {
        self.by_housed.insert(address.clone(), node);
        self.housed.insert(node, address);
    }

    /// Who listens there.
    pub fn node_at(&self, address: &Address) -> Option<NodeIx> {
        if let Some(node) = self.by_housed.get(address) {
            return Some(*node);
        }
        let node = match address.0[..] {
            [4, 10, b, c, d, 6, _, _] => u32::from_be_bytes([0, b, c, d]) as NodeIx,
            _ => return None,
        };
        (node < self.places.len() && self.address(node) == *address).then_some(node)
    }
}

/// A node has an IP address of its own.
fn own_address(node: NodeIx) -> Address {
    let [_, b, c, d] = (node as u32).to_be_bytes();
    ip4([10, b, c, d], 24_365)
}

/// A multiaddr.
pub fn ip4([a, b, c, d]: [u8; 4], port: u16) -> Address {
    let [p, q] = port.to_be_bytes();
    Address(vec![4, a, b, c, d, 6, p, q])
}

/// Spreads a number over all others (the finalizer of SplitMix64).
pub fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_found_at_its_address_and_nowhere_else() {
        let conditions = Conditions {
            latency: Duration::ZERO,
            spread: Duration::ZERO,
            jitter: Duration::ZERO,
            jitter_share: 0.0,
            loss: 0.0,
            bandwidth: 0,
        };
        let mut topology = Topology::new(1, conditions);
        topology.places = vec![Place::default(); 3];
        topology.set_address(1, ip4([172, 17, 0, 1], 7));
        let nodes: Vec<_> = (0..3).map(|node| topology.node_at(&topology.address(node))).collect();
        assert_eq!(nodes, [Some(0), Some(1), Some(2)]);
        assert_eq!(topology.node_at(&own_address(1)), None, "it has moved");
        assert_eq!(topology.node_at(&own_address(3)), None, "there is none");
        assert_eq!(topology.node_at(&Address(vec![1])), None);
    }
}
