//! Neighbours and roots that ask for more than is due to them.

use super::super::chain::OwnChain;
use super::*;
use crate::wire::frame::Anchor;

/// The chain of a root that is no node of the wood.
fn chain(n: u64) -> OwnChain {
    let mut key = [7; 32];
    key[..8].copy_from_slice(&n.to_le_bytes());
    OwnChain::new(&TAG, &Identity::from_seed(key), Incarnation(1), 0, [1; 16])
}

fn round(tree: TreeIx, chain: &OwnChain, seq: u16, dist: u16) -> Advert {
    let key = chain.key(seq).expect("in the chain");
    Advert { tree, name: Name::Anchor(Box::new(chain.anchor.clone())), seq, key, dist, branch: 1 }
}

impl Wood {
    fn told(&mut self, i: usize, link: LinkId, trees: Vec<Advert>) -> Result<(), Junk> {
        self.at(i, |forest, ground| forest.on_adverts(ground, link, &Adverts { group: 1, trees }))
    }

    /// Signatures that a node checks of 600 anchors that are not signed.
    fn n_checked(&mut self, i: usize, link: LinkId) -> u64 {
        self.nodes[i].forest.take_checked();
        let good = chain(0);
        for n in 0..600 {
            let anchor = Anchor { chain: n, ..good.anchor.clone() };
            let advert = Advert { name: Name::Anchor(Box::new(anchor)), ..round(1, &good, 1, 5) };
            let _ = self.told(i, link, vec![advert]);
        }
        self.nodes[i].forest.take_checked()
    }
}

/// Goal: what a neighbour has used up it does not get back by subscribing again, nor by leaving before.
#[test]
fn who_subscribes_again_is_given_nothing() {
    let mut wood = Wood::new(44, 2, 2);
    let began = wood.now;
    wood.now = began + limits::LINK_NEW;
    let (link, peer) =
        (*wood.nodes[0].links.keys().next().expect("linked"), wood.nodes[1].identity.peer_id());
    assert_eq!(wood.n_checked(0, link), u64::from(limits::ANCHORS_BURST));
    let misses = |wood: &Wood| format!("{:?}", wood.nodes[0].forest.links[&link].used.misses);
    wood.nodes[0].forest.on_pushed(
        link,
        0,
        LogId { author: PeerId([3; 32]), lane: crate::id::Lane::Live },
        0,
    );
    let before = misses(&wood);
    for leaves in [false, true] {
        if leaves {
            wood.at(0, |forest, ground| forest.link_down(ground, link));
        }
        wood.at(0, |forest, ground| forest.link_up(ground, link, peer));
        assert_eq!((wood.n_checked(0, link), misses(&wood)), (0, before.clone()));
    }
    // Nor by another link while the one that was given up is not closed yet.
    let parts = |wood: &mut Wood, link: LinkId| {
        wood.at(0, |forest, ground| forest.link_parts(ground, link));
        assert!(wood.nodes[0].forest.links[&link].is_parting);
    };
    wood.nodes[0].forest.links.get_mut(&link).expect("linked").up_at = began;
    parts(&mut wood, link);
    let (old, link) = (link, LinkId(1000));
    wood.at(0, |forest, ground| forest.link_up(ground, link, peer));
    wood.at(0, |forest, ground| forest.link_down(ground, old));
    assert_eq!(wood.n_checked(0, link), 0);
    wood.at(0, |forest, ground| forest.link_down(ground, link));
    wood.at(0, |forest, ground| forest.link_up(ground, link, peer));
    assert_eq!(wood.n_checked(0, link), 0);
    // Nor by the same once that is closed.
    wood.nodes[0].forest.links.get_mut(&link).expect("linked").up_at = began;
    parts(&mut wood, link);
    wood.at(0, |forest, ground| forest.link_down(ground, link));
    wood.at(0, |forest, ground| forest.link_up(ground, link, peer));
    assert_eq!(wood.n_checked(0, link), 0);
    // Time gives it back.
    wood.now = wood.now + limits::ANCHOR_EVERY * 3;
    assert_eq!(wood.n_checked(0, link), 3);
}

/// Goal: a full table keeps the trees that came first, until one has had no round for so long that nobody borrows it.
#[test]
fn a_tree_without_rounds_makes_room_for_another() {
    let mut wood = Wood::new(45, 2, 2);
    wood.trees_max = 2;
    let link = *wood.nodes[0].links.keys().next().expect("linked");
    let chains = [0, 1, 2].map(chain);
    let told = |wood: &mut Wood, n: usize, seq: u16| {
        assert_eq!(wood.told(0, link, vec![round(n as TreeIx + 1, &chains[n], seq, 5)]), Ok(()));
    };
    let known = |wood: &Wood| {
        let by_root = &wood.nodes[0].forest.by_root;
        chains.each_ref().map(|chain| by_root.contains_key(&chain.anchor.root))
    };
    told(&mut wood, 0, 1);
    told(&mut wood, 1, 1);
    told(&mut wood, 2, 1);
    assert_eq!(known(&wood), [true, true, false]);
    wood.now = wood.now + limits::TREE_FRESH / 2;
    told(&mut wood, 0, 2);
    wood.now = wood.now + limits::TREE_FRESH / 2;
    told(&mut wood, 2, 2);
    assert_eq!(known(&wood), [true, false, true]);
}

/// Goal: who is remembered is bounded, and whoever used nothing up is not remembered for long.
#[test]
fn few_are_remembered_that_have_left() {
    let n_left = |has_used: bool| {
        let mut wood = Wood::new(44, 2, 2);
        for n in 0..2 * limits::SHUNNED_MAX as u8 {
            let (link, peer) = (LinkId(1000 + u64::from(n)), PeerId([n; 32]));
            wood.at(0, |forest, ground| forest.link_up(ground, link, peer));
            wood.at(0, |forest, ground| {
                assert!(!has_used || forest.may_check(ground.now, link));
                forest.link_down(ground, link);
            });
        }
        wood.nodes[0].forest.left.len()
    };
    assert_eq!(n_left(true), limits::SHUNNED_MAX);
    assert!(n_left(false) <= 16);
}

