//! node

#[allow(dead_code, reason = "the sockets will use it")]
pub(crate) mod discovery;
