//! What eliding costs, of a mebibyte's worth of envelopes in memory. Not run with the tests:
//!
//!     cargo test --release -p djembe-sim --test elision_cost -- --ignored --nocapture

use std::time::{Duration, Instant};

use bytes::BytesMut;
use djembe_protocol::crypto::{GroupKey, Identity, SealInput, seal};
use djembe_protocol::id::{EnvelopeId, Lane};
use djembe_protocol::message::{Draft, encode_body};
use djembe_protocol::time::Hlc;
use djembe_protocol::wire::compress::{Compressor, Expander};
use djembe_protocol::wire::frame::{Frame, check};

/// `n` envelopes of each of so many authors, by turns.
fn frames(authors: u8, n: u64, size: usize) -> Vec<Frame> {
    let group = GroupKey::open("home", "lobby", None).expect("names");
    let mut logs: Vec<_> = (0..authors).map(|n| (Identity::from_seed([n; 32]), EnvelopeId::NONE)).collect();
    let mut frames = Vec::new();
    for seq in 0..n {
        for (author, prev) in &mut logs {
            let draft = Draft { content: vec![7; size].into(), ..Draft::default() };
            let bodies = [encode_body(&draft, Hlc(7)).expect("a draft")];
            let frame_salt = [seq as u8; 16];
            let input = SealInput {
                lane: Lane::Live,
                seq,
                prev: *prev,
                skip: 0,
                ttl_secs: 0,
                bodies: &bodies,
                frame_salt,
            };
            let envelope = seal(author, &group, &input).expect("sealed");
            *prev = envelope.id();
            frames.push(Frame::Data { group: 1, tree: 0, envelope: envelope.as_bytes().clone() });
        }
    }
    frames
}

#[test]
#[ignore = "a measurement"]
fn measure_elision() {
    const ROUNDS: u32 = 20;
    for (authors, size) in [(1, 10), (1, 1024), (100, 1024), (1, 48 * 1024)] {
        let frames = frames(authors, 2000 / u64::from(authors), size);
        let n = frames.len() as u32 * ROUNDS;
        let per = |time: Duration| time.as_nanos() / u128::from(n);
        let [mut copy, mut elide, mut expand, mut in_place, mut parse, mut parse_known] = [Duration::ZERO; 6];
        for _ in 0..ROUNDS {
            let (mut compressor, mut one, mut other) =
                (Compressor::default(), Expander::default(), Expander::default());
            for frame in &frames {
                let encoded = frame.encode();
                let mut wire = Vec::with_capacity(encoded.len());

                let begin = Instant::now();
                wire.extend_from_slice(&encoded.head[4..]);
                wire.extend_from_slice(&encoded.body);
                copy += begin.elapsed();
                let whole = bytes::Bytes::copy_from_slice(&wire);

                wire.clear();
                let begin = Instant::now();
                let rest = compressor.elide(&encoded.head[4..], &encoded.body, &mut wire);
                wire.extend_from_slice(&encoded.body[rest..]);
                elide += begin.elapsed();

                let begin = Instant::now();
                let expanded = one.expand(&wire).expect("honest");
                expand += begin.elapsed();

                let mut buffer = BytesMut::zeroed(Expander::ROOM);
                buffer.extend_from_slice(&wire);
                let begin = Instant::now();
                other.expand_in_place(buffer).expect("honest");
                in_place += begin.elapsed();

                // A duplicate: all that a check costs but hash of the ciphertext and signature.
                let begin = Instant::now();
                check(whole, |_| true).expect("good");
                parse += begin.elapsed();
                let begin = Instant::now();
                check(expanded, |_| true).expect("good");
                parse_known += begin.elapsed();
            }
        }
        println!(
            "{authors:3} authors, {size:5} bytes, ns an envelope: copy {}, elide {}, expand {} (in place {}), \
             look up whole {}, expanded {}",
            per(copy),
            per(elide),
            per(expand),
            per(in_place),
            per(parse),
            per(parse_known),
        );
    }
}
