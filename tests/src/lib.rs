//! What the cross-crate tests share: a laboratory of network namespaces, and where the `djembe` binary is.
//!
//! Everything here panics with the reason when something does not work: it runs inside tests only.

pub mod binary;
pub mod netns;
