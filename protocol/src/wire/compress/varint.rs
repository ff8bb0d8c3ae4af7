//! Reading what travels piece by piece, and numbers as they are in other frames: bincode's varints.

use crate::error::DecodeError;

const VARINT_U16: u8 = 0xfb;
const VARINT_U32: u8 = 0xfc;
const VARINT_U64: u8 = 0xfd;

/// Appends a number.
pub(super) fn put_varint(out: &mut Vec<u8>, value: u64) {
    if value < VARINT_U16.into() {
        out.push(value as u8);
    } else if let Ok(value) = u16::try_from(value) {
        out.push(VARINT_U16);
        out.extend_from_slice(&value.to_le_bytes());
    } else if let Ok(value) = u32::try_from(value) {
        out.push(VARINT_U32);
        out.extend_from_slice(&value.to_le_bytes());
    } else {
        out.push(VARINT_U64);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// What has not been read yet.
pub(super) struct Rest<'a>(pub(super) &'a [u8]);

impl Rest<'_> {
    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub(super) fn varint(&mut self) -> Result<u64, DecodeError> {
        let (value, least) = match self.byte()? {
            VARINT_U16 => (u16::from_le_bytes(self.take()?).into(), VARINT_U16.into()),
            VARINT_U32 => (u32::from_le_bytes(self.take()?).into(), 1 << 16),
            VARINT_U64 => (u64::from_le_bytes(self.take()?), 1 << 32),
            value if value > VARINT_U64 => return Err(DecodeError::Invalid("varint")),
            value => (value.into(), 0),
        };
        if value < least { Err(DecodeError::NotCanonical) } else { Ok(value) }
    }

    /// A varint in a field of fewer bytes.
    pub(super) fn varint_at_most<T: TryFrom<u64>>(&mut self) -> Result<T, DecodeError> {
        T::try_from(self.varint()?).map_err(|_| DecodeError::TooLarge("varint"))
    }
}
