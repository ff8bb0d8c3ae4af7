//! The beacon: one signed UDP datagram by which a node says on a LAN that it is there, and on which ports.
//!
//! ```text
//!  0      4  magic "DJBC"
//!  4      1  version, 1
//!  5      1  flags: bit 0 query (answer soon), bit 1 goodbye; not both, no others
//!  6      8  network tag: first bytes of BLAKE3 derive_key("djembe/v1 network", network name)
//! 14     32  peer id: the Ed25519 public key
//! 46      2  TCP port, 0 if none
//! 48      2  UDP port of QUIC, 0 if none
//! 50      8  boot nonce: drawn at every start
//! 58      4  counter: rises with every beacon of one boot
//! 62     64  Ed25519 signature over "djembe/v1 beacon\0" and everything before it
//! ```
//!
//! All numbers are little-endian; the length is exact. The address is the packet's source, which nobody signs:
//! a beacon says who may be there, and only the handshake of a connection proves it. There is no field for
//! names, groups or addresses, because everyone on the LAN reads beacons.
//!
//! A listener reads the claims of an [`UncheckedBeacon`] first and drops what is its own, of another network,
//! old or too frequent, before it pays for [`UncheckedBeacon::check`].

use core::fmt;

use crate::crypto::{self, Domain};
use crate::error::{DecodeError, Reject};
use crate::id::PeerId;

/// Bytes of a beacon.
pub const BEACON_LEN: usize = 126;
/// Bytes before the signature.
const SIGNED_LEN: usize = BEACON_LEN - 64;
const MAGIC: [u8; 4] = *b"DJBC";
const VERSION: u8 = 1;

/// What a node says about itself on the LAN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Beacon {
    /// What the node wants by it.
    pub kind: Kind,
    /// The network the node is in.
    pub network: NetworkTag,
    /// The node.
    pub peer: PeerId,
    /// Where it listens.
    pub ports: Ports,
    /// Drawn at every start: tells a restart, and a copy of the identity, from the node heard before.
    pub boot: u64,
    /// Rises with every beacon of one boot: tells a replay from news.
    pub counter: u32,
}

/// What a beacon is sent for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// I am here.
    Announce,
    /// I am here and have no link: dial me, or let me hear you soon.
    Query,
    /// I am leaving.
    Goodbye,
}

/// The ports a node listens on; 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ports {
    /// TCP.
    pub tcp: u16,
    /// QUIC, over UDP.
    pub quic: u16,
}

/// What beacons carry in place of a network's name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NetworkTag(pub [u8; 8]);

impl NetworkTag {
    /// The tag of the network of this name.
    pub fn of(name: &str) -> Self {
        let hash = blake3::derive_key("djembe/v1 network", name.as_bytes());
        let mut tag = [0; 8];
        tag.copy_from_slice(&hash[..8]);
        Self(tag)
    }
}

impl fmt::Debug for NetworkTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Beacon {
    /// The bytes to send. `sign` gets what is to be signed and puts [`Domain::Beacon`] before it.
    pub fn encode(&self, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> [u8; BEACON_LEN] {
        let mut bytes = [0; BEACON_LEN];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[5] = match self.kind {
            Kind::Announce => 0,
            Kind::Query => 1,
            Kind::Goodbye => 2,
        };
        bytes[6..14].copy_from_slice(&self.network.0);
        bytes[14..46].copy_from_slice(&self.peer.0);
        bytes[46..48].copy_from_slice(&self.ports.tcp.to_le_bytes());
        bytes[48..50].copy_from_slice(&self.ports.quic.to_le_bytes());
        bytes[50..58].copy_from_slice(&self.boot.to_le_bytes());
        bytes[58..62].copy_from_slice(&self.counter.to_le_bytes());
        let signature = sign(&bytes[..SIGNED_LEN]);
        bytes[SIGNED_LEN..].copy_from_slice(&signature);
        bytes
    }
}

/// A well-formed beacon whose signature nobody has looked at: it claims, and proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UncheckedBeacon {
    claims: Beacon,
    bytes: [u8; BEACON_LEN],
}

