//! What a link costs, measured between two runtimes over loopback. Not run with the tests:
//!
//!     cargo test --release -p djembe --lib -- --ignored --nocapture --test-threads 1 measure

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};

use super::*;

const TCP: &str = "/ip4/127.0.0.1/tcp/0";
#[cfg(feature = "quic")]
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";
/// What the engine lets wait on a link.
const QUEUED_MAX: usize = 512 * 1024;

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

type Received = [mpsc::Receiver<Inbound<Bytes>>; 4];

async fn transport(seed: u8, listen: &str) -> (Transport<Bytes>, Multiaddr, Received) {
    let config = TransportConfig {
        secret_key: zeroize::Zeroizing::new([seed; 32]),
        listen: vec![listen.parse().expect("an address")],
        mdns: None,
        links_max: 64,
    };
    let channels = [(); 4].map(|()| mpsc::channel(32));
    let (senders, received): (Vec<_>, Vec<_>) = channels.into_iter().unzip();
    let mut transport = Transport::new(
        config,
        Arc::new(|frame| Ok(frame.as_bytes().clone())),
        senders.try_into().expect("four"),
    )
    .expect("listens");
    let TransportEvent::Listening { address } = transport.next_event().await else { panic!("no address") };
    (transport, address, received.try_into().expect("four"))
}

async fn up<T: Send + 'static>(transport: &mut Transport<T>) -> LinkId {
    loop {
        match transport.next_event().await {
            TransportEvent::LinkUp { link, .. } => return link,
            TransportEvent::LinkDown { cause, .. } => panic!("down: {cause:?}"),
            TransportEvent::DialFailed { error, .. } => panic!("dial: {error}"),
            _ => {}
        }
    }
}

/// User and system time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = stat.rsplit(") ").next().expect("a line");
    let field =
        |n: usize| after_name.split(' ').nth(n).and_then(|text| text.parse::<u64>().ok()).expect("a number");
    Duration::from_millis((field(11) + field(12)) * 10)
}

/// Resident memory, and what of it is not the program's own text.
fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let field = |name| {
        let line = status.lines().find(|line| line.starts_with(name)).expect("a line");
        line.split_whitespace().nth(1).expect("a number").to_owned()
    };
    format!("{} KiB resident, {} of it anonymous", field("VmRSS"), field("RssAnon"))
}

/// A node that counts what it gets on one class.
fn sink(runtime: &Runtime, listen: &'static str, class: Class) -> (Multiaddr, PeerId, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    let (mut transport, address, mut received) = runtime.block_on(transport(2, listen));
    let (peer, counter) = (transport.local_peer(), count.clone());
    runtime.spawn(async move {
        loop {
            tokio::select! {
                _ = transport.next_event() => {}
                Some(Inbound::Frame { bytes, .. }) = received[class as usize].recv() => {
                    counter.fetch_add(bytes as u64, Ordering::Relaxed);
                }
            }
        }
    });
    (address, peer, count)
}

fn throughput(listen: &'static str, length: usize, for_: Duration) {
    let (theirs, ours) = (runtime(), runtime());
    let (address, peer, count) = sink(&theirs, listen, Class::Forward);
    let task = ours.spawn(async move {
        let (mut transport, _, _received) = transport(1, listen).await;
        let begin = Instant::now();
        transport.dial(Some(peer), vec![address]);
        let link = up(&mut transport).await;
        let dialled = begin.elapsed();
        let body = Bytes::from(vec![7; length - 60]);
        let mut queued = 0;
        let (begin, cpu_begin) = (Instant::now(), cpu());
        let mut n_events = 0u64;
        while begin.elapsed() < for_ {
            while queued < QUEUED_MAX {
                let head = Bytes::copy_from_slice(&[1; 60]);
                transport.send(link, Class::Forward, Transmit { head, body: body.clone() }).expect("queued");
                transport.wake(link);
                queued += length;
            }
            if let TransportEvent::Written { bytes, .. } = transport.next_event().await {
                queued -= bytes;
                n_events += 1;
            }
        }
        (begin.elapsed(), cpu() - cpu_begin, dialled, n_events)
    });
    let (wall, cpu, dialled, n_events) = ours.block_on(task).expect("runs");
    let bytes = count.load(Ordering::Relaxed) as f64;
    println!(
        "{listen:32} {length:6} B frames: {:7.1} MB/s, {:5.2} us CPU per KiB (both ends), {:6.2} us per frame, \
         {} reports for {} frames, dial to link {dialled:?}, {}",
        bytes / 1e6 / wall.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / (bytes / 1024.0),
        cpu.as_secs_f64() * 1e6 / (bytes / length as f64),
        n_events,
        bytes as u64 / length as u64,
        resident(),
    );
}

