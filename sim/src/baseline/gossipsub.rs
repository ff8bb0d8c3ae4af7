//! Gossipsub v1.1 (Vyzovitis and others, "GossipSub: attack-resilient message propagation", 2020, and libp2p's
//! specification), names as there: of one topic that everybody is in.
//!
//! Each node has a mesh of some eight of its neighbours, to whom it sends all that is new; each second it mends the mesh
//! (Graft, Prune) and tells six others what it has seen in the last three seconds (IHave), who ask for what they lack
//! (IWant).
//!
//! Not here: scores, and what hangs on them (opportunistic grafting, quotas of outbound links): nobody attacks;
//! publishing to all neighbours beyond the mesh; peer exchange; IDONTWANT of v1.2.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use djembe_protocol::time::Timestamp;

use super::{Baseline, In, Message, Number, Out, Packet, Seen};
use crate::rng::Rng;
use crate::topology::NodeIx;

/// Neighbours of a mesh that is just right.
const D: usize = 8;
/// With fewer it grows.
const D_LO: usize = 6;
/// With more it shrinks.
const D_HI: usize = 12;
/// Others who hear of what was seen.
const D_LAZY: usize = 6;
/// Or this share of them, if that is more.
const GOSSIP_FACTOR: f64 = 0.25;
/// How often the mesh is mended.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Heartbeats for which a message can be asked for.
const HISTORY: usize = 5;
/// And for which it is told of.
const HISTORY_GOSSIP: usize = 3;
/// Who was pruned is left alone for so long.
const BACKOFF: Duration = Duration::from_secs(60);

// What its protobuf takes, a tag and a length of 1 for each field under 128 bytes. Signed as by default: the author's
// key is its peer id.
/// Length of the RPC 2.
const RPC: usize = 2;
/// A hash of 32.
const TOPIC: usize = 2 + 32;
/// A hash of 32, between Ethereum's 20 and the 46 of author and number.
const ID: usize = 2 + 32;
/// The message itself 3, from 38, number 8, topic, signature 64, length of the data 3.
const PUBLISH: usize = RPC + 3 + (2 + 38) + (2 + 8) + TOPIC + (2 + 64) + 3;
/// The control message 3, and one of its parts 3.
const CONTROL: usize = RPC + 3 + 3;
/// Seconds of backoff.
const SECONDS: usize = 2;

/// The state of a node.
#[derive(Debug)]
pub(super) struct Gossipsub {
    rng: Rng,
    neighbours: BTreeSet<NodeIx>,
    mesh: BTreeSet<NodeIx>,
    /// Who may not be grafted until then.
    backoff: BTreeMap<NodeIx, Timestamp>,
    seen: Seen,
    messages: BTreeMap<Number, Message>,
    /// Which of them came in which heartbeat, the present one first.
    history: VecDeque<Vec<Number>>,
    /// What was asked for since the last heartbeat but one, and has not come.
    asked: [BTreeSet<Number>; 2],
    /// None before there is a link.
    heartbeat: Option<Timestamp>,
}

impl Gossipsub {
    pub(super) fn new(rng: Rng) -> Self {
        Self {
            rng,
            neighbours: BTreeSet::new(),
            mesh: BTreeSet::new(),
            backoff: BTreeMap::new(),
            seen: Seen::default(),
            messages: BTreeMap::new(),
            history: VecDeque::from([Vec::new()]),
            asked: Default::default(),
            heartbeat: None,
        }
    }

    fn take(&mut self, message: Message, from: Option<NodeIx>, hops: u16, out: &mut Vec<Out>) {
        let number = message.number;
        if !self.seen.insert(number as usize) {
            return;
        }
        self.asked.iter_mut().for_each(|asked| {
            asked.remove(&number);
        });
        self.messages.insert(number, message.clone());
        if let Some(present) = self.history.front_mut() {
            present.push(number);
        }
        for to in self.mesh.iter().filter(|to| Some(**to) != from && **to != message.author) {
            out.push(Out::Send(*to, Packet::Payload(message.clone(), hops)));
        }
        out.push(Out::Deliver(message));
    }

