//! A violation ends a run, where that is wanted: what comes after it tells little, and costs as much.

use super::Ledger;

/// Which violation ends a run before its end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Stop {
    /// None does.
    #[default]
    Never,
    /// The first one does.
    AtAny,
    /// The first one of this check does.
    At(String),
}

impl Ledger {
    /// From now on a violation ends the run: nothing after it gets into these books, and the world goes on to what is done
    /// from outside next, or to the next second, so that it ends at the same time on any number of threads.
    pub fn stop_at(&mut self, stop: Stop) {
        self.stop = stop;
    }

    /// Whether a violation has ended the run.
    pub fn is_stopped(&self) -> bool {
        match &self.stop {
            Stop::Never => false,
            Stop::AtAny => !self.violations.is_empty(),
            Stop::At(check) => self.violations.iter().any(|violation| violation.check == check),
        }
    }
}
