//! A LAN on which everybody is linked to everybody: delivery, faults, presence.

use core::time::Duration;

use djembe_protocol::id::Lane;
use djembe_protocol::io::{PresenceCause, PresenceState};
use djembe_sim::topology::NodeIx;
use djembe_sim::world::{Fault, World, WorldConfig};

mod support;
use support::*;

/// Goal: the least there is. Method: two nodes find each other and each publishes in both lanes.
#[test]
fn two_nodes_exchange_messages() {
    let mut world = meshed(WorldConfig::default(), 2);
    let mut numbers = chatter(&mut world, &[0, 1], Lane::Durable, 10, millis(20));
    numbers.extend(chatter(&mut world, &[0, 1], Lane::Live, 10, millis(20)));
    world.run_for(millis(100));
    assert_eq!(numbers.len(), 20);
    assert_reached(&world, &numbers, 0..2);
    assert_clean(&world);
}

/// Goal: one seed is one run. Method: the same world twice, and once with another seed.
#[test]
fn one_seed_is_one_trace() {
    let run = |seed| {
        let config = WorldConfig { seed, ..lossy(0.05) };
        let mut world = meshed(config, 5);
        chatter(&mut world, &[0, 1, 2], Lane::Durable, 10, millis(20));
        world.fault(Fault::Crash(4));
        world.run_for(secs(5));
        world.trace_hash()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

/// Goal: in a full mesh an envelope travels to each member exactly once. Method: 16 nodes publish in both lanes
/// without loss; count envelopes that arrived for each that was new.
#[test]
fn sixteen_nodes_get_one_copy_each() {
    let mut world = meshed(WorldConfig::default(), 16);
    let everybody: Vec<NodeIx> = (0..16).collect();
    let mut numbers = chatter(&mut world, &everybody, Lane::Durable, 64, millis(10));
    numbers.extend(chatter(&mut world, &everybody, Lane::Live, 64, millis(10)));
    world.run_for(secs(1));
    assert_eq!(numbers.len(), 128);
    assert_reached(&world, &numbers, 0..16);
    assert_eq!(world.ledger.n_envelopes, 128 * 15);
    assert_eq!(world.ledger.n_copies, world.ledger.n_envelopes);
    assert_clean(&world);
}

/// Goal: loss delays and does not lose. Method: the same with 5 % of packets lost.
#[test]
fn loss_costs_time_only() {
    let mut world = meshed(lossy(0.05), 16);
    let everybody: Vec<NodeIx> = (0..16).collect();
    let mut numbers = chatter(&mut world, &everybody, Lane::Durable, 64, millis(10));
    numbers.extend(chatter(&mut world, &everybody, Lane::Live, 64, millis(10)));
    world.run_for(secs(5));
    assert_reached(&world, &numbers, 0..16);
    assert_clean(&world);
}

/// Goal: both halves of a split go on, agree afterwards, know who cannot be asked, and nobody flaps. Method: cut
/// two parts of a mesh from each other for 20 s while both publish; after healing 20 s to converge. By seed, size,
/// loss.
#[test]
fn a_partition_heals() {
    for (seed, sizes, loss) in [(1, (8, 8), 0.0), (2, (6, 6), 0.0), (3, (6, 6), 0.05), (4, (3, 9), 0.0)] {
        let (first, n) = (sizes.0, sizes.0 + sizes.1);
        let mut world = meshed(WorldConfig { seed, ..lossy(loss) }, n);
        world.fault(Fault::Partition((0..first).collect()));
        let mut numbers = chatter(&mut world, &[0, 2, first, n - 1], Lane::Durable, 40, millis(500));
        let told = format!("seed {seed}, {sizes:?}, loss {loss}");
        for node in 0..n {
            for other in (0..n).filter(|other| *other != node) {
                let is_near = (node < first) == (other < first);
                let expected = if is_near { PresenceState::Alive } else { PresenceState::Suspect };
                let said = world.ledger.said(node, &world.host(other).peer);
                assert_eq!(said.map(|said| said.0), Some(expected), "{told}: node {node} of {other}");
                let is_partition = said.is_some_and(|said| said.1 == PresenceCause::Partition);
                assert!(is_near || is_partition, "{told}: node {node} of {other}: {said:?}");
            }
        }
        world.fault(Fault::Heal);
        let healed = world.run_while(secs(20), |world| !world.is_full_mesh());
        assert!(healed.is_some_and(|took| took < secs(10)), "{told}: full mesh again after {healed:?}");
        numbers.extend(chatter(&mut world, &[1, first + 1], Lane::Durable, 4, millis(10)));
        world.run_for(secs(5));
        assert_reached(&world, &numbers, 0..n);
        assert_all_alive(&world, &told);
        assert_eq!(world.ledger.n_flaps, 0, "{told}");
        assert_same_logs(&world, 0..n);
        assert_clean(&world);
    }
}

fn assert_all_alive(world: &World, told: &str) {
    for node in 0..world.n_nodes() {
        for other in (0..world.n_nodes()).filter(|other| *other != node) {
            let state = world.ledger.state(node, &world.host(other).peer);
            assert_eq!(state, Some(PresenceState::Alive), "{told}: node {node} of {other}");
        }
    }
}

/// Goal: a cut that nobody mends ends in gone, by each for himself, and is no trouble when it is mended after all.
#[test]
fn a_partition_that_stays_ends_in_gone() {
    let mut world = meshed(WorldConfig::default(), 8);
    world.fault(Fault::Partition((0..4).collect()));
    world.run_for(secs(90));
    assert!(world.ledger.gone_at.is_empty(), "held until then: {:?}", world.ledger.gone_at);
    world.run_for(secs(7));
    assert_eq!(world.ledger.gone_at.len(), 2 * 4 * 4);
    world.fault(Fault::Heal);
    world.run_for(secs(20));
    assert_all_alive(&world, "after 97 s");
    assert_clean(&world);
}

/// Goal: a death during a partition is one all the same, on the side where it can be seen; on the other it shows
/// when the partition has ended.
#[test]
fn a_death_in_a_partition_is_seen_by_those_who_can() {
    let mut world = meshed(WorldConfig::default(), 12);
    world.fault(Fault::Partition((0..6).collect()));
    world.run_for(secs(8));
    world.fault(Fault::Crash(2));
    world.run_for(secs(8));
    let dead = world.host(2).peer;
    for node in (0..12).filter(|node| *node != 2) {
        let expected = if node < 6 { PresenceState::Gone } else { PresenceState::Suspect };
        assert_eq!(world.ledger.state(node, &dead), Some(expected), "node {node}");
    }
    world.fault(Fault::Heal);
    world.run_for(secs(30));
    for node in (0..12).filter(|node| *node != 2) {
        assert_eq!(world.ledger.state(node, &dead), Some(PresenceState::Gone), "node {node}");
    }
    assert_eq!((world.ledger.n_flaps, world.ledger.gone_at.len()), (0, 11));
    assert_clean(&world);
}

/// When each of the others said that a node is gone, and that nobody else is.
fn gone_within(world: &mut World, dead: NodeIx, time: Duration) {
    let start = world.now();
    world.run_for(time);
    let peer = world.host(dead).peer;
    for node in (0..world.n_nodes()).filter(|node| *node != dead) {
        let at = world.ledger.gone_at.get(&(node, peer));
        assert!(at.is_some_and(|at| *at >= start), "node {node} knows after {time:?}");
        let others: Vec<_> =
            world.ledger.gone_at.keys().filter(|(of, gone)| *of == node && *gone != peer).collect();
        assert_eq!(others, Vec::<&(NodeIx, _)>::new(), "nobody else is gone at {node}");
    }
}

/// Goal: a dead process is known to be dead, and nobody else is. Method: crash one of six, with and without a
/// reset, without and with 20 % loss.
#[test]
fn a_crash_is_known_within_eight_seconds() {
    for loss in [0.0, 0.2] {
        for fault in [Fault::Crash(2), Fault::PowerOff(2)] {
            let mut world = meshed(lossy(loss), 6);
            world.run_for(secs(10));
            world.fault(fault);
            gone_within(&mut world, 2, secs(8));
            world.run_for(secs(20));
            assert_clean(&world);
        }
    }
}

/// Goal: who comes back gets what it missed. Method: crash, others publish, restart.
#[test]
fn a_restarted_node_catches_up() {
    let mut world = meshed(WorldConfig::default(), 6);
    let mut numbers = chatter(&mut world, &[0, 1, 2], Lane::Durable, 9, millis(50));
    world.fault(Fault::Crash(2));
    world.run_for(secs(5));
    numbers.extend(chatter(&mut world, &[0, 1], Lane::Durable, 200, millis(5)));
    world.fault(Fault::Restart(2));
    world.run_for(secs(5));
    numbers.extend(chatter(&mut world, &[2, 0], Lane::Durable, 4, millis(50)));
    world.run_for(secs(1));
    assert_reached(&world, &numbers, 0..6);
    assert_clean(&world);
}

/// Goal: a goodbye is no riddle. Method: shut one of six down; all know within 100 ms.
#[test]
fn a_goodbye_is_immediate() {
    let mut world = meshed(WorldConfig::default(), 6);
    world.fault(Fault::Shutdown(4));
    gone_within(&mut world, 4, millis(100));
    world.run_for(secs(10));
    assert_clean(&world);
}

/// Goal: a late joiner gets the whole durable log, and nothing live from before it came.
#[test]
fn a_late_joiner_gets_durable_history_only() {
    let mut world = meshed(WorldConfig::default(), 4);
    let durable = chatter(&mut world, &[0, 1, 2, 3], Lane::Durable, 300, millis(3));
    let live = chatter(&mut world, &[0, 1, 2, 3], Lane::Live, 20, millis(3));
    let late = world.add_node();
    world.member(late, 0);
    world.start(late);
    world.run_for(secs(5));
    assert_reached(&world, &durable, 0..5);
    assert!(live.iter().all(|number| !world.ledger.reached(*number, [late])));
    let after = chatter(&mut world, &[0, 1, late], Lane::Live, 6, millis(20));
    world.run_for(secs(1));
    assert_reached(&world, &after, 0..5);
    assert!(live.iter().all(|number| !world.ledger.reached(*number, [late])));
    assert_clean(&world);
}
