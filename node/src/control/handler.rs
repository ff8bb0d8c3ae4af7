//! Carries out what one connection asks, in the order in which it asks. What goes on (messages, events, receipts)
//! runs beside it, and all of it ends with the connection.
//!
//! Bounded: the channels on both sides, the streams and the groups of one connection. A client that does not read
//! holds up its own subscriptions, as any slow reader does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::protocol::{Ask, Hello, ReceiptRecord, Refused, Reply, Request, Response};
use super::record::Recorder;
use crate::driver::{PublishRequest, Request as DriverRequest};
use crate::error::NodeError;
use crate::event::Listeners;
use crate::group::Group;
use crate::node::{Handle, Node};
use crate::receipt::Receipt;
use crate::subscription::SubscribeOptions;
use crate::{PeerId, SubjectPattern};

/// Answers that wait for a client to read them.
pub(super) const REPLIES: usize = 1024;
/// Requests that wait for the handler.
pub(super) const REQUESTS: usize = 256;
/// Streams of one connection.
const STREAMS_MAX: usize = 64;
/// Groups that one connection can name.
const GROUPS_MAX: usize = 256;

/// A node that is not kept running by whoever only serves it.
#[derive(Clone, Debug)]
pub(crate) struct WeakNode {
    me: PeerId,
    network: Arc<str>,
    requests: mpsc::WeakSender<DriverRequest>,
    publish: mpsc::WeakUnboundedSender<PublishRequest>,
    events: Weak<Listeners>,
}

impl WeakNode {
    pub(crate) fn new(handle: &Handle, network: Arc<str>) -> Self {
        Self {
            me: handle.me,
            network,
            requests: handle.requests.downgrade(),
            publish: handle.publish.downgrade(),
            events: handle.events.clone(),
        }
    }

    /// The node, if anybody else still holds it. It runs on while the returned handle lives.
    pub(super) fn upgrade(&self) -> Option<Node> {
        let (requests, publish) = (self.requests.upgrade()?, self.publish.upgrade()?);
        let handle = Handle { me: self.me, requests, publish, events: self.events.clone() };
        Some(Node { handle, network: self.network.clone(), driver: Arc::new(Mutex::new(None)) })
    }
}

