//! Hostile nodes: who they are, and when they start.

use djembe_protocol::id::PeerId;
use djembe_protocol::wire::frame::Address;

use super::{World, key_of};
use crate::attack::Kind;
use crate::rng::{Purpose, Rng};
use crate::shard::Villain;
use crate::topology::{NodeIx, ip4};

impl World {
    /// A hostile node, not started yet, in the first group. Those of one `operator` have one IP address.
    pub fn add_attacker(&mut self, kind: Kind, operator: u16) -> NodeIx {
        let node = self.add_node_with(None, *b"sim-net1", true);
        self.member(node, 0);
        let [c, d] = operator.to_be_bytes();
        self.topology.set_address(node, ip4([172, 16, c, d], node as u16));
        let rng = Rng::split(self.config.seed, node, 0, Purpose::Attack);
        let (identity, key) = (self.host(node).identity(), key_of(&self.groups[0].0));
        let villain = Villain { kind, attacker: kind.attacker(), rng, identity, key, n_published: 0 };
        self.shards[0].villains.insert(node, villain);
        self.ledger.set_hostile(node);
        node
    }

    /// Whether a node is an attacker.
    pub fn is_hostile(&self, node: NodeIx) -> bool {
        self.topology.places[node].is_hostile
    }

    /// All nodes that are no attackers.
    pub fn honest(&self) -> impl Iterator<Item = NodeIx> + '_ {
        (0..self.n_nodes()).filter(|node| !self.is_hostile(*node))
    }

    /// What an honest node's links are to: attackers, and all.
    pub fn surrounded(&self, node: NodeIx) -> (usize, usize) {
        let neighbours = self.neighbours(node);
        (neighbours.iter().filter(|other| self.is_hostile(**other)).count(), neighbours.len())
    }

    /// An attacker has been started. Whom it finds running then is whom all of them are after.
    pub(super) fn on_villain_started(&mut self, node: NodeIx) {
        if self.shards[0].club.honest.is_empty() {
            self.shards[0].club.honest = self.running_honest();
        }
        self.with_shard(node, |shard, topology, local| shard.on_villain_started(topology, local));
    }

    fn running_honest(&self) -> Vec<(PeerId, Address)> {
        let up = self.honest().filter(|node| self.topology.places[*node].is_up);
        up.map(|node| (self.topology.peers[node], self.address(node))).collect()
    }

    /// The attack that is under way.
    pub fn attack(&self) -> Option<Kind> {
        self.shards[0].villains.values().next().map(|villain| villain.kind)
    }
}
