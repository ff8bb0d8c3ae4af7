//! What the network can do to nodes, beyond latency and loss: sites and routers, narrow lines, bursts, ways that are open in
//! one direction only, wrong clocks, slow disks; and nodes that come and go by the dozen.

mod support;

use djembe_sim::ledger::Violation;
use djembe_sim::report::{self, Report};
use djembe_sim::scenario::{SHIPPED, Scenario};
use djembe_sim::world::World;
use support::*;

/// A scenario of thirty nodes that all talk for ten seconds, with this in addition.
fn run(more: &str) -> Report {
    report::run(&thirty(more), |_| {})
}

fn thirty(more: &str) -> Scenario {
    let text = format!(
        "nodes = 30\nduration = \"90s\"\nsettle = \"30s\"\nlatency = \"2ms\"\njitter = \"1ms\"\n{more}\n\
         [messages]\nrate = 0.5\nstart = \"10s\"\nstop = \"30s\"\n"
    );
    Scenario::parse(&text, &[]).unwrap_or_else(|error| panic!("{more}: {error}"))
}

fn wrong(text: &str) -> String {
    Scenario::parse(text, &[]).expect_err(text).to_string()
}

fn assert_good(what: &str, report: &Report) {
    let violations: &[Violation] = &report.violations;
    assert!(violations.is_empty(), "{what}: {violations:?}");
    assert_eq!((report.delivered, report.not_sent), (report.expected, 0), "{what}");
}

/// Goal: whatever a network does short of letting nothing through, everything arrives, and nothing is violated.
#[test]
fn weather_costs_time_only() {
    for (what, more) in [
        ("bursts", "burst = { good = \"4s\", bad = \"500ms\", loss = 0.5 }"),
        ("packets overtake", "reorder = 0.05"),
        ("packets come twice", "duplicate = 0.1"),
        ("narrow lines up", "bandwidth = 2000000"),
        ("wrong clocks", "clock_skew = \"60min\"\nclock_drift_ppm = 500"),
    ] {
        assert_good(what, &run(more));
    }
}

/// Goal: a changed byte ends a connection, which is made again; nothing is lost by it.
#[test]
fn corruption_costs_connections_only() {
    assert_good("corrupt", &run("corrupt = 0.0005"));
}

/// Goal: two cities and a site behind a router that lets nobody in: all of them find each other, since who is behind it
/// dials.
#[test]
fn sites_and_routers() {
    let sites = "[[sites]]\nname = \"a\"\nlatency = \"1ms\"\nshare = 2\n\
         [[sites]]\nname = \"b\"\nlatency = \"1ms\"\ndown = 4000000\n\
         [[sites]]\nname = \"home\"\nlatency = \"1ms\"\nnat = \"closed\"\nup = 1000000\n\
         [[paths]]\nsites = [\"a\", \"b\"]\nlatency = \"40ms\"\nspread = \"5ms\"\n\
         [[paths]]\nsites = [\"a\", \"home\"]\nlatency = \"15ms\"\n\
         [[paths]]\nsites = [\"b\", \"home\"]\nlatency = \"30ms\"\n";
    let report = run(sites);
    assert_good("sites", &report);
    assert!(report.latency_p50_ms > 10.0, "most are far apart: {}", report.latency_p50_ms);
}

/// Goal: where nodes know one contact only, two sites whose routers let nobody in speak through who is elsewhere. Method: the
/// contact is at the one open site, with a sixth of the nodes; it stands still for ten seconds, so that links are made again.
#[test]
fn homes_meet_at_the_contact() {
    let sites = "contact = 0\njoins = \"2s\"\npauses = [{ node = 0, at = \"12s\", until = \"22s\" }]\n\
         [[sites]]\nname = \"home\"\nlatency = \"1ms\"\nnat = \"closed\"\nshare = 3\n\
         [[sites]]\nname = \"flat\"\nlatency = \"1ms\"\nnat = \"cone\"\nshare = 2\n\
         [[sites]]\nname = \"hosted\"\nlatency = \"1ms\"\n\
         [[paths]]\nsites = [\"home\", \"flat\"]\nlatency = \"20ms\"\n\
         [[paths]]\nsites = [\"home\", \"hosted\"]\nlatency = \"15ms\"\n\
         [[paths]]\nsites = [\"flat\", \"hosted\"]\nlatency = \"15ms\"\n";
    assert_good("homes", &run(sites));
    let shut =
        sites.replace("\"hosted\"\nlatency = \"1ms\"", "\"hosted\"\nlatency = \"1ms\"\nnat = \"cone\"");
    let error =
        Scenario::parse(&format!("nodes = 30\nduration = \"90s\"\n{shut}"), &[]).expect_err("nobody gets in");
    assert!(error.to_string().contains("contact: no site is open"), "{error}");
}

/// Goal: a way that is open in one direction only, and lines that come and go, cut nobody off for good.
#[test]
fn one_way_and_flapping() {
    assert_good("one way", &run("[[partitions]]\nnodes = 7\nat = \"15s\"\nuntil = \"25s\"\none_way = true"));
    assert_good(
        "flapping",
        &run("[[flaps]]\nnode = 3\nat = \"12s\"\nuntil = \"40s\"\nup = \"3s\"\ndown = \"1500ms\""),
    );
    // Two cuts that overlap are mended each by itself.
    assert_good(
        "stacked",
        &run(
            "[[partitions]]\nnodes = 7\nat = \"15s\"\nuntil = \"30s\"\n[[partitions]]\nnodes = 12\nat = \"20s\"\nuntil = \"35s\"",
        ),
    );
}

