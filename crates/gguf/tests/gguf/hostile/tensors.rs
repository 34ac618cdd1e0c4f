//! Refused tensors.

use longshore_gguf::{Header, HeaderError as E, Limits, NameError};

use super::{refuse, refuse_with, right};
use crate::{
    raw::{Raw, RawTensor, floats},
    util::parse,
};

/// The right file with something else as its last tensor.
fn with_tensor(change: impl FnOnce(&mut RawTensor)) -> Vec<u8> {
    let mut raw = right();
    change(raw.tensors.last_mut().unwrap());
    raw.bytes()
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
    // The padding of this tensor alone would pass the end of every file.
    let start = Raw::default().tensor(huge("a", 0)).header().len() as u64;
    let elements = (u64::MAX - start) / 8;
    let raw = Raw::default().tensor(RawTensor { extents: vec![elements], ..huge("a", 0) });
    let error = Header::parse(&raw.bytes(), start + 8 * elements, &Limits::default()).unwrap_err();
    assert!(matches!(error, E::FileTooLong { .. }), "{error}");
}
