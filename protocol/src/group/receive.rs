//! What comes in: envelopes, announcements, clocks; and what goes on to the application, in order.

use super::{Ctx, Group, Held, LogState, Purpose, is_expired};
use crate::conduct::Fault;
use crate::crypto::{self, CheckedEnvelope};
use crate::id::{EnvelopeId, Lane, LinkId, LogId, Seq};
use crate::io::{Delivered, Event};
use crate::limits;
use crate::persist::{Answer, Frontier, Query, StoreOp};
use crate::time::{Duration, Timestamp};
use crate::wire::envelope::Envelope;
use crate::wire::frame::{Announce, Class, FLOOD, Frame, OnTree, Prune, Range, STAR, TreeIx};

use super::log::{Log, Placed};
use super::spread::Way;

/// A log to which nothing was added at its end for so long is not catching up, whoever claims to have what is missing.
pub(crate) const GROWING: Duration = Duration::from_secs(2);

impl Group {
    /// An envelope that was verified before. It is looked at again only if it is not here all the same.
    pub(crate) fn on_seen(
        &mut self,
        cx: &mut Ctx<'_>,
        link: LinkId,
        tree: TreeIx,
        envelope: Envelope,
    ) -> Result<(), Fault> {
        let header = envelope.header();
        let (seq, log) = (header.seq, LogId { author: header.author, lane: header.lane });
        let has_it = |group: &Self| group.logs.get(&log).is_some_and(|state| state.log.contains(seq));
        if has_it(self) {
            let asked = self.repair.on_progress(cx.now, link, &log, seq);
            self.on_duplicate(cx, (link, tree), log, seq, asked);
            return Ok(());
        }
        if self.is_turned_away(cx, link, log.lane) {
            return Ok(());
        }
        if let Some(refusal) = self.logs.get(&log).and_then(|state| state.log.refusal(seq, header.skip)) {
            let asked = self.repair.on_progress(cx.now, link, &log, seq);
            self.on_no_place(cx, &log, refusal, asked);
            return Ok(());
        }
        cx.counters.add("signatures-checked", 1);
        let envelope = crypto::check(envelope).map_err(Fault::Envelope)?;
        let result = self.on_envelope(cx, link, tree, envelope);
        if !has_it(self) {
            // The check was for nothing, and would be as often as somebody sends the same.
            cx.toll.work += limits::SIGNATURE_TOLL;
        }
        result
    }

    /// Whether nothing of a lane can be taken in now, whatever it is.
    fn is_turned_away(&self, cx: &mut Ctx<'_>, link: LinkId, lane: Lane) -> bool {
        if !self.loaded {
            // The digest will bring it.
            cx.counters.add("early", 1);
            return true;
        }
        if lane.is_kept() && cx.tokens.is_failing(&self.id) {
            // What cannot be written now would pile up. It comes by comparing logs, once there is room for it.
            cx.counters.add("store-failing", 1);
            if let Some(link) = cx.links.get_mut(&link) {
                link.hurry_digest(cx.now);
            }
            return true;
        }
        false
    }

