//! Frames on streams: `u32 length (little endian) | bytes`, one stream per class.
//!
//! A reader task per stream cuts frames out, has them checked (which may cost a signature: these tasks are the
//! worker threads of the node) and hands them over; waiting for room there is the back-pressure that makes the
//! peer stop. One writer task per link serves the four streams in class order. It keeps a floor for each class
//! by the size of a single write: Yamux takes one write of each stream in turn.
//!
//! What the peer knows of an envelope's header stays behind: the writer elides it where frames leave, the reader
//! puts it back before the check. All accounts are of whole frames, as if nothing were elided.
//!
//! Not here: time. A stream that stands still is the engine's to judge, from what [`Link`] reports as written.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use djembe_protocol::error::{DecodeError, Reject};
use djembe_protocol::limits::FRAME_MAX;
use djembe_protocol::wire::compress::{Compressor, Expanded, Expander};
use futures::{AsyncRead, AsyncWrite};
use libp2p::Stream;
use tokio::sync::mpsc;

use super::link::{Link, Queues, Transmit, locked};
use super::{Cause, CheckFn, Class, Inbound};

const PREFIX: usize = 4;
/// What one write of small frames gathers: with its Yamux header it fills one Noise message.
const CHUNK: usize = 65_535 - 1024 - 12;
/// Frames from this size on are read into memory of their own and shared; smaller ones are copied out of the
/// read buffer, so that a note of 300 bytes kept by the engine does not keep 16 KiB alive.
const SHARED_FROM: usize = 8 * 1024;
/// A reader's buffer at rest; it doubles while it is read full, and falls back.
const BUFFER_MIN: usize = 256;
const BUFFER_MAX: usize = 16 * 1024;

/// Makes the two halves of a stream. Each is polled by one task; a lock instead of a channel between them,
/// because Yamux and QUIC wake reader and writer apart, and a poll takes microseconds.
pub(super) fn split(stream: Stream) -> (ReadHalf, WriteHalf) {
    let stream = Arc::new(Mutex::new(stream));
    (ReadHalf(stream.clone()), WriteHalf(stream))
}

pub(super) struct ReadHalf(Arc<Mutex<Stream>>);

impl ReadHalf {
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *locked(&self.0)).poll_read(cx, buffer)
    }
}

pub(super) struct WriteHalf(Arc<Mutex<Stream>>);

impl WriteHalf {
    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *locked(&self.0)).poll_write(cx, bytes)
    }

    fn poll_close(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *locked(&self.0)).poll_close(cx)
    }

    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *locked(&self.0)).poll_flush(cx)
    }
}

/// Reads one stream until it ends.
pub(super) async fn run_reader<T: Send + 'static>(
    link: Arc<Link>,
    class: Class,
    stream: ReadHalf,
    check: CheckFn<T>,
    inbound: mpsc::Sender<Inbound<T>>,
) {
    if *link.released.wait().await {
        let frames = Box::new(Frames::new(link.clone(), class, stream));
        match hand_over(frames, check, inbound).await {
            Ok(()) => link.end(),
            Err(Unreadable::Length(length)) => {
                tracing::debug!(link = link.id.0, ?class, length, "no frame has this length");
                link.fail(Cause::Protocol("frame length"));
            }
            Err(Unreadable::Header) => link.fail(Cause::Protocol("elided header")),
        }
    }
    if class == Class::Control {
        link.set_drained();
    }
}

/// What follows on the stream has no meaning any more.
enum Unreadable {
    /// No frame has this length.
    Length(usize),
    /// A header was elided against something that never came.
    Header,
}

/// What is held over an `await` has its place in every stream of every link, also at rest: so a frame waits for room and
/// is checked then.
async fn hand_over<T: Send + 'static>(
    mut frames: Box<Frames>,
    check: CheckFn<T>,
    inbound: mpsc::Sender<Inbound<T>>,
) -> Result<(), Unreadable> {
    while let Some(frame) = frames.next().await? {
        if frames.link.is_deaf() {
            return Ok(());
        }
        let Ok(room) = inbound.reserve().await else {
            return Ok(());
        };
        let is_last = frame.is_err();
        room.send(frames.checked(frame, &check));
        if is_last {
            return Err(Unreadable::Header);
        }
    }
    Ok(())
}

/// Cuts a stream into frames.
struct Frames {
    link: Arc<Link>,
    class: Class,
    stream: ReadHalf,
    expander: Expander,
    /// Bytes `start..end` were read and not yet used.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The last frame was a large one: the next probably is too, so only its beginning is read into the buffer
    /// and the rest straight to where it stays.
    was_shared: bool,
}

impl Frames {
    fn new(link: Arc<Link>, class: Class, stream: ReadHalf) -> Self {
        Self {
            link,
            class,
            stream,
            expander: Expander::default(),
            buffer: vec![0; BUFFER_MIN],
            start: 0,
            end: 0,
            was_shared: false,
        }
    }

