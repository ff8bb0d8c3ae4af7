//! Neighbours that overdo it: what is borne, what is not, and that nobody gets away by coming back.

use super::*;
use crate::wire::frame::{CheckedFrame, FLOOD, Goodbye};

const UNREADABLE: &[u8] = &[100, 1, 2, 3];

/// The first envelope of the hostile neighbour's own; it opens.
fn envelope(bench: &Bench, lane: Lane) -> Frame {
    let body = crate::message::encode_body(&Draft::default(), Hlc(1)).expect("a draft");
    let input = crate::crypto::SealInput {
        lane,
        seq: 0,
        prev: EnvelopeId::NONE,
        skip: 0,
        ttl_secs: 0,
        bodies: &[body],
        frame_salt: [0; 16],
    };
    let envelope = crate::crypto::seal(&bench.hostile, &*key(), &input).expect("small");
    Frame::Data { group: 1, tree: 0, envelope: envelope.as_bytes().clone() }
}

/// Says the same until it is cut off; how often it could.
fn until_cut_off(bench: &mut Bench, link: LinkId, frame: &Frame) -> u32 {
    until_cut_off_saying(bench, link, &check(frame.encode().concat(), |_| false).expect("well formed"))
}

fn until_cut_off_saying(bench: &mut Bench, link: LinkId, frame: &CheckedFrame) -> u32 {
    for n in 0..1_000_000 {
        if !bench.engine.links.contains_key(&link) {
            assert_eq!(bench.closed, ["misconduct"]);
            return n;
        }
        bench.input(Input::Frame { link, class: Class::Own, bytes: 0, frame: frame.clone() });
    }
    panic!("it can go on for ever");
}

/// Goal: fourteen frames that cannot be read are suffered, the fifteenth is the last. Connecting anew changes
/// nothing until the time is over, and the second time is longer.
#[test]
fn bad_frames_end_in_disconnection_for_a_while() {
    let mut bench = Bench::new();
    for (n, pause) in [(1, limits::BAN_MIN), (2, 2 * limits::BAN_MIN)] {
        let link = bench.member();
        for _ in 0..14 {
            bench.bytes(link, Bytes::from_static(UNREADABLE));
        }
        assert!(bench.closed.is_empty());
        bench.bytes(link, Bytes::from_static(UNREADABLE));
        assert_eq!(bench.closed, ["misconduct"]);
        assert_eq!(bench.engine.counters.count("unreadable"), 15 * n);
        assert_eq!(bench.engine.counters.count("cut-off"), n);
        bench.connect();
        assert_eq!(bench.closed, ["misconduct", "shut out"]);
        assert_eq!(bench.engine.counters.count("banned"), n);
        bench.pass(pause);
        bench.closed.clear();
    }
    assert_eq!(Reject::Decode(DecodeError::Kind(100)).cause(), "unreadable", "what was counted");
}

/// Goal: a neighbour that is unlucky now and then is borne for ever.
#[test]
fn blame_is_forgotten() {
    let mut bench = Bench::new();
    let link = bench.member();
    for _ in 0..200 {
        bench.bytes(link, Bytes::from_static(UNREADABLE));
        bench.pass(Duration::from_secs(1));
        let beat = Beat { n: 1, echo: 0, held: 0, ask: 0 };
        for _ in 0..7 {
            bench.say(link, beat.clone());
            bench.pass(Duration::from_secs(1));
        }
    }
    assert!(bench.closed.is_empty(), "{:?}", bench.closed);
}

/// Goal: a forged envelope costs its sender a fifth of its place, whoever it says has signed it.
#[test]
fn forged_envelopes_are_the_neighbours_fault() {
    let mut bench = Bench::new();
    let link = bench.member();
    let mut bytes = envelope(&bench, Lane::Live).encode().concat().to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    for n in 0..5 {
        assert!(bench.closed.is_empty(), "after {n}");
        bench.bytes(link, bytes.clone().into());
    }
    assert_eq!(bench.closed, ["misconduct"]);
}

