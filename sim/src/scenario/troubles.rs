//! What befalls a scenario's nodes and when, in words: for who looks at what came of it.

use core::time::Duration;

use serde::Serialize;

use super::Scenario;

/// Something that lasts a while, or happens at once.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Trouble {
    /// What, for people.
    pub what: String,
    /// From which virtual second on.
    pub from: f64,
    /// And until which.
    pub until: f64,
}

impl Scenario {
    /// Everything that befalls it, in the order of time.
    pub fn troubles(&self) -> Vec<Trouble> {
        let mut all = Vec::new();
        let mut add = |what: String, at: Duration, until: Duration| {
            all.push(Trouble { what, from: at.as_secs_f64(), until: until.min(self.duration).as_secs_f64() });
        };
        for cut in &self.partitions {
            let how = if cut.one_way { "not heard" } else { "cut off" };
            add(format!("{} of {} nodes are {how}", cut.nodes, self.nodes), cut.at, cut.until);
        }
        for wave in &self.waves {
            add(format!("{:.0} % of the nodes go", 100.0 * wave.share), wave.at, wave.at + wave.over);
        }
        for crowd in &self.crowds {
            add(format!("{} nodes come", crowd.nodes), crowd.at, crowd.at + crowd.over);
        }
        for fall in &self.roots {
            add(format!("{} % of the roots die", fall.percent), fall.at, fall.at);
        }
        if let Some(churn) = &self.churn {
            let share = 100.0 * churn.rate;
            add(format!("{share:.0} % of the nodes come and go each minute"), churn.at, churn.until);
        }
        if let Some(starved) = &self.starvation {
            let share = 100.0 * starved.share;
            add(format!("{share:.0} % of the nodes stand still now and then"), starved.at, starved.until);
        }
        for crash in &self.crashes {
            add(format!("node {} is down", crash.node), crash.at, crash.restart.unwrap_or(self.duration));
        }
        for pause in &self.pauses {
            add(format!("node {} stands still", pause.node), pause.at, pause.until);
        }
        for stall in &self.stalls {
            add(format!("node {} does not read", stall.node), stall.at, stall.until);
        }
        for clog in &self.clogs {
            add(format!("node {} takes no payload", clog.node), clog.at, clog.until);
        }
        for flap in &self.flaps {
            add(format!("the line of node {} flaps", flap.node), flap.at, flap.until);
        }
        for disk in &self.disks {
            add(format!("the disk of node {} is in trouble", disk.node), disk.at, disk.until);
        }
        if let Some(attack) = self.attack {
            add(format!("{} attackers: {attack}", self.attackers), self.attack_at, self.duration);
        }
        all.sort_by(|a, b| a.from.total_cmp(&b.from));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that can be written into a scenario is told, but what it is all the time.
    #[test]
    fn all_that_befalls_nodes_is_told() {
        let text = r#"
            nodes = 20
            duration = "60s"
            attackers = 2
            attack = "silent"
            attack_at = "9s"
            crashes = [{ node = 1, at = "8s" }]
            pauses = [{ node = 2, at = "7s", until = "10s" }]
            stalls = [{ node = 3, at = "6s", until = "10s" }]
            clogs = [{ node = 4, at = "6500ms", until = "10s" }]
            partitions = [{ nodes = 8, at = "5s", until = "20s" }, { nodes = 4, at = "5s", until = "6s", one_way = true }]
            waves = [{ share = 0.25, at = "4s", over = "1s" }]
            roots = [{ percent = 50, at = "3s" }]
            messages.rate = 0
        "#;
        let scenario = Scenario::parse(text, &[]).expect("a scenario");
        let told: Vec<String> = scenario.troubles().into_iter().map(|trouble| trouble.what).collect();
        let all = [
            "50 % of the roots die",
            "25 % of the nodes go",
            "8 of 20 nodes are cut off",
            "4 of 20 nodes are not heard",
            "node 3 does not read",
            "node 4 takes no payload",
            "node 2 stands still",
            "node 1 is down",
            "2 attackers: silent",
        ];
        assert_eq!(told, all);
        let down = &scenario.troubles()[7];
        assert_eq!((down.from, down.until), (8.0, 60.0));
    }
}
