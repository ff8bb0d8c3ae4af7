//! Members of groups: seen by their tags, searched for, met on the way, given up.

use super::*;
use crate::id::TopicTag;

use crate::wire::frame::{find_tag, mate_tag};

const TOPIC: TopicTag = TopicTag([3; 16]);

fn mate(n: u16) -> Arc<PeerRecord> {
    let tags = vec![mate_tag(&TOPIC, &peer(n))];
    PeerRecord::new(&identity(n), 2, vec![Address(n.to_be_bytes().to_vec())], tags)
}

fn lacking() -> [Cover; 1] {
    [Cover { topic: TOPIC, mates: Vec::new() }]
}

fn find(seeker: u16, hops: u8) -> Find {
    Find { tag: find_tag(&TOPIC), record: mate(seeker), hops }
}

/// Goal: members of our groups are seen among the known peers by their tags, and nobody else is dialled for one.
#[test]
fn known_members_are_linked_first() {
    let mut bench = Bench::partial(5);
    for n in 50..60 {
        bench.overlay.learn(if n < 53 { mate(n) } else { record(n) }, false);
    }
    bench.cover(&lacking());
    bench.drain();
    bench.dialed.sort_unstable();
    let mut mates: Vec<PeerId> = (50..53).map(peer).collect();
    mates.sort_unstable();
    assert_eq!(bench.dialed, mates);
    assert!(
        bench.dialed.iter().all(|peer| bench.overlay.known[peer]
            .dialing
            .as_ref()
            .is_some_and(|dial| dial.why == Why::Group))
    );
}

/// Goal: a search is repeated less and less often, and anew when members come or go.
#[test]
fn a_group_that_is_alone_searches_less_and_less() {
    let mut bench = Bench::partial(5);
    let mut searches = Vec::new();
    for second in 0..600u64 {
        bench.cover(&lacking());
        bench.drain();
        if !std::mem::take(&mut bench.finds).is_empty() {
            searches.push(second);
        }
        bench.now = bench.now + Duration::from_secs(1);
    }
    assert_eq!(searches, [0, 2, 6, 14, 30, 62, 126, 254, 510]);
    let one = [Cover { topic: TOPIC, mates: vec![peer(0)] }];
    bench.cover(&one);
    bench.now = bench.now + limits::FIND_MIN;
    bench.cover(&one);
    bench.drain();
    assert_eq!(bench.finds.len(), limits::FIND_WALKS, "soon again");
}

/// Goal: two who look for the same group meet where both searches came by, and the later is told, back the way it
/// came. Method: we are on the way of both; then we are between the seeker and the meeting point.
#[test]
fn two_searches_meet() {
    let mut bench = Bench::partial(5);
    bench.overlay.find(bench.now, peer(0), find(50, 3));
    bench.drain();
    assert_eq!((bench.finds.len(), bench.founds.len()), (1, 0));
    bench.overlay.find(bench.now, peer(1), find(51, 0));
    bench.drain();
    assert_eq!(bench.finds.len(), 1, "no hops left");
    let found = Found { tag: find_tag(&TOPIC), seeker: peer(51), record: mate(50) };
    assert_eq!(bench.founds, [(bench.overlay.link(&peer(1)).expect("linked"), found.clone())]);
    // From further on the answer comes by us, and goes where the search came from.
    bench.overlay.found_mate(bench.now, peer(2), found.clone());
    bench.drain();
    assert_eq!(bench.founds.len(), 2);
    assert_eq!(bench.founds[1].0, bench.founds[0].0);
    // Not later, not to nobody, and not back and forth.
    bench.overlay.found_mate(bench.now, peer(1), found.clone());
    bench.overlay.found_mate(bench.now, peer(2), Found { seeker: peer(77), ..found.clone() });
    bench.now = bench.now + limits::CRUMBS_FOR;
    bench.overlay.found_mate(bench.now, peer(2), found);
    bench.drain();
    assert_eq!(bench.founds.len(), 2);
}

/// Goal: a member that a search comes to dials whoever looks; who looks dials whom it is told of.
#[test]
fn a_member_answers_a_search_by_dialling() {
    let mut bench = Bench::partial(5);
    bench.cover(&lacking());
    bench.overlay.find(bench.now, peer(0), find(50, 9));
    bench.drain();
    assert_eq!(bench.dialed, [peer(50)]);
    let me = bench.overlay.me;
    let found = Found { tag: find_tag(&TOPIC), seeker: me, record: mate(51) };
    bench.overlay.found_mate(bench.now, peer(1), found.clone());
    // A group that we are not in is no reason to dial anybody.
    bench.overlay.found_mate(bench.now, peer(1), Found { tag: [9; 8], record: mate(52), ..found });
    bench.drain();
    assert_eq!(bench.dialed, [peer(50), peer(51)]);
}

/// Goal: what is remembered of searches is bounded; the oldest makes room.
#[test]
fn breadcrumbs_are_bounded() {
    let mut bench = Bench::partial(5);
    for n in 0..limits::CRUMBS_MAX as u16 + 20 {
        let record = PeerRecord::clone(&forged(1, u64::from(n)));
        let record = Arc::new(PeerRecord { peer: PeerId([n.to_be_bytes()[1]; 32]), ..record });
        bench.overlay.find(bench.now, peer(0), Find { tag: [n.to_be_bytes()[0] + 1; 8], record, hops: 0 });
        bench.now = bench.now + Duration::from_millis(10);
    }
    assert_eq!(bench.overlay.n_crumbs(), limits::CRUMBS_MAX);
}

/// Goal: a link that was made for a group goes when no group needs it.
#[test]
fn a_link_that_no_group_needs_is_given_up() {
    let mut bench = Bench::partial(5);
    bench.dialed_by(50, Why::Group);
    let with = [Cover { topic: TOPIC, mates: vec![peer(50)] }];
    bench.now = bench.now + limits::HELLO_PATIENCE;
    bench.cover(&with);
    bench.drain();
    assert!(bench.parted.is_empty());
    bench.cover(&lacking());
    bench.drain();
    assert_eq!(bench.parted, [(peer(50), Refusal::Surplus)]);
}
