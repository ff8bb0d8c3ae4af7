//! What neighbours say of others makes a node dial in measure, and costs nobody a place.

use super::*;
use crate::overlay::hearsay;
use crate::wire::frame::Signature;

/// A neighbour's addresses on a port of a host that has nothing to do with djembe, or does not want to.
fn there(n: u64) -> Vec<Address> {
    let [a, b, c] = [(n >> 16) as u8, (n >> 8) as u8, n as u8];
    vec![Address(vec![4, 192, a, b, c, 6, 0, 80])]
}

fn list(of: core::ops::Range<u64>) -> Vec<(PeerId, Vec<Address>)> {
    of.map(|n| (stranger(n), there(n))).collect()
}

/// A node with one neighbour that both have greeted.
fn linked() -> Overlay {
    let mut overlay = Overlay::new(ME, 1);
    overlay.link_up(at(0), LinkId(1), LOW, false);
    greet(&mut overlay, LinkId(1), LOW);
    overlay
}

fn greet(overlay: &mut Overlay, link: LinkId, peer: PeerId) {
    let record =
        PeerRecord { peer, seq: 1, addresses: Vec::new(), tags: Vec::new(), signature: Signature([0; 64]) }
            .into();
    assert_eq!(overlay.greeted(at(0), link, peer, Why::Mesh, record), None);
}

/// Lets every dial fail, for so long. Returns how many there were.
fn fail(overlay: &mut Overlay, from: u64, millis: u64) -> usize {
    let mut n = 0;
    for now in (from..from + millis).step_by(100) {
        overlay.on_deadline(at(now));
        for peer in dials(overlay) {
            n += usize::from(overlay.known[&peer].told_by.is_some());
            overlay.dial_failed(at(now), peer, 0);
        }
    }
    n
}

/// Goal: a neighbour that names others without end, each somewhere else, makes us dial so many at once and so many a
/// second, and has no more than its share of what is remembered. It decided how often, and whom we knew made room.
#[test]
fn who_names_without_end_is_dialed_for_in_measure() {
    let mut overlay = linked();
    let friend = PeerId([8; 32]);
    overlay.found(at(0), friend, address(1));
    assert_eq!(dials(&mut overlay), [friend]);
    let mut n_dials = 0;
    for round in 0..600 {
        overlay.neighbours_of(at(round * 100), LOW, list(64 * round..64 * (round + 1)));
        for peer in dials(&mut overlay) {
            n_dials += u32::from(peer != friend);
            overlay.dial_failed(at(round * 100), peer, 0);
        }
        n_dials += fail(&mut overlay, round * 100, 100) as u32;
        let told = overlay.known.values().filter(|known| known.told_by.is_some()).count();
        assert!(told <= limits::HEARSAY_PER_LINK, "{told}");
    }
    assert!(overlay.known.contains_key(&friend), "what was seen stays");
    let most = hearsay::DIALS.burst + 60 * hearsay::DIALS.tokens;
    assert!((hearsay::DIALS.burst..=most).contains(&n_dials), "{n_dials} dials in a minute");
}

/// Goal: many such neighbours together have half of what can be known, whoever they are.
#[test]
fn hearsay_has_half_of_the_room() {
    let mut overlay = Overlay::new(ME, 1);
    for n in 0..15 {
        let teller = PeerId([100 + n as u8; 32]);
        overlay.link_up(at(0), LinkId(n), teller, false);
        greet(&mut overlay, LinkId(n), teller);
        overlay.neighbours_of(at(0), teller, list(64 * n..64 * (n + 1)));
    }
    assert!(!overlay.is_partial());
    let told = overlay.known.values().filter(|known| known.told_by.is_some()).count();
    assert_eq!(told, limits::HEARSAY_MAX);
    // Discovery finds room all the same: hearsay makes it, but for those being dialled.
    for peer in dials(&mut overlay) {
        overlay.dial_failed(at(1), peer, 0);
    }
    for n in 0..limits::KNOWN_PEERS_MAX as u64 - 15 {
        overlay.found(at(0), stranger(1_000_000 + n), address(1));
    }
    assert!(overlay.known.values().all(|known| known.told_by.is_none()));
}

/// Goal: who can be dialled where a neighbour said is linked, and known from then on; a name that comes to nothing is
/// forgotten once nobody gives it, and dialled on as long as somebody does.
#[test]
fn a_name_lasts_as_long_as_somebody_gives_it() {
    let mut overlay = linked();
    overlay.neighbours_of(at(0), LOW, list(1..3));
    assert_eq!(dials(&mut overlay), [stranger(1), stranger(2)]);
    overlay.link_up(at(1), LinkId(2), stranger(1), true);
    greet(&mut overlay, LinkId(2), stranger(1));
    overlay.link_down(at(6000), LinkId(2), stranger(1), 0);
    overlay.dial_failed(at(6000), stranger(2), 0);
    fail(&mut overlay, 6000, 120_000);
    assert!(overlay.known.contains_key(&stranger(1)) && overlay.known.contains_key(&stranger(2)));
    overlay.neighbours_of(at(126_000), LOW, Vec::new());
    dials(&mut overlay);
    fail(&mut overlay, 126_000, 60_000);
    assert!(overlay.known.contains_key(&stranger(1)), "it was met");
    assert!(!overlay.known.contains_key(&stranger(2)));
}

