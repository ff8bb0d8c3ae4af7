//! Faults that a scenario names by the dozen: who is struck, and when, is drawn from the seed.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::text::{some_time, time};
use crate::bits::NodeSet;
use crate::rng::{Purpose, Rng};
use crate::topology::{NodeIx, Rule, Side};
use crate::world::Fault;

/// What happens when.
pub(super) type Plan = Vec<(Duration, Fault)>;

/// A cut between the first nodes and the others.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// How many are cut off.
    pub nodes: usize,
    /// From then on.
    #[serde(deserialize_with = "time")]
    pub at: Duration,
    /// Until then.
    #[serde(deserialize_with = "time")]
    pub until: Duration,
    /// They hear the others, and are not heard.
    #[serde(default)]
    pub one_way: bool,
}

/// A node whose line comes and goes.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Flap {
    /// Which node.
    pub node: NodeIx,
    /// From then on.
    #[serde(deserialize_with = "time")]
    pub at: Duration,
    /// Until then.
    #[serde(deserialize_with = "time")]
    pub until: Duration,
    /// It is cut off for so long each time.
    #[serde(deserialize_with = "time")]
    pub down: Duration,
    /// And has its line for so long.
    #[serde(deserialize_with = "time")]
    pub up: Duration,
}

/// Many that go together, drawn by lot.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Wave {
    /// This share of the nodes.
    pub share: f64,
    /// From then on.
    #[serde(deserialize_with = "time")]
    pub at: Duration,
    /// Each at some moment within so long.
    #[serde(default, deserialize_with = "time")]
    pub over: Duration,
    /// They say goodbye, and do not just die.
    #[serde(default)]
    pub goodbye: bool,
    /// Their machines go with them, so that nobody is told.
    #[serde(default)]
    pub power_off: bool,
    /// They are back after so long.
    #[serde(default, deserialize_with = "some_time")]
    pub back: Option<Duration>,
}

/// Newcomers who come together.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Crowd {
    /// So many: the last of all nodes; of several crowds the last one has the highest numbers. What a scenario says of
    /// nodes goes for them too, once they are there: before it they say nothing.
    pub nodes: usize,
    /// The first of them starts then.
    #[serde(deserialize_with = "time")]
    pub at: Duration,
    /// One after the other within so long.
    #[serde(default, deserialize_with = "time")]
    pub over: Duration,
}

/// Roots that die together.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FallOfRoots {
    /// Of those that are roots then, but the contact, so many in a hundred.
    pub percent: u8,
    /// When.
    #[serde(deserialize_with = "time")]
    pub at: Duration,
    /// They are back after so long.
    #[serde(default, deserialize_with = "some_time")]
    pub back: Option<Duration>,
}

/// Nodes that come and go all the time.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Churn {
    /// This share of all nodes goes in a minute, at any moment alike (a Poisson process).
    pub rate: f64,
    /// Of them this share says goodbye; the others die.
    #[serde(default)]
    pub goodbye: f64,
    /// They are back after so long, in the mean; the time is drawn from an exponential distribution.
    #[serde(deserialize_with = "time")]
    pub down: Duration,
    /// From then on.
    #[serde(deserialize_with = "time")]
    pub at: Duration,
    /// Until then. Whoever is down then comes back at once.
    #[serde(deserialize_with = "time")]
    pub until: Duration,
}

/// Nodes that stand still again and again, as starved ones do.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Starvation {
    /// This share of the nodes, drawn by lot.
    pub share: f64,
    /// They stand still for at least so long.
    #[serde(deserialize_with = "time")]
    pub min: Duration,
    /// And at most.
    #[serde(deserialize_with = "time")]
    pub max: Duration,
    /// And run for so long in between, in the mean.
    #[serde(deserialize_with = "time")]
    pub every: Duration,
    /// From then on.
    #[serde(deserialize_with = "time")]
    pub at: Duration,
    /// Until then.
    #[serde(deserialize_with = "time")]
    pub until: Duration,
}

/// A disk in trouble.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DiskTrouble {
    /// Whose.
    pub node: NodeIx,
    /// From then on.
    #[serde(deserialize_with = "time")]
    pub at: Duration,
    /// Until then.
    #[serde(deserialize_with = "time")]
    pub until: Duration,
    /// It is so many times as slow; 0: it takes nothing.
    #[serde(default)]
    pub slow: u32,
}

/// One number for each cut, so that the right one is mended.
pub(super) fn partitions(plan: &mut Plan, partitions: &[Partition], n_nodes: usize) {
    for (id, partition) in (0..).zip(partitions) {
        let nodes: NodeSet = (0..partition.nodes.min(n_nodes)).collect();
        let [these, others] = [Side::Of(nodes.clone()), Side::But(nodes)];
        plan.push((partition.at, Fault::Cut(Rule { id, from: these.clone(), to: others.clone() })));
        if !partition.one_way {
            plan.push((partition.at, Fault::Cut(Rule { id, from: others, to: these })));
        }
        plan.push((partition.until, Fault::Mend(id)));
    }
}