    /// A verified envelope. `Err` if its sender should not have passed it on.
    pub(crate) fn on_envelope(
        &mut self,
        cx: &mut Ctx<'_>,
        link: LinkId,
        tree: TreeIx,
        envelope: CheckedEnvelope,
    ) -> Result<(), Fault> {
        let header = envelope.header();
        if !self.loaded {
            self.is_turned_away(cx, link, header.lane);
            return Ok(());
        }
        let (seq, skip, ttl_secs) = (header.seq, header.skip, header.ttl_secs);
        if seq >= limits::SEQ_MAX {
            // The number after it could not stand in a clock.
            return Err(Fault::Foreign);
        }
        let log = LogId { author: header.author, lane: header.lane };
        let asked = self.repair.on_progress(cx.now, link, &log, seq);
        if let Some(state) = self.logs.get(&log) {
            if state.log.contains(seq) {
                self.note_fork(cx, log, &envelope);
                self.on_duplicate(cx, (link, tree), log, seq, asked);
                return Ok(());
            }
        } else if !self.has_room_for(cx.me, link, &log) && self.oldest_idle(cx.me).is_none() {
            cx.waste("authors-full");
            return Ok(());
        }
        if self.is_turned_away(cx, link, log.lane) {
            return Ok(());
        }
        // Members open before they forward.
        let messages = match crypto::open(&*self.key, &envelope) {
            Ok(opened) => opened.into_messages(),
            Err(error) => {
                tracing::debug!(author = %log.author.short(), seq, %error, "cannot open");
                cx.counters.add("cannot-open", 1);
                return Err(Fault::Foreign);
            }
        };
        if log.author == cx.me && !self.on_own_from_elsewhere(cx, &envelope) {
            return Ok(());
        }
        if !self.logs.contains_key(&log) {
            // Not sooner: what nobody can open costs no log its place.
            self.make_room_for_author(cx.me, link, &log);
        }
        if !log.lane.is_kept() && !self.logs.contains_key(&log) {
            // It starts with what comes first, or with what is being asked for before that.
            let first = seq - u64::from(skip).min(seq);
            let first = self.repair.first_claimed(&log).map_or(first, |claimed| claimed.min(first));
            let fresh = LogState { log: Log::starting_at(first), delivered: first, ..LogState::default() };
            self.logs.insert(log, Box::new(fresh));
        }
        match self.place(cx, log, &envelope) {
            Placed::New => {}
            Placed::Known(_) => return Ok(()),
            refusal @ (Placed::TooFar | Placed::TooMany) => {
                self.on_no_place(cx, &log, refusal, asked);
                return Ok(());
            }
            Placed::Fork => {
                self.on_fork(cx, log, &envelope);
                return Ok(());
            }
        }
        if let Some(last) = messages.last() {
            *cx.hlc = cx.hlc.merge(last.hlc, cx.wall);
        }
        if log.lane.is_kept() {
            self.keep(cx, log, &envelope);
        }
        let way = asked.map_or(Way::Pushed(link, tree), |(tree, _)| Way::Pulled(link, tree));
        match way {
            Way::Pulled(..) => self.repair.on_pulled(log, seq),
            _ => self.repair.on_pushed(cx.now, &log, seq),
        }
        self.spread(cx, log, &envelope, way);
        self.on_arrived(cx, log, seq, way);
        let expired = messages.first().is_some_and(|first| is_expired(ttl_secs, first.hlc, cx.wall));
        let messages = if expired {
            cx.counters.add("expired", messages.len() as u64);
            Vec::new()
        } else {
            messages
        };
        self.deliver_in_order(cx, log, Held { envelope, messages, backfilled: asked.is_some() });
        self.look_for_gap(cx, link, log);
        self.ask_for_missing(cx);
        Ok(())
    }

    /// What was asked for is its sender's to send, and so is what goes on beyond a gap that is being closed. That somebody
    /// claims to have what is missing is not enough, nor is it for a number far from all others: who sends this can claim
    /// the log itself.
    fn on_no_place(&self, cx: &mut Ctx<'_>, log: &LogId, refusal: Placed, asked: Option<(TreeIx, bool)>) {
        let grew_at = self.logs.get(log).map(|state| state.grew_at);
        let grows = grew_at.is_some_and(|at| cx.now - at < GROWING);
        let is_closing = refusal == Placed::TooMany && grows && self.repair.first_claimed(log).is_some();
        if asked.is_some_and(|(_, is_first)| is_first) || is_closing {
            cx.counters.add("too-far", 1);
        } else {
            cx.waste("too-far");
        }
    }

    /// A second copy: whoever pushes an author to us that we get elsewhere is told to stop.
    /// What was asked for is its sender's to send once.
    fn on_duplicate(
        &mut self,
        cx: &mut Ctx<'_>,
        (link, tree): (LinkId, TreeIx),
        log: LogId,
        seq: Seq,
        asked: Option<(TreeIx, bool)>,
    ) {
        cx.counters.add("duplicate", 1);
        self.tree.has_it(link, &Range { log, from: seq, to: seq });
        if let Some((_, is_first)) = asked {
            cx.toll.waste += u32::from(!is_first);
            return;
        }
        if tree == FLOOD {
            return;
        }
        cx.toll.waste += 1;
        self.repair.on_pushed(cx.now, &log, seq);
        if tree != STAR {
            return self.in_forest(cx, |forest, ground| {
                forest.on_duplicate(ground, link, tree, (log, seq));
            });
        }
        let from_author = self.members.get(&link) == Some(&log.author);
        let superfluous = if from_author { self.tree.take_parent(&log.author) } else { Some(link) };
        if let Some(link) = superfluous {
            if self.tree.parent(&log.author) == Some(link) {
                self.tree.take_parent(&log.author);
            }
            cx.send(link, Class::Control, Prune { group: self.ix, author: log.author });
        }
    }

