//! Links come and go, are written to, and are cut off.

use std::sync::Arc;

use rand_core::Rng;

use super::Engine;
use crate::group::Group;
use crate::id::{LinkId, PeerId};
use crate::io::{CloseCause, Event, LinkEnd, Output, Pace, PresenceCause};
use crate::limits;
use crate::link::Link;
use crate::link::ladder::Step;
use crate::overlay::find::Cover;
use crate::wire::frame::{self, Address, Class, Digest, Frame, Hello, PeerRecord, mate_tag};

impl Engine {
    pub(super) fn on_link_up(&mut self, link: LinkId, peer: PeerId, dialed: bool, address: Option<&Address>) {
        if self.conduct.is_banned(self.now, &peer) {
            self.counters.add("banned", 1);
            return self.out.push_back(Output::Disconnect { link, cause: CloseCause::ShutOut });
        }
        self.conduct.link_up(self.now, peer);
        let mut nonce = [0; 16];
        self.secrets.fill(&mut nonce);
        let mut state = Link::new(self.now, link, peer, dialed, nonce);
        if let Some(spells) = self.slow_peers.spells(self.now, &peer) {
            state.begin_slow(self.now, spells);
        }
        self.links.insert(link, Box::new(state));
        self.overlay.link_up(self.now, link, peer, dialed);
        if let Some(address) = address {
            self.overlay.linked_at(link, &peer, address);
        }
        // Who is choosy hears first why it was dialled, and greets only whom it keeps.
        if dialed || !self.overlay.is_partial() {
            self.greet(link);
        }
    }

    /// Says HELLO, once.
    pub(super) fn greet(&mut self, link: LinkId) {
        let record = self.own_record();
        let (incarnation, network) = (self.presence.incarnation(), self.config.network);
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        if std::mem::replace(&mut state.has_greeted, true) {
            return;
        }
        let hello = Hello {
            min: frame::VERSION_MIN,
            max: frame::VERSION_MAX,
            features: 0,
            network,
            nonce: state.nonce,
            incarnation,
            why: self.overlay.why(link, &state.peer),
            record,
        };
        self.cx().send(link, Class::Control, hello);
    }

    /// Where this node can be reached, signed; made anew when that has changed.
    fn own_record(&mut self) -> Arc<PeerRecord> {
        let n_loaded = self.groups.values().filter(|group| group.is_loaded()).count();
        if let Some(record) = self.overlay.record().filter(|_| self.n_tagged == n_loaded) {
            return record.clone();
        }
        self.n_tagged = n_loaded;
        self.n_records += 1;
        let seq = self.config.incarnation.0.saturating_add(self.n_records);
        // Of many groups those are named that have the fewest members here: they have to be found.
        let mut topics: Vec<_> = self
            .groups
            .values()
            .filter(|group| group.is_loaded())
            .map(|group| (group.mates().len(), group.topic_tag()))
            .collect();
        topics.sort_unstable();
        topics.truncate(PeerRecord::TAGS_MAX);
        let tags = topics.iter().map(|(_, topic)| mate_tag(topic, &self.me)).collect();
        let record = PeerRecord::new(&self.identity, seq, self.addresses.clone(), tags);
        self.overlay.set_record(Some(record.clone()));
        record
    }

    /// Tells the overlay which members of our groups are linked.
    pub(super) fn cover_groups(&mut self) {
        self.own_record();
        let loaded: Vec<&Group> = self.groups.values().filter(|group| group.is_loaded()).collect();
        let cover = |group: &&Group| Cover { topic: group.topic_tag(), mates: group.mates() };
        let covers: Vec<Cover> = loaded.iter().map(cover).collect();
        let is_member = |place: usize, peer: &PeerId| loaded.get(place).is_some_and(|group| group.sees(peer));
        self.overlay.cover(self.now, &covers, is_member);
        for link in self.links.values_mut() {
            link.set_quiet(self.overlay.is_for_group(link.id, &link.peer));
        }
    }

    /// The overlay gives a link up, here or at the other end. Nobody has died.
    pub(super) fn part(&mut self, link: LinkId, peer: PeerId) {
        if let Some(state) = self.links.get_mut(&link) {
            state.part(self.now);
        }
        self.part_peer(&peer);
        for id in self.groups.keys().copied().collect::<Vec<_>>() {
            self.with_group(id, |group, cx| group.member_down(cx, link, None));
        }
        self.tell_peers_soon();
    }

    /// A peer may have no link to us any more; another to it may still stand.
    pub(super) fn part_peer(&mut self, peer: &PeerId) {
        if self.overlay.link(peer).is_none() {
            self.presence.parted(peer);
        }
    }

    pub(super) fn on_link_down(&mut self, link: LinkId, cause: LinkEnd) {
        let Some(state) = self.links.remove(&link) else {
            return;
        };
        let peer = state.peer;
        self.conduct.link_down(peer);
        if state.is_parting() {
            // One that was refused while another to the same peer stood is still in its groups.
            return self.each_group(|group, cx| group.member_down(cx, link, None));
        }
        let choice = self.choices.next_u32();
        let last = self.overlay.link_down(self.now, link, peer, choice);
        if last {
            let observers = self.overlay.observers(&peer);
            self.presence.unlinked(self.now, peer, cause, observers);
            self.tell_peers_soon();
        }
        // Who died while it was sending has told only some of us; what was under way on a link is lost with it.
        self.compare_soon();
        let cause = match cause {
            LinkEnd::Reset => PresenceCause::Reset,
            LinkEnd::Silent | LinkEnd::Closed => PresenceCause::Silent,
        };
        for id in self.groups.keys().copied().collect::<Vec<_>>() {
            self.with_group(id, |group, cx| group.member_down(cx, link, Some(cause)));
        }
    }

