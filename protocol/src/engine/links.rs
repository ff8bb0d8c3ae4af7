//! Links come and go, are written to, and are cut off.

use rand_core::Rng;

use super::Engine;
use crate::id::{LinkId, PeerId};
use crate::io::{LinkEnd, Output, PresenceCause};
use crate::link::Link;
use crate::wire::frame::{self, Class, Digest, Hello};

impl Engine {
    pub(super) fn on_link_up(&mut self, link: LinkId, peer: PeerId, dialed: bool) {
        let mut nonce = [0; 16];
        self.secrets.fill(&mut nonce);
        self.links.insert(link, Link::new(self.now, link, peer, dialed, nonce));
        self.overlay.link_up(self.now, link, peer, dialed);
        let hello = Hello {
            min: frame::VERSION_MIN,
            max: frame::VERSION_MAX,
            features: 0,
            network: self.config.network,
            nonce,
            incarnation: self.presence.incarnation(),
            addresses: self.addresses.clone(),
        };
        self.cx().send(link, Class::Control, hello);
    }

    pub(super) fn on_link_down(&mut self, link: LinkId, cause: LinkEnd) {
        let Some(state) = self.links.remove(&link) else {
            return;
        };
        let peer = state.peer;
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
        let freed = self.links.get_mut(&link).is_some_and(|state| state.on_written(class, bytes));
        if freed {
            self.pump_groups();
        }
    }

    pub(super) fn look_at_link(&mut self, id: LinkId) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if link.next_deadline().is_none_or(|at| at > now) {
            return;
        }
        if link.is_mute(now) {
            return self.disconnect(id, "no HELLO");
        }
        if link.has_retired(now) {
            return self.disconnect(id, "duplicate link");
        }
        if link.lose_patience(now) {
            self.counters.add("passed-over", 1);
            self.pump_groups();
        }
        let Some(link) = self.links.get(&id) else { return };
        if link.digest_at.is_some_and(|at| at <= now) {
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
        let Some(link) = self.links.get(&id) else { return };
        if link.wants_beat(now) {
            let beat = link.beat(now, false);
            self.cx().send(id, Class::Control, beat);
        }
    }

    fn pump_groups(&mut self) {
        for id in self.groups.keys().copied().collect::<Vec<_>>() {
            self.with_group(id, |group, cx| group.pump(cx));
        }
    }

    pub(super) fn on_bad_frame(&mut self, link: LinkId) {
        if self.links.get_mut(&link).is_some_and(Link::bad_frame) {
            self.disconnect(link, "too many bad frames");
        }
    }

    pub(super) fn disconnect(&mut self, link: LinkId, cause: &'static str) {
        if self.links.get_mut(&link).is_some_and(Link::close) {
            self.out.push_back(Output::Disconnect { link, cause });
        }
    }
}
