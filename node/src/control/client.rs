//! Commands' side: a node in this process, or the one that runs on the data directory already. Both look the same.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::handler;
use super::protocol::{Ask, Hello, Passphrase, Refused, Reply, Request, Response};
use super::server;
use super::wire;
use crate::builder::Builder;
use crate::error::NodeError;
use crate::node::Node;
use crate::status::Status;

/// Requests or answers moved at once.
const BATCH: usize = 256;
/// A node that has just been started serves its socket within this time, and one that is just ending lets go of its
/// directory.
const START_PATIENCE: Duration = Duration::from_secs(5);
/// A node that is well answers at once.
const HELLO_PATIENCE: Duration = Duration::from_secs(3);

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// No node could be started.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A node holds the directory and does not talk.
    #[error(
        "{holder}; its socket {} does not answer ({cause}): wait until it has started or ended, or stop it",
        path.display()
    )]
    NoAnswer { holder: String, path: PathBuf, cause: String },
    /// The node refused.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The node has ended.
    #[error("the node has ended; start it again, or run the command without it")]
    Ended,
    /// What came is no answer.
    #[error("the running node cannot be understood: {0}; use the same version of djembe for both")]
    Protocol(String),
}

/// A node to talk to.
#[derive(Debug)]
pub(crate) enum Session {
    /// Started by this process; ends with it.
    Own(Node),
    /// Running elsewhere on this machine.
    Other {
        /// Its socket.
        path: PathBuf,
        /// Who it is.
        hello: Hello,
    },
}

