//! What is compared: the same figures of both sides, and how far they are apart.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

use djembe_sim::baseline::Protocol;
use djembe_sim::kinds::Purpose;
use djembe_sim::report::quantile_ms;
use djembe_sim::scenario::Scenario;
use serde::Serialize;

/// Frames of one purpose, or packets.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Sum {
    pub(crate) n: u64,
    pub(crate) bytes: u64,
}

impl Sum {
    pub(crate) fn add(&mut self, n: u64, bytes: u64) {
        self.n += n;
        self.bytes += bytes;
    }
}

/// Frames by kind, without what transports add.
#[derive(Clone, Default, Debug)]
pub(crate) struct Frames(BTreeMap<u8, Sum>);

impl Frames {
    /// The kind of a frame with an envelope.
    const ENVELOPE: u8 = 13;

    pub(crate) fn add(&mut self, kind: u8, n: u64, bytes: u64) {
        if n > 0 {
            self.0.entry(kind).or_default().add(n, bytes);
        }
    }

    fn of(&self, is_wanted: impl Fn(u8) -> bool) -> Sum {
        let mut all = Sum::default();
        for (_, sum) in self.0.iter().filter(|(kind, _)| is_wanted(**kind)) {
            all.add(sum.n, sum.bytes);
        }
        all
    }
}

/// What frames of a kind are for.
fn purpose(kind: u8) -> &'static str {
    match Purpose::of(kind, Protocol::Djembe) {
        Purpose::Messages => "messages",
        Purpose::Presence => "presence",
        _ => "background",
    }
}

/// What one side came to, from the first measured message on. What it does not know is none.
#[derive(Clone, Default, Debug)]
pub(crate) struct Figures {
    /// Publish to delivery, in microseconds, sorted.
    pub(crate) latencies: Vec<u64>,
    /// Publish to the last delivery of each message, the same way.
    pub(crate) to_all: Vec<u64>,
    /// Deliveries that were due.
    pub(crate) expected: usize,
    /// Envelopes that were new to their node.
    pub(crate) new_envelopes: u64,
    /// Neighbours of all nodes.
    pub(crate) links: usize,
    /// How long was measured, in seconds.
    pub(crate) seconds: f64,
    pub(crate) frames: Frames,
    /// Writes of frames to links.
    pub(crate) writes: Option<u64>,
    /// Packets of links that carry something.
    pub(crate) packets: Sum,
    pub(crate) acknowledgements: Option<Sum>,
    /// Attempts to connect; simulated, those that were accepted.
    pub(crate) dials: u64,
    /// Packets that open and end connections.
    pub(crate) connections: Option<Sum>,
    pub(crate) beacons: Sum,
    pub(crate) mdns: Option<Sum>,
    /// ARP and its like, multicast groups, and what else a kernel says.
    pub(crate) kernel: Option<Sum>,
    /// What is to be known beside the figures.
    pub(crate) notes: Vec<String>,
}

impl Figures {
    pub(crate) fn is_complete(&self) -> bool {
        self.latencies.len() == self.expected
    }

    fn wire(&self) -> u64 {
        let others = [self.acknowledgements, self.connections, self.mdns, self.kernel];
        let others: u64 = others.iter().flatten().map(|sum| sum.bytes).sum();
        self.packets.bytes + self.beacons.bytes + others
    }
}

/// One figure of both sides.
#[derive(Clone, Debug, Serialize)]
struct Row {
    figure: String,
    real: Option<f64>,
    simulated: Option<f64>,
    /// How much more the real one is than the simulated one, in percent of that.
    residual_percent: Option<f64>,
}

