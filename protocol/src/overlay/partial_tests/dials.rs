//! Dials that fail, or have to wait: they cost nobody else a link, and end.

use super::*;

/// Goal: a peer that dialled us while our dial to it failed stays known as long as it is linked. It was forgotten, and
/// its link was counted for ever.
#[test]
fn a_dial_that_fails_late_leaves_the_link_of_the_other() {
    let mut bench = Bench::partial(3);
    bench.overlay.learn(record(50), false);
    bench.overlay.dial(bench.now, peer(50), Why::Random, false);
    let link = bench.link(50, false);
    assert_eq!(bench.overlay.greeted(bench.now, link, peer(50), Why::Random, record(50)), None);
    for _ in 0..3 {
        bench.overlay.dial_failed(bench.now, peer(50), 0);
    }
    assert_eq!(bench.overlay.link(&peer(50)), Some(link));
    bench.pass(10_000);
    assert!(bench.overlay.link_down(bench.now, link, peer(50), 0));
    bench.drain();
    assert_eq!(bench.dialed, [peer(50), peer(50)], "it was lost, and no pause was left over");
    // Nor does a link stay when its peer went.
    let link = bench.overlay.link(&peer(1)).expect("linked");
    bench.overlay.known.remove(&peer(1));
    assert!(!bench.overlay.link_down(bench.now, link, peer(1), 0));
    assert!(bench.overlay.active.keys().eq(&[peer(0), peer(2)]));
}

/// Goal: connections that never say HELLO keep us from dialling nobody. Method: as many as a node has
/// links.
#[test]
fn who_says_nothing_takes_no_place() {
    let mut bench = Bench::partial(2);
    for n in 100..100 + limits::LINKS_MAX as u16 {
        bench.link(n, false);
    }
    bench.overlay.learn(record(50), false);
    bench.overlay.dial(bench.now, peer(50), Why::Random, false);
    bench.drain();
    assert_eq!(bench.dialed, [peer(50)]);
    // Those that we dialled count before they greet.
    for n in 200..200 + limits::LINKS_MAX as u16 - 2 {
        bench.link(n, true);
    }
    bench.overlay.learn(record(51), false);
    bench.overlay.dial(bench.now, peer(51), Why::Random, false);
    bench.drain();
    assert_eq!(bench.dialed, [peer(50)]);
}

/// Goal: a dial that finds no room is made when there is some again; it was dropped.
#[test]
fn a_dial_without_room_waits() {
    let mut bench = Bench::new();
    for n in 100..100 + limits::LINKS_MAX as u16 {
        bench.link(n, true);
    }
    bench.overlay.told(bench.now, peer(50), vec![Address(vec![1])]);
    bench.drain();
    assert_eq!(bench.dialed, []);
    let patience = limits::HELLO_PATIENCE.as_millis() as u64;
    bench.pass(patience);
    assert_eq!(bench.dialed, []);
    let link = bench.overlay.link(&peer(100)).expect("linked");
    bench.overlay.link_down(bench.now, link, peer(100), 0);
    bench.pass(patience);
    assert_eq!(bench.dialed, [peer(50)]);
}

/// Goal: whoever connects and refuses at once tells us of nobody, and of no large network; whom we dialled does.
#[test]
fn only_who_was_dialled_refuses_before_hello() {
    let refuse = || Refuse { why: Refusal::Full, peers: (300..312).map(record).collect() };
    let mut bench = Bench::partial(2);
    let link = bench.link(60, false);
    assert!(!bench.overlay.refused(bench.now, link, peer(60), refuse()));
    assert_eq!(bench.overlay.link(&peer(60)), None);
    assert!(!bench.overlay.known.contains_key(&peer(300)));
    let link = bench.link(61, true);
    assert!(!bench.overlay.refused(bench.now, link, peer(61), refuse()));
    assert!((300..312).all(|n| bench.overlay.known.contains_key(&peer(n))));

    let mut bench = Bench::new();
    let link = bench.link(60, false);
    bench.overlay.refused(bench.now, link, peer(60), refuse());
    assert!(!bench.overlay.is_partial());
    let link = bench.link(61, true);
    bench.overlay.refused(bench.now, link, peer(61), refuse());
    assert!(bench.overlay.is_partial());
}

/// Goal: a lost peer is dialled again for an hour and not for ever.
#[test]
fn a_lost_peer_is_given_up_in_the_end() {
    let mut bench = Bench::partial(3);
    bench.pass(10_000);
    let link = bench.overlay.link(&peer(1)).expect("linked");
    bench.overlay.link_down(bench.now, link, peer(1), 0);
    for _ in 1..limits::LOST_FAILURES_MAX {
        bench.overlay.dial_failed(bench.now, peer(1), 0);
    }
    assert!(bench.overlay.known[&peer(1)].lost.is_some());
    bench.overlay.dial_failed(bench.now, peer(1), 0);
    assert!(!bench.overlay.known.contains_key(&peer(1)));
}

/// Goal: a record that is passed on makes nobody dial himself or nobody, though whoever made up its identity has signed
/// it; one that somebody on this host passes on may say that its peer is here.
#[test]
fn a_record_that_says_it_is_here_is_not_dialed() {
    let addresses =
        [[4, 127, 0, 0, 1, 6, 0, 80], [4, 0, 0, 0, 0, 6, 0, 80]].map(|bytes| Address(bytes.to_vec()));
    let made_up = PeerRecord::new(&identity(50), 1, addresses.to_vec(), Vec::new());
    for is_told_here in [false, true] {
        let mut bench = Bench::partial(3);
        bench.overlay.learn(made_up.clone(), is_told_here);
        bench.overlay.dial(bench.now, peer(50), Why::Random, false);
        let facts = bench.overlay.take_facts();
        let dialed: Vec<_> = facts
            .into_iter()
            .filter_map(|fact| match fact {
                Fact::Connect { addresses, .. } => Some(addresses),
                _ => None,
            })
            .collect();
        let expected = if is_told_here { vec![addresses[..1].to_vec()] } else { Vec::new() };
        assert_eq!(dialed, expected);
    }
}