/// Goal: hearsay neither takes the place of addresses that are known nor hastens a dial.
#[test]
fn hearsay_changes_nothing_about_who_is_known() {
    let mut overlay = linked();
    let known: Vec<Address> = (0..7).flat_map(address).collect();
    overlay.found(at(0), HIGH, known.clone());
    assert_eq!(dials(&mut overlay), [HIGH]);
    overlay.dial_failed(at(0), HIGH, 0);
    for n in 0..20 {
        overlay.neighbours_of(at(1), LOW, vec![(HIGH, there(n))]);
    }
    assert_eq!(dials(&mut overlay), []);
    overlay.on_deadline(at(250));
    let facts = overlay.take_facts();
    let [Fact::Connect { peer: HIGH, addresses }] = &facts[..] else { panic!("{facts:?}") };
    assert!(known.iter().all(|address| addresses.contains(address)), "{addresses:?}");
    assert_eq!(addresses.last(), there(0).first(), "as far as there is room");
    assert_eq!(addresses.len(), PeerRecord::ADDRESSES_MAX);
}

/// Goal: nobody makes us dial what is on this host only, or is nobody's; a neighbour on this host may.
#[test]
fn addresses_that_are_not_the_tellers_to_give_are_not_dialed() {
    let bad: [&[u8]; 6] = [
        &[4, 127, 0, 0, 1, 6, 0, 80],
        &[4, 0, 0, 0, 0, 6, 0, 80],
        &[4, 224, 0, 0, 251, 6, 0, 80],
        &[4, 255, 255, 255, 255, 6, 0, 80],
        &[41, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 6, 0, 80],
        &[41, 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 6, 0, 80],
    ];
    for (link_at, allowed) in [(&[4, 192, 0, 2, 1, 6, 0, 80][..], 0), (&[4, 127, 0, 0, 1, 6, 1, 1][..], 2)] {
        let mut overlay = linked();
        overlay.linked_at(LinkId(1), &LOW, &Address(link_at.to_vec()));
        let told = bad.iter().zip(1..).map(|(bad, n)| (stranger(n), vec![Address(bad.to_vec())]));
        overlay.neighbours_of(at(0), LOW, told.collect());
        assert_eq!(dials(&mut overlay).len(), allowed);
        overlay.neighbours_of(at(0), LOW, list(20..21));
        assert_eq!(dials(&mut overlay), [stranger(20)]);
    }
}

/// Goal: connections that say nothing leave nothing behind, and keep nobody from being linked or dialled. They filled
/// the table of known peers, and for 5 s each all links of a mesh. Method: as many as a node has, again and again.
#[test]
fn who_comes_and_says_nothing_leaves_nothing() {
    let mut overlay = linked();
    overlay.found(at(0), HIGH, address(1));
    overlay.dial_failed(at(0), HIGH, 0);
    for round in 0..8 {
        let ids = (0..limits::CONNECTIONS_MAX as u64 - 2).map(|n| 1000 * (round + 1) + n);
        for n in ids.clone() {
            overlay.link_up(at(round), LinkId(n), stranger(n), false);
        }
        dials(&mut overlay);
        // There is room for one that greets, and for a dial.
        overlay.link_up(at(round), LinkId(2), stranger(1), false);
        assert!(closed(&mut overlay).is_empty());
        overlay.found(at(round), stranger(2), address(2));
        overlay.forget(&stranger(2));
        assert_eq!(dials(&mut overlay), [stranger(2)]);
        for n in ids {
            overlay.link_down(at(round), LinkId(n), stranger(n), 0);
        }
        overlay.link_down(at(round), LinkId(2), stranger(1), 0);
        let known: Vec<PeerId> = overlay.known.keys().copied().collect();
        assert_eq!(known, [LOW, HIGH]);
    }
}

