//! Goal: one seed is one hash, however the work is done. Method: the same scenario on one thread, two and three, with
//! frames as bytes and as they are.

use djembe_sim::report;
use djembe_sim::scenario::{SHIPPED, Scenario};

fn hash(scenario: &str, sets: &[&str]) -> String {
    let (_, text) = SHIPPED.iter().find(|(name, _)| *name == scenario).expect("shipped");
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    report::run(&Scenario::parse(text, &sets).expect("a scenario"), |_| {}).hash
}

/// Faults, loss and attackers included: those conspire, and so are all in one shard. Nodes are 5 ms apart, or threads
/// would meet five thousand times in a second.
#[test]
fn one_seed_is_one_hash_on_any_number_of_threads() {
    for (scenario, few) in [
        ("lan-30", &["nodes=9", "duration=\"22s\"", "messages.stop=\"10s\""][..]),
        ("faults-12", &[]),
        (
            "hostile",
            &[
                "nodes=20",
                "attackers=4",
                "attack=\"silent\"",
                "duration=\"46s\"",
                "attack_at=\"5s\"",
                "messages.start=\"8s\"",
                "messages.stop=\"14s\"",
            ],
        ),
    ] {
        let mut hashes = Vec::new();
        for how in [
            ["latency=\"5ms\"", "threads=1", "carry=\"bytes\""],
            ["latency=\"5ms\"", "threads=1", "carry=\"frames\""],
            ["latency=\"5ms\"", "threads=2", "carry=\"frames\""],
            ["latency=\"5ms\"", "threads=3", "carry=\"bytes\""],
        ] {
            hashes.push(hash(scenario, &[few, &how].concat()));
        }
        assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{scenario}: {hashes:?}");
        assert_ne!(
            hashes[0],
            hash(scenario, &[few, &["seed=77", "latency=\"5ms\""]].concat()),
            "another seed is another run"
        );
    }
}
