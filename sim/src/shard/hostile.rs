//! Hostile nodes among the others: what they hear, want and do, and what that costs the honest.

use djembe_protocol::crypto::{GroupKey, Identity};
use djembe_protocol::id::{Lane, LinkId, PeerId};
use djembe_protocol::io::{Command, Input};
use djembe_protocol::message::Draft;
use djembe_protocol::wire::frame::Frame;

use super::{Label, Shard, To};
use crate::attack::{Attacker, Deed, Kind, Scene, Strain};
use crate::host::Wish;
use crate::rng::Rng;
use crate::topology::{NodeIx, Topology};

/// What makes a host hostile.
pub(crate) struct Villain {
    pub(crate) kind: Kind,
    pub(crate) attacker: Box<dyn Attacker>,
    pub(crate) rng: Rng,
    pub(crate) identity: Identity,
    pub(crate) key: GroupKey,
    pub(crate) n_published: u64,
}

impl Shard {
    /// An attacker has been started.
    pub(crate) fn on_villain_started(&mut self, topology: &Topology, local: usize) {
        let peer = self.hosts[local].peer;
        self.club.members.entry(peer).or_default();
        self.act_later(topology, local);
    }

    fn act_later(&mut self, topology: &Topology, local: usize) {
        let now = self.now();
        let Some(villain) = self.villains.get_mut(&self.hosts[local].ix) else { return };
        let pause = villain.attacker.pause();
        let at = now + pause / 2 + villain.rng.time_below(pause);
        self.schedule_own(topology, local, at, To::Attack);
    }

    /// An attacker's time has come.
    pub(super) fn act(&mut self, topology: &Topology, local: usize) {
        self.with_villain(topology, local, |attacker, scene| attacker.act(scene));
        self.act_later(topology, local);
    }

    /// A frame has come to an attacker. Its engine hears of it if this is true.
    pub(super) fn villain_hears(
        &mut self,
        topology: &Topology,
        local: usize,
        link: LinkId,
        frame: &Frame,
    ) -> bool {
        self.with_villain(topology, local, |attacker, scene| attacker.hear(scene, link, frame))
            .unwrap_or(true)
    }

    /// What is left of what an attacker's engine wants.
    pub(super) fn villain_wishes(&mut self, topology: &Topology, local: usize, wish: Wish) -> Option<Wish> {
        let is_theirs = matches!(wish, Wish::Send(..) | Wish::Connect(..) | Wish::Probe(..));
        if !is_theirs {
            return Some(wish);
        }
        let wanted = sent(&wish).cloned();
        let left = self.with_villain(topology, local, |attacker, scene| attacker.wish(scene, wish)).flatten();
        let is_bent = wanted.is_some() && wanted.as_ref() != left.as_ref().and_then(sent);
        self.tally.strain.bent += u64::from(is_bent);
        left
    }

    fn with_villain<T>(
        &mut self,
        topology: &Topology,
        local: usize,
        f: impl FnOnce(&mut dyn Attacker, &mut Scene<'_>) -> T,
    ) -> Option<T> {
        let node: NodeIx = self.hosts[local].ix;
        let mut villain = self.villains.remove(&node)?;
        let mut club = std::mem::take(&mut self.club);
        let host = &self.hosts[local];
        let links: Vec<(LinkId, PeerId)> =
            host.links.iter().map(|(link, end)| (*link, topology.peers[end.other])).collect();
        let mut scene = Scene {
            now: self.key.at,
            me: host.peer,
            identity: &villain.identity,
            key: &villain.key,
            links: &links,
            club: &mut club,
            rng: &mut villain.rng,
            deeds: Vec::new(),
        };
        let result = f(&mut *villain.attacker, &mut scene);
        let deeds = scene.deeds;
        self.club = club;
        let n_before = villain.n_published;
        villain.n_published += deeds.iter().filter(|deed| matches!(deed, Deed::Publish(_))).count() as u64;
        self.villains.insert(node, villain);
        self.do_deeds(topology, local, deeds, n_before);
        Some(result)
    }

    fn do_deeds(&mut self, topology: &Topology, local: usize, deeds: Vec<Deed>, mut ticket: u64) {
        for deed in deeds {
            let is_said = !matches!(&deed, Deed::Wish(wish) if sent(wish).is_none());
            self.tally.strain.deeds += u64::from(is_said);
            match deed {
                Deed::Wish(wish) => self.grant_as_it_is(topology, local, wish),
                Deed::Raw(link, class, bytes) => {
                    self.send_bytes(topology, local, link, class, Label::of(0), bytes, None);
                }
                Deed::Publish(size) => {
                    let Some(group) = self.groups.first().copied() else { continue };
                    ticket += 1;
                    let draft = Draft { content: vec![0xff; size].into(), ..Draft::default() };
                    let command = Command::Publish { group, lane: Lane::Live, ttl_secs: 0, draft, ticket };
                    self.input(topology, local, Input::Command(command));
                }
            }
        }
    }

    /// Puts down what a frame of an attacker cost an honest node.
    pub(super) fn on_strained(&mut self, bytes: usize, checks: u64) {
        let Strain { frames, bytes: sum, checks: all, checks_max, .. } = &mut self.tally.strain;
        *frames += 1;
        *sum += bytes as u64;
        *all += checks;
        *checks_max = (*checks_max).max(checks);
    }

    /// Signatures that a node's engine has checked by itself, beyond those of frames.
    pub(super) fn checks_of(&self, local: usize) -> u64 {
        let engine = self.hosts[local].engine.as_ref();
        engine.map_or(0, |engine| engine.counters().count("signatures-checked"))
    }
}

/// The frame that a wish is to send, if it is that.
fn sent(wish: &Wish) -> Option<&Frame> {
    match wish {
        Wish::Send(_, _, frame) => Some(frame),
        _ => None,
    }
}
