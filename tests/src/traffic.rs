//! What Ethernet frames are sent for, told from their headers: what is seen on a wire where all content is encrypted.
//!
//! Frames are charged as on a cable, with their checksum and padding, and without preamble and gap. Not here: fragments,
//! options of IPv6 other than the first, and streams put together.

use core::ops::{Add, Sub};
use std::collections::BTreeMap;

/// The frame check sequence.
const CHECKSUM: u64 = 4;
/// Shorter frames are padded.
const FRAME_MIN: u64 = 64;
/// Destination, source and type.
const ETHERNET: usize = 14;
/// Where nodes listen for beacons.
const BEACON_PORT: u16 = 24_365;
const MDNS_PORT: u16 = 5_353;
/// Flags of TCP.
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// What a frame is sent for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// TCP with content.
    Data,
    /// TCP without: it only acknowledges.
    Acknowledgement,
    /// TCP that asks for a connection.
    Dial,
    /// TCP that accepts, refuses or ends one.
    Connection,
    /// UDP that is none of the following, as QUIC is.
    Datagram,
    /// A beacon.
    Beacon,
    /// mDNS.
    Mdns,
    /// Who has which address: ARP, and the same in IPv6.
    Neighbour,
    /// Who listens to which multicast group: IGMP and MLD.
    Membership,
    /// Anything else.
    Other,
}

/// Frames of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Count {
    /// How many.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of these, what TCP or UDP carries.
    pub content: u64,
}

/// Frames by kind.
pub type Traffic = BTreeMap<Kind, Count>;

impl Add for Count {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            frames: self.frames + other.frames,
            bytes: self.bytes + other.bytes,
            content: self.content + other.content,
        }
    }
}

impl Sub for Count {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            frames: self.frames - before.frames,
            bytes: self.bytes - before.bytes,
            content: self.content - before.content,
        }
    }
}

/// The kind of a frame, and how it counts.
pub fn look(frame: &[u8]) -> (Kind, Count) {
    let (kind, content) = read(frame).unwrap_or((Kind::Other, 0));
    let bytes = (frame.len() as u64 + CHECKSUM).max(FRAME_MIN);
    (kind, Count { frames: 1, bytes, content: content as u64 })
}

/// What it is for, and bytes that TCP or UDP carries; none if it is too short to say.
fn read(frame: &[u8]) -> Option<(Kind, usize)> {
    let packet = frame.get(ETHERNET..)?;
    match number(frame, ETHERNET - 2)? {
        0x0806 => Some((Kind::Neighbour, 0)),
        0x0800 => {
            let head = usize::from(packet.first()? & 0x0f) * 4;
            // Short frames are padded: the header has the length.
            let total = usize::from(number(packet, 2)?);
            segment(*packet.get(9)?, packet.get(head..total)?)
        }
        0x86dd => {
            let body = packet.get(40..40 + usize::from(number(packet, 4)?))?;
            match *packet.get(6)? {
                // Hop-by-hop options, as MLD has them.
                0 => segment(*body.first()?, body.get((usize::from(*body.get(1)?) + 1) * 8..)?),
                protocol => segment(protocol, body),
            }
        }
        _ => None,
    }
}

fn segment(protocol: u8, segment: &[u8]) -> Option<(Kind, usize)> {
    match protocol {
        6 => {
            let head = usize::from(segment.get(12)? >> 4) * 4;
            let content = segment.len().checked_sub(head)?;
            let flags = *segment.get(13)?;
            let kind = match content {
                _ if flags & (SYN | ACK) == SYN => Kind::Dial,
                _ if flags & (SYN | FIN | RST) != 0 => Kind::Connection,
                0 => Kind::Acknowledgement,
                _ => Kind::Data,
            };
            Some((kind, content))
        }
        17 => {
            let kind = match number(segment, 2)? {
                BEACON_PORT => Kind::Beacon,
                MDNS_PORT => Kind::Mdns,
                _ => Kind::Datagram,
            };
            Some((kind, segment.len().checked_sub(8)?))
        }
        2 => Some((Kind::Membership, 0)),
        58 => match segment.first()? {
            130..=132 | 143 => Some((Kind::Membership, 0)),
            133..=136 => Some((Kind::Neighbour, 0)),
            _ => None,
        },
        _ => None,
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(protocol: u8, segment: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; ETHERNET + 20];
        frame[12..14].copy_from_slice(&0x0800u16.to_be_bytes());
        frame[14] = 0x45;
        frame[16..18].copy_from_slice(&(20 + segment.len() as u16).to_be_bytes());
        frame[23] = protocol;
        frame.extend_from_slice(segment);
        frame
    }

    fn tcp(flags: u8, content: usize) -> Vec<u8> {
        let mut segment = vec![0; 32 + content];
        (segment[12], segment[13]) = (8 << 4, flags);
        ipv4(6, &segment)
    }

    fn udp(port: u16, content: usize) -> Vec<u8> {
        let mut segment = vec![0; 8 + content];
        segment[2..4].copy_from_slice(&port.to_be_bytes());
        ipv4(17, &segment)
    }

    #[test]
    fn frames_are_told_apart() {
        let kind = |frame: &[u8]| look(frame).0;
        assert_eq!(kind(&tcp(SYN, 0)), Kind::Dial);
        assert_eq!(kind(&tcp(SYN | ACK, 0)), Kind::Connection);
        assert_eq!(kind(&tcp(FIN | ACK, 0)), Kind::Connection);
        assert_eq!(kind(&tcp(ACK, 0)), Kind::Acknowledgement);
        assert_eq!(kind(&tcp(ACK, 100)), Kind::Data);
        assert_eq!(look(&tcp(ACK, 100)).1, Count { frames: 1, bytes: 14 + 20 + 32 + 100 + 4, content: 100 });
        assert_eq!(kind(&udp(BEACON_PORT, 126)), Kind::Beacon);
        assert_eq!(kind(&udp(MDNS_PORT, 60)), Kind::Mdns);
        assert_eq!(kind(&udp(4433, 1200)), Kind::Datagram);
        let mut padded = tcp(ACK, 0);
        padded.extend_from_slice(&[0; 6]);
        assert_eq!(kind(&padded), Kind::Acknowledgement, "padding is no content");
    }

    /// Goal: nothing that arrives on a wire is beyond it.
    #[test]
    fn what_is_cut_short_is_something_else() {
        for frame in [tcp(ACK, 3), udp(5353, 3)] {
            for n in 0..frame.len() {
                assert_eq!(look(&frame[..n]).0, Kind::Other, "{n} bytes");
            }
        }
    }
}
