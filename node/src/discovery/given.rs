//! Peers given by the user: `--peer MULTIADDR`, with or without `/p2p/ID`, with an address or a name.
//!
//! Names are looked up again before each report, because a name may come to life later or move. An address
//! without a peer id is reported without one, until the driver says who answered there.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::{Duration, Instant};

use djembe_protocol::id::PeerId;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use tokio::task::JoinSet;

use super::bounds::{BACKOFF_MAX, BACKOFF_MIN, GIVEN_MAX, LOOKUP_MAX, LOOKUP_PATIENCE};
use super::jitter::Jitter;

/// An address to dial, as the user gave it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Given {
    host: Host,
    transport: Transport,
    peer: Option<PeerId>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Host {
    Ip(IpAddr),
    Name { name: String, family: Family },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Family {
    Any,
    V4,
    V6,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Transport {
    Tcp(u16),
    Quic(u16),
}

/// Why an address cannot be dialled. The message shows one that can.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum GivenError {
    /// Address and port in the common form.
    #[error("\"{given}\" is not a multiaddress; write {suggestion}")]
    SocketAddress {
        /// What the user wrote.
        given: String,
        /// The same as a multiaddress.
        suggestion: String,
    },
    /// Anything else that is not a multiaddress.
    #[error("\"{0}\" is not a multiaddress; {EXAMPLE}")]
    NotMultiaddr(String),
    /// A multiaddress that does not begin with a host.
    #[error("\"{0}\" does not begin with /ip4, /ip6, /dns, /dns4 or /dns6; {EXAMPLE}")]
    Host(String),
    /// A host without a transport that is spoken here.
    #[error("\"{0}\" does not go on with /tcp/PORT or /udp/PORT/quic-v1; {EXAMPLE}")]
    Transport(String),
    /// Something after the transport that is not a peer id of ours.
    #[error("\"{0}\" does not end with /p2p/12D3KooW..., the id that `djembe id` prints; {EXAMPLE}")]
    Peer(String),
}

const EXAMPLE: &str = "an example is /ip4/192.168.1.20/tcp/24365 or /dns/host.example/udp/24365/quic-v1";

impl FromStr for Given {
    type Err = GivenError;

    fn from_str(text: &str) -> Result<Self, GivenError> {
        let text = text.trim();
        let Ok(address) = text.parse::<Multiaddr>() else {
            return Err(not_multiaddr(text));
        };
        let mut parts = address.iter();
        let name = |name: &str, family| Host::Name { name: name.to_owned(), family };
        let host = match parts.next() {
            Some(Protocol::Ip4(ip)) => Host::Ip(ip.into()),
            Some(Protocol::Ip6(ip)) => Host::Ip(ip.into()),
            Some(Protocol::Dns(host)) => name(&host, Family::Any),
            Some(Protocol::Dns4(host)) => name(&host, Family::V4),
            Some(Protocol::Dns6(host)) => name(&host, Family::V6),
            _ => return Err(GivenError::Host(text.to_owned())),
        };
        let transport = match parts.next() {
            Some(Protocol::Tcp(port)) if port != 0 => Transport::Tcp(port),
            Some(Protocol::Udp(port)) if port != 0 && parts.next() == Some(Protocol::QuicV1) => {
                Transport::Quic(port)
            }
            _ => return Err(GivenError::Transport(text.to_owned())),
        };
        let peer = match (parts.next(), parts.next()) {
            (None, None) => None,
            (Some(Protocol::P2p(peer)), None) => {
                Some(super::from_libp2p(&peer).ok_or_else(|| GivenError::Peer(text.to_owned()))?)
            }
            _ => return Err(GivenError::Peer(text.to_owned())),
        };
        Ok(Self { host, transport, peer })
    }
}

/// Most people try `address:port` first; they are shown their own address in the right form.
fn not_multiaddr(text: &str) -> GivenError {
    let suggestion = match text.parse::<SocketAddr>() {
        Ok(SocketAddr::V4(v4)) => Some(format!("/ip4/{}/tcp/{}", v4.ip(), v4.port())),
        Ok(SocketAddr::V6(v6)) => Some(format!("/ip6/{}/tcp/{}", v6.ip(), v6.port())),
        Err(_) => text.rsplit_once(':').and_then(|(name, port)| {
            let is_name =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
            (is_name && port.parse::<u16>().is_ok()).then(|| format!("/dns/{name}/tcp/{port}"))
        }),
    };
    match suggestion {
        Some(suggestion) => GivenError::SocketAddress { given: text.to_owned(), suggestion },
        None => GivenError::NotMultiaddr(text.to_owned()),
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V4(ip)) => write!(f, "/ip4/{ip}")?,
            Host::Ip(IpAddr::V6(ip)) => write!(f, "/ip6/{ip}")?,
            Host::Name { name, family: Family::Any } => write!(f, "/dns/{name}")?,
            Host::Name { name, family: Family::V4 } => write!(f, "/dns4/{name}")?,
            Host::Name { name, family: Family::V6 } => write!(f, "/dns6/{name}")?,
        }
        match self.transport {
            Transport::Tcp(port) => write!(f, "/tcp/{port}")?,
            Transport::Quic(port) => write!(f, "/udp/{port}/quic-v1")?,
        }
        self.peer.map_or(Ok(()), |peer| write!(f, "/p2p/{peer}"))
    }
}

