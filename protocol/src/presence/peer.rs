//! What is known of one peer.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{Incarnation, PeerId};
use crate::io::PresenceState;
use crate::time::{Duration, Timestamp};
use crate::wire::frame::Alert;

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) state: PresenceState,
    pub(super) incarnation: Incarnation,
    pub(super) linked: bool,
    pub(super) last_heard: Timestamp,
    /// By so much later than elsewhere its next sign of life may come: it said so.
    pub(super) quiet: Duration,
    /// Its silent link was given up, and nothing heard from it since.
    pub(super) is_given_up: bool,
    /// When its connection broke and was not made again since.
    pub(super) reset_at: Option<Timestamp>,
    /// When this node began to suspect it.
    pub(super) suspected_at: Option<Timestamp>,
    /// When this node said its vote once more, before it takes silence for an answer.
    pub(super) called_at: Option<Timestamp>,
    /// It fell silent together with many others.
    pub(super) is_cut_off: bool,
    /// Votes against its present incarnation, by observer.
    pub(super) alerts: BTreeMap<PeerId, Alert>,
    /// Who else watched it when this node last heard it.
    pub(super) observers: BTreeSet<PeerId>,
    /// How many watch it, as it says itself; zero if it did not say.
    pub(super) n_observers: usize,
    pub(super) gone_at: Option<Timestamp>,
    pub(super) said_goodbye: bool,
    /// When its last refutation was passed on.
    pub(super) passed_on_at: Option<Timestamp>,
    /// The application was told that it is alive and not yet that it is gone.
    pub(super) announced: bool,
}

impl Peer {
    pub(super) fn new(incarnation: Incarnation, now: Timestamp) -> Self {
        Self {
            state: PresenceState::Gone,
            incarnation,
            linked: false,
            last_heard: now,
            quiet: Duration::ZERO,
            is_given_up: false,
            reset_at: None,
            suspected_at: None,
            called_at: None,
            is_cut_off: false,
            alerts: BTreeMap::new(),
            observers: BTreeSet::new(),
            n_observers: 0,
            gone_at: None,
            said_goodbye: false,
            passed_on_at: None,
            announced: false,
        }
    }

    /// How many watch it, this node among them, as far as this node knows. In a partial overlay there are others whom
    /// it has not heard of.
    pub(super) fn n_observers(&self, is_partial: bool) -> usize {
        match self.n_observers {
            0 if is_partial => usize::MAX,
            n => n.max(1 + self.observers.len()),
        }
    }

    /// Nothing comes from it, and nothing says why.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self.state, PresenceState::Evasive | PresenceState::Suspect) && self.reset_at.is_none()
    }
}
