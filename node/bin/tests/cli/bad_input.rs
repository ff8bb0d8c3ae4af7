//! What is wrong is said with its remedy, and with the code that belongs to it.

use std::net::{TcpListener, UdpSocket};

use crate::harness::{Lan, Running};

#[test]
fn slips_are_answered_with_commands_of_people() {
    let lan = Lan::new("slip");
    for (slip, meant) in [("dmo", "'demo'"), ("bench-worke", "'bench'"), ("stats", "'status'")] {
        let ended = lan.run("a", &[slip]).expect(2, &[meant]);
        assert!(!ended.stderr.contains("worker") && !ended.stderr.contains("-node"), "{ended:?}");
    }
}

#[test]
fn wrong_command_lines_are_usage_errors() {
    let lan = Lan::new("usage");
    let long = "x".repeat(60_000);
    let empty = lan.file("empty", "\n");
    for (args, word) in [
        (&["fly"][..], "--help"),
        (&["pub"], "--help"),
        (&["sub", "lobby", "-n", "many"], "invalid value"),
        (&["sub", "lobby", "-n", "0"], "invalid value"),
        (&["sub", "lobby", "-W", "-1"], "--help"),
        (&["sub", "lobby", "-W", "soon"], "a number of seconds"),
        (&["sub", "lobby", "--subject", "a/#/b"], "# stands only at the end"),
        (&["pub", "lobby", "x", "--subject", "a//b"], "slash-separated path"),
        (&["pub", "lobby", "x", "--subject", "a//b"], "nothing stands between"),
        (&["pub", "lobby", "x", "--subject", "/temp"], "begins with a slash"),
        (&["sub", "lobby", "--subject", "/temp"], "begins with a slash"),
        (&["pub", "lobby", "x", "--header", "=v"], "no name before the ="),
        (&["pub", "lobby", "x", "--ttl", "0"], "nobody would need it"),
        (&["pub", "lobby", "x", "--subject", "a/+"], "slash-separated path"),
        (&["pub", "lobby", "x", "--header", "novalue"], "NAME=VALUE"),
        (&["pub", "lobby", "x", "--header", "a=1", "--header", "a=2"], "named once"),
        (&["pub", "lobby", "x", "--content-type", "tëxt"], "printable ASCII"),
        (&["pub", "lobby", "x", "-l"], "cannot be used with"),
        (&["pub", "lobby", "x", "--live", "--wait", "1"], "cannot be used with"),
        (&["pub", "lobby", &long], "over the limit of 49152 bytes"),
        (&["pub", "", "x"], "1 to 128 bytes"),
        (&["sub", "lobby", "--passphrase-file", "/nonexistent/file"], "name a readable file"),
        (&["sub", "lobby", "--passphrase-file", &empty], "it is empty"),
        (&["sub", "lobby", "--peer", "192.0.2.1"], "/ip4/"),
        (&["sub", "lobby", "--listen", "0.0.0.0:80"], "/ip4/0.0.0.0/tcp/4001"),
        (&["sub", "lobby", "--beacon-port", "0"], "invalid value"),
        (&["sub", "lobby", "--network", ""], "network"),
    ] {
        let ended = lan.run("a", args);
        assert_eq!(ended.code, Some(2), "{args:?}: {ended:?}");
        assert!(ended.stderr.contains(word), "{args:?}: \"{word}\" is missing: {ended:?}");
        assert_eq!(ended.stdout, "", "{args:?}");
    }
    let help = lan.run("a", &["--help"]).expect(0, &[]);
    assert!(help.stdout.contains("Exit codes:") && help.stdout.contains("130"), "{help:?}");
    let version = lan.run("a", &["--version"]).expect(0, &[]);
    assert_eq!(version.stdout, format!("djembe {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_line_beyond_the_limit_is_refused_by_its_size() {
    let lan = Lan::new("long");
    let mut writer = Running::with_input(lan.command("a", &["pub", "lobby", "-l"]));
    writer.write(&format!("{}\n", "x".repeat(49_153)));
    writer.end().expect(2, &["over the limit of 49152 bytes"]);
}

#[test]
fn a_data_directory_that_cannot_be_used_is_named() {
    let lan = Lan::new("datadir");
    lan.file("file", "");
    for command in ["id", "status"] {
        lan.run("file", &[command]).expect(4, &["is not a directory", "another data directory"]);
        lan.run("file/below", &[command]).expect(4, &["is not a directory"]);
    }
    if rustix::process::geteuid().is_root() {
        println!("skipped: root may read and write everything");
    } else {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir(lan.path("sealed")).unwrap();
        for (mode, word) in [(0o500, "cannot be written"), (0o000, "cannot be read")] {
            std::fs::set_permissions(lan.path("sealed"), PermissionsExt::from_mode(mode)).unwrap();
            lan.run("sealed", &["status"]).expect(4, &[word]);
        }
        std::fs::set_permissions(lan.path("sealed"), PermissionsExt::from_mode(0o700)).unwrap();
    }

    std::fs::create_dir(lan.path("damaged")).unwrap();
    lan.file("damaged/identity", "not a key");
    lan.run("damaged", &["id"]).expect(4, &["restore it from a backup"]);

    lan.run("newer", &["status"]).expect(0, &[]);
    let store = rusqlite::Connection::open(lan.path("newer").join("node.sqlite")).unwrap();
    store.pragma_update(None, "user_version", 9999).unwrap();
    drop(store);
    lan.run("newer", &["status"]).expect(4, &["newer"]);
}

#[test]
fn an_identity_that_others_can_read_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let lan = Lan::new("exposed");
    let made = lan.run("a", &["id"]).expect(0, &[]);
    assert!(!made.stderr.contains("chmod"), "{made:?}");
    for (mode, is_exposed) in [(0o400, false), (0o640, true), (0o604, true)] {
        std::fs::set_permissions(lan.path("a/identity"), PermissionsExt::from_mode(mode)).unwrap();
        for command in ["id", "status"] {
            let ended = lan.run("a", &[command]).expect(0, &[]);
            assert_eq!(ended.stderr.contains("chmod 600"), is_exposed, "mode {mode:o}: {ended:?}");
        }
    }
}

/// Goal: a store that fails ends what publishes with its own code, and only that: the node runs on, and loses nothing
/// once the store works again. Method: another program holds the database.
#[test]
fn a_store_that_fails_for_a_while_ends_a_publisher_and_no_node() {
    let lan = Lan::new("held");
    let mut up = lan.start_until("a", &["up", "lobby"], "is up");
    lan.run("a", &["pub", "lobby", "before", "--wait", "0"]).expect(0, &[]);
    let store = rusqlite::Connection::open(lan.path("a/node.sqlite")).unwrap();
    store.execute_batch("BEGIN IMMEDIATE").unwrap();
    lan.run("a", &["pub", "lobby", "meanwhile"])
        .expect(4, &["the store failed", "locked by another program"]);
    up.says("waits until it works again");
    store.execute_batch("ROLLBACK").unwrap();
    lan.run("a", &["pub", "lobby", "after", "--wait", "0"]).expect(0, &[]);
    let reader = lan.run("b", &["sub", "lobby", "-n", "3"]).expect(0, &[]);
    assert_eq!(reader.stdout, "before\nmeanwhile\nafter\n");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let lan = Lan::new("ports");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    Running::start(lan.bare("a", &["sub", "lobby", "--no-discovery", "--listen", &address]))
        .end()
        .expect(5, &[&address, "--listen"]);

    let taken = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let args = ["sub", "lobby", "--beacon-port", &port, "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"];
    Running::start(lan.bare("a", &args)).end().expect(5, &[&port, "--beacon-port", "--no-beacon"]);
}

/// Goal: two nodes with one identity are told, with what to do. Method: a copied key file, and beacons.
#[test]
fn a_copied_identity_is_noticed() {
    let lan = Lan::new("clone");
    lan.run("a", &["id"]).expect(0, &[]);
    std::fs::create_dir(lan.path("b")).unwrap();
    std::fs::copy(lan.path("a/identity"), lan.path("b/identity")).unwrap();
    let mut first = lan.start_until("a", &["up", "lobby"], "is up");
    let _second = lan.start_until("b", &["up", "lobby"], "is up");
    first.says("move its identity file away");
}
