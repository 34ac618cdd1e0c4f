//! Each rule of `docs/format.md` under "Reading": a file that breaks it and nothing else is refused, and the message has the facts.

use longshore_gguf::{Gguf, HeaderError as E, Limits, NameError, Part, ValueType};

use crate::{
    raw::{Raw, RawTensor, array, floats, string},
    util::{message, parse},
};

/// What is wrong with a file, by the path that every whole file takes.
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

/// That file with something else as its last tensor.
fn with_tensor(change: impl FnOnce(&mut RawTensor)) -> Vec<u8> {
    let mut raw = right();
    change(raw.tensors.last_mut().unwrap());
    raw.bytes()
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

#[test]
fn tensor_names() {
    let name = |name: &[u8]| with_tensor(|tensor| tensor.name = name.to_vec());
    let refuse = |bytes: &[u8]| refuse_with(bytes, &["name of tensor 1"]);
    assert!(matches!(refuse(&name(b"")), E::TensorName { index: 1, source: NameError::Empty }));
    assert!(matches!(refuse(&name(b"\xc3(")), E::TensorName { source: NameError::NotUtf8 { at: 0, .. }, .. }));
    assert!(matches!(refuse(&name(b"a\0")), E::TensorName { source: NameError::Nul { at: 1 }, .. }));
    let error = refuse(&name(&[b'n'; 64]));
    assert!(matches!(error, E::TensorName { source: NameError::TooLong { found: 64, limit: 63 }, .. }));
    assert!(parse(&name(&[b'n'; 63])).is_ok());

    let error = refuse_with(&name(b"a"), &["tensor \"a\"", "twice"]);
    assert!(matches!(error, E::DuplicateTensor { tensor } if &*tensor == "a"));
}

#[test]
fn dims() {
    let error = refuse_with(&with_tensor(|tensor| tensor.rank = Some(5)), &["tensor \"b\"", "5 dimensions", "4"]);
    assert!(matches!(error, E::Dims { .. }));
    refuse_with(&with_tensor(|tensor| tensor.rank = Some(u32::MAX)), &["4294967295 dimensions"]);
    let dims = |extents: &[u64], facts: &[&str]| {
        let error = refuse_with(&with_tensor(|tensor| tensor.extents = extents.to_vec()), facts);
        assert!(matches!(error, E::Dims { .. }), "{error}");
    };
    dims(&[1, 1 << 63], &["tensor \"b\"", "dimension 1", "9223372036854775808", "2^63 - 1"]);
    dims(&[1 << 32, 1 << 32], &["tensor \"b\"", "[4294967296, 4294967296]", "2^63 - 1"]);
    dims(&[1 << 62], &["tensor \"b\"", "F32 × [4611686018427387904]", "2^64 bytes"]);
}

#[test]
fn types() {
    for id in [43, 1000, u32::MAX] {
        let error = refuse_with(&with_tensor(|tensor| tensor.id = id), &["tensor \"b\"", &id.to_string()]);
        assert!(matches!(error, E::UnknownType { .. }));
    }
    for (id, name) in
        [(4, "Q4_2"), (5, "Q4_3"), (31, "Q4_0_4_4"), (33, "Q4_0_8_8"), (36, "IQ4_NL_4_4"), (38, "IQ4_NL_8_8")]
    {
        refuse_with(&with_tensor(|tensor| tensor.id = id), &["tensor \"b\"", &id.to_string(), name, "removed"]);
    }
}

#[test]
fn blocks_that_do_not_fill_a_row() {
    let bytes = with_tensor(|tensor| {
        (tensor.id, tensor.extents, tensor.data) = (8, vec![33, 32], vec![0; 33 * 34]);
    });
    refuse_with(&bytes, &["tensor \"b\"", "33 elements", "multiple of 32", "Q8_0"]);
}

#[test]
fn offsets() {
    // 12 bytes of "a" are padded to 32.
    for (found, why) in [(0, "an overlap"), (16, "unaligned"), (64, "a gap"), (u64::MAX, "far away")] {
        let error = refuse_with(&with_tensor(|tensor| tensor.offset = Some(found)), &["tensor \"b\"", "expected 32"]);
        assert!(matches!(error, E::Offset { expected: 32, found: offset, .. } if offset == found), "{why}");
    }
    // Tensors in another order than their bytes.
    let mut raw = right();
    (raw.tensors[0].offset, raw.tensors[1].offset) = (Some(32), Some(0));
    assert!(matches!(refuse(&raw.bytes()), E::Offset { expected: 0, found: 32, .. }));
}

#[test]
fn data_beyond_the_file() {
    let bytes = right().bytes();
    let start = right().header().len();
    // 32 bytes of "a" and padding, 20 of "b".
    for len in start..start + 52 {
        let tensor = if len < start + 12 { "a" } else { "b" };
        let error = refuse_with(&bytes[..len], &["truncated", &format!("tensor {tensor:?}"), &len.to_string()]);
        assert!(matches!(error, E::DataBeyondFile { found, .. } if found == len as u64));
    }
    let huge = with_tensor(|tensor| tensor.extents = vec![1 << 40]);
    assert!(matches!(refuse(&huge), E::DataBeyondFile { .. }));
}

#[test]
fn sums_beyond_any_file() {
    let huge = |name: &str, offset| RawTensor {
        extents: vec![(1 << 60) - 8],
        id: 28,
        offset: Some(offset),
        ..floats(name, 0)
    };
    let len = 8 * ((1 << 60) - 8);
    let raw = Raw::default().tensor(huge("a", 0)).tensor(huge("b", len)).tensor(huge("c", 2 * len));
    let error = refuse_with(&raw.bytes(), &["2^64", "\"b\""]);
    assert!(matches!(error, E::FileTooLong { .. }));
}

#[test]
fn bytes_after_the_end() {
    for raw in [right(), Raw { pad_last: false, ..right() }, Raw::default()] {
        let mut bytes = raw.bytes();
        let end = bytes.len().next_multiple_of(32);
        for extra in [1, 32, 100] {
            bytes.resize(end + extra, 0);
            let error = refuse_with(&bytes, &[&format!("expected {end}"), &format!("{} bytes", end + extra)]);
            assert!(matches!(error, E::TrailingData { .. }));
        }
    }
}

#[test]
fn a_file_without_tensors_ends_with_its_header_padded_or_not() {
    let mut bytes = Raw::default().bytes();
    assert_eq!(bytes.len(), 24);
    assert!(Gguf::new(&bytes).unwrap().header().is_empty());
    bytes.resize(32, 0);
    assert_eq!(Gguf::new(&bytes).unwrap().header().data_len(), 0);
    let error = refuse_with(&bytes[..31], &["31 bytes", "expected 32, or 24"]);
    assert!(matches!(error, E::PartialPadding { .. }));
    bytes[30] = 1;
    assert!(matches!(refuse(&bytes), E::Padding { after: None, offset: 30, found: 1 }));
}

#[test]
fn the_last_padding_is_whole_or_absent() {
    let unpadded = Raw { pad_last: false, ..right() }.bytes();
    let padded = right().bytes();
    assert_eq!(padded.len() - unpadded.len(), 12);
    for len in unpadded.len()..=padded.len() {
        let bytes = &padded[..len];
        if len == unpadded.len() || len == padded.len() {
            assert_eq!(Gguf::new(bytes).unwrap().header().file_len(), len as u64);
        } else {
            let error = refuse_with(bytes, &["truncated", &unpadded.len().to_string(), &padded.len().to_string()]);
            assert!(matches!(error, E::PartialPadding { .. }));
        }
    }
}

#[test]
fn padding_is_zero() {
    let raw = right();
    let bytes = raw.bytes();
    let start = raw.header().len();
    let behind_a = start + 12..start + 32;
    let behind_b = start + 52..start + 64;
    let declared: usize = raw.pairs.iter().map(|(key, _, value)| 12 + key.len() + value.len()).sum();
    let infos = 2 * (8 + 1 + 4 + 8 + 4 + 8);
    let before = 24 + declared + infos..start;
    assert!(!before.is_empty());
    for (range, after) in [(before, None), (behind_a, Some("a")), (behind_b, Some("b"))] {
        for at in range {
            let mut bytes = bytes.clone();
            bytes[at] = 0x5a;
            let error = refuse_with(&bytes, &[&format!("byte {at} "), "0x5a", "expected 0"]);
            assert!(matches!(&error, E::Padding { after: tensor, found: 0x5a, .. } if tensor.as_deref() == after));
        }
    }
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
