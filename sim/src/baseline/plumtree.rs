//! Plumtree with one tree for all authors (Leitão, Pereira, Rodrigues, "Epidemic Broadcast Trees", SRDS 2007), names
//! and algorithm as there.
//!
//! A payload is pushed to the eager neighbours and announced (IHave) to the lazy ones. Who gets a payload twice makes
//! the link lazy (Prune); who hears of one that does not come makes the link to the announcer eager, and gets it (Graft).
//! A lazy link that was shorter by [`SHORTER`] hops takes the place of the eager one.
//!
//! Announcements wait [`LAZY_EVERY`] for others to go with them. The paper wants the first time-out to cover the way
//! through the tree, and the second a round trip: on links of up to 100 ms a round trip 200 and 100 ms. iroh-gossip has 5,
//! 80 and 40 ms, which ask for what is on its way already where links are slow.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use djembe_protocol::time::Timestamp;

use super::{Baseline, Hops, In, Message, Number, Out, Packet, Seen};
use crate::topology::NodeIx;

/// Announcements are sent together so often at the most.
const LAZY_EVERY: Duration = Duration::from_millis(100);
/// What was announced and has not come is asked for after this.
const GRAFT_AFTER: Duration = Duration::from_millis(200);
/// And from the next announcer after this.
const GRAFT_AGAIN: Duration = Duration::from_millis(100);
/// Hops by which a lazy link must be shorter to become eager.
const SHORTER: Hops = 7;
/// A payload can be asked for so long.
const KEPT: Duration = Duration::from_secs(30);

// What iroh-gossip's encoding takes: a length of 4 before each, a tag of 1 for each enum within another.
const HEAD: usize = 4 + 2;
/// Id 32, length of the content 2, scope and round 2.
const GOSSIP: usize = HEAD + 32 + 2 + 2;
/// Id 32, round 1.
const ANNOUNCED: usize = 32 + 1;
/// Whether there is an id, the id, round 1.
const GRAFT: usize = HEAD + 1 + 32 + 1;

/// The state of a node.
#[derive(Debug, Default)]
pub(super) struct Plumtree {
    /// Neighbours, and whether payloads are pushed to them.
    is_eager: BTreeMap<NodeIx, bool>,
    seen: Seen,
    cache: BTreeMap<Number, (Message, Hops)>,
    /// What is in the cache, the oldest first.
    cached: VecDeque<(Timestamp, Number)>,
    /// Announcements that wait.
    lazy: BTreeMap<NodeIx, Vec<(Number, Hops)>>,
    /// Until then.
    lazy_at: Option<Timestamp>,
    /// Who announced what has not come.
    missing: BTreeMap<Number, VecDeque<(NodeIx, Hops)>>,
    /// When that is asked for. What has come since leaves its entry here: it does nothing.
    timers: BTreeSet<(Timestamp, Number)>,
}

impl Plumtree {
    /// A message that was not seen before: `hops` have been made.
    fn take(
        &mut self,
        now: Timestamp,
        message: Message,
        from: Option<NodeIx>,
        hops: Hops,
        out: &mut Vec<Out>,
    ) {
        let number = message.number;
        for (to, is_eager) in self.is_eager.iter().filter(|(to, _)| Some(**to) != from) {
            if *is_eager {
                out.push(Out::Send(*to, Packet::Payload(message.clone(), hops)));
            } else {
                self.lazy.entry(*to).or_default().push((number, hops));
                self.lazy_at.get_or_insert(now + LAZY_EVERY);
            }
        }
        self.cache.insert(number, (message.clone(), hops));
        self.cached.push_back((now, number));
        out.push(Out::Deliver(message));
    }

