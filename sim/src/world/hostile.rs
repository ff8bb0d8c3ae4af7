//! Hostile nodes among the others: what they hear, want and do, and what that costs the honest.

use djembe_protocol::crypto::{GroupKey, Identity};
use djembe_protocol::id::{Lane, LinkId, PeerId};
use djembe_protocol::io::{Command, Input};
use djembe_protocol::message::Draft;
use djembe_protocol::time::Timestamp;
use djembe_protocol::wire::frame::{Address, Frame};

use super::events::Happening;
use super::{World, key_of, source};
use crate::attack::{Attacker, Deed, Kind, Scene, Strain};
use crate::host::Wish;
use crate::network::NodeIx;
use crate::rng::{Purpose, Rng};

/// What makes a host hostile.
pub(super) struct Villain {
    kind: Kind,
    attacker: Box<dyn Attacker>,
    rng: Rng,
    identity: Identity,
    key: GroupKey,
    n_published: u64,
}

impl World {
    /// A hostile node, not started yet, in the first group. Those of one `operator` have one IP address.
    pub fn add_attacker(&mut self, kind: Kind, operator: u16) -> NodeIx {
        let node = self.add_node();
        self.member(node, 0);
        self.set_address(node, super::operators_address(operator, node));
        let rng = Rng::split(self.config.seed, node, 0, Purpose::Attack);
        let (identity, key) = (self.hosts[node].identity(), key_of(&self.groups[0].0));
        let villain = Villain { kind, attacker: kind.attacker(), rng, identity, key, n_published: 0 };
        self.villains.insert(node, villain);
        self.ledger.set_hostile(node);
        node
    }

    /// Whether a node is an attacker.
    pub fn is_hostile(&self, node: NodeIx) -> bool {
        self.villains.contains_key(&node)
    }

    /// All nodes that are no attackers.
    pub fn honest(&self) -> impl Iterator<Item = NodeIx> + '_ {
        (0..self.hosts.len()).filter(|node| !self.is_hostile(*node))
    }

    /// What an honest node's links are to: attackers, and all.
    pub fn surrounded(&self, node: NodeIx) -> (usize, usize) {
        let neighbours = self.neighbours(node);
        (neighbours.iter().filter(|other| self.is_hostile(**other)).count(), neighbours.len())
    }

    /// Starts an attacker at a time.
    pub fn attack_at(&mut self, at: Timestamp, node: NodeIx) {
        self.calendar.schedule(at, source(node), Happening::Start(node));
    }

    /// An attacker has been started.
    pub(super) fn on_villain_started(&mut self, node: NodeIx) {
        let peer = self.hosts[node].peer;
        self.club.members.entry(peer).or_default();
        self.act_later(node);
    }

    fn act_later(&mut self, node: NodeIx) {
        let Some(villain) = self.villains.get_mut(&node) else { return };
        let pause = villain.attacker.pause();
        let at = self.calendar.now() + pause / 2 + villain.rng.time_below(pause);
        let run = self.hosts[node].run;
        self.calendar.schedule(at, source(node), Happening::Attack { node, run });
    }

    /// An attacker's time has come.
    pub(super) fn act(&mut self, node: NodeIx) {
        self.with_villain(node, |attacker, scene| attacker.act(scene));
        self.act_later(node);
    }

    /// A frame has come to an attacker. Its engine hears of it if this is true.
    pub(super) fn villain_hears(&mut self, node: NodeIx, link: LinkId, frame: &Frame) -> bool {
        self.with_villain(node, |attacker, scene| attacker.hear(scene, link, frame)).unwrap_or(true)
    }

    /// What is left of what an attacker's engine wants.
    pub(super) fn villain_wishes(&mut self, node: NodeIx, wish: Wish) -> Option<Wish> {
        let is_theirs = matches!(wish, Wish::Send(..) | Wish::Connect(..) | Wish::Probe(..));
        if !is_theirs {
            return Some(wish);
        }
        let wanted = sent(&wish).cloned();
        let left = self.with_villain(node, |attacker, scene| attacker.wish(scene, wish)).flatten();
        let is_bent = wanted.is_some() && wanted.as_ref() != left.as_ref().and_then(sent);
        self.strain.bent += u64::from(is_bent);
        left
    }

    fn with_villain<T>(
        &mut self,
        node: NodeIx,
        f: impl FnOnce(&mut dyn Attacker, &mut Scene<'_>) -> T,
    ) -> Option<T> {
        let mut villain = self.villains.remove(&node)?;
        let mut club = std::mem::take(&mut self.club);
        if club.honest.is_empty() {
            club.honest = self.running_honest();
        }
        let links: Vec<(LinkId, PeerId)> = self.hosts[node]
            .links
            .iter()
            .filter_map(|link| {
                let side = self.network.side(*link, node)?;
                Some((*link, self.hosts[self.network.node_at(*link, 1 - side)?].peer))
            })
            .collect();
        let mut scene = Scene {
            now: self.calendar.now(),
            me: self.hosts[node].peer,
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
        self.do_deeds(node, deeds, n_before);
        Some(result)
    }

    fn do_deeds(&mut self, node: NodeIx, deeds: Vec<Deed>, mut ticket: u64) {
        for deed in deeds {
            let is_said = !matches!(&deed, Deed::Wish(wish) if sent(wish).is_none());
            self.strain.deeds += u64::from(is_said);
            match deed {
                Deed::Wish(wish) => self.grant_as_it_is(node, wish),
                Deed::Raw(link, class, bytes) => self.send_bytes(node, link, class, 0, &bytes),
                Deed::Publish(size) => {
                    ticket += 1;
                    let draft = Draft { content: vec![0xff; size].into(), ..Draft::default() };
                    let (group, lane) = (self.group_id(0), Lane::Live);
                    self.input(
                        node,
                        Input::Command(Command::Publish { group, lane, ttl_secs: 0, draft, ticket }),
                    );
                }
            }
        }
    }

    fn running_honest(&self) -> Vec<(PeerId, Address)> {
        let up = self.honest().filter(|node| self.hosts[*node].engine.is_some());
        up.map(|node| (self.hosts[node].peer, self.address(node))).collect()
    }

    /// Puts down what a frame of an attacker cost an honest node.
    pub(super) fn on_strained(&mut self, bytes: usize, checks: u64) {
        let Strain { frames, bytes: sum, checks: all, checks_max, .. } = &mut self.strain;
        *frames += 1;
        *sum += bytes as u64;
        *all += checks;
        *checks_max = (*checks_max).max(checks);
    }

    /// Signatures that a node's engine has checked by itself, beyond those of frames.
    pub(super) fn checks_of(&self, node: NodeIx) -> u64 {
        let engine = self.hosts[node].engine.as_ref();
        engine.map_or(0, |engine| engine.counters().count("signatures-checked"))
    }

    /// The attack that is under way.
    pub fn attack(&self) -> Option<Kind> {
        self.villains.values().next().map(|villain| villain.kind)
    }
}

/// The frame that a wish is to send, if it is that.
fn sent(wish: &Wish) -> Option<&Frame> {
    match wish {
        Wish::Send(_, _, frame) => Some(frame),
        _ => None,
    }
}
