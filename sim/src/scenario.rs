//! Scenarios: a TOML file of a network, its faults and its messages, and the world made from it.

mod check;
mod faults;
mod messages;
mod network;
mod text;
mod troubles;
mod write;

use core::fmt;
use core::time::Duration;

use djembe_protocol::bounds::Bounds;
use djembe_protocol::limits;
use djembe_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use self::faults::Lot;
pub use self::faults::{Churn, Crowd, DiskTrouble, FallOfRoots, Flap, Partition, Starvation, Wave};
pub use self::messages::{Authors, Messages};
pub use self::network::{BurstText, PathText, SiteText};
pub use self::text::parse_time;
use self::text::{attack, carry, fit, in_words, parse_value, put, some_time, time};
pub use self::troubles::Trouble;
use crate::attack::Kind;
use crate::baseline::Protocol;
use crate::bug::Bug;
use crate::topology::{Burst, Conditions, Way};
use crate::wire::Carry;
use crate::world::{Fault, World, WorldConfig, first_come, in_turn};

/// A world of more nodes than these carries frames as they are.
const LARGE: usize = 1000;

/// No machine has use for more threads.
pub const THREADS_MAX: usize = 1024;

/// Scenarios that are compiled in, by name.
pub const SHIPPED: [(&str, &str); 24] = [
    ("lan-30", include_str!("../scenarios/lan-30.toml")),
    ("office-200-wifi", include_str!("../scenarios/office-200-wifi.toml")),
    ("campus-1k", include_str!("../scenarios/campus-1k.toml")),
    ("city-10k", include_str!("../scenarios/city-10k.toml")),
    ("storm-join-10k", include_str!("../scenarios/storm-join-10k.toml")),
    ("churn-10k", include_str!("../scenarios/churn-10k.toml")),
    ("crash-90", include_str!("../scenarios/crash-90.toml")),
    ("partition-heal", include_str!("../scenarios/partition-heal.toml")),
    ("lossy-presence", include_str!("../scenarios/lossy-presence.toml")),
    ("false-alarms", include_str!("../scenarios/false-alarms.toml")),
    ("pauses", include_str!("../scenarios/pauses.toml")),
    ("slow-reader", include_str!("../scenarios/slow-reader.toml")),
    ("hostile", include_str!("../scenarios/hostile.toml")),
    ("telemetry-1k", include_str!("../scenarios/telemetry-1k.toml")),
    ("faults-12", include_str!("../scenarios/faults-12.toml")),
    ("mesh-1000", include_str!("../scenarios/mesh-1000.toml")),
    ("many-groups-10k", include_str!("../scenarios/many-groups-10k.toml")),
    ("segments-60", include_str!("../scenarios/segments-60.toml")),
    ("root-election", include_str!("../scenarios/root-election.toml")),
    ("hand-over", include_str!("../scenarios/hand-over.toml")),
    ("lying-root", include_str!("../scenarios/lying-root.toml")),
    ("million", include_str!("../scenarios/million.toml")),
    ("forest-200", include_str!("../scenarios/forest-200.toml")),
    ("reality-30", include_str!("../scenarios/reality-30.toml")),
];

