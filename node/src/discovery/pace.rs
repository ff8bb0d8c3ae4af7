//! When beacons leave: a burst at start, then a period that grows with the network, and answers to queries.
//!
//! Pure: time comes in, and the caller sends. The total on a LAN stays near [`FEW_RATE`] among few and below
//! [`LAN_RATE`] among many, because each node waits n / 3 seconds, at most 3, or n / 30 between beacons when it
//! knows n.

use std::time::{Duration, Instant};

use super::bounds::{
    ANSWER_AFTER, ANSWER_DELAY_MAX, ANSWER_GAP, ANSWER_SOON_MAX, ANSWERERS, BURST, BURST_KNOWN_MAX,
    FEW_PERIOD_MAX, FEW_RATE, LAN_RATE, PERIOD_JITTER, PERIOD_MAX, PERIOD_MIN,
};
use super::jitter::Jitter;

/// The pause between two beacons of one node that knows `n_known` others.
pub(super) fn period(n_known: usize) -> Duration {
    let few = Duration::from_secs_f64(n_known as f64 / FEW_RATE).min(FEW_PERIOD_MAX);
    Duration::from_secs_f64(n_known as f64 / LAN_RATE).max(few).clamp(PERIOD_MIN, PERIOD_MAX)
}

/// Why a beacon leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// Its time has come.
    Own,
    /// Only because someone asked. It must not ask in turn, or two nodes without links would never stop.
    Answer,
}

/// The schedule of one node's beacons. Silent until [`Pace::start`].
#[derive(Debug)]
pub(super) struct Pace {
    jitter: Jitter,
    burst: Option<Burst>,
    periodic: Option<Instant>,
    answer: Option<Instant>,
    sent: Option<Instant>,
}

#[derive(Debug)]
struct Burst {
    started: Instant,
    next: usize,
}

impl Pace {
    pub(super) fn new(jitter: Jitter) -> Self {
        Self { jitter, burst: None, periodic: None, answer: None, sent: None }
    }

    /// Starts a burst, of which the first beacon is due at once.
    pub(super) fn start(&mut self, now: Instant) {
        self.burst = Some(Burst { started: now, next: 0 });
    }

    /// Someone without a link asked for a sign of life.
    pub(super) fn on_query(&mut self, now: Instant, n_known: usize) {
        if self.sent.is_none() || self.answer.is_some() {
            return;
        }
        if n_known > ANSWERERS && self.jitter.unit() * n_known as f64 > ANSWERERS as f64 {
            return;
        }
        let delay = if n_known <= ANSWER_SOON_MAX {
            ANSWER_AFTER
        } else {
            let share = (n_known as f64 / ANSWERERS as f64).min(1.0);
            ANSWER_DELAY_MAX.mul_f64(share * self.jitter.unit())
        };
        let earliest = self.sent.map_or(now, |sent| sent + ANSWER_GAP);
        self.answer = Some((now + delay).max(earliest));
    }

