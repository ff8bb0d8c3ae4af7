//! Beacons on a segment of a LAN, which all nodes of the segment hear but for what is lost, and nobody elsewhere. As a
//! node does it (`node/src/discovery/pace.rs`) five leave in the first 0.7 s, then one in a period, which a scenario states
//! here. What happens to packets happens to beacons, only that a lost one, or one of which a byte is changed, is not sent
//! again: uniform loss is drawn for each listener, bursts are weather at the listener, and what comes twice comes twice to
//! all. Not here: queries and the answers to them, mDNS.

use core::time::Duration;

use djembe_protocol::io::Input;
use djembe_protocol::wire::beacon::BEACON_LEN;

use super::links::transfer_time;
use super::{Happening, Shard, To};
use crate::topology::{NodeIx, Topology};

/// As what beacons are counted among frames.
pub const KIND: u8 = 210;
/// A beacon leaves three ways, since no one of them is open everywhere: to the broadcast address, to the group of IPv4,
/// to the group of IPv6. Around each datagram: Ethernet 18, as for packets of links, IPv4 20 or IPv6 40, UDP 8.
const AROUND: [usize; 3] = [46, 46, 66];
/// All three together.
const BEACON_BYTES: usize = AROUND.len() * BEACON_LEN + AROUND[0] + AROUND[1] + AROUND[2];
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
        let now = self.now();
        let host = &mut self.hosts[local];
        let me = host.ix;
        // It leaves once; a switch that makes two of it does so for all who hear it.
        let way = topology.way(me, me);
        let n_copies = if host.discovery_rng.chance(way.duplicate) { 2 } else { 1 };
        let mut departs = now;
        if let Some(takes) = transfer_time(BEACON_BYTES, topology.bandwidth(me).0) {
            departs = host.uplink_free.max(now) + takes;
            host.uplink_free = departs;
        }
        for _ in 0..n_copies {
            self.charge_beacon();
            self.hosts[local].meter.sent += BEACON_BYTES as u64;
            for other in topology.segment(me).unwrap_or_default() {
                if *other == me {
                    continue;
                }
                let rng = &mut self.hosts[local].discovery_rng;
                let is_lost = rng.chance(way.loss) || rng.chance(way.corrupt);
                let distance = topology.distance(me, *other);
                let at = departs + distance + way.jitter(rng, distance);
                if !is_lost {
                    let what = To::Heard { about: me };
                    self.schedule(topology, local, at, Happening { node: *other, run: None, what });
                }
            }
        }
    }

    fn charge_beacon(&mut self) {
        let kind = self.tally.frames.entry(KIND).or_default();
        kind.frames += AROUND.len() as u64;
        kind.bytes += (AROUND.len() * BEACON_LEN) as u64;
        kind.wire_bytes += BEACON_BYTES as u64;
        self.tally.bytes += BEACON_BYTES as u64;
        self.tally.packets += AROUND.len() as u64;
    }

    /// Another's beacon has come as far as the node's line, behind what came before it.
    pub(super) fn on_heard(&mut self, topology: &Topology, local: usize, about: NodeIx) {
        let now = self.now();
        let host = &mut self.hosts[local];
        if !topology.places[host.ix].is_up || !topology.reaches(about, host.ix) {
            return;
        }
        let way = topology.way(about, host.ix);
        if let Some(burst) = way.burst {
            let takes = host.weather.takes(now, &mut host.discovery_rng, &burst);
            if host.discovery_rng.chance(takes) {
                return;
            }
        }
        let Some(takes) = transfer_time(BEACON_BYTES, topology.bandwidth(host.ix).1) else {
            return self.on_noticed(topology, local, about);
        };
        let at = host.downlink_free.max(now) + takes;
        host.downlink_free = at;
        self.schedule_own(topology, local, at, To::Noticed { about });
    }

    /// Another's beacon has come, if it gets through and somebody reads it.
    pub(super) fn on_noticed(&mut self, topology: &Topology, local: usize, about: NodeIx) {
        let me = self.hosts[local].ix;
        let place = topology.places[me];
        if place.is_up && !place.is_paused && !place.is_stalled && topology.reaches(about, me) {
            let (peer, addresses) = (topology.peers[about], vec![topology.address(about)]);
            self.input(topology, local, Input::Found { peer, addresses });
        }
    }
}
