use super::MemberError;
use crate::{Metadata, Value, ValueType};

pub(super) const NO: &str = "split.no";
pub(super) const COUNT: &str = "split.count";
pub(super) const TENSORS: &str = "split.tensors.count";

/// Metadata about the split set that a file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SplitKeys {
    /// `split.no`: the number of the member, counted from 0 and less than `count`.
    pub no: u16,
    /// `split.count`: the number of members, 2 or more.
    pub count: u16,
    /// `split.tensors.count`: the number of tensors in all members together.
    pub tensors: u32,
}

impl SplitKeys {
    /// The three keys of a file that is one of several. `None` where it is alone: where it has none of them, or `split.count` is 1, or
    /// 0, which is what merging leaves behind.
    ///
    /// # Errors
    ///
    /// [`MemberError::MissingKey`], [`MemberError::KeyType`], [`MemberError::KeyValue`].
    pub fn of(metadata: &Metadata) -> Result<Option<Self>, MemberError> {
        if [NO, COUNT, TENSORS].iter().all(|key| metadata.get(key).is_none()) {
            return Ok(None);
        }
        let value = |key| metadata.get(key).ok_or(MemberError::MissingKey { key });
        let count = u16_of(COUNT, value(COUNT)?)?;
        if count <= 1 {
            return Ok(None);
        }
        let no = u16_of(NO, value(NO)?)?;
        let tensors = match value(TENSORS)? {
            Value::I32(number) => u32::try_from(number).map_err(|_| MemberError::KeyValue {
                key: TENSORS,
                expected: "0 or more",
                found: number.into(),
            })?,
            other => {
                let (expected, found) = (ValueType::I32, other.value_type());
                return Err(MemberError::KeyType { key: TENSORS, expected, found });
            }
        };
        if no >= count {
            return Err(MemberError::KeyValue { key: NO, expected: "less than split.count", found: no.into() });
        }
        Ok(Some(Self { no, count, tensors }))
    }
}

fn u16_of(key: &'static str, value: Value<'_>) -> Result<u16, MemberError> {
    match value {
        Value::U16(number) => Ok(number),
        other => Err(MemberError::KeyType { key, expected: ValueType::U16, found: other.value_type() }),
    }
}

/// Whether a key says something about the set and not about the model.
pub(super) fn is_split(key: &str) -> bool {
    [NO, COUNT, TENSORS].contains(&key)
}
