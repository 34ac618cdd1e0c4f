use std::{fmt, iter::FusedIterator};

use crate::{Text, Value, ValueType};

/// An array of the metadata, borrowed: the bytes as the file has them, which were checked when the header was read.
///
/// Nothing is kept for an element, so that a vocabulary costs its bytes. Elements are decoded as they are iterated over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Array<'a> {
    element_type: ValueType,
    len: usize,
    bytes: &'a [u8],
}

impl<'a> Array<'a> {
    /// `bytes` hold `len` whole elements of the type, and nothing else.
    pub(crate) const fn new(element_type: ValueType, len: usize, bytes: &'a [u8]) -> Self {
        Self { element_type, len, bytes }
    }

    /// The type of its elements, which is never [`ValueType::Array`].
    #[must_use]
    pub const fn element_type(self) -> ValueType {
        self.element_type
    }

    /// The number of elements.
    #[must_use]
    pub const fn len(self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The elements as the file has them: numbers little-endian, a string as its length in a `u64` and its bytes.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The elements.
    #[must_use]
    pub const fn iter(self) -> Elements<'a> {
        Elements { array: self }
    }
}

impl<'a> IntoIterator for Array<'a> {
    type Item = Value<'a>;
    type IntoIter = Elements<'a>;

    fn into_iter(self) -> Elements<'a> {
        self.iter()
    }
}

impl fmt::Debug for Array<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

/// The elements of an [`Array`], decoded one at a time.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    /// The rest.
    array: Array<'a>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let left = &mut self.array;
        left.len = left.len.checked_sub(1)?;
        Some(take(left.element_type, &mut left.bytes).expect("the elements were counted when the array was made"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.array.len, Some(self.array.len))
    }
}

impl ExactSizeIterator for Elements<'_> {}

impl FusedIterator for Elements<'_> {}

/// Takes one value from the front of `bytes`. `None` where they do not hold a whole one, and for an array.
pub(crate) fn take<'a>(value_type: ValueType, bytes: &mut &'a [u8]) -> Option<Value<'a>> {
    Some(match value_type {
        ValueType::U8 => Value::U8(u8::from_le_bytes(chunk(bytes)?)),
        ValueType::I8 => Value::I8(i8::from_le_bytes(chunk(bytes)?)),
        ValueType::U16 => Value::U16(u16::from_le_bytes(chunk(bytes)?)),
        ValueType::I16 => Value::I16(i16::from_le_bytes(chunk(bytes)?)),
        ValueType::U32 => Value::U32(u32::from_le_bytes(chunk(bytes)?)),
        ValueType::I32 => Value::I32(i32::from_le_bytes(chunk(bytes)?)),
        ValueType::F32 => Value::F32(f32::from_le_bytes(chunk(bytes)?)),
        ValueType::Bool => Value::Bool(chunk(bytes)? != [0]),
        ValueType::U64 => Value::U64(u64::from_le_bytes(chunk(bytes)?)),
        ValueType::I64 => Value::I64(i64::from_le_bytes(chunk(bytes)?)),
        ValueType::F64 => Value::F64(f64::from_le_bytes(chunk(bytes)?)),
        ValueType::String => {
            let len = usize::try_from(u64::from_le_bytes(chunk(bytes)?)).ok()?;
            let (text, rest) = bytes.split_at_checked(len)?;
            *bytes = rest;
            Value::String(Text::new(text))
        }
        ValueType::Array => return None,
    })
}

fn chunk<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (chunk, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*chunk)
}
