//! How much of others one node keeps.

use serde::{Deserialize, Serialize};

use crate::limits;

/// Bounds of the tables that grow with the network. Where a device is small, or a million nodes share one machine, they
/// can be less than usual; what a node may say and has to take is the same for all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bounds {
    /// Members of one group on its list: 16 to [`limits::MEMBERS_MAX`], some 170 bytes each. Of a larger group the list is
    /// a sample, and what is said of others is not passed on: messages reach everybody all the same, but where some keep few
    /// members in mind others may not hear of all.
    pub members: usize,
    /// Peers that are known without a link, in a network larger than a mesh: 8 to [`limits::PASSIVE_MAX`]. Those to which a
    /// link broke come on top, [`limits::LOST_MAX`] at most.
    pub peers: usize,
    /// Trees of one group: 2 to [`limits::TREES_MAX`], some 600 bytes each.
    pub trees: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { members: limits::MEMBERS_MAX, peers: limits::PASSIVE_MAX, trees: limits::TREES_MAX }
    }
}

impl Bounds {
    /// The nearest with which the protocol works.
    #[must_use]
    pub fn workable(self) -> Self {
        Self {
            members: self.members.clamp(16, limits::MEMBERS_MAX),
            peers: self.peers.clamp(8, limits::PASSIVE_MAX),
            trees: self.trees.clamp(2, limits::TREES_MAX),
        }
    }
}
