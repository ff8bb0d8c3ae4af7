//! Answering WANT: from what is recent in memory, else from the store, as history.

use std::collections::VecDeque;

use super::{Ctx, Group, Purpose};
use crate::id::{LinkId, Seq};
use crate::io::Event;
use crate::limits;
use crate::link::Link;
use crate::persist::{Answer, Query};
use crate::wire::frame::{Class, Frame, Prune, Range, STAR, Served, Want};

/// Requests of one neighbour.
#[derive(Debug, Default)]
pub(super) struct Serving {
    /// The store was asked for one.
    is_looking: bool,
    /// These wait until there is room for the answer, as what they are and not as what they ask for.
    deferred: VecDeque<Want>,
}

impl Group {
    /// A member asks for a range; with `graft` also for everything of that author from now on.
    pub(crate) fn on_want(&mut self, cx: &mut Ctx<'_>, link: LinkId, want: Want) {
        if !self.members.contains_key(&link) {
            return;
        }
        self.tree.asked(cx.now, link);
        if want.graft {
            self.tree.graft(want.range.log.author, link);
        }
        let to = want.range.to.min(want.range.from.saturating_add(limits::FETCH_RANGE_MAX - 1));
        let range = Range { to, ..want.range };
        let want = Want { range, ..want };
        if !range.log.lane.is_kept() {
            return self.serve_recent(cx, link, &want, Class::Forward);
        }
        let has_room = cx.links.get(&link).is_some_and(Link::takes_history);
        let serving = self.serving.entry(link).or_default();
        if has_room && !serving.is_looking && serving.deferred.is_empty() {
            self.serve(cx, link, want);
        } else if serving.deferred.len() < limits::SERVING_MAX {
            serving.deferred.push_back(want);
            self.wait_for_room(cx, link);
        } else {
            // It asks faster than it reads; it will ask again.
            cx.counters.add("history-refused", 1);
            self.end_answer(cx, link, &want, Class::Bulk, 0, range.from);
        }
    }

    /// There is room for an answer to what was asked before.
    pub(crate) fn serve_deferred(&mut self, cx: &mut Ctx<'_>, link: LinkId) {
        while cx.links.get(&link).is_some_and(Link::takes_history)
            && let Some(serving) = self.serving.get_mut(&link)
            && !serving.is_looking
        {
            match serving.deferred.pop_front() {
                Some(want) => self.serve(cx, link, want),
                None => return,
            }
        }
        self.wait_for_room(cx, link);
    }

    fn wait_for_room(&self, cx: &mut Ctx<'_>, link: LinkId) {
        let waits = self.serving.get(&link).is_some_and(|serving| !serving.deferred.is_empty());
        if let Some(state) = cx.links.get_mut(&link).filter(|_| waits) {
            state.defer();
        }
    }

    fn serve(&mut self, cx: &mut Ctx<'_>, link: LinkId, want: Want) {
        let range = want.range;
        if self.recent.id(range.log, range.from).is_some() {
            return self.serve_recent(cx, link, &want, Class::Bulk);
        }
        let known = self.logs.get(&range.log).is_some_and(|state| state.log.contains(range.from));
        if !known {
            return self.end_answer(cx, link, &want, Class::Bulk, 0, range.from);
        }
        self.serving.entry(link).or_default().is_looking = true;
        let query = Query::Range {
            group: self.id,
            log: range.log,
            from: range.from,
            to: range.to,
            bytes_max: limits::BULK_QUEUE_MAX,
        };
        let beyond = false;
        cx.fetch(self.id, Purpose::Serve { link, want, beyond }, query);
    }

    fn serve_recent(&mut self, cx: &mut Ctx<'_>, link: LinkId, want: &Want, class: Class) {
        let recent: Vec<_> = self.recent.range(&want.range).collect();
        self.send_range(cx, link, want, class, recent, want.range.to);
    }

    pub(super) fn serve_fetched(
        &mut self,
        cx: &mut Ctx<'_>,
        link: LinkId,
        want: Want,
        beyond: bool,
        answer: Answer,
    ) {
        if !beyond && answer == Answer::Range(Vec::new()) && self.members.contains_key(&link) {
            // All of it was skipped after a crash: the one envelope that says so lies beyond.
            let query = Query::Range {
                group: self.id,
                log: want.range.log,
                from: want.range.from,
                to: limits::SEQ_MAX,
                bytes_max: 1,
            };
            let beyond = true;
            return cx.fetch(self.id, Purpose::Serve { link, want, beyond }, query);
        }
        if let Some(serving) = self.serving.get_mut(&link) {
            serving.is_looking = false;
        }
        if !self.members.contains_key(&link) {
            return;
        }
        let stored = match answer {
            Answer::Range(stored) => stored,
            Answer::Failed(error) => {
                cx.event(Event::StoreFailed { error });
                Vec::new()
            }
            Answer::Group(_) => Vec::new(),
        };
        let upto = stored.last().map_or(want.range.from, |last| last.seq);
        let envelopes = stored.into_iter().map(|stored| (stored.seq, stored.bytes)).collect();
        self.send_range(cx, link, &want, Class::Bulk, envelopes, upto);
        self.serve_deferred(cx, link);
    }

    /// The envelopes for which there is room, then [`Served`]. For the rest the other side asks again.
    fn send_range(
        &mut self,
        cx: &mut Ctx<'_>,
        link: LinkId,
        want: &Want,
        class: Class,
        envelopes: Vec<(Seq, bytes::Bytes)>,
        mut upto: Seq,
    ) {
        let mut count = 0;
        for (seq, envelope) in envelopes {
            if !cx.send(link, class, Frame::Data { group: self.ix, tree: STAR, envelope }) {
                upto = seq.saturating_sub(1);
                break;
            }
            count += 1;
        }
        self.end_answer(cx, link, want, class, count, upto);
    }

    /// On the stream of the answer, so that it comes after it.
    fn end_answer(&self, cx: &mut Ctx<'_>, link: LinkId, want: &Want, class: Class, count: u32, upto: Seq) {
        cx.send(link, class, Served { request: want.request, group: self.ix, count, floor: 0, upto });
    }

    pub(crate) fn on_served(&mut self, cx: &mut Ctx<'_>, link: LinkId, served: &Served) {
        self.repair.on_served(cx.now, link, served.request);
        self.ask_for_missing(cx);
    }

    pub(crate) fn on_prune(&mut self, link: LinkId, prune: &Prune) {
        self.tree.prune(prune.author, link);
    }
}
