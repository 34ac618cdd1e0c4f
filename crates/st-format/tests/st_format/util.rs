//! Files built by hand, and strategies for tensors.

use std::collections::BTreeMap;

use longshore_st_format::{Dtype, Header, HeaderError, Limits, Shape};
use proptest::prelude::*;

/// A file with this JSON as its unpadded header, and `data_len` zero bytes of data.
pub(crate) fn file(json: &str, data_len: usize) -> Vec<u8> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    bytes.resize(bytes.len() + data_len, 0);
    bytes
}

pub(crate) fn parse(bytes: &[u8]) -> Result<Header, HeaderError> {
    Header::parse(bytes, bytes.len() as u64, &Limits::default())
}

/// Returns the error for a file with this JSON.
pub(crate) fn refuse(json: &str, data_len: usize) -> HeaderError {
    parse(&file(json, data_len)).expect_err("it should be refused")
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

pub(crate) fn dtypes() -> impl Strategy<Value = Dtype> {
    prop::sample::select(Dtype::ALL)
}

pub(crate) fn shapes() -> impl Strategy<Value = Shape> {
    prop::collection::vec(0..5_u64, 0..4).prop_map(Shape::from)
}

/// Strategy for tensor names: few distinct ones, some of which need escapes.
pub(crate) fn names() -> impl Strategy<Value = String> {
    prop_oneof!["[ab]{1,2}", "[a-c.]{0,6}", "\\PC{0,4}", Just("a\"\\\n\u{1}".to_owned())]
        .prop_filter("reserved", |name| name != "__metadata__")
}

pub(crate) fn metadata() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map("\\PC{0,4}", "\\PC{0,6}", 0..3)
}

/// Strategy for tensors with distinct names and whole bytes, in random order.
pub(crate) fn tensors() -> impl Strategy<Value = Vec<(String, Dtype, Shape)>> {
    prop::collection::btree_map(names(), (dtypes(), shapes()), 0..6)
        .prop_map(|map| {
            map.into_iter()
                .filter(|(_, (dtype, shape))| shape.byte_len(*dtype).is_ok())
                .map(|(name, (dtype, shape))| (name, dtype, shape))
                .collect::<Vec<_>>()
        })
        .prop_shuffle()
}
