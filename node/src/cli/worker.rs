//! Processes of this very program, started to be nodes of their own and driven over pipes: one JSON object a
//! line, commands in, reports out. `demo` and `bench` use them.
//!
//! A worker lives as long as its standard input: when whoever started it ends, however it ends, the pipe closes
//! and the worker ends too.

use std::collections::VecDeque;
use std::io::{BufRead, Write};
use std::marker::PhantomData;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Reports that wait to be read; a worker that tells more waits.
const REPORTS: usize = 256;
/// Lines of a worker's standard error that are kept, to be shown if it fails.
const LAST_WORDS: usize = 20;
/// For a worker to say goodbye to its neighbours and to close its store.
const PARTING: Duration = Duration::from_secs(5);

/// What went wrong with a worker.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// It never ran.
    #[error("{name} could not be started: {error}")]
    Start { name: String, error: std::io::Error },
    /// It ended by itself.
    #[error("{name} ended ({status}){words}")]
    Ended { name: String, status: String, words: String },
    /// Nobody said anything in time.
    #[error("nothing was heard in time")]
    Late,
}

/// Workers that report into one channel. Dropped, it kills them.
pub(crate) struct Crew<E> {
    subcommand: &'static str,
    workers: Vec<Worker>,
    reports: mpsc::Receiver<(usize, Option<E>)>,
    sender: mpsc::Sender<(usize, Option<E>)>,
    event: PhantomData<E>,
}

struct Worker {
    name: String,
    process: Child,
    input: Option<ChildStdin>,
    words: Arc<Mutex<VecDeque<String>>>,
    /// Its end is wanted, so it is no trouble.
    may_end: bool,
}

impl<E: DeserializeOwned + Send + 'static> Crew<E> {
    /// Nobody yet; each will run `subcommand`.
    pub(crate) fn new(subcommand: &'static str) -> Self {
        let (sender, reports) = mpsc::channel(REPORTS);
        Self { subcommand, workers: Vec::new(), reports, sender, event: PhantomData }
    }

    /// Starts one more, and gives the number that its reports will bear. Numbers are never used again.
    pub(crate) async fn start(&mut self, name: &str, setup: &impl Serialize) -> Result<usize, Trouble> {
        let failed = |error| Trouble::Start { name: name.to_owned(), error };
        let program = std::env::current_exe().map_err(failed)?;
        let mut process = tokio::process::Command::new(program)
            .arg(self.subcommand)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let number = self.workers.len();
        let words = Arc::default();
        if let (Some(output), Some(errors)) = (process.stdout.take(), process.stderr.take()) {
            tokio::spawn(pass_on(output, number, self.sender.clone()));
            tokio::spawn(remember(errors, Arc::clone(&words)));
        }
        let input = process.stdin.take();
        self.workers.push(Worker { name: name.to_owned(), process, input, words, may_end: false });
        self.tell(number, setup).await?;
        Ok(number)
    }

    /// Sends a command. One that cannot be delivered shows as the worker's end.
    pub(crate) async fn tell(&mut self, number: usize, command: &impl Serialize) -> Result<(), Trouble> {
        let worker = &mut self.workers[number];
        let mut line = serde_json::to_vec(command).unwrap_or_default();
        line.push(b'\n');
        let written = match &mut worker.input {
            Some(input) => input.write_all(&line).await,
            None => Ok(()),
        };
        match written {
            Ok(()) => Ok(()),
            Err(_) => Err(worker.ended().await),
        }
    }

    /// The next report of anybody. Cancel-safe.
    pub(crate) async fn next(&mut self, deadline: Instant) -> Result<(usize, E), Trouble> {
        loop {
            match tokio::time::timeout_at(deadline, self.reports.recv()).await {
                Ok(Some((number, Some(report)))) => return Ok((number, report)),
                Ok(Some((number, None))) if !self.workers[number].may_end => {
                    return Err(self.workers[number].ended().await);
                }
                Ok(Some((_, None))) => {}
                Ok(None) | Err(_) => return Err(Trouble::Late),
            }
        }
    }

    /// Ends one with SIGKILL: no goodbye, nothing flushed.
    pub(crate) async fn kill(&mut self, number: usize) {
        let worker = &mut self.workers[number];
        worker.may_end = true;
        // Fails only if it has ended.
        let _ = worker.process.kill().await;
        // Only now: the end of its input would have let it say goodbye.
        worker.input = None;
    }

    /// Stops one in its tracks (SIGSTOP): its sockets stay open, and nobody reads them.
    pub(crate) fn stand_still(&self, number: usize) {
        self.signal(number, Signal::STOP);
    }

    /// One that stood still goes on.
    pub(crate) fn go_on(&self, number: usize) {
        self.signal(number, Signal::CONT);
    }

    fn signal(&self, number: usize, signal: Signal) {
        let id = self.workers[number].process.id().and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id.and_then(Pid::from_raw) {
            // One that has ended shows by its reports.
            let _ = kill_process(id, signal);
        }
    }

    /// Lets all end by themselves, and ends those that do not. Whether all ended well.
    pub(crate) async fn dismiss(mut self) -> bool {
        for worker in &mut self.workers {
            worker.may_end = true;
            worker.input = None;
        }
        // Somebody must read what they say, or they wait for ever.
        self.reports.close();
        let deadline = Instant::now() + PARTING;
        let mut is_well = true;
        for worker in &mut self.workers {
            match tokio::time::timeout_at(deadline, worker.process.wait()).await {
                Ok(Ok(status)) => is_well &= status.success() || was_killed(status),
                _ => {
                    is_well = false;
                    let _ = worker.process.kill().await;
                }
            }
        }
        is_well
    }

    /// Ends all at once.
    pub(crate) async fn abandon(mut self) {
        for worker in &mut self.workers {
            let _ = worker.process.kill().await;
        }
    }

    /// Those that are not known to have ended.
    pub(crate) fn running(&self) -> Vec<usize> {
        (0..self.workers.len()).filter(|n| self.workers[*n].input.is_some()).collect()
    }

    /// What it was called when it was started.
    pub(crate) fn name(&self, number: usize) -> &str {
        &self.workers[number].name
    }
}

