//! Hostile clients over libp2p against a running node: it serves its honest peers on, does not grow, pays at most
//! one signature check for a frame of junk, and says of each refusal what it was.
//!
//! Everything is on loopback and in bounded numbers; nothing is judged by time but that it ends.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

mod attacks;
mod client;
mod lists;
mod silence;
mod victim;

use std::collections::BTreeMap;
use std::time::Duration;

use djembe::{Node, Subscription};
use libp2p::Multiaddr;
use victim::Victim;

const GROUP: &str = "square";

/// The node under attack, and two honest ones that talk all the time.
struct Scene {
    network: String,
    victim: Victim,
    /// TCP, QUIC.
    addresses: [Multiaddr; 2],
    honest: [Node; 2],
    inboxes: [Subscription; 2],
    n_sent: usize,
    resident_before: u64,
}

impl Scene {
    async fn set() -> Self {
        let network = format!("hostile-{}", std::process::id());
        let victim = Victim::start(&network, GROUP);
        let addresses = victim.addresses();
        let [a, b] = [honest(&network, &addresses[0]).await, honest(&network, &addresses[1]).await];
        let inbox = async |node: &Node| node.join(GROUP).await.unwrap().subscribe().await.unwrap();
        let inboxes = [inbox(&a).await, inbox(&b).await];
        let mut scene =
            Self { network, victim, addresses, honest: [a, b], inboxes, n_sent: 0, resident_before: 0 };
        // Once all have met: what is resident then is what an unmolested node needs.
        for _ in 0..20 {
            scene.talk().await;
        }
        let group = scene.honest[0].join(GROUP).await.unwrap();
        for n in 0..300 {
            group.publish(format!("history {n} {}", "x".repeat(1000))).await.unwrap();
        }
        scene.talk().await;
        scene.resident_before = scene.victim.resident("VmRSS");
        scene
    }

    /// One message to the node from each honest one, and one from it to both; all arrive.
    async fn talk(&mut self) {
        for node in &self.honest {
            let text = format!("honest {}", self.n_sent);
            node.join(GROUP).await.unwrap().publish(text).await.unwrap();
            self.n_sent += 1;
        }
        let text = format!("victim {}", self.n_sent);
        self.victim.publish(GROUP, &text);
        for inbox in &mut self.inboxes {
            let arrived = async { while inbox.next().await.unwrap().body() != text.as_bytes() {} };
            soon("what the node says arrives", arrived).await;
        }
        let wanted: Vec<String> = (0..self.n_sent).map(|n| format!("honest {n}")).collect();
        let victim = &self.victim;
        let all_there = async {
            while !wanted.iter().all(|text| victim.printed().contains(text)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon("what honest ones say arrives", all_there).await;
    }

    /// What stands in `counters` of the node's status.
    fn count(&self, counter: &str) -> u64 {
        self.victim.count(counter)
    }

    /// All of them.
    fn counts(&self) -> BTreeMap<String, u64> {
        let status = self.victim.status();
        let counters = status["counters"].as_object().unwrap().iter();
        counters.map(|(cause, n)| (cause.clone(), n.as_u64().unwrap())).collect()
    }

    /// At the end: everything came once, and the node is no more than twice as large.
    fn judge(&self) {
        let mut printed = self.victim.printed();
        printed.retain(|text| text.starts_with("honest "));
        let n = printed.len();
        printed.sort();
        printed.dedup();
        assert_eq!((n, printed.len()), (self.n_sent, self.n_sent), "each message once");
        let (before, most) = (self.resident_before, self.victim.resident("VmHWM"));
        println!("resident: {before} KiB before, {most} KiB at most");
        println!("counted: {}", self.victim.status()["counters"]);
        assert!(most <= 2 * before, "{most} KiB at most, {before} KiB before");
    }
}

async fn honest(network: &str, peer: &Multiaddr) -> Node {
    Node::builder()
        .in_memory()
        .network(network)
        .listen("/ip4/127.0.0.1/tcp/0")
        .listen("/ip4/127.0.0.1/udp/0/quic-v1")
        .discovery(false)
        .peer(peer.to_string())
        .spawn()
        .await
        .unwrap()
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let soon = tokio::time::timeout(Duration::from_secs(30), future).await;
    soon.unwrap_or_else(|_| panic!("{what}: not within 30 s"))
}

/// Goal and method: see the head of this file; the attacks are in `attacks.rs`, each in a function that ends with
/// what the node has to have counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_serves_its_honest_peers_whatever_hostile_ones_send() {
    let mut scene = Scene::set().await;
    for kind in [0, 1] {
        attacks::junk_for_a_handshake(&mut scene, kind).await;
        attacks::junk_after_the_handshake(&mut scene, kind).await;
        attacks::lengths_that_no_frame_has(&mut scene, kind).await;
        attacks::streams_without_end(&mut scene, kind).await;
        attacks::streams_half_open(&mut scene, kind).await;
        attacks::unknown_class(&mut scene, kind).await;
        attacks::bad_signatures(&mut scene, kind).await;
        attacks::strangers_to_the_group(&mut scene, kind).await;
        attacks::duplicates(&mut scene, kind).await;
        attacks::control_talk(&mut scene, kind).await;
        attacks::subscriptions(&mut scene, kind).await;
        attacks::hello_twice(&mut scene, kind).await;
        attacks::reads_nothing(&mut scene, kind).await;
        lists::greetings(&mut scene, kind).await;
        lists::claimed_lengths(&mut scene, kind).await;
        lists::doubles_in_a_greeting(&mut scene, kind).await;
        lists::lists_out_of_order(&mut scene, kind).await;
        lists::invented_peers(&mut scene, kind).await;
        silence::silent_connections(&mut scene, kind).await;
    }
    attacks::yamux_pings(&mut scene).await;
    attacks::slow_handshakes(&mut scene).await;
    silence::quic_handshakes_without_end(&mut scene).await;
    attacks::abandoned_sockets(&mut scene).await;
    attacks::forged_beacons(&mut scene).await;
    scene.talk().await;
    scene.judge();
}
