//! Announcements: three bytes for a range of a log of which the stream has told before, in place of some forty.
//!
//! They go to all neighbours that do not get the payload, so there are many times more of them than of payloads.

use super::varint::{Rest, put_varint};
use super::{ANNOUNCE, ANNOUNCE_ELIDED, Compressor, Expander, NEW, place, put_at};
use crate::error::DecodeError;
use crate::id::{Lane, PeerId, Seq};
use crate::limits::{ANNOUNCE_RANGES_MAX, ELIDED_LOGS_MAX};

/// A log of which something was announced, and the last number of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Told {
    author: PeerId,
    lane: Lane,
    to: Seq,
}

impl Told {
    /// As if all up to number -1 had been announced.
    fn new(author: PeerId, lane: Lane) -> Self {
        Self { author, lane, to: Seq::MAX }
    }

    fn next(&self) -> Seq {
        self.to.wrapping_add(1)
    }
}

/// One range as it stands in the frame.
struct Range {
    author: PeerId,
    lane: Lane,
    from: Seq,
    to: Seq,
}

/// The numbers of group and tree, and the ranges.
struct Announce {
    group: u64,
    tree: u64,
    ranges: Vec<Range>,
}

impl Announce {
    /// Reads kind and body as `wire::frame` writes them. None for anything else, which then travels as it is.
    fn read(frame: &[u8]) -> Option<Self> {
        let mut rest = Rest(frame.get(1..)?);
        let (group, tree, n) = (rest.varint().ok()?, rest.varint().ok()?, rest.varint().ok()?);
        if n > ANNOUNCE_RANGES_MAX as u64 {
            return None;
        }
        let mut ranges = Vec::with_capacity(n as usize);
        for _ in 0..n {
            let (author, lane) = (PeerId(rest.take().ok()?), Lane::from_u8(rest.byte().ok()?)?);
            let (from, to) = (rest.varint().ok()?, rest.varint().ok()?);
            if from > to {
                return None;
            }
            ranges.push(Range { author, lane, from, to });
        }
        rest.0.is_empty().then_some(Self { group, tree, ranges })
    }
}

impl Compressor {
    /// Appends the elided form. False if the frame has none.
    pub(super) fn elide_announce(&mut self, frame: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(Announce { group, tree, ranges }) = Announce::read(frame) else {
            return false;
        };
        out.push(ANNOUNCE_ELIDED);
        [group, tree, ranges.len() as u64].into_iter().for_each(|number| put_varint(out, number));
        for Range { author, lane, from, to } in ranges {
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
            put_varint(out, to - from);
            log.to = to;
        }
        true
    }
}

impl Expander {
    /// The whole frame of what stands behind the kind.
    pub(super) fn announce(&mut self, body: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let mut rest = Rest(body);
        let (group, tree, n) = (rest.varint()?, rest.varint()?, rest.varint()?);
        if n > ANNOUNCE_RANGES_MAX as u64 {
            return Err(DecodeError::TooLarge("ranges"));
        }
        let mut frame = vec![ANNOUNCE];
        [group, tree, n].into_iter().for_each(|number| put_varint(&mut frame, number));
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
            // One that goes backwards is refused where the frame is read.
            log.to = from.wrapping_add(rest.varint()?);
            frame.extend_from_slice(&log.author.0);
            frame.push(log.lane as u8);
            put_varint(&mut frame, from);
            put_varint(&mut frame, log.to);
        }
        if rest.0.is_empty() { Ok(frame) } else { Err(DecodeError::Trailing) }
    }
}
