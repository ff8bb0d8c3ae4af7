//! `djembe peers`: who is seen, how it was found, and which way its frames take.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::exit::Failure;
use super::global::Global;
use super::output::Stdout;
use super::waiting::{explained, linked, short};
use crate::control::{Ask, EventRecord, Reply, Session};
use crate::status::{PeerInfo, Status};

/// How long a node that was just started may look around.
const FIRST_LOOK: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(100);

#[derive(clap::Args, Debug)]
pub(super) struct PeersArgs {
    /// Go on for so many seconds and show changes
    #[arg(short = 'W', value_name = "SECS", value_parser = super::seconds)]
    wait: Option<Duration>,
}

#[derive(Serialize)]
struct Shown<'a> {
    peer_id: &'a str,
    state: &'a str,
    /// Of the change; null for what was so before.
    cause: Option<&'a str>,
    path: &'a str,
    found_by: &'a [String],
    rtt_ms: Option<f64>,
    pace: &'a str,
    queued_bytes: usize,
    blame: u32,
}

impl<'a> Shown<'a> {
    fn of(peer: &'a PeerInfo, change: Option<(&'a str, &'a str)>) -> Self {
        let PeerInfo { peer_id, state, path, found_by, rtt_ms, pace, queued_bytes, blame } = peer;
        let (state, cause) = change.map_or((state.as_str(), None), |(state, cause)| (state, Some(cause)));
        Self {
            peer_id,
            state,
            cause,
            path,
            found_by,
            rtt_ms: *rtt_ms,
            pace,
            queued_bytes: *queued_bytes,
            blame: *blame,
        }
    }

    fn row(&self) -> String {
        let rtt = self.rtt_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
        let found_by = if self.found_by.is_empty() { "-".to_owned() } else { self.found_by.join(",") };
        let path = if self.path.is_empty() { "-" } else { self.path };
        let state = match (self.cause, lags(self.pace)) {
            (Some(cause), _) => format!("{} ({cause})", self.state),
            (None, true) => format!("{}, {}", self.state, self.pace),
            (None, false) => self.state.to_owned(),
        };
        let rest = burden(self.queued_bytes, self.blame);
        format!("{:<8}  {state:<18}  {found_by:<16}  {rtt:<8}  {path}{rest}", short(self.peer_id))
            .trim_end()
            .to_owned()
    }
}

/// What waits for a peer and what is held against it, if there is any.
pub(super) fn burden(queued_bytes: usize, blame: u32) -> String {
    let queued = if queued_bytes > 0 { format!(", {queued_bytes} bytes queued") } else { String::new() };
    let blame = if blame > 0 { format!(", blame {blame} of 100") } else { String::new() };
    queued + &blame
}

/// Whether a peer takes less than it is sent.
pub(super) fn lags(pace: &str) -> bool {
    matches!(pace, "slow" | "blocked")
}

pub(super) async fn run(args: PeersArgs, session: &Session, global: &Global) -> Result<(), Failure> {
    let mut events = session.open().await?;
    events.ask(Ask::Events).await?;
    let status = first_look(session, global).await?;

    let mut stdout = Stdout::new();
    if !global.json && (args.wait.is_some() || !status.peers.is_empty()) {
        stdout.line(format!("{:<8}  {:<18}  {:<16}  {:<8}  PATH", "PEER", "STATE", "FOUND BY", "RTT"));
    }
    for peer in &status.peers {
        print(&mut stdout, global, &Shown::of(peer, None));
    }
    stdout.flush().await?;
    match args.wait {
        None if status.peers.is_empty() => {
            global.say(format_args!("nobody seen; tried: {}", status.discovery_text.trim_end()));
        }
        None => {}
        Some(wait) => {
            let follow = follow(session, &mut events, &mut stdout, global);
            if let Ok(failed) = tokio::time::timeout(wait, explained(session, global, None, follow)).await {
                return failed;
            }
        }
    }
    stdout.finish().await
}

/// The status, once somebody is linked or there was time enough. A node that has run for a while has looked
/// already.
pub(super) async fn first_look(session: &Session, global: &Global) -> Result<Status, Failure> {
    let mut connection = session.open().await?;
    let look = async {
        loop {
            let status = connection.status().await?;
            let is_known = linked(&status) > 0 && status.peers.iter().any(|peer| peer.rtt_ms.is_some());
            if is_known || !session.is_own() || status.uptime_secs >= FIRST_LOOK.as_secs() {
                return Ok(status);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    if session.is_own() {
        global.say("no node runs on this data directory: starting one for a look around");
    }
    look.await
}

async fn follow(
    session: &Session,
    events: &mut crate::control::Connection,
    stdout: &mut Stdout,
    global: &Global,
) -> Result<(), Failure> {
    let mut looking = session.open().await?;
    let mut last = BTreeMap::new();
    loop {
        let reply = tokio::select! {
            reply = events.next() => reply?,
            () = stdout.closed() => return Err(stdout.failure().await),
        };
        let (peer_id, state, cause) = match reply {
            Reply::Event(EventRecord::Peer { peer_id, state, cause }) => (peer_id, Some(state), cause),
            // How it is has not changed, but what it takes.
            Reply::Event(EventRecord::Pace { peer_id, pace }) => (peer_id, None, pace),
            _ => continue,
        };
        let status = looking.status().await?;
        if let Some(peer) = status.peers.into_iter().find(|peer| peer.peer_id == peer_id) {
            last.insert(peer_id.clone(), peer);
        }
        // One that is gone is shown as it was seen last.
        let peer = last.entry(peer_id.clone()).or_insert_with(|| PeerInfo {
            peer_id,
            state: state.clone().unwrap_or_default(),
            found_by: Vec::new(),
            path: String::new(),
            rtt_ms: None,
            queued_bytes: 0,
            blame: 0,
            pace: String::new(),
        });
        let state = state.unwrap_or_else(|| peer.state.clone());
        print(stdout, global, &Shown::of(peer, Some((&state, &cause))));
        stdout.flush().await?;
    }
}

fn print(stdout: &mut Stdout, global: &Global, peer: &Shown<'_>) {
    if global.json { stdout.json(peer) } else { stdout.line(peer.row()) }
}
