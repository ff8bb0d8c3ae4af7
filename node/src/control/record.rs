//! Messages as JSON shows them: the same object in `djembe sub --json` and on the socket.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};

use crate::group::Publish;
use crate::message::Message;

/// A message to publish.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
#[serde(try_from = "PublishWire", into = "PublishWire")]
pub(crate) struct PublishRecord {
    pub(crate) group: String,
    pub(crate) live: bool,
    pub(crate) subject: String,
    pub(crate) content_type: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) ttl_secs: u32,
    pub(crate) body: Bytes,
    /// Answer only if it is refused.
    pub(crate) quiet: bool,
}

impl PublishRecord {
    /// Without the group's name.
    pub(crate) fn into_publish(self) -> Publish {
        let mut publish = Publish::new(self.body)
            .subject(self.subject)
            .content_type(self.content_type)
            .ttl_secs(self.ttl_secs);
        for (name, value) in self.headers {
            publish = publish.header(name, value);
        }
        if self.live { publish.live() } else { publish }
    }
}

#[derive(Serialize, Deserialize)]
struct PublishWire {
    group: String,
    #[serde(default)]
    live: bool,
    #[serde(default)]
    subject: String,
    #[serde(default)]
    content_type: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    ttl_secs: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    #[serde(default)]
    quiet: bool,
}

impl TryFrom<PublishWire> for PublishRecord {
    type Error = String;

    fn try_from(wire: PublishWire) -> Result<Self, String> {
        let PublishWire { group, live, subject, content_type, headers, ttl_secs, quiet, .. } = wire;
        let body = bytes_of(wire.body, wire.body_base64)?;
        Ok(Self { group, live, subject, content_type, headers, ttl_secs, body, quiet })
    }
}

impl From<PublishRecord> for PublishWire {
    fn from(record: PublishRecord) -> Self {
        let PublishRecord { group, live, subject, content_type, headers, ttl_secs, body, quiet } = record;
        let (body, body_base64) = match std::str::from_utf8(&body) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(STANDARD.encode(&body))),
        };
        Self { group, live, subject, content_type, headers, ttl_secs, body, body_base64, quiet }
    }
}

fn bytes_of(text: Option<String>, base64: Option<String>) -> Result<Bytes, String> {
    match (text, base64) {
        (Some(text), None) => Ok(text.into()),
        (None, Some(base64)) => {
            STANDARD.decode(base64).map(Bytes::from).map_err(|error| format!("body_base64: {error}"))
        }
        (None, None) => Ok(Bytes::new()),
        (Some(_), Some(_)) => Err("give body or body_base64, not both".to_owned()),
    }
}

/// A message that was received.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "MessageIn")]
pub(crate) struct MessageRecord {
    pub(crate) group: Arc<str>,
    pub(crate) author: Arc<str>,
    pub(crate) lane: Arc<str>,
    pub(crate) seq: u64,
    pub(crate) index: u16,
    pub(crate) time_ms: u64,
    pub(crate) subject: String,
    pub(crate) content_type: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Bytes,
}

/// Makes records of one subscription's messages; what they share is written once.
#[derive(Default)]
pub(super) struct Recorder {
    author: Option<(crate::PeerId, Arc<str>)>,
    lane: Option<(crate::Lane, Arc<str>)>,
}

impl Recorder {
    pub(super) fn record(&mut self, message: &Message) -> MessageRecord {
        let id = message.id();
        let author = match &self.author {
            Some((author, text)) if *author == id.log.author => text.clone(),
            _ => {
                let text: Arc<str> = id.log.author.to_string().into();
                self.author = Some((id.log.author, text.clone()));
                text
            }
        };
        let lane = match &self.lane {
            Some((lane, text)) if *lane == id.log.lane => text.clone(),
            _ => {
                let text: Arc<str> = id.log.lane.name().into();
                self.lane = Some((id.log.lane, text.clone()));
                text
            }
        };
        MessageRecord {
            group: message.group_shared(),
            author,
            lane,
            seq: id.seq,
            index: id.index,
            time_ms: message.time_ms(),
            subject: message.subject().to_owned(),
            content_type: message.content_type().to_owned(),
            headers: message.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            body: message.body_shared(),
        }
    }
}

#[derive(Serialize)]
struct MessageOut<'a> {
    id: String,
    group: &'a str,
    author: &'a str,
    lane: &'a str,
    seq: u64,
    index: u16,
    time: String,
    subject: &'a str,
    content_type: &'a str,
    headers: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

