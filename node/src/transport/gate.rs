//! Looks at the headers of Yamux frames on their way in, and ends a connection that is busy with nothing.
//!
//! ```text
//! | version u8 | type u8 | flags u16 BE | stream u32 BE | length u32 BE |   0 data, 1 window, 2 ping, 3 goodbye
//! ```
//!
//! Yamux answers every ping, warns a peer of every stream too many, and drops data for streams that do not exist,
//! for as long as the peer likes: no frame of ours comes of it, so nobody above would ever notice. A node of ours
//! opens four streams in the life of a connection, and sends a window for every 128 KiB that it was sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use futures::{AsyncRead, AsyncWrite};

const HEADER: usize = 12;
const FLAG_SYN: u16 = 1;
/// Streams that a peer may open in the life of a connection: one for each class, and one that will be found
/// superfluous.
pub(super) const OPENED_MAX: u32 = 5;
/// Frames without data at once.
const IDLE_FRAMES_BURST: u32 = 16 * 1024;
/// And a second, later: a peer that is sent 2 GB a second answers with as many windows.
const IDLE_FRAMES_RATE: u32 = 16 * 1024;
/// Bytes of data for streams that the peer never opened, in the life of a connection.
const STRAY_BYTES_MAX: u64 = 1024 * 1024;

/// An encrypted byte stream, watched as it is read.
#[derive(Debug)]
pub(super) struct Gate<C> {
    io: C,
    watch: Watch,
}

impl<C> Gate<C> {
    /// `is_dialer`: our own streams have odd numbers, the peer's even ones.
    pub(super) fn new(io: C, is_dialer: bool) -> Self {
        Self { io, watch: Watch::new(is_dialer) }
    }
}

#[derive(Debug)]
struct Watch {
    is_dialer: bool,
    header: [u8; HEADER],
    n_header: usize,
    /// Bytes of data until the next header.
    body: u64,
    opened: Vec<u32>,
    /// Frames without data that it may send at once.
    tokens: u32,
    since: Instant,
    stray_bytes: u64,
}

impl Watch {
    fn new(is_dialer: bool) -> Self {
        Self {
            is_dialer,
            header: [0; HEADER],
            n_header: 0,
            body: 0,
            opened: Vec::new(),
            tokens: IDLE_FRAMES_BURST,
            since: Instant::now(),
            stray_bytes: 0,
        }
    }

    /// Looks at what was read. An error ends the connection.
    fn see(&mut self, mut bytes: &[u8]) -> Result<(), &'static str> {
        while !bytes.is_empty() {
            if self.body > 0 {
                let n = usize::try_from(self.body).unwrap_or(usize::MAX).min(bytes.len());
                self.body -= n as u64;
                bytes = &bytes[n..];
                continue;
            }
            let n = (HEADER - self.n_header).min(bytes.len());
            self.header[self.n_header..self.n_header + n].copy_from_slice(&bytes[..n]);
            self.n_header += n;
            bytes = &bytes[n..];
            if self.n_header == HEADER {
                self.n_header = 0;
                self.on_header()?;
            }
        }
        Ok(())
    }

    fn on_header(&mut self) -> Result<(), &'static str> {
        let [_, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = self.header;
        let (flags, stream) = (u16::from_be_bytes([f0, f1]), u32::from_be_bytes([s0, s1, s2, s3]));
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        let is_theirs = (stream % 2 == 0) == self.is_dialer;
        if flags & FLAG_SYN != 0 && kind < 2 && is_theirs && !self.opened.contains(&stream) {
            if self.opened.len() >= OPENED_MAX as usize {
                return Err("opens stream after stream");
            }
            self.opened.push(stream);
        }
        if kind == 0 && length > 0 {
            self.body = u64::from(length);
            if is_theirs && !self.opened.contains(&stream) {
                self.stray_bytes += self.body;
                if self.stray_bytes > STRAY_BYTES_MAX {
                    return Err("sends to streams that are not there");
                }
            }
            return Ok(());
        }
        self.take_token()
    }

    /// Time is looked at only by who has used up the last allowance.
    fn take_token(&mut self) -> Result<(), &'static str> {
        if self.tokens == 0 {
            let now = Instant::now();
            let earned = now.duration_since(self.since).as_secs_f64() * f64::from(IDLE_FRAMES_RATE);
            // A float that is too large becomes the largest number.
            self.tokens = (earned as u32).min(IDLE_FRAMES_BURST);
            self.since = now;
        }
        self.tokens = self.tokens.checked_sub(1).ok_or("sends frames without data")?;
        Ok(())
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Gate<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let read = Pin::new(&mut this.io).poll_read(cx, buffer);
        if let Poll::Ready(Ok(n)) = &read
            && let Err(fault) = this.watch.see(&buffer[..*n])
        {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, fault)));
        }
        read
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Gate<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, buffers)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: u8, flags: u16, stream: u32, length: u32) -> Vec<u8> {
        [&[0, kind][..], &flags.to_be_bytes(), &stream.to_be_bytes(), &length.to_be_bytes()].concat()
    }

    #[test]
    fn a_neighbour_with_four_streams_and_much_to_say_passes() {
        let mut watch = Watch::new(false);
        for stream in [1, 3, 5, 7] {
            watch.see(&header(0, FLAG_SYN, stream, 3)).expect("opens");
            watch.see(b"abc").expect("data");
        }
        for n in 0..10_000 {
            let frame = [header(0, 0, 1, 1000), vec![0xff; 1000]].concat();
            // Cut anywhere.
            let (a, b) = frame.split_at(n % 1012);
            watch.see(a).and_then(|()| watch.see(b)).expect("data");
        }
        assert_eq!(watch.stray_bytes, 0);
    }

    #[test]
    fn a_stream_too_many_ends_it() {
        let mut watch = Watch::new(false);
        for n in 0..OPENED_MAX {
            watch.see(&header(1, FLAG_SYN, 2 * n + 1, 0)).expect("opens");
        }
        assert!(watch.see(&header(1, FLAG_SYN, 2 * OPENED_MAX + 1, 0)).is_err());
    }

    #[test]
    fn pings_without_end_end_it() {
        let mut watch = Watch::new(true);
        for _ in 0..IDLE_FRAMES_BURST {
            watch.see(&header(2, FLAG_SYN, 0, 7)).expect("may ping");
        }
        // The time that passes here is not counted: it would depend on the machine.
        watch.since = Instant::now() + std::time::Duration::from_secs(3600);
        assert!(watch.see(&header(2, FLAG_SYN, 0, 7)).is_err());
        let earlier = Instant::now().checked_sub(std::time::Duration::from_secs(1));
        watch.since = earlier.expect("the machine runs for a second");
        for _ in 0..IDLE_FRAMES_RATE {
            watch.see(&header(1, 0, 1, 7)).expect("a second later");
        }
    }

    #[test]
    fn data_for_no_stream_ends_it() {
        let mut watch = Watch::new(true);
        let frame = [header(0, 0, 2, 1024), vec![0; 1024]].concat();
        for _ in 0..1024 {
            watch.see(&frame).expect("may have crossed the end of a stream");
        }
        assert!(watch.see(&frame).is_err());
        let ours = [header(0, 0, 1, 1024), vec![0; 1024]].concat();
        let mut watch = Watch::new(true);
        assert!((0..5000).all(|_| watch.see(&ours).is_ok()), "an answer on a stream of ours");
    }
}
