//! What only drawings show of a run: distributions, nodes one by one, and the ways that messages took.

use std::collections::BTreeMap;

use djembe_protocol::time::Timestamp;
use serde::Serialize;

use super::bytes::Mark;
use super::quantile_ms;
use super::series::Change;
use crate::ledger::Sent;
use crate::scenario::{Scenario, Trouble};
use crate::topology::NodeIx;
use crate::world::World;

/// Points of a line; more would not be seen.
pub(super) const POINTS_MAX: usize = 600;
/// In a larger world the ways of messages are not recorded: nobody could follow them.
pub const PATHS_NODES_MAX: usize = 200;
/// Messages whose ways are told.
const PATHS_MAX: usize = 5;
/// Points of a distribution.
const SHARES: usize = 200;
/// Faults that are told; more would not be told apart.
const TROUBLES_MAX: usize = 30;
/// Bars of a distribution of nodes.
const BARS: usize = 24;

/// What a report has for drawings beside its figures and its series.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Picture {
    /// Milliseconds from publish to delivery, and the share of all deliveries that took no longer.
    pub delivery: Vec<(f64, f64)>,
    /// Messages for which it is known how fast they could have been, by when they were published.
    pub messages: Vec<Timed>,
    /// Envelopes that were new to their node, by the hops that they took: none, one, two.
    pub hops: Vec<u64>,
    /// Nodes by bytes a second that they sent and received.
    pub bandwidth: Bars,
    /// What became of each node; of a long run with much to tell only the beginning.
    pub standings: Vec<Change>,
    /// The ways of some messages in a small world.
    pub paths: Vec<Path>,
    /// What befell the nodes; of much only the beginning.
    pub troubles: Vec<Trouble>,
}

/// How long a message took, and how long it would have taken at best.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Timed {
    /// Virtual seconds at which it was published.
    pub seconds: f64,
    /// Milliseconds to 99 % of the nodes.
    pub p99_ms: f64,
    /// To the last of them.
    pub full_ms: f64,
    /// To 99 % of them at best.
    pub best_p99_ms: f64,
    /// To the last at best.
    pub best_full_ms: f64,
}

/// How many nodes have how much. The bars are equally wide, or each is so many times as wide as the one before.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Bars {
    /// Where the bars begin, and where the last one ends.
    pub edges: Vec<f64>,
    /// Nodes in each by what they sent.
    pub sent: Vec<usize>,
    /// And by what they received.
    pub received: Vec<usize>,
    /// What a node sent: the least, the median, what 99 % do not exceed, and the most.
    pub of_sent: [f64; 4],
    /// The same of what was received.
    pub of_received: [f64; 4],
}

/// How a message came to everybody.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Path {
    /// Whose it is.
    pub author: NodeIx,
    /// Virtual seconds at which it was published.
    pub seconds: f64,
    /// Milliseconds until it had come to all that it came to.
    pub took_ms: f64,
    /// To whom it came when.
    pub steps: Vec<Step>,
}

/// A message came to a node that did not have it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Step {
    /// To whom.
    pub to: NodeIx,
    /// From whom.
    pub from: NodeIx,
    /// Milliseconds after it was published.
    pub ms: f64,
}

pub(super) fn of(scenario: &Scenario, world: &World, before: &Mark, standings: Vec<Change>) -> Picture {
    let from = Timestamp::ZERO + scenario.messages.measured_from();
    let hops = world.hops().iter().zip(&before.hops).map(|(now, before)| now - before).collect::<Vec<_>>();
    let deepest = hops.iter().rposition(|n| *n > 0).map_or(0, |deepest| deepest + 1);
    let (sent, received) = rates(world, before);
    Picture {
        delivery: delivery(world, from),
        messages: messages(world, from),
        hops: hops[..deepest].to_vec(),
        bandwidth: Bars::of(sent, received),
        standings,
        paths: paths(world),
        troubles: scenario.troubles().into_iter().take(TROUBLES_MAX).collect(),
    }
}

fn delivery(world: &World, from: Timestamp) -> Vec<(f64, f64)> {
    let measured = world.ledger.messages.iter().filter(|sent| sent.at >= from);
    let mut all: Vec<u64> = measured.flat_map(|sent| &sent.latencies).copied().collect();
    all.sort_unstable();
    if all.is_empty() {
        return Vec::new();
    }
    // Of the end, in which the slowest are, there is more to see than of the middle.
    let shares = (0..SHARES).map(|n| n as f64 / SHARES as f64);
    let end = [0.996, 0.997, 0.998, 0.999, 0.9995, 0.9999, 0.99999, 1.0];
    shares.chain(end).map(|share| (round(quantile_ms(&all, share)), share)).collect()
}

