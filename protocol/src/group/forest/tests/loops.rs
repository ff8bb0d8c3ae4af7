//! Parents that lead round are found, and only those.

use super::*;
use crate::wire::frame::LoopProbe;

impl Wood {
    /// All on the way from a node to the root, the node first.
    fn way(&self, i: usize, root: usize) -> Vec<usize> {
        std::iter::successors(Some(i), |i| self.parent(*i, root)).take(self.nodes.len() + 1).collect()
    }

    /// Somebody with a neighbour that is below it by at least two.
    fn ring(&self) -> Option<(usize, usize)> {
        let pairs = (1..self.nodes.len()).flat_map(|top| (1..self.nodes.len()).map(move |low| (top, low)));
        let mut rings = pairs.filter(|(top, low)| {
            let steps = self.way(*low, 0).iter().position(|node| node == top);
            steps.is_some_and(|steps| steps >= 2) && self.link_to(*top, *low).is_some()
        });
        rings.next()
    }
}

/// Goal: whoever takes a parent that is below itself, because what it knows of that one's way is old, soon finds that
/// the way leads round, and everybody is in the tree again.
#[test]
fn parents_that_lead_round_are_found() {
    let mut n_rings = 0;
    for seed in 80..90 {
        let mut wood = Wood::grown(seed);
        let Some((top, low)) = wood.ring() else { continue };
        n_rings += 1;
        wood.adopt(top, low);
        wood.run(ms(400));
        assert!(wood.way(top, 0).len() > wood.nodes.len(), "parents lead round");
        wood.run(ms(1600) + limits::ADVERT_PAUSE);
        wood.assert_whole(0);
    }
    assert!(n_rings > 3, "{n_rings}");
}

/// Goal: a ring that all on it find out at one time, and so leave at once, is mended all the same. Method: each is made
/// to doubt as it closes.
#[test]
fn a_ring_on_which_all_doubt_at_once_is_mended() {
    let (mut n_rings, mut n_together) = (0, 0);
    for seed in 100..110 {
        let mut wood = Wood::grown(seed);
        let Some((top, low)) = wood.ring() else { continue };
        n_rings += 1;
        wood.adopt(top, low);
        let now = wood.now;
        let ring: BTreeSet<usize> = wood.way(top, 0).into_iter().collect();
        for i in &ring {
            let ix = wood.ix_of(*i, 0).expect("known");
            wood.at(*i, |forest, _| {
                forest.trees.get_mut(&ix).expect("known").fd = 0;
                forest.doubt(now, ix);
                forest.look_at(ix);
            });
        }
        wood.run(ms(400));
        assert!(wood.way(top, 0).len() > wood.nodes.len(), "parents lead round");
        let parents = |wood: &Wood| ring.iter().map(|i| wood.parent(*i, 0)).collect::<Vec<_>>();
        let before = parents(&wood);
        wood.run(ms(400));
        let n_left = parents(&wood).iter().zip(&before).filter(|(now, before)| now != before).count();
        n_together += usize::from(n_left >= 2);
        wood.run(ms(1200) + limits::ADVERT_PAUSE);
        wood.assert_whole(0);
    }
    assert!(n_rings > 3 && n_together * 2 > n_rings, "{n_together} of {n_rings}");
}

/// Goal: who is sure that its parent's way is none over itself asks nothing; others ask ever less often, and no answer
/// means that nothing is wrong.
#[test]
fn only_who_has_doubts_asks() {
    let mut wood = Wood::grown(91);
    assert_eq!(wood.n_frames.get(&45), None);
    let ask = |wood: &mut Wood, is_sure: bool| {
        let pairs = (1..40).flat_map(|a| (1..40).map(move |b| (a, b)));
        // Who is given a much longer way goes back to the one that it had, and who is below has doubts too.
        let suits = |(child, parent): (usize, usize)| {
            let link = wood.link_to(child, parent)?;
            let tree = &wood.nodes[child].forest.trees[&wood.ix_of(child, 0).expect("known")];
            let is_such = tree.parent != Some(link)
                && tree.is_sure(link) == is_sure
                && tree.children().next().is_none();
            is_such.then_some((tree.find(link)?.dist, child, parent))
        };
        let (_, child, parent) = pairs.filter_map(suits).min().expect("there are more links than branches");
        let before = wood.n_frames.get(&45).copied().unwrap_or(0);
        wood.adopt(child, parent);
        wood.run(limits::ADVERT_MIN / 3);
        assert_eq!(wood.parent(child, 0), Some(parent), "nothing was wrong");
        (wood.n_frames.get(&45).copied().unwrap_or(0) - before, wood.way(parent, 0).len() as u64)
    };
    assert_eq!(ask(&mut wood, true).0, 0);
    let (n_frames, depth) = ask(&mut wood, false);
    assert!(n_frames % depth == 0 && (4..=6).contains(&(n_frames / depth)), "{n_frames} over {depth}");
    wood.assert_whole(0);
}

