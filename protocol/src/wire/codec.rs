//! Bounded encoding of frame bodies: the only file that knows bincode.
//!
//! bincode 2 `standard()`: varint, little-endian. A decoder takes all bytes or refuses, and what it took must
//! encode to the same bytes again, so that every value has one encoding. The limit bounds what a length field
//! can make us allocate.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::DecodeError;
use crate::limits::FRAME_MAX;

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<FRAME_MAX>()
}

/// Appends the encoding of `value`.
pub(crate) fn encode_into<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    let result = bincode::serde::encode_into_std_write(value, out, config());
    assert!(result.is_ok(), "a frame within its limits encodes into memory: {result:?}");
}

/// Bytes that [`encode_into`] would append.
pub(crate) fn encoded_len<T: Serialize>(value: &T) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    let result = bincode::serde::encode_into_std_write(value, &mut count, config());
    assert!(result.is_ok(), "counting bytes does not fail: {result:?}");
    count.0
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
    let mut again = Vec::with_capacity(bytes.len());
    encode_into(&value, &mut again);
    if again != bytes { Err(DecodeError::NotCanonical) } else { Ok(value) }
}
