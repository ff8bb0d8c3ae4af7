//! Commands to a node and what it answers: one handler, reached in this process through channels, and from other
//! processes of the same user through a socket in the data directory. `docs/local-socket.md` is for those who
//! write another client.
//!
//! Deliberately not here: any port on the network, and any right beyond that of the user who runs the node.

mod client;
mod handler;
mod protocol;
mod record;
mod server;
mod wire;

pub(crate) use client::{ClientError, Connection, Session};
pub(crate) use handler::WeakNode;
pub(crate) use protocol::{Ask, EventRecord, ReceiptRecord, ReceiptWord, Reply};
pub(crate) use record::{MessageRecord, PublishRecord, rfc3339};
pub(crate) use server::Server;
