//! The forest's frames: what is said of trees, and what is made of it.

use super::tree::Route;
use super::{ANCHORS, Chain, Forest, Ground, Junk, News};
use crate::id::LinkId;
use crate::limits;
use crate::time::{Duration, Timestamp};
use crate::wire::frame::{
    Advert, Adverts, Anchor, AnchorReq, Graft, Name, SeqReq, TreeIx, UNREACHABLE, Ungraft,
};

impl Forest {
    // What we say.

    /// All trees, on a new link. Whoever is there knows most of the roots, so it gets only their names.
    pub(super) fn tell_everything(&mut self, ground: &Ground<'_>, link: LinkId) {
        let adverts: Vec<Advert> = self
            .all()
            .into_iter()
            .filter_map(|ix| {
                let id = self.trees.get(&ix)?.chain.id;
                self.advert(ix, link, Some(Name::Id(id)))
            })
            .collect();
        if !adverts.is_empty() {
            self.facts.push((link, Adverts { group: ground.group, trees: adverts }.into()));
        }
    }

    /// Our distance, to all but the one that is nearer.
    pub(super) fn tell_all(&mut self, ground: &Ground<'_>, ix: TreeIx, not: Option<LinkId>) {
        let links: Vec<LinkId> = self.standing().filter(|link| Some(*link) != not).collect();
        for link in links {
            self.tell(ground, ix, link);
        }
        if let Some(tree) = self.trees.get_mut(&ix) {
            tree.on_told(ground.now);
        }
    }

    /// Those who have not been told anything in this round: they may need our number.
    pub(super) fn tell_the_rest(&mut self, ground: &Ground<'_>, ix: TreeIx) {
        let Some(tree) = self.trees.get(&ix) else { return };
        let age = tree.age();
        let is_told = |link: &LinkId| tree.find(*link).is_some_and(|via| via.told == age);
        let rest: Vec<LinkId> = self.standing().filter(|link| !is_told(link)).collect();
        for link in rest {
            self.tell(ground, ix, link);
        }
    }

    fn tell(&mut self, ground: &Ground<'_>, ix: TreeIx, link: LinkId) {
        if let Some(advert) = self.advert(ix, link, None) {
            self.facts.push((link, Adverts { group: ground.group, trees: vec![advert] }.into()));
        }
    }

    fn advert(&mut self, ix: TreeIx, link: LinkId, name: Option<Name>) -> Option<Advert> {
        let from_root = self.roots.is_own(ix).then_some(self.links.get(&link)?.branch);
        let tree = self.trees.get_mut(&ix)?;
        if tree.chain.seq == 0 {
            return None;
        }
        let (age, id, anchor) = (tree.age(), tree.chain.id, tree.chain.anchor.clone());
        let branch = from_root.unwrap_or(tree.branch);
        let via = tree.via(link);
        let name = name.unwrap_or_else(|| {
            if via.knows_ours {
                Name::Told
            } else if via.knows_anchor {
                Name::Id(id)
            } else {
                Name::Anchor(Box::new(anchor))
            }
        });
        if !matches!(name, Name::Id(_)) || via.knows_anchor {
            via.knows_ours = true;
        }
        via.told = age;
        let (seq, key, dist) = (tree.chain.seq, tree.chain.key(), tree.dist);
        Some(Advert { tree: ix, name, seq, key, dist, branch })
    }

    // What we are told.

    /// # Errors
    /// [`Junk`] if something in it is signed by nobody.
    pub(crate) fn on_adverts(
        &mut self,
        ground: &mut Ground<'_>,
        link: LinkId,
        adverts: &Adverts,
    ) -> Result<(), Junk> {
        if !self.links.contains_key(&link) {
            return Ok(());
        }
        let mut unknown = Vec::new();
        for advert in &adverts.trees {
            let ix = match &advert.name {
                Name::Told => self.resolve(link, advert.tree),
                Name::Id(id) => {
                    let known = self.trees.iter().find(|(_, tree)| tree.chain.id == *id);
                    known.map(|(ix, _)| *ix)
                }
                // Of a tree that we have forgotten somebody says that there is no way.
                Name::Anchor(anchor)
                    if advert.dist == UNREACHABLE && !self.by_root.contains_key(&anchor.root) =>
                {
                    continue;
                }
                Name::Anchor(anchor) => match self.admit(ground, link, anchor)? {
                    Some(ix) => Some(ix),
                    None => continue,
                },
            };
            match ix {
                Some(ix) => {
                    self.bind(ground, link, advert.tree, ix);
                    self.on_advert(ground, link, ix, advert)?;
                }
                None if advert.dist != UNREACHABLE => unknown.push(advert.tree),
                None => {}
            }
        }
        self.ask_for_anchors(ground, link, unknown);
        Ok(())
    }