/// A network and what happens in it. Every field has a default but `nodes` and `duration`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// How many nodes.
    pub nodes: usize,
    /// Virtual time from start to end.
    #[serde(deserialize_with = "time")]
    pub duration: Duration,
    /// Everything random grows from it.
    #[serde(default = "one")]
    pub seed: u64,
    /// How many groups there are.
    #[serde(default = "one_of_many")]
    pub groups: usize,
    /// In how many of them each node is. Who is in which is drawn, so that all are of about one size; what a node says
    /// goes to one of its groups after the other.
    #[serde(default = "one_of_many")]
    pub groups_per_node: usize,
    /// What spreads messages: `djembe`, or a baseline over the same links.
    #[serde(default)]
    pub protocol: Protocol,
    /// Time of one way.
    #[serde(default = "micros_200", deserialize_with = "time")]
    pub latency: Duration,
    /// Up to this much more between two nodes, drawn once for each pair.
    #[serde(default, deserialize_with = "time")]
    pub spread: Duration,
    /// Up to this much more for each packet.
    #[serde(default, deserialize_with = "time")]
    pub jitter: Duration,
    /// And up to this share of the time between the two.
    #[serde(default)]
    pub jitter_share: f64,
    /// Share of packets sent again, 0 to 0.9.
    #[serde(default)]
    pub loss: f64,
    /// Bits a second that a node can send; 0 is no limit.
    #[serde(default)]
    pub bandwidth: u64,
    /// Loss that comes in bursts, beside that.
    #[serde(default)]
    pub burst: Option<BurstText>,
    /// Share of packets that take twice as long, and so let others overtake them.
    #[serde(default)]
    pub reorder: f64,
    /// Share of packets that come twice.
    #[serde(default)]
    pub duplicate: f64,
    /// Share of frames that are changed on the way: the cipher notices, and the connection ends.
    #[serde(default)]
    pub corrupt: f64,
    /// Where nodes are; without any, all are in one place.
    #[serde(default)]
    pub sites: Vec<SiteText>,
    /// What lies between the sites.
    #[serde(default)]
    pub paths: Vec<PathText>,
    /// Wall clocks are wrong by up to this, either way.
    #[serde(default, deserialize_with = "time")]
    pub clock_skew: Duration,
    /// And go so many millionths too fast or too slow, at most.
    #[serde(default)]
    pub clock_drift_ppm: f64,
    /// A node hears of another within this.
    #[serde(default = "millis_500", deserialize_with = "time")]
    pub discovery: Duration,
    /// And again after so long; zero is never.
    #[serde(default = "secs_5", deserialize_with = "time")]
    pub beacon: Duration,
    /// There is no discovery: all nodes are told of this one, and of no other.
    #[serde(default)]
    pub contact: Option<usize>,
    /// There is no discovery: each node is told of so many others, drawn by lot, as by its cache of a run before.
    #[serde(default)]
    pub acquaintances: usize,
    /// The nodes start one after the other over so long; the contact is first.
    #[serde(default, deserialize_with = "time")]
    pub joins: Duration,
    /// How much of others a node keeps.
    #[serde(default)]
    pub bounds: Bounds,
    /// How long silence is borne before somebody is suspected, in thousandths of the usual; less is for measurements.
    #[serde(default = "patience")]
    pub patience: u16,
    /// A commit takes half of this to this.
    #[serde(default = "millis_5", deserialize_with = "time")]
    pub persist: Duration,
    /// A look-up takes half of this to this.
    #[serde(default = "millis_1", deserialize_with = "time")]
    pub fetch: Duration,
    /// Frames travel as `bytes`, through both ends of the elision of headers, or as `frames`, as they are; without it, as
    /// frames where there are more than a thousand nodes. What happens is the same.
    #[serde(default, deserialize_with = "carry")]
    pub carry: Option<Carry>,
    /// Nodes are spread over so many threads; 0 is as many as there are cores. What happens is the same.
    #[serde(default = "one_thread")]
    pub threads: usize,
    /// After the last fault and message, logs are the same within this.
    #[serde(default = "secs_10", deserialize_with = "time")]
    pub settle: Duration,
    /// Who publishes what.
    #[serde(default)]
    pub messages: Messages,
    /// Hostile nodes beside the others: numbered after them, and not counted in `nodes`.
    #[serde(default)]
    pub attackers: usize,
    /// What they do; see [`Kind`].
    #[serde(default, deserialize_with = "attack")]
    pub attack: Option<Kind>,
    /// How many IP addresses they have together; 0 is one each.
    #[serde(default)]
    pub operators: usize,
    /// They start one after the other within a second from then on.
    #[serde(default, deserialize_with = "time")]
    pub attack_at: Duration,
    /// The first so many nodes are cut off for a while.
    #[serde(default)]
    pub partitions: Vec<Partition>,
    /// Nodes whose lines come and go.
    #[serde(default)]
    pub flaps: Vec<Flap>,
    /// Many that go together.
    #[serde(default)]
    pub waves: Vec<Wave>,
    /// Newcomers: the last of the nodes, who start later than the others.
    #[serde(default)]
    pub crowds: Vec<Crowd>,
    /// Roots of trees that die together.
    #[serde(default)]
    pub roots: Vec<FallOfRoots>,
    /// Nodes that come and go all the time.
    #[serde(default)]
    pub churn: Option<Churn>,
    /// Nodes that stand still again and again.
    #[serde(default)]
    pub starvation: Option<Starvation>,
    /// Disks in trouble.
    #[serde(default)]
    pub disks: Vec<DiskTrouble>,
    /// Processes that die.
    #[serde(default)]
    pub crashes: Vec<Crash>,
    /// Nodes that stand still.
    #[serde(default)]
    pub pauses: Vec<Span>,
    /// Nodes whose sockets are not read.
    #[serde(default)]
    pub stalls: Vec<Span>,
    /// Nodes that listen to talk, and take no payload.
    #[serde(default)]
    pub clogs: Vec<Span>,
    /// A mistake that hosts make, to show that it is found. For tests.
    #[doc(hidden)]
    #[serde(default)]
    pub bug: Option<Bug>,
}

