//! One engine among strangers: what it refuses, whom it cuts off, and that nobody can make it grow or fall.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rand_core::Rng;

mod flow;
mod members;
mod misconduct;
mod neighbourhood;
mod parting;
mod receipts;
mod senseless;

use super::*;
use crate::crypto::GroupKey;
use crate::error::{DecodeError, Reject};
use crate::id::{EnvelopeId, LogId, Seq};
use crate::io::{Input, LinkEnd};
use crate::message::Draft;
use crate::persist::{Answer, GroupRecord, Query};
use crate::time::Duration;
use crate::wire::frame::{
    Alert, Alive, Announce, Beat, Clock, ClockEntry, Digest, Fact, Find, Found, Gone, Hello, MateTag,
    MemberRecord, Members, MembersAsk, MembersDigest, MembersHave, MembersSums, MembersWant, News, OnTree,
    Part, PeerRecord, Prune, Range, Refusal, Refuse, Roots, Served, Shuffle, Signature, Stay, Stored,
    Subscribe, TreeIx, Unsubscribe, Walk, Want, Why, check, find_tag, mate_tag,
};

const NETWORK: [u8; 8] = *b"the-test";

struct Zeros;

impl Secrets for Zeros {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill(0);
    }
}

fn key() -> Box<GroupKey> {
    Box::new(GroupKey::open("test", "lobby", None).expect("a name"))
}

/// An engine with a store that answers at once and keeps nothing, and a neighbour that can say anything.
struct Bench {
    engine: Engine,
    now: Timestamp,
    hostile: Identity,
    record: Arc<PeerRecord>,
    n_links: u64,
    /// What the neighbour was sent, by kind.
    sent: BTreeMap<u8, usize>,
    /// On which links it was told what is stored.
    told_stored: Vec<LinkId>,
    /// On which it was sent payload.
    fed: Vec<LinkId>,
    /// Numbers of trees that it was told of.
    told_trees: Vec<TreeIx>,
    closed: Vec<&'static str>,
    events: Vec<String>,
    disk_fails: bool,
    /// The neighbour's end of the transport takes what it is sent.
    writes: bool,
    /// These do not, but when a test says so.
    thin: Vec<LinkId>,
    dialled: usize,
}

impl Bench {
    fn new() -> Self {
        let config = Config {
            network: NETWORK,
            incarnation: Incarnation(7),
            seed: 1,
            bounds: Bounds::default(),
            patience: limits::PATIENCE,
        };
        let mut bench = Self {
            engine: Engine::new(config, Identity::from_seed([1; 32]), Box::new(Zeros)),
            now: Timestamp::from_micros(1),
            record: PeerRecord::new(&Identity::from_seed([2; 32]), 1, Vec::new(), Vec::new()),
            hostile: Identity::from_seed([2; 32]),
            n_links: 0,
            sent: BTreeMap::new(),
            told_stored: Vec::new(),
            fed: Vec::new(),
            told_trees: Vec::new(),
            closed: Vec::new(),
            events: Vec::new(),
            disk_fails: false,
            writes: true,
            thin: Vec::new(),
            dialled: 0,
        };
        let name = "lobby".to_owned();
        bench.input(Input::Command(Command::Join { key: key(), name }));
        bench
    }

