//! What a node knows of one tree of a group.

use crate::id::PeerId;
use crate::time::Timestamp;

/// A tree as one node sees it, in [`crate::engine::Engine::trees`]: what the trees of all nodes are together only somebody
/// who sees all of them can say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TreeStatus {
    /// Whose it is.
    pub root: PeerId,
    /// The next one towards the root; none at the root, and where the way is lost.
    pub parent: Option<PeerId>,
    /// Those who take envelopes of the tree from here.
    pub children: Vec<PeerId>,
    /// When the newest round was heard of, or begun.
    pub heard_at: Timestamp,
    /// Rounds go on: at the root another will begin, elsewhere one was heard of lately.
    pub is_tended: bool,
}
