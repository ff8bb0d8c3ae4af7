//! What no change may make worse by more than a hair: copies, bytes, hops and the way to the best possible, in a small run.
//!
//! All of it is virtual, so the figures are the same on any machine. A change that makes one better sets the bound here.

use djembe_sim::report;
use djembe_sim::scenario::{SHIPPED, Scenario};

/// A figure as it was, and how much it may be.
struct Gate {
    what: &'static str,
    was: f64,
    most: f64,
}

/// Goal: two hundred nodes of a new network, in which everybody speaks once. Method: the mean of three seeds.
#[test]
fn figures_do_not_get_worse() {
    let gates = [
        Gate { what: "copies of a payload", was: 1.0008, most: 1.004 },
        Gate { what: "message bytes / sealed byte, without transports", was: 1.006, most: 1.02 },
        Gate { what: "message bytes / sealed byte", was: 1.312, most: 1.34 },
        Gate { what: "background bytes / node / s, without transports", was: 439.0, most: 475.0 },
        Gate { what: "hops", was: 11.0, most: 12.0 },
        Gate { what: "to 99 % / optimum", was: 1.572, most: 1.63 },
    ];
    let (_, text) = SHIPPED.iter().find(|(name, _)| *name == "mesh-1000").expect("shipped");
    let mut sums = [0.0; 6];
    for seed in 1..=3 {
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
            &format!("seed={seed}"),
        ]
        .map(str::to_owned);
        let report = report::run(&Scenario::parse(text, &sets).expect("a scenario"), |_| ());
        assert!(report.is_good(), "{report}");
        let figures = [
            report.copies,
            report.message_bytes_ratio_bare,
            report.message_bytes_ratio,
            report.background_bytes_per_node_second_bare,
            f64::from(report.last_hop_max),
            report.optimum_ratio_p99,
        ];
        for (sum, figure) in sums.iter_mut().zip(figures) {
            *sum += figure / 3.0;
        }
    }
    for (Gate { what, was, most }, is) in gates.iter().zip(sums) {
        println!("{what}: {is:.4}, was {was}, may be {most}");
    }
    for (Gate { what, was, most }, is) in gates.iter().zip(sums) {
        assert!(is <= *most, "{what}: {is:.4}, was {was}, may be {most}");
    }
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
