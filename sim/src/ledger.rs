//! What was published, who got it and when, and what must never be: the checkers that look at every event.

mod deliveries;
mod doubts;
mod stop;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use djembe_protocol::id::{GroupId, Lane, LogId, PeerId, Seq};
use djembe_protocol::io::{Event, Pace, PresenceCause, PresenceState};
use djembe_protocol::time::Timestamp;

pub use self::stop::Stop;
use crate::bits::NodeSet;
use crate::meter::{Doubts, Word};
use crate::topology::NodeIx;

/// After a fault nodes may be wrong about each other for so long.
pub const PRESENCE_GRACE: Duration = Duration::from_secs(10);
/// Violations that are kept.
const VIOLATIONS_MAX: usize = 100;
/// Nodes that die within so long of each other may look like a cut.
const TOGETHER: Duration = Duration::from_secs(10);
/// One mistake about a node is told by many, one after the other.
const BURIED_ANEW: Duration = Duration::from_secs(60);

/// Something that must never be.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Violation {
    /// When, in virtual microseconds.
    pub at: u64,
    /// At which node.
    pub node: NodeIx,
    /// Which checker.
    pub check: &'static str,
    /// What.
    pub text: String,
}

/// A message.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Who published it.
    pub author: NodeIx,
    /// In which group.
    pub group: GroupId,
    /// In which lane.
    pub lane: Lane,
    /// When.
    pub at: Timestamp,
    /// Bytes of content.
    pub size: usize,
    /// It left its author: from now on it may not be lost.
    pub is_sealed: bool,
    /// The engine said that it will never leave, or its author crashed before it could.
    pub is_lost: bool,
    /// Who was there to hear it when it was published.
    pub expected: NodeSet,
    /// Who got it.
    pub delivered: NodeSet,
    /// Who got it in its present run.
    this_run: NodeSet,
    /// How long it would have taken at best to 99 % of them over the links that stood, in milliseconds; zero if that
    /// was not worked out.
    pub best_p99: f64,
    /// And to the last of them, in microseconds.
    pub best_full: u64,
    /// How long it took to each node but the author that has run since it was published, in microseconds, in the order
    /// of arrival.
    pub latencies: Vec<u64>,
    /// Those of them to nodes that stand still some time.
    pub struck: Vec<u64>,
}

/// The other side of every checker: what is known to be true.
#[derive(Debug, Default)]
pub struct Ledger {
    peers: Vec<PeerId>,
    /// Who has a key: one node but for clones.
    by_peer: BTreeMap<PeerId, Vec<NodeIx>>,
    /// Who is in a group.
    in_group: BTreeMap<GroupId, NodeSet>,
    /// All honest nodes. What others publish is not in these books.
    honest: BTreeSet<PeerId>,
    /// Messages are those of applications, and have no number in these books.
    pub(crate) has_apps: bool,
    /// Messages of others that were delivered.
    pub n_foreign: u64,
    /// All messages, by number; the number is the message's content.
    pub messages: Vec<Sent>,
    /// In the order of the tickets, each with its message's number; applications have tickets of the same row.
    tickets: BTreeMap<(NodeIx, GroupId, Lane), Vec<(u64, usize)>>,
    /// Time from publish to delivery, in microseconds, of all messages.
    pub latencies: Vec<u64>,
    /// First deliveries of an envelope at another node than its author.
    pub n_envelopes: u64,
    /// Arrivals of an envelope anywhere.
    pub n_copies: u64,
    /// Bytes of content delivered at other nodes than the author.
    pub payload: u64,
    /// Bytes of the envelopes of these, each delivered once.
    pub sealed: u64,
    /// Publishes that found no room.
    pub n_refused: u64,
    /// Nodes declared gone that were there, outside the grace after a fault.
    pub n_false_alarms: u64,
    /// Members that were taken off a list though they were there.
    pub n_members_missed: u64,
    /// Times that somebody who was there was declared gone, by however many.
    pub n_buried: u64,
    buried: BTreeMap<PeerId, Timestamp>,
    /// Nodes declared gone that came back in the same run, without a goodbye: whoever watched saw them flap.
    pub n_flaps: u64,
    /// Nodes that stand still some time.
    pub struck: NodeSet,
    /// Bytes that waited for one link of a node, as far as it was looked at: the most.
    pub queue_max: usize,
    /// When what an envelope holds was published: nobody had it before.
    published: BTreeMap<(NodeIx, Lane, Seq), Timestamp>,
    disturbed: Vec<Timestamp>,
    /// Who is doubted by how many at present.
    doubts: Doubts,
    /// When each node was started last.
    started: Vec<Timestamp>,
    /// What each node sees, or saw.
    sights: Vec<Sight>,
    /// When a node first said that another is gone, since the other last changed.
    pub gone_at: BTreeMap<(NodeIx, PeerId), Timestamp>,
    /// Who died when and has not been started again.
    deaths: BTreeMap<NodeIx, Timestamp>,
    /// Everything that must never be and was.
    pub violations: Vec<Violation>,
    /// How many there were in all.
    pub n_violations: u64,
    /// Which of them ends the run.
    stop: Stop,
    /// Other events of note, by node: forks, clones, gaps, store failures, drops.
    pub notes: Vec<(Timestamp, NodeIx, String)>,
    /// What nodes said of neighbours that lag: when, who, of whom.
    pub paces: Vec<(Timestamp, NodeIx, PeerId, Pace)>,
    /// Members that a node saw going, and coming back in the same run without having stopped or left.
    pub n_member_flaps: u64,
}

