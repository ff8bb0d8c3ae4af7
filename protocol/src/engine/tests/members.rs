//! What a node says of itself through its groups.

use super::*;
use crate::wire::frame::FLOOD;

/// Goal: a node that refutes votes says so to its group too where it takes the network for a mesh, for it is on the lists
/// of others, and they may have lost it in a cut. Method: it is told that the network is large, says that it is there, and
/// comes to the conclusion that it is small; a member that is far away votes against it.
#[test]
fn a_refutation_goes_through_the_group_in_a_mesh_too() {
    let mut bench = Bench::new();
    let link = bench.member();
    bench.say(link, Shuffle { reply: false, peers: Vec::new() });
    let far = Identity::from_seed([3; 32]);
    let word = MemberRecord::new(&key().topic_tag(), Incarnation(1), 1, Stay::Here, &far);
    bench.say(link, News { group: 1, tree: FLOOD, facts: vec![Fact::Said(word.into())] });
    let mut n = 0;
    while n == 0 || bench.engine.overlay.is_partial() {
        n += 1;
        assert!(n < 300, "it goes on believing that the network is large");
        bench.pass(Duration::from_secs(1));
        bench.say(link, Beat { n: 1, echo: 0, held: 0, ask: 0 });
    }
    let kind = Frame::from(News { group: 1, tree: FLOOD, facts: Vec::new() }).kind();
    let n_news = |bench: &Bench| bench.sent.get(&kind).copied().unwrap_or_default();
    assert_eq!(n_news(&bench), 1, "that it is there");
    let vote = Alert::new(bench.engine.me, bench.engine.presence.incarnation(), 3, &far);
    bench.say(link, News { group: 1, tree: FLOOD, facts: vec![Fact::Vote(vote.into())] });
    assert_eq!(bench.engine.presence.incarnation(), Incarnation(8));
    assert_eq!(n_news(&bench), 2, "that it is there still");
}

/// Goal: whoever is voted against in its group hears of it through the group, and answers each vote within the second in which
/// everybody waits, whoever voted and however lately it answered another. It was told by its neighbours alone, as of a vote
/// of strangers, and answered those once in ten seconds. Method: a vote against a neighbour comes through another one; then
/// two members far away vote against this node, one a second after the other.
#[test]
fn votes_of_members_far_away_are_answered_at_once() {
    let mut bench = Bench::new();
    let accused = bench.hostile.peer_id();
    bench.member();
    bench.hostile = Identity::from_seed([4; 32]);
    bench.record = PeerRecord::new(&bench.hostile, 1, Vec::new(), Vec::new());
    let link = bench.member();
    bench.say(link, Shuffle { reply: false, peers: Vec::new() });
    let far = [5, 6].map(|n| Identity::from_seed([n; 32]));
    let here = |who: &Identity| {
        Fact::Said(MemberRecord::new(&key().topic_tag(), Incarnation(1), 1, Stay::Here, who).into())
    };
    let mut facts: Vec<Fact> = far.iter().map(here).collect();
    facts.push(here(&Identity::from_seed([2; 32])));
    bench.say(link, News { group: 1, tree: FLOOD, facts });
    bench.pass(limits::WORD_DELAY + limits::NEWS_DELAY);
    let kind = Frame::from(News { group: 1, tree: FLOOD, facts: Vec::new() }).kind();
    let before = bench.sent.get(&kind).copied();
    let tell = |bench: &mut Bench, target, incarnation, who: &Identity| {
        let facts = vec![Fact::Vote(Alert::new(target, incarnation, 3, who).into())];
        bench.say(link, News { group: 1, tree: FLOOD, facts });
    };
    tell(&mut bench, accused, Incarnation(1), &far[0]);
    assert_eq!(
        bench.sent.get(&kind).copied(),
        before.map(|n| n + 1),
        "to the accused, who is the only other one"
    );
    for who in &far {
        let (me, before) = (bench.engine.me, bench.engine.presence.incarnation());
        tell(&mut bench, me, before, who);
        assert!(bench.engine.presence.incarnation() > before);
        bench.pass(Duration::from_secs(1));
    }
}

/// Words of so many, in the order of their ids.
fn words_of(n: u64, seq: u32, stay: Stay) -> Vec<Fact> {
    let word = |n: u64| {
        let mut seed = [9; 32];
        seed[..8].copy_from_slice(&n.to_le_bytes());
        let someone = Identity::from_seed(seed);
        Fact::Said(MemberRecord::new(&key().topic_tag(), Incarnation(1), seq, stay, &someone).into())
    };
    let mut words: Vec<Fact> = (0..n).map(word).collect();
    words.sort_by_key(|word| *word.subject());
    words
}

