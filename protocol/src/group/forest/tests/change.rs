//! Parents change while envelopes are under way, and nobody misses one.

use super::*;

impl Wood {
    /// An envelope of a root goes along its tree, while forests go on and something happens `after` it left. Whom it
    /// reaches.
    fn fly(&mut self, root: usize, after: Duration, deed: impl FnOnce(&mut Self)) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut queue = BTreeSet::from([(self.now, root, None)]);
        let mut deed = Some((self.now + after, deed));
        while let Some((at, i, came)) = queue.pop_first() {
            if let Some((due, deed)) = deed.take_if(|(due, _)| *due <= at) {
                self.run(due - self.now);
                deed(self);
            }
            self.run(at - self.now);
            if !reached.insert(i) {
                continue;
            }
            let Some(ix) = self.ix_of(i, root) else { continue };
            let on_tree = self.nodes[i].links.iter().filter(|(link, _)| Some(**link) != came);
            let forest = &self.nodes[i].forest;
            let on_tree =
                on_tree.filter(|(link, _)| forest.has(ix, **link) || forest.is_fading(at, ix, **link));
            queue.extend(on_tree.map(|(link, (to, latency))| (at + *latency, *to, Some(*link))));
        }
        reached
    }

    /// Some with a parent in the tree of the first node, and another neighbour that is as good a one.
    fn choices(&self) -> Vec<(usize, usize, usize)> {
        let mut choices = Vec::new();
        for i in 1..self.nodes.len() {
            let (Some(ix), Some(parent)) = (self.ix_of(i, 0), self.parent(i, 0)) else { continue };
            let tree = &self.nodes[i].forest.trees[&ix];
            let others = self.nodes[i].links.iter().filter(|(link, (other, _))| {
                *other != parent && tree.is_sure(**link) && tree.theirs(**link).is_some()
            });
            choices.extend(others.map(|(_, (other, _))| (i, parent, *other)));
        }
        choices
    }
}

/// Goal: who takes another parent gets what passed that one before it heard of it. Method: it does so at each time while an
/// envelope is under way; a second later only the new one has it for a child.
#[test]
fn who_takes_another_parent_misses_nothing() {
    let mut n_changes = 0;
    for seed in 240..246 {
        let mut wood = Wood::grown(seed);
        for after in (0..120).step_by(5) {
            let choices = wood.choices();
            let Some((child, _, other)) = choices.get(after as usize % choices.len().max(1)).copied() else {
                continue;
            };
            let reached = wood.fly(0, ms(after), |wood| {
                wood.adopt(child, other);
                n_changes += 1;
            });
            assert_eq!(reached.len(), 40, "seed {seed}: {child} took {other} after {after} ms");
            wood.run(ms(1000));
            wood.assert_agreed(0);
        }
    }
    assert!(n_changes > 100, "{n_changes}");
}

/// Goal: who is left by a neighbour that gives up the link gets what comes until it has another parent, and no more.
/// Method: a parent gives up the link to a child at each time while an envelope is under way, and closes it a second later.
#[test]
fn who_is_left_by_its_parent_misses_nothing() {
    let mut n_changes = 0;
    for seed in 250..256 {
        let mut wood = Wood::grown(seed);
        for after in (0..120).step_by(10) {
            let choices = wood.choices();
            let Some((child, parent, _)) = choices.get(after as usize % choices.len().max(1)).copied() else {
                continue;
            };
            let link = wood.link_to(child, parent).expect("linked");
            let latency = wood.nodes[child].links[&link].1;
            let reached = wood.fly(0, ms(after), |wood| {
                n_changes += 1;
                wood.at(parent, |forest, ground| forest.link_parts(ground, link));
                // The word that it does comes later.
                wood.run(latency);
                wood.at(child, |forest, ground| forest.link_parts(ground, link));
            });
            assert_eq!(reached.len(), 40, "seed {seed}: {parent} left {child} after {after} ms");
            wood.run(ms(1000));
            let ix = wood.ix_of(parent, 0).expect("known");
            assert_eq!(wood.nodes[parent].forest.parting_children(wood.now, ix), [], "it was told to stop");
            wood.unlink(link);
            wood.run(ms(100));
            wood.assert_agreed(0);
        }
    }
    assert!(n_changes > 30, "{n_changes}");
}

/// Goal: whose way has become long while it kept its parent, because none cannot have its way over it, takes one that begins
/// elsewhere at the root if that is much shorter, and else stays. Method: nobody is feasible, and the parent says that its
/// way is longer, by little or much.
#[test]
fn who_has_a_long_way_takes_one_of_another_branch() {
    let mut n_moved = 0;
    for seed in 260..280 {
        for (longer, may_move) in [(20, false), (2000, true)] {
            let mut wood = Wood::grown(seed);
            let is_apart = |wood: &Wood, i: usize| {
                let tree = &wood.nodes[i].forest.trees[&wood.ix_of(i, 0).expect("known")];
                tree.vias.iter().any(|via| via.branch != tree.branch && !via.is_child && via.theirs.is_some())
                    && wood.parent(i, 0) != Some(0)
            };
            let Some(i) = (1..40).find(|i| is_apart(&wood, *i)) else { continue };
            let (ix, before) = (wood.ix_of(i, 0).expect("known"), wood.parent(i, 0));
            wood.at(i, |forest, ground| {
                let tree = forest.trees.get_mut(&ix).expect("known");
                tree.fd = 0;
                let parent = tree.parent.expect("it has one");
                tree.via(parent).dist += longer;
                forest.settle(ground, ix);
            });
            assert!(wood.parent(i, 0).is_some(), "seed {seed}");
            let has_moved = wood.parent(i, 0) != before;
            assert!(may_move || !has_moved, "seed {seed}: for 2 ms");
            n_moved += usize::from(has_moved);
            wood.run(limits::ADVERT_PAUSE * 2);
            wood.assert_no_loops(0);
        }
    }
    assert!(n_moved > 10, "{n_moved}");
}
