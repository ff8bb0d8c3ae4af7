//! The laboratory itself: what hosts on one switch can hear of each other, and that nothing is left behind.
//!
//! Goal: an end-to-end test that fails does so because of djembe. Method: datagrams between hosts by `lab-udp`.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use djembe_tests::netns::{Bridge, Host, Lab};
use djembe_tests::skip_or_require;

const PORT: u16 = 24_365;
const GROUP: &str = "239.255.43.65";

/// A host that receives datagrams, until it has its number or its patience ends.
struct Receiver {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Receiver {
    fn start(host: &Host, count: usize, group: &[&str]) -> Self {
        let any = if group.first().is_some_and(|group| group.contains(':')) { "[::]" } else { "0.0.0.0" };
        Self::start_with(host, count, 5, any, group)
    }

    fn start_with(host: &Host, count: usize, seconds: u32, local: &str, group: &[&str]) -> Self {
        let mut child = udp(host)
            .args(["receive", &format!("{local}:{PORT}"), &count.to_string(), &seconds.to_string()])
            .args(group)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { child, output }
    }

    fn heard(mut self) -> String {
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        assert!(self.child.wait().unwrap().success());
        text
    }
}

fn udp(host: &Host) -> Command {
    host.command(env!("CARGO_BIN_EXE_lab-udp"))
}

fn send(host: &Host, target: &str, texts: &[&str]) -> bool {
    send_from(host, &format!("{}:0", host.address()), target, texts)
}

fn send_from(host: &Host, source: &str, target: &str, texts: &[&str]) -> bool {
    udp(host).args(["send", source, target]).args(texts).stderr(Stdio::null()).status().unwrap().success()
}

#[test]
fn hosts_hear_unicast_broadcast_and_multicast() {
    skip_or_require!();
    let lab = Lab::new(2);
    let (a, b) = (lab.host(0), lab.host(1));
    let address = b.address().to_string();
    let targets = [
        (b.address().to_string(), vec![]),
        (Bridge::FIRST.broadcast().to_string(), vec![]),
        ("255.255.255.255".to_owned(), vec![]),
        (GROUP.to_owned(), vec![GROUP, &address]),
    ];
    for (target, group) in targets {
        let receiver = Receiver::start(&b, 1, &group);
        assert!(send(&a, &format!("{target}:{PORT}"), &["hello"]));
        assert_eq!(receiver.heard(), format!("{} hello\n", a.address()), "sent to {target}");
    }
}

#[test]
fn hosts_hear_ipv6_link_local_multicast() {
    skip_or_require!();
    let lab = Lab::new(2);
    let (a, b) = (lab.host(0), lab.host(1));
    let index = |host: &Host| {
        let output = host.command("cat").arg("/sys/class/net/eth0/ifindex").output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let receiver = Receiver::start(&b, 1, &["ff02::4365", &index(&b)]);
    assert!(send_from(&a, "[::]:0", &format!("[ff02::4365%{}]:{PORT}", index(&a)), &["hello"]));
    let heard = receiver.heard();
    assert!(heard.starts_with("fe80::") && heard.ends_with(" hello\n"), "{heard}");
}

/// What beacons must live with: without a multicast route the kernel sends neither multicast nor limited broadcast
/// from an unbound socket, but does so from one that is bound to an interface's address.
#[test]
fn without_a_multicast_route_a_bound_source_address_still_reaches_everyone() {
    skip_or_require!();
    let lab = Lab::new(2);
    let (a, b) = (lab.host(0), lab.host(1));
    a.forget_multicast_route(Bridge::FIRST);
    b.forget_multicast_route(Bridge::FIRST);
    let address = b.address().to_string();
    for (target, group) in [(GROUP, vec![GROUP, &address]), ("255.255.255.255", vec![])] {
        let target = format!("{target}:{PORT}");
        let receiver = Receiver::start(&b, 1, &group);
        assert!(!send_from(&a, "0.0.0.0:0", &target, &["lost"]), "{target} without a route");
        assert!(send(&a, &target, &["hello"]));
        assert_eq!(receiver.heard(), format!("{} hello\n", a.address()), "sent to {target}");
    }
}

#[test]
fn a_host_on_two_switches_hears_both_and_forwards_neither() {
    skip_or_require!();
    let mut lab = Lab::new(3);
    let (left, middle, right) = (lab.host(0), lab.host(1), lab.host(2));
    let other = lab.bridge();
    lab.plug(&middle, other);
    lab.unplug(&right);
    lab.plug(&right, other);
    let receiver = Receiver::start(&middle, 2, &[]);
    let from_right = format!("{}:0", right.address_on(other));
    assert!(send(&left, &format!("{}:{PORT}", middle.address()), &["one"]));
    assert!(send_from(&right, &from_right, &format!("{}:{PORT}", middle.address_on(other)), &["two"]));
    let heard = receiver.heard();
    assert_eq!(heard, format!("{} one\n{} two\n", left.address(), right.address_on(other)));
    assert!(!send(&left, &format!("{}:{PORT}", right.address_on(other)), &["three"]), "no route, no default");
}

#[test]
fn an_unplugged_host_hears_nothing_until_it_is_plugged_in_again() {
    skip_or_require!();
    let mut lab = Lab::new(2);
    let (a, b) = (lab.host(0), lab.host(1));
    let target = format!("{}:{PORT}", Bridge::FIRST.broadcast());
    lab.unplug(&b);
    let receiver = Receiver::start_with(&b, 1, 1, "0.0.0.0", &[]);
    assert!(send(&a, &target, &["lost"]));
    assert_eq!(receiver.heard(), "");
    lab.plug(&b, Bridge::FIRST);
    let receiver = Receiver::start(&b, 1, &[]);
    assert!(send(&a, &target, &["hello"]));
    assert_eq!(receiver.heard(), format!("{} hello\n", a.address()));
}

#[test]
fn a_cut_trunk_parts_a_network_and_a_mended_one_joins_it() {
    skip_or_require!();
    let lab = Lab::new(3);
    let (a, b, c) = (lab.host(0), lab.host(1), lab.host(2));
    let trunk = lab.split(std::slice::from_ref(&c));
    let target = format!("{}:{PORT}", Bridge::FIRST.broadcast());
    let heard = |text: &str| {
        let receivers = [&b, &c].map(|host| Receiver::start_with(host, 1, 1, "0.0.0.0", &[]));
        assert!(send(&a, &target, &[text]));
        receivers.map(|receiver| !receiver.heard().is_empty())
    };
    assert_eq!(heard("joined"), [true, true]);
    trunk.cut();
    assert_eq!(heard("cut"), [true, false]);
    trunk.mend();
    assert_eq!(heard("mended"), [true, true]);
}

#[test]
fn loss_takes_its_share_and_no_more() {
    skip_or_require!();
    let lab = Lab::new(2);
    let (a, b) = (lab.host(0), lab.host(1));
    let texts: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let arrived = |percent| {
        b.loss(percent);
        let receiver = Receiver::start_with(&b, texts.len(), 1, "0.0.0.0", &[]);
        // Broadcast: no address resolution that could be lost as well.
        assert!(send(&a, &format!("{}:{PORT}", Bridge::FIRST.broadcast()), &texts));
        receiver.heard().lines().count()
    };
    assert_eq!(arrived(100), 0);
    assert_eq!(arrived(0), texts.len());
    // 100 of 200 are expected; outside 60..140 is beyond five standard deviations.
    assert!((60..140).contains(&arrived(50)));
}

#[test]
fn a_capture_holds_what_crossed_the_switch() {
    skip_or_require!();
    let lab = Lab::new(2);
    let (a, b) = (lab.host(0), lab.host(1));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("lab-{}.pcap", std::process::id()));
    let capture = lab.capture(&path);
    let receiver = Receiver::start(&b, 1, &[]);
    assert!(send(&a, &format!("{}:{PORT}", b.address()), &["canary-in-the-wire"]));
    receiver.heard();
    let bytes = std::fs::read(capture.stop()).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(
        bytes.windows(18).any(|window| window == b"canary-in-the-wire"),
        "{} bytes recorded",
        bytes.len()
    );
}

#[test]
fn nothing_is_left_of_a_lab_not_even_after_a_panic() {
    skip_or_require!();
    let namespaces = || {
        let output = Command::new("ip").args(["netns", "list"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let (name, mut running) = {
        let lab = Lab::new(1);
        let host = lab.host(0);
        let name = format!("{host:?}").split('"').nth(1).unwrap().to_owned();
        let running = host.command("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
        assert!(namespaces().contains(&name));
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _lab = lab;
            panic!("a test that fails, as it should here");
        }));
        assert!(unwound.is_err());
        (name, running)
    };
    assert!(!namespaces().contains(&name));
    assert!(!running.wait().unwrap().success(), "its processes were ended");
}