/// What one node has told its applications in its present run. Peers are named by the number of their node: everybody
/// sees everybody go.
#[derive(Debug, Default)]
struct Sight {
    /// What it delivered last of each log, where there are applications.
    last: BTreeMap<(GroupId, LogId), Seq>,
    /// What it last said of each peer.
    presence: BTreeMap<u32, Said>,
    /// Whom it sees in a group.
    members: BTreeMap<GroupId, NodeSet>,
    /// Which members it has seen going.
    left: NodeSet,
    /// And when, if it was no leaving.
    went: BTreeMap<GroupId, BTreeMap<u32, Timestamp>>,
}

/// What a node says of another, why, and since when.
pub type Said = (PresenceState, PresenceCause, Timestamp);

impl Ledger {
    pub(crate) fn add_node(&mut self, peer: PeerId) {
        self.by_peer.entry(peer).or_default().push(self.peers.len());
        self.peers.push(peer);
        self.honest.insert(peer);
        self.disturbed.push(Timestamp::ZERO);
        self.started.push(Timestamp::ZERO);
        self.sights.push(Sight::default());
    }

    pub(crate) fn add_member(&mut self, node: NodeIx, group: GroupId) {
        self.in_group.entry(group).or_default().insert(node);
    }

    /// Of each node that died and stayed dead, how long each of these others took to know, in microseconds; none for one
    /// that does not. It knows if it says that the node is gone, or has seen it leave a group.
    pub fn deaths_known(&self, others: &[NodeIx]) -> Vec<Vec<Option<u64>>> {
        let known = |died: NodeIx, at: Timestamp| {
            let peer = self.peers[died];
            let short = self.short(&peer);
            let took = |node: NodeIx| {
                let gone = self.gone_at.get(&(node, peer)).copied();
                let left = self.sights[node].went.values().filter_map(|went| went.get(&short)).copied().min();
                let first = gone.into_iter().chain(left).filter(|known| *known >= at).min();
                first.map(|known| (known - at).as_micros() as u64)
            };
            let others = others.iter().filter(|node| **node != died && self.started[**node] <= at);
            others.map(|node| took(*node)).collect()
        };
        self.deaths.iter().map(|(node, at)| known(*node, *at)).collect()
    }

    /// When the last node died and stayed dead within [`TOGETHER`] of another.
    pub(crate) fn died_together_at(&self) -> Option<Timestamp> {
        let mut times: Vec<Timestamp> = self.deaths.values().copied().collect();
        times.sort_unstable();
        times.windows(2).rev().find(|pair| pair[1] - pair[0] <= TOGETHER).map(|pair| pair[1])
    }

