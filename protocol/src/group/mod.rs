//! One group on one node: owns the logs, our own lanes, the tree and the repair, and routes between them.
//!
//! ```text
//! draft -> OwnLane -> seal -> store -> release --+--> Data to members (eager), announcements (lazy)
//! Data from a member -> open -> Log -> in order -> application
//!                              |-> store -> "stored" to the author
//!                              |-> members grafted to us, announcements to the others
//! claims (announcements, clocks, gaps) -> Repair -> Want -> Data ... Served
//! ```

mod answers;
mod census;
mod compare;
mod forest;
mod gaps;
mod inbox;
mod log;
mod members;
mod news;
mod own;
mod publish;
mod receive;
mod recent;
mod repair;
mod room;
mod serve;
mod spread;
mod store;
mod stored;
mod tree;

use std::collections::{BTreeMap, BTreeSet};

use crate::bounds::Bounds;
use crate::conduct::Toll;
use crate::crypto::{CheckedEnvelope, GroupKey, Identity};
use crate::heap;
use crate::id::{GroupId, Incarnation, Lane, LinkId, LogId, PeerId, Seq, TopicTag};
use crate::io::{CloseCause, Counters, Event, GapStatus, GroupStatus, Outbox, Output, Secrets, TreeStatus};
use crate::limits;
use crate::link::Link;
use crate::link::outflow::Pushed;
use crate::message::Body;
use crate::overlay::Overlay;
use crate::persist::{Query, StoreOp};
use crate::presence::Presence;
use crate::time::{Hlc, Timestamp, WallTime};
use crate::timed::{Timed, Timer};
use crate::wire::frame::{Class, FLOOD, Frame, GroupIx, STAR, Want};
use census::Census;
pub(crate) use census::Heard;
use forest::Forest;
use gaps::Gaps;
use inbox::Inbox;
use log::Log;
use news::Outgoing;
use publish::OwnLane;
use recent::Recent;
use repair::Repair;
use serve::Serving;
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
    pub(crate) links: &'a mut Timed<LinkId, Link>,
    pub(crate) out: &'a mut Outbox,
    pub(crate) counters: &'a mut Counters,
    pub(crate) tokens: &'a mut Tokens,
    pub(crate) toll: &'a mut Toll,
    /// This identity is older than its store.
    pub(crate) is_restored: bool,
    pub(crate) incarnation: Incarnation,
    pub(crate) bounds: Bounds,
    /// This node is linked to some of those it knows, not to all.
    pub(crate) is_partial: bool,
    /// Peers thought to be there.
    pub(crate) n_known: usize,
    pub(crate) presence: &'a Presence,
    pub(crate) overlay: &'a Overlay,
    /// How often this run has said that it is in a group, or not any more.
    pub(crate) n_words: &'a mut u32,
    /// What members said that presence has to know.
    pub(crate) heard: &'a mut Vec<Heard>,
}

