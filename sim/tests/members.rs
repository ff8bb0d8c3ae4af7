//! Everybody knows who is in a group in which nobody is linked to everybody.

mod support;

use core::time::Duration;
use std::collections::BTreeSet;

use djembe_protocol::bounds::Bounds;
use djembe_protocol::id::{Lane, PeerId};
use djembe_sim::topology::NodeIx;
use djembe_sim::world::{Fault, World, WorldConfig};
use support::*;

/// Nodes 10 to 50 ms apart that arrive within ten milliseconds each through one contact.
fn town(seed: u64, n: usize, loss: f64) -> World {
    let config = WorldConfig { seed, ..far_apart(loss) };
    World::arriving(config, n, millis(n as u64 * 10))
}

/// As [`wrong`] says it.
const NOBODY: [NodeIx; 0] = [];

/// Those running nodes that do not know exactly who else runs: by what their application was told, and by status.
fn wrong(world: &World) -> Vec<NodeIx> {
    let up: Vec<NodeIx> = (0..world.n_nodes()).filter(|node| world.host(*node).engine.is_some()).collect();
    wrong_among(world, &up, &up)
}

/// Those of `nodes` for which not exactly these are members.
fn wrong_among(world: &World, nodes: &[NodeIx], members: &[NodeIx]) -> Vec<NodeIx> {
    let group = world.group_id(0);
    let is_wrong = |node: &NodeIx| {
        let right: BTreeSet<NodeIx> = members.iter().copied().filter(|other| other != node).collect();
        let engine = world.host(*node).engine.as_ref().expect("it runs");
        let status = engine.status().groups.remove(0);
        let told = world.ledger.members(*node, group);
        let n_told = told.map_or(0, |told| told.iter().filter(|other| other != node).count());
        status.n_members != right.len()
            || n_told != right.len()
            || told.is_some_and(|told| !right.iter().all(|other| told.contains(other)))
    };
    nodes.iter().copied().filter(is_wrong).collect()
}

/// How long it takes until everybody knows, looked at ten times a second.
fn until_known(world: &mut World, at_most: Duration) -> Option<Duration> {
    let start = world.now();
    while world.now() - start < at_most {
        if wrong(world).is_empty() {
            return Some(world.now() - start);
        }
        world.run_for(millis(100));
    }
    None
}

/// Bytes of frames that have to do with presence and members, so far: beats, votes, answers, news, lists, digests.
fn presence_bytes(world: &World) -> u64 {
    let kinds = (4..=11).chain(24..=29).filter(|kind| *kind != 9);
    kinds.filter_map(|kind| world.frames().get(&kind).copied()).map(|(_, bytes)| bytes).sum()
}

fn news_bytes(world: &World) -> u64 {
    (24..=29).filter_map(|kind| world.frames().get(&kind).copied()).map(|(_, bytes)| bytes).sum()
}

/// Goal: comings and goings are known to everybody within ten seconds, exactly, and nobody is gone who is there.
/// Method: arrivals in a rush; then one joins, one leaves the group, one stops, one's process dies, one's machine dies.
fn comings_and_goings(seed: u64, n: usize, loss: f64) {
    let told = format!("seed {seed}, {n} nodes, loss {loss}");
    let mut world = town(seed, n, loss);
    // The last one comes later.
    let late = world.add_node();
    world.member(late, 0);
    world.run_for(millis(n as u64 * 10));
    let took = until_known(&mut world, secs(10));
    println!("{told}: all arrived, known after {took:?}");
    assert!(took.is_some(), "{told}: {:?} do not know who is there", wrong(&world));
    world.run_for(secs(20));
    type Act<'a> = (&'a str, Box<dyn Fn(&mut World)>);
    let acts: [Act<'_>; 5] = [
        ("joins", Box::new(move |world| world.start(late))),
        ("stops", Box::new(|world| world.fault(Fault::Shutdown(9)))),
        ("process dies", Box::new(|world| world.fault(Fault::Crash(11)))),
        ("machine dies", Box::new(|world| world.fault(Fault::PowerOff(13)))),
        ("comes back", Box::new(|world| world.fault(Fault::Restart(11)))),
    ];
    for (what, act) in acts {
        let before = (news_bytes(&world), world.now());
        act(&mut world);
        let took = until_known(&mut world, secs(10));
        world.run_for(secs(5));
        let bytes = (news_bytes(&world) - before.0) / n as u64;
        println!(
            "{told}: {what}: known after {took:?}, {bytes} bytes a node in {:?}",
            world.now() - before.1
        );
        assert!(took.is_some(), "{told}: {what}: {:?} do not know", wrong(&world));
        assert_eq!(wrong(&world), NOBODY, "{told}: {what}, and it stays so");
    }
    let dead: BTreeSet<PeerId> = [9, 11, 13].map(|node| world.host(node).peer).into();
    let alarms: Vec<_> = world.ledger.gone_at.keys().filter(|(_, gone)| !dead.contains(gone)).collect();
    assert!(alarms.is_empty(), "{told}: {alarms:?}");
    assert_eq!(world.ledger.n_member_flaps, 0, "{told}");
    assert_clean(&world);
}