    fn checked<T>(&self, frame: Result<Expanded, DecodeError>, check: &CheckFn<T>) -> Inbound<T> {
        let (link, class) = (self.link.id, self.class);
        let bytes = frame.as_ref().map_or(0, |frame| frame.as_bytes().len());
        match frame.map_err(Reject::Elided).and_then(|frame| check(frame)) {
            Ok(frame) => Inbound::Frame { link, class, frame, bytes },
            Err(reject) => Inbound::Bad { link, class, reject, bytes },
        }
    }

    /// The next frame in full, or `None` once the stream has ended. Inside may be that it cannot be made whole.
    async fn next(&mut self) -> Result<Option<Result<Expanded, DecodeError>>, Unreadable> {
        loop {
            let unread = &self.buffer[self.start..self.end];
            if let Some((prefix, rest)) = unread.split_first_chunk::<PREFIX>() {
                let length = u32::from_le_bytes(*prefix) as usize;
                if length == 0 || length > FRAME_MAX {
                    return Err(Unreadable::Length(length));
                }
                if length >= SHARED_FROM {
                    return Ok(self.next_shared(length).await);
                }
                if let Some(frame) = rest.get(..length) {
                    let frame = self.expander.expand(frame);
                    self.start += PREFIX + length;
                    return Ok(Some(frame));
                }
                self.make_room(PREFIX + length);
            } else {
                self.make_room(PREFIX);
            }
            if !self.fill().await {
                return Ok(None);
            }
        }
    }

    /// Reads a large frame into memory of its own, with room for what was elided.
    async fn next_shared(&mut self, length: usize) -> Option<Result<Expanded, DecodeError>> {
        let unread = &self.buffer[self.start + PREFIX..self.end];
        let mut n = unread.len().min(length);
        let mut memory = BytesMut::zeroed(Expander::ROOM + length);
        let frame = &mut memory[Expander::ROOM..];
        frame[..n].copy_from_slice(&unread[..n]);
        self.start += PREFIX + n;
        while n < length {
            n += self.read(&mut frame[n..]).await?;
        }
        self.was_shared = true;
        Some(self.expander.expand_in_place(memory))
    }

    /// Makes sure that `wanted` bytes from `start` on have a place.
    fn make_room(&mut self, wanted: usize) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.buffer.len() - self.start < wanted.max(self.buffer.len() / 2) {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted.next_power_of_two(), 0);
        }
    }

    /// Reads once; false when the stream has ended.
    async fn fill(&mut self) -> bool {
        let limit = if self.was_shared { self.end + 256 } else { usize::MAX };
        self.was_shared = false;
        let limit = limit.min(self.buffer.len());
        // Out of the frame for the time of the read, so that `read` may look at the rest of `self`.
        let mut buffer = std::mem::take(&mut self.buffer);
        let n = self.read(&mut buffer[self.end..limit]).await;
        self.buffer = buffer;
        if let Some(n) = n {
            self.end += n;
            self.adapt(n);
        }
        n.is_some()
    }

    /// Reads at least a byte, or `None` when the stream has ended. Why it ended, the connection knows.
    async fn read(&self, buffer: &mut [u8]) -> Option<usize> {
        poll_fn(|cx| match self.stream.poll_read(cx, buffer) {
            Poll::Ready(Ok(n)) if n > 0 => Poll::Ready(Some(n)),
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => self.link.poll_gone(cx, self.class).map(|()| None),
        })
        .await
    }

    /// Grows the buffer while it is read full, and lets go of a large one when little comes.
    fn adapt(&mut self, n: usize) {
        let size = self.buffer.len();
        if self.end == size && size < BUFFER_MAX {
            self.buffer.resize(2 * size, 0);
        } else if n < size / 8 && self.end <= BUFFER_MIN && size > BUFFER_MIN {
            self.buffer.truncate(BUFFER_MIN);
            self.buffer.shrink_to_fit();
        }
    }
}

/// Writes what is queued for a link until the link ends. After our own close the control stream is finished
/// and the peer, who reads that, closes the connection: so the last words arrive even over QUIC, which forgets
/// what is unacknowledged when it closes.
pub(super) async fn run_writer(link: Arc<Link>) {
    let mut writer = Writer { link: link.clone(), lanes: Class::ALL.map(Lane::new) };
    if poll_fn(|cx| writer.poll(cx)).await.is_err() {
        link.end();
    }
}

struct Writer {
    link: Arc<Link>,
    lanes: [Lane; Class::ALL.len()],
}

