//! Two terminals on one machine: a second command works through the node that runs on the data directory.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Lan, PATIENCE, Running, mode};

#[test]
fn a_second_command_works_through_the_running_node() {
    let lan = Lan::new("second");
    let up = lan.start_until("a", &["up", "lobby"], "is up in lobby");
    assert_eq!(mode(&lan.socket("a")), 0o600);
    let _other = lan.start_until("b", &["up", "lobby"], "is in \"lobby\"");

    let skipping = lan.start_until("a", &["sub", "lobby", "-n", "1", "--skip-own"], "waiting");
    let reader = lan.start_until("a", &["sub", "lobby", "-n", "2"], "waiting");
    lan.run("a", &["pub", "lobby", "mine", "--wait", "1"]).expect(0, &["stored by 1 member"]);
    lan.run("b", &["pub", "lobby", "theirs", "--wait", "1"]).expect(0, &["stored by 1 member"]);
    assert_eq!(reader.end().expect(0, &[]).stdout, "mine\ntheirs\n");
    assert_eq!(skipping.end().expect(0, &[]).stdout, "theirs\n");

    lan.run("a", &["up"]).expect(4, &["runs on this data directory already", "--data-dir"]);
    let other = lan.bare("a", &["status", "--network", "elsewhere"]);
    Running::start(other).end().expect(2, &["not \"elsewhere\"", "--network"]);
    let peers = lan.run("a", &["peers", "--json"]).expect(0, &["left out"]).json();
    assert_eq!(peers.len(), 1);

    // When the node ends, its clients say so.
    let reader = lan.start_until("a", &["sub", "lobby"], "waiting");
    up.signal(Signal::TERM);
    up.end().expect(0, &[]);
    reader.end().expect(1, &["the node has ended"]);
    assert!(!lan.socket("a").exists());
}

/// Goal: two terminals of one node hear each other, and neither hears itself.
#[test]
fn two_chats_of_one_node_see_each_others_lines() {
    let lan = Lan::new("two-chats");
    let mut first = Running::with_input(lan.command("a", &["chat", "lobby"]));
    first.says("in \"lobby\"");
    let mut second = Running::with_input(lan.command("a", &["chat", "lobby"]));
    second.says("in \"lobby\"");
    first.write("from the first\n");
    assert!(second.stdout.next().ends_with(" from the first"));
    second.write("from the second\n");
    assert!(first.stdout.next().ends_with(" from the second"));
    second.signal(Signal::INT);
    first.signal(Signal::INT);
    let (first, second) = (first.end().expect(0, &[]), second.end());
    assert!(
        !first.stdout.contains("from the first") && !second.stdout.contains("from the second"),
        "{second:?}"
    );
}

#[test]
fn what_a_killed_node_leaves_behind_is_replaced() {
    let lan = Lan::new("stale");
    let up = lan.start_until("a", &["up", "lobby"], "is up");
    drop(up);
    assert!(lan.socket("a").exists(), "killed nodes clean nothing up");
    lan.run("a", &["status"]).expect(0, &[]);
    let _up = lan.start_until("a", &["up", "lobby"], "is up");
    assert!(lan.run("a", &["status"]).expect(0, &[]).stdout.contains("lobby"));
}

#[test]
fn a_node_that_does_not_answer_is_named() {
    let lan = Lan::new("silent");
    std::fs::create_dir(lan.path("a")).unwrap();
    let lock = File::create(lan.path("a").join("lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    lan.run("a", &["status"]).expect(4, &["in use by a running node", "does not answer", "stop it"]);
    let _listener = UnixListener::bind(lan.socket("a")).unwrap();
    lan.run("a", &["status"]).expect(4, &["does not answer", "silent for"]);
}

#[test]
fn a_long_path_has_a_socket_too() {
    let lan = Lan::new("deep");
    let deep = format!("{0}/{0}/{0}", "a-rather-long-name-for-a-directory-of-fifty-letters");
    let _up = lan.start_until(&deep, &["up", "lobby"], "is up");
    assert!(lan.run(&deep, &["status"]).expect(0, &[]).stdout.contains("lobby"));
}

/// A client that speaks the protocol of `docs/local-socket.md` by hand.
struct Client {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Client {
    fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Self { lines: BufReader::new(stream.try_clone().unwrap()), stream };
        let hello = client.next();
        assert_eq!((&hello["v"], &hello["re"]), (&json!(1), &json!(0)));
        assert!(hello["hello"]["peer_id"].as_str().unwrap().starts_with("12D3KooW"), "{hello}");
        client
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stream, "{line}").unwrap();
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "closed");
        serde_json::from_str(&line).unwrap()
    }

    fn ask(&mut self, line: &str) -> Value {
        self.say(line);
        self.next()
    }
}

