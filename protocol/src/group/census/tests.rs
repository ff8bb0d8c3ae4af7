//! The census as a table of who said what, and two of them that compare.

mod liars;

use super::*;
use crate::wire::frame::{Frame, Members, check};

const TAG: TopicTag = TopicTag([7; 16]);

fn identity(n: usize) -> Identity {
    let mut seed = [3; 32];
    seed[..8].copy_from_slice(&(n as u64).to_le_bytes());
    Identity::from_seed(seed)
}

/// Some node's census, and what presence there watches.
struct Bench {
    census: Census,
    me: usize,
    now: Timestamp,
    watched: Option<PeerId>,
    watched_is: PresenceState,
    members_max: usize,
    heard: Vec<Heard>,
}

impl Bench {
    fn new(me: usize) -> Self {
        let now = Timestamp::from_micros(1_000_000);
        let members_max = limits::MEMBERS_MAX;
        Self {
            census: Census::default(),
            me,
            now,
            watched: None,
            watched_is: PresenceState::Suspect,
            members_max,
            heard: Vec::new(),
        }
    }

    fn with<T>(&mut self, f: impl FnOnce(&mut Census, &Ground<'_>) -> T) -> T {
        let watched = self.watched;
        let state = |peer: &PeerId| (watched == Some(*peer)).then_some(self.watched_is);
        let ground = Ground {
            now: self.now,
            me: identity(self.me).peer_id(),
            tag: TAG,
            group: 1,
            incarnation: Incarnation(5),
            is_partial: true,
            is_weather_bad: false,
            members_max: self.members_max,
            state: &state,
        };
        let result = f(&mut self.census, &ground);
        self.heard.extend(self.census.take_heard());
        result
    }

    /// These say that they are there.
    fn join(&mut self, members: impl IntoIterator<Item = usize>) -> &mut Self {
        for n in members {
            assert_eq!(self.take(&said(n, 5, 1, Stay::Here)), Ok(Worth::News), "{n}");
        }
        self.heard.clear();
        self
    }

    fn take(&mut self, fact: &Fact) -> Result<Worth, Junk> {
        let mut toll = 0;
        self.with(|census, ground| census.take(ground, fact, &mut toll))
    }

    fn pass(&mut self, time: Duration) -> &mut Self {
        let end = self.now + time;
        while let Some(at) = self.census.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.with(|census, ground| census.on_deadline(ground));
        }
        self.now = end;
        self
    }

    fn has(&self, n: usize) -> bool {
        self.census.is_here(&identity(n).peer_id())
    }
}

fn said(n: usize, incarnation: u64, seq: u32, stay: Stay) -> Fact {
    Fact::Said(MemberRecord::new(&TAG, Incarnation(incarnation), seq, stay, &identity(n)).into())
}

fn vote(observer: usize, target: usize, incarnation: u64, observers: usize) -> Fact {
    let target = identity(target).peer_id();
    Fact::Vote(Alert::new(target, Incarnation(incarnation), observers, &identity(observer)).into())
}

/// Carries frames between two until neither has anything to say. Returns the bytes.
fn converse(a: &mut Bench, b: &mut Bench) -> usize {
    let link = LinkId(1);
    let digests = [a.census.digest(), b.census.digest()];
    a.with(|census, ground| census.on_members_digest(ground, link, digests[1]));
    b.with(|census, ground| census.on_members_digest(ground, link, digests[0]));
    let mut bytes = 0;
    for _ in 0..1000 {
        a.pass(Duration::from_millis(100));
        b.pass(Duration::from_millis(100));
        let (of_a, of_b) = (a.census.take_frames(), b.census.take_frames());
        for (frames, to) in [(of_a, &mut *b), (of_b, &mut *a)] {
            for (_, _, frame) in frames {
                bytes += frame.encoded_len();
                assert!(check(frame.encode().concat(), |_| false).is_ok());
                hear(to, link, &frame);
            }
        }
    }
    bytes
}

