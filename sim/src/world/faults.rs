//! What breaks and heals from outside. Faults are stacked: of several that last and hold one node, each ends by itself.

use djembe_protocol::id::LinkId;
use djembe_protocol::io::{Command, Input};
use djembe_protocol::limits;
use djembe_protocol::wire::frame::Class;

use super::World;
use crate::bits::NodeSet;
use crate::holds::Hold;
use crate::rng::{Purpose, Rng};
use crate::shard::To;
use crate::topology::{NodeIx, Rule, Side};

/// The number of a [`Fault::Partition`] among cuts.
const PARTITION: u32 = u32::MAX;

/// What can be done to nodes and network from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process dies; its sockets are reset.
    Crash(NodeIx),
    /// The machine dies; nobody is told.
    PowerOff(NodeIx),
    /// One of these two is over. When all are, it starts again from its disk and joins its groups.
    Restart(NodeIx),
    /// It stands still.
    Pause(NodeIx),
    /// One pause is over. When all are, it goes on.
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
    RootsDie {
        /// What tells it from others.
        id: u32,
        /// So many.
        percent: u8,
    },
    /// Those that the fall of this number has struck start again.
    RootsRise(u32),
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
    /// Its disk is so many times as slow as others'; of several troubles the worst counts.
    DiskSlow(NodeIx, u32),
    /// The trouble that made it so many times as slow is over.
    DiskQuick(NodeIx, u32),
}

