//! Neighbours that lie about their distance, or bring nothing.

use super::*;
use crate::id::Lane;
use crate::wire::frame::Range;

const LOG: LogId = LogId { author: PeerId([77; 32]), lane: Lane::Live };

impl Wood {
    /// What did not come to a node is asked for over a link, and comes.
    pub(super) fn miss(&mut self, i: usize, ix: TreeIx, link: LinkId, seq: Seq) {
        self.ask(i, ix, link, seq);
        self.at(i, |forest, ground| forest.on_pulled(ground, link, LOG, seq));
    }

    fn ask(&mut self, i: usize, ix: TreeIx, link: LinkId, seq: Seq) {
        let range = Range { log: LOG, from: seq, to: seq };
        self.at(i, |forest, ground| forest.on_missing(ground, ix, range, link));
    }

    fn pushes(&mut self, i: usize, link: LinkId, ix: TreeIx, author: PeerId) {
        let forest = &mut self.nodes[i].forest;
        let theirs = forest.trees[&ix].theirs(link).expect("bound");
        forest.on_pushed(link, theirs, LogId { author, ..LOG }, 1000);
    }

    fn parent_link(&self, i: usize, ix: TreeIx) -> Option<LinkId> {
        self.nodes[i].forest.trees[&ix].parent
    }
}

/// Two trees, and a node that has one parent in both, with somebody else to ask.
struct Scene {
    wood: Wood,
    node: usize,
    trees: [TreeIx; 2],
    parent: LinkId,
    other: LinkId,
    seq: Seq,
}

impl Scene {
    fn new() -> Self {
        let mut wood = Wood::new(5, 40, 8);
        wood.run(ms(2000));
        (0..2).for_each(|root| wood.plant(root));
        wood.run(ms(2000));
        let find = |node: usize| {
            let trees = [wood.ix_of(node, 0)?, wood.ix_of(node, 1)?];
            let parents = trees.map(|ix| wood.parent_link(node, ix));
            let parent = parents[0].filter(|_| parents[0] == parents[1])?;
            let other = wood.nodes[node].links.keys().find(|link| **link != parent)?;
            Some((node, trees, parent, *other))
        };
        let (node, trees, parent, other) = (2..40).find_map(find).expect("there is one");
        Self { wood, node, trees, parent, other, seq: 0 }
    }

    fn is_parent(&self) -> bool {
        self.trees.iter().any(|ix| self.wood.parent_link(self.node, *ix) == Some(self.parent))
    }

    /// It is made the parent again, whoever took its place.
    fn reinstate(&mut self) {
        for ix in self.trees {
            self.wood.at(self.node, |forest, ground| forest.adopt(ground, ix, self.parent));
        }
    }

    fn misses(&mut self) {
        self.seq += 1;
        self.wood.miss(self.node, self.trees[0], self.other, self.seq);
    }

    fn is_shunned(&self) -> bool {
        let forest = &self.wood.nodes[self.node].forest;
        let via = |ix: &TreeIx| forest.trees[ix].find(self.parent);
        self.trees.iter().all(|ix| via(ix).is_some_and(|via| via.is_shunned(self.wood.now)))
    }
}

/// Goal: who says that it is next to every root gets no more children than it is worth where the round comes by, for its
/// news come as late as those of others.
#[test]
fn a_lie_about_distance_attracts_nobody() {
    let children = |liar: Option<usize>| {
        let mut wood = Wood::new(31, 60, 8);
        wood.run(ms(2000));
        wood.liar = liar;
        wood.plant(0);
        wood.run(ms(2000));
        wood.assert_no_loops(0);
        (0..60).filter(|i| wood.parent(*i, 0) == Some(20)).count()
    };
    let (honest, lying) = (children(None), children(Some(20)));
    assert!(honest > 0 && lying <= honest, "{lying} children in place of {honest}");
}

