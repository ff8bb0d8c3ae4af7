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
