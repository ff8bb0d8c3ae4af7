//! A djembe node to embed.

pub(crate) mod transport;