    fn input(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            self.engine.handle_input(self.now, input);
            while let Some(output) = self.engine.poll_output() {
                match output {
                    Output::Send { link, class, frame } => {
                        let bytes = frame.encode().len();
                        *self.sent.entry(frame.kind()).or_default() += 1;
                        self.told_stored.extend(matches!(frame, Frame::Stored(_)).then_some(link));
                        self.fed.extend(matches!(frame, Frame::Data { .. }).then_some(link));
                        if let Frame::Adverts(adverts) = &frame {
                            self.told_trees.extend(adverts.trees.iter().map(|advert| advert.tree));
                        }
                        if self.writes && !self.thin.contains(&link) {
                            inputs.push(Input::Written { link, class, bytes });
                        }
                    }
                    Output::Connect { peer, .. } => {
                        self.dialled += 1;
                        inputs.push(Input::DialFailed { peer, refused: true });
                    }
                    Output::Probe { peer, .. } => inputs.push(Input::Probed { peer, rtt: None }),
                    Output::Disconnect { link, cause } => {
                        self.closed.push(cause.name());
                        let cause = LinkEnd::Closed;
                        inputs.push(Input::LinkDown { link, cause });
                    }
                    Output::Persist { token, .. } if self.disk_fails => {
                        inputs.push(Input::PersistFailed(token, "full".to_owned()));
                    }
                    Output::Persist { token, .. } => inputs.push(Input::Persisted(token)),
                    Output::Fetch { token, query } => {
                        let answer = match query {
                            Query::Group(_) => Answer::Group(GroupRecord::default()),
                            Query::Range { .. } => Answer::Range(Vec::new()),
                        };
                        inputs.push(Input::Fetched(token, answer));
                    }
                    Output::Event(event) => self.events.push(format!("{event:?}")),
                }
            }
        }
    }

    /// Bytes of a frame, as they come from a socket.
    fn bytes(&mut self, link: LinkId, bytes: Bytes) {
        self.bytes_of(link, Class::Control, bytes);
    }

    /// The same on another stream.
    fn bytes_of(&mut self, link: LinkId, class: Class, bytes: Bytes) {
        let n = bytes.len() + 4;
        self.input(match check(bytes, |_| false) {
            Ok(frame) => Input::Frame { link, class, bytes: n, frame },
            Err(reject) => Input::Rejected { link, class, bytes: n, reject },
        });
    }

    fn say(&mut self, link: LinkId, frame: impl Into<Frame>) {
        let frame = frame.into();
        let class = if matches!(frame, Frame::Data { .. }) { Class::Own } else { Class::Control };
        self.bytes_of(link, class, frame.encode().concat());
    }

    fn connect(&mut self) -> LinkId {
        self.n_links += 1;
        let (link, peer) = (LinkId(self.n_links), self.hostile.peer_id());
        self.input(Input::LinkUp { link, peer, dialed: false, address: None });
        link
    }

    fn hello(&self) -> Hello {
        Hello {
            min: 1,
            max: 1,
            features: 0,
            network: NETWORK,
            nonce: [3; 16],
            incarnation: Incarnation(1),
            why: Why::Mesh,
            record: self.record.clone(),
        }
    }

    /// A neighbour who knows the group's key.
    fn member(&mut self) -> LinkId {
        let link = self.connect();
        let hello = self.hello();
        self.say(link, hello);
        let proof = key().link_proof(&self.hostile.peer_id(), &self.engine.me, &[3; 16], &[0; 16]);
        self.say(link, Subscribe { group: 1, proof });
        assert!(self.events.iter().any(|event| event.starts_with("MemberJoined")));
        link
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut rounds = 0;
        while let Some(at) = self.engine.next_deadline().filter(|at| *at <= end) {
            rounds += 1;
            assert!(rounds < 10_000, "the engine asks for time-outs that do not help");
            self.now = self.now.max(at);
            self.input(Input::Timeout);
        }
        self.now = end;
    }

    fn group(&self) -> &Group {
        self.engine.groups.values().next().expect("joined")
    }
}

fn log(n: u64) -> LogId {
    let mut id = [9; 32];
    id[..8].copy_from_slice(&n.to_le_bytes());
    LogId { author: PeerId(id), lane: Lane::Durable }
}

/// Goal: another network or version is refused at HELLO, in both directions of time.
#[test]
fn strangers_are_refused_by_their_hello() {
    type Change = fn(&mut Hello);
    let cases: [(&str, Change); 4] = [
        ("another network", |hello| hello.network = *b"elsewher"),
        ("no common version", |hello| (hello.min, hello.max) = (2, 9)),
        ("no common version", |hello| (hello.min, hello.max) = (0, 0)),
        ("", |hello| (hello.min, hello.max) = (0, 9)),
    ];
    for (cause, change) in cases {
        let mut bench = Bench::new();
        let link = bench.connect();
        let mut hello = bench.hello();
        change(&mut hello);
        bench.say(link, hello);
        assert_eq!(bench.closed, [cause].into_iter().filter(|c| !c.is_empty()).collect::<Vec<_>>());
    }
}

#[test]
fn whoever_does_not_greet_is_cut_off() {
    let mut bench = Bench::new();
    let link = bench.connect();
    bench.say(link, Digest { root: [1; 32] });
    assert_eq!(bench.closed, ["spoke before HELLO"]);
    let mut bench = Bench::new();
    bench.connect();
    bench.pass(limits::HELLO_PATIENCE - Duration::from_millis(1));
    assert!(bench.closed.is_empty());
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.closed, ["no HELLO"]);
}

