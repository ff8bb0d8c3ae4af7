//! One node: routes inputs to links, overlay, presence and groups, and their facts to each other.
//!
//! The contract, which both hosts keep:
//!
//! ```text
//! engine.handle_input(now, input);
//! while let Some(output) = engine.poll_output() { ... }      // all of them, in order, after every input
//! engine.next_deadline()                                     // then feed Input::Timeout at or after it
//! ```
//!
//! `now` never goes back. Another input does what is due as well if its `now` is later than that of the last. No clock
//! is read, nothing waits, nothing is random but the seed and the secrets that came in. A peer's mistakes are counted
//! and end in [`Output::Disconnect`]; our own are assertions.

mod conduct;
mod credit;
mod digest;
mod links;
mod neighbourhood;
mod tables;
mod talk;

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use self::neighbourhood::Neighbourhood;
use crate::bounds::Bounds;
use crate::conduct::{Conduct, Toll};
use crate::crypto::Identity;
use crate::group::{Ctx, Group, Heard, Tokens};
use crate::id::{GroupId, Incarnation, Lane, LinkId, PeerId};
use crate::io::{
    CloseCause, Command, Counters, Event, Input, Outbox, Output, OverlayStatus, Pace, PeerStatus,
    PresenceState, Secrets, Status, TreeStatus,
};
use crate::limits;
use crate::link::Link;
use crate::link::slow_peers::SlowPeers;
use crate::overlay::{self, Overlay};
use crate::presence::{self, Presence};
use crate::time::{Hlc, Timestamp, WallTime};
use crate::timed::Timed;
use crate::wire::frame::{Address, Class, Frame, Goodbye, GroupIx, PeerRecord};

pub use tables::Tally;

/// What an engine is told once.
pub struct Config {
    /// Keeps meshes apart; the first 8 bytes of the hash of the network's name.
    pub network: [u8; 8],
    /// Of this run: higher than any that a run before can have come to. See [`Incarnation::of_run`].
    pub incarnation: Incarnation,
    /// For choices that make no difference to anybody but are to be the same in a replay.
    pub seed: u64,
    /// How much of others it keeps.
    pub bounds: Bounds,
    /// How long a silence is borne beyond [`crate::limits::EVASIVE_AFTER`] before a neighbour is suspected, and a suspect's
    /// answer is waited for, in thousandths of what is usual. Less than [`crate::limits::PATIENCE`] is for measurements only:
    /// of how far healthy nodes are from being declared gone.
    pub patience: u16,
}

/// What groups may touch: everything but the groups. No function, so that a group can be borrowed beside it.
macro_rules! ctx_of {
    ($engine:ident) => {
        Ctx {
            now: $engine.now,
            wall: $engine.wall,
            identity: &$engine.identity,
            me: $engine.me,
            secrets: &mut *$engine.secrets,
            hlc: &mut $engine.hlc,
            links: &mut $engine.links,
            out: &mut $engine.out,
            counters: &mut $engine.counters,
            tokens: &mut $engine.tokens,
            toll: &mut $engine.toll,
            is_restored: $engine.is_restored,
            incarnation: $engine.config.incarnation,
            bounds: $engine.config.bounds,
            is_partial: $engine.overlay.is_partial(),
            n_known: $engine.overlay.n_known(),
            presence: &$engine.presence,
            overlay: &$engine.overlay,
            n_words: &mut $engine.n_words,
            heard: &mut $engine.heard,
        }
    };
}

/// The protocol of one node.
pub struct Engine {
    config: Config,
    identity: Identity,
    me: PeerId,
    choices: Xoshiro256PlusPlus,
    secrets: Box<dyn Secrets>,
    now: Timestamp,
    wall: WallTime,
    hlc: Hlc,
    out: Outbox,
    links: Timed<LinkId, Link>,
    conduct: Conduct,
    /// Of the frame in hand.
    toll: Toll,
    slow_peers: SlowPeers,
    overlay: Overlay,
    presence: Presence,
    groups: Timed<GroupId, Group>,
    n_groups: u16,
    /// Words of ours that we are in a group, or not any more.
    n_words: u32,
    heard: Vec<Heard>,
    was_partial: bool,
    tokens: Tokens,
    counters: Counters,
    addresses: Vec<Address>,
    n_records: u64,
    /// Groups that were loaded when the record was made.
    n_tagged: usize,
    neighbourhood: Neighbourhood,
    /// The next deadline, found out once after each input.
    deadline: Option<Option<Timestamp>>,
    shut_down: bool,
    is_restored: bool,
}

