//! `djembe up`: a node that stays.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::exit::{Exit, Failure};
use super::global::{Global, passphrase};
use super::output::Stdout;
use super::waiting::{explained, short};
use crate::control::{Ask, ClientError, EventRecord, Reply, Session};
use crate::status::Status;

/// Listeners report their addresses within this time.
const LISTENERS: Duration = Duration::from_millis(300);
const LOOK: Duration = Duration::from_millis(30);

#[derive(clap::Args, Debug)]
pub(super) struct UpArgs {
    /// Groups to be in, whose history is kept
    groups: Vec<String>,
    /// File that holds the passphrase of these groups
    #[arg(long, value_name = "FILE", requires = "groups")]
    passphrase_file: Option<PathBuf>,
}

impl UpArgs {
    /// For one open group.
    pub(super) fn open(group: &str) -> Self {
        Self { groups: vec![group.to_owned()], passphrase_file: None }
    }
}

pub(super) async fn run(args: UpArgs, session: &Session, global: &Global) -> Result<(), Failure> {
    if !session.is_own() && args.groups.is_empty() {
        let message =
            "a node runs on this data directory already: name groups for it to join, or another --data-dir";
        return Err(Failure::new(Exit::Data, message));
    }
    let mut connection = session.open().await?;
    let passphrase = args.passphrase_file.as_deref().map(passphrase).transpose()?;
    for group in &args.groups {
        connection.join(group, passphrase.as_ref().map(|text| text.as_str())).await?;
    }
    // First the events: nothing is missed while listeners are waited for.
    connection.ask(Ask::Events).await?;
    let status = listening(session).await?;
    let groups = if args.groups.is_empty() { "no group".to_owned() } else { args.groups.join(", ") };
    let listen: Vec<&str> = status.listen.iter().map(String::as_str).filter(|a| is_far(a)).collect();
    global.say(format_args!(
        "{} is up in {groups}; listens on {}",
        short(&status.peer_id),
        if listen.is_empty() { "no address yet".to_owned() } else { listen.join(" ") }
    ));

    let mut stdout = Stdout::new();
    if global.json {
        stdout.json(&Up {
            event: "up",
            peer_id: &status.peer_id,
            listen: &status.listen,
            groups: &args.groups,
        });
        stdout.flush().await?;
    }
    let work = async {
        loop {
            let Reply::Event(event) = connection.next().await? else {
                return Err::<(), Failure>(ClientError::Ended.into());
            };
            if global.json {
                stdout.json(&event);
                stdout.flush().await?;
            } else if let Some(text) = sentence(&event) {
                global.say(text);
            }
        }
    };
    explained(session, global, None, work).await
}

/// The first line of `--json`.
#[derive(Serialize)]
struct Up<'a> {
    event: &'a str,
    peer_id: &'a str,
    listen: &'a [String],
    groups: &'a [String],
}

/// The status once its addresses have come and are no more changing.
async fn listening(session: &Session) -> Result<Status, Failure> {
    let mut connection = session.open().await?;
    let since = Instant::now();
    let mut status = connection.status().await?;
    while since.elapsed() < LISTENERS {
        tokio::time::sleep(LOOK).await;
        let next = connection.status().await?;
        let is_settled = !next.listen.is_empty() && next.listen == status.listen;
        status = next;
        if is_settled {
            break;
        }
    }
    Ok(status)
}

/// Whether it may be of use to a person: an address that holds on one link only is not.
fn is_far(address: &str) -> bool {
    !address.starts_with("/ip6/fe80:") && !address.starts_with("/ip6zone/")
}

/// Comings and goings; trouble is told elsewhere.
pub(super) fn sentence(event: &EventRecord) -> Option<String> {
    match event {
        EventRecord::Peer { peer_id, state, cause } => {
            Some(format!("{} is {state} ({cause})", short(peer_id)))
        }
        EventRecord::Pace { peer_id, pace } => {
            let peer = short(peer_id);
            Some(match pace.as_str() {
                "prompt" => format!("{peer} keeps up again"),
                "slow" => format!("{peer} is slow: it asks for what it can take"),
                "blocked" => format!("{peer} takes nothing: it gets what it missed when it reads again"),
                _ => format!("{peer} took nothing for too long: its link was closed"),
            })
        }
        EventRecord::MemberJoined { group, peer_id } => Some(format!("{} is in \"{group}\"", short(peer_id))),
        EventRecord::MemberLeft { group, peer_id, cause } => {
            Some(format!("{} left \"{group}\" ({cause})", short(peer_id)))
        }
        _ => None,
    }
}