#[test]
fn everybody_knows_who_comes_and_goes() {
    comings_and_goings(1, 60, 0.0);
}

#[test]
fn everybody_knows_with_losses_too() {
    comings_and_goings(2, 60, 0.01);
    // A link was refused here while another to the same peer stood, and stayed in its group when it was down.
    comings_and_goings(14, 60, 0.05);
}

#[test]
#[ignore = "a minute"]
fn everybody_knows_whatever_the_seed() {
    for seed in 10..25 {
        comings_and_goings(seed, 60, [0.0, 0.01, 0.05][seed as usize % 3]);
        a_cut_in_the_list(seed, 40, [0.0, 0.05, 0.1][seed as usize % 3]);
    }
}

#[test]
#[ignore = "a minute"]
fn everybody_knows_among_two_hundred() {
    comings_and_goings(1, 200, 0.0);
    comings_and_goings(2, 200, 0.01);
}

/// Goal: a cut is no death, in the list of members as among neighbours; and who came and went on one side of it is known
/// on both afterwards. Method: 25 | 35 for 20 s, in which one dies and one comes on either side.
fn a_cut_in_the_list(seed: u64, n: usize, loss: f64) {
    let mut world = town(seed, n, loss);
    let late = [world.add_node(), world.add_node()];
    late.iter().for_each(|node| world.member(*node, 0));
    world.run_for(millis(n as u64 * 10) + secs(20));
    assert_eq!(wrong(&world), NOBODY);
    let mut part: Vec<NodeIx> = (0..n * 2 / 5).collect();
    part.push(late[0]);
    world.fault(Fault::Partition(part));
    world.run_for(secs(5));
    world.start(late[0]);
    world.fault(Fault::Crash(3));
    world.fault(Fault::Crash(n - 3));
    world.run_for(secs(15));
    let dead: BTreeSet<PeerId> = [3, n - 3].map(|node| world.host(node).peer).into();
    let gone = |world: &World| {
        let left = world.ledger.members_left().filter(|(_, left)| !dead.contains(left));
        left.count()
    };
    assert_eq!(gone(&world), 0, "while it is cut");
    world.fault(Fault::Heal);
    let took = until_known(&mut world, secs(100));
    println!("{n} nodes, after the cut: known after {took:?}");
    assert!(took.is_some(), "{:?}", wrong(&world));
    world.run_for(secs(100));
    assert_eq!(wrong(&world), NOBODY);
    assert_eq!((gone(&world), world.ledger.n_member_flaps), (0, 0));
    assert_clean(&world);
}

#[test]
fn a_cut_is_not_so_many_goings() {
    a_cut_in_the_list(3, 60, 0.0);
}

/// The same where every tenth packet is lost: votes cross the cut late, and their answers have to come wherever they came.
#[test]
fn a_cut_is_not_so_many_goings_with_losses_too() {
    a_cut_in_the_list(3, 60, 0.1);
}

#[test]
#[ignore = "a minute"]
fn a_cut_among_two_hundred() {
    a_cut_in_the_list(3, 200, 0.0);
}

