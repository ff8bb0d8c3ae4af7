//! Near links: peers are measured before they are linked, and the nearest of them asked.
//!
//! A probe is answered by the kernel of the other host, a beat by its process, which may be busy: so links are compared
//! with other peers by probes too.
//!
//! Near links that keep moving break the trees that stand on them. So a link that is a little nearer counts while the
//! overlay is new, and later only one that is nearer by a quarter and 3 ms.

use super::{Fact, Known, Overlay};
use crate::id::PeerId;
use crate::io::Slot;
use crate::limits;
use crate::time::{Duration, Timestamp};
use crate::wire::frame::{Address, Refusal, Why};

/// By so much a new near link has to be better while the overlay is new.
const BETTER_BY: Duration = Duration::from_millis(2);
/// By so much, and a quarter, later.
const BETTER_BY_SETTLED: Duration = Duration::from_millis(3);

impl Overlay {
    /// Measures some peers, when it is time, and asks the nearest known for a link if it is worth one.
    pub(super) fn measure(&mut self, now: Timestamp) {
        self.ask_the_nearest(now);
        let Some(partial) = &mut self.partial else { return };
        if partial.probe_at > now {
            return;
        }
        let is_young = now - partial.since < limits::YOUNG_FOR;
        partial.probe_at = now + if is_young { limits::OVERLAY_TICK } else { partial.shuffle_pause };
        let is_unknown = |known: &Known| !known.is_linked && known.rtt.is_none();
        let unknown = self.known.iter().filter(|(_, known)| is_unknown(known));
        let unknown = unknown.map(|(peer, _)| *peer).collect();
        let mut chosen = self.draw(limits::PROBES, unknown);
        let near = self.kept().filter(|(_, standing)| standing.slot == Slot::Near);
        // One that was never probed first, else any: ways change.
        let is_probed = |peer: &PeerId| self.known.get(peer).is_some_and(|known| known.is_probed);
        let mut near: Vec<(bool, PeerId)> = near.map(|(peer, _)| (is_probed(&peer), peer)).collect();
        if near.iter().any(|(is_probed, _)| !is_probed) {
            near.retain(|(is_probed, _)| !is_probed);
        } else if is_young {
            near.clear();
        }
        chosen.extend(self.pick(&near).map(|(_, peer)| peer));
        chosen.into_iter().for_each(|peer| self.probe(peer));
    }

    pub(super) fn probe(&mut self, peer: PeerId) {
        let addresses = self.addresses(&peer);
        if !addresses.is_empty() {
            self.facts.push(Fact::Probe { peer, addresses });
        }
    }

    fn addresses(&self, peer: &PeerId) -> Vec<Address> {
        let Some(known) = self.known.get(peer) else {
            return Vec::new();
        };
        match &known.record {
            Some(record) if known.addresses.is_empty() => record.addresses.clone(),
            _ => known.addresses.clone(),
        }
    }

    /// The host has measured a peer, or nobody answered.
    pub(crate) fn probed(&mut self, now: Timestamp, peer: PeerId, rtt: Option<Duration>) {
        let Some(known) = self.known.get_mut(&peer) else {
            return;
        };
        match rtt {
            Some(rtt) => {
                known.rtt = Some(rtt);
                known.is_probed = true;
                known.seen_at = Some(now);
            }
            None if !known.is_linked && known.dialing.is_none() && known.lost.is_none() => {
                self.known.remove(&peer);
            }
            None => {}
        }
    }

    /// A link has measured its round trip by beats.
    pub(crate) fn measured(&mut self, peer: &PeerId, rtt: Duration) {
        if let Some(known) = self.known.get_mut(peer).filter(|known| !known.is_probed) {
            known.rtt = Some(rtt);
        }
    }

    fn ask_the_nearest(&mut self, now: Timestamp) {
        let is_asking = |dial: &super::Dial| matches!(dial.why, Why::Near { .. });
        if self.known.values().any(|known| known.dialing.as_deref().is_some_and(is_asking)) {
            return;
        }
        let free = self.known.iter().filter(|(_, known)| {
            !known.is_linked
                && known.dialing.is_none()
                && known.retry_at.is_none_or(|at| at <= now)
                && known.refused_at.is_none_or(|at| now - at >= limits::REFUSED_PAUSE)
        });
        let nearest = free.filter_map(|(peer, known)| Some((known.rtt?, *peer))).min();
        let Some((rtt, peer)) = nearest else { return };
        if self.count(Slot::Near) < limits::NEAR_LINKS || self.beats_the_farthest(now, rtt) {
            let rtt = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX);
            self.dial(now, peer, Why::Near { rtt }, false);
        }
    }

    /// Whether a link with this round trip is worth giving up the farthest near one.
    pub(super) fn beats_the_farthest(&self, now: Timestamp, rtt: Duration) -> bool {
        let Some((_, farthest)) = self.farthest(&self.me) else {
            return true;
        };
        let is_settled =
            self.partial.as_ref().is_some_and(|partial| now - partial.since >= limits::NEAR_SETTLED);
        if is_settled { rtt + rtt / 4 + BETTER_BY_SETTLED < farthest } else { rtt + BETTER_BY < farthest }
    }

    pub(super) fn rtt_of(&self, peer: &PeerId) -> Option<Duration> {
        self.known.get(peer)?.rtt
    }

    /// The farthest near link but the one to `but`; one that was not measured yet does not count.
    fn farthest(&self, but: &PeerId) -> Option<(PeerId, Duration)> {
        let near = self.kept().filter(|(peer, standing)| standing.slot == Slot::Near && peer != but);
        near.filter_map(|(peer, _)| Some((peer, self.rtt_of(&peer)?))).max_by_key(|(peer, rtt)| (*rtt, *peer))
    }

    /// Gives up the farthest near link, while there are more than `max`; not the one to `but`.
    pub(super) fn part_farthest(&mut self, but: PeerId, max: usize) {
        if self.count(Slot::Near) <= max {
            return;
        }
        if let Some((farthest, _)) = self.farthest(&but) {
            self.part(farthest, Refusal::Surplus, Vec::new());
        }
    }
}
