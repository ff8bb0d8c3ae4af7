//! Presence: who is alive. One per node, never per group.
//!
//! SWIM's states (Das, Gupta, Motivala 2002) with observers in place of random probes: neighbours watch the
//! links they have anyway. A node is gone when `min(3, 1 + its other observers)` agree by signed [`Alert`]s, or
//! when a lone observer's suspicion times out (Lifeguard, Dadgar et al. 2018, section IV-B). Local health
//! widens this node's time-outs while its own timers are late, and takes away its vote (section IV-A).
//!
//! Not here: who belongs to a group (roster), whom we dial (overlay), and the round trip (link).

use std::collections::{BTreeMap, BTreeSet};

use crate::crypto::Identity;
use crate::id::{Incarnation, PeerId};
use crate::io::{LinkEnd, PresenceCause, PresenceState};
use crate::limits;
use crate::time::{Duration, Timestamp};
use crate::wire::frame::{Alert, Alive, Frame, Gone};

/// What presence wants its owner to do.
#[derive(Debug)]
pub(crate) enum Fact {
    /// Tell the application.
    Changed { peer: PeerId, state: PresenceState, cause: PresenceCause },
    /// Send to every neighbour.
    Broadcast(Frame),
    /// Send to one neighbour, if linked.
    Tell(PeerId, Frame),
    /// Ask a neighbour for a beat at once.
    Ask(PeerId),
    /// Close the links to a neighbour that has been silent for too long.
    Unlink(PeerId),
}

/// Everybody this node has met.
#[derive(Debug)]
pub(crate) struct Presence {
    me: PeerId,
    incarnation: Incarnation,
    peers: BTreeMap<PeerId, Peer>,
    health: Health,
    /// When this node last spoke against votes.
    refuted_at: Option<Timestamp>,
    /// In which incarnation it was accused last, and by whom: two observers are enough to know.
    accused: (Incarnation, BTreeSet<PeerId>),
    /// No peer needs a look before this.
    next: Option<Timestamp>,
    facts: Vec<Fact>,
}

#[derive(Debug)]
struct Peer {
    state: PresenceState,
    incarnation: Incarnation,
    linked: bool,
    last_heard: Timestamp,
    /// When its connection broke and was not made again since.
    reset_at: Option<Timestamp>,
    /// When this node began to suspect it.
    suspected_at: Option<Timestamp>,
    /// Votes against its present incarnation, by observer.
    alerts: BTreeMap<PeerId, Alert>,
    /// Who else watched it when this node last heard it.
    observers: BTreeSet<PeerId>,
    gone_at: Option<Timestamp>,
    said_goodbye: bool,
    /// When its last refutation was passed on.
    passed_on_at: Option<Timestamp>,
    /// The application was told that it is alive and not yet that it is gone.
    announced: bool,
}

impl Presence {
    pub(crate) fn new(me: PeerId, incarnation: Incarnation) -> Self {
        Self {
            me,
            incarnation,
            peers: BTreeMap::new(),
            health: Health::default(),
            refuted_at: None,
            accused: (incarnation, BTreeSet::new()),
            next: None,
            facts: Vec::new(),
        }
    }

    /// The facts since last asked.
    pub(crate) fn take_facts(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.facts)
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    pub(crate) fn health(&self) -> u32 {
        self.health.score
    }

