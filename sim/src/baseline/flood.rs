//! Plain flooding: every message that is new goes to all neighbours but the one that it came from. Nothing is faster
//! over the same links, and nothing that reaches everybody sends more copies.

use std::collections::BTreeSet;

use djembe_protocol::time::Timestamp;

use super::{Baseline, In, Message, Out, Packet, Seen};
use crate::topology::NodeIx;

/// As djembe's frame: length 4, kind 1, group 2, tree 2. An envelope's own hash tells it from others.
const HEADER: usize = 9;

/// The state of a node.
#[derive(Debug, Default)]
pub(super) struct Flood {
    neighbours: BTreeSet<NodeIx>,
    seen: Seen,
}

impl Flood {
    fn take(&mut self, message: Message, from: Option<NodeIx>, hops: u16, out: &mut Vec<Out>) {
        if !self.seen.insert(message.number as usize) {
            return;
        }
        for to in self.neighbours.iter().filter(|to| Some(**to) != from) {
            out.push(Out::Send(*to, Packet::Payload(message.clone(), hops)));
        }
        out.push(Out::Deliver(message));
    }
}

impl Baseline for Flood {
    fn handle(&mut self, _: Timestamp, input: In, out: &mut Vec<Out>) {
        match input {
            In::Up(peer) => {
                self.neighbours.insert(peer);
            }
            In::Down(peer) => {
                self.neighbours.remove(&peer);
            }
            In::Publish(message) => self.take(message, None, 0, out),
            In::Packet(from, Packet::Payload(message, hops)) => {
                self.take(message, Some(from), hops.saturating_add(1), out);
            }
            In::Packet(..) | In::Timeout => {}
        }
    }

    fn header_len(&self, _: &Packet) -> usize {
        HEADER
    }
}
