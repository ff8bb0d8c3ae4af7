//! What a neighbour may send without credit, how long it may take nothing, and whom nobody dials then.

use super::*;
use crate::io::Pace;

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
            bench.say(link, Beat { n: 1, echo: 0, held: 0, ask: false });
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
