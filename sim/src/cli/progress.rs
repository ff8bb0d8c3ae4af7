//! How far a search is, on stderr: a line that is written over on a terminal, else a line now and then.

use core::time::Duration;
use std::io::IsTerminal;
use std::time::Instant;

use djembe_sim::search::Progress;

/// Lines of a log come no faster.
const LOG_EVERY: Duration = Duration::from_secs(10);

pub(super) struct Meter {
    is_terminal: bool,
    told: Option<Instant>,
    time: Option<Duration>,
}

impl Meter {
    pub(super) fn new(time: Option<Duration>) -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), told: None, time }
    }

    pub(super) fn tell(&mut self, progress: &Progress) {
        if self.is_terminal {
            eprint!("\r\x1b[K{}", self.text(progress));
        } else if self.told.is_none_or(|told| told.elapsed() >= LOG_EVERY) {
            self.told = Some(Instant::now());
            eprintln!("{}", self.text(progress));
        }
    }

    /// Before something else is said.
    pub(super) fn clear(&self) {
        if self.is_terminal {
            eprint!("\r\x1b[K");
        }
    }

    /// The last word.
    pub(super) fn end(&self, progress: &Progress) {
        self.clear();
        let Progress { runs, wanted, bad, events, took } = progress;
        eprintln!(
            "{runs} of {wanted} runs, {bad} bad, {events} events in {:.1} s: {:.2} runs, {:.0} events a second",
            took.as_secs_f64(),
            progress.rate(),
            *events as f64 / took.as_secs_f64().max(1e-9),
        );
    }

    fn text(&self, progress: &Progress) -> String {
        let Progress { runs, wanted, bad, .. } = progress;
        let left = progress.left(self.time);
        let left = left.map_or_else(|| "?".to_owned(), |left| format!("{}", left.as_secs()));
        format!("{runs} of {wanted} runs, {:.2} a second, {bad} bad, {left} s left", progress.rate())
    }
}