    fn on_graft(&mut self, now: Timestamp, from: NodeIx, out: &mut Vec<Out>) {
        let is_early = self.backoff.get(&from).is_some_and(|until| *until > now);
        let is_in = self.mesh.contains(&from);
        if !self.neighbours.contains(&from) || !is_in && (is_early || self.mesh.len() >= D_HI) {
            self.backoff.insert(from, now + BACKOFF);
            out.push(Out::Send(from, Packet::Prune));
        } else {
            self.mesh.insert(from);
        }
    }

    fn on_heartbeat(&mut self, now: Timestamp, out: &mut Vec<Out>) {
        self.backoff.retain(|_, until| *until > now);
        if self.mesh.len() < D_LO {
            let others = self.neighbours.difference(&self.mesh).copied();
            let free: Vec<NodeIx> = others.filter(|peer| !self.backoff.contains_key(peer)).collect();
            for peer in pick(&mut self.rng, free, D - self.mesh.len()) {
                self.mesh.insert(peer);
                out.push(Out::Send(peer, Packet::Graft(None)));
            }
        }
        if self.mesh.len() > D_HI {
            let mesh: Vec<NodeIx> = self.mesh.iter().copied().collect();
            let surplus = mesh.len() - D;
            for peer in pick(&mut self.rng, mesh, surplus) {
                self.mesh.remove(&peer);
                self.backoff.insert(peer, now + BACKOFF);
                out.push(Out::Send(peer, Packet::Prune));
            }
        }
        self.gossip(out);
        self.history.push_front(Vec::new());
        if self.history.len() > HISTORY {
            for number in self.history.pop_back().unwrap_or_default() {
                self.messages.remove(&number);
            }
        }
        // Who did not answer for a heartbeat will not: another may.
        self.asked.rotate_right(1);
        self.asked[0].clear();
    }

    fn gossip(&mut self, out: &mut Vec<Out>) {
        let recent: Vec<(Number, u16)> =
            self.history.iter().take(HISTORY_GOSSIP).flatten().map(|number| (*number, 0)).collect();
        if recent.is_empty() {
            return;
        }
        let others: Vec<NodeIx> = self.neighbours.difference(&self.mesh).copied().collect();
        let n = D_LAZY.max((others.len() as f64 * GOSSIP_FACTOR) as usize);
        for peer in pick(&mut self.rng, others, n) {
            out.push(Out::Send(peer, Packet::IHave(recent.clone())));
        }
    }

    fn on_ihave(&mut self, from: NodeIx, announced: &[(Number, u16)], out: &mut Vec<Out>) {
        let is_asked = |number: &Number| self.asked.iter().any(|asked| asked.contains(number));
        let numbers = announced.iter().map(|(number, _)| *number);
        let wanted: Vec<Number> =
            numbers.filter(|number| !self.seen.contains(&(*number as usize)) && !is_asked(number)).collect();
        if !wanted.is_empty() {
            self.asked[0].extend(&wanted);
            out.push(Out::Send(from, Packet::IWant(wanted)));
        }
    }
}

impl Baseline for Gossipsub {
    fn handle(&mut self, now: Timestamp, input: In, out: &mut Vec<Out>) {
        match input {
            In::Up(peer) => {
                self.neighbours.insert(peer);
                if self.heartbeat.is_none() {
                    // Nodes do not beat in time with each other.
                    self.heartbeat = Some(now + self.rng.time_below(HEARTBEAT));
                }
            }
            In::Down(peer) => {
                self.neighbours.remove(&peer);
                self.mesh.remove(&peer);
            }
            In::Publish(message) => self.take(message, None, 0, out),
            In::Packet(from, Packet::Payload(message, hops)) => {
                self.take(message, Some(from), hops.saturating_add(1), out);
            }
            In::Packet(from, Packet::IHave(announced)) => self.on_ihave(from, &announced, out),
            In::Packet(from, Packet::IWant(wanted)) => {
                for message in wanted.iter().filter_map(|number| self.messages.get(number)) {
                    out.push(Out::Send(from, Packet::Payload(message.clone(), 0)));
                }
            }
            In::Packet(from, Packet::Graft(_)) => self.on_graft(now, from, out),
            In::Packet(from, Packet::Prune) => {
                self.mesh.remove(&from);
                self.backoff.insert(from, now + BACKOFF);
            }
            In::Timeout => {
                if self.heartbeat.is_some_and(|at| at <= now) {
                    self.heartbeat = Some(now + HEARTBEAT);
                    self.on_heartbeat(now, out);
                }
            }
        }
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        self.heartbeat
    }

