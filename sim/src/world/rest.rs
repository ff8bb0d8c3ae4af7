//! What must be so when a world is at rest, a while after the last fault and message: one overlay, links that both
//! sides know of, trees, and on everybody's list of members those who are there.
//!
//! Links and trees go on changing a little at all times, and a word about it is under way: what is wrong is what is so
//! at each look of several.

use core::fmt;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use djembe_protocol::id::{GroupId, PeerId};
use djembe_protocol::limits;
use djembe_protocol::time::Timestamp;

use super::World;
use crate::bits::NodeSet;
use crate::topology::NodeIx;

/// For so long something is wrong before it is held against anybody. A root begins a round five seconds after the last
/// one at the earliest, and is asked for it again after a second, two, four.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// So long after the last fault everybody has heard of all who came or went: of deaths by silence last.
const LISTED_AFTER: Duration = Duration::from_secs(20);
/// Where more is lost there is no rest: streams stand still for longer than that, and some link is always dialled anew.
pub(crate) const LOSS_MAX: f64 = 0.25;
/// Of one check so many are told: where one thing is wrong, much else is.
const TOLD_MAX: usize = 10;

/// Looks at a world that should be at rest, again and again.
#[derive(Debug)]
pub(crate) struct Rest {
    /// Since then.
    quiet: Timestamp,
    /// What was wrong at the last look, where something of the kind was at each before; none before the first.
    flaws: Option<BTreeSet<Flaw>>,
}

/// Something that is wrong at a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Flaw {
    /// Links do not lead from it to most of the others; of a group, if one is named, links between members.
    Apart(NodeIx, Option<usize>),
    /// It counts a link to somebody who does not.
    OneSided(NodeIx, NodeIx),
    /// A tree: of which group, whose, and what.
    Tree(NodeIx, usize, NodeIx, Twist),
    /// A member of a group that is there is not on its list.
    Unlisted(NodeIx, usize, NodeIx),
    /// Somebody is on its list who is not there.
    Ghost(NodeIx, usize, NodeIx),
}

/// What is wrong with a tree at a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Twist {
    Unknown,
    NoParent,
    /// Its parent does not have it for a child.
    NoChildOf(NodeIx),
    /// Its child has another parent, or none.
    NoParentOf(NodeIx),
    /// Parents lead round, and not to the root.
    Loop,
}

impl Flaw {
    /// Where it is: who takes one wrong parent after the other is wrong all the time.
    fn place(&self) -> (&'static str, NodeIx, Option<(usize, NodeIx)>) {
        let (check, node) = self.check();
        let of = match self {
            Self::Apart(node, group) => group.map(|group| (group, *node)),
            Self::OneSided(..) => None,
            Self::Tree(_, group, root, _) => Some((*group, *root)),
            Self::Unlisted(_, group, member) | Self::Ghost(_, group, member) => Some((*group, *member)),
        };
        (check, node, of)
    }

    fn check(&self) -> (&'static str, NodeIx) {
        match self {
            Self::Apart(node, _) => ("overlay", *node),
            Self::OneSided(node, _) => ("links", *node),
            Self::Tree(node, ..) => ("trees", *node),
            Self::Unlisted(node, ..) | Self::Ghost(node, ..) => ("members", *node),
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apart(_, None) => write!(f, "no links lead to most of the others"),
            Self::Apart(_, Some(group)) => {
                write!(f, "no links between members of group {group} lead to most of them")
            }
            Self::OneSided(_, other) => write!(f, "a link to node {other}, which has none to it"),
            Self::Unlisted(_, group, member) => {
                write!(f, "does not list node {member}, a member of group {group}")
            }
            Self::Ghost(_, group, member) => {
                write!(f, "lists node {member}, which is gone, in group {group}")
            }
            Self::Tree(_, group, root, twist) => {
                write!(f, "in the tree of node {root}, group {group}: ")?;
                match twist {
                    Twist::Unknown => write!(f, "it knows nothing of it"),
                    Twist::NoParent => write!(f, "no parent"),
                    Twist::NoChildOf(parent) => write!(f, "its parent {parent} does not know it for a child"),
                    Twist::NoParentOf(child) => write!(f, "its child {child} has another parent"),
                    Twist::Loop => write!(f, "parents lead round, and not to the root"),
                }
            }
        }
    }
}

