//! Hostile nodes: hosts of the world like all others, whose engine's wishes are changed on their way out, who hear
//! what their engine does not, and who act by themselves.
//!
//! Most attackers run the real engine, because a liar that keeps to the protocol in everything else is harder to
//! tell from an honest node. What they share (whom to attack, each other's records) is the `Club`: they conspire
//! outside the network. They break no cryptography: everybody signs with keys of their own.
//!
//! One file a kind. Not here: broken networks and machines (faults), malformed connections (the tests of the node).

mod censor;
mod claims;
mod crowd;
mod equivocate;
mod flood;
mod lure;
mod near;
mod replay;
mod storm;
mod votes;

use core::fmt;
use core::str::FromStr;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use djembe_protocol::crypto::{GroupKey, Identity};
use djembe_protocol::id::{LinkId, PeerId};
use djembe_protocol::time::Timestamp;
use djembe_protocol::wire::frame::{Address, Class, Encoded, Frame, GroupIx, PeerRecord};

use crate::host::Wish;
use crate::rng::Rng;

/// The number that an attacker's engine has for its first group, on all its links.
pub(crate) const GROUP: GroupIx = 1;

/// What an attacker does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Takes links and places in trees, and forwards and serves nothing.
    Silent,
    /// Sends bytes that are no frame, and envelopes that nobody signed, as fast as it can.
    Junk,
    /// Publishes as fast as it can.
    Flood,
    /// Publishes as one new author after the other.
    Authors,
    /// Says that it has what it does not have, and serves nothing.
    Claims,
    /// Says that it is next to every root, and forwards nothing.
    Near,
    /// Is a root, says that it is next to every other, and forwards nothing.
    Root,
    /// Asks to be sent everything on every tree, and takes it back, over and over.
    Grafts,
    /// Takes every place in every tree back, over and over.
    Prunes,
    /// Many identities behind a few addresses, silent, who dial everybody and recommend each other.
    Sybil,
    /// The same, from an address each, against one node.
    Eclipse,
    /// Says again what others said: envelopes, rounds of roots, votes, records.
    Replay,
    /// Votes together against nodes that live.
    Votes,
    /// Votes through the group against one that lives, each in turn.
    Slander,
    /// Signs two envelopes for each number of its own log, one for one half of its neighbours and one for the other.
    Equivocate,
}

impl Kind {
    /// All of them, with the name under which they are asked for.
    pub const ALL: [(Self, &'static str); 15] = [
        (Self::Silent, "silent"),
        (Self::Junk, "junk"),
        (Self::Flood, "flood"),
        (Self::Authors, "authors"),
        (Self::Claims, "claims"),
        (Self::Near, "near"),
        (Self::Root, "root"),
        (Self::Grafts, "grafts"),
        (Self::Prunes, "prunes"),
        (Self::Sybil, "sybil"),
        (Self::Eclipse, "eclipse"),
        (Self::Replay, "replay"),
        (Self::Votes, "votes"),
        (Self::Slander, "slander"),
        (Self::Equivocate, "equivocate"),
    ];

    pub(crate) fn attacker(self) -> Box<dyn Attacker> {
        match self {
            Self::Silent => Box::new(censor::Censor),
            Self::Junk => Box::new(flood::Junk::default()),
            Self::Flood => Box::new(flood::Flood),
            Self::Authors => Box::new(flood::Authors),
            Self::Claims => Box::new(claims::Claims::default()),
            Self::Near => Box::new(near::Near),
            Self::Root => Box::new(lure::Lure),
            Self::Grafts => Box::new(storm::Storm::grafts()),
            Self::Prunes => Box::new(storm::Storm::prunes()),
            Self::Sybil => Box::new(crowd::Crowd::sybil()),
            Self::Eclipse => Box::new(crowd::Crowd::eclipse()),
            Self::Replay => Box::new(replay::Replay::default()),
            Self::Votes => Box::new(votes::Votes::default()),
            Self::Slander => Box::new(votes::Slander::default()),
            Self::Equivocate => Box::new(equivocate::Equivocate::default()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(kind, _)| kind == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kind = Self::ALL.iter().find(|(_, name)| *name == text).map(|(kind, _)| *kind);
        kind.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(_, name)| *name).collect();
            format!("{text:?} is no attack: expected one of {}", names.join(", "))
        })
    }
}

/// What all attackers of a world know together.
#[derive(Debug, Default)]
pub(crate) struct Club {
    /// The attackers, with what each last signed of itself.
    pub(crate) members: BTreeMap<PeerId, Option<Arc<PeerRecord>>>,
    /// Everybody else who runs, and where; the first is the one that an eclipse is for.
    pub(crate) honest: Vec<(PeerId, Address)>,
}

