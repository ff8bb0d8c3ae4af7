//! Credit for what comes, and what is owed to applications that read slowly.

use super::Engine;
use crate::id::{GroupId, LinkId};
use crate::io::CloseCause;
use crate::link::outflow::Flow;
use crate::wire::frame::{Class, Credit, GroupIx};

impl Engine {
    /// Counts a frame against the sender's credit. False if the link is not there, or ends for this.
    pub(super) fn takes_in(&mut self, link: LinkId, class: Class, bytes: usize) -> bool {
        let Some(state) = self.links.get_mut(&link) else {
            return false;
        };
        let has_credit = Flow::of(class).is_none_or(|flow| state.intake.on_received(flow, bytes));
        if !has_credit {
            self.counters.add("no-credit", 1);
            self.disconnect(link, CloseCause::WithoutCredit);
        }
        has_credit
    }

    /// Holds back the credit of an envelope whose application does not read.
    pub(super) fn withhold(&mut self, link: LinkId, theirs: GroupIx, class: Class, bytes: usize) {
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        let full = state.group(theirs).filter(|id| self.groups.get(id).is_some_and(|group| group.is_full()));
        if let (Some(group), Some(flow)) = (full, Flow::of(class)) {
            state.intake.withhold(group, flow, bytes);
        }
    }

    /// Gives the sender credit again, if it is worth a frame, or it asks whether anything is taken.
    pub(super) fn give_credit(&mut self, link: LinkId, is_asked: bool) {
        if let Some(credit) = self.links.get_mut(&link).and_then(|state| state.intake.take_grant(is_asked)) {
            self.cx().send(link, Class::Control, credit);
        }
    }

    pub(super) fn on_credit(&mut self, link: LinkId, credit: &Credit) {
        if let Some(state) = self.links.get_mut(&link) {
            state.on_credit(self.now, credit);
            self.flow(link);
        }
    }

    pub(super) fn on_inbox(&mut self, group: GroupId, has_room: bool) {
        self.with_group(group, |group, cx| group.on_inbox(cx, has_room));
        if has_room {
            self.release_credit(&group);
        }
    }

    /// Credit that was held back for a group is given.
    pub(super) fn release_credit(&mut self, group: &GroupId) {
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            if let Some(state) = self.links.get_mut(&link) {
                state.intake.release(group);
            }
            self.give_credit(link, false);
        }
    }
}
