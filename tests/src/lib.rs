//! What the cross-crate tests share: a laboratory of network namespaces, a network between them that takes its time,
//! the `djembe` binary, the source tree, the functions that fuzzers call.
//!
//! Everything here panics with the reason when something does not work: it runs inside tests, and in programs whose
//! only remedy is to end.

pub mod binary;
#[cfg(target_os = "linux")]
pub mod emulation;
pub mod fuzz_targets;
pub mod netns;
pub mod source;
pub mod traffic;