/// What the owner does with a frame.
fn hear(bench: &mut Bench, link: LinkId, frame: &Frame) {
    match frame {
        Frame::Members(members) => {
            for fact in &members.facts {
                if bench.take(fact).expect("signed") == Worth::Outdated {
                    let facts = bench.census.facts_about(fact.subject());
                    bench.with(|census, ground| census.tell(ground, link, facts));
                }
            }
            if bench.census.is_page(link) {
                bench.with(|census, ground| census.on_page(ground, members));
            }
        }
        _ => bench.with(|census, ground| match frame {
            Frame::MembersAsk(ask) => census.on_ask(ground, link, ask),
            Frame::MembersSums(sums) => census.on_sums(ground, link, sums),
            Frame::MembersHave(have) => census.on_have(ground, link, have),
            Frame::MembersWant(want) => census.on_want(ground, link, want),
            _ => unreachable!("no such frame of the census"),
        }),
    }
}

/// Goal: of what somebody says of itself the latest counts, in whatever order it comes, and nothing that another signed.
#[test]
fn the_latest_word_counts() {
    let mut bench = Bench::new(0);
    for (fact, worth, is_here) in [
        (said(1, 5, 1, Stay::Here), Worth::News, true),
        (said(1, 5, 1, Stay::Here), Worth::Old, true),
        (said(1, 5, 3, Stay::Left), Worth::News, false),
        (said(1, 5, 2, Stay::Here), Worth::Outdated, false),
        (said(1, 5, 4, Stay::Here), Worth::News, true),
        (said(1, 6, 1, Stay::Stopped), Worth::News, false),
        (said(1, 6, 1, Stay::Here), Worth::Outdated, false),
        (said(1, 7, 1, Stay::Here), Worth::News, true),
    ] {
        assert_eq!(bench.take(&fact), Ok(worth), "{fact:?}");
        assert_eq!((bench.has(1), bench.census.n_here()), (is_here, usize::from(is_here)), "{fact:?}");
    }
    let Fact::Said(word) = said(2, 5, 1, Stay::Here) else { unreachable!("it is a word") };
    for forged in [
        MemberRecord { peer: identity(3).peer_id(), ..MemberRecord::clone(&word) },
        MemberRecord { seq: 2, ..MemberRecord::clone(&word) },
        MemberRecord { incarnation: Incarnation(6), ..MemberRecord::clone(&word) },
        MemberRecord { stay: Stay::Left, ..MemberRecord::clone(&word) },
    ] {
        assert_eq!(bench.take(&Fact::Said(forged.into())), Err(Junk));
    }
    let other = MemberRecord::new(&TopicTag([8; 16]), Incarnation(5), 1, Stay::Here, &identity(2));
    assert_eq!(bench.take(&Fact::Said(other.into())), Err(Junk), "for another group");
}

/// Goal: whoever comes and goes again and again does not make everybody pass it on for ever.
#[test]
fn words_of_one_are_passed_on_in_measure() {
    let mut bench = Bench::new(0);
    let max = u32::from(limits::WORDS_OF_ONE);
    let news = (1..3 * max).filter(|seq| bench.take(&said(1, 5, *seq, Stay::Here)) == Ok(Worth::News));
    assert_eq!(news.count(), max as usize);
    bench.pass(limits::WORDS_WINDOW);
    assert_eq!(bench.take(&said(1, 5, 3 * max, Stay::Here)), Ok(Worth::News));
}