impl Rest {
    /// A world in which nothing is done from outside any more from that time on.
    pub(crate) fn since(quiet: Timestamp) -> Self {
        Self { quiet, flaws: None }
    }

    /// One look.
    pub(crate) fn look(&mut self, world: &World) {
        let mut now = flaws(world, self.quiet);
        if let Some(before) = self.flaws.take() {
            let before: BTreeSet<_> = before.iter().map(Flaw::place).collect();
            now.retain(|flaw| before.contains(&flaw.place()));
        }
        self.flaws = Some(now);
    }

    /// What was wrong all the time is.
    pub(crate) fn conclude(&mut self, world: &mut World) {
        let mut told: BTreeMap<&'static str, usize> = BTreeMap::new();
        for flaw in self.flaws.take().unwrap_or_default() {
            let (check, node) = flaw.check();
            let told = told.entry(check).or_default();
            *told += 1;
            if *told <= TOLD_MAX {
                world.ledger.violate(world.now, node, check, flaw.to_string());
            }
        }
    }
}

/// All that is wrong now.
fn flaws(world: &World, quiet: Timestamp) -> BTreeSet<Flaw> {
    let is_there = |node: &NodeIx| {
        let place = world.topology.places[*node];
        place.is_up && !place.is_paused && !place.is_stalled
    };
    let there: Vec<NodeIx> = world.honest().filter(is_there).collect();
    let mut links: BTreeMap<NodeIx, BTreeSet<NodeIx>> = BTreeMap::new();
    for node in &there {
        links.insert(*node, world.neighbours(*node).into_iter().collect());
    }
    let has = |node: NodeIx, other: NodeIx| links.get(&node).is_some_and(|links| links.contains(&other));
    let mut flaws = BTreeSet::new();
    for (node, others) in &links {
        let known = others.iter().filter(|other| links.contains_key(other));
        let one_sided = known.filter(|other| !has(**other, *node));
        flaws.extend(one_sided.map(|other| Flaw::OneSided(*node, *other)));
    }
    links.iter_mut().for_each(|(node, others)| {
        let node = *node;
        others.retain(|other| !flaws.contains(&Flaw::OneSided(node, *other)));
    });
    flaws.extend(apart(&there, &links).into_iter().map(|node| Flaw::Apart(node, None)));
    let died = world.ledger.died_together_at();
    let knows_of_deaths = died.is_none_or(|at| world.now - at >= LISTED_AFTER + limits::PARTITION_HOLD);
    let has_attackers = world.honest().count() < world.n_nodes();
    for (group, members) in world.by_group(there.iter().copied()).into_iter().enumerate() {
        if members.len() < there.len() {
            flaws.extend(apart(&members, &links).into_iter().map(|node| Flaw::Apart(node, Some(group))));
        }
        if world.now - quiet >= LISTED_AFTER {
            lists(world, group, &members, knows_of_deaths, &mut flaws);
        }
        // In a tree that goes over liars anything may be.
        if !has_attackers {
            trees(world, group, &members, &mut flaws);
        }
    }
    flaws
}

/// What applications were told of the members of a group, where all of them fit on a list.
fn lists(world: &World, group: usize, members: &[NodeIx], knows_of_deaths: bool, flaws: &mut BTreeSet<Flaw>) {
    let id = world.group_id(group);
    // Of two nodes with one key only one can be listed.
    let is_one = |node: &NodeIx| world.ledger.nodes_of(&world.host(*node).peer).len() == 1;
    let there: NodeSet = members.iter().copied().filter(is_one).collect();
    let none = NodeSet::default();
    for node in there.iter().filter(|node| world.host(*node).bounds.members >= world.n_nodes()) {
        let told = world.ledger.members(node, id).unwrap_or(&none);
        // In a mesh a list is of those who are linked, and routers may let neither in.
        let is_mesh = world.host(node).engine.as_ref().is_some_and(|engine| !engine.overlay().is_partial);
        let may_meet = |member: &NodeIx| {
            [(node, *member), (*member, node)]
                .iter()
                .any(|(from, to)| world.topology.admits(*from, *to, false))
        };
        let unlisted = there.without(told).filter(|member| *member != node && (!is_mesh || may_meet(member)));
        flaws.extend(unlisted.map(|member| Flaw::Unlisted(node, group, member)));
        let is_gone = |member: &NodeIx| !world.topology.places[*member].is_up && is_one(member);
        // Where several fall silent at once the network may be cut, and nobody judges them for so long.
        let ghosts = told.without(&there).filter(is_gone).filter(|_| knows_of_deaths);
        flaws.extend(ghosts.map(|member| Flaw::Ghost(node, group, member)));
    }
}