fn messages(world: &World, from: Timestamp) -> Vec<Timed> {
    let known = |sent: &&Sent| sent.at >= from && sent.best_full > 0 && !sent.latencies.is_empty();
    let timed = |sent: &Sent| {
        let mut latencies = sent.latencies.clone();
        latencies.sort_unstable();
        Timed {
            seconds: round((sent.at - Timestamp::ZERO).as_secs_f64()),
            p99_ms: round(quantile_ms(&latencies, 0.99)),
            full_ms: round(quantile_ms(&latencies, 1.0)),
            best_p99_ms: round(sent.best_p99),
            best_full_ms: round(sent.best_full as f64 / 1000.0),
        }
    };
    let mut all: Vec<Timed> = world.ledger.messages.iter().filter(known).map(timed).collect();
    all.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    // Of many the slowest of each stretch, with what would have been best for it.
    let stretch = all.len().div_ceil(POINTS_MAX).max(1);
    let slowest = |some: &[Timed]| some.iter().copied().max_by(|a, b| a.full_ms.total_cmp(&b.full_ms));
    all.chunks(stretch).filter_map(slowest).collect()
}

/// Bytes a second that each honest node sent and received since then.
fn rates(world: &World, before: &Mark) -> (Vec<f64>, Vec<f64>) {
    let seconds = (world.now().as_micros() as f64 / 1e6 - before.bytes.seconds).max(1e-6);
    let rate = |node: NodeIx| {
        let (sent, received) = before.of_nodes.get(node).copied().unwrap_or_default();
        let meter = &world.host(node).meter;
        ((meter.sent - sent) as f64 / seconds, (meter.received - received) as f64 / seconds)
    };
    world.honest().map(rate).unzip()
}

impl Bars {
    fn of(mut sent: Vec<f64>, mut received: Vec<f64>) -> Self {
        sent.sort_by(f64::total_cmp);
        received.sort_by(f64::total_cmp);
        let both = || sent.iter().chain(&received).copied();
        let most = both().fold(0.0, f64::max);
        if most <= 0.0 {
            return Self::default();
        }
        let mut edges = edges(both().fold(most, f64::min), most);
        let n_bars = edges.len() - 1;
        let count = |values: &[f64]| {
            let mut nodes = vec![0; n_bars];
            for value in values {
                let bar = edges.partition_point(|edge| edge <= value).saturating_sub(1);
                nodes[bar.min(n_bars - 1)] += 1;
            }
            nodes
        };
        let quantiles = |values: &[f64]| {
            [0.0, 0.5, 0.99, 1.0].map(|share| {
                let at = (share * values.len().saturating_sub(1) as f64).round() as usize;
                round(values.get(at).copied().unwrap_or(0.0))
            })
        };
        let (of_sent, of_received) = (quantiles(&sent), quantiles(&received));
        let (sent, received) = (count(&sent), count(&received));
        edges.iter_mut().for_each(|edge| *edge = round(*edge));
        Self { edges, sent, received, of_sent, of_received }
    }
}

/// Where bars begin and end that hold all from the least to the most.
fn edges(least: f64, most: f64) -> Vec<f64> {
    // Where some have many times as much as others, the others would all be in the first bar.
    const FAR: f64 = 20.0;
    let low = least.max(1.0);
    if most / low > FAR {
        let times = (most / low).powf(1.0 / BARS as f64);
        let first = if least < low { Some(0.0) } else { None };
        let rest = (0..=BARS).map(|n| low * times.powi(n as i32));
        return first.into_iter().chain(rest).collect();
    }
    let wide = ((most - least) / BARS as f64).max(most * 1e-3);
    (0..=BARS).map(|n| least + wide * n as f64).collect()
}

/// Of the messages that came to most nodes some from beginning to end, and the slowest of them.
fn paths(world: &World) -> Vec<Path> {
    let mut all: BTreeMap<u64, BTreeMap<NodeIx, (Timestamp, NodeIx, u8)>> = BTreeMap::new();
    for node in 0..world.n_nodes() {
        for arrival in &world.host(node).meter.arrivals {
            let came = (arrival.at, arrival.from, arrival.hop.n);
            let first = all.entry(arrival.hop.envelope).or_default().entry(node).or_insert(came);
            *first = came.min(*first);
        }
    }
    let mut paths: Vec<Path> = all.values().filter_map(|arrivals| path(world, arrivals)).collect();
    let most = paths.iter().map(|path| path.steps.len()).max().unwrap_or(0);
    // Where nodes die the last messages come to fewer than the first.
    paths.retain(|path| path.steps.len() * 10 >= most * 9);
    paths.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let slowest = (0..paths.len()).max_by(|a, b| paths[*a].took_ms.total_cmp(&paths[*b].took_ms));
    let spread = PATHS_MAX - 1;
    let mut chosen: Vec<usize> =
        (0..spread).map(|n| n * paths.len().saturating_sub(1) / (spread - 1)).collect();
    chosen.extend(slowest);
    chosen.sort_unstable();
    chosen.dedup();
    chosen.into_iter().filter_map(|at| paths.get(at).cloned()).collect()
}

