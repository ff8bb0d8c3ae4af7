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
//! `now` never goes back. No clock is read, nothing waits, nothing is random but the seed and the secrets that
//! came in. A peer's mistakes are counted and end in [`Output::Disconnect`]; our own are assertions.

use std::collections::BTreeMap;

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::crypto::Identity;
use crate::group::{Ctx, Group, Tokens};
use crate::id::{GroupId, Incarnation, Lane, LinkId, PeerId};
use crate::io::{
    Command, Counters, Event, Input, LinkEnd, Outbox, Output, PeerStatus, PresenceCause, Secrets, Status,
};
use crate::limits;
use crate::link::Link;
use crate::overlay::{self, Overlay};
use crate::presence::{self, Presence};
use crate::time::{Duration, Hlc, Timestamp, WallTime};
use crate::wire::frame::{
    self, Address, Alive, Checked, CheckedFrame, Class, Digest, Frame, Goodbye, Hello, Peers, Roots,
    Subscribe,
};

/// What an engine is told once.
pub struct Config {
    /// Keeps meshes apart; the first 8 bytes of the hash of the network's name.
    pub network: [u8; 8],
    /// Of this run: higher than that of any run before.
    pub incarnation: Incarnation,
    /// For choices that make no difference to anybody but are to be the same in a replay.
    pub seed: u64,
}

/// Neighbours are told of a changed neighbourhood at most this often.
const PEERS_DELAY: Duration = Duration::from_millis(250);

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
    links: BTreeMap<LinkId, Link>,
    overlay: Overlay,
    presence: Presence,
    groups: BTreeMap<GroupId, Box<Group>>,
    n_groups: u16,
    tokens: Tokens,
    counters: Counters,
    addresses: Vec<Address>,
    tell_peers_at: Option<Timestamp>,
    shut_down: bool,
    is_restored: bool,
}

impl Engine {
    /// An engine that knows nobody. `secrets` fills salts and nonces.
    pub fn new(config: Config, identity: Identity, secrets: Box<dyn Secrets>) -> Self {
        let me = identity.peer_id();
        Self {
            choices: Xoshiro256PlusPlus::seed_from_u64(config.seed),
            presence: Presence::new(me, config.incarnation),
            config,
            identity,
            me,
            secrets,
            now: Timestamp::ZERO,
            wall: WallTime::default(),
            hlc: Hlc::default(),
            out: Outbox::new(),
            links: BTreeMap::new(),
            overlay: Overlay::new(me),
            groups: BTreeMap::new(),
            n_groups: 0,
            tokens: Tokens::default(),
            counters: Counters::default(),
            addresses: Vec::new(),
            tell_peers_at: None,
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
        self.now = now;
        if self.shut_down {
            return;
        }
        self.presence.on_time(now);
        match input {
            Input::Timeout => {}
            Input::WallTime(wall) => self.wall = wall,
            Input::LinkUp { link, peer, dialed } => self.on_link_up(link, peer, dialed),
            Input::LinkDown { link, cause } => self.on_link_down(link, cause),
            Input::Frame { link, frame } => self.on_frame(link, frame),
            Input::Rejected { link, reject } => {
                tracing::debug!(link = link.0, %reject, "frame refused");
                self.counters.add(reject.cause(), 1);
                self.on_bad_frame(link);
            }
            Input::Written { link, class, bytes } => self.on_written(link, class, bytes),
            Input::Found { peer, addresses } => self.overlay.found(now, peer, addresses),
            Input::DialFailed { peer, refused } => self.on_dial_failed(peer, refused),
            Input::Listening(addresses) => {
                self.addresses = addresses;
                self.addresses.truncate(Hello::ADDRESSES_MAX);
            }
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
        if self.next_deadline().is_some_and(|at| at <= now) {
            self.on_deadlines();
        }
        self.settle();
    }

    /// The next thing to do, until there is none.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When the engine wants [`Input::Timeout`] at the latest, if nothing else comes before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        if self.shut_down {
            return None;
        }
        let links = self.links.values().filter_map(Link::next_deadline);
        let groups = self.groups.values().filter_map(|group| group.next_deadline());
        [
            self.presence.next_deadline(),
            self.overlay.next_deadline(),
            self.tokens.next_deadline(),
            self.tell_peers_at,
        ]
        .into_iter()
        .flatten()
        .chain(links)
        .chain(groups)
        .min()
    }

