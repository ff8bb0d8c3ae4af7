//! Neighbours that are in the group as well: each proves that it knows the key; they come and go.

use std::collections::BTreeSet;

use super::{Ctx, Group};
use crate::id::{Lane, LinkId, PeerId};
use crate::io::{Event, PresenceCause};
use crate::limits;
use crate::link::Link;
use crate::wire::frame::{Class, FLOOD, GroupIx, News, Stay, Subscribe, Unsubscribe};

impl Group {
    /// Tells a greeted neighbour that we are in the group, once the store has said what we know of it.
    pub(crate) fn subscribe(&self, cx: &mut Ctx<'_>, link: LinkId) {
        if !self.loaded {
            return;
        }
        let me = cx.me;
        let Some(state) = cx.links.get(&link) else { return };
        let Some(hello) = &state.hello else { return };
        let proof = self.key.link_proof(&me, &state.peer, &state.nonce, &hello.nonce);
        cx.send(link, Class::Control, Subscribe { group: self.ix, proof });
    }

    /// Whether a neighbour's proof is for this group.
    pub(crate) fn is_proven(&self, me: &PeerId, link: &Link, proof: &[u8; 32]) -> bool {
        link.hello
            .as_ref()
            .is_some_and(|hello| self.key.check_link_proof(me, &link.peer, &link.nonce, &hello.nonce, proof))
    }

    /// Whether the neighbour at the other end of a link is in the group.
    pub(crate) fn has_member(&self, link: LinkId) -> bool {
        self.members.contains_key(&link)
    }

    /// The link on which to talk to a member: not one that another takes over from.
    pub(super) fn link_to(&self, cx: &Ctx<'_>, peer: &PeerId) -> Option<LinkId> {
        let links = self.members.iter().filter(|(_, member)| *member == peer).map(|(link, _)| *link);
        links.max_by_key(|link| (cx.links.get(link).is_some_and(|state| !state.is_retiring()), *link))
    }

    /// Whether a member is a neighbour.
    pub(super) fn is_linked(&self, peer: &PeerId) -> bool {
        self.members.values().any(|member| member == peer)
    }

    /// Linked members, each once.
    pub(crate) fn mates(&self) -> Vec<PeerId> {
        let mates: BTreeSet<PeerId> = self.members.values().copied().collect();
        mates.into_iter().collect()
    }

    /// Whether somebody, linked or not, is known to be a member that is there.
    pub(crate) fn sees(&self, peer: &PeerId) -> bool {
        self.census.is_here(peer)
    }

    /// A neighbour has proved that it knows the group's key.
    pub(crate) fn member_up(&mut self, cx: &mut Ctx<'_>, link: LinkId, theirs: GroupIx, proof: [u8; 32]) {
        let Some(state) = cx.links.get_mut(&link) else {
            return;
        };
        let peer = state.peer;
        state.share(theirs, self.id, proof);
        if self.members.contains_key(&link) {
            // It says it again, perhaps by another number: all that follows was done.
            return;
        }
        // The side that was dialled starts, so that one digest crosses the new link and not two.
        if state.digest_at.is_none() {
            let at = if state.dialed { cx.now + limits::DIGEST_MIN } else { cx.now };
            state.digest_at = Some(at);
        }
        let is_new = !self.is_member(&peer);
        self.members.insert(link, peer);
        if is_new {
            cx.event(Event::MemberJoined { group: self.id, peer });
        }
        if let Some(parent) = self.tree.take_parent(&peer) {
            // From now on the author sends to us itself.
            cx.send(parent, Class::Control, crate::wire::frame::Prune { group: self.ix, author: peer });
        }
        self.send_stored(cx, link, peer);
        self.in_forest(cx, |forest, ground| forest.link_up(ground, link, peer));
        self.say_soon(cx);
        let facts = self.census.open_votes(&peer);
        if !facts.is_empty() {
            cx.send(link, Class::Control, News { group: self.ix, tree: FLOOD, facts });
        }
        self.in_census(cx, |census, ground| census.seen(ground.now, &peer));
        self.pump(cx);
    }

    pub(super) fn match_unmatched(&mut self, cx: &mut Ctx<'_>, link: LinkId) {
        let Some(state) = cx.links.get(&link) else { return };
        let me = cx.me;
        if let Some((theirs, proof)) = state.find_unmatched(|proof| self.is_proven(&me, state, proof)) {
            self.member_up(cx, link, theirs, proof);
        }
    }

    /// A neighbour has left the group, or its link is down.
    pub(crate) fn member_down(&mut self, cx: &mut Ctx<'_>, link: LinkId, cause: Option<PresenceCause>) {
        let peer = self.members.remove(&link);
        // What was under way on a link that was given up has left its traces since, so this is done each time.
        self.tree.link_down(link);
        let is_parting = cx.links.get(&link).is_some_and(Link::is_parting);
        self.in_forest(cx, |forest, ground| {
            if is_parting { forest.link_parts(ground, link) } else { forest.link_down(ground, link) }
        });
        self.repair.link_down(cx.now, link);
        self.serving.remove(&link);
        self.census.link_down(link);
        self.outgoing.link_down(link);
        let Some(peer) = peer else { return };
        if !self.is_linked(&peer) {
            // Whether it is gone that is not a neighbour any more those will say who are.
            let is_here = self.census.is_here(&peer);
            // A link that the overlay gives up tells nothing, but that the census had found out before.
            let cause = cause.or(self.census.is_absent(&peer).then_some(PresenceCause::Silent));
            match cause {
                Some(cause @ (PresenceCause::Left | PresenceCause::Goodbye)) if is_here => {
                    self.peer_gone(cx, &peer, cause);
                }
                Some(cause) if !is_here => cx.event(Event::MemberLeft { group: self.id, peer, cause }),
                _ => {}
            }
        } else if let Some(other) = self.link_to(cx, &peer) {
            self.send_stored(cx, other, peer);
        }
        self.pump(cx);
    }

    /// Leaves: tells the members.
    pub(crate) fn leave(mut self, cx: &mut Ctx<'_>) {
        self.say_farewell(cx, Stay::Left);
        for link in self.members.keys().copied().collect::<Vec<_>>() {
            cx.send(link, Class::Control, Unsubscribe { group: self.ix });
        }
        for ((lane, _), own) in std::mem::take(&mut self.unreleased) {
            let reason = "the group was left before it was on disk; if it got there, it leaves when the group is joined again";
            cx.event(Event::Dropped {
                group: self.id,
                lane,
                tickets: own.tickets,
                reason: reason.to_owned(),
            });
        }
        for lane in [Lane::Durable, Lane::Live] {
            self.drop_drafts(cx, lane, "the group was left");
        }
        let id = self.id;
        cx.tokens.forget(&id);
        for link in cx.links.values_mut() {
            link.forget_group(&id);
        }
    }
}