/// Goal: what is due is done by whatever comes first, be it a time-out or not.
#[test]
fn any_later_input_does_what_is_due() {
    let mut bench = Bench::new();
    let (link, peer) = (LinkId(77), bench.hostile.peer_id());
    bench.engine.handle_input(bench.now, Input::LinkUp { link, peer, dialed: false, address: None });
    let due = bench.now + limits::HELLO_PATIENCE;
    let before = bench.now + (limits::HELLO_PATIENCE - Duration::from_micros(1));
    let mut closes = |now: Timestamp, input: Input| {
        bench.engine.handle_input(now, input);
        let outputs = std::iter::from_fn(|| bench.engine.poll_output());
        let n = outputs.filter(|output| matches!(output, Output::Disconnect { .. })).count();
        (n, bench.engine.next_deadline().is_some_and(|at| at <= now))
    };
    assert_eq!(closes(before, Input::Timeout), (0, false));
    assert_eq!(closes(due, Input::WallTime(WallTime(1))), (1, false));
}

/// Goal: an engine whose host closes a link late does not ask for time-outs meanwhile.
#[test]
fn a_link_being_closed_asks_for_nothing() {
    let mut bench = Bench::new();
    let (link, peer) = (LinkId(77), bench.hostile.peer_id());
    bench.engine.handle_input(bench.now, Input::LinkUp { link, peer, dialed: false, address: None });
    bench.now = bench.now + limits::HELLO_PATIENCE;
    bench.engine.handle_input(bench.now, Input::Timeout);
    let closes = |engine: &mut Engine| {
        let outputs = std::iter::from_fn(|| engine.poll_output());
        outputs.filter(|output| matches!(output, Output::Disconnect { .. })).count()
    };
    assert_eq!(closes(&mut bench.engine), 1);
    assert!(bench.engine.next_deadline().is_none_or(|at| at > bench.now));
    bench.now = bench.now + Duration::from_secs(1);
    bench.engine.handle_input(bench.now, Input::Timeout);
    assert_eq!(closes(&mut bench.engine), 0, "once is enough");
}

/// Goal: drafts that cannot leave keep no clock ticking. Method: a member comes, a live message leaves, the member
/// goes, another is published.
#[test]
fn a_live_lane_without_members_waits_without_time_outs() {
    let mut bench = Bench::new();
    let link = bench.member();
    let group = key().group_id();
    let publish = |ticket| {
        Input::Command(Command::Publish {
            group,
            lane: Lane::Live,
            ttl_secs: 0,
            draft: Draft::default(),
            ticket,
        })
    };
    bench.input(publish(1));
    let is_sealed = |bench: &Bench| bench.events.iter().filter(|event| event.starts_with("Sealed")).count();
    assert_eq!(is_sealed(&bench), 1);
    let cause = LinkEnd::Reset;
    bench.input(Input::LinkDown { link, cause });
    bench.input(publish(2));
    bench.pass(Duration::from_secs(30));
    assert_eq!(is_sealed(&bench), 1);
    bench.member();
    assert_eq!(is_sealed(&bench), 2, "somebody is there again");
}

/// Goal: whoever leaves a group and comes back finds the members that are still there.
#[test]
fn a_group_can_be_left_and_joined_again() {
    let mut bench = Bench::new();
    bench.member();
    let group = key().group_id();
    bench.input(Input::Command(Command::Leave { group }));
    bench.events.clear();
    let name = "lobby".to_owned();
    bench.input(Input::Command(Command::Join { key: key(), name }));
    assert!(bench.events.iter().any(|event| event.starts_with("MemberJoined")), "{:?}", bench.events);
}

/// Goal: claims about logs that do not exist stay bounded. Method: clocks and announcements of 10,000 authors.
#[test]
fn claims_do_not_grow_without_bound() {
    let mut bench = Bench::new();
    let link = bench.member();
    for page in 0..20u64 {
        let mut entries: Vec<ClockEntry> = (0..512)
            .map(|n| ClockEntry { log: log(page * 512 + n), next: limits::SEQ_MAX, floor: 0, head: [0; 8] })
            .collect();
        entries.sort_by_key(|entry| entry.log);
        let ranges =
            entries.iter().take(256).map(|entry| Range { log: entry.log, from: 0, to: limits::SEQ_MAX });
        let ranges = ranges.map(|range| OnTree { tree: 0, range }).collect();
        bench.say(link, Announce { group: 1, ranges });
        bench.say(link, Clock { group: 1, part: Part::Ask, entries });
    }
    let claims = bench.group().status(bench.now, bench.engine.me).missing;
    assert!(claims > 0, "it does believe some of them");
    assert!(bench.group().n_claims() <= limits::AUTHORS_MAX);
    assert!(bench.group().n_logs() <= limits::AUTHORS_MAX);
    let wants = bench.sent.get(&15).copied().unwrap_or(0);
    assert!(wants <= 4, "{wants} requests to one neighbour at once");
    // Nothing comes: they are given up one after the other.
    bench.pass(Duration::from_secs(2));
    assert!(bench.closed.is_empty(), "{:?}", bench.closed);
    assert!(bench.group().n_claims() < limits::AUTHORS_MAX);
}

