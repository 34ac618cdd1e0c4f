//! Refused pairs.

use longshore_gguf::{HeaderError as E, NameError, Part};

use super::{refuse, refuse_with, right};
use crate::raw::{Raw, array, string};

#[test]
fn keys() {
    let key = |key: &[u8]| {
        let mut raw = right();
        raw.pairs[1].0 = key.to_vec();
        refuse_with(&raw.bytes(), &["key of pair 1"])
    };
    assert!(matches!(key(b""), E::Key { index: 1, source: NameError::Empty }));
    assert!(matches!(key(b"ab\xff"), E::Key { source: NameError::NotUtf8 { at: 2, .. }, .. }));
    assert!(matches!(key(b"ab\0c"), E::Key { source: NameError::Nul { at: 2 }, .. }));
    let error = key(&vec![b'k'; (1 << 16) + 1]);
    assert!(matches!(error, E::Key { source: NameError::TooLong { found: 65_537, limit: 65_536 }, .. }));

    let bytes = right().pair("tokens", 0, [1]).bytes();
    let error = refuse_with(&bytes, &["\"tokens\"", "twice"]);
    assert!(matches!(error, E::DuplicateKey { key } if &*key == "tokens"));
}

#[test]
fn value_types() {
    for found in [13, 255, 0x8000_0000] {
        let error = refuse_with(&right().pair("k", found, [0; 8]).bytes(), &["\"k\"", &found.to_string(), "12"]);
        assert!(matches!(error, E::ValueType { found: id, .. } if id == found));
        // Elements as well, even where there are none.
        let error = refuse(&right().pair("k", 9, array(found, 0, &[])).bytes());
        assert!(matches!(error, E::ValueType { found: id, .. } if id == found));
    }
}

#[test]
fn arrays_of_arrays() {
    for count in [0, 1] {
        let inner = array(0, 1, &[7]);
        let error = refuse_with(&right().pair("k", 9, array(9, count, &inner)).bytes(), &["\"k\"", "array of arrays"]);
        assert!(matches!(error, E::NestedArray { key } if &*key == "k"));
    }
    // However deep it goes, nothing is followed.
    let deep = array(9, 1, &[]).repeat(100_000);
    assert!(matches!(refuse(&right().pair("k", 9, deep).bytes()), E::NestedArray { .. }));
}

#[test]
fn bools() {
    for found in [2, 255] {
        let bytes = right().pair("k", 7, [found]).bytes();
        let error = refuse_with(&bytes, &["\"k\"", &found.to_string(), "0 or 1"]);
        assert!(matches!(error, E::Bool { offset, found: byte, .. }
            if byte == found && bytes[usize::try_from(offset).unwrap()] == found));
        let bytes = right().pair("k", 9, array(7, 4, &[0, 1, found, 9])).bytes();
        let E::Bool { offset, found: byte, .. } = refuse(&bytes) else { panic!("a bool") };
        assert_eq!((bytes[usize::try_from(offset).unwrap()], byte), (found, found));
    }
}

#[test]
fn strings_and_arrays_beyond_the_limits() {
    for found in [(1 << 24) + 1, u64::MAX] {
        for value in [(8, found.to_le_bytes().to_vec()), (9, array(8, 1, &found.to_le_bytes()))] {
            let error = refuse_with(&right().pair("k", value.0, value.1).bytes(), &["\"k\"", "16777216"]);
            assert!(matches!(error, E::StringTooLong { found: len, limit: 16_777_216, .. } if len == found));
        }
        for element_type in [0, 8, 12] {
            let bytes = right().pair("k", 9, array(element_type, found, &[])).bytes();
            let error = refuse_with(&bytes, &["\"k\"", &found.to_string()]);
            assert!(matches!(error, E::ArrayTooLong { found: len, limit: 16_777_216, .. } if len == found));
        }
    }
}

#[test]
fn lengths_beyond_the_file() {
    let cut = |value_type: u32, value: &[u8]| {
        let raw = Raw::default().pair("k", value_type, value);
        let bytes = raw.bytes();
        let error = refuse_with(&bytes, &["truncated", "the value of \"k\""]);
        let E::Truncated { part: Part::Value { .. }, expected, found } = error else { panic!("{error}") };
        assert_eq!(found, bytes.len() as u64);
        expected - found
    };
    assert_eq!(cut(8, &1000_u64.to_le_bytes()), 1000);
    assert_eq!(cut(9, &array(12, 1 << 20, &[0; 8])), (1 << 23) - 8);
    assert_eq!(cut(9, &array(8, 1 << 20, &string("abc"))), 8);
    assert_eq!(cut(4, &[0; 3]), 1);
    let mut bytes = Raw::default().pair("k", 0, [1]).bytes();
    bytes[24] = 200;
    let error = refuse_with(&bytes, &["the key of pair 0"]);
    assert!(matches!(error, E::Truncated { part: Part::Key { index: 0 }, expected: 232, .. }), "{error}");
}

#[test]
fn alignments() {
    for (value_type, value, facts) in [
        (4, 0_u32.to_le_bytes().to_vec(), ["is 0", "power of two"]),
        (4, 48_u32.to_le_bytes().to_vec(), ["is 48", "power of two"]),
        (4, (1_u32 << 21).to_le_bytes().to_vec(), ["is 2097152", "at most 1048576"]),
        (10, 32_u64.to_le_bytes().to_vec(), ["is a u64", "expected a u32"]),
        (5, 32_i32.to_le_bytes().to_vec(), ["is a i32", "expected a u32"]),
        (8, string("32"), ["is a string", "expected a u32"]),
    ] {
        let bytes = right().pair("general.alignment", value_type, value).bytes();
        let error = refuse_with(&bytes, &facts);
        assert!(matches!(error, E::Alignment { .. }), "{error}");
    }
}