fn latency(listen: &'static str, length: usize, n: usize, pause: Duration) {
    let (theirs, ours) = (runtime(), runtime());
    let (address, peer, mut arrived) = {
        let (mut transport, address, mut received) = theirs.block_on(transport(2, listen));
        let (arrived_out, arrived) = mpsc::channel(1024);
        let peer = transport.local_peer();
        theirs.spawn(async move {
            loop {
                tokio::select! {
                    _ = transport.next_event() => {}
                    Some(_) = received[Class::Own as usize].recv() => {
                        arrived_out.try_send(Instant::now()).ok();
                    }
                }
            }
        });
        (address, peer, arrived)
    };
    let task = ours.spawn(async move {
        let (mut transport, _, _received) = transport(1, listen).await;
        transport.dial(Some(peer), vec![address]);
        let link = up(&mut transport).await;
        let mut times = Vec::new();
        let mut tick = tokio::time::interval(pause);
        let cpu_begin = cpu();
        while times.len() < n {
            tokio::select! {
                _ = tick.tick() => {
                    let head = Bytes::from(vec![1; length]);
                    let sent = Instant::now();
                    transport.send(link, Class::Own, Transmit { head, body: Bytes::new() }).expect("queued");
                    transport.wake(link);
                    let at = loop {
                        tokio::select! {
                            _ = transport.next_event() => {}
                            Some(at) = arrived.recv() => break at,
                        }
                    };
                    times.push(at - sent);
                }
                _ = transport.next_event() => {}
            }
        }
        (times, cpu() - cpu_begin)
    });
    let (mut times, cpu) = ours.block_on(task).expect("runs");
    times.sort();
    println!(
        "{listen:32} {length:6} B one way, one each {pause:?}: p50 {:?}, p99 {:?}, max {:?}, {:.0} us CPU each",
        times[n / 2],
        times[n * 99 / 100],
        times[n - 1],
        cpu.as_secs_f64() * 1e6 / n as f64,
    );
}

#[test]
#[ignore = "a measurement"]
fn measure_throughput() {
    for length in [48 * 1024, 8 * 1024, 1400, 100] {
        throughput(TCP, length, Duration::from_secs(3));
        #[cfg(feature = "quic")]
        throughput(QUIC, length, Duration::from_secs(3));
    }
}

#[test]
#[ignore = "a measurement"]
fn measure_latency() {
    for length in [1400, 100] {
        latency(TCP, length, 500, Duration::from_millis(10));
        #[cfg(feature = "quic")]
        latency(QUIC, length, 500, Duration::from_millis(10));
    }
}

/// Only half the links' cost is this process's own, so both ends are measured: eight nodes with one link each
/// beside one with eight.
#[test]
#[ignore = "a measurement"]
fn measure_memory() {
    let runtime = runtime();
    println!("before: {}", resident());
    runtime.block_on(async {
        let (mut a, address, _received) = transport(1, TCP).await;
        println!("one node: {}", resident());
        let mut others = Vec::new();
        for seed in 0..8 {
            others.push(transport(10 + seed, TCP).await);
        }
        let before = resident();
        for (b, ..) in &mut others {
            b.dial(Some(a.local_peer()), vec![address.clone()]);
            tokio::join!(up(&mut a), up(b));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        println!("nine nodes: {before}; with eight links, both ends: {}", resident());
    });
}

/// The same with nothing of ours: libp2p's own TCP, Noise and Yamux, no stream opened, no protocol.
#[test]
#[ignore = "a measurement"]
fn measure_bare_memory() {
    use futures::StreamExt;
    use libp2p::swarm::dummy;
    use libp2p::{noise, tcp};

    fn swarm() -> Swarm<dummy::Behaviour> {
        libp2p::SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(
                tcp::Config::default().nodelay(true),
                noise::Config::new,
                libp2p::yamux::Config::default,
            )
            .expect("keys")
            .with_behaviour(|_| dummy::Behaviour)
            .expect("nothing to fail")
            .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(3600)))
            .build()
    }

    async fn linked(swarm: &mut Swarm<dummy::Behaviour>, n: usize) {
        let mut links = 0;
        while links < n {
            links +=
                usize::from(matches!(swarm.next().await, Some(SwarmEvent::ConnectionEstablished { .. })));
        }
    }

    let runtime = runtime();
    println!("before: {}", resident());
    runtime.block_on(async {
        let mut a = swarm();
        a.listen_on(TCP.parse().expect("an address")).expect("listens");
        let address = loop {
            if let Some(SwarmEvent::NewListenAddr { address, .. }) = a.next().await {
                break address;
            }
        };
        println!("one node: {}", resident());
        let mut others: Vec<_> = (0..8).map(|_| swarm()).collect();
        let before = resident();
        for b in &mut others {
            b.dial(address.clone()).expect("dials");
            tokio::join!(linked(&mut a, 1), linked(b, 1));
        }
        let rest = async {
            loop {
                let _ = a.next().await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(200), rest).await;
        println!("nine nodes: {before}; with eight links, both ends: {}", resident());
    });
}
