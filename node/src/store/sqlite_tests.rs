//! What only a store in a file can get wrong: crashes, strangers' files, refusals of the disk.

use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use super::*;
use crate::datadir::tests::TempDir;
use crate::store::tests::{
    GROUP, OTHER, OWN, append as ops, frontier, log as log_of, record, reserve as reserve_op, seqs,
};

const NAME: &str = "node.sqlite";

fn open(temp: &TempDir) -> Sqlite {
    Sqlite::open(&temp.join(NAME), OWN).expect("ours")
}

fn durable() -> LogId {
    log_of(OTHER, Lane::Durable)
}

/// What a crash leaves: the files as they are at this moment, without a goodbye.
fn crash(temp: &TempDir) -> TempDir {
    let copy = TempDir::new();
    for name in [NAME, "node.sqlite-wal"] {
        std::fs::copy(temp.join(name), copy.join(name)).expect("both are there");
    }
    copy
}

fn alter(temp: &TempDir, sql: &str) {
    let db = Connection::open(temp.join(NAME)).expect("can be opened");
    db.execute_batch(sql).expect("can be altered");
}

#[test]
fn everything_is_there_after_closing_and_after_dropping() {
    let temp = TempDir::new();
    let mut store = open(&temp);
    store.apply(&[&ops(durable(), 0..3), &[reserve_op(Lane::Durable, 1024)]]).expect("applied");
    store.apply(&[&[StoreOp::Frontier(frontier(durable(), 2, 0))]]).expect("applied");
    let before = record(&mut store, GROUP);
    assert_eq!(store.next_incarnation().expect("counted"), 1);
    Box::new(store).close().expect("closed");
    assert!(!temp.join("node.sqlite-wal").exists(), "closing leaves one file");

    let mut store = open(&temp);
    assert_eq!(record(&mut store, GROUP), before);
    assert_eq!(store.next_incarnation().expect("counted"), 2);
    drop(store);
    let mut store = open(&temp);
    assert_eq!(record(&mut store, GROUP), before);
    assert_eq!(store.next_incarnation().expect("counted"), 3);
}

#[test]
fn the_files_are_for_their_owner_alone() {
    let temp = TempDir::new();
    let mut store = open(&temp);
    store.apply(&[&ops(durable(), [0])]).expect("applied");
    for name in [NAME, "node.sqlite-wal", "node.sqlite-shm"] {
        let mode = temp.join(name).metadata().expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

/// The promise that an acknowledged write is on the disk rests on these settings.
#[test]
fn commits_are_synced_and_the_cache_is_small() {
    let temp = TempDir::new();
    drop(open(&temp));
    let store = open(&temp);
    let pragma = |name: &str| -> String {
        let value = store.db.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0));
        format!("{:?}", value.expect("a setting"))
    };
    assert_eq!(pragma("journal_mode"), "Text(\"wal\")");
    assert_eq!(pragma("synchronous"), "Integer(2)");
    assert_eq!(pragma("cache_size"), "Integer(-512)");
    assert_eq!(store.db.query_row("PRAGMA mmap_size", [], |row| row.get(0)), Ok(0));
}

/// Goal: a crash loses nothing that was acknowledged. Method: the files are copied while the store is open.
#[test]
fn a_crash_keeps_what_was_committed() {
    let temp = TempDir::new();
    let mut store = open(&temp);
    store.apply(&[&ops(durable(), 0..50)]).expect("applied");
    store.next_incarnation().expect("counted");
    let mut after = open(&crash(&temp));
    assert_eq!(seqs(&mut after, durable()), Vec::from_iter(0..50));
    assert_eq!(after.next_incarnation().expect("counted"), 2);
}

