//! What observers say of others and of this node, and what is said against it.

use std::collections::BTreeSet;

use super::{Fact, Presence};
use crate::crypto::Identity;
use crate::id::Incarnation;
use crate::io::{PresenceCause, PresenceState};
use crate::limits;
use crate::time::Timestamp;
use crate::wire::frame::{Alert, Alive, Gone};

impl Presence {
    /// An observer votes. `identity` signs the refutation if the vote is against this node.
    pub(crate) fn alert(&mut self, now: Timestamp, alert: Alert, identity: &Identity) {
        let (peer, observer) = (alert.target, alert.observer);
        // A vote counts only from somebody this node knows to be there itself.
        if self.state(&observer) != Some(PresenceState::Alive) {
            return;
        }
        if peer == self.me {
            return self.accused(now, &alert, identity);
        }
        let Some(known) = self.peers.get_mut(&peer) else {
            return;
        };
        if alert.incarnation < known.incarnation || known.state == PresenceState::Gone {
            return;
        }
        if known.alerts.len() < limits::LINKS_MAX {
            // Kept whatever we think of it ourselves: who stood still hears the votes before it finds its own link
            // broken. If it lives it will refute them.
            known.alerts.insert(observer, alert.clone());
        }
        if known.state == PresenceState::Alive {
            // We hear it: let it speak for itself.
            self.facts.push(Fact::Tell(peer, alert.into()));
            return;
        }
        self.wake_at(now);
    }

    /// A vote against this node: it speaks for itself. One observer may have a bad link, or lie; when two agree,
    /// it is this node that is slow.
    fn accused(&mut self, now: Timestamp, alert: &Alert, identity: &Identity) {
        if alert.incarnation.0 > self.incarnation.0.saturating_add(limits::INCARNATION_JUMP_MAX) {
            return;
        }
        if alert.incarnation == self.incarnation && self.accused.0 != self.incarnation {
            self.accused = (self.incarnation, BTreeSet::new());
        }
        let (incarnation, observers) = &mut self.accused;
        if alert.incarnation == *incarnation && observers.len() < 2 {
            observers.insert(alert.observer);
            if observers.len() == 2 {
                self.health.worse(now);
            }
        }
        let is_early = self.refuted_at.is_some_and(|at| now - at < limits::REFUTE_PAUSE);
        if alert.incarnation >= self.incarnation && !is_early {
            self.incarnation = Incarnation(alert.incarnation.0.min(limits::INCARNATION_MAX - 1) + 1);
            self.refuted_at = Some(now);
            self.facts.push(Fact::Broadcast(Alive::new(self.incarnation, identity).into()));
        }
    }

    /// Somebody proves that it is alive.
    pub(crate) fn alive(&mut self, now: Timestamp, alive: Alive) {
        let peer = alive.peer;
        let Some(known) = self.peers.get_mut(&peer) else {
            return;
        };
        if peer == self.me || alive.incarnation <= known.incarnation {
            return;
        }
        known.incarnation = alive.incarnation;
        known.alerts.clear();
        let is_early = known.passed_on_at.is_some_and(|at| now - at < limits::REFUTE_PAUSE / 2);
        if !is_early {
            known.passed_on_at = Some(now);
            self.facts.push(Fact::Broadcast(alive.into()));
        }
        if self.peers.get(&peer).is_some_and(|known| known.state != PresenceState::Alive) {
            self.heard_as(now, peer, PresenceCause::Refuted);
        }
    }

    /// Others have agreed.
    pub(crate) fn gone(&mut self, now: Timestamp, gone: Gone, identity: &Identity) {
        for alert in gone.alerts {
            self.alert(now, alert, identity);
        }
    }
}