/// Goal: what lies about members costs a second, not a member. Method: three hostile members vote against one that
/// lives, over and over, on all their links, with fresh incarnations; with a cut the three and that one are on one side of
/// it for as long, and who is on the other hears of it all afterwards.
fn liars_vote(seed: u64, loss: f64, is_cut: bool) {
    use djembe_protocol::id::Incarnation;
    use djembe_protocol::wire::frame::{Alert, Class, FLOOD, Fact, News};
    let told = format!("seed {seed}, loss {loss}, cut: {is_cut}");
    let n = 40;
    let mut world = town(seed, n, loss);
    world.run_for(secs(20));
    assert_eq!(wrong(&world), NOBODY, "{told}");
    let victim = world.host(30).peer;
    if is_cut {
        world.fault(Fault::Partition((0..10).chain(25..35).collect()));
    }
    let mut n_missing = 0;
    for round in 0..100u64 {
        for liar in [5, 6, 7] {
            let identity = world.host(liar).identity();
            let engine = world.host(30).engine.as_ref().expect("it runs");
            let incarnation = Incarnation(engine.status().incarnation.0 + round % 2);
            let facts = vec![Fact::Vote(Alert::new(victim, incarnation, 1, &identity).into())];
            world.inject(liar, Class::Control, &News { group: 1, tree: FLOOD, facts }.into());
        }
        world.run_for(millis(200));
        let group = world.group_id(0);
        let lacks = |node: &NodeIx| {
            *node != 30 && !world.ledger.members(*node, group).is_some_and(|told| told.contains(&30))
        };
        n_missing += (0..n).filter(lacks).count();
    }
    assert_eq!(n_missing, 0, "{told}: nodes times fifths of a second");
    if is_cut {
        world.fault(Fault::Heal);
        let took = until_known(&mut world, secs(100));
        println!("{told}: known {took:?} after the cut");
    }
    world.run_for(secs(5));
    assert_eq!(wrong(&world), NOBODY, "{told}");
    assert_eq!(world.ledger.n_member_flaps, 0, "{told}");
}

#[test]
fn liars_vote_in_vain() {
    liars_vote(4, 0.0, false);
}

#[test]
fn liars_vote_in_vain_with_losses_and_a_cut_too() {
    liars_vote(4, 0.1, false);
    liars_vote(5, 0.05, true);
}

/// Goal: who comes gets a list of many pages whole, though packets are lost and the neighbour that it asks for them is cut
/// off half-way. Method: 150 nodes, of which a third is cut off with the newcomer as soon as it has asked a page of one of
/// the others; it goes on with one of its own side, and has all when the cut is over.
fn pages_through_a_cut(seed: u64, loss: f64) {
    /// Frames that ask for a page.
    const ASK: u8 = 25;
    let n = 150;
    let mut world = town(seed, n, loss);
    let late = world.add_node();
    world.member(late, 0);
    world.run_for(millis(n as u64 * 10) + secs(20));
    assert_eq!(wrong(&world), NOBODY, "seed {seed}");
    let n_asked = |world: &World| world.frames().get(&ASK).map_or(0, |(n, _)| *n);
    let before = n_asked(&world);
    world.start(late);
    let took = world.run_while(secs(10), |world| n_asked(world) == before);
    assert!(took.is_some(), "seed {seed}: it asks nobody");
    // The contact, whom it knows first, is on the other side.
    let part: Vec<NodeIx> = (n * 2 / 3..n).chain([late]).collect();
    world.fault(Fault::Partition(part));
    world.run_for(secs(20));
    world.fault(Fault::Heal);
    let took = until_known(&mut world, secs(100));
    println!(
        "seed {seed}, loss {loss}: known {took:?} after the cut, {} pages asked for",
        n_asked(&world) - before
    );
    assert!(took.is_some(), "seed {seed}: {:?}", wrong(&world));
    world.run_for(secs(30));
    assert_eq!(wrong(&world), NOBODY, "seed {seed}");
    assert_clean(&world);
}

#[test]
fn a_long_list_comes_through_losses_and_a_cut() {
    pages_through_a_cut(6, 0.05);
}

/// Goal: in a group that has become small everybody still says that it is there before others give it up, who expect it as
/// often as members of a small one. Method: a thousand, of which most go, half of them while the rest is cut in two; then
/// an hour and three quarters, three times the pause of a small group and more.
#[test]
#[ignore = "some ten minutes"]
fn words_come_sooner_when_the_group_shrinks() {
    let (n, n_left) = (1000, 300);
    let mut world = town(7, n, 0.01);
    world.run_for(millis(n as u64 * 10) + secs(60));
    assert_eq!(wrong(&world), NOBODY);
    for i in 0..n - n_left {
        let node = n_left + i;
        if i == (n - n_left) / 2 {
            world.fault(Fault::Partition((0..n_left / 3).chain((n_left..n).step_by(3)).collect()));
        }
        world.fault(Fault::Shutdown(node));
        world.run_for(millis(20));
    }
    world.run_for(secs(10));
    world.fault(Fault::Heal);
    let took = until_known(&mut world, secs(100));
    println!("{n_left} of {n}: known {took:?} after the cut");
    assert!(took.is_some(), "{:?}", wrong(&world).len());
    world.run_for(secs(6300));
    assert_eq!(wrong(&world), NOBODY);
    let left = world
        .ledger
        .members_left()
        .filter(|(_, left)| (0..n_left).any(|node| world.host(node).peer == *left));
    assert_eq!(left.count(), 0);
    assert_clean(&world);
}

