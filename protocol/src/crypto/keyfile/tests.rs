//! Goal: the keys come back, and what stands in the way is named. Method: both forms, damaged in each byte.

use super::*;

const SALT: [u8; 16] = [7; 16];

fn keys() -> KeyFile {
    KeyFile { identity: Identity::from_seed([1; 32]), data_key: DataKey::new([2; 32]) }
}

fn locked() -> Vec<u8> {
    keys().encode(Some(&Lock { passphrase: "drum", salt: SALT })).to_vec()
}

fn refused(bytes: &[u8], passphrase: Option<&str>) -> KeyFileError {
    KeyFile::decode(bytes, passphrase).map(|_| ()).expect_err("refused")
}

fn assert_comes_back(bytes: &[u8], passphrase: Option<&str>) {
    let read = KeyFile::decode(bytes, passphrase).expect("a key file");
    assert_eq!(read.identity.peer_id(), keys().identity.peer_id());
    assert_eq!(read.data_key.as_bytes(), keys().data_key.as_bytes());
}

#[test]
fn both_forms_come_back() {
    let plain = keys().encode(None);
    assert_eq!((plain.len(), locked().len()), (PLAIN_LEN, LOCKED_LEN));
    assert_eq!((PLAIN_LEN, LOCKED_LEN), (77, 109));
    assert_comes_back(&plain, None);
    assert_comes_back(&plain, Some("not needed"));
    assert_comes_back(&locked(), Some("drum"));
}

#[test]
fn a_locked_file_shows_no_key_and_wants_its_passphrase() {
    let bytes = locked();
    assert!(!bytes.windows(32).any(|window| window == [1; 32] || window == [2; 32]));
    assert_eq!(refused(&bytes, None), KeyFileError::Locked);
    assert_eq!(refused(&bytes, Some("conga")), KeyFileError::WrongPassphrase);
}

/// The check at the end tells damage from a wrong passphrase without stretching it.
#[test]
fn damage_anywhere_is_corrupt() {
    for bytes in [keys().encode(None).to_vec(), locked()] {
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                let error = refused(&damaged, Some("drum"));
                let newer = at == 3 && damaged[3] > b'1' && damaged[3].is_ascii_alphanumeric();
                let expected =
                    if newer { KeyFileError::NewerVersion(damaged[3]) } else { KeyFileError::Corrupt };
                assert_eq!(error, expected, "byte {at}, bit {bit}");
            }
        }
        for len in 0..bytes.len() {
            assert_eq!(refused(&bytes[..len], Some("drum")), KeyFileError::Corrupt, "cut to {len}");
        }
        assert_eq!(refused(&[&bytes[..], &[0]].concat(), Some("drum")), KeyFileError::Corrupt);
    }
}

#[test]
fn a_newer_file_is_not_called_corrupt() {
    assert_eq!(refused(b"DJK2 whatever comes", None), KeyFileError::NewerVersion(b'2'));
    assert!(KeyFileError::NewerVersion(b'2').to_string().contains("version 2"));
}
