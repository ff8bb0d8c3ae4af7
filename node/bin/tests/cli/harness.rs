//! The real binary on loopback: each test has a network, a beacon port and data directories of its own.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Nothing here takes long; a test that hangs is to fail.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A LAN of its own on loopback, and a place for data directories, removed at the end.
pub(crate) struct Lan {
    root: PathBuf,
    network: String,
    beacon_port: u16,
}

impl Lan {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("{name}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let root = std::env::temp_dir().join(format!("djembe-cli-{unique}"));
        std::fs::create_dir(&root).unwrap();
        // Free a moment ago; whoever else takes it is in another network.
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let beacon_port = socket.local_addr().unwrap().port();
        Self { root, network: unique, beacon_port }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// `djembe` with this data directory and nothing else.
    pub(crate) fn bare(&self, dir: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_djembe"));
        command.env_remove("DJEMBE_DATA_DIR").arg("--data-dir").arg(self.path(dir)).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// `djembe` on this LAN.
    pub(crate) fn command(&self, dir: &str, args: &[&str]) -> Command {
        let mut command = self.bare(dir, args);
        command.args(["--network", &self.network, "--beacon-port", &self.beacon_port.to_string()]);
        command.args(["--no-mdns", "--interface", "lo", "--listen", "/ip4/127.0.0.1/tcp/0"]);
        command
    }

    pub(crate) fn start(&self, dir: &str, args: &[&str]) -> Running {
        Running::start(self.command(dir, args))
    }

    pub(crate) fn run(&self, dir: &str, args: &[&str]) -> Ended {
        self.start(dir, args).end()
    }

    /// Starts and waits until it has said `word` on standard error.
    pub(crate) fn start_until(&self, dir: &str, args: &[&str], word: &str) -> Running {
        let mut running = self.start(dir, args);
        running.says(word);
        running
    }

    pub(crate) fn socket(&self, dir: &str) -> PathBuf {
        self.path(dir).join("node.sock")
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// A command at work; killed if the test ends before it.
pub(crate) struct Running {
    child: Child,
    pub(crate) stdout: Lines,
    stderr: Lines,
}

/// What a command has ended with.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take().map(Lines::of).unwrap_or_default();
        let stderr = child.stderr.take().map(Lines::of).unwrap_or_default();
        Self { child, stdout, stderr }
    }

    /// With standard input for [`Running::write`].
    pub(crate) fn with_input(mut command: Command) -> Self {
        command.stdin(Stdio::piped());
        Self::start(command)
    }

    pub(crate) fn write(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn close_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for a line on standard error with this in it.
    pub(crate) fn says(&mut self, word: &str) {
        self.stderr.until(word);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn end(mut self) -> Ended {
        self.close_input();
        let since = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(since.elapsed() < PATIENCE, "still running: {}", self.stderr.rest_now());
            std::thread::sleep(Duration::from_millis(10));
        };
        Ended { code: status.code(), stdout: self.stdout.rest(), stderr: self.stderr.rest() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stdout: String = self.stdout.chars().take(2000).collect();
        write!(f, "exit {:?}\n--- stdout:\n{stdout}\n--- stderr:\n{}", self.code, self.stderr)
    }
}

impl Ended {
    /// Fails unless it ended with this code and said these words on standard error.
    pub(crate) fn expect(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "\"{word}\" is missing: {self:?}");
        }
        self
    }

    pub(crate) fn json(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Lines as they come.
#[derive(Default)]
pub(crate) struct Lines {
    lines: Option<Receiver<String>>,
    read: String,
}

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
                line.clear();
            }
        });
        Self { lines: Some(lines), read: String::new() }
    }

    pub(crate) fn next(&mut self) -> String {
        let line = self.lines.as_ref().unwrap().recv_timeout(PATIENCE);
        let line = line.unwrap_or_else(|error| panic!("{error}, after: {}", self.read));
        self.read.push_str(&line);
        line.trim_end_matches('\n').to_owned()
    }

    pub(crate) fn until(&mut self, word: &str) -> String {
        loop {
            let line = self.next();
            if line.contains(word) {
                return line;
            }
        }
    }

    fn rest(&mut self) -> String {
        let rest: String = self.lines.take().into_iter().flatten().collect();
        std::mem::take(&mut self.read) + &rest
    }

    fn rest_now(&mut self) -> String {
        let rest: String = self.lines.iter().flat_map(Receiver::try_iter).collect();
        std::mem::take(&mut self.read) + &rest
    }
}

pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().unwrap().permissions().mode() & 0o777
}
