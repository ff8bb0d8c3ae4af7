//! What was delivered to whom: nothing forged, in another group, out of order or twice.

use djembe_protocol::io::Delivered;
use djembe_protocol::message::Body;
use djembe_protocol::time::Timestamp;

use super::{Ledger, Sent};
use crate::baseline::Carried;
use crate::topology::NodeIx;

/// Of the messages that an author published after another, so many are looked for when that one is delivered.
const ORDER_WINDOW: usize = 64;

impl Ledger {
    pub(super) fn on_delivered(&mut self, now: Timestamp, node: NodeIx, delivered: &Delivered) {
        if !self.honest.contains(&delivered.log.author) {
            self.n_foreign += delivered.messages.len() as u64;
            return;
        }
        if self.has_apps {
            return self.on_delivered_to_app(now, node, delivered);
        }
        let is_own = delivered.log.author == self.peers[node];
        let mut is_first = false;
        for body in &delivered.messages {
            let number = body.content.first_chunk::<8>().map(|n| u64::from_le_bytes(*n) as usize);
            let Some(number) = number.filter(|number| *number < self.messages.len()) else {
                self.violate(now, node, "forged", "a message that nobody published".to_owned());
                continue;
            };
            self.check_origin(now, node, delivered, number);
            self.check_once(now, node, number);
            self.check_order(now, node, number);
            is_first |= self.on_message(now, node, number) && !is_own;
        }
        if is_first {
            self.n_envelopes += 1;
            self.sealed += delivered.envelope.as_bytes().len() as u64;
        }
    }

    /// An application may say what it likes; but each log comes in its order, and nothing of it twice.
    fn on_delivered_to_app(&mut self, now: Timestamp, node: NodeIx, delivered: &Delivered) {
        let last = self.sights[node].last.insert((delivered.group, delivered.log), delivered.seq);
        if last.is_some_and(|last| last >= delivered.seq) {
            let text = format!("envelope {} of {:?} after {last:?}", delivered.seq, delivered.log);
            self.violate(now, node, "order", text);
        }
        let is_own = delivered.log.author == self.peers[node];
        for body in &delivered.messages {
            if let Some(number) = self.number_of(delivered, body) {
                self.check_once(now, node, number);
                self.on_message(now, node, number);
            } else if !is_own {
                self.payload += body.content.len() as u64;
            }
        }
        if !is_own {
            self.n_envelopes += 1;
            self.sealed += delivered.envelope.as_bytes().len() as u64;
        }
    }

    /// The message of the scenario that this is, where applications speak as well: theirs would have to be of the same size
    /// and begin with the number of one of the same author.
    fn number_of(&self, delivered: &Delivered, body: &Body) -> Option<usize> {
        let number = usize::try_from(u64::from_le_bytes(*body.content.first_chunk()?)).ok()?;
        let sent = self.messages.get(number)?;
        let is_it = (self.peers[sent.author], sent.lane, sent.group)
            == (delivered.log.author, delivered.log.lane, delivered.group);
        (is_it && sent.size == body.content.len()).then_some(number)
    }

    /// A baseline has delivered a message. Of order it promises nothing.
    pub(crate) fn on_carried(&mut self, now: Timestamp, node: NodeIx, carried: Carried) {
        let number = carried.number as usize;
        let Some(author) = self.messages.get(number).map(|sent| sent.author) else {
            return self.violate(now, node, "forged", "a message that nobody published".to_owned());
        };
        if author != carried.author {
            self.violate(now, node, "forged", format!("message {number} came as of node {}", carried.author));
        }
        self.check_once(now, node, number);
        if self.on_message(now, node, number) && node != author {
            self.n_envelopes += 1;
            self.sealed += carried.sealed as u64;
        }
    }

    /// A node has a message. True if it never had it before.
    fn on_message(&mut self, now: Timestamp, node: NodeIx, number: usize) -> bool {
        let sent = &mut self.messages[number];
        let is_new = sent.delivered.insert(node);
        if is_new && self.peers[sent.author] != self.peers[node] {
            self.payload += sent.size as u64;
            // What was said before a node came is history to it, and as old as it is.
            if self.started[node] <= sent.at {
                let took = (now - sent.at).as_micros() as u64;
                self.latencies.push(took);
                sent.latencies.push(took);
                if self.struck.contains(&node) {
                    sent.struck.push(took);
                }
            }
        }
        is_new
    }

    /// Nothing is delivered as somebody else's, in another lane or group, or to who is not in its group.
    fn check_origin(&mut self, now: Timestamp, node: NodeIx, delivered: &Delivered, number: usize) {
        let sent = &self.messages[number];
        let (group, truth) = (sent.group, (self.peers[sent.author], sent.lane));
        if truth != (delivered.log.author, delivered.log.lane) {
            self.violate(now, node, "forged", format!("message {number} came as {:?}", delivered.log));
        }
        if group != delivered.group {
            self.violate(now, node, "groups", format!("message {number} came in another group"));
        } else if !self.in_group.get(&group).is_some_and(|members| members.contains(&node)) {
            self.violate(now, node, "groups", format!("message {number} came to who is not in its group"));
        }
    }

    /// Nothing is delivered twice in one run.
    fn check_once(&mut self, now: Timestamp, node: NodeIx, number: usize) {
        if !self.messages[number].this_run.insert(node) {
            self.violate(now, node, "twice", format!("message {number} was delivered before"));
        }
    }

    /// Each log comes in the order of its publishes: none of those after it was there before.
    fn check_order(&mut self, now: Timestamp, node: NodeIx, number: usize) {
        let Sent { author, group, lane, .. } = self.messages[number];
        let Some(numbers) = self.tickets.get(&(author, group, lane)) else { return };
        let after = numbers.partition_point(|(_, other)| *other <= number);
        let mut later = numbers[after..].iter().take(ORDER_WINDOW).map(|(_, later)| *later);
        let overtook = later.find(|later| self.messages[*later].this_run.contains(&node));
        if let Some(later) = overtook {
            self.violate(now, node, "order", format!("message {number} came after {later}"));
        }
    }
}
