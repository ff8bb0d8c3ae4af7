//! What is heard on the LAN: which beacons are believed, in which order the cheap checks come, and who is there.
//!
//! Pure: datagrams and time come in. A datagram is dropped by the first of these that applies: form, version,
//! network, own, replay, rate, signature; each is counted. So a signature (some 50 us) is paid for only by
//! what is new, and a flood costs a map look-up per packet.
//!
//! A replay is a beacon whose counter is not newer than the last of the same boot. One exception: the same
//! beacon arrives by several paths at once, and those within a short window each name an address. Boots are
//! random, so the one before the present is remembered with its counter; a recording of a yet older boot may
//! be taken for a restart, until the peer's own next beacon puts that right. What a recording can do at worst
//! is make us dial an address, where the handshake then fails.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use djembe_protocol::error::{DecodeError, Reject};
use djembe_protocol::id::PeerId;
use djembe_protocol::wire::beacon::{Beacon, NetworkTag, UncheckedBeacon};

use super::bounds::{
    CHECK_BURST, CHECK_RATE, CLONE_AFTER, CLONE_AGAIN, KNOWN_PEERS_MAX, PATHS_WINDOW, SOURCE_BURST,
    SOURCE_RATE, SOURCES_MAX, VOUCH_MIN, VOUCH_PERIODS,
};
use super::pace::period;

/// What a datagram that was not dropped means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Heard {
    /// News of a peer.
    News {
        beacon: Beacon,
        /// The peer was known from an earlier boot: whatever linked us to that is dead.
        restarted: bool,
    },
    /// The beacon heard last, by another path: the source is one more address.
    Path(Beacon),
    /// The peer's identity is in use twice; it may be our own. Evidence, not proof: recorded beacons, played
    /// back, look the same.
    Clone(Beacon),
}

/// Why a datagram was dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Refusal {
    Unreadable,
    Version,
    Network,
    Own,
    Replay,
    TooOften,
    Signature,
}

impl Refusal {
    /// A word for `status`.
    pub(super) const fn cause(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Version => "version",
            Self::Network => "other-network",
            Self::Own => "own",
            Self::Replay => "replay",
            Self::TooOften => "too-often",
            Self::Signature => "signature",
        }
    }
}

/// The listener of one node.
#[derive(Debug)]
pub(super) struct Listener {
    me: PeerId,
    boot: u64,
    network: NetworkTag,
    peers: HashMap<PeerId, Known>,
    /// Who else beacons under our identity.
    double: Option<Boot>,
    doubled_at: Option<Instant>,
    sources: HashMap<IpAddr, Bucket>,
    /// Shared by the sources that have none of their own.
    other_sources: Bucket,
    checks: Bucket,
    n_own: u64,
    refusals: BTreeMap<Refusal, u64>,
}

#[derive(Debug)]
struct Known {
    boot: u64,
    counter: u32,
    signature: [u8; 64],
    heard: Instant,
    /// It said goodbye: not counted any more, but remembered against replays.
    gone: bool,
    /// The boot that the present one took the place of.
    previous: Option<Boot>,
    cloned_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Boot {
    nonce: u64,
    counter: u32,
    /// When it was first heard (our double) or superseded (a peer's previous boot).
    since: Instant,
}

/// How long a peer may be silent in a network of this size and still count as there.
pub(super) fn vouch(n_known: usize) -> Duration {
    (period(n_known) * VOUCH_PERIODS).max(VOUCH_MIN)
}

impl Listener {
    pub(super) fn new(now: Instant, me: PeerId, boot: u64, network: NetworkTag) -> Self {
        Self {
            me,
            boot,
            network,
            peers: HashMap::new(),
            double: None,
            doubled_at: None,
            sources: HashMap::new(),
            other_sources: Bucket::full(now, SOURCE_BURST),
            checks: Bucket::full(now, CHECK_BURST),
            n_own: 0,
            refusals: BTreeMap::new(),
        }
    }

