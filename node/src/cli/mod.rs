//! The command line: what the `djembe` binary does. Data goes to standard output, talk to standard error.
//!
//! Every command talks to a session: a node it starts, or the one that runs on its data directory already.
//! Not a part of the library's interface.

mod bench;
mod chat;
mod demo;
mod exit;
mod global;
mod id;
mod output;
mod part;
mod peers;
mod publish;
mod scratch;
mod signal;
mod status;
mod subscribe;
mod up;
mod waiting;
mod worker;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::{Parser, Subcommand};

pub use self::exit::{Exit, Failure};
pub use self::global::Global;
use self::part::Part;
use crate::control::Session;

/// A node that ends in order needs less.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// Threads for half of the cores. With as many as there are cores a message wakes one thread after the other; on two
/// cores half of them gave 0.82 of the latency and 1.1 of the rate.
const THREADS_SHARE: usize = 2;
/// What a node says of its own failure comes with it.
const LAST_WORD: Duration = Duration::from_millis(100);

/// Group messaging for machines and people that share a network, with no server
#[derive(Parser, Debug)]
#[command(name = "djembe", version, after_help = exit::HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Print the identity of this node; make it on first use
    Id,
    /// Run a node until it is stopped, in these groups
    Up(up::UpArgs),
    /// Talk in a group, line by line
    Chat(chat::ChatArgs),
    /// Publish a message, or each line of standard input
    Pub(publish::PubArgs),
    /// Print the messages of a group
    Sub(subscribe::SubArgs),
    /// Show who is seen, and how
    Peers(peers::PeersArgs),
    /// Show how the node is
    Status,
    /// See it work on this machine: three nodes meet, talk, one is killed, returns and catches up
    Demo(demo::DemoArgs),
    /// Measure rate, latency, fan-out, cost and time to the first message on this machine
    Bench(bench::BenchArgs),
}

impl Command {
    /// Whether being stopped is its own end.
    fn runs_until_stopped(&self) -> bool {
        match self {
            Self::Up(_) | Self::Chat(_) => true,
            Self::Sub(args) => args.runs_until_stopped(),
            Self::Id | Self::Pub(_) | Self::Peers(_) | Self::Status | Self::Demo(_) | Self::Bench(_) => false,
        }
    }
}

/// Runs the command that the command line names.
pub fn main() -> ExitCode {
    let entered_ns = scratch::monotonic_ns();
    if let Some(part) = std::env::args_os().nth(1).and_then(|argument| Part::named(&argument)) {
        // Whoever started it shows its last words where it fails.
        log("djembe=warn");
        return block_on(THREADS_SHARE, part.run(entered_ns));
    }
    let cli = Cli::parse();
    log(filter(&cli.global));
    // Many nodes in one process use all cores.
    let is_crowd = matches!(&cli.command, Command::Bench(args) if args.is_crowd());
    block_on(if is_crowd { 1 } else { THREADS_SHARE }, run(cli))
}

/// Runs it on threads for one core in so many.
fn block_on(share: usize, work: impl Future<Output = Result<(), Failure>> + Send + 'static) -> ExitCode {
    let threads = std::thread::available_parallelism().map_or(1, |cores| (cores.get() / share).clamp(1, 4));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return finish(Err(Failure::new(Exit::Failure, format!("cannot start: {error}")))),
    };
    // On a worker thread, beside the node: from this one, every message would have to wake another.
    let result = runtime.block_on(async {
        let work = tokio::spawn(work);
        work.await.unwrap_or_else(|error| Err(Failure::new(Exit::Failure, error.to_string())))
    });
    // Nothing that is left may hold up the end.
    runtime.shutdown_background();
    finish(result)
}

fn finish(result: Result<(), Failure>) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    if !failure.message.is_empty() {
        let _ = writeln!(io::stderr(), "djembe: {}", failure.message);
    }
    ExitCode::from(failure.exit as u8)
}

/// What is logged at so much `-v`.
fn filter(global: &Global) -> &'static str {
    match (global.quiet, global.verbose) {
        // Commands tell trouble themselves.
        (true, _) | (_, 0) => "off",
        (_, 1) => "djembe=info,djembe_protocol=info",
        (_, 2) => "djembe=debug,djembe_protocol=debug",
        _ => "djembe=trace,djembe_protocol=trace,libp2p=debug",
    }
}

