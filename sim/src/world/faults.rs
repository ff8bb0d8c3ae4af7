//! What breaks and heals from outside.

use djembe_protocol::id::LinkId;
use djembe_protocol::io::{Command, Input};
use djembe_protocol::wire::frame::Class;

use super::World;
use crate::rng::{Purpose, Rng};
use crate::shard::To;
use crate::topology::{NodeIx, Rule};

/// What can be done to nodes and network from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process dies; its sockets are reset.
    Crash(NodeIx),
    /// The machine dies; nobody is told.
    PowerOff(NodeIx),
    /// It starts again from its disk and joins its groups.
    Restart(NodeIx),
    /// It stands still.
    Pause(NodeIx),
    /// It goes on.
    Resume(NodeIx),
    /// Its sockets are not read any more.
    Stall(NodeIx),
    /// They are read again.
    Unstall(NodeIx),
    /// It listens to talk and takes no payload.
    Clog(NodeIx),
    /// It does again.
    Unclog(NodeIx),
    /// It says goodbye and ends.
    Shutdown(NodeIx),
    /// Of the roots of the first group's trees so many in a hundred die, drawn by lot, but the contact.
    RootsDie(u8),
    /// Those that have died so start again.
    RootsRise,
    /// These are cut off from all others.
    Partition(Vec<NodeIx>),
    /// No partition any more.
    Heal,
    /// Nothing gets from these to those, until it is mended.
    Cut(Rule),
    /// The cuts of this number are gone.
    Mend(u32),
    /// The last so many commits of a node that is down never happened, although its disk said that they had.
    LoseCommits(NodeIx, usize),
    /// Its disk takes nothing.
    DiskFails(NodeIx),
    /// It does again.
    DiskWorks(NodeIx),
    /// Its disk is so many times as slow as others'.
    DiskSlow(NodeIx, u32),
}

