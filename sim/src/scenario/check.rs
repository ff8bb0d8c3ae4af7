//! Whether a scenario makes sense: each mistake is said with the field it is in.

use core::time::Duration;

use djembe_protocol::bounds::Bounds;
use djembe_protocol::limits;

use super::messages::ALL;
use super::{Messages, Scenario, THREADS_MAX, network};
use crate::baseline::Protocol;
use crate::bug::Bug;
use crate::disk::LOST_MAX;
use crate::topology::Nat;

impl Scenario {
    /// Looks at every field.
    ///
    /// # Errors
    /// The first mistake, for people.
    pub(crate) fn check(&self) -> Result<(), String> {
        let in_range = |what: &str, node: usize| {
            if node < self.nodes {
                Ok(())
            } else {
                Err(format!("{what}: node {node} of {} (they count from 0)", self.nodes))
            }
        };
        let in_order = |what: &str, at: Duration, until: Duration| {
            if at < until { Ok(()) } else { Err(format!("{what}: ends at {until:?}, and begins at {at:?}")) }
        };
        if !(1..=1_000_000).contains(&self.nodes) {
            return Err(format!("nodes = {}: expected 1 to 1000000", self.nodes));
        }
        let most = djembe_protocol::limits::GROUPS_MAX;
        if self.groups == 0 || !(1..=self.groups.min(most)).contains(&self.groups_per_node) {
            let (each, all) = (self.groups_per_node, self.groups);
            return Err(format!("groups_per_node = {each}: expected 1 to {most}, of groups = {all}"));
        }
        if self.groups > 1 && self.protocol != Protocol::Djembe {
            return Err(format!("protocol = {}: a baseline knows one group", self.protocol));
        }
        let way = self.conditions().way();
        network::check_way("", &way)?;
        if !(0.0..=100_000.0).contains(&self.clock_drift_ppm) {
            return Err(format!("clock_drift_ppm = {}: expected 0 to 100000", self.clock_drift_ppm));
        }
        network::sites(&self.sites, &self.paths, &way)?;
        if let Some(contact) = self.contact {
            in_range("contact", contact)?;
            if !self.sites.is_empty() && self.sites.iter().all(|site| site.nat != Nat::Open) {
                return Err("contact: no site is open, so nobody reaches it".to_owned());
            }
        }
        if self.contact.is_some() && self.acquaintances > 0 {
            return Err("acquaintances: nodes come through the contact, or know some from before".to_owned());
        }
        if self.acquaintances > 64 {
            return Err(format!("acquaintances = {}: expected 0 to 64", self.acquaintances));
        }
        if self.bounds.workable() != self.bounds {
            let Bounds { members, peers, trees } = self.bounds.workable();
            return Err(format!(
                "bounds: the nearest that work are members = {members}, peers = {peers}, trees = {trees}"
            ));
        }
        if self.threads > THREADS_MAX {
            return Err(format!("threads = {}: expected 0 to {THREADS_MAX}", self.threads));
        }
        if self.patience > limits::PATIENCE {
            return Err(format!("patience = {}: expected 0 to {}", self.patience, limits::PATIENCE));
        }
        self.check_messages()?;
        self.check_attack()?;
        if self.bug == Some(Bug::WrongGroup) && self.groups == 1 {
            return Err(format!("bug = {}: with groups = 1 there is no other", Bug::WrongGroup));
        }
        self.check_arrivals()?;
        self.check_faults(&in_range, &in_order)?;
        if self.quiet_at() + self.settle > self.duration {
            let all = [
                ("messages.stop is", self.messages.stop),
                ("the last fault is over", self.faults_end()),
                ("the last node comes", self.arrived_at()),
            ];
            let (what, at) = all.into_iter().max_by_key(|(_, at)| *at).unwrap_or_default();
            return Err(format!(
                "duration = {:?}: {what} at {at:?}, and settle = {:?} comes after it",
                self.duration, self.settle
            ));
        }
        Ok(())
    }

    fn check_messages(&self) -> Result<(), String> {
        let Messages { rate, size, senders, start, stop, measure, .. } = self.messages;
        if !(0.0..=100_000.0).contains(&rate) {
            return Err(format!("messages.rate = {rate}: expected 0 to 100000"));
        }
        if size > limits::CONTENT_MAX {
            return Err(format!("messages.size = {size}: expected 0 to {}", limits::CONTENT_MAX));
        }
        if senders > self.nodes && senders != ALL {
            return Err(format!("messages.senders = {senders}: more than nodes = {}", self.nodes));
        }
        if rate > 0.0 && start >= stop {
            return Err(format!(
                "messages.start = {start:?}: nothing is said after messages.stop = {stop:?}"
            ));
        }
        if rate > 0.0 && measure >= stop {
            return Err(format!(
                "messages.measure = {measure:?}: nothing is said after messages.stop = {stop:?}"
            ));
        }
        Ok(())
    }