/// What is said first on a connection.
pub(super) fn hello(node: &Node) -> Hello {
    Hello {
        peer_id: node.peer_id().to_string(),
        network: node.network().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Serves one connection until its requests end or nobody takes its answers.
pub(super) async fn serve(
    node: Node,
    mut requests: mpsc::Receiver<Request>,
    replies: mpsc::Sender<Response>,
) {
    let mut connection = Connection {
        node,
        replies,
        groups: BTreeMap::new(),
        published: BTreeMap::new(),
        streams: BTreeMap::new(),
        tasks: JoinSet::new(),
    };
    while let Some(Request { id, ask }) = requests.recv().await {
        let answer = match connection.on_ask(id, ask).await {
            Ok(Some(reply)) => connection.reply(id, reply).await,
            Ok(None) => true,
            Err(refused) => connection.reply(id, Reply::Error(refused)).await,
        };
        if !answer {
            return;
        }
    }
}

struct Connection {
    node: Node,
    replies: mpsc::Sender<Response>,
    groups: BTreeMap<String, Group>,
    /// The last message of each group and lane.
    published: BTreeMap<(String, bool), Receipt>,
    streams: BTreeMap<u64, AbortHandle>,
    tasks: JoinSet<()>,
}

impl Connection {
    async fn reply(&self, re: u64, reply: Reply) -> bool {
        self.replies.send(Response { re, reply }).await.is_ok()
    }

    async fn on_ask(&mut self, id: u64, ask: Ask) -> Result<Option<Reply>, Refused> {
        match ask {
            Ask::Join { group, passphrase } => {
                if self.groups.len() >= GROUPS_MAX && !self.groups.contains_key(&group) {
                    return Err(too_many("groups", GROUPS_MAX));
                }
                let joined = match &passphrase {
                    None => self.node.join(&group).await?,
                    Some(passphrase) => self.node.join_with_passphrase(&group, passphrase.text()).await?,
                };
                self.groups.insert(group, joined);
            }
            Ask::Leave { group } => {
                self.group(&group)?;
                if let Some(joined) = self.groups.remove(&group) {
                    joined.leave().await?;
                }
            }
            Ask::Publish(record) => {
                let group = self.group(&record.group)?;
                let (key, quiet) = ((record.group.clone(), record.live), record.quiet);
                let receipt = group.publish(record.into_publish()).await?;
                let reply = (!quiet).then(|| Reply::Receipt(receipt.state().into()));
                self.published.insert(key, receipt);
                return Ok(reply);
            }
            Ask::Follow { group, live } => {
                let receipt = self.published.get(&(group.clone(), live)).cloned();
                let receipt = receipt.ok_or_else(|| {
                    Refused::new(
                        "request",
                        format!("nothing was published to \"{group}\" on this connection"),
                    )
                })?;
                let replies = self.replies.clone();
                self.start(id, follow(id, receipt, replies))?;
                return Ok(None);
            }
            Ask::Subscribe { group, subject, skip_own } => {
                let pattern = subject.as_deref().map(str::parse::<SubjectPattern>).transpose();
                let pattern = pattern.map_err(|error| Refused::new("subject", error.to_string()))?;
                let options = SubscribeOptions { pattern, skip_own };
                let mut messages = self.group(&group)?.subscribe_with(options).await?;
                let replies = self.replies.clone();
                self.reply(id, Reply::Done).await;
                self.start(id, async move {
                    let mut recorder = Recorder::default();
                    while let Some(message) = messages.next().await {
                        let reply = Reply::Message(recorder.record(&message));
                        if replies.send(Response { re: id, reply }).await.is_err() {
                            return;
                        }
                    }
                    let _ = replies.send(Response { re: id, reply: Reply::End }).await;
                })?;
                return Ok(None);
            }
            Ask::Events => {
                let (mut events, replies) = (self.node.events(), self.replies.clone());
                self.reply(id, Reply::Done).await;
                self.start(id, async move {
                    while let Some(event) = events.next().await {
                        let reply = Reply::Event(event.into());
                        if replies.send(Response { re: id, reply }).await.is_err() {
                            return;
                        }
                    }
                    let _ = replies.send(Response { re: id, reply: Reply::End }).await;
                })?;
                return Ok(None);
            }
            Ask::Status => return Ok(Some(Reply::Status(Box::new(self.node.status().await?)))),
            Ask::Cancel { of } => {
                if let Some(stream) = self.streams.remove(&of) {
                    stream.abort();
                }
            }
        }
        Ok(Some(Reply::Done))
    }

    fn group(&self, name: &str) -> Result<Group, Refused> {
        self.groups
            .get(name)
            .cloned()
            .ok_or_else(|| Refused::new("unknown-group", format!("join \"{name}\" on this connection first")))
    }

    fn start(&mut self, id: u64, stream: impl Future<Output = ()> + Send + 'static) -> Result<(), Refused> {
        self.streams.retain(|_, stream| !stream.is_finished());
        while self.tasks.try_join_next().is_some() {}
        if self.streams.len() >= STREAMS_MAX {
            return Err(too_many("streams", STREAMS_MAX));
        }
        let stream = self.tasks.spawn(stream);
        if let Some(former) = self.streams.insert(id, stream) {
            // Two streams under one number could not be told apart.
            former.abort();
        }
        Ok(())
    }
}

async fn follow(re: u64, receipt: Receipt, replies: mpsc::Sender<Response>) {
    let mut state = receipt.state();
    loop {
        let record = ReceiptRecord::from(state.clone());
        let is_last = matches!(state, crate::ReceiptState::Dropped { .. } | crate::ReceiptState::Forgotten);
        if replies.send(Response { re, reply: Reply::Receipt(record) }).await.is_err() {
            return;
        }
        let next = if is_last { None } else { receipt.changed(&state).await.ok() };
        match next {
            Some(next) => state = next,
            None => {
                let _ = replies.send(Response { re, reply: Reply::End }).await;
                return;
            }
        }
    }
}

fn too_many(what: &str, max: usize) -> Refused {
    Refused::new(
        "too-many",
        format!("a connection has at most {max} {what}: end one, or open another connection"),
    )
}

impl From<NodeError> for Reply {
    fn from(error: NodeError) -> Self {
        Self::Error(error.into())
    }
}