    fn on_payload(&mut self, now: Timestamp, from: NodeIx, message: Message, hops: Hops, out: &mut Vec<Out>) {
        let number = message.number;
        if !self.seen.insert(number as usize) {
            self.set(from, false);
            out.push(Out::Send(from, Packet::Prune));
            return;
        }
        let announced = self.missing.remove(&number).unwrap_or_default();
        self.take(now, message, Some(from), hops.saturating_add(1), out);
        self.set(from, true);
        // Optimisation: an announcer that is much nearer to the author takes the place of whom it came from.
        let nearer = announced
            .into_iter()
            .find(|(peer, there)| *peer != from && there.saturating_add(SHORTER) <= hops);
        if let Some((peer, _)) = nearer.filter(|(peer, _)| self.is_eager.contains_key(peer)) {
            self.set(peer, true);
            out.push(Out::Send(peer, Packet::Graft(None)));
            self.set(from, false);
            out.push(Out::Send(from, Packet::Prune));
        }
    }

    fn on_ihave(&mut self, now: Timestamp, from: NodeIx, announced: Vec<(Number, Hops)>) {
        for (number, hops) in announced {
            if self.seen.contains(&(number as usize)) {
                continue;
            }
            if !self.missing.contains_key(&number) {
                self.timers.insert((now + GRAFT_AFTER, number));
            }
            self.missing.entry(number).or_default().push_back((from, hops));
        }
    }

    fn on_graft_timer(&mut self, now: Timestamp, number: Number, out: &mut Vec<Out>) {
        let Some(announcers) = self.missing.get_mut(&number) else { return };
        let Some((peer, _)) = announcers.pop_front() else {
            // Whoever announces it next starts it anew.
            self.missing.remove(&number);
            return;
        };
        self.timers.insert((now + GRAFT_AGAIN, number));
        self.set(peer, true);
        out.push(Out::Send(peer, Packet::Graft(Some(number))));
    }

    /// Makes a neighbour eager or lazy. Who is none stays none.
    fn set(&mut self, peer: NodeIx, is_eager: bool) {
        if let Some(now_eager) = self.is_eager.get_mut(&peer) {
            *now_eager = is_eager;
        }
    }

    fn on_timeout(&mut self, now: Timestamp, out: &mut Vec<Out>) {
        if self.lazy_at.is_some_and(|at| at <= now) {
            self.lazy_at = None;
            for (peer, announced) in std::mem::take(&mut self.lazy) {
                out.push(Out::Send(peer, Packet::IHave(announced)));
            }
        }
        while let Some((_, number)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.pop_first();
            self.on_graft_timer(now, number, out);
        }
        while let Some((_, number)) = self.cached.front().copied().filter(|(at, _)| *at + KEPT <= now) {
            self.cached.pop_front();
            self.cache.remove(&number);
        }
    }
}

impl Baseline for Plumtree {
    fn handle(&mut self, now: Timestamp, input: In, out: &mut Vec<Out>) {
        match input {
            In::Up(peer) => {
                self.is_eager.insert(peer, true);
            }
            In::Down(peer) => {
                self.is_eager.remove(&peer);
                self.lazy.remove(&peer);
                for announcers in self.missing.values_mut() {
                    announcers.retain(|(other, _)| *other != peer);
                }
            }
            In::Publish(message) => {
                self.seen.insert(message.number as usize);
                self.take(now, message, None, 0, out);
            }
            In::Packet(from, Packet::Payload(message, hops)) => {
                self.on_payload(now, from, message, hops, out);
            }
            In::Packet(from, Packet::IHave(announced)) => self.on_ihave(now, from, announced),
            In::Packet(from, Packet::Graft(wanted)) => {
                self.set(from, true);
                if let Some((message, hops)) = wanted.and_then(|number| self.cache.get(&number)) {
                    out.push(Out::Send(from, Packet::Payload(message.clone(), *hops)));
                }
            }
            In::Packet(from, Packet::Prune) => self.set(from, false),
            In::Packet(_, Packet::IWant(_)) => {}
            In::Timeout => self.on_timeout(now, out),
        }
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        let graft = self.timers.first().map(|(at, _)| *at);
        let evict = self.cached.front().map(|(at, _)| *at + KEPT);
        [self.lazy_at, graft, evict].into_iter().flatten().min()
    }

