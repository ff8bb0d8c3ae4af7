//! A scenario as the TOML it could have been read from: only what is not the default, so that it can be read by people.

use core::time::Duration;

use serde_json::Value as Json;
use toml::{Table, Value};

use super::Scenario;

impl Scenario {
    /// The file that says this.
    ///
    /// What serde writes of it by itself is not that: times are numbers there, and nothing is left out.
    pub fn to_toml(&self) -> String {
        let mut table = everything(self);
        let plain = Self::plain(self.nodes, self.duration);
        // Whatever a field's default is, it is what reading a file without it gives.
        let mut defaults = everything(&plain);
        defaults.retain(|key, _| !["nodes", "duration"].contains(&key));
        leave_out(&mut table, &defaults);
        table.to_string()
    }

    /// Nodes on a quiet LAN for so long, everything else as in a file that says no more.
    pub(crate) fn plain(nodes: usize, duration: Duration) -> Self {
        let table = Table::from_iter([
            ("nodes".to_owned(), Value::Integer(i64::try_from(nodes).unwrap_or(i64::MAX))),
            ("duration".to_owned(), Value::String(time(duration))),
        ]);
        table.try_into().expect("all else has a default")
    }
}

/// Takes out what is the same in both.
fn leave_out(table: &mut Table, defaults: &Table) {
    for (key, default) in defaults {
        if let (Some(Value::Table(inner)), Value::Table(defaults)) = (table.get_mut(key), default) {
            leave_out(inner, defaults);
        }
        let is_empty = matches!(table.get(key), Some(Value::Table(inner)) if inner.is_empty());
        if is_empty || table.get(key) == Some(default) {
            table.remove(key);
        }
    }
}

fn everything(scenario: &Scenario) -> Table {
    match serde_json::to_value(scenario).ok().and_then(toml_of) {
        Some(Value::Table(table)) => table,
        _ => unreachable!("a scenario is a table of numbers, texts and lists"),
    }
}

/// The same in TOML, which has no null, no larger numbers than half of ours (what is beyond is "all", and so is the
/// largest), and no times.
fn toml_of(json: Json) -> Option<Value> {
    Some(match json {
        Json::Null => return None,
        Json::Bool(is) => Value::Boolean(is),
        Json::Number(n) => match (n.as_u64(), n.as_i64()) {
            (Some(n), _) => Value::Integer(i64::try_from(n).unwrap_or(i64::MAX)),
            (None, Some(n)) => Value::Integer(n),
            (None, None) => Value::Float(n.as_f64()?),
        },
        Json::String(text) => Value::String(text),
        Json::Array(all) => Value::Array(all.into_iter().filter_map(toml_of).collect()),
        Json::Object(all) => match (all.len(), all.get("secs"), all.get("nanos")) {
            (2, Some(secs), Some(nanos)) => {
                Value::String(time(Duration::new(secs.as_u64()?, u32::try_from(nanos.as_u64()?).ok()?)))
            }
            _ => Value::Table(all.into_iter().filter_map(|(key, value)| field(key, value)).collect()),
        },
    })
}

fn field(key: String, value: Json) -> Option<(String, Value)> {
    let value = match (key.as_str(), value) {
        // In lists there is nothing to compare with: these are what is meant if nothing is said.
        ("power_off" | "one_way" | "goodbye" | "segment", Json::Bool(false)) => return None,
        ("lost_commits", Json::Number(n)) if n.as_u64() == Some(0) => return None,
        // The only name that is the protocol's, and not written as it is read here.
        ("lane", Json::String(lane)) => Json::String(lane.to_lowercase()),
        (_, value) => value,
    };
    Some((key, toml_of(value)?))
}

/// In the largest unit in which it is a whole number.
fn time(time: Duration) -> String {
    let micros = time.as_micros();
    match micros {
        0 => "0s".to_owned(),
        _ if micros.is_multiple_of(1_000_000) => format!("{}s", micros / 1_000_000),
        _ if micros.is_multiple_of(1_000) => format!("{}ms", micros / 1_000),
        _ => format!("{micros}us"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::SHIPPED;
    use crate::search::{Bounds, draw};

    fn assert_round_trip(scenario: &Scenario) {
        let text = scenario.to_toml();
        let again = Scenario::parse(&text, &[]).expect("what was written can be read");
        assert_eq!(format!("{again:?}"), format!("{scenario:?}"), "{text}");
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for (_, text) in SHIPPED {
            assert_round_trip(&Scenario::parse(text, &[]).expect("shipped"));
        }
        for seed in 0..200 {
            assert_round_trip(&draw(seed, &Bounds::default()));
        }
    }

    #[test]
    fn what_is_the_default_is_not_written() {
        let text = "nodes = 3\nduration = \"40s\"\n[messages]\nstop = \"20s\"\n";
        let scenario = Scenario::parse(text, &[]).expect("a scenario");
        assert_eq!(scenario.to_toml(), "duration = \"40s\"\nnodes = 3\n\n[messages]\nstop = \"20s\"\n");
    }
}