impl World {
    /// A fault now.
    pub fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Crash(node) => self.crash(node, true),
            Fault::PowerOff(node) => self.crash(node, false),
            // Of several faults that strike one node the last to end starts it.
            Fault::Restart(node) if self.host(node).engine.is_some() => {}
            Fault::Restart(node) => self.start(node),
            Fault::Pause(node) if self.host(node).engine.is_none() => {}
            Fault::Pause(node) => {
                self.host_mut(node).is_paused = true;
                self.topology.places[node].is_paused = true;
                self.ledger.on_disturbed(self.now, node);
            }
            Fault::Resume(node) if !self.host(node).is_paused => {}
            Fault::Resume(node) => self.resume(node),
            Fault::Stall(node) if self.host(node).engine.is_none() => {}
            Fault::Stall(node) => {
                self.host_mut(node).is_stalled = true;
                self.topology.places[node].is_stalled = true;
                self.ledger.on_disturbed(self.now, node);
            }
            Fault::Unstall(node) => {
                self.host_mut(node).is_stalled = false;
                self.topology.places[node].is_stalled = false;
                self.ledger.on_disturbed(self.now, node);
                self.let_go(node);
            }
            Fault::Clog(node) => self.host_mut(node).is_clogged = true,
            Fault::Unclog(node) => {
                self.host_mut(node).is_clogged = false;
                self.let_go(node);
            }
            Fault::Shutdown(node) if self.host(node).engine.is_none() => {}
            Fault::Shutdown(node) => {
                self.input(node, Input::Command(Command::Shutdown));
                self.crash(node, true);
            }
            Fault::RootsDie(percent) => self.kill_roots(percent),
            Fault::RootsRise => {
                for node in std::mem::take(&mut self.dead_roots) {
                    self.fault(Fault::Restart(node));
                }
            }
            Fault::Partition(nodes) => {
                self.topology.places.iter_mut().for_each(|place| place.part = 0);
                for node in nodes {
                    self.topology.places[node].part = 1;
                }
                self.disturb_all();
            }
            Fault::Heal => {
                self.topology.places.iter_mut().for_each(|place| place.part = 0);
                self.disturb_all();
                (0..self.n_nodes()).for_each(|node| self.let_go(node));
            }
            Fault::Cut(rule) => {
                self.disturb_those(&rule);
                self.topology.rules.push(rule);
            }
            Fault::Mend(id) => {
                let (gone, left) = self.topology.rules.drain(..).partition(|rule: &Rule| rule.id == id);
                self.topology.rules = left;
                gone.iter().for_each(|rule: &Rule| self.disturb_those(rule));
                (0..self.n_nodes()).for_each(|node| self.let_go(node));
            }
            Fault::LoseCommits(node, _) if self.host(node).engine.is_some() => {}
            Fault::LoseCommits(node, n) => self.host_mut(node).disk.lose_commits(n),
            Fault::DiskFails(node) => self.host_mut(node).disk_fails = true,
            Fault::DiskWorks(node) => self.host_mut(node).disk_fails = false,
            Fault::DiskSlow(node, times) => self.host_mut(node).disk_slowness = times.max(1),
        }
    }

    fn kill_roots(&mut self, percent: u8) {
        let mut roots = self.roots(0);
        roots.retain(|root| Some(*root) != self.config.contact);
        let mut rng = Rng::split(self.config.seed, self.n_deeds as usize, 5, Purpose::Faults);
        let n = (roots.len() * usize::from(percent)).div_ceil(100);
        for _ in 0..n {
            let root = roots.swap_remove(rng.below(roots.len() as u64) as usize);
            self.fault(Fault::PowerOff(root));
            self.dead_roots.push(root);
        }
    }

    /// What others say of these, or these of others, is not held against them for a while.
    fn disturb_those(&mut self, rule: &Rule) {
        for node in 0..self.n_nodes() {
            if rule.from.has(node) || rule.to.has(node) {
                self.ledger.on_disturbed(self.now, node);
            }
        }
    }

    fn disturb_all(&mut self) {
        for node in 0..self.n_nodes() {
            self.ledger.on_disturbed(self.now, node);
        }
    }

    /// It hears first what came while it stood still, as its sockets have it.
    fn resume(&mut self, node: NodeIx) {
        self.ledger.on_disturbed(self.now, node);
        self.topology.places[node].is_paused = false;
        self.host_mut(node).is_paused = false;
        for input in self.host_mut(node).take_backlog() {
            self.input(node, input);
        }
        for (link, class) in self.waiting(node) {
            self.with_shard(node, |shard, topology, local| shard.drain(topology, local, link, class));
        }
        self.input(node, Input::Timeout);
    }

    fn crash(&mut self, node: NodeIx, resets: bool) {
        if self.host(node).engine.is_none() {
            return;
        }
        self.ledger.on_crash(self.now, node);
        if resets {
            let links: Vec<LinkId> = self.host(node).links.keys().copied().collect();
            self.with_shard(node, |shard, topology, local| {
                for link in links {
                    shard.close(topology, local, link);
                }
            });
        }
        let host = self.host_mut(node);
        host.crash();
        host.is_off = !resets;
        let place = &mut self.topology.places[node];
        (place.is_up, place.is_paused, place.is_stalled) = (false, false, false);
    }

    /// What a node could not read.
    fn waiting(&self, node: NodeIx) -> Vec<(LinkId, Class)> {
        let ends = self.host(node).links.iter();
        let classes = ends.flat_map(|(link, end)| Class::ALL.map(|class| (*link, end, class)));
        classes
            .filter(|(_, end, class)| end.has_waiting(*class))
            .map(|(link, _, class)| (link, class))
            .collect()
    }

    /// What was held up goes on.
    fn let_go(&mut self, node: NodeIx) {
        for (link, class) in self.waiting(node) {
            self.with_shard(node, |shard, topology, local| {
                let host = &mut shard.hosts[local];
                let Some(end) = host.links.get(&link) else { return };
                let (from, to) = (end.other, host.ix);
                let at = shard.now() + topology.latency(&mut shard.hosts[local].net_rng, from, to, 0.0);
                shard.schedule_own(topology, local, at, To::Drain { link, class });
            });
        }
    }
}
