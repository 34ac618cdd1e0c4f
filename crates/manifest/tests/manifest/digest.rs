use longshore_manifest::{Digest, Hasher};
use proptest::prelude::*;

/// Digest of `abc`, from FIPS 180-2, appendix B.1.
const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[test]
fn is_sha256() {
    assert_eq!(Digest::of(b"abc").to_string(), ABC);
    assert_eq!(Digest::of(b"abc").short(), "ba7816bf8f01");
    assert_eq!(format!("{:?}", Digest::of(b"abc")), ABC);
    assert_eq!(Digest::of(b"abc").as_bytes()[..2], [0xba, 0x78]);
}

#[test]
fn the_error_shows_what_was_given_and_no_more_than_100_characters() {
    let error = "é".repeat(1000).parse::<Digest>().unwrap_err();
    assert_eq!(error.found, "é".repeat(100));
    assert!(error.to_string().contains("expected `sha256:` and 64 lower-case hexadecimal digits"));
}

#[test]
fn json_holds_the_text_and_nothing_else_parses() {
    let digest = Digest::of(b"abc");
    assert_eq!(serde_json::to_string(&digest).unwrap(), format!("{ABC:?}"));
    assert_eq!(serde_json::from_str::<Digest>(&format!("{ABC:?}")).unwrap(), digest);
    // A text with an escape sequence is the same text.
    assert_eq!(serde_json::from_str::<Digest>(&format!("{ABC:?}").replace("sha", "\\u0073ha")).unwrap(), digest);
    for bad in ["null", "7", "\"\"", "\"sha256:../../etc/passwd\"", "[1,2]"] {
        assert!(serde_json::from_str::<Digest>(bad).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn pieces_do_not_matter(bytes: Vec<u8>, cut: prop::sample::Index) {
        let cut = cut.index(bytes.len() + 1);
        let mut hasher = Hasher::default();
        hasher.update(&bytes[..cut]);
        hasher.update(&bytes[cut..]);
        prop_assert_eq!(hasher.finish(), Digest::of(&bytes));
    }

    #[test]
    fn texts_and_file_names_round_trip(bytes: Vec<u8>) {
        let digest = Digest::of(&bytes);
        prop_assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        prop_assert_eq!(Digest::from_file_name(&digest.file_name()), Some(digest));
    }

    #[test]
    fn whatever_parses_is_canonical(text in "(sha256[:-])?[0-9a-fA-F./]{62,66}") {
        if let Ok(digest) = text.parse::<Digest>() {
            prop_assert_eq!(digest.to_string(), text.clone());
        }
        if let Some(digest) = Digest::from_file_name(&text) {
            prop_assert_eq!(digest.file_name(), text);
        }
    }
}
