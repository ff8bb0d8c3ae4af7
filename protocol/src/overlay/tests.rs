//! Whom to dial, when again, which of two links stays, and how much is remembered.

mod hearsay;

use super::*;

const ME: PeerId = PeerId([5; 32]);
const LOW: PeerId = PeerId([1; 32]);
const HIGH: PeerId = PeerId([9; 32]);

fn at(millis: u64) -> Timestamp {
    Timestamp::from_micros(millis * 1000)
}

fn address(n: u8) -> Vec<Address> {
    vec![Address(vec![n])]
}

fn dials(overlay: &mut Overlay) -> Vec<PeerId> {
    let facts = overlay.take_facts().into_iter();
    facts
        .filter_map(|fact| match fact {
            Fact::Connect { peer, .. } => Some(peer),
            _ => None,
        })
        .collect()
}

fn closed(overlay: &mut Overlay) -> Vec<u64> {
    let facts = overlay.take_facts().into_iter();
    facts
        .filter_map(|fact| match fact {
            Fact::Disconnect { link, .. } | Fact::Retire { link } => Some(link.0),
            _ => None,
        })
        .collect()
}

/// Goal: of links to one peer one stays, and both sides keep the same. Each row: who, the links in order (did I
/// dial?), which one stays.
#[test]
fn one_link_stays() {
    for (peer, links, stays) in [
        (HIGH, &[true, false][..], 1),
        (HIGH, &[false, true], 2),
        (LOW, &[true, false], 2),
        (LOW, &[false, true], 1),
        // The same direction twice: the old one is a ghost of before a crash.
        (HIGH, &[true, true], 2),
        (LOW, &[true, true], 2),
        (HIGH, &[false, false], 2),
        (LOW, &[false, false], 2),
        (HIGH, &[false, true, false], 2),
    ] {
        let mut overlay = Overlay::new(ME, 1);
        for (n, dialed) in links.iter().enumerate() {
            overlay.link_up(at(0), LinkId(n as u64 + 1), peer, *dialed);
        }
        assert_eq!(overlay.link(&peer), Some(LinkId(stays)), "{peer:?} {links:?}");
        assert_eq!(closed(&mut overlay).len(), links.len() - 1);
        for n in 1..=links.len() as u64 {
            let is_last = overlay.link_down(at(1), LinkId(n), peer, 0);
            assert_eq!(is_last, n == stays);
        }
        assert_eq!(overlay.active.len(), 0);
    }
}

/// Goal: a peer that comes back is not refused because the link to its former run still seems to stand.
#[test]
fn a_settled_link_makes_room_for_a_new_one() {
    for (age, stays) in [(4999, 1), (5000, 2)] {
        for (peer, first) in [(HIGH, true), (LOW, false)] {
            let mut overlay = Overlay::new(ME, 1);
            overlay.link_up(at(0), LinkId(1), peer, first);
            overlay.link_up(at(age), LinkId(2), peer, !first);
            assert_eq!(overlay.link(&peer), Some(LinkId(stays)), "{peer:?} after {age} ms");
        }
    }
}

#[test]
fn a_failed_dial_is_tried_again_later_and_later() {
    let mut overlay = Overlay::new(ME, 1);
    overlay.found(at(0), LOW, address(1));
    assert_eq!(dials(&mut overlay), [LOW]);
    overlay.told(at(1), LOW, address(1));
    assert_eq!(dials(&mut overlay), [], "one dial at a time");
    let mut now = 10;
    for pause in [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
        overlay.dial_failed(at(now), LOW, 0);
        overlay.told(at(now + 1), LOW, address(1));
        overlay.on_deadline(at(now + pause - 1));
        assert_eq!(dials(&mut overlay), [], "{pause} ms are not over");
        overlay.on_deadline(at(now + pause));
        assert_eq!(dials(&mut overlay), [LOW], "after {pause} ms");
        now += pause;
    }
    // Discovery sees it again: the back-off is over.
    overlay.dial_failed(at(now), LOW, 255);
    overlay.found(at(now + 999), LOW, address(1));
    assert_eq!(dials(&mut overlay), []);
    overlay.found(at(now + 1000), LOW, address(1));
    assert_eq!(dials(&mut overlay), [LOW]);
    // A new address is worth a try at once.
    overlay.dial_failed(at(now + 1001), LOW, 0);
    overlay.told(at(now + 1002), LOW, address(2));
    assert_eq!(dials(&mut overlay), [LOW]);
}