    /// The nodes that have a key.
    pub fn nodes_of(&self, peer: &PeerId) -> &[NodeIx] {
        self.by_peer.get(peer).map_or(&[], Vec::as_slice)
    }

    /// What stands for a peer where there are many of them.
    fn short(&self, peer: &PeerId) -> u32 {
        self.nodes_of(peer).first().and_then(|node| u32::try_from(*node).ok()).unwrap_or(u32::MAX)
    }

    /// Whether an author is a node that is no attacker.
    pub fn is_honest(&self, author: &PeerId) -> bool {
        self.honest.contains(author)
    }

    pub(crate) fn set_hostile(&mut self, node: NodeIx) {
        self.honest.remove(&self.peers[node]);
    }

    pub(crate) fn on_start(&mut self, now: Timestamp, node: NodeIx) {
        self.on_disturbed(now, node);
        self.started[node] = now;
        self.deaths.remove(&node);
        let peer = self.peers[node];
        self.gone_at.retain(|(_, gone), _| *gone != peer);
    }

    /// A fault touched a node: what others say of it is not held against them for a while.
    pub(crate) fn on_disturbed(&mut self, now: Timestamp, node: NodeIx) {
        self.disturbed[node] = now;
    }

    pub(crate) fn on_crash(&mut self, now: Timestamp, node: NodeIx) {
        self.on_disturbed(now, node);
        self.deaths.insert(node, now);
        for message in &mut self.messages {
            message.this_run.remove(node);
        }
        self.forget_words_of(node);
        self.sights[node] = Sight::default();
        let peer = self.peers[node];
        self.gone_at.retain(|(of, gone), _| *of != node && *gone != peer);
        for message in self.messages.iter_mut().filter(|sent| sent.author == node) {
            message.is_lost |= !message.is_sealed;
        }
    }

    /// A message is about to be published with this ticket: its number and its content.
    pub(crate) fn on_publish(
        &mut self,
        now: Timestamp,
        author: NodeIx,
        group: GroupId,
        (lane, ticket): (Lane, u64),
        size: usize,
        expected: NodeSet,
    ) -> (usize, Bytes) {
        let number = self.messages.len();
        let mut content = vec![0; size.max(8)];
        content[..8].copy_from_slice(&(number as u64).to_le_bytes());
        self.messages.push(Sent {
            author,
            group,
            lane,
            at: now,
            size: content.len(),
            is_sealed: false,
            is_lost: false,
            expected,
            delivered: NodeSet::default(),
            this_run: NodeSet::default(),
            best_p99: 0.0,
            best_full: 0,
            latencies: Vec::new(),
            struck: Vec::new(),
        });
        self.tickets.entry((author, group, lane)).or_default().push((ticket, number));
        (number, content.into())
    }

