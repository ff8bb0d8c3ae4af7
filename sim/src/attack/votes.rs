//! Votes against the living: of all attackers together against one after the other, with what they need to be believed; or
//! of one after the other, through the group, against one that is to be worn down.

use core::time::Duration;
use std::collections::BTreeMap;

use djembe_protocol::id::{Incarnation, LinkId, PeerId};
use djembe_protocol::limits;
use djembe_protocol::wire::frame::{Alert, Class, FLOOD, Fact, Frame, Gone, News};

use super::{Attacker, GROUP, Scene};

#[derive(Default)]
pub(super) struct Votes {
    /// What each is known to be in.
    incarnations: BTreeMap<PeerId, Incarnation>,
    /// Votes of others like this one.
    seen: BTreeMap<PeerId, Vec<Alert>>,
}

impl Attacker for Votes {
    fn pause(&self) -> Duration {
        Duration::from_millis(250)
    }

    fn act(&mut self, scene: &mut Scene<'_>) {
        if scene.club.honest.is_empty() {
            return;
        }
        // All of them against the same one for two seconds.
        let turn = (scene.now.as_micros() / 2_000_000) as usize % scene.club.honest.len();
        let target = scene.club.honest[turn].0;
        let known = self.incarnations.get(&target).copied().unwrap_or(Incarnation::of_run(1));
        let ahead = if scene.rng.chance(0.2) { 1 + scene.rng.below(limits::INCARNATION_JUMP_MAX) } else { 0 };
        // As if nobody else could know: one vote is then enough.
        let alert = Alert::new(target, Incarnation(known.0 + ahead), 1, scene.identity);
        scene.send_all(Class::Control, alert.clone());
        let mut alerts = self.seen.remove(&target).unwrap_or_default();
        alerts.push(alert);
        alerts.truncate(Gone::ALERTS_MAX);
        scene.send_all(Class::Control, Gone { alerts });
    }

    fn hear(&mut self, scene: &mut Scene<'_>, _link: LinkId, frame: &Frame) -> bool {
        match frame {
            Frame::Hello(hello) => {
                self.incarnations.insert(hello.record.peer, hello.incarnation);
            }
            Frame::Alive(alive) => {
                self.incarnations.insert(alive.peer, alive.incarnation);
            }
            Frame::Alert(alert) if scene.club.has(&alert.observer) => {
                let seen = self.seen.entry(alert.target).or_default();
                if seen.len() < Gone::ALERTS_MAX {
                    seen.push(alert.clone());
                }
            }
            _ => {}
        }
        true
    }
}

#[derive(Default)]
pub(super) struct Slander {
    /// What each has said that it is in.
    incarnations: BTreeMap<PeerId, Incarnation>,
}

impl Attacker for Slander {
    fn act(&mut self, scene: &mut Scene<'_>) {
        if scene.club.honest.is_empty() {
            return;
        }
        let step = scene.now.as_micros() / 100_000;
        // A quarter of a minute for each, and a tenth of a second for each liar's voice.
        let target = scene.club.honest[(step / 150) as usize % scene.club.honest.len()].0;
        let n_liars = scene.club.members.len().max(1);
        if scene.club.members.keys().nth(step as usize % n_liars) != Some(&scene.me) {
            return;
        }
        let known = self.incarnations.get(&target).copied().unwrap_or(Incarnation::of_run(1));
        let ahead = if scene.rng.chance(0.5) { step % 1000 } else { 0 };
        let alert = Alert::new(target, Incarnation(known.0 + ahead), 1, scene.identity);
        let facts = vec![Fact::Vote(alert.into())];
        scene.send_all(Class::Control, News { group: GROUP, tree: FLOOD, facts });
    }

    fn hear(&mut self, _scene: &mut Scene<'_>, _link: LinkId, frame: &Frame) -> bool {
        let words: &[Fact] = match frame {
            Frame::News(news) => &news.facts,
            Frame::Members(members) => &members.facts,
            _ => &[],
        };
        for fact in words {
            if let Fact::Said(word) = fact {
                self.incarnations.insert(word.peer, word.incarnation);
            }
        }
        true
    }
}
