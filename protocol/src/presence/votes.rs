//! What observers say of others and of this node, and what is said against it.

use std::collections::BTreeSet;

use super::{Fact, Presence, Way};
use crate::crypto::Identity;
use crate::id::{Incarnation, PeerId};
use crate::io::{PresenceCause, PresenceState};
use crate::limits;
use crate::time::{Duration, Timestamp};
use crate::wire::frame::{Alert, Alive, Gone};

impl Presence {
    /// An observer votes. `identity` signs the refutation if the vote is against this node.
    pub(crate) fn alert(&mut self, now: Timestamp, way: Way, alert: Alert, identity: &Identity) {
        let (peer, observer) = (alert.target, alert.observer);
        if peer == self.me {
            return self.accused(now, way, &alert, identity);
        }
        if way == Way::Group && !self.is_partial {
            // Here everybody votes to everybody. What a group repeats for those who come back from a cut is old news of
            // a neighbour, and would make it gone when it loses its first link.
            return;
        }
        if self.is_partial && observer != self.me {
            let is_news = self.rumours.vote(now, way, &alert);
            if let Way::Neighbour(from) = way {
                if is_news {
                    self.facts.push(Fact::Spread { frame: alert.clone().into(), from });
                } else if let Some(alive) = self.rumours.answer(&alert) {
                    self.facts.push(Fact::Tell(from, alive.into()));
                }
            }
        }
        // A vote counts only from somebody this node knows to be there itself. In a partial overlay it knows few; there
        // strangers can do no more than confirm what it sees, until it is refuted.
        let counts = self.state(&observer) == Some(PresenceState::Alive) || self.is_partial;
        let Some(known) = self.peers.get_mut(&peer).filter(|_| counts) else {
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
            // We hear it: let it speak for itself. Of one that says little that is to be found out first.
            self.facts.push(Fact::Tell(peer, alert.into()));
            if std::mem::take(&mut known.quiet) > Duration::ZERO {
                let silent = now - known.last_heard;
                known.last_heard = known.last_heard + silent.saturating_sub(limits::EVASIVE_AFTER);
                self.wake_at(now);
            }
            return;
        }
        self.wake_at(now);
    }

    /// A vote against this node: it speaks for itself. One observer may have a bad link, or lie; when two agree,
    /// it is this node that is slow.
    fn accused(&mut self, now: Timestamp, way: Way, alert: &Alert, identity: &Identity) {
        let is_near = self.state(&alert.observer) == Some(PresenceState::Alive);
        let is_far_ahead =
            alert.incarnation.0 > self.incarnation.0.saturating_add(limits::INCARNATION_JUMP_MAX);
        if is_far_ahead {
            return;
        }
        if alert.incarnation == self.incarnation && self.accused.0 != self.incarnation {
            self.accused = (self.incarnation, BTreeSet::new());
        }
        let (incarnation, observers) = &mut self.accused;
        if is_near && alert.incarnation == *incarnation && observers.len() < 2 {
            observers.insert(alert.observer);
            if observers.len() == 2 {
                self.health.worse(now);
            }
        }
        // Who once was a neighbour may have lost us in a cut that is mended now; others hear of us by themselves.
        // A group believes its members, and waits a second for the answer.
        let was_near = self.peers.contains_key(&alert.observer) || way == Way::Group;
        let pause = if was_near { limits::REFUTE_PAUSE } else { limits::REFUTE_STRANGERS_PAUSE };
        if alert.incarnation < self.incarnation {
            // The answer has been given; who has not heard it by now does not hear it any more.
            let is_late = self.refuted_at.is_none_or(|at| now - at >= limits::REFUTE_PAUSE);
            if let Way::Neighbour(from) = way
                && is_late
            {
                let incarnation = self.incarnation;
                let alive = self.alive.get_or_insert_with(|| Alive::new(incarnation, identity)).clone();
                self.facts.push(Fact::Tell(from, alive.into()));
            }
            return;
        }
        let at = self.refuted_at.map_or(now, |at| (at + pause).max(now));
        let (against, before) = self.answers.unwrap_or((alert.incarnation, at));
        self.answers = Some((against.max(alert.incarnation), before.min(at)));
        self.refute(now, identity);
    }

    /// Answers the votes against this node, once the pause since the last answer is over.
    pub(super) fn refute(&mut self, now: Timestamp, identity: &Identity) {
        let Some((against, at)) = self.answers else { return };
        if now < at {
            return self.wake_at(at);
        }
        self.answers = None;
        if against >= self.incarnation {
            self.incarnation = Incarnation(against.0.min(limits::INCARNATION_MAX - 1) + 1);
            self.refuted_at = Some(now);
            let alive = Alive::new(self.incarnation, identity);
            self.alive = Some(alive.clone());
            self.facts.push(Fact::Broadcast(alive.into()));
        }
    }

    /// Somebody proves that it is alive; `from` says so.
    pub(crate) fn alive(&mut self, now: Timestamp, from: PeerId, alive: Alive) {
        let peer = alive.peer;
        if peer == self.me {
            return;
        }
        if self.is_partial && self.rumours.refutation(now, from, &alive) {
            self.facts.push(Fact::Spread { frame: alive.clone().into(), from });
        }
        let Some(known) = self.peers.get_mut(&peer).filter(|known| known.incarnation < alive.incarnation)
        else {
            return;
        };
        known.incarnation = alive.incarnation;
        known.alerts.clear();
        let is_early = known.passed_on_at.is_some_and(|at| now - at < limits::REFUTE_PAUSE / 2);
        if !is_early && !self.is_partial {
            known.passed_on_at = Some(now);
            self.facts.push(Fact::Broadcast(alive.into()));
        }
        if self.peers.get(&peer).is_some_and(|known| known.state != PresenceState::Alive) {
            self.heard_as(now, peer, PresenceCause::Refuted);
        }
    }

    /// Others have agreed; `from` says so.
    pub(crate) fn gone(&mut self, now: Timestamp, from: PeerId, gone: Gone, identity: &Identity) {
        for alert in gone.alerts {
            self.alert(now, Way::Neighbour(from), alert, identity);
        }
    }

    /// A member of a group of ours says there that it is alive, in an incarnation that is higher than before.
    pub(crate) fn risen(&mut self, now: Timestamp, peer: PeerId, incarnation: Incarnation) {
        let Some(known) = self.peers.get_mut(&peer).filter(|known| known.incarnation < incarnation) else {
            return;
        };
        known.incarnation = incarnation;
        known.alerts.clear();
        if known.state != PresenceState::Alive {
            self.heard_as(now, peer, PresenceCause::Refuted);
        }
    }
}
