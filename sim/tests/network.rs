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

/// Goal: each way has weather of its own, and what is not said of it is what goes for all. Method: the path between two
/// sites loses three packets in ten, and the sites none.
#[test]
fn each_way_has_its_own_weather() {
    let sites = |loss: &str| {
        format!(
            "[[sites]]\nname = \"a\"\nlatency = \"1ms\"\nloss = 0\n\
             [[sites]]\nname = \"b\"\nlatency = \"1ms\"\nloss = 0\njitter = \"2ms\"\n\
             [[paths]]\nsites = [\"a\", \"b\"]\nlatency = \"20ms\"\n{loss}"
        )
    };
    let again = |more: &str| {
        let mut world = thirty(more).world();
        world.run_for(secs(20));
        world.n_packets_again() as f64 / world.n_packets() as f64
    };
    // Two of three links are within a site, and what is sent over the others is less than a half.
    let share = again(&sites("loss = 0.3"));
    assert!((0.02..0.2).contains(&share), "{share}");
    assert_eq!(again(&sites("")), 0.0);
    let share = again(&format!("loss = 0.3\n{}", sites("loss = 0")));
    assert_eq!(share, 0.0, "the path and both sites have none");
    assert_good(
        "all of it",
        &run(&sites(
            "loss = 0.05\nreorder = 0.1\nduplicate = 0.1\njitter_share = 0.5\n\
        burst = { good = \"4s\", bad = \"300ms\", loss = 0.5 }",
        )),
    );
    let base = "nodes = 30\nduration = \"90s\"\n";
    assert!(wrong(&format!("{base}{}", sites("loss = 2"))).contains("from \"a\" to \"b\": loss = 2"));
    assert!(wrong(&format!("{base}{}", sites("jitter_share = 11"))).contains("jitter_share = 11"));
}

/// Goal: a packet is charged each time that it is sent, and what comes twice is charged twice, as the kind of frame it is
/// of. Method: of packets of which three in ten are lost, three in ten were sent again; the sum over kinds is all.
#[test]
fn what_is_sent_again_is_charged_again() {
    let run = |more: &str| {
        let mut world: World = thirty(more).world();
        world.run_for(secs(30));
        let kinds: Vec<u8> = world.frames().into_keys().collect();
        assert_eq!(world.wire_bytes_of(&kinds), world.wire_bytes(), "{more}");
        world
    };
    let share = |world: &World| world.n_packets_again() as f64 / world.n_packets() as f64;
    let (clean, lossy, twice) = (run(""), run("loss = 0.3"), run("duplicate = 0.3"));
    assert_eq!(share(&clean), 0.0);
    assert!((0.29..0.31).contains(&share(&lossy)), "{}", share(&lossy));
    let bytes = |world: &World| {
        let frames: u64 = world.frames().values().map(|(n, _)| n).sum();
        world.wire_bytes() as f64 / frames as f64
    };
    let rise = bytes(&twice) / bytes(&clean);
    assert!((1.25..1.35).contains(&rise), "{rise} times the bytes of a frame");
}

/// Goal: a line takes as long for a frame where it ends as where it begins. Method: what two nodes say takes as long if
/// their lines are narrow up as if they are narrow down.
#[test]
fn a_line_is_as_narrow_down_as_up() {
    let took = |line: &str| {
        let text = format!(
            "nodes = 2\nduration = \"60s\"\n[messages]\nrate = 0.5\nsize = 1000\nstop = \"40s\"\n\
             [[sites]]\nname = \"a\"\nlatency = \"2ms\"\n{line}\n"
        );
        let report = report::run(&Scenario::parse(&text, &[]).expect("a scenario"), |_| {});
        assert_good(line, &report);
        report.latency_p50_ms
    };
    let (up, down) = (took("up = 1000000"), took("down = 1000000"));
    assert!(up > took("") + 8.0, "1.2 KB take 10 ms: {up}");
    assert!((up - down).abs() < 0.05, "{up} ms up, {down} ms down");
}

/// Goal: what happens to packets happens to beacons. Method: two nodes on a segment, and when they are linked.
#[test]
fn beacons_know_bursts_copies_and_narrow_lines() {
    let pair = |more: &str, seed: u64| {
        let text = format!(
            "nodes = 2\nduration = \"60s\"\nbeacon = \"2s\"\nseed = {seed}\n[messages]\nrate = 0\nstart = \"0s\"\n\
             stop = \"1s\"\n[[sites]]\nname = \"a\"\nlatency = \"200us\"\nsegment = true\n{more}\n"
        );
        Scenario::parse(&text, &[]).unwrap_or_else(|error| panic!("{more}: {error}")).world()
    };
    let linked_by = |more: &str, ms: u64| {
        let is_linked = |seed: &u64| {
            let mut world = pair(more, *seed);
            world.run_for(millis(ms));
            world.n_linked(0) > 0 && world.n_linked(1) > 0
        };
        (0..40).filter(is_linked).count()
    };
    assert_eq!(linked_by("", 900), 40);
    // Each of ten beacons gets through with a tenth, but all at one end have one weather.
    let bad = "burst = { good = \"1ms\", bad = \"10min\", loss = 0.9 }";
    let n = linked_by(bad, 900);
    assert!((18..36).contains(&n), "{n} of 40; about 26 are expected");
    // 536 bytes on a line of 10,000 bits a second: 429 ms.
    assert_eq!((linked_by("up = 10000", 425), linked_by("down = 10000", 425)), (0, 0));
    let beacons = |more: &str| {
        let mut world = pair(more, 1);
        world.run_for(secs(60));
        world.frames()[&210].0 as f64
    };
    let rise = beacons("duplicate = 0.5") / beacons("");
    assert!((1.2..1.8).contains(&rise), "{rise}");
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
    assert!(wrong(&late).contains("the last node comes at 85s"));
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
        ("[[crashes]]\nnode = 2\nat = \"95s\"", "the last fault is over at 95s"),
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
    assert!(with(&["joins=100s"]).expect_err("too late").contains("the last node comes at 100s"));
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
