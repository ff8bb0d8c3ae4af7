//! Nodes that lie, flood and forge among honest ones: these talk on, complete and in time, and shut them out.

use bytes::Bytes;
use djembe_protocol::id::Lane;
use djembe_protocol::io::PresenceState;
use djembe_protocol::wire::frame::{Class, Frame, MembersDigest, Roots};
use djembe_sim::topology::NodeIx;
use djembe_sim::world::{Fault, World, WorldConfig};

mod support;
use support::*;

/// An envelope that nobody has signed.
fn forged() -> Frame {
    let mut envelope = vec![7; 600];
    envelope[..2].copy_from_slice(b"DJ");
    Frame::Data { group: 1, tree: 0, envelope: Bytes::from(envelope) }
}

/// A flood of `n` frames each 10 ms for a second, with honest talk between.
fn flood(world: &mut World, hostile: NodeIx, honest: &[NodeIx], frame: &Frame, n: usize) -> Vec<usize> {
    let mut numbers = Vec::new();
    for _ in 0..100 {
        for _ in 0..n {
            world.inject(hostile, Class::Control, frame);
        }
        numbers.extend(chatter(world, honest, Lane::Durable, 1, millis(10)));
    }
    numbers
}

/// What it says reaches nobody.
fn is_shut_out(world: &mut World, hostile: NodeIx, honest: &[NodeIx]) -> bool {
    let Some(number) = world.publish(hostile, 0, Lane::Durable, 100) else { return true };
    world.run_for(secs(5));
    !honest.iter().any(|node| world.ledger.reached(number, [*node]))
}

/// Goal: floods and forgeries cost their sender its links, and the honest nothing. Method: five honest, one that
/// is not, with packets lost.
#[test]
fn who_floods_or_forges_is_shut_out_and_the_others_talk_on() {
    let frames: [(Frame, usize, &str); 2] = [
        (forged(), 1, "version"),
        (Roots { roots: vec![(1, [1; 32], MembersDigest::default())] }.into(), 200, "flood"),
    ];
    for (frame, n, counter) in frames {
        let mut world = meshed(lossy(0.01), 6);
        let honest: Vec<NodeIx> = (0..5).collect();
        let numbers = flood(&mut world, 5, &honest, &frame, n);
        world.run_for(secs(5));
        assert!(is_shut_out(&mut world, 5, &honest), "{counter}");
        assert!(honest.iter().all(|node| world.count(*node, counter) > 0), "{counter}");
        assert!(honest.iter().all(|node| world.count(*node, "cut-off") == 1), "{counter}");
        assert_reached(&world, &numbers, honest.iter().copied());
        world.run_for(secs(60));
        let states = honest.iter().flat_map(|node| {
            let world = &world;
            honest
                .iter()
                .filter(move |other| *other != node)
                .map(move |other| world.ledger.state(*node, &world.host(*other).peer))
        });
        assert!(states.into_iter().all(|state| state == Some(PresenceState::Alive)), "{counter}");
        assert_clean(&world);
    }
}

/// Goal: who is shut out on one side of a cut network is not on the other, and nobody honest ever is, when a
/// network that was cut comes together with all it has to catch up on.
#[test]
fn a_partition_that_heals_makes_nobody_look_hostile() {
    let mut world = meshed(WorldConfig::default(), 8);
    world.fault(Fault::Partition(vec![0, 1, 2, 3]));
    world.run_for(secs(10));
    let left = chatter(&mut world, &[0, 1, 2, 3], Lane::Durable, 400, millis(2));
    let right = flood(&mut world, 7, &[4, 5, 6], &forged(), 1);
    world.fault(Fault::Heal);
    world.run_for(secs(20));
    for node in 0..7 {
        assert!(world.count(node, "flood") == 0, "node {node}");
    }
    for node in 0..4 {
        assert_eq!(world.count(node, "cut-off"), 0, "node {node}");
    }
    for node in 4..7 {
        assert_eq!(world.count(node, "cut-off"), 1, "only of the one that forged: node {node}");
    }
    assert_reached(&world, &left, 0..7);
    assert_reached(&world, &right, 0..7);
    assert_same_logs(&world, 0..7);
    assert_clean(&world);
}
