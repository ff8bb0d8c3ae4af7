//! Room for logs: whose may begin here, and which makes room for it.

use super::{Group, LogState};
use crate::id::{LinkId, LogId, PeerId};
use crate::limits;

impl Group {
    /// Whether one more log may begin with what a link brings. The last quarter is for the link's own peer, and the one
    /// before for members on the list, so that thousands of authors that somebody made up do not close the group to who
    /// is really there.
    pub(super) fn has_room_for(&self, me: PeerId, link: LinkId, log: &LogId) -> bool {
        let is_itself = log.author == me || self.members.get(&link) == Some(&log.author);
        let reserved = match is_itself {
            true => 0,
            false if self.census.is_here(&log.author) => limits::AUTHORS_RESERVED,
            false => limits::AUTHORS_RESERVED + limits::AUTHORS_LISTED,
        };
        self.logs.len() < limits::AUTHORS_MAX - reserved
    }

    /// Room for one more log, at the cost of the one that has been silent longest of those of which nothing is kept.
    pub(super) fn make_room_for_author(&mut self, me: PeerId, link: LinkId, log: &LogId) {
        if !self.has_room_for(me, link, log)
            && let Some(oldest) = self.oldest_idle(me)
        {
            self.forget_log(&oldest);
        }
    }

    pub(super) fn oldest_idle(&self, me: PeerId) -> Option<LogId> {
        let is_idle = |log: &LogId, state: &LogState| !log.lane.is_kept() || state.log.highest().is_none();
        let idle = self.logs.iter().filter(|(log, state)| log.author != me && is_idle(log, state));
        idle.min_by_key(|(_, state)| state.touched).map(|(log, _)| *log)
    }

    /// Without a trace: it makes room for another.
    pub(crate) fn forget_log(&mut self, log: &LogId) {
        if let Some(state) = self.logs.remove(log) {
            let held = state.held.values().map(|held| held.envelope.as_bytes().len());
            self.held_bytes -= held.sum::<usize>();
        }
        self.live_gaps.remove(log);
        self.inbox.forget(log);
        self.recent.forget(log);
        self.repair.forget(log);
    }
}
