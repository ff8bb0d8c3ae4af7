//! Whom neighbours are told that a node is linked to, and what it makes of what they tell.

use std::collections::BTreeSet;

use super::*;
use crate::wire::frame::{Peers, PeersChange};

impl Bench {
    /// `n` peers link to the node, from `first` on, all at once.
    pub(super) fn gather(&mut self, first: u8, n: u8) {
        for n in first..first + n {
            let identity = Identity::from_seed([100 + n; 32]);
            let (link, peer) = (LinkId(n.into()), identity.peer_id());
            self.input(Input::LinkUp { link, peer, dialed: true, address: None });
            let record = PeerRecord::new(&identity, 1, Vec::new(), Vec::new());
            self.say(link, Hello { record, ..self.hello() });
        }
    }

    /// What it tells now, by the links: lists, and what has changed.
    fn told(&mut self) -> (BTreeMap<LinkId, usize>, BTreeMap<LinkId, PeersChange>) {
        while self.engine.poll_output().is_some() {}
        self.engine.tell_peers();
        let (mut lists, mut changes) = (BTreeMap::new(), BTreeMap::new());
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Send { link, frame: Frame::Peers(peers), .. } => {
                    lists.insert(link, peers.peers.len());
                }
                Output::Send { link, frame: Frame::PeersChange(change), .. } => {
                    changes.insert(link, change);
                }
                _ => {}
            }
        }
        (lists, changes)
    }
}

fn peer(n: u8) -> PeerId {
    Identity::from_seed([100 + n; 32]).peer_id()
}

/// Goal: a node with more neighbours than a frame names sends none that they refuse, and hold against it. Method: peers
/// whom it dialled all at once.
#[test]
fn many_neighbours_are_told_of_as_many_as_a_frame_names() {
    let mut bench = Bench::new();
    let n_peers = Peers::MAX as u8 + 16;
    bench.gather(0, n_peers);
    let (lists, _) = bench.told();
    let n_told = |n: usize| lists.values().filter(|told| **told == n).count();
    // Who is named itself is not told of itself.
    assert_eq!((lists.len(), n_told(Peers::MAX), n_told(Peers::MAX - 1)), (n_peers.into(), 16, Peers::MAX));
}

/// Goal: where links are many and one comes or goes, only that is said, and to who is new all.
#[test]
fn who_knows_our_neighbours_is_told_what_has_changed() {
    let mut bench = Bench::new();
    bench.gather(0, 30);
    assert_eq!(bench.told().0, (0..30).map(|n| (LinkId(n), 29)).collect());
    assert_eq!(bench.told(), Default::default(), "nothing has changed");
    bench.input(Input::LinkDown { link: LinkId(7), cause: LinkEnd::Reset });
    bench.gather(30, 1);
    let (lists, changes) = bench.told();
    assert_eq!(lists, [(LinkId(30), 29)].into(), "who came is told all");
    assert_eq!(changes.len(), 29);
    let change = PeersChange { came: vec![peer(30)], went: vec![peer(7)] };
    assert!(changes.values().all(|told| *told == change));
}

/// Goal: what neighbours tell adds up, and whatever they tell is bounded.
#[test]
fn what_neighbours_tell_of_changes_adds_up() {
    let mut bench = Bench::new();
    bench.gather(0, 30);
    let list = |all: &[u8]| Peers { peers: all.iter().map(|n| (peer(*n), Vec::new())).collect() };
    bench.say(LinkId(0), PeersChange { came: vec![peer(5)], went: vec![] });
    assert!(bench.engine.overlay.observers(&peer(5)).is_empty(), "a change of nothing");
    bench.say(LinkId(0), list(&[1, 2, 3]));
    let sorted = |n: [u8; 2]| BTreeSet::from(n.map(peer)).into_iter().collect::<Vec<_>>();
    bench.say(LinkId(0), PeersChange { came: sorted([4, 1]), went: sorted([2, 9]) });
    let of = |bench: &Bench, n: u8| bench.engine.overlay.observers(&peer(n)).into_iter().collect::<Vec<_>>();
    assert_eq!([1, 2, 3, 4].map(|n| of(&bench, n)), [vec![peer(0)], vec![], vec![peer(0)], vec![peer(0)]]);
    for round in 0..3u8 {
        let came = (0..Peers::MAX as u8)
            .map(|n| PeerId([n, round, 3].repeat(11)[..32].try_into().unwrap()))
            .collect();
        bench.say(LinkId(0), PeersChange { came, went: vec![] });
    }
    assert_eq!(bench.engine.overlay.n_named_by(&peer(0)), Peers::MAX);
}

/// Goal: of a change beyond what a frame names only that is said which is within, and it is said right again once links go.
#[test]
fn changes_at_the_limit_of_a_frame_say_what_a_list_would() {
    let mut bench = Bench::new();
    let max = Peers::MAX as u8;
    bench.gather(0, max + 2);
    bench.told();
    let named = |bench: &Bench| -> BTreeSet<PeerId> {
        bench.engine.overlay.neighbours().map(|(peer, _)| peer).take(Peers::MAX).collect()
    };
    let mut known = named(&bench);
    for gone in 0..4 {
        bench.input(Input::LinkDown { link: LinkId(gone), cause: LinkEnd::Reset });
        let (lists, changes) = bench.told();
        assert_eq!(lists.len(), 0, "all were told all");
        let watcher = LinkId(u64::from(max) + 1);
        if let Some(change) = changes.get(&watcher) {
            change.went.iter().for_each(|peer| assert!(known.remove(peer), "it was named"));
            change.came.iter().for_each(|peer| assert!(known.insert(*peer), "it was not"));
        }
        // It is not told of itself.
        let others = |all: &BTreeSet<PeerId>| -> BTreeSet<PeerId> {
            all.iter().filter(|other| **other != peer(max + 1)).copied().collect()
        };
        assert_eq!(others(&known), others(&named(&bench)), "after {gone}");
    }
}

/// Goal: a change that comes on a link which another has replaced is late, and changes nothing; the list that the new link
/// begins with counts.
#[test]
fn a_change_on_a_link_that_was_replaced_is_late() {
    let mut bench = Bench::new();
    bench.gather(0, 30);
    let list = |all: &[u8]| Peers { peers: all.iter().map(|n| (peer(*n), Vec::new())).collect() };
    bench.say(LinkId(0), list(&[1, 2]));
    let (new, identity) = (LinkId(200), Identity::from_seed([100; 32]));
    bench.input(Input::LinkUp { link: new, peer: peer(0), dialed: true, address: None });
    let record = PeerRecord::new(&identity, 1, Vec::new(), Vec::new());
    let hello = Hello { nonce: [9; 16], record, ..bench.hello() };
    bench.say(new, hello);
    let kept = bench.engine.overlay.link(&peer(0)).expect("one of both");
    let late = if kept == new { LinkId(0) } else { new };
    bench.say(late, PeersChange { came: vec![peer(3)], went: vec![peer(1)] });
    let sees = |bench: &Bench, n: u8| bench.engine.overlay.has_named(&peer(0), &peer(n));
    assert_eq!([1, 2, 3].map(|n| sees(&bench, n)), [true, true, false]);
    bench.say(kept, list(&[3]));
    bench.say(kept, PeersChange { came: vec![peer(4)], went: vec![] });
    assert_eq!([1, 2, 3, 4].map(|n| sees(&bench, n)), [false, false, true, true]);
    let (lists, changes) = bench.told();
    assert!(lists.contains_key(&kept) && !changes.contains_key(&kept), "a new link is told all");
}
