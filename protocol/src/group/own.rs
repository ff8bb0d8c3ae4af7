//! What we publish: from a draft to the envelope that others may see, and who is sent it.
//!
//! The numbers and batches are [`OwnLane`]'s; the order here is seal, store, release.

use super::log::Place;
use super::publish::{OwnLane, Pending};
use super::spread::Way;
use super::store::Purpose;
use super::{Ctx, Group, Unreleased, log};
use crate::crypto::{self, CheckedEnvelope, SealInput};
use crate::id::{Lane, LinkId, LogId, Seq};
use crate::io::{Delivered, Event};
use crate::limits;
use crate::link::Link;
use crate::message::{self, Body, Draft};
use crate::persist::{Frontier, StoreOp, StoredEnvelope};
use crate::time::Timestamp;

impl Group {
    pub(super) fn lane(&mut self, lane: Lane) -> &mut OwnLane {
        match lane {
            Lane::Live => &mut self.lanes[1],
            Lane::Durable | Lane::Control => &mut self.lanes[0],
        }
    }

    /// Whether no messages wait that will leave by themselves, soon: those that are kept need nobody to be there.
    pub(crate) fn is_flushed(&self) -> bool {
        let is_sealing = self.loaded && !self.cloned && self.lanes[0].n_drafts() > 0;
        let is_heard = self.lanes.iter().any(|own| own.n_drafts() > 0) && !self.members.is_empty();
        !is_sealing && !is_heard
    }

    /// Whether a draft would be taken now.
    pub(crate) fn accepts(&mut self, lane: Lane) -> bool {
        self.lane(lane).accepts()
    }

    pub(crate) fn publish(
        &mut self,
        cx: &mut Ctx<'_>,
        lane: Lane,
        ttl_secs: u32,
        draft: &Draft,
        ticket: u64,
    ) {
        let refusal = if self.cloned {
            Some("this identity is in use elsewhere".to_owned())
        } else {
            *cx.hlc = cx.hlc.tick(cx.wall);
            match message::encode_body(draft, *cx.hlc) {
                Ok(body) => {
                    let pending = Pending { body, ttl_secs, ticket };
                    (!self.lane(lane).push(pending)).then(|| "too many messages are waiting".to_owned())
                }
                Err(error) => Some(error.to_string()),
            }
        };
        match refusal {
            Some(reason) => {
                cx.counters.add("draft-refused", 1);
                let tickets = (ticket, ticket);
                cx.event(Event::Dropped { group: self.id, lane, tickets, reason });
            }
            None => self.pump_lane(cx, lane),
        }
    }

    /// Seals whatever may be sealed now.
    pub(crate) fn pump(&mut self, cx: &mut Ctx<'_>) {
        self.pump_lane(cx, Lane::Durable);
        self.pump_lane(cx, Lane::Live);
    }

    pub(super) fn pump_lane(&mut self, cx: &mut Ctx<'_>, lane: Lane) {
        if !self.loaded || self.cloned {
            return;
        }
        let id = self.id;
        self.release_kept(cx, lane);
        loop {
            let is_held_up = self.is_held_up(cx, lane);
            self.lane(lane).set_held_up(is_held_up);
            if is_held_up {
                break;
            }
            let Some(batch) = self.lane(lane).take_batch(cx.now) else {
                break;
            };
            let mut frame_salt = [0; 16];
            cx.secrets.fill(&mut frame_salt);
            let input = SealInput {
                lane,
                seq: batch.seq,
                prev: batch.prev,
                skip: batch.skip,
                ttl_secs: batch.ttl_secs,
                bodies: &batch.bodies,
                frame_salt,
            };
            let envelope = match crypto::seal(cx.identity, &*self.key, &input) {
                Ok(envelope) => envelope,
                Err(error) => {
                    let (tickets, reason) = (batch.tickets, error.to_string());
                    cx.event(Event::Dropped { group: id, lane, tickets, reason });
                    continue;
                }
            };
            let messages =
                batch.bodies.into_iter().filter_map(|body| message::decode_body(body).ok()).collect();
            self.lane(lane).on_sealed(batch.seq, envelope.id());
            if lane.is_kept() {
                let log = LogId { author: cx.me, lane };
                let (next, head) = (batch.seq + 1, envelope.id());
                self.lane(lane).on_persisting(envelope.as_bytes().len());
                let ops = vec![
                    StoreOp::Append(self.stored(&envelope)),
                    StoreOp::Frontier(Frontier { group: id, log, next, head, floor: 0 }),
                ];
                let own = Unreleased { envelope, messages, tickets: batch.tickets, is_kept: false };
                self.unreleased.insert((lane, batch.seq), own);
                let seq = batch.seq;
                cx.persist(id, Purpose::Own { lane, seq }, ops);
            } else {
                self.release(cx, envelope, messages, batch.tickets);
            }
        }
        if let Some(upto) = self.lane(lane).take_reservation() {
            cx.persist(id, Purpose::Reserve { lane, upto }, vec![StoreOp::Reserve { group: id, lane, upto }]);
        }
    }

    /// A full link makes publishers wait for a while, and a store that fails until it works again; a live message waits until somebody is there; and before our
    /// first word in this run we take back what others have of our own log.
    fn is_held_up(&self, cx: &Ctx<'_>, lane: Lane) -> bool {
        (!lane.is_kept() && self.members.is_empty())
            || self.hold_until.is_some_and(|at| cx.now < at)
            || lane.is_kept() && (cx.tokens.is_failing(&self.id) || self.is_taking_back(cx, lane))
            || self.is_full()
            || self.waits_for_links(cx)
    }

