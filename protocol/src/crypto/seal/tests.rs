//! Goal: what is sealed opens to the same messages, and nothing else opens or passes. Method: one author in an
//! open group, small envelopes, every kind of damage.

use super::*;
use crate::crypto::GroupKey;
use crate::message::{Draft, encode_body};
use crate::time::Hlc;

fn author() -> Identity {
    Identity::from_seed([1; 32])
}

fn lobby() -> GroupKey {
    GroupKey::open("home", "lobby", None).expect("names")
}

fn body(content: impl Into<Bytes>) -> Bytes {
    let draft = Draft {
        subject: "a/b".into(),
        content: content.into(),
        ..Draft::default()
    };
    encode_body(&draft, Hlc(7)).expect("a draft")
}

fn sealed(lane: Lane, bodies: &[Bytes]) -> Result<CheckedEnvelope, SealError> {
    let input = SealInput {
        lane,
        seq: 5,
        prev: EnvelopeId([9; 32]),
        skip: 2,
        ttl_secs: 60,
        bodies,
        frame_salt: [3; 16],
    };
    seal(&author(), &lobby(), &input)
}

#[test]
fn every_lane_round_trips() {
    for lane in Lane::ALL {
        let bodies = [body("hello"), body(""), body("world")];
        let made = sealed(lane, &bodies).expect("sealed");
        let parsed = Envelope::parse(made.as_bytes().clone()).expect("well-formed");
        let checked = check(parsed).expect("signed");
        assert_eq!(checked, made);
        let opened = open(&lobby(), &checked).expect("opens");
        let read: Vec<_> = opened.messages().iter().map(|m| m.content.clone()).collect();
        assert_eq!(read, ["hello", "", "world"]);
        let again = decode_payload(opened.payload(), 3).expect("the payload reads back");
        assert_eq!(again, opened.messages());
    }
}
