//! Goal: one encoding per message, and nothing else is read. Method: round trips, garbage, and each rule broken
//! alone; each limit at it and one past it.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn parent(id: u8, index: u16) -> Parent {
    Parent { envelope: EnvelopeId([id; 32]), index }
}

fn header(name: impl Into<String>, value: impl Into<String>) -> (String, String) {
    (name.into(), value.into())
}

/// A draft with everything in it, unsorted.
fn full() -> Draft {
    Draft {
        subject: "küche/ofen".into(),
        content_type: "text/plain".into(),
        headers: vec![header("b", "ünï"), header("a", "")],
        content: "hot".into(),
        parents: vec![parent(2, 0), parent(1, 300), parent(1, 2), parent(2, 0)],
    }
}

fn encoded(draft: &Draft) -> Vec<u8> {
    encode_body(draft, Hlc(77)).expect("a draft").to_vec()
}

fn decoded(bytes: Vec<u8>) -> Result<Body, DecodeError> {
    decode_body(bytes.into())
}

#[test]
fn a_message_comes_back_sorted_and_shares_the_buffer() {
    let bytes = encode_body(&full(), Hlc(77)).expect("a draft");
    let body = decode_body(bytes.clone()).expect("a body");
    assert_eq!(body.hlc, Hlc(77));
    assert_eq!(body.subject, "küche/ofen");
    assert_eq!(body.content_type, "text/plain");
    assert_eq!(body.headers, [("a".into(), "".into()), ("b".into(), "ünï".into())]);
    assert_eq!(body.parents, [parent(1, 2), parent(1, 300), parent(2, 0)]);
    assert_eq!(body.content, "hot");
    assert!(bytes.as_ptr_range().contains(&body.content.as_ptr()), "content is a slice of the buffer");
}

#[test]
fn the_order_of_a_draft_does_not_show() {
    let mut other = full();
    other.headers.reverse();
    other.parents.rotate_left(1);
    assert_eq!(encoded(&full()), encoded(&other));
}

/// Everything before the content is needed; the content may be any length.
#[test]
fn truncation_is_noticed_wherever_a_field_is_cut() {
    let bytes = encoded(&full());
    let content_at = bytes.len() - "hot".len();
    for len in 0..content_at {
        assert_eq!(decoded(bytes[..len].to_vec()), Err(DecodeError::Truncated), "cut to {len}");
    }
    assert!(decoded(bytes[..content_at].to_vec()).expect("empty content").content.is_empty());
}

/// Offsets in the encoding of [`full`]: 0 type, 9 parents, 10 + 34 i each, 112 subject, 124 type, 135 headers.
#[test]
fn other_encodings_are_refused() {
    let patched = |at: usize, bytes: &[u8]| {
        let mut out = encoded(&full());
        out[at..at + bytes.len()].copy_from_slice(bytes);
        decoded(out)
    };
    assert_eq!(patched(0, &[1]), Err(DecodeError::Invalid("message type")));
    assert_eq!(patched(9, &[9]), Err(DecodeError::TooLarge("parents")));
    assert_eq!(patched(42, &300u16.to_le_bytes()), Err(DecodeError::NotCanonical), "a parent twice");
    assert_eq!(patched(10, &[3]), Err(DecodeError::NotCanonical), "parents out of order");
    assert_eq!(patched(113, b"+"), Err(DecodeError::Invalid("subject")));
    assert_eq!(patched(113, b"/"), Err(DecodeError::Invalid("subject")));
    assert_eq!(patched(114, &[0xff]), Err(DecodeError::Invalid("subject")), "not UTF-8");
    assert_eq!(patched(125, b"\n"), Err(DecodeError::Invalid("content type")));
    assert_eq!(patched(135, &[17]), Err(DecodeError::TooLarge("headers")));
    assert_eq!(patched(136, &[0]), Err(DecodeError::Invalid("header name")));
    assert_eq!(patched(137, b"b"), Err(DecodeError::NotCanonical), "a name twice");
    assert_eq!(patched(137, b"c"), Err(DecodeError::NotCanonical), "names out of order");
    assert_eq!(patched(137, b" "), Err(DecodeError::Invalid("header name")));
    assert_eq!(patched(144, b"\x07"), Err(DecodeError::Invalid("header value")));
}

#[test]
fn a_draft_is_refused_by_cause() {
    let refused = |change: fn(&mut Draft)| {
        let mut draft = full();
        change(&mut draft);
        let error = draft.check().expect_err("refused");
        assert_eq!(encode_body(&draft, Hlc(0)), Err(error));
        error
    };
    for subject in ["/a", "a/", "a//b", "/", "a+", "#", "a\nb", "a\u{85}b", "a\u{7f}"] {
        let draft = Draft { subject: subject.into(), ..Draft::default() };
        assert_eq!(draft.check(), Err(DraftError::Subject), "{subject:?}");
    }
    assert_eq!(refused(|d| d.content_type = "tëxt".into()), DraftError::ContentType);
    assert_eq!(refused(|d| d.headers.push(header("a", "again"))), DraftError::Headers);
    assert_eq!(refused(|d| d.headers.push(header("", ""))), DraftError::Headers);
    assert_eq!(refused(|d| d.headers.push(header("c", "\r\n"))), DraftError::Headers);
}

