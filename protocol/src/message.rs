//! What people write: a subject, headers, content; and its one encoding inside an envelope.
//!
//! The encoding is laid out by hand so that every value has exactly one, and the decoder refuses all others:
//!
//! ```text
//! type u8 = 0 | clock u64 | n_parents u8, each: envelope id 32, index u16 | subject: len u8, UTF-8
//! | content type: len u8, ASCII | n_headers u8, each: name len u8, name, value len u16, value | content: the rest
//! ```
//!
//! Integers are little-endian; parents and header names ascend strictly. A decoded [`Body`] shares the buffer it
//! was read from.

use core::fmt;
use core::ops::Deref;

use bytes::Bytes;

use crate::error::{DecodeError, DraftError};
use crate::id::EnvelopeId;
use crate::limits::{
    BODY_MAX, CONTENT_MAX, CONTENT_TYPE_MAX, HEADER_NAME_MAX, HEADER_VALUE_MAX, HEADERS_BYTES_MAX,
    HEADERS_MAX, PARENTS_MAX, SUBJECT_MAX,
};
use crate::time::Hlc;

mod pattern;

pub use pattern::{PatternError, SubjectPattern};

const TYPE_MESSAGE: u8 = 0;

/// A message this one answers or builds on, in the same group: its envelope and its place in it. Ordered by
/// id, then index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Parent {
    /// The envelope.
    pub envelope: EnvelopeId,
    /// The message's place in it, from 0.
    pub index: u16,
}

/// A message before it is sent.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Draft {
    /// A path like `sensors/kitchen/temperature`, at most [`SUBJECT_MAX`] bytes; empty for none. No empty
    /// segment, no `+` or `#`, no control character.
    pub subject: String,
    /// A media type (RFC 6838), printable ASCII, at most [`CONTENT_TYPE_MAX`] bytes; empty for none.
    pub content_type: String,
    /// At most [`HEADERS_MAX`] names with values, in any order; they travel sorted by name. A name is 1 to
    /// [`HEADER_NAME_MAX`] visible ASCII characters, used once; a value is at most [`HEADER_VALUE_MAX`] bytes
    /// without control characters; all together at most [`HEADERS_BYTES_MAX`] bytes, 3 for each header counted in.
    pub headers: Vec<(String, String)>,
    /// Anything, at most [`CONTENT_MAX`] bytes.
    pub content: Bytes,
    /// At most [`PARENTS_MAX`], in any order; one named twice counts once in what travels.
    pub parents: Vec<Parent>,
}

impl Draft {
    /// Whether it can become a message.
    ///
    /// # Errors
    /// [`DraftError`], the first thing found wrong.
    pub fn check(&self) -> Result<(), DraftError> {
        if self.content.len() > CONTENT_MAX {
            return Err(DraftError::ContentTooLarge(self.content.len()));
        }
        if !is_subject(&self.subject) {
            return Err(DraftError::Subject);
        }
        if !is_content_type(self.content_type.as_bytes()) {
            return Err(DraftError::ContentType);
        }
        if self.parents.len() > PARENTS_MAX {
            return Err(DraftError::Parents);
        }
        let headers = &self.headers;
        let well_formed = headers.len() <= HEADERS_MAX
            && headers.iter().all(|(name, value)| is_header_name(name.as_bytes()) && is_header_value(value))
            && headers.iter().map(|(name, value)| header_len(name, value)).sum::<usize>()
                <= HEADERS_BYTES_MAX
            && (1..headers.len()).all(|i| headers[..i].iter().all(|(earlier, _)| *earlier != headers[i].0));
        if well_formed { Ok(()) } else { Err(DraftError::Headers) }
    }
}

/// A message as it was received. Everything but `parents` and the list of headers shares the envelope's buffer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Body {
    /// The author's clock; for display and order only.
    pub hlc: Hlc,
    /// Messages this one builds on, ascending.
    pub parents: Vec<Parent>,
    /// A path, or empty.
    pub subject: Text,
    /// A media type, or empty.
    pub content_type: Text,
    /// Names with values, ascending by name.
    pub headers: Vec<(Text, Text)>,
    /// The content.
    pub content: Bytes,
}

/// The encoding of a draft at a reading of the author's clock.
///
/// # Errors
/// [`DraftError`] if [`Draft::check`] refuses it.
pub fn encode_body(draft: &Draft, hlc: Hlc) -> Result<Bytes, DraftError> {
    draft.check()?;
    let mut parents = draft.parents.clone();
    parents.sort_unstable();
    parents.dedup();
    let mut headers: Vec<_> = draft.headers.iter().collect();
    headers.sort_unstable();

    let headers_len: usize = headers.iter().map(|(name, value)| header_len(name, value)).sum();
    let capacity = 13
        + parents.len() * 34
        + draft.subject.len()
        + draft.content_type.len()
        + headers_len
        + draft.content.len();
    let mut out = Vec::with_capacity(capacity);
    out.push(TYPE_MESSAGE);
    out.extend_from_slice(&hlc.0.to_le_bytes());
    out.push(len_u8(parents.len()));
    for parent in &parents {
        out.extend_from_slice(&parent.envelope.0);
        out.extend_from_slice(&parent.index.to_le_bytes());
    }
    out.push(len_u8(draft.subject.len()));
    out.extend_from_slice(draft.subject.as_bytes());
    out.push(len_u8(draft.content_type.len()));
    out.extend_from_slice(draft.content_type.as_bytes());
    out.push(len_u8(headers.len()));
    for (name, value) in headers {
        out.push(len_u8(name.len()));
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(
            &u16::try_from(value.len()).expect("checked: at most 1024 bytes").to_le_bytes(),
        );
        out.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(&draft.content);
    debug_assert_eq!(out.len(), capacity, "counted what was written");
    Ok(out.into())
}

/// Reads a message.
///
/// # Errors
/// [`DecodeError`] for anything that [`encode_body`] does not write.
pub fn decode_body(bytes: Bytes) -> Result<Body, DecodeError> {
    if bytes.len() > BODY_MAX {
        return Err(DecodeError::TooLarge("message"));
    }
    let mut reader = Reader { bytes: &bytes, pos: 0 };
    if reader.u8()? != TYPE_MESSAGE {
        return Err(DecodeError::Invalid("message type"));
    }
    let hlc = Hlc(u64::from_le_bytes(reader.array()?));
    let parents = reader.parents()?;
    let subject_len = reader.u8()?;
    let subject = reader.text(subject_len.into(), "subject")?;
    if !is_subject(&subject) {
        return Err(DecodeError::Invalid("subject"));
    }
    let content_type_len = reader.u8()?;
    let content_type = reader.text(content_type_len.into(), "content type")?;
    if !is_content_type(content_type.as_bytes()) {
        return Err(DecodeError::Invalid("content type"));
    }
    let headers = reader.headers()?;
    let content = bytes.slice(reader.pos..);
    if content.len() > CONTENT_MAX {
        return Err(DecodeError::TooLarge("content"));
    }
    Ok(Body { hlc, parents, subject, content_type, headers, content })
}

/// Reads a message from the front.
struct Reader<'a> {
    bytes: &'a Bytes,
    pos: usize,
}

