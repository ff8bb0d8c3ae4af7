//! What the cross-crate tests share: a laboratory of network namespaces, the `djembe` binary, the source tree,
//! the functions that fuzzers call.
//!
//! Everything here panics with the reason when something does not work: it runs inside tests only.

pub mod binary;
pub mod fuzz_targets;
pub mod netns;
pub mod source;
