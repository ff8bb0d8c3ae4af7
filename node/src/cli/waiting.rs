//! What a person is told while a command waits: trouble of the node, and why nobody is found.

use std::time::Duration;

use super::exit::{Exit, Failure};
use super::global::Global;
use crate::control::{Ask, EventRecord, Reply, Session};
use crate::status::Status;

/// Peers on a LAN are found within two seconds; whoever is alone for longer wants to know why.
const LONELY: Duration = Duration::from_secs(5);

/// Runs `work`; says after a while why nobody is there, if that is so.
pub(super) async fn explained<T>(
    session: &Session,
    global: &Global,
    group: Option<&str>,
    work: impl Future<Output = T>,
) -> T {
    let explain = async {
        tokio::time::sleep(LONELY).await;
        if let Ok(status) = session.status().await
            && let Some(text) = loneliness(&status, group)
        {
            global.say(text);
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        done = work => done,
        () = explain => unreachable!("pending for ever"),
    }
}

/// Why nobody is there and what to try; none if somebody is.
fn loneliness(status: &Status, group: Option<&str>) -> Option<String> {
    let linked = linked(status);
    if linked == 0 && status.was_linked {
        return Some("everybody has left; whoever comes back is found again".to_owned());
    }
    if linked == 0 {
        return Some(format!("nobody found yet; tried: {}", status.discovery_text.trim_end()));
    }
    let group = group?;
    let is_empty = linked_members(status, group).is_empty();
    is_empty.then(|| {
        format!(
            "{} linked, none of them in group \"{group}\": start it there with the same name and the same \
             passphrase, or none",
            count(linked, "node")
        )
    })
}

/// Peers with a link.
pub(super) fn linked(status: &Status) -> usize {
    status.peers.iter().filter(|peer| !peer.path.is_empty()).count()
}

/// Other members of a group: all that are told, of a very large group not all that are there.
pub(super) fn members<'a>(status: &'a Status, group: &str) -> Vec<&'a str> {
    let groups = status.groups.iter().filter(|known| known.name == group);
    groups.flat_map(|known| &known.members).map(String::as_str).collect()
}

/// How many other members of a group there are.
pub(super) fn n_members(status: &Status, group: &str) -> usize {
    status.groups.iter().filter(|known| known.name == group).map(|known| known.member_count).sum()
}

/// Those of them that are linked. Only these say that they have stored a message.
pub(super) fn linked_members<'a>(status: &'a Status, group: &str) -> Vec<&'a str> {
    let groups = status.groups.iter().filter(|known| known.name == group);
    groups.flat_map(|known| known.members.iter().take(known.linked)).map(String::as_str).collect()
}

/// `1 node`, `2 nodes`.
pub(super) fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// A peer id as people see it: its end.
pub(super) fn short(peer_id: &str) -> &str {
    peer_id.get(peer_id.len().saturating_sub(8)..).unwrap_or(peer_id)
}

/// Tells trouble as it comes; returns what the command cannot go on with. One that `runs_on` outlives a full disk.
pub(super) async fn trouble(session: &Session, global: &Global, runs_on: bool) -> Failure {
    let Ok(mut events) = session.open().await else { return std::future::pending().await };
    if events.ask(Ask::Events).await.is_err() {
        return std::future::pending().await;
    }
    let mut said_cloned = false;
    loop {
        match events.next().await {
            Ok(Reply::Event(EventRecord::Cloned { advice, proven: true })) => {
                return Failure::new(Exit::Data, advice);
            }
            Ok(Reply::Event(EventRecord::Cloned { advice, proven: false })) if !said_cloned => {
                said_cloned = true;
                global.say(format_args!("it seems that {advice}"));
            }
            Ok(Reply::Event(EventRecord::Lagged { group, messages })) => {
                let messages = count(usize::try_from(messages).unwrap_or(usize::MAX), "message");
                global.say(format_args!("read too slowly: {messages} of \"{group}\" passed by"));
            }
            Ok(Reply::Event(EventRecord::Gap { group, author, envelopes })) => {
                let author = short(&author);
                global.say(format_args!("live messages of {author} in \"{group}\" were lost ({envelopes} envelopes)"));
            }
            Ok(Reply::Event(EventRecord::Fork { group, id })) => global.say(format_args!(
                "two different messages in \"{group}\" bear the number {id}: its author's identity was copied, or lies"
            )),
            Ok(Reply::Event(EventRecord::StoreFailed { error })) if runs_on => global.say(format_args!(
                "the store failed: {error}; what is to be kept waits until it works again"
            )),
            Ok(Reply::Event(EventRecord::StoreFailed { error })) => {
                return Failure::new(Exit::Data, format!("the store failed: {error}"));
            }
            Ok(Reply::End) => return crate::control::ClientError::Ended.into(),
            Ok(_) => {}
            Err(error) => return error.into(),
        }
    }
}