/// Goal: a link that came up in the midst of a round is a way at once for who has lost a better one, and not only when the next
/// round begins: its other end could not tell of it any sooner. Method: one on a ring is linked to the root ten seconds
/// later, and keeps its parent until that link breaks.
#[test]
fn a_new_link_is_a_way_at_once() {
    let mut wood = Wood::new(5, 12, 2);
    wood.run(ms(2000));
    wood.plant(0);
    wood.run(ms(10_000));
    wood.link(0, 3);
    wood.run(ms(2000));
    assert_eq!(wood.parent(3, 0), Some(2));
    let link = wood.nodes[3]
        .links
        .iter()
        .find(|(_, (other, _))| *other == 2)
        .map(|(link, _)| *link)
        .expect("a ring");
    wood.unlink(link);
    wood.run(ms(2000));
    assert_eq!(wood.parent(3, 0), Some(0));
    wood.assert_whole(0);
}

/// Goal: who brings nothing on any tree is left alone in all, on whatever link it comes, for a time that doubles.
#[test]
fn who_brings_nothing_is_left_alone_in_all_trees() {
    let mut scene = Scene::new();
    let mut pause = limits::SHUN_MIN;
    for _ in 0..2 {
        for n in 0..limits::MISSES_IN_A_ROW {
            assert!(!scene.is_shunned(), "{n}");
            scene.reinstate();
            scene.misses();
            scene.wood.now = scene.wood.now + limits::MISS_EVERY;
        }
        assert!(scene.is_shunned() && !scene.is_parent());
        let (node, parent) = (scene.node, scene.parent);
        let peer = scene.wood.nodes[node].forest.links[&parent].peer;
        scene.wood.at(node, |forest, ground| forest.link_down(ground, parent));
        scene.wood.at(node, |forest, ground| forest.link_up(ground, parent, peer));
        let shunned = scene.wood.nodes[node].forest.blame.until(&peer).expect("remembered");
        assert_eq!(shunned + limits::MISS_EVERY, scene.wood.now + pause);
        // It tells its trees anew.
        for (n, ix) in scene.trees.into_iter().enumerate() {
            let theirs = n as TreeIx + 100;
            scene.wood.at(node, |forest, ground| forest.bind(ground, parent, theirs, ix));
        }
        assert!(scene.is_shunned(), "whatever link it comes on");
        scene.wood.now = scene.wood.now + pause;
        assert!(!scene.is_shunned(), "forgiven");
        pause *= 2;
    }
}

/// Goal: nobody is left alone for what nobody has, for what it brings late, for one burst, or if it brings other things
/// in between; and who brings only its own messages does nothing for others.
#[test]
fn who_brings_something_is_not_left_alone() {
    let mut scene = Scene::new();
    let (node, parent, other) = (scene.node, scene.parent, scene.other);
    let [ix, _] = scene.trees;
    let later = |scene: &mut Scene| scene.wood.now = scene.wood.now + limits::MISS_EVERY;
    for seq in 100..120 {
        scene.reinstate();
        scene.wood.ask(node, ix, other, seq);
        later(&mut scene);
    }
    assert!(!scene.is_shunned(), "what somebody says to have and does not give");
    for _ in 0..5 {
        scene.reinstate();
        scene.misses();
    }
    assert!(!scene.is_shunned(), "one burst");
    scene.wood.nodes[node].forest.on_late(parent, LOG, 1);
    for _ in 0..5 {
        later(&mut scene);
        scene.reinstate();
        scene.misses();
        let seq = scene.seq;
        scene.wood.nodes[node].forest.on_late(parent, LOG, seq);
    }
    assert!(!scene.is_shunned(), "it was late");
    let author = scene.wood.nodes[node].forest.links[&parent].peer;
    for (who, is_served) in [(PeerId([1; 32]), true), (author, false)] {
        scene.wood.now = scene.wood.now + limits::SHUN_MIN;
        for _ in 0..limits::MISSES_IN_A_ROW {
            assert!(!scene.is_shunned());
            scene.reinstate();
            scene.misses();
            later(&mut scene);
            scene.reinstate();
            scene.wood.pushes(node, parent, ix, who);
        }
        assert_eq!(scene.is_shunned(), !is_served);
    }
}

