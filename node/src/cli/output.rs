//! Standard output and standard input, each on a thread of its own: a terminal or a pipe that blocks must not hold
//! up the node, and a read that never ends must not hold up the end.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Read, Write};

use bytes::{Bytes, BytesMut};
use djembe_protocol::limits::CONTENT_MAX;
use serde::Serialize;
use tokio::sync::mpsc;

use super::exit::{Exit, Failure};

/// What is written at once.
const CHUNK: usize = 64 * 1024;
/// Lines handed over at once.
const LINES: usize = 256;

/// Standard output, for data.
pub(super) struct Stdout {
    buffer: Vec<u8>,
    chunks: mpsc::Sender<Vec<u8>>,
    /// None once it has said how it ended.
    written: Option<tokio::sync::oneshot::Receiver<io::Result<()>>>,
    pub(super) is_terminal: bool,
    pub(super) is_coloured: bool,
}

impl Stdout {
    pub(super) fn new() -> Self {
        let (chunks, mut chunks_out) = mpsc::channel::<Vec<u8>>(4);
        let (done, written) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut write = || {
                // Locked for a chunk at a time: a node that is measured reports between them.
                let mut stdout = io::stdout();
                while let Some(chunk) = chunks_out.blocking_recv() {
                    stdout.write_all(&chunk)?;
                    stdout.flush()?;
                }
                Ok(())
            };
            let result = write();
            // First the reason, then the closed channel that makes others look for it.
            let _ = done.send(result);
            drop(chunks_out);
        });
        let is_terminal = io::stdout().is_terminal();
        let is_coloured = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { buffer: Vec::new(), chunks, written: Some(written), is_terminal, is_coloured }
    }

    /// Room to write into; nothing leaves before [`Stdout::flush`].
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    pub(super) fn line(&mut self, text: impl AsRef<str>) {
        self.buffer.extend_from_slice(text.as_ref().as_bytes());
        self.buffer.push(b'\n');
    }

    pub(super) fn json(&mut self, value: &impl Serialize) {
        serde_json::to_writer(&mut self.buffer, value).expect("our records have string keys");
        self.buffer.push(b'\n');
    }

    /// Whether so much has gathered that it should leave.
    pub(super) fn is_full(&self) -> bool {
        self.buffer.len() >= CHUNK
    }

    /// Hands on what was gathered; waits while the reader is slow.
    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::take(&mut self.buffer);
        match self.chunks.send(chunk).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.failure().await),
        }
    }

    /// Returns once nobody reads any more.
    pub(super) async fn closed(&self) {
        self.chunks.closed().await;
    }

    /// Everything is written when this returns, unless it was known before that nobody reads.
    pub(super) async fn finish(mut self) -> Result<(), Failure> {
        if self.written.is_none() {
            return Ok(());
        }
        self.flush().await?;
        let (closed, _) = mpsc::channel(1);
        self.chunks = closed;
        self.end().await.unwrap_or(Ok(()))
    }

    /// Why nobody reads any more.
    pub(super) async fn failure(&mut self) -> Failure {
        match self.end().await {
            Some(Err(failure)) => failure,
            _ => Failure::broken_pipe(),
        }
    }

    async fn end(&mut self) -> Option<Result<(), Failure>> {
        let written = self.written.take()?.await;
        written.ok().map(|written| written.map_err(|error| failure(&error)))
    }
}

fn failure(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::broken_pipe();
    }
    Failure::new(Exit::Failure, format!("cannot write to standard output: {error}"))
}

/// The lines of standard input without their ends, as they come; a line beyond the largest message is cut one byte
/// past the limit, where it will be refused.
pub(super) fn stdin_lines() -> mpsc::Receiver<io::Result<Vec<Bytes>>> {
    let (sender, receiver) = mpsc::channel(4);
    std::thread::spawn(move || {
        let send = |lines: Vec<Bytes>| lines.is_empty() || sender.blocking_send(Ok(lines)).is_ok();
        if let Err(error) = read_lines(io::stdin().lock(), send) {
            let _ = sender.blocking_send(Err(error));
        }
    });
    receiver
}

fn read_lines(mut input: impl Read, mut send: impl FnMut(Vec<Bytes>) -> bool) -> io::Result<()> {
    let mut rest = BytesMut::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let n = match input.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if n == 0 {
            let last = (!rest.is_empty()).then(|| rest.freeze());
            send(last.into_iter().collect());
            return Ok(());
        }
        let mut lines = Vec::new();
        let mut parts = chunk[..n].split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            let room = (CONTENT_MAX + 1).saturating_sub(rest.len());
            rest.extend_from_slice(&part[..part.len().min(room)]);
            if parts.peek().is_some() {
                lines.push(rest.split().freeze());
            }
            if lines.len() == LINES && !send(std::mem::take(&mut lines)) {
                return Ok(());
            }
        }
        if !send(lines) {
            return Ok(());
        }
    }
}

/// All of standard input, as far as it fits into one message and one byte more.
pub(super) async fn stdin_whole() -> Result<Bytes, Failure> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = io::stdin().lock().take(CONTENT_MAX as u64 + 1).read_to_end(&mut bytes);
        let _ = sender.send(read.map(|_| bytes));
    });
    match receiver.await {
        Ok(Ok(bytes)) => Ok(bytes.into()),
        Ok(Err(error)) => Err(unreadable(&error)),
        Err(_) => Err(Failure::new(Exit::Failure, "standard input ended oddly")),
    }
}

pub(super) fn unreadable(error: &io::Error) -> Failure {
    Failure::new(Exit::Failure, format!("cannot read standard input: {error}"))
}

/// Text of others for a terminal: what could steer it, or turn its text around, is spelled out.
pub(super) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let steers = c.is_control() && c != '\n' && c != '\t';
        let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
        if steers || turns {
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Vec<Bytes> {
        let mut all = Vec::new();
        read_lines(input, |lines| {
            all.extend(lines);
            true
        })
        .unwrap();
        all
    }

    #[test]
    fn lines_are_those_between_line_ends() {
        assert_eq!(lines(b"a\n\nb\r\nlast"), ["a", "", "b\r", "last"]);
        assert!(lines(b"").is_empty());
        assert_eq!(lines(b"\n"), [""]);
        let many = "line\n".repeat(100_000);
        assert_eq!(lines(many.as_bytes()).len(), 100_000);
    }

    #[test]
    fn a_line_of_the_limit_is_whole_and_a_longer_one_is_cut_past_it() {
        for (len, read) in
            [(CONTENT_MAX, CONTENT_MAX), (CONTENT_MAX + 1, CONTENT_MAX + 1), (1 << 20, CONTENT_MAX + 1)]
        {
            let mut input = vec![b'x'; len];
            input.extend_from_slice(b"\nnext\n");
            let lines = lines(&input);
            assert_eq!((lines.len(), lines[0].len(), &lines[1][..]), (2, read, &b"next"[..]));
        }
    }

    #[test]
    fn text_of_others_does_not_steer_a_terminal() {
        assert_eq!(harmless("a\tb\nüñ"), "a\tb\nüñ");
        assert_eq!(harmless("\x1b[2J\u{9b}\u{202e}\r"), "\\u{1b}[2J\\u{9b}\\u{202e}\\r");
    }
}
