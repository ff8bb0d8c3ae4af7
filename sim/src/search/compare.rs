//! Two results side by side: of two versions, two settings, two machines.

use core::fmt;
use std::collections::BTreeMap;

use serde::Serialize;

use super::{Line, Merged};

/// Seeds that are named in a text; all of them are in the JSON.
const NAMED_MAX: usize = 20;

/// A figure in both, its mean over the seeds that both have.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Change {
    /// In the first.
    pub a: f64,
    /// In the second.
    pub b: f64,
    /// By so many in a hundred it is more in the second; none if it was nothing in the first.
    pub percent: Option<f64>,
}

/// What differs.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Seeds that both have.
    pub common: usize,
    /// What the runs of one seed are of, in the first and in the second, if that is not the same: the first such seed's.
    pub of: Option<(String, String)>,
    /// Seeds that only the first has.
    pub only_a: Vec<u64>,
    /// Seeds that only the second has.
    pub only_b: Vec<u64>,
    /// Seeds whose runs were not the same.
    pub differ: Vec<u64>,
    /// Figures by name.
    pub figures: BTreeMap<String, Change>,
    /// What only the first found: seed and check.
    pub gone: Vec<(u64, String)>,
    /// What only the second found.
    pub new: Vec<(u64, String)>,
}

impl Comparison {
    /// Whether both have the same seeds, and each was the same run.
    pub fn is_same(&self) -> bool {
        self.common > 0 && [&self.only_a, &self.only_b, &self.differ].iter().all(|seeds| seeds.is_empty())
    }
}

/// Compares two results. Two that have one run each are compared whatever their seeds are.
pub fn compare(a: &Merged, b: &Merged) -> Comparison {
    if let ([one], [other]) = (&a.lines[..], &b.lines[..]) {
        let other = Line { seed: one.seed, ..other.clone() };
        return compare_seeds(core::slice::from_ref(one), &[other]);
    }
    compare_seeds(&a.lines, &b.lines)
}

fn compare_seeds(a: &[Line], b: &[Line]) -> Comparison {
    let by_seed = |lines: &[Line]| -> BTreeMap<u64, Line> {
        lines.iter().map(|line| (line.seed, line.clone())).collect()
    };
    let (a, b) = (by_seed(a), by_seed(b));
    let only = |these: &BTreeMap<u64, Line>, those: &BTreeMap<u64, Line>| -> Vec<u64> {
        these.keys().filter(|seed| !those.contains_key(seed)).copied().collect()
    };
    let both: Vec<(&Line, &Line)> = a.values().filter_map(|line| Some((line, b.get(&line.seed)?))).collect();
    let differ = both.iter().filter(|(a, b)| a.hash != b.hash).map(|(a, _)| a.seed).collect();
    let mut gone = Vec::new();
    let mut new = Vec::new();
    for (a, b) in &both {
        gone.extend(checks_without(a, b));
        new.extend(checks_without(b, a));
    }
    Comparison {
        common: both.len(),
        of: both.iter().find(|(a, b)| a.of != b.of).map(|(a, b)| (a.of.clone(), b.of.clone())),
        only_a: only(&a, &b),
        only_b: only(&b, &a),
        differ,
        figures: changes(&both),
        gone,
        new,
    }
}

/// Checks that failed in one run and not in the other, each once.
fn checks_without(these: &Line, those: &Line) -> Vec<(u64, String)> {
    let is_there = |check: &str| those.findings.iter().any(|finding| finding.check == check);
    let mut checks: Vec<String> =
        these.findings.iter().map(|finding| finding.check.clone()).filter(|check| !is_there(check)).collect();
    checks.sort();
    checks.dedup();
    checks.into_iter().map(|check| (these.seed, check)).collect()
}

/// Over the seeds in which both have the figure: a mean over others would compare what cannot be compared.
fn changes(both: &[(&Line, &Line)]) -> BTreeMap<String, Change> {
    let mut sums: BTreeMap<&str, (f64, f64, usize)> = BTreeMap::new();
    for (a, b) in both {
        for (name, a) in &a.figures {
            if let Some(b) = b.figures.get(name) {
                let sum = sums.entry(name).or_default();
                *sum = (sum.0 + a, sum.1 + b, sum.2 + 1);
            }
        }
    }
    let change = |(a, b, n): (f64, f64, usize)| {
        let (a, b) = (a / n as f64, b / n as f64);
        let percent = if a == b { Some(0.0) } else { (a != 0.0).then(|| (b - a) / a.abs() * 100.0) };
        Change { a, b, percent }
    };
    sums.into_iter().map(|(name, sum)| (name.to_owned(), change(sum))).collect()
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<48}{:>14}{:>14}{:>10}", "figure (mean)", "a", "b", "change")?;
        for (name, Change { a, b, percent }) in &self.figures {
            let percent = percent.map_or_else(|| "new".to_owned(), |percent| format!("{percent:+.2} %"));
            writeln!(f, "{name:<48}{a:>14.3}{b:>14.3}{percent:>10}")?;
        }
        writeln!(f, "{} seeds in both", self.common)?;
        for (what, seeds) in
            [("only in a", &self.only_a), ("only in b", &self.only_b), ("differ in hash", &self.differ)]
        {
            if !seeds.is_empty() {
                let named: Vec<String> = seeds.iter().take(NAMED_MAX).map(u64::to_string).collect();
                let more = if seeds.len() > NAMED_MAX { " ..." } else { "" };
                writeln!(f, "{} {what}: {}{more}", seeds.len(), named.join(" "))?;
            }
        }
        for (what, found) in [("no longer found", &self.gone), ("newly found", &self.new)] {
            for (seed, check) in found {
                writeln!(f, "{what}: seed {seed}, {check}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::sweep::line;
    use crate::search::{Finding, merge};

    #[test]
    fn what_differs_is_named_and_means_are_over_what_both_have() {
        let mut bad = line(2, "x", 3.0);
        let finding = Finding { check: "order".to_owned(), at: 5, node: Some(1), text: String::new() };
        bad.findings = vec![finding.clone(), finding];
        let a = merge([line(1, "a", 1.0), line(2, "b", 1.0), line(3, "c", 99.0)], None);
        let b = merge([line(1, "a", 1.0), bad, line(4, "d", 77.0)], None);
        let found = compare(&a, &b);
        assert_eq!((found.common, &found.differ[..]), (2, &[2][..]));
        assert_eq!((&found.only_a[..], &found.only_b[..]), (&[3][..], &[4][..]));
        assert_eq!(found.figures["copies_per_delivery"], Change { a: 1.0, b: 2.0, percent: Some(100.0) });
        assert_eq!(found.new, [(2, "order".to_owned())]);
        assert!(found.gone.is_empty());
        let [one, same, other, third] =
            [line(1, "a", 1.0), line(1, "a", 1.0), line(1, "b", 1.0), line(3, "c", 2.0)]
                .map(|line| merge([line], None));
        assert!(compare(&one, &same).is_same() && !compare(&one, &other).is_same() && !found.is_same());
        let alone = compare(&one, &third);
        assert_eq!((alone.common, alone.figures["copies_per_delivery"].percent), (1, Some(100.0)));
    }
}