#[test]
fn each_limit_passes_and_one_more_fails() {
    let verdict = |draft: Draft| {
        let verdict = draft.check();
        match verdict {
            Ok(()) => drop(decoded(encoded(&draft)).expect("what is written is read")),
            Err(error) => assert_eq!(encode_body(&draft, Hlc(0)), Err(error)),
        }
        verdict
    };
    let content = |n| verdict(Draft { content: vec![0; n].into(), ..Draft::default() });
    assert_eq!(content(CONTENT_MAX), Ok(()));
    assert_eq!(content(CONTENT_MAX + 1), Err(DraftError::ContentTooLarge(CONTENT_MAX + 1)));

    let subject = |n| verdict(Draft { subject: "s".repeat(n), ..Draft::default() });
    assert_eq!(subject(SUBJECT_MAX), Ok(()));
    assert_eq!(subject(SUBJECT_MAX + 1), Err(DraftError::Subject));

    let content_type = |n| verdict(Draft { content_type: "t".repeat(n), ..Draft::default() });
    assert_eq!(content_type(CONTENT_TYPE_MAX), Ok(()));
    assert_eq!(content_type(CONTENT_TYPE_MAX + 1), Err(DraftError::ContentType));

    let parents = |n| verdict(Draft { parents: (0..n).map(|i| parent(i, 0)).collect(), ..Draft::default() });
    assert_eq!(parents(PARENTS_MAX as u8), Ok(()));
    assert_eq!(parents(PARENTS_MAX as u8 + 1), Err(DraftError::Parents));

    let headers = |list: Vec<_>| verdict(Draft { headers: list, ..Draft::default() });
    let short = |n| headers((0..n).map(|i| header(i.to_string(), "")).collect());
    assert_eq!(short(HEADERS_MAX), Ok(()));
    assert_eq!(short(HEADERS_MAX + 1), Err(DraftError::Headers));
    let name = |n| headers(vec![header("n".repeat(n), "")]);
    assert_eq!(name(HEADER_NAME_MAX), Ok(()));
    assert_eq!(name(HEADER_NAME_MAX + 1), Err(DraftError::Headers));
    let value = |n| headers(vec![header("n", "v".repeat(n))]);
    assert_eq!(value(HEADER_VALUE_MAX), Ok(()));
    assert_eq!(value(HEADER_VALUE_MAX + 1), Err(DraftError::Headers));
    // Eight headers of 4 + 1020 bytes are 8192.
    let together = |last| {
        let value = |i| "v".repeat(if i == 7 { last } else { 1020 });
        headers((0..8).map(|i| header(i.to_string(), value(i))).collect())
    };
    assert_eq!(together(1020), Ok(()));
    assert_eq!(together(1021), Err(DraftError::Headers));
}

/// The decoder's limits are its own: what no draft gives, a peer can still send.
#[test]
fn the_decoder_has_the_same_limits() {
    let empty = encoded(&Draft::default());
    let with_content = |n| decoded([&empty[..], &vec![0; n]].concat()).map(|body| body.content.len());
    assert_eq!(with_content(CONTENT_MAX), Ok(CONTENT_MAX));
    assert_eq!(with_content(CONTENT_MAX + 1), Err(DecodeError::TooLarge("content")));
    assert_eq!(with_content(BODY_MAX), Err(DecodeError::TooLarge("message")));

    let with_headers = |last: usize| {
        let mut bytes = empty[..12].to_vec();
        bytes.push(8);
        for i in 0..8 {
            let len = if i == 7 { last } else { 1020 };
            bytes.extend_from_slice(&[1, b'0' + i]);
            bytes.extend_from_slice(&(len as u16).to_le_bytes());
            bytes.resize(bytes.len() + len, b'v');
        }
        decoded(bytes).map(|body| body.headers.len())
    };
    assert_eq!(with_headers(1020), Ok(8));
    assert_eq!(with_headers(1021), Err(DecodeError::TooLarge("headers")));
}

prop_compose! {
    fn any_draft()(
        subject in "([a-zé]{1,5}(/[a-z0-9 ]{1,5}){0,4})?",
        content_type in "[ -~]{0,127}",
        headers in proptest::collection::btree_map("[!-~]{1,64}", "[ -~é]{0,100}", 0..=HEADERS_MAX),
        content in vec(any::<u8>(), 0..2000),
        parents in vec((any::<u8>(), any::<u16>()), 0..=PARENTS_MAX),
    ) -> Draft {
        Draft {
            subject,
            content_type,
            headers: headers.into_iter().collect(),
            content: content.into(),
            parents: parents.into_iter().map(|(id, index)| parent(id, index)).collect(),
        }
    }
}

/// What a body says, as a draft again.
fn redraft(body: &Body) -> Draft {
    Draft {
        subject: body.subject.to_string(),
        content_type: body.content_type.to_string(),
        headers: body.headers.iter().map(|(name, value)| header(&**name, &**value)).collect(),
        content: body.content.clone(),
        parents: body.parents.clone(),
    }
}

proptest! {
    #[test]
    fn any_draft_comes_back(draft in any_draft(), hlc: u64) {
        let bytes = encode_body(&draft, Hlc(hlc)).expect("a draft");
        let body = decode_body(bytes.clone()).expect("a body");
        prop_assert_eq!((body.hlc, &body.content), (Hlc(hlc), &draft.content));
        prop_assert_eq!(encode_body(&redraft(&body), body.hlc), Ok(bytes));
    }

    /// Canonical by construction: whatever is read is written as the same bytes.
    #[test]
    fn what_is_read_is_written_the_same(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(body) = decoded(bytes.clone()) {
            prop_assert_eq!(encode_body(&redraft(&body), body.hlc), Ok(Bytes::from(bytes)));
        }
    }

    /// The same, near real messages, where more of them can be read.
    #[test]
    fn a_changed_message_is_refused_or_another(draft in any_draft(), at: prop::sample::Index, byte: u8) {
        let mut bytes = encoded(&draft);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(body) = decoded(bytes.clone()) {
            prop_assert_eq!(encode_body(&redraft(&body), body.hlc), Ok(Bytes::from(bytes)));
        }
    }
}