/// Goal: talk is borne in measure, the same all the time too; what is beyond is not taken in, and who goes on is
/// cut off. Method: each kind that makes work.
#[test]
fn floods_of_talk_end_in_disconnection() {
    let range = Range { log: log(1), from: 0, to: 1 };
    let frames: [fn(&Bench, Range) -> Frame; 6] = [
        |_, _| Roots { roots: vec![(1, [1; 32], MembersDigest::default())] }.into(),
        |_, _| Clock { group: 1, part: Part::Ask, entries: Vec::new() }.into(),
        |_, range| Want { request: 1, group: 1, range, graft: false }.into(),
        |_, range| Announce { group: 1, ranges: vec![OnTree { tree: 0, range }] }.into(),
        |_, _| Subscribe { group: 2, proof: [1; 32] }.into(),
        |bench, _| Alert::new(log(1).author, Incarnation(1), 3, &bench.hostile).into(),
    ];
    for frame in frames {
        let mut bench = Bench::new();
        let link = bench.member();
        let frame = frame(&bench, range);
        let n = until_cut_off(&mut bench, link, &frame);
        assert!(n > 1000, "{frame:?} only {n} times");
        assert!(n <= limits::TALK_BURST + limits::BLAME_MAX, "{frame:?} {n} times");
        assert_eq!(bench.engine.counters.count("flood"), u64::from(limits::BLAME_MAX), "{frame:?}");
    }
}

/// Goal: what an honest neighbour says of a hundred busy groups is within its measure.
#[test]
fn an_honest_measure_of_talk_is_borne() {
    let mut bench = Bench::new();
    let link = bench.member();
    let range = Range { log: log(1), from: 0, to: 1 };
    for _ in 0..50 {
        for _ in 0..100 {
            bench.say(link, Announce { group: 1, ranges: vec![OnTree { tree: 0, range }; 4] });
        }
        bench.pass(Duration::from_millis(20));
    }
    assert_eq!(bench.engine.counters.count("flood"), 0);
    assert!(bench.closed.is_empty());
}

/// Goal: copies of what is there cost little and have an end; so do envelopes for groups that nobody shares, sooner.
#[test]
fn waste_ends_in_disconnection() {
    let mut bench = Bench::new();
    let link = bench.member();
    let copy = envelope(&bench, Lane::Live);
    let n = until_cut_off(&mut bench, link, &copy);
    assert_eq!(n, 1 + limits::WASTE_BURST + limits::BLAME_MAX);
    let mut bench = Bench::new();
    let link = bench.member();
    let Frame::Data { envelope, .. } = envelope(&bench, Lane::Live) else { panic!("data") };
    let n = until_cut_off(&mut bench, link, &Frame::Data { group: 77, tree: 0, envelope });
    assert_eq!(n, limits::WASTE_BURST / 8 + limits::BLAME_MAX);
    assert_eq!(bench.engine.counters.count("unknown-group"), u64::from(n));
}

/// Goal: nobody who is shut out is dialled, however often discovery shows it, until its time is over.
#[test]
fn whoever_is_shut_out_is_not_dialled() {
    let mut bench = Bench::new();
    let link = bench.member();
    for _ in 0..15 {
        bench.bytes(link, Bytes::from_static(UNREADABLE));
    }
    let peer = bench.hostile.peer_id();
    let dials = |bench: &mut Bench| {
        let found = Input::Found { peer, addresses: vec![Address(vec![1])] };
        bench.engine.handle_input(bench.now, found);
        let outputs = std::iter::from_fn(|| bench.engine.poll_output());
        outputs.filter(|output| matches!(output, Output::Connect { .. })).count()
    };
    assert_eq!(dials(&mut bench), 0);
    bench.pass(limits::BAN_MIN + Duration::from_secs(1));
    assert_eq!(dials(&mut bench), 1);
}

