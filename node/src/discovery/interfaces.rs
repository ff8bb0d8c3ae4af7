//! The host's network interfaces: read at once, and watched as they come and go.
//!
//! Reading is one synchronous system call of some 50 us (getifaddrs), so the first beacon need not wait for an
//! asynchronous enumeration. The watcher only says *that* something changed; then everything is read again,
//! because its events lack names, indices and flags.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::task::Poll;

use if_watch::tokio::IfWatcher;
use nix::net::if_::{InterfaceFlags, if_nametoindex};

use super::bounds::{INTERFACE_ADDRESSES_MAX, INTERFACES_MAX};

/// An interface that is up and has an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) index: u32,
    /// Whether the system sees a carrier: a cable, an access point.
    pub(super) carrier: bool,
    pub(super) loopback: bool,
    pub(super) v4: Vec<V4>,
    pub(super) v6: Vec<V6>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct V4 {
    pub(super) address: Ipv4Addr,
    pub(super) mask: Ipv4Addr,
    /// None where the link has no broadcast, such as a tunnel.
    pub(super) broadcast: Option<Ipv4Addr>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct V6 {
    pub(super) address: Ipv6Addr,
    pub(super) mask: Ipv6Addr,
}

impl Interface {
    /// Whether a neighbour on this interface would have this address.
    pub(super) fn reaches(&self, address: std::net::IpAddr) -> bool {
        match address {
            std::net::IpAddr::V4(ip) => self.v4.iter().any(|net| ip & net.mask == net.address & net.mask),
            std::net::IpAddr::V6(ip) => self.v6.iter().any(|net| ip & net.mask == net.address & net.mask),
        }
    }
}

/// The usable interfaces of this moment, in order of index; only those named in `wanted`, if it names any.
pub(super) fn snapshot(wanted: &[String]) -> io::Result<Vec<Interface>> {
    let mut found = BTreeMap::<u32, Interface>::new();
    for entry in nix::ifaddrs::getifaddrs()? {
        let name = entry.interface_name;
        if !entry.flags.contains(InterfaceFlags::IFF_UP) || !(wanted.is_empty() || wanted.contains(&name)) {
            continue;
        }
        // It may be gone since; then it is of no use either.
        let Ok(index) = if_nametoindex(name.as_str()) else {
            continue;
        };
        if !found.contains_key(&index) && found.len() >= INTERFACES_MAX {
            continue;
        }
        let Some(address) = entry.address else { continue };
        let loopback = entry.flags.contains(InterfaceFlags::IFF_LOOPBACK);
        let interface = || Interface {
            name,
            index,
            carrier: entry.flags.contains(InterfaceFlags::IFF_RUNNING),
            loopback,
            v4: Vec::new(),
            v6: Vec::new(),
        };
        if let Some(address) = address.as_sockaddr_in() {
            let v4 = &mut found.entry(index).or_insert_with(interface).v4;
            let mask = entry.netmask.and_then(|mask| mask.as_sockaddr_in().map(|mask| mask.ip()));
            let mask = mask.unwrap_or(Ipv4Addr::BROADCAST);
            let broadcast = if loopback {
                // The system routes it but does not name it.
                Some(address.ip() | !mask)
            } else if entry.flags.contains(InterfaceFlags::IFF_BROADCAST) {
                entry.broadcast.and_then(|broadcast| broadcast.as_sockaddr_in().map(|b| b.ip()))
            } else {
                None
            };
            let broadcast = broadcast.filter(|&broadcast| broadcast != address.ip());
            if v4.len() < INTERFACE_ADDRESSES_MAX {
                v4.push(V4 { address: address.ip(), mask, broadcast });
            }
        } else if let Some(address) = address.as_sockaddr_in6() {
            let v6 = &mut found.entry(index).or_insert_with(interface).v6;
            let mask = entry.netmask.and_then(|mask| mask.as_sockaddr_in6().map(|mask| mask.ip()));
            let mask = mask.unwrap_or(Ipv6Addr::from_bits(u128::MAX));
            if v6.len() < INTERFACE_ADDRESSES_MAX {
                v6.push(V6 { address: address.ip(), mask });
            }
        }
    }
    Ok(found.into_values().collect())
}

/// The names of all interfaces, those that are down or have no address as well.
pub(super) fn names() -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in nix::ifaddrs::getifaddrs()? {
        if !names.contains(&entry.interface_name) {
            names.push(entry.interface_name);
        }
    }
    Ok(names)
}

/// Says when to take a new [`snapshot`].
pub(super) struct Watcher(Option<IfWatcher>);

impl Watcher {
    /// Without a watcher (a sandbox may forbid it) interfaces are only read again from time to time.
    pub(super) fn new() -> Self {
        let watcher = IfWatcher::new();
        if let Err(error) = &watcher {
            tracing::debug!(%error, "interfaces cannot be watched");
        }
        Self(watcher.ok())
    }

    /// Returns after something changed. Cancel-safe: an event taken is answered within the same poll.
    pub(super) async fn changed(&mut self) {
        poll_fn(|context| {
            let Some(watcher) = &mut self.0 else {
                return Poll::Pending;
            };
            let mut any = false;
            loop {
                match watcher.poll_if_event(context) {
                    Poll::Ready(Ok(_)) => any = true,
                    Poll::Ready(Err(error)) => {
                        tracing::debug!(%error, "interfaces are no longer watched");
                        self.0 = None;
                        return Poll::Ready(());
                    }
                    Poll::Pending if any => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_an_interface_like_any_other() {
        let all = snapshot(&[]).expect("interfaces can be read");
        let lo = all.iter().find(|i| i.reaches([127, 0, 0, 1].into())).expect("a host has a loopback");
        assert!(lo.index > 0);
        assert!(lo.v4.iter().any(|v4| v4.broadcast == Some([127, 255, 255, 255].into())), "{lo:?}");
        assert!(!lo.reaches([10, 1, 2, 3].into()));
        assert_eq!(snapshot(std::slice::from_ref(&lo.name)).expect("again"), std::slice::from_ref(lo));
        assert_eq!(snapshot(&["no such interface".to_owned()]).expect("again"), []);
        let names = names().expect("again");
        assert!(all.iter().all(|i| names.iter().filter(|name| **name == i.name).count() == 1), "{names:?}");
    }

    #[tokio::test]
    async fn the_watcher_speaks_once_at_start_and_then_waits_for_changes() {
        let mut watcher = Watcher::new();
        let first = tokio::time::timeout(std::time::Duration::from_secs(20), watcher.changed()).await;
        assert!(first.is_ok() || watcher.0.is_none());
    }
}