impl Given {
    fn at(&self, ip: IpAddr) -> Multiaddr {
        match self.transport {
            Transport::Tcp(port) => Multiaddr::from(ip).with(Protocol::Tcp(port)),
            Transport::Quic(port) => Multiaddr::from(ip).with(Protocol::Udp(port)).with(Protocol::QuicV1),
        }
    }
}

/// The peers given, and the look-ups under way for them.
#[derive(Debug)]
pub(super) struct GivenPeers {
    entries: Vec<Entry>,
    lookups: JoinSet<(usize, io::Result<Vec<IpAddr>>)>,
    jitter: Jitter,
}

#[derive(Debug)]
struct Entry {
    given: Given,
    /// Who answered there last, if the user did not say who it would be.
    answered: Option<PeerId>,
    /// None while a look-up is under way.
    due: Option<Instant>,
    backoff: Duration,
    addresses: Vec<Multiaddr>,
    /// Why its name could not be looked up.
    error: Option<String>,
    /// How the last dial ended.
    failed: Option<String>,
}

/// A given peer whose addresses are known now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Resolved {
    pub(super) peer: Option<PeerId>,
    pub(super) addresses: Vec<Multiaddr>,
}

impl GivenPeers {
    pub(super) fn new(now: Instant, given: Vec<Given>, jitter: Jitter) -> Self {
        let entry = |given| Entry {
            given,
            answered: None,
            due: Some(now),
            backoff: BACKOFF_MIN,
            addresses: Vec::new(),
            error: None,
            failed: None,
        };
        let entries = given.into_iter().take(GIVEN_MAX).map(entry).collect();
        Self { entries, lookups: JoinSet::new(), jitter }
    }

    /// `peer` answered at `address`. Returns whether the user gave that without saying who it would be.
    pub(super) fn answered(&mut self, address: &Multiaddr, peer: PeerId) -> bool {
        let mut is_given = false;
        let nameless = self.entries.iter_mut().filter(|entry| entry.given.peer.is_none());
        for entry in nameless.filter(|entry| entry.addresses.contains(address)) {
            entry.answered = Some(peer);
            is_given = true;
        }
        is_given
    }

    /// No link came of a dial.
    pub(super) fn failed(&mut self, peer: Option<PeerId>, addresses: &[Multiaddr], error: &str) {
        for entry in &mut self.entries {
            let is_meant = entry.addresses.iter().any(|address| addresses.contains(address));
            if (peer.is_some() && entry.who() == peer) || (peer.is_none() && is_meant) {
                // Somebody else may be there by now.
                entry.answered = None;
                // The user knows the address.
                let own =
                    entry.addresses.first().and_then(|address| error.strip_prefix(&format!("{address}: ")));
                entry.failed = Some(own.unwrap_or(error).to_owned());
            }
        }
    }

    /// The link to the peer is gone: its addresses are due again.
    pub(super) fn unlinked(&mut self, now: Instant, peer: PeerId) {
        for entry in self.entries.iter_mut().filter(|entry| entry.who() == Some(peer)) {
            entry.backoff = BACKOFF_MIN;
            entry.failed = None;
            if entry.due.is_some() {
                entry.due = Some(now + BACKOFF_MIN);
            }
        }
    }

