//! Strategies for contents, and the way back to bytes.

use std::{collections::BTreeMap, error::Error};

use longshore_gguf::{Dims, GgmlType, Gguf, Header, HeaderError, Layout, Limits, Metadata, Text, Value, Writer};
use proptest::prelude::*;

pub(crate) fn parse(bytes: &[u8]) -> Result<Header, HeaderError> {
    Header::parse(bytes, bytes.len() as u64, &Limits::default())
}

/// An error with its causes, as a user sees it.
pub(crate) fn message(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The file that a layout plans, of these tensors' bytes one after the other.
pub(crate) fn write(layout: Layout, data: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), layout).unwrap();
    writer.write(data).unwrap();
    writer.finish().unwrap()
}

/// A file read and written again.
pub(crate) fn rewrite(bytes: &[u8]) -> Vec<u8> {
    let file = Gguf::new(bytes).unwrap();
    let data: Vec<u8> = file.iter().flat_map(|tensor| tensor.data).copied().collect();
    write(Layout::from_header(file.header().clone()), &data)
}

/// Metadata made anew of the pairs of another.
pub(crate) fn copy(metadata: &Metadata) -> Metadata {
    let mut copy = Metadata::new();
    for (key, value) in metadata.iter() {
        copy.push(key, value).unwrap();
    }
    copy
}

/// A value that owns what it needs.
#[derive(Clone, Debug)]
pub(crate) enum Owned {
    U8(u8),
    I16(i16),
    U32(u32),
    F32(u32),
    F64(u64),
    I64(i64),
    Bool(bool),
    Text(Vec<u8>),
    Bools(Vec<bool>),
    Texts(Vec<Vec<u8>>),
    Numbers(Vec<i32>),
    Doubles(Vec<u64>),
}

impl Owned {
    pub(crate) fn push(&self, key: &str, metadata: &mut Metadata) {
        match self {
            Self::U8(value) => metadata.push(key, *value),
            Self::I16(value) => metadata.push(key, *value),
            Self::U32(value) => metadata.push(key, *value),
            Self::F32(bits) => metadata.push(key, f32::from_bits(*bits)),
            Self::F64(bits) => metadata.push(key, f64::from_bits(*bits)),
            Self::I64(value) => metadata.push(key, *value),
            Self::Bool(value) => metadata.push(key, *value),
            Self::Text(bytes) => metadata.push(key, Text::new(bytes)),
            Self::Bools(values) => metadata.push_array(key, values.iter().copied()),
            Self::Texts(values) => metadata.push_array(key, values.iter().map(|bytes| Text::new(bytes))),
            Self::Numbers(values) => metadata.push_array(key, values.iter().copied()),
            Self::Doubles(bits) => metadata.push_array(key, bits.iter().map(|bits| f64::from_bits(*bits))),
        }
        .unwrap();
    }

    /// Whether a value that was read is this one, to the bit.
    pub(crate) fn is(&self, value: Value<'_>) -> bool {
        match (self, value) {
            (Self::U8(a), Value::U8(b)) => *a == b,
            (Self::I16(a), Value::I16(b)) => *a == b,
            (Self::U32(a), Value::U32(b)) => *a == b,
            (Self::F32(a), Value::F32(b)) => *a == b.to_bits(),
            (Self::F64(a), Value::F64(b)) => *a == b.to_bits(),
            (Self::I64(a), Value::I64(b)) => *a == b,
            (Self::Bool(a), Value::Bool(b)) => *a == b,
            (Self::Text(a), Value::String(b)) => a == b.as_bytes(),
            (Self::Bools(a), Value::Array(b)) => b.iter().map(Value::as_bool).eq(a.iter().map(|a| Some(*a))),
            (Self::Texts(a), Value::Array(b)) => {
                b.iter().map(|b| b.as_text().map(Text::as_bytes)).eq(a.iter().map(|a| Some(&**a)))
            }
            (Self::Numbers(a), Value::Array(b)) => {
                b.iter().map(Value::as_i64).eq(a.iter().map(|a| Some(i64::from(*a))))
            }
            (Self::Doubles(a), Value::Array(b)) => {
                b.iter().map(|b| b.as_f64().map(f64::to_bits)).eq(a.iter().map(|a| Some(*a)))
            }
            _ => false,
        }
    }
}

pub(crate) fn values() -> impl Strategy<Value = Owned> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..9);
    prop_oneof![
        any::<u8>().prop_map(Owned::U8),
        any::<i16>().prop_map(Owned::I16),
        any::<u32>().prop_map(Owned::U32),
        any::<u32>().prop_map(Owned::F32),
        any::<u64>().prop_map(Owned::F64),
        any::<i64>().prop_map(Owned::I64),
        any::<bool>().prop_map(Owned::Bool),
        bytes().prop_map(Owned::Text),
        prop::collection::vec(any::<bool>(), 0..5).prop_map(Owned::Bools),
        prop::collection::vec(bytes(), 0..5).prop_map(Owned::Texts),
        prop::collection::vec(any::<i32>(), 0..5).prop_map(Owned::Numbers),
        prop::collection::vec(any::<u64>(), 0..5).prop_map(Owned::Doubles),
    ]
}

/// Pairs of distinct keys, in any order, some with an alignment.
pub(crate) fn pairs() -> impl Strategy<Value = Vec<(String, Owned)>> {
    let alignment = prop::option::of((0..12_u32).prop_map(|shift| Owned::U32(1 << shift)));
    let others = prop::collection::btree_map("[a-c.]{1,6}|[^\\p{C}]{1,3}", values(), 0..5);
    (others, alignment)
        .prop_map(|(others, alignment)| {
            let mut pairs: Vec<_> = others.into_iter().collect();
            pairs.extend(alignment.map(|value| ("general.alignment".to_owned(), value)));
            pairs
        })
        .prop_shuffle()
}

pub(crate) fn metadata_of(pairs: &[(String, Owned)]) -> Metadata {
    let mut metadata = Metadata::new();
    for (key, value) in pairs {
        value.push(key, &mut metadata);
    }
    metadata
}

/// Tensors of distinct names, in any order, some of them empty.
pub(crate) fn tensors() -> impl Strategy<Value = Vec<(String, GgmlType, Dims)>> {
    let blocks = prop::collection::vec(0..4_u64, 0..4);
    prop::collection::btree_map("[a-c.]{1,6}|[^\\p{C}]{1,3}", (prop::sample::select(GgmlType::ALL), blocks), 0..6)
        .prop_map(BTreeMap::into_iter)
        .prop_map(|tensors| {
            let whole_rows = |(name, (ggml_type, mut blocks)): (String, (GgmlType, Vec<u64>))| {
                match blocks.first_mut() {
                    Some(row) => *row *= ggml_type.block_size(),
                    None if ggml_type.block_size() > 1 => blocks.push(ggml_type.block_size()),
                    None => {}
                }
                (name, ggml_type, Dims::new(&blocks).unwrap())
            };
            tensors.map(whole_rows).collect::<Vec<_>>()
        })
        .prop_shuffle()
}

/// Bytes for the tensors of a layout, no two neighbours alike.
pub(crate) fn data_for(layout: &Layout) -> Vec<u8> {
    let len: u64 = layout.parsed().iter().map(longshore_gguf::TensorInfo::byte_len).sum();
    (0..len).map(|at| u8::try_from(at % 251).unwrap() + 1).collect()
}