/// A group of many, once: `N=1000 cargo test --release -p djembe-sim --test members -- --ignored measure --nocapture`.
#[test]
#[ignore = "minutes"]
fn measure() {
    let var = |name: &str, default: &str| std::env::var(name).unwrap_or(default.to_owned());
    let n: usize = var("N", "1000").parse().expect("a number");
    let loss: f64 = var("LOSS", "0").parse().expect("a number");
    let mut world = town(var("SEED", "1").parse().expect("a number"), n, loss);
    world.run_for(millis(n as u64 * 10));
    println!("{n} nodes: all arrived, known after {:?}", until_known(&mut world, secs(60)));
    let report = |world: &World, before: (u64, u64), took: Duration| {
        let rate = |bytes: u64| bytes as f64 / n as f64 / took.as_secs_f64();
        println!(
            "  presence {:.0} B/s a node, of that members {:.0} B/s",
            rate(presence_bytes(world) - before.0),
            rate(news_bytes(world) - before.1)
        );
    };
    report(&world, (0, 0), world.now() - djembe_protocol::time::Timestamp::ZERO);
    for (kind, (count, bytes)) in &world.frames() {
        println!(
            "  kind {kind}: {:.1} frames, {:.0} bytes a node",
            *count as f64 / n as f64,
            *bytes as f64 / n as f64
        );
    }
    let before = (presence_bytes(&world), news_bytes(&world));
    world.run_for(secs(60));
    println!("a minute at rest");
    report(&world, before, secs(60));
    // Sessions of an hour: each minute one in sixty goes, half of them without a word, and comes back later.
    let before = (presence_bytes(&world), news_bytes(&world));
    let start = world.now();
    let gone = n / 60;
    for i in 0..gone {
        let at = start + secs(60) * i as u32 / gone as u32;
        let node = 7 + i * 50 % (n - 7);
        world.fault_at(at, if i % 2 == 0 { Fault::Crash(node) } else { Fault::Shutdown(node) });
        world.fault_at(at + secs(60), Fault::Restart(node));
    }
    world.run_for(secs(120));
    println!("sessions of an hour, half of them ended by crashes");
    report(&world, before, secs(120));
    println!("  known after {:?}; wrong {:?}", until_known(&mut world, secs(60)), wrong(&world).len());
    for (kind, (count, bytes)) in &world.frames() {
        println!(
            "  kind {kind}: {:.1} frames, {:.0} bytes a node",
            *count as f64 / n as f64,
            *bytes as f64 / n as f64
        );
    }
    for node in [20, 21, 22] {
        let before = world.now();
        world.fault(if node == 21 { Fault::Shutdown(node) } else { Fault::PowerOff(node) });
        println!("node {node} gone at {before:?}: known after {:?}", until_known(&mut world, secs(60)));
    }
    println!(
        "false alarms {}, flaps {}, of members {}",
        world.ledger.n_false_alarms, world.ledger.n_flaps, world.ledger.n_member_flaps
    );
    println!("trees {:?}", world.host(0).engine.as_ref().map(|engine| engine.status().groups[0].trees));
    println!("violations {:?}", world.ledger.violations.len());
}

/// Goal: nodes that keep little of others in mind are a network all the same: messages come to all of them, along trees
/// after a while, and most say that there may be more members than they know. Method: a hundred of them, a message a second.
#[test]
fn nodes_that_keep_little_in_mind_hear_everything() {
    let bounds = Bounds { members: 16, peers: 8, trees: 2 };
    let config = WorldConfig { seed: 1, bounds, ..far_apart(0.0) };
    let mut world = World::arriving(config, 100, secs(2));
    world.run_for(secs(40));
    for n in 0..40 {
        world.publish(n % 10, 0, Lane::Live, 200);
        world.run_for(secs(1));
    }
    world.run_for(secs(5));
    assert_clean(&world);
    assert!(world.ledger.messages.iter().all(|sent| sent.delivered.len() == 100));
    let mut n_samples = 0;
    for node in 0..100 {
        let status = world.host(node).engine.as_ref().expect("it runs").status();
        let group = &status.groups[0];
        assert!((1..=2).contains(&group.trees), "node {node}: {} trees", group.trees);
        n_samples += usize::from(group.is_sample);
    }
    // A few have neighbours who do not pass on who else there is, and a place left.
    assert!(n_samples >= 80, "{n_samples} of a hundred");
}
