//! Why an engine closes a link.

use core::fmt;

/// Why a link is closed from here, in [`Output::Disconnect`](super::Output::Disconnect).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum CloseCause {
    /// The peer is of another network.
    AnotherNetwork,
    /// Of two links to one peer the other one stays.
    Duplicate,
    /// It takes frames in and does not answer for them: what waits for it is more than may wait.
    DoesNotListen,
    /// A header on one of its streams cannot be made whole, nor what follows.
    ElidedHeader,
    /// The peer has stopped and said so.
    Goodbye,
    /// The peer has used up its last blame, and is shut out from now on.
    Misconduct,
    /// The peer and this node speak no version in common.
    NoCommonVersion,
    /// HELLO did not come in time.
    NoHello,
    /// This node gave it up, or it lost against another link.
    NotKept,
    /// The peer does not keep it.
    Refused,
    /// The peer has this node's own identity.
    Ourselves,
    /// The peer is shut out from before.
    ShutOut,
    /// Nothing was heard on it.
    Silent,
    /// The peer has read too little for too long.
    Slow,
    /// Another frame came before HELLO.
    SpokeBeforeHello,
    /// More links than this node can have.
    TooManyLinks,
    /// The peer sent more than it was given credit for.
    WithoutCredit,
}

impl CloseCause {
    /// In words, for the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AnotherNetwork => "another network",
            Self::Duplicate => "duplicate link",
            Self::DoesNotListen => "does not listen",
            Self::ElidedHeader => "elided header",
            Self::Goodbye => "goodbye",
            Self::Misconduct => "misconduct",
            Self::NoCommonVersion => "no common version",
            Self::NoHello => "no HELLO",
            Self::NotKept => "not kept",
            Self::Refused => "refused",
            Self::Ourselves => "connected to myself",
            Self::ShutOut => "shut out",
            Self::Silent => "silent",
            Self::Slow => "slow",
            Self::SpokeBeforeHello => "spoke before HELLO",
            Self::TooManyLinks => "too many links",
            Self::WithoutCredit => "sent without credit",
        }
    }

    /// The peer gets nothing more, not even what was written for it before.
    pub const fn is_abrupt(self) -> bool {
        matches!(self, Self::Misconduct | Self::ShutOut)
    }

    /// The word in `status` for what is the peer's fault and is counted nowhere else.
    pub(crate) const fn counter(self) -> Option<&'static str> {
        match self {
            Self::NoHello => Some("no-hello"),
            Self::SpokeBeforeHello => Some("spoke-before-hello"),
            Self::TooManyLinks => Some("too-many-links"),
            _ => None,
        }
    }
}

impl fmt::Display for CloseCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
