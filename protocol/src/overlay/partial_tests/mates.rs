//! Links that serve several groups: who is dialled, kept in mind, told of and given up.

use super::*;
use crate::id::TopicTag;
use crate::wire::frame::mate_tag;

const GROUPS: u8 = 6;

fn topic(group: u8) -> TopicTag {
    TopicTag([group; 16])
}

/// A record of a node that is in these groups.
fn member(n: u16, groups: &[u8]) -> Arc<PeerRecord> {
    let tags = groups.iter().map(|group| mate_tag(&topic(*group), &peer(n))).collect();
    PeerRecord::new(&identity(n), 2, vec![Address(n.to_be_bytes().to_vec())], tags)
}

/// Our groups, with who is linked of each.
fn covers(mates: impl Fn(u8) -> Vec<u16>) -> Vec<Cover> {
    let cover = |group| Cover { topic: topic(group), mates: mates(group).into_iter().map(peer).collect() };
    (0..GROUPS).map(cover).collect()
}

/// Goal: of the members that are known those are dialled that are in most of the groups which lack some, and no more than
/// are missing.
#[test]
fn who_is_in_several_groups_is_dialled_first() {
    let mut bench = Bench::partial(5);
    for n in 0..4 {
        bench.overlay.learn(member(50 + n, &[0]), false);
        bench.overlay.learn(member(60 + n, &[0, 1]), false);
        bench.overlay.learn(member(70 + n, &[2, 3, 4]), false);
    }
    // Nobody is lacking in the last three.
    bench.cover(&covers(|group| if group < 3 { Vec::new() } else { vec![1, 2, 3, 4] }));
    bench.drain();
    let of = |from: u16| bench.dialed.iter().filter(|it| (from..from + 4).any(|n| peer(n) == **it)).count();
    let wanted = limits::GROUP_LINKS_OF_MANY;
    assert_eq!((of(50), of(60), of(70)), (0, wanted, wanted));
}

/// Goal: a link that serves one group goes when both ends have others enough, and not before.
#[test]
fn a_link_is_given_up_when_both_ends_can_spare_it() {
    let wanted = limits::GROUP_LINKS_OF_MANY as u16;
    for (ours, theirs, goes) in
        [(wanted, wanted, false), (wanted + 1, wanted, false), (wanted + 1, wanted + 1, true)]
    {
        let mut bench = Bench::partial(5);
        bench.overlay.learn(member(50, &[0]), false);
        bench.overlay.dial(bench.now, peer(50), Why::Group, false);
        let link = bench.link(50, true);
        bench.overlay.greeted(bench.now, link, peer(50), Why::Group, member(50, &[0]));
        bench.overlay.neighbours_of(
            bench.now,
            peer(50),
            (0..30).map(|n| (peer(100 + n), Vec::new())).collect(),
        );
        bench.drain();
        bench.now = bench.now + limits::HELLO_PATIENCE;
        let enough = |group: u8| match group {
            0 => std::iter::once(50).chain(0..ours - 1).collect(),
            _ => (0..wanted).collect(),
        };
        let is_member = |place: usize, it: &PeerId| place == 0 && (0..theirs).any(|n| peer(100 + n) == *it);
        bench.overlay.cover(bench.now, &covers(enough), is_member);
        bench.drain();
        assert_eq!(bench.parted == [(peer(50), Refusal::Surplus)], goes, "{ours} and {theirs}");
    }
}

/// Goal: one that is in two groups which have a link for each alone is dialled, since these two can go then; one that is in
/// a group which has none is not.
#[test]
fn one_link_takes_the_place_of_two() {
    let wanted = limits::GROUP_LINKS_OF_MANY as u16;
    for (groups, is_dialed) in [([0, 1], true), ([0, 2], false)] {
        let mut bench = Bench::partial(5);
        for n in [50, 51] {
            bench.overlay.learn(record(n), false);
            bench.overlay.dial(bench.now, peer(n), Why::Group, false);
            let link = bench.link(n, true);
            bench.overlay.greeted(bench.now, link, peer(n), Why::Group, record(n));
        }
        bench.drain();
        bench.dialed.clear();
        let mates = |group: u8| match group {
            0 | 1 => std::iter::once(50 + u16::from(group)).chain(0..wanted - 1).collect(),
            _ => (0..wanted).collect(),
        };
        // The first look tells which groups are ours, and what is learnt after it is counted.
        bench.cover(&covers(mates));
        bench.overlay.learn(member(60, &groups), false);
        bench.cover(&covers(mates));
        bench.drain();
        assert_eq!(bench.dialed == [peer(60)], is_dialed, "{:?}", bench.dialed);
    }
}

/// Goal: who is in several groups stays in a full view while such are few; many take nobody's place.
#[test]
fn those_in_several_groups_stay_in_mind() {
    let mut bench = Bench::partial(5);
    bench.cover(&covers(|_| vec![0, 1, 2, 3]));
    let few = limits::PASSIVE_MAX as u16 / 4;
    for n in 0..few {
        bench.overlay.learn(member(50 + n, &[0, 5]), false);
    }
    for n in 0..500 {
        bench.overlay.learn(record(1000 + n), false);
    }
    let n_kept = |bench: &Bench, from: u16, n: u16| {
        (from..from + n).filter(|n| bench.overlay.known.contains_key(&peer(*n))).count()
    };
    assert_eq!(n_kept(&bench, 50, few), usize::from(few));
    for n in 0..200 {
        bench.overlay.learn(member(2000 + n, &[1, 2]), false);
    }
    for n in 0..500 {
        bench.overlay.learn(record(3000 + n), false);
    }
    assert!(n_kept(&bench, 3000, 500) >= limits::PASSIVE_MAX / 3, "half of the view is anybody");
}

/// Goal: a neighbour that is one for a group is told of members of it.
#[test]
fn members_are_told_of_members() {
    let mut bench = Bench::partial(0);
    let groups = covers(|group| if group == 4 { vec![50] } else { vec![1, 2, 3, 4] });
    bench.cover(&groups);
    let link = bench.link(50, false);
    bench.overlay.greeted(bench.now, link, peer(50), Why::Group, member(50, &[4]));
    for n in 0..3 {
        bench.overlay.learn(member(60 + n, &[4]), false);
    }
    for n in 0..50 {
        bench.overlay.learn(record(1000 + n), false);
    }
    bench.overlay.shuffle(bench.now, peer(50), Shuffle { reply: false, peers: Vec::new() });
    bench.drain();
    let told = &bench.shuffles.last().expect("answered").peers;
    let n_members = told.iter().filter(|it| (60..63).any(|n| peer(n) == it.peer)).count();
    assert!(n_members >= 2, "{n_members} of {}", told.len());
}
