//! A harness with verbs for end-to-end tests: nodes as child processes with data directories of their own.
#![allow(dead_code, reason = "each test file uses some of them")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use djembe_tests::binary;
use djembe_tests::netns::Host;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Stands in every line of a text, so that a capture can be searched for it.
pub(crate) const CANARY: &str = "canary-in-plain-sight";

/// Data directories, removed at the end.
pub(crate) struct Data(PathBuf);

impl Data {
    pub(crate) fn new(n: usize) -> Self {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("djembe-e2e-{}-{count}", std::process::id()));
        let data = Self(path);
        for host in 0..n {
            std::fs::create_dir_all(data.dir(host)).unwrap();
        }
        data
    }

    pub(crate) fn dir(&self, host: usize) -> PathBuf {
        self.0.join(host.to_string())
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The identity of a host, made if there is none.
    pub(crate) fn peer_id(&self, host: usize) -> String {
        let mut command = std::process::Command::new(binary::djembe());
        command.args(["id", "--json", "--data-dir"]).arg(self.dir(host));
        let output = command.output().unwrap();
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        value["peer_id"].as_str().unwrap().to_owned()
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running `djembe`.
pub(crate) struct Node {
    child: Child,
    lines: Receiver<(Instant, String)>,
    read: Vec<String>,
    talk: Arc<Mutex<String>>,
    ticking: Option<std::thread::JoinHandle<()>>,
}

impl Node {
    pub(crate) fn start(host: &Host, data_dir: &Path, args: &[&str]) -> Self {
        let mut command = host.command(binary::djembe());
        command.arg("--data-dir").arg(data_dir).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        let talk = Arc::new(Mutex::new(String::new()));
        let (mut stderr, copy) = (child.stderr.take().unwrap(), talk.clone());
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = stderr.read(&mut chunk) {
                copy.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..n]));
            }
        });
        Self { child, lines, read: Vec::new(), talk, ticking: None }
    }

    /// Writes all of stdin and closes it.
    pub(crate) fn write_stdin(&mut self, text: &str) {
        let mut stdin = self.child.stdin.take().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
    }

    /// Writes a line every `period` until the child ends.
    pub(crate) fn tick(&mut self, period: Duration) {
        let mut stdin = self.child.stdin.take().unwrap();
        self.ticking = Some(std::thread::spawn(move || {
            for n in 0u64.. {
                if writeln!(stdin, "tick {n}").and_then(|()| stdin.flush()).is_err() {
                    return;
                }
                std::thread::sleep(period);
            }
        }));
    }

    /// Writes these lines, one every `period`, and closes stdin. Returns when each was written.
    pub(crate) fn say(&mut self, lines: &[String], period: Duration) -> Vec<Instant> {
        let mut stdin = self.child.stdin.take().unwrap();
        let mut due = Instant::now();
        let say = |line: &String| {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            due += period;
            writeln!(stdin, "{line}").and_then(|()| stdin.flush()).unwrap();
            Instant::now()
        };
        lines.iter().map(say).collect()
    }

    pub(crate) fn wait(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "still running after {patience:?}: {}", self.talk());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn next_line(&mut self, patience: Duration) -> String {
        let line = self.lines.recv_timeout(patience);
        let (_, line) = line.unwrap_or_else(|_| panic!("no line within {patience:?}: {}", self.talk()));
        self.read.push(line.clone());
        line
    }

    pub(crate) fn next_json(&mut self, patience: Duration) -> Value {
        serde_json::from_str(&self.next_line(patience)).unwrap()
    }

    /// What has come and was not read.
    pub(crate) fn buffered_json(&mut self) -> Vec<Value> {
        self.lines.try_iter().map(|(_, line)| serde_json::from_str(&line).unwrap()).collect()
    }

    /// Everything on stdout, once it has ended.
    pub(crate) fn stdout(&mut self) -> String {
        self.read.extend(self.lines.iter().map(|(_, line)| line));
        self.read.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Each line that was not read yet, and when it came, once it has ended.
    pub(crate) fn arrivals(&mut self) -> Vec<(Instant, String)> {
        self.lines.iter().collect()
    }

    /// Everything on stderr.
    pub(crate) fn talk(&self) -> String {
        self.talk.lock().unwrap().clone()
    }

    /// Waits until it has said this on stderr.
    pub(crate) fn wait_for_talk(&self, text: &str, patience: Duration) {
        let deadline = Instant::now() + patience;
        while !self.talk().contains(text) {
            assert!(
                Instant::now() < deadline,
                "not said within {patience:?}: \"{text}\" but {}",
                self.talk()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// It gets no time from its machine until [`Node::go_on`].
    pub(crate) fn stand_still(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(ticking) = self.ticking.take() {
            let _ = ticking.join();
        }
    }
}

/// A text of so many lines, each different, with the canary in it.
pub(crate) fn text_of_lines(n: usize) -> String {
    let source = include_str!("../../../LICENSE-APACHE");
    let lines = source.lines().filter(|line| !line.trim().is_empty()).cycle().take(n);
    lines.enumerate().map(|(i, line)| format!("{i} {CANARY} {}\n", line.trim())).collect()
}
