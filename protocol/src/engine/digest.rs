//! Comparing with a neighbour what both have: one hash over all shared groups, then the roots of each.

use rand_core::Rng;

use super::Engine;
use crate::id::{GroupId, LinkId};
use crate::wire::frame::{Class, Digest, Roots};

impl Engine {
    pub(super) fn on_digest(&mut self, link: LinkId, digest: &Digest) {
        let ours = self.combined_root(link);
        let (jitter, is_partial) = (self.choices.next_u32() % 256, self.overlay.is_partial());
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        if ours == Some(digest.root) {
            state.digest_equal();
            state.schedule_digest(self.now, jitter);
            return;
        }
        if !is_partial {
            state.digest_differs();
        }
        state.schedule_digest(self.now, jitter);
        let shared: Vec<GroupId> = state.shared_groups().collect();
        let mut roots = Vec::with_capacity(shared.len());
        for id in shared {
            if let Some(group) = self.groups.get_mut(&id) {
                roots.push((group.ix(), group.root(), group.members_digest()));
            }
        }
        roots.sort_unstable_by_key(|(group, ..)| *group);
        roots.dedup_by_key(|(group, ..)| *group);
        self.cx().send(link, Class::Control, Roots { roots });
    }

    pub(super) fn on_roots(&mut self, link: LinkId, roots: &Roots) {
        let (jitter, is_partial) = (self.choices.next_u32() % 256, self.overlay.is_partial());
        if let Some(state) = self.links.get_mut(&link) {
            if !is_partial {
                state.digest_differs();
            }
            state.schedule_digest(self.now, jitter);
        }
        for (theirs, root, members) in &roots.roots {
            self.with_member(link, *theirs, |group, cx| {
                if group.root() != *root {
                    group.compare(cx, link);
                }
                group.on_members_digest(cx, link, *members);
                Ok(())
            });
        }
    }

    /// Logs may differ: neighbours are asked again at the shortest pause.
    pub(super) fn compare_soon(&mut self) {
        for link in self.links.values_mut().filter(|link| link.digest_at.is_some()) {
            let jitter = self.choices.next_u32() % 1024;
            link.digest_differs();
            link.schedule_digest(self.now, jitter);
        }
    }

    /// A hash over the roots of all groups that both share, in the order of their tags.
    pub(super) fn combined_root(&mut self, link: LinkId) -> Option<[u8; 32]> {
        let state = self.links.get(&link)?;
        let mut shared: Vec<GroupId> = state.shared_groups().collect();
        shared.sort_by_key(|id| self.groups.get(id).map(|group| group.topic_tag()));
        let mut hasher = blake3::Hasher::new();
        for id in shared {
            let group = self.groups.get_mut(&id)?;
            hasher.update(&group.topic_tag().0);
            hasher.update(&group.root());
            let members = group.members_digest();
            hasher.update(&members.n.to_le_bytes()).update(&members.sum.to_le_bytes());
        }
        Some(*hasher.finalize().as_bytes())
    }
}
