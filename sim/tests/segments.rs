//! Segments of a LAN: who is on one hears the others there, and nobody else.

use djembe_protocol::time::Timestamp;
use djembe_sim::scenario::{SHIPPED, Scenario};
use djembe_sim::search::attempt;

mod support;
use support::*;

/// As what beacons are counted among frames.
const BEACON: u8 = 210;

fn floors(sets: &[&str]) -> Scenario {
    let (_, text) = SHIPPED.iter().find(|(name, _)| *name == "segments-60").expect("shipped");
    let small = ["nodes=30", "messages.start=12s", "messages.stop=22s", "duration=60s"];
    let sets: Vec<String> = small.iter().chain(sets).map(|set| (*set).to_owned()).collect();
    Scenario::parse(text, &sets).expect("a scenario")
}

/// Goal: a beacon goes as far as its segment, and costs three datagrams, as real ones do. Method: nobody knows a contact,
/// a tenth of the beacons is lost; after ten seconds each is linked to all of its floor and to nobody else, and whoever is
/// at home to nobody.
#[test]
fn a_beacon_goes_as_far_as_its_segment() {
    let mut scenario = floors(&["loss=0.1", "joins=1s"]);
    scenario.contact = None;
    let mut world = scenario.world();
    world.run_for(secs(10));
    for node in 0..30 {
        let floor = world.topology().segment(node).unwrap_or_default();
        let mut others: Vec<usize> = floor.iter().copied().filter(|other| *other != node).collect();
        let mut linked = world.neighbours(node);
        others.sort_unstable();
        linked.sort_unstable();
        assert_eq!(linked, others, "node {node}");
    }
    let on_floors = (0..30).filter(|node| world.topology().segment(*node).is_some()).count() as u64;
    assert!(on_floors < 30, "somebody is at home");
    let (datagrams, bytes) = world.frames()[&BEACON];
    let beacons = datagrams / 3;
    // Five at first, one each 2.4 to 3.6 s from then on.
    assert!((on_floors * 7..=on_floors * 9).contains(&beacons), "{beacons} of {on_floors}");
    assert_eq!(bytes, datagrams * 126);
    // Ethernet and UDP around each, IPv4 around two, IPv6 around the third.
    let around = 3 * (18 + 8) + 2 * 20 + 40;
    assert_eq!(world.wire_bytes_of(&[BEACON]), beacons * (3 * 126 + around));
}

/// Goal: floors and homes that have one contact in common are one network, also where packets are lost and the floors
/// are cut from each other for a while; one seed is one run, on any number of threads and however frames travel.
#[test]
fn floors_with_a_contact_are_one_network() {
    let cut = "partitions=[{nodes=12, at=\"14s\", until=\"20s\"}]";
    let bad = ["loss=0.05", cut];
    for sets in [&[][..], &bad] {
        let outcome = attempt(&floors(sets));
        assert_eq!(outcome.findings, [], "{sets:?}");
        assert!(outcome.report.expect("it did not panic").discovery_bytes_per_node_second > 0.0);
    }
    let hash = |sets: &[&str]| {
        let mut world = floors(&[&bad[..], sets].concat()).world();
        world.run_until(Timestamp::ZERO + secs(20));
        world.trace_hash()
    };
    let one = hash(&[]);
    assert_eq!([hash(&["threads=2"]), hash(&["carry=frames"])], [one.clone(), one]);
}
