//! What an embedder can meet: one variant per cause, each message with a remedy.

use std::path::PathBuf;

use djembe_protocol::crypto::GroupKeyError;
use djembe_protocol::error::DraftError;

use crate::datadir::DataDirError;
use crate::identity::IdentityError;
use crate::store::StoreError;

/// Why a node could not be started, or could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The data directory cannot be used. Nothing was started.
    #[error("{0}")]
    DataDir(String),
    /// A node runs on this data directory already. Nothing was started.
    #[error("{message}")]
    AlreadyRunning {
        /// Which directory, and what to do.
        message: String,
        /// The directory.
        path: PathBuf,
    },
    /// The identity cannot be read. Nothing was started.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The store cannot be opened. Nothing was started.
    #[error("{0}")]
    Store(String),
    /// An address cannot be listened on. Nothing was started.
    #[error("{0}")]
    Listen(String),
    /// An address given is not one. Nothing was started.
    #[error("{0}")]
    Address(String),
    /// Discovery cannot start. Nothing was started.
    #[error("{0}")]
    Discovery(String),
    /// A name or passphrase cannot be a group's. Nothing was joined.
    #[error(transparent)]
    Group(#[from] GroupKeyError),
    /// The node is in as many groups as it can be. Nothing was joined.
    #[error("a node can be in {0} groups: leave one, or run another node")]
    TooManyGroups(usize),
    /// A message breaks a limit. Nothing was queued.
    #[error(transparent)]
    Draft(#[from] DraftError),
    /// More messages wait than the lane holds; they leave as the links take them. Nothing was queued.
    #[error("too many messages are waiting; try again in a moment, or use publish, which waits")]
    Busy,
    /// The message will never leave.
    #[error("the message was dropped: {0}")]
    Dropped(String),
    /// What became of the message is not known any more.
    #[error("so much was published since that it is not known any more what became of the message")]
    Forgotten,
    /// The node has left the group since.
    #[error("the group was left; join it again")]
    Left,
    /// The node has ended.
    #[error("the node has ended{}", .0.as_deref().map(|why| format!(": {why}")).unwrap_or_default())]
    Ended(Option<String>),
    /// The system gives no entropy.
    #[error("no random numbers from the system: {0}")]
    Entropy(String),
}

impl From<DataDirError> for NodeError {
    fn from(error: DataDirError) -> Self {
        match &error {
            DataDirError::Locked { path, .. } => {
                Self::AlreadyRunning { path: path.clone(), message: error.to_string() }
            }
            _ => Self::DataDir(error.to_string()),
        }
    }
}

impl From<StoreError> for NodeError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}
