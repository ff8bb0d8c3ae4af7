//! Says again what others said, to whoever is there: envelopes, rounds, votes, records, in any order.

use core::time::Duration;
use std::collections::VecDeque;

use djembe_protocol::id::LinkId;
use djembe_protocol::wire::frame::{Class, Frame, Shuffle};

use super::{Attacker, GROUP, Scene};

/// Frames that are remembered.
const MEMORY: usize = 4096;
/// Of these are said again each time, on each link.
const AT_ONCE: usize = 10;

#[derive(Default)]
pub(super) struct Replay {
    heard: VecDeque<Frame>,
}

impl Attacker for Replay {
    fn pause(&self) -> Duration {
        Duration::from_millis(50)
    }

    fn act(&mut self, scene: &mut Scene<'_>) {
        if self.heard.is_empty() {
            return;
        }
        for link in scene.victims() {
            for _ in 0..AT_ONCE {
                let frame = self.heard[scene.rng.below(self.heard.len() as u64) as usize].clone();
                let class = if matches!(frame, Frame::Data { .. }) { Class::Forward } else { Class::Control };
                scene.send(link, class, frame);
            }
        }
    }

    fn hear(&mut self, _scene: &mut Scene<'_>, _link: LinkId, frame: &Frame) -> bool {
        let mut frame = frame.clone();
        match &mut frame {
            Frame::Data { group, .. } => *group = GROUP,
            Frame::Adverts(adverts) => adverts.group = GROUP,
            Frame::Announce(announce) => announce.group = GROUP,
            Frame::Clock(clock) => clock.group = GROUP,
            Frame::Served(served) => served.group = GROUP,
            Frame::Alert(_) | Frame::Alive(_) | Frame::Gone(_) | Frame::Found(_) => {}
            Frame::Walk(_) | Frame::Shuffle(_) | Frame::Find(_) => {}
            Frame::Hello(hello) => frame = Shuffle { reply: true, peers: vec![hello.record.clone()] }.into(),
            _ => return true,
        }
        if self.heard.len() >= MEMORY {
            self.heard.pop_front();
        }
        self.heard.push_back(frame);
        true
    }
}