/// Goal: what is not a child's is not passed on, and of children's questions some in a while, for so many steps at
/// most.
#[test]
fn questions_are_passed_on_in_measure() {
    let mut wood = Wood::grown(92);
    let child = (1..40).find(|i| wood.way(*i, 0).len() > 3).expect("a deep one");
    let parent = wood.parent(child, 0).expect("not the root");
    let (link, up) = (wood.link_to(parent, child).expect("linked"), wood.parent(parent, 0));
    let ix = wood.ix_of(parent, 0).expect("known");
    let mut asked = |link: LinkId, ttl: u8, n: u8| {
        let before = wood.n_frames.get(&45).copied().unwrap_or(0);
        for n in 0..n {
            let probe = LoopProbe { group: 1, yours: ix, nonce: [n; 8], ttl };
            wood.at(parent, |forest, ground| forest.on_loop_probe(ground, link, &probe));
        }
        let after = wood.n_frames.get(&45).copied().unwrap_or(0);
        wood.run(limits::LOOP_PROBES_EVERY);
        after - before
    };
    assert_eq!(asked(link, 0, 1), 0, "it has gone far enough");
    assert_eq!(asked(link, 255, 9), u64::from(limits::LOOP_PROBES), "some in a while");
    assert_eq!(asked(link, 255, 1), 1);
    assert_eq!(asked(LinkId(u64::MAX), 255, 1), 0, "nobody's");
    let up = wood.link_to(parent, up.expect("not the root")).expect("linked");
    let probe = LoopProbe { group: 1, yours: ix, nonce: [0; 8], ttl: 9 };
    let before = wood.n_sent;
    wood.at(parent, |forest, ground| forest.on_loop_probe(ground, up, &probe));
    assert_eq!(wood.n_sent, before, "the parent is no child");
}

/// Goal: the request of who has lost its way comes to the root though what those on its way know of distances is old:
/// parents lead there, and it is not sent round among the others. Method: all ways begin at one neighbour of the root;
/// everybody's distances but those of parents are drawn by lot.
#[test]
fn a_request_finds_the_root_whatever_is_told_of_distances() {
    for seed in 200..230 {
        let mut wood = Wood::new(seed, 40, 6);
        let links: Vec<LinkId> = wood.nodes[0].links.keys().copied().collect();
        links[1..].iter().for_each(|link| wood.unlink(*link));
        wood.plant(0);
        wood.run(ms(10_000));
        wood.assert_whole(0);
        let lost = (20..40).find(|i| wood.nodes[*i].links.len() > 3).expect("one of twenty");
        for i in 1..40 {
            let ix = wood.ix_of(i, 0).expect("known");
            let mut lots: Vec<u16> =
                wood.nodes[i].links.keys().map(|_| (wood.rng.next_u64() % 100) as u16).collect();
            let tree = wood.nodes[i].forest.trees.get_mut(&ix).expect("known");
            let parent = tree.parent;
            for via in tree.vias.iter_mut().filter(|via| Some(via.link) != parent) {
                via.dist = lots.pop().unwrap_or(0);
            }
            if i == lost {
                tree.fd = 0;
            }
        }
        let parent = wood.parent(lost, 0).and_then(|parent| wood.link_to(lost, parent)).expect("it has one");
        let ix = wood.ix_of(0, 0).expect("its own");
        let round = |wood: &Wood| wood.nodes[0].forest.trees[&ix].chain.seq;
        let before = round(&wood);
        wood.unlink(parent);
        wood.run(ms(2000));
        assert!(round(&wood) > before, "seed {seed}: the root was not asked");
        wood.assert_whole(0);
    }
}