/// A process that dies.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Crash {
    /// Whose.
    pub node: usize,
    /// When.
    #[serde(deserialize_with = "time")]
    pub at: Duration,
    /// When it is back.
    #[serde(default, deserialize_with = "some_time")]
    pub restart: Option<Duration>,
    /// The machine goes with it, so that nobody is told.
    #[serde(default)]
    pub power_off: bool,
    /// And the last so many commits, 64 at most, although the disk said that they were safe.
    #[serde(default)]
    pub lost_commits: usize,
}

/// A node and a while.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// Which node.
    pub node: usize,
    /// From then on.
    #[serde(deserialize_with = "time")]
    pub at: Duration,
    /// Until then.
    #[serde(deserialize_with = "time")]
    pub until: Duration,
}

/// Why there is no such scenario. The text is for people.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ScenarioError(String);

impl ScenarioError {
    fn new(text: impl fmt::Display) -> Self {
        Self(text.to_string())
    }
}

impl Scenario {
    /// Reads a scenario and puts `key=value` pairs over it; a dot goes into a table (`messages.rate=5`). Of fewer nodes no
    /// more send than there are, and with no attackers there is no attack, unless pairs say so too.
    ///
    /// # Errors
    /// [`ScenarioError`] that names the key and says what was expected.
    pub fn parse(text: &str, sets: &[String]) -> Result<Self, ScenarioError> {
        let mut table: toml::Table = text.parse().map_err(|error| ScenarioError::new(in_words(&error)))?;
        for set in sets {
            let (key, value) = set
                .split_once('=')
                .ok_or_else(|| ScenarioError::new(format!("--set {set}: expected key=value")))?;
            put(&mut table, key.trim(), parse_value(value.trim()))
                .map_err(|error| ScenarioError::new(format!("--set {set}: {error}")))?;
        }
        fit(&mut table, sets);
        let scenario: Self = table.try_into().map_err(|error: toml::de::Error| {
            // Only the text has lines; but what a set has made wrong is in none.
            let in_text = toml::from_str::<Self>(text).err();
            let in_text = in_text.filter(|in_text| in_text.message() == error.message());
            ScenarioError::new(in_words(&in_text.unwrap_or(error)))
        })?;
        scenario.check().map_err(ScenarioError::new)?;
        Ok(scenario)
    }

    /// When the last fault is over, the last node has come, and the last message is published.
    pub fn quiet_at(&self) -> Duration {
        self.faults_end().max(self.messages.stop).max(self.arrived_at())
    }

    /// When the last node has come, attackers not counted.
    pub fn arrived_at(&self) -> Duration {
        let crowds = self.crowds.iter().map(|crowd| crowd.at + crowd.over);
        crowds.fold(self.joins, Duration::max)
    }

    /// When each node starts.
    pub(crate) fn arrivals(&self) -> Vec<(Duration, usize)> {
        let n_late: usize = self.crowds.iter().map(|crowd| crowd.nodes).sum();
        let mut next = self.nodes.saturating_sub(n_late);
        let mut all: Vec<(Duration, usize)> = first_come(next, self.contact, self.joins).collect();
        for crowd in &self.crowds {
            all.extend(in_turn(next..next + crowd.nodes, crowd.at, crowd.over));
            next += crowd.nodes;
        }
        all
    }

    /// When the last fault is over.
    pub fn faults_end(&self) -> Duration {
        self.plan().into_iter().map(|(at, _)| at).max().unwrap_or_default()
    }

