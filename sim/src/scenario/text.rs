//! How a scenario's fields are written: times, names, and `key=value` pairs over a file.

use core::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::attack::Kind;
use crate::wire::Carry;

pub(super) fn put(table: &mut toml::Table, key: &str, value: toml::Value) -> Result<(), String> {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
            Ok(())
        }
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            let inner = inner.as_table_mut().ok_or(format!("{first} is not a table"))?;
            put(inner, rest, value)
        }
    }
}

/// What does not go with what is set, and is not set itself: of fewer nodes fewer send, and without attackers there is no
/// attack.
pub(super) fn fit(table: &mut toml::Table, sets: &[String]) {
    let is_set =
        |key: &str| sets.iter().any(|set| set.split_once('=').is_some_and(|(other, _)| other.trim() == key));
    let nodes = table.get("nodes").and_then(toml::Value::as_integer);
    if is_set("nodes") && !is_set("messages") && !is_set("messages.senders") {
        let senders = table.get_mut("messages").and_then(|messages| messages.get_mut("senders"));
        if let (Some(nodes), Some(toml::Value::Integer(senders))) = (nodes, senders) {
            *senders = nodes.max(0).min(*senders);
        }
    }
    let is_left_alone = table.get("attackers").and_then(toml::Value::as_integer) == Some(0);
    if is_set("attackers") && is_left_alone && !is_set("attack") {
        table.remove("attack");
    }
}

/// What Rust calls a kind of value, and what people do.
const WORDS: [(&str, &str); 13] = [
    ("expected usize", "expected a whole number, 0 or more"),
    ("expected u64", "expected a whole number, 0 or more"),
    ("expected u32", "expected a whole number, 0 or more"),
    ("expected u16", "expected a whole number, 0 to 65535"),
    ("expected u8", "expected a whole number, 0 to 255"),
    ("expected i64", "expected a whole number"),
    ("expected f64", "expected a number"),
    ("expected a sequence", "expected a list"),
    ("expected a map", "expected a table"),
    ("expected a boolean", "expected true or false"),
    ("invalid type: sequence", "invalid type: list"),
    ("invalid type: map", "invalid type: table"),
    ("floating point", "number"),
];

/// An error for who writes scenarios.
pub(super) fn in_words(error: &toml::de::Error) -> String {
    let mut text = error.to_string();
    for (theirs, ours) in WORDS {
        text = text.replace(theirs, ours);
    }
    // What the name of the type is, nobody knows who has not written it.
    if let Some((before, after)) = text.split_once("expected struct ") {
        let after = after.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
        text = format!("{before}expected a table{after}");
    }
    text.trim_end().to_owned()
}

/// What TOML makes of it, else a text.
pub(super) fn parse_value(text: &str) -> toml::Value {
    let parsed = format!("x = {text}").parse::<toml::Table>().ok();
    parsed.and_then(|mut table| table.remove("x")).unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

/// A time: `"5ms"`, `"200us"`, `"1.5s"`, `"2min"`, or a number of seconds.
///
/// # Errors
/// What is wrong, for people.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "min" => 60.0,
        _ => {
            return Err(format!("{text:?} is not a time: expected a number with us, ms, s or min"));
        }
    };
    let number: f64 = number
        .trim()
        .parse()
        .map_err(|_| format!("{text:?} is not a time: expected a number with us, ms, s or min"))?;
    let micros = (number * scale * 1e6).round();
    if (0.0..1e15).contains(&micros) {
        Ok(Duration::from_micros(micros as u64))
    } else {
        Err(format!("{text:?} is out of range"))
    }
}

pub(super) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a time like \"5ms\", or a number of seconds")]
    enum Time {
        Text(String),
        Seconds(f64),
    }
    let text = match Time::deserialize(deserializer)? {
        Time::Text(text) => text,
        Time::Seconds(seconds) => format!("{seconds}s"),
    };
    parse_time(&text).map_err(serde::de::Error::custom)
}

pub(super) fn some_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    time(deserializer).map(Some)
}

pub(super) fn attack<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Kind>, D::Error> {
    String::deserialize(deserializer)?.parse().map(Some).map_err(serde::de::Error::custom)
}

pub(super) fn carry<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Carry>, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "bytes" => Ok(Some(Carry::Bytes)),
        "frames" => Ok(Some(Carry::Frames)),
        other => Err(serde::de::Error::custom(format!("{other:?}: expected \"bytes\" or \"frames\""))),
    }
}

#[cfg(test)]
mod tests {
    use crate::scenario::{SHIPPED, Scenario};

    /// Goal: a mistake in a file is said with its line, in words that are no programmer's; one on the command line is not.
    #[test]
    fn a_mistake_in_a_file_is_said_with_its_line() {
        let told = |text: &str, sets: &[&str]| {
            let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
            Scenario::parse(text, &sets).expect_err("a mistake").to_string()
        };
        let line = told("duration = \"9s\"\n\nnodes = \"many\"", &[]);
        assert!(line.contains("line 3") && line.contains("expected a whole number"), "{line}");
        let same = told("duration = \"9s\"\n\nnodes = \"many\"", &["latency=1ms"]);
        assert_eq!(line, same);
        let line = told("duration = \"9s\"\nnodes = 3\nloss = \"much\"", &[]);
        assert!(line.contains("line 3") && line.contains("expected a number"), "{line}");
        let set = told("duration = \"9s\"\nnodes = 3", &["nodes=-1"]);
        assert!(!set.contains("line") && set.contains("a whole number") && set.contains("nodes"), "{set}");
        let line = told("nodes = 3\nmessages = 5", &[]);
        assert!(line.contains("line 2") && line.contains("expected a table"), "{line}");
        for text in
            ["nodes = [3]", "nodes = 3\npartitions = 5", "nodes = 3\ncontact = 1.5", "nodes = 3\n[churn]"]
        {
            let told = told(text, &[]);
            for word in ["usize", "f64", "u64", "struct", "sequence", "map"] {
                assert!(!told.contains(word), "{told}");
            }
        }
    }

    /// Goal: what is shipped can be run with fewer nodes, and without its attackers. What is said on the command line is
    /// not changed.
    #[test]
    fn fewer_nodes_have_fewer_senders() {
        let (_, text) = SHIPPED.iter().find(|(name, _)| *name == "hostile").expect("shipped");
        let parse = |sets: &[&str]| {
            let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
            Scenario::parse(text, &sets)
        };
        assert_eq!(parse(&["nodes=12"]).expect("fine").messages.senders, 12);
        assert_eq!(parse(&["nodes=40"]).expect("fine").messages.senders, 20);
        assert!(parse(&["nodes=12", "messages.senders=13"]).is_err());
        assert_eq!(parse(&["attackers=0"]).expect("fine").attack, None);
        assert!(parse(&["attackers=0", "attack=silent"]).is_err());
    }
}
