//! What a node knows of itself and its neighbours, ready for JSON.

use serde::{Deserialize, Serialize};

/// One screen's worth.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// This node.
    pub peer_id: String,
    /// The network's name.
    pub network: String,
    /// Where it listens.
    pub listen: Vec<String>,
    /// Seconds since it started.
    pub uptime_secs: u64,
    /// How late its own timers are: 0 is well, 8 is starved.
    pub health: u32,
    /// Somebody was linked since it started.
    #[serde(default)]
    pub was_linked: bool,
    /// Who is known.
    pub peers: Vec<PeerInfo>,
    /// Groups it is in.
    pub groups: Vec<GroupInfo>,
    /// What was counted: refused frames by cause, duplicates, and so on.
    pub counters: std::collections::BTreeMap<String, u64>,
    /// What discovery tried and heard, per interface.
    pub discovery: serde_json::Value,
    /// The same in a few lines for a person.
    pub discovery_text: String,
    /// What to try where nobody is found, the likeliest first.
    pub advice: Vec<String>,
}

/// A peer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Who.
    pub peer_id: String,
    /// `alive`, `evasive`, `suspect` or `gone`.
    pub state: String,
    /// How it was found: `beacon`, `mdns`, `cache`, `given`, `neighbour`, `incoming`.
    pub found_by: Vec<String>,
    /// `tcp` or `quic` and the address; empty without a link.
    pub path: String,
    /// Round trip in milliseconds; absent before the first measurement.
    pub rtt_ms: Option<f64>,
    /// Bytes waiting to be sent to it.
    pub queued_bytes: usize,
    /// What is held against it, of 100, at which it is shut out for a while.
    pub blame: u32,
    /// How it takes them: `prompt`; `slow`, it is only told what there is, and asks; `blocked`, it has taken nothing for
    /// two seconds.
    #[serde(default)]
    pub pace: String,
}

/// A group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupInfo {
    /// Its name.
    pub name: String,
    /// How many other members are there, near and far.
    #[serde(default)]
    pub member_count: usize,
    /// There may be more than this node keeps in mind.
    #[serde(default)]
    pub is_sample: bool,
    /// How many of them are linked.
    #[serde(default)]
    pub linked: usize,
    /// Who they are, those linked first; at most 2,000.
    pub members: Vec<String>,
    /// How far its kept logs are complete, summed. Numbers that their authors skipped count.
    pub envelopes: u64,
    /// Envelopes known to exist and not here yet.
    pub missing: u64,
    /// Logs that are longer elsewhere, the longest in this state first; at most 16.
    #[serde(default)]
    pub gaps: Vec<GapInfo>,
    /// Trees known in it, along which messages travel; none where everybody is linked to everybody.
    #[serde(default)]
    pub trees: usize,
    /// This node is root of one of them.
    #[serde(default)]
    pub is_root: bool,
    /// Own messages of this run that nobody has taken yet; those that were sealed together count as one.
    pub queued: usize,
    /// A hash over all logs that are kept, in hexadecimal: nodes with the same have the same messages.
    pub log_hash: String,
}

/// A log that is longer elsewhere.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GapInfo {
    /// Whose.
    pub author: String,
    /// Envelopes missing.
    pub missing: u64,
    /// For how long.
    pub seconds: u64,
    /// Who says that there is more.
    pub claimed_by: String,
    /// For so long that nobody seems to give it.
    pub stale: bool,
}

impl GapInfo {
    pub(crate) fn of(gap: &djembe_protocol::io::GapStatus) -> Self {
        Self {
            author: gap.log.author.to_string(),
            missing: gap.missing,
            seconds: gap.age.as_secs(),
            claimed_by: gap.claimed_by.to_string(),
            stale: gap.is_stale,
        }
    }
}