/// Goal: three members' votes make another gone after a second, or those of all who watch it; strangers' never do.
#[test]
fn votes_of_members_count() {
    let second = limits::REFUTE_WAIT;
    for (voters, observers, time, is_here) in [
        (&[1, 2, 3][..], 8, second, false),
        (&[1, 2, 3], 8, second - Duration::from_micros(1), true),
        (&[1, 2], 2, second, false),
        (&[1, 2], 3, second, true),
        (&[1], 1, second, false),
        (&[1], 2, second, true),
        // Fewer than are needed take their time.
        (&[1, 2], 8, Duration::from_secs(18), false),
        (&[1, 2], 8, Duration::from_secs(17), true),
        (&[1], 8, Duration::from_secs(30), false),
        (&[1, 1, 1], 8, Duration::from_secs(29), true),
        (&[20, 21, 22], 8, Duration::from_secs(60), true),
        (&[20, 21, 1], 1, second, false),
        (&[9, 9, 9], 1, Duration::from_secs(60), true),
    ] {
        let mut bench = Bench::new(0);
        bench.join(1..10);
        for voter in voters {
            bench.take(&vote(*voter, 9, 5, observers)).expect("signed");
        }
        bench.pass(time);
        assert_eq!(bench.has(9), is_here, "{voters:?} of {observers} after {time:?}");
    }
}

/// Goal: a live member is not gone, if it speaks up within a second, and liars cannot go on with the same voices.
#[test]
fn votes_in_vain_are_not_heard_again() {
    let mut bench = Bench::new(0);
    bench.join(1..10);
    for voter in 1..4 {
        assert_eq!(bench.take(&vote(voter, 9, 5, 3)), Ok(Worth::News));
    }
    bench.pass(Duration::from_millis(900));
    assert_eq!(bench.take(&said(9, 6, 1, Stay::Here)), Ok(Worth::News));
    for voter in 1..4 {
        assert_eq!(bench.take(&vote(voter, 9, 5, 3)), Ok(Worth::Outdated));
        assert_eq!(bench.take(&vote(voter, 9, 6, 3)), Ok(Worth::Old), "once more");
    }
    bench.pass(Duration::from_secs(10));
    assert!(bench.has(9));
    assert!(bench.heard.iter().all(|heard| !matches!(heard, Heard::Left(..))), "{:?}", bench.heard);
    bench.pass(limits::VOTE_AGAIN);
    for voter in 1..4 {
        assert_eq!(bench.take(&vote(voter, 9, 6, 3)), Ok(Worth::News), "now it may be true");
    }
    bench.pass(limits::REFUTE_WAIT);
    assert!(!bench.has(9));
    assert_eq!(bench.take(&said(9, 6, 2, Stay::Here)), Ok(Worth::Outdated), "it has to rise above it");
    assert_eq!(bench.take(&said(9, 7, 1, Stay::Here)), Ok(Worth::News));
    assert!(bench.has(9));
}

/// Goal: the votes by which somebody was found gone are shown as long as it is remembered, though they are not looked at any
/// more; when it rises nobody is told of it in vain, and its case is closed as any other.
#[test]
fn votes_against_the_gone_are_kept_and_not_counted_again() {
    for rises in [false, true] {
        let mut bench = Bench::new(0);
        bench.join(1..10);
        let gone = identity(9).peer_id();
        for voter in 1..4 {
            bench.take(&vote(voter, 9, 5, 3)).expect("signed");
        }
        bench.pass(limits::REFUTE_WAIT);
        assert!(!bench.has(9) && bench.census.facts_about(&gone).len() == 3);
        assert_eq!((bench.census.cases.len(), bench.census.proofs.len()), (1, 0), "it may be one of many");
        bench.pass(Duration::from_secs(10));
        // The next case has everybody looked at.
        bench.take(&vote(1, 8, 5, 3)).expect("signed");
        bench.pass(limits::REFUTE_WAIT);
        assert_eq!((bench.census.cases.len(), bench.census.proofs.len()), (1, 1));
        assert!(bench.census.facts_about(&gone).len() == 3 && bench.census.was_accused(&gone));
        if rises {
            assert_eq!(bench.take(&said(9, 6, 1, Stay::Here)), Ok(Worth::News));
            assert!(bench.has(9) && bench.census.proofs.is_empty() && bench.census.was_accused(&gone));
            assert_eq!(bench.take(&vote(1, 9, 6, 3)), Ok(Worth::Old), "not so soon again");
        } else {
            assert_eq!(bench.take(&said(9, 6, 1, Stay::Left)), Ok(Worth::News));
            assert!(!bench.census.was_accused(&gone), "it says so itself");
        }
    }
}

