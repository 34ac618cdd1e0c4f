//! Each rule of `docs/format.md` under "Reading": a file that breaks it and nothing else is refused, and the message has the facts.

mod end;
mod metadata;
mod tensors;

use longshore_gguf::{Gguf, HeaderError as E, Limits, Part, ValueType};

use crate::{
    raw::{Raw, array, floats, string},
    util::{message, parse},
};

/// The error of a file, by the path that every whole file takes.
fn refuse(bytes: &[u8]) -> E {
    Gguf::new(bytes).expect_err("it should be refused")
}

/// The same, with facts that its message must have.
fn refuse_with(bytes: &[u8], facts: &[&str]) -> E {
    let error = refuse(bytes);
    let text = message(&error);
    for fact in facts {
        assert!(text.contains(fact), "{text:?} lacks {fact:?}");
    }
    error
}

/// A file of two tensors and some pairs, of which everything is right.
fn right() -> Raw {
    Raw::default()
        .pair("general.architecture", 8, string("llama"))
        .pair("llama.block_count", 4, 2_u32.to_le_bytes())
        .pair("tokens", 9, array(8, 2, &[string("a"), string("bc")].concat()))
        .tensor(floats("a", 3))
        .tensor(floats("b", 5))
}

#[test]
fn the_right_file_is_right() {
    assert!(Gguf::new(right().bytes()).is_ok());
}

#[test]
fn magic() {
    let raw = Raw { magic: *b"GGML", ..right() };
    assert!(matches!(refuse_with(&raw.bytes(), &["GGML", "\"GGUF\""]), E::Magic { found: [b'G', b'G', b'M', b'L'] }));
    let raw = Raw { magic: *b"\0\xff\n\"", ..right() };
    refuse_with(&raw.bytes(), &[r#"\x00\xff\n\""#]);
}

#[test]
fn versions() {
    for version in [0, 1, 4, 0x0001_0001, u32::MAX] {
        let raw = Raw { version, ..right() };
        let error = refuse_with(&raw.bytes(), &[&version.to_string(), "expected 2 or 3"]);
        assert!(matches!(error, E::Version { found } if found == version));
    }
    for version in [2, 3] {
        let raw = Raw { version, ..right() };
        assert_eq!(Gguf::new(raw.bytes()).unwrap().header().version(), version);
    }
}

#[test]
fn big_endian_files_are_named() {
    for version in [0x0200_0000, 0x0300_0000, 0x0001_0000] {
        let raw = Raw { version, ..right() };
        let error = refuse_with(&raw.bytes(), &["big-endian", "little-endian", &format!("{version:#010x}")]);
        assert!(matches!(error, E::BigEndian { found } if found == version));
    }
}

#[test]
fn counts_that_cannot_fit() {
    for (tensors, pairs) in [(0, 5), (100, 0), (3, 1)] {
        let raw = Raw { tensor_count: Some(tensors), pair_count: Some(pairs), ..Raw::default() };
        let mut bytes = raw.bytes();
        bytes.resize(24 + 60, 0);
        let error =
            refuse_with(&bytes, &[&format!("{pairs} pairs"), &format!("{tensors} tensors"), "found a file of 84"]);
        let least = 24 + tensors * 24 + pairs * 14;
        assert!(matches!(error, E::CountsBeyondFile { expected, found: 84, .. } if expected == least), "{error}");
    }
    // A count that passes any memory is refused as quickly, whatever the limits are.
    let mut unlimited = Limits::default();
    (unlimited.tensors, unlimited.pairs) = (u64::MAX, u64::MAX);
    let bytes = Raw { tensor_count: Some(u64::MAX), pair_count: Some(u64::MAX), ..Raw::default() }.bytes();
    let error = Gguf::with_limits(bytes, &unlimited).unwrap_err();
    assert!(matches!(error, E::CountsBeyondFile { expected: u64::MAX, found: 24, .. }), "{error}");
}

#[test]
fn counts_beyond_the_limits() {
    let bytes = Raw { tensor_count: Some((1 << 18) + 1), ..Raw::default() }.bytes();
    let error = refuse_with(&bytes, &["262145 tensors", "262144"]);
    assert!(matches!(error, E::TooManyTensors { found: 262_145, limit: 262_144 }));
    let bytes = Raw { pair_count: Some((1 << 16) + 1), ..Raw::default() }.bytes();
    assert!(matches!(refuse_with(&bytes, &["65537 pairs"]), E::TooManyPairs { found: 65_537, limit: 65_536 }));
}

#[test]
fn a_header_beyond_the_limit() {
    let bytes = right().bytes();
    let start = right().header().len() as u64;
    let mut limits = Limits::default();
    limits.header_bytes = start;
    assert!(Gguf::with_limits(&bytes, &limits).is_ok());
    limits.header_bytes = start - 1;
    let error = Gguf::with_limits(&bytes, &limits).unwrap_err();
    assert!(matches!(error, E::HeaderTooLong { part: Part::Padding, limit, .. } if limit == start - 1), "{error}");
    limits.header_bytes = 40;
    let error = Gguf::with_limits(&bytes, &limits).unwrap_err();
    assert!(message(&error).contains("at most 40"), "{error}");
}

#[test]
fn every_truncation_of_a_header_says_where() {
    let raw = right();
    let bytes = raw.bytes();
    let start = raw.header().len();
    for len in 0..start {
        let error = refuse_with(&bytes[..len], &[&len.to_string()]);
        match error {
            E::Truncated { expected, found, .. } | E::CountsBeyondFile { expected, found, .. } => {
                assert!(expected > found && found == len as u64, "{len}");
            }
            other => panic!("{len}: {other}"),
        }
    }
    // And in every field of the metadata's types.
    for value_type in 0..13_u32 {
        let value = match ValueType::from_id(value_type).unwrap() {
            ValueType::String => string("text"),
            ValueType::Array => array(8, 2, &[string("a"), string("b")].concat()),
            other => vec![0; other.byte_len().unwrap()],
        };
        let bytes = Raw::default().pair("k", value_type, value).bytes();
        assert!(parse(&bytes).is_ok());
        for len in 0..bytes.len() {
            refuse_with(&bytes[..len], &[]);
        }
    }
}
