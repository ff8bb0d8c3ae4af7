//! Names of things: peers, groups, envelopes, messages, links; each a type of its own, with a short form for
//! people.

use core::cmp::Ordering;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// A device: its Ed25519 public key, which is also its libp2p identity. Author, neighbour and signer are this.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PeerId(pub [u8; 32]);

/// libp2p's identity multihash of a protobuf-encoded Ed25519 key: what stands before the 32 key bytes.
const MULTIHASH_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

impl Ord for PeerId {
    /// That of the bytes. Keys that nobody has chosen differ in the first eight, and tables are searched for them all the
    /// time.
    fn cmp(&self, other: &Self) -> Ordering {
        let first = |id: &Self| id.0.first_chunk().map(|chunk| u64::from_be_bytes(*chunk));
        first(self).cmp(&first(other)).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for PeerId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PeerId {
    /// The last eight characters of the text form: enough for people and logs.
    pub fn short(&self) -> String {
        /// The digits of base 58, as Bitcoin has them.
        const DIGITS: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
        // The last digits are a remainder, which costs a tenth of the whole text: logs ask for it again and again.
        let bytes = MULTIHASH_PREFIX.iter().chain(&self.0);
        let mut rest = bytes.fold(0, |rest, byte| (rest << 8 | u64::from(*byte)) % 58u64.pow(8));
        let mut text = [0; 8];
        for digit in text.iter_mut().rev() {
            *digit = DIGITS[(rest % 58) as usize];
            rest /= 58;
        }
        text.into_iter().map(char::from).collect()
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0u8; 38];
        bytes[..6].copy_from_slice(&MULTIHASH_PREFIX);
        bytes[6..].copy_from_slice(&self.0);
        f.write_str(&bs58::encode(bytes).into_string())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// The text is not the text form of an Ed25519 peer id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a peer id: expected the text form that starts with 12D3KooW")]
pub struct ParsePeerIdError;

impl FromStr for PeerId {
    type Err = ParsePeerIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0u8; 38];
        let n = bs58::decode(text).onto(&mut bytes).map_err(|_| ParsePeerIdError)?;
        match bytes.split_at(6) {
            (prefix, key) if n == 38 && prefix == MULTIHASH_PREFIX => {
                Ok(Self(key.try_into().map_err(|_| ParsePeerIdError)?))
            }
            _ => Err(ParsePeerIdError),
        }
    }
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $len:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    };
}

hex_id!(
    /// A group, known only to those who hold its key.
    GroupId,
    32
);
hex_id!(
    /// What relays and links see instead of a group's name or id.
    TopicTag,
    16
);
hex_id!(
    /// The hash of an envelope's signed header; signature variants share it.
    EnvelopeId,
    32
);
hex_id!(
    /// A group's epoch: which readers hold the keys of an envelope. Zero where none is needed.
    EpochId,
    32
);

impl EnvelopeId {
    /// What stands for "no previous envelope".
    pub const NONE: Self = Self([0; 32]);

    /// The first bytes: enough to notice a difference.
    pub fn hint(&self) -> [u8; 8] {
        let mut hint = [0; 8];
        hint.copy_from_slice(&self.0[..8]);
        hint
    }
}

/// Which of an author's three logs in a group an envelope belongs to. The numbers are on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum Lane {
    /// Membership: kept, repaired, synced.
    Control = 0,
    /// Kept, repaired, synced: every member gets it, absent ones when they return.
    Durable = 1,
    /// Best effort: a short window for repair, never synced.
    Live = 2,
}

impl Lane {
    /// All lanes, in wire order.
    pub const ALL: [Self; 3] = [Self::Control, Self::Durable, Self::Live];

    /// The lane of a wire number.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Control),
            1 => Some(Self::Durable),
            2 => Some(Self::Live),
            _ => None,
        }
    }

    /// Whether envelopes of this lane are stored and synced to members who were away.
    pub const fn is_kept(self) -> bool {
        !matches!(self, Self::Live)
    }

    /// The name in JSON and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Durable => "durable",
            Self::Live => "live",
        }
    }
}

/// The place of an envelope in one author's lane, from 0.
pub type Seq = u64;

/// One author's lane in a group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct LogId {
    /// Who writes it.
    pub author: PeerId,
    /// Which of the author's logs.
    pub lane: Lane,
}

/// One message inside a group: author, lane, envelope, place in the envelope. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct MessageId {
    /// The log it is in.
    pub log: LogId,
    /// The envelope's place in the log.
    pub seq: Seq,
    /// The message's place in the envelope.
    pub index: u16,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.log.author, self.log.lane.name(), self.seq, self.index)
    }
}

/// A connection to a neighbour, numbered by the host. Never reused within a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u64);

/// How often a node has started or refuted; only its owner raises it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// What a run rises above its first incarnation by answers to votes, or its records above it by their number: less than
    /// this, or those of the next run would be taken for older ones.
    pub const IN_A_RUN: u64 = 1 << 16;

    /// With which one a node begins its `n`th run, counted from 1.
    pub const fn of_run(n: u64) -> Self {
        /// 2^62 is the highest that may be said: [`crate::limits::INCARNATION_MAX`].
        const RUNS_MAX: u64 = (1 << 62) / Incarnation::IN_A_RUN;
        let n = if n < RUNS_MAX { n } else { RUNS_MAX };
        Self(n * Self::IN_A_RUN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever a run has risen to by answering votes, and however often its record was renewed, the next is above it; and a
    /// count that a broken store made up is no more than may be said.
    #[test]
    fn each_run_begins_above_all_that_the_last_one_came_to() {
        for run in [1, 2, 77, 1 << 40] {
            let last = Incarnation::of_run(run).0 + Incarnation::IN_A_RUN - 1;
            assert!(Incarnation::of_run(run + 1).0 > last);
        }
        assert_eq!(Incarnation::of_run(u64::MAX).0, crate::limits::INCARNATION_MAX);
    }

    #[test]
    fn the_order_of_peers_is_that_of_their_bytes() {
        for (at, other) in [(0, 0), (0, 7), (7, 8), (8, 31), (31, 31)] {
            let [mut a, mut b] = [PeerId([0x80; 32]); 2];
            (a.0[at], b.0[other]) = (0x81, 0x7f);
            assert_eq!((a.cmp(&b), b.cmp(&a)), (a.0.cmp(&b.0), b.0.cmp(&a.0)), "{at} {other}");
        }
        assert_eq!(PeerId([1; 32]).cmp(&PeerId([1; 32])), Ordering::Equal);
    }

    #[test]
    fn peer_id_text_is_libp2ps_and_comes_back() {
        let id = PeerId([7; 32]);
        let text = id.to_string();
        assert!(text.starts_with("12D3KooW"), "{text}");
        assert_eq!(text.parse::<PeerId>(), Ok(id));
        assert_eq!(text[..20].parse::<PeerId>(), Err(ParsePeerIdError));
        assert_eq!("".parse::<PeerId>(), Err(ParsePeerIdError));
        assert_eq!(format!("{text}1").parse::<PeerId>(), Err(ParsePeerIdError));
        for n in 0..=255 {
            let mut id = PeerId([n; 32]);
            id.0[31] = n.wrapping_mul(91);
            assert!(id.to_string().ends_with(&id.short()), "{id} {}", id.short());
            assert_eq!(id.short().len(), 8);
        }
    }
}
