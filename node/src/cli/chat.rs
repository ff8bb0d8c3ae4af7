//! `djembe chat`: a conversation line by line, on a terminal or through pipes.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use djembe_protocol::limits::{CONTENT_MAX, DRAFTS_MAX};

use super::exit::Failure;
use super::global::{Global, passphrase};
use super::output::{Stdout, harmless, stdin_lines, unreadable};
use super::waiting::{count, explained, members, n_members, short};
use crate::control::{
    Ask, Connection, EventRecord, MessageRecord, PublishRecord, ReceiptWord, Reply, Session, rfc3339,
};

/// With more than so many it is not told of each who comes and goes.
const CROWD: usize = 50;
/// How long the last line may take to reach somebody once there is no more to say.
const LAST_WORD: Duration = Duration::from_secs(10);

#[derive(clap::Args, Debug)]
pub(super) struct ChatArgs {
    /// The group's name
    group: String,
    /// File that holds the group's passphrase
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

struct Chat<'a> {
    group: &'a str,
    global: &'a Global,
    session: &'a Session,
    stdout: Stdout,
    speaking: Connection,
    spoken: bool,
    /// This node.
    me: String,
    /// What was said here and has not come back. What else this node says was said by another of its commands.
    said: VecDeque<Bytes>,
    /// Whose presence was told.
    present: BTreeSet<String>,
}

pub(super) async fn run(args: ChatArgs, session: &Session, global: &Global) -> Result<(), Failure> {
    let passphrase = args.passphrase_file.as_deref().map(passphrase).transpose()?;
    let passphrase = passphrase.as_ref().map(|text| text.as_str());
    let (mut speaking, mut hearing) = (session.open().await?, session.open().await?);
    speaking.join(&args.group, passphrase).await?;
    // First the events: those that come before the messages are told by the status.
    hearing.ask(Ask::Events).await?;
    hearing.join(&args.group, passphrase).await?;
    let ask = Ask::Subscribe { group: args.group.clone(), subject: None, skip_own: false };
    hearing.ask(ask).await?;

    let mut chat = Chat {
        group: &args.group,
        global,
        session,
        stdout: Stdout::new(),
        speaking,
        spoken: false,
        me: session.status().await?.peer_id,
        said: VecDeque::new(),
        present: BTreeSet::new(),
    };
    global.say(format_args!("in \"{}\"; /who shows who is there, /quit or Ctrl-D ends", args.group));
    if passphrase.is_none() {
        global.say("without a passphrase, whoever guesses the group's name can read along");
    }
    let result = explained(session, global, Some(&args.group), chat.talk(&mut hearing)).await;
    chat.stdout.finish().await?;
    result
}