/// Goal: of a transaction that was under way nothing is seen. Method: one larger than the cache, so that
/// parts of it are in the log already when the files are copied.
#[test]
fn a_crash_in_a_transaction_keeps_none_of_it() {
    let temp = TempDir::new();
    let mut store = open(&temp);
    store.apply(&[&ops(durable(), 0..10)]).expect("applied");
    let n_before = temp.join("node.sqlite-wal").metadata().expect("there").len();
    let transaction = store.db.transaction().expect("begun");
    for seq in 10..20_000 {
        append(&transaction, &crate::store::tests::envelope(durable(), seq)).expect("written");
    }
    let n_after = temp.join("node.sqlite-wal").metadata().expect("there").len();
    assert!(n_after > n_before + 1_000_000, "the log grew from {n_before} to {n_after} only");
    assert_eq!(seqs(&mut open(&crash(&temp)), durable()), Vec::from_iter(0..10));
}

/// Goal: a torn log shows whole transactions only. Method: cut a copy of it at many places.
#[test]
fn a_torn_log_shows_whole_transactions_only() {
    let temp = TempDir::new();
    let mut store = open(&temp);
    for first in (0..30).step_by(10) {
        store.apply(&[&ops(durable(), first..first + 10)]).expect("applied");
    }
    let length = temp.join("node.sqlite-wal").metadata().expect("there").len();
    let mut seen = Vec::new();
    for cut in (0..=length).step_by(1000).chain([length]) {
        let copy = crash(&temp);
        let wal = std::fs::OpenOptions::new().write(true).open(copy.join("node.sqlite-wal")).expect("there");
        wal.set_len(cut).expect("cut");
        // Cut before the schema, it is a new store.
        let found = seqs(&mut open(&copy), durable());
        assert!(
            found.len().is_multiple_of(10) && found == Vec::from_iter(0..found.len() as u64),
            "{cut}: {found:?}"
        );
        seen.push(found.len());
    }
    seen.dedup();
    assert_eq!(seen, [0, 10, 20, 30]);
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let temp = TempDir::new();
    drop(open(&temp));
    alter(&temp, "PRAGMA user_version = 2");
    let before = std::fs::read(temp.join(NAME)).expect("readable");
    let error = Sqlite::open(&temp.join(NAME), OWN).expect_err("newer");
    assert!(matches!(error, StoreError::Newer { found: 2, known: 1, .. }), "{error:?}");
    assert!(error.to_string().contains("upgrade djembe"), "{error}");
    assert_eq!(std::fs::read(temp.join(NAME)).expect("readable"), before);
}

#[test]
fn another_programs_database_is_refused() {
    for sql in ["CREATE TABLE t (x)", "PRAGMA application_id = 7", "PRAGMA user_version = 1"] {
        let temp = TempDir::new();
        alter(&temp, sql);
        let error = Sqlite::open(&temp.join(NAME), OWN).expect_err("not ours");
        assert!(matches!(error, StoreError::Foreign { .. }), "{sql}: {error:?}");
    }
}

#[test]
fn garbage_is_called_damaged() {
    let temp = TempDir::new();
    std::fs::write(temp.join(NAME), [0x55; 10_000]).expect("writable");
    let error = Sqlite::open(&temp.join(NAME), OWN).expect_err("garbage");
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert_eq!(std::fs::read(temp.join(NAME)).expect("readable"), [0x55; 10_000]);
}

