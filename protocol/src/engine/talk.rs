//! Frames: who may speak, and which part of the node each is for.

use super::Engine;
use crate::conduct::{Fault, Offence};
use crate::group::{Ctx, Group};
use crate::id::{LinkId, PeerId};
use crate::io::{CloseCause, PresenceCause};
use crate::link::{Greeting, Link};
use crate::presence;
use crate::wire::frame::{
    self, Adverts, Alive, AnchorReq, Checked, CheckedFrame, Class, Frame, Graft, Hello, LoopProbe, Members,
    MembersAsk, MembersHave, MembersSums, MembersWant, News, Refuse, SeqReq, Subscribe, Ungraft,
};

impl Engine {
    /// A frame came. It is counted first, whatever becomes of it.
    pub(super) fn on_frame(&mut self, link: LinkId, class: Class, bytes: usize, frame: CheckedFrame) {
        if !self.takes_in(link, class, bytes) {
            return;
        }
        if let Some(group) = frame.group().filter(|_| class != Class::Control) {
            self.withhold(link, group, class, bytes);
        }
        if class == Class::Control && frame.group().is_some() {
            // It would be paid for by nobody.
            self.counters.add("wrong-class", 1);
            return self.offend(link, Offence::Unreadable);
        }
        if self.links.get_mut(&link).is_some_and(|state| state.heard(self.now)) {
            self.flow(link);
        }
        self.on_counted_frame(link, frame);
        self.give_credit(link, false);
    }

    fn on_counted_frame(&mut self, link: LinkId, frame: CheckedFrame) {
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        let (peer, greeted) = (state.peer, state.hello.is_some());
        let (is_closing, is_parting) = (state.is_closing(), state.is_parting());
        if is_closing && (!greeted || self.conduct.is_banned(self.now, &peer)) {
            return;
        }
        let talk = match &frame.0 {
            Checked::Talk(talk) => Some(&**talk),
            _ => None,
        };
        let is_payload = matches!(frame.0, Checked::Data { .. } | Checked::Seen { .. });
        let is_of_payload = is_payload || matches!(talk, Some(Frame::Ungraft(_) | Frame::Credit(_)));
        if is_parting && !is_of_payload {
            // Payload that is under way is welcome; there is nothing more to talk about but room for it and who needs no
            // more of it.
            return;
        }
        match talk {
            // What a link may begin with.
            Some(Frame::Hello(_)) => {}
            Some(Frame::Refuse(_)) if !greeted => {}
            Some(Frame::Refuse(_)) => self.presence.heard(self.now, peer),
            _ if !greeted => return self.disconnect(link, CloseCause::SpokeBeforeHello),
            // What was under way when its sender said goodbye, or was cut off, is no sign of life.
            _ if is_closing => {}
            _ => self.presence.heard(self.now, peer),
        }
        match frame.0 {
            Checked::Skipped => {
                self.counters.add("skipped", 1);
                self.toll.work += 1;
                self.settle_toll(link);
            }
            Checked::Data { group, tree, envelope } => {
                let tag = envelope.header().topic_tag;
                self.with_shared(link, group, |group, cx| {
                    if group.topic_tag() == tag {
                        group.on_envelope(cx, link, tree, *envelope)
                    } else {
                        Err(Fault::Foreign)
                    }
                });
            }
            Checked::Seen { group, tree, envelope } => {
                let tag = envelope.header().topic_tag;
                self.with_shared(link, group, |group, cx| {
                    if group.topic_tag() == tag {
                        group.on_seen(cx, link, tree, *envelope)
                    } else {
                        Err(Fault::Foreign)
                    }
                });
            }
            Checked::Talk(talk) => match *talk {
                Frame::Hello(hello) => self.on_hello(link, peer, hello),
                Frame::Refuse(refuse) => self.on_refuse(link, peer, refuse),
                talk => {
                    if self.may_say(link, &talk) {
                        self.on_talk(link, peer, talk);
                        self.settle_toll(link);
                    }
                }
            },
        }
    }

