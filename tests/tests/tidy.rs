//! House rules that can be checked by reading the tree: `cargo test` alone says whether it is fit.
//!
//! Each test is a rule; its failure names the places and the reason. A rule that turns out to be wrong is changed
//! here, with the reason in the commit.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use djembe_tests::source::{self, File};

/// The order of the protocol's modules: each may use those before it, and those of one level leave each other
/// alone. The longest name that a module's path begins with counts.
const LAYERS: &[&[&str]] = &[
    &["time"],
    &["heap"],
    &["timed", "flat"],
    &["bucket"],
    &["id"],
    &["limits"],
    &["measure"],
    &["bounds"],
    &["error"],
    &["hash"],
    &["persist"],
    &["message"],
    &["wire"],
    &["crypto"],
    // What turns unverified bytes into a checked frame or beacon: the places where the wire needs signatures.
    &["wire::frame", "wire::beacon"],
    &["config"],
    &["io"],
    &[
        "conduct",
        "link",
        "overlay",
        "presence",
        "group::census",
        "group::forest",
        "group::log",
        "group::publish",
        "group::repair",
        "group::tree",
    ],
    &["group"],
    &["engine"],
];

/// Files that may be longer than [`LINES_MAX`], with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

const LINES_MAX: usize = 600;

/// The two hosts of the engine.
const HOSTS: [&str; 2] = ["node/src/driver/output.rs", "sim/src/host.rs"];

/// What reads clocks, entropy, files or sockets, or brings a runtime that does.
const IMPURE: [&str; 10] = [
    "async-io",
    "getrandom",
    "libp2p",
    "libsqlite3-sys",
    "mio",
    "quinn",
    "rand",
    "rusqlite",
    "socket2",
    "tokio",
];

#[test]
fn the_protocol_depends_on_nothing_that_reads_clocks_entropy_or_sockets() {
    let tree = dependencies("djembe-protocol");
    let impure: Vec<_> =
        tree.iter().filter(|name| IMPURE.contains(&name.as_str()) || name.starts_with("libp2p-")).collect();
    none(&impure, "protocol is a pure function of its inputs, so that the simulator runs what the node runs");
}

#[test]
fn the_two_hosts_do_not_know_each_other() {
    let node = dependencies("djembe-bin");
    let sim = dependencies("djembe-sim");
    assert!(!node.contains("djembe-sim"), "the node must build without the simulator");
    assert!(
        !sim.contains("djembe"),
        "the simulator must not see the node: it would simulate one host's habits"
    );
    let timed: Vec<_> =
        sim.iter().filter(|name| ["tokio", "mio", "libp2p", "async-io"].contains(&name.as_str())).collect();
    none(&timed, "the simulator's time is virtual: a runtime with a clock of its own breaks replay");
}

/// T27 of the cryptography's test obligations.
#[test]
fn one_copy_of_the_signature_code_is_compiled_into_the_node() {
    let lines = cargo_tree("djembe", "normal,build");
    for name in ["ed25519-dalek", "curve25519-dalek"] {
        let versions: BTreeSet<_> =
            lines.iter().filter(|line| line.split(' ').next() == Some(name)).map(String::as_str).collect();
        assert_eq!(
            versions.len(),
            1,
            "two copies of {name} are two rules for what a good signature is: {versions:?}"
        );
    }
}

#[test]
fn protocol_modules_use_only_what_lies_below_them() {
    let mut wrong = Vec::new();
    for file in rust_files().filter(|file| file.path.starts_with("protocol/src/") && !is_test(file)) {
        let module = source::module(file.path.trim_start_matches("protocol/src/"));
        if module.is_empty() {
            continue; // the crate root names everything
        }
        let Some((level, own)) = layer(&module) else {
            wrong.push(format!("{}: not in LAYERS of {}; give it a place there", file.path, file!()));
            continue;
        };
        let code = source::without_tests(&source::code(&file.text));
        for (line, path) in source::crate_paths(&code, &module) {
            match layer(&path) {
                Some((_, used)) if used == own => {}
                Some((below, _)) if below < level => {}
                Some((_, used)) => wrong.push(format!("{}:{line}: {own} uses {used}", file.path)),
                None => wrong.push(format!(
                    "{}:{line}: crate::{} is in no module of LAYERS; name it by its module, or give that a place",
                    file.path,
                    path.join("::")
                )),
            }
        }
    }
    none(&wrong, "arrows point down: siblings hand a Fact to their owner, who passes it on");
}

