//! Says two things under one number: it signs two envelopes for each number of its own log, and shows one of them to one
//! half of those it is linked to and the other to the other half, and serves each half its own. Both are as good as any
//! envelope but that the other one exists, so nobody can tell before both have come to one place. Its engine, a good
//! neighbour in everything else, has never said a word.

use core::time::Duration;

use bytes::Bytes;
use djembe_protocol::crypto::{self, SealInput};
use djembe_protocol::id::{EnvelopeId, Lane, LinkId, PeerId, Seq};
use djembe_protocol::message::{Draft, encode_body};
use djembe_protocol::time::Hlc;
use djembe_protocol::wire::frame::{Class, Frame, STAR, Served, Want};

use super::{Attacker, GROUP, Scene};

/// So many envelopes answer one request.
const AT_ONCE: usize = 64;

#[derive(Default)]
pub(super) struct Equivocate {
    /// By number.
    stories: [Vec<(EnvelopeId, Bytes)>; 2],
}

/// Whoever it is linked to again hears the same story as before.
fn story_for(peer: &PeerId) -> usize {
    usize::from(peer.0[0] & 1)
}

impl Equivocate {
    /// A story goes on.
    fn go_on(&mut self, scene: &Scene<'_>, story: usize) {
        let told = &mut self.stories[story];
        let content = Bytes::from(vec![story as u8; 64]);
        let draft = Draft { content, ..Draft::default() };
        let body = encode_body(&draft, Hlc(scene.now.as_micros())).expect("a small draft");
        let input = SealInput {
            lane: Lane::Durable,
            seq: told.len() as Seq,
            prev: told.last().map_or(EnvelopeId::NONE, |(id, _)| *id),
            skip: 0,
            ttl_secs: 0,
            bodies: &[body],
            frame_salt: [story as u8; 16],
        };
        let envelope = crypto::seal(scene.identity, scene.key, &input).expect("a small envelope");
        told.push((envelope.id(), envelope.as_bytes().clone()));
    }

    fn serve(&self, scene: &mut Scene<'_>, link: LinkId, want: &Want) {
        let Some((_, peer)) = scene.links.iter().find(|(known, _)| *known == link) else { return };
        let story = &self.stories[story_for(peer)];
        let (from, to) = (want.range.from as usize, want.range.to as usize);
        let asked = story.iter().take(to.saturating_add(1)).skip(from).take(AT_ONCE);
        let frames = asked.map(|(_, envelope)| data(envelope)).collect::<Vec<Frame>>();
        let count = frames.len() as u32;
        let upto = want.range.from + Seq::from(count.saturating_sub(1));
        frames.into_iter().for_each(|frame| scene.send(link, Class::Bulk, frame));
        scene.send(link, Class::Bulk, Served { request: want.request, group: GROUP, count, floor: 0, upto });
    }
}

fn data(envelope: &Bytes) -> Frame {
    Frame::Data { group: GROUP, tree: STAR, envelope: envelope.clone() }
}

impl Attacker for Equivocate {
    fn pause(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn act(&mut self, scene: &mut Scene<'_>) {
        (0..2).for_each(|story| self.go_on(scene, story));
        let links = scene.links;
        for (link, peer) in
            links.iter().filter(|(_, peer)| !scene.club.has(peer)).copied().collect::<Vec<_>>()
        {
            if let Some((_, envelope)) = self.stories[story_for(&peer)].last() {
                scene.send(link, Class::Own, data(envelope));
            }
        }
    }

    fn hear(&mut self, scene: &mut Scene<'_>, link: LinkId, frame: &Frame) -> bool {
        match frame {
            Frame::Want(want) if want.range.log.author == scene.me => {
                self.serve(scene, link, want);
                false
            }
            _ => true,
        }
    }
}
