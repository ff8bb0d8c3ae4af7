//! How a command ends: one number for each thing a script may want to tell apart.

use std::fmt;

use crate::control::ClientError;
use crate::error::NodeError;
use crate::identity::IdentityError;

/// The exit codes, as `--help` and docs/cli.md list them. A number keeps its meaning for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// It did not work; the message says why.
    Failure = 1,
    /// The command line, a name or a message is wrong. Nothing was done.
    Usage = 2,
    /// Nobody was there, or not in time. A durable message stays in the log.
    TimedOut = 3,
    /// The data directory, the store or the identity cannot be used. Nothing was done.
    Data = 4,
    /// An address or a port cannot be used. Nothing was done.
    Address = 5,
    /// Ctrl-C or SIGTERM came before the command's own end; it said goodbye to its peers.
    Interrupted = 130,
}

/// What `--help` says about them.
pub(super) const HELP: &str = "\
Exit codes:
    0  done
    1  it did not work; the message says why
    2  the command line, a name or a message is wrong
    3  nobody was there, or not in time (a durable message stays in the log)
    4  the data directory, the store or the identity cannot be used
    5  an address or a port cannot be used
  130  interrupted before its own end

Data goes to standard output, everything else to standard error.";

/// Why a command did not end well: a code for scripts and a sentence with a remedy for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// For standard error; empty where there is nothing to say.
    pub message: String,
}

impl Failure {
    /// Any failure.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// The reader of standard output has had enough, as `head` has: an end, not an error.
    pub(super) fn broken_pipe() -> Self {
        Self::new(Exit::Ok, "")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        let exit = match &error {
            NodeError::DataDir(_)
            | NodeError::AlreadyRunning { .. }
            | NodeError::Identity(_)
            | NodeError::Store(_) => Exit::Data,
            NodeError::Listen(_) | NodeError::Discovery(_) => Exit::Address,
            NodeError::Address(_) | NodeError::Group(_) | NodeError::Draft(_) => Exit::Usage,
            NodeError::Busy
            | NodeError::Dropped(_)
            | NodeError::Forgotten
            | NodeError::Left
            | NodeError::Ended(_)
            | NodeError::TooManyGroups(_)
            | NodeError::Entropy(_) => Exit::Failure,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        NodeError::from(error).into()
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        let exit = match error {
            ClientError::Node(error) => return error.into(),
            ClientError::Refused(refused) if refused.is_usage() => Exit::Usage,
            ClientError::NoAnswer { .. } => Exit::Data,
            ClientError::Refused(_) | ClientError::Ended | ClientError::Protocol(_) => Exit::Failure,
        };
        Self::new(exit, message)
    }
}
