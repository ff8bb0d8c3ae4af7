//! node

#[expect(dead_code, unused_imports, reason = "the driver will use it")]
pub(crate) mod discovery;
