//! One real node, in a process and a namespace of its own: says what the scenario lets it say, and notes what it hears.
//!
//! One line of JSON in, one out. It stays until its input ends, so that the others are not disturbed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use djembe::{Message, Node, Publish, SubscribeOptions};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tracing::field::{Field, Visit};
use tracing::span;

/// A body begins with when it was published, by whom, and the how-many-th it is.
pub(crate) const HEADER: usize = 16;
/// Where frames are written to a link, and said to be.
const WRITER: &str = "djembe::transport::streams";

/// What a node is told. Times are nanoseconds on the clock that all processes of a machine share.
#[derive(Serialize, Deserialize)]
pub(crate) struct Setup {
    /// Nodes of other runs do not see it.
    pub(crate) network: String,
    pub(crate) node: u32,
    /// Bytes of a body.
    pub(crate) size: usize,
    /// When it publishes.
    pub(crate) publishes: Vec<u64>,
    /// What is published from then on counts.
    pub(crate) measure: u64,
    /// Then all is over.
    pub(crate) end: u64,
}

/// What a node tells.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Told {
    /// Messages of others that count: who published which, and after how many microseconds it was here.
    pub(crate) heard: Vec<(u32, u32, u64)>,
    /// Envelopes in which they came.
    pub(crate) envelopes: u64,
    /// Frames that it has written since measuring began, by kind: how many, and their bytes.
    pub(crate) frames: BTreeMap<u8, (u64, u64)>,
    /// Writes in which these left: each is a packet, or is put into one with others.
    pub(crate) writes: u64,
    /// What it has counted since then, by cause.
    pub(crate) counters: BTreeMap<String, u64>,
    /// The paths of its links at the end.
    pub(crate) paths: Vec<String>,
    /// How much later than they were due its own messages left, in microseconds, at most.
    pub(crate) late: u64,
}

/// Is a node until its input ends.
pub(crate) async fn run() -> Result<(), String> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let line = lines.next_line().await.map_err(|error| error.to_string())?;
    let Some(line) = line else { return Ok(()) };
    let setup: Setup = serde_json::from_str(&line).map_err(|error| format!("not a setup: {error}"))?;
    // On a worker thread, beside the node, as its command line does it.
    let told = tokio::spawn(talk(setup)).await.map_err(|error| error.to_string())??;
    let line = serde_json::to_string(&told).map_err(|error| error.to_string())?;
    // Nobody to tell it to is the end as well.
    let _ = writeln!(std::io::stdout(), "{line}");
    let _ = lines.next_line().await;
    Ok(())
}

async fn talk(setup: Setup) -> Result<Told, String> {
    let frames = FrameCounter::default();
    tracing::subscriber::set_global_default(frames.clone()).map_err(|error| error.to_string())?;
    let failed = |error: djembe::NodeError| error.to_string();
    let node = Node::builder().network(&setup.network).in_memory().spawn().await.map_err(failed)?;
    let group = node.join("lobby").await.map_err(failed)?;
    let options = SubscribeOptions { skip_own: true, ..SubscribeOptions::default() };
    let mut messages = group.subscribe_with(options).await.map_err(failed)?;

    let mut told = Told::default();
    let mut envelopes = BTreeSet::new();
    let mut publishes = setup.publishes.iter().enumerate().peekable();
    let mut before = None;
    loop {
        let next = publishes.peek().map_or(setup.end, |(_, at)| **at);
        let next = if before.is_none() { next.min(setup.measure) } else { next };
        tokio::select! {
            message = messages.next() => {
                let message = message.ok_or("the node has ended")?;
                let now = monotonic_ns();
                let (at, author, number) = read(&message).ok_or("a message that nobody has published")?;
                if at >= setup.measure {
                    told.heard.push((author, number, now.saturating_sub(at) / 1000));
                    envelopes.insert((author, message.id().seq));
                }
            }
            () = tokio::time::sleep(Duration::from_nanos(next.saturating_sub(monotonic_ns()))) => {
                let now = monotonic_ns();
                if now >= setup.measure && before.is_none() {
                    let counters = node.status().await.map_err(failed)?.counters;
                    before = Some((frames.sums(), counters));
                }
                if let Some((number, due)) = publishes.next_if(|(_, at)| **at <= now) {
                    told.late = told.late.max((now - due) / 1000);
                    let body = body(&setup, number);
                    group.publish(Publish::new(body).live()).await.map_err(failed)?;
                } else if now >= setup.end {
                    break;
                }
            }
        }
    }
    let (sums_before, counters_before) = before.unwrap_or_default();
    let sums = frames.sums();
    told.writes = sums.writes - sums_before.writes;
    told.frames = sums.frames;
    for (kind, (n, bytes)) in sums_before.frames {
        told.frames.entry(kind).and_modify(|sum| *sum = (sum.0 - n, sum.1 - bytes));
    }
    told.envelopes = envelopes.len() as u64;
    let status = node.status().await.map_err(failed)?;
    told.counters = status.counters;
    for (cause, n) in counters_before {
        told.counters.entry(cause).and_modify(|sum| *sum -= n);
    }
    told.counters.retain(|_, n| *n > 0);
    told.paths = status.peers.into_iter().map(|peer| peer.path).filter(|path| !path.is_empty()).collect();
    Ok(told)
}

fn body(setup: &Setup, number: usize) -> Vec<u8> {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    let mut body = monotonic_ns().to_le_bytes().to_vec();
    body.extend_from_slice(&setup.node.to_le_bytes());
    body.extend_from_slice(&number.to_le_bytes());
    body.resize(setup.size, 0xa5);
    body
}

fn read(message: &Message) -> Option<(u64, u32, u32)> {
    let (at, rest) = message.body().split_first_chunk()?;
    let (author, rest) = rest.split_first_chunk()?;
    let number = rest.first_chunk()?;
    Some((u64::from_le_bytes(*at), u32::from_le_bytes(*author), u32::from_le_bytes(*number)))
}

/// Nanoseconds on a clock that all processes of this machine share.
pub(crate) fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let part = |n: i64| u64::try_from(n).unwrap_or_default();
    part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec)
}

/// What a node has written to its links.
#[derive(Clone, Default)]
struct Sums {
    frames: BTreeMap<u8, (u64, u64)>,
    writes: u64,
}

/// Adds up what the node says that it writes; what else it says is not listened to.
#[derive(Clone, Default)]
struct FrameCounter(Arc<Mutex<Sums>>);

impl FrameCounter {
    /// All of it so far.
    fn sums(&self) -> Sums {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl tracing::Subscriber for FrameCounter {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target() == WRITER
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut seen = Written::default();
        event.record(&mut seen);
        if let Written { kind: Some(kind), bytes: Some(bytes), at: Some(at) } = seen {
            let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let sum = sums.frames.entry(kind).or_default();
            *sum = (sum.0 + 1, sum.1 + bytes);
            sums.writes += u64::from(at == 0);
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// A frame that was written.
#[derive(Default)]
struct Written {
    kind: Option<u8>,
    bytes: Option<u64>,
    /// Bytes before it in the same write.
    at: Option<u64>,
}

impl Visit for Written {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "kind" => self.kind = u8::try_from(value).ok(),
            "bytes" => self.bytes = Some(value),
            "at" => self.at = Some(value),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn core::fmt::Debug) {}
}