/// Goal: authors that somebody made up fill half of a group's room and no more; a neighbour's own words find room all the
/// same, as do those of a member on the list, and nothing is asked for that would find none. Method: 2,148 authors with
/// an envelope each.
#[test]
fn made_up_authors_leave_room_for_neighbours() {
    let mut bench = Bench::new();
    let link = bench.member();
    let room = limits::AUTHORS_MAX - limits::AUTHORS_RESERVED - limits::AUTHORS_LISTED;
    for n in 0..room as u64 + 100 {
        if n % 1000 == 0 {
            // Within its measure of waste.
            bench.pass(Duration::from_millis(900));
            let beat = Beat { n: 1, echo: 0, held: 0, ask: 0 };
            bench.say(link, beat);
        }
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&n.to_le_bytes());
        let author = std::mem::replace(&mut bench.hostile, Identity::from_seed(seed));
        let frame = envelope(&bench, Lane::Durable);
        bench.hostile = author;
        bench.say(link, frame);
    }
    assert_eq!(bench.group().n_logs(), room);
    assert_eq!(bench.engine.counters.count("authors-full"), 100);
    let entries = vec![ClockEntry { log: log(1), next: 1, floor: 0, head: [1; 8] }];
    bench.say(link, Clock { group: 1, part: Part::All, entries });
    assert_eq!(bench.group().n_claims(), 0, "there is no room for it");
    let own = envelope(&bench, Lane::Durable);
    bench.say(link, own);
    assert_eq!(bench.group().n_logs(), room + 1, "who is there has room");
    // Somebody who is a member, far away.
    let listed = Identity::from_seed([9; 32]);
    bench.say(link, Shuffle { reply: false, peers: Vec::new() });
    let word = MemberRecord::new(&key().topic_tag(), Incarnation(1), 1, Stay::Here, &listed);
    bench.say(link, News { group: 1, tree: FLOOD, facts: vec![Fact::Said(word.into())] });
    let author = std::mem::replace(&mut bench.hostile, listed);
    let frame = envelope(&bench, Lane::Durable);
    bench.hostile = author;
    bench.say(link, frame);
    assert_eq!(bench.group().n_logs(), room + 2, "and who is on the list");
}

/// Goal: who claims what nobody gives is named, and forgotten when it has come. Method: a clock that says 1, and
/// an envelope that comes late.
#[test]
fn a_stale_log_is_told_with_who_claims_more() {
    let mut bench = Bench::new();
    let link = bench.member();
    let envelope = envelope(&bench, Lane::Durable);
    let peer = bench.hostile.peer_id();
    let log = LogId { author: peer, lane: Lane::Durable };
    let entries = vec![ClockEntry { log, next: 1, floor: 0, head: [1; 8] }];
    bench.say(link, Clock { group: 1, part: Part::All, entries });
    let gaps = |bench: &Bench| bench.engine.status().groups[0].gaps.clone();
    let [gap] = gaps(&bench)[..] else { panic!("one") };
    assert_eq!((gap.log, gap.missing, gap.claimed_by, gap.is_stale), (log, 1, peer, false));
    for _ in 0..10 {
        bench.pass(Duration::from_secs(1));
        bench.say(link, Beat { n: 1, echo: 0, held: 0, ask: 0 });
    }
    assert!(gaps(&bench)[0].is_stale, "nothing came of it");
    bench.say(link, envelope);
    assert_eq!(gaps(&bench), []);
}

