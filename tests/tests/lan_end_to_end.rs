//! Real processes on real networks: hosts in network namespaces on a bridge, with broadcast and multicast, and
//! no configuration. What a user would do on a LAN, done by the command line.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use djembe_tests::netns::Lab;
use djembe_tests::skip_or_require;
use support::{CANARY, Data, Node, text_of_lines};

/// Goal: three hosts, no configuration, thousands of lines through `pub -l`, received by the other two complete,
/// in order, once; nothing readable on the wire. Method: capture on the bridge.
#[test]
fn a_text_reaches_two_other_hosts_complete_in_order_once() {
    skip_or_require!();
    text_reaches_two_others(&[]);
}

/// The same by beacon alone.
#[test]
fn a_text_reaches_two_other_hosts_by_beacon_only() {
    skip_or_require!();
    text_reaches_two_others(&["--no-mdns"]);
}

/// The same by mDNS alone.
#[test]
fn a_text_reaches_two_other_hosts_by_mdns_only() {
    skip_or_require!();
    text_reaches_two_others(&["--no-beacon"]);
}

fn text_reaches_two_others(options: &[&str]) {
    const GROUP: &str = "quiet-harbour-canary";
    let lab = Lab::new(3);
    let data = Data::new(3);
    let text = text_of_lines(3000);
    let n_lines = text.lines().count();
    let capture = lab.capture(&data.file("capture.pcap"));
    let count = n_lines.to_string();
    let readers: Vec<Node> = [1, 2]
        .into_iter()
        .map(|host| {
            let args = [options, &["sub", GROUP, "-n", &count, "-W", "120"]].concat();
            Node::start(&lab.host(host), &data.dir(host), &args)
        })
        .collect();
    let args = [options, &["pub", GROUP, "-l", "--wait", "2", "--timeout", "90"]].concat();
    let mut writer = Node::start(&lab.host(0), &data.dir(0), &args);
    writer.write_stdin(&text);
    assert!(writer.wait(Duration::from_secs(120)).success(), "{}", writer.talk());
    for mut reader in readers {
        assert!(reader.wait(Duration::from_secs(120)).success(), "{}", reader.talk());
        let received = reader.stdout();
        assert_eq!(received.lines().count(), n_lines);
        assert!(received == text, "the lines came in another order, or changed");
    }
    let packets = std::fs::read(capture.stop()).unwrap();
    assert!(packets.len() > text.len() / 2, "the capture has seen the conversation");
    for secret in [CANARY, GROUP] {
        assert!(!contains(&packets, secret.as_bytes()), "\"{secret}\" can be read on the wire");
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Goal: of six hosts one is killed: gone at all others within 8 s, none else is; restarted, it has what it
/// missed. Method: `peers -W` and `sub` on each, as JSON.
#[test]
fn a_killed_host_is_gone_at_all_others_and_has_what_it_missed_when_it_returns() {
    skip_or_require!();
    killed_host(0);
}

/// The same with every fifth packet lost.
#[test]
fn a_killed_host_is_gone_at_all_others_with_loss() {
    skip_or_require!();
    killed_host(20);
}

fn killed_host(loss: u8) {
    let lab = Lab::new(6);
    let data = Data::new(6);
    for host in lab.hosts() {
        host.loss(loss);
    }
    let start = |host: usize| Node::start(&lab.host(host), &data.dir(host), &["up", "lobby"]);
    let mut nodes: Vec<Node> = (0..6).map(start).collect();
    // Else a watcher might be the one that runs the node, or lose its patience with one that has yet to start.
    nodes.iter().for_each(|node| node.wait_for_talk("is up in", Duration::from_secs(60)));
    let watch =
        |host: usize| Node::start(&lab.host(host), &data.dir(host), &["peers", "--json", "-W", "120"]);
    let mut watchers: Vec<Node> = (0..5).map(watch).collect();
    let ids: Vec<String> = (0..6).map(|host| data.peer_id(host)).collect();
    for (host, watcher) in watchers.iter_mut().enumerate() {
        let others: BTreeSet<&String> = ids.iter().filter(|id| **id != ids[host]).collect();
        let mut alive = BTreeSet::new();
        while alive.len() < others.len() {
            let event = watcher.next_json(Duration::from_secs(60));
            if event["state"] == "alive" {
                alive.insert(event["peer_id"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(alive.iter().collect::<BTreeSet<_>>(), others);
    }
    // All have it, the one that is killed as well.
    let before = publish(&lab, &data, 0, "before", 5);
    assert_eq!(before, "before");

    let killed_at = Instant::now();
    nodes[5].kill();
    for watcher in &mut watchers {
        let gone = loop {
            let event = watcher.next_json(Duration::from_secs(30));
            if event["state"] == "gone" {
                break event;
            }
        };
        assert_eq!(gone["peer_id"], ids[5].as_str(), "nobody else is gone");
        let took = killed_at.elapsed();
        println!("{loss} % loss: gone after {} ms, cause {}", took.as_millis(), gone["cause"]);
        assert!(took < Duration::from_secs(8), "gone only after {took:?}");
    }

    publish(&lab, &data, 1, "while away", 4);
    nodes[5] = Node::start(&lab.host(5), &data.dir(5), &["sub", "lobby", "-n", "1", "-W", "60"]);
    assert!(nodes[5].wait(Duration::from_secs(90)).success(), "{}", nodes[5].talk());
    assert_eq!(nodes[5].stdout(), "while away\n");

    for watcher in &mut watchers {
        for event in watcher.buffered_json() {
            let is_other = event["peer_id"] != ids[5].as_str();
            assert!(!(is_other && event["state"] == "gone"), "a false alarm: {event}");
        }
    }
}

/// Publishes through the running node on `host`; two others have it when this returns.
fn publish(lab: &Lab, data: &Data, host: usize, text: &str, others: usize) -> String {
    let args = ["pub", "lobby", text, "--wait", &others.to_string(), "--timeout", "60"];
    let mut node = Node::start(&lab.host(host), &data.dir(host), &args);
    assert!(node.wait(Duration::from_secs(90)).success(), "{}", node.talk());
    text.to_owned()
}

/// Goal: a host with two interfaces in two bridges joins both sides: what one side says the other hears.
#[test]
fn a_host_on_two_networks_joins_both_sides() {
    skip_or_require!();
    let mut lab = Lab::new(3);
    let data = Data::new(3);
    let second = lab.bridge();
    let (left, middle, right) = (lab.host(0), lab.host(1), lab.host(2));
    lab.unplug(&right);
    lab.plug(&right, second);
    lab.plug(&middle, second);
    let _middle = Node::start(&middle, &data.dir(1), &["up", "lobby"]);
    let mut reader = Node::start(&right, &data.dir(2), &["sub", "lobby", "-n", "2", "-W", "90"]);
    let args = ["pub", "lobby", "-l", "--wait", "1", "--timeout", "60"];
    let mut writer = Node::start(&left, &data.dir(0), &args);
    writer.write_stdin("one\ntwo\n");
    assert!(writer.wait(Duration::from_secs(90)).success(), "{}", writer.talk());
    assert!(reader.wait(Duration::from_secs(90)).success(), "{}", reader.talk());
    assert_eq!(reader.stdout(), "one\ntwo\n");
}

/// Goal: every start finds the other host and has its first message. Method: thirty cold starts beside a node
/// that publishes; how long they take is for the benchmark to judge.
#[test]
fn every_cold_start_finds_the_others() {
    skip_or_require!();
    let lab = Lab::new(2);
    let data = Data::new(2);
    data.peer_id(1);
    let mut publisher =
        Node::start(&lab.host(0), &data.dir(0), &["pub", "ticks", "-l", "--live", "--timeout", "120"]);
    publisher.tick(Duration::from_millis(5));
    let mut took = Vec::new();
    for _ in 0..30 {
        let started = Instant::now();
        let mut reader = Node::start(&lab.host(1), &data.dir(1), &["sub", "ticks", "-n", "1", "-W", "30"]);
        reader.next_line(Duration::from_secs(30));
        took.push(started.elapsed());
        assert!(reader.wait(Duration::from_secs(30)).success(), "{}", reader.talk());
    }
    took.sort();
    println!("start to first message: median {:?}, max {:?}", took[15], took[29]);
}