/// Goal: who has room for all, but samples around it, does not take the silence of a member for its end either. One of three
/// neighbours that says so makes no difference.
#[test]
fn too_few_votes_say_too_little_among_samples() {
    for n_samples in [1, 2] {
        let mut bench = Bench::new(0);
        bench.join(1..12);
        for n in 0..3 {
            let sum = if n < n_samples { MembersDigest::SAMPLE } else { 7 };
            bench.with(|census, ground| {
                census.on_members_digest(ground, LinkId(n), MembersDigest { n: 16, sum });
            });
        }
        bench.take(&vote(1, 9, 5, 3)).expect("signed");
        bench.pass(limits::SUSPICION_MAX + limits::REFUTE_WAIT);
        assert_eq!(bench.has(9), n_samples == 2);
    }
}

/// Goal: what is said against a member goes on from node to node later only where an answer would follow. Where lists are
/// samples a new neighbour is not told which votes stand, nor anybody who is gone.
#[test]
fn old_votes_stay_where_they_are_where_lists_are_samples() {
    for is_sample in [false, true] {
        let mut bench = Bench::new(0);
        bench.members_max = if is_sample { 16 } else { 64 };
        bench.join(1..20.min(bench.members_max));
        bench.take(&vote(1, 9, 5, 3)).expect("signed");
        let [neighbour, gone] = [2, 9].map(|n| identity(n).peer_id());
        assert_eq!(bench.census.open_votes(&neighbour).is_empty(), is_sample);
        assert_eq!(bench.census.open_votes(&gone).len(), 1, "who can answer is told");
        for observer in [2, 3] {
            bench.take(&vote(observer, 9, 5, 3)).expect("signed");
        }
        bench.pass(limits::REFUTE_WAIT);
        assert!(!bench.has(9));
        assert_eq!(bench.census.facts_about(&gone).is_empty(), is_sample);
    }
}

/// Goal: who is seen to be there is not gone by what others said before, when it is seen no longer.
#[test]
fn votes_against_whom_this_node_has_seen_since_are_void() {
    for is_seen in [false, true] {
        let mut bench = Bench::new(0);
        bench.join(1..12);
        bench.watched = Some(identity(9).peer_id());
        for observer in [1, 2, 3] {
            bench.take(&vote(observer, 9, 5, 3)).expect("signed");
        }
        bench.watched_is = if is_seen { PresenceState::Alive } else { PresenceState::Suspect };
        bench.pass(limits::REFUTE_WAIT * 2);
        bench.watched = None;
        bench.pass(limits::REFUTE_WAIT * 2);
        assert_eq!(bench.has(9), is_seen);
        // Whoever finds out later is heard.
        for observer in [4, 5, 6] {
            bench.take(&vote(observer, 9, 5, 3)).expect("signed");
        }
        bench.pass(limits::REFUTE_WAIT * 2);
        assert!(!bench.has(9));
    }
}

/// Goal: that a member is voted against and answers is told, unless it was gone by then.
#[test]
fn votes_in_vain_are_told() {
    for (n_votes, told) in [(0, 0), (2, 1), (3, 0)] {
        let mut bench = Bench::new(0);
        bench.join(1..12);
        for observer in 1..=n_votes {
            bench.take(&vote(observer, 9, 5, 3)).expect("signed");
        }
        bench.pass(limits::REFUTE_WAIT * 2);
        for incarnation in [6, 7] {
            bench.take(&said(9, incarnation, 2, Stay::Here)).expect("signed");
        }
        let n = bench.heard.iter().filter(|heard| matches!(heard, Heard::Vain(11))).count();
        assert_eq!(n, told, "{n_votes} votes");
    }
}

