//! Finding peers: beacons on the LAN, mDNS, addresses given by the user, and a cache, merged into one stream.
//!
//! The driver owns a [`Discovery`], awaits [`Discovery::next_event`] in its select loop, and tells it what
//! became of the peers it reported ([`Discovery::linked`] and others). Until a link stands, a peer is reported
//! again with growing pauses, as long as its source vouches for it. Nothing reported is proven: beacons prove
//! who signed them but not where they are, and only the handshake of a connection does.
//!
//! To be fast, the first beacon is sent inside [`Discovery::listening`], synchronously, on all interfaces that
//! exist then; a node without a link asks by its beacons to be dialled, and whoever hears that dials at once.
//!
//! There is no task and no lock here, and no dialling. Neighbours telling neighbours is the overlay's job.

mod beacon;
mod bounds;
mod cache;
mod candidates;
mod given;
mod interfaces;
mod jitter;
mod listener;
pub(crate) mod mdns;
mod pace;
mod report;
mod sockets;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use djembe_protocol::id::PeerId;
use djembe_protocol::wire::beacon::{Beacon, Kind, Ports};
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use self::beacon::{Beacons, dialable};
use self::bounds::{CACHE_VOUCH, GIVEN_VOUCH, PORT, REREAD};
use self::cache::Cache;
use self::candidates::Candidates;
pub(crate) use self::candidates::Source;
pub(crate) use self::given::Given;
use self::given::{GivenPeers, Resolved};
use self::jitter::Jitter;
use self::listener::{Heard, vouch};
pub(crate) use self::report::DiscoveryReport;
use self::report::{CacheReport, GivenReport, MdnsReport};
use self::sockets::Datagram;

/// What to use.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Nodes of other networks are not heard.
    pub(crate) network: String,
    /// Whether to send beacons and listen for them. Costs a UDP port and 126 bytes a second at most.
    pub(crate) beacon: bool,
    /// The UDP port of beacons; all nodes of a LAN use the same.
    pub(crate) beacon_port: u16,
    /// The names of the interfaces to use; empty for all.
    pub(crate) interfaces: Vec<String>,
    /// Whether the driver runs the mDNS behaviour.
    pub(crate) mdns: bool,
    /// Peers given by the user.
    pub(crate) given: Vec<Given>,
    /// Where known peers are kept from run to run.
    pub(crate) cache: Option<PathBuf>,
}

impl Options {
    /// Beacon and mDNS on all interfaces.
    pub(crate) fn new(network: impl Into<String>) -> Self {
        Self {
            network: network.into(),
            beacon: true,
            beacon_port: PORT,
            interfaces: Vec::new(),
            mdns: true,
            given: Vec::new(),
            cache: None,
        }
    }

    /// Nothing but the peers that are given: no packet leaves for those who are not.
    pub(crate) fn only_given(network: impl Into<String>) -> Self {
        Self { beacon: false, mdns: false, ..Self::new(network) }
    }
}

/// Why discovery cannot start. Nothing is left open.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// Another program holds the beacon port.
    #[error(
        "UDP port {port} is held by a program that does not share it (`ss -ulnp sport = :{port}` shows which); \
         end it, or start all nodes with another --beacon-port, or this one with --no-beacon"
    )]
    PortInUse {
        /// The port.
        port: u16,
    },
    /// No interface is called so. One that is down, or has no address yet, is no error.
    #[error("there is no interface {name}; there are {}", .there.join(", "))]
    NoInterface {
        /// The name.
        name: String,
        /// The names there are.
        there: Vec<String>,
    },
    /// The system gives no entropy.
    #[error("no random numbers: {0}")]
    Entropy(getrandom::Error),
}

