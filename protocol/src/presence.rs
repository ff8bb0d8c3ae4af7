//! Presence: who is alive. One per node, never per group.
//!
//! SWIM's states (Das, Gupta, Motivala 2002) with observers in place of random probes: neighbours watch the
//! links they have anyway. A node is gone when `min(3, 1 + its other observers)` agree by signed [`Alert`]s, or
//! when a lone observer's suspicion times out (Lifeguard, Dadgar et al. 2018, section IV-B). Local health
//! widens this node's time-outs while its own timers are late, and takes away its vote (section IV-A). Many that
//! fall silent together are a cut network and not so many deaths (Rapid, Suresh et al. 2018, cuts whole groups).
//!
//! Not here: who belongs to a group (roster), whom we dial (overlay), and the round trip (link).

mod health;
mod judge;
mod peer;
mod rumours;
mod votes;
mod weather;

use std::collections::{BTreeMap, BTreeSet};

use crate::crypto::Identity;
use crate::heap;
use crate::id::{Incarnation, PeerId};
use crate::io::{LinkEnd, PresenceCause, PresenceState};
use crate::limits;
use crate::time::{Duration, Timestamp};
use crate::wire::frame::{Alert, Alive, Frame};
use health::Health;
use peer::Peer;
use rumours::Rumours;
use weather::Weather;

/// What presence wants its owner to do.
#[derive(Debug)]
pub(crate) enum Fact {
    /// Tell the application.
    Changed { peer: PeerId, state: PresenceState, cause: PresenceCause },
    /// Send to every neighbour.
    Broadcast(Frame),
    /// Send to every neighbour but the one it came from.
    Spread { frame: Frame, from: PeerId },
    /// Send to one neighbour, if linked.
    Tell(PeerId, Frame),
    /// Ask a neighbour for a beat at once.
    Ask(PeerId),
    /// Close the links to a neighbour that has been silent for too long.
    Unlink(PeerId),
}

/// How a vote came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// A neighbour says so, to this node.
    Neighbour(PeerId),
    /// Through a group that this node shares with both.
    Group,
}

/// Everybody this node has met.
#[derive(Debug)]
pub(crate) struct Presence {
    me: PeerId,
    incarnation: Incarnation,
    peers: BTreeMap<PeerId, Box<Peer>>,
    health: Health,
    weather: Weather,
    /// Who observes a node need not be a neighbour of ours.
    is_partial: bool,
    /// Thousandths.
    patience: u32,
    rumours: Rumours,
    /// What it last said against votes.
    alive: Option<Alive>,
    /// When this node last spoke against votes.
    refuted_at: Option<Timestamp>,
    /// Votes against this incarnation, or an earlier one, are to be answered then.
    answers: Option<(Incarnation, Timestamp)>,
    /// In which incarnation it was accused last, and by whom: two observers are enough to know.
    accused: (Incarnation, BTreeSet<PeerId>),
    /// No peer needs a look before this.
    next: Option<Timestamp>,
    facts: Vec<Fact>,
}

impl Presence {
    pub(crate) fn new(me: PeerId, incarnation: Incarnation) -> Self {
        Self {
            me,
            incarnation,
            peers: BTreeMap::new(),
            health: Health::default(),
            weather: Weather::default(),
            is_partial: false,
            patience: u32::from(limits::PATIENCE),
            rumours: Rumours::default(),
            alive: None,
            refuted_at: None,
            answers: None,
            accused: (incarnation, BTreeSet::new()),
            next: None,
            facts: Vec::new(),
        }
    }

    /// See [`crate::engine::Config::patience`].
    pub(crate) fn with_patience(self, patience: u16) -> Self {
        Self { patience: u32::from(patience.min(limits::PATIENCE)), ..self }
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

    /// Whether so many packets are lost that silence says little.
    pub(crate) fn is_weather_bad(&self, now: Timestamp) -> bool {
        self.weather.is_bad(now)
    }

    pub(crate) fn state(&self, peer: &PeerId) -> Option<PresenceState> {
        self.peers.get(peer).map(|known| known.state)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerId, PresenceState)> + '_ {
        self.peers.iter().map(|(peer, known)| (*peer, known.state))
    }

    /// A neighbour says to how many it is linked.
    pub(crate) fn watched_by(&mut self, peer: &PeerId, n: usize) {
        if let Some(known) = self.peers.get_mut(peer).filter(|known| known.linked) {
            known.n_observers = n;
        }
    }

    /// Within so many seconds there is a question on the link to a neighbour, or else traffic both ways.
    pub(crate) fn expect_by(&mut self, peer: &PeerId, secs: u8) {
        if let Some(known) = self.peers.get_mut(peer) {
            let pause = Duration::from_secs(secs.into()).min(limits::BEAT_QUIET);
            known.quiet = pause.saturating_sub(limits::BEAT_STEADY);
        }
    }

    /// Bytes of memory behind it, about.
    pub(crate) fn heap(&self) -> usize {
        let of_peers =
            self.peers.values().map(|known| heap::map(&known.alerts) + heap::set(&known.observers));
        heap::boxes(&self.peers) + of_peers.sum::<usize>()
    }

