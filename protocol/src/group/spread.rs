//! Which neighbours are sent an envelope at once and which only hear of it: along a tree of the forest, or, where
//! everybody is a neighbour, as a star.

use bytes::Bytes;

use super::forest::{Forest, Ground, Junk};
use super::tree::Announcements;
use super::{Ctx, Group};
use crate::conduct::Fault;
use crate::crypto::CheckedEnvelope;
use crate::id::{LinkId, LogId, PeerId, Seq};
use crate::limits;
use crate::link::Link;
use crate::time::Timestamp;
use crate::wire::envelope::Envelope;
use crate::wire::frame::{Announce, Class, FLOOD, Frame, Range, STAR, TreeIx};

/// How an envelope came to be here, which says how it goes on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// It is ours.
    Own,
    /// A neighbour sent it along this tree, by the neighbour's number.
    Pushed(LinkId, TreeIx),
    /// A neighbour was asked for it; it was announced on this tree of ours.
    Pulled(LinkId, TreeIx),
}

/// Along what it goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Along {
    /// The author sends it to all its neighbours, they to those that asked for this author.
    Star,
    /// Nobody knows a tree: everybody sends it to everybody.
    Flood,
    Tree(TreeIx),
    /// Whoever sent it knows a tree that we do not.
    Nothing,
}

impl Group {
    /// Sends an envelope to those who are to have it at once and announces it to the others. Returns to how many it
    /// was sent.
    pub(super) fn spread(
        &mut self,
        cx: &mut Ctx<'_>,
        log: LogId,
        envelope: &CheckedEnvelope,
        way: Way,
    ) -> usize {
        let (is_own, from) = match way {
            Way::Own => (true, None),
            Way::Pushed(link, _) | Way::Pulled(link, _) => (false, Some(link)),
        };
        let along = self.along(cx, envelope, way);
        let tree = match along {
            Along::Star | Along::Nothing => STAR,
            Along::Flood => FLOOD,
            Along::Tree(ix) => ix,
        };
        let seq = envelope.header().seq;
        let mut sent = 0;
        // Those who have a link to the author, and so the envelope already, or soon.
        let mut served = Vec::new();
        let helpers = match along {
            Along::Tree(ix) if is_own => self.forest.helpers(ix, usize::from(envelope.id().0[0])),
            _ => Vec::new(),
        };
        let links: Vec<(LinkId, PeerId)> = self.members.iter().map(|(link, peer)| (*link, *peer)).collect();
        for (link, peer) in links {
            if Some(link) == from || peer == log.author {
                continue;
            }
            let Some(state) = cx.links.get(&link) else {
                continue;
            };
            if state.is_retiring() && self.has_better_link(cx, link, peer) {
                continue;
            }
            let is_prompt = state.is_prompt();
            if along != Along::Star && self.repair.is_claimed(link, &log, seq) {
                // It has announced it.
                continue;
            }
            let is_eager = match along {
                Along::Star => is_own || self.tree.is_child(&log.author, link),
                Along::Flood => true,
                Along::Tree(ix) => {
                    self.forest.has(ix, link)
                        || helpers.contains(&link)
                        || self.forest.is_fading(cx.now, ix, link)
                }
                Along::Nothing => false,
            };
            if is_eager && is_prompt && self.push(cx, link, is_own, tree, envelope) {
                sent += 1;
            } else if along == Along::Star
                && is_prompt
                && !is_eager
                && cx.overlay.has_named(&peer, &log.author)
            {
                served.push(link);
            } else {
                self.announce(cx, link, tree, log, envelope);
            }
        }
        if let Along::Tree(ix) = along {
            for (link, peer) in self.forest.parting_children(cx.now, ix) {
                let has_it = Some(link) == from || peer == log.author || self.has_better_link(cx, link, peer);
                let is_prompt = cx.links.get(&link).is_some_and(Link::is_prompt);
                sent += usize::from(!has_it && is_prompt && self.push(cx, link, is_own, tree, envelope));
            }
        }
        if along == Along::Flood {
            cx.counters.add("flooded", 1);
        }
        // A few of them, others each time and at each node.
        let first = usize::from(cx.me.0[0]) + usize::from(envelope.id().0[0]);
        for n in 0..served.len().min(limits::ANNOUNCE_FANOUT) {
            self.announce(cx, served[(first + n) % served.len()], tree, log, envelope);
        }
        sent
    }