/// Goal: asking costs the asker. Method: 10,000 WANTs of one who never reads, with messages there to be had.
#[test]
fn requests_of_one_who_does_not_read_are_bounded() {
    let mut bench = Bench::new();
    let link = bench.member();
    let group = key().group_id();
    for ticket in 1..=20 {
        let draft = Draft { content: Bytes::from(vec![7; 40_000]), ..Draft::default() };
        let command = Command::Publish { group, lane: Lane::Durable, ttl_secs: 0, draft, ticket };
        bench.input(Input::Command(command));
        bench.pass(Duration::from_millis(5));
    }
    let author = bench.engine.me;
    let lane = Lane::Durable;
    let want = |request| Want {
        request,
        group: 1,
        range: Range { log: LogId { author, lane }, from: 0, to: 63 },
        graft: true,
    };
    // From here on nothing is reported as written.
    let mut queued = 0usize;
    let mut cut_off = false;
    for request in 0..400_000 {
        if cut_off {
            break;
        }
        let frame = check(Frame::from(want(request)).encode().concat(), |_| false).expect("fine");
        bench.engine.handle_input(bench.now, Input::Frame { link, class: Class::Control, bytes: 0, frame });
        while let Some(output) = bench.engine.poll_output() {
            match output {
                Output::Send { frame, .. } => queued += frame.encode().len(),
                Output::Disconnect { .. } => cut_off = true,
                _ => {}
            }
        }
    }
    assert!(queued <= limits::BULK_WINDOW, "the host has {queued} bytes");
    assert!(cut_off, "and in the end it is cut off");
}

/// Goal: an address that no frame may carry is neither said to neighbours nor passed on. Method: our own listener
/// and a discovery record have one too long; the neighbour reads what it is sent.
#[test]
fn addresses_too_long_for_a_frame_are_left_out() {
    let mut bench = Bench::new();
    let (long, fits) = (Address(vec![1; Address::MAX + 1]), Address(vec![1; Address::MAX]));
    bench.input(Input::Listening(vec![long.clone(), fits.clone()]));
    assert_eq!(bench.engine.addresses, std::slice::from_ref(&fits));
    bench.member();
    let peer = bench.hostile.peer_id();
    bench.input(Input::Found { peer, addresses: vec![long, fits.clone()] });
    let neighbours = bench.engine.overlay.neighbours();
    let neighbours: Vec<_> =
        neighbours.map(|(peer, addresses)| (peer, addresses.cloned().collect())).collect();
    assert_eq!(neighbours, [(peer, vec![fits])]);
}

/// Goal: a goodbye is the end although other streams of the link deliver later. Method: frames of a link that the
/// host has not closed yet, after a goodbye.
#[test]
fn what_comes_after_a_goodbye_is_no_sign_of_life() {
    let mut bench = Bench::new();
    let link = bench.member();
    let frames = [
        Frame::from(Goodbye { incarnation: Incarnation(1) }),
        Beat { n: 1, echo: 0, held: 0, ask: 0 }.into(),
        Digest { root: [1; 32] }.into(),
    ];
    for frame in frames {
        let frame = check(frame.encode().concat(), |_| false).expect("fine");
        bench.engine.handle_input(bench.now, Input::Frame { link, class: Class::Control, bytes: 0, frame });
    }
    let outputs = std::iter::from_fn(|| bench.engine.poll_output());
    let states: Vec<_> = outputs
        .filter_map(|output| match output {
            Output::Event(Event::Presence { state, .. }) => Some(state.name()),
            _ => None,
        })
        .collect();
    assert_eq!(states, ["gone"]);
}

/// One envelope of an author in the live lane, that follows another.
fn live(author: &Identity, seq: Seq) -> Frame {
    envelope(author, Lane::Live, seq)
}

fn envelope(author: &Identity, lane: Lane, seq: Seq) -> Frame {
    let body = crate::message::encode_body(&Draft::default(), Hlc(1)).expect("a draft");
    let input = crate::crypto::SealInput {
        lane,
        seq,
        prev: if seq == 0 { EnvelopeId::NONE } else { EnvelopeId([1; 32]) },
        skip: 0,
        ttl_secs: 0,
        bodies: &[body],
        frame_salt: [0; 16],
    };
    let envelope = crate::crypto::seal(author, &*key(), &input).expect("small");
    Frame::Data { group: 1, tree: 0, envelope: envelope.as_bytes().clone() }
}