    /// When to call [`Pace::poll`].
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        [self.burst_step(), self.periodic, self.answer].into_iter().flatten().min()
    }

    /// Whether a beacon is due; then it counts as sent.
    #[must_use]
    pub(super) fn poll(&mut self, now: Instant, n_known: usize) -> Option<Due> {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if !is_due(self.next_deadline()) {
            return None;
        }
        let due = if is_due(self.burst_step()) || is_due(self.periodic) { Due::Own } else { Due::Answer };
        if let Some(burst) = &mut self.burst {
            // Steps that a busy host has missed are not made up for: one beacon says it all.
            burst.next += BURST[burst.next..].iter().take_while(|&&step| burst.started + step <= now).count();
            if burst.next == BURST.len() || n_known > BURST_KNOWN_MAX {
                self.burst = None;
            }
        }
        // Every beacon reaches everyone, so an answer also serves as the next periodic one.
        let factor = 1.0 - PERIOD_JITTER + 2.0 * PERIOD_JITTER * self.jitter.unit();
        self.periodic = Some(now + period(n_known).mul_f64(factor));
        self.answer = None;
        self.sent = Some(now);
        Some(due)
    }

    fn burst_step(&self) -> Option<Instant> {
        self.burst.as_ref().map(|burst| burst.started + BURST[burst.next])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Runs until `end` and returns when beacons left, in milliseconds after `start`.
    fn run(pace: &mut Pace, start: Instant, end: Duration, n_known: usize) -> Vec<u128> {
        let mut sent = Vec::new();
        while let Some(deadline) = pace.next_deadline().filter(|&at| at <= start + end) {
            assert!(pace.poll(deadline, n_known).is_some(), "a deadline means that something is due");
            sent.push((deadline - start).as_millis());
        }
        sent
    }

    #[test]
    fn starts_with_a_burst_and_goes_on_each_second() {
        let start = Instant::now();
        let mut pace = Pace::new(Jitter::seeded(1));
        assert_eq!(pace.next_deadline(), None);
        pace.start(start);
        let sent = run(&mut pace, start, ms(10_000), 1);
        assert_eq!(sent[..5], [0, 30, 100, 300, 700]);
        assert!((13..=17).contains(&sent.len()), "{sent:?}");
        assert!(sent[5..].windows(2).all(|pair| (799..=1201).contains(&(pair[1] - pair[0]))), "{sent:?}");
    }

    #[test]
    fn a_thousand_nodes_send_thirty_a_second_together() {
        let start = Instant::now();
        let n_sent: usize = (0..1000)
            .map(|seed| {
                let mut pace = Pace::new(Jitter::seeded(seed));
                pace.start(start);
                run(&mut pace, start, ms(300_000), 1000).len()
            })
            .sum();
        assert!((25 * 300..35 * 300).contains(&n_sent), "{n_sent} in 300 s");
    }

    #[test]
    fn the_period_is_kept_between_its_limits() {
        assert_eq!(period(0), PERIOD_MIN);
        assert_eq!(period(3), PERIOD_MIN);
        assert_eq!(period(6), Duration::from_secs(2));
        assert_eq!(period(9), FEW_PERIOD_MAX);
        assert_eq!(period(90), FEW_PERIOD_MAX);
        assert_eq!(period(300), Duration::from_secs(10));
        assert_eq!(period(1_000_000), PERIOD_MAX);
    }

    #[test]
    fn a_query_is_answered_soon_among_few_and_once_for_all_who_ask() {
        let start = Instant::now();
        let mut pace = Pace::new(Jitter::seeded(1));
        pace.start(start);
        run(&mut pace, start, ms(700), 2);
        let asked = start + ms(770);
        pace.on_query(asked, 2);
        pace.on_query(asked + ms(1), 2);
        assert_eq!(pace.next_deadline(), Some(asked + ANSWER_AFTER));
        assert_eq!(pace.poll(asked + ANSWER_AFTER, 2), Some(Due::Answer));
        // The next asker waits for the gap.
        pace.on_query(asked + ANSWER_AFTER, 2);
        assert_eq!(pace.next_deadline(), Some(asked + ANSWER_AFTER + ANSWER_GAP));
    }

    #[test]
    fn of_a_thousand_nodes_about_twenty_answer_within_twenty_milliseconds() {
        let start = Instant::now();
        let asked = start + ms(500);
        let answers = (0..1000).filter(|&seed| {
            let mut pace = Pace::new(Jitter::seeded(seed));
            pace.start(start);
            assert_eq!(pace.poll(start, 1000), Some(Due::Own));
            pace.on_query(asked, 1000);
            pace.next_deadline().is_some_and(|at| at <= asked + ANSWER_DELAY_MAX)
        });
        let n_answers = answers.count();
        assert!((5..50).contains(&n_answers), "{n_answers}");
    }

    #[test]
    fn who_does_not_listen_yet_does_not_answer() {
        let mut pace = Pace::new(Jitter::seeded(1));
        pace.on_query(Instant::now(), 1);
        assert_eq!(pace.next_deadline(), None);
    }

    #[test]
    fn missed_steps_of_a_burst_are_one_beacon() {
        let start = Instant::now();
        let mut pace = Pace::new(Jitter::seeded(1));
        pace.start(start);
        assert_eq!(pace.poll(start + ms(200), 0), Some(Due::Own));
        assert_eq!(pace.poll(start + ms(200), 0), None);
        assert_eq!(pace.next_deadline(), Some(start + ms(300)));
    }
}