fn log(filter: &str) {
    let coloured = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    let filter: tracing_subscriber::filter::Targets = filter.parse().unwrap_or_default();
    let output = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(coloured);
    tracing_subscriber::registry().with(output).with(filter).init();
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { command, global } = cli;
    if let Command::Demo(args) = command {
        return demo::run(args, &global).await;
    }
    let global = global.with_environment();
    // These need no node of their own.
    let command = match command {
        Command::Id => return id::run(&global).await,
        Command::Bench(args) => return bench::run(args, &global).await,
        command => command,
    };
    if let Command::Pub(args) = &command {
        args.check()?;
    }
    let mut signals = signal::Signals::new()?;
    let session = tokio::select! {
        session = start(&global) => session?,
        () = signals.next() => return Err(interrupted()),
    };
    let stops_well = command.runs_until_stopped();
    let queued = match &command {
        Command::Pub(args) => args.queued(),
        _ => Arc::default(),
    };
    let mut trouble = Box::pin(waiting::trouble(&session, &global, stops_well));
    let mut was_asked = false;
    let result = tokio::select! {
        result = carry_out(command, &session, &global) => match result {
            // A node that fails ends what is under way; its own word says why.
            Err(failure) if failure.exit == Exit::Failure => {
                match tokio::time::timeout(LAST_WORD, &mut trouble).await {
                    Ok(cause) if cause.exit == Exit::Data => Err(cause),
                    _ => Err(failure),
                }
            }
            result => result,
        },
        failure = &mut trouble => Err(failure),
        () = signals.next() => {
            was_asked = true;
            if !stops_well && queued.load(Ordering::Relaxed) {
                global.say("stopped; the message stays in the log and is sent when this node is in the group");
            }
            if stops_well { Ok(()) } else { Err(interrupted()) }
        },
    };
    drop(trouble);
    let result = tokio::select! {
        ended = tokio::time::timeout(END_PATIENCE, session.end()) => match ended {
            Ok(ended) => result.and(ended.map_err(Failure::from)),
            Err(_) => {
                let message = format!("the node did not end within {} s", END_PATIENCE.as_secs());
                result.and(Err(Failure::new(Exit::Failure, message)))
            }
        },
        // Asked twice: at once. The first time may come when the command has ended by itself, at the end of its input.
        () = async {
            if !was_asked {
                signals.next().await;
            }
            signals.next().await;
        } => Err(interrupted()),
    };
    if was_asked && stops_well && result.is_ok() {
        global.say("stopped");
    }
    result
}

async fn carry_out(command: Command, session: &Session, global: &Global) -> Result<(), Failure> {
    match command {
        Command::Id | Command::Demo(_) | Command::Bench(_) => Ok(()),
        Command::Up(args) => up::run(args, session, global).await,
        Command::Chat(args) => chat::run(args, session, global).await,
        Command::Pub(args) => publish::run(args, session, global).await,
        Command::Sub(args) => subscribe::run(args, session, global).await,
        Command::Peers(args) => peers::run(args, session, global).await,
        Command::Status => status::run(session, global).await,
    }
}

/// Starts a node, or finds the one that runs on the data directory.
async fn start(global: &Global) -> Result<Session, Failure> {
    let session = Session::start(global.builder()?).await?;
    global.say_exposed();
    if let Session::Other { hello, .. } = &session {
        if let Some(network) = global.network.as_ref().filter(|network| **network != hello.network) {
            let message = format!(
                "the node that runs on this data directory is in network \"{}\", not \"{network}\": leave out \
                 --network, or name another --data-dir",
                hello.network
            );
            return Err(Failure::new(Exit::Usage, message));
        }
        let given = global.given_of_running();
        if !given.is_empty() {
            global.say(format_args!(
                "a node runs on this data directory and has settled these for itself; left out: {}",
                given.join(", ")
            ));
        }
    }
    Ok(session)
}

/// Seconds on the command line; a fraction will do.
fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number of seconds, such as 5 or 0.5".to_owned();
    text.parse::<f64>().ok().and_then(|secs| Duration::try_from_secs_f64(secs).ok()).ok_or_else(wrong)
}

/// What is wrong with the slashes of a subject, if anything is.
fn slashes(subject: &str) -> Result<(), String> {
    let wrong = if subject.starts_with('/') {
        "it begins with a slash"
    } else if subject.ends_with('/') {
        "it ends with a slash"
    } else if subject.contains("//") {
        "nothing stands between two slashes"
    } else {
        return Ok(());
    };
    Err(format!("{wrong}; write a slash-separated path such as temp/kitchen"))
}

fn interrupted() -> Failure {
    Failure::new(Exit::Interrupted, "")
}
