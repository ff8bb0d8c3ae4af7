//! Answering WANT: from what is recent in memory, else from the store, as history.

use super::{Ctx, Group, Purpose};
use crate::id::{LinkId, Seq};
use crate::io::Event;
use crate::limits;
use crate::link::Link;
use crate::persist::{Answer, Query};
use crate::wire::frame::{Class, Frame, Prune, Range, STAR, Served, Want};

impl Group {
    /// A member asks for a range; with `graft` also for everything of that author from now on.
    pub(crate) fn on_want(&mut self, cx: &mut Ctx<'_>, link: LinkId, want: Want) {
        if !self.members.contains_key(&link) {
            return;
        }
        if want.graft {
            self.tree.graft(want.range.log.author, link);
        }
        let to = want.range.to.min(want.range.from.saturating_add(limits::FETCH_RANGE_MAX - 1));
        let range = Range { to, ..want.range };
        let want = Want { range, ..want };
        if !cx.links.get(&link).is_some_and(Link::takes_history) {
            // It asks faster than it reads; it will ask again.
            cx.counters.add("history-refused", 1);
            return self.send_range(cx, link, &want, Class::Bulk, Vec::new(), range.from);
        }
        let recent: Vec<_> = self.recent.range(&range).map(|envelope| envelope.as_bytes().clone()).collect();
        let covers_start = self.recent.find(range.log, range.from).is_some();
        if !range.log.lane.is_kept() || covers_start {
            let class = if range.log.lane.is_kept() { Class::Bulk } else { Class::Forward };
            let upto = range.to;
            self.send_range(cx, link, &want, class, recent, upto);
            return;
        }
        let known = self.logs.get(&range.log).is_some_and(|state| state.log.contains(range.from));
        let serving = self.serving.entry(link).or_default();
        if !known || *serving >= limits::SERVING_MAX {
            self.send_range(cx, link, &want, Class::Bulk, Vec::new(), range.from);
            return;
        }
        *serving += 1;
        let query = Query::Range {
            group: self.id,
            log: range.log,
            from: range.from,
            to: range.to,
            bytes_max: limits::FETCH_BYTES_MAX,
        };
        let beyond = false;
        cx.fetch(self.id, Purpose::Serve { link, want, beyond }, query);
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
            *serving = serving.saturating_sub(1);
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
        let envelopes = stored.into_iter().map(|stored| stored.bytes).collect();
        self.send_range(cx, link, &want, Class::Bulk, envelopes, upto);
    }

    /// The envelopes, then [`Served`] on the same stream, so that it comes after them.
    fn send_range(
        &mut self,
        cx: &mut Ctx<'_>,
        link: LinkId,
        want: &Want,
        class: Class,
        envelopes: Vec<bytes::Bytes>,
        upto: Seq,
    ) {
        let count = u32::try_from(envelopes.len()).unwrap_or(u32::MAX);
        for envelope in envelopes {
            cx.send(link, class, Frame::Data { group: self.ix, tree: STAR, envelope });
        }
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
