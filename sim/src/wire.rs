//! One end of a connection: reliable, ordered streams, one for each class, as TCP and QUIC give them.
//!
//! A lost packet is not lost but late, and holds up what follows on its stream. What cannot be read, because the way is
//! cut or the reader stands still, waits at the receiver in its order. A sender's bytes count as written while they fit
//! into a buffer that the receiver empties, as those of a socket do: so a reader that stands still is felt.
//!
//! Each stream elides the headers of envelopes, as the node's does. Charged for each frame are the bytes that are
//! left, for each write of a stream 30 for Yamux (12) and Noise (2 of length, 16 of tag), and 70 for each packet of
//! 1400 bytes: Ethernet 18, IPv4 20, TCP with time stamps 32. Frames that leave on one link at one moment share
//! packets, and those of one class among them a write. A packet is charged again for each time that it is sent again, and
//! if the network brings it twice; of the latter nothing is seen but these bytes, since streams leave out what they have.
//! Not charged: acknowledgements, most of which cost a packet of 70 bytes of their own; the pings of Yamux, one a
//! connection and side each 10 s, and their answers, of 100 bytes; what opens a connection.

use std::collections::VecDeque;

use djembe_protocol::time::Timestamp;
use djembe_protocol::wire::compress::{Compressor, Expander};
use djembe_protocol::wire::frame::{Class, Encoded, Frame};

use crate::baseline::Packet;
use crate::rng::Rng;
use crate::topology::{Burst, NodeIx};

/// Bytes around what a stream writes at once.
const WRITE_OVERHEAD: usize = 30;
/// Bytes around a packet.
const PACKET_OVERHEAD: usize = 70;
/// Payload of a packet.
const PACKET_PAYLOAD: usize = 1400;
/// Bytes on their way on a stream that count as written: what a socket takes before it is full.
const BUFFER: usize = 64 * 1024;
/// The sender hears of so many bytes that were read, and not of each.
const TOLD_EVERY: usize = BUFFER / 4;
/// Kinds of frames that are not sent as they are: with an envelope, and that announce.
const ELIDED: [u8; 2] = [13, 14];

/// How frames get from engine to engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Carry {
    /// As bytes, through both ends of the elision of headers.
    #[default]
    Bytes,
    /// As they are, and charged as if they were bytes: for worlds so large that a copy of a payload at each node is too
    /// much. What happens is the same.
    Frames,
}

/// A frame on its way.
#[derive(Debug)]
pub struct Parcel {
    pub(crate) class: Class,
    /// Bytes of the whole frame.
    pub(crate) whole: u32,
    /// What it took of the receiver's line: what is left of it, with everything around it.
    pub(crate) charged: u32,
    /// A hash of what is left of it on the wire.
    pub(crate) print: u64,
    /// How far the envelope in it has come.
    pub(crate) hop: Option<Hop>,
    pub(crate) content: Content,
}

/// How far an envelope has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hop {
    /// Which one: a hash over its beginning, which has its author's signature.
    pub(crate) envelope: u64,
    /// Hops from its author, this one counted.
    pub(crate) n: u8,
}

/// What travels.
#[derive(Debug)]
pub(crate) enum Content {
    /// In part elided.
    Bytes(Encoded),
    /// A frame that nothing can happen to.
    Frame(Frame),
    /// What a baseline says.
    Packet(Packet),
}

/// What a frame is to be charged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charge {
    /// Bytes that are left of the frame.
    pub(crate) len: usize,
    /// With everything around it.
    pub(crate) bytes: usize,
    pub(crate) packets: usize,
}

/// A node's end of a connection.
#[derive(Debug)]
pub struct End {
    /// Who is at the other end.
    pub other: NodeIx,
    /// When something last left, and how many bytes then.
    burst: (Timestamp, u32),
    /// The classes of what left then: a bit each.
    writing: u8,
    weather: Weather,
    streams: [Stream; 4],
}

/// Whether a way is bad, and until when it is what it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    is_bad: bool,
    until: Timestamp,
}

impl Weather {
    /// The share of packets that it takes now. How long it lasts is drawn from an exponential distribution.
    pub(crate) fn takes(&mut self, now: Timestamp, rng: &mut Rng, burst: &Burst) -> f64 {
        let mean = |is_bad: bool| if is_bad { burst.bad } else { burst.good };
        if self.until == Timestamp::ZERO {
            self.is_bad = rng.chance(burst.bad.as_secs_f64() / (burst.good + burst.bad).as_secs_f64());
            self.until = now + rng.exponential(mean(self.is_bad));
        }
        while self.until <= now {
            self.is_bad = !self.is_bad;
            self.until = self.until + rng.exponential(mean(self.is_bad));
        }
        if self.is_bad { burst.loss } else { 0.0 }
    }
}

