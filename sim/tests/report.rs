//! What a report says of a scenario, and that those that are shipped come out well.

use core::time::Duration;

use bytes::Bytes;
use djembe_protocol::id::Lane;
use djembe_sim::app::{App, Desk};
use djembe_sim::ledger::Violation;
use djembe_sim::report::{self, Report, Standing};
use djembe_sim::scenario::{SHIPPED, Scenario};

/// A shipped scenario's report, and how many seconds were told on the way.
fn shipped(name: &str, sets: &[&str]) -> (Report, usize) {
    let (_, text) = SHIPPED.iter().find(|(other, _)| *other == name).expect("shipped");
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let scenario = Scenario::parse(text, &sets).expect("a scenario");
    let mut seconds = 0;
    let report = report::run(&scenario, |_| seconds += 1);
    println!("{report}");
    (report, seconds)
}

/// Goal: thirty on a quiet LAN, who are too many for a full mesh. It once ate the run to wait for one, and nothing was
/// checked on the way.
#[test]
fn a_lan_of_thirty_is_good_and_looked_at_each_second() {
    let (report, seconds) = shipped("lan-30", &[]);
    assert!(report.is_good());
    assert_eq!((report.messages, report.mesh_seconds), (600, None));
    assert_eq!(seconds, 38, "each but that at which logs are compared, and the last");
}

/// Goal: nodes that fall, stand still, lose packets and are cut off.
#[test]
fn faults_are_survived() {
    let (report, _) = shipped("faults-12", &[]);
    assert!(report.is_good());
    assert!(report.mesh_seconds.is_some());
}

/// Goal: a report says how soon all knew of a death, be the connections reset or silent, in a network larger than a mesh.
#[test]
fn deaths_are_known_to_all() {
    for (power_off, soonest, latest) in [(false, 100.0, 6_000.0), (true, 3_000.0, 12_000.0)] {
        let crash = format!("crashes=[{{node=7, at=\"30s\", power_off={power_off}}}]");
        let stop = "messages.stop=\"30s\"";
        let quiet = [
            "nodes=40",
            "duration=\"60s\"",
            "messages.rate=0",
            "messages.start=\"29s\"",
            stop,
            "settle=\"5s\"",
            &crash,
        ];
        let (report, _) = shipped("lossy-presence", &quiet);
        assert_eq!((report.violations.len(), report.deaths_unknown), (0, 0));
        let all = report.deaths_known_to_all_ms;
        assert!(all.p50 == all.max && report.deaths_known_ms.p50 <= all.max, "of one death");
        assert!((soonest..latest).contains(&all.max), "{all}");
    }
}

/// Goal: one that reads nothing for a while has everything later.
#[test]
fn a_slow_reader_has_everything() {
    let (report, _) = shipped("slow-reader", &[]);
    assert!(report.is_good());
    let mesh = report.mesh_seconds.expect("nine are linked to each other");
    assert!((0.01..2.0).contains(&mesh), "{mesh} s");
}

/// Goal: who arrives later belongs to the mesh as well. The first node alone once was one, after no time.
#[test]
fn a_full_mesh_is_one_of_all_nodes() {
    let quick = ["duration=\"14s\"", "settle=\"4s\"", "messages.stop=\"7s\"", "contact=0", "joins=\"3s\""];
    let (report, _) = shipped("lan-30", &quick);
    assert_eq!(report.mesh_seconds, None, "thirty are too many");
    let few = [&quick[..], &["nodes=8"]].concat();
    let mesh = shipped("lan-30", &few).0.mesh_seconds.expect("eight are not");
    assert!((3.0..10.0).contains(&mesh), "{mesh} s");
}

/// Goal: a run in which nothing could be sent is not a good one.
#[test]
fn silence_is_good_only_where_it_is_wanted() {
    let sets =
        ["nodes=3", "duration=\"6s\"", "settle=\"1s\"", "messages.start=\"1s\"", "messages.stop=\"3s\""];
    let (mut report, _) = shipped("lan-30", &sets);
    assert!(report.is_good() && report.planned == 6);
    (report.messages, report.delivered, report.expected) = (0, 0, 0);
    assert!(!report.is_good());
    let (report, _) = shipped("lan-30", &[&sets[..], &["messages.rate=0"]].concat());
    assert!(report.is_good() && report.planned == 0);
}

