//! Announcements: three bytes for a range of a log of which the stream has told before, in place of some forty.
//!
//! They go to all neighbours that do not get the payload, so there are many times more of them than of payloads.

use super::varint::{Rest, put_varint};
use super::{ANNOUNCE, ANNOUNCE_ELIDED, Compressor, Expander, NEW, place, put_at};
use crate::error::DecodeError;
use crate::id::{Lane, PeerId, Seq};
use crate::limits::{ANNOUNCE_RANGES_MAX, ELIDED_LOGS_MAX};

/// The last bit of a range's length says whether its tree is another than the log's last.
const LENGTH_MAX: u64 = u64::MAX >> 1;

/// A log of which something was announced, on which tree, and the last number of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Told {
    author: PeerId,
    lane: Lane,
    tree: u16,
    to: Seq,
}

impl Told {
    /// As if all up to number -1 had been announced.
    fn new(author: PeerId, lane: Lane) -> Self {
        Self { author, lane, tree: 0, to: Seq::MAX }
    }

    fn next(&self) -> Seq {
        self.to.wrapping_add(1)
    }
}

/// One range as it stands in the frame.
struct Range {
    tree: u16,
    author: PeerId,
    lane: Lane,
    from: Seq,
    to: Seq,
}

/// The number of the group, and the ranges.
struct Announce {
    group: u64,
    ranges: Vec<Range>,
}

impl Announce {
    /// Reads kind and body as `wire::frame` writes them. None for anything else, which then travels as it is.
    fn read(frame: &[u8]) -> Option<Self> {
        let mut rest = Rest(frame.get(1..)?);
        let (group, n) = (rest.varint().ok()?, rest.varint().ok()?);
        if n > ANNOUNCE_RANGES_MAX as u64 {
            return None;
        }
        let mut ranges = Vec::with_capacity(n as usize);
        for _ in 0..n {
            let tree = u16::try_from(rest.varint().ok()?).ok()?;
            let (author, lane) = (PeerId(rest.take().ok()?), Lane::from_u8(rest.byte().ok()?)?);
            let (from, to) = (rest.varint().ok()?, rest.varint().ok()?);
            if from > to || to - from > LENGTH_MAX {
                return None;
            }
            ranges.push(Range { tree, author, lane, from, to });
        }
        rest.0.is_empty().then_some(Self { group, ranges })
    }
}

impl Compressor {
    /// Appends the elided form. False if the frame has none.
    pub(super) fn elide_announce(&mut self, frame: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(Announce { group, ranges }) = Announce::read(frame) else {
            return false;
        };
        out.push(ANNOUNCE_ELIDED);
        put_varint(out, group);
        put_varint(out, ranges.len() as u64);
        for Range { tree, author, lane, from, to } in ranges {
            let told = &mut self.tables.told;
            let known = told.iter().position(|log| log.author == author && log.lane == lane);
            let log = known.unwrap_or_else(|| self.told_used.place(ELIDED_LOGS_MAX));
            self.told_used.touch(log);
            if known.is_some() {
                out.push(log as u8);
            } else {
                out.push(log as u8 | NEW);
                out.extend_from_slice(&author.0);
                out.push(lane as u8);
                put_at(told, log, Told::new(author, lane));
            }
            let log = &mut told[log];
            put_varint(out, from.wrapping_sub(log.next()));
            let is_other = tree != log.tree;
            put_varint(out, (to - from) << 1 | u64::from(is_other));
            if is_other {
                put_varint(out, tree.into());
            }
            (log.tree, log.to) = (tree, to);
        }
        true
    }
}

impl Expander {
    /// The whole frame of what stands behind the kind.
    pub(super) fn announce(&mut self, body: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let mut rest = Rest(body);
        let (group, n) = (rest.varint()?, rest.varint()?);
        if n > ANNOUNCE_RANGES_MAX as u64 {
            return Err(DecodeError::TooLarge("ranges"));
        }
        let mut frame = vec![ANNOUNCE];
        put_varint(&mut frame, group);
        put_varint(&mut frame, n);
        for _ in 0..n {
            let told = &mut self.tables.told;
            let log = rest.byte()?;
            let log = if log & NEW == 0 {
                told.get_mut(usize::from(log)).ok_or(DecodeError::Invalid("log number"))?
            } else {
                let author = PeerId(rest.take()?);
                let lane = Lane::from_u8(rest.byte()?).ok_or(DecodeError::Invalid("lane"))?;
                let at = place(told, log & !NEW, ELIDED_LOGS_MAX, "log number")?;
                put_at(told, at, Told::new(author, lane))
            };
            let from = log.next().wrapping_add(rest.varint()?);
            let length = rest.varint()?;
            // One that goes backwards is refused where the frame is read.
            log.to = from.wrapping_add(length >> 1);
            if length & 1 == 1 {
                log.tree = u16::try_from(rest.varint()?).map_err(|_| DecodeError::Invalid("tree number"))?;
            }
            put_varint(&mut frame, log.tree.into());
            frame.extend_from_slice(&log.author.0);
            frame.push(log.lane as u8);
            put_varint(&mut frame, from);
            put_varint(&mut frame, log.to);
        }
        if rest.0.is_empty() { Ok(frame) } else { Err(DecodeError::Trailing) }
    }
}
