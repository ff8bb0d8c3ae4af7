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
