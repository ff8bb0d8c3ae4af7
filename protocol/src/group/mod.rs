//! One group on one node: owns the logs, our own lanes, the tree and the repair, and routes between them.
//!
//! ```text
//! draft -> OwnLane -> seal -> store -> release --+--> Data to members (eager), announcements (lazy)
//! Data from a member -> open -> Log -> in order -> application
//!                              |-> store -> "stored" to the author
//!                              |-> members grafted to us, announcements to the others
//! claims (announcements, clocks, gaps) -> Repair -> Want -> Data ... Served
//! ```

mod log;
mod own;
mod publish;
mod receive;
mod repair;
mod serve;
mod store;
mod tree;

use std::collections::{BTreeMap, VecDeque};

use crate::crypto::{CheckedEnvelope, GroupKey, Identity};
use crate::id::{EnvelopeId, GroupId, Lane, LinkId, LogId, PeerId, Seq, TopicTag};
use crate::io::{Counters, Event, GroupStatus, Outbox, Output, PresenceCause, Secrets};
use crate::limits;
use crate::link::Link;
use crate::message::Body;
use crate::persist::{Answer, GroupRecord, Query, StoreOp};
use crate::time::{Hlc, Timestamp, WallTime};
use crate::wire::frame::{Announce, Class, Frame, GroupIx, Range, Subscribe, Unsubscribe, Want};
use log::Log;
use publish::OwnLane;
use repair::Repair;
pub(crate) use store::{Purpose, Tokens};
use tree::Tree;

/// Everything a group may touch outside itself.
pub(crate) struct Ctx<'a> {
    pub(crate) now: Timestamp,
    pub(crate) wall: WallTime,
    pub(crate) identity: &'a Identity,
    pub(crate) me: PeerId,
    pub(crate) secrets: &'a mut dyn Secrets,
    pub(crate) hlc: &'a mut Hlc,
    pub(crate) links: &'a mut BTreeMap<LinkId, Link>,
    pub(crate) out: &'a mut Outbox,
    pub(crate) counters: &'a mut Counters,
    pub(crate) tokens: &'a mut Tokens,
    /// This identity is older than its store.
    pub(crate) is_restored: bool,
}

impl Ctx<'_> {
    pub(crate) fn send(&mut self, link: LinkId, class: Class, frame: impl Into<Frame>) {
        let frame = frame.into();
        let Some(state) = self.links.get_mut(&link).filter(|state| !state.is_closing()) else {
            return;
        };
        let listens = state.on_sent(self.now, class, frame.encoded_len());
        self.out.push_back(Output::Send { link, class, frame });
        if !listens && state.close() {
            self.counters.add("does-not-listen", 1);
            let cause = "does not listen";
            self.out.push_back(Output::Disconnect { link, cause });
        }
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    fn persist(&mut self, group: GroupId, purpose: Purpose, ops: Vec<StoreOp>) {
        let token = self.tokens.issue(group, purpose, ops.clone());
        self.out.push_back(Output::Persist { token, ops });
    }

    fn fetch(&mut self, group: GroupId, purpose: Purpose, query: Query) {
        let token = self.tokens.issue(group, purpose, Vec::new());
        self.out.push_back(Output::Fetch { token, query });
    }

    fn is_linked(&self, peer: &PeerId, members: &BTreeMap<LinkId, PeerId>) -> bool {
        members.values().any(|member| member == peer)
    }
}

/// A group this node is in.
#[derive(Debug)]
pub(crate) struct Group {
    id: GroupId,
    key: Box<GroupKey>,
    name: String,
    /// Our number for it on every link.
    ix: GroupIx,
    loaded: bool,
    /// Somebody else writes under our key.
    cloned: bool,
    members: BTreeMap<LinkId, PeerId>,
    logs: BTreeMap<LogId, LogState>,
    lanes: [OwnLane; 2],
    /// Sealed by us and on their way to the disk; seen by nobody before they and all before them are there.
    unreleased: BTreeMap<(Lane, Seq), Unreleased>,
    /// Until when peers are waited for who may know more of our own log than we do.
    hold_until: Option<Timestamp>,
    /// Until when what peers have of our own log is taken back before our first word.
    take_back_until: Option<Timestamp>,
    tree: Tree,
    repair: Repair,
    recent: Recent,
    held_bytes: usize,
    serving: BTreeMap<LinkId, usize>,
    /// Live gaps being waited for.
    live_gaps: BTreeMap<LogId, Timestamp>,
    /// What is on our disk and its authors have not been told.
    unacknowledged: BTreeMap<LogId, Seq>,
    acknowledge_at: Option<Timestamp>,
    acknowledged_at: Option<Timestamp>,
    /// Over all kept logs; computed when asked for.
    root: Option<[u8; 32]>,
}