impl Worker {
    async fn ended(&mut self) -> Trouble {
        let status = match tokio::time::timeout(PARTING, self.process.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            _ => "it closed its output".to_owned(),
        };
        // Its last line may still be on the way.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let words = words.iter().map(|line| format!("\n    {line}")).collect();
        Trouble::Ended { name: self.name.clone(), status, words }
    }
}

fn was_killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(9)
}

async fn pass_on<E: DeserializeOwned>(
    output: impl AsyncRead + Unpin,
    number: usize,
    reports: mpsc::Sender<(usize, Option<E>)>,
) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            // Nobody waits any more, but the pipe must not fill up.
            Ok(report) => drop(reports.send((number, Some(report))).await),
            Err(error) => tracing::warn!(%error, line, "a worker said what is no report"),
        }
    }
    let _ = reports.send((number, None)).await;
}

async fn remember(errors: impl AsyncRead + Unpin, words: Arc<Mutex<VecDeque<String>>>) {
    let mut lines = BufReader::new(errors).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
        if words.len() == LAST_WORDS {
            words.pop_front();
        }
        words.push_back(line);
    }
}

/// What the starter says, from the worker's side; closed when the starter is gone.
///
/// A thread of its own reads it: the runtime would wait at its end for a read that never returns.
pub(crate) fn commands<C: DeserializeOwned + Send + 'static>() -> mpsc::Receiver<C> {
    // Ctrl-C reaches a whole terminal's processes; the starter answers it for all. Tokio's handler stays in place when the stream is gone.
    drop(signal(SignalKind::interrupt()));
    let (sender, commands) = mpsc::channel(REPORTS);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            let sent = match serde_json::from_str(&line) {
                Ok(command) => sender.blocking_send(command),
                Err(error) => return eprintln!("not a command: {error}: {line}"),
            };
            if sent.is_err() {
                return;
            }
        }
    });
    commands
}

/// Tells the starter. If it is gone, `commands` says so as well.
pub(crate) fn report(report: &impl Serialize) {
    let mut line = serde_json::to_vec(report).unwrap_or_default();
    line.push(b'\n');
    let mut output = std::io::stdout().lock();
    let _ = output.write_all(&line).and_then(|()| output.flush());
}

/// Waits for somebody who wants this program to end: Ctrl-C, a polite kill, a terminal that closes.
pub(crate) async fn interrupted() {
    let listen = |kind| signal(kind).ok();
    let (mut interrupt, mut terminate, mut hangup) =
        (listen(SignalKind::interrupt()), listen(SignalKind::terminate()), listen(SignalKind::hangup()));
    tokio::select! {
        Some(_) = async { interrupt.as_mut()?.recv().await } => {}
        Some(_) = async { terminate.as_mut()?.recv().await } => {}
        Some(_) = async { hangup.as_mut()?.recv().await } => {}
        else => std::future::pending().await,
    }
}
