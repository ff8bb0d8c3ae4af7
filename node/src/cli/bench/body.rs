//! Bodies of measured messages: a stamp, a number, and bytes that the reader can foretell.

use bytes::{BufMut, Bytes, BytesMut};

/// Stamp and number, eight bytes each.
pub(super) const HEADER: usize = 16;

/// Different messages take different pieces of the filling.
const SHIFTS: u64 = 4096;

/// What a message is sent for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// To see whether the subscribers are there.
    Probe = 0,
    /// To fill queues and caches.
    WarmUp = 1,
    Measured = 2,
}

/// What a message says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    /// When it was handed to `publish`, on the clock that all processes share.
    pub(super) stamp_ns: u64,
    pub(super) phase: Phase,
    /// Counts from 0 within a phase.
    pub(super) number: u64,
}

/// Makes bodies, and knows them again. The same on both sides.
pub(super) struct Bodies {
    size: usize,
    filling: Vec<u8>,
}

impl Bodies {
    /// For bodies of so many bytes, at least [`HEADER`].
    pub(super) fn new(size: usize) -> Self {
        assert!(size >= HEADER, "arguments were checked: a body holds its header");
        // xorshift64: bytes that no layer can compress, made once.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        let blocks = (size + usize::try_from(SHIFTS).unwrap_or_default()) / 8 + 1;
        Self { size, filling: std::iter::repeat_with(next).take(blocks).flatten().collect() }
    }

    pub(super) fn make(&self, header: Header) -> Bytes {
        let mut body = BytesMut::with_capacity(self.size);
        body.put_u64_le(header.stamp_ns);
        body.put_u64_le(((header.phase as u64) << 56) | header.number);
        body.put_slice(self.filling(header.number));
        body.freeze()
    }

    /// The header of a body that is exactly as it was made.
    pub(super) fn read(&self, body: &[u8]) -> Option<Header> {
        let (stamp, rest) = body.split_first_chunk()?;
        let (tag, rest) = rest.split_first_chunk()?;
        let tag = u64::from_le_bytes(*tag);
        let phase = match tag >> 56 {
            0 => Phase::Probe,
            1 => Phase::WarmUp,
            2 => Phase::Measured,
            _ => return None,
        };
        let number = tag & (u64::MAX >> 8);
        let header = Header { stamp_ns: u64::from_le_bytes(*stamp), phase, number };
        (rest == self.filling(number)).then_some(header)
    }

    fn filling(&self, number: u64) -> &[u8] {
        let from = usize::try_from(number.wrapping_mul(97) % SHIFTS).unwrap_or_default();
        &self.filling[from..from + self.size - HEADER]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_known_again_and_a_changed_one_is_not() {
        for size in [HEADER, HEADER + 1, 64, 1024, 65_536] {
            let bodies = Bodies::new(size);
            for number in [0, 1, 4095, 4096, u64::MAX >> 8] {
                let header = Header { stamp_ns: 12_345, phase: Phase::Measured, number };
                let body = bodies.make(header);
                assert_eq!(body.len(), size);
                assert_eq!(bodies.read(&body), Some(header));
                assert_eq!(bodies.read(&body[1..]), None);
                if size > HEADER {
                    let mut changed = body.to_vec();
                    changed[size - 1] ^= 1;
                    assert_eq!(bodies.read(&changed), None);
                }
            }
        }
    }
}
