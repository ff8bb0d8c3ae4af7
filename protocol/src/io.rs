//! What goes into the engine and what comes out: plain values, no handles.
//!
//! A host feeds [`Input`]s and drains [`Output`]s after each of them, in order. The order is a promise: what
//! stands after a `Persist` does not depend on it, what depends on it comes only after `Persisted`.

mod close;
mod tree;

use std::collections::{BTreeMap, VecDeque};

use crate::crypto::{CheckedEnvelope, GroupKey};
use crate::error::Reject;
use crate::id::{GroupId, Incarnation, Lane, LinkId, LogId, PeerId, Seq};
use crate::message::{Body, Draft};
use crate::persist::{Answer, Query, StoreOp, Token};
use crate::time::{Duration, WallTime};
use crate::wire::frame::{Address, CheckedFrame, Class, Frame};

pub use close::CloseCause;
pub use tree::TreeStatus;

/// Everything that can happen to an engine.
#[derive(Debug)]
pub enum Input {
    /// The deadline has come. Early ones do no harm.
    Timeout,
    /// The wall clock reads this now. Told at start and every few seconds.
    WallTime(WallTime),
    /// An authenticated connection stands.
    LinkUp {
        /// Its number.
        link: LinkId,
        /// Who is at the other end.
        peer: PeerId,
        /// Whether this node dialled.
        dialed: bool,
        /// Where the other end is, as the network says and not the peer; none if that says nothing.
        address: Option<Address>,
    },
    /// A connection is over.
    LinkDown {
        /// Its number.
        link: LinkId,
        /// How it ended.
        cause: LinkEnd,
    },
    /// A frame came whose signatures are good.
    Frame {
        /// From which neighbour.
        link: LinkId,
        /// On which stream.
        class: Class,
        /// Its bytes with their length, before anything was elided.
        bytes: usize,
        /// The frame.
        frame: CheckedFrame,
    },
    /// A frame came that was refused before the engine.
    Rejected {
        /// From which neighbour.
        link: LinkId,
        /// On which stream.
        class: Class,
        /// Its bytes, as those of a good one.
        bytes: usize,
        /// Why.
        reject: Reject,
    },
    /// The transport has written so many bytes of a class to the socket, with the lengths of frames.
    Written {
        /// On this link.
        link: LinkId,
        /// Of this class.
        class: Class,
        /// Bytes.
        bytes: usize,
    },
    /// The application reads a group too slowly, or has caught up. Until it has, nothing more of that group is
    /// delivered, and credit for what comes is held back.
    Inbox {
        /// Which group.
        group: GroupId,
        /// There is room for more.
        has_room: bool,
    },
    /// Discovery knows where a peer can be reached.
    Found {
        /// Who.
        peer: PeerId,
        /// Where; may add to what is known.
        addresses: Vec<Address>,
    },
    /// A dial came to nothing.
    DialFailed {
        /// Who was dialled.
        peer: PeerId,
        /// The host answered that nobody listens: strong evidence that the process is dead.
        refused: bool,
    },
    /// How far away a peer is that [`Output::Probe`] asked about.
    Probed {
        /// Who.
        peer: PeerId,
        /// The round trip, or nothing if nobody answered.
        rtt: Option<Duration>,
    },
    /// Where this node listens now; told to neighbours in HELLO.
    Listening(Vec<Address>),
    /// The store has made everything of this token durable.
    Persisted(Token),
    /// The store could not; nothing of this token is durable. The text is for people.
    PersistFailed(Token, String),
    /// The store answers.
    Fetched(Token, Answer),
    /// The application wants something.
    Command(Command),
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkEnd {
    /// Reset or closed by the other side: its process may be dead.
    Reset,
    /// Nothing came through any more.
    Silent,
    /// Closed by this node.
    Closed,
}

/// What an application asks of a node.
#[derive(Debug)]
pub enum Command {
    /// Become a member of an open group.
    Join {
        /// Its key.
        key: Box<GroupKey>,
        /// Its name, for events and `status`.
        name: String,
    },
    /// Leave a group; its log stays in the store.
    Leave {
        /// Which.
        group: GroupId,
    },
    /// Publish a message. The draft has been checked ([`Draft::check`]).
    Publish {
        /// Where.
        group: GroupId,
        /// `Durable` or `Live`.
        lane: Lane,
        /// Seconds after which nobody needs it; 0 for ever.
        ttl_secs: u32,
        /// What.
        draft: Draft,
        /// The application's number for it, rising by one with each publish in this group and lane.
        ticket: u64,
    },
    /// Say goodbye to everybody. Nothing is sent afterwards.
    Shutdown,
}

/// Everything an engine can want. Hosts match it without a wildcard.
#[derive(Debug)]
pub enum Output {
    /// Send a frame to a neighbour. Never refused: what waits is counted by [`Input::Written`].
    Send {
        /// To whom.
        link: LinkId,
        /// On which stream.
        class: Class,
        /// What.
        frame: Frame,
    },
    /// Dial a peer at any of these addresses, all at once.
    Connect {
        /// Who.
        peer: PeerId,
        /// Where.
        addresses: Vec<Address>,
    },
    /// Measure the round trip to a peer without a link, by the first of these addresses that answers. The answer is
    /// [`Input::Probed`]; none within two seconds is one too.
    Probe {
        /// Who.
        peer: PeerId,
        /// Where.
        addresses: Vec<Address>,
    },
    /// Close a connection.
    Disconnect {
        /// Which.
        link: LinkId,
        /// Why.
        cause: CloseCause,
    },
    /// Make these durable, all or none, and say so with the token.
    Persist {
        /// Comes back in `Persisted`.
        token: Token,
        /// In order.
        ops: Vec<StoreOp>,
    },
    /// Ask the store.
    Fetch {
        /// Comes back in `Fetched`.
        token: Token,
        /// What.
        query: Query,
    },
    /// Tell the application.
    Event(Event),
}

/// What an application is told.
#[derive(Debug)]
pub enum Event {
    /// A group is ready: history is loaded, messages flow.
    Joined {
        /// Which.
        group: GroupId,
    },
    /// Messages of one envelope, in their order. Per log in order, each once.
    Delivered(Box<Delivered>),
    /// Drafts `tickets.0 ..= tickets.1` left as one envelope.
    Sealed {
        /// The group.
        group: GroupId,
        /// The lane.
        lane: Lane,
        /// First and last ticket in it.
        tickets: (u64, u64),
        /// Its number in our log.
        seq: Seq,
        /// To how many members it was sent at once.
        sent: usize,
    },
    /// A member has everything of ours below `next` on its disk.
    Stored {
        /// The group.
        group: GroupId,
        /// Who.
        peer: PeerId,
        /// The lane of our log.
        lane: Lane,
        /// Below this.
        next: Seq,
    },
    /// Drafts that will never leave.
    Dropped {
        /// The group.
        group: GroupId,
        /// The lane.
        lane: Lane,
        /// First and last ticket.
        tickets: (u64, u64),
        /// Why, for people.
        reason: String,
    },
    /// Live envelopes that never came and are no longer waited for.
    Gap {
        /// The group.
        group: GroupId,
        /// The log.
        log: LogId,
        /// First number.
        from: Seq,
        /// Last number.
        to: Seq,
    },
    /// Two envelopes of one number, signed by their author: a copied or a lying identity.
    Fork {
        /// The group.
        group: GroupId,
        /// The log.
        log: LogId,
        /// The number.
        seq: Seq,
    },
    /// Our own key writes elsewhere, ahead of us. The engine publishes nothing any more.
    Cloned {
        /// Where it was noticed.
        group: GroupId,
    },
    /// What is known of a peer's presence has changed.
    Presence {
        /// Who.
        peer: PeerId,
        /// What it is now.
        state: PresenceState,
        /// Why.
        cause: PresenceCause,
    },
    /// A peer is in a group of ours: it proved so on a link, or its word came by way of others.
    MemberJoined {
        /// The group.
        group: GroupId,
        /// Who.
        peer: PeerId,
    },
    /// A member is gone or has left.
    MemberLeft {
        /// The group.
        group: GroupId,
        /// Who.
        peer: PeerId,
        /// Why.
        cause: PresenceCause,
    },
    /// A neighbour lags behind what is sent to it, or has caught up.
    Pace {
        /// Who.
        peer: PeerId,
        /// How far.
        pace: Pace,
    },
    /// The store failed; what was to be kept is not.
    StoreFailed {
        /// For people.
        error: String,
    },
}

/// How well a neighbour takes what is sent to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Pace {
    /// It gets payload.
    Prompt,
    /// It gets announcements and asks for what it can take.
    Slow,
    /// It has taken nothing for long; nothing is kept for it but what its transport holds.
    Blocked,
    /// Its link was closed. It gets what it missed when it comes back.
    Closed,
}