impl Reader<'_> {
    fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let array = self.bytes[self.pos..].first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.pos += N;
        Ok(*array)
    }

    fn text(&mut self, len: usize, what: &'static str) -> Result<Text, DecodeError> {
        let end = self.pos + len;
        if end > self.bytes.len() {
            return Err(DecodeError::Truncated);
        }
        let text = Text::from_utf8(self.bytes.slice(self.pos..end)).ok_or(DecodeError::Invalid(what))?;
        self.pos = end;
        Ok(text)
    }

    fn parents(&mut self) -> Result<Vec<Parent>, DecodeError> {
        let n = usize::from(self.u8()?);
        if n > PARENTS_MAX {
            return Err(DecodeError::TooLarge("parents"));
        }
        let mut parents: Vec<Parent> = Vec::with_capacity(n);
        for _ in 0..n {
            let envelope = EnvelopeId(self.array()?);
            let parent = Parent { envelope, index: u16::from_le_bytes(self.array()?) };
            if parents.last().is_some_and(|last| *last >= parent) {
                return Err(DecodeError::NotCanonical);
            }
            parents.push(parent);
        }
        Ok(parents)
    }

    fn headers(&mut self) -> Result<Vec<(Text, Text)>, DecodeError> {
        let n = usize::from(self.u8()?);
        if n > HEADERS_MAX {
            return Err(DecodeError::TooLarge("headers"));
        }
        let start = self.pos;
        let mut headers: Vec<(Text, Text)> = Vec::with_capacity(n);
        for _ in 0..n {
            let name_len = self.u8()?;
            let name = self.text(name_len.into(), "header name")?;
            if !is_header_name(name.as_bytes()) {
                return Err(DecodeError::Invalid("header name"));
            }
            if headers.last().is_some_and(|(last, _)| last.as_bytes() >= name.as_bytes()) {
                return Err(DecodeError::NotCanonical);
            }
            let value_len = u16::from_le_bytes(self.array()?);
            let value = self.text(value_len.into(), "header value")?;
            if !is_header_value(&value) {
                return Err(DecodeError::Invalid("header value"));
            }
            headers.push((name, value));
        }
        if self.pos - start > HEADERS_BYTES_MAX {
            return Err(DecodeError::TooLarge("headers"));
        }
        Ok(headers)
    }
}

/// UTF-8 text that shares a buffer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text(Bytes);

impl Text {
    /// Takes bytes that are UTF-8.
    pub fn from_utf8(bytes: Bytes) -> Option<Self> {
        core::str::from_utf8(&bytes).is_ok().then_some(Self(bytes))
    }

    /// The text. Costs a scan of its bytes, as they cannot be trusted again without `unsafe`.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).expect("a Text is made from UTF-8 only")
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

fn is_subject(subject: &str) -> bool {
    subject.is_empty()
        || subject.len() <= SUBJECT_MAX
            && is_path(subject)
            && !subject.bytes().any(|b| b == b'+' || b == b'#')
}

/// Whether every segment between slashes has something in it, and no character is a control character.
fn is_path(path: &str) -> bool {
    let mut before = b'/';
    for byte in path.bytes() {
        if byte == b'/' && before == b'/' {
            return false;
        }
        before = byte;
    }
    before != b'/' && !has_control(path)
}

fn is_content_type(bytes: &[u8]) -> bool {
    bytes.len() <= CONTENT_TYPE_MAX && bytes.iter().all(|byte| (0x20..0x7f).contains(byte))
}

fn is_header_name(bytes: &[u8]) -> bool {
    (1..=HEADER_NAME_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

fn is_header_value(value: &str) -> bool {
    value.len() <= HEADER_VALUE_MAX && !has_control(value)
}

fn has_control(text: &str) -> bool {
    // Most texts are ASCII, for which bytes are enough.
    text.bytes().any(|byte| byte < 0x20 || byte == 0x7f)
        || (!text.is_ascii() && text.chars().any(char::is_control))
}

fn header_len(name: &str, value: &str) -> usize {
    1 + name.len() + 2 + value.len()
}

fn len_u8(len: usize) -> u8 {
    u8::try_from(len).expect("checked: the limits of short fields are below 256")
}

#[cfg(test)]
mod tests;
