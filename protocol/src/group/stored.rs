//! "Stored": authors are told what members have on disk of their logs, and hear what others have of theirs.

use std::collections::BTreeMap;

use super::{Ctx, Group};
use crate::id::{Lane, LinkId, LogId, PeerId, Seq};
use crate::io::Event;
use crate::limits;
use crate::wire::frame::{Class, Stay, Stored};

impl Group {
    /// A log of another is on our disk below `next`, unless an earlier write failed.
    pub(super) fn on_kept(&mut self, cx: &mut Ctx<'_>, log: LogId, next: Seq) {
        let is_sound = !cx.tokens.has_failed(&self.id, &log);
        if let Some(state) = self.logs.get_mut(&log) {
            state.n_written += 1;
            if is_sound && next > state.durable {
                state.durable = next;
                self.unacknowledged.insert(log, next);
                let due = self.acknowledged_at.map_or(cx.now, |at| cx.now.max(at + limits::STORED_DELAY));
                self.acknowledge_at.get_or_insert(due);
            }
        }
        self.acknowledge(cx);
        // What could not be read before it was written can be now.
        self.deliver_held(cx, log);
    }

    /// Tells the authors, when it is time. Who is not linked is told when it is met.
    pub(super) fn acknowledge(&mut self, cx: &mut Ctx<'_>) {
        if self.acknowledge_at.is_none_or(|at| at > cx.now) {
            return;
        }
        self.acknowledge_at = None;
        self.acknowledged_at = Some(cx.now);
        let mut told: BTreeMap<LinkId, Vec<(LogId, Seq)>> = BTreeMap::new();
        for (log, next) in std::mem::take(&mut self.unacknowledged) {
            if let Some(link) = self.link_to(cx, &log.author) {
                told.entry(link).or_default().push((log, next));
            }
        }
        for (link, logs) in told {
            cx.send(link, Class::Control, Stored { group: self.ix, logs });
        }
    }

    /// The node ends: what waits for others to share a frame waits no longer, and is said on every link. Of two that were
    /// dialled at once the other side may have closed either, and there is no later to say it again in.
    pub(crate) fn finish(&mut self, cx: &mut Ctx<'_>) {
        for (link, peer) in self.members.clone() {
            self.send_stored(cx, link, peer);
        }
        self.unacknowledged.clear();
        self.acknowledge_at = None;
        self.say_farewell(cx, Stay::Stopped);
    }

    /// Authors of what was stored since this node runs who are not linked, so that they were not told.
    pub(crate) fn untold_authors(&self, me: &PeerId) -> impl Iterator<Item = &PeerId> {
        let written = self.logs.iter().filter(|(log, state)| state.n_written > 0 && log.lane.is_kept());
        let authors = written.map(|(log, _)| &log.author);
        authors.filter(move |author| *author != me && !self.is_linked(author))
    }

    /// What we have of a member's own logs, told when it is met, and when a link to it has ended while another stands:
    /// what was said on the former may not have arrived, and is said once.
    pub(super) fn send_stored(&self, cx: &mut Ctx<'_>, link: LinkId, peer: PeerId) {
        let logs: Vec<(LogId, Seq)> = [Lane::Control, Lane::Durable]
            .into_iter()
            .map(|lane| LogId { author: peer, lane })
            .filter_map(|log| self.logs.get(&log).map(|state| (log, state.durable)))
            .filter(|(_, next)| *next > 0)
            .collect();
        if !logs.is_empty() {
            cx.send(link, Class::Control, Stored { group: self.ix, logs });
        }
    }

    pub(crate) fn on_stored(&mut self, cx: &mut Ctx<'_>, link: LinkId, stored: &Stored) {
        let Some(peer) = self.members.get(&link).copied() else {
            return;
        };
        for (log, next) in &stored.logs {
            // Nobody can have stored what we have not released yet.
            let released = self.logs.get(log).map_or(0, |state| state.log.next());
            if log.author == cx.me && log.lane.is_kept() && *next <= released {
                self.lane(log.lane).on_taken(*next);
                cx.event(Event::Stored { group: self.id, peer, lane: log.lane, next: *next });
            }
        }
    }
}
