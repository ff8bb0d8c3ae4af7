//! Quotas by address, and what a besieged node does.

use super::*;

/// A multiaddr of a host on the LAN.
fn ip4(host: u8, port: u8) -> Address {
    Address(vec![4, 192, 168, 0, host, 6, 0x5f, port])
}

fn ip6(network: u8, host: u8) -> Address {
    let mut bytes = vec![41, 0x20, 1, 0, 0, 0, 0, 0, network, 0, 0, 0, 0, 0, 0, 0, host];
    bytes.extend([6, 0x5f, 1]);
    Address(bytes)
}

fn record_at(n: u16, addresses: Vec<Address>) -> Arc<PeerRecord> {
    PeerRecord::new(&identity(n), 1, addresses, Vec::new())
}

/// The first of those that give a node the choice.
const FRIENDS: u16 = 700;

impl Bench {
    /// Somebody at an address dials us. True if it is kept.
    fn dialed_from(&mut self, n: u16, why: Why, address: &Address) -> bool {
        let link = self.link(n, false);
        self.overlay.linked_at(link, &peer(n), address);
        // What it says of itself is no evidence.
        let record = record_at(n, vec![ip4(200, n as u8)]);
        let refuse = self.overlay.greeted(self.now, link, peer(n), why, record);
        self.drain();
        refuse.is_none()
    }

    /// With so many links to other addresses.
    fn with_links_to(n_blocks: usize) -> Self {
        let mut bench = Self::partial(0);
        for n in 0..n_blocks as u16 {
            assert!(bench.dialed_from(FRIENDS + n, Why::Group, &ip4(100 + n as u8, 1)));
        }
        bench
    }

    /// Has many come from one address.
    fn besiege(&mut self) {
        for n in 800..800 + limits::SIEGE_AFTER as u16 + limits::LINKS_PER_BLOCK as u16 {
            self.dialed_from(n, Why::Priority, &ip4(9, n as u8));
        }
        assert!(self.overlay.is_besieged(self.now));
    }
}

/// Goal: identities behind one address get as many links as two, whatever they ask for and claim; those of other
/// addresses, and of our own machine, are not among them.
#[test]
fn one_address_gets_few_links() {
    let near = Why::Near { rtt: 0 };
    for why in [Why::Join, Why::Random, Why::Priority, Why::Group, near] {
        let mut bench = Bench::with_links_to(limits::BLOCKS_MIN);
        let kept = (0..10).filter(|n| bench.dialed_from(*n, why, &ip4(9, *n as u8)));
        assert_eq!(kept.count(), limits::LINKS_PER_BLOCK, "{why:?}");
        assert!(bench.dialed_from(60, why, &ip4(10, 1)), "another address");
    }
    let mut bench = Bench::with_links_to(limits::BLOCKS_MIN);
    bench.overlay.set_record(Some(record_at(9999, vec![ip4(9, 1)])));
    assert!((0..5).all(|n| bench.dialed_from(n, Why::Priority, &ip4(9, n as u8))), "our own machine");
    let loopback = Address(vec![4, 127, 0, 0, 1, 6, 1, 1]);
    assert!((5..9).all(|n| bench.dialed_from(n, Why::Priority, &loopback)));
}

/// Goal: who finds everybody behind one address links to them; once there are others, those too many go.
#[test]
fn a_quota_binds_where_there_is_a_choice() {
    let mut bench = Bench::with_links_to(limits::BLOCKS_MIN - 1);
    assert!((0..10).all(|n| bench.dialed_from(n, Why::Priority, &ip4(9, n as u8))));
    assert!(bench.dialed_from(FRIENDS + 50, Why::Group, &ip4(150, 1)));
    // Seventeen and more are a large network.
    for n in 50..60 {
        bench.dialed_from(n, Why::Group, &ip4(n as u8, 1));
    }
    bench.pass(20_000);
    let left = (0..10).filter(|n| bench.overlay.link(&peer(*n)).is_some()).count();
    assert_eq!(left, limits::LINKS_PER_BLOCK);
}