impl Club {
    pub(crate) fn has(&self, peer: &PeerId) -> bool {
        self.members.contains_key(peer)
    }

    /// Up to `n` records of members other than `not`, drawn at random.
    pub(crate) fn draw(&self, rng: &mut Rng, n: usize, not: &PeerId) -> Vec<Arc<PeerRecord>> {
        let mut records: Vec<&Arc<PeerRecord>> = self
            .members
            .iter()
            .filter(|(peer, _)| *peer != not)
            .filter_map(|(_, record)| record.as_ref())
            .collect();
        let mut drawn = Vec::with_capacity(n);
        while drawn.len() < n && !records.is_empty() {
            let at = rng.below(records.len() as u64) as usize;
            drawn.push(records.swap_remove(at).clone());
        }
        drawn
    }
}

/// What an attacker sees, and what it does.
pub(crate) struct Scene<'a> {
    pub(crate) now: Timestamp,
    pub(crate) me: PeerId,
    pub(crate) identity: &'a Identity,
    pub(crate) key: &'a GroupKey,
    /// The links that stand, with who is at the other end.
    pub(crate) links: &'a [(LinkId, PeerId)],
    pub(crate) club: &'a mut Club,
    pub(crate) rng: &'a mut Rng,
    pub(crate) deeds: Vec<Deed>,
}

impl Scene<'_> {
    pub(crate) fn send(&mut self, link: LinkId, class: Class, frame: impl Into<Frame>) {
        self.deeds.push(Deed::Wish(Wish::Send(link, class, frame.into())));
    }

    /// Says it to all who are not attackers themselves.
    pub(crate) fn send_all(&mut self, class: Class, frame: impl Into<Frame>) {
        let frame = frame.into();
        for link in self.victims() {
            self.send(link, class, frame.clone());
        }
    }

    /// Links to nodes that are no attackers.
    pub(crate) fn victims(&self) -> Vec<LinkId> {
        self.links.iter().filter(|(_, peer)| !self.club.has(peer)).map(|(link, _)| *link).collect()
    }

    pub(crate) fn is_linked(&self, peer: &PeerId) -> bool {
        self.links.iter().any(|(_, other)| other == peer)
    }
}

/// What an attacker does that its engine did not want.
pub(crate) enum Deed {
    /// What an engine could want as well.
    Wish(Wish),
    /// Bytes.
    Raw(LinkId, Class, Encoded),
    /// Publishes something of this size.
    Publish(usize),
}

/// One attacker.
pub(crate) trait Attacker: Send {
    /// How often it acts.
    fn pause(&self) -> Duration {
        Duration::from_millis(100)
    }

    /// It does something by itself.
    fn act(&mut self, scene: &mut Scene<'_>) {
        let _ = scene;
    }

    /// A frame came. Its engine hears of it if this is true.
    fn hear(&mut self, scene: &mut Scene<'_>, link: LinkId, frame: &Frame) -> bool {
        let _ = (scene, link, frame);
        true
    }

    /// What its engine wants is done as it is, is changed, or is not done.
    fn wish(&mut self, scene: &mut Scene<'_>, wish: Wish) -> Option<Wish> {
        let _ = scene;
        Some(wish)
    }
}

/// What attackers did, and what the honest had to do for their frames.
#[derive(Clone, Copy, Default, Debug, serde::Serialize)]
pub struct Strain {
    /// Frames and messages that attackers sent beside what their engines wanted.
    pub deeds: u64,
    /// Frames that their engines wanted to send, and that they changed or kept.
    pub bent: u64,
    /// Frames that attackers sent them.
    pub frames: u64,
    /// And their bytes.
    pub bytes: u64,
    /// Signatures that were checked for these.
    pub checks: u64,
    /// The most for one of these.
    pub checks_max: u64,
}

impl Strain {
    /// That of some and of others.
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            deeds: self.deeds + other.deeds,
            bent: self.bent + other.bent,
            frames: self.frames + other.frames,
            bytes: self.bytes + other.bytes,
            checks: self.checks + other.checks,
            checks_max: self.checks_max.max(other.checks_max),
        }
    }
}

/// Whether it carries payload, or says where there is some.
pub(crate) fn is_service(frame: &Frame) -> bool {
    matches!(frame, Frame::Data { .. } | Frame::Announce(_) | Frame::Served(_) | Frame::Clock(_))
}
