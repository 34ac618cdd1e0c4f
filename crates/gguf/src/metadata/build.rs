//! Metadata for a new file.

use super::{Metadata, Pair};
use crate::{Array, Limits, NameError, Text, Value, ValueType, name};

/// Why a pair cannot be added to metadata. The limits are the default [`Limits`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// The key is none.
    #[error("the key that begins {start:?} is refused")]
    Key {
        /// Its first characters.
        start: Box<str>,
        /// What is wrong with it.
        source: NameError,
    },
    /// The key is there already.
    #[error("the key {key:?} is there already")]
    DuplicateKey {
        /// The key.
        key: Box<str>,
    },
    /// A string is longer than [`Limits::string_bytes`].
    #[error("a string of {key:?} has {found} bytes: expected at most {limit}")]
    StringTooLong {
        /// The key.
        key: Box<str>,
        /// Bytes of the string.
        found: u64,
        /// The most bytes.
        limit: u64,
    },
    /// An array is longer than [`Limits::array_elements`].
    #[error("the array {key:?} has more than {limit} elements")]
    ArrayTooLong {
        /// The key.
        key: Box<str>,
        /// The most elements.
        limit: u64,
    },
    /// There are [`Limits::pairs`] pairs already.
    #[error("there are {limit} pairs already, the most: {key:?} is one more")]
    TooManyPairs {
        /// The key that is one more.
        key: Box<str>,
        /// The most pairs.
        limit: u64,
    },
}

/// Element type of a metadata array: numbers, `bool`, `&str` and [`Text`].
pub trait Element: sealed::Element {}

impl<T: sealed::Element> Element for T {}

impl Metadata {
    /// Adds a pair at the end: a number, a `bool`, a `&str`, or a [`Value`] of other metadata. [`Self::push_array`] adds an array of
    /// one's own.
    ///
    /// # Errors
    ///
    /// [`MetadataError`]; then nothing was added.
    pub fn push<'v>(&mut self, key: &str, value: impl Into<Value<'v>>) -> Result<(), MetadataError> {
        match value.into() {
            Value::Array(array) => self.push_array_value(key, array),
            Value::U8(value) => self.push_element(key, value),
            Value::I8(value) => self.push_element(key, value),
            Value::U16(value) => self.push_element(key, value),
            Value::I16(value) => self.push_element(key, value),
            Value::U32(value) => self.push_element(key, value),
            Value::I32(value) => self.push_element(key, value),
            Value::F32(value) => self.push_element(key, value),
            Value::Bool(value) => self.push_element(key, value),
            Value::String(value) => self.push_element(key, value),
            Value::U64(value) => self.push_element(key, value),
            Value::I64(value) => self.push_element(key, value),
            Value::F64(value) => self.push_element(key, value),
        }
    }

    /// Adds an array at the end.
    ///
    /// # Errors
    ///
    /// [`MetadataError`]; then nothing was added.
    pub fn push_array<T: Element>(
        &mut self,
        key: &str,
        elements: impl IntoIterator<Item = T>,
    ) -> Result<(), MetadataError> {
        self.push_with(key, ValueType::Array, |out, limits| {
            out.extend_from_slice(&T::TYPE.id().to_le_bytes());
            let count_at = out.len();
            out.extend_from_slice(&0_u64.to_le_bytes());
            let mut count = 0_u64;
            for element in elements {
                if count >= limits.array_elements {
                    return Err(MetadataError::ArrayTooLong { key: key.into(), limit: limits.array_elements });
                }
                check_string(key, element.string_len(), limits)?;
                element.encode(out);
                count += 1;
            }
            out[count_at..count_at + size_of::<u64>()].copy_from_slice(&count.to_le_bytes());
            Ok(())
        })
    }

    fn push_array_value(&mut self, key: &str, array: Array<'_>) -> Result<(), MetadataError> {
        self.push_with(key, ValueType::Array, |out, limits| {
            if array.len() as u64 > limits.array_elements {
                return Err(MetadataError::ArrayTooLong { key: key.into(), limit: limits.array_elements });
            }
            if array.element_type() == ValueType::String {
                for text in array.iter().filter_map(Value::as_text) {
                    check_string(key, text.as_bytes().len(), limits)?;
                }
            }
            out.extend_from_slice(&array.element_type().id().to_le_bytes());
            out.extend_from_slice(&(array.len() as u64).to_le_bytes());
            out.extend_from_slice(array.as_bytes());
            Ok(())
        })
    }

    fn push_element<T: Element>(&mut self, key: &str, value: T) -> Result<(), MetadataError> {
        self.push_with(key, T::TYPE, |out, limits| {
            check_string(key, value.string_len(), limits)?;
            value.encode(out);
            Ok(())
        })
    }

    /// Adds a pair whose value `encode` appends to the bytes. Where it fails, what it appended is taken back.
    fn push_with(
        &mut self,
        key: &str,
        value_type: ValueType,
        encode: impl FnOnce(&mut Vec<u8>, &Limits) -> Result<(), MetadataError>,
    ) -> Result<(), MetadataError> {
        let limits = Limits::default();
        name::check(key.as_bytes(), limits.key_bytes)
            .map_err(|source| MetadataError::Key { start: key.chars().take(32).collect(), source })?;
        let Err(place) = self.position(key) else {
            return Err(MetadataError::DuplicateKey { key: key.into() });
        };
        let index = u32::try_from(self.pairs.len()).ok().filter(|&index| u64::from(index) < limits.pairs);
        let index = index.ok_or_else(|| MetadataError::TooManyPairs { key: key.into(), limit: limits.pairs })?;

        let start = self.bytes.len();
        self.bytes.extend_from_slice(&(key.len() as u64).to_le_bytes());
        let key_start = self.bytes.len();
        self.bytes.extend_from_slice(key.as_bytes());
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(&value_type.id().to_le_bytes());
        let value_start = self.bytes.len();
        if let Err(error) = encode(&mut self.bytes, &limits) {
            self.bytes.truncate(start);
            return Err(error);
        }
        self.pairs.push(Pair { key: key_start..key_end, value_type, value: value_start..self.bytes.len() });
        self.by_key.insert(place, index);
        Ok(())
    }
}