/// Goal: what a neighbour has used up it does not get back by connecting anew: neither dials to whom it names, nor
/// walks. Each connection began with a full measure. Method: a newer link, as it need not even close; and one that
/// ends before it greets, which leaves nothing else behind.
#[test]
fn a_measure_does_not_begin_anew_with_each_connection() {
    let mut overlay = linked();
    let mut n_dials = 0;
    for round in 0..100 {
        let now = round * 100;
        overlay.neighbours_of(at(now), LOW, list(0..64));
        for peer in dials(&mut overlay) {
            n_dials += 1;
            overlay.dial_failed(at(now), peer, 0);
        }
        n_dials += fail(&mut overlay, now, 100) as u32;
        overlay.link_down(at(now + 100), LinkId(2 * round + 1), LOW, 0);
        overlay.link_up(at(now + 100), LinkId(2 * round + 2), LOW, false);
        overlay.link_down(at(now + 100), LinkId(2 * round + 2), LOW, 0);
        for _ in 0..2 {
            overlay.link_up(at(now + 100), LinkId(2 * round + 3), LOW, false);
        }
        greet(&mut overlay, LinkId(2 * round + 3), LOW);
    }
    let most = hearsay::DIALS.burst + 10 * hearsay::DIALS.tokens;
    assert!((hearsay::DIALS.burst..=most).contains(&n_dials), "{n_dials} dials in 10 s");

    assert!((0..limits::WALKS_BURST).all(|_| overlay.may_speak(at(20_000), &LOW)));
    overlay.link_up(at(20_000), LinkId(1000), LOW, false);
    assert!(!overlay.may_speak(at(20_000), &LOW));
}

/// Goal: nor by coming under another name each time, beyond a measure of all names together; and what is remembered of
/// who used up a measure is bounded.
#[test]
fn tellers_without_end_have_a_measure_together() {
    let mut overlay = Overlay::new(ME, 1);
    let mut n_dials = 0;
    for n in 0..100 {
        let (now, teller, link) = (n * 100, stranger(1_000_000 + n), LinkId(n));
        overlay.link_up(at(now), link, teller, false);
        overlay.neighbours_of(at(now), teller, list(64 * n..64 * (n + 1)));
        for peer in dials(&mut overlay) {
            n_dials += 1;
            overlay.dial_failed(at(now), peer, 0);
        }
        n_dials += fail(&mut overlay, now, 100) as u32;
        overlay.link_down(at(now + 100), link, teller, 0);
    }
    let most = hearsay::DIALS_OF_ALL.burst + 10 * hearsay::DIALS_OF_ALL.tokens;
    assert!((hearsay::DIALS_OF_ALL.burst..=most).contains(&n_dials), "{n_dials} dials in 10 s");
    for n in 0..2 * limits::OFFENDERS_MAX as u64 {
        overlay.link_up(at(10_000), LinkId(n), stranger(n), false);
        assert!(overlay.may_speak(at(10_000), &stranger(n)));
        overlay.link_down(at(10_000), LinkId(n), stranger(n), 0);
    }
    assert_eq!(overlay.allowances.len(), limits::OFFENDERS_MAX);
}

/// Goal: names where nobody answers leave room for dials to whom discovery finds. They held every place.
#[test]
fn whom_discovery_finds_is_dialed_beside_names() {
    let mut overlay = linked();
    overlay.neighbours_of(at(0), LOW, list(0..64));
    assert_eq!(dials(&mut overlay).len(), limits::HEARSAY_DIALS_MAX);
    overlay.found(at(0), HIGH, address(1));
    assert_eq!(dials(&mut overlay), [HIGH]);
    // Those that failed make room for the other names.
    fail(&mut overlay, 10_000, 2000);
    overlay.on_deadline(at(30_000));
    assert!(overlay.known.values().all(|known| known.failures > 0 || known.is_linked));
}

/// Goal: names that nobody gives any more keep no others out. Those of neighbours that had left did, for some twenty
/// minutes. One that is being dialled is not forgotten.
#[test]
fn names_of_those_who_left_make_room() {
    let mut overlay = Overlay::new(ME, 1);
    for n in 0..8 {
        let teller = PeerId([100 + n as u8; 32]);
        overlay.link_up(at(0), LinkId(n), teller, false);
        greet(&mut overlay, LinkId(n), teller);
        overlay.neighbours_of(at(0), teller, list(64 * n..64 * (n + 1)));
    }
    overlay.link_up(at(0), LinkId(8), LOW, false);
    greet(&mut overlay, LinkId(8), LOW);
    let names = list(10_000..10_064);
    let heard = |overlay: &Overlay| names.iter().filter(|(peer, _)| overlay.known.contains_key(peer)).count();
    overlay.neighbours_of(at(0), LOW, names.clone());
    assert_eq!(heard(&overlay), 0, "somebody gives each of the others");
    for n in 0..8 {
        overlay.link_down(at(1), LinkId(n), PeerId([100 + n as u8; 32]), 0);
    }
    for peer in dials(&mut overlay) {
        overlay.dial_failed(at(1), peer, 0);
    }
    // One is forgotten for the first name; the next, being given again, is dialled, and not forgotten for the third.
    let again = [&names[..1], &list(510..511), &names[1..63]].concat();
    overlay.neighbours_of(at(2000), LOW, again);
    assert!(dials(&mut overlay).contains(&stranger(510)));
    assert!(!overlay.known.contains_key(&stranger(511)) && overlay.known.contains_key(&stranger(510)));
    overlay.neighbours_of(at(2000), LOW, names.clone());
    assert_eq!(heard(&overlay), 64);
    let told = overlay.known.values().filter(|known| known.told_by.is_some()).count();
    assert_eq!(told, limits::HEARSAY_MAX);
    let dialing = overlay.known.values().filter(|known| known.dialing.is_some()).count();
    assert_eq!(overlay.n_dialing, dialing);
}