    /// A full link holds publishers up until its peer is slow; if all are slow, until they have caught up or one is
    /// given up.
    fn waits_for_links(&self, cx: &Ctx<'_>) -> bool {
        let links = || self.members.keys().filter_map(|link| cx.links.get(link));
        links().any(Link::holds_up) || links().next().is_some() && links().all(Link::is_stuck)
    }

    fn is_taking_back(&self, cx: &Ctx<'_>, lane: Lane) -> bool {
        let log = LogId { author: cx.me, lane };
        self.take_back_until.is_some_and(|at| cx.now < at)
            && !self.lanes[0].has_published()
            && self.repair.first_claimed(&log).is_some()
    }

    /// Releases what is on disk with everything before it, while links have room for it.
    pub(super) fn release_kept(&mut self, cx: &mut Ctx<'_>, lane: Lane) {
        while !self.is_full()
            && let Some(first) = self.unreleased.range((lane, 0)..=(lane, Seq::MAX)).next()
            && first.1.is_kept
            && !self.waits_for_links(cx)
        {
            let key = *first.0;
            let Some(own) = self.unreleased.remove(&key) else {
                return;
            };
            self.lane(lane).on_persisted(own.envelope.as_bytes().len());
            self.release(cx, own.envelope, own.messages, own.tickets);
        }
    }

    /// Our own envelope may be seen by others from now on.
    fn release(
        &mut self,
        cx: &mut Ctx<'_>,
        envelope: CheckedEnvelope,
        messages: Vec<Body>,
        tickets: (u64, u64),
    ) {
        let header = envelope.header();
        let (lane, seq) = (header.lane, header.seq);
        let log = LogId { author: cx.me, lane };
        self.place(cx, log, &envelope);
        if let Some(state) = self.logs.get_mut(&log) {
            state.delivered = state.log.next();
        }
        let sent = self.spread(cx, log, &envelope, Way::Own);
        self.on_arrived(cx, log, seq, Way::Own);
        cx.event(Event::Sealed { group: self.id, lane, tickets, seq, sent });
        let delivered = Delivered { group: self.id, log, seq, envelope, messages, backfilled: false };
        cx.event(Event::Delivered(Box::new(delivered)));
    }

    pub(super) fn stored(&self, envelope: &CheckedEnvelope) -> StoredEnvelope {
        let header = envelope.header();
        StoredEnvelope {
            group: self.id,
            log: LogId { author: header.author, lane: header.lane },
            seq: header.seq,
            skip: header.skip,
            id: envelope.id(),
            bytes: envelope.as_bytes().clone(),
        }
    }

    /// Puts an envelope into its log and among the recent ones.
    pub(super) fn place(&mut self, cx: &mut Ctx<'_>, log: LogId, envelope: &CheckedEnvelope) -> log::Placed {
        let header = envelope.header();
        let place = Place { seq: header.seq, skip: header.skip, id: envelope.id(), prev: header.prev };
        let state = self.logs.entry(log).or_default();
        state.touched = cx.now;
        let next = state.log.next();
        let placed = state.log.insert(place);
        if state.log.next() > next {
            state.grew_at = cx.now;
        }
        if placed == log::Placed::New {
            let first = header.seq - u64::from(header.skip).min(header.seq);
            self.repair.on_placed(&log, first, header.seq);
            self.recent.insert(cx.now, log, envelope);
            if log.lane.is_kept() {
                self.root = None;
                self.hurry_digests(cx);
            }
        }
        placed
    }

    /// What is here has changed. In a large group that goes on all the time: logs are compared with one neighbour
    /// after the other.
    fn hurry_digests(&mut self, cx: &mut Ctx<'_>) {
        self.placed_at = cx.now;
        if !cx.is_partial {
            for link in self.members.keys() {
                if let Some(link) = cx.links.get_mut(link) {
                    link.hurry_digest(cx.now);
                }
            }
            return;
        }
        let soon = cx.now + limits::DIGEST_PARTIAL;
        let digest_at = |link: &LinkId| cx.links.get(link).and_then(|link| link.digest_at);
        if !self.members.keys().filter_map(digest_at).any(|at| at <= soon) {
            self.tell_digest_by(cx, soon);
        }
    }

    /// The next neighbour, another each time, is told what is here.
    pub(super) fn tell_next_digest(&mut self, cx: &mut Ctx<'_>) {
        self.tell_digest_by(cx, cx.now);
    }

    fn tell_digest_by(&mut self, cx: &mut Ctx<'_>, soon: Timestamp) {
        self.n_hurried = self.n_hurried.wrapping_add(1);
        let chosen = self.members.keys().nth(self.n_hurried % self.members.len().max(1));
        if let Some(link) = chosen.and_then(|link| cx.links.get_mut(link)) {
            link.digest_by(soon);
        }
    }

    pub(super) fn drop_drafts(&mut self, cx: &mut Ctx<'_>, lane: Lane, reason: &str) {
        if let Some(tickets) = self.lane(lane).drain() {
            let reason = reason.to_owned();
            cx.event(Event::Dropped { group: self.id, lane, tickets, reason });
        }
    }
}
