//! Trees on a network in which nobody is linked to everybody.

use core::time::Duration;

use djembe_protocol::id::Lane;
use djembe_sim::report::quantile_ms;
use djembe_sim::scenario::{SHIPPED, Scenario};
use djembe_sim::topology::NodeIx;
use djembe_sim::world::{Fault, World};

mod support;
use support::*;

/// `n` nodes 10 to 50 ms apart that came through one contact within `n` hundredths of a second, ten at most, some time ago.
fn far(n: usize, sets: &[&str]) -> World {
    let (_, text) = SHIPPED.iter().find(|(name, _)| *name == "mesh-1000").expect("shipped");
    let mut all = vec![format!("nodes={n}"), "messages.rate=0".to_owned()];
    all.push(format!("joins=\"{}ms\"", (n * 10).min(10_000)));
    all.extend(sets.iter().map(|set| (*set).to_owned()));
    let mut world = Scenario::parse(text, &all).expect("a scenario").world();
    world.run_for(Duration::from_secs(if n < 100 { 20 } else { 60 }));
    world
}

/// What came of some messages.
#[derive(Debug)]
#[allow(dead_code, reason = "shown")]
struct Figures {
    /// Of messages that reached everybody.
    share: f64,
    copies: f64,
    /// Of the time that each message took to 99 % and to all, to what the links allow: the means.
    p99: f64,
    max: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    worst_ms: f64,
}

/// Each of these publishes in turn, one each `pause`.
fn speak(world: &mut World, authors: &[NodeIx], n: usize, pause: Duration) -> Figures {
    speak_in(world, Lane::Live, authors, n, pause)
}

fn speak_in(world: &mut World, lane: Lane, authors: &[NodeIx], n: usize, pause: Duration) -> Figures {
    let before = (world.ledger.n_copies, world.ledger.n_envelopes);
    let frames = world.frames();
    let began = world.now();
    let (mut numbers, mut best) = (Vec::new(), Vec::new());
    for i in 0..n {
        let author = authors[i % authors.len()];
        let mut ways: Vec<Duration> = world
            .fastest_ways(author)
            .into_iter()
            .flatten()
            .map(|(time, _)| time)
            .filter(|time| !time.is_zero())
            .collect();
        ways.sort_unstable();
        best.push(ways);
        numbers.extend(world.publish(author, 0, lane, 1024));
        world.run_for(pause);
    }
    world.run_for(secs(3));
    let (copies, envelopes) = (world.ledger.n_copies - before.0, world.ledger.n_envelopes - before.1);
    let (mut sums, mut worst, mut whole) = ([0.0; 5], 0.0f64, 0);
    for (number, best) in numbers.iter().zip(&best) {
        let sent = &world.ledger.messages[*number];
        whole += usize::from(sent.latencies.len() == world.n_nodes() - 1);
        let best: Vec<u64> = best.iter().map(|time| time.as_micros() as u64).collect();
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| quantile_ms(&sent.latencies, share));
        let ratios = [p99 / quantile_ms(&best, 0.99), max / quantile_ms(&best, 1.0)];
        for (sum, x) in sums.iter_mut().zip(ratios.into_iter().chain([p50, p99, max])) {
            *sum += x / numbers.len() as f64;
        }
        worst = worst.max(max);
    }
    let seconds = (world.now() - began).as_secs_f64();
    for (kind, (count, bytes)) in world.frames().iter().filter(|_| std::env::var("FRAMES").is_ok()) {
        let old = frames.get(kind).copied().unwrap_or_default();
        let per = seconds * world.n_nodes() as f64;
        println!(
            "  kind {kind}: {:.3} frames and {:.1} bytes a node and second",
            (count - old.0) as f64 / per,
            (bytes - old.1) as f64 / per
        );
    }
    let [p99, max, p50_ms, p99_ms, max_ms] = sums;
    Figures {
        share: whole as f64 / numbers.len() as f64,
        copies: copies as f64 / envelopes as f64,
        p99,
        max,
        p50_ms,
        p99_ms,
        max_ms,
        worst_ms: worst,
    }
}

/// Goal: a group that begins to talk grows trees, and pays one copy of a payload from then on, whoever speaks. There
/// are trees already that carried the news of who arrived. The middle of three networks is judged. Over 120 of them two
/// authors in turn took 1.019 times the best in the mean and 1.215 at the most, two of them more than 1.15; those who
/// never spoke paid, over twenty, 1.002 to 1.048 copies, 1.016 in the mean.
#[test]
fn one_copy_to_everybody() {
    let figures = ["seed=1", "seed=2", "seed=3"].map(|seed| {
        let mut world = far(45, &[seed]);
        let everybody: Vec<NodeIx> = (0..45).collect();
        let first = speak(&mut world, &[7], 1, millis(500));
        assert!(first.share == 1.0 && first.copies < 2.0, "along some tree: {first:?}");
        speak(&mut world, &[7, 8], 16, millis(1000));
        let author = speak(&mut world, &[7, 8], 20, millis(200));
        assert!(author.share == 1.0 && author.copies <= 1.02, "{author:?}");
        let cold = speak(&mut world, &everybody[10..], 40, millis(200));
        assert!(cold.share == 1.0, "{cold:?}");
        assert_clean(&world);
        [author.p99, cold.p99, cold.copies]
    });
    let middle = |i: usize| {
        let mut of_networks = figures.map(|network| network[i]);
        of_networks.sort_by(f64::total_cmp);
        of_networks[1]
    };
    assert!(middle(0) <= 1.1, "times the optimum: {figures:?}");
    assert!(middle(1) <= 1.5, "of those who never spoke: {figures:?}");
    assert!(middle(2) <= 1.03, "copies: {figures:?}");
}