/// The way of one envelope; none if its author's message is not in the books.
fn path(world: &World, arrivals: &BTreeMap<NodeIx, (Timestamp, NodeIx, u8)>) -> Option<Path> {
    let author = arrivals.values().filter(|(.., hops)| *hops == 1).min().map(|(_, from, _)| *from)?;
    let came = arrivals.values().map(|(at, ..)| *at).min()?;
    // The one that was delivered the moment this came; or the last before, if something else had to come first.
    let of_author = world.ledger.messages.iter().filter(|sent| sent.author == author && sent.at <= came);
    let is_it = |sent: &&Sent| {
        sent.latencies.first().is_some_and(|took| sent.at.as_micros() + took == came.as_micros())
    };
    let sent = of_author.clone().find(is_it).or_else(|| of_author.max_by_key(|sent| sent.at))?;
    let since = |at: Timestamp| round((at - sent.at).as_micros() as f64 / 1000.0);
    let mut steps: Vec<Step> = arrivals
        .iter()
        .filter(|(to, _)| **to != author)
        .map(|(to, (at, from, _))| Step { to: *to, from: *from, ms: since(*at) })
        .collect();
    steps.sort_by(|a, b| a.ms.total_cmp(&b.ms));
    let seconds = round((sent.at - Timestamp::ZERO).as_secs_f64());
    Some(Path { author, seconds, took_ms: steps.last()?.ms, steps })
}

/// As exact as a drawing can be.
pub(super) fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_is_in_one_bar() {
        for values in [vec![5.0], vec![1.0, 2.0, 3.0], vec![0.0, 0.5, 7.0, 90_000.0], vec![10.0; 50]] {
            let bars = Bars::of(values.clone(), vec![4.0; 7]);
            assert_eq!(bars.sent.iter().sum::<usize>(), values.len(), "{bars:?}");
            assert_eq!(bars.received.iter().sum::<usize>(), 7, "{bars:?}");
            assert_eq!(bars.edges.len(), bars.sent.len() + 1);
            assert!(bars.edges.is_sorted() && bars.edges[0] <= values[0].min(4.0), "{bars:?}");
            assert!(*bars.edges.last().unwrap() >= bars.of_sent[3] - 1e-2, "{bars:?}");
        }
        assert_eq!(Bars::of(vec![0.0; 3], vec![0.0; 3]), Bars::default());
        let wide = Bars::of(vec![0.0, 0.5, 7.0, 90_000.0], vec![7.0; 4]);
        assert_eq!((wide.sent[0], *wide.sent.last().unwrap()), (2, 1), "{wide:?}");
        assert_eq!(wide.of_sent, [0.0, 7.0, 90_000.0, 90_000.0]);
    }

    const TALK: &str = "nodes = 20\nduration = \"16s\"\nsettle = \"2s\"\nduplicate = 0.01
        messages = { rate = 1, senders = 3, start = \"6s\", stop = \"10s\", lane = \"live\" }";

    /// Goal: what nodes put on the wire is what was put on the wire, and what they receive is not far from it.
    #[test]
    fn each_byte_is_some_nodes() {
        let scenario = Scenario::parse(TALK, &[]).expect("a scenario");
        let (_, world) = crate::report::run_to_end(&scenario, |_| ());
        let sum = |of: fn(&crate::meter::Meter) -> u64| {
            (0..world.n_nodes()).map(|node| of(&world.host(node).meter)).sum::<u64>()
        };
        assert_eq!(sum(|meter| meter.sent), world.wire_bytes());
        let received = sum(|meter| meter.received);
        assert!((world.wire_bytes() * 9 / 10..=world.wire_bytes()).contains(&received), "{received}");
    }

    /// Goal: the way of a message leads from its author to everybody, and takes as long as the books say.
    #[test]
    fn the_way_of_a_message_is_in_the_books() {
        let scenario = Scenario::parse(TALK, &[]).expect("a scenario");
        let (report, world) = crate::report::run_to_end(&scenario, |_| ());
        assert!(report.is_good() && report.picture.paths.len() > 2, "{report}");
        for path in &report.picture.paths {
            let author = Step { to: path.author, from: path.author, ms: 0.0 };
            let came = |node| [author].iter().chain(&path.steps).find(|step| step.to == node).copied();
            assert_eq!(path.steps.len(), 19);
            assert!(
                path.steps.iter().all(|step| came(step.from).is_some_and(|from| from.ms < step.ms)),
                "{path:?}"
            );
            let is_it = |sent: &&Sent| round((sent.at - Timestamp::ZERO).as_secs_f64()) == path.seconds;
            let of_author = world.ledger.messages.iter().filter(|sent| sent.author == path.author);
            let sent = of_author.clone().find(is_it).expect("in the books");
            let took: Vec<f64> = sent.latencies.iter().map(|took| round(*took as f64 / 1000.0)).collect();
            assert_eq!(path.steps.iter().map(|step| step.ms).collect::<Vec<_>>(), took);
        }
    }
}
