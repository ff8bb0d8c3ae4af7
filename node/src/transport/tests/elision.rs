//! Headers of envelopes between two transports: what arrives is what was sent, and what is counted is the whole of
//! it; a peer whose tables are not ours is cut off.

use djembe_protocol::crypto::{GroupKey, Identity, SealInput, seal};
use djembe_protocol::id::{EnvelopeId, Lane};
use djembe_protocol::message::{Draft, encode_body};
use djembe_protocol::time::Hlc;
use djembe_protocol::wire::frame::Frame;

use super::*;

/// An author's log: one envelope for each size of content.
fn log(author: u8, sizes: &[usize]) -> Vec<Frame> {
    let author = Identity::from_seed([author; 32]);
    let group = GroupKey::open("home", "lobby", None).expect("names");
    let mut prev = EnvelopeId::NONE;
    let sealed = sizes.iter().zip(0..).map(|(size, seq)| {
        let draft = Draft { content: vec![7; *size].into(), ..Draft::default() };
        let bodies = [encode_body(&draft, Hlc(7)).expect("a draft")];
        let frame_salt = [seq as u8; 16];
        let input =
            SealInput { lane: Lane::Live, seq, prev, skip: 0, ttl_secs: 0, bodies: &bodies, frame_salt };
        let envelope = seal(&author, &group, &input).expect("sealed");
        prev = envelope.id();
        Frame::Data { group: 1, tree: 0, envelope: envelope.as_bytes().clone() }
    });
    sealed.collect()
}

/// Large and small envelopes, several authors by turns, on every class that carries envelopes: each stream has
/// tables of its own, and the same frames on another stream do not disturb them.
async fn envelopes(mut a: Peer, mut b: Peer, at_a: LinkId) {
    let sizes = [1024, 0, 3000, 9000, 1024, 48 * 1024, 4000, 4200, 8000, 1];
    let logs = [log(1, &sizes), log(2, &sizes)];
    let frames: Vec<&Frame> = logs[0].iter().zip(&logs[1]).flat_map(|(one, other)| [one, other]).collect();
    let classes = [Class::Own, Class::Forward, Class::Bulk];
    for class in classes {
        for frame in &frames {
            let encoded = frame.encode();
            let transmit = Transmit { head: encoded.head.slice(4..), body: encoded.body };
            a.transmit(at_a, class, transmit).await.expect("queued");
        }
    }
    for class in classes {
        for frame in &frames {
            assert_eq!(b.frame(class).await, frame.encode().concat(), "{class:?}");
        }
    }
    let expected: usize = frames.iter().map(|frame| frame.encoded_len()).sum();
    let mut written = 0;
    until(async || {
        written += a.written(Class::Bulk);
        written == expected
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envelopes_arrive_whole_over_tcp() {
    let (a, b, at_a, _) = linked().await;
    envelopes(a, b, at_a).await;
}

#[cfg(feature = "quic")]
#[tokio::test(flavor = "multi_thread")]
async fn envelopes_arrive_whole_over_quic() {
    let (a, b, at_a, _) = link(Peer::quic(1).await, Peer::quic(2).await).await;
    envelopes(a, b, at_a).await;
}

/// Names the log of number 3 on a stream on which there was none: what is behind it could be anything. The engine
/// hears of it before the end, so that it can be counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_elided_against_nothing_ends_the_link() {
    for padding in [200, 10_000] {
        let (mut a, mut b, at_a, at_b) = linked().await;
        let wire = [&[13, 1, 0, 0, 0, 0, 3][..], &vec![7; padding]].concat();
        // Without a head it passes the compressor by.
        let frame = Transmit { head: Bytes::new(), body: wire.into() };
        a.transmit(at_a, Class::Forward, frame).await.expect("queued");
        match b.inbound(Class::Forward).await {
            Inbound::Bad { reject, .. } => {
                assert_eq!(reject, Reject::Elided(DecodeError::Invalid("log number")));
            }
            other => panic!("expected a bad frame, got {other:?}"),
        }
        assert_eq!(b.down().await, (at_b, Cause::Protocol("elided header")));
        assert_eq!(a.down().await, (at_a, Cause::Closed));
    }
}
