//! What a neighbour may send without credit, how long it may take nothing, and whom nobody dials then.

use super::*;
use crate::io::Pace;
use crate::wire::frame::Credit;

impl Bench {
    /// A frame of so many bytes comes on a stream.
    fn weigh(&mut self, link: LinkId, class: Class, bytes: usize) {
        let end = Frame::from(Served { request: 9, group: 1, count: 0, floor: 0, upto: 0 });
        let frame = check(end.encode().concat(), |_| false).expect("fine");
        self.input(Input::Frame { link, class, bytes, frame });
    }

    fn was_told(&self, pace: Pace) -> bool {
        self.events
            .iter()
            .any(|event| event.starts_with("Pace") && event.ends_with(&format!("pace: {pace:?} }}")))
    }
}

/// Goal: credit is as much as it says. Method: a window in one piece, on each stream with payload, and a byte more.
#[test]
fn whoever_sends_without_credit_is_cut_off() {
    for (class, window) in [
        (Class::Own, limits::CREDIT_LIVE),
        (Class::Forward, limits::CREDIT_LIVE),
        (Class::Bulk, limits::CREDIT_BULK),
    ] {
        let mut bench = Bench::new();
        let link = bench.member();
        bench.weigh(link, class, window as usize);
        assert!(bench.closed.is_empty());
        assert_eq!(bench.sent.get(&50), Some(&1), "it is given back");
        bench.weigh(link, class, window as usize + 1);
        assert_eq!(bench.closed, ["sent without credit"]);
        assert_eq!(bench.engine.status().counters.count("no-credit"), 1);
    }
    let mut bench = Bench::new();
    let link = bench.member();
    bench.weigh(link, Class::Control, limits::CREDIT_LIVE as usize + 1);
    assert!(bench.closed.is_empty(), "talk is free");
}

/// Goal: nobody gets round credit by sending payload as talk.
#[test]
fn payload_is_no_talk() {
    let mut bench = Bench::new();
    let link = bench.member();
    let data = live(&bench.hostile, 0);
    for n in 1..=limits::BLAME_MAX.div_ceil(7) {
        assert!(bench.closed.is_empty());
        bench.bytes_of(link, Class::Control, data.encode().concat());
        assert_eq!(bench.engine.status().counters.count("wrong-class"), u64::from(n));
    }
    assert_eq!(bench.closed, ["misconduct"]);
    assert!(!bench.events.iter().any(|event| event.starts_with("Delivered")));
}

/// Goal: one that takes nothing is slow, blocked, closed, each in its time, and is not dialled for half a minute.
/// Method: a neighbour that beats and reads nothing, under load; then discovery sees it every second.
#[test]
fn one_that_takes_nothing_is_let_go_and_left_alone() {
    let mut bench = Bench::new();
    let link = bench.member();
    let (group, peer) = (key().group_id(), bench.hostile.peer_id());
    bench.writes = false;
    let start = bench.now;
    let mut told = BTreeMap::new();
    for ticket in 1..=1100 {
        let draft = Draft { content: Bytes::from(vec![7; 10_000]), ..Draft::default() };
        if bench.engine.accepts(group, Lane::Durable) {
            bench.input(Input::Command(Command::Publish {
                group,
                lane: Lane::Durable,
                ttl_secs: 0,
                draft,
                ticket,
            }));
        }
        if ticket % 50 == 0 {
            bench.say(link, Beat { n: 1, echo: 0, held: 0, ask: 0 });
        }
        bench.pass(Duration::from_millis(10));
        for pace in [Pace::Slow, Pace::Blocked, Pace::Closed] {
            if bench.was_told(pace) {
                told.entry(pace).or_insert((bench.now - start).as_millis());
            }
        }
        let queued = bench.engine.status().peers.iter().map(|peer| peer.queued).max().unwrap_or(0);
        assert!(queued <= limits::LINK_QUEUE_MAX + 100_000, "{queued} bytes wait");
    }
    assert_eq!(
        told.values().map(|millis| millis / 100).collect::<Vec<_>>(),
        [3, 20, 100],
        "a round trip, as yet unknown, on top: {told:?}"
    );
    assert_eq!(bench.closed.first(), Some(&"slow"));
    let closed_at = start + Duration::from_millis(told[&Pace::Closed] as u64);
    while bench.dialled == 0 {
        bench.input(Input::Found { peer, addresses: vec![Address(vec![1, 2, 3])] });
        bench.pass(Duration::from_secs(1));
        assert!(bench.now - closed_at < Duration::from_secs(90), "never again");
    }
    assert!(bench.now - closed_at >= limits::SLOW_BACKOFF, "after {:?}", bench.now - closed_at);
}

