//! Goal: what fuzzing found stays found, on every test run and without a fuzzer. Method: each file of
//! `fuzz/corpus`, whole, cut short anywhere and with any byte changed, goes through the function that the fuzzer
//! calls.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::fs;
use std::path::PathBuf;

use djembe_tests::fuzz_targets::{TARGETS, Target};
use djembe_tests::source::workspace;

#[test]
fn every_corpus_holds_bytes_that_are_accepted_and_bytes_that_are_refused() {
    for (name, target) in TARGETS {
        let verdicts: Vec<bool> = corpus(name).iter().map(|(_, bytes)| target(bytes)).collect();
        assert!(verdicts.contains(&true) && verdicts.contains(&false), "corpus of {name}: {verdicts:?}");
    }
}

#[test]
fn no_decoder_panics_on_bytes_cut_short() {
    each_file(|target, bytes| {
        (0..bytes.len()).map(|len| target(&bytes[..len])).filter(|accepted| *accepted).count()
    });
}

#[test]
fn no_decoder_panics_on_a_changed_byte() {
    each_file(|target, bytes| {
        let mut bytes = bytes.to_vec();
        let mut accepted = 0;
        for at in 0..bytes.len() {
            for change in [0x01, 0x80, 0xff] {
                bytes[at] ^= change;
                accepted += usize::from(target(&bytes));
                bytes[at] ^= change;
            }
        }
        accepted
    });
}

#[test]
fn every_corpus_has_a_target() {
    let directories = fs::read_dir(workspace().join("fuzz/corpus")).unwrap();
    for directory in directories.map(|entry| entry.unwrap().file_name()) {
        assert!(
            TARGETS.iter().any(|(name, _)| directory == *name),
            "no target for fuzz/corpus/{directory:?}"
        );
    }
    for (name, _) in TARGETS {
        let root = workspace().join(format!("fuzz/fuzz_targets/{name}.rs"));
        assert!(root.exists(), "no fuzzer calls {name}");
    }
}

/// Runs `play` on each file; what it returns only keeps the work from being optimised away.
fn each_file(play: impl Fn(Target, &[u8]) -> usize) {
    for (name, target) in TARGETS {
        for (path, bytes) in corpus(name) {
            let accepted = play(target, &bytes);
            println!("{}: {accepted} variants accepted", path.display());
        }
    }
}

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = workspace().join("fuzz/corpus").join(name);
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}