/// The length of a string is within the limit. What is no string has none.
fn check_string(key: &str, len: usize, limits: &Limits) -> Result<(), MetadataError> {
    let (found, limit) = (len as u64, limits.string_bytes);
    if found > limit {
        return Err(MetadataError::StringTooLong { key: key.into(), found, limit });
    }
    Ok(())
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::String(text.into())
    }
}

impl<'a> From<Text<'a>> for Value<'a> {
    fn from(text: Text<'a>) -> Self {
        Self::String(text)
    }
}

impl<'a> From<Array<'a>> for Value<'a> {
    fn from(array: Array<'a>) -> Self {
        Self::Array(array)
    }
}

mod sealed {
    use crate::ValueType;

    pub trait Element {
        const TYPE: ValueType;

        /// Bytes of a string, 0 for anything else.
        fn string_len(&self) -> usize {
            0
        }

        fn encode(self, out: &mut Vec<u8>);
    }
}

/// Numbers, which are encoded by `to_le_bytes`.
macro_rules! numbers {
    ($($type:ident $variant:ident),*) => {
        $(
            impl sealed::Element for $type {
                const TYPE: ValueType = ValueType::$variant;

                fn encode(self, out: &mut Vec<u8>) {
                    out.extend_from_slice(&self.to_le_bytes());
                }
            }

            impl From<$type> for Value<'_> {
                fn from(number: $type) -> Self {
                    Self::$variant(number)
                }
            }
        )*
    };
}

numbers!(u8 U8, i8 I8, u16 U16, i16 I16, u32 U32, i32 I32, f32 F32, u64 U64, i64 I64, f64 F64);

impl sealed::Element for bool {
    const TYPE: ValueType = ValueType::Bool;

    fn encode(self, out: &mut Vec<u8>) {
        out.push(self.into());
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl sealed::Element for Text<'_> {
    const TYPE: ValueType = ValueType::String;

    fn string_len(&self) -> usize {
        self.as_bytes().len()
    }

    fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.as_bytes().len() as u64).to_le_bytes());
        out.extend_from_slice(self.as_bytes());
    }
}

impl sealed::Element for &str {
    const TYPE: ValueType = ValueType::String;

    fn string_len(&self) -> usize {
        self.len()
    }

    fn encode(self, out: &mut Vec<u8>) {
        Text::from(self).encode(out);
    }
}
