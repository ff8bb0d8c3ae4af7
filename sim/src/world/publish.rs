//! Nodes say something.

use djembe_protocol::id::Lane;
use djembe_protocol::io::{Command, Input};
use djembe_protocol::message::Draft;

use super::World;
use crate::baseline::Protocol;
use crate::report::quantile_ms;
use crate::topology::NodeIx;

/// What an application would have published while its process stood still.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    group: usize,
    lane: Lane,
    size: usize,
}

impl World {
    /// A node publishes `size` bytes. Returns the message's number in the ledger, or nothing if the node is down
    /// or takes no more. While it stands still its application does so too: what it would publish has no number yet, and
    /// is published when it goes on, if it does.
    pub fn publish(&mut self, node: NodeIx, group: usize, lane: Lane, size: usize) -> Option<usize> {
        let id = self.group_id(group);
        if self.host(node).is_paused {
            self.held.entry(node).or_default().push(Held { group, lane, size });
            return None;
        }
        let engine = self.host_mut(node).engine.as_mut()?;
        if !engine.accepts(id, lane) {
            self.ledger.n_refused += 1;
            return None;
        }
        let receivers = (0..self.n_nodes())
            .filter(|other| {
                let place = self.topology.places[*other];
                place.is_up && !place.is_paused && !place.is_hostile && self.topology.reaches(node, *other)
            })
            .filter(|other| self.is_member(*other, group));
        let receivers = receivers.collect();
        let every = self.config.optimum_every;
        let is_wanted = every > 0 && self.ledger.messages.len().is_multiple_of(every);
        let best = if is_wanted { self.best_from(node, group) } else { Vec::new() };
        let ticket = self.host_mut(node).next_ticket(id, lane);
        let (number, content) = self.ledger.on_publish(self.now, node, id, (lane, ticket), size, receivers);
        let sent = &mut self.ledger.messages[number];
        (sent.best_p99, sent.best_full) = (quantile_ms(&best, 0.99), best.last().copied().unwrap_or(0));
        let draft = Draft { content, ..Draft::default() };
        if self.config.protocol != Protocol::Djembe {
            self.carry(number, group, &draft);
            return Some(number);
        }
        let command = Command::Publish { group: id, lane, ttl_secs: 0, draft, ticket };
        self.input(node, Input::Command(command));
        Some(number)
    }

    /// An application whose process goes on does what it was about to do.
    pub(super) fn publish_held(&mut self, node: NodeIx) {
        for Held { group, lane, size } in self.held.remove(&node).unwrap_or_default() {
            self.publish(node, group, lane, size);
        }
    }
}
