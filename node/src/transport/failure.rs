//! What an error of libp2p means to us. It arrives wrapped several times over; the cause is at the bottom.

use std::error::Error;
use std::io;

use libp2p::core::transport::TransportError;
use libp2p::swarm::{ConnectionError, DialError, ListenError};

use super::behaviour::ForeignIdentity;
use super::guard::Refused;
use super::{Cause, is_loopback};

/// Why a connection that stood has ended. No error: this side closed it, because a stream had ended.
pub(super) fn cause_of_end(error: Option<&ConnectionError>) -> Cause {
    match error {
        None => Cause::Closed,
        Some(ConnectionError::IO(error)) => cause_of_io(error),
        Some(error @ ConnectionError::KeepAliveTimeout) => Cause::Failed(error.to_string()),
    }
}

fn cause_of_io(error: &io::Error) -> Cause {
    use io::ErrorKind as Kind;
    match root_kind(error) {
        Some(Kind::ConnectionReset | Kind::BrokenPipe | Kind::ConnectionAborted) => Cause::Reset,
        Some(Kind::UnexpectedEof | Kind::WriteZero | Kind::NotConnected) => Cause::Closed,
        Some(Kind::TimedOut) => Cause::TimedOut,
        // What Noise cannot decrypt, what is no Yamux frame, and what the gate has had enough of.
        Some(Kind::InvalidData) => Cause::Protocol("garbage"),
        Some(_) => Cause::Failed(root_text(error)),
        // QUIC's errors come without a type that we could name; these are quinn's words for them.
        None => match root_text(error) {
            text if text.contains("closed by peer") || text.contains("aborted by peer") => Cause::Closed,
            text if text.contains("reset by peer") => Cause::Reset,
            text if text.contains("timed out") => Cause::TimedOut,
            text => Cause::Failed(text),
        },
    }
}

/// Whether somebody's system said that nobody listens: the process is dead. An address of our own host proves
/// nothing about a peer that is also known by others, unless all of its addresses say the same.
pub(super) fn is_refused(error: &DialError) -> bool {
    let DialError::Transport(errors) = error else {
        return false;
    };
    let is_refused = |error: &TransportError<io::Error>| match error {
        TransportError::Other(error) => root_kind(error) == Some(io::ErrorKind::ConnectionRefused),
        TransportError::MultiaddrNotSupported(_) => false,
    };
    let mut refused = errors.iter().filter(|(_, error)| is_refused(error)).peekable();
    refused.peek().is_some()
        && (errors.iter().all(|(_, error)| is_refused(error))
            || refused.any(|(address, _)| !is_loopback(address)))
}

/// Why a connection of somebody else was not let in: a word for `status`.
pub(super) fn cause_of_refusal(error: &ListenError) -> &'static str {
    match error {
        ListenError::Denied { cause } => match cause.downcast_ref::<Refused>() {
            Some(Refused(cause)) => cause,
            None if cause.downcast_ref::<ForeignIdentity>().is_some() => "identity-not-ed25519",
            None => "too-many-links",
        },
        ListenError::Transport(TransportError::Other(error)) if is_late(&root_text(error)) => {
            "handshake-too-slow"
        }
        ListenError::Transport(_) | ListenError::Aborted | ListenError::WrongPeerId { .. } => {
            "handshake-failed"
        }
        ListenError::LocalPeerId { .. } => "own-identity",
    }
}

/// libp2p's and quinn's words for it; neither has a type that we could name.
fn is_late(text: &str) -> bool {
    text.contains("Timeout") || text.contains("timed out")
}

/// A dial's error in a line for people.
pub(super) fn dial_text(error: &DialError) -> String {
    match error {
        DialError::Transport(errors) => {
            let texts: Vec<_> = errors
                .iter()
                .map(|(address, error)| match error {
                    TransportError::Other(error) => format!("{address}: {}", root_text(error)),
                    TransportError::MultiaddrNotSupported(_) => {
                        format!("{address}: not an address we can dial")
                    }
                })
                .collect();
            texts.join("; ")
        }
        DialError::WrongPeerId { obtained, address } => {
            format!("{address}: somebody else is there, {obtained}")
        }
        DialError::LocalPeerId { address } => format!("{address}: that is this node"),
        DialError::Denied { cause } => root_text(cause),
        DialError::NoAddresses => "no address to dial".to_owned(),
        other => other.to_string(),
    }
}

/// An error of a socket, in a wrapper that shows it as its source: libp2p's own wrappers show the source of what
/// they wrap, and a bare I/O error would be skipped.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Socket(#[source] pub(super) io::Error);

/// The same for QUIC, whose error is a wrapper of that sort.
#[cfg(feature = "quic")]
pub(super) fn of_quic(error: libp2p::quic::Error) -> io::Error {
    match error {
        libp2p::quic::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

/// The kind of the innermost I/O error that is one of the operating system, or was made from a kind.
pub(super) fn root_kind(error: &io::Error) -> Option<io::ErrorKind> {
    let mut kind = None;
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        next = error.source();
        if let Some(error) = error.downcast_ref::<io::Error>() {
            if let Some(inner) = error.get_ref() {
                next = Some(inner);
            }
            if error.kind() != io::ErrorKind::Other {
                kind = Some(error.kind());
            }
        }
    }
    kind
}

/// The innermost message: the others only say that it was on the way.
fn root_text(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    loop {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        match inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source()) {
            Some(inner) => error = inner,
            None => return error.to_string(),
        }
    }
}