/// One class, both ways.
#[derive(Debug, Default)]
struct Stream {
    /// When the last frame sent arrives.
    last_arrival: Timestamp,
    /// Bytes sent that the other side is not known to have read.
    in_flight: u32,
    /// Those of them that do not fit into the buffer.
    unwritten: u32,
    /// Bytes read that the other side was not told of.
    untold: u32,
    compressor: Option<Box<Compressor>>,
    expander: Option<Box<Expander>>,
    /// What has come and cannot be read.
    #[expect(clippy::box_collection, reason = "there is one only where something stands still")]
    waiting: Option<Box<VecDeque<Box<Parcel>>>>,
}

impl End {
    /// About how many bytes of memory lie behind it: what headers are elided by, and what waits to be read.
    pub(crate) fn heap(&self) -> usize {
        let of_stream = |stream: &Stream| {
            let compressor = stream.compressor.as_ref().map_or(0, |all| size_of::<Compressor>() + all.heap());
            let expander = stream.expander.as_ref().map_or(0, |all| size_of::<Expander>() + all.heap());
            let waiting = stream.waiting.as_ref().map_or(0, |all| all.len() * size_of::<Parcel>());
            compressor + expander + waiting
        };
        self.streams.iter().map(of_stream).sum()
    }

    pub(crate) fn new(other: NodeIx) -> Self {
        Self {
            other,
            burst: (Timestamp::ZERO, 0),
            writing: 0,
            weather: Weather::default(),
            streams: Default::default(),
        }
    }

    /// What travels of a frame, and what it costs.
    pub(crate) fn pack(&mut self, now: Timestamp, class: Class, encoded: Encoded) -> (Encoded, Charge) {
        let stream = &mut self.streams[class as usize];
        let frame = match encoded.head.get(4) {
            Some(kind) if ELIDED.contains(kind) => elide(stream.compressor.get_or_insert_default(), &encoded),
            _ => encoded,
        };
        let len = frame.len();
        if self.burst.0 != now {
            (self.burst, self.writing) = ((now, 0), 0);
        }
        let before = self.burst.1 as usize;
        let is_new = self.writing & 1 << class as u8 == 0;
        self.writing |= 1 << class as u8;
        let around = if is_new { WRITE_OVERHEAD } else { 0 };
        let after = before + len + around;
        self.burst = (now, u32::try_from(after).unwrap_or(u32::MAX));
        let packets = after.div_ceil(PACKET_PAYLOAD) - before.div_ceil(PACKET_PAYLOAD);
        let bytes = len + around + packets * PACKET_OVERHEAD;
        (frame, Charge { len, bytes, packets })
    }

    /// The share of packets that the weather takes now.
    pub(crate) fn weather(&mut self, now: Timestamp, rng: &mut Rng, burst: &Burst) -> f64 {
        self.weather.takes(now, rng, burst)
    }

    /// When something arrives that would be there at `at` if nothing went before it.
    pub(crate) fn queue(&mut self, at: Timestamp, class: Class) -> Timestamp {
        let last = &mut self.streams[class as usize].last_arrival;
        *last = at.max(*last);
        *last
    }

    /// When everything has arrived that was sent.
    pub(crate) fn last_arrival(&self) -> Timestamp {
        self.streams.iter().map(|stream| stream.last_arrival).max().unwrap_or_default()
    }

    /// Bytes were sent. Returns how many of them count as written.
    pub(crate) fn on_sent(&mut self, class: Class, bytes: u32) -> u32 {
        let stream = &mut self.streams[class as usize];
        stream.in_flight += bytes;
        // What is over the buffer's end by a part fits in whole: a frame is written or it is not.
        if stream.in_flight - bytes < BUFFER as u32 && stream.unwritten == 0 {
            return bytes;
        }
        stream.unwritten += bytes;
        0
    }

    /// The other side has read so much. Returns how many bytes count as written now.
    pub(crate) fn on_read(&mut self, class: Class, bytes: u32) -> u32 {
        let stream = &mut self.streams[class as usize];
        stream.in_flight = stream.in_flight.saturating_sub(bytes);
        let written = stream
            .unwritten
            .min((BUFFER as u32).saturating_sub(stream.in_flight.saturating_sub(stream.unwritten)));
        stream.unwritten -= written;
        written
    }

    /// A frame was read. Returns of how many bytes the sender is to be told now.
    pub(crate) fn read(&mut self, class: Class, bytes: u32) -> Option<u32> {
        let stream = &mut self.streams[class as usize];
        stream.untold += bytes;
        (stream.untold >= TOLD_EVERY as u32).then(|| std::mem::take(&mut stream.untold))
    }