    fn on_talk(&mut self, link: LinkId, peer: PeerId, talk: Frame) {
        match talk {
            Frame::Subscribe(subscribe) => self.on_subscribe(link, &subscribe),
            Frame::Unsubscribe(unsubscribe) => {
                let group = self.links.get_mut(&link).and_then(|state| state.unshare(unsubscribe.group));
                if let Some(group) = group {
                    self.with_group(group, |group, cx| {
                        group.member_down(cx, link, Some(PresenceCause::Left));
                    });
                }
            }
            Frame::Beat(beat) => {
                let Some(state) = self.links.get_mut(&link) else {
                    return;
                };
                state.on_beat(self.now, &beat);
                if let Some(rtt) = state.rtt() {
                    self.overlay.measured(&peer, rtt);
                }
                let Some(state) = self.links.get_mut(&link) else { return };
                if beat.ask > 0 {
                    if !state.dialed {
                        self.presence.expect_by(&peer, beat.ask);
                    }
                    let answer = state.beat(self.now, false);
                    self.cx().send(link, Class::Control, answer);
                    self.give_credit(link, true);
                }
            }
            Frame::Goodbye(_) => self.on_goodbye(link, peer),
            Frame::Alert(alert) => {
                self.presence.alert(self.now, presence::Way::Neighbour(peer), alert, &self.identity);
            }
            Frame::Alive(alive) => self.presence.alive(self.now, peer, alive),
            Frame::Gone(gone) => self.presence.gone(self.now, peer, gone, &self.identity),
            Frame::Peers(peers) => {
                self.presence.watched_by(&peer, 1 + peers.peers.len());
                self.overlay.neighbours_of(self.now, peer, peers.peers);
            }
            Frame::PeersChange(change) => {
                // On a link that another has replaced it is late.
                if self.overlay.link(&peer) == Some(link) && self.overlay.neighbours_changed(&peer, &change) {
                    self.presence.watched_by(&peer, 1 + self.overlay.n_named_by(&peer));
                }
            }
            Frame::Walk(walk) => self.overlay.walk(self.now, peer, walk),
            Frame::Shuffle(shuffle) => self.overlay.shuffle(self.now, peer, shuffle),
            Frame::Find(find) => self.overlay.find(self.now, peer, find),
            Frame::Found(found) => self.overlay.found_mate(self.now, peer, found),
            Frame::Credit(credit) => self.on_credit(link, &credit),
            Frame::Digest(digest) => self.on_digest(link, &digest),
            Frame::Roots(roots) => self.on_roots(link, &roots),
            Frame::Clock(clock) => self.with_member(link, clock.group, |group, cx| {
                group.on_clock(cx, link, &clock);
                Ok(())
            }),
            Frame::Announce(announce) => self.with_member(link, announce.group, |group, cx| {
                group.on_announce(cx, link, &announce);
                Ok(())
            }),
            Frame::Want(want) => self.with_member(link, want.group, |group, cx| {
                group.on_want(cx, link, want);
                Ok(())
            }),
            Frame::Served(served) => self.with_member(link, served.group, |group, cx| {
                group.on_served(cx, link, &served);
                Ok(())
            }),
            Frame::Prune(prune) => self.with_member(link, prune.group, |group, _| {
                group.on_prune(link, &prune);
                Ok(())
            }),
            Frame::Adverts(Adverts { group, .. })
            | Frame::AnchorReq(AnchorReq { group, .. })
            | Frame::Graft(Graft { group, .. })
            | Frame::SeqReq(SeqReq { group, .. })
            | Frame::LoopProbe(LoopProbe { group, .. }) => {
                self.with_member(link, group, |group, cx| group.on_forest_talk(cx, link, &talk));
            }
            // Over a link that was given up as well: it may still carry what is no longer wanted.
            Frame::Ungraft(Ungraft { group, .. }) => {
                self.with_shared(link, group, |group, cx| group.on_forest_talk(cx, link, &talk));
            }
            Frame::News(News { group, .. })
            | Frame::MembersAsk(MembersAsk { group, .. })
            | Frame::Members(Members { group, .. })
            | Frame::MembersSums(MembersSums { group, .. })
            | Frame::MembersHave(MembersHave { group, .. })
            | Frame::MembersWant(MembersWant { group, .. }) => {
                self.with_member(link, group, |group, cx| group.on_members_talk(cx, link, &talk));
            }
            Frame::Stored(stored) => self.with_member(link, stored.group, |group, cx| {
                group.on_stored(cx, link, &stored);
                Ok(())
            }),
            // The caller takes the first two, and `check` makes another variant of the third.
            Frame::Hello(_) | Frame::Refuse(_) | Frame::Data { .. } => {
                self.out_of_turn(link);
            }
        }
    }