/// Goal: a message reaches everybody where nobody knows a tree. Method: those that carried the news of who arrived are
/// let go, in seven minutes in which nothing happens.
#[test]
fn without_trees_everybody_tells_everybody() {
    let mut world = far(45, &[]);
    world.run_for(secs(450));
    let first = speak(&mut world, &[7], 1, millis(500));
    assert!(first.share == 1.0 && first.copies > 2.0, "{first:?}");
    assert_clean(&world);
}

/// Goal: loss costs time, few copies, and nothing is lost.
#[test]
fn loss_costs_few_copies() {
    let mut world = far(45, &["loss=0.01"]);
    let everybody: Vec<NodeIx> = (0..45).collect();
    speak(&mut world, &[7, 8], 16, millis(1000));
    let figures = speak(&mut world, &everybody, 60, millis(100));
    assert!(figures.share == 1.0 && figures.copies <= 1.06, "{figures:?}");
    assert_clean(&world);
}

/// Goal: both parts of a split go on along what is left of the trees, and agree when it has healed. Method: 20 of 45
/// are cut off for 20 s, both sides publish; then all logs are the same. Copies are those of the middle one of three
/// networks: over eight they were 1.03 to 1.09 at first, 1.01 to 1.07 afterwards.
#[test]
fn trees_survive_a_partition() {
    let mut copies = ["seed=1", "seed=2", "seed=3"].map(copies_after_a_partition);
    copies.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert!(copies[1].0 <= 1.1, "at first: {copies:?}");
    copies.sort_by(|a, b| a.1.total_cmp(&b.1));
    assert!(copies[1].1 <= 1.05, "afterwards: {copies:?}");
}

/// Of the first 20 messages to everybody, and of the next 20.
fn copies_after_a_partition(seed: &str) -> (f64, f64) {
    let mut world = far(45, &[seed]);
    let everybody: Vec<NodeIx> = (0..45).collect();
    speak(&mut world, &[7, 40], 16, millis(1000));
    world.fault(Fault::Partition((0..20).collect()));
    let numbers = chatter(&mut world, &[3, 7, 30, 40], Lane::Durable, 40, millis(500));
    for number in &numbers {
        let side = if world.ledger.messages[*number].author < 20 { 0..20 } else { 20..45 };
        assert!(world.ledger.reached(*number, side), "message {number} in its own part");
    }
    world.fault(Fault::Heal);
    world.run_for(secs(60));
    // Of the new parents none has shown yet that it passes anything on: authors send to two helpers more.
    let first = speak(&mut world, &everybody, 20, millis(200));
    let after = speak(&mut world, &everybody, 20, millis(200));
    assert!(first.share == 1.0 && after.share == 1.0, "{first:?} {after:?}");
    assert_reached(&world, &numbers, 0..45);
    assert_same_logs(&world, 0..45);
    assert_clean(&world);
    (first.copies, after.copies)
}

#[test]
#[ignore = "minutes"]
fn measure() {
    let var = |name: &str, default: &str| std::env::var(name).unwrap_or(default.to_owned());
    let n: usize = var("N", "200").parse().expect("a number");
    let (seed, loss) = (format!("seed={}", var("SEED", "1")), format!("loss={}", var("LOSS", "0")));
    let m: usize = var("M", "100").parse().expect("a number");
    let mut world = far(n, &[&seed, &loss]);
    println!("{:?}", world.overlay_report(20));
    let authors: Vec<NodeIx> = (0..10).map(|i| (i * 37 + 5) % n).collect();
    println!("first {:?}", speak(&mut world, &authors, 1, millis(500)));
    println!("roots grow {:?}", speak(&mut world, &authors, 30, millis(1000)));
    world.run_for(secs(5));
    println!("with trees {:?}", speak(&mut world, &authors, m, millis(200)));
    let cold: Vec<NodeIx> = (0..n)
        .filter(|node| !authors.contains(node))
        .map(|node| (node * 7) % n)
        .filter(|node| !authors.contains(node))
        .collect();
    println!("cold {:?}", speak(&mut world, &cold, m, millis(200)));
    println!("durable, 20 a second {:?}", speak_in(&mut world, Lane::Durable, &cold, 2 * m, millis(50)));
    for i in 0..n / 10 {
        world.fault_at(world.now() + millis(60_000 / (n as u64 / 10) * i as u64), Fault::Crash(n - 1 - i));
    }
    let stay: Vec<NodeIx> = cold.iter().copied().filter(|node| *node < n * 9 / 10).collect();
    let before = world.ledger.messages.len();
    println!("10 % die in a minute {:?}", speak(&mut world, &stay, m, millis(600)));
    let reached = world.ledger.messages[before..]
        .iter()
        .filter(|sent| (0..n * 9 / 10).all(|node| sent.delivered.contains(&node)));
    println!("of them {} of {m} reached all that lived", reached.count());
    for cause in ["duplicate", "bad-envelope", "unknown-group", "links-full"] {
        println!("{cause} {}", (0..n).map(|i| world.count(i, cause)).sum::<u64>());
    }
    println!("events {} violations {:?}", world.n_events(), world.ledger.violations);
}