impl Engine {
    /// An engine that knows nobody. `secrets` fills salts and nonces.
    pub fn new(config: Config, identity: Identity, secrets: Box<dyn Secrets>) -> Self {
        let me = identity.peer_id();
        let config = Config { bounds: config.bounds.workable(), ..config };
        Self {
            choices: Xoshiro256PlusPlus::seed_from_u64(config.seed),
            presence: Presence::new(me, config.incarnation).with_patience(config.patience),
            overlay: Overlay::new(me, config.seed).with_passive(config.bounds.peers),
            config,
            identity,
            me,
            secrets,
            now: Timestamp::ZERO,
            wall: WallTime::default(),
            hlc: Hlc::default(),
            out: Outbox::new(),
            links: Timed::default(),
            conduct: Conduct::default(),
            toll: Toll::default(),
            slow_peers: SlowPeers::default(),
            groups: Timed::default(),
            n_groups: 0,
            n_words: 0,
            heard: Vec::new(),
            was_partial: false,
            tokens: Tokens::default(),
            counters: Counters::default(),
            addresses: Vec::new(),
            n_records: 0,
            n_tagged: 0,
            neighbourhood: Neighbourhood::default(),
            deadline: None,
            shut_down: false,
            is_restored: false,
        }
    }

    /// Says that the identity is older than the store: a restored key, a lost disk. In groups of which the store
    /// knows nothing the engine then waits for its own log from peers before it publishes.
    #[must_use]
    pub fn restored(mut self) -> Self {
        self.is_restored = true;
        self
    }

    /// Takes one input in. Drain [`Engine::poll_output`] afterwards.
    pub fn handle_input(&mut self, now: Timestamp, input: Input) {
        assert!(now >= self.now, "time does not go back: {now:?} after {:?}", self.now);
        // What is due is done after the input: who was late itself first hears what others said meanwhile. A deadline
        // of this very instant waits for a [`Input::Timeout`]: a burst of inputs then looks once.
        let is_due = match input {
            Input::Timeout => true,
            _ => now > self.now && self.next_deadline().is_some_and(|at| at <= now),
        };
        let since = std::mem::replace(&mut self.now, now);
        if self.shut_down {
            return;
        }
        if now - since > limits::STOOD_STILL {
            self.forgive_links();
        }
        self.presence.set_partial(self.overlay.is_partial());
        if self.presence.on_time(now) >= limits::SLEPT {
            self.each_group(|group, cx| group.wake(cx));
        }
        self.deadline = None;
        match input {
            Input::Timeout => {}
            Input::WallTime(wall) => self.wall = wall,
            Input::LinkUp { link, peer, dialed, address } => {
                self.on_link_up(link, peer, dialed, address.as_ref());
            }
            Input::LinkDown { link, cause } => self.on_link_down(link, cause),
            Input::Frame { link, class, bytes, frame } => self.on_frame(link, class, bytes, frame),
            Input::Rejected { link, class, bytes, reject } => self.on_rejected(link, class, bytes, reject),
            Input::Inbox { group, has_room } => self.on_inbox(group, has_room),
            Input::Written { link, class, bytes } => self.on_written(link, class, bytes),
            Input::Found { peer, addresses } => self.overlay.found(now, peer, addresses),
            Input::DialFailed { peer, refused } => self.on_dial_failed(peer, refused),
            Input::Listening(addresses) => {
                self.addresses = addresses.into_iter().filter(Address::fits).collect();
                self.addresses.truncate(PeerRecord::ADDRESSES_MAX);
                self.overlay.set_record(None);
            }
            Input::Probed { peer, rtt } => self.overlay.probed(now, peer, rtt),
            Input::Persisted(token) => {
                if let Some((group, purpose)) = self.tokens.take(token) {
                    self.with_group(group, |group, cx| group.on_persisted(cx, purpose));
                }
            }
            Input::PersistFailed(token, error) => {
                if self.tokens.fail(now, token) {
                    self.event(Event::StoreFailed { error });
                }
            }
            Input::Fetched(token, answer) => {
                if let Some((group, purpose)) = self.tokens.take(token) {
                    self.with_group(group, |group, cx| group.on_fetched(cx, purpose, answer));
                }
            }
            Input::Command(command) => self.on_command(command),
        }
        if self.shut_down {
            return;
        }
        if self.overlay.is_partial() != std::mem::replace(&mut self.was_partial, self.overlay.is_partial()) {
            self.each_group(|group, cx| group.say_soon(cx));
        }
        if is_due {
            self.on_deadlines();
        }
        self.settle();
    }