    /// What has come and cannot be read now waits in its order.
    pub(crate) fn keep(&mut self, parcel: Box<Parcel>) {
        self.streams[parcel.class as usize].waiting.get_or_insert_default().push_back(parcel);
    }

    /// Whether something waits on a stream.
    pub(crate) fn has_waiting(&self, class: Class) -> bool {
        self.streams[class as usize].waiting.as_ref().is_some_and(|waiting| !waiting.is_empty())
    }

    /// The next that waits.
    pub(crate) fn next_waiting(&mut self, class: Class) -> Option<Box<Parcel>> {
        let waiting = &mut self.streams[class as usize].waiting;
        let next = waiting.as_mut()?.pop_front();
        if next.is_none() {
            *waiting = None;
        }
        next
    }

    pub(crate) fn expander(&mut self, class: Class) -> &mut Expander {
        self.streams[class as usize].expander.get_or_insert_default()
    }
}

/// What travels of a frame, with its new length.
fn elide(compressor: &mut Compressor, frame: &Encoded) -> Encoded {
    let mut head = Vec::with_capacity(256);
    head.extend_from_slice(&[0; 4]);
    let rest = compressor.elide(&frame.head[4..], &frame.body, &mut head);
    let body = frame.body.slice(rest..);
    let length = (head.len() - 4 + body.len()) as u32;
    head[..4].copy_from_slice(&length.to_le_bytes());
    Encoded { head: head.into(), body }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    fn frame(n: u8) -> Encoded {
        let mut head = vec![n; 10];
        head[..5].copy_from_slice(&[6, 0, 0, 0, 99]);
        Encoded { head: head.into(), body: bytes::Bytes::new() }
    }

    /// Goal: what leaves at one moment shares packets, and what leaves on one stream then a write, as the node's writer
    /// does it.
    #[test]
    fn frames_of_one_moment_share_packets_and_those_of_one_class_a_write() {
        let mut end = End::new(1);
        let mut charge = |at, class| {
            let (_, charge) = end.pack(Timestamp::from_micros(at), class, frame(0));
            (charge.packets, charge.bytes)
        };
        assert_eq!([charge(5, Class::Own), charge(5, Class::Own)], [(1, 110), (0, 10)]);
        assert_eq!([charge(5, Class::Bulk), charge(5, Class::Bulk)], [(0, 40), (0, 10)]);
        assert_eq!(charge(5, Class::Own), (0, 10), "streams take turns, and each still writes once");
        assert_eq!(charge(6, Class::Own), (1, 110));
    }

    /// Nothing on a stream overtakes what went before.
    #[test]
    fn a_stream_keeps_its_order() {
        let mut end = End::new(1);
        let at = Timestamp::from_micros;
        let arrivals: Vec<_> = [5, 3, 9, 1].into_iter().map(|t| end.queue(at(t), Class::Own)).collect();
        assert_eq!(arrivals, [at(5), at(5), at(9), at(9)]);
        assert_eq!(end.queue(at(2), Class::Control), at(2), "another stream");
        assert_eq!(end.last_arrival(), at(9));
    }

    /// Goal: weather is bad for its share of the time, in stretches.
    #[test]
    fn loss_comes_in_bursts() {
        let mut end = End::new(1);
        let mut rng = Rng::split(1, 0, 0, crate::rng::Purpose::Network);
        let (good, bad) = (Duration::from_secs(4), Duration::from_secs(1));
        let burst = Burst { good, bad, loss: 0.5 };
        let mut look = |ms: u64| end.weather(Timestamp::from_micros(ms * 1000 + 1), &mut rng, &burst) > 0.0;
        let looks: Vec<bool> = (0..100_000).map(|n| look(n * 100)).collect();
        let n_bad = looks.iter().filter(|is_bad| **is_bad).count();
        let changes = looks.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!((17_000..23_000).contains(&n_bad), "{n_bad} of 100000 looks, one in five is expected");
        assert!((3_000..4_500).contains(&changes), "{changes} changes in 10000 s, of 5 s for two");
    }

    /// Goal: a reader that stands still is felt after a buffer's worth, and lets go byte for byte.
    #[test]
    fn a_buffer_fills_and_empties() {
        let mut end = End::new(1);
        let frame = BUFFER as u32 / 4;
        let written: Vec<u32> = (0..6).map(|_| end.on_sent(Class::Bulk, frame)).collect();
        assert_eq!(written, [frame, frame, frame, frame, 0, 0]);
        assert_eq!(end.on_read(Class::Bulk, frame), frame);
        assert_eq!(end.on_read(Class::Bulk, 3 * frame), frame);
        assert_eq!(end.on_read(Class::Bulk, 2 * frame), 0, "all are written");
        assert_eq!(end.on_sent(Class::Bulk, frame), frame);
    }
}