    pub(crate) fn on_event(&mut self, now: Timestamp, node: NodeIx, event: Event) {
        match event {
            Event::Delivered(delivered) => self.on_delivered(now, node, &delivered),
            Event::Sealed { group, lane, tickets, seq, .. } => {
                self.each_ticket(node, group, lane, tickets, |sent| sent.is_sealed = true);
                self.on_sealed((node, lane, seq), group, tickets.0);
            }
            Event::Dropped { group, lane, tickets, reason } => {
                self.each_ticket(node, group, lane, tickets, |sent| sent.is_lost = true);
                self.notes.push((now, node, format!("dropped: {reason}")));
            }
            Event::MemberJoined { group, peer } => {
                let (first, short) = (self.nodes_of(&peer).first().copied(), self.short(&peer));
                let sight = &mut self.sights[node];
                if let Some(member) = first {
                    sight.members.entry(group).or_default().insert(member);
                }
                let went = sight.went.get_mut(&group).and_then(|went| went.remove(&short));
                self.doubts.change(short, went.map(|_| Word::Gone), None);
                let started = first.map(|member| self.started[member]);
                self.n_member_flaps += u64::from(went.is_some_and(|at| started.is_some_and(|it| it < at)));
            }
            Event::MemberLeft { group, peer, cause } => {
                let (first, short) = (self.nodes_of(&peer).first().copied(), self.short(&peer));
                let sight = &mut self.sights[node];
                if let Some(member) = first {
                    sight.members.entry(group).or_default().remove(member);
                    sight.left.insert(member);
                }
                if !matches!(cause, PresenceCause::Left | PresenceCause::Goodbye) {
                    let before = sight.went.entry(group).or_default().insert(short, now);
                    self.doubts.change(short, before.map(|_| Word::Gone), Some(Word::Gone));
                }
            }
            Event::Gap { from, to, .. } => {
                self.notes.push((now, node, format!("gap {from}..={to}")));
            }
            Event::Fork { seq, .. } => self.notes.push((now, node, format!("fork at {seq}"))),
            Event::Cloned { .. } => self.notes.push((now, node, "cloned".to_owned())),
            Event::Pace { peer, pace } => {
                self.paces.push((now, node, peer, pace));
            }
            Event::StoreFailed { error } => self.notes.push((now, node, format!("store: {error}"))),
            Event::Joined { .. } | Event::Stored { .. } | Event::Presence { .. } => {}
        }
    }

    fn each_ticket(
        &mut self,
        node: NodeIx,
        group: GroupId,
        lane: Lane,
        tickets: (u64, u64),
        f: impl Fn(&mut Sent),
    ) {
        let Some(known) = self.tickets.get(&(node, group, lane)) else { return };
        let from = known.partition_point(|(ticket, _)| *ticket < tickets.0);
        for (_, number) in known[from..].iter().take_while(|(ticket, _)| *ticket <= tickets.1) {
            f(&mut self.messages[*number]);
        }
    }

    /// Of groups that have the same number, the earliest counts: what is later than that is later than each.
    fn on_sealed(&mut self, place: (NodeIx, Lane, Seq), group: GroupId, ticket: u64) {
        let known = self.tickets.get(&(place.0, group, place.1));
        let number = known.and_then(|known| {
            let found = known.binary_search_by_key(&ticket, |(ticket, _)| *ticket);
            found.ok().map(|at| known[at].1)
        });
        if let Some(at) = number.map(|number| self.messages[number].at) {
            let earliest = self.published.entry(place).or_insert(at);
            *earliest = at.min(*earliest);
        }
    }

    /// When an envelope's first message was published, if that is known.
    pub(crate) fn published(&self, log: &LogId, seq: Seq) -> Option<Timestamp> {
        let nodes = self.nodes_of(&log.author).iter();
        nodes.filter_map(|node| self.published.get(&(*node, log.lane, seq)).copied()).min()
    }

    /// When a fault last touched a node.
    pub(crate) fn disturbed_at(&self, node: NodeIx) -> Timestamp {
        self.disturbed[node]
    }

    /// About how many bytes of memory it takes.
    pub(crate) fn heap(&self) -> usize {
        let latencies = self.messages.iter().map(|sent| sent.latencies.capacity()).sum::<usize>();
        let nodes = self.peers.len() * (size_of::<PeerId>() * 5 + size_of::<Timestamp>());
        let of_sight = |sight: &Sight| {
            let went = sight.went.values().map(BTreeMap::len).sum::<usize>();
            sight.presence.len() * size_of::<(u32, Said)>() + went * size_of::<(u32, Timestamp)>()
        };
        let said = self.sights.iter().map(of_sight).sum::<usize>() * 3 / 2;
        let of_messages = self.messages.len() * (size_of::<Sent>() + 3 * self.peers.len() / 8);
        (latencies + self.latencies.capacity()) * size_of::<u64>() + nodes + said + of_messages
    }

