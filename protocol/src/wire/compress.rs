//! What travels of an envelope's header on a link: only what the receiver neither has nor can work out.
//!
//! Of the 320 bytes of a header, a hop has seen most before: the group's tag, the author, the epoch are those of
//! the envelope before, the previous id is the hash of it, the ciphertext's hash can be computed. So each stream
//! of a link has a [`Compressor`] at its one end and an [`Expander`] at the other, in the manner of HPACK (RFC
//! 7541): both keep the same tables, made only of what went before on that stream, and every field has an
//! explicit form. Where HPACK lets both sides evict by one rule, here the sender names the place that a new entry
//! takes: what is kept is its choice alone, and the receiver has no rule to get wrong.
//!
//! The receiver expands in the order of arrival to the very bytes that the author signed; then comes the look-up
//! among the envelopes seen, then [`check`](super::frame::check). An error here means that the tables have come
//! apart: nothing later on the stream has a meaning, and the link is to end. In announcements authors and numbers
//! are elided in the same manner. All other frames pass as they are.
//!
//! `docs/protocol.md`, "Elided headers", has the layout. Not here: a tie between the streams of a link, which have
//! no order among each other.

mod announce;
mod varint;

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::DecodeError;
use crate::heap;
use crate::id::{EnvelopeId, EpochId, Lane, PeerId, Seq, TopicTag};
use crate::limits::{CIPHERTEXT_MAX, ELIDED_LOGS_MAX, ELIDED_SCOPES_MAX};
use crate::wire::envelope::{HEADER_LEN, Header, envelope_id};

use announce::Told;
use varint::{Rest, put_varint};

/// The kind of a frame with an envelope.
pub(crate) const DATA: u8 = 13;
/// The kind of a frame that announces, and of the form in which it travels.
pub(crate) const ANNOUNCE: u8 = 14;
const ANNOUNCE_ELIDED: u8 = 127;
/// Bytes between kind and envelope in a frame with one: the numbers of its group and its tree.
pub(crate) const DATA_NUMBERS: usize = 4;

/// Bytes before the envelope: kind and numbers.
const PREFIX: usize = 1 + DATA_NUMBERS;
/// What always travels: the byte of flags, the log's number, salt, root and signature.
const ELIDED_MIN: usize = 2 + 16 + 32 + 64;
/// A ciphertext up to this size is hashed by the receiver, which has to do that anyway unless it has the envelope
/// already. Of a larger one the hash goes along: 32 bytes are less than a hundredth of it, and a second copy then
/// costs no hash of the whole.
const UNHASHED_MAX: usize = 4096;

/// Flags of fields that are given explicitly.
mod is_given {
    /// A number among the scopes, or a new one.
    pub(super) const SCOPE: u8 = 1;
    /// Number and skip.
    pub(super) const SEQ: u8 = 1 << 1;
    /// Previous id.
    pub(super) const PREV: u8 = 1 << 2;
    /// Step of the ratchet.
    pub(super) const CHAIN: u8 = 1 << 3;
    /// Time to live.
    pub(super) const TTL: u8 = 1 << 4;
    /// Count of messages.
    pub(super) const COUNT: u8 = 1 << 5;
    /// Hash of the ciphertext.
    pub(super) const HASH: u8 = 1 << 6;
    /// The envelope follows as it is. No other flag stands beside this one, and no table changes.
    pub(super) const WHOLE: u8 = 1 << 7;
}

/// Beside the number of a log or a scope: it is described here, and takes that place.
const NEW: u8 = 1 << 7;

/// The group and the epoch of an envelope, which logs share.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Scope {
    topic_tag: TopicTag,
    epoch_id: EpochId,
    heads_digest: [u8; 32],
}

impl Scope {
    fn of(header: &Header) -> Self {
        let Header { topic_tag, epoch_id, heads_digest, .. } = *header;
        Self { topic_tag, epoch_id, heads_digest }
    }
}