/// Goal: an envelope that was checked before and has no place is paid for by whoever sends it again and again, though it
/// says itself that it has what comes before.
#[test]
fn a_number_too_far_is_paid_for() {
    let mut bench = Bench::new();
    let link = bench.member();
    let author = Identity::from_seed([3; 32]);
    let log = LogId { author: author.peer_id(), lane: Lane::Durable };
    let entries = vec![ClockEntry { log, next: 1, floor: 0, head: [1; 8] }];
    bench.say(link, Clock { group: 1, part: Part::All, entries });
    assert_eq!(bench.group().n_claims(), 1);
    let far = super::envelope(&author, Lane::Durable, 2 * limits::SEQ_JUMP_MAX);
    let far = check(far.encode().concat(), |_| true).expect("well formed");
    let n = until_cut_off_saying(&mut bench, link, &far);
    assert!(n <= limits::WASTE_BURST + limits::BLAME_MAX, "{n} times");
    assert_eq!(bench.engine.counters.count("too-far"), u64::from(n));
    assert!(bench.engine.counters.count("signatures-checked") <= 1, "once is enough to know");
}

/// Goal: that somebody claims to have what is missing, and does not give it, is no licence to send beyond the gap without
/// end. As long as the gap is being closed that costs nobody anything. Method: a log of which every other number comes, up
/// to as many pieces as there is room for, and one number more again and again.
#[test]
fn a_gap_that_nobody_closes_is_paid_for() {
    for is_closing in [false, true] {
        let mut bench = Bench::new();
        let claimer = bench.member();
        bench.hostile = Identity::from_seed([5; 32]);
        bench.record = PeerRecord::new(&bench.hostile, 1, Vec::new(), Vec::new());
        let link = bench.member();
        let author = Identity::from_seed([3; 32]);
        let log = LogId { author: author.peer_id(), lane: Lane::Durable };
        let n_pieces = limits::RANGES_MAX as u64;
        let entries = vec![ClockEntry { log, next: 2 * n_pieces + 1, floor: 0, head: [1; 8] }];
        let claim = Clock { group: 1, part: Part::All, entries };
        for n in 0..n_pieces {
            bench.say(link, super::envelope(&author, Lane::Durable, 2 * n + 2));
        }
        bench.pass(Duration::from_secs(2));
        if is_closing {
            bench.say(link, super::envelope(&author, Lane::Durable, 0));
        }
        bench.say(claimer, claim);
        let before = bench.engine.counters.count("too-far");
        assert_eq!(bench.group().n_claims(), 1);
        let one_more = super::envelope(&author, Lane::Durable, 2 * n_pieces + 2);
        let one_more = check(one_more.encode().concat(), |_| true).expect("well formed");
        let most = limits::WASTE_BURST + 3 * limits::WASTE_RATE;
        let mut n = 0;
        while n < most && bench.engine.links.contains_key(&link) {
            bench.input(Input::Frame { link, class: Class::Own, bytes: 300, frame: one_more.clone() });
            n += 1;
        }
        assert_eq!(bench.engine.counters.count("too-far") - before, u64::from(n), "none has found a place");
        assert_eq!(n == most, is_closing, "{n} of {most}");
    }
}

/// Goal: an author that leads its log up to the highest number does not make those who have it say what nobody may say:
/// the number after the last one stands in every clock. Method: the last number, and one more.
#[test]
fn a_log_ends_where_its_next_number_can_still_be_named() {
    let mut bench = Bench::new();
    let link = bench.member();
    let author = Identity::from_seed([3; 32]);
    let log = LogId { author: author.peer_id(), lane: Lane::Live };
    let entry = |next| ClockEntry { log, next, floor: 0, head: [1; 8] };
    let clock = |last| Frame::from(Clock { group: 1, part: Part::All, entries: vec![entry(last + 1)] });
    for (last, n_refused) in [(limits::SEQ_MAX - 1, 0), (limits::SEQ_MAX, 1)] {
        bench.say(link, super::live(&author, last));
        assert_eq!(bench.engine.counters.count("bad-envelope"), n_refused, "{last}");
        assert_eq!(Frame::decode(clock(last).encode().concat()).is_err(), n_refused == 1, "{last}");
    }
    assert!(bench.group().has_log(&log));
}