impl Session {
    /// Starts a node, or finds the one that runs on its data directory.
    pub(crate) async fn start(builder: Builder) -> Result<Self, ClientError> {
        let since = Instant::now();
        loop {
            let (holder, path) = match builder.clone().spawn().await {
                Ok(node) => return Ok(Self::Own(node)),
                Err(NodeError::AlreadyRunning { message, path }) => (message, path.join("node.sock")),
                Err(error) => return Err(error.into()),
            };
            match connect(&path).await {
                Ok(connection) => return Ok(Self::Other { path, hello: connection.hello }),
                // It may be about to serve its socket, or to let go of the directory.
                Err(ClientError::NoAnswer { .. }) if since.elapsed() < START_PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(ClientError::NoAnswer { cause, .. }) => {
                    return Err(ClientError::NoAnswer { holder, path, cause });
                }
                // Others that are just ending make room.
                Err(ClientError::Refused(_)) if since.elapsed() < START_PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Who runs on a data directory, if anybody answers there.
    pub(crate) async fn find(data_dir: &Path) -> Option<Hello> {
        connect(&data_dir.join("node.sock")).await.ok().map(|connection| connection.hello)
    }

    /// A connection of its own, for one conversation at a time.
    pub(crate) async fn open(&self) -> Result<Connection, ClientError> {
        match self {
            Self::Own(node) => {
                let (requests, requests_out) = mpsc::channel(handler::REQUESTS);
                let (replies, replies_out) = mpsc::channel(handler::REPLIES);
                tokio::spawn(handler::serve(node.clone(), requests_out, replies));
                Ok(Connection { hello: handler::hello(node), requests, replies: replies_out, next: 1 })
            }
            Self::Other { path, .. } => connect(path).await,
        }
    }

    /// Whether the node ends with this command.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self, Self::Own(_))
    }

    /// What the node knows now.
    pub(crate) async fn status(&self) -> Result<Status, ClientError> {
        self.open().await?.status().await
    }

    /// Ends the node if it was started here: says goodbye and finishes writing.
    pub(crate) async fn end(self) -> Result<(), NodeError> {
        match self {
            Self::Own(node) => node.shutdown().await,
            Self::Other { .. } => Ok(()),
        }
    }
}

/// A conversation with a node.
#[derive(Debug)]
pub(crate) struct Connection {
    hello: Hello,
    requests: mpsc::Sender<Request>,
    replies: mpsc::Receiver<Response>,
    next: u64,
}

impl Connection {
    /// Asks, and waits for the first answer. Answers to former requests are skipped.
    pub(crate) async fn ask(&mut self, ask: Ask) -> Result<Reply, ClientError> {
        let id = self.start(ask).await?;
        loop {
            match self.replies.recv().await {
                Some(Response { re, reply: Reply::Error(refused) }) if re == id || re == 0 => {
                    return Err(refused.into());
                }
                Some(Response { re, reply }) if re == id => return Ok(reply),
                Some(_) => {}
                None => return Err(ClientError::Ended),
            }
        }
    }

    /// Asks without waiting for an answer, but for room.
    pub(crate) async fn start(&mut self, ask: Ask) -> Result<u64, ClientError> {
        let id = self.next;
        self.next += 1;
        self.requests.send(Request { id, ask }).await.map_err(|_| ClientError::Ended)?;
        Ok(id)
    }

    /// The next answer to anything. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Reply, ClientError> {
        Self::given(self.replies.recv().await.ok_or(ClientError::Ended)?)
    }

    /// The next answer if it is there.
    pub(crate) fn try_next(&mut self) -> Option<Result<Reply, ClientError>> {
        match self.replies.try_recv() {
            Ok(response) => Some(Self::given(response)),
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => Some(Err(ClientError::Ended)),
        }
    }

    fn given(response: Response) -> Result<Reply, ClientError> {
        match response.reply {
            Reply::Error(refused) => Err(refused.into()),
            reply => Ok(reply),
        }
    }

    /// Joins a group, for this connection to name.
    pub(crate) async fn join(&mut self, group: &str, passphrase: Option<&str>) -> Result<(), ClientError> {
        let passphrase = passphrase.map(Passphrase::new);
        self.ask(Ask::Join { group: group.to_owned(), passphrase }).await.map(drop)
    }

    /// What the node knows now.
    pub(crate) async fn status(&mut self) -> Result<Status, ClientError> {
        match self.ask(Ask::Status).await? {
            Reply::Status(status) => Ok(*status),
            other => Err(ClientError::Protocol(format!("a status was asked for, and {other:?} came"))),
        }
    }
}

async fn connect(path: &Path) -> Result<Connection, ClientError> {
    let no_answer = |cause: String| ClientError::NoAnswer {
        holder: "a node runs on this data directory".to_owned(),
        path: path.to_owned(),
        cause,
    };
    let stream = server::at(path, |short| std::os::unix::net::UnixStream::connect(short))
        .and_then(|stream| stream.set_nonblocking(true).map(|()| stream))
        .and_then(UnixStream::from_std)
        .map_err(|error| no_answer(error.to_string()))?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::with_capacity(256 * 1024, reader);

    let mut line = Vec::new();
    let greeting = wire::read_line(&mut reader, &mut line, wire::RESPONSE_MAX);
    match tokio::time::timeout(HELLO_PATIENCE, greeting).await {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) => return Err(no_answer("it closed the connection".to_owned())),
        Ok(Err(error)) => return Err(no_answer(error.to_string())),
        Err(_) => return Err(no_answer(format!("silent for {} s", HELLO_PATIENCE.as_secs()))),
    }
    let hello = match wire::read_response(&line).map_err(ClientError::Protocol)?.reply {
        Reply::Hello(hello) => hello,
        Reply::Error(refused) => return Err(refused.into()),
        other => return Err(ClientError::Protocol(format!("{other:?} where a greeting belongs"))),
    };

    let (requests, mut requests_out) = mpsc::channel::<Request>(handler::REQUESTS);
    let (replies_in, replies) = mpsc::channel(handler::REPLIES);
    tokio::spawn(async move {
        let (mut batch, mut bytes) = (Vec::with_capacity(BATCH), Vec::new());
        while requests_out.recv_many(&mut batch, BATCH).await > 0 {
            batch.drain(..).for_each(|request| wire::write_request(request, &mut bytes));
            writer.write_all(&bytes).await?;
            bytes.clear();
        }
        io::Result::Ok(())
    });
    tokio::spawn(async move {
        while let Ok(true) = wire::read_line(&mut reader, &mut line, wire::RESPONSE_MAX).await {
            let response = wire::read_response(&line).unwrap_or_else(|error| {
                // Told as an answer, so that it is not taken for the node's end.
                Response { re: 0, reply: Reply::Error(Refused::new("failed", error)) }
            });
            if replies_in.send(response).await.is_err() {
                return;
            }
        }
    });
    Ok(Connection { hello, requests, replies, next: 1 })
}
