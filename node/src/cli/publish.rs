//! `djembe pub`: one message, or each line of standard input.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use djembe_protocol::limits::CONTENT_MAX;
use serde::Serialize;

use super::exit::{Exit, Failure};
use super::global::{Global, passphrase};
use super::output::{Stdout, stdin_lines, stdin_whole, unreadable};
use super::waiting::{count, explained, linked_members, n_members, short};
use crate::control::{Ask, Connection, PublishRecord, ReceiptRecord, ReceiptWord, Reply, Session};
use crate::error::NodeError;
use crate::group::Publish;

/// How long others may take to be found before their absence is worth a word.
const ABSENT: Duration = Duration::from_millis(1500);
/// How often to look who is there.
const LOOK: Duration = Duration::from_millis(200);

#[derive(clap::Args, Debug)]
pub(super) struct PubArgs {
    /// The group's name
    group: String,
    /// The message; standard input if it is left out
    message: Option<String>,
    /// A path such as temp/kitchen
    #[arg(long, value_name = "SUBJECT", default_value = "", hide_default_value = true, value_parser = subject)]
    subject: String,
    /// A media type such as text/plain
    #[arg(long, value_name = "TYPE", default_value = "", hide_default_value = true)]
    content_type: String,
    /// A name and a value that travel with the message (repeatable)
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Seconds after which nobody needs it [default: for ever]
    #[arg(long, value_name = "SECS", value_parser = ttl)]
    ttl: Option<u32>,
    /// Publish each line of standard input
    #[arg(short = 'l', conflicts_with = "message")]
    lines: bool,
    /// Best effort: for who is there now, kept nowhere
    #[arg(long)]
    live: bool,
    /// Wait until so many other members have stored it; 0 waits for nobody
    #[arg(long, value_name = "N", conflicts_with = "live")]
    wait: Option<usize>,
    /// Seconds to wait for others
    #[arg(long, value_name = "SECS", default_value = "30", value_parser = super::seconds)]
    timeout: Duration,
    /// File that holds the group's passphrase
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Whether a durable message was handed over.
    #[arg(skip)]
    queued: Arc<AtomicBool>,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    if name.is_empty() {
        return Err("there is no name before the =: write NAME=VALUE".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// A subject with its slashes in place; the rest is checked with the whole message.
fn subject(text: &str) -> Result<String, String> {
    super::slashes(text).map(|()| text.to_owned())
}

fn ttl(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) => Err("after 0 s nobody would need it; leave --ttl out to keep it for ever".to_owned()),
        Ok(secs) => Ok(secs),
        Err(_) => Err("write a whole number of seconds, such as 60".to_owned()),
    }
}

impl PubArgs {
    /// What can be known to be wrong before anything is started.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let body = Bytes::from(self.message.clone().unwrap_or_default());
        let mut publish =
            Publish::new(body).subject(self.subject.as_str()).content_type(self.content_type.as_str());
        for (name, value) in &self.headers {
            publish = publish.header(name, value);
        }
        publish.check().map_err(|error| Failure::new(Exit::Usage, error.to_string()))
    }

    /// Set once a durable message is in the log.
    pub(super) fn queued(&self) -> Arc<AtomicBool> {
        self.queued.clone()
    }

    fn handed_over(&self) {
        self.queued.store(!self.live, Ordering::Relaxed);
    }

    fn record(&self, body: Bytes) -> PublishRecord {
        PublishRecord {
            group: self.group.clone(),
            live: self.live,
            subject: self.subject.clone(),
            content_type: self.content_type.clone(),
            headers: self.headers.iter().cloned().collect(),
            ttl_secs: self.ttl.unwrap_or_default(),
            body,
            quiet: self.lines,
        }
    }
}

/// What `--json` prints of a message.
#[derive(Serialize)]
struct Shown<'a> {
    group: &'a str,
    #[serde(flatten)]
    receipt: &'a ReceiptRecord,
}

/// What `--json` prints of many.
#[derive(Serialize)]
struct Summary<'a> {
    group: &'a str,
    messages: u64,
    bytes: u64,
    /// Of the last.
    #[serde(flatten)]
    receipt: &'a ReceiptRecord,
}

