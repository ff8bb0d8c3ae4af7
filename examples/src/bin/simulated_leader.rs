//! An application's logic on a hundred virtual nodes, or as many as you say: they agree on a leader, the leader
//! dies, they agree on another.
//!
//! The rule is the simplest there is: everybody says every second that it is there; whoever has the lowest id of those
//! heard in the last three seconds is the leader. `cargo run --release -p djembe-examples --bin simulated_leader -- 100`
//! takes some twenty seconds of a core; the work grows with the square of the nodes, as each hears all others each second.

use std::any::Any;
use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use djembe_protocol::id::{Lane, PeerId};
use djembe_protocol::time::Timestamp;
use djembe_sim::app::{App, Desk, Received};
use djembe_sim::topology::Conditions;
use djembe_sim::world::{Fault, World, WorldConfig};

const EVERY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(3);

/// What one node thinks.
#[derive(Default)]
struct Leader {
    heard: BTreeMap<PeerId, Timestamp>,
    leader: Option<PeerId>,
}

impl App for Leader {
    fn on_start(&mut self, desk: &mut Desk<'_>) {
        // Not all in one moment.
        let millis = desk.random_below(1000);
        desk.wake_in(Duration::from_millis(millis), 0);
    }

    fn on_wake(&mut self, desk: &mut Desk<'_>, _token: u64) {
        desk.publish(0, Lane::Live, "here", Bytes::new());
        let now = desk.now();
        self.heard.retain(|_, at| now - *at <= PATIENCE);
        self.leader = self.heard.keys().next().copied();
        desk.wake_in(EVERY, 0);
    }

    fn on_message(&mut self, desk: &mut Desk<'_>, message: &Received<'_>) {
        self.heard.insert(message.author, desk.now());
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Whom the nodes that run take for the leader, each of them once.
fn leaders(world: &World, n: usize) -> Vec<Option<PeerId>> {
    let mut leaders: Vec<_> =
        (0..n).filter_map(|node| world.app::<Leader>(node)).map(|app| app.leader).collect();
    leaders.sort();
    leaders.dedup();
    leaders
}

fn main() -> ExitCode {
    let n = match std::env::args().nth(1).map_or(Ok(100), |n| n.parse::<usize>()) {
        Ok(n) if (2..=10_000).contains(&n) => n,
        _ => {
            eprintln!("usage: simulated_leader [NODES], 2 to 10000; 100 if nothing is said");
            return ExitCode::from(2);
        }
    };
    match run(n) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(n: usize) -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout();
    let network = Conditions {
        latency: Duration::from_millis(2),
        spread: Duration::from_millis(10),
        loss: 0.01,
        ..Conditions::default()
    };
    let mut world = World::new(WorldConfig { network, contact: Some(0), ..WorldConfig::default() });
    let lobby = world.add_group("lobby");
    world.attach(|_node| Box::new(Leader::default()));
    for joined in 1..=n {
        let node = world.add_node();
        world.member(node, lobby);
        world.start(node);
        world.run_for(Duration::from_millis(10));
        if joined % 100 == 0 {
            eprintln!("{joined} of {n} nodes have come");
        }
    }
    for second in (0..20).step_by(5) {
        eprintln!("they talk: {second} of 20 s");
        world.run_for(Duration::from_secs(5));
    }
    let agreed = leaders(&world, n);
    let [Some(leader)] = agreed[..] else { return Err(format!("they do not agree: {agreed:?}").into()) };
    writeln!(out, "{n} nodes take {} for their leader", leader.short())?;

    let node = world.ledger.nodes_of(&leader)[0];
    world.fault(Fault::Crash(node));
    let died = world.now();
    while leaders(&world, n).contains(&Some(leader)) || leaders(&world, n).len() > 1 {
        world.run_for(Duration::from_millis(100));
        if world.now() - died > Duration::from_secs(30) {
            return Err("they do not agree on another".into());
        }
    }
    let took = world.now() - died;
    let agreed = leaders(&world, n);
    let next = agreed.first().copied().flatten().ok_or("nobody is left to lead")?;
    writeln!(out, "it died; after {:.1} s all others take {} for it", took.as_secs_f64(), next.short())?;
    match &world.ledger.violations[..] {
        [] => Ok(()),
        violations => Err(format!("{violations:?}").into()),
    }
}
