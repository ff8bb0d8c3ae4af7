//! What no change may make worse by more than a hair: copies, bytes, hops and the way to the best possible, in a small run.
//!
//! All of it is virtual, so the figures are the same on any machine. A change that makes one better sets the bound here.

use djembe_sim::report::{self, Report};
use djembe_sim::scenario::{SHIPPED, Scenario};

/// A figure as it was, and how much it may be.
struct Gate {
    what: &'static str,
    was: f64,
    most: f64,
}

/// Means over the seeds 1 to 3 of `mesh-1000` with changes are held against their gates.
fn hold(gates: &[Gate], sets: &[&str], figures: impl Fn(&Report) -> Vec<f64>) {
    let (_, text) = SHIPPED.iter().find(|(name, _)| *name == "mesh-1000").expect("shipped");
    let mut sums = vec![0.0; gates.len()];
    for seed in 1..=3 {
        let seed = format!("seed={seed}");
        let sets: Vec<String> = sets.iter().chain([&seed.as_str()]).map(|set| (*set).to_owned()).collect();
        let report = report::run(&Scenario::parse(text, &sets).expect("a scenario"), |_| ());
        assert!(report.is_good(), "{report}");
        for (sum, figure) in sums.iter_mut().zip(figures(&report)) {
            *sum += figure / 3.0;
        }
    }
    for (Gate { what, was, most }, is) in gates.iter().zip(&sums) {
        println!("{what}: {is:.4}, was {was}, may be {most}");
    }
    for (Gate { what, was, most }, is) in gates.iter().zip(sums) {
        assert!(is <= *most, "{what}: {is:.4}, was {was}, may be {most}");
    }
}

/// Goal: two hundred nodes of a new network, in which everybody speaks once.
#[test]
fn figures_do_not_get_worse() {
    let gates = [
        Gate { what: "copies of a payload", was: 1.0002, most: 1.003 },
        Gate { what: "message bytes / sealed byte, without transports", was: 1.004, most: 1.015 },
        Gate { what: "message bytes / sealed byte", was: 1.309, most: 1.335 },
        Gate { what: "background bytes / node / s, without transports", was: 407.6, most: 440.0 },
        Gate { what: "hops", was: 10.7, most: 12.0 },
        Gate { what: "to 99 % / optimum", was: 1.449, most: 1.52 },
    ];
    let sets = [
        "nodes=200",
        "joins=\"2s\"",
        "duration=\"65s\"",
        "settle=\"4s\"",
        "messages.authors=fresh",
        "messages.rate=2",
        "messages.start=\"25s\"",
        "messages.measure=\"45s\"",
        "messages.stop=\"60s\"",
    ];
    hold(&gates, &sets, |report| {
        vec![
            report.copies,
            report.message_bytes_ratio_bare,
            report.message_bytes_ratio,
            report.background_bytes_per_node_second_bare,
            f64::from(report.last_hop_max),
            report.optimum_ratio_p99,
        ]
    });
}

/// Goal: a hundred nodes of whom a tenth goes in every minute, and one packet in a hundred is lost; ten of them speak, each
/// along its own tree.
#[test]
fn figures_do_not_get_worse_where_nodes_come_and_go() {
    let gates = [
        Gate { what: "copies of a payload", was: 1.0168, most: 1.022 },
        Gate { what: "message bytes / sealed byte, without transports", was: 0.909, most: 0.93 },
        Gate { what: "background bytes / node / s, without transports", was: 949.0, most: 1030.0 },
        Gate { what: "presence bytes / node / s", was: 423.0, most: 450.0 },
        Gate { what: "latency p99 ms", was: 250.9, most: 275.0 },
    ];
    let sets = [
        "nodes=100",
        "joins=\"2s\"",
        "loss=0.01",
        "duration=\"75s\"",
        "settle=\"15s\"",
        "churn={rate=0.1, goodbye=0.5, down=\"10s\", at=\"20s\", until=\"60s\"}",
        "messages.authors=active",
        "messages.senders=10",
        "messages.rate=5",
        "messages.start=\"15s\"",
        "messages.measure=\"30s\"",
        "messages.stop=\"60s\"",
    ];
    hold(&gates, &sets, |report| {
        vec![
            report.copies,
            report.message_bytes_ratio_bare,
            report.background_bytes_per_node_second_bare,
            report.presence_bytes_per_node_second,
            report.latency_p99_ms,
        ]
    });
}

/// Goal: a reader that stands still for three seconds costs the others nothing, its senders little memory, and it misses
/// nothing.
#[test]
fn a_slow_reader_costs_the_others_nothing() {
    let (_, text) = SHIPPED.iter().find(|(name, _)| *name == "slow-reader").expect("shipped");
    let scenario = Scenario::parse(text, &[]).expect("it is one");
    let stalls = report::run(&scenario, |_| ()).stalls.expect("one stands still");
    assert_eq!(stalls.missed, 0);
    assert!(stalls.others_p99_ms <= 1.05 * stalls.others_p99_before_ms, "{stalls:?}");
    assert!((1..=512 * 1024).contains(&stalls.queue_max_bytes), "{stalls:?}");
}
