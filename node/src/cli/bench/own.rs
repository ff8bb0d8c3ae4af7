//! What Linux tells of this very process, and of the loopback; and where a node in it listens.

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
