//! Parents that lead round.
//!
//! A way that is nearer to the root than ours ever was cannot lead over us (RFC 8966, section 2.4). One that begins at
//! another neighbour of the root does not either, if what we know of it is so now; but news of it may be under way, for
//! long where packets are lost, and then each waits for another in a circle until the root begins its next round. So
//! whoever has such a parent asks from time to time: the question goes from parent to parent, and comes back if there is no
//! root above. What is told of distances may be a lie, and then nobody may know that it should ask.

use super::{Forest, Ground};
use crate::id::LinkId;
use crate::limits;
use crate::time::Timestamp;
use crate::wire::frame::{LoopProbe, TreeIx};

/// What a node without certainty about its parent in a tree keeps, and of questions of others.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    /// When it asks next; none if the parent's way cannot lead over us.
    pub(super) probe_at: Option<Timestamp>,
    n_probes: u32,
    /// What it asked last.
    nonce: Option<[u8; 8]>,
    /// How many of others' questions were passed on, and since when.
    relayed: (u8, Timestamp),
}

impl Forest {
    /// A parent was chosen.
    pub(super) fn doubt(&mut self, now: Timestamp, ix: TreeIx) {
        let Some(tree) = self.trees.get_mut(&ix) else { return };
        let is_sure = tree.parent.is_none_or(|parent| tree.is_sure(parent));
        tree.doubt.nonce = None;
        tree.doubt.n_probes = 0;
        tree.doubt.probe_at = (!is_sure).then_some(now + limits::LOOP_PROBE_AFTER);
    }

    /// Asks, if it is time.
    pub(super) fn probe_if_due(&mut self, ground: &mut Ground<'_>, ix: TreeIx) {
        let Some(tree) = self.trees.get_mut(&ix) else { return };
        if tree.doubt.probe_at.take_if(|at| *at <= ground.now).is_none() {
            return;
        }
        // What it has said since may have made it certain.
        let Some(parent) = tree.parent.filter(|parent| !tree.is_sure(*parent)) else { return };
        let nonce: [u8; 8] = ground.bytes();
        // Those who doubt for one reason do not ask at one time: what is passed on is bounded.
        let pause =
            (limits::LOOP_PROBE_AFTER * (2 << tree.doubt.n_probes.min(8))).min(limits::LOOP_PROBE_MAX);
        tree.doubt.n_probes += 1;
        tree.doubt.probe_at = Some(ground.now + (pause - pause * u32::from(nonce[0]) / 512));
        tree.doubt.nonce = Some(nonce);
        if let Some(yours) = tree.theirs(parent) {
            let ttl = limits::LOOP_PROBE_TTL;
            self.facts.push((parent, LoopProbe { group: ground.group, yours, nonce, ttl }.into()));
        }
    }

    /// Somebody below asks: it goes on to the parent, unless it is ours.
    pub(crate) fn on_loop_probe(&mut self, ground: &mut Ground<'_>, link: LinkId, probe: &LoopProbe) {
        let (now, ix) = (ground.now, probe.yours);
        let Some(tree) = self.trees.get_mut(&ix) else { return };
        // Only a child is below us: what others send is old or made up.
        if !tree.children().any(|child| child == link) {
            return;
        }
        let Some((parent, yours)) = tree.known_parent() else { return };
        if tree.doubt.nonce == Some(probe.nonce) {
            tree.shun_until(parent, now + limits::ORPHAN_PAUSE);
            self.leave_parent(ground, ix);
            return self.find_sure_parent(ground, ix);
        }
        if now - tree.doubt.relayed.1 >= limits::LOOP_PROBES_EVERY {
            tree.doubt.relayed = (0, now);
        }
        if tree.doubt.relayed.0 >= limits::LOOP_PROBES || probe.ttl == 0 {
            return;
        }
        tree.doubt.relayed.0 += 1;
        let ttl = probe.ttl.min(limits::LOOP_PROBE_TTL) - 1;
        self.facts.push((parent, LoopProbe { group: ground.group, yours, nonce: probe.nonce, ttl }.into()));
    }
}
