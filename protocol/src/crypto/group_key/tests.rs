//! Goal: the same three words give the same keys, anything else gives others. Method: one change at a time.
//! The bytes themselves are compared in `crypto/vectors.rs`.

use super::*;

const ME: PeerId = PeerId([1; 32]);
const YOU: PeerId = PeerId([2; 32]);
const MINE: [u8; 16] = [3; 16];
const YOURS: [u8; 16] = [4; 16];

fn group(network: &str, group: &str) -> GroupKey {
    GroupKey::open(network, group, None).expect("names")
}

#[test]
fn names_and_passphrase_all_matter() {
    let ids = [
        group("home", "lobby").group_id(),
        group("home", "lobby2").group_id(),
        group("work", "lobby").group_id(),
        // The same letters, divided elsewhere.
        group("homel", "obby").group_id(),
        GroupKey::open("home", "lobby", Some("a")).expect("names").group_id(),
        GroupKey::open("home", "lobby", Some("b")).expect("names").group_id(),
    ];
    for (i, a) in ids.iter().enumerate() {
        assert!(ids[..i].iter().all(|b| a != b), "{i} is a group of its own");
    }
    assert_eq!(group("home", "lobby").group_id(), ids[0]);
}

#[test]
fn names_pass_at_their_limit_and_fail_beyond() {
    let verdict = |network: &str, group: &str| GroupKey::open(network, group, None).map(|_| ());
    let (longest, longer) = ("n".repeat(NAME_MAX), "n".repeat(NAME_MAX + 1));
    assert_eq!(verdict(&longest, &longest), Ok(()));
    assert_eq!(verdict(&longer, "g"), Err(GroupKeyError::Network));
    assert_eq!(verdict("n", &longer), Err(GroupKeyError::Group));
    assert_eq!(verdict("", "g"), Err(GroupKeyError::Network));
    assert_eq!(verdict("n", ""), Err(GroupKeyError::Group));
    assert_eq!(verdict("n", "g\0"), Err(GroupKeyError::Group));
    assert_eq!(GroupKey::open("n", "g", Some("")).map(|_| ()), Err(GroupKeyError::EmptyPassphrase));
}

#[test]
fn a_link_proof_holds_for_its_direction_peers_nonces_and_group_only() {
    let key = group("home", "lobby");
    let proof = group("home", "lobby").link_proof(&YOU, &ME, &YOURS, &MINE);
    assert!(key.check_link_proof(&ME, &YOU, &MINE, &YOURS, &proof), "the other side's proof");
    assert!(!key.check_link_proof(&YOU, &ME, &YOURS, &MINE, &proof), "sent back to who made it");
    assert!(!key.check_link_proof(&ME, &PeerId([9; 32]), &MINE, &YOURS, &proof), "relayed by another");
    assert!(!key.check_link_proof(&ME, &YOU, &[9; 16], &YOURS, &proof), "replayed");
    assert!(!key.check_link_proof(&ME, &YOU, &MINE, &[9; 16], &proof), "replayed");
    assert!(!group("home", "lobby2").check_link_proof(&ME, &YOU, &MINE, &YOURS, &proof), "of another group");
}

#[test]
fn every_author_lane_and_number_has_its_own_key() {
    let group = group("home", "lobby");
    let key = |author, lane, seq| *group.message_key(&author, lane, seq).bytes();
    let durable = key(ME, Lane::Durable, 0);
    assert_ne!(durable, key(YOU, Lane::Durable, 0));
    assert_ne!(durable, key(ME, Lane::Live, 0));
    assert_ne!(durable, key(ME, Lane::Durable, 1));
    assert_ne!(durable, key(ME, Lane::Control, 0));
    assert_ne!(key(YOU, Lane::Control, 0), key(ME, Lane::Control, 0));
}

#[test]
fn debug_shows_no_secret() {
    let key = group("home", "lobby");
    assert_eq!(format!("{key:?}"), format!("GroupKey({:?})", key.group_id()));
}
