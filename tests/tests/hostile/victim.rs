//! The node under attack: a `djembe` process on loopback, what it prints, and what it says of itself.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use djembe_tests::binary;
use libp2p::Multiaddr;
use serde_json::Value;

/// Patience that only a hang exhausts.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Victim {
    child: Child,
    dir: PathBuf,
    bodies: Arc<Mutex<Vec<String>>>,
}

impl Victim {
    /// Listens on TCP and QUIC on free ports of loopback, and looks for nobody.
    pub(crate) fn start(network: &str, group: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("djembe-hostile-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut child = Command::new(binary::djembe())
            .args(["sub", group, "--json", "--no-discovery", "--network", network])
            .args(["--listen", "/ip4/127.0.0.1/tcp/0", "--listen", "/ip4/127.0.0.1/udp/0/quic-v1"])
            .arg("--data-dir")
            .arg(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let (stdout, lines) = (BufReader::new(child.stdout.take().unwrap()), bodies.clone());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let message: Value = serde_json::from_str(&line).unwrap();
                lines.lock().unwrap().push(message["body"].as_str().unwrap_or_default().to_owned());
            }
        });
        let victim = Self { child, dir, bodies };
        let deadline = Instant::now() + PATIENCE;
        while victim.ask(&["status"]).is_none_or(|status| status["listen"].as_array().map_or(0, Vec::len) < 2)
        {
            assert!(Instant::now() < deadline, "it does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        victim
    }

    /// Runs a command on the node; `None` if it fails, as it does before the node listens.
    fn ask(&self, args: &[&str]) -> Option<Value> {
        let mut command = Command::new(binary::djembe());
        command.args(args).arg("--json").arg("--data-dir").arg(&self.dir).stdin(Stdio::null());
        // Where there is no node yet, none is to be started.
        if !self.dir.join("node.sock").exists() {
            return None;
        }
        let output = command.output().unwrap();
        output.status.success().then(|| serde_json::from_slice(&output.stdout).ok()).flatten()
    }

    pub(crate) fn status(&self) -> Value {
        self.ask(&["status"]).expect("it answers")
    }

    pub(crate) fn count(&self, counter: &str) -> u64 {
        self.status()["counters"][counter].as_u64().unwrap_or(0)
    }

    /// Its addresses, the peer id at the end: TCP, QUIC.
    pub(crate) fn addresses(&self) -> [Multiaddr; 2] {
        let status = self.status();
        let peer = status["peer_id"].as_str().unwrap();
        let listen: Vec<&str> =
            status["listen"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        ["/tcp/", "/quic-v1"].map(|kind| {
            let address = listen.iter().find(|address| address.contains(kind)).unwrap();
            format!("{address}/p2p/{peer}").parse().unwrap()
        })
    }

    /// What it has printed so far.
    pub(crate) fn printed(&self) -> Vec<String> {
        self.bodies.lock().unwrap().clone()
    }

    /// Has it publish; two others have stored it when this returns.
    pub(crate) fn publish(&self, group: &str, text: &str) {
        let mut command = Command::new(binary::djembe());
        command.args(["pub", group, text, "--wait", "2", "--timeout", "30", "--data-dir"]).arg(&self.dir);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Resident memory in KiB, now (`VmRSS`) or at most so far (`VmHWM`).
    pub(crate) fn resident(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