/// Goal: nodes that come and go by the dozen find what they missed.
#[test]
fn waves_churn_and_starvation() {
    assert_good(
        "half of them die",
        &run("[[waves]]\nshare = 0.5\nat = \"15s\"\nover = \"2s\"\nback = \"10s\""),
    );
    assert_good(
        "and leave",
        &run("[[waves]]\nshare = 0.5\nat = \"15s\"\nover = \"2s\"\ngoodbye = true\nback = \"10s\""),
    );
    assert_good(
        "churn",
        &run("[churn]\nrate = 1.0\ndown = \"5s\"\nat = \"12s\"\nuntil = \"40s\"\ngoodbye = 0.5"),
    );
    assert_good(
        "starved",
        &run(
            "[starvation]\nshare = 0.25\nmin = \"100ms\"\nmax = \"3s\"\nevery = \"5s\"\nat = \"12s\"\nuntil = \"40s\"",
        ),
    );
}

#[test]
fn disks_in_trouble() {
    assert_good("slow", &run("[[disks]]\nnode = 2\nat = \"12s\"\nuntil = \"40s\"\nslow = 200"));
    assert_good("full", &run("[[disks]]\nnode = 2\nat = \"12s\"\nuntil = \"40s\""));
    // Two troubles that overlap: it is slow until both are over.
    assert_good(
        "stacked",
        &run("[[disks]]\nnode = 2\nat = \"12s\"\nuntil = \"30s\"\nslow = 200\n\
              [[disks]]\nnode = 2\nat = \"20s\"\nuntil = \"40s\"\nslow = 20"),
    );
    assert_good(
        "lost tail",
        &run("[[crashes]]\nnode = 2\nat = \"20s\"\nrestart = \"25s\"\nlost_commits = 3"),
    );
}

/// Goal: newcomers in mid-run are nobody before they come, and have everything soon after.
#[test]
fn newcomers_find_what_was_said() {
    let crowds = "contact = 0\n[[crowds]]\nnodes = 9\nat = \"15s\"\nover = \"2s\"\n[[crowds]]\nnodes = 1\nat = \"25s\"";
    let mut world = thirty(crowds).world();
    let n_up = |world: &World| world.topology().places.iter().filter(|place| place.is_up).count();
    for (at, up) in [(14, 20), (16, 25), (18, 29), (24, 29), (26, 30)] {
        world.run_until(djembe_protocol::time::Timestamp::ZERO + secs(at));
        assert_eq!(n_up(&world), up, "at {at} s");
    }
    let report = run(crowds);
    assert_good("crowds", &report);
    assert_eq!(report.messages, report.planned);
    let base = "nodes = 30\nduration = \"90s\"\n";
    let crowd = |n: usize, at: &str| format!("{base}contact = 29\n[[crowds]]\nnodes = {n}\nat = \"{at}\"");
    assert!(wrong(&crowd(30, "15s")).contains("crowds: 30 newcomers of nodes = 30"));
    assert!(wrong(&crowd(1, "15s")).contains("contact: it is one of the crowds"));
    let late = format!("{base}[[crowds]]\nnodes = 5\nat = \"85s\"");
    assert!(wrong(&late).contains("the last node to come is at 85s"));
}

/// Goal: what cannot happen is refused, and it is said why.
#[test]
fn what_cannot_happen_is_refused() {
    let base = "nodes = 30\nduration = \"90s\"\njoins = \"10s\"\n";
    for (more, told) in [
        (
            "[[crashes]]\nnode = 29\nat = \"3s\"\nrestart = \"5s\"",
            "crashes: node 29 is struck at 3s, and starts at 9.",
        ),
        ("[[pauses]]\nnode = 29\nat = \"3s\"\nuntil = \"5s\"", "pauses: node 29"),
        ("[[stalls]]\nnode = 29\nat = \"3s\"\nuntil = \"5s\"", "stalls: node 29"),
        ("[[crashes]]\nnode = 2\nat = \"95s\"", "the last fault is at 95s"),
        ("attackers = 1\nattack = \"silent\"\nattack_at = \"90s\"", "attack_at = 90s: nothing happens after"),
    ] {
        let error = wrong(&format!("{base}{more}"));
        assert!(error.contains(told), "{error}");
    }
    let (_, storm) = SHIPPED.iter().find(|(name, _)| *name == "storm-join-10k").expect("shipped");
    let with = |sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        Scenario::parse(storm, &sets).map(|_| ()).map_err(|error| error.to_string())
    };
    assert!(with(&["joins=100s"]).expect_err("too late").contains("the last node to come is at 100s"));
    // The sets that its head names.
    assert_eq!(with(&["joins=100s", "messages.start=160s", "messages.stop=165s", "duration=168s"]), Ok(()));
    assert_eq!(with(&["joins=30s", "messages.start=90s", "messages.stop=95s", "duration=98s"]), Ok(()));
}

/// Goal: a contact is spared, and nobody else, wherever it is.
#[test]
fn only_the_contact_is_spared() {
    let more = "contact = 29\n[churn]\nrate = 3.0\ndown = \"2s\"\nat = \"10s\"\nuntil = \"50s\"";
    let mut world = thirty(more).world();
    world.run_for(secs(55));
    let struck = (0..29).filter(|node| world.host(*node).run > 1).count();
    assert!(struck >= 20, "{struck} of 29 went and came back, some 25 are expected");
    assert_eq!(world.host(29).run, 1);
}
