//! Many groups in one network: each is its members' alone.

use djembe_protocol::id::Lane;
use djembe_sim::bug::Bug;
use djembe_sim::scenario::{SHIPPED, Scenario};
use djembe_sim::search::attempt;
use djembe_sim::topology::NodeIx;

mod support;
use support::*;

/// Sixty nodes in six groups of twenty, two each.
fn six_groups(sets: &[&str]) -> Scenario {
    let (_, text) = SHIPPED.iter().find(|(name, _)| *name == "many-groups-10k").expect("shipped");
    let small = ["nodes=60", "groups=6", "groups_per_node=2", "joins=2s", "duration=70s", "threads=1"];
    let small = small.iter().chain(&["messages.start=35s", "messages.stop=50s"]).chain(sets);
    let sets: Vec<String> = small.map(|set| (*set).to_owned()).collect();
    Scenario::parse(text, &sets).expect("a scenario")
}

/// Goal: what is said in a group reaches its members and nobody else, over links that are not many, and the members of
/// each group hang together; also where packets are lost, and after a cut. The checkers look.
#[test]
fn a_group_is_its_members_alone() {
    let cut = "partitions=[{nodes=20, at=\"38s\", until=\"48s\"}]";
    for sets in [&[][..], &["loss=0.02", cut]] {
        let outcome = attempt(&six_groups(sets));
        assert_eq!(outcome.findings, [], "{sets:?}");
        let report = outcome.report.expect("it did not panic");
        assert_eq!((report.messages, report.expected, report.delivered), (30, 30 * 19, 30 * 19), "{sets:?}");
        assert!(report.overlay.degree_max <= 20, "{:?}", report.overlay);
    }
}

/// Goal: who is in ten groups needs no thirty links, says little while nobody talks, and misses nothing, also where packets
/// are lost, and after a cut. Method: a hundred nodes, forty groups of twenty-five.
#[test]
fn who_is_in_many_groups_needs_few_links() {
    let many = ["nodes=100", "groups=40", "groups_per_node=10", "settle=15s"];
    let cut = "partitions=[{nodes=30, at=\"71s\", until=\"77s\"}]";
    // So long that each side takes the other for gone, over links that beat rarely as well.
    let long = "partitions=[{nodes=30, at=\"66s\", until=\"86s\"}]";
    for sets in [&[][..], &["loss=0.01", cut], &["loss=0.01", long, "settle=30s", "duration=120s"]] {
        let late = ["duration=100s", "messages.start=70s", "messages.stop=80s"];
        let outcome = attempt(&six_groups(&[&many[..], &late, sets].concat()));
        assert_eq!(outcome.findings, [], "{sets:?}");
        let report = outcome.report.expect("it did not panic");
        assert_eq!((report.messages, report.expected, report.delivered), (20, 20 * 24, 20 * 24), "{sets:?}");
        if sets.is_empty() {
            let second = &report.series[66];
            let idle = second.presence_bytes + second.background_bytes;
            assert!(
                report.overlay.degree_mean < 22.0 && report.overlay.degree_max <= 32,
                "{:?}",
                report.overlay
            );
            assert!(idle < 1_500.0, "{second:?}");
        }
    }
}

/// Goal: an envelope that turns up in another group is noticed.
#[test]
fn a_message_in_another_group_is_found() {
    let scenario = Scenario { bug: Some(Bug::WrongGroup), ..six_groups(&[]) };
    assert!(attempt(&scenario).fails("groups"));
}

/// Goal: who is in no group of an author's gets nothing of it, and keeps nothing.
#[test]
fn strangers_keep_nothing() {
    let mut world = six_groups(&["messages.rate=0"]).world();
    world.run_for(secs(35));
    let group = world.groups_of(7)[0];
    let number = world.publish(7, group, Lane::Durable, 100).expect("it is taken");
    world.run_for(secs(3));
    let (members, others): (Vec<NodeIx>, Vec<NodeIx>) =
        (0..60).partition(|node| world.is_member(*node, group));
    assert_reached(&world, &[number], members.into_iter());
    let id = world.group_id(group);
    assert!(others.into_iter().all(|node| world.host(node).disk.n_envelopes(&id) == 0));
    assert_clean(&world);
}
