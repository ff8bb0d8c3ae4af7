//! Goal: the bytes are those of the specification. Method: `tests/vectors/make_vectors.py`, written from
//! `docs/envelope.md`, made the files; everything here is compared with them byte for byte.

use bytes::Bytes;
use serde_json::Value;

use super::identity::verify_raw;
use super::seal::unseal;
use super::*;
use crate::error::{OpenError, Reject};
use crate::id::{EnvelopeId, EpochId, Lane, PeerId, Seq, TopicTag};
use crate::message::{Draft, Parent, decode_body, encode_body};
use crate::time::Hlc;
use crate::wire::envelope::{Envelope, Header, KEYED_LEN};

fn read(json: &str) -> Value {
    serde_json::from_str(json).expect("the file is JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} is a string"))
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("{key} is a number"))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("{key} is a list"))
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex")).collect()
}

fn bytes(value: &Value, key: &str) -> Vec<u8> {
    unhex(text(value, key))
}

fn array<const N: usize>(value: &Value, key: &str) -> [u8; N] {
    bytes(value, key).try_into().unwrap_or_else(|_| panic!("{key} has {N} bytes"))
}

#[test]
fn keys_of_open_groups() {
    let file = read(include_str!("../../../tests/vectors/keys.json"));
    assert_eq!(*merkle::LEAF_KEY, array(&file, "merkle_leaf"));
    assert_eq!(*merkle::NODE_KEY, array(&file, "merkle_node"));
    for entry in list(&file, "groups") {
        let passphrase = entry["passphrase"].as_str();
        let key = GroupKey::open(text(entry, "network"), text(entry, "group"), passphrase).expect("names");
        assert_eq!(key.group_id().0, array(entry, "group_id"));
        assert_eq!(key.topic_tag().0, array(entry, "topic_tag"));
        assert_eq!(key.epoch_id().0, array(entry, "epoch_id"));
        let [topic_secret, link, epoch_root] = key.secrets();
        assert_eq!(*topic_secret, array(entry, "topic_secret"));
        assert_eq!(*link, array(entry, "link"));
        assert_eq!(*epoch_root, array(entry, "epoch_root"));
        if let Some(passphrase) = passphrase {
            assert_eq!(*stretch::stretch(passphrase, &array(entry, "salt")), array(entry, "stretched"));
        }
        let (me, you) = (PeerId(array(entry, "author")), PeerId(array(entry, "other")));
        let (mine, yours) = (array(entry, "my_nonce"), array(entry, "your_nonce"));
        assert_eq!(key.link_proof(&me, &you, &mine, &yours), array(entry, "link_proof"));
        for lane in Lane::ALL {
            let message_key = key.seal_key(&me, lane, 7).expect("an open group always has a key").key;
            assert_eq!(message_key.bytes(), &array(entry, &format!("message_key_{}", lane.name())));
        }
    }
}

fn draft_of(entry: &Value) -> Draft {
    Draft {
        subject: text(entry, "subject").to_owned(),
        content_type: text(entry, "content_type").to_owned(),
        headers: list(entry, "headers")
            .iter()
            .map(|pair| {
                (pair[0].as_str().expect("a name").to_owned(), pair[1].as_str().expect("a value").to_owned())
            })
            .collect(),
        content: bytes(entry, "content").into(),
        parents: list(entry, "parents")
            .iter()
            .map(|pair| Parent {
                envelope: EnvelopeId(unhex(pair[0].as_str().expect("an id")).try_into().expect("32 bytes")),
                index: pair[1].as_u64().expect("an index").try_into().expect("16 bits"),
            })
            .collect(),
    }
}

#[test]
fn messages() {
    let file = read(include_str!("../../../tests/vectors/message.json"));
    for entry in file.as_array().expect("a list") {
        let (draft, hlc) = (draft_of(entry), Hlc(number(entry, "hlc")));
        let body = encode_body(&draft, hlc).expect("a draft");
        assert_eq!(body, bytes(entry, "body"));
        let read = decode_body(body).expect("a body");
        assert_eq!((read.hlc, &read.content), (hlc, &draft.content));
        assert_eq!(read.subject, draft.subject.as_str());
    }
}

#[test]
fn envelopes() {
    let file = read(include_str!("../../../tests/vectors/envelope.json"));
    let group = GroupKey::open(text(&file, "network"), text(&file, "group"), None).expect("names");
    let identity = Identity::from_seed(array(&file, "seed"));
    for entry in list(&file, "envelopes") {
        let bodies: Vec<Bytes> =
            list(entry, "bodies").iter().map(|body| unhex(body.as_str().expect("hex")).into()).collect();
        let input = SealInput {
            lane: u8::try_from(number(entry, "lane")).ok().and_then(Lane::from_u8).expect("a lane"),
            seq: number(entry, "seq"),
            prev: EnvelopeId(array(entry, "prev")),
            skip: number(entry, "skip").try_into().expect("32 bits"),
            ttl_secs: number(entry, "ttl_secs").try_into().expect("32 bits"),
            bodies: &bodies,
            frame_salt: array(entry, "frame_salt"),
        };
        let sealed = seal(&identity, &group, &input).expect("sealed");
        let key = group.open_key(sealed.header()).expect("our key");
        assert_eq!(key.bytes(), &array(entry, "message_key"));
        let secrets = key.expand(&sealed.as_bytes()[..KEYED_LEN]);
        assert_eq!(*secrets.cipher, array(entry, "fk"));
        assert_eq!(*secrets.salts, array(entry, "sk"));
        assert_eq!(sealed.header().msg_root, array(entry, "root"));
        assert_eq!(sealed.id().0, array(entry, "id"));
        assert_eq!(sealed.as_bytes(), &bytes(entry, "envelope"));

        let received =
            check(Envelope::parse(bytes(entry, "envelope").into()).expect("well-formed")).expect("signed");
        let unsealed = unseal(&group, &received).expect("opens");
        let salts: String = list(entry, "salts").iter().map(|salt| salt.as_str().expect("hex")).collect();
        assert_eq!(*unsealed.salts, unhex(&salts));
        let leaves: String = list(entry, "leaves").iter().map(|leaf| leaf.as_str().expect("hex")).collect();
        assert_eq!(unsealed.leaves().as_flattened(), unhex(&leaves));
        let opened = open(&group, &received).expect("opens");
        assert_eq!(opened.payload(), &bytes(entry, "payload"));
        assert_eq!(opened.messages().len(), bodies.len());
    }
}

