//! Storms of requests that change who sends what to whom.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use djembe_protocol::id::{Lane, LinkId, LogId, PeerId};
use djembe_protocol::wire::frame::{Class, Frame, Graft, Prune, Range, SeqReq, TreeIx, Ungraft, Want};

use super::{Attacker, GROUP, Scene};

/// Of what there are storms.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Grafts,
    Prunes,
}

pub(super) struct Storm {
    of: Of,
    n: u32,
    /// The numbers that neighbours have for their trees.
    trees: BTreeMap<LinkId, BTreeSet<TreeIx>>,
}

impl Storm {
    pub(super) fn grafts() -> Self {
        Self { of: Of::Grafts, n: 0, trees: BTreeMap::new() }
    }

    pub(super) fn prunes() -> Self {
        Self { of: Of::Prunes, ..Self::grafts() }
    }
}

impl Attacker for Storm {
    fn pause(&self) -> Duration {
        Duration::from_millis(20)
    }

    fn act(&mut self, scene: &mut Scene<'_>) {
        self.n = self.n.wrapping_add(1);
        let authors: Vec<PeerId> = scene.club.honest.iter().map(|(peer, _)| *peer).take(8).collect();
        for link in scene.victims() {
            let trees: Vec<TreeIx> = self.trees.get(&link).into_iter().flatten().copied().take(32).collect();
            for yours in trees {
                let frame: Frame = match (self.of, self.n % 2) {
                    (Of::Grafts, 0) => Graft { group: GROUP, mine: yours, yours }.into(),
                    (Of::Grafts, _) => {
                        SeqReq { group: GROUP, yours, seq: u16::MAX, branch: 0, ttl: 255 }.into()
                    }
                    (Of::Prunes, _) => Ungraft { group: GROUP, yours, fade: 0 }.into(),
                };
                scene.send(link, Class::Control, frame);
            }
            // The dear ones more rarely: the others are what has no measure of its own.
            for author in authors.iter().filter(|_| self.of == Of::Prunes || self.n.is_multiple_of(16)) {
                let log = LogId { author: *author, lane: Lane::Durable };
                let frame: Frame = match self.of {
                    Of::Grafts => {
                        let range = Range { log, from: 0, to: 63 };
                        Want { request: self.n, group: GROUP, range, graft: true }.into()
                    }
                    Of::Prunes => Prune { group: GROUP, author: *author }.into(),
                };
                scene.send(link, Class::Control, frame);
            }
        }
    }

    fn hear(&mut self, _scene: &mut Scene<'_>, link: LinkId, frame: &Frame) -> bool {
        if let Frame::Adverts(adverts) = frame {
            self.trees.entry(link).or_default().extend(adverts.trees.iter().map(|advert| advert.tree));
        }
        true
    }
}
