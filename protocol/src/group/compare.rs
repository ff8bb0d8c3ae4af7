//! Comparing logs with a neighbour: how far each has every log, and first of all the few that moved lately.
//!
//! In a large group something is always on its way, so roots differ although nothing is missing. What moved lately is
//! told apart from the rest then, and the rest is compared by one hash.

use std::collections::BTreeSet;

use super::{Ctx, Group, LogState};
use crate::id::{EnvelopeId, LinkId, LogId};
use crate::limits;
use crate::time::Timestamp;
use crate::wire::frame::{Class, Clock, ClockEntry, Part, Range, STAR, Want};

impl Group {
    /// Whether something new that is compared came just now.
    pub(crate) fn was_busy(&self, now: Timestamp) -> bool {
        self.placed_at + limits::DIGEST_QUIET > now
    }

    /// A neighbour's root differs from ours.
    pub(crate) fn compare(&mut self, cx: &mut Ctx<'_>, link: LinkId) {
        if !self.loaded {
            return;
        }
        let is_recent = |state: &LogState| cx.now - state.touched < limits::RECENTLY;
        let recent: BTreeSet<LogId> =
            self.kept_logs().filter(|(_, state)| is_recent(state)).map(|(log, _)| *log).collect();
        if cx.is_partial && recent.len() * 2 < self.kept_logs().count() {
            self.send_some(cx, link, &recent, Part::Recent);
        } else {
            self.send_clock(cx, link, Part::Ask);
        }
    }

    /// How far a neighbour has the logs that it names.
    pub(crate) fn on_clock(&mut self, cx: &mut Ctx<'_>, link: LinkId, clock: &Clock) {
        // What is on its way anyway is given time to come.
        let due = match clock.part {
            Part::Ask => cx.now + limits::REPAIR_DELAY,
            Part::Recent | Part::Answer(_) => cx.now + limits::RECENT_DELAY,
            Part::All => cx.now,
        };
        for entry in clock.entries.iter().filter(|entry| entry.log.lane.is_kept()) {
            self.look_for_fork(cx, link, entry);
            if !self.missing(&entry.log, entry.next).is_empty() {
                self.claim(cx, link, entry.log, entry.floor, entry.next, (due, STAR));
            }
        }
        let named = || clock.entries.iter().map(|entry| entry.log).collect::<BTreeSet<LogId>>();
        match clock.part {
            Part::All => {}
            Part::Ask => self.send_clock(cx, link, Part::All),
            Part::Recent => {
                let mut named = named();
                let is_recent = |state: &LogState| cx.now - state.touched < limits::RECENTLY;
                named.extend(self.kept_logs().filter(|(_, state)| is_recent(state)).map(|(log, _)| *log));
                let others = self.root_without(&named);
                self.send_some(cx, link, &named, Part::Answer(others));
            }
            Part::Answer(others) if self.loaded && self.root_without(&named()) != others => {
                self.send_clock(cx, link, Part::Ask);
            }
            Part::Answer(_) => {}
        }
        self.ask_for_missing(cx);
    }

    /// As long as ours and with another end: the envelope itself will show who is to blame.
    fn look_for_fork(&mut self, cx: &mut Ctx<'_>, link: LinkId, entry: &ClockEntry) {
        let differs = self.logs.get(&entry.log).is_some_and(|state| {
            !state.is_forked && state.log.next() == entry.next && state.log.head().hint() != entry.head
        });
        if let Some(last) = entry.next.checked_sub(1).filter(|_| differs) {
            let range = Range { log: entry.log, from: last, to: last };
            let want = Want { request: 0, group: self.ix, range, graft: false };
            cx.send(link, Class::Control, want);
        }
    }

    /// How far we have every log; an end that is asked for comes on the last page.
    fn send_clock(&mut self, cx: &mut Ctx<'_>, link: LinkId, part: Part) {
        if !self.loaded {
            return;
        }
        let entries: Vec<ClockEntry> =
            self.kept_logs().map(|(log, state)| entry(*log, Some(state))).collect();
        cx.toll.work += 4 + u32::try_from(entries.len() / 16).unwrap_or(u32::MAX);
        let mut pages = entries.chunks(limits::CLOCK_ENTRIES_MAX).peekable();
        if pages.peek().is_none() && part == Part::Ask {
            cx.send(link, Class::Control, Clock { group: self.ix, part, entries: Vec::new() });
        }
        while let Some(page) = pages.next() {
            let part = if pages.peek().is_none() { part } else { Part::All };
            cx.send(link, Class::Control, Clock { group: self.ix, part, entries: page.to_vec() });
        }
    }

    /// How far we have these; what we never heard of is at its beginning.
    fn send_some(&mut self, cx: &mut Ctx<'_>, link: LinkId, logs: &BTreeSet<LogId>, part: Part) {
        if !self.loaded || logs.len() > limits::CLOCK_ENTRIES_MAX {
            return self.send_clock(cx, link, Part::Ask);
        }
        cx.toll.work += 4 + u32::try_from(logs.len() / 16).unwrap_or(u32::MAX);
        let entries = logs.iter().map(|log| entry(*log, self.logs.get(log).map(|state| &**state))).collect();
        cx.send(link, Class::Control, Clock { group: self.ix, part, entries });
    }
}

fn entry(log: LogId, state: Option<&LogState>) -> ClockEntry {
    let next = state.map_or(0, |state| state.log.next());
    let head = state.map_or(EnvelopeId::NONE, |state| state.log.head()).hint();
    ClockEntry { log, next, floor: 0, head }
}