/// Goal: an IPv6 network elsewhere is one operator; our own is as many as there are addresses in it.
#[test]
fn an_ipv6_network_counts_as_one_address_unless_it_is_ours() {
    let mut bench = Bench::with_links_to(limits::BLOCKS_MIN);
    let kept = (0..9).filter(|n| bench.dialed_from(*n, Why::Group, &ip6(1, *n as u8)));
    assert_eq!(kept.count(), limits::LINKS_PER_BLOCK);
    let mut bench = Bench::with_links_to(limits::BLOCKS_MIN);
    bench.overlay.set_record(Some(record_at(9999, vec![ip6(1, 99)])));
    assert!((0..9).all(|n| bench.dialed_from(n, Why::Priority, &ip6(1, n as u8))));
}

/// Goal: the passive view holds few of one address, and no more of them are dialled than may be linked.
#[test]
fn one_address_gets_few_places_in_the_view() {
    let mut bench = Bench::partial(1);
    let peers =
        |from: u16, host: u8| (from..from + 8).map(|n| record_at(n, vec![ip4(host, n as u8)])).collect();
    for (from, host) in [(100, 9), (108, 9), (116, 9), (200, 10)] {
        bench.overlay.shuffle(bench.now, peer(0), Shuffle { reply: true, peers: peers(from, host) });
        bench.drain();
    }
    assert_eq!(bench.overlay.known.len() - 1, 2 * limits::PASSIVE_PER_BLOCK);
    // Named beside an address that nobody else has it is still one of them.
    bench.overlay.learn(record_at(300, vec![ip4(77, 1), ip4(9, 1)]), false);
    assert!(!bench.overlay.known.contains_key(&peer(300)));
    // Who was refused is not remembered beyond that either.
    let mut bench = Bench::with_links_to(limits::BLOCKS_MIN);
    for n in 0..50 {
        bench.dialed_from(n, Why::Random, &ip4(9, n as u8));
    }
    let n_passive = bench.overlay.known.values().filter(|known| !known.is_linked).count();
    assert!(n_passive <= limits::PASSIVE_PER_BLOCK, "{n_passive}");
    // Walks make us dial no more of them than may be linked.
    let mut bench = Bench::with_links_to(limits::BLOCKS_MIN);
    for n in 400..410 {
        let walk = Walk { record: record_at(n, vec![ip4(11, n as u8)]), split: true, hops: 0 };
        bench.overlay.walk(bench.now, peer(FRIENDS), walk);
        bench.drain();
    }
    assert_eq!(bench.dialed.len(), limits::LINKS_PER_BLOCK);
}

/// Goal: a node to which many come from one address keeps one of them, gives up nothing for newcomers or for who says
/// that it is near, and draws some links itself, which stay; and does none of this when it is over.
#[test]
fn a_besieged_node_chooses_its_links() {
    // A large network, so that links are given up.
    let mut bench = Bench::with_links_to(limits::MESH_MAX - limits::RANDOM_LINKS);
    for n in 0..limits::RANDOM_LINKS as u16 {
        bench.overlay.learn(record(n), false);
        bench.overlay.dial(bench.now, peer(n), Why::Random, false);
        bench.answered(n);
    }
    for n in 50..80 {
        bench.overlay.learn(record_at(n, vec![ip4(n as u8, 1)]), false);
    }
    for n in 20..20 + limits::NEAR_LINKS_MAX as u16 {
        assert!(bench.dialed_from(n, Why::Near { rtt: 0 }, &ip4(20 + n as u8, 1)));
        bench.overlay.probed(bench.now, peer(n), Some(Duration::from_millis(50)));
    }
    bench.pass(2000);
    bench.dialed.clear();
    bench.besiege();
    assert!(!bench.dialed_from(40, Why::Near { rtt: 0 }, &ip4(40, 1)));
    bench.walk(FRIENDS, 500, true, 0);
    assert!(bench.dialed.is_empty(), "nothing is given up for a newcomer");
    bench.pass(3000);
    let n_crowding = (800..900).filter(|n| bench.overlay.link(&peer(*n)).is_some()).count();
    assert_eq!(n_crowding, 1);
    for _ in 0..10 {
        for n in (50..80).filter(|n| bench.dialed.contains(&peer(*n))).collect::<Vec<u16>>() {
            if bench.overlay.link(&peer(n)).is_none() {
                bench.answered(n);
            }
        }
        bench.pass(1000);
    }
    let chosen: Vec<PeerId> =
        bench.overlay.active.iter().filter(|(_, up)| up.is_chosen).map(|(peer, _)| *peer).collect();
    assert_eq!(chosen.len(), limits::CHOSEN_LINKS);
    assert_eq!(bench.dialed.len(), limits::CHOSEN_LINKS, "and no more");
    bench.now = bench.now + limits::SIEGE_FOR;
    assert!(!bench.overlay.is_besieged(bench.now));
    assert!(bench.dialed_from(41, Why::Near { rtt: 0 }, &ip4(41, 1)));
    bench.pass(20_000);
    assert!(chosen.iter().all(|peer| bench.overlay.link(peer).is_some()));
}