/// Those whom the largest number of these that hang together over links between them does not reach.
fn apart(nodes: &[NodeIx], links: &BTreeMap<NodeIx, BTreeSet<NodeIx>>) -> Vec<NodeIx> {
    let mut left: BTreeSet<NodeIx> = nodes.iter().copied().collect();
    let mut largest = BTreeSet::new();
    while let Some(first) = left.pop_first() {
        let (mut part, mut next) = (BTreeSet::from([first]), vec![first]);
        while let Some(node) = next.pop() {
            for other in links.get(&node).into_iter().flatten() {
                if left.remove(other) {
                    part.insert(*other);
                    next.push(*other);
                }
            }
        }
        if part.len() > largest.len() {
            largest = part;
        }
    }
    nodes.iter().copied().filter(|node| !largest.contains(node)).collect()
}

/// What a node knows of a tree.
struct Known {
    node: NodeIx,
    parent: Option<NodeIx>,
    children: Vec<NodeIx>,
}

/// The trees of a group whose roots are there and go on: everybody is in each of them once.
fn trees(world: &World, group: usize, members: &[NodeIx], flaws: &mut BTreeSet<Flaw>) {
    let engines = members.iter().filter_map(|node| world.host(*node).engine.as_ref());
    // A mesh needs no trees, and lets those rot that it had.
    if !engines.clone().all(|engine| engine.overlay().is_partial) {
        return;
    }
    let id: GroupId = world.group_id(group);
    let node_of = |peer: &PeerId| world.ledger.nodes_of(peer).first().copied();
    let mut all: BTreeMap<NodeIx, Vec<Known>> = BTreeMap::new();
    let mut tended = BTreeSet::new();
    // They take in no other until one is forgotten, and live by what their neighbours announce.
    let mut full = BTreeSet::new();
    for (node, engine) in members.iter().copied().zip(engines) {
        let trees = engine.trees(id);
        if trees.len() >= world.host(node).bounds.trees {
            full.insert(node);
        }
        for tree in trees {
            let Some(root) = node_of(&tree.root) else { continue };
            if root == node && tree.is_tended {
                tended.insert(root);
            }
            let parent = tree.parent.as_ref().and_then(node_of);
            let children = tree.children.iter().filter_map(node_of).collect();
            all.entry(root).or_default().push(Known { node, parent, children });
        }
    }
    for root in tended {
        let known = all.remove(&root).unwrap_or_default();
        // Who has no room does not know it, and whose neighbours are all such finds no way.
        let has_no_room = |(node, twist): &(NodeIx, Twist)| *twist == Twist::Unknown && full.contains(node);
        let mut twisted = twists(root, members, &known);
        if twisted.iter().any(has_no_room) {
            twisted.retain(|flaw| !has_no_room(flaw) && flaw.1 != Twist::NoParent);
        }
        flaws.extend(twisted.into_iter().map(|(node, twist)| Flaw::Tree(node, group, root, twist)));
    }
}

/// What is wrong with a tree: `known`, in the order of nodes, should be one of all members.
fn twists(root: NodeIx, members: &[NodeIx], known: &[Known]) -> Vec<(NodeIx, Twist)> {
    let at = |node: NodeIx| known.binary_search_by_key(&node, |known| known.node).ok().map(|at| &known[at]);
    let mut twists = Vec::new();
    for node in members.iter().copied() {
        let Some(here) = at(node) else {
            twists.push((node, Twist::Unknown));
            continue;
        };
        match here.parent {
            None if node != root => twists.push((node, Twist::NoParent)),
            Some(parent) if !at(parent).is_some_and(|parent| parent.children.contains(&node)) => {
                twists.push((node, Twist::NoChildOf(parent)));
            }
            _ => {}
        }
        for child in &here.children {
            if at(*child).is_none_or(|child| child.parent != Some(node)) {
                twists.push((node, Twist::NoParentOf(*child)));
            }
        }
        let mut way = std::iter::successors(Some(node), |node| at(*node)?.parent).skip(known.len());
        if way.next().is_some() {
            twists.push((node, Twist::Loop));
        }
    }
    twists
}