/// Goal: the page tells how it went, whatever a scenario is called, and stands by itself.
#[test]
fn a_page_needs_nothing_else() {
    let sets =
        ["nodes=3", "duration=\"6s\"", "settle=\"1s\"", "messages.start=\"1s\"", "messages.stop=\"3s\""];
    let (report, _) = shipped("lan-30", &sets);
    let deliveries: usize = report.series.iter().map(|sample| sample.deliveries).sum();
    assert_eq!((report.series.len(), deliveries as u64), (5, report.delivered));
    let violation =
        Violation { at: 2_500_000, node: 1, check: "twice", text: "</script><script>".to_owned() };
    let bad = Report { violations: vec![violation], ..report.clone() };
    let [good, bad] =
        [report, bad].map(|report| report::html::page("<b>\"x\"</b>", &[&report], "djembe-sim run x"));
    let title = "&lt;b&gt;&quot;x&quot;&lt;/b&gt;: <span class=";
    assert!(
        good.contains(&format!("{title}\"good\" id=\"verdict\">good<")) && !good.contains("<b>\"x"),
        "{good}"
    );
    assert!(bad.contains(&format!("{title}\"bad\" id=\"verdict\">not good<")), "{bad}");
    assert!(bad.contains("<li>twice at node 1, 2.500000 s: &lt;/script&gt;&lt;script&gt;</li>"), "{bad}");
    assert_eq!([&good, &bad].map(|page| page.matches("</script>").count()), [4, 4]);
    assert!(
        !good.contains("src=") && !good.contains("href=") && good.contains("default-src 'none'"),
        "{good}"
    );
}

/// Goal: what is drawn is the same for any number of threads, and so is what is worked out of it.
#[test]
fn drawings_do_not_depend_on_threads() {
    let quick = ["nodes=20", "duration=\"14s\"", "settle=\"4s\"", "messages.stop=\"7s\""];
    let crash = "crashes=[{node=3, at=\"5500ms\", restart=\"9500ms\"}]";
    let [alone, together] = ["threads=1", "threads=3"]
        .map(|threads| shipped("lan-30", &[&quick[..], &[crash, threads]].concat()).0);
    assert_eq!(alone.hash, together.hash);
    assert_eq!((&alone.picture, &alone.series), (&together.picture, &together.series));
    assert!(
        alone.series.iter().any(|sample| sample.up == 19)
            && alone.series.iter().any(|sample| sample.links > 19)
    );
    let states: Vec<Standing> =
        alone.picture.standings.iter().filter(|change| change.node == 3).map(|it| it.standing).collect();
    assert_eq!((states.first(), states.last()), (Some(&Standing::Up), Some(&Standing::Up)));
    let is_told = |standing| states.contains(&standing);
    assert!(is_told(Standing::DownUnnoticed) && is_told(Standing::DownKnown), "{states:?}");
}

/// Goal: where memory goes is told by part, and what is known to grow does. Method: thirty nodes, and the same twice over.
#[test]
fn a_census_of_memory_names_what_grows() {
    let (_, text) = SHIPPED.iter().find(|(name, _)| *name == "lan-30").expect("shipped");
    let [small, large] = [30, 60].map(|nodes| {
        let scenario = Scenario::parse(text, &[format!("nodes={nodes}")]).expect("a scenario");
        report::memory(&report::run_to_end(&scenario, |_| ()).1)
    });
    for part in ["engine", "links", "known peers", "members", "trees", "logs", "simulator: connections"] {
        assert!(small[part] > 0, "{part}: {small:?}");
    }
    assert!(large["members"] > small["members"], "{large:?}, {small:?}");
    assert!(small.values().sum::<u64>() < 4_000_000, "{small:?}");
}

/// Says something each second.
struct Talker;

impl App for Talker {
    fn on_start(&mut self, desk: &mut Desk<'_>) {
        desk.wake_in(Duration::from_secs(1), 0);
    }

    fn on_wake(&mut self, desk: &mut Desk<'_>, _token: u64) {
        desk.publish(0, Lane::Durable, "weather", Bytes::from_static(b"it rains, and will go on to do so"));
        desk.wake_in(Duration::from_secs(1), 0);
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

/// Goal: applications run in any scenario, with its faults, and its own messages are in the figures beside theirs.
#[test]
fn applications_run_in_a_scenario_that_talks() {
    let text = r#"
        nodes = 6
        duration = "50s"
        loss = 0.05
        messages = { rate = 1, size = 100, stop = "20s" }
        crashes = [{ node = 2, at = "8s", restart = "12s" }]
    "#;
    let scenario = Scenario::parse(text, &[]).expect("a scenario");
    let alone = report::run(&scenario, |_| ());
    let (report, world) = report::run_prepared(&scenario, |world| world.attach(|_| Box::new(Talker)), |_| ());
    assert!(report.is_good(), "{report}");
    assert!(report.messages >= 80 && report.messages.abs_diff(alone.messages) <= 5, "{report}");
    assert!(world.ledger.n_envelopes as usize > 6 * report.messages, "what they say is carried as well");
}

/// Goal: every scenario that is built in comes out well, if it is run small; those that others run are not among these.
#[test]
fn what_is_built_in_comes_out_well_small() {
    for name in [
        "office-200-wifi",
        "campus-1k",
        "city-10k",
        "storm-join-10k",
        "churn-10k",
        "crash-90",
        "pauses",
        "telemetry-1k",
        "million",
        "false-alarms",
        "reality-30",
    ] {
        assert!(shipped(name, &["nodes=24"]).0.is_good(), "{name}");
    }
    let cut =
        r#"partitions=[{nodes=14, at="30s", until="50s"}, {nodes=4, at="40s", until="60s", one_way=true}]"#;
    for name in ["partition-heal", "forest-200"] {
        assert!(shipped(name, &["nodes=24", cut]).0.is_good(), "{name}");
    }
}