    /// Two envelopes of one number are evidence against their author.
    fn note_fork(&mut self, cx: &mut Ctx<'_>, log: LogId, envelope: &CheckedEnvelope) {
        let seq = envelope.header().seq;
        let recent = self.recent.id(log, seq);
        let head = self.logs.get(&log).filter(|state| state.log.next() == seq + 1);
        let known = recent.or(head.map(|state| state.log.head()));
        if known.is_some_and(|known| known != envelope.id() && known != EnvelopeId::NONE) {
            self.on_fork(cx, log, envelope);
        }
    }

    /// The author signed another envelope of this place. It is told, because it may not know that its key is
    /// used elsewhere; the application is told once for each log.
    fn on_fork(&mut self, cx: &mut Ctx<'_>, log: LogId, envelope: &CheckedEnvelope) {
        cx.waste("fork");
        if log.author == cx.me {
            return self.set_cloned(cx);
        }
        let Some(state) = self.logs.get_mut(&log) else {
            return;
        };
        if std::mem::replace(&mut state.is_forked, true) {
            return;
        }
        // What others have of it may be the other branch, which never fits: nothing of it is asked for any more.
        self.repair.forget(&log);
        cx.event(Event::Fork { group: self.id, log, seq: envelope.header().seq });
        if let Some(link) = self.link_to(cx, &log.author) {
            let (group, envelope) = (self.ix, envelope.as_bytes().clone());
            cx.send(link, Class::Bulk, Frame::Data { group, tree: STAR, envelope });
        }
    }

    /// An envelope of our own that we do not have. Before our first word in this run it is a restored store,
    /// and we go on behind it; afterwards somebody else writes under our key. True to take it in.
    fn on_own_from_elsewhere(&mut self, cx: &mut Ctx<'_>, envelope: &CheckedEnvelope) -> bool {
        let header = envelope.header();
        let lane = self.lane(header.lane);
        if header.seq >= lane.next() && lane.has_published() {
            self.set_cloned(cx);
            return false;
        }
        lane.resume_after(header.seq, envelope.id());
        true
    }

    pub(crate) fn set_cloned(&mut self, cx: &mut Ctx<'_>) {
        if !self.cloned {
            self.cloned = true;
            cx.event(Event::Cloned { group: self.id });
            for lane in [Lane::Durable, Lane::Live] {
                self.drop_drafts(cx, lane, "this identity is in use elsewhere");
            }
        }
    }

    fn keep(&mut self, cx: &mut Ctx<'_>, log: LogId, envelope: &CheckedEnvelope) {
        let Some(state) = self.logs.get(&log) else { return };
        let (next, head) = (state.log.next(), state.log.head());
        let ops = vec![
            StoreOp::Append(self.stored(envelope)),
            StoreOp::Frontier(Frontier { group: self.id, log, next, head, floor: 0 }),
        ];
        cx.persist(self.id, Purpose::Theirs { log, next }, ops);
    }

    // Claims.

    /// A neighbour has `from..end` of a log. Of a forked one it may have the other branch, and what the store does not
    /// take is not asked for.
    pub(super) fn claim(
        &mut self,
        cx: &Ctx<'_>,
        link: LinkId,
        log: LogId,
        from: Seq,
        end: Seq,
        due: (Timestamp, TreeIx),
    ) {
        let is_forked = self.logs.get(&log).is_some_and(|state| state.is_forked);
        // Before the store has said what is here everything seems to be missing; the next digest says it again.
        let is_refused = !self.loaded || log.lane.is_kept() && cx.tokens.is_failing(&self.id);
        // What finds no room when it comes would be asked for again and again.
        let has_place = self.logs.contains_key(&log) || self.has_room_for(cx.me, link, &log);
        if !is_forked && !is_refused && has_place {
            self.repair.claim(link, log, from, end, due);
            self.note_gap(cx.now, link, log, end);
        }
    }

