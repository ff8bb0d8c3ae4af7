//! The network that takes its time: who is reached, and never before the time that was asked for.
//!
//! Goal: what is measured on it is the way and the hosts, and nothing that the network skips. Method: datagrams between
//! namespaces. On a machine that is busy everything may be late, so only what is too early, or there at all, fails.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use djembe_tests::emulation::{self, Emulation};
use djembe_tests::netns::{Bridge, Host, Lab};
use djembe_tests::skip_or_require;
use djembe_tests::traffic::Kind;

const PORT: u16 = 24_366;
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 43, 66);
/// How long anything may take that does arrive.
const PATIENCE: Duration = Duration::from_secs(20);
/// Some way longer than the shortest of these tests, for what is not to arrive.
const SILENCE: Duration = Duration::from_millis(300);

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn socket(host: &Host) -> UdpSocket {
    let socket = host.bind_udp(PORT).unwrap();
    socket.set_broadcast(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn send(socket: &UdpSocket, to: Ipv4Addr, text: &str) {
    socket.send_to(text.as_bytes(), (to, PORT)).unwrap();
}

fn hear(socket: &UdpSocket) -> (String, SocketAddr) {
    let mut buffer = [0; 100];
    let (n, from) = socket.recv_from(&mut buffer).unwrap();
    (String::from_utf8_lossy(&buffer[..n]).into_owned(), from)
}

fn hears_nothing(socket: &UdpSocket) -> bool {
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    let heard = socket.recv_from(&mut [0; 100]);
    heard.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

/// Goal: a round trip takes the way there and the way back, which may differ, and the second as long as the first, for
/// which addresses had to be asked.
#[test]
fn a_round_trip_takes_both_ways() {
    skip_or_require!(emulation::available());
    let lab = Lab::apart(2);
    let _network =
        Emulation::start(lab.hosts(), Box::new(|from, _| Some(ms(if from == 0 { 20 } else { 30 }))));
    let (a, b) = (socket(&lab.host(0)), socket(&lab.host(1)));
    for n in 0..5 {
        let sent = Instant::now();
        send(&a, lab.host(1).address(), "there");
        let (text, from) = hear(&b);
        assert_eq!((text.as_str(), from.ip()), ("there", lab.host(0).address().into()));
        assert!(sent.elapsed() >= ms(20), "{n}: there after {:?}", sent.elapsed());
        send(&b, lab.host(0).address(), "back");
        assert_eq!(hear(&a).0, "back");
        assert!(sent.elapsed() >= ms(50), "{n}: back after {:?}", sent.elapsed());
    }
}

/// Goal: what is for all reaches each after its own way, and nobody who is cut off.
#[test]
fn a_broadcast_reaches_all_but_who_is_cut_off() {
    skip_or_require!(emulation::available());
    let lab = Lab::apart(5);
    let way = |from: usize, to: usize| (from != 4 && to != 4).then(|| ms(10 * to as u64));
    let network = Emulation::start(lab.hosts(), Box::new(way));
    let sockets: Vec<UdpSocket> = lab.hosts().iter().map(socket).collect();
    for (host, socket) in lab.hosts().iter().zip(&sockets) {
        socket.join_multicast_v4(&GROUP, &host.address()).unwrap();
    }
    sockets[0].set_multicast_loop_v4(false).unwrap();
    for target in [Bridge::FIRST.broadcast(), GROUP] {
        let sent = Instant::now();
        send(&sockets[0], target, "all");
        for (host, socket) in sockets.iter().enumerate().take(4).skip(1) {
            let (text, from) = hear(socket);
            assert_eq!((text.as_str(), from.ip()), ("all", lab.host(0).address().into()), "host {host}");
            assert!(sent.elapsed() >= ms(10 * host as u64), "host {host} after {:?}", sent.elapsed());
        }
    }
    assert!(hears_nothing(&sockets[4]), "it is cut off");
    let seen = network.seen();
    assert_eq!(seen.dropped, 0);
    assert_eq!(seen.traffic[&Kind::Datagram].frames, 2, "a frame for all is one: {:?}", seen.traffic);
    assert_eq!(seen.traffic[&Kind::Datagram].bytes, 2 * 64, "short ones are padded");
}

/// Goal: a packet for which a shorter time was drawn does not overtake the one before it.
#[test]
fn a_cable_keeps_its_order() {
    skip_or_require!(emulation::available());
    let lab = Lab::apart(2);
    let mut times = [40, 1, 30, 2, 20, 3].into_iter().cycle().map(ms);
    let _network = Emulation::start(lab.hosts(), Box::new(move |_, _| times.next()));
    let (a, b) = (socket(&lab.host(0)), socket(&lab.host(1)));
    for n in 0..60 {
        send(&a, lab.host(1).address(), &n.to_string());
    }
    let heard: Vec<String> = (0..60).map(|_| hear(&b).0).collect();
    assert_eq!(heard, (0..60).map(|n| n.to_string()).collect::<Vec<_>>());
}