/// Goal: who is asked for what it claims may send it once: a copy of it again and again neither keeps the question open
/// nor is free. It was both, so that one neighbour could keep an author's words from a node without end.
#[test]
fn an_answer_said_again_and_again_is_no_answer() {
    let mut bench = Bench::new();
    let link = bench.member();
    let author = Identity::from_seed([3; 32]);
    let log = LogId { author: author.peer_id(), lane: Lane::Durable };
    let entries = vec![ClockEntry { log, next: 10, floor: 0, head: [1; 8] }];
    bench.say(link, Clock { group: 1, part: Part::All, entries });
    let wants = |bench: &Bench| bench.sent.get(&15).copied().unwrap_or(0);
    assert_eq!(wants(&bench), 1, "it is asked");
    let first = super::envelope(&author, Lane::Durable, 0);
    bench.say(link, first.clone());
    assert_eq!(bench.group().n_claims(), 1);
    let steps = 2 * limits::WANT_PATIENCE.as_millis() as u64 / 100;
    for _ in 0..steps {
        bench.pass(Duration::from_millis(100));
        bench.say(link, first.clone());
    }
    assert!(wants(&bench) > 1 || bench.group().n_claims() == 0, "the question is over");
    let copy = check(first.encode().concat(), |_| true).expect("well formed");
    let n = until_cut_off_saying(&mut bench, link, &copy);
    assert!(n <= limits::WASTE_BURST + limits::WASTE_RATE * 2 + limits::BLAME_MAX, "{n} times");
}

/// Goal: what is said of members and signed by nobody costs what a forged envelope does, and is counted apart.
#[test]
fn forged_words_are_the_neighbours_fault() {
    let mut bench = Bench::new();
    let link = bench.member();
    let listed = Identity::from_seed([9; 32]);
    let mut word = MemberRecord::new(&key().topic_tag(), Incarnation(1), 1, Stay::Here, &listed);
    word.seq = 2;
    let news = Frame::from(News { group: 1, tree: FLOOD, facts: vec![Fact::Said(word.into())] });
    assert_eq!(until_cut_off(&mut bench, link, &news), 5);
    assert_eq!(bench.engine.counters.count("forged-fact"), 5);
    assert_eq!(bench.engine.counters.count("bad-envelope"), 0);
}

/// The keys of another group under this one's tag.
struct Elsewhere(Box<GroupKey>);

impl crate::crypto::EnvelopeKeys for Elsewhere {
    fn topic_tag(&self) -> crate::id::TopicTag {
        key().topic_tag()
    }

    fn seal_key(
        &self,
        author: &PeerId,
        lane: Lane,
        seq: Seq,
    ) -> Result<crate::crypto::SealKey, crate::crypto::SealError> {
        self.0.seal_key(author, lane, seq)
    }

    fn open_key(
        &self,
        header: &crate::wire::envelope::Header,
    ) -> Result<crate::crypto::MessageKey, crate::error::OpenError> {
        self.0.open_key(header)
    }
}

/// Goal: nothing makes room for what nobody can open. Method: as many live logs as there is room for, an envelope of
/// another key, and one of ours. Half of the logs are durable ones, of which nothing has come that has a place in them.
#[test]
fn only_what_opens_takes_the_place_of_another_log() {
    let mut bench = Bench::new();
    let link = bench.member();
    let author = |n: usize| {
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&(n as u64).to_le_bytes());
        Identity::from_seed(seed)
    };
    let room = limits::AUTHORS_MAX - limits::AUTHORS_RESERVED - limits::AUTHORS_LISTED;
    for n in 0..room {
        let without_place = || super::envelope(&author(n), Lane::Durable, 2 * limits::SEQ_JUMP_MAX);
        bench.say(link, if n % 2 == 0 { without_place() } else { live(&author(n), 0) });
        if n == 0 {
            bench.pass(Duration::from_millis(1));
        }
    }
    assert_eq!(bench.group().n_logs(), room);
    let first = LogId { author: author(0).peer_id(), lane: Lane::Durable };
    let input = crate::crypto::SealInput {
        lane: Lane::Live,
        seq: 0,
        prev: EnvelopeId::NONE,
        skip: 0,
        ttl_secs: 0,
        bodies: &[crate::message::encode_body(&Draft::default(), Hlc(1)).expect("a draft")],
        frame_salt: [0; 16],
    };
    let elsewhere = Elsewhere(Box::new(GroupKey::open("test", "attic", None).expect("a name")));
    let foreign = crate::crypto::seal(&author(room), &elsewhere, &input).expect("small");
    bench.say(link, Frame::Data { group: 1, tree: 0, envelope: foreign.as_bytes().clone() });
    assert_eq!(bench.engine.counters.count("cannot-open"), 1);
    assert!(bench.group().has_log(&first), "it was there before");
    bench.say(link, live(&author(room), 0));
    assert!(!bench.group().has_log(&first), "it has been silent longest");
    assert_eq!(bench.group().n_logs(), room);
}