#[test]
fn the_protocol_is_as_documented() {
    let lan = Lan::new("protocol");
    let _up = lan.start_until("a", &["up"], "is up");
    let mut client = Client::connect(&lan.socket("a"));
    assert_eq!(
        client.ask(r#"{"v":1,"id":1,"do":"join","group":"lobby"}"#),
        json!({"v": 1, "re": 1, "done": true})
    );
    let status = client.ask(r#"{"v":1,"id":2,"do":"status"}"#);
    assert_eq!(status["status"]["groups"][0]["name"], "lobby");
    assert_eq!(
        client.ask(r#"{"v":1,"id":3,"do":"subscribe","group":"lobby","subject":"a/#"}"#)["done"],
        true
    );
    client.say(
        r#"{"v":1,"id":4,"do":"publish","group":"lobby","subject":"b","body":"not wanted","quiet":true}"#,
    );
    let published =
        client.ask(r#"{"v":1,"id":5,"do":"publish","group":"lobby","subject":"a/b","body_base64":"/w=="}"#);
    assert_eq!((&published["re"], &published["receipt"]["state"]), (&json!(5), &json!("queued")));
    client.say(r#"{"v":1,"id":6,"do":"follow","group":"lobby"}"#);
    let (mut message, mut receipt) = (None, None);
    while message.is_none() || receipt.is_none() {
        let line = client.next();
        match line["re"].as_u64() {
            Some(3) => message = Some(line["message"].clone()),
            Some(6) if line["receipt"]["state"] == "sent" => receipt = Some(line["receipt"].clone()),
            _ => {}
        }
    }
    let (message, receipt) = (message.unwrap(), receipt.unwrap());
    assert_eq!((&message["subject"], &message["body_base64"]), (&json!("a/b"), &json!("/w==")));
    assert_eq!(message["id"], receipt["id"]);

    for (line, re, code) in [
        (r#"{"v":2,"id":7,"do":"status"}"#, 7, "version"),
        (r#"{"v":1,"id":8,"do":"fly"}"#, 8, "request"),
        ("garbage", 0, "request"),
        (r#"{"v":1,"id":9,"do":"publish","group":"other","body":""}"#, 9, "unknown-group"),
        (r#"{"v":1,"id":10,"do":"publish","group":"lobby","subject":"a//b"}"#, 10, "draft"),
        (r#"{"v":1,"id":11,"do":"subscribe","group":"lobby","subject":"a//b"}"#, 11, "subject"),
        (r#"{"v":1,"id":12,"do":"join","group":""}"#, 12, "group"),
    ] {
        let answer = client.ask(line);
        assert_eq!((&answer["re"], &answer["error"]["code"]), (&json!(re), &json!(code)), "{answer}");
    }
    assert_eq!(client.ask(r#"{"v":1,"id":13,"do":"cancel","of":3}"#)["done"], true);

    // The side that is closed for writing still gets its answers, and then the end.
    client.say(r#"{"v":1,"id":14,"do":"status"}"#);
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.next()["re"], 14);
    let mut rest = String::new();
    assert_eq!(client.lines.read_line(&mut rest).unwrap(), 0, "{rest}");
}

#[test]
fn a_line_without_end_and_too_many_clients_are_refused() {
    let lan = Lan::new("bounds");
    let _up = lan.start_until("a", &["up"], "is up");
    let mut endless = Client::connect(&lan.socket("a"));
    let _ = endless.stream.write_all(&vec![b'x'; 600 * 1024]);
    assert_eq!(endless.next()["error"]["code"], "too-long");
    drop(endless);

    let clients: Vec<UnixStream> = (0..70).map(|_| UnixStream::connect(lan.socket("a")).unwrap()).collect();
    let first_lines = clients.iter().map(|stream| {
        let mut line = String::new();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line
    });
    let refused = first_lines.filter(|line| line.contains("too-many")).count();
    assert!((6..=7).contains(&refused), "{refused} of 70 were refused");
    drop(clients);
    // As soon as the node has noticed that they are gone, there is room again.
    lan.run("a", &["status"]).expect(0, &[]);
}