/// Goal: a mere name takes the place of another name, and not of one that was met or seen.
#[test]
fn a_name_takes_nobodys_place_who_is_known() {
    let mut overlay = linked();
    for n in 1..limits::KNOWN_PEERS_MAX as u64 {
        overlay.found(at(0), stranger(n), address(1));
        for peer in dials(&mut overlay) {
            overlay.dial_failed(at(0), peer, 0);
        }
    }
    let known: Vec<PeerId> = overlay.known.keys().copied().collect();
    assert_eq!(known.len(), limits::KNOWN_PEERS_MAX);
    overlay.neighbours_of(at(0), LOW, list(10_000..10_064));
    assert!(overlay.known.keys().eq(&known));
    overlay.forget(&stranger(1));
    overlay.neighbours_of(at(0), LOW, list(10_000..10_001));
    assert!(overlay.known.contains_key(&stranger(10_000)));
    for peer in dials(&mut overlay) {
        overlay.dial_failed(at(0), peer, 0);
    }
    overlay.neighbours_of(at(0), LOW, list(10_001..10_002));
    assert!(!overlay.known.contains_key(&stranger(10_000)) && overlay.known.contains_key(&stranger(10_001)));
}

/// Goal: what a neighbour says of a linked peer is not told to others as that peer's own: one falsehood would go round
/// the mesh under honest names.
#[test]
fn hearsay_is_not_passed_on() {
    fn told(overlay: &Overlay) -> Vec<Address> {
        let mut neighbours = overlay.neighbours();
        let of =
            neighbours.find_map(|(peer, addresses)| (peer == HIGH).then(|| addresses.cloned().collect()));
        of.expect("linked")
    }
    let mut overlay = linked();
    overlay.neighbours_of(at(0), LOW, vec![(HIGH, there(1))]);
    overlay.link_up(at(0), LinkId(2), HIGH, true);
    greet(&mut overlay, LinkId(2), HIGH);
    overlay.found(at(0), HIGH, there(2));
    overlay.neighbours_of(at(0), LOW, vec![(HIGH, there(3))]);
    assert_eq!(overlay.known[&HIGH].addresses.len(), 3, "for dials of our own");
    assert_eq!(told(&overlay), there(2));
    overlay.told(at(0), HIGH, there(3));
    assert_eq!(told(&overlay), [there(2), there(3)].concat());
}

/// Goal: nor does anybody make us dial this host or nobody by saying that it is there itself, unless it is on this host.
#[test]
fn nobody_is_dialed_where_it_cannot_be() {
    let loopback = Address(vec![4, 127, 0, 0, 1, 6, 0, 80]);
    let multicast = Address(vec![4, 224, 0, 0, 251, 6, 0, 80]);
    let from_here = Address(vec![4, 127, 0, 0, 1, 6, 1, 1]);
    for (from, kept) in [(&there(9)[0], there(1)), (&from_here, [there(1), vec![loopback.clone()]].concat())]
    {
        let mut overlay = Overlay::new(ME, 1);
        overlay.link_up(at(0), LinkId(1), LOW, false);
        overlay.linked_at(LinkId(1), &LOW, from);
        let addresses = [vec![loopback.clone(), multicast.clone()], there(1)].concat();
        let record =
            PeerRecord { peer: LOW, seq: 1, addresses, tags: Vec::new(), signature: Signature([0; 64]) }
                .into();
        assert_eq!(overlay.greeted(at(0), LinkId(1), LOW, Why::Mesh, record), None);
        overlay.take_facts();
        overlay.link_down(at(6000), LinkId(1), LOW, 0);
        let facts = overlay.take_facts();
        let [Fact::Connect { peer: LOW, addresses }] = &facts[..] else { panic!("{facts:?}") };
        assert_eq!(addresses, &kept);
    }
    // Discovery sees what is on this host.
    let mut overlay = Overlay::new(ME, 1);
    overlay.found(at(0), LOW, vec![loopback.clone(), multicast]);
    assert_eq!(overlay.take_facts(), [Fact::Connect { peer: LOW, addresses: vec![loopback] }]);
}
