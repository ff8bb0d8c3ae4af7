//! The newest envelopes in memory.

use std::collections::{BTreeMap, VecDeque};

use crate::crypto::CheckedEnvelope;
use crate::id::{LogId, Seq};
use crate::limits;
use crate::wire::frame::Range;

/// The newest envelopes, to answer WANT without the store. The oldest make room.
#[derive(Debug, Default)]
pub(super) struct Recent {
    envelopes: BTreeMap<(LogId, Seq), CheckedEnvelope>,
    order: VecDeque<(LogId, Seq)>,
    bytes: usize,
}

impl Recent {
    pub(super) fn insert(&mut self, log: LogId, envelope: &CheckedEnvelope) {
        let key = (log, envelope.header().seq);
        if self.envelopes.insert(key, envelope.clone()).is_none() {
            self.order.push_back(key);
            self.bytes += envelope.as_bytes().len();
        }
        while self.bytes > limits::RECENT_BYTES_MAX
            && let Some(oldest) = self.order.pop_front()
            && let Some(envelope) = self.envelopes.remove(&oldest)
        {
            self.bytes -= envelope.as_bytes().len();
        }
    }

    /// Nothing of this log is served any more.
    pub(super) fn forget(&mut self, log: &LogId) {
        let mut bytes = 0;
        self.envelopes.retain(|(of, _), envelope| {
            let stays = of != log;
            bytes += if stays { 0 } else { envelope.as_bytes().len() };
            stays
        });
        self.order.retain(|(of, _)| of != log);
        self.bytes -= bytes;
    }

    pub(super) fn find(&self, log: LogId, seq: Seq) -> Option<&CheckedEnvelope> {
        self.envelopes.get(&(log, seq))
    }

    /// Those of `from..=to`, in order.
    pub(super) fn range(&self, range: &Range) -> impl Iterator<Item = &CheckedEnvelope> + '_ {
        self.envelopes.range((range.log, range.from)..=(range.log, range.to)).map(|(_, envelope)| envelope)
    }
}