/// Goal: those who have several addresses, many behind each, get few links together, and what is counted of them has a
/// bound; who comes alone from its address is none of them.
#[test]
fn a_crowd_with_several_addresses_gets_few_links_together() {
    let mut bench = Bench::with_links_to(limits::MESH_MAX);
    for n in 0..64 {
        bench.dialed_from(n, Why::Priority, &ip4(20 + (n / 8) as u8, n as u8));
    }
    bench.pass(20_000);
    let left = (0..64).filter(|n| bench.overlay.link(&peer(*n)).is_some()).count();
    assert_eq!(left, limits::CROWD_LINKS);
    assert!(bench.dialed_from(90, Why::Priority, &ip4(90, 1)));
    for n in 0..limits::CROWDS_MAX as u16 + 9 {
        let [a, b] = n.to_be_bytes();
        let block = bench.overlay.block(&Address(vec![4, 10, 9, a, b, 6, 1, 1]));
        bench.overlay.on_crowded(bench.now, block);
    }
    assert_eq!(bench.overlay.n_crowds(), limits::CROWDS_MAX);
}

/// Goal: a crowd is not let in anew each time the count begins again. Method: one a second, from eight addresses by turns.
#[test]
fn a_crowd_that_goes_on_is_still_one() {
    let mut bench = Bench::with_links_to(limits::MESH_MAX);
    for n in 0..64 {
        bench.dialed_from(n, Why::Priority, &ip4(20 + (n / 8) as u8, n as u8));
    }
    bench.pass(20_000);
    for n in 1000..1000 + 3 * limits::SIEGE_FOR.as_secs() as u16 {
        bench.dialed_from(n, Why::Priority, &ip4(20 + (n % 8) as u8, 1));
        bench.pass(1000);
        let linked = (0..64).chain(1000..=n).filter(|n| bench.overlay.link(&peer(*n)).is_some());
        assert!(linked.count() <= limits::CROWD_LINKS, "{n}");
    }
}

/// Goal: a block is a crowd for the span after that in which CROWD_MIN came, no fewer, no longer.
#[test]
fn a_crowd_is_forgotten_a_span_after_its_last() {
    let mut bench = Bench::with_links_to(limits::MESH_MAX);
    let block = bench.overlay.block(&ip4(20, 1)).expect("another host's");
    let span = u64::try_from(limits::SIEGE_FOR.as_millis()).expect("short");
    for _ in 0..limits::CROWD_MIN {
        assert!(!bench.overlay.siege.has(&block));
        bench.overlay.on_crowded(bench.now, Some(block));
    }
    assert!(bench.overlay.siege.has(&block));
    for is_crowd in [true, false] {
        bench.now = bench.now + Duration::from_millis(span);
        bench.overlay.on_crowded(bench.now, None);
        assert_eq!(bench.overlay.siege.has(&block), is_crowd);
    }
}
