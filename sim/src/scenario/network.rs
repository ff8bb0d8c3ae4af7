//! What lies between nodes, as a scenario says it: sites, the ways between them, what happens to packets.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::text::{some_time, time};
use crate::topology::{Burst, Nat, Site, Way};

/// Nothing is on its way for longer, jitter aside: more is a mistake.
const WAY_MAX: Duration = Duration::from_secs(3600);

/// A place where some of the nodes are.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SiteText {
    /// What paths call it.
    pub name: String,
    /// How many of the nodes are there, in relation to the shares of the others.
    #[serde(default = "one")]
    pub share: f64,
    /// Time of one way within it.
    #[serde(deserialize_with = "time")]
    pub latency: Duration,
    /// Up to this much more between two nodes.
    #[serde(default, deserialize_with = "time")]
    pub spread: Duration,
    /// Bits a second that a node there can send; 0 is what the scenario says for all.
    #[serde(default)]
    pub up: u64,
    /// Bits a second that a node there can receive; 0 is no limit.
    #[serde(default)]
    pub down: u64,
    /// Who can dial a node there from elsewhere.
    #[serde(default)]
    pub nat: Nat,
    /// It is a segment of a LAN: nodes there hear each other's beacons, one in a period of `beacon`. Where one site is,
    /// `discovery` is not, and who is on none learns of others from the contact and its neighbours only.
    #[serde(default)]
    pub segment: bool,
    /// What happens to packets within it, where it is not what the scenario says for all.
    #[serde(default, deserialize_with = "some_time")]
    pub jitter: Option<Duration>,
    /// The same.
    pub jitter_share: Option<f64>,
    /// The same.
    pub loss: Option<f64>,
    /// The same.
    pub burst: Option<BurstText>,
    /// The same.
    pub reorder: Option<f64>,
    /// The same.
    pub duplicate: Option<f64>,
    /// The same.
    pub corrupt: Option<f64>,
}

/// What lies between two sites.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PathText {
    /// Which two.
    pub sites: [String; 2],
    /// Time of one way.
    #[serde(deserialize_with = "time")]
    pub latency: Duration,
    /// Up to this much more between two nodes.
    #[serde(default, deserialize_with = "time")]
    pub spread: Duration,
    /// What happens to packets between them, where it is not what the scenario says for all.
    #[serde(default, deserialize_with = "some_time")]
    pub jitter: Option<Duration>,
    /// The same.
    pub jitter_share: Option<f64>,
    /// The same.
    pub loss: Option<f64>,
    /// The same.
    pub burst: Option<BurstText>,
    /// The same.
    pub reorder: Option<f64>,
    /// The same.
    pub duplicate: Option<f64>,
    /// The same.
    pub corrupt: Option<f64>,
}

/// Loss in bursts (Gilbert 1960, Elliott 1963): a way is good for a while, then bad for a while.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BurstText {
    /// How long a way is good, in the mean.
    #[serde(deserialize_with = "time")]
    pub good: Duration,
    /// How long it is bad.
    #[serde(deserialize_with = "time")]
    pub bad: Duration,
    /// Share of packets that are lost while it is bad, beside those that are lost anyway.
    pub loss: f64,
}

/// A way with what is said of it, and of what is not said what goes for all. Both tables have the same fields for it.
macro_rules! way {
    ($text:expr, $all:expr) => {
        Way {
            latency: $text.latency,
            spread: $text.spread,
            jitter: $text.jitter.unwrap_or($all.jitter),
            jitter_share: $text.jitter_share.unwrap_or($all.jitter_share),
            loss: $text.loss.unwrap_or($all.loss),
            burst: $text.burst.as_ref().map(Burst::from).or($all.burst),
            reorder: $text.reorder.unwrap_or($all.reorder),
            duplicate: $text.duplicate.unwrap_or($all.duplicate),
            corrupt: $text.corrupt.unwrap_or($all.corrupt),
        }
    };
}

/// Whether what happens to packets makes sense.
///
/// # Errors
/// What does not, for people; `whose` is put before it.
pub(super) fn check_way(whose: &str, way: &Way) -> Result<(), String> {
    for (what, time) in [("latency", way.latency), ("spread", way.spread), ("jitter", way.jitter)] {
        if time > WAY_MAX {
            return Err(format!("{whose}{what} = {time:?}: expected {WAY_MAX:?} at most"));
        }
    }
    for (what, share) in [
        ("loss", way.loss),
        ("burst.loss", way.burst.map_or(0.0, |burst| burst.loss)),
        ("reorder", way.reorder),
        ("duplicate", way.duplicate),
        ("corrupt", way.corrupt),
    ] {
        if !(0.0..=0.9).contains(&share) {
            return Err(format!("{whose}{what} = {share}: expected 0 to 0.9"));
        }
    }
    if way.burst.is_some_and(|burst| burst.good.is_zero() || burst.bad.is_zero()) {
        return Err(format!("{whose}burst: good and bad take longer than nothing"));
    }
    if !(0.0..=10.0).contains(&way.jitter_share) {
        return Err(format!("{whose}jitter_share = {}: expected 0 to 10", way.jitter_share));
    }
    Ok(())
}

fn one() -> f64 {
    1.0
}

impl From<&BurstText> for Burst {
    fn from(text: &BurstText) -> Self {
        Self { good: text.good, bad: text.bad, loss: text.loss }
    }
}

/// Sites and ways as the topology wants them.
///
/// # Errors
/// If a name is unknown or given twice, two sites have no path, or a share makes no sense; the text is for people.
pub(super) fn sites(sites: &[SiteText], paths: &[PathText], all: &Way) -> Result<Vec<Site>, String> {
    let find = |name: &str| {
        sites
            .iter()
            .position(|site| site.name == name)
            .ok_or_else(|| format!("paths: there is no site {name:?}"))
    };
    for (n, site) in sites.iter().enumerate() {
        if find(&site.name)? != n {
            return Err(format!("sites: {:?} is there twice", site.name));
        }
        if !(site.share > 0.0 && site.share.is_finite()) {
            return Err(format!("sites: {:?} has a share of {}", site.name, site.share));
        }
    }
    let mut ways = vec![vec![None; sites.len()]; sites.len()];
    for path in paths {
        let [a, b] = [find(&path.sites[0])?, find(&path.sites[1])?];
        if a == b {
            return Err(format!("paths: from {:?} to itself; a site has its own latency", path.sites[0]));
        }
        let way = way!(path, all);
        check_way(&format!("paths, from {:?} to {:?}: ", path.sites[0], path.sites[1]), &way)?;
        (ways[a][b], ways[b][a]) = (Some(way), Some(way));
    }
    for (n, site) in sites.iter().enumerate() {
        let way = way!(site, all);
        check_way(&format!("sites, {:?}: ", site.name), &way)?;
        ways[n][n] = Some(way);
    }
    let total: f64 = sites.iter().map(|site| site.share).sum();
    let mut upto = 0.0;
    sites
        .iter()
        .zip(ways)
        .map(|(site, ways)| {
            let ways = ways.into_iter().zip(sites).map(|(way, other)| {
                way.ok_or_else(|| format!("paths: there is none from {:?} to {:?}", site.name, other.name))
            });
            upto += site.share / total;
            let ways = ways.collect::<Result<Vec<_>, String>>()?;
            Ok(Site { upto, ways, up: site.up, down: site.down, nat: site.nat, is_segment: site.segment })
        })
        .collect()
}
