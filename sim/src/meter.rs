//! What a report is to tell of single nodes: counted beside what happens, and nothing that happens depends on it.

use djembe_protocol::io::PresenceState;
use djembe_protocol::time::Timestamp;

use crate::topology::NodeIx;
use crate::wire::Hop;

/// Of so many envelopes a node remembers from whom they came.
const ARRIVALS_MAX: usize = 256;

/// One node's counts.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Bytes that it put on the wire, overhead included.
    pub(crate) sent: u64,
    /// Bytes that came, the same way.
    pub(crate) received: u64,
    /// How envelopes came first, as far as that is wanted and there is room.
    pub(crate) arrivals: Vec<Arrival>,
}

/// An envelope came to a node that did not have it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// When.
    pub(crate) at: Timestamp,
    /// From whom.
    pub(crate) from: NodeIx,
    /// Which, and how far it had come.
    pub(crate) hop: Hop,
}

impl Meter {
    pub(crate) fn arrived(&mut self, arrival: Arrival) {
        if self.arrivals.len() < ARRIVALS_MAX {
            self.arrivals.push(arrival);
        }
    }
}

/// What nodes say of each other at present, counted for each of whom they say it.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    of: Vec<Doubt>,
}

/// How many others doubt a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Doubt {
    /// They would vote that it is gone.
    pub(crate) suspecting: u32,
    /// They say that it is gone, or have seen it leave a group without a word.
    pub(crate) gone: u32,
}

/// What can be said of a node that it is not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Word {
    Suspect,
    Gone,
}

impl Word {
    /// What a state says against a node.
    pub(crate) fn of(state: PresenceState) -> Option<Self> {
        match state {
            PresenceState::Suspect => Some(Self::Suspect),
            PresenceState::Gone => Some(Self::Gone),
            PresenceState::Alive | PresenceState::Evasive => None,
        }
    }
}

impl Doubts {
    /// Somebody says this of a node (by its short number) in place of that.
    pub(crate) fn change(&mut self, subject: u32, before: Option<Word>, now: Option<Word>) {
        if before == now {
            return;
        }
        let subject = subject as usize;
        if self.of.len() <= subject {
            // The number of who is no node is beyond all.
            if subject == u32::MAX as usize {
                return;
            }
            self.of.resize(subject + 1, Doubt::default());
        }
        let doubt = &mut self.of[subject];
        let mut count = |word: Option<Word>, by: i32| {
            let n = match word {
                None => return,
                Some(Word::Suspect) => &mut doubt.suspecting,
                Some(Word::Gone) => &mut doubt.gone,
            };
            *n = n.saturating_add_signed(by);
        };
        count(before, -1);
        count(now, 1);
    }

    /// How many doubt a node.
    pub(crate) fn of(&self, node: NodeIx) -> Doubt {
        self.of.get(node).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_counted_until_something_else_is() {
        let mut doubts = Doubts::default();
        doubts.change(3, None, Some(Word::Suspect));
        doubts.change(3, None, Some(Word::Suspect));
        assert_eq!(doubts.of(3), Doubt { suspecting: 2, gone: 0 });
        doubts.change(3, Some(Word::Suspect), Some(Word::Gone));
        doubts.change(3, Some(Word::Suspect), None);
        assert_eq!(doubts.of(3), Doubt { suspecting: 0, gone: 1 });
        doubts.change(u32::MAX, None, Some(Word::Gone));
        assert_eq!((doubts.of(2), doubts.of(4)), (Doubt::default(), Doubt::default()));
    }
}
