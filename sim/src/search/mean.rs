//! Runs of one scenario from several seeds: the mean and the worst of each figure.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::report::Ran;

/// Of these more is better; of all else less is, or it makes no difference.
const MORE_IS_BETTER: [&str; 8] = [
    "delivered",
    "delivery_ratio",
    "events_per_s",
    "expected",
    "messages",
    "overlay.degree_mean",
    "overlay.degree_min",
    "planned",
];

/// The mean of each figure over the runs that have it.
pub fn mean(runs: &[Ran]) -> BTreeMap<String, f64> {
    over(runs, |_, values| values.iter().sum::<f64>() / values.len() as f64)
}

/// The worst of each.
pub fn worst(runs: &[Ran]) -> BTreeMap<String, f64> {
    over(runs, |name, values| match MORE_IS_BETTER.contains(&name) {
        true => values.iter().copied().fold(f64::INFINITY, f64::min),
        false => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    })
}

fn over(runs: &[Ran], of: impl Fn(&str, &[f64]) -> f64) -> BTreeMap<String, f64> {
    let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (name, value) in runs.iter().flat_map(Ran::figures) {
        all.entry(name).or_default().push(value);
    }
    all.into_iter().map(|(name, values)| (name.clone(), of(&name, &values))).collect()
}

/// Figures in the form of the report that they are from.
pub fn nested(figures: &BTreeMap<String, f64>) -> Value {
    let mut all = Map::new();
    for (name, value) in figures {
        let mut place = &mut all;
        let mut parts: Vec<&str> = name.split('.').collect();
        let last = parts.pop().unwrap_or_default();
        for part in parts {
            let inner = place.entry(part).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(inner) = inner else { unreachable!("a figure has no parts") };
            place = inner;
        }
        place.insert(last.to_owned(), Value::from(*value));
    }
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_flat_is_nested_again() {
        let figures = [("a", 1.0), ("b.c", 2.0), ("b.d.e", 3.0)].map(|(name, n)| (name.to_owned(), n));
        let told = nested(&BTreeMap::from(figures.clone())).to_string();
        assert_eq!(told, "{\"a\":1.0,\"b\":{\"c\":2.0,\"d\":{\"e\":3.0}}}");
        let again = crate::report::figures(&told.parse().expect("JSON"));
        assert_eq!(again, BTreeMap::from(figures));
    }
}