    fn check_attack(&self) -> Result<(), String> {
        let Some(attack) = self.attack else {
            let is_attacked = self.attackers > 0;
            return if is_attacked { Err("attackers: what is their attack?".to_owned()) } else { Ok(()) };
        };
        if !(1..=10_000).contains(&self.attackers) {
            let attackers = self.attackers;
            return Err(format!("attackers = {attackers}: expected 1 to 10000, for attack = {attack}"));
        }
        if self.protocol != Protocol::Djembe {
            return Err(format!("protocol = {}: attackers know none but djembe", self.protocol));
        }
        if self.attack_at >= self.duration {
            let (at, end) = (self.attack_at, self.duration);
            return Err(format!("attack_at = {at:?}: nothing happens after duration = {end:?}"));
        }
        Ok(())
    }

    fn check_arrivals(&self) -> Result<(), String> {
        let n_late: usize = self.crowds.iter().map(|crowd| crowd.nodes).sum();
        if n_late >= self.nodes {
            return Err(format!("crowds: {n_late} newcomers of nodes = {}, so nobody is there", self.nodes));
        }
        if self.contact.is_some_and(|contact| contact >= self.nodes - n_late) {
            return Err("contact: it is one of the crowds, and nobody can come before it".to_owned());
        }
        // What is not there cannot break: a process that dies and starts again before it was started, say.
        let mut comes_at = vec![Duration::ZERO; self.nodes];
        self.arrivals().into_iter().for_each(|(at, node)| comes_at[node] = at);
        let crashes = self.crashes.iter().map(|crash| ("crashes", crash.node, crash.at));
        let pauses = self.pauses.iter().map(|span| ("pauses", span.node, span.at));
        let stalls = self.stalls.iter().map(|span| ("stalls", span.node, span.at));
        let clogs = self.clogs.iter().map(|span| ("clogs", span.node, span.at));
        for (what, node, at) in crashes.chain(pauses).chain(stalls).chain(clogs) {
            // That there is such a node is looked at elsewhere.
            if let Some(comes) = comes_at.get(node).filter(|comes| at < **comes) {
                return Err(format!("{what}: node {node} is struck at {at:?}, and starts at {comes:?} only"));
            }
        }
        Ok(())
    }

    fn check_faults(
        &self,
        in_range: &impl Fn(&str, usize) -> Result<(), String>,
        in_order: &impl Fn(&str, Duration, Duration) -> Result<(), String>,
    ) -> Result<(), String> {
        for partition in &self.partitions {
            in_order("partitions", partition.at, partition.until)?;
            if !(1..self.nodes).contains(&partition.nodes) {
                let (cut, all) = (partition.nodes, self.nodes);
                return Err(format!("partitions: nodes = {cut} of {all}: nobody is on one side of the cut"));
            }
        }
        for flap in &self.flaps {
            in_range("flaps", flap.node)?;
            in_order("flaps", flap.at, flap.until)?;
            if flap.up.is_zero() || flap.down.is_zero() {
                return Err("flaps: up and down take longer than nothing".to_owned());
            }
        }
        for wave in &self.waves {
            in_share("waves: share", wave.share)?;
        }
        if let Some(fall) = self.roots.iter().find(|fall| fall.percent > 100) {
            return Err(format!("roots: {} in a hundred", fall.percent));
        }
        if let Some(churn) = &self.churn {
            in_order("churn", churn.at, churn.until)?;
            if !(0.0..=10.0).contains(&churn.rate) {
                return Err(format!(
                    "churn.rate = {}: expected 0 to 10, of all nodes in a minute",
                    churn.rate
                ));
            }
            in_share("churn.goodbye", churn.goodbye)?;
        }
        if let Some(starvation) = &self.starvation {
            in_order("starvation", starvation.at, starvation.until)?;
            in_share("starvation.share", starvation.share)?;
            if starvation.min > starvation.max || starvation.every.is_zero() {
                return Err("starvation: min is at most max, and every takes longer than nothing".to_owned());
            }
        }
        for disk in &self.disks {
            in_range("disks", disk.node)?;
            in_order("disks", disk.at, disk.until)?;
        }
        for crash in &self.crashes {
            in_range("crashes", crash.node)?;
            if let Some(restart) = crash.restart {
                in_order("crashes", crash.at, restart)?;
            }
            if crash.lost_commits > LOST_MAX {
                return Err(format!("crashes: lost_commits = {}: at most {LOST_MAX}", crash.lost_commits));
            }
        }
        for (what, spans) in [("pauses", &self.pauses), ("stalls", &self.stalls), ("clogs", &self.clogs)] {
            for span in spans {
                in_range(what, span.node)?;
                in_order(what, span.at, span.until)?;
            }
        }
        Ok(())
    }
}

fn in_share(what: &str, share: f64) -> Result<(), String> {
    if (0.0..=1.0).contains(&share) { Ok(()) } else { Err(format!("{what} = {share}: expected 0 to 1")) }
}