/// Goal: a neighbour that brings the pages that it was asked for is not blamed for the work they make, however near it is; who
/// brings as much unasked is. Method: 110 pages, as fast as they are asked for.
#[test]
fn pages_that_were_asked_for_cost_their_sender_nothing() {
    let words = words_of(110 * limits::FACTS_MAX as u64, 1, Stay::Here);
    let ask = Frame::from(MembersAsk { group: 1, after: PeerId([0; 32]) }).kind();
    for is_asked in [true, false] {
        let mut bench = Bench::new();
        let link = bench.member();
        bench.say(link, Shuffle { reply: false, peers: Vec::new() });
        if is_asked {
            let digest = MembersDigest { n: 8000, sum: 7 };
            bench.say(link, Roots { roots: vec![(1, [0; 32], digest)] });
        }
        for (n, page) in words.chunks(limits::FACTS_MAX).enumerate() {
            let n_asked = bench.sent.get(&ask).copied().unwrap_or_default();
            assert_eq!(n_asked, if is_asked { n + 1 } else { 0 });
            let more_after = page.last().map(|last| *last.subject());
            bench.say(link, Members { group: 1, facts: page.to_vec(), more_after });
            bench.pass(limits::PAGE_PAUSE);
        }
        let peer = bench.hostile.peer_id();
        assert_eq!(bench.engine.conduct.held_against(bench.now, &peer) == 0, is_asked);
        assert!(words.iter().all(|word| bench.group().is_member(word.subject())));
    }
}

/// Goal: in a group that has become small everybody says more often that it is there, as is expected of it there. Method: of
/// a thousand most leave.
#[test]
fn words_come_sooner_after_a_group_has_shrunk() {
    let mut bench = Bench::new();
    let link = bench.member();
    bench.say(link, Shuffle { reply: false, peers: Vec::new() });
    let words = words_of(1000, 1, Stay::Here);
    bench.pass(limits::WORD_DELAY);
    for facts in words.chunks(limits::FACTS_MAX) {
        bench.say(link, News { group: 1, tree: FLOOD, facts: facts.to_vec() });
        bench.say(link, Beat { n: 1, echo: 0, held: 0, ask: 0 });
        bench.pass(Duration::from_secs(1));
    }
    let next = |bench: &Bench| bench.group().says_again_at().expect("it has said so once");
    // Any later word of its own is said when there are as many.
    let vote = Alert::new(bench.engine.me, bench.engine.presence.incarnation(), 3, &bench.hostile);
    bench.say(link, vote);
    let share = bench.now + limits::WORD_EVERY_MEMBER * 1000 * 3 / 4;
    assert!(next(&bench) >= share, "{:?} {share:?}", next(&bench));
    for facts in words_of(900, 2, Stay::Left).chunks(limits::FACTS_MAX) {
        bench.say(link, News { group: 1, tree: FLOOD, facts: facts.to_vec() });
    }
    assert!(next(&bench) <= bench.now + limits::WORD_EVERY * 7 / 4);
}

/// Goal: a member that has answered the votes against it stays on the list, also if presence has nothing to do with it any
/// more when they are counted. Method: a neighbour's connection breaks, three members vote against it, its answer comes, and
/// it is a neighbour no more.
#[test]
fn an_answer_counts_when_who_answered_is_watched_no_more() {
    for answers in [true, false] {
        let mut bench = Bench::new();
        let [link, broken] = [4, 5].map(|n| {
            bench.hostile = Identity::from_seed([n; 32]);
            bench.record = PeerRecord::new(&bench.hostile, 1, Vec::new(), Vec::new());
            bench.member()
        });
        let target = bench.hostile.peer_id();
        bench.say(link, Shuffle { reply: false, peers: Vec::new() });
        let far = [6, 7, 8].map(|n| Identity::from_seed([n; 32]));
        let here = |who: &Identity| {
            Fact::Said(MemberRecord::new(&key().topic_tag(), Incarnation(1), 1, Stay::Here, who).into())
        };
        let facts = far.iter().chain([&bench.hostile]).map(here).collect();
        bench.say(link, News { group: 1, tree: FLOOD, facts });
        bench.input(Input::LinkDown { link: broken, cause: LinkEnd::Reset });
        let votes = far.iter().map(|who| Fact::Vote(Alert::new(target, Incarnation(1), 3, who).into()));
        bench.say(link, News { group: 1, tree: FLOOD, facts: votes.collect() });
        if answers {
            bench.say(link, Alive::new(Incarnation(2), &bench.hostile));
        }
        bench.engine.presence.parted(&target);
        bench.events.clear();
        bench.pass(Duration::from_secs(10));
        let left = format!("MemberLeft {{ group: {:?}, peer: {target:?}", key().group_id());
        let left = bench.events.iter().any(|event| event.starts_with(&left));
        assert_eq!(left, !answers, "{:?}", bench.events);
    }
}
