//! The application's reading: while it does not, nothing more is delivered. What is kept waits in the store, what is
//! live in memory as far as there is room for it.

use std::collections::BTreeSet;

use super::{Ctx, Group};
use crate::id::LogId;

/// Logs that are read from the store at once, to be delivered: each read holds up to
/// [`crate::limits::FETCH_BYTES_MAX`].
const FETCHES: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// The application has enough for now.
    is_full: bool,
    /// Reads under way.
    n_fetches: usize,
    /// Logs whose turn to be read has not come.
    behind: BTreeSet<LogId>,
}

impl Inbox {
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Whether a log may be read from the store now. If not its turn comes by [`Inbox::on_fetched`].
    pub(super) fn begin_fetch(&mut self, log: LogId) -> bool {
        let may = self.n_fetches < FETCHES;
        if may {
            self.n_fetches += 1;
        } else {
            self.behind.insert(log);
        }
        may
    }

    /// A read is done.
    pub(super) fn on_fetched(&mut self) {
        self.n_fetches = self.n_fetches.saturating_sub(1);
    }

    pub(super) fn forget(&mut self, log: &LogId) {
        self.behind.remove(log);
    }
}

impl Group {
    /// Whether the application has enough for now.
    pub(crate) fn is_full(&self) -> bool {
        self.inbox.is_full
    }

    /// The application has enough, or has read on.
    pub(crate) fn on_inbox(&mut self, cx: &mut Ctx<'_>, has_room: bool) {
        if self.inbox.is_full == has_room {
            self.inbox.is_full = !has_room;
            if has_room {
                let behind = self.logs.iter().filter(|(_, state)| state.delivered < state.log.next());
                for log in behind.map(|(log, _)| *log).collect::<Vec<_>>() {
                    self.deliver_held(cx, log);
                }
                self.pump(cx);
            } else {
                cx.counters.add("inbox-full", 1);
            }
        }
    }

    /// A read is done: the next log's turn has come.
    pub(super) fn deliver_next(&mut self, cx: &mut Ctx<'_>) {
        while self.inbox.n_fetches < FETCHES
            && let Some(log) = self.inbox.behind.pop_first()
        {
            self.deliver_held(cx, log);
        }
    }
}
