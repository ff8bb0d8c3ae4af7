//! What the passing of time makes of silence and of votes.

use std::collections::BTreeSet;

use super::peer::Peer;
use super::{Fact, Presence};
use crate::crypto::Identity;
use crate::id::PeerId;
use crate::io::{PresenceCause, PresenceState};
use crate::limits;
use crate::time::{Duration, Timestamp};
use crate::wire::frame::{Alert, Gone};

impl Presence {
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
        self.refute(now, identity);
        let peers: Vec<PeerId> = self.peers.keys().copied().collect();
        for peer in peers {
            self.look_at(now, peer, identity, &observers);
        }
    }

    /// A time of silence, of which what is beyond [`limits::EVASIVE_AFTER`] counts by the patience.
    fn patiently(&self, after: Duration) -> Duration {
        let beyond = after.saturating_sub(limits::EVASIVE_AFTER);
        limits::EVASIVE_AFTER + beyond * self.patience / u32::from(limits::PATIENCE)
    }

    fn look_at(
        &mut self,
        now: Timestamp,
        peer: PeerId,
        identity: &Identity,
        observers: &impl Fn(&PeerId) -> BTreeSet<PeerId>,
    ) {
        let stretch = self.stretch(&peer);
        // Where it is bad a connection that is closed may be one that the other side has given up.
        let (suspect_after, after_reset) = if self.weather.is_bad(now) {
            (limits::SUSPECT_AFTER_BAD, limits::SUSPECT_AFTER)
        } else {
            (limits::SUSPECT_AFTER, limits::SUSPECT_AFTER_RESET)
        };
        let [usual, suspect_after] =
            [limits::SUSPECT_AFTER, suspect_after].map(|after| self.patiently(after));
        let is_vouched_for = self.is_vouched_for(&peer, observers);
        let Some(known) = self.peers.get_mut(&peer) else {
            return;
        };
        match known.state {
            PresenceState::Gone => {}
            // It spoke for itself; whether it goes on is for its neighbours to see.
            PresenceState::Alive if self.is_partial && !known.linked => drop(self.peers.remove(&peer)),
            PresenceState::Alive => {
                if is_vouched_for {
                    return self.wake_at(now + limits::EVASIVE_AFTER);
                }
                let due = known.last_heard + (known.quiet + limits::EVASIVE_AFTER) * stretch;
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
                let given_up_at = known.last_heard + (known.quiet + usual) * stretch;
                let silent_due = known.last_heard + (known.quiet + suspect_after) * stretch;
                let due = match known.reset_at {
                    Some(reset) if !known.linked => silent_due.min(reset + after_reset * stretch),
                    _ => silent_due,
                };
                if now < due {
                    // A link that is stuck may be so for long, where a new one is not.
                    // Once: the next link may stand by then, and not have been greeted.
                    let may_give_up = known.linked && !known.is_given_up;
                    if may_give_up && now >= given_up_at {
                        known.is_given_up = true;
                        self.facts.push(Fact::Unlink(peer));
                        return self.wake_at(due);
                    }
                    return self.wake_at(if may_give_up { given_up_at.min(due) } else { due });
                }
                known.state = PresenceState::Suspect;
                (known.suspected_at, known.called_at) = (Some(now), None);
                let is_reset = known.reset_at.is_some();
                let is_cut_off = self.is_cut_off(now, &peer);
                let Some(known) = self.peers.get_mut(&peer) else {
                    return;
                };
                known.is_cut_off = is_cut_off;
                let cause = match (is_reset, is_cut_off) {
                    (true, _) => PresenceCause::Reset,
                    (false, true) => PresenceCause::Partition,
                    (false, false) => PresenceCause::Silent,
                };
                self.facts.push(Fact::Changed { peer, state: PresenceState::Suspect, cause });
                if known.linked {
                    self.facts.push(Fact::Unlink(peer));
                }
                self.vote(&peer, identity);
                self.look_at(now, peer, identity, observers);
            }
            PresenceState::Suspect => self.judge(now, peer, identity),
        }
    }

    /// Votes against a suspect, unless this node is too starved to know.
    fn vote(&mut self, peer: &PeerId, identity: &Identity) {
        let may_vote = self.health.score < limits::HEALTH_NO_VOTE;
        let Some(known) = self.peers.get_mut(peer).filter(|_| may_vote) else { return };
        let alert = Alert::new(*peer, known.incarnation, known.n_observers(self.is_partial), identity);
        known.alerts.insert(self.me, alert.clone());
        self.facts.push(Fact::Broadcast(alert.into()));
    }

    /// By how much this node's own lateness widens its time-outs: not at all if others have found out without it.
    fn stretch(&self, peer: &PeerId) -> u32 {
        let votes = self.peers.get(peer).map(|known| known.alerts.keys().filter(|other| **other != self.me));
        if votes.is_some_and(|votes| votes.count() >= limits::VOTES) { 1 } else { self.health.stretch() }
    }

    /// No link of ours, but somebody alive is linked to it: its silence here says nothing.
    fn is_vouched_for(&self, peer: &PeerId, observers: &impl Fn(&PeerId) -> BTreeSet<PeerId>) -> bool {
        let known = self.peers.get(peer);
        known.is_some_and(|known| known.state == PresenceState::Alive && !known.linked)
            && observers(peer).iter().any(|other| self.state(other) == Some(PresenceState::Alive))
    }

    /// Whether it fell silent together with so many others that it is the network that is broken.
    fn is_cut_off(&self, now: Timestamp, peer: &PeerId) -> bool {
        let Some(known) = self.peers.get(peer).filter(|known| known.is_silent()) else {
            return false;
        };
        // A quiet one may have gone at any time until it was to be heard.
        let gap = |a: &Peer, b: &Peer| b.last_heard - (a.last_heard + a.quiet);
        let apart = |other: &Peer| gap(known, other).max(gap(other, known));
        let together =
            self.peers.values().filter(|other| other.is_silent() && apart(other) <= limits::PARTITION_WINDOW);
        let (share, many) = if self.weather.is_bad(now) {
            ((self.n_watched() / 2).max(limits::PARTITION_MIN), limits::PARTITION_MAX * limits::CUT_BAD)
        } else {
            let share = self.n_watched() / limits::PARTITION_SHARE;
            (share.clamp(limits::PARTITION_MIN, limits::PARTITION_MAX), limits::PARTITION_MAX)
        };
        together.count() >= share || self.is_partial && self.rumours.n_accused(now) >= many
    }

    /// Neighbours, those included that have just been lost.
    fn n_watched(&self) -> usize {
        self.peers.values().filter(|known| known.linked || known.is_silent()).count()
    }

    /// Counts the votes against a suspect.
    fn judge(&mut self, now: Timestamp, peer: PeerId, identity: &Identity) {
        let was_cut_off = self.peers.get(&peer).is_some_and(|known| known.is_cut_off);
        let is_cut_off = was_cut_off || self.is_cut_off(now, &peer);
        let Some(known) = self.peers.get_mut(&peer) else {
            return;
        };
        if is_cut_off && !was_cut_off {
            known.is_cut_off = true;
            let (state, cause) = (PresenceState::Suspect, PresenceCause::Partition);
            self.facts.push(Fact::Changed { peer, state, cause });
        }
        let Some(known) = self.peers.get(&peer) else {
            return;
        };
        let others =
            known.observers.iter().filter(|other| self.state(other) == Some(PresenceState::Alive)).count();
        // In a partial overlay everybody has others who observe it, whether this node has heard of them or not.
        let all = if self.is_partial { known.n_observers(true) } else { 1 + others };
        let needed = limits::VOTES.min(all);
        let votes = known.alerts.len();
        let since = known.suspected_at.unwrap_or(now);
        let patience = if is_cut_off { limits::PARTITION_HOLD } else { suspicion_timeout(votes) };
        let patience = patience * self.stretch(&peer);
        let due = match known.called_at {
            Some(at) => (since + patience).max(at + limits::LAST_CALL),
            None => since + patience.saturating_sub(limits::LAST_CALL),
        };
        // A broken connection tells of one process; silence may turn out to be that of many, or of a link that was stuck
        // and has just been given up: over a new one it can still be heard.
        let is_counted = !is_cut_off && votes >= needed;
        let settle = if self.weather.is_bad(now) { limits::SETTLE_AFTER_BAD } else { limits::SETTLE_AFTER };
        let settle = settle * self.patience / u32::from(limits::PATIENCE);
        let counts_at = if known.is_silent() { since + settle } else { since };
        let cause = if is_counted && now >= counts_at {
            PresenceCause::Voted
        } else if now < due {
            return self.wake_at(if is_counted { counts_at.min(due) } else { due });
        } else if known.called_at.is_none() {
            self.call(now, &peer, identity);
            return self.judge(now, peer, identity);
        } else {
            PresenceCause::TimedOut
        };
        let alerts: Vec<Alert> = known.alerts.values().take(Gone::ALERTS_MAX).cloned().collect();
        if !alerts.is_empty() {
            self.facts.push(Fact::Broadcast(Gone { alerts }.into()));
        }
        self.set_gone(now, peer, cause);
    }

    /// Says the vote against a suspect once more: it may not have been heard, as who has just voted in vain is not, or
    /// the answer may have been lost.
    fn call(&mut self, now: Timestamp, peer: &PeerId, identity: &Identity) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.called_at = Some(now);
        }
        self.vote(peer, identity);
    }

    pub(super) fn set_gone(&mut self, now: Timestamp, peer: PeerId, cause: PresenceCause) {
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
}

/// Lifeguard's shrinking time-out: 30 s alone, 6 s when [`limits::VOTES`] agree.
fn suspicion_timeout(votes: usize) -> Duration {
    const CONFIRMATIONS: [u32; 4] = [0, 0, 500, 1000];
    // log(c + 1) / log(3 + 1) in thousandths for 0, 1, 2 and 3 votes, the first of which is our own.
    let share = CONFIRMATIONS[votes.min(limits::VOTES)];
    limits::SUSPICION_MAX - (limits::SUSPICION_MAX - limits::SUSPICION_MIN) * share / 1000
}
