//! A bucket of tokens: what somebody may still do, so much at once and so much in a time.
//!
//! There is no timer: its owner says when it is filled up, before each draw, or only when there is too little in it,
//! which is cheaper and lets through up to twice the burst at once. When whole tokens come back, what was earned of
//! the next is lost.

use crate::time::{Duration, Timestamp};

/// How much a bucket holds, and what comes back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// Tokens in a full bucket.
    pub(crate) burst: u32,
    /// Tokens that come back in each [`Rate::period`].
    pub(crate) tokens: u32,
    /// At least a microsecond.
    pub(crate) period: Duration,
}

impl Rate {
    /// So many at once, so many a second.
    pub(crate) const fn per_second(burst: u32, tokens: u32) -> Self {
        Self { burst, tokens, period: Duration::from_secs(1) }
    }
}

/// The tokens that are left. The rate comes with each call, so that a bucket is small: there is one for each neighbour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    left: u32,
    since: Timestamp,
}

impl Bucket {
    /// A full one. What comes back is counted from `since`.
    pub(crate) const fn full(since: Timestamp, rate: Rate) -> Self {
        Self { left: rate.burst, since }
    }

    /// When tokens last came back, or it was new.
    pub(crate) const fn since(&self) -> Timestamp {
        self.since
    }

    /// Whether there are so many.
    pub(crate) const fn has(&self, n: u32) -> bool {
        self.left >= n
    }

    /// Puts back what has come since the last time, up to the burst.
    pub(crate) fn refill(&mut self, now: Timestamp, rate: Rate) {
        let earned = (now - self.since).as_micros() * u128::from(rate.tokens) / rate.period.as_micros();
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(earned).min(rate.burst);
            self.since = now;
        }
    }

    /// Takes one, after what has come back was put in. False if there is none.
    #[must_use]
    pub(crate) fn take(&mut self, now: Timestamp, rate: Rate) -> bool {
        self.refill(now, rate);
        self.draw(1)
    }

    /// Takes `n`. False if there are fewer: they are taken all the same.
    #[must_use]
    pub(crate) fn draw(&mut self, n: u32) -> bool {
        let has = self.has(n);
        self.left = self.left.saturating_sub(n);
        has
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 4, tokens: 1, period: Duration::from_millis(500) };

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_micros(1000 * millis)
    }

    fn empty() -> Bucket {
        let mut bucket = Bucket::full(at(0), RATE);
        assert!(bucket.draw(RATE.burst));
        bucket
    }

    #[test]
    fn a_full_bucket_gives_its_burst_and_no_more() {
        let mut bucket = Bucket::full(at(0), RATE);
        assert!((0..RATE.burst).all(|_| bucket.draw(1)));
        assert!(!bucket.draw(1));
    }

    #[test]
    fn a_token_comes_back_in_its_time_and_not_before() {
        let mut bucket = empty();
        bucket.refill(Timestamp::from_micros(499_999), RATE);
        assert!(!bucket.has(1), "a microsecond early");
        bucket.refill(at(500), RATE);
        assert!(bucket.draw(1));
        assert!(!bucket.draw(1), "only one");
    }

    #[test]
    fn part_of_a_token_is_lost_when_a_whole_one_comes_back() {
        let mut bucket = empty();
        bucket.refill(at(900), RATE);
        bucket.refill(at(1300), RATE);
        assert!(bucket.draw(1) && !bucket.has(1), "not counted from 500 ms");
        bucket.refill(at(1400), RATE);
        assert!(bucket.draw(1), "but from 900 ms");
        assert_eq!(bucket.since(), at(1400));
    }

    #[test]
    fn tokens_do_not_pile_up() {
        let mut bucket = empty();
        bucket.refill(at(3_600_000), RATE);
        assert!(bucket.draw(RATE.burst) && !bucket.has(1));
        bucket.refill(Timestamp::from_micros(u64::MAX), Rate::per_second(u32::MAX, u32::MAX));
        assert!(bucket.has(u32::MAX), "nor run over");
    }

    #[test]
    fn what_is_not_enough_is_taken_all_the_same() {
        let mut bucket = Bucket::full(at(0), RATE);
        assert!(!bucket.draw(RATE.burst + 1));
        assert!(!bucket.has(1));
    }
}