/// Goal: a group of which the store has said nothing yet asks for nothing: not neighbours, not for time-outs, and checks
/// nothing. Method: a store that is slow, and a neighbour that has a log.
#[test]
fn a_group_that_is_not_loaded_waits() {
    let mut bench = Bench::new();
    let link = bench.member();
    let group = key().group_id();
    bench.input(Input::Command(Command::Leave { group }));
    let name = "lobby".to_owned();
    bench.engine.handle_input(bench.now, Input::Command(Command::Join { key: key(), name }));
    let outputs: Vec<Output> = std::iter::from_fn(|| bench.engine.poll_output()).collect();
    let token = outputs.iter().find_map(|output| match output {
        Output::Fetch { token, .. } => Some(*token),
        _ => None,
    });
    let proof = key().link_proof(&bench.hostile.peer_id(), &bench.engine.me, &[3; 16], &[0; 16]);
    bench.say(link, Subscribe { group: 1, proof });
    let clock = || {
        let entries = vec![ClockEntry { log: log(1), next: 1, floor: 0, head: [1; 8] }];
        Clock { group: 1, part: Part::All, entries }
    };
    bench.say(link, clock());
    let early = envelope(&bench, Lane::Durable).encode().concat();
    let frame = check(early, |_| true).expect("well formed");
    bench.input(Input::Frame { link, class: Class::Own, bytes: 0, frame });
    bench.pass(Duration::from_secs(1));
    assert_eq!((bench.group().n_claims(), bench.engine.counters.count("early")), (0, 1));
    assert_eq!(bench.engine.counters.count("signatures-checked"), 0);
    bench.input(Input::Fetched(token.expect("asked"), Answer::Group(GroupRecord::default())));
    bench.say(link, clock());
    assert_eq!(bench.group().n_claims(), 1);
}

/// Goal: nothing is remembered of a link that is gone. Method: a goodbye, and what was under way behind it: talk, which
/// has no place any more, and an envelope, which has.
#[test]
fn what_comes_late_on_a_link_goes_with_it() {
    let mut bench = Bench::new();
    let link = bench.member();
    let entries = vec![ClockEntry { log: log(1), next: 1, floor: 0, head: [1; 8] }];
    let frames = [
        Frame::from(Goodbye { incarnation: Incarnation(1) }),
        Clock { group: 1, part: Part::All, entries }.into(),
        super::envelope(&Identity::from_seed([3; 32]), Lane::Durable, 5),
    ];
    for (frame, n_claims) in frames.into_iter().zip([0, 0, 1]) {
        let frame = check(frame.encode().concat(), |_| false).expect("well formed");
        let class = if n_claims > 0 { Class::Own } else { Class::Control };
        bench.engine.handle_input(bench.now, Input::Frame { link, class, bytes: 0, frame });
        while bench.engine.poll_output().is_some() {}
        assert_eq!(bench.group().n_claims(), n_claims);
    }
    bench.input(Input::LinkDown { link, cause: LinkEnd::Closed });
    assert_eq!(bench.group().n_claims(), 0);
}
