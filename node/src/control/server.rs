//! The socket `node.sock` in a data directory: who holds the directory's lock serves it.
//!
//! Only the user who runs the node, and root, get in: the file is 0600 before it has its name, and the system says
//! who is at the other end.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::handler::{self, WeakNode};
use super::protocol::{Refused, Reply, Response};
use super::wire;
use crate::node::Node;

/// Connections at one time.
const CONNECTIONS_MAX: usize = 64;
/// Answers written at once.
const BATCH: usize = 256;
/// A client that takes nothing for so long is closed, so that it holds nothing for ever.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);

/// A socket that is served until this value is dropped. Drop it before the lock of the directory is let go.
#[derive(Debug)]
pub(crate) struct Server {
    path: PathBuf,
    task: AbortHandle,
}

impl Server {
    /// Serves `path`, replacing what a former node has left there.
    pub(crate) fn bind(path: &Path, node: WeakNode) -> io::Result<Self> {
        let mut hidden = path.as_os_str().to_owned();
        hidden.push(".new");
        let hidden = PathBuf::from(hidden);
        remove(&hidden)?;
        let listener = at(&hidden, |short| UnixListener::bind(short))?;
        std::fs::set_permissions(&hidden, PermissionsExt::from_mode(0o600))?;
        // Takes the place of a stale socket in one step.
        std::fs::rename(&hidden, path)?;
        let task = tokio::spawn(accept(listener, node)).abort_handle();
        Ok(Self { path: path.to_owned(), task })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = remove(&self.path);
        // Its connections end with it.
        self.task.abort();
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A socket's path has at most some hundred bytes: on Linux a longer one is reached through its directory's
/// descriptor.
pub(super) fn at<T>(path: &Path, then: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    const SAFE: usize = 100;
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if cfg!(target_os = "linux") && path.as_os_str().len() > SAFE => {
            use std::os::fd::AsRawFd;
            let directory = std::fs::File::open(parent)?;
            then(&Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name))
        }
        _ => then(path),
    }
}

async fn accept(listener: UnixListener, node: WeakNode) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) if is_ours(&stream) => {
                let Some(node) = node.upgrade() else { return };
                let is_full = connections.len() >= CONNECTIONS_MAX;
                connections.spawn(async move {
                    let ended = if is_full { refuse(stream).await } else { serve(stream, node).await };
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a client of the local socket");
                    }
                });
            }
            Ok(_) => tracing::warn!("another user tried the local socket"),
            Err(error) => {
                // Out of descriptors, for instance: later there may be some.
                tracing::warn!(%error, "the local socket");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

fn is_ours(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn refuse(mut stream: UnixStream) -> io::Result<()> {
    let message = format!("the node serves {CONNECTIONS_MAX} connections already: end some and try again");
    let mut line = Vec::new();
    wire::write_response(
        Response { re: 0, reply: Reply::Error(Refused::new("too-many", message)) },
        &mut line,
    );
    stream.write_all(&line).await
}

async fn serve(stream: UnixStream, node: Node) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let (requests, requests_out) = mpsc::channel(handler::REQUESTS);
    let (replies, mut replies_out) = mpsc::channel(handler::REPLIES);
    let hello = Response { re: 0, reply: Reply::Hello(handler::hello(&node)) };

    let read = {
        let replies = replies.clone();
        async move {
            let mut reader = BufReader::with_capacity(64 * 1024, reader);
            let mut line = Vec::new();
            loop {
                let refused = match wire::read_line(&mut reader, &mut line, wire::REQUEST_MAX).await {
                    Ok(false) => return,
                    Ok(true) => match wire::read_request(&line) {
                        Ok(request) => match requests.send(request).await {
                            Ok(()) => continue,
                            Err(_) => return,
                        },
                        Err(refused) => refused,
                    },
                    Err(error) => (0, Refused::new("too-long", error.to_string())),
                };
                let (re, refused) = refused;
                let is_last = refused.code == "too-long";
                if replies.send(Response { re, reply: Reply::Error(refused) }).await.is_err() || is_last {
                    return;
                }
            }
        }
    };
    let write = async move {
        let mut bytes = Vec::new();
        wire::write_response(hello, &mut bytes);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::time::timeout(WRITE_PATIENCE, writer.write_all(&bytes)).await??;
            bytes.clear();
            // Zero once the handler and the reader have ended: then everything is written.
            if replies_out.recv_many(&mut batch, BATCH).await == 0 {
                return Ok(());
            }
            batch.drain(..).for_each(|response| wire::write_response(response, &mut bytes));
        }
    };
    let handle = async move {
        // The client has closed its side: what was asked is answered, and no stream goes on.
        tokio::join!(read, handler::serve(node, requests_out, replies));
    };
    // A client that cannot be written to ends the rest.
    tokio::pin!(handle, write);
    tokio::select! {
        () = &mut handle => write.await,
        written = &mut write => written,
    }
}