    /// Takes a datagram.
    pub(super) fn hear(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Result<Heard, Refusal> {
        let verdict = self.judge(now, from, datagram);
        if verdict == Err(Refusal::Own) {
            self.n_own += 1;
        } else if let Err(refusal) = verdict {
            *self.refusals.entry(refusal).or_default() += 1;
            tracing::trace!(%from, cause = refusal.cause(), "beacon dropped");
        }
        verdict
    }

    /// How many peers were heard of late.
    pub(super) fn n_known(&self, now: Instant) -> usize {
        self.known(now).count()
    }

    /// The peers heard of late.
    pub(super) fn known(&self, now: Instant) -> impl Iterator<Item = PeerId> {
        let patience = vouch(self.peers.len());
        let is_there =
            move |known: &Known| !known.gone && now.saturating_duration_since(known.heard) <= patience;
        self.peers.iter().filter(move |(_, known)| is_there(known)).map(|(&peer, _)| peer)
    }

    /// A peer said goodbye.
    pub(super) fn forget(&mut self, peer: PeerId) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.gone = true;
        }
    }

    /// Our own beacons that came back: on a working LAN there are some, for multicast is looped.
    pub(super) fn n_own(&self) -> u64 {
        self.n_own
    }

    /// Other datagrams dropped so far, by cause.
    pub(super) fn refusals(&self) -> BTreeMap<&'static str, u64> {
        self.refusals.iter().map(|(refusal, &count)| (refusal.cause(), count)).collect()
    }

    fn judge(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Result<Heard, Refusal> {
        let unchecked = UncheckedBeacon::decode(datagram).map_err(|error| match error {
            DecodeError::Version(_) => Refusal::Version,
            _ => Refusal::Unreadable,
        })?;
        let claims = unchecked.claims();
        if claims.network != self.network {
            return Err(Refusal::Network);
        }
        if claims.peer == self.me && claims.boot == self.boot {
            return Err(Refusal::Own);
        }
        if let Some(known) = self.peers.get(&claims.peer)
            && known.boot == claims.boot
            && known.counter == claims.counter
            && known.signature == unchecked.signature()
            && now.saturating_duration_since(known.heard) <= PATHS_WINDOW
        {
            return Ok(Heard::Path(*claims));
        }
        if self.is_replay(claims) {
            return Err(Refusal::Replay);
        }
        if !self.may_check(now, from.ip()) {
            return Err(Refusal::TooOften);
        }
        let beacon = unchecked.check().map_err(|reject| match reject {
            Reject::Decode(_) => Refusal::Unreadable,
            _ => Refusal::Signature,
        })?;
        if beacon.peer == self.me {
            self.on_double(now, beacon)
        } else {
            self.on_peer(now, beacon, unchecked.signature())
        }
    }

    fn is_replay(&self, claims: &Beacon) -> bool {
        let old = |nonce: u64, counter: u32| nonce == claims.boot && claims.counter <= counter;
        if claims.peer == self.me {
            return self.double.is_some_and(|double| old(double.nonce, double.counter));
        }
        self.peers.get(&claims.peer).is_some_and(|known| {
            old(known.boot, known.counter)
                || known.previous.is_some_and(|previous| old(previous.nonce, previous.counter))
        })
    }

    /// Whether a signature check is affordable, for this source and altogether.
    fn may_check(&mut self, now: Instant, source: IpAddr) -> bool {
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            self.sources.retain(|_, bucket| !bucket.is_full(now, SOURCE_RATE, SOURCE_BURST));
        }
        let bucket = if self.sources.len() < SOURCES_MAX || self.sources.contains_key(&source) {
            self.sources.entry(source).or_insert_with(|| Bucket::full(now, SOURCE_BURST))
        } else {
            &mut self.other_sources
        };
        bucket.take(now, SOURCE_RATE, SOURCE_BURST) && self.checks.take(now, CHECK_RATE, CHECK_BURST)
    }

    /// Our own identity, under another boot. The last packets of a former run of ours are no double, but they
    /// end when that run has ended.
    fn on_double(&mut self, now: Instant, beacon: Beacon) -> Result<Heard, Refusal> {
        let double = match &mut self.double {
            Some(double) if double.nonce == beacon.boot => double,
            double => double.insert(Boot { nonce: beacon.boot, counter: beacon.counter, since: now }),
        };
        double.counter = beacon.counter;
        if now.saturating_duration_since(double.since) < CLONE_AFTER || !again(now, &mut self.doubled_at) {
            return Err(Refusal::Own);
        }
        Ok(Heard::Clone(beacon))
    }

    fn on_peer(&mut self, now: Instant, beacon: Beacon, signature: [u8; 64]) -> Result<Heard, Refusal> {
        let Some(known) = self.peers.get_mut(&beacon.peer) else {
            self.make_room();
            let known = Known {
                boot: beacon.boot,
                counter: beacon.counter,
                signature,
                heard: now,
                gone: false,
                previous: None,
                cloned_at: None,
            };
            self.peers.insert(beacon.peer, known);
            return Ok(Heard::News { beacon, restarted: false });
        };
        let restarted = known.boot != beacon.boot;
        let mut cloned = false;
        if restarted {
            if let Some(previous) = known.previous.as_mut().filter(|previous| previous.nonce == beacon.boot) {
                if now.saturating_duration_since(previous.since) < CLONE_AFTER {
                    previous.counter = beacon.counter;
                    return Err(Refusal::Replay);
                }
                // Two boots are alive. Each becomes the present one when it speaks, so that a recording cannot
                // silence the real peer.
                cloned = again(now, &mut known.cloned_at);
            }
            known.previous = Some(Boot { nonce: known.boot, counter: known.counter, since: now });
        }
        known.boot = beacon.boot;
        known.counter = beacon.counter;
        known.signature = signature;
        known.heard = now;
        known.gone = false;
        Ok(if cloned { Heard::Clone(beacon) } else { Heard::News { beacon, restarted } })
    }

    /// When the table is full, the peer heard least recently makes room.
    fn make_room(&mut self) {
        if self.peers.len() < KNOWN_PEERS_MAX {
            return;
        }
        let oldest = self.peers.iter().min_by_key(|(_, known)| known.heard).map(|(&peer, _)| peer);
        if let Some(oldest) = oldest {
            self.peers.remove(&oldest);
        }
    }
}

