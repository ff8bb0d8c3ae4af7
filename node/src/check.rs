//! What runs on worker threads before the engine: decode, look the envelope up among those seen, check the one
//! signature that is left.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use djembe_protocol::id::EnvelopeId;
use djembe_protocol::wire::frame::{self, CheckedFrame};

use crate::transport::CheckFn;

/// Ids in one generation: 32 bytes each, two generations.
const GENERATION: usize = 16 * 1024;

/// Ids of envelopes whose signature was found good, the older half forgotten when the younger is full.
#[derive(Default)]
struct Seen {
    young: HashSet<EnvelopeId>,
    old: HashSet<EnvelopeId>,
}

impl Seen {
    fn contains(&self, id: &EnvelopeId) -> bool {
        self.young.contains(id) || self.old.contains(id)
    }

    fn insert(&mut self, id: EnvelopeId) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id);
    }
}

/// The check for all links of one node. A duplicate costs a hash, not a signature; an id is marked only after
/// its signature was found good.
pub(crate) fn checker() -> CheckFn<CheckedFrame> {
    let seen = Arc::new(Mutex::new(Seen::default()));
    Arc::new(move |bytes| {
        let lock = || seen.lock().unwrap_or_else(PoisonError::into_inner);
        let checked = frame::check(bytes, |id| lock().contains(id))?;
        if let Some(id) = checked.verified() {
            lock().insert(id);
        }
        Ok(checked)
    })
}
