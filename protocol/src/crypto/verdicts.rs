//! Signatures that were found good, for a host that runs many nodes on one thread: a simulator of ten thousand checks each
//! signature once, not ten thousand times. A real node has no use for it, and does without.
//!
//! It changes how long [`super::verify`] takes, never what it says: what is remembered is a BLAKE3 hash over all that the
//! verdict depends on.

use std::cell::RefCell;

thread_local! {
    static GOOD: RefCell<GoodSignatures> = const { RefCell::new(GoodSignatures { slots: Vec::new() }) };
}

/// A hash over key, message and signature.
type Print = [u8; 16];

/// Good signatures: a table with one place for each hash, where a later one takes the place of an earlier.
#[derive(Debug, Default)]
pub struct GoodSignatures {
    slots: Vec<Print>,
}

impl GoodSignatures {
    /// Room for so many, 16 bytes each.
    pub fn with_room(n: usize) -> Self {
        Self { slots: vec![[0; 16]; n] }
    }

    /// From now on this thread uses these, and adds to them. Returns those that it used before.
    #[must_use]
    pub fn install(self) -> Self {
        GOOD.replace(self)
    }
}

/// The verdict of `check`, or the one that is remembered.
pub(super) fn remembered<E>(
    key: &[u8; 32],
    message: &[u8],
    sig: &[u8; 64],
    check: impl FnOnce() -> Result<(), E>,
) -> Result<(), E> {
    GOOD.with_borrow_mut(|good| {
        if good.slots.is_empty() {
            return check();
        }
        let print = print(key, message, sig);
        let n = good.slots.len() as u64;
        let at = print.first_chunk().map_or(0, |at| u64::from_le_bytes(*at));
        let Some(slot) = usize::try_from(at % n).ok().and_then(|at| good.slots.get_mut(at)) else {
            return check();
        };
        if *slot != print {
            check()?;
            *slot = print;
        }
        Ok(())
    })
}

fn print(key: &[u8; 32], message: &[u8], sig: &[u8; 64]) -> Print {
    let mut hasher = blake3::Hasher::new();
    hasher.update(key).update(sig).update(message);
    let hash = hasher.finalize();
    let mut print = [0; 16];
    print.copy_from_slice(&hash.as_bytes()[..16]);
    print
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: only what was good is remembered, and nothing else is taken for it.
    #[test]
    fn a_good_signature_is_checked_once_and_a_bad_one_always() {
        drop(GoodSignatures::with_room(64).install());
        let mut n_checks = 0;
        let mut ask = |key: u8, message: &[u8], sig: u8, is_good: bool| {
            remembered(&[key; 32], message, &[sig; 64], || {
                n_checks += 1;
                if is_good { Ok(()) } else { Err(()) }
            })
        };
        assert_eq!([ask(1, b"m", 1, true), ask(1, b"m", 1, false)], [Ok(()); 2]);
        for (key, message, sig) in [(2, &b"m"[..], 1), (1, b"n", 1), (1, b"m", 2), (1, b"", 1)] {
            assert_eq!(ask(key, message, sig, false), Err(()));
            assert_eq!(ask(key, message, sig, false), Err(()), "bad ones are not remembered");
        }
        assert_eq!(n_checks, 1 + 2 * 4);
        assert_eq!(GoodSignatures::default().install().slots.len(), 64);
        assert_eq!(remembered(&[1; 32], b"m", &[1; 64], || Err(())), Err(()));
    }
}
