//! The newest envelopes in memory.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::crypto::CheckedEnvelope;
use crate::id::{EnvelopeId, LogId, Seq};
use crate::limits;
use crate::time::{Duration, Timestamp};
use crate::wire::frame::Range;

/// The old are looked for at most this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The newest envelopes, to answer WANT without the store. The oldest make room, and nobody stays for long: at rest
/// a group holds none.
#[derive(Debug, Default)]
pub(super) struct Recent {
    envelopes: BTreeMap<(LogId, Seq), Kept>,
    /// By age.
    order: VecDeque<(Timestamp, (LogId, Seq))>,
    bytes: usize,
}

/// What is needed of an envelope to serve it and to tell it from another of the same place: its parsed header is three
/// times as large as this.
#[derive(Debug)]
struct Kept {
    id: EnvelopeId,
    bytes: Bytes,
}

impl Recent {
    pub(super) fn insert(&mut self, now: Timestamp, log: LogId, envelope: &CheckedEnvelope) {
        let key = (log, envelope.header().seq);
        let kept = Kept { id: envelope.id(), bytes: envelope.as_bytes().clone() };
        if self.envelopes.insert(key, kept).is_none() {
            self.order.push_back((now, key));
            self.bytes += envelope.as_bytes().len();
        }
        while self.bytes > limits::RECENT_BYTES_MAX && self.drop_oldest() {}
    }

    /// Bytes of all that is kept.
    pub(super) fn n_bytes(&self) -> usize {
        self.bytes
    }

    /// When [`Recent::expire`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.order.front().map(|(since, _)| *since + limits::RECENT_AGE_MAX + LOOK_EVERY)
    }

    /// Lets go of the old.
    pub(super) fn expire(&mut self, now: Timestamp) {
        if self.next_deadline().is_none_or(|due| due > now) {
            return;
        }
        while self.order.front().is_some_and(|(since, _)| now - *since >= limits::RECENT_AGE_MAX) {
            self.drop_oldest();
        }
        if self.order.is_empty() {
            // The next burst may be long in coming.
            *self = Self::default();
        }
    }

    fn drop_oldest(&mut self) -> bool {
        let Some((_, oldest)) = self.order.pop_front() else {
            return false;
        };
        if let Some(kept) = self.envelopes.remove(&oldest) {
            self.bytes -= kept.bytes.len();
        }
        true
    }

    /// Nothing of this log is served any more.
    pub(super) fn forget(&mut self, log: &LogId) {
        let mut bytes = 0;
        self.envelopes.retain(|(of, _), kept| {
            let stays = of != log;
            bytes += if stays { 0 } else { kept.bytes.len() };
            stays
        });
        self.order.retain(|(_, (of, _))| of != log);
        self.bytes -= bytes;
    }

    pub(super) fn id(&self, log: LogId, seq: Seq) -> Option<EnvelopeId> {
        self.envelopes.get(&(log, seq)).map(|kept| kept.id)
    }

    /// Those of `from..=to`, in order.
    pub(super) fn range(&self, range: &Range) -> impl Iterator<Item = (Seq, Bytes)> + '_ {
        let kept = self.envelopes.range((range.log, range.from)..=(range.log, range.to));
        kept.map(|((_, seq), kept)| (*seq, kept.bytes.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{GroupKey, Identity, SealInput, seal};
    use crate::id::Lane;
    use crate::message::{Draft, encode_body};
    use crate::time::Hlc;

    /// Goal: what is recent is had at RECENT_AGE_MAX and is gone soon after, and nothing asks for a time-out then.
    #[test]
    fn the_old_leave_by_themselves() {
        let author = Identity::from_seed([1; 32]);
        let key = GroupKey::open("test", "lobby", None).expect("a name");
        let log = LogId { author: author.peer_id(), lane: Lane::Live };
        let body = encode_body(&Draft::default(), Hlc(1)).expect("a draft");
        let mut recent = Recent::default();
        let start = Timestamp::from_micros(7);
        for seq in 0..2 {
            let input = SealInput {
                lane: Lane::Live,
                seq,
                prev: if seq == 0 { EnvelopeId::NONE } else { EnvelopeId([1; 32]) },
                skip: 0,
                ttl_secs: 0,
                bodies: std::slice::from_ref(&body),
                frame_salt: [0; 16],
            };
            let envelope = seal(&author, &key, &input).expect("small");
            recent.insert(start + Duration::from_secs(4) * seq as u32, log, &envelope);
        }
        let due = start + limits::RECENT_AGE_MAX + LOOK_EVERY;
        assert_eq!(recent.next_deadline(), Some(due));
        recent.expire(start + limits::RECENT_AGE_MAX);
        assert!(recent.id(log, 0).is_some(), "not looked for yet");
        recent.expire(due);
        assert!(recent.id(log, 0).is_none() && recent.id(log, 1).is_some());
        recent.expire(due + Duration::from_secs(4));
        assert!(recent.id(log, 1).is_none());
        assert_eq!((recent.next_deadline(), recent.bytes), (None, 0));
    }
}