/// Goal: damage inside a file is an error, never a panic and never another answer. Method: overwrite each
/// page in turn, then ask for everything and write.
#[test]
fn damage_inside_is_told_and_never_a_panic() {
    let temp = TempDir::new();
    let mut store = open(&temp);
    store.apply(&[&ops(durable(), 0..200), &[reserve_op(Lane::Durable, 9)]]).expect("applied");
    let before = record(&mut store, GROUP);
    Box::new(store).close().expect("closed");
    let whole = std::fs::read(temp.join(NAME)).expect("readable");
    let mut n_noticed = 0;
    for page in 0..whole.len() / 4096 {
        let mut damaged = whole.clone();
        damaged[page * 4096..][..4096].fill(0xaa);
        std::fs::write(temp.join(NAME), damaged).expect("writable");
        let mut store = match Sqlite::open(&temp.join(NAME), OWN) {
            Ok(store) => store,
            Err(error) => {
                assert!(matches!(error, StoreError::Corrupt { .. }), "page {page}: {error:?}");
                n_noticed += 1;
                continue;
            }
        };
        let answers = [
            store.query(&Query::Group(GROUP)),
            store.query(&Query::Range {
                group: GROUP,
                log: durable(),
                from: 0,
                to: SEQ_MAX,
                bytes_max: usize::MAX,
            }),
        ];
        for answer in answers {
            match answer {
                Answer::Failed(text) => {
                    assert!(text.contains("damaged"), "page {page}: {text}");
                    n_noticed += 1;
                }
                Answer::Group(found) => assert_eq!(found, before, "page {page}"),
                Answer::Range(found) => assert_eq!(found.len(), 200, "page {page}"),
            }
        }
        let _ = store.apply(&[&ops(durable(), [500])]);
    }
    assert!(n_noticed >= whole.len() / 4096 - 1, "{n_noticed} noticed");
}

/// Goal: values that we never write are damage. Method: write them.
#[test]
fn a_value_out_of_range_is_damage() {
    for sql in [
        "UPDATE frontier SET lane = 9",
        "UPDATE frontier SET next = -1",
        // At most the number itself: one past it.
        "UPDATE envelope SET skip = 2",
        "UPDATE frontier SET head = x'00'",
        "UPDATE frontier SET author = x'0000'",
    ] {
        let temp = TempDir::new();
        open(&temp).apply(&[&ops(durable(), [1])]).expect("applied");
        alter(&temp, sql);
        match open(&temp).query(&Query::Group(GROUP)) {
            Answer::Failed(text) => assert!(text.contains("damaged"), "{sql}: {text}"),
            answer => panic!("{sql}: {answer:?}"),
        }
    }
    let temp = TempDir::new();
    open(&temp).apply(&[&ops(durable(), [1])]).expect("applied");
    let range = Query::Range { group: GROUP, log: durable(), from: 0, to: 9, bytes_max: 9 };
    for (skip, is_sound) in [(1, true), (2, false)] {
        alter(&temp, &format!("UPDATE envelope SET skip = {skip}"));
        assert_eq!(
            matches!(open(&temp).query(&range), Answer::Range(_)),
            is_sound,
            "skip {skip} before number 1"
        );
    }
    let temp = TempDir::new();
    open(&temp).next_incarnation().expect("counted");
    alter(&temp, "UPDATE node SET incarnation = -9");
    let error = open(&temp).next_incarnation().expect_err("negative");
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
}

/// Goal: a full disk fails the whole transaction, is called so, and can be gone on from once there is space.
/// Method: SQLite's own limit of pages stands for the disk.
#[test]
fn a_full_disk_is_called_so_and_keeps_what_was_there() {
    let temp = TempDir::new();
    let mut store = open(&temp);
    store.apply(&[&ops(durable(), 0..10)]).expect("applied");
    store.db.query_row("PRAGMA max_page_count = 12", [], |_| Ok(())).expect("a limit");
    let error = store.apply(&[&[reserve_op(Lane::Live, 5)], &ops(durable(), 10..1000)]).expect_err("full");
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert_eq!(seqs(&mut store, durable()), Vec::from_iter(0..10));
    assert_eq!(record(&mut store, GROUP).reserved, []);
    store.db.query_row("PRAGMA max_page_count = 100000", [], |_| Ok(())).expect("space");
    store.apply(&[&ops(durable(), 10..1000)]).expect("space again");
}