/// Goal: the trees along which votes went are remembered for the answer, each once, and no longer than the votes.
#[test]
fn where_votes_went_is_known_when_the_answer_comes() {
    let mut bench = Bench::new(0);
    bench.join(1..12);
    let target = identity(9).peer_id();
    bench.census.went_along(&target, 4);
    assert_eq!(bench.census.ways_of_votes(&target).count(), 0, "nothing is said against it");
    bench.take(&vote(1, 9, 5, 3)).expect("signed");
    for tree in [4, 2, 4, 7, 8] {
        bench.census.went_along(&target, tree);
    }
    bench.take(&said(9, 6, 2, Stay::Here)).expect("signed");
    assert_eq!(bench.census.ways_of_votes(&target).collect::<Vec<_>>(), [4, 2, 7]);
    bench.pass(limits::VOTE_AGAIN * 2);
    assert_eq!(bench.census.ways_of_votes(&target).count(), 0);
}

/// Goal: a vote or two that nobody answers are the end of a member where all are listed, and of nobody where lists are samples:
/// the answer may not have been passed on.
#[test]
fn too_few_votes_say_too_little_where_lists_are_samples() {
    for is_sample in [false, true] {
        let mut bench = Bench::new(0);
        bench.members_max = if is_sample { 16 } else { 64 };
        for n in 1..30 {
            bench.take(&said(n, 5, 1, Stay::Here)).expect("signed");
        }
        assert_eq!(bench.census.is_sample(), is_sample);
        bench.take(&vote(1, 9, 5, 3)).expect("signed");
        bench.pass(limits::SUSPICION_MAX + limits::REFUTE_WAIT);
        assert_eq!(bench.has(9), is_sample);
    }
}

/// Goal: a list that others have filled is not one longer for this node's own word: there is a place for it.
#[test]
fn a_full_list_has_a_place_for_its_owner() {
    let mut bench = Bench::new(0);
    bench.members_max = 16;
    for n in 1..30 {
        bench.take(&said(n, 5, 1, Stay::Here)).expect("signed");
    }
    assert_eq!(bench.census.len(), 15);
    bench.with(|census, ground| census.say(ground, &identity(0), 1, Stay::Here));
    assert_eq!((bench.census.len(), bench.census.n_here(), bench.census.is_sample()), (16, 16, true));
}

/// Goal: this node's own vote goes out again if it is said again while it stands, so that whoever knows better answers;
/// once disproved it is not said until others would hear it.
#[test]
fn a_vote_that_stands_can_be_said_again() {
    let mut bench = Bench::new(0);
    bench.join(1..10);
    let accuse = |bench: &mut Bench, incarnation| {
        let Fact::Vote(own) = vote(0, 9, incarnation, 8) else { unreachable!("it is a vote") };
        bench.with(|census, ground| census.accuse(ground, &own))
    };
    assert!(accuse(&mut bench, 5));
    bench.pass(Duration::from_secs(10));
    assert!(accuse(&mut bench, 5), "again");
    assert!(!accuse(&mut bench, 4), "of an earlier run");
    assert_eq!(bench.take(&said(9, 6, 1, Stay::Here)), Ok(Worth::News));
    assert!(!accuse(&mut bench, 5) && !accuse(&mut bench, 6), "disproved");
    bench.pass(limits::VOTE_AGAIN - Duration::from_micros(1));
    assert!(!accuse(&mut bench, 6));
    bench.pass(Duration::from_micros(1));
    assert!(accuse(&mut bench, 6));
}

/// Goal: votes against this node are told to it, and what presence watches itself is left to presence.
#[test]
fn what_is_seen_is_worth_more_than_what_is_said() {
    let mut bench = Bench::new(0);
    bench.join(1..10);
    bench.watched = Some(identity(9).peer_id());
    for voter in 1..4 {
        bench.take(&vote(voter, 9, 5, 3)).expect("signed");
        assert_eq!(bench.take(&vote(voter, 0, 5, 3)), Ok(Worth::Old));
        assert_eq!(bench.take(&vote(voter, 0, 4, 3)), Ok(Worth::Old), "disproved long ago");
    }
    bench.pass(Duration::from_secs(60));
    assert!(bench.has(9));
    assert_eq!(bench.heard.iter().filter(|heard| matches!(heard, Heard::Vote(_))).count(), 6);
    bench.watched = None;
    bench.pass(Duration::from_secs(2));
    assert!(!bench.has(9));
}

