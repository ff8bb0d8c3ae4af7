//! Who is there, and who starts when.

use core::time::Duration;

use djembe_protocol::time::Timestamp;

use super::{World, WorldConfig, groups};
use crate::topology::NodeIx;

/// These nodes, when each of them starts if one comes after the other in equal steps over so long.
pub(crate) fn in_turn(
    nodes: impl ExactSizeIterator<Item = NodeIx>,
    from: Duration,
    over: Duration,
) -> impl Iterator<Item = (Duration, NodeIx)> {
    let n = u32::try_from(nodes.len()).unwrap_or(u32::MAX).max(1);
    (0..).zip(nodes).map(move |(ix, node)| (from + over * ix / n, node))
}

impl World {
    /// The same, started one after the other over `joins`: the contact first, if there is one.
    pub fn arriving(config: WorldConfig, n: usize, joins: Duration) -> Self {
        let contact = config.contact;
        let mut world = Self::peopled(config, n, 1, 1);
        world.arrive(first_come(n, contact, joins));
        world
    }

    /// `n` nodes that have not started, each in `each` of `n_groups` groups of about one size; who is in which is drawn
    /// from the seed.
    pub fn peopled(config: WorldConfig, n: usize, n_groups: usize, each: usize) -> Self {
        let mut world = Self::new(config);
        world.add_group("lobby");
        for group in 1..n_groups {
            world.add_group(&format!("group-{group}"));
        }
        for groups in groups::draw(world.config.seed, n, n_groups, each) {
            let node = world.add_node();
            groups.into_iter().for_each(|group| world.member(node, group));
        }
        world
    }

    /// They start, each at its time.
    pub fn arrive(&mut self, all: impl IntoIterator<Item = (Duration, NodeIx)>) {
        for (at, node) in all {
            if at.is_zero() {
                self.start(node);
            } else {
                self.start_at(Timestamp::ZERO + at, node);
            }
        }
    }
}

/// The first `n` nodes in the order in which they come, the contact first.
pub(crate) fn first_come(
    n: usize,
    contact: Option<NodeIx>,
    joins: Duration,
) -> impl Iterator<Item = (Duration, NodeIx)> {
    let mut order: Vec<NodeIx> = (0..n).collect();
    order.swap(0, contact.unwrap_or(0).min(n.saturating_sub(1)));
    in_turn(order.into_iter(), Duration::ZERO, joins)
}