impl World {
    /// A fault now.
    pub fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Crash(node) => self.crash(node, true),
            Fault::PowerOff(node) => self.crash(node, false),
            Fault::Restart(node) => self.end(node, Hold::Down),
            Fault::Pause(node) => self.begin(node, Hold::Pause),
            Fault::Resume(node) => self.end(node, Hold::Pause),
            Fault::Stall(node) => self.begin(node, Hold::Stall),
            Fault::Unstall(node) => self.end(node, Hold::Stall),
            Fault::Clog(node) => self.begin(node, Hold::Clog),
            Fault::Unclog(node) => self.end(node, Hold::Clog),
            Fault::Shutdown(node) => {
                self.input(node, Input::Command(Command::Shutdown));
                self.crash(node, true);
            }
            Fault::RootsDie { id, percent } => self.kill_roots(id, percent),
            Fault::RootsRise(id) => {
                for node in self.dead_roots.remove(&id).unwrap_or_default() {
                    self.fault(Fault::Restart(node));
                }
            }
            Fault::Partition(nodes) => {
                self.fault(Fault::Heal);
                for node in &nodes {
                    self.topology.places[*node].part = 1;
                }
                let these = self.fewer_of(nodes.into_iter().collect());
                self.disturb(PARTITION, these);
            }
            Fault::Heal => {
                let is_away = |node: &NodeIx| self.topology.places[*node].part != 0;
                let these = self.fewer_of((0..self.n_nodes()).filter(is_away).collect());
                self.topology.places.iter_mut().for_each(|place| place.part = 0);
                self.disturb(PARTITION, these);
                self.bystanders.remove(&PARTITION);
                (0..self.n_nodes()).for_each(|node| self.let_go(node));
            }
            Fault::Cut(rule) => {
                self.disturb(rule.id, self.cut_off(&rule));
                self.topology.rules.push(rule);
            }
            Fault::Mend(id) => {
                let (gone, left) = self.topology.rules.drain(..).partition(|rule: &Rule| rule.id == id);
                self.topology.rules = left;
                gone.iter().for_each(|rule: &Rule| self.disturb(id, self.cut_off(rule)));
                self.bystanders.remove(&id);
                (0..self.n_nodes()).for_each(|node| self.let_go(node));
            }
            Fault::LoseCommits(node, _) if self.host(node).engine.is_some() => {}
            Fault::LoseCommits(node, n) => self.host_mut(node).disk.lose_commits(n),
            Fault::DiskFails(node) => self.begin(node, Hold::DiskFails),
            Fault::DiskWorks(node) => self.end(node, Hold::DiskFails),
            Fault::DiskSlow(node, times) => {
                let host = self.host_mut(node);
                host.holds.slow_disk(times);
                host.disk_slowness = host.holds.disk_slowness();
            }
            Fault::DiskQuick(node, times) => {
                let host = self.host_mut(node);
                host.holds.speed_disk(times);
                host.disk_slowness = host.holds.disk_slowness();
            }
        }
    }

    /// Something that lasts begins to hold a node. Nothing is to be done if another of the kind does so already; if it is
    /// down it is held when it starts.
    fn begin(&mut self, node: NodeIx, hold: Hold) {
        let host = self.host_mut(node);
        host.holds.begin(hold);
        let runs = host.engine.is_some();
        match hold {
            Hold::DiskFails => host.disk_fails = true,
            Hold::Clog if runs => host.is_clogged = true,
            Hold::Pause if runs && !host.is_paused => {
                host.is_paused = true;
                self.topology.places[node].is_paused = true;
                self.ledger.on_disturbed(self.now, node);
            }
            Hold::Stall if runs && !host.is_stalled => {
                host.is_stalled = true;
                self.topology.places[node].is_stalled = true;
                self.ledger.on_disturbed(self.now, node);
            }
            Hold::Down | Hold::Clog | Hold::Pause | Hold::Stall => {}
        }
    }

    /// Something that lasts is over. The last of its kind lets the node go on.
    fn end(&mut self, node: NodeIx, hold: Hold) {
        let host = self.host_mut(node);
        if !host.holds.end(hold) {
            return;
        }
        match hold {
            Hold::Down | Hold::Pause => self.go_on(node),
            Hold::DiskFails => host.disk_fails = false,
            Hold::Clog => {
                host.is_clogged = false;
                self.let_go(node);
            }
            Hold::Stall => {
                host.is_stalled = false;
                self.topology.places[node].is_stalled = false;
                self.ledger.on_disturbed(self.now, node);
                self.let_go(node);
            }
        }
    }

    /// A node starts, or goes on, if it is to and nothing holds it any more.
    pub(super) fn go_on(&mut self, node: NodeIx) {
        let host = self.host(node);
        if host.engine.is_none() && host.holds.lets_run() {
            self.launch(node);
        } else if host.is_paused && !host.holds.has(Hold::Pause) {
            self.resume(node);
        }
    }

    fn kill_roots(&mut self, id: u32, percent: u8) {
        let mut roots = self.roots(0);
        roots.retain(|root| Some(*root) != self.config.contact);
        let mut rng = Rng::split(self.config.seed, self.n_deeds as usize, 5, Purpose::Faults);
        let n = (roots.len() * usize::from(percent)).div_ceil(100);
        for _ in 0..n {
            let root = roots.swap_remove(rng.below(roots.len() as u64) as usize);
            self.fault(Fault::PowerOff(root));
            self.dead_roots.entry(id).or_default().push(root);
        }
    }

    fn fewer_of(&self, these: NodeSet) -> NodeSet {
        self.cut_off(&Rule { id: PARTITION, from: Side::Of(these.clone()), to: Side::But(these) })
    }

    /// Of two sides that are cut from each other the one that has fewer nodes.
    fn cut_off(&self, Rule { from, to, .. }: &Rule) -> NodeSet {
        let n = self.n_nodes();
        let fewer = if from.n_of(n) <= to.n_of(n) { from } else { to };
        (0..n).filter(|node| fewer.has(*node)).collect()
    }

    /// What those say of others who are cut off, or are so no more, and others of them, is not held against anybody for a
    /// while. All others are watched as ever: a line that flaps at one node is no excuse for what those say of each other
    /// who have nothing to do with it. But where so many are cut off that they can vote, they do so against those whom
    /// they were linked to, and are heard when the cut is mended: these are excused as well.
    fn disturb(&mut self, cut: u32, these: NodeSet) {
        let mut voters = these.clone();
        for rule in &self.topology.rules {
            self.cut_off(rule).iter().for_each(|node| _ = voters.insert(node));
        }
        if voters.len() >= limits::VOTES {
            let ends = these.iter().flat_map(|node| self.host(node).links.values().map(|end| end.other));
            let near: Vec<NodeIx> = ends.collect();
            self.bystanders.entry(cut).or_default().extend(near);
        }
        let near = self.bystanders.get(&cut).into_iter().flatten().copied();
        for node in these.iter().chain(near.collect::<Vec<_>>()) {
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
        for token in std::mem::take(&mut self.host_mut(node).late_wakes) {
            self.with_shard(node, |shard, topology, local| shard.wake_app(topology, local, token));
        }
        self.publish_held(node);
    }

    fn crash(&mut self, node: NodeIx, resets: bool) {
        let host = self.host_mut(node);
        host.holds.begin(Hold::Down);
        host.is_off |= !resets;
        if host.engine.is_none() {
            return;
        }
        self.held.remove(&node);
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
                let at = shard.now() + topology.passage(&mut shard.hosts[local].net_rng, from, to).takes;
                shard.schedule_own(topology, local, at, To::Drain { link, class });
            });
        }
    }
}
