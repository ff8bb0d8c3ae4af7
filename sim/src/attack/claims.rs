//! Says that it has the next messages of everybody, and of authors that do not exist, and gives none.

use core::time::Duration;
use std::collections::BTreeMap;

use djembe_protocol::id::{Lane, LinkId, LogId, PeerId, Seq};
use djembe_protocol::limits;
use djembe_protocol::wire::frame::{
    Announce, Class, Clock, ClockEntry, Digest, Frame, OnTree, Part, Range, STAR,
};

use super::censor::censored;
use super::{Attacker, GROUP, Scene};
use crate::host::Wish;

#[derive(Default)]
pub(super) struct Claims {
    /// How far each log is known to go.
    logs: BTreeMap<LogId, Seq>,
}

impl Claims {
    fn ranges(&self) -> Vec<OnTree> {
        let next = self.logs.iter().map(|(log, next)| Range { log: *log, from: *next, to: next + 3 });
        next.map(|range| OnTree { tree: STAR, range }).take(limits::ANNOUNCE_RANGES_MAX).collect()
    }
}

impl Attacker for Claims {
    fn pause(&self) -> Duration {
        Duration::from_millis(50)
    }

    fn act(&mut self, scene: &mut Scene<'_>) {
        scene.send_all(Class::Control, Announce { group: GROUP, ranges: self.ranges() });
        if scene.rng.chance(0.1) {
            let mut root = [0; 32];
            root[..8].copy_from_slice(&scene.rng.next_u64().to_le_bytes());
            scene.send_all(Class::Control, Digest { root });
            let mut author = [0; 32];
            author[..8].copy_from_slice(&root[..8]);
            let log = LogId { author: PeerId(author), lane: Lane::Durable };
            if self.logs.len() < limits::ANNOUNCE_RANGES_MAX {
                self.logs.insert(log, 0);
            }
        }
        if scene.rng.chance(0.1) {
            let entry = |(log, next): (&LogId, &Seq)| ClockEntry {
                log: *log,
                next: next + 100,
                floor: 0,
                head: [7; 8],
            };
            let entries = self.logs.iter().map(entry).take(limits::CLOCK_ENTRIES_MAX).collect();
            scene.send_all(Class::Control, Clock { group: GROUP, part: Part::All, entries });
        }
    }

    fn hear(&mut self, _scene: &mut Scene<'_>, _link: LinkId, frame: &Frame) -> bool {
        let mut goes_to = |log: LogId, next: Seq| {
            let known = self.logs.entry(log).or_default();
            *known = (*known).max(next);
        };
        match frame {
            Frame::Announce(announce) => {
                announce.ranges.iter().for_each(|told| goes_to(told.range.log, told.range.to + 1));
            }
            Frame::Clock(clock) => clock.entries.iter().for_each(|entry| goes_to(entry.log, entry.next)),
            _ => {}
        }
        true
    }

    fn wish(&mut self, _scene: &mut Scene<'_>, wish: Wish) -> Option<Wish> {
        match wish {
            // Announces what it hears of, and does not give it.
            Wish::Send(_, _, Frame::Announce(_)) => Some(wish),
            wish => censored(wish),
        }
    }
}
