//! The overlay as a graph: how many links, how far apart, and how fast anything could spread over it at best.

use core::time::Duration;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use serde::Serialize;

use super::World;
use crate::kinds::Purpose;
use crate::rng::{self, Rng};
use crate::topology::NodeIx;

/// What the links between running nodes make.
#[derive(Clone, Debug, Serialize)]
pub struct OverlayReport {
    /// Running nodes that none of the sampled authors reaches.
    pub unreached: usize,
    /// Links of a node: the fewest.
    pub degree_min: usize,
    /// The mean.
    pub degree_mean: f64,
    /// The most.
    pub degree_max: usize,
    /// Hops on the fastest way, of the farthest node.
    pub hops: usize,
    /// Milliseconds until the last node could have it at best, mean over the sampled authors.
    pub optimum_max_ms: f64,
    /// Until 99 % could.
    pub optimum_p99_ms: f64,
    /// Connections opened in the whole run, for each node, by whichever side; nodes that run no more count too.
    pub connections_per_node: f64,
    /// Bytes of frames that keep the overlay up, the same way.
    pub upkeep_bytes_per_node: f64,
}

/// Time and hops of the fastest way to each node; none for those that cannot be reached.
pub type Ways = Vec<Option<(Duration, usize)>>;

impl World {
    /// Links as both ends see them, with the mean time of a packet.
    fn graph(&self) -> Vec<Vec<(NodeIx, Duration)>> {
        let honest = |node: NodeIx| if self.is_hostile(node) { Vec::new() } else { self.neighbours(node) };
        let links: Vec<Vec<NodeIx>> = (0..self.n_nodes()).map(honest).collect();
        let both = |node: NodeIx| {
            let mutual = links[node].iter().filter(|other| links[**other].contains(&node));
            mutual.map(|other| (*other, self.topology.mean_time(node, *other))).collect()
        };
        (0..self.n_nodes()).map(both).collect()
    }

    /// The fastest ways from a node over the links that stand (Dijkstra), for a message that is sent on at once.
    pub fn fastest_ways(&self, from: NodeIx) -> Ways {
        fastest_ways(&self.graph(), from)
    }

    /// How long the fastest way from a node takes to each other member of a group, over links between members, in
    /// microseconds, the shortest first.
    pub(super) fn best_from(&self, from: NodeIx, group: usize) -> Vec<u64> {
        let mut graph = self.graph();
        if self.n_groups() > 1 {
            for (node, links) in graph.iter_mut().enumerate() {
                links.retain(|(other, _)| self.is_member(node, group) && self.is_member(*other, group));
            }
        }
        let ways = fastest_ways(&graph, from).into_iter().enumerate();
        let others = ways.filter(|(node, _)| *node != from && !self.is_hostile(*node));
        let mut times: Vec<u64> =
            others.filter_map(|(_, way)| way.map(|(time, _)| time.as_micros() as u64)).collect();
        times.sort_unstable();
        times
    }

    /// Envelopes that were new to their node, by the hops that they took; the last number is of more as well.
    pub(crate) fn hops(&self) -> [u64; 32] {
        std::array::from_fn(|hops| self.sum(|tally| tally.hops[hops]))
    }

    /// From now on nodes remember from whom envelopes came.
    pub(crate) fn record_paths(&mut self) {
        self.shards.iter_mut().for_each(|shard| shard.rules.paths = true);
    }

    /// Measures the overlay from `n_authors` nodes drawn from the seed.
    pub fn overlay_report(&self, n_authors: usize) -> OverlayReport {
        let graph = self.graph();
        let up: Vec<NodeIx> = self.honest().filter(|node| self.topology.places[*node].is_up).collect();
        let mut rng = Rng::split(self.config.seed, 0, 1, rng::Purpose::Workload);
        let (mut sum_max, mut sum_p99, mut hops, mut unreached) = (0.0, 0.0, 0, 0);
        let n_authors = n_authors.min(up.len());
        for _ in 0..n_authors {
            let author = up[rng.below(up.len() as u64) as usize];
            let ways = fastest_ways(&graph, author);
            let mut times: Vec<Duration> = up.iter().filter_map(|node| Some(ways[*node]?.0)).collect();
            times.sort_unstable();
            unreached = unreached.max(up.len() - times.len());
            hops = ways.iter().flatten().map(|(_, hops)| *hops).max().unwrap_or(0).max(hops);
            sum_max += times.last().map_or(0.0, Duration::as_secs_f64);
            let p99 = (times.len().saturating_sub(1) as f64 * 0.99).round() as usize;
            sum_p99 += times.get(p99).map_or(0.0, Duration::as_secs_f64);
        }
        let degrees: Vec<usize> = up.iter().map(|node| graph[*node].len()).collect();
        let is_upkeep = |kind: u8| Purpose::of(kind, self.protocol()) == Purpose::Overlay;
        let upkeep: u64 =
            self.frames().iter().filter(|(kind, _)| is_upkeep(**kind)).map(|(_, (_, bytes))| bytes).sum();
        let each = |n: f64| n / up.len().max(1) as f64;
        let n_all = self.honest().count().max(1) as f64;
        let mean = |sum: f64| sum / n_authors.max(1) as f64 * 1000.0;
        OverlayReport {
            unreached,
            degree_min: degrees.iter().copied().min().unwrap_or(0),
            degree_mean: each(degrees.iter().sum::<usize>() as f64),
            degree_max: degrees.iter().copied().max().unwrap_or(0),
            hops,
            optimum_max_ms: mean(sum_max),
            optimum_p99_ms: mean(sum_p99),
            connections_per_node: 2.0 * self.n_connections() as f64 / n_all,
            upkeep_bytes_per_node: upkeep as f64 / n_all,
        }
    }
}

fn fastest_ways(graph: &[Vec<(NodeIx, Duration)>], from: NodeIx) -> Ways {
    let mut ways: Ways = vec![None; graph.len()];
    let mut next = BinaryHeap::from([Reverse((Duration::ZERO, 0, from))]);
    while let Some(Reverse((time, hops, node))) = next.pop() {
        if ways[node].is_some() {
            continue;
        }
        ways[node] = Some((time, hops));
        for (other, more) in &graph[node] {
            if ways[*other].is_none() {
                next.push(Reverse((time + *more, hops + 1, *other)));
            }
        }
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_way_need_not_be_the_shortest() {
        let ms = Duration::from_millis;
        let graph = vec![
            vec![(1, ms(10)), (2, ms(2))],
            vec![(0, ms(10)), (2, ms(3))],
            vec![(0, ms(2)), (1, ms(3))],
            vec![],
        ];
        assert_eq!(fastest_ways(&graph, 0), [Some((ms(0), 0)), Some((ms(5), 2)), Some((ms(2), 1)), None]);
    }
}
