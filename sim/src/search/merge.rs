//! Results of many machines as one.

use core::fmt;
use core::ops::Range;
use std::collections::BTreeMap;

use serde::Serialize;

use super::{Finding, Line};

/// What is wrong with results that are put together.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Complaint {
    /// Nobody ran these: first and last.
    Missing(u64, u64),
    /// More than one ran this one, and found the same.
    Doubled(u64),
    /// Two ran this one and it was not the same run: their programs differ, or it is not deterministic.
    Differs(u64, String, String),
    /// Seeds do not stand for the same in all of them.
    Others(String, String),
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(first, last) if first == last => write!(f, "seed {first} is missing"),
            Self::Missing(first, last) => write!(f, "seeds {first} to {last} are missing"),
            Self::Doubled(seed) => write!(f, "seed {seed} is there more than once"),
            Self::Differs(seed, a, b) => write!(f, "seed {seed} has two hashes: {a} and {b}"),
            Self::Others(a, b) => write!(f, "some are of {a}, some of {b}"),
        }
    }
}

/// A figure over all runs that have it.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Spread {
    /// Runs that have it.
    pub runs: usize,
    /// The least.
    pub min: f64,
    /// The mean.
    pub mean: f64,
    /// Half of the runs have no more.
    pub p50: f64,
    /// Of a hundred runs ninety-nine have no more.
    pub p99: f64,
    /// The most.
    pub max: f64,
}

/// All results, each seed once, in their order.
#[derive(Clone, Debug, Serialize)]
pub struct Merged {
    /// How many runs.
    pub runs: usize,
    /// Runs in which something was found.
    pub bad: usize,
    /// Figures by name.
    pub figures: BTreeMap<String, Spread>,
    /// Failures, with their seeds.
    pub findings: Vec<(u64, Finding)>,
    /// What is wrong with the results themselves.
    pub complaints: Vec<Complaint>,
    /// The results.
    #[serde(skip)]
    pub lines: Vec<Line>,
}

/// Puts results together. Of a seed that is there more than once the first counts. Without `wanted` only gaps between the
/// first and the last seed are missed.
pub fn merge(all: impl IntoIterator<Item = Line>, wanted: Option<Range<u64>>) -> Merged {
    let mut complaints = Vec::new();
    let mut by_seed: BTreeMap<u64, Line> = BTreeMap::new();
    for line in all {
        let Some(first) = by_seed.get(&line.seed) else {
            by_seed.insert(line.seed, line);
            continue;
        };
        let hash = |line: &Line| line.hash.clone().unwrap_or_else(|| "none".to_owned());
        complaints.push(if first.of == line.of && first.hash != line.hash {
            Complaint::Differs(line.seed, hash(first), hash(&line))
        } else {
            Complaint::Doubled(line.seed)
        });
    }
    complaints.extend(gaps(by_seed.keys().copied(), wanted));
    let lines: Vec<Line> = by_seed.into_values().collect();
    if let Some(first) = lines.first()
        && let Some(other) = lines.iter().find(|line| line.of != first.of)
    {
        complaints.push(Complaint::Others(first.of.clone(), other.of.clone()));
    }
    let found = |line: &Line| {
        let seed = line.seed;
        line.findings.clone().into_iter().map(move |finding| (seed, finding))
    };
    Merged {
        runs: lines.len(),
        bad: lines.iter().filter(|line| !line.findings.is_empty()).count(),
        figures: spreads(&lines),
        findings: lines.iter().flat_map(found).collect(),
        complaints,
        lines,
    }
}

fn gaps(seeds: impl Iterator<Item = u64>, wanted: Option<Range<u64>>) -> Vec<Complaint> {
    let mut gaps = Vec::new();
    let mut next = wanted.as_ref().map(|wanted| wanted.start);
    let mut miss = |from: u64, to: u64| {
        if from < to {
            gaps.push(Complaint::Missing(from, to - 1));
        }
    };
    for seed in seeds {
        miss(next.unwrap_or(seed), seed);
        next = Some(next.unwrap_or(seed).max(seed + 1));
    }
    if let (Some(next), Some(wanted)) = (next, wanted) {
        miss(next, wanted.end);
    }
    gaps
}

/// Each figure over those that have it.
fn spreads(lines: &[Line]) -> BTreeMap<String, Spread> {
    let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (name, value) in lines.iter().flat_map(|line| &line.figures) {
        values.entry(name).or_default().push(*value);
    }
    values.into_iter().map(|(name, values)| (name.to_owned(), spread(values))).collect()
}

fn spread(mut values: Vec<f64>) -> Spread {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    let quantile =
        |share: f64| values.get((share * last as f64).round() as usize).copied().unwrap_or_default();
    Spread {
        runs: values.len(),
        min: quantile(0.0),
        mean: values.iter().sum::<f64>() / values.len().max(1) as f64,
        p50: quantile(0.5),
        p99: quantile(0.99),
        max: quantile(1.0),
    }
}

impl fmt::Display for Merged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} runs, {} bad", self.runs, self.bad)?;
        writeln!(f, "{:<48}{:>12}{:>12}{:>12}{:>12}{:>12}", "figure", "min", "p50", "mean", "p99", "max")?;
        for (name, Spread { min, p50, mean, p99, max, .. }) in &self.figures {
            writeln!(f, "{name:<48}{min:>12.3}{p50:>12.3}{mean:>12.3}{p99:>12.3}{max:>12.3}")?;
        }
        for (seed, finding) in &self.findings {
            writeln!(f, "violation  seed {seed}: {finding}")?;
        }
        for complaint in &self.complaints {
            writeln!(f, "complaint  {complaint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::sweep::line;

    #[test]
    fn what_is_missing_doubled_or_different_is_said() {
        let all =
            [line(7, "d", 4.0), line(2, "a", 1.0), line(3, "b", 2.0), line(2, "a", 1.0), line(3, "x", 9.0)];
        let merged = merge(all.clone(), Some(1..9));
        assert_eq!(
            merged.complaints,
            [
                Complaint::Doubled(2),
                Complaint::Differs(3, "b".to_owned(), "x".to_owned()),
                Complaint::Missing(1, 1),
                Complaint::Missing(4, 6),
                Complaint::Missing(8, 8),
            ]
        );
        assert_eq!(merged.lines.iter().map(|line| line.seed).collect::<Vec<_>>(), [2, 3, 7]);
        let Spread { runs, min, mean, p50, max, .. } = merged.figures["copies_per_delivery"];
        assert_eq!((runs, min, p50, max), (3, 1.0, 2.0, 4.0));
        assert!((mean - 7.0 / 3.0).abs() < 1e-9);
        assert_eq!(merge(all[..3].to_vec(), None).complaints, [Complaint::Missing(4, 6)]);
        assert_eq!(merge([line(1, "a", 1.0), line(2, "b", 1.0)], Some(1..3)).complaints, []);
    }
}