impl Ctx<'_> {
    /// Sends a frame, now or when its turn comes. False if it is an envelope for which there is no room.
    pub(crate) fn send(&mut self, link: LinkId, class: Class, frame: impl Into<Frame>) -> bool {
        let frame = frame.into();
        let Some(state) = self.links.get_mut(&link).filter(|state| !state.is_closing()) else {
            return false;
        };
        let len = frame.encoded_len();
        let (goes, listens, taken) = if class == Class::Control {
            (Some(frame), state.on_talk(self.now, len), true)
        } else {
            match state.push(self.now, class, len, frame) {
                Pushed::Goes(frame) => (Some(frame), true, true),
                Pushed::Waits => (None, !state.reads_no_answers(), true),
                Pushed::Full => (None, true, false),
            }
        };
        if let Some(frame) = goes {
            self.out.push_back(Output::Send { link, class, frame });
        }
        if !listens && state.close() {
            self.counters.add("does-not-listen", 1);
            let cause = CloseCause::DoesNotListen;
            self.out.push_back(Output::Disconnect { link, cause });
        }
        taken
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    /// An envelope came of which nothing comes: whoever sends many answers for it.
    fn waste(&mut self, cause: &'static str) {
        self.counters.add(cause, 1);
        self.toll.waste += 1;
    }

    fn persist(&mut self, group: GroupId, purpose: Purpose, ops: Vec<StoreOp>) {
        let token = self.tokens.issue(group, purpose, ops.clone());
        self.out.push_back(Output::Persist { token, ops });
    }

    fn fetch(&mut self, group: GroupId, purpose: Purpose, query: Query) {
        let token = self.tokens.issue(group, purpose, Vec::new());
        self.out.push_back(Output::Fetch { token, query });
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
    /// When the store is asked again what it knows.
    load_again_at: Option<Timestamp>,
    /// The application was told that the store cannot be read.
    load_failed: bool,
    /// Somebody else writes under our key.
    cloned: bool,
    /// Neighbours that are in it.
    members: BTreeMap<LinkId, PeerId>,
    /// Everybody who is, where not everybody is a neighbour.
    census: Census,
    outgoing: Outgoing,
    logs: BTreeMap<LogId, Box<LogState>>,
    lanes: [OwnLane; 2],
    /// Sealed by us and on their way to the disk; seen by nobody before they and all before them are there.
    unreleased: BTreeMap<(Lane, Seq), Unreleased>,
    /// Until when peers are waited for who may know more of our own log than we do.
    hold_until: Option<Timestamp>,
    /// Until when what peers have of our own log is taken back before our first word.
    take_back_until: Option<Timestamp>,
    tree: Tree,
    forest: Forest,
    repair: Repair,
    gaps: Gaps,
    recent: Recent,
    held_bytes: usize,
    inbox: Inbox,
    serving: BTreeMap<LinkId, Serving>,
    /// Live gaps being waited for.
    live_gaps: BTreeMap<LogId, Timestamp>,
    /// What is on our disk and its authors have not been told.
    unacknowledged: BTreeMap<LogId, Seq>,
    acknowledge_at: Option<Timestamp>,
    acknowledged_at: Option<Timestamp>,
    /// When a kept envelope was last new here, and how often a link was chosen to compare logs on.
    placed_at: Timestamp,
    n_hurried: usize,
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
    /// When it was last complete up to a higher number than before.
    grew_at: Timestamp,
}

impl LogState {
    /// Where delivery goes on if what is next is nowhere: at what is held or, as the store says, lies `beyond`, but
    /// no further than the log is complete, for what comes after that may still come.
    fn next_to_be_had(&self, beyond: Option<Seq>) -> Seq {
        let held = self.held.first_key_value().map(|(seq, held)| {
            let skip = u64::from(held.envelope.header().skip);
            seq - skip.min(*seq)
        });
        let first = [held, beyond].into_iter().flatten().fold(self.log.next(), Seq::min);
        first.max(self.delivered)
    }
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
            load_again_at: None,
            load_failed: false,
            cloned: false,
            members: BTreeMap::new(),
            census: Census::default(),
            outgoing: Outgoing::default(),
            logs: BTreeMap::new(),
            lanes: [OwnLane::new(Lane::Durable, 0, None), OwnLane::new(Lane::Live, 0, None)],
            unreleased: BTreeMap::new(),
            hold_until: None,
            take_back_until: None,
            tree: Tree::default(),
            forest: Forest::default(),
            repair: Repair::default(),
            gaps: Gaps::default(),
            recent: Recent::default(),
            held_bytes: 0,
            inbox: Inbox::default(),
            serving: BTreeMap::new(),
            live_gaps: BTreeMap::new(),
            unacknowledged: BTreeMap::new(),
            acknowledge_at: None,
            acknowledged_at: None,
            placed_at: Timestamp::ZERO,
            n_hurried: 0,
            root: None,
        }
    }

    pub(crate) fn topic_tag(&self) -> TopicTag {
        self.key.topic_tag()
    }

    pub(crate) fn ix(&self) -> GroupIx {
        self.ix
    }

    /// Messages that wait to be sealed.
    pub(crate) fn n_drafts(&self) -> usize {
        self.lanes.iter().map(OwnLane::n_drafts).sum()
    }

    pub(crate) fn status(&self, now: Timestamp, me: PeerId) -> GroupStatus {
        let (n_members, members) = self.count_members(me);
        GroupStatus {
            group: self.id,
            name: self.name.clone(),
            n_members,
            is_sample: self.census.is_sample(),
            n_linked: self.mates().len(),
            members,
            envelopes: self.kept_logs().map(|(_, state)| state.log.next()).sum(),
            trees: self.forest.len(),
            is_root: self.forest.is_root(),
            drafts: self.n_drafts(),
            untaken: self.lanes[0].n_untaken(),
            root: self.root.unwrap_or_else(|| self.root_without(&BTreeSet::new())),
            missing: self
                .repair
                .claimed()
                .map(|(log, first, end)| {
                    let gaps = self.missing(&log, end);
                    let claimed = gaps.iter().filter(|(_, to)| *to >= first);
                    claimed.map(|(from, to)| to - from.max(&first) + 1).sum::<u64>()
                })
                .sum(),
            gaps: self.gap_status(now),
        }
    }

    pub(crate) fn trees(&self, now: Timestamp) -> Vec<TreeStatus> {
        self.forest.status(now)
    }

    /// About how much memory its parts take, in bytes: the list of members, trees, logs, and what is announced and asked for.
    pub(crate) fn heap(&self) -> [usize; 4] {
        let of_logs = self.logs.values().map(|state| heap::map(&state.held)).sum::<usize>();
        let logs = heap::boxes(&self.logs) + of_logs + self.held_bytes;
        [self.census.heap(), self.forest.heap(), logs, self.tree.heap() + self.repair.heap()]
    }

    /// See [`crate::engine::Engine::table_sizes`].
    pub(crate) fn table_sizes(&self, bounds: &Bounds) -> [(&'static str, usize, usize); 14] {
        let (grafted, late) = self.tree.sizes();
        let (misses, shunned) = self.forest.sizes();
        let (left, numbers) = self.forest.sizes_of_links();
        [
            ("authors", self.logs.len(), limits::AUTHORS_MAX),
            ("held bytes", self.held_bytes, limits::HELD_BYTES_MAX),
            ("claims", self.repair.n_logs(), limits::AUTHORS_MAX),
            ("members", self.census.len(), bounds.members),
            ("trees", self.forest.len(), bounds.trees),
            ("gaps", self.gaps.len(), limits::GAPS_MAX),
            ("grafted authors", grafted, limits::AUTHORS_MAX),
            ("late announcements", late, limits::LATE_MAX),
            ("missed envelopes", misses, limits::MISSES_MAX),
            ("shunned neighbours", shunned, limits::SHUNNED_MAX),
            ("neighbours that left", left, limits::SHUNNED_MAX),
            // A peer may have two links for a while, if both sides dialled.
            ("numbers of trees", numbers, (2 * limits::LINKS_MAX + limits::PARTING_MAX) * bounds.trees),
            ("recent bytes", self.recent.n_bytes(), limits::RECENT_BYTES_MAX),
            // A full one is sent before the next frame is taken in, which brings as many at most.
            ("news for one link", self.outgoing.longest(), 2 * limits::FACTS_MAX),
        ]
    }

    fn gap_status(&self, now: Timestamp) -> Vec<GapStatus> {
        let told = self.gaps.iter(now).into_iter().filter_map(|(log, end, claimed_by, age)| {
            let missing = self.missing(&log, end).iter().map(|(from, to)| to - from + 1).sum();
            let is_stale = age >= limits::STALE_AFTER;
            (missing > 0).then_some(GapStatus { log, missing, age, claimed_by, is_stale })
        });
        told.take(limits::GAPS_TOLD_MAX).collect()
    }

    #[cfg(test)]
    pub(crate) fn n_claims(&self) -> usize {
        self.repair.claimed().count()
    }

    #[cfg(test)]
    pub(crate) fn n_logs(&self) -> usize {
        self.logs.len()
    }

    #[cfg(test)]
    pub(crate) fn has_log(&self, log: &LogId) -> bool {
        self.logs.contains_key(log)
    }

    #[cfg(test)]
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    fn kept_logs(&self) -> impl Iterator<Item = (&LogId, &LogState)> + '_ {
        self.logs.iter().filter(|(log, _)| log.lane.is_kept()).map(|(log, state)| (log, &**state))
    }

    /// A hash over how far every kept log is complete.
    pub(crate) fn root(&mut self) -> [u8; 32] {
        let root = self.root.unwrap_or_else(|| self.root_without(&BTreeSet::new()));
        *self.root.insert(root)
    }

    /// The same over all but some.
    fn root_without(&self, not: &BTreeSet<LogId>) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        let counts = |(log, state): &(&LogId, &LogState)| state.log.next() > 0 && !not.contains(*log);
        for (log, state) in self.kept_logs().filter(counts) {
            hasher.update(&log.author.0);
            hasher.update(&[log.lane as u8]);
            hasher.update(&state.log.next().to_le_bytes());
            hasher.update(&state.log.head().0);
        }
        *hasher.finalize().as_bytes()
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.loaded
    }

    // Time.

    pub(crate) fn on_deadline(&mut self, cx: &mut Ctx<'_>) {
        if self.load_again_at.take_if(|at| *at <= cx.now).is_some() {
            cx.fetch(self.id, Purpose::Load, Query::Group(self.id));
        }
        self.hold_until = self.hold_until.filter(|at| *at > cx.now);
        self.take_back_until = self.take_back_until.filter(|at| *at > cx.now);
        self.pump(cx);
        self.send_announcements(cx);
        if self.forest.next_deadline().is_some_and(|at| at <= cx.now) {
            self.in_forest(cx, |forest, ground| forest.on_deadline(ground));
        }
        self.tend_members(cx);
        self.acknowledge(cx);
        self.give_up_live_gaps(cx);
        self.ask_for_missing(cx);
        self.recent.expire(cx.now);
    }

    fn ask_for_missing(&mut self, cx: &mut Ctx<'_>) {
        if !self.loaded {
            return;
        }
        let logs = &self.logs;
        for ask in self.repair.poll(cx.now, |log, end| missing(logs, log, end)) {
            let author = ask.range.log.author;
            let is_linked = self.is_linked(&author);
            let graft =
                !is_linked && author != cx.me && !cx.is_partial && self.tree.parent(&author).is_none();
            if graft {
                self.tree.set_parent(author, ask.link);
            }
            let want = Want { request: ask.request, group: self.ix, range: ask.range, graft };
            cx.counters.add("wanted", 1);
            cx.send(ask.link, Class::Control, want);
            if ask.tree != STAR && ask.tree != FLOOD {
                self.in_forest(cx, |forest, ground| {
                    forest.on_missing(ground, ask.tree, ask.range, ask.link);
                });
            }
        }
        if self.lanes[0].is_held_up() {
            self.pump_lane(cx, Lane::Durable);
        }
    }

    fn missing(&self, log: &LogId, end: Seq) -> Vec<(Seq, Seq)> {
        missing(&self.logs, log, end)
    }
}