/// Goal: an author whose parent has not shown that it passes anything on sends to others as well, and one whose parent
/// has does not.
#[test]
fn an_author_does_not_rely_on_a_parent_that_brought_nothing() {
    let mut scene = Scene::new();
    let (node, parent, [ix, _]) = (scene.node, scene.parent, scene.trees);
    let helpers = |scene: &Scene| scene.wood.nodes[node].forest.helpers(ix, 3);
    assert_eq!(helpers(&scene).len(), limits::HELPERS);
    assert!(helpers(&scene).iter().all(|link| !scene.wood.nodes[node].forest.has(ix, *link)));
    assert!(scene.wood.nodes[node].forest.patience(ix, ms(80)) < ms(80));
    scene.wood.pushes(node, parent, ix, PeerId([1; 32]));
    assert_eq!(helpers(&scene), []);
    assert_eq!(scene.wood.nodes[node].forest.patience(ix, ms(80)), ms(80));
    scene.misses();
    scene.reinstate();
    assert_eq!(helpers(&scene).len(), limits::HELPERS, "not any more");
}

/// Goal: what is held against neighbours is bounded from both sides.
#[test]
fn what_is_held_against_neighbours_is_bounded() {
    let mut scene = Scene::new();
    let (node, ix, other) = (scene.node, scene.trees[0], scene.other);
    for seq in 0..limits::MISSES_MAX as u64 + 1 {
        scene.reinstate();
        scene.wood.ask(node, ix, other, seq);
        let n = usize::try_from(seq + 1).expect("few").min(limits::MISSES_MAX);
        assert_eq!(scene.wood.nodes[node].forest.sizes().0, n);
    }
    let blame = &mut scene.wood.nodes[node].forest.blame;
    for n in 0..limits::SHUNNED_MAX as u8 + 1 {
        blame.shun(Timestamp::from_micros(n.into()), PeerId([n; 32]));
        assert_eq!(blame.sizes().1, (usize::from(n) + 1).min(limits::SHUNNED_MAX));
    }
    assert_eq!(blame.until(&PeerId([0; 32])), None, "whose time is over first");
}

/// Goal: a node that says it is next to every root, and passes nothing on, is left alone by those it cuts off.
/// Method: an envelope every five seconds for ten minutes; who has no way to the root but over the liar misses it,
/// and asks a neighbour that has it.
#[test]
fn a_liar_is_left_alone() {
    let mut wood = Wood::new(31, 60, 8);
    wood.liar = Some(20);
    wood.plant(0);
    wood.run(ms(2000));
    let attracted = (0..60).filter(|i| wood.parent(*i, 0) == Some(20)).count();
    assert!(attracted > 3, "who comes late to a round believes: {attracted}");
    let mut missing = Vec::new();
    for n in 0..120 {
        let has_way = |i: usize| {
            let (mut at, mut steps) = (i, 0);
            while let Some(parent) = wood.parent(at, 0).filter(|parent| *parent != 20 && steps < 60) {
                (at, steps) = (parent, steps + 1);
            }
            at == 0
        };
        let got: Vec<bool> = (0..60).map(has_way).collect();
        let missed: Vec<usize> = (0..60).filter(|i| *i != 20 && !got[*i]).collect();
        for i in &missed {
            let holder =
                wood.nodes[*i].links.iter().find(|(_, (to, _))| got[*to] && *to != 20).map(|(link, _)| *link);
            if let (Some(link), Some(ix)) = (holder, wood.ix_of(*i, 0)) {
                wood.miss(*i, ix, link, n);
            }
        }
        missing.push(missed.len());
        wood.plant(0);
        wood.run(ms(5000));
    }
    let (first, last): (usize, usize) = (missing[..24].iter().sum(), missing[96..].iter().sum());
    assert!(last * 3 <= first, "{missing:?}");
}