/// Whether it is time to report a clone (again).
fn again(now: Instant, last: &mut Option<Instant>) -> bool {
    let due = last.is_none_or(|last| now.saturating_duration_since(last) >= CLONE_AGAIN);
    if due {
        *last = Some(now);
    }
    due
}

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn full(now: Instant, burst: f64) -> Self {
        Self { tokens: burst, at: now }
    }

    fn refill(&mut self, now: Instant, rate: f64, burst: f64) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * rate).min(burst);
        self.at = now;
    }

    fn take(&mut self, now: Instant, rate: f64, burst: f64) -> bool {
        self.refill(now, rate, burst);
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }

    fn is_full(&mut self, now: Instant, rate: f64, burst: f64) -> bool {
        self.refill(now, rate, burst);
        self.tokens >= burst
    }
}

#[cfg(test)]
mod tests {
    use djembe_protocol::wire::beacon::{BEACON_LEN, Kind, Ports};

    use super::super::testing::Signer;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Peers, numbered, with beacons of boot 1 unless told otherwise.
    struct Lan {
        now: Instant,
        listener: Listener,
    }

    fn me() -> Signer {
        Signer::numbered(0)
    }

    fn lan() -> Lan {
        let now = Instant::now();
        Lan { now, listener: Listener::new(now, me().peer(), 77, NetworkTag::of("lan")) }
    }

    fn beacon(signer: &Signer, boot: u64, counter: u32) -> Beacon {
        Beacon {
            kind: Kind::Announce,
            network: NetworkTag::of("lan"),
            peer: signer.peer(),
            ports: Ports { tcp: 1, quic: 2 },
            boot,
            counter,
        }
    }

    fn bytes(n: u16, boot: u64, counter: u32) -> [u8; BEACON_LEN] {
        let signer = Signer::numbered(n);
        beacon(&signer, boot, counter).encode(|bytes| signer.sign(bytes))
    }

    fn host(n: u16) -> SocketAddr {
        let [high, low] = n.to_be_bytes();
        SocketAddr::from(([10, 0, high, low], 5000))
    }

