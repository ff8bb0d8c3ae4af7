//! Links that are given up while something goes along the trees.

use super::*;
use crate::wire::frame::{Credit, Graft, Ungraft};

impl Bench {
    /// A member that is somebody else than the one before.
    fn another_member(&mut self, seed: u8) -> LinkId {
        self.hostile = Identity::from_seed([seed; 32]);
        self.record = PeerRecord::new(&self.hostile, 1, Vec::new(), Vec::new());
        self.member()
    }

    /// The node says so many bytes. On which links they go.
    fn speak(&mut self, bytes: usize) -> Vec<LinkId> {
        self.fed.clear();
        let draft = Draft { content: Bytes::from(vec![7; bytes]), ..Draft::default() };
        let group = key().group_id();
        let command = Command::Publish { group, lane: Lane::Live, ttl_secs: 0, draft, ticket: 0 };
        self.input(Input::Command(command));
        self.pass(limits::BATCH_DELAY);
        std::mem::take(&mut self.fed)
    }

    /// A root with three neighbours in its group, of whom one, for `age` and a moment, gets what goes along its
    /// tree.
    fn root_of(age: Duration) -> (Self, LinkId) {
        let mut bench = Self::new();
        let [_, _, below] = [3, 4, 5].map(|seed| bench.another_member(seed));
        // So many are not all linked to all.
        bench.gather(100, 30);
        while bench.told_trees.is_empty() {
            bench.speak(10);
            bench.pass(Duration::from_millis(300));
        }
        let yours = bench.told_trees[0];
        bench.say(below, Graft { group: 1, mine: 0, yours });
        bench.pass(age);
        assert!(bench.speak(10).contains(&below));
        (bench, below)
    }
}

/// Goal: a link that is given up carries what goes along the tree to who is below until that says that it has another parent,
/// and the credit for it.
#[test]
fn a_link_that_is_given_up_carries_payload_until_there_is_another_parent() {
    let (mut bench, below) = Bench::root_of(limits::LINK_NEW);
    bench.say(below, Refuse { why: Refusal::Full, peers: Vec::new() });
    assert!(bench.speak(10).contains(&below), "there is no other parent yet");
    while bench.speak(40_000).contains(&below) {}
    bench.say(below, Credit { live: 2 * limits::CREDIT_LIVE, bulk: 0 });
    assert!(bench.fed.contains(&below), "what waited for credit");
    let yours = bench.told_trees[0];
    bench.say(below, Ungraft { group: 1, yours, fade: 0 });
    assert!(!bench.speak(10).contains(&below), "there is now");
}

/// Goal: nobody is fed over links that no bound counts but whoever was a neighbour for a while, and few at a time.
#[test]
fn who_comes_and_goes_is_not_fed() {
    let (mut bench, below) = Bench::root_of(Duration::ZERO);
    bench.say(below, Refuse { why: Refusal::Full, peers: Vec::new() });
    assert!(!bench.speak(10).contains(&below), "it has hardly come");
}
