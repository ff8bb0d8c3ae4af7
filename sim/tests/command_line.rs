//! The command line: what stops a run and what is left then, several seeds, and results that are compared.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Three nodes for six seconds.
const SMALL: [&str; 10] = [
    "--set",
    "nodes=3",
    "--set",
    "duration=6s",
    "--set",
    "settle=1s",
    "--set",
    "messages.start=1s",
    "--set",
    "messages.stop=3s",
];

/// They say enough for some of it to be delivered twice.
const TWICE: [&str; 4] = ["--set", "messages.rate=10", "--set", "bug=double-delivery"];

/// A directory of a test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("djembe-sim-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("there is room");
        Self(path)
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_djembe-sim"));
        command.current_dir(&self.0).args(args).output().expect("it can be run")
    }

    /// What was printed, of a run that ends like this.
    fn json(&self, args: &[&str], code: i32) -> Value {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn write(&self, name: &str, output: &Output) -> String {
        std::fs::write(self.0.join(name), &output.stdout).expect("there is room");
        name.to_owned()
    }

    fn lines(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.0.join(name)).expect("it is there");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn small<'a>(first: &[&'a str], last: &[&'a str]) -> Vec<&'a str> {
    [first, &SMALL, last].concat()
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Goal: a violation stops a run, says where and when, leaves a trace up to there, and prints the command that does it
/// again. Method: of a host that delivers twice, with and without a place for the trace, and to the end.
#[test]
fn a_violation_stops_a_run_and_leaves_a_trace() {
    let place = Place::new("stop");
    let twice = small(&["run", "lan-30", "--seed", "7"], &TWICE);
    let output = place.run(&twice);
    let told = said(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("failed: twice at node ") && told.contains(" was delivered before"), "{told}");
    assert!(told.contains("trace: lan-30-7.trace.jsonl"), "{told}");
    assert!(said(&output.stdout).contains("then it was stopped"), "{output:?}");
    let lines = place.lines("lan-30-7.trace.jsonl");
    let last = lines.last().expect("there are some");
    assert_eq!(last["finding"]["check"], "twice");
    let at = format!("{:.6} s", last["at"].as_u64().expect("a time") as f64 / 1e6);
    assert!(told.contains(&at), "{at}: {told}");
    // The command that is printed does the same.
    let replay = told.lines().find_map(|line| line.strip_prefix("replay: djembe-sim ")).expect("a command");
    let again = place.run(&replay.split(' ').collect::<Vec<_>>());
    // All of it is the same but for what this machine made of it.
    let is_virtual = |line: &String| !line.starts_with("most memory");
    let table =
        |output: &Output| said(&output.stdout).lines().map(str::to_owned).filter(is_virtual).collect();
    let [first, again]: [Vec<String>; 2] = [table(&output), table(&again)];
    assert_eq!(first, again, "{replay}");
    // As it goes, and not in a second run.
    let named = place.run(&[&twice[..], &["--trace", "here.jsonl"]].concat());
    assert_eq!(named.status.code(), Some(1));
    assert_eq!(place.lines("here.jsonl"), lines);
    let all = place.json(&[&twice[..], &["--keep-going", "--json"]].concat(), 1);
    assert!(all["violations"].as_array().is_some_and(|all| all.len() > 1), "{all}");
    assert_eq!((&all["is_stopped"], &all["seconds"]), (&false.into(), &6.0.into()));
}

/// Goal: where no trace can be written that is said, and the exit code is that of the violation.
#[test]
fn a_trace_that_has_no_place_is_said() {
    let place = Place::new("full");
    std::fs::create_dir(place.0.join("lan-30-7.trace.jsonl")).expect("there is room");
    let output = place.run(&small(&["run", "lan-30", "--seed", "7"], &TWICE));
    let told = said(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("no trace: lan-30-7.trace.jsonl: ") && told.contains("failed: twice"), "{told}");
    let output = place.run(&small(&["run", "lan-30"], &["--trace", "not/there"]));
    assert_eq!(output.status.code(), Some(2), "a mistake, before anything is run: {}", said(&output.stderr));
}

/// Goal: several seeds are each run as by itself, on any number of threads, and mean and worst are theirs.
#[test]
fn several_seeds_have_a_mean_and_a_worst() {
    let place = Place::new("seeds");
    let one = place.json(&small(&["run", "lan-30", "--seed", "2", "--json"], &[]), 0);
    let all = place.json(&small(&["run", "lan-30", "--seeds", "1..4", "--jobs", "2", "--json"], &[]), 0);
    let runs = all["seeds"].as_array().expect("runs");
    assert_eq!(runs.iter().map(|run| run["seed"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(2), Some(3)]);
    assert_eq!((&runs[1]["trace_hash"], &runs[1]["series"]), (&one["trace_hash"], &one["series"]));
    let p99: Vec<f64> = runs.iter().filter_map(|run| run["full_delivery_ms"]["p99"].as_f64()).collect();
    let most = p99.iter().copied().fold(0.0, f64::max);
    assert_eq!(all["worst"]["full_delivery_ms"]["p99"], most);
    let mean = all["mean"]["full_delivery_ms"]["p99"].as_f64().expect("a figure");
    assert!((mean - p99.iter().sum::<f64>() / 3.0).abs() < 1e-9);
    assert_eq!(all["worst"]["delivery_ratio"], 1.0);
    let table = said(&place.run(&small(&["run", "lan-30", "--seeds", "1..3"], &[])).stdout);
    assert!(table.starts_with("seed 1: 1.0000 delivered"), "{table}");
    for figure in
        ["copies_per_delivery ", "optimum_ms.p99 ", "last_hop_max ", "events_per_s ", "bytes_per_node "]
    {
        assert!(table.contains(&format!("\n{figure}")), "{figure}: {table}");
    }
}

/// Goal: a run says the same of itself whichever command it is of.
#[test]
fn every_command_has_the_same_fields() {
    let place = Place::new("fields");
    let names = |run: &Value| -> Vec<String> {
        // What only some runs have has no other name.
        let fields = run.as_object().into_iter().flatten().map(|(name, _)| name.clone());
        fields.filter(|name| !["attack", "stalls"].contains(&name.as_str())).collect()
    };
    let run = names(&place.json(&small(&["run", "lan-30", "--json"], &[]), 0));
    // What whoever reads reports by a program may count on.
    for name in "scenario seed nodes threads trace_hash delivery_ratio copies_per_delivery bytes_per_payload_byte \
                 full_delivery_ms optimum_ms last_hop_max events events_per_s bytes_per_node peak_rss_bytes violations"
        .split_whitespace()
    {
        assert!(run.iter().any(|field| field == name), "{name}: {run:?}");
    }
    let census = place.json(&small(&["run", "lan-30", "--json", "--census"], &[]), 0);
    assert!(census["memory"].as_object().is_some_and(|parts| parts.len() > 5), "{census}");
    let beside = place.json(&small(&["run", "lan-30", "--json", "--beside", "flood"], &[]), 0);
    assert_eq!((names(&beside["djembe"]), names(&beside["flood"])), (run.clone(), run.clone()));
    let replay = place.json(&["replay", "0", "--nodes", "4", "--json"], 0);
    assert_eq!(names(&replay), run);
    let seeds = place.json(&small(&["run", "lan-30", "--seeds", "0..1", "--json"], &[]), 0);
    assert_eq!(names(&seeds["seeds"][0]), run);
}

/// Goal: results of any kind can be compared: of one run, of several seeds, of the lines of a sweep, whose figures have the
/// same names; and the same seeds are the same runs on one thread and on two.
#[test]
fn results_of_any_kind_are_compared() {
    let place = Place::new("compare");
    let seeds = ["--seeds", "0..3"];
    let many = small(&["run", "lan-30", "--json"], &seeds);
    let many = place.write("many", &place.run(&many));
    let one = place.write("one", &place.run(&small(&["run", "lan-30", "--seed", "1", "--json"], &[])));
    let other = place.write("other", &place.run(&small(&["run", "lan-30", "--seed", "9", "--json"], &[])));
    for (shard, threads) in [("0/2", "1"), ("1/2", "2")] {
        let sweep = small(&["sweep", "--scenario", "lan-30"], &seeds);
        let output = place
            .run(&[&sweep[..], &["--shard", shard, "--threads", threads, "-o", &threads.repeat(3)]].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    let merged = place.json(&["merge", "111", "222", "-o", "swept", "--json", "--seeds", "0..3"], 0);
    assert_eq!((&merged["runs"], &merged["complaints"]), (&3.into(), &Value::Array(Vec::new())));
    for figure in ["copies_per_delivery", "full_delivery_ms.p99", "message_bytes_ratio", "events_per_s"] {
        assert!(merged["figures"][figure]["mean"].is_number(), "{figure}: {merged}");
    }
    let same = place.json(&["compare", "--same", "--json", "swept", &many], 0);
    let copies = &same["figures"]["copies_per_delivery"];
    assert_eq!((&same["common"], &copies["percent"]), (&3.into(), &0.0.into()), "{same}");
    let part = place.json(&["compare", "--json", &one, &many], 0);
    assert_eq!((&part["common"], &part["only_b"]), (&1.into(), &vec![0, 2].into()));
    let apart = place.json(&["compare", "--same", "--json", &one, &other], 1);
    assert!(apart["figures"]["events"]["percent"].as_f64().is_some_and(|percent| percent != 0.0), "{apart}");
    std::fs::write(place.0.join("nothing"), "{\"a\": 1}").expect("there is room");
    assert_eq!(place.run(&["compare", &one, "nothing"]).status.code(), Some(2));
    assert!(Path::new(&place.0).join("swept").exists());
}

/// Goal: what is drawn can be asked to be of one size and time, and the command that is printed draws the same.
#[test]
fn a_size_and_a_time_can_be_asked_for() {
    let place = Place::new("drawn");
    let how = ["--nodes", "5", "--at-least", "4", "--virtual", "71s", "--bug", "double-delivery"];
    let output = place.run(&[&["explore", "--seeds", "0..4", "--jobs", "1"][..], &how].concat());
    let told = said(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    let replay = told.lines().find_map(|line| line.trim().strip_prefix("djembe-sim ")).expect("a command");
    let mut words: Vec<&str> = replay.split(' ').collect();
    words.extend(["--json", "--keep-going"]);
    let run = place.json(&words, 1);
    assert_eq!(run["seconds"], 71.0);
    assert!(matches!(run["nodes"].as_u64(), Some(4..=5)), "{run}");
    let wrong =
        [["--at-least", "101"], ["--virtual", "69s"], ["--virtual", "soon"], ["--seeds", "0..100000001"]];
    for wrong in wrong {
        assert_eq!(place.run(&[&["explore"][..], &wrong].concat()).status.code(), Some(2), "{wrong:?}");
    }
}

impl Place {
    /// What is said of a command that ends like this.
    fn told(&self, args: &[&str], code: i32) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        said(&output.stderr)
    }
}

/// Goal: a file that is no sweep's is neither changed nor taken for a good result, and is named.
#[test]
fn a_file_of_somebody_else_is_named_and_left_alone() {
    let place = Place::new("foreign");
    let one = small(&["run", "lan-30", "--json", "--seed", "1"], &[]);
    let one = place.write("one", &place.run(&one));
    for (name, bytes) in
        [("empty", &b""[..]), ("notes", b"my notes\n"), ("binary", &[0x7f, b'E', 0, 1, b'\n'])]
    {
        std::fs::write(place.0.join(name), bytes).expect("there is room");
        for args in [&["merge", name][..], &["compare", &one, name], &["compare", name, &one]] {
            assert!(place.told(args, 2).contains(&format!("djembe-sim: {name}: ")), "{args:?}");
        }
        if name != "empty" {
            let told = place.told(&["sweep", "--seeds", "0..1", "--nodes", "3", "-o", name], 2);
            assert!(told.contains(&format!("{name}: line 1 is none")), "{told}");
            assert_eq!(std::fs::read(place.0.join(name)).expect("it is there"), bytes);
        }
    }
    let seeds = |name: &'static str, seeds: &str| {
        let seeds = ["--seeds", seeds];
        place.write(name, &place.run(&small(&["run", "lan-30", "--json"], &seeds)))
    };
    let told = place.told(&["compare", &seeds("a", "0..2"), &seeds("b", "2..4")], 2);
    assert!(told.contains("no seed in common"), "{told}");
}

/// Goal: what could not be written is said, and is no success; a reader that has gone away is.
#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_written_is_said() {
    let place = Place::new("lost");
    let run = small(&["run", "lan-30"], &[]);
    for args in [&run[..], &["list"], &["replay", "0", "--nodes", "3", "--json"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
        let mut command = Command::new(env!("CARGO_BIN_EXE_djembe-sim"));
        let output = command.current_dir(&place.0).args(args).stdout(full).output().expect("it can be run");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert_eq!(said(&output.stderr).matches("stdout: ").count(), 1, "{output:?}");
        let (reader, writer) = std::io::pipe().expect("there is room");
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_djembe-sim"));
        let output = command.current_dir(&place.0).args(args).stdout(writer).output().expect("it can be run");
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(!said(&output.stderr).contains("stdout"), "{output:?}");
    }
    let traced = ["replay", "0", "--nodes", "3", "--trace", "/dev/full"];
    assert!(place.told(&traced, 2).contains("no trace: /dev/full: "));
}

/// Goal: what took many runs to find is not lost for want of a place, and a check that does not exist is no good result.
#[test]
fn what_was_made_small_is_not_lost() {
    let place = Place::new("shrink");
    let shrink = ["shrink", "3", "--nodes", "4", "--bug", "double-delivery", "--runs", "4"];
    let shrink = |last: &[&'static str]| [&shrink[..], last].concat();
    assert!(!place.told(&shrink(&["-o", "not/there"]), 2).contains("run 0"), "before anything is run");
    let told = place.told(&shrink(&["--check", "twise"]), 2);
    assert!(told.contains("twice") && told.contains("convergence"), "{told}");
    let alone = place.run(&shrink(&[]));
    std::fs::write(place.0.join("small.toml"), "old ".repeat(1000)).expect("there is room");
    assert!(said(&place.run(&shrink(&["-o", "small.toml"])).stdout).contains("djembe-sim run small.toml"));
    let small = std::fs::read_to_string(place.0.join("small.toml")).expect("it is there");
    assert_eq!(small, said(&alone.stdout));
    if cfg!(target_os = "linux") {
        let full = place.run(&shrink(&["-o", "/dev/full"]));
        assert_eq!((full.status.code(), full.stdout), (Some(1), alone.stdout), "it is printed instead");
        assert!(said(&full.stderr).contains("djembe-sim: /dev/full: "));
    }
    // Nothing fails in what is built in, which goes by its name as for `run`; the file is not left behind.
    let good = ["shrink", "slow-reader", "--check", "panic", "-o", "nothing.toml"];
    assert!(place.told(&good, 0).contains("nothing fails"));
    assert!(!place.0.join("nothing.toml").exists());
}

/// Goal: a search that has looked at nothing, and a run in which nothing is said, are not taken for more than that.
#[test]
fn nothing_is_called_nothing() {
    let place = Place::new("nothing");
    for args in [&["explore"][..], &["sweep", "-o", "swept"]] {
        let told = place.told(&[args, &["--seeds", "0..2", "--minutes", "0"]].concat(), 2);
        assert!(told.contains("nothing was run"), "{told}");
    }
    let silent = ["--set", "messages.rate=0"];
    let table = said(&place.run(&small(&["run", "lan-30"], &silent)).stdout);
    assert!(table.contains("nothing was to be said") && !table.contains("latency p50"), "{table}");
    let run = place.json(&small(&["run", "lan-30", "--json"], &silent), 0);
    for figure in
        ["optimum_ms", "optimum_ratio_p99", "optimum_ratio_full", "deaths_known_ms", "latency_p99_ms"]
    {
        assert!(run[figure].is_null(), "{figure}: {run}");
    }
    let run = place.json(&small(&["run", "lan-30", "--json"], &[]), 0);
    assert!(run["optimum_ms"]["p50"].is_number() && run["deaths_known_to_all_ms"].is_null(), "{run}");
    let one = "crashes=[{node=2, at=\"2s\"}]";
    let down = small(&["run", "lan-30"], &["--set", "messages.rate=10", "--set", one]);
    let table = said(&place.run(&down).stdout);
    let row = table.lines().find(|line| line.starts_with("messages ")).expect("a row");
    assert!(row.ends_with("not said: their author was down"), "{row}");
    let numbers = row.split([' ', ',']).filter_map(|word| word.parse::<u64>().ok()).collect::<Vec<_>>();
    let [sent, planned, not_sent, not_said] = numbers[..] else { panic!("{row}") };
    assert!(planned == 60 && not_said > 5 && sent + not_sent + not_said == planned, "{row}");
}

/// Goal: of many violations the table says how many there are, and the JSON as well.
#[test]
fn violations_are_counted_beyond_what_is_told() {
    let place = Place::new("many");
    let many = ["--set", "messages.rate=100", "--set", "bug=double-delivery", "--keep-going"];
    let run = place.json(&small(&["run", "lan-30", "--json"], &many), 1);
    let n = run["n_violations"].as_u64().expect("a figure");
    let kept = run["violations"].as_array().map_or(0, Vec::len) as u64;
    assert!(n > kept && kept > 10, "{n}, {kept}");
    let output = place.run(&small(&["run", "lan-30"], &many));
    let table = said(&output.stdout);
    assert!(table.contains(&format!("and {} more, {n} in all", n - 10)), "{table}");
    assert!(said(&output.stderr).contains(&format!("({n} in all)")), "{output:?}");
}

/// Goal: what is built in is told of in a line each, and for machines.
#[test]
fn what_is_built_in_is_listed() {
    let place = Place::new("list");
    let list = said(&place.run(&["list"]).stdout);
    let line = list.lines().find(|line| line.starts_with("lan-30 ")).expect("it is there");
    for part in ["30 nodes", "40 s", "Thirty nodes on a quiet LAN"] {
        assert!(line.contains(part), "{line}");
    }
    let all = place.json(&["list", "--json"], 0);
    assert_eq!(all["scenarios"].as_array().map(Vec::len), Some(list.lines().count()));
    assert_eq!((&all["scenarios"][0]["name"], &all["scenarios"][0]["nodes"]), (&"lan-30".into(), &30.into()));
}