    fn along(&self, cx: &Ctx<'_>, envelope: &CheckedEnvelope, way: Way) -> Along {
        let may_flood = envelope.as_bytes().len() <= limits::FLOOD_BYTES_MAX;
        let by_ourselves = || match self.forest.choose(cx.now) {
            Some(ix) => Along::Tree(ix),
            None if may_flood => Along::Flood,
            None => Along::Star,
        };
        match way {
            Way::Own if cx.is_partial => by_ourselves(),
            Way::Own => Along::Star,
            Way::Pushed(_, FLOOD) | Way::Pulled(_, FLOOD) if cx.is_partial => by_ourselves(),
            Way::Pushed(_, STAR | FLOOD) | Way::Pulled(_, STAR | FLOOD) => Along::Star,
            Way::Pushed(link, theirs) => {
                self.forest.resolve(link, theirs).map_or(Along::Nothing, Along::Tree)
            }
            Way::Pulled(_, ix) => Along::Tree(ix),
        }
    }

    /// How many are in the group: as many as are known to be, once there is a list; else whoever is known might be.
    fn n_members_thought(&self, cx: &Ctx<'_>) -> usize {
        let n = self.census.n_here().max(self.members.len() + 1);
        if self.census.n_here() > 0 { n } else { n.max(cx.n_known) }
    }

    /// Whether another link to the same member has taken over from a retiring one.
    pub(super) fn has_better_link(&self, cx: &Ctx<'_>, link: LinkId, peer: PeerId) -> bool {
        self.members.iter().any(|(other, member)| {
            *other != link && *member == peer && cx.links.get(other).is_some_and(|other| !other.is_retiring())
        })
    }

    /// An envelope waited too long for a link.
    pub(crate) fn announce_overdue(&mut self, cx: &Ctx<'_>, link: LinkId, tree: TreeIx, envelope: Bytes) {
        if let Ok(envelope) = Envelope::parse(envelope) {
            let header = envelope.header();
            let log = LogId { author: header.author, lane: header.lane };
            self.tree.announce(cx.now, link, tree, Range { log, from: header.seq, to: header.seq });
        }
    }

    fn announce(&mut self, cx: &Ctx<'_>, link: LinkId, tree: TreeIx, log: LogId, envelope: &CheckedEnvelope) {
        let seq = envelope.header().seq;
        let range = Range { log, from: seq, to: seq };
        if self.forest.is_nearer(tree, link) {
            self.tree.announce_late(cx.now, link, tree, range);
        } else {
            self.tree.announce(cx.now, link, tree, range);
        }
    }

    /// Sends an envelope. What the neighbour is to be told goes along: on the same stream, in the same packet. False if
    /// there is no room for the envelope.
    fn push(
        &mut self,
        cx: &mut Ctx<'_>,
        link: LinkId,
        is_own: bool,
        tree: TreeIx,
        envelope: &CheckedEnvelope,
    ) -> bool {
        let class = if is_own { Class::Own } else { Class::Forward };
        // Where payload finds no room soon, they would have none either: they wait, and leave as talk.
        if cx.links.get(&link).is_some_and(Link::has_live_room) {
            let riding = self.tree.take_riding(cx.now, link);
            self.send_announced(cx, class, riding);
        }
        cx.send(link, class, Frame::Data { group: self.ix, tree, envelope: envelope.as_bytes().clone() })
    }

    pub(super) fn send_announcements(&mut self, cx: &mut Ctx<'_>) {
        let due = self.tree.take_announcements(cx.now);
        self.send_announced(cx, Class::Control, due);
    }

    fn send_announced(&self, cx: &mut Ctx<'_>, class: Class, announcements: Announcements) {
        for (link, ranges) in announcements {
            if self.members.contains_key(&link) {
                cx.send(link, class, Announce { group: self.ix, ranges });
            }
        }
    }

