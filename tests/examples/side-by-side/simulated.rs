//! The scenario in the simulator.

use djembe_protocol::time::Timestamp;
use djembe_sim::report::BEACON_KIND;
use djembe_sim::scenario::Scenario;
use djembe_sim::world::World;

use crate::figures::{Figures, Frames, Sum};

/// What the whole world has sent up to now.
struct Sent {
    frames: Vec<(u8, u64, u64)>,
    packets: u64,
    bytes: u64,
    beacon_bytes: u64,
    envelopes: u64,
    connections: u64,
}

impl Sent {
    fn by_now(world: &World) -> Self {
        Self {
            frames: world.frames().into_iter().map(|(kind, (n, bytes))| (kind, n, bytes)).collect(),
            packets: world.n_packets(),
            bytes: world.wire_bytes(),
            beacon_bytes: world.wire_bytes_of(&[BEACON_KIND]),
            envelopes: world.ledger.n_envelopes,
            connections: world.n_connections(),
        }
    }
}

/// Runs it to its end.
pub(crate) fn run(scenario: &Scenario) -> Figures {
    let mut world = scenario.world();
    let from = Timestamp::ZERO + scenario.messages.measured_from();
    world.run_until(from);
    let before = Sent::by_now(&world);
    world.run_until(Timestamp::ZERO + scenario.duration);
    let after = Sent::by_now(&world);

    let mut figures = Figures { seconds: (world.now() - from).as_secs_f64(), ..Figures::default() };
    for sent in world.ledger.messages.iter().filter(|sent| sent.at >= from) {
        figures.expected += scenario.nodes - 1;
        figures.latencies.extend(&sent.latencies);
        figures.to_all.extend(sent.latencies.iter().max());
    }
    figures.latencies.sort_unstable();
    figures.to_all.sort_unstable();
    figures.new_envelopes = after.envelopes - before.envelopes;
    figures.dials = after.connections - before.connections;
    figures.links = (0..scenario.nodes).map(|node| world.neighbours(node).len()).sum();
    let mut frames = Frames::default();
    for (kind, n, bytes) in after.frames {
        let known = before.frames.iter().find(|(other, ..)| *other == kind);
        let (n_before, bytes_before) = known.map_or((0, 0), |(_, n, bytes)| (*n, *bytes));
        if kind == BEACON_KIND {
            figures.beacons = Sum { n: n - n_before, bytes: after.beacon_bytes - before.beacon_bytes };
        } else {
            frames.add(kind, n - n_before, bytes - bytes_before);
        }
    }
    figures.frames = frames;
    figures.packets = Sum {
        n: after.packets - before.packets - figures.beacons.n,
        bytes: after.bytes - before.bytes - figures.beacons.bytes,
    };
    figures
}
