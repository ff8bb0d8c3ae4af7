//! What a neighbour may still have of this node, whatever link it comes on: walks and shuffles, and dials to whom it
//! names.
//!
//! It is kept apart from links and from what is known of peers, as both may be gone in a moment, and begin anew.

use std::collections::BTreeMap;

use super::WALKS;
use super::hearsay::DIALS;
use crate::bucket::Bucket;
use crate::id::PeerId;
use crate::limits;
use crate::time::{Duration, Timestamp};

/// A used allowance is remembered for so long: it is whole again by then.
const FORGOTTEN: Duration = Duration::from_secs((DIALS.burst / DIALS.tokens) as u64);

/// Those of all who have used theirs.
#[derive(Debug, Default)]
pub(super) struct Allowances(BTreeMap<PeerId, Allowance>);

#[derive(Debug)]
struct Allowance {
    walks: Bucket,
    dials: Bucket,
    used_at: Timestamp,
}

impl Allowances {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether one more walk or shuffle is within what this neighbour may send.
    pub(super) fn may_walk(&mut self, now: Timestamp, peer: &PeerId) -> bool {
        self.of(now, peer).walks.take(now, WALKS)
    }

    /// Whether one more dial to whom it has named is.
    pub(super) fn may_dial(&mut self, now: Timestamp, teller: &PeerId) -> bool {
        self.of(now, teller).dials.take(now, DIALS)
    }

    fn of(&mut self, now: Timestamp, peer: &PeerId) -> &mut Allowance {
        if self.0.len() >= limits::OFFENDERS_MAX && !self.0.contains_key(peer) {
            self.0.retain(|_, allowance| now - allowance.used_at < FORGOTTEN);
            if self.0.len() >= limits::OFFENDERS_MAX {
                // So many are as many identities, each with an allowance: one of them again is not worse than one more.
                let oldest = self.0.iter().min_by_key(|(_, used)| used.used_at).map(|(peer, _)| *peer);
                oldest.and_then(|oldest| self.0.remove(&oldest));
            }
        }
        let fresh =
            Allowance { walks: Bucket::full(now, WALKS), dials: Bucket::full(now, DIALS), used_at: now };
        let allowance = self.0.entry(*peer).or_insert(fresh);
        allowance.used_at = now;
        allowance
    }
}
