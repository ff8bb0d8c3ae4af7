//! Many who know nobody but each other: they dial, recommend each other wherever peers are named, and censor.

use core::time::Duration;

use djembe_protocol::id::{LinkId, PeerId};
use djembe_protocol::wire::frame::{Address, Class, Find, Found, Frame, Hello, Shuffle, Walk, Why};

use super::censor::censored;
use super::{Attacker, Scene};
use crate::host::Wish;

pub(super) struct Crowd {
    /// Only the first of the honest is dialled.
    one_victim: bool,
    turn: usize,
}

impl Crowd {
    pub(super) fn sybil() -> Self {
        Self { one_victim: false, turn: 0 }
    }

    pub(super) fn eclipse() -> Self {
        Self { one_victim: true, turn: 0 }
    }

    /// Whom it dials next.
    fn next(&mut self, scene: &mut Scene<'_>) -> Option<(PeerId, Address)> {
        let victims = &scene.club.honest;
        let n = if self.one_victim { 1 } else { victims.len() };
        if self.turn == 0 {
            self.turn = scene.rng.below(1 << 20) as usize;
        }
        self.turn += 1;
        victims[..n.min(victims.len())].get(self.turn % n.max(1)).cloned()
    }
}

impl Attacker for Crowd {
    fn pause(&self) -> Duration {
        Duration::from_millis(500)
    }

    fn act(&mut self, scene: &mut Scene<'_>) {
        if let Some((peer, address)) = self.next(scene)
            && !scene.is_linked(&peer)
        {
            scene.deeds.push(super::Deed::Wish(Wish::Connect(peer, vec![address])));
        }
        // One link in so many each time: a thousand of them are enough.
        let victims = scene.victims();
        let Some(link) = victims.get(scene.rng.below(victims.len().max(1) as u64) as usize).copied() else {
            return;
        };
        let me = scene.me;
        let peers = scene.club.draw(scene.rng, Shuffle::PEERS_MAX, &me);
        if let Some(record) = peers.first().cloned() {
            scene.send(link, Class::Control, Walk { record, split: true, hops: 1 });
        }
        scene.send(link, Class::Control, Shuffle { reply: false, peers });
    }

    fn hear(&mut self, scene: &mut Scene<'_>, link: LinkId, frame: &Frame) -> bool {
        match frame {
            // Whoever asks for somebody is given one of us.
            Frame::Find(Find { tag, record, .. }) => {
                let me = scene.me;
                if let Some(found) = scene.club.draw(scene.rng, 1, &me).pop() {
                    let found = Found { tag: *tag, seeker: record.peer, record: found };
                    scene.send(link, Class::Control, found);
                }
                false
            }
            Frame::Walk(_) => false,
            _ => true,
        }
    }

    fn wish(&mut self, scene: &mut Scene<'_>, wish: Wish) -> Option<Wish> {
        match wish {
            Wish::Send(link, class, Frame::Hello(hello)) => {
                let record = Some(hello.record.clone());
                scene.club.members.insert(scene.me, record);
                // To be refused by nobody who has room.
                let whys = [Why::Near { rtt: 0 }, Why::Priority, Why::Random];
                let why = whys[scene.rng.below(3) as usize];
                Some(Wish::Send(link, class, Hello { why, ..hello }.into()))
            }
            Wish::Send(link, class, Frame::Shuffle(Shuffle { reply, .. })) => {
                let peers = scene.club.draw(scene.rng, Shuffle::PEERS_MAX, &scene.me);
                Some(Wish::Send(link, class, Shuffle { reply, peers }.into()))
            }
            Wish::Send(link, class, Frame::Refuse(mut refuse)) => {
                refuse.peers = scene.club.draw(scene.rng, refuse.peers.len(), &scene.me);
                Some(Wish::Send(link, class, refuse.into()))
            }
            Wish::Send(_, _, Frame::Walk(_) | Frame::Find(_)) => None,
            // They have no use for links among themselves.
            Wish::Connect(peer, _) | Wish::Probe(peer, _) if scene.club.has(&peer) => None,
            wish => censored(wish),
        }
    }
}
