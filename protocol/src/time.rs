//! Time as data: a monotonic clock for decisions, wall time for people, a hybrid clock for display order.
//!
//! Nothing here reads a clock. The host passes a [`Timestamp`] with every input and tells the wall time by
//! `Input::WallTime`; the simulator passes virtual ones.

use core::fmt;
use core::num::NonZeroU64;
use core::ops::{Add, Sub};
pub use core::time::Duration;

/// Monotonic time in microseconds since an arbitrary start chosen by the host.
///
/// Kept as one more than that: zero is left for none, and a time that may be missing takes eight bytes. A node keeps
/// thousands of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(NonZeroU64);

const _: () = assert!(size_of::<Option<Timestamp>>() == 8);

impl Timestamp {
    /// The start of time.
    pub const ZERO: Self = Self(NonZeroU64::MIN);

    /// A time `micros` microseconds after the start.
    pub const fn from_micros(micros: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(micros))
    }

    /// Microseconds since the start.
    pub const fn as_micros(self) -> u64 {
        self.0.get() - 1
    }

    /// The time that passed since `earlier`, zero if it lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.get().saturating_sub(earlier.0.get()))
    }
}

impl Default for Timestamp {
    fn default() -> Self {
        Self::ZERO
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Timestamp {
    type Output = Duration;

    fn sub(self, rhs: Self) -> Duration {
        self.since(rhs)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.as_micros();
        write!(f, "{}.{:06}s", micros / 1_000_000, micros % 1_000_000)
    }
}

/// Wall-clock time in milliseconds since 1970-01-01 UTC. For people, expiry and minting; never for validity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct WallTime(pub u64);

/// Hybrid logical clock: milliseconds since 1970 in the upper 48 bits, a counter in the lower 16.
///
/// For display and order only (Kulkarni et al., "Logical Physical Clocks", 2014). A clock ahead of ours by more
/// than [`Hlc::MERGE_AHEAD_MS`] does not pull ours along.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Hlc(pub u64);

impl Hlc {
    /// How far ahead of our wall clock a remote clock may pull ours: five minutes.
    pub const MERGE_AHEAD_MS: u64 = 5 * 60 * 1000;

    /// The wall-clock part in milliseconds since 1970.
    pub const fn millis(self) -> u64 {
        self.0 >> 16
    }

    /// The next reading of a clock that last read `self`, at wall time `wall`.
    #[must_use]
    pub fn tick(self, wall: WallTime) -> Self {
        let physical = Self(wall.0 << 16);
        if physical > self { physical } else { Self(self.0.saturating_add(1)) }
    }

    /// The clock after it has seen `remote`, which counts only as far as [`Hlc::MERGE_AHEAD_MS`] ahead.
    #[must_use]
    pub fn merge(self, remote: Self, wall: WallTime) -> Self {
        let ceiling = Self((wall.0 + Self::MERGE_AHEAD_MS) << 16);
        self.max(remote.min(ceiling))
    }

    /// The reading to show to a person whose clock says `wall`: never more than five minutes ahead.
    #[must_use]
    pub fn shown(self, wall: WallTime) -> WallTime {
        WallTime(self.millis().min(wall.0 + Self::MERGE_AHEAD_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hlc_moves_on_when_the_wall_clock_stands_still_or_goes_back() {
        let a = Hlc::default().tick(WallTime(1000));
        let b = a.tick(WallTime(1000));
        let c = b.tick(WallTime(1));
        assert!(a < b && b < c);
        assert_eq!(c.millis(), 1000);
    }

    #[test]
    fn hlc_merge_is_limited_to_five_minutes_ahead() {
        let wall = WallTime(1_000_000);
        let far = Hlc((wall.0 + 10 * Hlc::MERGE_AHEAD_MS) << 16);
        assert_eq!(Hlc::default().merge(far, wall).millis(), wall.0 + Hlc::MERGE_AHEAD_MS);
        let near = Hlc((wall.0 + 10) << 16);
        assert_eq!(Hlc::default().merge(near, wall), near);
    }
}
