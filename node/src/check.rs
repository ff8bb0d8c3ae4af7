//! What runs on worker threads before the engine: decode, look the envelope up among those seen, check the one
//! signature that is left.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use djembe_protocol::crypto;
use djembe_protocol::id::EnvelopeId;
use djembe_protocol::wire::compress::Expanded;
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

/// What checking has cost so far.
#[derive(Default)]
pub(crate) struct Effort {
    frames: AtomicU64,
    signatures: AtomicU64,
}

impl Effort {
    /// Frames looked at.
    pub(crate) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Signatures verified, or found bad, at some 30 us each.
    pub(crate) fn signatures(&self) -> u64 {
        self.signatures.load(Ordering::Relaxed)
    }
}

/// The check for all links of one node. A duplicate costs a hash, not a signature; an id is marked only after
/// its signature was found good.
pub(crate) fn checker() -> (CheckFn<CheckedFrame>, Arc<Effort>) {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let effort = Arc::new(Effort::default());
    let counted = effort.clone();
    let check = Arc::new(move |frame: Expanded| {
        let lock = || seen.lock().unwrap_or_else(PoisonError::into_inner);
        effort.frames.fetch_add(1, Ordering::Relaxed);
        let n = frame::talk_signatures(frame.as_bytes());
        if n > 0 {
            effort.signatures.fetch_add(n as u64, Ordering::Relaxed);
        }
        let verify = |envelope| {
            effort.signatures.fetch_add(1, Ordering::Relaxed);
            crypto::check(envelope)
        };
        let checked = frame::check_with(frame, |id| lock().contains(id), verify)?;
        if let Some(id) = checked.verified() {
            lock().insert(id);
        }
        Ok(checked)
    });
    (check, counted)
}
