//! Who is in which group.

use djembe_protocol::id::GroupId;

use super::World;
use crate::rng::{Purpose, Rng};
use crate::topology::NodeIx;

impl World {
    /// How many groups there are.
    pub fn n_groups(&self) -> usize {
        self.groups.len()
    }

    /// The group of an id.
    pub fn group_of(&self, id: &GroupId) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// Whether a node is in a group whenever it runs.
    pub fn is_member(&self, node: NodeIx, group: usize) -> bool {
        self.memberships[node].contains(&group)
    }

    /// The groups of a node.
    pub fn groups_of(&self, node: NodeIx) -> &[usize] {
        &self.memberships[node]
    }

    /// The nodes of a group, attackers aside, that are roots of a tree and go on being so.
    pub fn roots(&self, group: usize) -> Vec<NodeIx> {
        let id = self.group_id(group);
        let is_root = |node: &NodeIx| {
            let host = self.host(*node);
            let trees = host.engine.as_ref().map_or_else(Vec::new, |engine| engine.trees(id));
            trees.iter().any(|tree| tree.root == host.peer && tree.is_tended)
        };
        self.honest().filter(is_root).collect()
    }

    /// Of these nodes those that are in each group.
    pub(crate) fn by_group(&self, nodes: impl IntoIterator<Item = NodeIx>) -> Vec<Vec<NodeIx>> {
        let mut groups = vec![Vec::new(); self.groups.len()];
        for node in nodes {
            for group in &self.memberships[node] {
                groups[*group].push(node);
            }
        }
        groups
    }
}

/// The groups of each of `n` nodes, `each` of `n_groups`. The first of a node is among groups 0, `each`, 2 `each` and so
/// on, its second among those that follow these: so no group is drawn twice, and sizes differ by one at most.
pub(super) fn draw(seed: u64, n: usize, n_groups: usize, each: usize) -> Vec<Vec<usize>> {
    let each = each.min(n_groups);
    let mut groups = vec![Vec::with_capacity(each); n];
    for nth in 0..each {
        let choices = (n_groups - nth).div_ceil(each);
        let mut rng = Rng::split(seed, nth, 0, Purpose::Groups);
        let mut nodes: Vec<NodeIx> = (0..n).collect();
        for at in (1..n).rev() {
            nodes.swap(at, rng.below(at as u64 + 1) as usize);
        }
        for (place, node) in nodes.into_iter().enumerate() {
            groups[node].push(nth + each * (place % choices));
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_of_one_size_and_no_node_is_in_one_twice() {
        for (n, n_groups, each, sizes) in [(1000, 100, 10, 100..=100), (50, 7, 3, 16..=25), (5, 1, 1, 5..=5)]
        {
            let drawn = draw(3, n, n_groups, each);
            let mut count = vec![0; n_groups];
            for groups in &drawn {
                let mut distinct = groups.clone();
                distinct.sort_unstable();
                distinct.dedup();
                assert_eq!(distinct.len(), each);
                groups.iter().for_each(|group| count[*group] += 1);
            }
            assert!(count.iter().all(|n| sizes.contains(n)), "{count:?}");
        }
        assert_ne!(draw(3, 50, 7, 3), draw(4, 50, 7, 3));
    }
}