    fn header_len(&self, packet: &Packet) -> usize {
        match packet {
            Packet::Payload(..) => GOSSIP,
            Packet::IHave(announced) => HEAD + 1 + announced.len() * ANNOUNCED,
            Packet::Graft(_) => GRAFT,
            Packet::Prune | Packet::IWant(_) => HEAD,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_micros(ms * 1000)
    }

    fn message(number: Number) -> Message {
        Message { number, author: 0, envelope: bytes::Bytes::new() }
    }

    /// What it sends then, a line each.
    fn told(node: &mut Plumtree, ms: u64, input: In) -> Vec<String> {
        let mut out = Vec::new();
        node.handle(at(ms), input, &mut out);
        let sent = out.into_iter().filter_map(|out| match out {
            Out::Send(to, Packet::Payload(message, hops)) => {
                Some(format!("{to}: payload {} {hops}", message.number))
            }
            Out::Send(to, packet) => Some(format!("{to}: {packet:?}")),
            Out::Deliver(_) => None,
        });
        sent.collect()
    }

    fn node(neighbours: impl IntoIterator<Item = NodeIx>) -> Plumtree {
        let mut node = Plumtree::default();
        neighbours.into_iter().for_each(|peer| assert!(told(&mut node, 0, In::Up(peer)).is_empty()));
        node
    }

    fn payload(number: Number, hops: Hops) -> Packet {
        Packet::Payload(message(number), hops)
    }

    #[test]
    fn who_sends_twice_is_pruned_and_hears_announcements() {
        let mut node = node([1, 2, 3]);
        assert_eq!(told(&mut node, 0, In::Packet(1, payload(7, 0))), ["2: payload 7 1", "3: payload 7 1"]);
        assert_eq!(told(&mut node, 1, In::Packet(2, payload(7, 0))), ["2: Prune"]);
        assert_eq!(told(&mut node, 2, In::Packet(3, Packet::Prune)), Vec::<String>::new());
        assert_eq!(told(&mut node, 3, In::Publish(message(8))), ["1: payload 8 0"]);
        assert_eq!(told(&mut node, 4, In::Publish(message(9))), ["1: payload 9 0"]);
        assert_eq!(node.next_deadline(), Some(at(103)));
        let announced = "IHave([(8, 0), (9, 0)])";
        let expected = [format!("2: {announced}"), format!("3: {announced}")];
        assert_eq!(told(&mut node, 103, In::Timeout), expected);
    }

    #[test]
    fn what_does_not_come_is_grafted_from_one_after_the_other() {
        let mut node = node([1, 2]);
        for peer in [1, 2] {
            told(&mut node, 0, In::Packet(peer, Packet::IHave(vec![(7, 1), (8, 1)])));
        }
        told(&mut node, 10, In::Packet(1, payload(8, 0)));
        assert_eq!(node.next_deadline(), Some(at(200)));
        assert_eq!(told(&mut node, 200, In::Timeout), ["1: Graft(Some(7))"]);
        assert_eq!(told(&mut node, 300, In::Timeout), ["2: Graft(Some(7))"]);
        assert_eq!(told(&mut node, 310, In::Packet(2, payload(7, 1))), ["1: payload 7 2"]);
        assert_eq!(told(&mut node, 400, In::Timeout), Vec::<String>::new(), "it has come");
        // And whoever grafts gets it.
        assert_eq!(told(&mut node, 401, In::Packet(1, Packet::Graft(Some(7)))), ["1: payload 7 2"]);
        told(&mut node, 40_000, In::Timeout);
        assert!(told(&mut node, 40_001, In::Packet(1, Packet::Graft(Some(7)))).is_empty(), "too late");
    }

    #[test]
    fn a_much_shorter_way_takes_the_place_of_a_longer_one() {
        for (hops, expected) in [(2 + SHORTER - 1, &[][..]), (2 + SHORTER, &["1: Graft(None)", "2: Prune"])] {
            let mut node = node([1, 2]);
            told(&mut node, 0, In::Packet(1, Packet::Prune));
            told(&mut node, 0, In::Packet(1, Packet::IHave(vec![(7, 2)])));
            assert_eq!(told(&mut node, 1, In::Packet(2, payload(7, hops))), expected, "{hops} hops");
        }
    }
}
