//! The cache of known peers: one address with its peer per line, newest first, in a text file.
//!
//! It speeds up the next start where neither beacon nor mDNS gets through. Nothing in it is trusted: a line
//! that cannot be read is passed over, and an address only proves itself by the handshake.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use djembe_protocol::id::PeerId;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use super::bounds::{CACHE_ADDRESSES_MAX, CACHE_BYTES_MAX, CACHE_DELAY, CACHE_LINES_MAX};

/// The cache of one node.
#[derive(Debug)]
pub(super) struct Cache {
    path: PathBuf,
    /// Newest first.
    lines: Vec<(PeerId, Multiaddr)>,
    /// When to write, if something changed.
    due: Option<Instant>,
    pub(super) error: Option<String>,
}

impl Cache {
    /// Reads the file; one that is missing or unreadable is an empty cache.
    pub(super) fn load(path: PathBuf) -> Self {
        let mut text = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(CACHE_BYTES_MAX).read_to_end(&mut text));
        let error = read.err().filter(|e| e.kind() != io::ErrorKind::NotFound).map(|e| e.to_string());
        let mut lines = Vec::<(PeerId, Multiaddr)>::new();
        for line in String::from_utf8_lossy(&text).lines().filter_map(parse) {
            let n_same = lines.iter().filter(|&&(peer, _)| peer == line.0).count();
            if n_same < CACHE_ADDRESSES_MAX && lines.len() < CACHE_LINES_MAX && !lines.contains(&line) {
                lines.push(line);
            }
        }
        Self { path, lines, due: None, error }
    }

    pub(super) fn lines(&self) -> &[(PeerId, Multiaddr)] {
        &self.lines
    }

    /// A link to the peer stands, and it is known at these addresses, the best first; what was known is replaced.
    pub(super) fn record(&mut self, now: Instant, peer: PeerId, addresses: Vec<Multiaddr>) {
        if addresses.is_empty() {
            return;
        }
        self.lines.retain(|&(other, _)| other != peer);
        self.lines
            .splice(0..0, addresses.into_iter().take(CACHE_ADDRESSES_MAX).map(|address| (peer, address)));
        self.lines.truncate(CACHE_LINES_MAX);
        self.due.get_or_insert(now + CACHE_DELAY);
    }

    /// When to call [`Cache::poll`].
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Writes the file if that is due. A failure is kept as text and tried again with the next change.
    pub(super) fn poll(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.flush();
        }
    }

    /// Writes what has not been written yet.
    pub(super) fn flush(&mut self) {
        if self.due.take().is_some() {
            let text: String =
                self.lines.iter().map(|(peer, address)| format!("{address}/p2p/{peer}\n")).collect();
            self.error = write_private(&self.path, text.as_bytes()).err().map(|error| error.to_string());
            if let Some(error) = &self.error {
                tracing::warn!(path = %self.path.display(), error, "known peers cannot be saved");
            }
        }
    }
}

fn parse(line: &str) -> Option<(PeerId, Multiaddr)> {
    let mut address: Multiaddr = line.trim().parse().ok()?;
    let Some(Protocol::P2p(peer)) = address.pop() else {
        return None;
    };
    let has_host = matches!(address.iter().next(), Some(Protocol::Ip4(_) | Protocol::Ip6(_)));
    has_host.then_some((super::from_libp2p(&peer)?, address))
}

/// Replaces the file as a whole, readable by its owner only.
///
/// To be replaced by `datadir::write_private`. The file is not synced to the disk: a cache that a power cut
/// takes away is no loss, and the driver must not wait for a disk.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&new)?.write_all(bytes)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Signer, scratch};
    use super::*;

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/10.0.0.1/tcp/{port}").parse().expect("an address")
    }

    fn peer(n: u16) -> PeerId {
        Signer::numbered(n).peer()
    }

    #[test]
    fn comes_back_newest_first() {
        let dir = scratch("cache-order");
        let path = dir.join("peers");
        let now = Instant::now();
        let mut cache = Cache::load(path.clone());
        assert_eq!((cache.lines().len(), &cache.error), (0, &None), "a missing file is no error");
        cache.record(now, peer(1), vec![address(1), address(11)]);
        cache.record(now, peer(2), vec![address(2)]);
        cache.record(now, peer(1), vec![address(3)]);
        cache.poll(now);
        assert!(!path.exists(), "changes are gathered");
        cache.poll(cache.next_deadline().expect("something to write"));
        assert_eq!(cache.next_deadline(), None);
        let expected = [(peer(1), address(3)), (peer(2), address(2))];
        assert_eq!(Cache::load(path).lines(), expected);
    }

    #[test]
    fn garbage_is_passed_over() {
        let dir = scratch("cache-garbage");
        let path = dir.join("peers");
        let good = format!("{}/p2p/{}", address(1), peer(1));
        let mut text = format!("\u{0}nonsense\n\n/ip4/1.2.3.4/tcp/1\n/p2p/{}\n  {good} \n/ip4/1.2", peer(2));
        text.push('\n');
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&[0xff, 0xfe, b'\n']);
        fs::write(&path, bytes).expect("written");
        assert_eq!(Cache::load(path).lines(), [(peer(1), address(1))]);
    }

    #[test]
    fn only_so_many_lines_are_read_and_written() {
        let dir = scratch("cache-bound");
        let path = dir.join("peers");
        let now = Instant::now();
        let mut cache = Cache::load(path.clone());
        for n in 0..CACHE_LINES_MAX as u16 + 1 {
            cache.record(now, peer(n), vec![address(n)]);
        }
        cache.flush();
        assert_eq!(fs::read_to_string(&path).expect("written").lines().count(), CACHE_LINES_MAX);
        let mut text = fs::read_to_string(&path).expect("written");
        (1000..1100).for_each(|n| text += &format!("{}/p2p/{}\n", address(n), peer(n)));
        fs::write(&path, text).expect("written");
        assert_eq!(Cache::load(path).lines().len(), CACHE_LINES_MAX);
    }

    #[test]
    fn only_so_many_addresses_of_one_peer_are_read_and_kept() {
        let dir = scratch("cache-peer-bound");
        let path = dir.join("peers");
        let all = |ports: std::ops::Range<u16>| ports.map(|n| (peer(1), address(n))).collect::<Vec<_>>();
        let text: String = (1..20).map(|n| format!("{}/p2p/{}\n", address(n), peer(1))).collect();
        fs::write(&path, text).expect("written");
        let mut cache = Cache::load(path);
        assert_eq!(cache.lines(), all(1..1 + CACHE_ADDRESSES_MAX as u16));
        cache.record(Instant::now(), peer(1), (21..40).map(address).collect());
        assert_eq!(cache.lines(), all(21..21 + CACHE_ADDRESSES_MAX as u16));
    }

    #[test]
    fn a_cache_that_cannot_be_written_says_why_and_does_no_harm() {
        let dir = scratch("cache-unwritable");
        let path = dir.join("missing directory").join("peers");
        let mut cache = Cache::load(path);
        cache.record(Instant::now(), peer(1), vec![address(1)]);
        cache.flush();
        assert!(cache.error.is_some());
    }

    #[cfg(unix)]
    #[test]
    fn others_may_not_read_whom_one_knows() {
        use std::os::unix::fs::PermissionsExt;
        let dir = scratch("cache-mode");
        let path = dir.join("peers");
        let mut cache = Cache::load(path.clone());
        cache.record(Instant::now(), peer(1), vec![address(1)]);
        cache.flush();
        assert_eq!(fs::metadata(&path).expect("written").permissions().mode() & 0o777, 0o600);
    }
}