    impl Lan {
        fn hear(&mut self, from: u16, datagram: &[u8]) -> Result<Heard, Refusal> {
            self.listener.hear(self.now, host(from), datagram)
        }

        fn hear_beacon(&mut self, n: u16, boot: u64, counter: u32) -> Result<Heard, Refusal> {
            self.hear(n, &bytes(n, boot, counter))
        }
    }

    fn news(n: u16, boot: u64, counter: u32, restarted: bool) -> Result<Heard, Refusal> {
        Ok(Heard::News { beacon: beacon(&Signer::numbered(n), boot, counter), restarted })
    }

    #[test]
    fn news_is_heard_and_a_replay_is_not() {
        let mut lan = lan();
        assert_eq!(lan.hear_beacon(1, 1, 5), news(1, 1, 5, false));
        assert_eq!(lan.hear_beacon(1, 1, 6), news(1, 1, 6, false));
        assert_eq!(lan.hear_beacon(1, 1, 5), Err(Refusal::Replay));
        assert_eq!(lan.listener.n_known(lan.now), 1);
        assert_eq!(lan.listener.refusals(), BTreeMap::from([("replay", 1)]));
    }

    #[test]
    fn another_path_counts_only_while_it_can_be_the_same_packet() {
        let mut lan = lan();
        let datagram = bytes(1, 1, 5);
        lan.hear(1, &datagram).expect("news");
        assert!(matches!(lan.hear(2, &datagram), Ok(Heard::Path(_))));
        lan.now += PATHS_WINDOW;
        assert!(matches!(lan.hear(3, &datagram), Ok(Heard::Path(_))));
        lan.now += Duration::from_millis(1);
        assert_eq!(lan.hear(4, &datagram), Err(Refusal::Replay));
    }

    #[test]
    fn each_cause_is_told_apart_and_counted() {
        let mut lan = lan();
        assert_eq!(lan.hear(1, b"hello"), Err(Refusal::Unreadable));
        let mut other_version = bytes(1, 1, 1);
        other_version[4] = 9;
        assert_eq!(lan.hear(1, &other_version), Err(Refusal::Version));
        let mut other_network = bytes(1, 1, 1);
        other_network[6] ^= 1;
        assert_eq!(lan.hear(1, &other_network), Err(Refusal::Network));
        let mut forged = bytes(1, 1, 1);
        forged[125] ^= 1;
        assert_eq!(lan.hear(1, &forged), Err(Refusal::Signature));
        assert_eq!(lan.hear_beacon(0, 77, 1), Err(Refusal::Own));
        let counts = [("unreadable", 1), ("version", 1), ("other-network", 1), ("signature", 1)];
        assert_eq!(lan.listener.n_own(), 1);
        assert_eq!(lan.listener.refusals(), BTreeMap::from(counts));
        // A forged beacon leaves no trace that would stand in the way of the true one.
        assert_eq!(lan.hear_beacon(1, 1, 1), news(1, 1, 1, false));
    }

    #[test]
    fn a_restart_is_news_and_the_former_boot_is_over() {
        let mut lan = lan();
        lan.hear_beacon(1, 1, 900).expect("news");
        assert_eq!(lan.hear_beacon(1, 2, 0), news(1, 2, 0, true));
        assert_eq!(lan.hear_beacon(1, 1, 900), Err(Refusal::Replay));
        assert_eq!(lan.hear_beacon(1, 1, 901), Err(Refusal::Replay), "a straggler, not a clone");
        assert_eq!(lan.hear_beacon(1, 2, 1), news(1, 2, 1, false));
    }

    #[test]
    fn two_boots_that_stay_alive_are_a_clone_reported_once_a_minute() {
        let mut lan = lan();
        let mut n_reported = 0;
        for counter in 0..59 {
            for boot in [1, 2] {
                n_reported += usize::from(matches!(lan.hear_beacon(1, boot, counter), Ok(Heard::Clone(_))));
                lan.now += SECOND;
            }
        }
        assert_eq!(n_reported, 2, "118 seconds");
    }