    /// For people: live logs are not kept, so nothing is missed of them for long.
    fn note_gap(&mut self, now: Timestamp, link: LinkId, log: LogId, end: Seq) {
        let Some(peer) = self.members.get(&link).copied().filter(|_| log.lane.is_kept()) else {
            return;
        };
        let logs = &self.logs;
        let next = |log: &LogId| logs.get(log).map_or(0, |state| state.log.next());
        if self.gaps.is_full() {
            self.gaps.close(next);
        }
        self.gaps.note(now, log, end, peer, next(&log));
    }

    pub(crate) fn on_announce(&mut self, cx: &mut Ctx<'_>, link: LinkId, announce: &Announce) {
        self.tree.heard(cx.now, link);
        self.tree.has_these(link, &announce.ranges);
        for OnTree { tree, range } in &announce.ranges {
            // Nobody can announce more of our own log than there is.
            let end = range.to.saturating_add(1);
            if range.log.author == cx.me || self.missing(&range.log, end).is_empty() {
                continue;
            }
            let from = if range.log.lane.is_kept() { 0 } else { range.from };
            let tree = self.tree_of(link, *tree);
            let due = self.repair_at(cx, tree);
            self.claim(cx, link, range.log, from, end, (due, tree));
        }
    }

    /// Something came that leaves a gap before it: its sender has what is missing.
    fn look_for_gap(&mut self, cx: &mut Ctx<'_>, link: LinkId, log: LogId) {
        let Some(state) = self.logs.get(&log) else { return };
        if !state.log.has_gap() {
            self.live_gaps.remove(&log);
            return;
        }
        let end = state.log.highest().unwrap_or(0);
        let next = state.log.next();
        self.claim(cx, link, log, next, end, (cx.now, STAR));
        if !log.lane.is_kept() {
            self.live_gaps.entry(log).or_insert(cx.now + limits::LIVE_GAP_PATIENCE);
        }
    }

    pub(super) fn give_up_live_gaps(&mut self, cx: &mut Ctx<'_>) {
        let due: Vec<LogId> =
            self.live_gaps.iter().filter(|(_, at)| **at <= cx.now).map(|(log, _)| *log).collect();
        for log in due {
            self.live_gaps.remove(&log);
            let Some(state) = self.logs.get_mut(&log) else {
                continue;
            };
            if let Some((from, to)) = state.log.skip_gap() {
                cx.counters.add("live-gap", to - from + 1);
                if state.delivered >= from {
                    cx.event(Event::Gap { group: self.id, log, from, to });
                    state.delivered = to + 1;
                }
                if state.log.has_gap() {
                    self.live_gaps.insert(log, cx.now + limits::LIVE_GAP_PATIENCE);
                }
            }
            self.deliver_held(cx, log);
        }
    }

    // Delivery.

    fn deliver_in_order(&mut self, cx: &mut Ctx<'_>, log: LogId, held: Held) {
        let Some(state) = self.logs.get_mut(&log) else {
            return;
        };
        let header = held.envelope.header();
        let first = header.seq - u64::from(header.skip).min(header.seq);
        if first <= state.delivered && !self.inbox.is_full() {
            self.hand_over(cx, log, held);
            self.deliver_held(cx, log);
            return;
        }
        if log.lane.is_kept() && self.inbox.is_full() {
            // The store has it, and has patience.
            return;
        }
        let bytes = held.envelope.as_bytes().len();
        let room = state.held.len() < limits::HELD_MAX && self.held_bytes + bytes <= limits::HELD_BYTES_MAX;
        // What is kept can be read again from the store when its turn comes; what is live is lost.
        if room {
            self.held_bytes += bytes;
            state.held.insert(header.seq, held);
        } else if !log.lane.is_kept() {
            cx.counters.add("held-full", 1);
        }
    }