/// A log, and the last of its envelopes on this stream.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Log {
    author: PeerId,
    lane: Lane,
    scope: u8,
    seq: Seq,
    id: EnvelopeId,
    chain_idx: u32,
    ttl_secs: u32,
}

impl Log {
    /// As if number -1 had been here.
    fn new(author: PeerId, lane: Lane) -> Self {
        Self { author, lane, scope: 0, seq: Seq::MAX, id: EnvelopeId::NONE, chain_idx: 0, ttl_secs: 0 }
    }

    // What a field is unless it is given. Whether that is true the sender sees by comparing.

    fn next_seq(&self) -> Seq {
        self.seq.wrapping_add(1)
    }

    fn next_prev(&self, seq: Seq, skip: u32) -> EnvelopeId {
        if u64::from(skip) == seq { EnvelopeId::NONE } else { self.id }
    }

    /// Open groups have no ratchet: zero stays zero.
    fn next_chain_idx(&self) -> u32 {
        if self.chain_idx == 0 { 0 } else { self.chain_idx.wrapping_add(1) }
    }

    fn note(&mut self, header: &Header, id: EnvelopeId) {
        self.seq = header.seq;
        self.id = id;
        self.chain_idx = header.chain_idx;
        self.ttl_secs = header.ttl_secs;
    }
}

/// What both ends of a stream know. Grows with the logs that were on the stream, up to a bound.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Tables {
    logs: Vec<Log>,
    scopes: Vec<Scope>,
    /// Logs of which something was announced.
    told: Vec<Told>,
}

impl Tables {
    fn heap(&self) -> usize {
        heap::list(&self.logs) + heap::list(&self.scopes) + heap::list(&self.told)
    }
}

/// When each entry of a table was last used: the sender's way to choose what makes room.
#[derive(Debug, Default)]
struct Used {
    at: Vec<u32>,
    clock: u32,
}

impl Used {
    fn touch(&mut self, entry: usize) {
        self.clock = self.clock.wrapping_add(1);
        *put_at(&mut self.at, entry, 0) = self.clock;
    }

    /// The next free place, or else that of the entry unused for longest.
    fn place(&self, max: usize) -> usize {
        if self.at.len() < max {
            return self.at.len();
        }
        let age = |entry: &usize| self.clock.wrapping_sub(self.at[*entry]);
        (0..self.at.len()).max_by_key(age).unwrap_or(0)
    }
}

/// The sending end of a stream.
#[derive(Debug, Default)]
pub struct Compressor {
    tables: Tables,
    logs_used: Used,
    told_used: Used,
    /// The scope that makes room next.
    oldest_scope: u8,
}

impl Compressor {
    /// Bytes of memory behind it, about.
    pub fn heap(&self) -> usize {
        self.tables.heap() + heap::list(&self.logs_used.at) + heap::list(&self.told_used.at)
    }

    /// Takes a frame (kind and numbers; then what [`super::frame::Encoded`] calls the body) and appends to `out`
    /// what travels of it in front of the rest of the body. Returns where that rest begins.
    pub fn elide(&mut self, head: &[u8], body: &[u8], out: &mut Vec<u8>) -> usize {
        if head.first() == Some(&ANNOUNCE) && self.elide_announce(head, out) {
            return 0;
        }
        out.extend_from_slice(head);
        if head.first() != Some(&DATA) {
            return 0;
        }
        debug_assert_eq!(head.len(), PREFIX, "a frame with an envelope has its numbers in front");
        let Some(header) = whole_envelope(body) else {
            out.push(is_given::WHOLE);
            return 0;
        };
        let flags_at = out.len();
        out.push(0);
        let log = self.put_log(&header, out);
        let mut flags = self.put_scope(log, &header, out);
        let log = &mut self.tables.logs[log];
        if header.seq != log.next_seq() || header.skip != 0 {
            flags |= is_given::SEQ;
            put_varint(out, header.seq);
            put_varint(out, header.skip.into());
        }
        if header.prev != log.next_prev(header.seq, header.skip) {
            flags |= is_given::PREV;
            out.extend_from_slice(&header.prev.0);
        }
        if header.chain_idx != log.next_chain_idx() {
            flags |= is_given::CHAIN;
            put_varint(out, header.chain_idx.into());
        }
        if header.ttl_secs != log.ttl_secs {
            flags |= is_given::TTL;
            put_varint(out, header.ttl_secs.into());
        }
        if header.msg_count != 1 {
            flags |= is_given::COUNT;
            put_varint(out, header.msg_count.into());
        }
        if header.ct_len as usize > UNHASHED_MAX {
            flags |= is_given::HASH;
            out.extend_from_slice(&header.ct_hash);
        }
        out.extend_from_slice(&header.frame_salt);
        out.extend_from_slice(&header.msg_root);
        out.extend_from_slice(&header.sig);
        out[flags_at] = flags;
        log.note(&header, envelope_id(body));
        HEADER_LEN
    }

