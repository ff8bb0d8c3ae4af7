//! Where nodes are and what lies between them: how far they are apart, who reaches whom, who is there.
//!
//! Nothing is stored for a pair that can be computed: a distance is a hash of seed and pair. It changes only between
//! two stretches of a run, when faults strike, so that all shards may read it at once.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use djembe_protocol::id::PeerId;
use djembe_protocol::wire::frame::Address;

use crate::bits::NodeSet;
use crate::rng::Rng;

/// Who waits for so long may as well wait for ever.
const LONGEST: Duration = Duration::from_secs(120);

/// A node's place in the world.
pub type NodeIx = usize;

/// The first retransmission time; Linux's least for TCP.
const RETRANSMIT: Duration = Duration::from_millis(200);
/// More loss than this no connection survives, and no loop here either.
const LOSS_MAX: f64 = 0.95;

/// How the network behaves.
#[derive(Clone, Debug, Default)]
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
    /// Loss that comes in bursts, beside that.
    pub burst: Option<Burst>,
    /// Share of packets that take twice as long, and so let others overtake them.
    pub reorder: f64,
    /// Share of packets that come twice.
    pub duplicate: f64,
    /// Share of frames of which a byte is changed where no checksum of the network notices it: the cipher does, and the
    /// connection ends.
    pub corrupt: f64,
    /// Bits a second that a node can send; 0 is no limit.
    pub bandwidth: u64,
    /// Where nodes are; empty where all are in one place, of the latency above.
    pub sites: Vec<Site>,
}

impl Conditions {
    /// What lies between two nodes where there are no sites.
    pub fn way(&self) -> Way {
        Way {
            latency: self.latency,
            spread: self.spread,
            jitter: self.jitter,
            jitter_share: self.jitter_share,
            loss: self.loss,
            burst: self.burst,
            reorder: self.reorder,
            duplicate: self.duplicate,
            corrupt: self.corrupt,
        }
    }
}

/// What lies between two nodes: what each field says is said at [`Conditions`].
#[derive(Clone, Copy, PartialEq, Debug, Default)]
#[expect(missing_docs, reason = "the same words as there")]
pub struct Way {
    pub latency: Duration,
    pub spread: Duration,
    pub jitter: Duration,
    pub jitter_share: f64,
    pub loss: f64,
    pub burst: Option<Burst>,
    pub reorder: f64,
    pub duplicate: f64,
    pub corrupt: f64,
}

impl Way {
    /// What is drawn for each packet of what is added to its time, this far from its sender.
    pub(crate) fn jitter(&self, rng: &mut Rng, distance: Duration) -> Duration {
        let mut time = rng.time_below(self.jitter);
        if self.jitter_share > 0.0 {
            time += rng.time_below(distance.mul_f64(self.jitter_share));
        }
        if rng.chance(self.reorder) {
            time += distance;
        }
        time
    }

    /// How a packet fares on it, as drawn for the sender, so far from whom it goes: one that is lost comes later, by
    /// retransmission times that double. `more_loss` is what the weather takes now; what it takes later is its mean.
    pub(crate) fn passage(&self, rng: &mut Rng, distance: Duration, more_loss: f64) -> Passage {
        let mut takes = distance + self.jitter(rng, distance);
        let (mut n_lost, mut wait) = (0, RETRANSMIT);
        let mut loss = self.loss + more_loss;
        while rng.chance(loss.min(LOSS_MAX)) {
            n_lost += 1;
            takes += wait;
            wait *= 2;
            loss = self.loss + self.burst.map_or(0.0, |burst| burst.mean_loss());
        }
        Passage { takes, n_lost }
    }
}

/// How a packet fared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Passage {
    /// One way, until it was there.
    pub takes: Duration,
    /// So often it was lost before, and sent again.
    pub n_lost: u32,
}

/// Loss in bursts (Gilbert 1960, Elliott 1963).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Burst {
    /// How long a way is good, in the mean.
    pub good: Duration,
    /// How long it is bad.
    pub bad: Duration,
    /// Share of packets that are lost while it is bad.
    pub loss: f64,
}