#[test]
fn proofs() {
    let file = read(include_str!("../../../tests/vectors/proof.json"));
    let group = GroupKey::open(text(&file, "network"), text(&file, "group"), None).expect("names");
    let envelope =
        check(Envelope::parse(bytes(&file, "envelope").into()).expect("well-formed")).expect("signed");
    for (index, entry) in (0..).zip(list(&file, "proofs")) {
        let made = prove(&group, &envelope, index).expect("a message").encode();
        assert_eq!(made, unhex(entry.as_str().expect("hex")));
        assert_eq!(verify_proof(&made).expect("proves").index, index);
    }
}

#[test]
fn key_files() {
    let file = read(include_str!("../../../tests/vectors/keyfile.json"));
    let keys = KeyFile {
        identity: Identity::from_seed(array(&file, "seed")),
        data_key: DataKey::new(array(&file, "data_key")),
    };
    assert_eq!(*keys.encode(None), bytes(&file, "plain"));
    let lock = Lock { passphrase: text(&file, "passphrase"), salt: array(&file, "salt") };
    assert_eq!(*keys.encode(Some(&lock)), bytes(&file, "locked"));
    let read = KeyFile::decode(&bytes(&file, "locked"), Some(lock.passphrase)).expect("the passphrase");
    assert_eq!(*read.identity.seed(), array(&file, "seed"));
    assert_eq!(*read.data_key.as_bytes(), array(&file, "data_key"));
}

/// Weak keys, small-order and non-canonical points, malleated scalars: the verdict is the specification's,
/// also where a lenient verifier's is another.
#[test]
fn signatures_at_the_edge() {
    let file = read(include_str!("../../../tests/vectors/ed25519.json"));
    let mut n_lenient_only = 0;
    for case in list(&file, "cases") {
        let verdict = verify_raw(&array(case, "key"), &bytes(case, "message"), &array(case, "sig"));
        let wanted = if case["accept"] == true { Ok(()) } else { Err(Reject::Signature) };
        assert_eq!(verdict, wanted, "{}", text(case, "name"));
        n_lenient_only += usize::from(case["lenient"] == true && wanted.is_err());
    }
    assert!(n_lenient_only >= 10, "the cases tell a strict verifier from a lenient one");
}

#[test]
fn signatures_by_domain() {
    let file = read(include_str!("../../../tests/vectors/ed25519.json"));
    let entries = list(&file, "domains");
    assert_eq!(entries.len(), Domain::ALL.len());
    for (domain, entry) in Domain::ALL.into_iter().zip(entries) {
        assert_eq!(domain.label(), format!("djembe/v1 {}\0", text(entry, "domain")).as_bytes());
        let identity = Identity::from_seed(array(entry, "seed"));
        assert_eq!(identity.sign(domain, &bytes(entry, "bytes")), array(entry, "sig"));
    }
}

/// A group of which each reader was given another key: what a hostile minter of epochs can do.
struct OneKey {
    topic_tag: TopicTag,
    epoch_id: EpochId,
    key: [u8; 32],
}

impl EnvelopeKeys for OneKey {
    fn topic_tag(&self) -> TopicTag {
        self.topic_tag
    }

    fn seal_key(&self, _: &PeerId, _: Lane, _: Seq) -> Result<SealKey, SealError> {
        let key = MessageKey::new(self.key);
        Ok(SealKey { epoch_id: self.epoch_id, chain_idx: 0, heads_digest: [0; 32], key })
    }

    fn open_key(&self, _: &Header) -> Result<MessageKey, OpenError> {
        Ok(MessageKey::new(self.key))
    }
}

/// T7: a ciphertext that the cipher accepts under two keys. The reader who was meant to see something else
/// refuses it; only the plaintext whose root was signed is ever delivered.
#[test]
fn a_ciphertext_for_two_keys_opens_for_one_at_most() {
    let file = read(include_str!("../../../tests/vectors/two_keys.json"));
    let envelope =
        check(Envelope::parse(bytes(&file, "envelope").into()).expect("well-formed")).expect("signed");
    let readers: Vec<_> = list(&file, "message_keys")
        .iter()
        .map(|key| OneKey {
            topic_tag: TopicTag(array(&file, "topic_tag")),
            epoch_id: EpochId(array(&file, "epoch_id")),
            key: unhex(key.as_str().expect("hex")).try_into().expect("32 bytes"),
        })
        .collect();
    for reader in &readers {
        let secrets = MessageKey::new(reader.key).expand(envelope.envelope().keyed_part());
        let (sealed, tag) = envelope.envelope().ciphertext().split_last_chunk().expect("a tag");
        let decrypted =
            aead::decrypt(&secrets.cipher, envelope.envelope().keyed_part(), &mut sealed.to_vec(), tag);
        assert_eq!(decrypted, Ok(()), "the cipher alone lets it pass");
    }
    assert!(open(&readers[0], &envelope).is_ok());
    assert!(open(&readers[1], &envelope).is_err());
}