    fn n_threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        }
    }

    /// The world at its beginning, everything scheduled.
    pub fn world(&self) -> World {
        let mut world = World::peopled(
            WorldConfig {
                seed: self.seed,
                network: self.conditions(),
                clock_skew: self.clock_skew,
                clock_drift_ppm: self.clock_drift_ppm,
                discovery: self.discovery,
                beacon: self.beacon,
                contact: self.contact,
                acquaintances: self.acquaintances,
                bounds: self.bounds,
                patience: self.patience,
                persist: self.persist,
                fetch: self.fetch,
                carry: self.carry.unwrap_or(if self.nodes > LARGE { Carry::Frames } else { Carry::Bytes }),
                protocol: self.protocol,
                optimum_every: self.optimum_every(),
                threads: self.n_threads(),
            },
            self.nodes,
            self.groups,
            self.groups_per_node,
        );
        world.arrive(self.arrivals());
        world.plant(self.bug);
        self.schedule_attack(&mut world);
        self.schedule_faults(&mut world);
        for stall in &self.stalls {
            world.ledger.struck.insert(stall.node);
        }
        self.schedule_messages(&mut world);
        world
    }

    fn conditions(&self) -> Conditions {
        let all = Conditions {
            latency: self.latency,
            spread: self.spread,
            jitter: self.jitter,
            jitter_share: self.jitter_share,
            loss: self.loss,
            burst: self.burst.as_ref().map(Burst::from),
            reorder: self.reorder,
            duplicate: self.duplicate,
            corrupt: self.corrupt,
            bandwidth: self.bandwidth,
            sites: Vec::new(),
        };
        // They were looked at when the scenario was read.
        let sites = network::sites(&self.sites, &self.paths, &all.way()).unwrap_or_default();
        Conditions { sites, ..all }
    }

    /// The share of packets that are lost on the worst way, bursts aside.
    pub fn loss_max(&self) -> f64 {
        self.ways().iter().map(|way| way.loss).fold(0.0, f64::max)
    }

    /// Nothing is lost or spoilt on any way.
    pub fn is_lossless(&self) -> bool {
        self.ways().iter().all(|way| way.loss == 0.0 && way.burst.is_none() && way.corrupt == 0.0)
    }

    /// What lies between any two nodes: of each kind one.
    fn ways(&self) -> Vec<Way> {
        let conditions = self.conditions();
        let ways: Vec<Way> = conditions.sites.iter().flat_map(|site| site.ways.iter().copied()).collect();
        if ways.is_empty() { vec![conditions.way()] } else { ways }
    }

    fn schedule_attack(&self, world: &mut World) {
        let Some(attack) = self.attack else { return };
        for n in 0..self.attackers {
            let operator = if self.operators == 0 { n } else { n % self.operators };
            let node = world.add_attacker(attack, u16::try_from(operator).unwrap_or(u16::MAX));
            let after = Duration::from_secs(1) * u32::try_from(n).unwrap_or(u32::MAX)
                / u32::try_from(self.attackers).unwrap_or(1);
            world.start_at(Timestamp::ZERO + self.attack_at + after, node);
        }
    }

    /// The same without the attack.
    pub fn clean(&self) -> Self {
        Self { attackers: 0, attack: None, ..self.clone() }
    }

    /// The same with another protocol.
    ///
    /// # Errors
    /// [`ScenarioError`] if it makes no sense with that one.
    pub fn with_protocol(&self, protocol: Protocol) -> Result<Self, ScenarioError> {
        let scenario = Self { protocol, ..self.clone() };
        scenario.check().map_err(ScenarioError::new)?;
        Ok(scenario)
    }

    /// All faults: those that are named, and those that are drawn from the seed.
    fn plan(&self) -> Vec<(Duration, Fault)> {
        let mut plan = Vec::new();
        faults::partitions(&mut plan, &self.partitions, self.nodes);
        faults::flaps(&mut plan, &self.flaps, u32::try_from(self.partitions.len()).unwrap_or(u32::MAX));
        let lot = Lot { seed: self.seed, n_nodes: self.nodes, spared: self.contact };
        faults::waves(&mut plan, &self.waves, &lot);
        if let Some(churn) = &self.churn {
            faults::churn(&mut plan, churn, &lot);
        }
        if let Some(starvation) = &self.starvation {
            faults::starvation(&mut plan, starvation, &lot);
        }
        faults::roots(&mut plan, &self.roots);
        faults::disks(&mut plan, &self.disks);
        for Crash { node, at, restart, power_off, lost_commits } in self.crashes.iter().cloned() {
            plan.push((at, if power_off { Fault::PowerOff(node) } else { Fault::Crash(node) }));
            if lost_commits > 0 {
                plan.push((at, Fault::LoseCommits(node, lost_commits)));
            }
            if let Some(restart) = restart {
                plan.push((restart, Fault::Restart(node)));
            }
        }
        for (spans, begin, end) in [
            (&self.pauses, Fault::Pause as fn(usize) -> Fault, Fault::Resume as fn(usize) -> Fault),
            (&self.stalls, Fault::Stall, Fault::Unstall),
            (&self.clogs, Fault::Clog, Fault::Unclog),
        ] {
            for span in spans {
                plan.push((span.at, begin(span.node)));
                plan.push((span.until, end(span.node)));
            }
        }
        plan
    }

    fn schedule_faults(&self, world: &mut World) {
        for (at, fault) in self.plan() {
            world.fault_at(Timestamp::ZERO + at, fault);
        }
    }

    fn schedule_messages(&self, world: &mut World) {
        let Messages { lane, size, .. } = self.messages;
        let mut n_said = vec![0; self.nodes];
        for (at, node) in self.publishes() {
            let groups = world.groups_of(node);
            let group = groups[n_said[node] % groups.len()];
            n_said[node] += 1;
            world.publish_at(Timestamp::ZERO + at, node, group, lane, size);
        }
    }
}

