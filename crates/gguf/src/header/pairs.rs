//! The pairs of a header: every length is checked, and what is kept of a value is where it lies.

use super::{
    HeaderError,
    cursor::{Cursor, Place},
};
use crate::{Limits, Metadata, ValueType, metadata::Pair, name};

/// The fewest bytes of a pair: the length of a key, one byte of key, a type and a byte.
pub(super) const LEAST_BYTES: u64 = 8 + 1 + 4 + 1;

pub(super) fn read(cursor: &mut Cursor<'_>, count: u64, limits: &Limits) -> Result<Metadata, HeaderError> {
    let base = cursor.at();
    let mut pairs = Vec::with_capacity(super::at_most(count, cursor.left() as u64 / LEAST_BYTES));
    for index in 0..count {
        let refuse = |source| HeaderError::Key { index, source };
        let key_len = cursor.u64(Place::Key(index))?;
        name::check_len(key_len, limits.key_bytes).map_err(refuse)?;
        let key_start = cursor.at();
        let key = name::check(cursor.take(key_len, Place::Key(index))?, limits.key_bytes).map_err(refuse)?;
        let key_end = cursor.at();
        let value_type = value_type(cursor, key)?;
        let value_start = cursor.at();
        match value_type {
            ValueType::Array => skip_array(cursor, key, limits)?,
            other => skip_values(cursor, other, 1, key, limits)?,
        }
        pairs.push(Pair {
            key: key_start - base..key_end - base,
            value_type,
            value: value_start - base..cursor.at() - base,
        });
    }
    Metadata::assemble(cursor.since(base).to_vec(), pairs).map_err(|key| HeaderError::DuplicateKey { key })
}

fn value_type(cursor: &mut Cursor<'_>, key: &str) -> Result<ValueType, HeaderError> {
    let found = cursor.u32(Place::Value(key))?;
    ValueType::from_id(found).ok_or_else(|| HeaderError::ValueType { key: key.into(), found })
}

fn skip_array(cursor: &mut Cursor<'_>, key: &str, limits: &Limits) -> Result<(), HeaderError> {
    let element_type = value_type(cursor, key)?;
    if element_type == ValueType::Array {
        return Err(HeaderError::NestedArray { key: key.into() });
    }
    let found = cursor.u64(Place::Value(key))?;
    if found > limits.array_elements {
        return Err(HeaderError::ArrayTooLong { key: key.into(), found, limit: limits.array_elements });
    }
    skip_values(cursor, element_type, found, key, limits)
}

/// Passes over so many values of a type that is not [`ValueType::Array`].
fn skip_values(
    cursor: &mut Cursor<'_>,
    value_type: ValueType,
    count: u64,
    key: &str,
    limits: &Limits,
) -> Result<(), HeaderError> {
    let place = Place::Value(key);
    let start = cursor.at();
    match value_type.byte_len() {
        Some(len) => cursor.skip(count.saturating_mul(len as u64), place)?,
        None => {
            for _ in 0..count {
                let found = cursor.u64(place)?;
                if found > limits.string_bytes {
                    return Err(HeaderError::StringTooLong { key: key.into(), found, limit: limits.string_bytes });
                }
                cursor.skip(found, place)?;
            }
        }
    }
    if value_type == ValueType::Bool
        && let Some((at, &found)) = cursor.since(start).iter().enumerate().find(|(_, byte)| **byte > 1)
    {
        return Err(HeaderError::Bool { key: key.into(), offset: (start + at) as u64, found });
    }
    Ok(())
}