    /// The next thing to do, until there is none.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        /// Outputs for which there is room at all times; a burst gives back what it took.
        const USUAL: usize = 16;
        let next = self.out.pop_front();
        if next.is_none() && self.out.capacity() > USUAL {
            self.out.shrink_to(USUAL);
        }
        next
    }

    /// When the engine wants [`Input::Timeout`] at the latest, if nothing else comes before.
    #[must_use]
    pub fn next_deadline(&mut self) -> Option<Timestamp> {
        if self.deadline.is_none() {
            self.deadline = Some(self.find_deadline());
        }
        debug_assert!(Some(self.find_deadline()) == self.deadline, "nothing but an input changes it");
        self.deadline.flatten()
    }

    fn find_deadline(&mut self) -> Option<Timestamp> {
        if self.shut_down {
            return None;
        }
        [
            self.links.next_deadline(),
            self.groups.next_deadline(),
            self.presence.next_deadline(),
            self.overlay.next_deadline(),
            self.tokens.next_deadline(),
            self.neighbourhood.tell_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether a publish in this lane would be taken now. Drafts leave as envelopes are sealed: [`Event::Sealed`].
    pub fn accepts(&mut self, group: GroupId, lane: Lane) -> bool {
        self.groups.get_mut(&group).is_some_and(|group| group.accepts(lane))
    }

    /// Whether all that was published has left: sealed, and written to whoever is linked; and, where all are to be linked
    /// with all, whether no author who is linked with a neighbour is yet to be met and told what is stored of its log. What
    /// nobody is there to hear is not waited for.
    pub fn is_flushed(&self) -> bool {
        let is_here = |author: &PeerId| !self.overlay.observers(author).is_empty();
        let owes = |group: &Group| group.untold_authors(&self.me).any(is_here);
        self.groups.values().all(|group| group.is_flushed())
            && self.links.values().all(|link| link.queued() == 0)
            && (self.overlay.is_partial() || !self.groups.values().any(owes))
    }

    /// What there is to know, for people.
    pub fn status(&self) -> Status {
        let mut groups: Vec<_> = self.groups.values().map(|group| group.status(self.now, self.me)).collect();
        groups.sort_by(|a, b| a.name.cmp(&b.name));
        let peers = self.presence.iter().map(|(peer, state)| {
            let link = self.overlay.link(&peer).and_then(|link| self.links.get(&link));
            PeerStatus {
                peer,
                state,
                link: link.map(|link| link.id),
                rtt: link.and_then(Link::rtt),
                queued: link.map_or(0, Link::queued),
                blame: self.conduct.held_against(self.now, &peer),
                pace: link.map_or(Pace::Prompt, Link::pace),
            }
        });
        Status {
            me: self.me,
            incarnation: self.presence.incarnation(),
            peers: peers.collect(),
            groups,
            counters: self.counters.clone(),
            health: self.presence.health(),
        }
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The overlay as it is now, for people.
    pub fn overlay(&self) -> OverlayStatus {
        self.overlay.status()
    }

    /// The trees of a group as this node knows them, for checkers; none where it is not in the group.
    pub fn trees(&self, group: GroupId) -> Vec<TreeStatus> {
        self.groups.get(&group).map_or_else(Vec::new, |group| group.trees(self.now))
    }

    // Commands.

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Join { key, name } => {
                let id = key.group_id();
                if self.groups.contains_key(&id) {
                    if self.groups.get(&id).is_some_and(|group| group.is_loaded()) {
                        self.event(Event::Joined { group: id });
                    }
                    return;
                }
                if self.groups.len() >= limits::GROUPS_MAX {
                    // Its host says so before it asks.
                    self.counters.add("groups-full", 1);
                    return;
                }
                let ix = self.new_group_ix();
                let group = Box::new(Group::join(&mut self.cx(), key, name, ix));
                self.groups.insert(id, group);
            }
            Command::Leave { group: id } => {
                if let Some(group) = self.groups.remove(&id) {
                    self.overlay.set_record(None);
                    group.leave(&mut self.cx());
                    self.release_credit(&id);
                }
            }
            Command::Publish { group, lane, ttl_secs, draft, ticket } => {
                let known = self.groups.contains_key(&group);
                if known {
                    self.with_group(group, |group, cx| group.publish(cx, lane, ttl_secs, &draft, ticket));
                } else {
                    let reason = "not in this group".to_owned();
                    self.event(Event::Dropped { group, lane, tickets: (ticket, ticket), reason });
                }
            }
            Command::Shutdown => {
                for id in self.groups.keys().copied().collect::<Vec<_>>() {
                    self.with_group(id, |group, cx| group.finish(cx));
                }
                let goodbye = Goodbye { incarnation: self.presence.incarnation() };
                // On every link, also on one of two that were dialled at once and on one that is still greeting:
                // which of them the other side keeps is its affair.
                for link in self.links.keys().copied().collect::<Vec<_>>() {
                    self.cx().send(link, Class::Control, goodbye.clone());
                }
                self.shut_down = true;
            }
        }
    }

    /// A number that no group of ours has.
    fn new_group_ix(&mut self) -> GroupIx {
        loop {
            self.n_groups = self.n_groups.wrapping_add(1);
            if self.groups.values().all(|group| group.ix() != self.n_groups) {
                return self.n_groups;
            }
        }
    }

    // Time.

    fn on_deadlines(&mut self) {
        let now = self.now;
        let mut looked_at = None;
        while let Some(link) = self.links.next_due(now, looked_at) {
            self.look_at_link(link);
            looked_at = Some(link);
        }
        let overlay = &self.overlay;
        self.presence.on_deadline(now, &self.identity, |peer| overlay.observers(peer));
        self.overlay.on_deadline(now);
        for (token, ops) in self.tokens.take_retries(now) {
            self.out.push_back(Output::Persist { token, ops });
        }
        let mut looked_at = None;
        while let Some(id) = self.groups.next_due(now, looked_at) {
            self.with_group(id, |group, cx| group.on_deadline(cx));
            looked_at = Some(id);
        }
        self.tell_peers_if_due();
    }

    /// Whoever was late itself does not hold it against its neighbours that nothing was heard of them.
    fn forgive_links(&mut self) {
        let now = self.now;
        if let Some(due) = self.next_deadline().filter(|due| now - *due > limits::STOOD_STILL) {
            self.links.values_mut().for_each(|link| link.forgive(now, now - due));
        }
    }

    // Facts.

    /// Passes on what the parts want until none wants anything.
    fn settle(&mut self) {
        loop {
            for heard in std::mem::take(&mut self.heard) {
                match heard {
                    Heard::Vote(alert) => {
                        let alert = (*alert).clone();
                        self.presence.alert(self.now, presence::Way::Group, alert, &self.identity);
                    }
                    Heard::Risen(peer, incarnation) => self.presence.risen(self.now, peer, incarnation),
                    Heard::Vain(n_members) => self.presence.voted_in_vain(self.now, n_members),
                    Heard::Joined(_) | Heard::Left(..) | Heard::Repeat(_) => {}
                }
            }
            let (overlay, presence) = (self.overlay.take_facts(), self.presence.take_facts());
            if overlay.is_empty() && presence.is_empty() && self.heard.is_empty() {
                return;
            }
            for fact in overlay {
                match fact {
                    // One that was too slow would be as slow as before; if it wants something, it dials.
                    overlay::Fact::Connect { peer, .. }
                        if self.conduct.is_banned(self.now, &peer)
                            || self.slow_peers.is_shunned(self.now, &peer) =>
                    {
                        let choice = self.choices.next_u32();
                        self.overlay.dial_failed(self.now, peer, choice);
                    }
                    overlay::Fact::Connect { peer, addresses } => {
                        self.out.push_back(Output::Connect { peer, addresses });
                    }
                    overlay::Fact::Disconnect { link, cause } => self.disconnect(link, cause),
                    overlay::Fact::Send { link, frame } => {
                        self.cx().send(link, Class::Control, frame);
                    }
                    overlay::Fact::Part { link, peer, refuse } => {
                        self.cx().send(link, Class::Control, refuse);
                        self.part(link, peer);
                    }
                    overlay::Fact::Probe { peer, addresses } => {
                        self.out.push_back(Output::Probe { peer, addresses });
                    }
                    overlay::Fact::Cover => self.cover_groups(),
                    overlay::Fact::Count(cause) => self.counters.add(cause, 1),
                    overlay::Fact::Retire { link } => {
                        if let Some(link) = self.links.get_mut(&link) {
                            link.retire(self.now);
                        }
                    }
                }
            }
            for fact in presence {
                self.on_presence_fact(fact);
            }
        }
    }

    fn on_presence_fact(&mut self, fact: presence::Fact) {
        match fact {
            presence::Fact::Changed { peer, state, cause } => {
                tracing::debug!(peer = %peer.short(), state = state.name(), cause = cause.name(), "presence");
                self.event(Event::Presence { peer, state, cause });
                match state {
                    PresenceState::Gone => self.each_group(|group, cx| group.peer_gone(cx, &peer, cause)),
                    PresenceState::Alive => self.each_group(|group, cx| group.peer_seen(cx, &peer)),
                    _ => {}
                }
            }
            presence::Fact::Broadcast(frame) => self.broadcast(&frame),
            presence::Fact::Spread { frame, from } => self.spread(&frame, Some(from)),
            presence::Fact::Tell(peer, frame) => {
                if let Some(link) = self.overlay.link(&peer) {
                    self.cx().send(link, Class::Control, frame);
                }
            }
            presence::Fact::Ask(peer) => {
                let link = self.overlay.link(&peer).and_then(|link| self.links.get_mut(&link));
                if let Some(link) = link {
                    let (id, beat) = (link.id, link.beat(self.now, true));
                    self.cx().send(id, Class::Control, beat);
                }
            }
            presence::Fact::Unlink(peer) => {
                if let Some(link) = self.overlay.link(&peer) {
                    self.disconnect(link, CloseCause::Silent);
                }
            }
        }
    }

    /// Tells everybody whom it concerns: through the groups where not everybody is a neighbour.
    fn broadcast(&mut self, frame: &Frame) {
        let is_partial = self.overlay.is_partial();
        let mut is_told = false;
        match frame {
            // Who shares no group with us is told as well. After a cut this node may take the few it is linked to for
            // all there are, while others have it on their lists.
            Frame::Alive(alive) if alive.peer == self.me => self.each_group(Group::speak_up),
            Frame::Alert(alert) if is_partial => {
                self.each_group(|group, cx| is_told |= group.accuse(cx, alert))
            }
            // Those who count votes have them.
            Frame::Gone(gone) if is_partial => {
                let target = gone.alerts.first().map(|alert| alert.target);
                let is_member = |group: &Group| target.is_some_and(|peer| group.is_member(&peer));
                is_told = self.groups.values().any(is_member);
            }
            _ => {}
        }
        if !is_told {
            self.spread(frame, None);
        }
    }

    fn each_group(&mut self, mut f: impl FnMut(&mut Group, &mut Ctx<'_>)) {
        for id in self.groups.keys().copied().collect::<Vec<_>>() {
            self.with_group(id, &mut f);
        }
    }

    /// Sends to every neighbour but the one it came from.
    fn spread(&mut self, frame: &Frame, from: Option<PeerId>) {
        let neighbours = self.overlay.neighbours().map(|(peer, _)| peer);
        for peer in neighbours.filter(|peer| from != Some(*peer)).collect::<Vec<_>>() {
            let Some(link) = self.overlay.link(&peer) else {
                continue;
            };
            if self.links.get(&link).is_some_and(|state| state.hello.is_some()) {
                self.cx().send(link, Class::Control, frame.clone());
            }
        }
    }

    fn event(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    fn cx(&mut self) -> Ctx<'_> {
        ctx_of!(self)
    }

    fn with_group(&mut self, id: GroupId, f: impl FnOnce(&mut Group, &mut Ctx<'_>)) {
        if let Some(group) = self.groups.get_mut(&id) {
            f(group, &mut ctx_of!(self));
        }
    }
}

#[cfg(test)]
mod tests;