impl Timer for Group {
    fn next_deadline(&self) -> Option<Timestamp> {
        let seals = self.lanes.iter().filter(|_| self.loaded).filter_map(OwnLane::seal_at);
        let gaps = self.live_gaps.values().copied();
        [
            self.tree.next_deadline(),
            self.forest.next_deadline(),
            self.census.next_deadline(),
            self.outgoing.next_deadline(),
            // Nothing is asked for before that.
            self.repair.next_deadline().filter(|_| self.loaded),
            self.recent.next_deadline(),
            self.load_again_at,
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
}

/// What is not here of a log below `end`. Of a live log that was never heard only what is claimed will be asked for.
fn missing(logs: &BTreeMap<LogId, Box<LogState>>, log: &LogId, end: Seq) -> Vec<(Seq, Seq)> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a hole in the store costs what is missing and no more, from both sides of where the log is complete.
    #[test]
    fn a_hole_is_stepped_over_and_nothing_else() {
        let author = Identity::from_seed([1; 32]);
        let key = GroupKey::open("test", "lobby", None).expect("a name");
        let body = crate::message::encode_body(&crate::message::Draft::default(), Hlc(1)).expect("a draft");
        for (held, beyond, goes_on) in [(9, None, 5), (4, None, 3), (9, Some(2), 2), (9, Some(7), 5)] {
            let input = crate::crypto::SealInput {
                lane: Lane::Durable,
                seq: held,
                prev: crate::id::EnvelopeId([1; 32]),
                skip: 1,
                ttl_secs: 0,
                bodies: std::slice::from_ref(&body),
                frame_salt: [0; 16],
            };
            let envelope = crate::crypto::seal(&author, &key, &input).expect("small");
            let held = (held, Held { envelope, messages: Vec::new(), backfilled: false });
            let mut state = LogState { log: Log::starting_at(5), held: [held].into(), ..LogState::default() };
            state.delivered = 1;
            assert_eq!(state.next_to_be_had(beyond), goes_on);
        }
    }
}
