//! What a subscriber counts: which numbers came, in which order, and how long they took. And the middle of a few
//! values that are kept one by one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Which of the numbers 0, 1, 2, ... came.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// One past the highest that came.
    next: u64,
    /// Passed over so far: first of a range, one past its last.
    missing: BTreeMap<u64, u64>,
    pub(super) unique: u64,
    pub(super) duplicates: u64,
    /// Came after a higher one.
    pub(super) late: u64,
}

impl Numbers {
    /// Counts one in; whether it is new.
    pub(super) fn add(&mut self, number: u64) -> bool {
        if number >= self.next {
            if number > self.next {
                self.missing.insert(self.next, number);
            }
            self.next = number + 1;
        } else if self.fill(number) {
            self.late += 1;
        } else {
            self.duplicates += 1;
            return false;
        }
        self.unique += 1;
        true
    }

    /// Takes a number out of what is missing; false if it is not missing.
    fn fill(&mut self, number: u64) -> bool {
        let range = self.missing.range(..=number).next_back().map(|(from, to)| (*from, *to));
        let Some((from, to)) = range.filter(|(_, to)| number < *to) else { return false };
        self.missing.remove(&from);
        if from < number {
            self.missing.insert(from, number);
        }
        if number + 1 < to {
            self.missing.insert(number + 1, to);
        }
        true
    }
}

/// Steps within a power of two: a value is known to 1 in 128.
const STEPS_LOG2: u32 = 7;

/// How often each duration occurred, to better than 0.8 %, in a few KiB.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Histogram {
    /// By bucket, as far as any is filled.
    counts: Vec<u64>,
    max: u64,
}

impl Histogram {
    pub(super) fn add(&mut self, value: u64) {
        let bucket = bucket(value);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.max = self.max.max(value);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, n) in self.counts.iter_mut().zip(&other.counts) {
            *mine += n;
        }
        self.max = self.max.max(other.max);
    }

    /// The value that so many of a hundred do not exceed; 0 of nothing.
    pub(super) fn percentile(&self, percent: u64) -> u64 {
        let rank = (self.n() * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let at = self.counts.iter().position(|n| {
            seen += n;
            seen >= rank
        });
        at.map_or(0, |bucket| top(bucket).min(self.max))
    }

    /// How many there are.
    pub(super) fn n(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(super) fn max(&self) -> u64 {
        self.max
    }
}

fn bucket(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(STEPS_LOG2 + 1);
    // At most 56 shifts of 128 steps each, and the steps are below 256.
    ((shift as usize) << STEPS_LOG2) + usize::try_from(value >> shift).unwrap_or_default()
}

/// The highest value of a bucket.
fn top(bucket: usize) -> u64 {
    let steps = 1 << STEPS_LOG2;
    let shift = (bucket / steps).saturating_sub(1);
    let mantissa = (bucket - shift * steps) as u64;
    (mantissa << shift) + ((1 << shift) - 1)
}

/// The middle one, or the mean of the two in the middle; 0 of nothing.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let values = sorted(values);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 0 => f64::midpoint(values[n / 2 - 1], values[n / 2]),
        n => values[n / 2],
    }
}

/// The value that so many of a hundred do not exceed; 0 of nothing.
pub(super) fn percentile(values: impl IntoIterator<Item = f64>, percent: usize) -> f64 {
    let values = sorted(values);
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values.get(rank - 1).copied().unwrap_or_default()
}

fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_tell_missing_late_and_doubled() {
        let mut numbers = Numbers::default();
        for number in [0, 1, 5, 6, 3, 3, 2, 4, 0, 9] {
            numbers.add(number);
        }
        assert_eq!((numbers.unique, numbers.duplicates, numbers.late), (8, 2, 3));
        assert_eq!(numbers.missing, [(7, 9)].into());
    }

    #[test]
    fn buckets_are_narrow_and_in_order() {
        let mut last = 0;
        for value in (0..70_000).chain([1 << 40, (1 << 40) + (1 << 39), u64::MAX / 2]) {
            let bucket = bucket(value);
            assert!(bucket >= last, "{value}");
            last = bucket;
            assert!(top(bucket) >= value && top(bucket) - value <= value / 128, "{value}: {}", top(bucket));
        }
    }

    #[test]
    fn percentiles_of_a_thousand() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(50), 0);
        for value in 1..=1000 {
            histogram.add(value);
        }
        let near = |value: u64, wanted: u64| value.abs_diff(wanted) <= wanted / 100;
        assert!(near(histogram.percentile(50), 500) && near(histogram.percentile(99), 990));
        assert_eq!((histogram.percentile(100), histogram.max()), (1000, 1000));
    }

    #[test]
    fn the_middle_of_a_few() {
        assert_eq!((median([]), median([3.0]), median([4.0, 1.0, 2.0])), (0.0, 3.0, 2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        let ten = (1..=10).map(f64::from);
        assert_eq!((percentile([], 90), percentile(ten.clone(), 90), percentile(ten, 100)), (0.0, 9.0, 10.0));
    }
}
