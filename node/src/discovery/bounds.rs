//! Every number of discovery: what a stranger on the LAN can grow, and how often things are sent, with reasons.

use std::time::Duration;

pub(super) use djembe_protocol::limits::KNOWN_PEERS_MAX;

// Sending.

/// The UDP port of beacons, shared by all nodes of a host.
pub(super) const PORT: u16 = 24365;
/// Beacons a second that all nodes of a LAN send together: 30 of 126 bytes are 0.05 % of a 100 Mbit/s link.
pub(super) const LAN_RATE: f64 = 30.0;
/// A lone pair hears of each other, after a packet loss, in a second.
pub(super) const PERIOD_MIN: Duration = Duration::from_secs(1);
/// Beacons a second that a few nodes send together: a newcomer hears one of them within a second all the same.
pub(super) const FEW_RATE: f64 = 3.0;
/// From nine nodes on each sends one in three seconds, until [`LAN_RATE`] asks for less.
pub(super) const FEW_PERIOD_MAX: Duration = Duration::from_secs(3);
/// Reached at 1,800 nodes.
pub(super) const PERIOD_MAX: Duration = Duration::from_secs(60);
/// Periods are drawn from 80 to 120 %, so that nodes started together drift apart.
pub(super) const PERIOD_JITTER: f64 = 0.2;
/// When beacons leave after a start, or after an interface came up. A datagram is easily lost while a switch or
/// an access point learns an address; five spread over 700 ms are not.
pub(super) const BURST: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(30),
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(700),
];
/// A start into a network of which this many nodes were heard ends its burst: it is found already.
pub(super) const BURST_KNOWN_MAX: usize = 30;
/// Queries are answered after [`ANSWER_AFTER`] while no more nodes than this are known.
pub(super) const ANSWER_SOON_MAX: usize = 4;
/// Whoever hears a query dials the asker, and the link stands within some milliseconds; an answer before that would
/// make the asker dial as well. It is for the case that the dial fails.
pub(super) const ANSWER_AFTER: Duration = Duration::from_millis(30);
/// In a larger network about this many of its nodes answer one query; the others rely on hearing it.
pub(super) const ANSWERERS: usize = 20;
/// Answers to one query are spread over this time when [`ANSWERERS`] nodes or more are known.
pub(super) const ANSWER_DELAY_MAX: Duration = Duration::from_millis(20);
/// An answer leaves no sooner than this after the last beacon: one answer serves all who asked meanwhile.
pub(super) const ANSWER_GAP: Duration = Duration::from_millis(50);

// Hearing.

/// A peer is vouched for by a beacon for this many of the sender's presumed periods.
pub(super) const VOUCH_PERIODS: u32 = 4;
/// Or for this long, if that is longer: outlives a short Wi-Fi outage.
pub(super) const VOUCH_MIN: Duration = Duration::from_secs(15);
/// One beacon arrives by several paths (broadcast, multicast, two cables) at about the same time. Later copies
/// are replays, and would let anyone on the LAN add addresses to a peer.
pub(super) const PATHS_WINDOW: Duration = Duration::from_millis(500);
/// Signatures checked a second for one source address; many nodes may run on one host.
pub(super) const SOURCE_RATE: f64 = 50.0;
/// Signatures checked for one source address at once: the starting bursts of 50 nodes on one host.
pub(super) const SOURCE_BURST: f64 = 250.0;
/// Source addresses with a rate of their own; more share one.
pub(super) const SOURCES_MAX: usize = 1024;
/// Signatures checked a second altogether: at 50 us each, 2 % of a core.
pub(super) const CHECK_RATE: f64 = 400.0;
/// Signatures checked at once altogether: 1,000 nodes that start together.
pub(super) const CHECK_BURST: f64 = 1000.0;
/// A second boot of one identity counts as alive when it is heard this long after the other: a restart leaves
/// no packets on the way for so long.
pub(super) const CLONE_AFTER: Duration = Duration::from_secs(2);
/// A clone is reported this often.
pub(super) const CLONE_AGAIN: Duration = Duration::from_secs(60);
/// Reading stops on a socket after this many errors in a row.
pub(super) const RECEIVE_ERRORS_MAX: u32 = 100;

// Interfaces.

/// Interfaces with sockets; hosts full of containers have hundreds, and no use for beacons on most.
pub(super) const INTERFACES_MAX: usize = 64;
/// Addresses of one interface from which beacons are sent, per address family.
pub(super) const INTERFACE_ADDRESSES_MAX: usize = 4;
/// Interfaces are read again this often even if nothing was said of a change. Only changes of addresses are
/// announced, not a cable that is plugged in; an IPv6 address cannot be used at once when it appears; a
/// membership may fail for a while. It costs some 50 us.
pub(super) const REREAD: Duration = Duration::from_secs(2);

// Candidates.

/// Addresses of one peer. A multi-homed host with two address families has about eight.
pub(super) const ADDRESSES_MAX: usize = 16;
/// Of these, addresses from mDNS, which nobody signs: what it lists must not crowd out what the peer itself says.
pub(super) const MDNS_ADDRESSES_MAX: usize = 8;
/// First pause before an unlinked peer is reported again.
pub(super) const BACKOFF_MIN: Duration = Duration::from_millis(250);
/// Longest pause before an unlinked peer is reported again.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A peer that asks to be dialled is reported again after this part of its pause, so that one which asks every
/// second and cannot be reached is not dialled every second.
pub(super) const NUDGE_PART: u32 = 8;
/// A link that stood this long was a good one: losing it starts the pauses from the beginning.
pub(super) const LINK_PROVEN: Duration = Duration::from_secs(5);
/// A peer that turned out to be of another network or protocol is left alone for this long.
pub(super) const STRANGER_FOR: Duration = Duration::from_secs(600);
/// The cache of a former run vouches for its peers for this long.
pub(super) const CACHE_VOUCH: Duration = Duration::from_secs(120);
/// A look-up vouches for what it found for this long; it is repeated sooner while no link stands.
pub(super) const GIVEN_VOUCH: Duration = Duration::from_secs(120);
/// Addresses of one peer in the cache: two transports in two address families. Its ports may change from run to
/// run, so more would mostly be stale.
pub(super) const CACHE_ADDRESSES_MAX: usize = 4;
/// Lines of the cache.
pub(super) const CACHE_LINES_MAX: usize = 64;
/// Bytes of the cache that are read: each line has room for a long name and a peer id.
pub(super) const CACHE_BYTES_MAX: u64 = CACHE_LINES_MAX as u64 * 512;
/// Changes of the cache are gathered this long before it is written.
pub(super) const CACHE_DELAY: Duration = Duration::from_secs(2);
/// Addresses one name may resolve to.
pub(super) const LOOKUP_MAX: usize = 8;
/// A look-up that takes longer has failed; the resolver of the system may take half a minute to say so.
pub(super) const LOOKUP_PATIENCE: Duration = Duration::from_secs(10);
/// Peers given by the user.
pub(super) const GIVEN_MAX: usize = 64;
