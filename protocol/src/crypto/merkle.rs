//! The salted Merkle tree over an envelope's messages (Wong and Lam, "Digital signatures for flows and
//! multicasts", 1998).
//!
//! Leaves are salted, so that a relay cannot try short messages against the root or a sibling. Leaves and nodes
//! are hashed under different keys, and the number of leaves is signed beside the root, so one root stands for
//! one list. An odd node is promoted to the next level as it is, never doubled.

use std::sync::LazyLock;

use blake3::keyed_hash;
use zeroize::Zeroizing;

/// Bytes of one leaf's salt.
pub(super) const SALT_LEN: usize = 16;
/// Siblings on the longest path: the levels of a tree of 1024 leaves.
pub(super) const PATH_MAX: usize = 10;

pub(super) type Node = [u8; 32];

/// Public constants: they separate, they hide nothing.
pub(super) static LEAF_KEY: LazyLock<Node> =
    LazyLock::new(|| blake3::derive_key("djembe/v1 merkle-leaf", b""));
pub(super) static NODE_KEY: LazyLock<Node> =
    LazyLock::new(|| blake3::derive_key("djembe/v1 merkle-node", b""));

/// The salts of `count` messages, one after the other: XOF(keyed sk, "djembe/v1 salts").
pub(super) fn salts(key: &[u8; 32], count: usize) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(vec![0; SALT_LEN * count]);
    blake3::Hasher::new_keyed(key).update(b"djembe/v1 salts").finalize_xof().fill(&mut out);
    out
}

/// `keyed_hash(K_LEAF, salt || body)`.
pub(super) fn leaf(salt: &[u8], body: &[u8]) -> Node {
    // Short bodies are many, and for them one contiguous input spares the incremental hasher's state.
    const SHORT: usize = 1024 - SALT_LEN;
    if body.len() <= SHORT {
        let mut input = [0; SALT_LEN + SHORT];
        input[..SALT_LEN].copy_from_slice(salt);
        input[SALT_LEN..SALT_LEN + body.len()].copy_from_slice(body);
        *keyed_hash(&LEAF_KEY, &input[..SALT_LEN + body.len()]).as_bytes()
    } else {
        *blake3::Hasher::new_keyed(&LEAF_KEY).update(salt).update(body).finalize().as_bytes()
    }
}

fn node(left: &Node, right: &Node) -> Node {
    let mut input = [0; 64];
    input[..32].copy_from_slice(left);
    input[32..].copy_from_slice(right);
    *keyed_hash(&NODE_KEY, &input).as_bytes()
}

/// Replaces a level by the one above it.
fn ascend(level: &mut Vec<Node>) {
    let n_above = level.len().div_ceil(2);
    for i in 0..n_above {
        level[i] = match level.get(2 * i + 1) {
            Some(right) => node(&level[2 * i], right),
            None => level[2 * i],
        };
    }
    level.truncate(n_above);
}

/// The root over at least one leaf.
pub(super) fn root(mut level: Vec<Node>) -> Node {
    assert!(!level.is_empty(), "an envelope has at least one message");
    while level.len() > 1 {
        ascend(&mut level);
    }
    level[0]
}

/// The siblings on the way from leaf `index` to the root, lowest first; a promoted node has none.
pub(super) fn path(mut level: Vec<Node>, mut index: usize) -> Vec<Node> {
    assert!(index < level.len(), "a path starts at a leaf");
    let mut siblings = Vec::with_capacity(PATH_MAX);
    while level.len() > 1 {
        siblings.extend(level.get(index ^ 1));
        ascend(&mut level);
        index /= 2;
    }
    siblings
}

/// How many siblings [`path`] has for leaf `index` of `count`.
pub(super) fn path_len(mut index: usize, mut count: usize) -> usize {
    let mut n = 0;
    while count > 1 {
        n += usize::from(index ^ 1 < count);
        count = count.div_ceil(2);
        index /= 2;
    }
    n
}

/// The root that `leaf` at `index` of `count` and its siblings lead to; `None` if their number is wrong.
pub(super) fn climb(leaf: Node, mut index: usize, mut count: usize, siblings: &[Node]) -> Option<Node> {
    let mut siblings = siblings.iter();
    let mut current = leaf;
    while count > 1 {
        if index ^ 1 < count {
            let sibling = siblings.next()?;
            current = if index & 1 == 0 { node(&current, sibling) } else { node(sibling, &current) };
        }
        count = count.div_ceil(2);
        index /= 2;
    }
    siblings.next().is_none().then_some(current)
}

#[cfg(test)]
mod tests;