pub(super) fn flaps(plan: &mut Plan, flaps: &[Flap], first_id: u32) {
    for (id, flap) in (first_id..).zip(flaps) {
        let node: NodeSet = [flap.node].into_iter().collect();
        let [it, others] = [Side::Of(node.clone()), Side::But(node)];
        let mut at = flap.at;
        while at < flap.until {
            plan.push((at, Fault::Cut(Rule { id, from: it.clone(), to: others.clone() })));
            plan.push((at, Fault::Cut(Rule { id, from: others.clone(), to: it.clone() })));
            plan.push(((at + flap.down).min(flap.until), Fault::Mend(id)));
            at += flap.down + flap.up;
        }
    }
}

/// Whom such a fault may strike.
pub(super) struct Lot {
    pub(super) seed: u64,
    pub(super) n_nodes: usize,
    /// Not the contact, through which everybody comes. All others may be struck, who speaks among them.
    pub(super) spared: Option<NodeIx>,
}

impl Lot {
    fn all(&self) -> impl Iterator<Item = NodeIx> + '_ {
        (0..self.n_nodes).filter(|node| Some(*node) != self.spared)
    }

    fn one(&self, rng: &mut Rng) -> NodeIx {
        let n = self.n_nodes - usize::from(self.spared.is_some());
        let drawn = rng.below(n as u64) as usize;
        drawn + usize::from(self.spared.is_some_and(|spared| drawn >= spared))
    }

    /// So large a share of them.
    fn share(&self, rng: &mut Rng, share: f64) -> Vec<NodeIx> {
        let mut nodes: Vec<NodeIx> = self.all().collect();
        let n = (nodes.len() as f64 * share).round() as usize;
        for at in 0..n.min(nodes.len()) {
            let other = at + rng.below((nodes.len() - at) as u64) as usize;
            nodes.swap(at, other);
        }
        nodes.truncate(n);
        nodes
    }
}

pub(super) fn waves(plan: &mut Plan, waves: &[Wave], lot: &Lot) {
    for (n, wave) in waves.iter().enumerate() {
        let mut rng = Rng::split(lot.seed, n, 1, Purpose::Faults);
        for node in lot.share(&mut rng, wave.share) {
            let at = wave.at + rng.time_below(wave.over);
            plan.push((at, go(node, wave.goodbye, wave.power_off)));
            if let Some(back) = wave.back {
                plan.push((at + back, Fault::Restart(node)));
            }
        }
    }
}

fn go(node: NodeIx, goodbye: bool, power_off: bool) -> Fault {
    match (goodbye, power_off) {
        (true, _) => Fault::Shutdown(node),
        (false, true) => Fault::PowerOff(node),
        (false, false) => Fault::Crash(node),
    }
}

pub(super) fn churn(plan: &mut Plan, churn: &Churn, lot: &Lot) {
    if churn.rate <= 0.0 || lot.all().next().is_none() {
        return;
    }
    let mut rng = Rng::split(lot.seed, 0, 2, Purpose::Faults);
    let mean = Duration::from_secs(60).div_f64(churn.rate * lot.n_nodes as f64);
    let mut back_at = vec![Duration::ZERO; lot.n_nodes];
    let mut at = churn.at + rng.exponential(mean);
    while at < churn.until {
        let node = lot.one(&mut rng);
        let goodbye = rng.chance(churn.goodbye);
        let back = (at + rng.exponential(churn.down)).min(churn.until);
        if back_at[node] <= at && back > at {
            plan.push((at, go(node, goodbye, false)));
            plan.push((back, Fault::Restart(node)));
            back_at[node] = back;
        }
        at += rng.exponential(mean);
    }
}

pub(super) fn starvation(plan: &mut Plan, starvation: &Starvation, lot: &Lot) {
    let mut rng = Rng::split(lot.seed, 0, 3, Purpose::Faults);
    for node in lot.share(&mut rng, starvation.share) {
        let mut at = starvation.at + rng.exponential(starvation.every);
        while at < starvation.until {
            let lasts = starvation.min + rng.time_below(starvation.max.saturating_sub(starvation.min));
            let until = (at + lasts).min(starvation.until);
            plan.push((at, Fault::Pause(node)));
            plan.push((until, Fault::Resume(node)));
            at = until + rng.exponential(starvation.every);
        }
    }
}

pub(super) fn roots(plan: &mut Plan, falls: &[FallOfRoots]) {
    for (id, FallOfRoots { percent, at, back }) in (0..).zip(falls.iter().cloned()) {
        plan.push((at, Fault::RootsDie { id, percent }));
        plan.extend(back.map(|back| (at + back, Fault::RootsRise(id))));
    }
}

pub(super) fn disks(plan: &mut Plan, disks: &[DiskTrouble]) {
    for disk in disks {
        let DiskTrouble { node, at, until, slow } = *disk;
        let (begin, end) = match slow {
            0 => (Fault::DiskFails(node), Fault::DiskWorks(node)),
            slow => (Fault::DiskSlow(node, slow), Fault::DiskQuick(node, slow)),
        };
        plan.push((at, begin));
        plan.push((until, end));
    }
}
