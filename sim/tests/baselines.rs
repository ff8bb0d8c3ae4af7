//! What other protocols make of the same links: that each does what it is known for, or a comparison with it says
//! nothing.

mod support;

use std::sync::LazyLock;

use djembe_protocol::id::Lane;
use djembe_protocol::time::Timestamp;
use djembe_sim::baseline::{PAYLOAD, Protocol, TALK};
use djembe_sim::ledger::Stop;
use djembe_sim::report::{self, Beside, Report};
use djembe_sim::scenario::Scenario;
use djembe_sim::topology::NodeIx;
use djembe_sim::world::{World, WorldConfig};

use support::{assert_clean, assert_reached, far_apart, millis, secs};

/// Sixty far apart, who speak in turn once they have links.
const SIXTY: &str = r#"
nodes = 60
duration = "17s"
settle = "3s"
contact = 0
joins = "2s"
latency = "10ms"
spread = "40ms"
jitter_share = 0.1
carry = "frames"

[messages]
authors = "fresh"
rate = 5
size = 1024
start = "10s"
stop = "13s"
"#;

const BASELINES: [Protocol; 3] = [Protocol::Flood, Protocol::Plumtree, Protocol::Gossipsub];

fn sixty(sets: &[&str]) -> Scenario {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Scenario::parse(SIXTY, &sets).expect("a scenario")
}

fn run(protocol: Protocol, sets: &[&str]) -> Report {
    let scenario = sixty(sets).with_protocol(protocol).expect("a scenario");
    let report = report::run(&scenario, |_| {});
    println!("{report}");
    report
}

/// What each makes of sixty where no packet is lost: run once for all tests.
fn lossless(protocol: Protocol) -> &'static Report {
    static REPORTS: LazyLock<Vec<Report>> =
        LazyLock::new(|| BASELINES.map(|protocol| run(protocol, &[])).to_vec());
    REPORTS.iter().find(|report| report.protocol == protocol).expect("a baseline")
}

fn assert_delivers(report: &Report) {
    let protocol = report.protocol;
    assert!(report.is_good(), "{protocol}: {:?}", report.violations);
    assert_eq!((report.messages, report.delivered), (15, 15 * 59), "{protocol}");
    let payloads = report.frames[&PAYLOAD];
    // Connections lose nothing but what is on its way when a node gives a link up for a better one.
    let lost = payloads.0 as f64 - report.copies * 15.0 * 59.0;
    assert!((-0.001..3.0).contains(&lost), "{protocol}: {lost} lost");
    // 1 KiB in a message of 13 and a length of 4, which Padme pads to 1088, in an envelope of 320 with a tag of 16.
    let each = payloads.1 as f64 / payloads.0 as f64;
    assert!((1424.0..1600.0).contains(&each), "{protocol}: {each} bytes");
    assert!(!report.frames.contains_key(&13), "no engine has an envelope to send");
    assert_eq!(report.frames.contains_key(&TALK), protocol != Protocol::Flood, "{protocol}");
}

/// Goal: each gets everything everywhere, once, and what it sends is counted as its own.
#[test]
fn each_delivers_everything() {
    BASELINES.iter().for_each(|protocol| assert_delivers(lossless(*protocol)));
}

/// Goal: the same where one packet in fifty is lost, and comes 200 ms late: nothing else goes down the branch of a tree.
#[test]
fn each_delivers_everything_late() {
    for protocol in BASELINES {
        let report = run(protocol, &["loss=0.02"]);
        assert_delivers(&report);
        let is_late = report.latency_max_ms > 200.0;
        assert!(is_late || protocol != Protocol::Plumtree, "{} ms", report.latency_max_ms);
    }
}

/// Goal: flooding takes each link in both directions but that by which a message came, and so is as fast as the links.
#[test]
fn a_flood_is_fast_and_dear() {
    let report = lossless(Protocol::Flood);
    let expected = report.overlay.degree_mean - 1.0;
    assert!((report.copies - expected).abs() < 0.5, "{} copies, {expected} expected", report.copies);
    assert!((0.95..1.1).contains(&report.optimum_ratio_p99), "{}", report.optimum_ratio_p99);
}

/// Goal: a mesh of eight sends to seven.
#[test]
fn gossipsub_is_nearly_as_dear() {
    let report = lossless(Protocol::Gossipsub);
    assert!((4.5..8.5).contains(&report.copies), "{} copies", report.copies);
    assert!(report.optimum_ratio_p99 < 1.5, "{}", report.optimum_ratio_p99);
}

/// Copies for each delivery of `n` messages by these in turn, and the mean time to a delivery in milliseconds.
fn cost(world: &mut World, authors: &[NodeIx], n: usize) -> (f64, f64) {
    let before = (world.ledger.n_copies, world.ledger.n_envelopes);
    let numbers = support::chatter(world, authors, Lane::Live, n, millis(200));
    world.run_for(secs(1));
    assert_reached(world, &numbers, 0..world.n_nodes());
    assert_clean(world);
    let n_deliveries = (world.ledger.n_envelopes - before.1) as f64;
    let took: u64 = numbers.iter().flat_map(|number| &world.ledger.messages[*number].latencies).sum();
    ((world.ledger.n_copies - before.0) as f64 / n_deliveries, took as f64 / 1000.0 / n_deliveries)
}