    pub(crate) fn state(&self, peer: &PeerId) -> Option<PresenceState> {
        self.peers.get(peer).map(|known| known.state)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerId, PresenceState)> + '_ {
        self.peers.iter().map(|(peer, known)| (*peer, known.state))
    }

    /// Before anything else is done with an input: if it comes late, this node stood still, and the silence of
    /// that time was its own (Lifeguard, section IV-A).
    pub(crate) fn on_time(&mut self, now: Timestamp) {
        let Some(due) = self.next.filter(|due| *due <= now) else {
            return;
        };
        let late = now - due;
        self.health.observe(now, late);
        if late >= limits::LATE_TIMER {
            self.forgive(now, late);
            self.next = Some(now);
        }
    }

    /// A link stands and its HELLO came. `identity` signs what it is told if it was thought gone.
    pub(crate) fn greeted(
        &mut self,
        now: Timestamp,
        peer: PeerId,
        incarnation: Incarnation,
        identity: &Identity,
    ) {
        self.make_room(now, &peer);
        let known = self.peers.entry(peer).or_insert_with(|| Peer::new(incarnation, now));
        let is_outdated = incarnation < known.incarnation
            || incarnation == known.incarnation && known.gone_at.is_some() && !known.said_goodbye;
        if is_outdated {
            // Others may think it gone in this incarnation, or have known a later one: it is to raise its own.
            let alert = Alert::new(peer, known.incarnation, identity);
            self.facts.push(Fact::Tell(peer, alert.into()));
        }
        known.incarnation = known.incarnation.max(incarnation);
        known.alerts.clear();
        known.linked = true;
        known.reset_at = None;
        self.heard_as(now, peer, PresenceCause::Connected);
    }

    /// A frame came over a link to `peer`.
    pub(crate) fn heard(&mut self, now: Timestamp, peer: PeerId) {
        match self.peers.get_mut(&peer) {
            Some(known) if known.linked && known.state == PresenceState::Alive => known.last_heard = now,
            Some(known) if known.linked => self.heard_as(now, peer, PresenceCause::Heard),
            _ => {}
        }
    }

    fn heard_as(&mut self, now: Timestamp, peer: PeerId, cause: PresenceCause) {
        let Some(known) = self.peers.get_mut(&peer) else {
            return;
        };
        known.last_heard = now;
        known.suspected_at = None;
        known.gone_at = None;
        known.said_goodbye = false;
        known.alerts.remove(&self.me);
        if known.state != PresenceState::Alive || cause == PresenceCause::Connected {
            let before = known.state;
            known.state = PresenceState::Alive;
            // A quick reconnection (two links for a moment, an address that changed) is no news.
            if before != PresenceState::Alive || !known.announced {
                known.announced = true;
                self.facts.push(Fact::Changed { peer, state: PresenceState::Alive, cause });
            }
        }
        self.wake_at(now + limits::EVASIVE_AFTER);
    }

    /// The last link to `peer` is over.
    pub(crate) fn unlinked(
        &mut self,
        now: Timestamp,
        peer: PeerId,
        end: LinkEnd,
        observers: BTreeSet<PeerId>,
    ) {
        let Some(known) = self.peers.get_mut(&peer) else {
            return;
        };
        known.linked = false;
        if known.state == PresenceState::Gone {
            return;
        }
        if known.state == PresenceState::Alive {
            known.observers = observers;
            known.state = PresenceState::Evasive;
            let cause = if end == LinkEnd::Reset { PresenceCause::Reset } else { PresenceCause::Silent };
            self.facts.push(Fact::Changed { peer, state: PresenceState::Evasive, cause });
        }
        if end == LinkEnd::Reset {
            known.reset_at = Some(now);
        }
        self.wake_at(now);
    }

    /// It said goodbye, over its own link.
    pub(crate) fn goodbye(&mut self, now: Timestamp, peer: PeerId) {
        self.set_gone(now, peer, PresenceCause::Goodbye);
        if let Some(known) = self.peers.get_mut(&peer) {
            known.said_goodbye = true;
            known.linked = false;
        }
    }

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
        if known.state == PresenceState::Alive {
            // We hear it: let it speak for itself.
            self.facts.push(Fact::Tell(peer, alert.into()));
            return;
        }
        if known.alerts.len() < limits::LINKS_MAX {
            known.alerts.insert(observer, alert);
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

    /// Looks at everybody whose time has come. `observers` tells who else is linked to a peer.
    pub(crate) fn on_deadline(
        &mut self,
        now: Timestamp,
        identity: &Identity,
        observers: impl Fn(&PeerId) -> BTreeSet<PeerId>,
    ) {
        if self.next.is_none_or(|due| due > now) {
            return;
        }
        self.next = None;
        let peers: Vec<PeerId> = self.peers.keys().copied().collect();
        for peer in peers {
            self.look_at(now, peer, identity, &observers);
        }
    }

    /// Time during which this node itself stood still is nobody's silence.
    fn forgive(&mut self, now: Timestamp, late: Duration) {
        let later = |at: Timestamp| (at + late).min(now);
        for known in self.peers.values_mut() {
            known.last_heard = later(known.last_heard);
            known.reset_at = known.reset_at.map(later);
            known.suspected_at = known.suspected_at.map(later);
        }
    }

    /// When [`Presence::on_deadline`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.next
    }

    fn look_at(
        &mut self,
        now: Timestamp,
        peer: PeerId,
        identity: &Identity,
        observers: &impl Fn(&PeerId) -> BTreeSet<PeerId>,
    ) {
        let stretch = self.health.stretch();
        let may_vote = self.health.score < limits::HEALTH_NO_VOTE;
        let is_vouched_for = self.is_vouched_for(&peer, observers);
        let Some(known) = self.peers.get_mut(&peer) else {
            return;
        };
        match known.state {
            PresenceState::Gone => {}
            PresenceState::Alive => {
                if is_vouched_for {
                    return self.wake_at(now + limits::EVASIVE_AFTER);
                }
                let due = known.last_heard + limits::EVASIVE_AFTER * stretch;
                if now < due {
                    return self.wake_at(due);
                }
                known.observers = observers(&peer);
                known.state = PresenceState::Evasive;
                let linked = known.linked;
                self.facts.push(Fact::Changed {
                    peer,
                    state: PresenceState::Evasive,
                    cause: PresenceCause::Silent,
                });
                if linked {
                    self.facts.push(Fact::Ask(peer));
                }
                self.look_at(now, peer, identity, observers);
            }
            PresenceState::Evasive => {
                let silent_due = known.last_heard + limits::SUSPECT_AFTER * stretch;
                let due = match known.reset_at {
                    Some(reset) if !known.linked => {
                        silent_due.min(reset + limits::SUSPECT_AFTER_RESET * stretch)
                    }
                    _ => silent_due,
                };
                if now < due {
                    return self.wake_at(due);
                }
                known.state = PresenceState::Suspect;
                known.suspected_at = Some(now);
                let cause =
                    if known.reset_at.is_some() { PresenceCause::Reset } else { PresenceCause::Silent };
                self.facts.push(Fact::Changed { peer, state: PresenceState::Suspect, cause });
                if known.linked {
                    self.facts.push(Fact::Unlink(peer));
                }
                if may_vote {
                    let alert = Alert::new(peer, known.incarnation, identity);
                    known.alerts.insert(self.me, alert.clone());
                    self.facts.push(Fact::Broadcast(alert.into()));
                }
                self.look_at(now, peer, identity, observers);
            }
            PresenceState::Suspect => self.judge(now, peer),
        }
    }

    /// No link of ours, but somebody alive is linked to it: its silence here says nothing.
    fn is_vouched_for(&self, peer: &PeerId, observers: &impl Fn(&PeerId) -> BTreeSet<PeerId>) -> bool {
        let known = self.peers.get(peer);
        known.is_some_and(|known| known.state == PresenceState::Alive && !known.linked)
            && observers(peer).iter().any(|other| self.state(other) == Some(PresenceState::Alive))
    }

    /// Counts the votes against a suspect.
    fn judge(&mut self, now: Timestamp, peer: PeerId) {
        let Some(known) = self.peers.get(&peer) else {
            return;
        };
        let others =
            known.observers.iter().filter(|other| self.state(other) == Some(PresenceState::Alive)).count();
        let needed = limits::VOTES.min(1 + others);
        let votes = known.alerts.len();
        let due = known.suspected_at.unwrap_or(now) + suspicion_timeout(votes) * self.health.stretch();
        let cause = if votes >= needed {
            PresenceCause::Voted
        } else if now >= due {
            PresenceCause::TimedOut
        } else {
            return self.wake_at(due);
        };
        let alerts: Vec<Alert> = known.alerts.values().take(Gone::ALERTS_MAX).cloned().collect();
        if !alerts.is_empty() {
            self.facts.push(Fact::Broadcast(Gone { alerts }.into()));
        }
        self.set_gone(now, peer, cause);
    }

    fn set_gone(&mut self, now: Timestamp, peer: PeerId, cause: PresenceCause) {
        let Some(known) = self.peers.get_mut(&peer) else {
            return;
        };
        if known.state != PresenceState::Gone {
            known.state = PresenceState::Gone;
            known.announced = false;
            known.gone_at = Some(now);
            self.facts.push(Fact::Changed { peer, state: PresenceState::Gone, cause });
        }
    }

    fn wake_at(&mut self, at: Timestamp) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// Room for `peer`: forgets who has been gone longest or, if nobody is, who was heard longest ago. Never one
    /// that is linked, and links are bounded.
    fn make_room(&mut self, now: Timestamp, peer: &PeerId) {
        while self.peers.len() >= limits::GONE_MAX && !self.peers.contains_key(peer) {
            let unlinked = self.peers.iter().filter(|(_, known)| !known.linked);
            let oldest = unlinked.min_by_key(|(_, known)| match known.gone_at {
                Some(at) => (false, at),
                None => (true, known.last_heard),
            });
            let Some(oldest) = oldest.map(|(peer, _)| *peer) else {
                return;
            };
            if self.peers.get(&oldest).is_some_and(|known| known.announced) {
                self.set_gone(now, oldest, PresenceCause::TimedOut);
            }
            self.peers.remove(&oldest);
        }
    }
}