/// One author's log with what stands between it and the application.
#[derive(Debug, Default)]
struct LogState {
    log: Log,
    /// The next number to deliver.
    delivered: Seq,
    /// Opened, and waiting for a number before them.
    held: BTreeMap<Seq, Held>,
    /// The store was asked for what is to be delivered next, when so many writes were done.
    fetching: Option<u64>,
    n_written: u64,
    /// On disk below this, as far as the store has said.
    durable: Seq,
    /// Its author signed two envelopes of one place.
    is_forked: bool,
    touched: Timestamp,
}

/// An envelope of our own before anybody may see it.
#[derive(Debug)]
struct Unreleased {
    envelope: CheckedEnvelope,
    messages: Vec<Body>,
    tickets: (u64, u64),
    is_kept: bool,
}

#[derive(Debug)]
struct Held {
    envelope: CheckedEnvelope,
    messages: Vec<Body>,
    backfilled: bool,
}

/// The newest envelopes, to answer WANT without the store. The oldest make room.
#[derive(Debug, Default)]
struct Recent {
    envelopes: BTreeMap<(LogId, Seq), CheckedEnvelope>,
    order: VecDeque<(LogId, Seq)>,
    bytes: usize,
}

impl Recent {
    fn insert(&mut self, log: LogId, envelope: &CheckedEnvelope) {
        let key = (log, envelope.header().seq);
        if self.envelopes.insert(key, envelope.clone()).is_none() {
            self.order.push_back(key);
            self.bytes += envelope.as_bytes().len();
        }
        while self.bytes > limits::RECENT_BYTES_MAX
            && let Some(oldest) = self.order.pop_front()
            && let Some(envelope) = self.envelopes.remove(&oldest)
        {
            self.bytes -= envelope.as_bytes().len();
        }
    }

    fn find(&self, log: LogId, seq: Seq) -> Option<&CheckedEnvelope> {
        self.envelopes.get(&(log, seq))
    }

    /// Those of `from..=to`, in order.
    fn range(&self, range: &Range) -> impl Iterator<Item = &CheckedEnvelope> + '_ {
        self.envelopes.range((range.log, range.from)..=(range.log, range.to)).map(|(_, envelope)| envelope)
    }
}

impl Group {
    /// Joins: asks the store for what is known.
    pub(crate) fn join(cx: &mut Ctx<'_>, key: Box<GroupKey>, name: String, ix: GroupIx) -> Self {
        let id = key.group_id();
        cx.fetch(id, Purpose::Load, Query::Group(id));
        Self {
            id,
            key,
            name,
            ix,
            loaded: false,
            cloned: false,
            members: BTreeMap::new(),
            logs: BTreeMap::new(),
            lanes: [OwnLane::new(Lane::Durable, 0, None), OwnLane::new(Lane::Live, 0, None)],
            unreleased: BTreeMap::new(),
            hold_until: None,
            take_back_until: None,
            tree: Tree::default(),
            repair: Repair::default(),
            recent: Recent::default(),
            held_bytes: 0,
            serving: BTreeMap::new(),
            live_gaps: BTreeMap::new(),
            unacknowledged: BTreeMap::new(),
            acknowledge_at: None,
            acknowledged_at: None,
            root: None,
        }
    }

    /// Tells a greeted neighbour that we are in the group, once the store has said what we know of it.
    pub(crate) fn subscribe(&self, cx: &mut Ctx<'_>, link: LinkId) {
        if !self.loaded {
            return;
        }
        let me = cx.me;
        let Some(state) = cx.links.get(&link) else { return };
        let Some(hello) = &state.hello else { return };
        let proof = self.key.link_proof(&me, &state.peer, &state.nonce, &hello.nonce);
        cx.send(link, Class::Control, Subscribe { group: self.ix, proof });
    }

