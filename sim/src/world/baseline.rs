//! Messages that a baseline spreads in place of the engines.

use bytes::Bytes;
use djembe_protocol::crypto::{SealInput, seal};
use djembe_protocol::id::EnvelopeId;
use djembe_protocol::message::{Draft, encode_body};
use djembe_protocol::time::Hlc;

use super::{World, key_of};
use crate::baseline::{Message, Number};
use crate::rng::{Purpose, Rng};
use crate::topology::NodeIx;

impl World {
    /// A node that was just started has its baseline beside its engine, if this is a world of one.
    pub(super) fn start_baseline(&mut self, node: NodeIx) {
        let run = self.host(node).run;
        let rng = Rng::split(self.config.seed, node, run, Purpose::Baseline);
        if let Some(machine) = self.config.protocol.machine(rng) {
            self.with_shard(node, |shard, topology, local| shard.carry(topology, local, machine));
        }
    }

    /// A node publishes a message of the ledger by its baseline.
    pub(super) fn carry(&mut self, number: usize, group: usize, draft: &Draft) {
        let author = self.ledger.messages[number].author;
        self.ledger.messages[number].is_sealed = true;
        let envelope = self.envelope(number, group, draft);
        let message = Message { number: Number::try_from(number).unwrap_or(Number::MAX), author, envelope };
        self.with_shard(author, |shard, topology, local| shard.carry_message(topology, local, message));
    }

    /// The envelope that an engine would send of such a message alone, but for its place in a log.
    fn envelope(&self, number: usize, group: usize, draft: &Draft) -> Bytes {
        let sent = &self.ledger.messages[number];
        let body = encode_body(draft, Hlc::default()).expect("a scenario's messages are not too large");
        // As if the numbers before had been given up: so it begins a log, and yet differs from others.
        let skip = u32::try_from(number).unwrap_or(u32::MAX);
        let input = SealInput {
            lane: sent.lane,
            seq: u64::from(skip),
            prev: EnvelopeId::NONE,
            skip,
            ttl_secs: 0,
            bodies: &[body],
            frame_salt: [0; 16],
        };
        let key = key_of(&self.groups[group].0);
        let sealed = seal(&self.host(sent.author).identity(), &key, &input);
        sealed.expect("one message fits into an envelope").as_bytes().clone()
    }
}
