//! node

#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the driver that uses it is not there yet")
)]
mod datadir;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the driver that uses it is not there yet")
)]
pub(crate) mod store;