/// Goal: an address that comes while others are being dialled is tried when these have failed, without a pause; it
/// had to wait for the next time somebody told of it, or for the back-off. What was known already is no news.
#[test]
fn an_address_that_comes_during_a_dial_is_tried_next() {
    let mut overlay = Overlay::new(ME, 1);
    overlay.told(at(0), LOW, address(1));
    assert_eq!(dials(&mut overlay), [LOW]);
    overlay.told(at(1), LOW, address(2));
    overlay.told(at(2), LOW, address(1));
    assert_eq!(dials(&mut overlay), []);
    overlay.dial_failed(at(3), LOW, 0);
    let facts = overlay.take_facts();
    let [Fact::Connect { peer: LOW, addresses }] = &facts[..] else { panic!("{facts:?}") };
    assert!(addresses.contains(&address(2)[0]), "{addresses:?}");
    overlay.told(at(4), LOW, address(2));
    overlay.dial_failed(at(5), LOW, 0);
    assert_eq!(dials(&mut overlay), []);
}

#[test]
fn a_dial_that_is_never_answered_has_failed() {
    let mut overlay = Overlay::new(ME, 1);
    overlay.found(at(0), LOW, address(1));
    dials(&mut overlay);
    overlay.on_deadline(at(10_000));
    overlay.on_deadline(at(10_300));
    assert_eq!(dials(&mut overlay), [LOW]);
}

/// Goal: a peer that closes every link at once is not dialled in a loop; one that was lost is, at once.
#[test]
fn a_link_that_did_not_last_counts_as_a_failed_dial() {
    let mut overlay = Overlay::new(ME, 1);
    overlay.found(at(0), HIGH, address(1));
    dials(&mut overlay);
    let mut now = 0;
    for (link, pause) in [(1, 250), (2, 500), (3, 1000)] {
        overlay.link_up(at(now), LinkId(link), HIGH, true);
        overlay.link_down(at(now + 1), LinkId(link), HIGH, 0);
        overlay.on_deadline(at(now + pause));
        assert_eq!(dials(&mut overlay), []);
        overlay.on_deadline(at(now + 1 + pause));
        assert_eq!(dials(&mut overlay), [HIGH]);
        now += 1 + pause;
    }
    overlay.link_up(at(now), LinkId(4), HIGH, true);
    overlay.link_down(at(now + 5000), LinkId(4), HIGH, 0);
    assert_eq!(dials(&mut overlay), [HIGH]);
}

#[test]
fn nobody_dials_himself_or_who_said_goodbye() {
    let mut overlay = Overlay::new(ME, 1);
    overlay.found(at(0), ME, address(1));
    assert_eq!(dials(&mut overlay), []);
    overlay.link_up(at(0), LinkId(1), ME, true);
    assert_eq!(closed(&mut overlay), [1]);
    overlay.found(at(0), LOW, address(1));
    overlay.link_up(at(0), LinkId(2), LOW, true);
    dials(&mut overlay);
    overlay.forget(&LOW);
    overlay.link_down(at(9000), LinkId(2), LOW, 0);
    overlay.on_deadline(at(60_000));
    assert_eq!(dials(&mut overlay), []);
}

fn stranger(n: u64) -> PeerId {
    let mut id = [7; 32];
    id[..8].copy_from_slice(&n.to_be_bytes());
    PeerId(id)
}

#[test]
fn links_dials_and_known_peers_are_bounded_from_both_sides() {
    let mut overlay = Overlay::new(ME, 1);
    for n in 0..limits::CONNECTIONS_MAX as u64 {
        overlay.link_up(at(0), LinkId(n), stranger(n), false);
    }
    assert!(closed(&mut overlay).is_empty());
    overlay.link_up(at(0), LinkId(999), LOW, false);
    assert_eq!(closed(&mut overlay), [999]);
    assert!(!overlay.link_down(at(1), LinkId(999), LOW, 0));

    let mut overlay = Overlay::new(ME, 1);
    for n in 0..2 * limits::KNOWN_PEERS_MAX as u64 {
        overlay.found(at(0), stranger(n), address(1));
        for peer in dials(&mut overlay) {
            if n % 2 == 0 {
                overlay.dial_failed(at(0), peer, 0);
            }
        }
        assert!(overlay.n_dialing <= limits::DIALS_MAX);
    }
    assert_eq!(overlay.known.len(), limits::KNOWN_PEERS_MAX);
    let dialing = overlay.known.values().filter(|known| known.dialing.is_some()).count();
    assert_eq!(overlay.n_dialing, dialing);
    assert_eq!(dialing, limits::DIALS_MAX);
}

#[test]
fn observers_are_linked_neighbours_who_say_so() {
    let mut overlay = Overlay::new(ME, 1);
    overlay.link_up(at(0), LinkId(1), LOW, false);
    overlay.neighbours_of(at(0), LOW, vec![(HIGH, address(1))]);
    // Somebody without a link to us has no say.
    overlay.neighbours_of(at(0), stranger(1), vec![(HIGH, address(1))]);
    assert_eq!(overlay.observers(&HIGH), [LOW].into());
    assert_eq!(dials(&mut overlay), [HIGH], "and is worth knowing");
    overlay.link_down(at(9000), LinkId(1), LOW, 0);
    assert!(overlay.observers(&HIGH).is_empty());
}
