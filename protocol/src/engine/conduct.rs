//! Blame is laid, and whoever has too much of it is cut off.

use super::Engine;
use crate::conduct::{self, Fault, Offence, Toll};
use crate::error::Reject;
use crate::id::LinkId;
use crate::io::CloseCause;
use crate::wire::frame::{Class, Frame};

impl Engine {
    pub(super) fn on_rejected(&mut self, link: LinkId, class: Class, bytes: usize, reject: Reject) {
        tracing::debug!(link = link.0, %reject, "frame refused");
        self.counters.add(reject.cause(), 1);
        // Of a header that could not be made whole nobody knows how long it was; and it is the last.
        if !self.takes_in(link, class, bytes) {
            return;
        }
        self.offend(
            link,
            match reject {
                Reject::Decode(_) | Reject::Elided(_) => Offence::Unreadable,
                Reject::CiphertextHash | Reject::Signature => Offence::Forged,
            },
        );
        if let Reject::Elided(_) = reject {
            // What comes next on the stream cannot be read either.
            self.disconnect(link, CloseCause::ElidedHeader);
        }
        self.give_credit(link, false);
    }

    /// Lays blame on the peer at the other end of a link.
    pub(super) fn offend(&mut self, link: LinkId, offence: Offence) {
        let Some(peer) = self.links.get(&link).map(|state| state.peer) else {
            return;
        };
        if !self.conduct.blame(self.now, peer, offence) {
            return;
        }
        tracing::debug!(peer = %peer.short(), ?offence, "shut out");
        self.counters.add("cut-off", 1);
        let links = self.links.values().filter(|state| state.peer == peer);
        for link in links.map(|state| state.id).collect::<Vec<_>>() {
            self.disconnect(link, CloseCause::Misconduct);
        }
    }

    /// A frame that has no place in the conversation.
    pub(super) fn out_of_turn(&mut self, link: LinkId) {
        let fault = Fault::OutOfTurn;
        self.counters.add(fault.cause(), 1);
        self.offend(link, fault.offence());
    }

    /// Whether the link has not said too much to be listened to. What makes less work in future is always taken.
    pub(super) fn may_say(&mut self, link: LinkId, talk: &Frame) -> bool {
        let is_farewell = matches!(talk, Frame::Goodbye(_) | Frame::Unsubscribe(_));
        let peer = self.links.get(&link).map(|state| state.peer);
        let may = peer.is_none_or(|peer| self.conduct.may_talk(self.now, &peer, conduct::cost(talk)));
        let may = may || is_farewell;
        if !may {
            self.counters.add("flood", 1);
            self.offend(link, Offence::Excess);
        }
        may
    }

    /// What the frame in hand turned out to cost is charged to its sender.
    pub(super) fn settle_toll(&mut self, link: LinkId) {
        let toll = std::mem::take(&mut self.toll);
        if toll.waste == 0 && toll.work == 0 {
            return;
        }
        let peer = self.links.get(&link).map(|state| state.peer);
        if peer.is_some_and(|peer| !self.conduct.may_cost(self.now, &peer, toll)) {
            self.counters.add("flood", 1);
            self.offend(link, Offence::Excess);
        }
    }

    /// A frame for a group that the link does not share, which may have crossed a leave.
    pub(super) fn on_unknown_group(&mut self, link: LinkId) {
        /// Of such frames few are honest, and each may have cost a signature.
        const WASTE: u32 = 8;
        self.counters.add("unknown-group", 1);
        self.toll = Toll { waste: WASTE, ..self.toll };
        self.settle_toll(link);
    }
}
