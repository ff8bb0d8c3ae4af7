//! An application's logic on a thousand virtual nodes: they agree on a leader, the leader dies, they agree on another.
//!
//! The rule is the simplest there is: everybody says every second that it is there; whoever has the lowest id of those
//! heard in the last three seconds is the leader. `cargo run --release -p djembe-examples --bin simulated_leader -- 1000`.

use std::any::Any;
use std::collections::BTreeMap;
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

fn main() {
    let n = std::env::args().nth(1).map_or(100, |n| n.parse().expect("how many nodes"));
    let network = Conditions {
        latency: Duration::from_millis(2),
        spread: Duration::from_millis(10),
        loss: 0.01,
        ..Conditions::default()
    };
    let mut world = World::new(WorldConfig { network, contact: Some(0), ..WorldConfig::default() });
    let lobby = world.add_group("lobby");
    world.attach(|_node| Box::new(Leader::default()));
    for _ in 0..n {
        let node = world.add_node();
        world.member(node, lobby);
        world.start(node);
        world.run_for(Duration::from_millis(10));
    }
    world.run_for(Duration::from_secs(20));
    let agreed = leaders(&world, n);
    let [Some(leader)] = agreed[..] else { panic!("they do not agree: {agreed:?}") };
    println!("{n} nodes take {} for their leader", leader.short());

    let node = world.ledger.nodes_of(&leader)[0];
    world.fault(Fault::Crash(node));
    let died = world.now();
    while leaders(&world, n).contains(&Some(leader)) || leaders(&world, n).len() > 1 {
        world.run_for(Duration::from_millis(100));
        assert!(world.now() - died < Duration::from_secs(30), "they do not agree on another");
    }
    let took = world.now() - died;
    let agreed = leaders(&world, n);
    println!(
        "it died; after {:.1} s all others take {} for it",
        took.as_secs_f64(),
        agreed[0].expect("one").short()
    );
    assert!(world.ledger.violations.is_empty(), "{:?}", world.ledger.violations);
}
