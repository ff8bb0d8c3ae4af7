//! Other ways to spread messages, over the very links that the engine's overlay makes: what a user would have got
//! otherwise.
//!
//! Each is a pure state machine like the engine: time and input go in, what it wants comes out, and it says when it
//! wants to be woken. A node that runs one has a whole engine with overlay and presence beside it; only what is
//! published goes by the baseline. It promises no order, keeps nothing on a disk, fetches nothing that was said before
//! its time, and never waits for a slow reader.
//!
//! What travels is a [`Packet`], charged as the bytes that the protocol's own encoding would take, and the sealed
//! envelope that djembe would send: each protocol says how many in its [`Baseline::header_len`].

mod flood;
mod gossipsub;
mod plumtree;

use core::fmt;
use core::str::FromStr;

use bytes::{BufMut, Bytes, BytesMut};
use djembe_protocol::time::Timestamp;
use djembe_protocol::wire::frame::{Class, Encoded};
use serde::{Deserialize, Serialize};

use crate::bits::NodeSet;
use crate::rng::Rng;
use crate::topology::NodeIx;

/// The kind that payloads of baselines are counted as.
pub const PAYLOAD: u8 = 200;
/// And all that baselines say beside them.
pub const TALK: u8 = 201;

/// The short name of a message: its number in the ledger. What travels is charged for the id that the protocol has.
pub type Number = u32;

/// Which messages were seen. They are numbered as closely as nodes are, so a bit each does here too.
type Seen = NodeSet;

/// What spreads messages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// The engine.
    #[default]
    Djembe,
    /// Everything to everybody one is linked to.
    Flood,
    /// One tree for all authors, mended by announcements.
    Plumtree,
    /// A mesh, and gossip beside it.
    Gossipsub,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Djembe, Self::Flood, Self::Plumtree, Self::Gossipsub];

    /// Its name in scenarios and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Djembe => "djembe",
            Self::Flood => "flood",
            Self::Plumtree => "plumtree",
            Self::Gossipsub => "gossipsub",
        }
    }

    /// A node's baseline; none if its engine does it.
    pub(crate) fn machine(self, rng: Rng) -> Option<Box<dyn Baseline>> {
        match self {
            Self::Djembe => None,
            Self::Flood => Some(Box::new(flood::Flood::default())),
            Self::Plumtree => Some(Box::new(plumtree::Plumtree::default())),
            Self::Gossipsub => Some(Box::new(gossipsub::Gossipsub::new(rng))),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|protocol| protocol.name() == text);
        known.ok_or_else(|| {
            format!("{text:?} is not a protocol: expected one of {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}

/// A message on its way.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its number in the ledger.
    pub number: Number,
    /// Who published it.
    pub author: NodeIx,
    /// What djembe would send, shared by all copies.
    pub envelope: Bytes,
}

/// A number of hops from the author.
pub type Hops = u16;

/// What one node sends another.
#[derive(Clone, Debug)]
pub enum Packet {
    /// A message, with the hops that it has made.
    Payload(Message, Hops),
    /// These can be had here, so many hops from their authors.
    IHave(Vec<(Number, Hops)>),
    /// These are wanted.
    IWant(Vec<Number>),
    /// Payloads are wanted on this link from now on, this one first.
    Graft(Option<Number>),
    /// No payloads are wanted on this link any more.
    Prune,
}

impl Packet {
    /// What it is counted as.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Payload(..) => PAYLOAD,
            _ => TALK,
        }
    }

    /// The stream that it takes.
    pub const fn class(&self) -> Class {
        match self {
            Self::Payload(..) => Class::Forward,
            _ => Class::Control,
        }
    }

    /// As many bytes as it takes, the same for equal packets and others for others.
    pub(crate) fn encode(&self, header_len: usize) -> Encoded {
        let mut head = BytesMut::with_capacity(header_len);
        head.put_slice(&[0, 0, 0, 0, self.kind()]);
        let body = match self {
            Self::Payload(message, hops) => {
                head.put_u32(message.number);
                head.put_u16(*hops);
                message.envelope.clone()
            }
            Self::IHave(all) => {
                head.put_u8(1);
                all.iter()
                    .for_each(|(number, hops)| head.put_u64(u64::from(*number) << 16 | u64::from(*hops)));
                Bytes::new()
            }
            Self::IWant(all) => {
                head.put_u8(2);
                all.iter().for_each(|number| head.put_u32(*number));
                Bytes::new()
            }
            Self::Graft(number) => {
                head.put_u8(3);
                head.put_u32(number.unwrap_or(Number::MAX));
                Bytes::new()
            }
            Self::Prune => Bytes::new(),
        };
        head.resize(header_len.max(5), 0);
        Encoded { head: head.freeze(), body }
    }
}

/// What happens to a baseline.
#[derive(Debug)]
pub enum In {
    /// There is a link to this node.
    Up(NodeIx),
    /// There is none any more.
    Down(NodeIx),
    /// Its own node publishes.
    Publish(Message),
    /// Something came from a node, which need not be one that it knows a link to: the other side may have known first.
    Packet(NodeIx, Packet),
    /// Its deadline has come.
    Timeout,
}

/// What a baseline wants.
#[derive(Debug)]
pub enum Out {
    /// Send this.
    Send(NodeIx, Packet),
    /// Give this to the application.
    Deliver(Message),
}

/// A way to spread messages.
pub trait Baseline: Send {
    /// Takes an input, and puts down what it wants.
    fn handle(&mut self, now: Timestamp, input: In, out: &mut Vec<Out>);

    /// When it wants a [`In::Timeout`], at the latest.
    fn next_deadline(&self) -> Option<Timestamp> {
        None
    }

    /// Bytes of a packet beside the envelope, the length before it included.
    fn header_len(&self, packet: &Packet) -> usize;
}

/// What a node's application was given.
#[derive(Clone, Copy, Debug)]
pub struct Carried {
    /// The message.
    pub number: Number,
    /// Whose it is said to be.
    pub author: NodeIx,
    /// Bytes of the envelope.
    pub sealed: usize,
}