/// Lifeguard's shrinking time-out: 30 s alone, 6 s when [`limits::VOTES`] agree.
fn suspicion_timeout(votes: usize) -> Duration {
    const CONFIRMATIONS: [u32; 4] = [0, 0, 500, 1000];
    // log(c + 1) / log(3 + 1) in thousandths for 0, 1, 2 and 3 votes, the first of which is our own.
    let share = CONFIRMATIONS[votes.min(limits::VOTES)];
    limits::SUSPICION_MAX - (limits::SUSPICION_MAX - limits::SUSPICION_MIN) * share / 1000
}

/// Lifeguard's local health: how late this node's own timers have been.
#[derive(Debug, Default)]
struct Health {
    score: u32,
    changed_at: Timestamp,
}

impl Health {
    /// Late timers make it worse at once; every ten quiet seconds make it better by one.
    fn observe(&mut self, now: Timestamp, late: Duration) {
        if late >= limits::LATE_TIMER {
            self.worse(now);
        } else if self.score > 0 && now - self.changed_at >= Duration::from_secs(10) {
            self.score -= 1;
            self.changed_at = now;
        }
    }

    fn worse(&mut self, now: Timestamp) {
        self.changed_at = now;
        self.score = (self.score + 1).min(limits::HEALTH_MAX);
    }

    fn stretch(&self) -> u32 {
        1 + self.score
    }
}

impl Peer {
    fn new(incarnation: Incarnation, now: Timestamp) -> Self {
        Self {
            state: PresenceState::Gone,
            incarnation,
            linked: false,
            last_heard: now,
            reset_at: None,
            suspected_at: None,
            alerts: BTreeMap::new(),
            observers: BTreeSet::new(),
            gone_at: None,
            said_goodbye: false,
            passed_on_at: None,
            announced: false,
        }
    }
}

#[cfg(test)]
mod tests;
