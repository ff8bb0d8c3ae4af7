//! Bounded encoding of frame bodies: the only file that knows bincode.
//!
//! bincode 2 `standard()`: varint, little-endian. A decoder takes all bytes or refuses, and what it took must
//! encode to the same bytes again, so that every value has one encoding. The limit bounds what a length field
//! can make us allocate.

use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::DecodeError;
use crate::limits::FRAME_MAX;

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<FRAME_MAX>()
}

/// Where an encoding goes. Most of it comes byte by byte, so writing one is made part of whatever writes it.
struct Sink<F>(F);

impl<F: FnMut(&[u8])> Writer for Sink<F> {
    #[inline(always)]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        (self.0)(bytes);
        Ok(())
    }
}

fn encode_to<T: Serialize>(value: &T, write: impl FnMut(&[u8])) {
    let result = bincode::serde::encode_into_writer(value, Sink(write), config());
    assert!(result.is_ok(), "a frame within its limits encodes into memory: {result:?}");
}

/// Appends the encoding of `value`.
pub(crate) fn encode_into<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    encode_to(value, |bytes| out.extend_from_slice(bytes));
}

/// Bytes that [`encode_into`] would append.
pub(crate) fn encoded_len<T: Serialize>(value: &T) -> usize {
    let mut len = 0;
    encode_to(value, |bytes| len += bytes.len());
    len
}

/// Reads one value that fills `bytes` exactly and canonically.
pub(crate) fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    use bincode::error::DecodeError as Bincode;
    let (value, consumed) =
        bincode::serde::decode_from_slice::<T, _>(bytes, config()).map_err(|error| match error {
            Bincode::UnexpectedEnd { .. } => DecodeError::Truncated,
            Bincode::LimitExceeded => DecodeError::TooLarge("frame field"),
            _ => DecodeError::Invalid("frame body"),
        })?;
    if consumed != bytes.len() {
        return Err(DecodeError::Trailing);
    }
    let (mut rest, mut is_same) = (bytes, true);
    encode_to(&value, |again| match rest.split_at_checked(again.len()) {
        Some((head, tail)) => (rest, is_same) = (tail, is_same && head == again),
        None => is_same = false,
    });
    if is_same && rest.is_empty() { Ok(value) } else { Err(DecodeError::NotCanonical) }
}