#[test]
fn hosts_match_outputs_without_a_wildcard() {
    let mut wrong = Vec::new();
    for file in rust_files().filter(|file| HOSTS.contains(&file.path.as_str())) {
        let code = source::without_tests(&source::code(&file.text));
        let matches: Vec<usize> = code.match_indices("match output").map(|(at, _)| at).collect();
        if matches.is_empty() {
            wrong.push(format!(
                "{}: has no `match output`: name what the engine puts out `output`",
                file.path
            ));
        }
        for at in matches {
            let block = source::block(&code[at..]);
            let start = at + code[at..].find('{').unwrap();
            for arm in catch_all_arms(block) {
                wrong.push(format!("{}:{}: catches all", file.path, source::line(&code, start + arm)));
            }
        }
    }
    none(
        &wrong,
        "a new Output must not be forgotten in one of the hosts: the compiler asks only if no arm takes all",
    );
}

/// Where, in the block of a match, an arm of that match itself is `_` or a mere name.
fn catch_all_arms(block: &str) -> Vec<usize> {
    let mut depth = 0;
    let mut found = Vec::new();
    let mut arm = 0;
    for (at, c) in block.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth -= 1,
            _ => {}
        }
        // An arm begins after the opening brace, after a comma, or after the block of the arm before.
        if depth == 1 && matches!(c, '{' | ',' | '}') {
            arm = at + 1;
        }
        if depth == 1 && block[at..].starts_with("=>") {
            let pattern = block[arm..at].split(" if ").next().unwrap_or_default().trim();
            if !pattern.is_empty() && pattern.chars().all(|c| c.is_lowercase() || c.is_numeric() || c == '_')
            {
                found.push(at);
            }
        }
    }
    found
}

#[test]
fn catch_all_arms_are_told_from_others() {
    assert_eq!(
        catch_all_arms("{ A { x } => match x { _ => 1 }, B(_) => { 2 } C | D => 3, E => f(|_| 4) }").len(),
        0
    );
    assert_eq!(catch_all_arms("{ A => 1, _ => 2 }").len(), 1);
    assert_eq!(catch_all_arms("{ A { .. } => { 1 } other if other.x() => 2 }").len(), 1);
}

#[test]
fn files_can_be_read_at_one_sitting() {
    let long: Vec<_> = rust_files()
        .filter(|file| !LONG_FILES.iter().any(|(path, _)| *path == file.path))
        .map(|file| (file.text.lines().count(), file.path))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect();
    none(
        &long,
        "split by responsibility (tests go to a file of their own), or give the reason in LONG_FILES",
    );
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    // In two pieces each, so that this file does not name them.
    let places = [
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
        concat!("/Us", "ers/"),
        concat!("index.", "crates.io"),
        concat!("static.", "crates.io"),
        concat!("registry.", "npmjs.org"),
        concat!("pypi", ".org"),
        concat!("deb.", "debian.org"),
    ];
    let found: Vec<_> = source::files()
        .iter()
        .flat_map(|file| places.iter().map(move |place| (file, place)))
        .filter_map(|(file, place)| {
            let at = file.text.find(place)?;
            Some(format!("{}:{}: {place}", file.path, source::line(&file.text, at)))
        })
        .collect();
    none(&found, "a path or host of one machine is wrong on every other");
}

#[test]
fn nothing_is_left_to_do_in_secret() {
    let mut found = Vec::new();
    for file in rust_files() {
        let code = source::code(&file.text);
        for word in ["todo!(", "unimplemented!(", "#[ignore]"] {
            found.extend(
                code.match_indices(word)
                    .map(|(at, _)| format!("{}:{}: {word}", file.path, source::line(&code, at))),
            );
        }
    }
    none(
        &found,
        "what is missing is an error a caller sees; a test that does not run says why: #[ignore = \"...\"]",
    );
}

#[test]
fn every_crate_says_what_it_is() {
    let silent: Vec<_> = rust_files()
        .filter(|file| is_crate_root(&file.path) && !file.text.trim_start().starts_with("//!"))
        .map(|file| file.path)
        .collect();
    none(&silent, "a crate root begins with `//!`: what it is for, and what is deliberately not there");
}