    /// Nobody who is there and reachable is declared gone.
    pub(crate) fn on_presence(
        &mut self,
        now: Timestamp,
        node: NodeIx,
        peer: PeerId,
        said: (PresenceState, PresenceCause),
        is_there: bool,
    ) {
        let subject = self.nodes_of(&peer).to_vec();
        let short = self.short(&peer);
        let before = self.sights[node].presence.insert(short, (said.0, said.1, now));
        self.doubts.change(short, before.and_then(|before| Word::of(before.0)), Word::of(said.0));
        if let Some((PresenceState::Gone, cause, at)) = before
            && said.0 == PresenceState::Alive
            && cause != PresenceCause::Goodbye
            && subject.iter().all(|subject| self.started[*subject] < at)
        {
            self.n_flaps += 1;
        }
        if said.0 != PresenceState::Gone {
            self.gone_at.remove(&(node, peer));
            return;
        }
        self.gone_at.entry((node, peer)).or_insert(now);
        if is_there && said.1 != PresenceCause::Goodbye && self.is_calm(now, node, &peer) {
            self.n_false_alarms += 1;
            self.on_buried(now, &peer);
            self.violate(
                now,
                node,
                "presence",
                format!("{} was declared gone: {}", peer.short(), said.1.name()),
            );
        }
    }

    /// A node took a member off its list that is there, and whom it could hear. In a mesh a list is of those who are
    /// linked, and says no more than that somebody is suspected: verdicts count.
    pub(crate) fn on_missed(&mut self, now: Timestamp, node: NodeIx, peer: PeerId, cause: PresenceCause) {
        let is_verdict = matches!(cause, PresenceCause::Voted | PresenceCause::TimedOut);
        if is_verdict && self.is_calm(now, node, &peer) {
            self.n_members_missed += 1;
            self.on_buried(now, &peer);
            let text = format!("{} was taken off the list of members: {}", peer.short(), cause.name());
            self.violate(now, node, "presence", text);
        }
    }

    /// Somebody who is there was said to be gone: once, however many say so within a minute.
    fn on_buried(&mut self, now: Timestamp, peer: &PeerId) {
        let before = self.buried.insert(*peer, now);
        self.n_buried += u64::from(before.is_none_or(|at| now - at > BURIED_ANEW));
    }

    /// No fault has touched a node or a peer of late.
    fn is_calm(&self, now: Timestamp, node: NodeIx, peer: &PeerId) -> bool {
        let both = self.nodes_of(peer).iter().chain([&node]);
        let disturbed = both.map(|node| self.disturbed[*node]).max().unwrap_or_default();
        now - disturbed >= PRESENCE_GRACE
    }

    /// Notes that something must never be.
    pub fn violate(&mut self, at: Timestamp, node: NodeIx, check: &'static str, text: String) {
        self.n_violations += 1;
        if self.violations.len() < VIOLATIONS_MAX {
            let at = at.as_micros();
            self.violations.push(Violation { at, node, check, text });
        }
    }

    /// What a node says of a peer.
    pub fn state(&self, node: NodeIx, peer: &PeerId) -> Option<PresenceState> {
        self.said(node, peer).map(|(state, ..)| state)
    }

    /// What a node last said of a peer in its present run.
    pub fn said(&self, node: NodeIx, peer: &PeerId) -> Option<Said> {
        self.sights.get(node)?.presence.get(&self.short(peer)).copied()
    }

    /// Whom a node sees in a group.
    pub fn members(&self, node: NodeIx, group: GroupId) -> Option<&NodeSet> {
        self.sights.get(node)?.members.get(&group)
    }

    /// Which members each node has seen going, in its present run.
    pub fn members_left(&self) -> impl Iterator<Item = (NodeIx, PeerId)> + '_ {
        let sights = self.sights.iter().enumerate();
        sights.flat_map(move |(node, sight)| sight.left.iter().map(move |left| (node, self.peers[left])))
    }

    /// Whether a message reached all of these.
    pub fn reached(&self, number: usize, nodes: impl IntoIterator<Item = NodeIx>) -> bool {
        nodes.into_iter().all(|node| self.messages[number].delivered.contains(&node))
    }

    /// Whether a node noted something that begins so.
    pub fn noted(&self, node: NodeIx, what: &str) -> bool {
        self.notes.iter().any(|(_, at, text)| *at == node && text.starts_with(what))
    }
}