/// Goal: a log that makes room for another author leaves nothing behind. Method: one with an envelope that is
/// served and one that waits for what comes before it.
#[test]
fn a_forgotten_log_gives_its_memory_back() {
    let mut bench = Bench::new();
    let link = bench.member();
    let author = Identity::from_seed([3; 32]);
    bench.say(link, live(&author, 0));
    bench.say(link, live(&author, 5));
    assert!(bench.group().held_bytes() > 0);
    let log = LogId { author: author.peer_id(), lane: Lane::Live };
    bench.engine.groups.values_mut().next().expect("joined").forget_log(&log);
    assert_eq!((bench.group().n_logs(), bench.group().held_bytes()), (0, 0));
    let before = bench.sent.get(&13).copied();
    let range = Range { log, from: 0, to: 5 };
    bench.say(link, Want { request: 1, group: 1, range, graft: false });
    assert_eq!(bench.sent.get(&13).copied(), before, "nothing of it is served");
}

/// Goal: a member cannot say that it has stored what does not exist yet, or what nobody stores.
#[test]
fn only_what_was_released_can_be_stored() {
    let mut bench = Bench::new();
    let link = bench.member();
    let group = key().group_id();
    let draft = Draft::default();
    bench.input(Input::Command(Command::Publish {
        group,
        lane: Lane::Durable,
        ttl_secs: 0,
        draft,
        ticket: 1,
    }));
    let author = bench.engine.me;
    let says = |lane, next| Stored { group: 1, logs: vec![(LogId { author, lane }, next)] };
    for (lane, next, counts) in
        [(Lane::Durable, u64::MAX, 0), (Lane::Durable, 2, 0), (Lane::Live, 0, 0), (Lane::Durable, 1, 1)]
    {
        bench.say(link, says(lane, next));
        let told = bench.events.iter().filter(|event| event.starts_with("Stored")).count();
        assert_eq!(told, counts, "{lane:?} below {next}");
    }
}

/// Goal: a group whose store cannot be read at first is ready once it can. Method: the first two answers fail.
#[test]
fn a_store_that_cannot_be_read_is_asked_again() {
    let mut bench = Bench::new();
    let group = key().group_id();
    bench.input(Input::Command(Command::Leave { group }));
    let name = "lobby".to_owned();
    bench.engine.handle_input(bench.now, Input::Command(Command::Join { key: key(), name }));
    let mut seen = Vec::new();
    for answers in [false, false, true] {
        let outputs: Vec<Output> = std::iter::from_fn(|| bench.engine.poll_output()).collect();
        let token = outputs.iter().find_map(|output| match output {
            Output::Fetch { token, .. } => Some(*token),
            _ => None,
        });
        let answer = match answers {
            true => Answer::Group(GroupRecord::default()),
            false => Answer::Failed("full".to_owned()),
        };
        bench.engine.handle_input(bench.now, Input::Fetched(token.expect("asked"), answer));
        while let Some(output) = bench.engine.poll_output() {
            if let Output::Event(event) = output {
                seen.push(
                    format!("{event:?}").chars().take_while(char::is_ascii_alphabetic).collect::<String>(),
                );
            }
        }
        bench.now = bench.now + limits::STORE_RETRY;
        bench.engine.handle_input(bench.now, Input::Timeout);
    }
    assert_eq!(seen, ["StoreFailed", "Joined"]);
    assert!(bench.group().is_loaded());
}

/// Goal: a disk that is full for long costs no memory: neither what others send nor what we publish piles up.
#[test]
fn nothing_piles_up_while_the_store_fails() {
    let mut bench = Bench::new();
    let link = bench.member();
    let (group, lane, draft) = (key().group_id(), Lane::Durable, Draft::default());
    bench.disk_fails = true;
    for ticket in 0..50 {
        let draft = draft.clone();
        bench.input(Input::Command(Command::Publish { group, lane, ttl_secs: 0, draft, ticket }));
        bench.say(link, envelope(&Identity::from_seed([3; 32]), Lane::Durable, ticket));
        bench.pass(Duration::from_millis(100));
    }
    let count = |bench: &Bench, name| bench.events.iter().filter(|event| event.starts_with(name)).count();
    assert_eq!(count(&bench, "StoreFailed"), 1);
    assert_eq!(bench.engine.counters.count("store-failing"), 50);
    assert_eq!(bench.group().n_logs(), 0);
    bench.disk_fails = false;
    bench.pass(limits::STORE_RETRY);
    assert_eq!(count(&bench, "Sealed"), 2, "the one that failed, and all that waited");
    bench.say(link, envelope(&Identity::from_seed([3; 32]), Lane::Durable, 0));
    assert_eq!(count(&bench, "Delivered"), 3);
}
