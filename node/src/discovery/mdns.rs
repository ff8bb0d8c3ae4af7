//! mDNS by libp2p: how it is set up, and what its events mean here.
//!
//! The swarm owns the behaviour; the driver hands its events to `Discovery::on_mdns`. The behaviour reports a
//! peer once and is then silent until the record expires, even if the dial failed; what it lists therefore goes
//! into the table of candidates, which reports it again until a link stands. Its service name is shared by all
//! programs that use libp2p, so a listed peer may be a stranger: the driver says so by `Discovery::stranger`.

use std::time::{Duration, Instant};

use djembe_protocol::id::PeerId;
use libp2p::{Multiaddr, mdns};

use super::bounds::KNOWN_PEERS_MAX;
use super::candidates::{Candidates, Source};

/// Multicast gets lost, most of all over Wi-Fi; libp2p's own five minutes make a lost packet a long wait.
const QUERY_INTERVAL: Duration = Duration::from_secs(12);
/// Some five lost answers in a row.
const TTL: Duration = Duration::from_secs(60);

/// How to set up the behaviour. It serves one address family; IPv4 unless asked.
pub(crate) fn config(ipv6: bool) -> mdns::Config {
    mdns::Config { ttl: TTL, query_interval: QUERY_INTERVAL, enable_ipv6: ipv6 }
}

/// The behaviour lists these.
pub(super) fn on_listed(
    candidates: &mut Candidates,
    now: Instant,
    me: PeerId,
    list: Vec<(PeerId, Multiaddr)>,
) {
    for (peer, mut address) in list.into_iter().take(KNOWN_PEERS_MAX).filter(|(peer, _)| *peer != me) {
        super::strip_peer(&mut address);
        candidates.vouch(now, peer, Source::Mdns, address, None);
    }
}

/// The behaviour lists these no longer.
pub(super) fn on_expired(candidates: &mut Candidates, list: Vec<(PeerId, Multiaddr)>) {
    for (peer, mut address) in list {
        super::strip_peer(&mut address);
        candidates.withdraw(peer, Source::Mdns, Some(&address));
    }
}

#[cfg(test)]
mod tests {
    use super::super::jitter::Jitter;
    use super::super::testing::Signer;
    use super::*;

    fn listed(signer: &Signer) -> Vec<(PeerId, Multiaddr)> {
        let address = format!("/ip4/10.0.0.1/tcp/1/p2p/{}", signer.libp2p_peer());
        vec![(signer.peer(), address.parse().expect("an address"))]
    }

    #[test]
    fn a_listed_peer_is_reported_again_until_it_is_linked_or_expires() {
        let now = Instant::now();
        let (me, other) = (Signer::numbered(0), Signer::numbered(1));
        let mut candidates = Candidates::new(Jitter::seeded(1));
        on_listed(&mut candidates, now, me.peer(), listed(&other));
        let found = candidates.poll(now).expect("reported");
        assert_eq!(found.peer, other.peer());
        assert_eq!(found.addresses, ["/ip4/10.0.0.1/tcp/1".parse().expect("an address")]);
        // The dial failed, and libp2p will not mention the peer again.
        let again = candidates.next_deadline().expect("reported again");
        assert!(candidates.poll(again).is_some());
        on_expired(&mut candidates, listed(&other));
        let last = candidates.next_deadline().expect("looked at once more");
        assert_eq!(candidates.poll(last), None);
        assert_eq!(candidates.next_deadline(), None);
    }

    #[test]
    fn our_own_record_is_no_candidate() {
        let now = Instant::now();
        let me = Signer::numbered(0);
        let mut candidates = Candidates::new(Jitter::seeded(1));
        on_listed(&mut candidates, now, me.peer(), listed(&me));
        assert_eq!(candidates.next_deadline(), None);
    }
}
