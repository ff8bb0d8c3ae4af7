//! What the cross-crate tests share: a laboratory of network namespaces, the `djembe` binary, the source tree.
//!
//! Everything here panics with the reason when something does not work: it runs inside tests only.

pub mod binary;
pub mod netns;
pub mod source;