impl Chat<'_> {
    async fn talk(&mut self, hearing: &mut Connection) -> Result<(), Failure> {
        // Those who were there before the first event; events that have come meanwhile tell them once more.
        let status = self.session.status().await?;
        let here = members(&status, self.group);
        if here.len() > CROWD {
            self.present.extend(here.iter().map(|peer| (*peer).to_owned()));
            self.global.say(format_args!("* {} are here", count(n_members(&status, self.group), "member")));
        } else {
            here.into_iter().for_each(|peer| self.on_arrival(peer));
        }
        let mut lines = stdin_lines();
        loop {
            tokio::select! {
                batch = lines.recv() => {
                    let Some(batch) = batch else { return self.last_word(hearing).await };
                    for line in batch.map_err(|error| unreadable(&error))? {
                        if !self.on_line(line).await? {
                            return self.last_word(hearing).await;
                        }
                    }
                }
                reply = hearing.next() => self.on_reply(reply?).await?,
                () = self.stdout.closed() => return Err(self.stdout.failure().await),
            }
        }
    }

    /// False at `/quit`.
    async fn on_line(&mut self, line: Bytes) -> Result<bool, Failure> {
        match line.trim_ascii() {
            b"" => {}
            b"/quit" => return Ok(false),
            b"/who" => {
                let status = self.session.status().await?;
                let members = members(&status, self.group);
                let names: Vec<&str> = members.iter().take(CROWD).map(|peer| short(peer)).collect();
                let me = short(&status.peer_id);
                let others = n_members(&status, self.group).saturating_sub(names.len());
                self.global.say(format_args!(
                    "* {me} (you){}{}{}",
                    if names.is_empty() { ", nobody else" } else { ", " },
                    names.join(", "),
                    if others == 0 { String::new() } else { format!(", and {others} more") }
                ));
            }
            word if word.starts_with(b"/") && !word.starts_with(b"//") => {
                self.global
                    .say("* there are /who and /quit; begin with // to say something that begins with /");
            }
            // It was read no further.
            _ if line.len() > CONTENT_MAX => self.global.say(format_args!(
                "* not said: a line may have {CONTENT_MAX} bytes ({} KiB)",
                CONTENT_MAX / 1024
            )),
            _ => {
                let body = if line.starts_with(b"//") { line.slice(1..) } else { line };
                // A message that was dropped does not come back: no more can be under way.
                if self.said.len() >= DRAFTS_MAX {
                    self.said.pop_front();
                }
                self.said.push_back(body.clone());
                let record = PublishRecord { group: self.group.to_owned(), body, ..PublishRecord::default() };
                match self.speaking.ask(Ask::Publish(record)).await {
                    Ok(_) => self.spoken = true,
                    // Too long, for instance: the next may do.
                    Err(crate::control::ClientError::Refused(refused)) if refused.is_usage() => {
                        self.said.pop_back();
                        self.global.say(format_args!("* not said: {refused}"));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(true)
    }

    async fn on_reply(&mut self, reply: Reply) -> Result<(), Failure> {
        match reply {
            Reply::Message(message) if self.is_said_here(&message) => Ok(()),
            Reply::Message(message) => {
                if self.global.json {
                    self.stdout.json(&message);
                } else {
                    let line = self.line(&message);
                    self.stdout.line(line);
                }
                self.stdout.flush().await
            }
            Reply::Event(event) => {
                match &event {
                    EventRecord::MemberJoined { group, peer_id } if group == self.group => {
                        self.on_arrival(peer_id);
                    }
                    EventRecord::MemberLeft { group, peer_id, cause }
                        if group == self.group
                            && self.present.remove(peer_id)
                            && self.present.len() < CROWD =>
                    {
                        self.global.say(format_args!("* {} is gone ({cause})", short(peer_id)));
                    }
                    _ => {}
                }
                Ok(())
            }
            Reply::End => Err(crate::control::ClientError::Ended.into()),
            _ => Ok(()),
        }
    }

    /// Whether it was said here, and so stands on the screen. Of two commands of one node that say the same, each may
    /// take the other's for its own: nobody can tell them apart.
    fn is_said_here(&mut self, message: &MessageRecord) -> bool {
        let own =
            (*message.author == *self.me).then(|| self.said.iter().position(|said| *said == message.body));
        own.flatten().and_then(|at| self.said.remove(at)).is_some()
    }

    fn on_arrival(&mut self, peer_id: &str) {
        if self.present.insert(peer_id.to_owned()) && self.present.len() <= CROWD {
            self.global.say(format_args!("* {} is here", short(peer_id)));
        }
    }

    /// Time (UTC), author, words. Several lines are indented below the first.
    fn line(&self, message: &MessageRecord) -> String {
        let time = rfc3339(message.time_ms);
        let time = time.get(11..19).unwrap_or_default();
        let author = short(&message.author);
        let text = harmless(&String::from_utf8_lossy(&message.body)).replace('\n', "\n    ");
        if self.stdout.is_coloured {
            // One of six colours, always the same for an author.
            let colour = 31 + author.bytes().map(u32::from).sum::<u32>() % 6;
            format!("\x1b[2m{time}Z\x1b[0m \x1b[{colour}m{author}\x1b[0m {text}")
        } else {
            format!("{time}Z {author} {text}")
        }
    }

    /// Sees to it that what was said last reaches somebody, and prints what comes meanwhile.
    async fn last_word(&mut self, hearing: &mut Connection) -> Result<(), Failure> {
        if !self.spoken {
            return Ok(());
        }
        self.speaking.start(Ask::Follow { group: self.group.to_owned(), live: false }).await?;
        let deadline = tokio::time::sleep(LAST_WORD);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                reply = hearing.next() => self.on_reply(reply?).await?,
                reply = self.speaking.next() => {
                    if let Reply::Receipt(receipt) = reply?
                        && (!receipt.stored_by.is_empty() || receipt.state == ReceiptWord::Dropped)
                    {
                        return Ok(());
                    }
                }
                () = &mut deadline => {
                    let secs = LAST_WORD.as_secs() as usize;
                    self.global.say(format_args!(
                        "nobody has taken the last words within {}; they stay in the log and are sent when this node \
                         is next up in the group",
                        count(secs, "second")
                    ));
                    return Ok(());
                }
            }
        }
    }
}
