//! Who may connect: what one address may do at once, and how often.
//!
//! A handshake costs some 150 us and holds a socket for as long as its patience, so both are rationed before it
//! begins, by the address that asks. An address here is an IPv4 address, or the 64 bits of an IPv6 address that a
//! host can choose the rest of. Many nodes may live behind one of them (one host, one router), so the bounds are
//! wide; what they keep is that one address does not take everything from the others.
//!
//! Not here: what peers say once they are linked. The engine judges that, by identity.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;

/// Handshakes under way that others began: each holds a socket and some 10 KiB.
pub(super) const PENDING_MAX: usize = 256;
/// Of these, from one address: whoever never ends them leaves room for the rest.
pub(super) const PENDING_PER_ADDRESS: usize = 64;
/// Connections that one address may begin at once: all nodes of a large test on one host.
const BURST: u32 = 256;
/// And a second, later: some 5 ms of handshakes.
const RATE: u32 = 32;
/// Addresses that are remembered for their rate; more share one.
const ADDRESSES_MAX: usize = 1024;

/// Why a connection was not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("refused: {0}")]
pub(super) struct Refused(pub(super) &'static str);

/// What stands between the listeners and the handshakes.
#[derive(Debug)]
pub(super) struct Guard {
    addresses: BTreeMap<IpAddr, Address>,
    /// For the addresses that found no room.
    others: Address,
    connections: HashMap<ConnectionId, Counted>,
    n_pending: usize,
    /// Connections that stand, of one address.
    per_address: usize,
}

/// Where a connection is counted, until it is gone.
#[derive(Clone, Copy, Debug)]
struct Counted {
    /// None is with the others: its address may have found room since.
    address: Option<IpAddr>,
    is_pending: bool,
}

/// What one address has and may.
#[derive(Clone, Debug)]
struct Address {
    n_pending: usize,
    n_standing: usize,
    tokens: f64,
    since: Instant,
}

impl Address {
    fn new(now: Instant) -> Self {
        Self { n_pending: 0, n_standing: 0, tokens: f64::from(BURST), since: now }
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.duration_since(self.since).as_secs_f64();
        self.tokens = (self.tokens + passed * f64::from(RATE)).min(f64::from(BURST));
        self.since = now;
    }

    fn is_idle(&self, now: Instant) -> bool {
        let full = Duration::from_secs(u64::from(BURST / RATE));
        self.n_pending == 0 && self.n_standing == 0 && now.duration_since(self.since) >= full
    }
}

impl Guard {
    /// Lets in at most `incoming_max` links that others dial, three quarters of them from one address.
    pub(super) fn new(now: Instant, incoming_max: u32) -> Self {
        Self {
            addresses: BTreeMap::new(),
            others: Address::new(now),
            connections: HashMap::new(),
            n_pending: 0,
            per_address: usize::try_from(incoming_max - incoming_max / 4).unwrap_or(usize::MAX),
        }
    }

    /// Somebody connects; the handshake has not begun.
    pub(super) fn knock(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        from: &Multiaddr,
    ) -> Result<(), Refused> {
        if self.n_pending >= PENDING_MAX {
            return Err(Refused("too-many-handshakes"));
        }
        let key = block(from);
        if self.addresses.len() >= ADDRESSES_MAX && !self.addresses.contains_key(&key) {
            self.addresses.retain(|_, address| !address.is_idle(now));
        }
        let is_known = self.addresses.len() < ADDRESSES_MAX || self.addresses.contains_key(&key);
        let address = match is_known {
            true => self.addresses.entry(key).or_insert_with(|| Address::new(now)),
            false => &mut self.others,
        };
        address.refill(now);
        if address.n_pending >= PENDING_PER_ADDRESS {
            return Err(Refused("too-many-handshakes-of-address"));
        }
        if address.n_standing >= self.per_address {
            return Err(Refused("too-many-links-of-address"));
        }
        if address.tokens < 1.0 {
            return Err(Refused("connects-too-often"));
        }
        address.tokens -= 1.0;
        address.n_pending += 1;
        self.n_pending += 1;
        let address = is_known.then_some(key);
        self.connections.insert(connection, Counted { address, is_pending: true });
        Ok(())
    }

    /// The handshake is done. It may have been overtaken by others of its address.
    pub(super) fn admit(&mut self, connection: ConnectionId) -> Result<(), Refused> {
        let Some(counted) = self.connections.get_mut(&connection).filter(|counted| counted.is_pending) else {
            return Ok(());
        };
        counted.is_pending = false;
        let address = account(&mut self.addresses, &mut self.others, counted.address);
        address.n_pending = address.n_pending.saturating_sub(1);
        address.n_standing += 1;
        self.n_pending -= 1;
        if address.n_standing > self.per_address {
            // What it counted is taken back when the failure is told.
            return Err(Refused("too-many-links-of-address"));
        }
        Ok(())
    }

    /// A connection came to nothing, or has ended. Of one that was not let in nothing is known.
    pub(super) fn gone(&mut self, connection: ConnectionId) {
        let Some(counted) = self.connections.remove(&connection) else {
            return;
        };
        let address = account(&mut self.addresses, &mut self.others, counted.address);
        if counted.is_pending {
            address.n_pending = address.n_pending.saturating_sub(1);
            self.n_pending -= 1;
        } else {
            address.n_standing = address.n_standing.saturating_sub(1);
        }
    }
}

/// What a connection is counted in. That of an address with connections is not idle, and is not forgotten.
fn account<'a>(
    addresses: &'a mut BTreeMap<IpAddr, Address>,
    others: &'a mut Address,
    of: Option<IpAddr>,
) -> &'a mut Address {
    of.and_then(|key| addresses.get_mut(&key)).unwrap_or(others)
}