pub(super) async fn run(args: PubArgs, session: &Session, global: &Global) -> Result<(), Failure> {
    let mut connection = session.open().await?;
    let passphrase = args.passphrase_file.as_deref().map(passphrase).transpose()?;
    connection.join(&args.group, passphrase.as_ref().map(|text| text.as_str())).await?;

    let work = async {
        let sent = if args.lines {
            publish_lines(&args, &mut connection).await?
        } else {
            let body = match &args.message {
                Some(message) => Bytes::from(message.clone()),
                None => {
                    if io::stdin().is_terminal() {
                        global.say("type the message; Ctrl-D on a line of its own ends it");
                    }
                    let body = stdin_whole().await?;
                    // No more of it was read, so its size is not known.
                    if body.len() > CONTENT_MAX {
                        return Err(too_large("standard input"));
                    }
                    body
                }
            };
            let bytes = body.len() as u64;
            connection.ask(Ask::Publish(args.record(body))).await?;
            args.handed_over();
            Sent { messages: 1, bytes }
        };
        if sent.messages == 0 {
            global.say("standard input was empty: nothing to publish");
            return Ok((sent, queued(), None));
        }
        let (receipt, failure) = wait(&args, session, global, &mut connection).await?;
        Ok::<_, Failure>((sent, receipt, failure))
    };
    let (sent, mut receipt, failure) = explained(session, global, Some(&args.group), work).await?;
    // In the log with nobody to take it: for a person, that is waiting.
    if receipt.state == ReceiptWord::Sent && receipt.members == 0 && receipt.stored_by.is_empty() {
        receipt.state = ReceiptWord::Queued;
    }

    // Kept nowhere, and this node goes.
    if args.live && receipt.state == ReceiptWord::Queued && sent.messages > 0 && session.is_own() {
        receipt.state = ReceiptWord::Dropped;
        receipt.reason = Some("nobody was there".to_owned());
    }

    let mut stdout = Stdout::new();
    if global.json && sent.messages == 0 {
        let group = &args.group;
        stdout.json(&serde_json::json!({ "group": group, "messages": 0, "bytes": 0, "state": "nothing" }));
    } else if global.json && args.lines {
        let Sent { messages, bytes } = sent;
        stdout.json(&Summary { group: &args.group, messages, bytes, receipt: &receipt });
    } else if global.json {
        stdout.json(&Shown { group: &args.group, receipt: &receipt });
    } else if failure.is_none() && sent.messages > 0 {
        let what = count(usize::try_from(sent.messages).unwrap_or(usize::MAX), "message");
        match args.live {
            true => global.say(format_args!("{what} sent to {}", count(receipt.members, "member"))),
            false if receipt.stored_by.is_empty() => {
                global.say(format_args!(
                    "{what} in this node's log; nobody else has said to have stored it yet"
                ));
            }
            false => global.say(format_args!("{what} stored by {}", names(&receipt.stored_by))),
        }
    }
    stdout.finish().await?;
    failure.map_or(Ok(()), Err)
}

struct Sent {
    messages: u64,
    bytes: u64,
}

fn queued() -> ReceiptRecord {
    ReceiptRecord { state: ReceiptWord::Queued, id: None, members: 0, stored_by: Vec::new(), reason: None }
}

fn too_large(what: &str) -> Failure {
    let kib = CONTENT_MAX / 1024;
    Failure::new(
        Exit::Usage,
        format!("{what} is over the limit of {CONTENT_MAX} bytes ({kib} KiB) of a message"),
    )
}

fn names(peers: &[String]) -> String {
    match peers.len() {
        n @ 0..=5 => {
            let names: Vec<&str> = peers.iter().map(|peer| short(peer)).collect();
            format!("{} ({})", count(n, "member"), names.join(", "))
        }
        n => count(n, "member"),
    }
}

/// Publishes as fast as the node takes them; refusals come in between.
async fn publish_lines(args: &PubArgs, connection: &mut Connection) -> Result<Sent, Failure> {
    let mut lines = stdin_lines();
    let mut sent = Sent { messages: 0, bytes: 0 };
    loop {
        let batch = tokio::select! {
            batch = lines.recv() => batch,
            reply = connection.next() => {
                reply?;
                continue;
            }
        };
        let Some(batch) = batch else { return Ok(sent) };
        for line in batch.map_err(|error| unreadable(&error))? {
            if line.len() > CONTENT_MAX {
                return Err(too_large(&format!("line {}", sent.messages + 1)));
            }
            sent.messages += 1;
            sent.bytes += line.len() as u64;
            let start = connection.start(Ask::Publish(args.record(line)));
            match tokio::time::timeout(args.timeout, start).await {
                Ok(started) => {
                    started?;
                    args.handed_over();
                }
                Err(_) => {
                    let message = format!(
                        "nobody took more messages for {} s: {} were read, the last of them not sent",
                        args.timeout.as_secs_f64(),
                        sent.messages
                    );
                    return Err(Failure::new(Exit::TimedOut, message));
                }
            }
            if let Some(reply) = connection.try_next() {
                reply?;
            }
        }
    }
}