/// Goal: once one author has pruned the tree it carries its messages nearly once; it carries those of others as well, but
/// was not made for them, and so they take longer.
#[test]
fn plumtree_is_cheap_and_suits_the_author_that_it_was_made_for() {
    let config = WorldConfig { protocol: Protocol::Plumtree, ..far_apart(0.0) };
    let mut world = World::arriving(config, 60, secs(2));
    world.run_until(Timestamp::ZERO + secs(10));
    let (first, _) = cost(&mut world, &[7], 1);
    assert!(first > 4.0, "{first} copies of the very first message: all links are eager");
    cost(&mut world, &[7], 10);
    let one = cost(&mut world, &[7], 15);
    let authors: Vec<NodeIx> = (0..15).map(|n| n * 4).collect();
    let many = cost(&mut world, &authors, 15);
    println!("copies and ms: of one author {one:?}, of many {many:?}");
    assert!((1.0..1.1).contains(&one.0), "{} copies of one author's messages", one.0);
    assert!((1.0..2.0).contains(&many.0), "{} copies of many authors' messages", many.0);
    assert!(many.1 > 1.2 * one.1, "{} ms for many authors, {} for one", many.1, one.1);
}

/// Goal: a baseline is part of the seed's one trace. Method: those that keep time and draw lots, with loss, on one
/// thread and on several.
#[test]
fn one_seed_is_one_hash_on_any_number_of_threads() {
    let short =
        ["nodes=30", "duration=\"12s\"", "messages.start=\"6s\"", "messages.stop=\"8s\"", "loss=0.02"];
    for protocol in [Protocol::Plumtree, Protocol::Gossipsub] {
        let hash = |more: &[&str]| run(protocol, &[&short[..], more].concat()).hash;
        let alone = hash(&["threads=1"]);
        for how in [&["threads=2"][..], &["threads=3", "carry=\"bytes\""]] {
            assert_eq!(alone, hash(how), "{protocol}: {how:?}");
        }
        assert_ne!(alone, hash(&["seed=77"]), "{protocol}: another seed is another run");
    }
}

/// Goal: nodes that crash, stand still and are cut off neither break a baseline nor have it deliver twice.
#[test]
fn baselines_outlive_faults() {
    let faults = [
        "nodes=20",
        "settle=\"1s\"",
        "crashes=[{node=3, at=\"10.5s\", restart=\"12s\"}]",
        "pauses=[{node=4, at=\"10.5s\", until=\"11.5s\"}]",
        "stalls=[{node=5, at=\"11s\", until=\"12s\"}]",
    ];
    for protocol in BASELINES {
        let report = run(protocol, &faults);
        assert_eq!(report.violations, [], "{protocol}");
        assert!((0.9..=1.0).contains(&report.delivery_ratio), "{protocol}: {}", report.delivery_ratio);
    }
}

/// Goal: the table has a column for each, the scenario's own first and none twice; the object has a report for each.
#[test]
fn reports_stand_side_by_side() {
    let scenario = sixty(&[
        "nodes=6",
        "duration=\"10s\"",
        "messages.start=\"5s\"",
        "messages.stop=\"6s\"",
        "settle=\"2s\"",
    ]);
    let mut told = Vec::new();
    let others = [Protocol::Flood, Protocol::Djembe];
    let beside = Beside::run("sixty", &scenario, &others, &Stop::AtAny, |protocol, _| told.push(protocol));
    told.dedup();
    let beside = beside.expect("both run it");
    assert_eq!(told, [Protocol::Djembe, Protocol::Flood]);
    assert!(beside.is_good());
    let table = beside.to_string();
    let heads = table.lines().nth(2).expect("the third line").split_whitespace().collect::<Vec<_>>();
    assert_eq!(heads, ["djembe", "flood"], "{table}");
    let json = serde_json::to_value(&beside).expect("it is an object");
    assert_eq!(json["flood"]["messages"], 5);
    assert_eq!(json["djembe"]["protocol"], "djembe");
    assert_ne!(json["djembe"]["trace_hash"], json["flood"]["trace_hash"]);
}

/// Goal: what cannot be compared is said, before anything runs.
#[test]
fn attackers_are_no_matter_for_a_baseline() {
    let scenario = sixty(&["attackers=2", "attack=\"silent\""]);
    let mut n_told = 0;
    let error = Beside::run("sixty", &scenario, &[Protocol::Flood], &Stop::AtAny, |_, _| n_told += 1);
    let error = error.expect_err("refused");
    assert_eq!((error.to_string().as_str(), n_told), ("protocol = flood: attackers know none but djembe", 0));
    assert!("gossip".parse::<Protocol>().is_err());
    assert_eq!(Protocol::ALL.map(|protocol| protocol.name().parse()), Protocol::ALL.map(Ok));
}