    /// Finds the log, or puts it in the place of the one that was not used for longest.
    fn put_log(&mut self, header: &Header, out: &mut Vec<u8>) -> usize {
        let Tables { logs, scopes, .. } = &mut self.tables;
        let known = logs.iter().position(|log| {
            log.author == header.author
                && log.lane == header.lane
                && scopes.get(usize::from(log.scope)).is_some_and(|scope| scope.topic_tag == header.topic_tag)
        });
        let log = known.unwrap_or_else(|| self.logs_used.place(ELIDED_LOGS_MAX));
        self.logs_used.touch(log);
        if known.is_some() {
            out.push(log as u8);
            return log;
        }
        put_at(logs, log, Log::new(header.author, header.lane));
        out.push(log as u8 | NEW);
        out.extend_from_slice(&header.author.0);
        out.push(header.lane as u8);
        log
    }

    /// Says where the log's scope is, unless it is the one it had. Returns the flag.
    fn put_scope(&mut self, log: usize, header: &Header, out: &mut Vec<u8>) -> u8 {
        let Tables { logs, scopes, .. } = &mut self.tables;
        let scope = Scope::of(header);
        let log = &mut logs[log];
        if scopes.get(usize::from(log.scope)) == Some(&scope) {
            return 0;
        }
        if let Some(known) = scopes.iter().position(|other| *other == scope) {
            log.scope = known as u8;
            out.push(log.scope);
            return is_given::SCOPE;
        }
        if scopes.len() < ELIDED_SCOPES_MAX {
            log.scope = scopes.len() as u8;
        } else {
            log.scope = self.oldest_scope;
            self.oldest_scope = (self.oldest_scope + 1) % ELIDED_SCOPES_MAX as u8;
        }
        out.push(log.scope | NEW);
        out.extend_from_slice(&scope.topic_tag.0);
        out.extend_from_slice(&scope.epoch_id.0);
        out.extend_from_slice(&scope.heads_digest);
        put_at(scopes, usize::from(log.scope), scope);
        is_given::SCOPE
    }
}

/// The header, if what travels without it can be put together again: anything else goes as it is, and the receiver
/// says what is wrong with it.
fn whole_envelope(body: &[u8]) -> Option<Header> {
    let header = Header::parse(body.first_chunk::<HEADER_LEN>()?).ok()?;
    (body.len() - HEADER_LEN == header.ct_len as usize).then_some(header)
}

/// The receiving end of a stream.
#[derive(Debug, Default)]
pub struct Expander {
    tables: Tables,
    broken: Option<DecodeError>,
}

/// A frame in full, and what was worked out on the way.
#[derive(Clone, Debug)]
pub struct Expanded {
    bytes: Bytes,
    known: Option<Known>,
}

/// What an [`Expander`] knows of an envelope that it has put together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) id: EnvelopeId,
    /// The hash in the header was computed from the ciphertext.
    pub(crate) is_hashed: bool,
}

impl Expanded {
    /// Kind and body.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(crate) fn into_parts(self) -> (Bytes, Option<Known>) {
        (self.bytes, self.known)
    }
}