    #[test]
    fn our_own_former_run_is_no_clone_but_a_living_double_is() {
        let mut lan = lan();
        // The last beacons of the run before.
        assert_eq!(lan.hear_beacon(0, 5, 100), Err(Refusal::Own));
        assert_eq!(lan.hear_beacon(0, 5, 101), Err(Refusal::Own));
        lan.now += CLONE_AFTER;
        assert_eq!(lan.hear_beacon(0, 5, 101), Err(Refusal::Replay));
        // Somebody still beacons.
        assert!(matches!(lan.hear_beacon(0, 5, 102), Ok(Heard::Clone(_))));
        assert_eq!(lan.hear_beacon(0, 5, 103), Err(Refusal::Own));
        lan.now += CLONE_AGAIN;
        assert!(matches!(lan.hear_beacon(0, 5, 104), Ok(Heard::Clone(_))));
    }

    #[test]
    fn a_recording_cannot_silence_the_real_peer() {
        let mut lan = lan();
        lan.hear_beacon(1, 3, 0).expect("news");
        lan.now += SECOND;
        assert_eq!(lan.hear_beacon(1, 1, 50), news(1, 1, 50, true), "an old recording");
        lan.now += CLONE_AFTER;
        assert!(matches!(lan.hear_beacon(1, 3, 1), Ok(Heard::Clone(_))));
        lan.now += SECOND;
        assert_eq!(lan.hear_beacon(1, 3, 2), news(1, 3, 2, false));
    }

    #[test]
    fn one_source_pays_for_its_own_flood() {
        let mut lan = lan();
        let mut forged = bytes(1, 1, 1);
        forged[125] ^= 1;
        for _ in 0..SOURCE_BURST as usize {
            assert_eq!(lan.hear(1, &forged), Err(Refusal::Signature));
        }
        assert_eq!(lan.hear(1, &forged), Err(Refusal::TooOften));
        assert_eq!(lan.hear_beacon(2, 1, 1), news(2, 1, 1, false));
        lan.now += SECOND;
        assert_eq!(lan.hear(1, &forged), Err(Refusal::Signature));
    }

    #[test]
    fn a_flood_from_many_sources_is_bounded_in_time_and_memory() {
        let mut lan = lan();
        let mut forged = bytes(1, 1, 1);
        forged[125] ^= 1;
        for source in 0..3 * SOURCES_MAX as u16 {
            let _ = lan.hear(source, &forged);
        }
        assert_eq!(lan.listener.refusals()["signature"], CHECK_BURST as u64);
        assert!(lan.listener.sources.len() <= SOURCES_MAX);
        // Time heals both.
        lan.now += 60 * SECOND;
        assert_eq!(lan.hear_beacon(9, 1, 1), news(9, 1, 1, false));
    }

    #[test]
    fn the_table_of_peers_is_bounded_and_the_longest_silent_makes_room() {
        let mut lan = lan();
        for n in 1..=KNOWN_PEERS_MAX as u16 {
            lan.now += Duration::from_millis(5);
            lan.hear_beacon(n, 1, 1).expect("news");
        }
        assert_eq!(lan.listener.n_known(lan.now), KNOWN_PEERS_MAX);
        lan.hear_beacon(2000, 1, 1).expect("news");
        assert_eq!(lan.listener.peers.len(), KNOWN_PEERS_MAX);
        assert!(!lan.listener.peers.contains_key(&Signer::numbered(1).peer()));
        assert!(lan.listener.peers.contains_key(&Signer::numbered(2).peer()));
    }

    #[test]
    fn the_silent_and_the_leaving_are_not_counted() {
        let mut lan = lan();
        lan.hear_beacon(1, 1, 1).expect("news");
        lan.hear_beacon(2, 1, 1).expect("news");
        lan.listener.forget(Signer::numbered(2).peer());
        assert_eq!(lan.listener.n_known(lan.now), 1);
        assert!(matches!(lan.hear_beacon(2, 1, 1), Ok(Heard::Path(_))), "the same goodbye by another path");
        lan.now += VOUCH_MIN + SECOND;
        assert_eq!(lan.hear_beacon(2, 1, 1), Err(Refusal::Replay));
        assert_eq!(lan.listener.n_known(lan.now), 0);
    }
}