impl Burst {
    /// Share of packets that are lost to it at any moment.
    pub fn mean_loss(&self) -> f64 {
        self.loss * self.bad.as_secs_f64() / (self.good + self.bad).as_secs_f64()
    }
}

/// A place where some of the nodes are.
#[derive(Clone, PartialEq, Debug)]
pub struct Site {
    /// Nodes whose lot, from 0 to 1, is below this, and not below that of the site before, are there.
    pub upto: f64,
    /// What lies between it and each site, this one among them.
    pub ways: Vec<Way>,
    /// Bits a second that a node can send; 0 is what is so everywhere.
    pub up: u64,
    /// Bits a second that a node can receive; 0 is no limit.
    pub down: u64,
    /// Who can dial a node there from elsewhere.
    pub nat: Nat,
    /// A node there hears the beacons of all others there.
    pub is_segment: bool,
}

/// Who can dial a node from another site.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Nat {
    /// Everybody.
    #[default]
    Open,
    /// Whom it has dialled itself of late: its router knows the way back (RFC 4787, endpoint-dependent filtering).
    Cone,
    /// Nobody.
    Closed,
}

/// What does not get through, for as long as a fault lasts. Faults are stacked: each is a rule of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// What takes it away again.
    pub id: u32,
    /// From these.
    pub from: Side,
    /// To those.
    pub to: Side,
}

/// Some nodes, or all others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Side {
    /// These.
    Of(NodeSet),
    /// All but these.
    But(NodeSet),
}

impl Side {
    /// How many of so many nodes are on this side.
    pub fn n_of(&self, n_nodes: usize) -> usize {
        match self {
            Self::Of(nodes) => nodes.len(),
            Self::But(nodes) => n_nodes.saturating_sub(nodes.len()),
        }
    }

    /// Whether a node is on this side.
    pub fn has(&self, node: NodeIx) -> bool {
        match self {
            Self::Of(nodes) => nodes.contains(&node),
            Self::But(nodes) => !nodes.contains(&node),
        }
    }
}

/// What others can find out about a node without asking it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// Which part of the network it is in; nodes of different parts do not reach each other.
    pub part: u8,
    /// Its site.
    pub site: u8,
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
    /// The nodes of each site that is a segment.
    segments: BTreeMap<u8, Vec<NodeIx>>,
    /// Nodes that do not listen at an address of their own.
    housed: BTreeMap<NodeIx, Address>,
    by_housed: BTreeMap<Address, NodeIx>,
    /// Pairs that never reach each other, lower first.
    cuts: BTreeSet<(NodeIx, NodeIx)>,
    /// What does not get through at present.
    pub rules: Vec<Rule>,
}

impl Topology {
    /// A network without nodes.
    pub fn new(seed: u64, conditions: Conditions) -> Self {
        Self {
            conditions,
            seed,
            places: Vec::new(),
            peers: Vec::new(),
            segments: BTreeMap::new(),
            housed: BTreeMap::new(),
            by_housed: BTreeMap::new(),
            cuts: BTreeSet::new(),
            rules: Vec::new(),
        }
    }

    /// The shortest time that anything takes from one node to another.
    pub fn least_latency(&self) -> Duration {
        let ways = self.conditions.sites.iter().flat_map(|site| &site.ways).map(|way| way.latency);
        let least = ways.min().unwrap_or(self.conditions.latency);
        least.max(Duration::from_micros(1))
    }

    /// The site of the next node: drawn by lot.
    pub fn draw_site(&self, node: NodeIx) -> u8 {
        let lot = (mix(mix(self.seed) ^ mix(node as u64)) >> 11) as f64 / (1u64 << 53) as f64;
        let site = self.conditions.sites.iter().position(|site| lot < site.upto);
        u8::try_from(site.unwrap_or(self.conditions.sites.len().saturating_sub(1))).unwrap_or(u8::MAX)
    }

    /// The first site into which everybody can dial, which is where a contact has to be.
    pub(crate) fn open_site(&self) -> Option<u8> {
        let site = self.conditions.sites.iter().position(|site| site.nat == Nat::Open);
        site.and_then(|site| u8::try_from(site).ok())
    }