/// A frame that no expander has seen.
impl From<Bytes> for Expanded {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, known: None }
    }
}

/// What stands in front of the bytes of a frame from some place on.
enum Front {
    /// Kind and body are as they came.
    Same,
    /// Kind and numbers, then a whole envelope.
    Prefix([u8; PREFIX]),
    /// Kind, numbers and a header, then the ciphertext.
    Header(Box<[u8; PREFIX + HEADER_LEN]>, Known),
    /// An announcement; nothing follows.
    Announce(Vec<u8>),
}

impl Expander {
    /// Bytes of memory behind it, about.
    pub fn heap(&self) -> usize {
        self.tables.heap()
    }

    /// How many bytes longer a frame with an envelope can become.
    pub const ROOM: usize = HEADER_LEN - ELIDED_MIN;

    /// Expands kind and body, and copies them.
    ///
    /// # Errors
    /// [`DecodeError`]: nothing on this stream can be read any more, and every later call says the same.
    pub fn expand(&mut self, frame: &[u8]) -> Result<Expanded, DecodeError> {
        let (front, at) = self.front(frame)?;
        let mut bytes = BytesMut::with_capacity(front.as_slice().len() + frame.len() - at);
        bytes.put_slice(front.as_slice());
        bytes.put_slice(&frame[at..]);
        Ok(Expanded { bytes: bytes.freeze(), known: front.known() })
    }

    /// Expands kind and body where they are: [`Expander::ROOM`] bytes into the buffer.
    ///
    /// # Errors
    /// As [`Expander::expand`].
    ///
    /// # Panics
    /// If the buffer is smaller than that.
    pub fn expand_in_place(&mut self, mut buffer: BytesMut) -> Result<Expanded, DecodeError> {
        let (front, at) = self.front(&buffer[Self::ROOM..])?;
        if let Front::Announce(bytes) = front {
            return Ok(Expanded { bytes: bytes.into(), known: None });
        }
        let rest = Self::ROOM + at;
        let start = rest - front.as_slice().len();
        buffer[start..rest].copy_from_slice(front.as_slice());
        Ok(Expanded { bytes: buffer.freeze().slice(start..), known: front.known() })
    }