/// Goal: many against whom several vote together are on the other side of a cut, and held; one or two are dead.
#[test]
fn a_cut_is_not_so_many_deaths() {
    for (n_silent, is_held) in [(4, false), (5, true), (12, true)] {
        let mut bench = Bench::new(0);
        bench.join(1..30);
        for target in 10..10 + n_silent {
            for voter in 1..4 {
                bench.take(&vote(voter, target, 5, 8)).expect("signed");
            }
        }
        bench.pass(Duration::from_secs(80));
        assert_eq!(bench.has(10), is_held, "{n_silent}");
        bench.pass(Duration::from_secs(11));
        assert!(!bench.has(10), "{n_silent}");
    }
}

/// Goal: two who know different things know the same afterwards, dead and left ones too, at a cost that grows with what
/// differs. Method: of 600 members each lacks three; one knows of a death and of one that left.
#[test]
fn lists_become_the_same() {
    let (mut a, mut b) = (Bench::new(0), Bench::new(601));
    a.join((1..601).filter(|n| n % 200 != 7));
    b.join((1..601).filter(|n| n % 200 != 9));
    for voter in [1, 2, 3] {
        a.take(&vote(voter, 50, 5, 8)).expect("signed");
    }
    a.take(&said(51, 5, 2, Stay::Left)).expect("signed");
    a.pass(limits::REFUTE_WAIT);
    b.pass(limits::REFUTE_WAIT);
    let bytes = converse(&mut a, &mut b);
    assert_eq!(a.census.digest(), b.census.digest());
    assert_eq!((a.census.n_here(), b.has(50), b.has(51)), (598, false, false));
    assert!(bytes < 6000, "{bytes} bytes");
    assert_eq!(converse(&mut a, &mut b), 0, "nothing to say");
}

/// Goal: who knows nobody learns all, page by page, and does not take them for news.
#[test]
fn a_newcomer_asks_for_pages() {
    let (mut old, mut new) = (Bench::new(0), Bench::new(999));
    let n = 3 * limits::FACTS_MAX + 5;
    old.join(1..=n);
    let digest = old.census.digest();
    new.with(|census, ground| census.on_members_digest(ground, LinkId(1), digest));
    assert!(new.census.is_page(LinkId(1)));
    let bytes = converse(&mut old, &mut new);
    assert_eq!((new.census.n_here(), new.census.digest()), (n, digest));
    assert!(!new.census.is_page(LinkId(1)));
    assert!(bytes < 112 * n + 300, "{bytes} bytes");
}

/// Goal: whoever says that there is more, and shows nobody, or always the same, is asked no more.
#[test]
fn pages_that_do_not_go_on_are_not_asked_for() {
    let (mut bench, link) = (Bench::new(0), LinkId(1));
    let digest = MembersDigest { n: 1000, sum: 7 };
    let mut facts: Vec<Fact> = (1..=limits::FACTS_MAX).map(|n| said(n, 5, 1, Stay::Here)).collect();
    facts.sort_by_key(|fact| *fact.subject());
    let full = Members { group: 1, more_after: facts.last().map(|last| *last.subject()), facts };
    let empty = Members { facts: Vec::new(), ..full.clone() };
    let elsewhere = Members { more_after: Some(PeerId([255; 32])), ..full.clone() };
    for (pages, n_asked) in [(vec![&full, &full], 1), (vec![&empty], 0), (vec![&elsewhere], 0)] {
        bench.with(|census, ground| census.on_members_digest(ground, link, digest));
        bench.census.take_frames();
        for page in pages {
            bench.pass(limits::PAGE_PAUSE);
            assert!(bench.census.is_page(link));
            bench.with(|census, ground| census.on_page(ground, page));
        }
        assert_eq!((bench.census.take_frames().len(), bench.census.is_page(link)), (n_asked, false));
    }
}

