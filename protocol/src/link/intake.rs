//! What the peer may still send us on one link, and when it is told that it may send more.
//!
//! Credits are bytes of frames in all since the link came up, by flow. What was taken in is given back, gathered to
//! a quarter of a window, so that a stream of envelopes costs few words; what came for an application that does not read is
//! given back when it does, and is at most half a window, so that the other half is left for everybody else.

use std::collections::BTreeMap;

use super::outflow::Flow;
use crate::id::GroupId;
use crate::limits;
use crate::wire::frame::Credit;

const WINDOWS: [u64; 2] = [limits::CREDIT_LIVE, limits::CREDIT_BULK];

#[derive(Debug)]
pub(crate) struct Intake {
    received: [u64; 2],
    granted: [u64; 2],
    /// Taken in for groups whose application does not read.
    withheld: BTreeMap<GroupId, [u64; 2]>,
}

impl Intake {
    pub(crate) fn new() -> Self {
        Self { received: [0; 2], granted: WINDOWS, withheld: BTreeMap::new() }
    }

    /// A frame came. False if the peer had no credit for it.
    #[must_use]
    pub(crate) fn on_received(&mut self, flow: Flow, bytes: usize) -> bool {
        let received = &mut self.received[flow as usize];
        *received = received.saturating_add(bytes as u64);
        *received <= self.granted[flow as usize]
    }

    /// It was for a group whose application does not read. False if too much is held back already.
    pub(crate) fn withhold(&mut self, group: GroupId, flow: Flow, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let room = self.withheld(flow) + bytes <= WINDOWS[flow as usize] / 2;
        if room {
            self.withheld.entry(group).or_default()[flow as usize] += bytes;
        }
        room
    }

    /// The application reads again, or the group is left.
    pub(crate) fn release(&mut self, group: &GroupId) {
        self.withheld.remove(group);
    }

    /// What is to be told, once it is worth a frame; or, to one who asks, whatever there is.
    pub(crate) fn take_grant(&mut self, is_asked: bool) -> Option<Credit> {
        let target = [Flow::Live, Flow::Bulk].map(|flow| {
            let ix = flow as usize;
            self.received[ix] - self.withheld(flow).min(self.received[ix]) + WINDOWS[ix]
        });
        let worth = |ix: usize| if is_asked { limits::CREDIT_ASKED } else { WINDOWS[ix] / 4 };
        let is_due = |ix: usize| target[ix].saturating_sub(self.granted[ix]) >= worth(ix);
        if !is_due(0) && !is_due(1) {
            return None;
        }
        for (granted, target) in self.granted.iter_mut().zip(target) {
            *granted = target.max(*granted);
        }
        Some(Credit { live: self.granted[0], bulk: self.granted[1] })
    }

    fn withheld(&self, flow: Flow) -> u64 {
        self.withheld.values().map(|bytes| bytes[flow as usize]).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupId = GroupId([1; 32]);
    const HALF: usize = (limits::CREDIT_LIVE / 2) as usize;

    #[test]
    fn a_window_is_bounded_from_both_sides() {
        for flow in [Flow::Live, Flow::Bulk] {
            let window = WINDOWS[flow as usize] as usize;
            let mut intake = Intake::new();
            assert!(intake.on_received(flow, window));
            assert!(!intake.on_received(flow, 1), "one byte past it");
        }
    }

    #[test]
    fn credit_comes_back_in_quarters() {
        let mut intake = Intake::new();
        assert!(intake.on_received(Flow::Live, HALF / 2 - 1));
        assert_eq!(intake.take_grant(false), None);
        assert!(intake.on_received(Flow::Live, 1));
        let quarter = limits::CREDIT_LIVE / 4;
        let credit = Credit { live: 5 * quarter, bulk: limits::CREDIT_BULK };
        assert_eq!(intake.take_grant(false), Some(credit), "what was taken in");
        assert_eq!(intake.take_grant(false), None);
        let asked = limits::CREDIT_ASKED;
        assert!(intake.on_received(Flow::Live, asked as usize - 1));
        assert_eq!(intake.take_grant(true), None, "not even for who asks");
        assert!(intake.on_received(Flow::Live, 1));
        assert_eq!(intake.take_grant(false), None);
        assert!(intake.take_grant(true).is_some_and(|credit| credit.live == 5 * quarter + asked));
    }

    /// Half the window is held back for who does not read, and the rest goes round; all comes back when it reads.
    #[test]
    fn a_reader_that_stands_still_costs_half_a_window() {
        let mut intake = Intake::new();
        let mut held = 0;
        for _ in 0..1000 {
            assert!(intake.on_received(Flow::Live, 10_000), "credit never runs out");
            held += usize::from(intake.withhold(GROUP, Flow::Live, 10_000));
            intake.take_grant(false);
        }
        assert_eq!(held, HALF / 10_000);
        let before = intake.granted[0];
        intake.release(&GROUP);
        assert!(intake.take_grant(false).is_some_and(|credit| credit.live > before));
    }
}