#[cfg(test)]
mod tests {
    use djembe_protocol::io::{Event, PresenceCause};

    use super::*;
    use crate::scenario::Scenario;
    use crate::world::faults::Fault;

    fn known(node: NodeIx, parent: Option<NodeIx>, children: &[NodeIx]) -> Known {
        Known { node, parent, children: children.to_vec() }
    }

    /// Goal: a tree passes, and each thing that can be wrong with one is told, of those at whom it is.
    #[test]
    fn a_tree_passes_and_what_is_none_does_not() {
        let tree = || {
            vec![
                known(0, None, &[1, 2]),
                known(1, Some(0), &[3]),
                known(2, Some(0), &[]),
                known(3, Some(1), &[]),
            ]
        };
        let with = |change: &dyn Fn(&mut Vec<Known>)| {
            let mut all = tree();
            change(&mut all);
            twists(0, &[0, 1, 2, 3], &all)
        };
        assert_eq!(with(&|_| ()), []);
        let lost = with(&|all| all[3].parent = None);
        assert_eq!(lost, [(1, Twist::NoParentOf(3)), (3, Twist::NoParent)]);
        assert_eq!(with(&|all| all[1].children.clear()), [(3, Twist::NoChildOf(1))]);
        assert_eq!(with(&|all| all[2].children.push(3)), [(2, Twist::NoParentOf(3))]);
        let without = with(&|all| {
            all.pop();
        });
        assert_eq!(without, [(1, Twist::NoParentOf(3)), (3, Twist::Unknown)]);
        let round = with(&|all| {
            (all[0].children, all[1].parent, all[3].children) = (vec![2], Some(3), vec![1]);
        });
        assert_eq!(round, [(1, Twist::Loop), (3, Twist::Loop)]);
    }

    /// Goal: a member that is there and not listed is told of, and one that is listed and gone, and nothing else.
    #[test]
    fn lists_are_held_against_who_is_there() {
        let scenario = Scenario::parse("nodes = 8\nduration = \"40s\"", &[]).expect("a scenario");
        let mut world = scenario.world();
        world.run_for(LISTED_AFTER);
        let start = Timestamp::ZERO;
        assert_eq!(flaws(&world, start), BTreeSet::new());
        let (group, peer, cause) = (world.group_id(0), world.host(5).peer, PresenceCause::TimedOut);
        world.ledger.on_event(world.now(), 3, Event::MemberLeft { group, peer, cause });
        world.fault(Fault::PowerOff(7));
        let wrong = flaws(&world, start);
        let told: Vec<&Flaw> = wrong.iter().filter(|flaw| flaw.check().0 == "members").collect();
        let ghosts: Vec<Flaw> = (0..7).map(|node| Flaw::Ghost(node, 0, 7)).collect();
        assert_eq!(told, [&Flaw::Unlisted(3, 0, 5)].into_iter().chain(&ghosts).collect::<Vec<_>>());
        world.run_for(LISTED_AFTER);
        assert_eq!(flaws(&world, start), BTreeSet::from([Flaw::Unlisted(3, 0, 5)]));
    }

    #[test]
    fn whoever_is_in_a_smaller_part_is_apart() {
        let links = [(0, 1), (1, 2), (3, 4), (1, 5)];
        let mut all: BTreeMap<NodeIx, BTreeSet<NodeIx>> = BTreeMap::new();
        for (a, b) in links {
            all.entry(a).or_default().insert(b);
            all.entry(b).or_default().insert(a);
        }
        assert_eq!(apart(&[0, 1, 2, 3, 4, 5, 6], &all), [3, 4, 6]);
        assert_eq!(apart(&[0, 2, 3, 4], &all), [0, 2], "over links between them");
        assert!(apart(&[], &all).is_empty());
    }
}