    /// A new node of this site.
    pub(crate) fn put_on_segment(&mut self, node: NodeIx, site: u8) {
        if self.conditions.sites.get(usize::from(site)).is_some_and(|site| site.is_segment) {
            self.segments.entry(site).or_default().push(node);
        }
    }

    /// Nodes find each other by beacons, and not as if by magic.
    pub fn has_segments(&self) -> bool {
        self.conditions.sites.iter().any(|site| site.is_segment)
    }

    /// Who hears a node's beacons, itself among them; none if it is not on a segment.
    pub fn segment(&self, node: NodeIx) -> Option<&[NodeIx]> {
        self.segments.get(&self.places[node].site).map(Vec::as_slice)
    }

    /// Where a node is, if it is anywhere in particular.
    pub fn site(&self, node: NodeIx) -> Option<&Site> {
        self.conditions.sites.get(usize::from(self.places[node].site))
    }

    /// Bits a second that a node can send and receive; 0 is no limit.
    pub fn bandwidth(&self, node: NodeIx) -> (u64, u64) {
        let (up, down) = self.site(node).map_or((0, 0), |site| (site.up, site.down));
        (if up > 0 { up } else { self.conditions.bandwidth }, down)
    }

    /// Whether a node's router lets a dial in. `has_dialled`: the node has dialled the other of late.
    pub fn admits(&self, from: NodeIx, to: NodeIx, has_dialled: bool) -> bool {
        let is_near = self.places[from].site == self.places[to].site;
        match self.site(to).map(|site| site.nat) {
            None | Some(Nat::Open) => true,
            Some(Nat::Cone) => is_near || has_dialled,
            Some(Nat::Closed) => is_near,
        }
    }

    /// Cuts two nodes from each other for good.
    pub fn cut(&mut self, a: NodeIx, b: NodeIx) {
        self.cuts.insert((a.min(b), a.max(b)));
    }

    /// Whether anything gets from one to the other. The way back may be another matter.
    pub fn reaches(&self, from: NodeIx, to: NodeIx) -> bool {
        self.places[from].part == self.places[to].part
            && (self.cuts.is_empty() || !self.cuts.contains(&(from.min(to), from.max(to))))
            && !self.rules.iter().any(|rule| rule.from.has(from) && rule.to.has(to))
    }

    /// What lies between two nodes.
    pub fn way(&self, a: NodeIx, b: NodeIx) -> Way {
        match self.site(a) {
            Some(site) => site.ways[usize::from(self.places[b].site)],
            None => self.conditions.way(),
        }
    }

    /// The time of one way between two nodes, without what differs from packet to packet.
    pub fn distance(&self, a: NodeIx, b: NodeIx) -> Duration {
        self.distance_by(&self.way(a, b), a, b)
    }

    /// The same, where the way is known.
    pub(crate) fn distance_by(&self, way: &Way, a: NodeIx, b: NodeIx) -> Duration {
        let latency = way.latency.max(Duration::from_micros(1));
        let spread = u64::try_from(way.spread.as_micros()).unwrap_or(u64::MAX);
        if spread == 0 {
            return latency;
        }
        let pair = (a.min(b) as u64) << 32 | a.max(b) as u64;
        let drawn = mix(mix(self.seed) ^ pair);
        latency + Duration::from_micros(drawn % spread)
    }

    /// The mean of what one way between two nodes takes, where nothing is lost.
    pub fn mean_time(&self, a: NodeIx, b: NodeIx) -> Duration {
        let way = self.way(a, b);
        let distance = self.distance_by(&way, a, b);
        distance + way.jitter / 2 + distance.mul_f64(way.jitter_share / 2.0)
    }

