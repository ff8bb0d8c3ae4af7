//! The command line as a user meets it: the real binary, real sockets on loopback, exit codes and words.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

mod bad_input;
mod harness;
mod socket;

use std::io::Write;
use std::time::Instant;

use harness::{Lan, PATIENCE, Running, mode};
use rustix::process::Signal;
use serde_json::json;

#[test]
fn an_identity_is_made_once_and_stays() {
    let lan = Lan::new("id");
    let first = lan.run("a", &["id"]).expect(0, &["made a new identity"]);
    let peer_id = first.stdout.trim();
    assert!(peer_id.starts_with("12D3KooW"), "{first:?}");
    assert_eq!(mode(&lan.path("a").join("identity")), 0o600);
    assert_eq!(lan.run("a", &["id"]).expect(0, &[]).stdout, first.stdout);

    let shown = lan.run("a", &["id", "--json"]).expect(0, &[]).json();
    let dir = lan.path("a").canonicalize().unwrap();
    assert_eq!(shown, [json!({"peer_id": peer_id, "data_dir": dir.to_str().unwrap(), "created": false})]);
    assert_eq!(lan.run("b", &["--json", "id"]).expect(0, &[]).json()[0]["created"], true);
    // The same by the environment.
    let mut by_environment = std::process::Command::new(env!("CARGO_BIN_EXE_djembe"));
    let output = by_environment.arg("id").env("DJEMBE_DATA_DIR", lan.path("a")).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), first.stdout);
}

#[test]
fn an_identity_under_a_passphrase_wants_it() {
    let lan = Lan::new("locked");
    let (right, wrong) = (lan.file("right", "open sesame\n"), lan.file("wrong", "close"));
    let made = lan.run("a", &["id", "--key-passphrase-file", &right]).expect(0, &[]);
    let again = lan.run("a", &["id", "--key-passphrase-file", &right]).expect(0, &[]);
    assert_eq!(made.stdout, again.stdout);
    lan.run("a", &["id"]).expect(4, &["--key-passphrase-file"]);
    lan.run("a", &["id", "--key-passphrase-file", &wrong]).expect(4, &["--key-passphrase-file"]);
    lan.run("a", &["status"]).expect(4, &["--key-passphrase-file"]);
}