    /// Asks which trees these numbers stand for, as often as new ones may be checked.
    fn ask_for_anchors(&mut self, ground: &Ground<'_>, link: LinkId, mut unknown: Vec<TreeIx>) {
        let has_room = self.has_room(ground);
        let Some(neighbour) = self.links.get_mut(&link) else { return };
        let is_early = neighbour.asked_at.is_some_and(|at| ground.now < at + limits::ANCHOR_EVERY);
        if unknown.is_empty() || is_early || !has_room {
            return;
        }
        neighbour.asked_at = Some(ground.now);
        unknown.sort_unstable();
        unknown.dedup();
        self.facts.push((link, AnchorReq { group: ground.group, trees: unknown }.into()));
    }

    pub(crate) fn on_anchor_req(&mut self, ground: &Ground<'_>, link: LinkId, request: &AnchorReq) {
        let mut adverts = Vec::new();
        for ix in &request.trees {
            let Some(tree) = self.trees.get(ix) else { continue };
            let name = Name::Anchor(Box::new(tree.chain.anchor.clone()));
            adverts.extend(self.advert(*ix, link, Some(name)));
        }
        if !adverts.is_empty() && self.links.contains_key(&link) {
            self.facts.push((link, Adverts { group: ground.group, trees: adverts }.into()));
        }
    }

    /// The tree of an anchor, which is checked if it is new and there is room. None if it is of no use.
    fn admit(&mut self, ground: &Ground<'_>, link: LinkId, anchor: &Anchor) -> Result<Option<TreeIx>, Junk> {
        let known = self.by_root.get(&anchor.root).copied();
        let tree = known.and_then(|ix| Some((ix, self.trees.get_mut(&ix)?)));
        if let Some((ix, tree)) = &tree
            && !tree.chain.is_before(anchor)
        {
            // The same, or one that was replaced.
            return Ok((tree.chain.anchor == *anchor).then_some(*ix));
        }
        if tree.as_ref().is_some_and(|(_, tree)| !tree.may_begin(ground.now)) {
            return Ok(None);
        }
        let has_room = tree.is_some() || self.has_room(ground);
        // Only a former run of ours can have signed another.
        if anchor.root == ground.me || !has_room || !self.may_check(ground.now, link) {
            return Ok(None);
        }
        self.n_checked += 1;
        anchor.verify(&ground.tag).map_err(|_| Junk::Anchor)?;
        let chain = Chain::new(&ground.tag, anchor.clone());
        if let Some(ix) = known
            && let Some(tree) = self.trees.get_mut(&ix)
        {
            tree.renew(chain);
            return Ok(Some(ix));
        }
        if self.trees.len() >= ground.trees_max
            && let Some(ix) = self.stalest(ground.now)
        {
            self.forget(ix);
        }
        Ok(Some(self.insert(ground.now, chain)))
    }

    /// Whether another tree is kept, if need be in place of one.
    fn has_room(&self, ground: &Ground<'_>) -> bool {
        self.trees.len() < ground.trees_max || self.stalest(ground.now).is_some()
    }

    /// The tree that is the first to make room for another: nobody borrows it any more.
    fn stalest(&self, now: Timestamp) -> Option<TreeIx> {
        let stale = self.trees.iter().filter(|(_, tree)| now - tree.heard_at >= limits::TREE_FRESH);
        stale.min_by_key(|(_, tree)| tree.heard_at).map(|(ix, _)| *ix)
    }

    pub(super) fn may_check(&mut self, now: Timestamp, link: LinkId) -> bool {
        self.links.get_mut(&link).is_some_and(|neighbour| neighbour.used.anchors.take(now, ANCHORS))
    }

    /// A neighbour's number stands for a tree.
    pub(super) fn bind(&mut self, ground: &Ground<'_>, link: LinkId, theirs: TreeIx, ix: TreeIx) {
        let Some(tree) = self.trees.get_mut(&ix) else { return };
        let via = tree.via(link);
        via.knows_anchor = true;
        let old = via.theirs.replace(theirs);
        if old.is_none() {
            self.apply(ground.now, ix, link);
        }
        if old == Some(theirs) && self.theirs.get(&(link, theirs)) == Some(&ix) {
            return;
        }
        if let Some(old) = old.filter(|old| *old != theirs) {
            self.theirs.remove(&(link, old));
            // It had forgotten the tree, whose child it was, and who was a child of its own.
            if let Some(tree) = self.trees.get_mut(&ix) {
                tree.via(link).is_child = false;
                if tree.parent == Some(link) {
                    self.facts.push((link, Graft { group: ground.group, mine: ix, yours: theirs }.into()));
                }
            }
        }
        if let Some(other) = self.theirs.insert((link, theirs), ix)
            && other != ix
            && let Some(tree) = self.trees.get_mut(&other)
        {
            // The number was given anew: whatever it stood for is out of use there.
            tree.via(link).theirs = None;
        }
    }