impl Pace {
    /// The word in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Slow => "slow",
            Self::Blocked => "blocked",
            Self::Closed => "closed",
        }
    }
}

/// One envelope's messages on their way to the application.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// The group.
    pub group: GroupId,
    /// The author's log.
    pub log: LogId,
    /// The envelope's number.
    pub seq: Seq,
    /// The envelope: a proof of any message can be made from it.
    pub envelope: CheckedEnvelope,
    /// The messages; their index is their place here.
    pub messages: Vec<Body>,
    /// It was fetched later rather than pushed when it was sent.
    pub backfilled: bool,
}

/// What is known of a node's presence (SWIM's states, with Zyre's evasive before suspicion).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PresenceState {
    /// It answers.
    Alive,
    /// It has been silent for a while and was asked.
    Evasive,
    /// This node would vote that it is gone.
    Suspect,
    /// Enough observers agree, or it said goodbye.
    Gone,
}

impl PresenceState {
    /// The word in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Evasive => "evasive",
            Self::Suspect => "suspect",
            Self::Gone => "gone",
        }
    }
}

/// Why a presence changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PresenceCause {
    /// It was met, or met again.
    Connected,
    /// A frame came after silence.
    Heard,
    /// Nothing came.
    Silent,
    /// Many fell silent at once: the network is cut, and nobody can say who lives on the other side.
    Partition,
    /// Its connection broke.
    Reset,
    /// Enough observers voted.
    Voted,
    /// Nobody else could say; time ran out.
    TimedOut,
    /// It said goodbye.
    Goodbye,
    /// It left the group.
    Left,
    /// It proved that it is alive.
    Refuted,
}

