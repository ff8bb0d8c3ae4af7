//! The store's answers: what is done, and what is known of the group when it is joined.

use super::log::Log;
use super::publish::OwnLane;
use super::{Ctx, Group, Purpose};
use crate::id::{EnvelopeId, Lane, LogId};
use crate::io::Event;
use crate::limits;
use crate::persist::{Answer, GroupRecord};

impl Group {
    pub(crate) fn on_persisted(&mut self, cx: &mut Ctx<'_>, purpose: Purpose) {
        match purpose {
            Purpose::Reserve { lane, upto } => {
                self.lane(lane).on_reserved(upto);
                self.pump_lane(cx, lane);
            }
            Purpose::Own { lane, seq } => {
                if let Some(own) = self.unreleased.get_mut(&(lane, seq)) {
                    own.is_kept = true;
                }
                self.release_kept(cx, lane);
                self.pump_lane(cx, lane);
            }
            Purpose::Theirs { log, next } => self.on_kept(cx, log, next),
            Purpose::Load | Purpose::Serve { .. } | Purpose::Deliver { .. } => {}
        }
        if self.lanes[0].is_held_up() && !cx.tokens.is_failing(&self.id) {
            self.pump_lane(cx, Lane::Durable);
        }
    }

    pub(crate) fn on_fetched(&mut self, cx: &mut Ctx<'_>, purpose: Purpose, answer: Answer) {
        match (purpose, answer) {
            (Purpose::Load, Answer::Group(record)) => self.load(cx, record),
            (Purpose::Load, Answer::Failed(error)) => {
                // Without knowing what was issued before, nothing may be issued.
                for lane in [Lane::Durable, Lane::Live] {
                    self.drop_drafts(cx, lane, "the store cannot be read");
                }
                self.load_again_at = Some(cx.now + limits::STORE_RETRY);
                if !std::mem::replace(&mut self.load_failed, true) {
                    cx.event(Event::StoreFailed { error });
                }
            }
            (Purpose::Serve { link, want, beyond }, answer) => {
                self.serve_fetched(cx, link, want, beyond, answer);
            }
            (Purpose::Deliver { log }, answer) => self.deliver_fetched(cx, log, answer),
            (_, Answer::Failed(error)) => cx.event(Event::StoreFailed { error }),
            _ => {}
        }
    }

    fn load(&mut self, cx: &mut Ctx<'_>, record: GroupRecord) {
        for frontier in record.frontiers {
            let above = record.above.iter().filter(|(log, ..)| *log == frontier.log);
            let above = above.map(|(_, seq, skip, id)| (*seq, *skip, *id));
            self.adopt(Log::load(frontier.next, frontier.head, above), frontier.log);
        }
        // Logs of which only envelopes beyond a gap are known.
        let strays: Vec<LogId> = record.above.iter().map(|(log, ..)| *log).collect();
        for log in strays {
            if !self.logs.contains_key(&log) {
                let above = record.above.iter().filter(|(other, ..)| *other == log);
                let above = above.map(|(_, seq, skip, id)| (*seq, *skip, *id));
                self.adopt(Log::load(0, EnvelopeId::NONE, above), log);
            }
        }
        for own in &mut self.lanes {
            let lane = own.lane();
            let reserved =
                record.reserved.iter().find(|(of, _)| *of == lane).map_or(0, |(_, reserved)| *reserved);
            let head = record.own_heads.iter().find(|(of, ..)| *of == lane).map(|(_, seq, id)| (*seq, *id));
            let drafts = std::mem::replace(own, OwnLane::new(lane, reserved, head));
            own.adopt_drafts(drafts);
        }
        self.loaded = true;
        self.root = None;
        self.take_back_until = Some(cx.now + 4 * limits::OWN_LOG_PATIENCE);
        if cx.is_restored && self.lanes[0].next() == 0 {
            self.hold_until = Some(cx.now + limits::OWN_LOG_PATIENCE);
        }
        cx.event(Event::Joined { group: self.id });
        for link in cx.links.keys().copied().collect::<Vec<_>>() {
            self.subscribe(cx, link);
            self.match_unmatched(cx, link);
        }
        self.say_soon(cx);
        self.pump(cx);
    }

    fn adopt(&mut self, loaded: Log, log: LogId) {
        let state = self.logs.entry(log).or_default();
        // Nothing is taken in before the store has answered, so there is nothing to merge with.
        state.delivered = loaded.next();
        state.durable = loaded.next();
        state.log = loaded;
    }
}
