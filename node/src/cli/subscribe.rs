//! `djembe sub`: the messages of a group on standard output.

use std::path::PathBuf;
use std::time::Duration;

use super::exit::{Exit, Failure};
use super::global::{Global, passphrase};
use super::output::{Stdout, harmless};
use super::waiting::{count, explained};
use crate::control::{Ask, Connection, MessageRecord, Reply, Session};

#[derive(clap::Args, Debug)]
pub(super) struct SubArgs {
    /// The group's name
    group: String,
    /// Only subjects that match: + is one segment, # at the end any number
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    subject: Option<crate::SubjectPattern>,
    /// End after so many messages
    #[arg(short = 'n', value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so many seconds
    #[arg(short = 'W', value_name = "SECS", value_parser = super::seconds)]
    wait: Option<Duration>,
    /// Leave out what this node publishes
    #[arg(long)]
    skip_own: bool,
    /// File that holds the group's passphrase
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

fn pattern(text: &str) -> Result<crate::SubjectPattern, String> {
    super::slashes(text)?;
    text.parse().map_err(|error: djembe_protocol::message::PatternError| error.to_string())
}

impl SubArgs {
    pub(super) fn runs_until_stopped(&self) -> bool {
        self.count.is_none() && self.wait.is_none()
    }
}

pub(super) async fn run(args: SubArgs, session: &Session, global: &Global) -> Result<(), Failure> {
    let mut connection = session.open().await?;
    let passphrase = args.passphrase_file.as_deref().map(passphrase).transpose()?;
    connection.join(&args.group, passphrase.as_ref().map(|text| text.as_str())).await?;
    let subject = args.subject.as_ref().map(|pattern| pattern.as_str().to_owned());
    let ask = Ask::Subscribe { group: args.group.clone(), subject, skip_own: args.skip_own };
    connection.ask(ask).await?;
    global.say(format_args!("waiting for messages in \"{}\"", args.group));

    let mut printer = Printer { stdout: Stdout::new(), json: global.json, left: args.count };
    let print = explained(session, global, Some(&args.group), printer.print_all(&mut connection));
    let result = match args.wait {
        None => print.await,
        Some(wait) => match tokio::time::timeout(wait, print).await {
            Ok(result) => result,
            Err(_) => match (args.count, printer.left) {
                (Some(wanted), Some(left)) => {
                    let message =
                        format!("{} of {wanted} came within {} s", wanted - left, wait.as_secs_f64());
                    Err(Failure::new(Exit::TimedOut, message))
                }
                _ => Ok(()),
            },
        },
    };
    printer.stdout.finish().await?;
    if result.is_ok()
        && let Some(wanted) = args.count
    {
        tracing::debug!(messages = %count(usize::try_from(wanted).unwrap_or(usize::MAX), "message"), "came");
    }
    result
}

struct Printer {
    stdout: Stdout,
    json: bool,
    left: Option<u64>,
}

impl Printer {
    /// Prints until enough have come. What is there is gathered, and leaves as soon as there is no more.
    async fn print_all(&mut self, connection: &mut Connection) -> Result<(), Failure> {
        loop {
            let reply = match connection.try_next() {
                Some(reply) => reply?,
                None => {
                    self.stdout.flush().await?;
                    tokio::select! {
                        reply = connection.next() => reply?,
                        () = self.stdout.closed() => return Err(self.stdout.failure().await),
                    }
                }
            };
            match reply {
                Reply::Message(message) => self.print(&message),
                Reply::End => return Err(crate::control::ClientError::Ended.into()),
                _ => continue,
            }
            if let Some(left) = &mut self.left {
                *left -= 1;
                if *left == 0 {
                    return Ok(());
                }
            }
            if self.stdout.is_full() {
                self.stdout.flush().await?;
            }
        }
    }

    fn print(&mut self, message: &MessageRecord) {
        if self.json {
            self.stdout.json(message);
        } else if self.stdout.is_terminal {
            self.stdout.line(harmless(&String::from_utf8_lossy(&message.body)));
        } else {
            self.stdout.buffer().extend_from_slice(&message.body);
            self.stdout.line("");
        }
    }
}