/// What discovery reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// A peer to dial, at all addresses in parallel. Also of a peer said to be linked, if it seems to have
    /// restarted: then the link is to its former run, and dead. Where it lives on, say [`Discovery::linked`]
    /// again.
    Found {
        /// None: given by the user without an id. [`Discovery::linked`] tells who it is.
        peer: Option<PeerId>,
        /// Without `/p2p`; the most trustworthy first.
        addresses: Vec<Multiaddr>,
        /// Who says so; of several sources, the most trustworthy.
        source: Source,
    },
    /// Two nodes use one identity; `peer` may be our own. Evidence, not proof: someone on the LAN may play back
    /// recorded beacons. A handshake with one of the addresses proves it.
    Cloned {
        /// The identity.
        peer: PeerId,
        /// Where the other one may be.
        addresses: Vec<Multiaddr>,
    },
    /// The peer leaves, and says so itself.
    Goodbye {
        /// Who.
        peer: PeerId,
    },
}

/// Signs a beacon; gets the domain and the bytes.
pub(crate) type Sign = Box<dyn Fn(&[u8]) -> [u8; 64] + Send + Sync>;

/// Everything that finds peers.
pub(crate) struct Discovery {
    me: PeerId,
    network: String,
    mdns: bool,
    beacons: Option<Beacons>,
    candidates: Candidates,
    /// A link stood at some time.
    was_linked: bool,
    given: GivenPeers,
    cache: Option<Cache>,
    events: VecDeque<Event>,
}

impl std::fmt::Debug for Discovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Discovery")
            .field("me", &self.me)
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

impl Discovery {
    /// Opens sockets and reads interfaces and cache; sends nothing before [`Discovery::listening`]. Wants a
    /// tokio runtime.
    pub(crate) fn new(me: PeerId, sign: Sign, options: Options) -> Result<Self, StartError> {
        let now = Instant::now();
        check_interfaces(&options.interfaces)?;
        let mut jitter = Jitter::seeded(getrandom::u64().map_err(StartError::Entropy)?);
        let mut candidates = Candidates::new(jitter.split());
        let cache = options.cache.clone().map(Cache::load);
        for &(peer, ref address) in cache.iter().flat_map(Cache::lines) {
            if peer != me {
                candidates.vouch(now, peer, Source::Cache, address.clone(), Some(now + CACHE_VOUCH));
            }
        }
        let beacons = match options.beacon {
            true => Some(Beacons::open(now, me, sign, &options, jitter.split())?),
            false => None,
        };
        Ok(Self {
            me,
            network: options.network,
            mdns: options.mdns,
            beacons,
            candidates,
            was_linked: false,
            given: GivenPeers::new(now, options.given, jitter.split()),
            cache,
            events: VecDeque::new(),
        })
    }

    /// The node listens on these ports, from now on. Sends a beacon before it returns.
    pub(crate) fn listening(&mut self, ports: Ports) {
        let has_link = self.candidates.n_linked() > 0;
        if let Some(beacons) = &mut self.beacons {
            beacons.listening(Instant::now(), ports, has_link);
        }
    }

    /// The next thing to know. Cancel-safe: an event is taken out as the last step.
    pub(crate) async fn next_event(&mut self) -> Event {
        loop {
            let now = Instant::now();
            if let Some(event) = self.events.pop_front().or_else(|| self.poll(now)) {
                return event;
            }
            let deadline = self.next_deadline().unwrap_or(now + REREAD);
            // Each arm only moves what the others do not touch; what it yields is handled below, without
            // waiting.
            let happened = tokio::select! {
                happened = next_beacon(&mut self.beacons) => happened,
                resolved = self.given.looked_up() => Happened::Resolved(resolved),
                () = tokio::time::sleep_until(deadline.into()) => Happened::Time,
            };
            let now = Instant::now();
            match happened {
                Happened::Datagram(datagram) => self.on_datagram(now, &datagram),
                Happened::Interfaces => self.read_interfaces(now),
                Happened::Resolved(Some(resolved)) => self.on_resolved(now, resolved),
                Happened::Resolved(None) | Happened::Time => {}
            }
        }
    }

