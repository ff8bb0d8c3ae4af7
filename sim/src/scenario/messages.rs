//! Who publishes what, and when.

use core::time::Duration;

use djembe_protocol::id::Lane;
use serde::{Deserialize, Deserializer, Serialize};

use super::Scenario;
use super::text::time;
use crate::rng::{Purpose, Rng};

/// Where each sender speaks for itself, for so many messages it is worked out what would have been fastest.
const OPTIMA_MAX: usize = 100;
/// And in a world of more nodes than these for none.
const OPTIMUM_NODES_MAX: usize = 10_000;

/// Of senders: as many as there are nodes.
pub(super) const ALL: usize = usize::MAX;

/// Who publishes what.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Messages {
    /// A second and sender.
    pub rate: f64,
    /// Bytes of content.
    pub size: usize,
    /// `durable` or `live`.
    #[serde(deserialize_with = "lane")]
    pub lane: Lane,
    /// The first so many nodes, if it is `each` or the `active` ones who speak; all if nothing is said.
    pub senders: usize,
    /// Who speaks. `each`: each sender at this rate. The others speak in turn, one message at a time, at this rate in all:
    /// `active`, the senders; `fresh`, all nodes, so that each has never spoken before while there are any; `zipf`, all
    /// nodes, few of them most of the time (the n-th with probability 1/n).
    pub authors: Authors,
    /// From then on.
    #[serde(deserialize_with = "time")]
    pub start: Duration,
    /// Until then.
    #[serde(deserialize_with = "time")]
    pub stop: Duration,
    /// What is published, and what is on the wire, from then on is measured; before that trees grow. From the start if it
    /// is not given.
    #[serde(deserialize_with = "time")]
    pub measure: Duration,
}

/// Who speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Authors {
    /// Each sender for itself.
    Each,
    /// The senders, in turn.
    Active,
    /// Those who never spoke, in turn.
    Fresh,
    /// Everybody, few of them most of the time.
    Zipf,
}

impl Default for Messages {
    fn default() -> Self {
        Self {
            rate: 1.0,
            size: 200,
            lane: Lane::Durable,
            senders: ALL,
            authors: Authors::Each,
            start: Duration::from_secs(5),
            stop: Duration::from_secs(15),
            measure: Duration::ZERO,
        }
    }
}

impl Messages {
    /// What is published from then on counts in times, copies and bytes.
    pub fn measured_from(&self) -> Duration {
        if self.measure.is_zero() { self.start } else { self.measure }
    }
}

impl Scenario {
    /// Of so many messages one has worked out what would have been fastest. Of lone ones all have; where each sender
    /// speaks for itself there are many, and so that it does not take longer than the run only some are looked at.
    pub(crate) fn optimum_every(&self) -> usize {
        match self.messages.authors {
            Authors::Each if self.nodes > OPTIMUM_NODES_MAX => 0,
            Authors::Each => self.publishes().count().div_ceil(OPTIMA_MAX).max(1),
            Authors::Active | Authors::Fresh | Authors::Zipf => 1,
        }
    }

    /// When who publishes. Newcomers say nothing before they are there.
    pub fn publishes(&self) -> Box<dyn Iterator<Item = (Duration, usize)> + '_> {
        if self.crowds.is_empty() {
            return self.turns();
        }
        let mut comes_at = vec![Duration::ZERO; self.nodes];
        self.arrivals().into_iter().for_each(|(at, node)| comes_at[node] = at);
        Box::new(self.turns().filter(move |(at, node)| *at > comes_at[*node]))
    }

    fn turns(&self) -> Box<dyn Iterator<Item = (Duration, usize)> + '_> {
        let messages = &self.messages;
        let rate = messages.rate.max(f64::MIN_POSITIVE);
        let pause = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX);
        let pause = pause.max(Duration::from_micros(1));
        let senders = match messages.authors {
            _ if messages.rate <= 0.0 => 0,
            Authors::Each | Authors::Active => messages.senders.min(self.nodes),
            Authors::Fresh | Authors::Zipf => self.nodes,
        };
        let times = move |phase: Duration| {
            let times =
                std::iter::successors(messages.start.checked_add(phase), move |at| at.checked_add(pause));
            times.take_while(|at| *at < messages.stop)
        };
        if senders == 0 {
            return Box::new(std::iter::empty());
        }
        // A stride that meets everybody once, and neighbours in number far apart.
        let stride = (senders / 3..).find(|stride| gcd(*stride, senders) == 1).unwrap_or(1);
        match messages.authors {
            Authors::Each => Box::new((0..senders).flat_map(move |node| {
                let phase = Rng::split(self.seed, node, 0, Purpose::Workload).time_below(pause);
                times(phase).map(move |at| (at, node))
            })),
            Authors::Active => {
                Box::new(times(Duration::ZERO).enumerate().map(move |(n, at)| (at, n % senders)))
            }
            Authors::Fresh => {
                Box::new(times(Duration::ZERO).enumerate().map(move |(n, at)| (at, n * stride % senders)))
            }
            Authors::Zipf => {
                let mut rng = Rng::split(self.seed, 0, 4, Purpose::Workload);
                let total: f64 = (1..=senders).map(|n| 1.0 / n as f64).sum();
                Box::new(times(Duration::ZERO).map(move |at| {
                    let mut lot = rng.below(1 << 52) as f64 / (1u64 << 52) as f64 * total;
                    let rank = (0..senders).find(|rank| {
                        lot -= 1.0 / (rank + 1) as f64;
                        lot < 0.0
                    });
                    (at, rank.unwrap_or(0) * stride % senders)
                }))
            }
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn lane<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Lane, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "durable" => Ok(Lane::Durable),
        "live" => Ok(Lane::Live),
        other => Err(serde::de::Error::custom(format!(
            "{other:?} is not a lane: expected \"durable\" or \"live\""
        ))),
    }
}
