//! Whom neighbours are told that a node is linked to, and what it makes of what they tell.

use std::collections::BTreeSet;

use super::*;
use crate::wire::frame::{Peers, PeersChange};

impl Bench {
    /// `n` peers link to the node, from `first` on, all at once.
    fn gather(&mut self, first: u8, n: u8) {
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
