//! Mistakes that simulated hosts can be told to make, so that tests can show that the search finds such. Nobody else
//! has a use for them.

use core::fmt;

use clap::ValueEnum as _;
use serde::{Deserialize, Serialize};

/// A mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Bug {
    /// Some frames that tell a neighbour to stop are not sent.
    LostPrune,
    /// Some frames that ask a neighbour to become a parent are not sent.
    LostGraft,
    /// Whoever gives a link up does not say so, and leaves it open.
    LostRefusal,
    /// Nodes with even numbers dial none with odd ones, nor the other way.
    LostDial,
    /// Some envelopes are delivered twice.
    DoubleDelivery,
    /// Some envelopes are delivered as if they were of another group.
    WrongGroup,
    /// Some messages are delivered with another content.
    Forgery,
    /// Some envelopes are delivered after the next one of their author.
    LateDelivery,
    /// Some envelopes are not delivered.
    LostDelivery,
    /// Some commits are said to be on disk, and are not.
    LostWrite,
    /// Some peers are told to be gone, and alive again.
    PresenceFlap,
}

/// As it is written in a scenario and on the command line.
impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

impl Bug {
    /// Of what it can strike, it strikes each so-many-th at a node.
    pub(crate) fn every(self) -> u32 {
        match self {
            // They are rare.
            Self::LostPrune | Self::LostGraft => 2,
            // Half of it mends itself.
            Self::LostRefusal | Self::LostDial => 1,
            Self::DoubleDelivery
            | Self::WrongGroup
            | Self::Forgery
            | Self::LateDelivery
            | Self::LostDelivery
            | Self::LostWrite
            | Self::PresenceFlap => 5,
        }
    }
}
