//! What Linux tells of this very process, and of the loopback.

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