/// Goal: whatever anybody invents, a bounded number is remembered, and those who are there make no room.
#[test]
fn the_list_is_bounded() {
    let mut bench = Bench::new(0);
    bench.with(|census, ground| census.say(ground, &identity(0), 1, Stay::Here));
    // With its owner these are ten.
    bench.join(1..10);
    for n in 0..limits::GONE_MAX + 9 {
        bench.take(&said(5000 + n, 5, 1, Stay::Left)).expect("signed");
    }
    assert_eq!(bench.census.members.len(), 10 + limits::GONE_MAX);
    bench.join(10_001..10_000 + limits::MEMBERS_MAX - 10);
    let Fact::Said(mut forged) = said(9001, 5, 1, Stay::Here) else { panic!("a word") };
    Arc::make_mut(&mut forged).seq = 2;
    assert_eq!(bench.take(&Fact::Said(forged)), Err(Junk));
    assert_eq!(bench.census.members.len(), limits::MEMBERS_MAX, "what nobody signed takes nobody's place");
    bench.join([10_000]);
    assert_eq!(bench.census.members.len(), limits::MEMBERS_MAX, "those who left made room");
    assert_eq!(bench.take(&said(9000, 5, 1, Stay::Here)), Ok(Worth::Old), "one more");
    assert!((0..10).all(|n| bench.has(n)));
    assert!(bench.census.digest().n as usize == limits::MEMBERS_MAX);
}

/// Goal: whoever keeps few in mind says so, compares with nobody and learns no more, until half of those are gone.
#[test]
fn a_small_list_is_a_sample_of_a_large_group() {
    let (mut small, mut large) = (Bench::new(0), Bench::new(99));
    small.members_max = 20;
    small.with(|census, ground| census.say(ground, &identity(0), 1, Stay::Here));
    large.join(1..40);
    let digest = large.census.digest();
    small.with(|census, ground| census.on_members_digest(ground, LinkId(1), digest));
    converse(&mut small, &mut large);
    assert_eq!((small.census.n_here(), small.census.is_sample()), (20, true));
    assert_eq!(converse(&mut small, &mut large), 0, "a sample is not compared");
    assert_eq!(large.census.n_here(), 40, "those that it knew, and the small one");

    let listed: Vec<usize> = (1..40).filter(|n| small.has(*n)).collect();
    for n in &listed[..11] {
        small.take(&said(*n, 5, 2, Stay::Left)).expect("signed");
    }
    small.pass(limits::SWEEP_EVERY);
    assert!(!small.census.is_sample());
    converse(&mut small, &mut large);
    assert_eq!((small.census.n_here(), small.census.is_sample()), (20, true));
}

/// Goal: one whose neighbours died with it is gone some day, and one that says now and then that it is there is not.
#[test]
fn who_is_silent_for_long_is_gone() {
    let mut bench = Bench::new(0);
    bench.join(1..3);
    let pause = bench.census.word_pause();
    for n in 1..=limits::WORD_EXPIRES {
        bench.pass(pause);
        bench.take(&said(2, 5, 1 + n, Stay::Here)).expect("signed");
    }
    bench.pass(limits::SWEEP_EVERY * 2);
    assert_eq!((bench.has(1), bench.has(2)), (false, true));
    assert_eq!(bench.take(&said(1, 5, 2, Stay::Here)), Ok(Worth::News), "nobody has voted against it");
    assert!(bench.has(1));
}

/// Goal: who slept does not bring the dead back. Method: it forgets all but its neighbours, and learns the rest again.
#[test]
fn who_slept_asks_anew() {
    let (mut sleeper, mut other) = (Bench::new(0), Bench::new(99));
    sleeper.join(1..40);
    other.join(2..40);
    let near = identity(3).peer_id();
    sleeper.with(|census, ground| census.forget_far(ground, &[near]));
    assert!(sleeper.census.n_here() == 1 && sleeper.has(3));
    assert_eq!(sleeper.heard.len(), 38);
    converse(&mut sleeper, &mut other);
    assert_eq!(sleeper.census.digest(), other.census.digest());
    assert!(!other.has(1));
}