    pub(super) fn on_dial_failed(&mut self, peer: PeerId, refused: bool) {
        let choice = self.choices.next_u32();
        self.overlay.dial_failed(self.now, peer, choice);
        if refused {
            self.presence.refused(self.now, peer);
            self.counters.add("dial-refused", 1);
        } else {
            self.counters.add("dial-failed", 1);
        }
    }

    pub(super) fn on_written(&mut self, link: LinkId, class: Class, bytes: usize) {
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        state.on_written(self.now, class, bytes);
        self.flow(link);
    }

    /// Something changed about what waits for a link: hands over what may go, and tells those who wait for room.
    pub(super) fn flow(&mut self, link: LinkId) {
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        while let Some((class, frame)) = state.pop(self.now) {
            self.out.push_back(Output::Send { link, class, frame });
        }
        let (is_freed, has_room) = (state.take_freed(), state.take_deferred());
        self.look_at_pace(link);
        if has_room {
            for id in self.groups.keys().copied().collect::<Vec<_>>() {
                self.with_group(id, |group, cx| group.serve_deferred(cx, link));
            }
        }
        if is_freed {
            self.pump_groups();
        }
    }

    /// A neighbour may have become slower, or have caught up.
    fn look_at_pace(&mut self, link: LinkId) {
        let is_alone = self.lags_alone(link);
        while let Some(state) = self.links.get_mut(&link).filter(|state| !state.is_closing())
            && let Some(step) = state.look_at_pace(self.now, is_alone)
        {
            let peer = state.peer;
            let pace = match step {
                Step::To(pace) => pace,
                Step::Close => Pace::Closed,
            };
            tracing::debug!(peer = %peer.short(), pace = pace.name(), "pace");
            self.event(Event::Pace { peer, pace });
            match pace {
                Pace::Prompt => {}
                Pace::Slow => self.counters.add("slow-peer", 1),
                Pace::Blocked => self.counters.add("blocked-peer", 1),
                Pace::Closed => {
                    self.counters.add("closed-slow-peer", 1);
                    self.slow_peers.closed(self.now, peer);
                    self.disconnect(link, CloseCause::Slow);
                }
            }
            self.take_expired(link);
            // Nobody waits for one that is slow.
            self.pump_groups();
        }
    }

    /// Whether a link is far behind while at least half of the others take what they are sent in time. If all lag it is
    /// this node, or the network, that is slow.
    fn lags_alone(&self, link: LinkId) -> bool {
        let now = self.now;
        if !self.links.get(&link).is_some_and(|state| state.is_behind(now, limits::FAR_BEHIND)) {
            return false;
        }
        let others = self.links.values().filter(|other| other.id != link && other.is_sent_to());
        let (n_others, n_behind) = others.fold((0, 0), |(all, behind), other| {
            (all + 1, behind + usize::from(other.is_behind(now, limits::SLOW_AFTER)))
        });
        n_others > 0 && 2 * n_behind <= n_others
    }

    /// What has waited too long for a link is told instead.
    fn take_expired(&mut self, link: LinkId) {
        let expired = self.links.get_mut(&link).map(|state| state.take_expired(self.now)).unwrap_or_default();
        for frame in expired {
            let Frame::Data { group: ix, tree, envelope } = frame else {
                continue;
            };
            self.counters.add("overdue", 1);
            let group = self.groups.iter().find(|(_, group)| group.ix() == ix).map(|(id, _)| *id);
            if let Some(id) = group {
                self.with_group(id, |group, cx| group.announce_overdue(cx, link, tree, envelope));
            }
        }
    }

    pub(super) fn look_at_link(&mut self, id: LinkId) {
        let now = self.now;
        let Some(link) = self.links.get(&id) else {
            return;
        };
        if link.is_mute(now) {
            return self.disconnect(id, CloseCause::NoHello);
        }
        if link.has_retired(now) {
            let cause = if link.is_parting() { CloseCause::NotKept } else { CloseCause::Duplicate };
            return self.disconnect(id, cause);
        }
        if link.is_parting() {
            return;
        }
        self.take_expired(id);
        self.flow(id);
        let is_busy = self.overlay.is_partial() && self.groups.values().any(|group| group.was_busy(now));
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.digest_at.is_some_and(|at| at <= now) && !(is_busy && link.postpone_digest(now)) {
            let is_shared = link.shared_groups().next().is_some();
            let root = self.combined_root(id).filter(|_| is_shared);
            let jitter = self.choices.next_u32() % 256;
            if let Some(link) = self.links.get_mut(&id) {
                link.digest_at = None;
                if is_shared {
                    // The other side says so if it differs.
                    link.digest_equal();
                    link.schedule_digest(now, jitter);
                }
            }
            if let Some(root) = root {
                self.cx().send(id, Class::Control, Digest { root });
            }
        }
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.wants_beat(now) || link.wants_question(now) {
            let (beat, peer) = (link.beat(now, true), link.peer);
            if link.dialed {
                self.presence.expect_by(&peer, beat.ask);
            }
            self.cx().send(id, Class::Control, beat);
        }
    }

    fn pump_groups(&mut self) {
        for id in self.groups.keys().copied().collect::<Vec<_>>() {
            self.with_group(id, |group, cx| group.pump(cx));
        }
    }

    pub(super) fn disconnect(&mut self, link: LinkId, cause: CloseCause) {
        if self.links.get_mut(&link).is_some_and(Link::close) {
            if let Some(counter) = cause.counter() {
                self.counters.add(counter, 1);
            }
            self.out.push_back(Output::Disconnect { link, cause });
        }
    }
}