    fn header_len(&self, packet: &Packet) -> usize {
        match packet {
            Packet::Payload(..) => PUBLISH,
            Packet::IHave(announced) => CONTROL + TOPIC + announced.len() * ID,
            Packet::IWant(wanted) => CONTROL + wanted.len() * ID,
            Packet::Graft(_) => CONTROL + TOPIC,
            Packet::Prune => CONTROL + TOPIC + SECONDS,
        }
    }
}

/// So many of these, by lot.
fn pick(rng: &mut Rng, mut from: Vec<NodeIx>, n: usize) -> Vec<NodeIx> {
    let n = n.min(from.len());
    for at in 0..n {
        let other = at + rng.below((from.len() - at) as u64) as usize;
        from.swap(at, other);
    }
    from.truncate(n);
    from
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    /// A node with `n` neighbours, and what it said in its first heartbeat.
    fn node(n: usize) -> (Gossipsub, Vec<Out>) {
        let mut node = Gossipsub::new(Rng::split(1, 0, 0, Purpose::Baseline));
        (1..=n).for_each(|peer| assert!(told(&mut node, In::Up(peer)).is_empty()));
        let out = beat(&mut node);
        (node, out)
    }

    fn told(node: &mut Gossipsub, input: In) -> Vec<Out> {
        let mut out = Vec::new();
        node.handle(Timestamp::ZERO, input, &mut out);
        out
    }

    fn beat(node: &mut Gossipsub) -> Vec<Out> {
        let mut out = Vec::new();
        let now = node.next_deadline().expect("there is a link");
        node.handle(now, In::Timeout, &mut out);
        out
    }

    fn message(number: Number) -> Message {
        Message { number, author: 99, envelope: bytes::Bytes::new() }
    }

    #[test]
    fn a_mesh_has_eight_and_no_more_than_twelve() {
        let (mut node, grafts) = node(20);
        assert_eq!((node.mesh.len(), grafts.len()), (D, D));
        let others: Vec<NodeIx> = node.neighbours.difference(&node.mesh).copied().collect();
        let answers: Vec<usize> =
            others.iter().map(|peer| told(&mut node, In::Packet(*peer, Packet::Graft(None))).len()).collect();
        assert_eq!(answers.iter().position(|n| *n == 1), Some(D_HI - D), "beyond that they are pruned");
        assert_eq!(node.mesh.len(), D_HI);
        assert!(beat(&mut node).is_empty(), "neither too many nor too few");
        node.mesh.insert(others[7]);
        let prunes = beat(&mut node);
        assert_eq!((node.mesh.len(), prunes.len()), (D, D_HI + 1 - D));
    }

    #[test]
    fn what_was_seen_is_told_to_six_others_for_three_seconds_and_given_for_five() {
        let (mut node, _) = node(20);
        assert_eq!(told(&mut node, In::Publish(message(7))).len(), D + 1, "its mesh and its own application");
        let wants = |node: &mut Gossipsub| told(node, In::Packet(1, Packet::IWant(vec![7]))).len();
        let mut heard = Vec::new();
        let mut given = Vec::new();
        for _ in 0..6 {
            heard.push(beat(&mut node).len());
            given.push(wants(&mut node));
        }
        assert_eq!((heard, given), (vec![D_LAZY, D_LAZY, D_LAZY, 0, 0, 0], vec![1, 1, 1, 1, 0, 0]));
    }

    #[test]
    fn what_is_lacking_is_asked_for_once_in_a_while() {
        let (mut node, _) = node(3);
        let hears = |node: &mut Gossipsub| told(node, In::Packet(1, Packet::IHave(vec![(7, 0)]))).len();
        assert_eq!((hears(&mut node), hears(&mut node)), (1, 0));
        beat(&mut node);
        assert_eq!(hears(&mut node), 0);
        beat(&mut node);
        assert_eq!(hears(&mut node), 1, "whoever was asked did not answer");
        told(&mut node, In::Packet(1, Packet::Payload(message(7), 0)));
        beat(&mut node);
        beat(&mut node);
        assert_eq!(hears(&mut node), 0, "it is here");
    }
}
