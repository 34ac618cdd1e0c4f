use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// Visitor that finds `total_size` in metadata of any form and drops everything else. A generic document of values
/// would take many times as much memory as the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TotalSize {
    /// The visitor stands at the metadata, which may hold the number.
    Above,
    /// The visitor stands at the value that should be the number.
    At,
}

impl<'de> DeserializeSeed<'de> for TotalSize {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<u64>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TotalSize {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_u64<E>(self, number: u64) -> Result<Option<u64>, E> {
        Ok((self == Self::At).then_some(number))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<u64>, A::Error> {
        let mut total_size = None;
        while let Some(key) = map.next_key::<String>()? {
            if self == Self::Above && key == "total_size" {
                total_size = map.next_value_seed(Self::At)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(total_size)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Option<u64>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Option<u64>, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Option<u64>, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Option<u64>, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Option<u64>, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<u64>, E> {
        Ok(None)
    }
}