/// Follows the last message until those who are wanted have it. What came too late is the second part.
async fn wait(
    args: &PubArgs,
    session: &Session,
    global: &Global,
    connection: &mut Connection,
) -> Result<(ReceiptRecord, Option<Failure>), Failure> {
    connection.start(Ask::Follow { group: args.group.clone(), live: args.live }).await?;
    let mut looking = session.open().await?;
    let (mut receipt, mut present, mut n_others) = (queued(), Vec::new(), 0);
    let mut look = tokio::time::interval(LOOK);
    let timeout = tokio::time::sleep(args.timeout);
    let absent = tokio::time::sleep(ABSENT);
    tokio::pin!(timeout, absent);
    let mut said_absent = false;
    loop {
        tokio::select! {
            reply = connection.next() => match reply? {
                Reply::Receipt(next) => receipt = next,
                Reply::End => return Err(crate::control::ClientError::Ended.into()),
                _ => continue,
            },
            _ = look.tick() => {
                let status = looking.status().await?;
                present = linked_members(&status, &args.group).into_iter().map(str::to_owned).collect();
                n_others = n_members(&status, &args.group);
            }
            () = &mut absent, if !said_absent => {
                said_absent = true;
                if present.is_empty() && receipt.stored_by.is_empty() {
                    let secs = args.timeout.as_secs_f64();
                    let then = if args.live { "the message waits" } else { "the message is queued; waiting" };
                    global.say(format_args!(
                        "nobody is in \"{}\" yet; {then} up to {secs} s for somebody to come",
                        args.group
                    ));
                }
            }
            () = &mut timeout => {
                let failure = late(args, session, &receipt, &present, n_others);
                return Ok((receipt, Some(failure)));
            }
        }
        if receipt.state == ReceiptWord::Dropped {
            let reason = receipt.reason.clone().unwrap_or_default();
            return Ok((
                receipt,
                Some(Failure::new(Exit::Failure, format!("the message was dropped: {reason}"))),
            ));
        }
        if receipt.state == ReceiptWord::Forgotten {
            return Ok((receipt, Some(NodeError::Forgotten.into())));
        }
        if receipt.state == ReceiptWord::Sent && is_enough(args, &receipt, &present) {
            return Ok((receipt, None));
        }
    }
}

fn is_enough(args: &PubArgs, receipt: &ReceiptRecord, present: &[String]) -> bool {
    match args.wait {
        Some(n) => receipt.stored_by.len() >= n,
        None if args.live => receipt.members > 0,
        // Of many lines each member that is there is to have the last; of one, whoever is first will do.
        None if args.lines => {
            !receipt.stored_by.is_empty() && present.iter().all(|peer| receipt.stored_by.contains(peer))
        }
        None => !receipt.stored_by.is_empty(),
    }
}

fn late(
    args: &PubArgs,
    session: &Session,
    receipt: &ReceiptRecord,
    present: &[String],
    n_others: usize,
) -> Failure {
    let (group, secs) = (&args.group, args.timeout.as_secs_f64());
    let what = match (receipt.stored_by.len(), args.wait) {
        (0, _) if present.is_empty() => format!("nobody was in \"{group}\" within {secs} s"),
        // Others may well have it; nobody tells.
        (n, Some(wanted)) if wanted > present.len() && n_others > present.len() => format!(
            "{n} of {wanted} members stored it within {secs} s: only those linked to this node say so, {} of {}",
            present.len(),
            count(n_others, "member")
        ),
        (n, Some(wanted)) => format!("{n} of {wanted} members stored it within {secs} s"),
        (_, None) if args.live => format!("it could not be sent within {secs} s"),
        (n, None) => {
            format!("{n} of {} who are there stored it within {secs} s", count(present.len(), "member"))
        }
    };
    let then = match (args.live, session.is_own()) {
        (true, true) => "a live message is kept nowhere, so it is lost; leave out --live to keep it",
        (true, false) => {
            "the running node sends it to whoever comes while it runs; leave out --live to keep it"
        }
        (false, true) => {
            "the message stays in the log and is sent when this node is next up in the group (djembe up)"
        }
        (false, false) => "the message stays in the log and the running node goes on sending it",
    };
    Failure::new(Exit::TimedOut, format!("{what}; {then}"))
}