/// What of an address one host cannot choose freely.
fn block(address: &Multiaddr) -> IpAddr {
    let ip = address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(match ip.to_ipv4_mapped() {
            Some(ip) => IpAddr::V4(ip),
            None => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        }),
        _ => None,
    });
    ip.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> Multiaddr {
        text.parse().expect("an address")
    }

    fn connection(n: usize) -> ConnectionId {
        ConnectionId::new_unchecked(n)
    }

    #[test]
    fn one_address_leaves_handshakes_to_others() {
        let now = Instant::now();
        let mut guard = Guard::new(now, 48);
        let hostile = from("/ip4/192.0.2.1/tcp/1");
        for n in 0..PENDING_PER_ADDRESS {
            assert_eq!(guard.knock(now, connection(n), &hostile), Ok(()));
        }
        let one_more = guard.knock(now, connection(1000), &hostile);
        assert_eq!(one_more, Err(Refused("too-many-handshakes-of-address")));
        assert_eq!(guard.knock(now, connection(1001), &from("/ip4/192.0.2.2/udp/1/quic-v1")), Ok(()));
        guard.gone(connection(0));
        assert_eq!(guard.knock(now, connection(1002), &hostile), Ok(()));
    }

    #[test]
    fn many_addresses_together_have_a_bound() {
        let now = Instant::now();
        let mut guard = Guard::new(now, 48);
        let refused = (0..=PENDING_MAX).map(|n| {
            guard.knock(now, connection(n), &from(&format!("/ip4/10.0.{}.{}/tcp/1", n / 32, n % 32)))
        });
        let refused: Vec<_> = refused.collect();
        assert!(refused[..PENDING_MAX].iter().all(Result::is_ok));
        assert_eq!(refused[PENDING_MAX], Err(Refused("too-many-handshakes")));
    }

    #[test]
    fn one_address_connects_no_oftener_than_its_rate() {
        let now = Instant::now();
        let mut guard = Guard::new(now, 48);
        let knock = |guard: &mut Guard, now, n: u32| {
            // Others of its /64 are the same host.
            let hostile = from(&format!("/ip6/2001:db8::{n:x}/tcp/1"));
            let verdict = guard.knock(now, connection(n as usize), &hostile);
            guard.gone(connection(n as usize));
            verdict
        };
        assert!((0..BURST).all(|n| knock(&mut guard, now, n).is_ok()));
        assert_eq!(knock(&mut guard, now, BURST), Err(Refused("connects-too-often")));
        assert_eq!(guard.knock(now, connection(9000), &from("/ip6/2001:db8:0:1::1/tcp/1")), Ok(()));
        let later = now + Duration::from_secs(1);
        assert!((0..RATE).all(|n| knock(&mut guard, later, n).is_ok()));
        assert_eq!(knock(&mut guard, later, RATE), Err(Refused("connects-too-often")));
    }

    #[test]
    fn one_address_leaves_links_to_others() {
        let now = Instant::now();
        let mut guard = Guard::new(now, 16);
        let hostile = from("/ip4/192.0.2.1/tcp/1");
        for n in 0..13 {
            assert_eq!(guard.knock(now, connection(n), &hostile), Ok(()));
        }
        assert!((0..12).all(|n| guard.admit(connection(n)).is_ok()));
        // It began before the others had ended.
        assert_eq!(guard.admit(connection(12)), Err(Refused("too-many-links-of-address")));
        guard.gone(connection(12));
        let one_more = guard.knock(now, connection(100), &hostile);
        assert_eq!(one_more, Err(Refused("too-many-links-of-address")));
        guard.gone(connection(3));
        assert_eq!(guard.knock(now, connection(101), &hostile), Ok(()));
    }

    #[test]
    fn addresses_are_remembered_in_a_bounded_number() {
        let now = Instant::now();
        let mut guard = Guard::new(now, 48);
        for n in 0..2 * ADDRESSES_MAX {
            let address = from(&format!("/ip4/10.1.{}.{}/tcp/1", n / 256, n % 256));
            let _ = guard.knock(now, connection(n), &address);
            guard.gone(connection(n));
        }
        assert!(guard.addresses.len() <= ADDRESSES_MAX);
        assert_eq!((guard.n_pending, guard.connections.len(), guard.others.n_pending), (0, 0, 0));
        let later = now + Duration::from_secs(60);
        assert_eq!(guard.knock(later, connection(1), &from("/ip4/192.0.2.1/tcp/1")), Ok(()));
        assert_eq!(guard.addresses.len(), 1);
    }

    /// The accounts of the shared entry leaked: what was counted there was taken off the address's own entry.
    #[test]
    fn a_connection_is_taken_off_where_it_was_counted() {
        let now = Instant::now();
        let mut guard = Guard::new(now, 48);
        for n in 0..ADDRESSES_MAX {
            assert_eq!(
                guard.knock(now, connection(n), &from(&format!("/ip4/10.1.{}.{}/tcp/1", n / 256, n % 256))),
                Ok(())
            );
            guard.gone(connection(n));
        }
        let late = from("/ip4/192.0.2.1/tcp/1");
        let (standing, pending, own) = (connection(9000), connection(9001), connection(9002));
        assert_eq!(guard.knock(now, standing, &late), Ok(()));
        assert_eq!(guard.knock(now, pending, &late), Ok(()));
        assert_eq!(guard.admit(standing), Ok(()));
        assert_eq!((guard.others.n_standing, guard.others.n_pending), (1, 1));

        // There is room again, and the address has an entry of its own from then on.
        let later = now + Duration::from_secs(60);
        assert_eq!(guard.knock(later, own, &late), Ok(()));
        guard.gone(standing);
        assert_eq!(guard.admit(pending), Ok(()));
        assert_eq!((guard.others.n_standing, guard.others.n_pending), (1, 0));
        guard.gone(pending);
        assert_eq!((guard.others.n_standing, guard.others.n_pending), (0, 0));
        assert_eq!(guard.addresses.values().map(|address| address.n_pending).sum::<usize>(), 1);
        guard.gone(own);
        assert_eq!((guard.n_pending, guard.connections.len()), (0, 0));
    }
}