impl PresenceCause {
    /// The word in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Heard => "heard",
            Self::Silent => "silent",
            Self::Partition => "partition",
            Self::Reset => "reset",
            Self::Voted => "voted",
            Self::TimedOut => "timed-out",
            Self::Goodbye => "goodbye",
            Self::Left => "left",
            Self::Refuted => "refuted",
        }
    }
}

/// Entropy for salts and nonces: the operating system's in the node, the seed's in the simulator.
///
/// Apart from the choices of the protocol, which are always seeded, so that a run can be replayed.
pub trait Secrets: Send {
    /// Fills `out` with bytes nobody can guess.
    fn fill(&mut self, out: &mut [u8]);
}

/// Outputs in their order.
pub(crate) type Outbox = VecDeque<Output>;

/// Counts by cause, for `status` and tests. Bounded by the number of causes in the code.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Counters(BTreeMap<&'static str, u64>);

impl Counters {
    /// Adds `n` to a count.
    pub fn add(&mut self, cause: &'static str, n: u64) {
        *self.0.entry(cause).or_default() += n;
    }

    /// A count; zero if it never happened.
    pub fn count(&self, cause: &str) -> u64 {
        self.0.get(cause).copied().unwrap_or(0)
    }

    /// All counts, sorted by cause.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().map(|(cause, n)| (*cause, *n))
    }
}

/// One screen's worth of what an engine knows.
#[derive(Clone, Debug)]
pub struct Status {
    /// This node.
    pub me: PeerId,
    /// This run.
    pub incarnation: Incarnation,
    /// Everybody known, sorted by id.
    pub peers: Vec<PeerStatus>,
    /// Groups joined, sorted by name.
    pub groups: Vec<GroupStatus>,
    /// What was counted.
    pub counters: Counters,
    /// How late this node's own timers are, 0 to [`crate::limits::HEALTH_MAX`].
    pub health: u32,
}

/// One peer in [`Status`].
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// Who.
    pub peer: PeerId,
    /// How it is.
    pub state: PresenceState,
    /// The link to it, if one stands.
    pub link: Option<LinkId>,
    /// Its last measured round trip.
    pub rtt: Option<Duration>,
    /// Bytes waiting for it.
    pub queued: usize,
    /// How well it takes them.
    pub pace: Pace,
    /// What is held against it: nothing, up to [`crate::limits::BLAME_MAX`], at which it is shut out.
    pub blame: u32,
}

/// What a link is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Slot {
    /// Everybody is linked to everybody.
    Mesh,
    /// It holds the network together.
    Random,
    /// It is short.
    Near,
    /// A group needs it.
    Group,
}

impl Slot {
    /// The word in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mesh => "mesh",
            Self::Random => "random",
            Self::Near => "near",
            Self::Group => "group",
        }
    }
}

/// Whom a node is linked to, and why.
#[derive(Clone, Debug)]
pub struct OverlayStatus {
    /// Not everybody is linked to everybody.
    pub is_partial: bool,
    /// Neighbours, what the link is for, and whether this node dialled it.
    pub links: Vec<(PeerId, Slot, bool)>,
    /// Known peers without a link.
    pub passive: usize,
}

/// One group in [`Status`].
#[derive(Clone, Debug)]
pub struct GroupStatus {
    /// Which.
    pub group: GroupId,
    /// Its name.
    pub name: String,
    /// How many other members are there, near and far.
    pub n_members: usize,
    /// There may be more than this node keeps in mind: see [`crate::bounds::Bounds::members`].
    pub is_sample: bool,
    /// How many of them are linked.
    pub n_linked: usize,
    /// Who they are, those linked first; of a large group some, [`crate::limits::MEMBERS_TOLD_MAX`].
    pub members: Vec<PeerId>,
    /// How far kept logs are complete, summed; numbers that their authors skipped count.
    pub envelopes: u64,
    /// Trees known in it; none where everybody is a neighbour.
    pub trees: usize,
    /// This node is root of one of them.
    pub is_root: bool,
    /// Drafts waiting to be sealed.
    pub drafts: usize,
    /// Own kept envelopes of this run that no member has said to have stored.
    pub untaken: u64,
    /// Envelopes known to exist and not here yet.
    pub missing: u64,
    /// Logs that a neighbour says go on, the longest in this state first.
    pub gaps: Vec<GapStatus>,
    /// A hash over how far every kept log is complete: who has the same has the same messages.
    pub root: [u8; 32],
}

/// A log that is longer elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GapStatus {
    /// Which.
    pub log: LogId,
    /// Envelopes missing.
    pub missing: u64,
    /// For how long.
    pub age: Duration,
    /// Who says that there is more.
    pub claimed_by: PeerId,
    /// For so long that neither who says so nor anybody else seems to give it.
    pub is_stale: bool,
}
