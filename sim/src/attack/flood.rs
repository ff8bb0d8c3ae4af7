//! Floods: of what nobody can read, of what everybody has to take, and of authors.

use core::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use djembe_protocol::crypto::{self, Identity, SealInput};
use djembe_protocol::id::{EnvelopeId, Lane};
use djembe_protocol::message::{Draft, encode_body};
use djembe_protocol::time::Hlc;
use djembe_protocol::wire::frame::{Class, Encoded, Frame, STAR};

use super::{Attacker, Deed, GROUP, Scene};

/// Garbage: bytes of no kind, envelopes signed by nobody, in turn.
#[derive(Default)]
pub(super) struct Junk {
    /// One that is good, to be spoilt.
    envelope: Option<Bytes>,
}

impl Attacker for Junk {
    fn pause(&self) -> Duration {
        Duration::from_millis(10)
    }

    fn act(&mut self, scene: &mut Scene<'_>) {
        for link in scene.victims() {
            let noise: Vec<u8> = (0..24).flat_map(|_| scene.rng.next_u64().to_le_bytes()).collect();
            let mut head = BytesMut::new();
            head.put_u32_le(1 + noise.len() as u32);
            // Kinds that are elided have meaning to the stream, and end it at once.
            head.put_u8(9 + (noise[0] % 4));
            head.extend_from_slice(&noise);
            let raw = Encoded { head: head.freeze(), body: Bytes::new() };
            scene.deeds.push(Deed::Raw(link, Class::Control, raw));
            let envelope = self.forged(scene, &noise);
            scene.send(link, Class::Own, Frame::Data { group: GROUP, tree: STAR, envelope });
        }
    }
}

impl Junk {
    /// An envelope with another signature each time, which is none.
    fn forged(&mut self, scene: &Scene<'_>, noise: &[u8]) -> Bytes {
        let good = self.envelope.get_or_insert_with(|| sealed(scene.identity, scene, b"good"));
        let mut bytes = good.to_vec();
        // The first half of the signature, which ends the header of 320 bytes, is a point on the curve: it stays.
        bytes[288..296].copy_from_slice(&noise[..8]);
        bytes.into()
    }
}

/// The first envelope of an author in the durable lane.
fn sealed(author: &Identity, scene: &Scene<'_>, content: &[u8]) -> Bytes {
    let draft = Draft { content: Bytes::copy_from_slice(content), ..Draft::default() };
    let body = encode_body(&draft, Hlc(scene.now.as_micros())).expect("a small draft");
    let input = SealInput {
        lane: Lane::Durable,
        seq: 0,
        prev: EnvelopeId::NONE,
        skip: 0,
        ttl_secs: 0,
        bodies: &[body],
        frame_salt: [7; 16],
    };
    crypto::seal(author, scene.key, &input).expect("a small envelope").as_bytes().clone()
}

/// A member that never stops talking.
pub(super) struct Flood;

impl Attacker for Flood {
    fn pause(&self) -> Duration {
        Duration::from_millis(50)
    }

    fn act(&mut self, scene: &mut Scene<'_>) {
        for _ in 0..10 {
            scene.deeds.push(Deed::Publish(1024));
        }
    }
}

/// One envelope of each of many identities.
pub(super) struct Authors;

impl Attacker for Authors {
    fn pause(&self) -> Duration {
        Duration::from_millis(50)
    }

    fn act(&mut self, scene: &mut Scene<'_>) {
        let mut seed = [0; 32];
        for chunk in seed.chunks_mut(8) {
            chunk.copy_from_slice(&scene.rng.next_u64().to_le_bytes());
        }
        let envelope = sealed(&Identity::from_seed(seed), scene, b"one of many");
        scene.send_all(Class::Forward, Frame::Data { group: GROUP, tree: STAR, envelope });
    }
}
