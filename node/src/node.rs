//! The node as an application holds it: a handle to the driver.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use djembe_protocol::crypto::GroupKey;
use djembe_protocol::id::PeerId;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::builder::Builder;
use crate::driver::{PublishRequest, Request};
use crate::error::NodeError;
use crate::event::{Events, Listeners};
use crate::group::Group;
use crate::status::Status;

/// What every handle needs to talk to the driver.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) me: PeerId,
    pub(crate) requests: mpsc::Sender<Request>,
    /// Bounded by the room of each lane, which a publisher takes first.
    pub(crate) publish: mpsc::UnboundedSender<PublishRequest>,
    /// The driver's, so that its end is the end of the events.
    pub(crate) events: Weak<Listeners>,
}

impl Handle {
    pub(crate) async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, NodeError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| NodeError::Ended(None))?;
        answer.await.map_err(|_| NodeError::Ended(None))
    }
}

/// The driver's task, until somebody waits for its end.
pub(crate) type Running = JoinHandle<Result<(), NodeError>>;

/// A running node. Cheap to clone; it runs until [`Node::shutdown`] or until all handles are dropped.
#[derive(Clone, Debug)]
pub struct Node {
    pub(crate) handle: Handle,
    pub(crate) network: Arc<str>,
    pub(crate) driver: Arc<Mutex<Option<Running>>>,
}

impl Node {
    /// Settings for a node.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Who this node is.
    pub fn peer_id(&self) -> PeerId {
        self.handle.me
    }

    /// The network it is in.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// Joins an open group that anyone who knows its name can join.
    ///
    /// # Errors
    /// [`NodeError::Group`] for a name that is none, [`NodeError::TooManyGroups`], [`NodeError::Ended`] if the node has ended.
    pub async fn join(&self, name: &str) -> Result<Group, NodeError> {
        self.join_key(name, GroupKey::open(&self.network, name, None)?).await
    }

    /// Joins an open group that only those can join who know its passphrase. Takes some 100 ms.
    ///
    /// # Errors
    /// As [`Node::join`].
    pub async fn join_with_passphrase(&self, name: &str, passphrase: &str) -> Result<Group, NodeError> {
        let (network, group, passphrase) =
            (self.network.clone(), name.to_owned(), zeroize::Zeroizing::new(passphrase.to_owned()));
        let key = tokio::task::spawn_blocking(move || GroupKey::open(&network, &group, Some(&passphrase)));
        let key = key.await.map_err(|error| NodeError::Ended(Some(error.to_string())))??;
        self.join_key(name, key).await
    }

    async fn join_key(&self, name: &str, key: GroupKey) -> Result<Group, NodeError> {
        let (key, name) = (Box::new(key), name.to_owned());
        let shared = self.handle.ask(|reply| Request::Join { key, name, reply }).await??;
        Ok(Group { handle: self.handle.clone(), shared })
    }

    /// What happens from now on.
    pub fn events(&self) -> Events {
        self.handle.events.upgrade().map_or_else(Events::ended, |listeners| listeners.listen())
    }

    /// What the node knows now.
    ///
    /// # Errors
    /// [`NodeError::Ended`] if the node has ended.
    pub async fn status(&self) -> Result<Status, NodeError> {
        self.handle.ask(|reply| Request::Status { reply }).await
    }

    /// Says goodbye, finishes writing, and ends. Later calls return at once.
    ///
    /// # Errors
    /// What went wrong while the node ran or ended, if anything did.
    pub async fn shutdown(&self) -> Result<(), NodeError> {
        let _ = self.handle.requests.send(Request::Shutdown).await;
        self.ended().await
    }

    /// Waits until the node ends.
    ///
    /// # Errors
    /// Why it ended, if not by [`Node::shutdown`]. Only the first caller is told.
    pub async fn ended(&self) -> Result<(), NodeError> {
        let driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner).take();
        match driver {
            Some(driver) => {
                driver.await.unwrap_or_else(|error| Err(NodeError::Ended(Some(error.to_string()))))
            }
            None => {
                self.handle.requests.closed().await;
                Ok(())
            }
        }
    }
}