    /// Whether a neighbour's proof is for this group.
    pub(crate) fn is_proven(&self, me: &PeerId, link: &Link, proof: &[u8; 32]) -> bool {
        link.hello
            .as_ref()
            .is_some_and(|hello| self.key.check_link_proof(me, &link.peer, &link.nonce, &hello.nonce, proof))
    }

    fn match_unmatched(&mut self, cx: &mut Ctx<'_>, link: LinkId) {
        let Some(state) = cx.links.get(&link) else { return };
        let me = cx.me;
        if let Some((theirs, proof)) = state.find_unmatched(|proof| self.is_proven(&me, state, proof)) {
            self.member_up(cx, link, theirs, proof);
        }
    }

    /// A neighbour has proved that it knows the group's key.
    pub(crate) fn member_up(&mut self, cx: &mut Ctx<'_>, link: LinkId, theirs: GroupIx, proof: [u8; 32]) {
        let Some(state) = cx.links.get_mut(&link) else {
            return;
        };
        let peer = state.peer;
        state.share(theirs, self.id, proof);
        // The side that was dialled starts, so that one digest crosses the new link and not two.
        if state.digest_at.is_none() {
            let at = if state.dialed { cx.now + limits::DIGEST_MIN } else { cx.now };
            state.digest_at = Some(at);
        }
        let is_new = !cx.is_linked(&peer, &self.members);
        self.members.insert(link, peer);
        if is_new {
            cx.event(Event::MemberJoined { group: self.id, peer });
        }
        if let Some(parent) = self.tree.take_parent(&peer) {
            // From now on the author sends to us itself.
            cx.send(parent, Class::Control, crate::wire::frame::Prune { group: self.ix, author: peer });
        }
        self.send_stored(cx, link, peer);
        self.pump(cx);
    }

    /// A neighbour has left the group, or its link is down.
    pub(crate) fn member_down(&mut self, cx: &mut Ctx<'_>, link: LinkId, cause: Option<PresenceCause>) {
        let Some(peer) = self.members.remove(&link) else {
            return;
        };
        self.tree.link_down(link);
        self.repair.link_down(cx.now, link);
        self.serving.remove(&link);
        if let Some(cause) = cause
            && !cx.is_linked(&peer, &self.members)
        {
            cx.event(Event::MemberLeft { group: self.id, peer, cause });
        }
        self.pump(cx);
    }

    /// Leaves: tells the members.
    pub(crate) fn leave(mut self, cx: &mut Ctx<'_>) {
        for link in self.members.keys().copied().collect::<Vec<_>>() {
            cx.send(link, Class::Control, Unsubscribe { group: self.ix });
        }
        for ((lane, _), own) in std::mem::take(&mut self.unreleased) {
            let reason = "the group was left".to_owned();
            cx.event(Event::Dropped { group: self.id, lane, tickets: own.tickets, reason });
        }
        for lane in [Lane::Durable, Lane::Live] {
            self.drop_drafts(cx, lane, "the group was left");
        }
        let id = self.id;
        cx.tokens.forget(&id);
        for link in cx.links.values_mut() {
            link.forget_group(&id);
        }
    }

    pub(crate) fn topic_tag(&self) -> TopicTag {
        self.key.topic_tag()
    }

    pub(crate) fn ix(&self) -> GroupIx {
        self.ix
    }

    pub(crate) fn status(&self) -> GroupStatus {
        GroupStatus {
            group: self.id,
            name: self.name.clone(),
            members: self.members.values().copied().collect(),
            envelopes: self.kept_logs().map(|(_, state)| state.log.next()).sum(),
            drafts: self.lanes.iter().map(OwnLane::n_drafts).sum(),
            missing: self
                .repair
                .claimed()
                .map(|(log, first, end)| {
                    let gaps = self.missing(&log, end);
                    let claimed = gaps.iter().filter(|(_, to)| *to >= first);
                    claimed.map(|(from, to)| to - from.max(&first) + 1).sum::<u64>()
                })
                .sum(),
        }
    }

    #[cfg(test)]
    pub(crate) fn n_claims(&self) -> usize {
        self.repair.claimed().count()
    }

    #[cfg(test)]
    pub(crate) fn n_logs(&self) -> usize {
        self.logs.len()
    }

