//! Goal: headers are elided on every link and made whole again whatever the network does; a stream that comes apart
//! costs its link and no message. Method: few nodes, many links; then a byte changed on the way.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

mod support;

use djembe_protocol::id::Lane;
use djembe_protocol::io::CloseCause;
use djembe_protocol::limits::ANNOUNCE_PAUSE;
use djembe_sim::topology::NodeIx;
use djembe_sim::world::{Fault, World, WorldConfig};

use support::{assert_clean, assert_reached, assert_same_logs, chatter, lossy, meshed, millis, secs};

/// The kind of a frame with an envelope.
const DATA: u8 = 13;
/// The kind of a frame that announces.
const ANNOUNCE: u8 = 14;
/// Length, kind, group, count; log, numbers passed over, length of the range with whether its tree is another.
const ANNOUNCED: u64 = 4 + 3 + 3;
/// Content of 200 bytes, four of length and 13 of body, padded; the tag.
const CIPHERTEXT: u64 = 224 + 16;
/// The whole header with its frame, and what is left of it.
const WHOLE: u64 = 9 + 320;
const ELIDED: u64 = 4 + 5 + 2 + 112;

fn count_all(world: &World, cause: &str) -> u64 {
    (0..world.n_nodes()).map(|node| world.count(node, cause)).sum()
}

fn assert_never_apart(world: &World) {
    assert_eq!(count_all(world, "elided-header"), 0);
    assert_eq!(count_all(world, "signature"), 0);
    assert_eq!(world.disconnects().get(&CloseCause::ElidedHeader), None);
}

#[test]
fn a_lone_message_travels_without_what_its_receivers_know() {
    let mut world = meshed(WorldConfig::default(), 5);
    let warm_up = chatter(&mut world, &[0, 1], Lane::Durable, 2, millis(100));
    let before = world.frames()[&DATA];
    let numbers = chatter(&mut world, &[0, 1], Lane::Durable, 20, millis(100));
    let after = world.frames()[&DATA];
    assert_reached(&world, &warm_up, 0..5);
    assert_reached(&world, &numbers, 0..5);
    let copies = after.0 - before.0;
    assert_eq!(copies, 20 * 4, "one copy for each receiver");
    assert_eq!(after.1 - before.1, copies * (ELIDED + CIPHERTEXT));
    assert!(before.1 < before.0 * (WHOLE + CIPHERTEXT), "even the first costs less than whole");
    assert_never_apart(&world);
    assert_clean(&world);
}

/// Each is for one message: they come so far apart that none waits for the next.
#[test]
fn an_announcement_names_a_known_log_by_one_byte() {
    let mut world = meshed(WorldConfig::default(), 5);
    chatter(&mut world, &[0, 1], Lane::Durable, 60, ANNOUNCE_PAUSE + millis(100));
    let before = world.frames()[&ANNOUNCE];
    chatter(&mut world, &[0, 1], Lane::Durable, 40, ANNOUNCE_PAUSE + millis(100));
    let after = world.frames()[&ANNOUNCE];
    let n = after.0 - before.0;
    assert!(n > 40);
    assert_eq!(after.1 - before.1, n * ANNOUNCED);
    assert_never_apart(&world);
}

#[test]
fn loss_takes_no_stream_apart() {
    let mut world = meshed(lossy(0.05), 8);
    let nodes: Vec<NodeIx> = (0..8).collect();
    let mut numbers = chatter(&mut world, &nodes, Lane::Durable, 80, millis(20));
    numbers.extend(chatter(&mut world, &nodes, Lane::Live, 80, millis(20)));
    world.run_for(secs(5));
    assert_reached(&world, &numbers, 0..8);
    assert_same_logs(&world, 0..8);
    assert_never_apart(&world);
    assert_clean(&world);
}

/// Links that are cut, given up and made again start with empty tables at both ends.
#[test]
fn a_partition_takes_no_stream_apart() {
    let mut world = meshed(WorldConfig::default(), 6);
    let mut numbers = chatter(&mut world, &[0, 5], Lane::Durable, 10, millis(50));
    world.fault(Fault::Partition(vec![0, 1, 2]));
    numbers.extend(chatter(&mut world, &[0, 5], Lane::Durable, 30, millis(500)));
    world.fault(Fault::Heal);
    numbers.extend(chatter(&mut world, &[0, 5], Lane::Durable, 30, millis(500)));
    world.run_for(secs(5));
    assert_reached(&world, &numbers, 0..6);
    assert_same_logs(&world, 0..6);
    assert_never_apart(&world);
    assert_clean(&world);
}

/// A byte of an elided header is not what the sender's tables say: the log's number becomes one that nobody gave.
/// The link ends with its cause counted, another takes its place, and what was on its way is fetched.
#[test]
fn a_stream_that_comes_apart_ends_its_link_and_loses_nothing() {
    const LOG: usize = 5;
    let mut world = meshed(WorldConfig::default(), 4);
    let mut numbers = chatter(&mut world, &[0], Lane::Durable, 3, millis(100));
    let (link, receiver) = world.host(0).links.iter().map(|(link, end)| (*link, end.other)).next().unwrap();
    numbers.extend(world.publish(0, 0, Lane::Durable, 200));
    let garbled = world.run_while(millis(100), |world| {
        // Until the envelope has left the store and is on its way.
        world.frames()[&DATA].0 < 4 * 3
    });
    assert!(garbled.is_some() && world.garble(link, receiver, LOG));
    world.run_for(secs(5));
    assert_eq!(count_all(&world, "elided-header"), 1);
    assert_eq!(world.count(receiver, "elided-header"), 1);
    assert_eq!(world.disconnects().get(&CloseCause::ElidedHeader), Some(&1));
    assert!(!world.host(0).links.contains_key(&link), "the link has ended");
    assert!(world.is_full_mesh(), "another has taken its place");
    numbers.extend(chatter(&mut world, &[0], Lane::Durable, 3, millis(100)));
    assert_reached(&world, &numbers, 0..4);
    assert_same_logs(&world, 0..4);
    assert_clean(&world);
}