impl Serialize for MessageRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = std::str::from_utf8(&self.body).ok();
        MessageOut {
            id: format!("{}/{}/{}/{}", self.author, self.lane, self.seq, self.index),
            group: &self.group,
            author: &self.author,
            lane: &self.lane,
            seq: self.seq,
            index: self.index,
            time: rfc3339(self.time_ms),
            subject: &self.subject,
            content_type: &self.content_type,
            headers: &self.headers,
            body: text,
            body_base64: text.is_none().then(|| STANDARD.encode(&self.body)),
        }
        .serialize(serializer)
    }
}

#[derive(Deserialize)]
struct MessageIn {
    group: String,
    author: String,
    lane: String,
    seq: u64,
    index: u16,
    time: String,
    subject: String,
    content_type: String,
    headers: BTreeMap<String, String>,
    body: Option<String>,
    body_base64: Option<String>,
}

impl TryFrom<MessageIn> for MessageRecord {
    type Error = String;

    fn try_from(message: MessageIn) -> Result<Self, String> {
        Ok(Self {
            group: message.group.into(),
            author: message.author.into(),
            lane: message.lane.into(),
            seq: message.seq,
            index: message.index,
            time_ms: millis(&message.time).ok_or_else(|| format!("\"{}\" is not a time", message.time))?,
            subject: message.subject,
            content_type: message.content_type,
            headers: message.headers,
            body: bytes_of(message.body, message.body_base64)?,
        })
    }
}

/// RFC 3339 in UTC with milliseconds. The calendar is Howard Hinnant's `civil_from_days`.
pub(crate) fn rfc3339(ms: u64) -> String {
    let (days, in_day) = (ms / 86_400_000, ms % 86_400_000);
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hours, minutes, seconds) = (in_day / 3_600_000, in_day / 60_000 % 60, in_day / 1000 % 60);
    let mut text = String::with_capacity(24);
    let _ = write!(
        text,
        "{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z",
        in_day % 1000
    );
    text
}

/// The inverse, for what [`rfc3339`] has written.
fn millis(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, by: &[char]| -> Option<Vec<u64>> {
        text.split(by).map(|part| part.parse().ok()).collect()
    };
    let ([year, month, day], [h, m, s, ms]) = (
        <[u64; 3]>::try_from(numbers(date, &['-'])?).ok()?,
        <[u64; 4]>::try_from(numbers(time, &[':', '.'])?).ok()?,
    );
    let year = year.checked_sub(u64::from(month <= 2))?;
    let month = (month + 9) % 12;
    let day_of_year = (153 * month + 2) / 5 + day.checked_sub(1)?;
    let (era, year) = (year / 400, year % 400);
    let days = era.checked_mul(146_097)? + 365 * year + year / 4 - year / 100 + day_of_year;
    let days = days.checked_sub(719_468)?;
    days.checked_mul(86_400_000)?.checked_add(((h * 60 + m) * 60 + s).checked_mul(1000)?)?.checked_add(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar_and_come_back() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_735_689_600_001, "2025-01-01T00:00:00.001Z"),
            (4_102_444_800_000, "2100-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(ms), text);
            assert_eq!(millis(text), Some(ms), "{text}");
        }
        for wrong in ["", "1970-01-01", "1970-01-01T00:00:00Z", "x-01-01T00:00:00.000Z"] {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_message_reads_as_it_was_written_text_or_not() {
        for body in [&b"text \"with\" quotes\n"[..], b"\xff\0not text", b""] {
            let record = MessageRecord {
                group: "lobby".into(),
                author: "12D3KooW".into(),
                lane: "durable".into(),
                seq: 7,
                index: 3,
                time_ms: 1_709_251_199_999,
                subject: "a/b".to_owned(),
                content_type: "text/plain".to_owned(),
                headers: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
                body: Bytes::copy_from_slice(body),
            };
            let json = serde_json::to_string(&record).unwrap();
            assert!(json.contains("\"id\":\"12D3KooW/durable/7/3\""), "{json}");
            assert_eq!(json.contains("body_base64"), std::str::from_utf8(body).is_err(), "{json}");
            assert_eq!(serde_json::from_str::<MessageRecord>(&json).unwrap(), record);

            let publish =
                PublishRecord { group: "g".to_owned(), body: record.body.clone(), ..Default::default() };
            let json = serde_json::to_string(&publish).unwrap();
            assert_eq!(serde_json::from_str::<PublishRecord>(&json).unwrap().body, record.body);
        }
    }
}
