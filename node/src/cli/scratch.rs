//! What a run on one machine needs to disturb nobody and to leave nothing: a network of its own, a beacon port of
//! its own, a directory that goes when it is done, and a clock that all its processes share.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};

/// A directory that is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes one where the system keeps temporary files.
    pub(crate) fn new(purpose: &str) -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("djembe-{purpose}-{}", random_name()));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it now, and says whether that went well.
    pub(crate) fn remove(&self) -> std::io::Result<()> {
        std::fs::remove_dir_all(&self.path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Gone already after `remove`.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// A name nobody else has.
pub(crate) fn random_name() -> String {
    let random = getrandom::u64().unwrap_or_else(|_| monotonic_ns());
    format!("{}-{random:016x}", std::process::id())
}

/// A UDP port that is free now.
pub(crate) fn free_port() -> std::io::Result<u16> {
    Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Nanoseconds on a clock that all processes of this machine share.
pub(crate) fn monotonic_ns() -> u64 {
    nanoseconds(rustix::time::ClockId::Monotonic)
}

/// Processor time that this process has used, user and system, all threads, in nanoseconds.
pub(crate) fn cpu_ns() -> u64 {
    nanoseconds(rustix::time::ClockId::ProcessCPUTime)
}

fn nanoseconds(clock: rustix::time::ClockId) -> u64 {
    let now = rustix::time::clock_gettime(clock);
    let part = |n: i64| u64::try_from(n).unwrap_or_default();
    part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_directory_goes_with_its_owner() {
        let scratch = Scratch::new("test").unwrap();
        let path = scratch.path().to_owned();
        std::fs::write(path.join("file"), "text").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn clocks_go_forward() {
        let (wall, cpu) = (monotonic_ns(), cpu_ns());
        while cpu_ns() == cpu {}
        assert!(monotonic_ns() > wall);
    }
}