    /// When to call [`GivenPeers::poll`].
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.entries.iter().filter_map(|entry| entry.due).min()
    }

    /// The next peer that is due and is at an address; those with names are sent to the resolver instead.
    pub(super) fn poll(&mut self, now: Instant, is_linked: impl Fn(PeerId) -> bool) -> Option<Resolved> {
        for index in 0..self.entries.len() {
            let entry = &mut self.entries[index];
            if entry.due.is_none_or(|due| now < due) {
                continue;
            }
            if entry.who().is_some_and(&is_linked) {
                entry.due = Some(now + BACKOFF_MAX);
                continue;
            }
            match &entry.given.host {
                Host::Ip(ip) => {
                    let address = entry.given.at(*ip);
                    return Some(self.on_addresses(now, index, vec![address]));
                }
                Host::Name { name, family } => {
                    entry.due = None;
                    let (name, family) = (name.clone(), *family);
                    self.lookups.spawn(async move { (index, look_up(name, family).await) });
                }
            }
        }
        None
    }

    /// The next look-up to end; pending while none is under way. Cancel-safe.
    pub(super) async fn looked_up(&mut self) -> Option<Resolved> {
        let (index, result) = match self.lookups.join_next().await {
            Some(Ok(done)) => done,
            // Only a runtime that shuts down aborts a look-up.
            Some(Err(_)) => return None,
            None => std::future::pending().await,
        };
        let now = Instant::now();
        match result {
            Ok(ips) => {
                let addresses = ips.into_iter().map(|ip| self.entries[index].given.at(ip)).collect();
                Some(self.on_addresses(now, index, addresses))
            }
            Err(error) => {
                let pause = self.next_pause(index);
                let entry = &mut self.entries[index];
                entry.error = Some(error.to_string());
                entry.due = Some(now + pause);
                None
            }
        }
    }

    /// What the user gave, and why it could not be looked up or dialled.
    pub(super) fn report(&self) -> impl Iterator<Item = (&Given, Option<PeerId>, Option<&str>)> {
        self.entries
            .iter()
            .map(|entry| (&entry.given, entry.who(), entry.error.as_deref().or(entry.failed.as_deref())))
    }

    fn on_addresses(&mut self, now: Instant, index: usize, addresses: Vec<Multiaddr>) -> Resolved {
        let pause = self.next_pause(index);
        let entry = &mut self.entries[index];
        entry.error = None;
        entry.due = Some(now + pause);
        entry.addresses.clone_from(&addresses);
        // Of a peer whose name is known by now it is the engine that says whether a link is wanted: in a large network
        // the one that everybody was given would else be dialled by everybody for ever.
        Resolved { peer: entry.who(), addresses }
    }

    fn next_pause(&mut self, index: usize) -> Duration {
        let entry = &mut self.entries[index];
        let pause = entry.backoff.mul_f64(0.75 + 0.5 * self.jitter.unit());
        entry.backoff = (entry.backoff * 2).min(BACKOFF_MAX);
        pause
    }
}

impl Entry {
    fn who(&self) -> Option<PeerId> {
        self.given.peer.or(self.answered)
    }
}

