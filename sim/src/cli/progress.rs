//! How far it is, on stderr: a line that is written over on a terminal, else a line now and then.

use core::time::Duration;
use std::io::IsTerminal;
use std::time::Instant;

use djembe_protocol::time::Timestamp;
use djembe_sim::search::Progress;

/// Lines of a log come no faster.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// And a line on a terminal is not written over more often.
const REDRAW_EVERY: Duration = Duration::from_millis(100);
/// Characters of a bar.
const WIDTH: usize = 20;

/// Where it is said.
struct Screen {
    is_terminal: bool,
    told: Instant,
}

impl Screen {
    fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), told: Instant::now() }
    }

    fn tell(&mut self, text: impl FnOnce() -> String) {
        let pause = if self.is_terminal { REDRAW_EVERY } else { LOG_EVERY };
        if self.told.elapsed() < pause {
            return;
        }
        self.told = Instant::now();
        if self.is_terminal {
            eprint!("\r\x1b[K{}", text());
        } else {
            eprintln!("{}", text());
        }
    }

    /// Before something else is said.
    fn clear(&self) {
        if self.is_terminal {
            eprint!("\r\x1b[K");
        }
    }
}

/// So much of it is done, and how long the rest takes.
fn bar(share: f64, left: Option<Duration>) -> String {
    let done = ((share * WIDTH as f64) as usize).min(WIDTH);
    let left = left.map_or_else(|| "?".to_owned(), |left| (left.as_secs() + 1).to_string());
    format!("[{:<WIDTH$}] {:3.0} %, {left} s left", "#".repeat(done), (share * 100.0).floor())
}

/// Of one scenario, that may have to be run more than once.
pub(super) struct Run {
    screen: Screen,
    started: Instant,
    duration: Duration,
    n_runs: usize,
    n_done: usize,
    last: Timestamp,
}

impl Run {
    /// Of so many runs that take so long each.
    pub(super) fn new(duration: Duration, n_runs: usize) -> Self {
        let (screen, started) = (Screen::new(), Instant::now());
        Self { screen, started, duration, n_runs, n_done: 0, last: Timestamp::ZERO }
    }

    /// Virtual time; one that is earlier than the last is that of the next run.
    pub(super) fn tell(&mut self, what: &dyn std::fmt::Display, now: Timestamp) {
        self.n_done += usize::from(now < self.last);
        self.last = now;
        let of_this = now.as_micros() as f64 / (self.duration.as_micros() as f64).max(1.0);
        let share = (self.n_done as f64 + of_this) / self.n_runs.max(1) as f64;
        let rest = self.started.elapsed().as_secs_f64() * (1.0 - share) / share;
        let left = Duration::try_from_secs_f64(rest).ok();
        self.screen.tell(|| format!("{} {what}", bar(share.min(1.0), left)));
    }

    /// Before something else is said. Returns how long it took so far.
    pub(super) fn clear(&self) -> Duration {
        self.screen.clear();
        self.started.elapsed()
    }
}

/// Of many seeds.
pub(super) struct Meter {
    screen: Screen,
    time: Option<Duration>,
}

impl Meter {
    pub(super) fn new(time: Option<Duration>) -> Self {
        Self { screen: Screen::new(), time }
    }

    pub(super) fn tell(&mut self, progress: &Progress) {
        let Progress { runs, wanted, bad, .. } = progress;
        let (share, left) = (progress.done / (*wanted as f64).max(1.0), progress.left(self.time));
        let rate = progress.rate();
        self.screen.tell(|| {
            format!("{}; {runs} of {wanted} runs, {rate:.2} a second, {bad} bad", bar(share.min(1.0), left))
        });
    }

    /// Before something else is said.
    pub(super) fn clear(&self) {
        self.screen.clear();
    }

    /// The last word.
    pub(super) fn end(&self, progress: &Progress) {
        self.clear();
        let Progress { runs, wanted, bad, events, took, .. } = progress;
        eprintln!(
            "{runs} of {wanted} runs, {bad} bad, {events} events in {:.1} s: {:.2} runs, {:.0} events a second",
            took.as_secs_f64(),
            progress.rate(),
            *events as f64 / took.as_secs_f64().max(1e-9),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_what_is_done() {
        assert_eq!(bar(0.0, None), "[                    ]   0 %, ? s left");
        assert_eq!(bar(0.504, Some(Duration::from_secs(59))), "[##########          ]  50 %, 60 s left");
        assert_eq!(bar(1.0, Some(Duration::ZERO)), "[####################] 100 %, 1 s left");
    }
}