#[test]
fn a_message_reaches_another_data_directory() {
    let lan = Lan::new("pubsub");
    let plain = lan.start_until("b", &["sub", "lobby", "-n", "1"], "waiting for messages");
    let args = ["pub", "lobby", "hello", "--wait", "1", "--subject", "temp/kitchen", "--content-type"];
    let args = [&args[..], &["text/plain", "--header", "unit=C", "--header", "a=b=c", "--json"]].concat();
    let sent = lan.run("a", &args).expect(0, &[]).json();
    let id = lan.run("a", &["id"]).stdout.trim().to_owned();
    let other = lan.run("b", &["id"]).stdout.trim().to_owned();
    assert_eq!(sent.len(), 1);
    assert_eq!((&sent[0]["group"], &sent[0]["state"]), (&json!("lobby"), &json!("sent")));
    assert_eq!(sent[0]["stored_by"], json!([other]));
    assert_eq!(plain.end().expect(0, &[]).stdout, "hello\n");

    let json_reader = lan.start_until("b", &["sub", "lobby", "-n", "2", "--json"], "waiting");
    // A live message is lost with a link: of two that were dialled at once, one goes. So not from a node that has
    // just started.
    let _up = lan.start_until("a", &["up", "lobby"], "is in \"lobby\"");
    let mut bytes = Running::with_input(lan.command("a", &["pub", "lobby", "--live", "--subject", "x"]));
    // Bytes that are no text arrive as they are.
    bytes.write("line one\nline two");
    bytes.end().expect(0, &["sent to 1 member"]);
    lan.run("a", &args).expect(0, &[]);
    let read = json_reader.end().expect(0, &[]).json();
    assert_eq!((&read[0]["body"], &read[0]["lane"]), (&json!("line one\nline two"), &json!("live")));
    let message = &read[1];
    let number = format!("{id}/durable/{}/{}", message["seq"], message["index"]);
    assert_eq!(message["id"], number);
    assert_eq!(
        (&message["group"], &message["author"], &message["lane"]),
        (&json!("lobby"), &json!(id), &json!("durable"))
    );
    assert_eq!(
        (&message["subject"], &message["content_type"]),
        (&json!("temp/kitchen"), &json!("text/plain"))
    );
    assert_eq!((&message["headers"], &message["body"]), (&json!({"a": "b=c", "unit": "C"}), &json!("hello")));
    let time = message["time"].as_str().unwrap();
    assert!(time.len() == 24 && time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
}

/// Goal: with nobody there a publisher is told at once, ends with its own code, and loses nothing. Method: the
/// same data directory is up again when somebody has come.
#[test]
fn with_nobody_there_the_message_is_kept_and_sent_later() {
    let lan = Lan::new("nobody");
    let ended = lan.run("a", &["pub", "lobby", "later", "--timeout", "7"]);
    let ended =
        ended.expect(3, &["nobody is in \"lobby\" yet", "is queued", "within 7 s", "stays in the log"]);
    assert!(ended.stderr.contains("tried:") && ended.stderr.contains("--peer"), "{ended:?}");
    let lost = lan.run("a", &["pub", "lobby", "lost", "--live", "--timeout", "2", "--json"]);
    let lost = lost.expect(3, &["kept nowhere"]).json();
    assert_eq!((&lost[0]["state"], &lost[0]["reason"]), (&json!("dropped"), &json!("nobody was there")));
    lan.run("a", &["pub", "lobby", "unawaited", "--wait", "0"]).expect(0, &[]);

    let shown = lan.run("c", &["pub", "lobby", "x", "--wait", "0", "--json"]).expect(0, &[]).json();
    assert_eq!((&shown[0]["state"], &shown[0]["members"]), (&json!("queued"), &json!(0)));
    // Its standard input is empty.
    let shown = lan.run("c", &["pub", "lobby", "-l", "--json"]).expect(0, &[]).json();
    assert_eq!((&shown[0]["state"], &shown[0]["messages"]), (&json!("nothing"), &json!(0)));

    let reader = lan.start_until("b", &["sub", "lobby", "-n", "2"], "waiting");
    let _up = lan.start("a", &["up", "lobby"]);
    assert_eq!(reader.end().expect(0, &[]).stdout, "later\nunawaited\n");
}

#[test]
fn a_reader_ends_after_its_count_or_its_time() {
    let lan = Lan::new("ends");
    assert_eq!(lan.run("a", &["sub", "lobby", "-W", "0.5"]).expect(0, &[]).stdout, "");
    lan.run("a", &["sub", "lobby", "-n", "2", "-W", "1"]).expect(3, &["0 of 2"]);
    let reader = lan.start_until("a", &["sub", "lobby", "-n", "1", "-W", "60"], "waiting");
    lan.run("b", &["pub", "lobby", "one"]).expect(0, &["stored by 1 member"]);
    assert_eq!(reader.end().expect(0, &[]).stdout, "one\n");
}

#[test]
fn patterns_choose_subjects() {
    let lan = Lan::new("patterns");
    let _up = lan.start_until("b", &["up", "lobby"], "is up in lobby");
    let read = |pattern| lan.start_until("b", &["sub", "lobby", "--subject", pattern, "-n", "2"], "waiting");
    let (one, many) = (read("temp/+"), read("temp/#"));
    for (subject, body) in [("other", "o"), ("temp/a", "a"), ("temp/a/b", "ab"), ("temp/c", "c")] {
        lan.run("a", &["pub", "lobby", body, "--subject", subject]).expect(0, &[]);
    }
    assert_eq!(one.end().expect(0, &[]).stdout, "a\nc\n");
    assert_eq!(many.end().expect(0, &[]).stdout, "a\nab\n");
}

#[test]
fn two_thousand_lines_arrive_complete_and_in_order() {
    let lan = Lan::new("lines");
    let text: String = (0..2000).map(|n| format!("line {n}\n")).collect();
    let direct = lan.start_until("c", &["sub", "lobby", "-n", "2000"], "waiting");
    // Through the socket of a running node.
    let _up = lan.start_until("b", &["up", "lobby"], "is in \"lobby\"");
    let second = lan.start_until("b", &["sub", "lobby", "-n", "2000", "--json"], "waiting");
    let mut writer = Running::with_input(lan.command("a", &["pub", "-l", "lobby", "--json", "--wait", "2"]));
    writer.write(&text);
    let summary = writer.end().expect(0, &[]).json();
    assert_eq!((summary.len(), &summary[0]["messages"]), (1, &json!(2000)));
    assert_eq!(summary[0]["bytes"], json!(text.len() - 2000));
    let read = second.end().expect(0, &[]).json();
    assert!(read.iter().enumerate().all(|(n, message)| message["body"] == format!("line {n}")));
    assert!(direct.end().expect(0, &[]).stdout == text, "the lines came in another order, or changed");
}

#[test]
fn people_talk_line_by_line_and_do_not_hear_themselves() {
    let lan = Lan::new("chat");
    let mut a = Running::with_input(lan.command("a", &["chat", "lobby"]));
    let mut b = Running::with_input(lan.command("b", &["chat", "lobby"]));
    a.says("is here");
    b.says("is here");
    a.write("hello from a\n\n/who\n");
    assert!(b.stdout.next().ends_with("hello from a"));
    a.says("(you), ");
    // What would steer a terminal is spelled out.
    b.write("\x1b[2Jbye\n/quit\n");
    let b = b.end().expect(0, &[]);
    a.says("is gone");
    a.signal(Signal::INT);
    let a = a.end().expect(0, &[]);
    assert!(a.stdout.contains("\\u{1b}[2Jbye"), "{a:?}");
    assert!(!a.stdout.contains("hello") && !b.stdout.contains("bye"), "{a:?}");
}

#[test]
fn peers_and_status_tell_who_is_there_and_why_nobody_is() {
    let lan = Lan::new("peers");
    lan.run("a", &["peers"]).expect(0, &["nobody seen", "--peer"]);
    let alone = lan.run("a", &["status"]).expect(0, &[]);
    assert!(alone.stdout.starts_with("Alone: nobody is connected; try: "), "{alone:?}");

    let mut up = lan.start_until("b", &["up", "lobby"], "is up in lobby");
    let b = lan.run("b", &["id"]).stdout.trim().to_owned();
    let shown = lan.run("a", &["peers", "--json"]).expect(0, &[]).json();
    assert_eq!(shown.len(), 1);
    assert_eq!((&shown[0]["peer_id"], &shown[0]["state"]), (&json!(b), &json!("alive")));
    for field in ["cause", "path", "found_by", "rtt_ms"] {
        assert!(shown[0].get(field).is_some(), "{field} is missing: {shown:?}");
    }
    let status = lan.run("a", &["status", "--json"]).expect(0, &[]).json();
    assert_eq!(status[0]["peers"][0]["peer_id"], json!(b));

    let mut watcher = lan.start("a", &["peers", "-W", "60", "--json"]);
    watcher.stdout.until("alive");
    let second = lan.start_until("a", &["up", "lobby"], "is up in lobby");
    up.says("is in \"lobby\"");
    let connected = lan.run("b", &["status"]).expect(0, &[]);
    assert!(connected.stdout.starts_with("Connected: 1 member online, nothing queued\n"), "{connected:?}");
    drop(second);
    up.signal(Signal::TERM);
    up.end().expect(0, &[]);
    let gone = watcher.stdout.until("gone");
    assert!(gone.contains("\"cause\":\"goodbye\""), "{gone}");
}

/// Goal: what waits for somebody to come is seen to wait, and whoever has left is said to have left.
#[test]
fn status_tells_what_waits_and_that_everybody_left() {
    let lan = Lan::new("waits");
    let up = lan.start_until("a", &["up", "lobby"], "is up in lobby");
    let unawaited = lan.run("a", &["pub", "lobby", "hello", "--wait", "0"]);
    unawaited.expect(0, &["in this node's log", "nobody else"]);
    let alone = lan.run("a", &["status"]).expect(0, &[]);
    assert!(alone.stdout.starts_with("Alone: nobody is connected, 1 message queued; try: "), "{alone:?}");
    assert!(
        alone.stdout.contains("lobby: 0 other members online, 0 envelopes missing, 1 message queued"),
        "{alone:?}"
    );

    let reader = lan.start("b", &["sub", "lobby", "-n", "1"]);
    assert_eq!(reader.end().expect(0, &[]).stdout, "hello\n");
    let left = lan.run("a", &["status"]).expect(0, &[]);
    assert!(left.stdout.starts_with("Alone: everybody has left; try: "), "{left:?}");
    up.signal(Signal::INT);
    up.end().expect(0, &["stopped"]);
}

#[test]
fn signals_end_commands_in_order_and_soon() {
    let lan = Lan::new("signals");
    let mut watcher = lan.start_until("w", &["up", "lobby"], "is up");
    for (args, word, signal, code) in [
        (&["up", "lobby"][..], "is up", Signal::TERM, 0),
        (&["up", "lobby"], "is up", Signal::INT, 0),
        (&["sub", "lobby"], "waiting", Signal::TERM, 0),
        (&["sub", "lobby", "-n", "1"], "waiting", Signal::INT, 130),
        (&["pub", "elsewhere", "x"], "nobody is in", Signal::TERM, 130),
    ] {
        let running = lan.start_until("a", args, word);
        watcher.says(if args[1] == "lobby" { "is in \"lobby\"" } else { "is alive" });
        let since = Instant::now();
        running.signal(signal);
        running.end().expect(code, &[]);
        assert!(since.elapsed() < PATIENCE / 4, "{args:?} took {:?}", since.elapsed());
        // By its goodbye, unless that met two links that were still settling which of them stays.
        watcher.says("is gone (");
    }
}

#[test]
fn a_reader_that_has_had_enough_ends_the_command_quietly() {
    let lan = Lan::new("pipe");
    let mut command = lan.command("b", &["sub", "lobby", "-q"]);
    let (reader, writer) = std::io::pipe().unwrap();
    command.stdout(writer);
    let running = Running::start(command);
    drop(reader);
    let mut lines = Running::with_input(lan.command("a", &["pub", "lobby", "-l"]));
    lines.write("one\ntwo\n");
    let ended = running.end().expect(0, &[]);
    assert_eq!(ended.stderr, "", "nothing is wrong");
}

/// Goal: nothing that was read is forgotten while the writer thinks. Method: two lines, minutes apart in spirit.
#[test]
fn lines_are_published_as_they_come() {
    let lan = Lan::new("slow");
    let mut reader = lan.start_until("b", &["sub", "lobby", "-n", "2"], "waiting");
    let mut writer = Running::with_input(lan.command("a", &["pub", "lobby", "-l"]));
    writer.write("first\n");
    assert_eq!(reader.stdout.next(), "first");
    writer.write("second without an end");
    writer.close_input();
    assert_eq!(reader.stdout.next(), "second without an end");
    writer.end().expect(0, &["2 messages stored by 1 member"]);
    let _ = std::io::stdout().flush();
}
