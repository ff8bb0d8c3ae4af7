//! What Linux tells of this very process, and of the loopback; and a node in it, and where that listens.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{Node, NodeError};

/// For a socket to listen.
const LISTEN_MAX: Duration = Duration::from_secs(5);

/// The lines of `/proc/self/status`; empty elsewhere.
pub(super) struct Own(String);

impl Own {
    pub(super) fn read() -> Self {
        Self(std::fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    /// A count, or kibibytes, by its name there.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        let value = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.trim().trim_end_matches(" kB").parse().ok()
    }
}

/// What was received on the loopback since the machine started, which is what was sent; whoever sent it.
pub(super) fn loopback_bytes() -> Option<u64> {
    let devices = std::fs::read_to_string("/proc/net/dev").ok()?;
    let counts = devices.lines().find_map(|line| line.trim().strip_prefix("lo:"))?;
    counts.split_whitespace().next()?.parse().ok()
}

/// A node that looks for nobody but the peer it is given, on the loopback; without a directory nothing is kept on disk.
pub(super) async fn spawn(
    network: &str,
    data_dir: Option<&Path>,
    peer: Option<&str>,
) -> Result<Node, NodeError> {
    let mut builder = Node::builder().network(network).listen("/ip4/127.0.0.1/tcp/0").discovery(false);
    builder = match data_dir {
        Some(path) => builder.data_dir(path),
        None => builder.in_memory(),
    };
    if let Some(peer) = peer {
        builder = builder.peer(peer);
    }
    builder.spawn().await
}

/// Where a node listens; nothing if it does not within [`LISTEN_MAX`].
pub(super) async fn listening(node: &Node) -> Result<Vec<String>, NodeError> {
    let deadline = Instant::now() + LISTEN_MAX;
    loop {
        let listen = node.status().await?.listen;
        if !listen.is_empty() || Instant::now() > deadline {
            return Ok(listen);
        }
        sleep(Duration::from_millis(5)).await;
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn memory_and_threads_are_told() {
        let own = Own::read();
        assert!(own.number("VmRSS") > Some(0) && own.number("Threads") > Some(0));
        assert_eq!(own.number("Vm"), None);
    }
}
