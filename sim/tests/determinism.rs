//! Goal: one seed is one hash, however the work is done. Method: the same scenario on one thread, two and three, with
//! frames as bytes and as they are; and so of scenarios that are drawn.

use core::time::Duration;

use djembe_sim::report;
use djembe_sim::scenario::{SHIPPED, Scenario};
use djembe_sim::search::{Bounds, attempt, draw};

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

/// Goal: whatever can be drawn is one hash on one thread and on two, also where nodes are so near to each other that threads
/// meet thousands of times a second.
#[test]
fn what_is_drawn_is_one_hash_on_one_thread_and_on_two() {
    let second = Duration::from_secs(1);
    let bounds = Bounds {
        nodes_max: 7,
        time_max: second * 32,
        settle: second * 6,
        node_seconds_max: 200,
        deliveries_max: 100,
        ..Bounds::default()
    };
    let mut n_near = 0;
    for seed in 0..8 {
        let scenario = draw(seed, &bounds);
        n_near += usize::from(scenario.latency < second / 1000);
        let [one, two] = [1, 2].map(|threads| {
            let report = attempt(&Scenario { threads, ..scenario.clone() }).report.expect("it did not panic");
            assert_eq!(report.threads, threads);
            (report.hash, report.delivered, report.events)
        });
        assert_eq!(one, two, "seed {seed}\n{}", scenario.to_toml());
    }
    assert!(n_near >= 2, "{n_near} of 8");
}