async fn look_up(name: String, family: Family) -> io::Result<Vec<IpAddr>> {
    let found = tokio::time::timeout(LOOKUP_PATIENCE, tokio::net::lookup_host((name.as_str(), 0))).await;
    let found =
        found.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the resolver does not answer"))??;
    let mut ips: Vec<IpAddr> = found
        .map(|address| address.ip())
        .filter(|ip| match family {
            Family::Any => true,
            Family::V4 => ip.is_ipv4(),
            Family::V6 => ip.is_ipv6(),
        })
        .collect();
    ips.dedup();
    ips.truncate(LOOKUP_MAX);
    if ips.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address of this family"));
    }
    Ok(ips)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Signer;
    use super::*;

    fn given(text: &str) -> Given {
        text.parse().expect("a good address")
    }

    fn peers(text: &str, now: Instant) -> GivenPeers {
        GivenPeers::new(now, vec![given(text)], Jitter::seeded(1))
    }

    #[test]
    fn good_addresses_print_as_they_were_given() {
        let id = Signer::numbered(1).peer();
        for text in [
            "/ip4/192.168.1.20/tcp/24365",
            "/ip6/fd00::1/udp/24365/quic-v1",
            "/dns4/host.example/tcp/1",
            &format!("/dns/host/udp/9/quic-v1/p2p/{id}"),
        ] {
            assert_eq!(given(text).to_string(), text);
        }
    }

    #[test]
    fn a_bad_address_is_answered_with_a_good_one() {
        let message = |text: &str| text.parse::<Given>().expect_err("a bad address").to_string();
        assert_eq!(
            message("192.168.1.20:4000"),
            "\"192.168.1.20:4000\" is not a multiaddress; write /ip4/192.168.1.20/tcp/4000"
        );
        assert_eq!(
            message("[fd00::1]:40"),
            "\"[fd00::1]:40\" is not a multiaddress; write /ip6/fd00::1/tcp/40"
        );
        assert_eq!(message("host:40"), "\"host:40\" is not a multiaddress; write /dns/host/tcp/40");
        for bad in [
            "",
            "host",
            "http://host:1",
            "/tcp/1",
            "/ip4/1.2.3.4",
            "/ip4/1.2.3.4/udp/1",
            "/ip4/1.2.3.4/tcp/0",
            "/ip4/1.2.3.4/tcp/1/ws",
            "/ip4/1.2.3.4/tcp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        ] {
            assert!(message(bad).contains("an example is /ip4/192.168.1.20/tcp/24365"), "{}", message(bad));
        }
        EXAMPLE.split(' ').filter(|word| word.starts_with('/')).for_each(|word| drop(given(word)));
    }

    #[test]
    fn an_address_is_due_at_once_and_again_until_its_peer_is_linked() {
        let now = Instant::now();
        let mut peers = peers("/ip4/10.0.0.1/tcp/1", now);
        let found = peers.poll(now, |_| false).expect("due");
        assert_eq!(found.peer, None);
        let again = peers.next_deadline().expect("due again");
        let found = peers.poll(again, |_| false).expect("due");
        let who = Signer::numbered(1).peer();
        assert!(!peers.answered(&"/ip4/10.0.0.1/tcp/2".parse().expect("an address"), who));
        assert!(peers.answered(&found.addresses[0], who));
        let later = peers.next_deadline().expect("looked at again");
        assert_eq!(peers.poll(later, |peer| peer == who), None);
        peers.unlinked(later, who);
        let again = later + BACKOFF_MIN;
        assert_eq!(peers.next_deadline(), Some(again));
        let found = peers.poll(again, |_| false).expect("due");
        assert_eq!(found.peer, Some(who), "for the engine to decide");
        peers.failed(Some(who), &found.addresses, "somebody else is there");
        let again = peers.next_deadline().expect("due again");
        assert_eq!(peers.poll(again, |_| false).expect("due").peer, None);
    }

    #[test]
    fn why_a_dial_failed_is_kept_until_the_next_says_otherwise() {
        let now = Instant::now();
        let mut peers = peers("/ip4/10.0.0.1/tcp/1", now);
        let found = peers.poll(now, |_| false).expect("due");
        let other = ["/ip4/10.0.0.2/tcp/1".parse().expect("an address")];
        peers.failed(None, &other, "something else");
        assert!(peers.report().all(|(_, _, error)| error.is_none()));
        peers.failed(None, &found.addresses, "/ip4/10.0.0.1/tcp/1: Connection refused");
        let again = peers.next_deadline().expect("due again");
        assert!(peers.poll(again, |_| false).is_some());
        assert!(peers.report().all(|(_, _, error)| error == Some("Connection refused")));
    }

    #[tokio::test]
    async fn a_name_is_looked_up() {
        let mut peers = peers("/dns4/localhost/tcp/7", Instant::now());
        assert_eq!(peers.poll(Instant::now(), |_| false), None);
        let found = peers.looked_up().await.expect("localhost resolves");
        assert_eq!(found.addresses, ["/ip4/127.0.0.1/tcp/7".parse().expect("an address")]);
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_told_and_tried_again() {
        let mut peers = peers("/dns/name.invalid/tcp/7", Instant::now());
        assert_eq!(peers.poll(Instant::now(), |_| false), None);
        assert_eq!(peers.next_deadline(), None);
        assert_eq!(peers.looked_up().await, None);
        assert!(peers.report().all(|(_, _, error)| error.is_some()));
        assert!(peers.next_deadline().is_some());
    }
}