    /// A new envelope has come by: who brought it does its part, and a group that talks is worth trees.
    pub(super) fn on_arrived(&mut self, cx: &mut Ctx<'_>, log: LogId, seq: Seq, way: Way) {
        self.in_forest(cx, |forest, ground| {
            match way {
                Way::Pushed(link, theirs) => forest.on_pushed(link, theirs, log, seq),
                Way::Pulled(link, _) => forest.on_pulled(ground, link, log, seq),
                Way::Own => {}
            }
            forest.on_traffic(ground, matches!(way, Way::Own));
        });
    }

    /// When what was announced on a tree is asked for, if it does not come.
    pub(super) fn repair_at(&self, cx: &Ctx<'_>, tree: TreeIx) -> Timestamp {
        let usual = self.repair.delay(cx.now);
        cx.now + if tree == STAR || tree == FLOOD { usual } else { self.forest.patience(tree, usual) }
    }

    /// The tree behind the number of an announcement, in ours; [`STAR`] and [`FLOOD`] stand for themselves.
    pub(super) fn tree_of(&self, link: LinkId, theirs: TreeIx) -> TreeIx {
        match theirs {
            STAR | FLOOD => theirs,
            _ => self.forest.resolve(link, theirs).unwrap_or(STAR),
        }
    }

    /// Lets the forest work, and sends what it wants.
    pub(super) fn in_forest<T>(
        &mut self,
        cx: &mut Ctx<'_>,
        f: impl FnOnce(&mut Forest, &mut Ground<'_>) -> T,
    ) -> T {
        let n_members = self.n_members_thought(cx);
        let links = &*cx.links;
        let rtt = |link: LinkId| links.get(&link).and_then(Link::rtt);
        let mut ground = Ground {
            now: cx.now,
            identity: cx.identity,
            me: cx.me,
            incarnation: cx.incarnation,
            tag: self.key.topic_tag(),
            group: self.ix,
            secrets: &mut *cx.secrets,
            rtt: &rtt,
            is_partial: cx.is_partial,
            n_members,
            trees_max: cx.bounds.trees,
        };
        let result = f(&mut self.forest, &mut ground);
        let n_checked = self.forest.take_checked();
        if n_checked > 0 {
            cx.counters.add("signatures-checked", n_checked);
            let n_checked = u32::try_from(n_checked).unwrap_or(u32::MAX);
            cx.toll.work = cx.toll.work.saturating_add(n_checked.saturating_mul(limits::SIGNATURE_TOLL));
        }
        for (link, frame) in self.forest.take_facts() {
            cx.send(link, Class::Control, frame);
        }
        result
    }

    /// What a neighbour says of the group's trees. `Err` if it is to blame for it.
    pub(crate) fn on_forest_talk(
        &mut self,
        cx: &mut Ctx<'_>,
        link: LinkId,
        talk: &Frame,
    ) -> Result<(), Fault> {
        if let Frame::Graft(_) = talk {
            // It wants to be sent a tree's envelopes by us: what it lacks of late we were about to tell.
            let all = self.tree.take_all(cx.now, link);
            self.send_announced(cx, Class::Control, all);
        }
        self.in_forest(cx, |forest, ground| {
            match talk {
                Frame::Adverts(adverts) => {
                    return forest.on_adverts(ground, link, adverts).map_err(|junk| match junk {
                        Junk::Anchor => Fault::Anchor,
                        Junk::Key => Fault::ChainKey,
                    });
                }
                Frame::AnchorReq(request) => forest.on_anchor_req(ground, link, request),
                Frame::Graft(graft) => forest.on_graft(ground, link, graft),
                Frame::Ungraft(ungraft) => forest.on_ungraft(ground, link, ungraft),
                Frame::SeqReq(request) => forest.on_seq_req(ground, link, request),
                Frame::LoopProbe(probe) => forest.on_loop_probe(ground, link, probe),
                _ => return Err(Fault::OutOfTurn),
            }
            Ok(())
        })
    }
}