/// Goal: a root that begins rounds without end is heard in measure, so that nobody who passes them on says too much, and
/// whoever brings them is no liar. Method: a neighbour tells of all rounds of 60 made-up roots at once.
#[test]
fn a_root_that_begins_rounds_without_end_is_not_heard() {
    let mut wood = Wood::new(45, 30, 6);
    let link = *wood.nodes[0].links.keys().next().expect("linked");
    let chains: Vec<OwnChain> = (0..60).map(chain).collect();
    for (n, chain) in chains.iter().enumerate() {
        let rounds = (1..=limits::TREES_MAX as u16).map(|seq| round(n as u16 + 1, chain, seq, 5)).collect();
        assert_eq!(wood.told(0, link, rounds), Ok(()));
    }
    wood.run(ms(50));
    let n_links: usize = wood.nodes.iter().map(|node| node.links.len()).sum();
    let per_link = wood.n_frames[&40] / n_links as u64;
    assert!(
        per_link <= 60 * u64::from(limits::ROUNDS_BURST),
        "{per_link} frames on each link, of {}",
        60 * limits::TREES_MAX
    );
    let ix = wood.nodes[0].forest.by_root[&chains[0].anchor.root];
    let seq = |wood: &Wood| wood.nodes[0].forest.trees[&ix].chain.seq;
    let most = limits::ROUNDS_BURST as u16;
    assert_eq!(seq(&wood), most);
    // The next one is heard in its time, and not before.
    wood.now = Timestamp::from_micros(1) + (limits::ROUND_EVERY - Duration::from_micros(1));
    assert_eq!((wood.told(0, link, vec![round(1, &chains[0], most + 1, 5)]), seq(&wood)), (Ok(()), most));
    wood.now = Timestamp::from_micros(1) + limits::ROUND_EVERY;
    assert_eq!((wood.told(0, link, vec![round(1, &chains[0], most + 1, 5)]), seq(&wood)), (Ok(()), most + 1));
}

/// Goal: a root in a hurry is heard by everybody, each time.
#[test]
fn a_hurried_root_is_heard() {
    let mut wood = Wood::new(46, 30, 6);
    wood.plant(0);
    wood.run(ms(1000));
    for _ in 0..20 {
        wood.now = wood.now + limits::ADVERT_PAUSE;
        wood.at(0, |forest, _| {
            let at = forest.roots.hurry(Timestamp::from_micros(u64::MAX / 2)).expect("a root");
            forest.wake_at(at);
        });
        wood.at(0, |forest, ground| forest.on_deadline(ground));
        wood.run(ms(1000));
        let seq = |i: usize| wood.nodes[i].forest.trees[&wood.ix_of(i, 0).expect("known")].chain.seq;
        assert!((0..30).all(|i| seq(i) == seq(0)));
    }
}

/// Goal: who has no way and says so first of a round does not keep others from the ways that there are.
#[test]
fn a_round_begins_with_a_way() {
    let mut wood = Wood::new(47, 8, 6);
    let links: Vec<LinkId> = wood.nodes[0].links.keys().copied().take(3).collect();
    let chain = chain(1);
    assert_eq!(wood.told(0, links[1], vec![round(1, &chain, 1, 5)]), Ok(()));
    wood.now = wood.now + ms(1000);
    wood.at(0, |forest, ground| forest.on_deadline(ground));
    assert_eq!(wood.told(0, links[0], vec![round(1, &chain, 2, UNREACHABLE)]), Ok(()));
    assert_eq!(wood.told(0, links[2], vec![round(1, &chain, 2, 900)]), Ok(()));
    let ix = wood.nodes[0].forest.by_root[&chain.anchor.root];
    let tree = &wood.nodes[0].forest.trees[&ix];
    assert!(tree.chain.seq == 2 && tree.dist > 900 && tree.settle_at.is_some());
}

/// Goal: a neighbour that gives a way and takes it away, again and again in one frame, makes a node say no more than that it
/// has none, or one. Method: a ring, so that there is no other way.
#[test]
fn a_way_that_comes_and_goes_is_told_in_measure() {
    let mut wood = Wood::new(45, 8, 2);
    wood.plant(0);
    wood.run(limits::ADVERT_PAUSE);
    let (link, ix) = (wood.link_to(1, 0).expect("a ring"), wood.ix_of(0, 0).expect("planted"));
    let chain = &wood.nodes[0].forest.trees[&ix].chain;
    let advert =
        |dist| Advert { tree: ix, name: Name::Told, seq: chain.seq, key: chain.key(), dist, branch: 1 };
    let toggled: Vec<Advert> = (0..256).map(|n| advert(if n % 2 == 0 { UNREACHABLE } else { 0 })).collect();
    let frames = |wood: &Wood| [40, 42, 43, 44].map(|kind| wood.n_frames.get(&kind).copied().unwrap_or(0));
    let before = frames(&wood);
    assert_eq!(wood.told(1, link, toggled), Ok(()));
    let after = frames(&wood);
    let [adverts, grafts, ungrafts, requests] = [0, 1, 2, 3].map(|n| after[n] - before[n]);
    assert!(adverts <= 2 && requests <= 1, "{adverts} adverts, {requests} requests");
    assert!(grafts <= 128 && ungrafts <= 128, "to who toggles, one each: {grafts}, {ungrafts}");
    wood.run(limits::ADVERT_PAUSE);
    wood.assert_whole(0);
}