    fn kept_logs(&self) -> impl Iterator<Item = (&LogId, &LogState)> + '_ {
        self.logs.iter().filter(|(log, _)| log.lane.is_kept())
    }

    /// A hash over how far every kept log is complete.
    pub(crate) fn root(&mut self) -> [u8; 32] {
        if let Some(root) = self.root {
            return root;
        }
        let mut hasher = blake3::Hasher::new();
        for (log, state) in self.kept_logs().filter(|(_, state)| state.log.next() > 0) {
            hasher.update(&log.author.0);
            hasher.update(&[log.lane as u8]);
            hasher.update(&state.log.next().to_le_bytes());
            hasher.update(&state.log.head().0);
        }
        *self.root.insert(*hasher.finalize().as_bytes())
    }

    // The store's answers.

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
    }

    pub(crate) fn on_fetched(&mut self, cx: &mut Ctx<'_>, purpose: Purpose, answer: Answer) {
        match (purpose, answer) {
            (Purpose::Load, Answer::Group(record)) => self.load(cx, record),
            (Purpose::Load, Answer::Failed(error)) => {
                // Without knowing what was issued before, nothing may be issued.
                for lane in [Lane::Durable, Lane::Live] {
                    self.drop_drafts(cx, lane, "the store cannot be read");
                }
                cx.event(Event::StoreFailed { error });
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
        self.pump(cx);
    }

    fn adopt(&mut self, loaded: Log, log: LogId) {
        let state = self.logs.entry(log).or_default();
        // Nothing is taken in before the store has answered, so there is nothing to merge with.
        state.delivered = loaded.next();
        state.durable = loaded.next();
        state.log = loaded;
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.loaded
    }

    // Time.

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        let seals = self.lanes.iter().filter(|_| self.loaded).filter_map(OwnLane::seal_at);
        let gaps = self.live_gaps.values().copied();
        [
            self.tree.next_deadline(),
            self.repair.next_deadline(),
            self.hold_until,
            self.take_back_until,
            self.acknowledge_at,
        ]
        .into_iter()
        .flatten()
        .chain(seals)
        .chain(gaps)
        .min()
    }

    pub(crate) fn on_deadline(&mut self, cx: &mut Ctx<'_>) {
        self.hold_until = self.hold_until.filter(|at| *at > cx.now);
        self.take_back_until = self.take_back_until.filter(|at| *at > cx.now);
        self.pump(cx);
        for (link, ranges) in self.tree.take_announcements(cx.now) {
            if self.members.contains_key(&link) && !ranges.is_empty() {
                cx.send(link, Class::Control, Announce { group: self.ix, ranges });
            }
        }
        self.acknowledge(cx);
        self.give_up_live_gaps(cx);
        self.ask_for_missing(cx);
    }

    fn ask_for_missing(&mut self, cx: &mut Ctx<'_>) {
        if !self.loaded {
            return;
        }
        let logs = &self.logs;
        for ask in self.repair.poll(cx.now, |log, end| missing(logs, log, end)) {
            let author = ask.range.log.author;
            let is_linked = cx.is_linked(&author, &self.members);
            let graft = !is_linked && author != cx.me && self.tree.parent(&author).is_none();
            if graft {
                self.tree.set_parent(author, ask.link);
            }
            let want = Want { request: ask.request, group: self.ix, range: ask.range, graft };
            cx.send(ask.link, Class::Control, want);
        }
        if self.lanes[0].is_held_up() {
            self.pump_lane(cx, Lane::Durable);
        }
    }

    fn missing(&self, log: &LogId, end: Seq) -> Vec<(Seq, Seq)> {
        missing(&self.logs, log, end)
    }
}

/// What is not here of a log below `end`. Of a live log that was never heard only what is claimed will be asked for.
fn missing(logs: &BTreeMap<LogId, LogState>, log: &LogId, end: Seq) -> Vec<(Seq, Seq)> {
    match logs.get(log) {
        Some(state) => state.log.missing_below(end).collect(),
        None if end == 0 => Vec::new(),
        None => vec![(0, end - 1)],
    }
}

/// Whether messages of this age are still wanted, as far as this node's clock can tell.
fn is_expired(ttl_secs: u32, hlc: Hlc, wall: WallTime) -> bool {
    ttl_secs != 0 && wall.0 > hlc.millis().saturating_add(u64::from(ttl_secs) * 1000)
}
