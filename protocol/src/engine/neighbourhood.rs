//! Whom neighbours are told that we are linked to.

use super::Engine;
use crate::heap;
use crate::id::PeerId;
use crate::time::{Duration, Timestamp};
use crate::wire::frame::{Address, Class, Frame, Peers, PeersChange};

/// Neighbours are told of a changed neighbourhood at most this often.
const PEERS_DELAY: Duration = Duration::from_millis(250);
/// The same in partial mode, where neighbours come and go in number at first, and nobody is dialled for it.
const PEERS_DELAY_PARTIAL: Duration = Duration::from_secs(2);
/// Each time that this divides all are told all: what says too much is not heard to the end.
const PEERS_WHOLE_EVERY: u32 = 16;

/// What was told, and when it is told again.
#[derive(Debug, Default)]
pub(super) struct Neighbourhood {
    pub(super) tell_at: Option<Timestamp>,
    /// What was told last to all who were told anything, in order.
    told: Vec<PeerId>,
    /// How often something was told.
    n_told: u32,
}

impl Neighbourhood {
    /// Bytes of memory behind it.
    pub(super) fn heap(&self) -> usize {
        heap::list(&self.told)
    }
}

impl Engine {
    pub(super) fn tell_peers_soon(&mut self) {
        let delay = if self.overlay.is_partial() { PEERS_DELAY_PARTIAL } else { PEERS_DELAY };
        self.neighbourhood.tell_at.get_or_insert(self.now + delay);
    }

    pub(super) fn tell_peers_if_due(&mut self) {
        if self.neighbourhood.tell_at.take_if(|at| *at <= self.now).is_some() {
            self.tell_peers();
        }
    }

    /// Tells every neighbour whom else we are linked to. In partial mode it says only who observes whom, and to those who
    /// know the rest what has changed: who has many neighbours would say all of them whenever one comes or goes.
    pub(super) fn tell_peers(&mut self) {
        let is_greeted = |peer: &PeerId| {
            let link = self.overlay.link(peer).and_then(|link| self.links.get(&link));
            link.is_some_and(|link| link.hello.is_some())
        };
        let is_partial = self.overlay.is_partial();
        let neighbours: Vec<(PeerId, Vec<Address>)> = self
            .overlay
            .neighbours()
            .filter(|(peer, _)| is_greeted(peer))
            .map(|(peer, addresses)| (peer, addresses.filter(|_| !is_partial).cloned().collect()))
            .collect();
        // More may have dialled us than a frame names.
        let named = &neighbours[..neighbours.len().min(Peers::MAX)];
        let now: Vec<PeerId> = named.iter().map(|(peer, _)| *peer).collect();
        let before = std::mem::replace(&mut self.neighbourhood.told, now.clone());
        let without = |all: &[PeerId], other: &[PeerId]| -> Vec<PeerId> {
            all.iter().filter(|peer| !other.contains(peer)).copied().collect()
        };
        let (came, went) = (without(&now, &before), without(&before, &now));
        let n_told = self.neighbourhood.n_told;
        self.neighbourhood.n_told = n_told.wrapping_add(1);
        let is_whole =
            !is_partial || n_told.is_multiple_of(PEERS_WHOLE_EVERY) || came.len() + went.len() >= now.len();
        for (peer, _) in &neighbours {
            let Some(link) = self.overlay.link(peer) else { continue };
            let knows =
                self.links.get_mut(&link).is_some_and(|link| std::mem::replace(&mut link.knows_peers, true));
            let others = |all: &[PeerId]| all.iter().filter(|other| *other != peer).copied().collect();
            let frame: Frame = if knows && !is_whole {
                let change = PeersChange { came: others(&came), went: others(&went) };
                if change.came.is_empty() && change.went.is_empty() {
                    continue;
                }
                change.into()
            } else {
                Peers { peers: named.iter().filter(|(other, _)| other != peer).cloned().collect() }.into()
            };
            self.cx().send(link, Class::Control, frame);
        }
    }
}