    /// mDNS sees these.
    pub(crate) fn on_mdns_listed(&mut self, list: Vec<(PeerId, Multiaddr)>) {
        mdns::on_listed(&mut self.candidates, Instant::now(), self.me, list);
    }

    /// mDNS sees these no longer.
    pub(crate) fn on_mdns_expired(&mut self, list: Vec<(PeerId, Multiaddr)>) {
        mdns::on_expired(&mut self.candidates, list);
    }

    /// A link to the peer stands; if we dialled, at this address. Returns whether the user gave that address
    /// without saying who is there.
    pub(crate) fn linked(&mut self, peer: PeerId, dialed: Option<&Multiaddr>) -> bool {
        let now = Instant::now();
        let is_given = dialed.is_some_and(|address| self.given.answered(address, peer));
        if let Some(address) = dialed.filter(|_| is_given) {
            self.candidates.vouch(now, peer, Source::Given, address.clone(), Some(now + GIVEN_VOUCH));
        }
        self.was_linked = true;
        self.candidates.linked(now, peer);
        if let Some(cache) = &mut self.cache {
            // What worked, and what someone says now. What a former run said was of use if it worked.
            let mut addresses = self.candidates.fresh_addresses(now, peer);
            if let Some(worked) = dialed {
                addresses.retain(|address| address != worked);
                addresses.insert(0, worked.clone());
            }
            cache.record(now, peer, addresses);
        }
        is_given
    }

    /// No link came of a dial: worth telling whoever gave the address.
    pub(crate) fn dial_failed(&mut self, peer: Option<PeerId>, addresses: &[Multiaddr], error: &str) {
        self.given.failed(peer, addresses, error);
    }

    /// The last link to the peer is gone.
    pub(crate) fn unlinked(&mut self, peer: PeerId) {
        let now = Instant::now();
        self.candidates.unlinked(now, peer);
        self.given.unlinked(now, peer);
    }

    /// The peer is in another network, or speaks another protocol: it is left alone for some minutes.
    pub(crate) fn stranger(&mut self, peer: PeerId) {
        self.candidates.stranger(Instant::now(), peer);
    }

    /// Says goodbye on the LAN and writes the cache.
    pub(crate) fn shutdown(mut self) {
        if let Some(beacons) = &mut self.beacons {
            beacons.goodbye();
        }
        if let Some(cache) = &mut self.cache {
            cache.flush();
        }
    }

    /// What was tried, and what came of it.
    pub(crate) fn report(&self) -> DiscoveryReport {
        let now = Instant::now();
        DiscoveryReport {
            network: self.network.clone(),
            beacon: self.beacons.as_ref().map(|beacons| beacons.report(now, &self.candidates)),
            mdns: self.mdns.then(|| MdnsReport { listed: self.candidates.n_vouched(now, Source::Mdns) }),
            given: self
                .given
                .report()
                .map(|(given, peer, error)| {
                    let linked = peer.is_some_and(|peer| self.candidates.is_linked(peer));
                    let error = error.filter(|_| !linked).map(str::to_owned);
                    GivenReport { address: given.to_string(), linked, error }
                })
                .collect(),
            cache: self
                .cache
                .as_ref()
                .map(|cache| CacheReport { addresses: cache.lines().len(), error: cache.error.clone() }),
            linked: self.candidates.n_linked(),
            was_linked: self.was_linked,
        }
    }

    /// Does what time asks for.
    fn poll(&mut self, now: Instant) -> Option<Event> {
        // This runs for every datagram, and a flood must find nothing to do.
        if let Some(beacons) = self.beacons.as_mut().filter(|beacons| beacons.next_deadline() <= now) {
            beacons.poll(now, self.candidates.n_linked() > 0);
        }
        if let Some(cache) = &mut self.cache {
            cache.poll(now);
        }
        while let Some(resolved) = self.given.poll(now, |peer| self.candidates.is_linked(peer)) {
            self.on_resolved(now, resolved);
        }
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        let found = self.candidates.poll(now)?;
        Some(Event::Found { peer: Some(found.peer), addresses: found.addresses, source: found.source })
    }

    fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [
            self.beacons.as_ref().map(Beacons::next_deadline),
            self.cache.as_ref().and_then(Cache::next_deadline),
            self.given.next_deadline(),
            self.candidates.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    fn read_interfaces(&mut self, now: Instant) {
        if let Some(beacons) = &mut self.beacons {
            beacons.read_interfaces(now);
        }
    }

    fn on_resolved(&mut self, now: Instant, resolved: Resolved) {
        let Resolved { peer, addresses } = resolved;
        match peer {
            Some(peer) => {
                for address in addresses {
                    self.candidates.vouch(now, peer, Source::Given, address, Some(now + GIVEN_VOUCH));
                }
            }
            None => self.events.push_back(Event::Found { peer: None, addresses, source: Source::Given }),
        }
    }

    fn on_datagram(&mut self, now: Instant, datagram: &Datagram) {
        let Some(beacons) = &mut self.beacons else { return };
        let Some(heard) = beacons.hear(now, datagram) else {
            return;
        };
        let n_known = beacons.n_known(now);
        match heard {
            Heard::News { beacon, .. } if beacon.kind == Kind::Goodbye => {
                self.candidates.withdraw(beacon.peer, Source::Beacon, None);
                self.events.push_back(Event::Goodbye { peer: beacon.peer });
            }
            Heard::Path(beacon) if beacon.kind == Kind::Goodbye => {}
            Heard::News { beacon, restarted } => {
                if restarted {
                    self.candidates.withdraw(beacon.peer, Source::Beacon, None);
                }
                add_addresses(&mut self.candidates, now, n_known, &beacon, datagram.from);
                if restarted {
                    self.candidates.restarted(now, beacon.peer);
                }
                if beacon.kind == Kind::Query && !self.candidates.is_linked(beacon.peer) {
                    beacons.on_query(now);
                    self.candidates.nudge(now, beacon.peer);
                }
            }
            Heard::Path(beacon) => add_addresses(&mut self.candidates, now, n_known, &beacon, datagram.from),
            Heard::Clone(beacon) => {
                let addresses = dialable(datagram.from, beacon.ports);
                self.events.push_back(Event::Cloned { peer: beacon.peer, addresses });
            }
        }
    }
}

/// A name that is misspelt would make a node that hears nobody and does not say why.
fn check_interfaces(wanted: &[String]) -> Result<(), StartError> {
    if wanted.is_empty() {
        return Ok(());
    }
    // Where they cannot be read, the report says so.
    let Ok(there) = interfaces::names() else { return Ok(()) };
    match wanted.iter().find(|name| !there.contains(name)) {
        Some(name) => Err(StartError::NoInterface { name: name.clone(), there }),
        None => Ok(()),
    }
}

fn add_addresses(
    candidates: &mut Candidates,
    now: Instant,
    n_known: usize,
    beacon: &Beacon,
    from: SocketAddr,
) {
    let until = Some(now + vouch(n_known));
    for address in dialable(from, beacon.ports) {
        candidates.vouch(now, beacon.peer, Source::Beacon, address, until);
    }
}

enum Happened {
    Datagram(Datagram),
    Interfaces,
    Resolved(Option<Resolved>),
    Time,
}

/// What the beacon's sockets and interfaces do next. Cancel-safe.
async fn next_beacon(beacons: &mut Option<Beacons>) -> Happened {
    match beacons {
        Some(beacons) => match beacons.next().await {
            Some(datagram) => Happened::Datagram(datagram),
            None => Happened::Interfaces,
        },
        None => std::future::pending().await,
    }
}

/// Our form of a peer id; None for a key that is not Ed25519.
fn from_libp2p(peer: &libp2p::PeerId) -> Option<PeerId> {
    peer.to_string().parse().ok()
}

/// Takes a trailing `/p2p` off.
fn strip_peer(address: &mut Multiaddr) {
    if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.pop();
    }
}
