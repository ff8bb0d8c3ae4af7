//! Goal: every leaf of every shape of tree leads to the root, and nothing else does. Method: all sizes up to 70
//! and those around the limit.

use super::*;

fn leaves(n: usize) -> Vec<Node> {
    (0..n).map(|i| leaf(&[0; SALT_LEN], &i.to_le_bytes())).collect()
}

#[test]
fn every_path_leads_to_the_root() {
    for n in (1..=70).chain([1023, 1024]) {
        let root = root(leaves(n));
        let step = if n > 70 { 97 } else { 1 };
        for index in (0..n).step_by(step).chain([n - 1]) {
            let siblings = path(leaves(n), index);
            assert_eq!(siblings.len(), path_len(index, n));
            assert!(siblings.len() <= PATH_MAX);
            assert_eq!(climb(leaves(n)[index], index, n, &siblings), Some(root), "{index} of {n}");
        }
    }
}

#[test]
fn another_index_count_or_number_of_siblings_does_not() {
    for n in 2..=33 {
        let root = root(leaves(n));
        for index in 0..n {
            let siblings = path(leaves(n), index);
            let leaf = leaves(n)[index];
            for other in (0..n).filter(|&other| other != index) {
                assert_ne!(climb(leaf, other, n, &siblings), Some(root), "{index} shown as {other} of {n}");
            }
            assert_eq!(climb(leaf, index, n, &siblings[1..]), None, "one missing");
            assert_eq!(climb(leaf, index, n, &[&siblings[..], &[[0; 32]]].concat()), None, "one too many");
        }
    }
}

/// Doubling an odd node would give lists of different lengths one root (CVE-2012-2459 in Bitcoin).
#[test]
fn an_odd_node_is_promoted_and_not_doubled() {
    let three = leaves(3);
    let doubled = [&three[..], &three[2..]].concat();
    assert_ne!(root(three.clone()), root(doubled));
    assert_eq!(root(three.clone()), node(&node(&three[0], &three[1]), &three[2]));
}

#[test]
fn a_leaf_is_no_node_and_long_and_short_leaves_are_one_function() {
    let [a, b] = [[1; 32], [2; 32]];
    assert_ne!(leaf(&a[..16], &[&a[16..], &b].concat()), node(&a, &b));
    for len in [0, 1007, 1008, 1009, 5000] {
        let whole = [vec![9; SALT_LEN], vec![7; len]].concat();
        assert_eq!(leaf(&[9; SALT_LEN], &vec![7; len]), *keyed_hash(&LEAF_KEY, &whole).as_bytes(), "{len}");
    }
}