/// Which of `n` neighbours are called slow, and how much the last one was sent, in three seconds in which the first
/// `n_thin` take 100 KB a second and the others all that they are sent.
fn called_slow(n_thin: usize, n: usize) -> (Vec<LinkId>, usize) {
    let mut bench = Bench::new();
    let mut links = Vec::new();
    for i in 0..n {
        bench.hostile = Identity::from_seed([2 + i as u8; 32]);
        bench.record = PeerRecord::new(&bench.hostile, 1, Vec::new(), Vec::new());
        links.push((bench.member(), bench.hostile.peer_id()));
    }
    bench.thin = links[..n_thin].iter().map(|(link, _)| *link).collect();
    let group = key().group_id();
    let mut accepted = 0;
    for ticket in 1..=300 {
        while accepted < ticket * 2 && bench.engine.accepts(group, Lane::Live) {
            let draft = Draft { content: Bytes::from(vec![7; 10_000]), ..Draft::default() };
            let lane = Lane::Live;
            accepted += 1;
            bench.input(Input::Command(Command::Publish {
                group,
                lane,
                ttl_secs: 0,
                draft,
                ticket: accepted,
            }));
        }
        for link in bench.thin.clone() {
            bench.input(Input::Written { link, class: Class::Own, bytes: 1000 });
        }
        for (link, _) in &links {
            bench.say(*link, Credit { live: u64::MAX / 2 + ticket, bulk: 0 });
        }
        bench.pass(Duration::from_millis(10));
    }
    let status = bench.engine.status();
    let is_slow =
        |peer: &PeerId| status.peers.iter().any(|known| known.peer == *peer && known.pace == Pace::Slow);
    let slow = links.iter().filter(|(_, peer)| is_slow(peer)).map(|(link, _)| *link).collect();
    (slow, usize::try_from(accepted).expect("few") * 10_000)
}

/// Goal: one that moves, and keeps all others waiting, is slow; where several lag, or it is the only one, it is waited for.
#[test]
fn one_that_lags_alone_is_not_waited_for() {
    let (slow, sent) = called_slow(1, 4);
    assert_eq!(slow, [LinkId(1)]);
    assert!(sent > 3_000_000, "{sent} bytes were sent to the others");
    for (n_thin, n) in [(3, 4), (4, 4), (1, 1)] {
        let (slow, sent) = called_slow(n_thin, n);
        assert_eq!(slow, [], "{n_thin} of {n}");
        assert!(sent < 2_000_000, "{sent} bytes: they are waited for");
    }
    for n in [3, 5] {
        assert_eq!(called_slow(2, n).0.len(), 2, "half of the others of {n} are in time");
    }
}

/// Goal: what is announced together with payload cannot pile up behind it: nobody takes announcements back. Method: a
/// neighbour that is about to be passed something on, with something else to be told; its queue is empty, or full.
#[test]
fn announcements_do_not_ride_on_a_full_link() {
    for is_full in [false, true] {
        let mut bench = Bench::new();
        let reader = bench.member();
        bench.hostile = Identity::from_seed([3; 32]);
        bench.record = PeerRecord::new(&bench.hostile, 1, Vec::new(), Vec::new());
        let author = bench.member();
        let log = LogId { author: bench.hostile.peer_id(), lane: Lane::Live };
        let range = Range { log, from: 0, to: 0 };
        bench.say(reader, Want { request: 1, group: 1, range, graft: true });
        bench.thin = vec![reader];
        let group = key().group_id();
        let mut ticket = 0;
        while is_full && bench.engine.links.get(&reader).is_some_and(Link::has_live_room) {
            ticket += 1;
            let draft = Draft { content: Bytes::from(vec![7; 10_000]), ..Draft::default() };
            let command = Command::Publish { group, lane: Lane::Live, ttl_secs: 0, draft, ticket };
            bench.input(Input::Command(command));
            bench.pass(limits::BATCH_DELAY);
        }
        bench.sent.clear();
        bench.say(author, live(&Identity::from_seed([4; 32]), 0));
        let passed_on = live(&bench.hostile, 0);
        let (data, announce) =
            (passed_on.kind(), Frame::from(Announce { group: 1, ranges: Vec::new() }).kind());
        bench.say(author, passed_on);
        bench.thin.clear();
        bench.input(Input::Written { link: reader, class: Class::Own, bytes: limits::LINK_QUEUE_MAX });
        assert!(bench.sent.contains_key(&data), "{:?}", bench.sent);
        assert_eq!(bench.sent.contains_key(&announce), !is_full, "{:?}", bench.sent);
        bench.pass(limits::ANNOUNCE_DELAY);
        assert_eq!(bench.sent.get(&announce), Some(&1), "told all the same");
    }
}