#[test]
fn every_package_obeys_the_lints_of_the_workspace() {
    let lax: Vec<_> = source::files()
        .into_iter()
        .filter(|file| file.path.ends_with("/Cargo.toml") && !file.path.starts_with("fuzz/"))
        .filter(|file| !file.text.contains("[lints]\nworkspace = true"))
        .map(|file| file.path)
        .collect();
    none(&lax, "a package without `[lints] workspace = true` may be unsafe or undocumented unseen");
}

#[test]
fn bincode_is_in_one_file() {
    let users: Vec<_> = rust_files()
        .filter(|file| {
            file.path.starts_with("protocol/src/") && source::code(&file.text).contains("bincode::")
        })
        .map(|file| file.path)
        .collect();
    assert!(
        users.len() <= 1,
        "bincode is unmaintained; to leave it must be a change of one file, not of {users:?}"
    );
    let elsewhere: Vec<_> = rust_files()
        .filter(|file| ["node/", "sim/", "examples/"].iter().any(|package| file.path.starts_with(package)))
        .filter(|file| source::code(&file.text).contains("bincode::"))
        .map(|file| file.path)
        .collect();
    none(&elsewhere, "only the protocol encodes frames");
}

#[test]
fn tests_that_documents_name_exist() {
    // Fields of reports may be as long.
    let names: BTreeSet<String> = rust_files()
        .flat_map(|file| {
            let words = |line: &str| {
                let line = line.trim().trim_start_matches("async ");
                let function = line.strip_prefix("fn ").and_then(|rest| rest.split('(').next());
                let field = || line.strip_prefix("pub ").and_then(|rest| rest.split(':').next());
                function.or_else(field).map(str::to_owned)
            };
            file.text.lines().filter_map(words).collect::<Vec<_>>()
        })
        .collect();
    let mut missing = Vec::new();
    for file in source::files().iter().filter(|file| file.path.starts_with("docs/")) {
        // What stands between backticks and has the look of a test's name.
        for name in file.text.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() >= 3) {
            if name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
                && !names.contains(name)
            {
                missing.push(format!("{}: {name}", file.path));
            }
        }
    }
    none(&missing, "a promise whose test is gone is not kept by anyone: name the test that shows it now");
}

fn rust_files() -> impl Iterator<Item = File> {
    source::files().into_iter().filter(|file| file.path.ends_with(".rs"))
}

fn is_test(file: &File) -> bool {
    file.path.ends_with("/tests.rs") || file.path.contains("/tests/")
}

fn is_crate_root(path: &str) -> bool {
    let parts: Vec<_> = path.strip_prefix("node/bin/").map_or(path, |rest| rest).split('/').collect();
    matches!(
        parts[..],
        [_, "src", "lib.rs" | "main.rs"] | [_, "src", "bin", _] | [_, "tests" | "examples" | "benches", _]
    ) || matches!(parts[..], ["examples", _])
}

/// The level of a module in [`LAYERS`] and the name it has there.
fn layer(module: &[String]) -> Option<(usize, &'static str)> {
    let begins =
        |name: &str| name.split("::").enumerate().all(|(i, part)| module.get(i).is_some_and(|m| m == part));
    LAYERS
        .iter()
        .enumerate()
        .flat_map(|(level, names)| names.iter().map(move |name| (level, *name)))
        .filter(|(_, name)| begins(name))
        .max_by_key(|(_, name)| name.len())
}

/// The names of everything that is linked into a package, itself not included.
fn dependencies(package: &str) -> BTreeSet<String> {
    let lines = cargo_tree(package, "normal");
    lines.iter().skip(1).filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// `NAME VERSION` of a package and of what it needs by these kinds of edges, on this platform.
fn cargo_tree(package: &str, edges: &str) -> Vec<String> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["tree", "--locked", "--offline", "--package", package, "--edges", edges, "--no-dedupe"])
        .args(["--prefix", "none", "--format", "{p}"])
        .current_dir(source::workspace())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| line.replace(" (proc-macro)", "")).collect()
}

#[track_caller]
fn none<T: std::fmt::Debug>(found: &[T], reason: &str) {
    assert!(found.is_empty(), "{reason}:\n{found:#?}");
}