    fn on_hello(&mut self, link: LinkId, peer: PeerId, hello: Hello) {
        if hello.network != self.config.network {
            self.counters.add("wrong-network", 1);
            self.overlay.forget(&peer);
            self.greet(link);
            return self.disconnect(link, CloseCause::AnotherNetwork);
        }
        if hello.min > frame::VERSION_MAX || hello.max < frame::VERSION_MIN {
            self.counters.add("version", 1);
            self.overlay.forget(&peer);
            self.greet(link);
            return self.disconnect(link, CloseCause::NoCommonVersion);
        }
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        if state.hello.is_some() || state.is_closing() {
            return self.out_of_turn(link);
        }
        if hello.record.peer != peer {
            return self.out_of_turn(link);
        }
        if self.overlay.link(&peer).is_none() {
            // It lost against another link, which was then not kept.
            state.part(self.now);
            return self.disconnect(link, CloseCause::NotKept);
        }
        let Hello { nonce, incarnation, why, record, .. } = hello;
        let refusal = self.overlay.greeted(self.now, link, peer, why, record);
        if let Some(refuse) = refusal {
            state.part(self.now);
            self.cx().send(link, Class::Control, refuse);
            return self.part_peer(&peer);
        }
        state.hello = Some(Greeting { nonce, incarnation });
        self.greet(link);
        self.presence.greeted(self.now, peer, incarnation, &self.identity);
        // A vote against us may have made the rounds while we were away.
        if self.presence.incarnation() > self.config.incarnation {
            let alive = Alive::new(self.presence.incarnation(), &self.identity);
            self.cx().send(link, Class::Control, alive);
        }
        self.tell_peers_soon();
        for id in self.groups.keys().copied().collect::<Vec<_>>() {
            self.with_group(id, |group, cx| group.subscribe(cx, link));
        }
    }

    /// The neighbour does not keep the link.
    fn on_refuse(&mut self, link: LinkId, peer: PeerId, refuse: Refuse) {
        self.counters.add("refused", 1);
        if self.overlay.refused(self.now, link, peer, refuse) {
            self.part(link, peer);
        } else {
            if let Some(state) = self.links.get_mut(&link) {
                state.part(self.now);
            }
            self.disconnect(link, CloseCause::Refused);
            self.part_peer(&peer);
        }
    }

    fn on_subscribe(&mut self, link: LinkId, subscribe: &Subscribe) {
        let Some(state) = self.links.get(&link) else {
            return;
        };
        let me = self.me;
        let proven = self.groups.iter().find(|(_, group)| group.is_proven(&me, state, &subscribe.proof));
        match proven.map(|(id, _)| *id) {
            Some(id) => self.with_group(id, |group, cx| {
                group.member_up(cx, link, subscribe.group, subscribe.proof);
            }),
            None => {
                let Some(state) = self.links.get_mut(&link) else {
                    return;
                };
                if !state.keep_unmatched(subscribe.group, subscribe.proof) {
                    self.counters.add("too-many-subscriptions", 1);
                    self.offend(link, Offence::OutOfTurn);
                }
            }
        }
    }

    /// A run has ended; it says so on each of its links, after all it had to say there. A former run's goodbye does
    /// not count.
    fn on_goodbye(&mut self, link: LinkId, peer: PeerId) {
        let run = |link: &Link| link.hello.as_ref().map(|hello| hello.incarnation);
        let said_by = self.links.get(&link).and_then(run);
        let lives_on = self.links.values().any(|other| other.peer == peer && run(other) > said_by);
        if !lives_on {
            self.presence.goodbye(self.now, peer);
            self.overlay.forget(&peer);
        }
        let cause = if lives_on { PresenceCause::Silent } else { PresenceCause::Goodbye };
        for id in self.groups.keys().copied().collect::<Vec<_>>() {
            self.with_group(id, |group, cx| group.member_down(cx, link, Some(cause)));
        }
        self.disconnect(link, CloseCause::Goodbye);
    }

    /// Runs `f` on the group behind a neighbour's number. An unknown number is talk that crossed a leave; an
    /// `Err` is a bad frame.
    pub(super) fn with_shared(
        &mut self,
        link: LinkId,
        theirs: frame::GroupIx,
        f: impl FnOnce(&mut Group, &mut Ctx<'_>) -> Result<(), Fault>,
    ) {
        let Some(id) = self.links.get(&link).and_then(|state| state.group(theirs)) else {
            return self.on_unknown_group(link);
        };
        let mut verdict = Ok(());
        self.with_group(id, |group, cx| verdict = f(group, cx));
        self.settle_toll(link);
        if let Err(fault) = verdict {
            self.counters.add(fault.cause(), 1);
            self.offend(link, fault.offence());
        }
    }

    /// The same for talk, which has an end when the neighbour has left the group or given the link up: what it says
    /// after that would be remembered of a link that is gone.
    pub(super) fn with_member(
        &mut self,
        link: LinkId,
        theirs: frame::GroupIx,
        f: impl FnOnce(&mut Group, &mut Ctx<'_>) -> Result<(), Fault>,
    ) {
        self.with_shared(
            link,
            theirs,
            |group, cx| if group.has_member(link) { f(group, cx) } else { Ok(()) },
        );
    }
}