impl Writer {
    /// Ready when the link has ended, or has said its last word.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // First register, then look: what is queued in between wakes us.
        self.link.writer.register(cx.waker());
        loop {
            if self.link.is_gone() {
                return Poll::Ready(Ok(()));
            }
            let is_closing = self.link.is_closing();
            for (class, stream) in self.link.queues().streams.drain(..) {
                self.lanes[class as usize].stream = Some(stream);
            }
            let mut has_written = false;
            for lane in &mut self.lanes {
                if let Poll::Ready(()) = lane.poll(cx, &self.link)? {
                    has_written = true;
                }
            }
            let [control, ..] = &self.lanes;
            if is_closing && control.is_idle(&self.link) {
                return control.stream.as_ref().map_or(Poll::Ready(Ok(())), |stream| stream.poll_close(cx));
            }
            if !has_written {
                return Poll::Pending;
            }
        }
    }
}

/// One class of a link's writer.
struct Lane {
    class: Class,
    stream: Option<WriteHalf>,
    compressor: Compressor,
    /// Frames with their prefixes, being written.
    chunk: Vec<u8>,
    /// What they are before anything is elided.
    whole: usize,
    /// How much of the chunk is written.
    start: usize,
    needs_flush: bool,
}

impl Lane {
    fn new(class: Class) -> Self {
        Self {
            class,
            stream: None,
            compressor: Compressor::default(),
            chunk: Vec::new(),
            whole: 0,
            start: 0,
            needs_flush: false,
        }
    }

    /// What a single write may carry. The streams of a link take turns write by write, so these are the shares
    /// when all are busy: bulk has a seventh, and where whole frames fill a write badly still a tenth.
    const fn share(&self) -> usize {
        match self.class {
            Class::Control | Class::Own | Class::Forward => CHUNK,
            Class::Bulk => CHUNK / 2,
        }
    }

    /// One write, or a flush when nothing is left. Pending when there is nothing to do or no room to do it.
    fn poll(&mut self, cx: &mut Context<'_>, link: &Arc<Link>) -> Poll<io::Result<()>> {
        let Some(stream) = &self.stream else {
            return Poll::Pending;
        };
        if self.chunk.is_empty() {
            let frames = gather(&mut link.queues(), self.class, self.share());
            self.whole = frames.iter().map(|frame| PREFIX + frame.len()).sum();
            self.chunk = pack(&mut self.compressor, frames, self.whole);
            self.start = 0;
        }
        if self.chunk.is_empty() {
            if self.needs_flush {
                ready!(stream.poll_flush(cx))?;
                self.needs_flush = false;
            }
            return Poll::Pending;
        }
        let end = self.chunk.len().min(self.start + self.share());
        match ready!(stream.poll_write(cx, &self.chunk[self.start..end]))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            n => self.start += n,
        }
        self.needs_flush = true;
        if self.start == self.chunk.len() {
            link.add_written(self.class, self.whole);
            self.chunk = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Nothing is queued, half written or unflushed.
    fn is_idle(&self, link: &Link) -> bool {
        self.chunk.is_empty()
            && !self.needs_flush
            && (self.stream.is_none() || link.queues().frames[self.class as usize].is_empty())
    }
}

/// Queued frames of a class that make at most `share` bytes (one frame may be larger than that).
fn gather(queues: &mut Queues, class: Class, share: usize) -> Vec<Transmit> {
    let mut frames: Vec<Transmit> = Vec::new();
    let mut size = 0;
    while let Some(frame) = queues.pop(class, share.saturating_sub(size + PREFIX), frames.is_empty()) {
        size += PREFIX + frame.len();
        frames.push(frame);
    }
    frames
}

/// Frames as one piece, with what the peer knows elided. The copy is worth it: every write becomes a packet and a
/// wake-up.
fn pack(compressor: &mut Compressor, frames: Vec<Transmit>, whole: usize) -> Vec<u8> {
    let mut chunk = Vec::with_capacity(whole);
    for Transmit { head, body } in frames {
        let start = chunk.len();
        chunk.extend_from_slice(&[0; PREFIX]);
        let rest = compressor.elide(&head, &body, &mut chunk);
        chunk.extend_from_slice(&body[rest..]);
        let length = (chunk.len() - start - PREFIX) as u32;
        chunk[start..start + PREFIX].copy_from_slice(&length.to_le_bytes());
        tracing::trace!(kind = head.first(), bytes = chunk.len() - start, at = start, "frame written");
    }
    chunk
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a turn of a class carries of frames of one size, with their prefixes, while enough of them wait.
    fn turn(class: Class, size: usize) -> f64 {
        let share = Lane::new(class).share();
        // A frame larger than the share is written in pieces of it.
        (if size > share { share } else { share / size * size }) as f64
    }

    /// Goal: each class has a tenth of a link at least when all are busy, whatever the size of what waits.
    #[test]
    fn every_class_has_a_tenth() {
        for size in PREFIX + 1..=PREFIX + FRAME_MAX {
            let all: f64 = Class::ALL.iter().map(|class| turn(*class, size)).sum();
            for class in Class::ALL {
                let share = turn(class, size) / all;
                assert!(share >= 0.0999, "{class:?} has {share} of the link in frames of {size} bytes");
            }
        }
    }
}