    /// Whether a publish in this lane would be taken now. Drafts leave as envelopes are sealed: [`Event::Sealed`].
    pub fn accepts(&mut self, group: GroupId, lane: Lane) -> bool {
        self.groups.get_mut(&group).is_some_and(|group| group.accepts(lane))
    }

    /// What there is to know, for people.
    pub fn status(&self) -> Status {
        let mut groups: Vec<_> = self.groups.values().map(|group| group.status()).collect();
        groups.sort_by(|a, b| a.name.cmp(&b.name));
        let peers = self.presence.iter().map(|(peer, state)| {
            let link = self.overlay.link(&peer).and_then(|link| self.links.get(&link));
            PeerStatus {
                peer,
                state,
                link: link.map(|link| link.id),
                rtt: link.and_then(Link::rtt),
                queued: link.map_or(0, Link::queued),
                full_since: link.and_then(Link::full_since),
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
                    self.event(Event::StoreFailed {
                        error: format!("a node can be in {} groups", limits::GROUPS_MAX),
                    });
                    return;
                }
                self.n_groups = self.n_groups.wrapping_add(1);
                let ix = self.n_groups;
                let group = Box::new(Group::join(&mut self.cx(), key, name, ix));
                self.groups.insert(id, group);
            }
            Command::Leave { group } => {
                if let Some(group) = self.groups.remove(&group) {
                    group.leave(&mut self.cx());
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

    // Links.

    fn on_link_up(&mut self, link: LinkId, peer: PeerId, dialed: bool) {
        let mut nonce = [0; 16];
        self.secrets.fill(&mut nonce);
        self.links.insert(link, Link::new(self.now, link, peer, dialed, nonce));
        self.overlay.link_up(self.now, link, peer, dialed);
        let hello = Hello {
            min: frame::VERSION_MIN,
            max: frame::VERSION_MAX,
            features: 0,
            network: self.config.network,
            nonce,
            incarnation: self.presence.incarnation(),
            addresses: self.addresses.clone(),
        };
        self.cx().send(link, Class::Control, hello);
    }

    fn on_link_down(&mut self, link: LinkId, cause: LinkEnd) {
        let Some(state) = self.links.remove(&link) else {
            return;
        };
        let peer = state.peer;
        let choice = self.choices.next_u32();
        let last = self.overlay.link_down(self.now, link, peer, choice);
        if last {
            let observers = self.overlay.observers(&peer);
            self.presence.unlinked(self.now, peer, cause, observers);
            self.tell_peers_soon();
        }
        // Who died while it was sending has told only some of us; what was under way on a link is lost with it.
        self.compare_soon();
        let cause = match cause {
            LinkEnd::Reset => PresenceCause::Reset,
            LinkEnd::Silent | LinkEnd::Closed => PresenceCause::Silent,
        };
        for id in self.groups.keys().copied().collect::<Vec<_>>() {
            self.with_group(id, |group, cx| group.member_down(cx, link, Some(cause)));
        }
    }

    fn on_dial_failed(&mut self, peer: PeerId, refused: bool) {
        let choice = self.choices.next_u32();
        self.overlay.dial_failed(self.now, peer, choice);
        if refused {
            self.counters.add("dial-refused", 1);
        } else {
            self.counters.add("dial-failed", 1);
        }
    }

    fn on_written(&mut self, link: LinkId, class: Class, bytes: usize) {
        let freed = self.links.get_mut(&link).is_some_and(|state| state.on_written(class, bytes));
        if freed {
            self.pump_groups();
        }
    }

    fn pump_groups(&mut self) {
        for id in self.groups.keys().copied().collect::<Vec<_>>() {
            self.with_group(id, |group, cx| group.pump(cx));
        }
    }

    fn on_bad_frame(&mut self, link: LinkId) {
        if self.links.get_mut(&link).is_some_and(Link::bad_frame) {
            self.disconnect(link, "too many bad frames");
        }
    }

    fn disconnect(&mut self, link: LinkId, cause: &'static str) {
        if self.links.get_mut(&link).is_some_and(Link::close) {
            self.out.push_back(Output::Disconnect { link, cause });
        }
    }

    // Frames.

    fn on_frame(&mut self, link: LinkId, frame: CheckedFrame) {
        let Some(state) = self.links.get(&link) else {
            return;
        };
        let (peer, greeted) = (state.peer, state.hello.is_some());
        if state.is_closing() && !greeted {
            return;
        }
        match frame.0 {
            Checked::Talk(Frame::Hello(hello)) => return self.on_hello(link, peer, hello),
            _ if !greeted => return self.disconnect(link, "spoke before HELLO"),
            _ => self.presence.heard(self.now, peer),
        }
        match frame.0 {
            Checked::Skipped => self.counters.add("skipped", 1),
            Checked::Data { group, envelope } => {
                let tag = envelope.header().topic_tag;
                self.with_shared(link, group, |group, cx| {
                    if group.topic_tag() == tag { group.on_envelope(cx, link, *envelope) } else { Err(()) }
                });
            }
            Checked::Seen { group, envelope } => {
                let tag = envelope.header().topic_tag;
                self.with_shared(link, group, |group, cx| {
                    if group.topic_tag() == tag { group.on_seen(cx, link, *envelope) } else { Err(()) }
                });
            }
            Checked::Talk(talk) => self.on_talk(link, peer, talk),
        }
    }

    fn on_talk(&mut self, link: LinkId, peer: PeerId, talk: Frame) {
        match talk {
            Frame::Subscribe(subscribe) => self.on_subscribe(link, &subscribe),
            Frame::Unsubscribe(unsubscribe) => {
                let group = self.links.get_mut(&link).and_then(|state| state.unshare(unsubscribe.group));
                if let Some(group) = group {
                    self.with_group(group, |group, cx| {
                        group.member_down(cx, link, Some(PresenceCause::Left));
                    });
                }
            }
            Frame::Beat(beat) => {
                let Some(state) = self.links.get_mut(&link) else {
                    return;
                };
                state.on_beat(self.now, &beat);
                if beat.ask {
                    let answer = state.beat(self.now, false);
                    self.cx().send(link, Class::Control, answer);
                }
            }
            Frame::Goodbye(_) => self.on_goodbye(link, peer),
            Frame::Alert(alert) => self.presence.alert(self.now, alert, &self.identity),
            Frame::Alive(alive) => self.presence.alive(self.now, alive),
            Frame::Gone(gone) => self.presence.gone(self.now, gone, &self.identity),
            Frame::Peers(peers) => {
                if let Some(state) = self.links.get_mut(&link) {
                    state.neighbours = peers.peers.iter().map(|(neighbour, _)| *neighbour).collect();
                }
                self.overlay.neighbours_of(self.now, peer, peers.peers);
            }
            Frame::Digest(digest) => self.on_digest(link, &digest),
            Frame::Roots(roots) => self.on_roots(link, &roots),
            Frame::Clock(clock) => self.with_shared(link, clock.group, |group, cx| {
                group.on_clock(cx, link, &clock);
                Ok(())
            }),
            Frame::Announce(announce) => self.with_shared(link, announce.group, |group, cx| {
                group.on_announce(cx, link, &announce);
                Ok(())
            }),
            Frame::Want(want) => self.with_shared(link, want.group, |group, cx| {
                group.on_want(cx, link, want);
                Ok(())
            }),
            Frame::Served(served) => self.with_shared(link, served.group, |group, cx| {
                group.on_served(cx, link, &served);
                Ok(())
            }),
            Frame::Prune(prune) => self.with_shared(link, prune.group, |group, _| {
                group.on_prune(link, &prune);
                Ok(())
            }),
            Frame::Stored(stored) => self.with_shared(link, stored.group, |group, cx| {
                group.on_stored(cx, link, &stored);
                Ok(())
            }),
            // `check` makes these into other variants.
            Frame::Hello(_) | Frame::Data { .. } => self.on_bad_frame(link),
        }
    }

    /// A run has ended, on all its links. What a former run still says does not count.
    fn on_goodbye(&mut self, link: LinkId, peer: PeerId) {
        let run = |link: &Link| link.hello.as_ref().map(|hello| hello.incarnation);
        let said_by = self.links.get(&link).and_then(run);
        let to_peer = self.links.values().filter(|other| other.peer == peer);
        let (ended, newer): (Vec<&Link>, Vec<&Link>) = to_peer.partition(|other| run(other) <= said_by);
        let (ended, lives_on) = (ended.iter().map(|link| link.id).collect::<Vec<_>>(), !newer.is_empty());
        if !lives_on {
            self.presence.goodbye(self.now, peer);
            self.overlay.forget(&peer);
        }
        let cause = if lives_on { PresenceCause::Silent } else { PresenceCause::Goodbye };
        for link in ended {
            for id in self.groups.keys().copied().collect::<Vec<_>>() {
                self.with_group(id, |group, cx| group.member_down(cx, link, Some(cause)));
            }
            self.disconnect(link, "goodbye");
        }
    }

    fn on_hello(&mut self, link: LinkId, peer: PeerId, hello: Hello) {
        if hello.network != self.config.network {
            self.counters.add("wrong-network", 1);
            self.overlay.forget(&peer);
            return self.disconnect(link, "another network");
        }
        if hello.min > frame::VERSION_MAX || hello.max < frame::VERSION_MIN {
            self.counters.add("version", 1);
            self.overlay.forget(&peer);
            return self.disconnect(link, "no common version");
        }
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        if state.hello.is_some() || state.is_closing() {
            return self.on_bad_frame(link);
        }
        let (incarnation, addresses) = (hello.incarnation, hello.addresses.clone());
        state.hello = Some(hello);
        self.presence.greeted(self.now, peer, incarnation, &self.identity);
        self.overlay.told(self.now, peer, addresses);
        // A vote against us may have made the rounds while we were away.
        if self.presence.incarnation() > self.config.incarnation {
            let alive = Alive::new(self.presence.incarnation(), &self.identity);
            self.cx().send(link, Class::Control, alive);
        }
        self.tell_peers_soon();
        for id in self.groups.keys().copied().collect::<Vec<_>>() {
            self.with_group(id, |group, cx| group.subscribe(cx, link));
        }
    }

    fn on_subscribe(&mut self, link: LinkId, subscribe: &Subscribe) {
        let Some(state) = self.links.get(&link) else {
            return;
        };
        let me = self.me;
        let proven = self.groups.iter().find(|(_, group)| group.is_proven(&me, state, &subscribe.proof));
        match proven.map(|(id, _)| *id) {
            Some(id) => self.with_group(id, |group, cx| {
                group.member_up(cx, link, subscribe.group, subscribe.proof);
            }),
            None => {
                let Some(state) = self.links.get_mut(&link) else {
                    return;
                };
                if !state.keep_unmatched(subscribe.group, subscribe.proof) {
                    self.on_bad_frame(link);
                }
            }
        }
    }

    /// Runs `f` on the group behind a neighbour's number. An unknown number is talk that crossed a leave; an
    /// `Err` is a bad frame.
    fn with_shared(
        &mut self,
        link: LinkId,
        theirs: frame::GroupIx,
        f: impl FnOnce(&mut Group, &mut Ctx<'_>) -> Result<(), ()>,
    ) {
        let Some(id) = self.links.get(&link).and_then(|state| state.group(theirs)) else {
            return self.counters.add("unknown-group", 1);
        };
        let mut verdict = Ok(());
        self.with_group(id, |group, cx| verdict = f(group, cx));
        if verdict.is_err() {
            self.counters.add("bad-envelope", 1);
            self.on_bad_frame(link);
        }
    }

    // Digests.

    /// A hash over the roots of all groups that both share, in the order of their tags.
    fn combined_root(&mut self, link: LinkId) -> Option<[u8; 32]> {
        let state = self.links.get(&link)?;
        let mut shared: Vec<GroupId> = state.shared_groups().collect();
        shared.sort_by_key(|id| self.groups.get(id).map(|group| group.topic_tag()));
        let mut hasher = blake3::Hasher::new();
        for id in shared {
            let group = self.groups.get_mut(&id)?;
            hasher.update(&group.topic_tag().0);
            hasher.update(&group.root());
        }
        Some(*hasher.finalize().as_bytes())
    }

    fn on_digest(&mut self, link: LinkId, digest: &Digest) {
        let ours = self.combined_root(link);
        let jitter = self.choices.next_u32() % 256;
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        if ours == Some(digest.root) {
            state.digest_equal();
            state.schedule_digest(self.now, jitter);
            return;
        }
        state.digest_differs();
        state.schedule_digest(self.now, jitter);
        let shared: Vec<GroupId> = state.shared_groups().collect();
        let mut roots = Vec::with_capacity(shared.len());
        for id in shared {
            if let Some(group) = self.groups.get_mut(&id) {
                roots.push((group.ix(), group.root()));
            }
        }
        self.cx().send(link, Class::Control, Roots { roots });
    }

    /// Logs may differ: neighbours are asked again at the shortest pause.
    fn compare_soon(&mut self) {
        for link in self.links.values_mut().filter(|link| link.digest_at.is_some()) {
            let jitter = self.choices.next_u32() % 1024;
            link.digest_differs();
            link.schedule_digest(self.now, jitter);
        }
    }

    fn on_roots(&mut self, link: LinkId, roots: &Roots) {
        let jitter = self.choices.next_u32() % 256;
        if let Some(state) = self.links.get_mut(&link) {
            state.digest_differs();
            state.schedule_digest(self.now, jitter);
        }
        for (theirs, root) in &roots.roots {
            self.with_shared(link, *theirs, |group, cx| {
                if group.root() != *root {
                    group.send_clock(cx, link, true);
                }
                Ok(())
            });
        }
    }

    // Time.

    fn on_deadlines(&mut self) {
        let now = self.now;
        for link in self.links.values().map(|link| link.id).collect::<Vec<_>>() {
            self.look_at_link(link);
        }
        let overlay = &self.overlay;
        self.presence.on_deadline(now, &self.identity, |peer| overlay.observers(peer));
        self.overlay.on_deadline(now);
        for (token, ops) in self.tokens.take_retries(now) {
            self.out.push_back(Output::Persist { token, ops });
        }
        let due: Vec<GroupId> = self
            .groups
            .iter()
            .filter(|(_, group)| group.next_deadline().is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.with_group(id, |group, cx| group.on_deadline(cx));
        }
        if self.tell_peers_at.is_some_and(|at| at <= now) {
            self.tell_peers_at = None;
            self.tell_peers();
        }
    }

    fn look_at_link(&mut self, id: LinkId) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if link.next_deadline().is_none_or(|at| at > now) {
            return;
        }
        if link.is_mute(now) {
            return self.disconnect(id, "no HELLO");
        }
        if link.has_retired(now) {
            return self.disconnect(id, "duplicate link");
        }
        if link.lose_patience(now) {
            self.counters.add("passed-over", 1);
            self.pump_groups();
        }
        let Some(link) = self.links.get(&id) else { return };
        if link.digest_at.is_some_and(|at| at <= now) {
            let is_shared = link.shared_groups().next().is_some();
            let root = self.combined_root(id).filter(|_| is_shared);
            let jitter = self.choices.next_u32() % 256;
            if let Some(link) = self.links.get_mut(&id) {
                link.digest_at = None;
                if is_shared {
                    // The other side says so if it differs.
                    link.digest_equal();
                    link.schedule_digest(now, jitter);
                }
            }
            if let Some(root) = root {
                self.cx().send(id, Class::Control, Digest { root });
            }
        }
        let Some(link) = self.links.get(&id) else { return };
        if link.wants_beat(now) {
            let beat = link.beat(now, false);
            self.cx().send(id, Class::Control, beat);
        }
    }

    fn tell_peers_soon(&mut self) {
        self.tell_peers_at.get_or_insert(self.now + PEERS_DELAY);
    }

    /// Tells every neighbour whom else we are linked to.
    fn tell_peers(&mut self) {
        let is_greeted = |peer: &PeerId| {
            let link = self.overlay.link(peer).and_then(|link| self.links.get(&link));
            link.is_some_and(|link| link.hello.is_some())
        };
        let neighbours: Vec<(PeerId, Vec<Address>)> = self
            .overlay
            .neighbours()
            .filter(|(peer, _)| is_greeted(peer))
            .map(|(peer, addresses)| (peer, addresses.to_vec()))
            .collect();
        for (peer, _) in &neighbours {
            let Some(link) = self.overlay.link(peer) else {
                continue;
            };
            let peers: Vec<_> = neighbours.iter().filter(|(other, _)| other != peer).cloned().collect();
            self.cx().send(link, Class::Control, Peers { peers });
        }
    }

    // Facts.

    /// Passes on what the parts want until none wants anything.
    fn settle(&mut self) {
        loop {
            let (overlay, presence) = (self.overlay.take_facts(), self.presence.take_facts());
            if overlay.is_empty() && presence.is_empty() {
                return;
            }
            for fact in overlay {
                match fact {
                    overlay::Fact::Connect { peer, addresses } => {
                        self.out.push_back(Output::Connect { peer, addresses });
                    }
                    overlay::Fact::Disconnect { link, cause } => self.disconnect(link, cause),
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
            }
            presence::Fact::Broadcast(frame) => self.broadcast(&frame),
            presence::Fact::Tell(peer, frame) => {
                if let Some(link) = self.overlay.link(&peer) {
                    self.cx().send(link, Class::Control, frame);
                }
            }
            presence::Fact::Ask(peer) => {
                let link = self.overlay.link(&peer).and_then(|link| self.links.get(&link));
                if let Some(link) = link {
                    let (id, beat) = (link.id, link.beat(self.now, true));
                    self.cx().send(id, Class::Control, beat);
                }
            }
            presence::Fact::Unlink(peer) => {
                if let Some(link) = self.overlay.link(&peer) {
                    self.disconnect(link, "silent");
                }
            }
        }
    }

    fn broadcast(&mut self, frame: &Frame) {
        for (peer, _) in self.overlay.neighbours().map(|(peer, _)| (peer, ())).collect::<Vec<_>>() {
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
        Ctx {
            now: self.now,
            wall: self.wall,
            identity: &self.identity,
            me: self.me,
            secrets: &mut *self.secrets,
            hlc: &mut self.hlc,
            links: &mut self.links,
            out: &mut self.out,
            counters: &mut self.counters,
            tokens: &mut self.tokens,
            is_restored: self.is_restored,
        }
    }

    fn with_group(&mut self, id: GroupId, f: impl FnOnce(&mut Group, &mut Ctx<'_>)) {
        // Taken out of the map so that the group and what it may touch are borrowed apart.
        if let Some(mut group) = self.groups.remove(&id) {
            f(&mut group, &mut self.cx());
            self.groups.insert(id, group);
        }
    }
}

#[cfg(test)]
mod tests;