    /// What no packet between two nodes takes longer for, but for one in a million millions. None where packets wait for
    /// the sender's uplink, or are lost so often that it is beyond all use.
    pub fn longest(&self, a: NodeIx, b: NodeIx) -> Option<Duration> {
        let Way { jitter, jitter_share, loss, burst, .. } = self.way(a, b);
        let Conditions { bandwidth, ref sites, .. } = self.conditions;
        let is_steady =
            bandwidth == 0 && burst.is_none() && sites.iter().all(|site| site.up + site.down == 0);
        let distance = self.distance(a, b);
        // Twice, for those that others overtake.
        let mut time = (distance + jitter + distance.mul_f64(jitter_share)) * 2;
        let (mut wait, mut rest) = (RETRANSMIT, loss);
        while rest > 1e-12 {
            time += wait;
            wait *= 2;
            rest *= loss;
        }
        (is_steady && time < LONGEST).then_some(time)
    }

    /// How a packet fares on its way in fair weather.
    pub fn passage(&self, rng: &mut Rng, from: NodeIx, to: NodeIx) -> Passage {
        let way = self.way(from, to);
        way.passage(rng, self.distance_by(&way, from, to), 0.0)
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
        let mut topology = Topology::new(1, Conditions::default());
        topology.places = vec![Place::default(); 3];
        topology.set_address(1, ip4([172, 17, 0, 1], 7));
        let nodes: Vec<_> = (0..3).map(|node| topology.node_at(&topology.address(node))).collect();
        assert_eq!(nodes, [Some(0), Some(1), Some(2)]);
        assert_eq!(topology.node_at(&own_address(1)), None, "it has moved");
        assert_eq!(topology.node_at(&own_address(3)), None, "there is none");
        assert_eq!(topology.node_at(&Address(vec![1])), None);
    }

    fn site(upto: f64, ways: [u64; 2], nat: Nat) -> Site {
        let ways = ways.map(|ms| Way { latency: Duration::from_millis(ms), ..Way::default() }).to_vec();
        Site { upto, ways, up: 0, down: 0, nat, is_segment: false }
    }

    /// Goal: nodes are spread over sites by their shares, and as far apart as those.
    #[test]
    fn sites_are_as_far_apart_as_their_ways() {
        let sites = vec![site(0.25, [1, 40], Nat::Open), site(1.0, [40, 2], Nat::Cone)];
        let mut topology = Topology::new(7, Conditions { sites, ..Conditions::default() });
        for node in 0..1000 {
            let site = topology.draw_site(node);
            topology.places.push(Place { site, ..Place::default() });
        }
        let first = (0..1000).filter(|node| topology.places[*node].site == 0).collect::<Vec<_>>();
        assert!((200..300).contains(&first.len()), "{}", first.len());
        let other = (0..1000).find(|node| topology.places[*node].site == 1).expect("most are");
        let ms = |a, b| topology.distance(a, b).as_millis();
        assert_eq!((ms(first[0], first[1]), ms(first[0], other), ms(other, first[0])), (1, 40, 40));
        assert_eq!(topology.least_latency(), Duration::from_millis(1));
        assert!(topology.admits(other, first[0], false), "open");
        assert!(!topology.admits(first[0], other, false) && topology.admits(first[0], other, true), "cone");
    }

    /// Goal: what is cut one way is open the other way, and rules come and go by themselves.
    #[test]
    fn rules_are_stacked() {
        let mut topology = Topology::new(1, Conditions::default());
        topology.places = vec![Place::default(); 4];
        let of = |nodes: &[NodeIx]| nodes.iter().copied().collect::<NodeSet>();
        topology.rules.push(Rule { id: 1, from: Side::Of(of(&[0])), to: Side::But(of(&[0, 3])) });
        topology.rules.push(Rule { id: 2, from: Side::Of(of(&[0, 1])), to: Side::Of(of(&[2])) });
        let reached = |topology: &Topology, from| {
            (0..4).filter(|to| *to != from && topology.reaches(from, *to)).collect::<Vec<_>>()
        };
        assert_eq!((reached(&topology, 0), reached(&topology, 1)), (vec![3], vec![0, 3]));
        assert_eq!(reached(&topology, 2), [0, 1, 3]);
        topology.rules.retain(|rule| rule.id != 1);
        assert_eq!(reached(&topology, 0), [1, 3]);
    }
}