    /// See [`crate::engine::Engine::table_sizes`].
    pub(crate) fn table_sizes(&self) -> [(&'static str, usize, usize); 3] {
        let (about, of) = self.rumours.sizes();
        [
            ("presence", self.peers.len(), limits::GONE_MAX + limits::LINKS_MAX),
            ("rumours", about, limits::RUMOURS_MAX),
            ("observers", of, limits::RUMOURS_OF_MAX),
        ]
    }

    /// Whether the overlay has links to some only.
    pub(crate) fn set_partial(&mut self, is_partial: bool) {
        self.is_partial = is_partial;
    }

    /// Before anything else is done with an input: if it comes late, this node stood still, and the silence of
    /// that time was its own (Lifeguard, section IV-A). Returns how long it stood still.
    pub(crate) fn on_time(&mut self, now: Timestamp) -> Duration {
        let Some(due) = self.next.filter(|due| *due <= now) else {
            return Duration::ZERO;
        };
        let late = now - due;
        self.health.observe(now, late);
        if late >= limits::LATE_TIMER {
            self.forgive(now, late);
            self.next = Some(now);
        }
        late
    }

    /// A link stands and its HELLO came. `identity` signs what it is told if it was thought gone.
    pub(crate) fn greeted(
        &mut self,
        now: Timestamp,
        peer: PeerId,
        incarnation: Incarnation,
        identity: &Identity,
    ) {
        if self.peers.get(&peer).is_some_and(|known| known.incarnation >= incarnation) {
            self.note_stall(now, &peer);
        }
        self.make_room(now, &peer);
        let known = self.peers.entry(peer).or_insert_with(|| Box::new(Peer::new(incarnation, now)));
        let is_outdated = incarnation < known.incarnation
            || incarnation == known.incarnation && known.gone_at.is_some() && !known.said_goodbye;
        if is_outdated {
            // Others may think it gone in this incarnation, or have known a later one: it is to raise its own.
            let alert = Alert::new(peer, known.incarnation, known.n_observers(self.is_partial), identity);
            self.facts.push(Fact::Tell(peer, alert.into()));
        }
        known.incarnation = known.incarnation.max(incarnation);
        known.alerts.retain(|observer, _| *observer == self.me);
        known.linked = true;
        known.reset_at = None;
        known.quiet = Duration::ZERO;
        self.heard_as(now, peer, PresenceCause::Connected);
        self.tell_suspicions(peer);
    }

    /// A new neighbour may be the first from the other side of a cut: those we suspect are to hear of it, and refute.
    fn tell_suspicions(&mut self, peer: PeerId) {
        let suspects = self.peers.values().filter(|known| known.state == PresenceState::Suspect);
        let own = suspects.filter_map(|known| known.alerts.get(&self.me));
        let told: Vec<Fact> =
            own.take(limits::LINKS_MAX).map(|alert| Fact::Tell(peer, alert.clone().into())).collect();
        self.facts.extend(told);
    }

    /// A frame came over a link to `peer`.
    pub(crate) fn heard(&mut self, now: Timestamp, peer: PeerId) {
        self.note_stall(now, &peer);
        match self.peers.get_mut(&peer) {
            Some(known) if known.linked && known.state == PresenceState::Alive => known.last_heard = now,
            Some(known) if known.linked => self.heard_as(now, peer, PresenceCause::Heard),
            _ => {}
        }
    }

    /// In a group of so many a member was voted against that was there.
    pub(crate) fn voted_in_vain(&mut self, now: Timestamp, n_members: usize) {
        self.weather.on_vain_vote(now, n_members);
    }

    /// It speaks again after a silence that was not this node's own.
    fn note_stall(&mut self, now: Timestamp, peer: &PeerId) {
        let known = self.peers.get(peer).filter(|known| known.is_silent() && !known.is_cut_off);
        let was_silent = known.is_some_and(|known| now - known.last_heard >= limits::EVASIVE_AFTER);
        if was_silent && self.health.score == 0 {
            self.weather.on_stall(now, *peer);
        }
    }

    fn heard_as(&mut self, now: Timestamp, peer: PeerId, cause: PresenceCause) {
        let Some(known) = self.peers.get_mut(&peer) else {
            return;
        };
        known.last_heard = now;
        known.is_given_up = false;
        known.suspected_at = None;
        known.called_at = None;
        known.is_cut_off = false;
        known.gone_at = None;
        known.said_goodbye = false;
        let taken_back = known.alerts.remove(&self.me);
        if let Some(alert) = taken_back.filter(|alert| alert.incarnation >= known.incarnation) {
            // Others have heard the vote, and only its target can answer it.
            self.facts.push(Fact::Tell(peer, alert.into()));
        }
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

    /// Its host says that nobody listens there any more: the cut is over, or there was none.
    pub(crate) fn refused(&mut self, now: Timestamp, peer: PeerId) {
        if let Some(known) = self.peers.get_mut(&peer)
            && !known.linked
            && known.is_silent()
        {
            known.is_cut_off = false;
            known.reset_at = Some(now);
            self.wake_at(now);
        }
    }

    /// The overlay has given the last link to `peer` up. That says nothing about it, and we do not observe it any more.
    pub(crate) fn parted(&mut self, peer: &PeerId) {
        match self.peers.get_mut(peer) {
            Some(known) if known.state == PresenceState::Alive => drop(self.peers.remove(peer)),
            // It had fallen silent before: what became of it is still to be found out.
            Some(known) => known.linked = false,
            None => {}
        }
    }

    /// It said goodbye, over its own link.
    pub(crate) fn goodbye(&mut self, now: Timestamp, peer: PeerId) {
        self.set_gone(now, peer, PresenceCause::Goodbye);
        if let Some(known) = self.peers.get_mut(&peer) {
            known.said_goodbye = true;
            known.linked = false;
        }
    }

    /// Time during which this node itself stood still is nobody's silence.
    fn forgive(&mut self, now: Timestamp, late: Duration) {
        let later = |at: Timestamp| (at + late).min(now);
        for known in self.peers.values_mut() {
            known.last_heard = later(known.last_heard);
            known.reset_at = known.reset_at.map(later);
            known.suspected_at = known.suspected_at.map(later);
            known.called_at = known.called_at.map(later);
        }
    }

    /// When [`Presence::on_deadline`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.next
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

#[cfg(test)]
mod tests;