    fn on_advert(
        &mut self,
        ground: &mut Ground<'_>,
        link: LinkId,
        ix: TreeIx,
        advert: &Advert,
    ) -> Result<(), Junk> {
        if self.roots.is_own(ix) {
            return Ok(());
        }
        let Some(tree) = self.trees.get_mut(&ix) else { return Ok(()) };
        if advert.dist == UNREACHABLE && advert.seq == 0 {
            // It does not know the tree any more.
            tree.vias.retain(|via| via.link != link);
            self.theirs.remove(&(link, advert.tree));
            let news = if tree.parent == Some(link) { News::Orphan } else { News::None };
            self.act_on(ground, ix, link, news);
            return Ok(());
        }
        let is_new = advert.seq > tree.chain.seq;
        // Who has no way knows no more of a round than its number; and a root that does not keep to its measure is not
        // heard, for each round is passed on to everybody.
        if is_new && (advert.dist == UNREACHABLE || !tree.may_begin(ground.now)) {
            return Ok(());
        }
        if is_new && !tree.chain.go_on(advert.seq, advert.key) {
            return Err(Junk::Key);
        }
        if advert.seq < tree.chain.seq {
            return Ok(());
        }
        if !tree.chain.is_newest(advert.seq, &advert.key) {
            return Err(Junk::Key);
        }
        let up_at = self.links.get(&link).map_or(ground.now, |neighbour| neighbour.up_at);
        let route = Route { is_new, up_at, dist: advert.dist, branch: advert.branch };
        let news = tree.on_route(ground, link, route);
        self.act_on(ground, ix, link, news);
        Ok(())
    }

    pub(crate) fn on_graft(&mut self, ground: &mut Ground<'_>, link: LinkId, graft: &Graft) {
        if !self.links.contains_key(&link) {
            return;
        }
        if !self.trees.contains_key(&graft.yours) {
            let gone = Advert {
                tree: graft.yours,
                name: Name::Told,
                seq: 0,
                key: [0; 16],
                dist: UNREACHABLE,
                branch: 0,
            };
            self.facts.push((link, Adverts { group: ground.group, trees: vec![gone] }.into()));
            return;
        }
        self.bind(ground, link, graft.mine, graft.yours);
        let Some(tree) = self.trees.get_mut(&graft.yours) else { return };
        tree.via(link).is_child = true;
        tree.fade_out(ground.now, link, Duration::ZERO);
        if tree.parent == Some(link) {
            tree.shun_until(link, ground.now + limits::ORPHAN_PAUSE);
            if tree.was_just_adopted(ground.now) {
                // Each has asked the other, neither knowing: both have to hear that nothing comes of it.
                tree.via(link).is_child = false;
                self.leave_parent(ground, graft.yours);
            } else {
                tree.parent = None;
            }
            self.find_parent(ground, graft.yours);
        }
    }

    pub(crate) fn on_ungraft(&mut self, ground: &mut Ground<'_>, link: LinkId, ungraft: &Ungraft) {
        let Some(tree) = self.trees.get_mut(&ungraft.yours) else { return };
        if tree.find(link).is_none() {
            return;
        }
        tree.via(link).is_child = false;
        tree.fade_out(ground.now, link, Duration::from_millis(ungraft.fade.into()));
        if tree.parent == Some(link) {
            // An envelope of ours may have overtaken our Graft: then that makes us a child after all.
            tree.shun_until(link, ground.now + limits::ORPHAN_PAUSE);
            self.leave_parent(ground, ungraft.yours);
            self.find_parent(ground, ungraft.yours);
        }
    }

    /// Somebody has no way to the root: it is answered with a newer round, or the request goes on.
    pub(crate) fn on_seq_req(&mut self, ground: &mut Ground<'_>, link: LinkId, request: &SeqReq) {
        let (now, ix) = (ground.now, request.yours);
        let Some(tree) = self.trees.get_mut(&ix).filter(|_| self.links.contains_key(&link)) else { return };
        if tree.chain.seq > request.seq {
            return self.tell(ground, ix, link);
        }
        if self.roots.is_own(ix) {
            if let Some(at) = self.roots.hurry(now) {
                self.wake_at(at);
            }
            return;
        }
        let is_early = tree.relayed_at.is_some_and(|at| now < at + limits::ORPHAN_PAUSE);
        if is_early || request.ttl == 0 {
            return;
        }
        tree.relayed_at = Some(now);
        if tree.branch == request.branch
            && let Some(other) = tree.best_of_another_branch(ground).filter(|other| *other != link)
        {
            // We are below the one that has lost its way, and know another: now it can have its way over us.
            self.adopt(ground, ix, other);
            return self.tell_all(ground, ix, Some(other));
        }
        let Some(tree) = self.trees.get_mut(&ix) else { return };
        let over_parent = tree.known_parent().filter(|(parent, _)| *parent != link);
        let whom = over_parent.or_else(|| tree.whom_to_ask(Some(link), request.branch, 0));
        if let Some((next, yours)) = whom {
            let ttl = request.ttl.min(limits::SEQ_REQ_TTL) - 1;
            let request = SeqReq { group: ground.group, yours, ttl, ..request.clone() };
            self.facts.push((next, request.into()));
        }
    }
}