impl UncheckedBeacon {
    /// Reads a datagram.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        // Magic and version come before the length: another version may have another length.
        let (&magic, rest) = bytes.split_first_chunk::<4>().ok_or(DecodeError::Truncated)?;
        if magic != MAGIC {
            return Err(DecodeError::Magic);
        }
        match rest.first() {
            Some(&VERSION) => {}
            Some(&version) => return Err(DecodeError::Version(version)),
            None => return Err(DecodeError::Truncated),
        }
        if bytes.len() > BEACON_LEN {
            return Err(DecodeError::Trailing);
        }
        let bytes: [u8; BEACON_LEN] = bytes.try_into().map_err(|_| DecodeError::Truncated)?;
        let claims = Beacon {
            kind: match bytes[5] {
                0 => Kind::Announce,
                1 => Kind::Query,
                2 => Kind::Goodbye,
                _ => return Err(DecodeError::Invalid("flags")),
            },
            network: NetworkTag(field(&bytes, 6)),
            peer: PeerId(field(&bytes, 14)),
            ports: Ports {
                tcp: u16::from_le_bytes(field(&bytes, 46)),
                quic: u16::from_le_bytes(field(&bytes, 48)),
            },
            boot: u64::from_le_bytes(field(&bytes, 50)),
            counter: u32::from_le_bytes(field(&bytes, 58)),
        };
        Ok(Self { claims, bytes })
    }

    /// What it says, for deciding whether the signature is worth checking and for nothing else.
    pub fn claims(&self) -> &Beacon {
        &self.claims
    }

    /// The signature as received: the same one on the same peer, boot and counter is the same beacon again.
    pub fn signature(&self) -> [u8; 64] {
        field(&self.bytes, SIGNED_LEN)
    }

    /// Checks that the peer it names signed it.
    pub fn check(&self) -> Result<Beacon, Reject> {
        crypto::verify(&self.claims.peer, Domain::Beacon, &self.bytes[..SIGNED_LEN], &self.signature())?;
        Ok(self.claims)
    }
}

/// The `N` bytes at `offset`, which the layout keeps inside the beacon.
fn field<const N: usize>(bytes: &[u8; BEACON_LEN], offset: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[offset..offset + N]);
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::Identity;

    /// From `tests/vectors/make_beacon_vector.py`, which shares no code with this crate.
    const GOLDEN: &str = include_str!("../../../tests/vectors/beacon.hex");

    fn key() -> Identity {
        Identity::from_seed([7; 32])
    }

    fn sign(bytes: &[u8]) -> [u8; 64] {
        key().sign(Domain::Beacon, bytes)
    }

    fn beacon() -> Beacon {
        Beacon {
            kind: Kind::Query,
            network: NetworkTag::of("lan"),
            peer: key().peer_id(),
            ports: Ports { tcp: 24365, quic: 4242 },
            boot: 0x0102_0304_0506_0708,
            counter: 9,
        }
    }

    #[test]
    fn comes_back_as_it_went() {
        for kind in [Kind::Announce, Kind::Query, Kind::Goodbye] {
            let beacon = Beacon { kind, ..beacon() };
            let unchecked = UncheckedBeacon::decode(&beacon.encode(sign)).expect("well formed");
            assert_eq!(*unchecked.claims(), beacon);
            assert_eq!(unchecked.check(), Ok(beacon));
        }
    }

    #[test]
    fn golden_vector() {
        let hex: String = beacon().encode(sign).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN.trim());
    }

    #[test]
    fn every_truncation_is_refused_and_so_is_one_byte_more() {
        let bytes = beacon().encode(sign);
        for n in 0..BEACON_LEN {
            assert_eq!(UncheckedBeacon::decode(&bytes[..n]), Err(DecodeError::Truncated), "{n} bytes");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(UncheckedBeacon::decode(&longer), Err(DecodeError::Trailing));
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let bytes = beacon().encode(sign);
        for bit in 0..BEACON_LEN * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            let verdict = UncheckedBeacon::decode(&flipped).map_err(Reject::from).and_then(|b| b.check());
            assert!(verdict.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn another_version_is_told_from_a_broken_beacon() {
        let mut bytes = beacon().encode(sign).to_vec();
        bytes[4] = 2;
        bytes.push(0);
        assert_eq!(UncheckedBeacon::decode(&bytes), Err(DecodeError::Version(2)));
    }

    #[test]
    fn contradicting_and_unknown_flags_are_refused() {
        for flags in 3..=u8::MAX {
            let mut bytes = beacon().encode(sign);
            bytes[5] = flags;
            assert_eq!(UncheckedBeacon::decode(&bytes), Err(DecodeError::Invalid("flags")));
        }
    }

    #[test]
    fn a_signature_for_another_purpose_is_refused() {
        let bytes = beacon().encode(|bytes| key().sign(Domain::Alert, bytes));
        assert_eq!(UncheckedBeacon::decode(&bytes).map(|b| b.check()), Ok(Err(Reject::Signature)));
    }

    /// The identity point verifies against a zero signature unless weak keys are refused.
    #[test]
    fn a_weak_key_is_refused() {
        let mut weak = [0; 32];
        weak[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        let bytes = Beacon { peer: PeerId(weak), ..beacon() }.encode(|_| signature);
        assert_eq!(UncheckedBeacon::decode(&bytes).map(|b| b.check()), Ok(Err(Reject::Signature)));
    }

    proptest! {
        #[test]
        fn garbage_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(UncheckedBeacon::decode(&bytes).is_err());
        }

        #[test]
        fn garbage_behind_a_good_head_is_refused(tail in prop::collection::vec(any::<u8>(), 0..200)) {
            let bytes = [b"DJBC\x01\x00".as_slice(), &tail].concat();
            let verdict = UncheckedBeacon::decode(&bytes).map_err(Reject::from).and_then(|b| b.check());
            prop_assert!(verdict.is_err());
        }
    }
}