#[test]
fn refusals_of_the_file_system_are_told_apart() {
    let temp = TempDir::new();
    std::fs::write(temp.join("file"), "").expect("writable");
    for path in ["missing/node.sqlite", "file/node.sqlite"] {
        let error = Sqlite::open(&temp.join(path), OWN).expect_err("no such directory");
        assert!(matches!(error, StoreError::NotReadable { .. }), "{error:?}");
    }
    let mut store = open(&temp);
    store.db.execute_batch("PRAGMA query_only = 1").expect("set");
    let error = store.apply(&[&ops(durable(), [1])]).expect_err("read-only");
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
    drop(store);

    if rustix::process::geteuid().is_root() {
        println!("the rest skipped: root may read and write everything");
        return;
    }
    let open_as = |mode| {
        std::fs::set_permissions(temp.join(NAME), PermissionsExt::from_mode(mode)).expect("ours");
        Sqlite::open(&temp.join(NAME), OWN).map(drop)
    };
    assert!(matches!(open_as(0o400), Err(StoreError::ReadOnly { .. })));
    assert!(matches!(open_as(0o000), Err(StoreError::NotReadable { .. })));
}

/// Goal: the figures that the layout rests on. Method: many authors who write in turn, small and large
/// envelopes, commits of different sizes; then reading, and opening again and again. `cargo test -p djembe
/// measure -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn measure() {
    let ms = |since: Instant| since.elapsed().as_secs_f64() * 1e3;
    for (size, n_rounds) in [(330, 800), (48_000, 12)] {
        println!("envelopes of {size} bytes, 100 authors");
        let temp = TempDir::new();
        let start = Instant::now();
        let mut store = open(&temp);
        println!("  create: {:.2} ms", ms(start));

        let author = |n: u64| log_of(PeerId([(n * 37 % 100) as u8; 32]), Lane::Durable);
        let mut all = (0..n_rounds * 100).map(|n: u64| {
            let made = crate::store::tests::envelope(author(n), n / 100);
            StoreOp::Append(StoredEnvelope { bytes: vec![7; size].into(), ..made })
        });
        for in_commit in [1, 16, 256] {
            let share: Vec<StoreOp> = all.by_ref().take(n_rounds as usize * 33).collect();
            let share = if in_commit == 1 { &share[..share.len() / 10] } else { &share[..] };
            let start = Instant::now();
            share.chunks(in_commit).for_each(|ops| store.apply(&[ops]).expect("applied"));
            let rate = share.len() as f64 / start.elapsed().as_secs_f64();
            println!(
                "  {in_commit} in a commit: {rate:.0} envelopes/s, {:.0} commits/s",
                rate / in_commit as f64
            );
        }
        let start = Instant::now();
        for n in 0..100 {
            let numbers = Numbers { from: n_rounds / 2, to: n_rounds / 2 + 63 };
            read_range(&store.db, &GROUP, &author(n), numbers, 512 * 1024).expect("read");
        }
        println!("  read a range of 64 or 512 KiB: {:.3} ms", ms(start) / 100.0);
        let frontiers: Vec<StoreOp> =
            (0..100).map(|n| StoreOp::Frontier(frontier(author(n), n_rounds, 0))).collect();
        store.apply(&[&frontiers]).expect("applied");
        let start = Instant::now();
        store.query(&Query::Group(GROUP));
        println!("  take up a group: {:.2} ms", ms(start));
        Box::new(store).close().expect("closed");
        println!("  the file: {} bytes", temp.join(NAME).metadata().expect("there").len());

        let (mut opening, mut counting, mut closing) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..50 {
            let start = Instant::now();
            let mut store = open(&temp);
            opening.push(ms(start));
            let start = Instant::now();
            store.next_incarnation().expect("counted");
            counting.push(ms(start));
            let start = Instant::now();
            Box::new(store).close().expect("closed");
            closing.push(ms(start));
        }
        for (what, mut times) in [("open", opening), ("next_incarnation", counting), ("close", closing)] {
            times.sort_by(f64::total_cmp);
            println!("  {what}: median {:.2} ms, worst {:.2} ms", times[25], times[49]);
        }
    }
}