    /// What comes before the frame's bytes from the returned place on.
    fn front(&mut self, frame: &[u8]) -> Result<(Front, usize), DecodeError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let front = self.try_front(frame);
        self.broken = front.as_ref().err().copied();
        front
    }

    fn try_front(&mut self, frame: &[u8]) -> Result<(Front, usize), DecodeError> {
        match frame.first() {
            Some(&DATA) => {}
            Some(&ANNOUNCE_ELIDED) => return Ok((Front::Announce(self.announce(&frame[1..])?), frame.len())),
            _ => return Ok((Front::Same, 0)),
        }
        let mut rest = Rest(frame);
        let prefix: [u8; PREFIX] = rest.take()?;
        let flags = rest.byte()?;
        if flags & is_given::WHOLE != 0 {
            return match flags {
                is_given::WHOLE => Ok((Front::Prefix(prefix), PREFIX + 1)),
                _ => Err(DecodeError::Invalid("flags of an elided header")),
            };
        }
        let (header, known) = self.header(flags, &mut rest)?;
        let mut front = Box::new([0; PREFIX + HEADER_LEN]);
        front[..PREFIX].copy_from_slice(&prefix);
        front[PREFIX..].copy_from_slice(&header);
        Ok((Front::Header(front, known), frame.len() - rest.0.len()))
    }

    /// Reads the fields in the order in which [`Compressor::elide`] writes them; what is left is the ciphertext.
    fn header(&mut self, flags: u8, rest: &mut Rest<'_>) -> Result<([u8; HEADER_LEN], Known), DecodeError> {
        let is_given = |flag| flags & flag != 0;
        let Tables { logs, scopes, .. } = &mut self.tables;
        let log = rest.byte()?;
        let log = if log & NEW == 0 {
            logs.get_mut(usize::from(log)).ok_or(DecodeError::Invalid("log number"))?
        } else {
            let author = PeerId(rest.take()?);
            let lane = Lane::from_u8(rest.byte()?).ok_or(DecodeError::Invalid("lane"))?;
            let at = place(logs, log & !NEW, ELIDED_LOGS_MAX, "log number")?;
            put_at(logs, at, Log::new(author, lane))
        };
        if is_given(is_given::SCOPE) {
            let scope = rest.byte()?;
            log.scope = scope & !NEW;
            if scope & NEW != 0 {
                let (topic_tag, epoch_id) = (TopicTag(rest.take()?), EpochId(rest.take()?));
                let scope = Scope { topic_tag, epoch_id, heads_digest: rest.take()? };
                let at = place(scopes, log.scope, ELIDED_SCOPES_MAX, "scope number")?;
                put_at(scopes, at, scope);
            }
        }
        let scope = scopes.get(usize::from(log.scope)).ok_or(DecodeError::Invalid("scope number"))?;
        let (seq, skip) = if is_given(is_given::SEQ) {
            (rest.varint()?, rest.varint_at_most()?)
        } else {
            (log.next_seq(), 0)
        };
        let prev = match is_given(is_given::PREV) {
            true => EnvelopeId(rest.take()?),
            false => log.next_prev(seq, skip),
        };
        let chain_idx = match is_given(is_given::CHAIN) {
            true => rest.varint_at_most()?,
            false => log.next_chain_idx(),
        };
        let ttl_secs = if is_given(is_given::TTL) { rest.varint_at_most()? } else { log.ttl_secs };
        let msg_count = if is_given(is_given::COUNT) { rest.varint_at_most()? } else { 1 };
        let ct_hash = if is_given(is_given::HASH) { Some(rest.take()?) } else { None };
        let (frame_salt, msg_root, sig) = (rest.take()?, rest.take()?, rest.take()?);
        if rest.0.len() > CIPHERTEXT_MAX {
            return Err(DecodeError::TooLarge("ciphertext"));
        }
        let header = Header {
            lane: log.lane,
            topic_tag: scope.topic_tag,
            author: log.author,
            seq,
            prev,
            epoch_id: scope.epoch_id,
            chain_idx,
            heads_digest: scope.heads_digest,
            frame_salt,
            msg_count,
            ct_len: rest.0.len() as u32,
            skip,
            ttl_secs,
            msg_root,
            ct_hash: ct_hash.unwrap_or_else(|| *blake3::hash(rest.0).as_bytes()),
            sig,
        };
        let bytes = header.to_bytes();
        let known = Known { id: envelope_id(&bytes), is_hashed: ct_hash.is_none() };
        log.note(&header, known.id);
        Ok((bytes, known))
    }
}

impl Front {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Same => &[],
            Self::Prefix(bytes) => bytes,
            Self::Header(bytes, _) => &bytes[..],
            Self::Announce(bytes) => bytes,
        }
    }

    fn known(&self) -> Option<Known> {
        match self {
            Self::Header(_, known) => Some(*known),
            _ => None,
        }
    }
}

/// Where a new entry goes: in place of another, or after the last if there may be more.
fn place<T>(list: &[T], at: u8, max: usize, what: &'static str) -> Result<usize, DecodeError> {
    let at = usize::from(at);
    if at > list.len() || at >= max { Err(DecodeError::Invalid(what)) } else { Ok(at) }
}

/// Puts an entry in place of another, or after the last.
fn put_at<T>(list: &mut Vec<T>, at: usize, entry: T) -> &mut T {
    match list.get(at) {
        Some(_) => list[at] = entry,
        None => list.push(entry),
    }
    &mut list[at]
}

const _: () = {
    assert!(ELIDED_LOGS_MAX <= NEW as usize);
    assert!(ELIDED_SCOPES_MAX <= NEW as usize);
};

#[cfg(test)]
mod tests;