fn one() -> u64 {
    1
}

fn one_thread() -> usize {
    1
}

fn one_of_many() -> usize {
    1
}

fn micros_200() -> Duration {
    Duration::from_micros(200)
}

fn millis_1() -> Duration {
    Duration::from_millis(1)
}

fn patience() -> u16 {
    limits::PATIENCE
}

fn millis_5() -> Duration {
    Duration::from_millis(5)
}

fn millis_500() -> Duration {
    Duration::from_millis(500)
}

fn secs_5() -> Duration {
    Duration::from_secs(5)
}

fn secs_10() -> Duration {
    Duration::from_secs(10)
}

#[cfg(test)]
mod tests {
    use djembe_protocol::id::Lane;

    use super::*;

    #[test]
    fn every_shipped_scenario_is_one() {
        for (name, text) in SHIPPED {
            assert!(Scenario::parse(text, &[]).is_ok(), "{name}: {:?}", Scenario::parse(text, &[]));
        }
    }

    #[test]
    fn every_scenario_and_attack_is_documented() {
        let docs = include_str!("../../docs/simulator.md");
        let attacks = crate::attack::Kind::ALL.iter().map(|(_, name)| name);
        for name in SHIPPED.iter().map(|(name, _)| name).chain(attacks) {
            assert!(docs.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn a_set_overrides_and_a_mistake_is_named() {
        let parse = |sets: &[&str]| {
            let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
            Scenario::parse(SHIPPED[0].1, &sets)
        };
        let scenario =
            parse(&["nodes=7", "latency=3ms", "messages.lane=live", "messages.rate=2"]).expect("fine");
        assert_eq!((scenario.nodes, scenario.latency), (7, Duration::from_millis(3)));
        assert_eq!((scenario.messages.lane, scenario.messages.rate), (Lane::Live, 2.0));
        for (set, told) in [
            ("nods=7", "expected one of `nodes`, `duration`, `seed`"),
            ("nodes=many", "expected a whole number"),
            ("bounds={members=9}", "nearest that work are members = 16,"),
            ("threads=1025", "expected 0 to 1024"),
            ("threads=1024", ""),
            ("patience=1001", "expected 0 to 1000"),
            ("latency=3601s", "latency = 3601s: expected 3600s at most"),
            ("latency=3600s", ""),
            ("jitter=2000min", "jitter = 120000s"),
            ("messages.senders=31", "more than nodes = 30"),
            ("messages.senders=30", ""),
            ("attack=silent", "attackers = 0: expected 1 to 10000"),
            ("bug=wrong-group", "with groups = 1 there is no other"),
            ("partitions=[{nodes=30, at=\"6s\", until=\"7s\"}]", "nobody is on one side"),
            ("partitions=[{nodes=0, at=\"6s\", until=\"7s\"}]", "nobody is on one side"),
            ("partitions=[{nodes=29, at=\"6s\", until=\"7s\"}]", ""),
            ("latency=3", ""),
            ("latency=3parsecs", "expected a number with us, ms, s or min"),
            ("messages.lane=fast", "expected \"durable\" or \"live\""),
            ("loss=2", "expected 0 to 0.9"),
            ("duration=5s", "comes after it"),
            ("messages.start=20min", "nothing is said after messages.stop"),
            ("messages.measure=20min", "nothing is said after messages.stop"),
            ("nodes=-3", "in `nodes`"),
            ("nodes", "expected key=value"),
            ("crashes=[{node=99, at=\"1s\"}]", "node 99 of 30"),
        ] {
            match parse(&[set]) {
                Ok(_) => assert_eq!(told, "", "{set} is a mistake"),
                Err(error) => assert!(error.to_string().contains(told) && !told.is_empty(), "{set}: {error}"),
            }
        }
    }
}