/// Both sides, row by row.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    scenario: String,
    seed: u64,
    nodes: usize,
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Comparison {
    pub(crate) fn new(name: String, scenario: &Scenario, real: &Figures, simulated: &Figures) -> Self {
        let kinds: BTreeSet<u8> = real.frames.0.keys().chain(simulated.frames.0.keys()).copied().collect();
        let rows = |figures| rows(scenario.nodes, &kinds, figures);
        let rows = rows(real).into_iter().zip(rows(simulated));
        let rows = rows.map(|((figure, real), (_, simulated))| {
            let residual = real.zip(simulated).filter(|(_, simulated)| *simulated > 0.0);
            let residual_percent = residual.map(|(real, simulated)| 100.0 * (real / simulated - 1.0));
            Row { figure, real, simulated, residual_percent }
        });
        let notes = real.notes.iter().chain(&simulated.notes).cloned().collect();
        Self { scenario: name, seed: scenario.seed, nodes: scenario.nodes, rows: rows.collect(), notes }
    }

    pub(crate) fn json(&self) -> Result<String, String> {
        serde_json::to_string(self).map(|json| json + "\n").map_err(|error| error.to_string())
    }
}

/// The figures by name, in one order for both sides. Bytes and packets are of a node and second.
fn rows(nodes: usize, kinds: &BTreeSet<u8>, figures: &Figures) -> Vec<(String, Option<f64>)> {
    let mut rows = Vec::new();
    let mut row = |figure: &str, value: Option<f64>| rows.push((figure.to_owned(), value));
    for (what, times) in [("latency", &figures.latencies), ("time to all", &figures.to_all)] {
        for (name, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
            row(&format!("{what} {name}, ms"), Some(quantile_ms(times, share)));
        }
    }
    let share = |a: f64, b: f64| Some(a / b.max(f64::MIN_POSITIVE));
    let Figures { frames, packets, beacons, .. } = figures;
    row("delivered, of what was due", share(figures.latencies.len() as f64, figures.expected as f64));
    let envelopes = frames.of(|kind| kind == Frames::ENVELOPE);
    row("copies of an envelope", share(envelopes.n as f64, figures.new_envelopes as f64));
    row("links of a node", share(figures.links as f64, nodes as f64));
    let each = |n: u64| n as f64 / nodes as f64 / figures.seconds;
    for what in ["messages", "presence", "background"] {
        let sum = frames.of(|kind| purpose(kind) == what);
        row(&format!("frames for {what}"), Some(each(sum.n)));
        row("bytes of these, bare", Some(each(sum.bytes)));
        for kind in kinds.iter().filter(|kind| purpose(**kind) == what) {
            let sum = frames.of(|other| other == *kind);
            row(&format!("  kind {kind}, frames"), Some(each(sum.n)));
            row(&format!("  kind {kind}, bytes"), Some(each(sum.bytes)));
        }
    }
    let all = frames.of(|_| true);
    row("writes to links", figures.writes.map(each));
    row("packets of links", Some(each(packets.n)));
    row("bytes of these", Some(each(packets.bytes)));
    row("bytes around a frame", share(packets.bytes.saturating_sub(all.bytes) as f64, all.n as f64));
    row("dials", Some(each(figures.dials)));
    let mut both = |what: &str, sum: Option<Sum>| {
        row(&format!("{what}, packets"), sum.map(|sum| each(sum.n)));
        row(&format!("{what}, bytes"), sum.map(|sum| each(sum.bytes)));
    };
    both("acknowledgements", figures.acknowledgements);
    both("connections opened and closed", figures.connections);
    both("beacons", Some(*beacons));
    both("mDNS", figures.mdns);
    both("ARP, IGMP and their like", figures.kernel);
    row("all bytes on the wire", Some(each(figures.wire())));
    rows
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |value: Option<f64>, unit: &str| {
            let text = |value: f64| match value.abs() {
                0.0..100.0 => format!("{value:.2}{unit}"),
                _ => format!("{value:.0}{unit}"),
            };
            value.map_or_else(|| "-".to_owned(), text)
        };
        let Self { scenario, seed, nodes, .. } = self;
        writeln!(
            f,
            "{scenario}, seed {seed}, {nodes} nodes; frames, packets and bytes of a node and second"
        )?;
        writeln!(f, "{:<38}{:>12}{:>12}{:>12}", "", "real", "simulated", "residual")?;
        for Row { figure, real, simulated, residual_percent } in &self.rows {
            let (real, simulated) = (number(*real, ""), number(*simulated, ""));
            let residual = number(*residual_percent, " %");
            writeln!(f, "{figure:<38}{real:>12}{simulated:>12}{residual:>12}")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}
