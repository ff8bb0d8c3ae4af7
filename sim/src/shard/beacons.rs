//! Beacons on a segment of a LAN, which all nodes of the segment hear but for what is lost, and nobody elsewhere. As a
//! node does it (`node/src/discovery/pace.rs`) five leave in the first 0.7 s, then one in a period, which a scenario states
//! here. Not here: queries and the answers to them, mDNS.

use core::time::Duration;

use djembe_protocol::io::Input;
use djembe_protocol::wire::beacon::BEACON_LEN;

use super::{Happening, Shard, To};
use crate::topology::{NodeIx, Topology};

/// As what beacons are counted among frames.
pub const KIND: u8 = 210;
/// A beacon leaves three ways, since no one of them is open everywhere: to the broadcast address, to the group of IPv4,
/// to the group of IPv6. Around each datagram: Ethernet 18, as for packets of links, IPv4 20 or IPv6 40, UDP 8.
const AROUND: [usize; 3] = [46, 46, 66];
/// When the first ones leave, after a start.
const BURST: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(30),
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(700),
];

impl Shard {
    /// A node was started: if it is on a segment it says so from now on.
    pub(crate) fn start_beacons(&mut self, topology: &Topology, local: usize) {
        if topology.segment(self.hosts[local].ix).is_some() {
            self.on_beacon(topology, local, 0);
        }
    }

    /// It is time for a node's beacon, the `n`th of its present run.
    pub(super) fn on_beacon(&mut self, topology: &Topology, local: usize, n: usize) {
        let (now, me) = (self.now(), self.hosts[local].ix);
        if !topology.places[me].is_paused {
            self.say_beacon(topology, local);
        }
        let rng = &mut self.hosts[local].discovery_rng;
        let pause = match BURST.get(n + 1) {
            Some(next) => Some(*next - BURST[n]),
            None if self.rules.beacon.is_zero() => None,
            // 80 to 120 %.
            None => Some(self.rules.beacon * 4 / 5 + rng.time_below(self.rules.beacon * 2 / 5)),
        };
        if let Some(pause) = pause {
            self.schedule_own(topology, local, now + pause, To::Beacon { n: n + 1 });
        }
    }

    fn say_beacon(&mut self, topology: &Topology, local: usize) {
        let (now, me) = (self.now(), self.hosts[local].ix);
        let kind = self.tally.frames.entry(KIND).or_default();
        for around in AROUND {
            kind.frames += 1;
            kind.bytes += BEACON_LEN as u64;
            kind.wire_bytes += (BEACON_LEN + around) as u64;
            self.tally.bytes += (BEACON_LEN + around) as u64;
            self.tally.packets += 1;
        }
        for other in topology.segment(me).unwrap_or_default() {
            if *other == me {
                continue;
            }
            // A lost one is not sent again: it takes as long as a packet that is sent once, or does not come.
            let rng = &mut self.hosts[local].discovery_rng;
            let is_lost = rng.chance(topology.conditions.loss);
            let distance = topology.distance(me, *other);
            let at = now + distance + rng.time_below(topology.conditions.jitter);
            if !is_lost {
                let what = To::Heard { about: me };
                self.schedule(topology, local, at, Happening { node: *other, run: None, what });
            }
        }
    }

    /// Another's beacon has come, if it gets through and somebody reads it.
    pub(super) fn on_heard(&mut self, topology: &Topology, local: usize, about: NodeIx) {
        let me = self.hosts[local].ix;
        let place = topology.places[me];
        if place.is_up && !place.is_paused && !place.is_stalled && topology.reaches(about, me) {
            let (peer, addresses) = (topology.peers[about], vec![topology.address(about)]);
            self.input(topology, local, Input::Found { peer, addresses });
        }
    }
}
