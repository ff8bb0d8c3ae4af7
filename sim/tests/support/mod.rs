//! The harness's verbs.
#![allow(dead_code, reason = "each test file uses some of them")]

use core::time::Duration;

use djembe_protocol::id::Lane;
use djembe_sim::topology::{Conditions, NodeIx};
use djembe_sim::world::{World, WorldConfig};

pub(crate) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn lossy(loss: f64) -> WorldConfig {
    let mut config = WorldConfig::default();
    config.network.loss = loss;
    config
}

/// Nodes 10 to 50 ms apart that know one contact.
pub(crate) fn far_apart(loss: f64) -> WorldConfig {
    let network = Conditions {
        latency: millis(10),
        spread: millis(40),
        jitter_share: 0.1,
        loss,
        ..Conditions::default()
    };
    WorldConfig { network, contact: Some(0), ..WorldConfig::default() }
}

/// `n` nodes that have found each other.
pub(crate) fn meshed(config: WorldConfig, n: usize) -> World {
    let mut world = World::lan(config, n);
    let took = world.run_while(secs(10), |world| !world.is_full_mesh());
    assert!(took.is_some(), "no full mesh in 10 s");
    world.run_for(secs(3));
    world
}

/// These publish in turn, `n` messages in all, one each `pause`.
pub(crate) fn chatter(
    world: &mut World,
    nodes: &[NodeIx],
    lane: Lane,
    n: usize,
    pause: Duration,
) -> Vec<usize> {
    let mut numbers = Vec::new();
    for i in 0..n {
        numbers.extend(world.publish(nodes[i % nodes.len()], 0, lane, 200));
        world.run_for(pause);
    }
    numbers
}

pub(crate) fn assert_clean(world: &World) {
    assert_eq!(world.ledger.violations, []);
}

/// How many of the messages reached all of these nodes.
pub(crate) fn reached(
    world: &World,
    numbers: &[usize],
    nodes: impl Iterator<Item = NodeIx> + Clone,
) -> usize {
    let reached = numbers.iter().filter(|number| world.ledger.reached(**number, nodes.clone()));
    reached.count()
}

pub(crate) fn assert_reached(world: &World, numbers: &[usize], nodes: impl Iterator<Item = NodeIx> + Clone) {
    for number in numbers {
        let sent = &world.ledger.messages[*number];
        assert!(
            world.ledger.reached(*number, nodes.clone()),
            "message {number} of node {} reached only {:?}",
            sent.author,
            sent.delivered
        );
    }
}

/// Every kept log is complete to the same number, with the same last envelope, on every disk.
pub(crate) fn assert_same_logs(world: &World, nodes: impl Iterator<Item = NodeIx>) {
    let mut logs = nodes.map(|node| (node, world.host(node).disk.frontiers(&world.group_id(0))));
    let (_, first) = logs.next().expect("at least one node");
    for (node, other) in logs {
        assert_eq!(other, first, "logs of node {node}");
    }
}