    /// Everything whose turn has come.
    pub(super) fn deliver_held(&mut self, cx: &mut Ctx<'_>, log: LogId) {
        if self.inbox.is_full() {
            return;
        }
        while let Some(state) = self.logs.get_mut(&log) {
            if state.delivered >= state.log.next() {
                return;
            }
            let next = state.held.first_key_value().filter(|(_, held)| {
                let header = held.envelope.header();
                header.seq - u64::from(header.skip).min(header.seq) <= state.delivered
            });
            if let Some((seq, _)) = next {
                let seq = *seq;
                let Some(held) = state.held.remove(&seq) else {
                    return;
                };
                self.held_bytes -= held.envelope.as_bytes().len();
                if seq >= state.delivered {
                    self.hand_over(cx, log, held);
                }
                continue;
            }
            if !log.lane.is_kept() {
                let next = state.next_to_be_had(None);
                let from = std::mem::replace(&mut state.delivered, next);
                if from < next {
                    cx.event(Event::Gap { group: self.id, log, from, to: next - 1 });
                }
                continue;
            }
            if state.fetching.is_none() && self.inbox.begin_fetch(log) {
                state.fetching = Some(state.n_written);
                let (from, to) = (state.delivered, state.log.next() - 1);
                let query =
                    Query::Range { group: self.id, log, from, to, bytes_max: limits::FETCH_BYTES_MAX };
                cx.fetch(self.id, Purpose::Deliver { log }, query);
            }
            return;
        }
    }

    /// The store gave what was kept before its turn had come.
    pub(super) fn deliver_fetched(&mut self, cx: &mut Ctx<'_>, log: LogId, answer: Answer) {
        self.inbox.on_fetched();
        self.deliver_answer(cx, log, answer);
        self.deliver_next(cx);
    }

    fn deliver_answer(&mut self, cx: &mut Ctx<'_>, log: LogId, answer: Answer) {
        let Some(state) = self.logs.get_mut(&log) else {
            return;
        };
        let asked_at = state.fetching.take();
        if self.inbox.is_full() {
            // It is read again when it is wanted.
            return;
        }
        let is_outdated = asked_at != Some(state.n_written);
        let stored = match answer {
            Answer::Range(stored) => stored,
            Answer::Failed(error) => return cx.event(Event::StoreFailed { error }),
            Answer::Group(_) => return,
        };
        let mut progress = false;
        let mut beyond = None;
        for stored in stored {
            let Some(state) = self.logs.get_mut(&log) else { return };
            if stored.seq < state.delivered {
                continue;
            }
            let first = stored.seq - u64::from(stored.skip).min(stored.seq);
            if first > state.delivered {
                // One before it is not written yet.
                beyond = Some(first);
                break;
            }
            let opened = Envelope::parse(stored.bytes)
                .ok()
                .and_then(|envelope| crypto::check(envelope).ok())
                .and_then(|envelope| Some((crypto::open(&*self.key, &envelope).ok()?, envelope)));
            let Some((opened, envelope)) = opened else {
                cx.counters.add("store-unreadable", 1);
                state.delivered = stored.seq + 1;
                progress = true;
                continue;
            };
            progress = true;
            self.hand_over(cx, log, Held { envelope, messages: opened.into_messages(), backfilled: true });
        }
        if !progress && !is_outdated && cx.tokens.is_writing(&self.id, &log) {
            // The store was read before it was written; the write asks again.
            return;
        }
        if let Some(state) = self.logs.get_mut(&log)
            && !progress
            && !is_outdated
        {
            // Nothing there although it was kept: go on rather than ask for ever.
            cx.counters.add("store-hole", 1);
            state.delivered = state.next_to_be_had(beyond);
        }
        self.deliver_held(cx, log);
    }

    fn hand_over(&mut self, cx: &mut Ctx<'_>, log: LogId, held: Held) {
        let Some(state) = self.logs.get_mut(&log) else {
            return;
        };
        let Held { envelope, messages, backfilled } = held;
        let seq = envelope.header().seq;
        state.delivered = seq + 1;
        if !messages.is_empty() {
            cx.event(Event::Delivered(Box::new(Delivered {
                group: self.id,
                log,
                seq,
                envelope,
                messages,
                backfilled,
            })));
        }
    }
}
