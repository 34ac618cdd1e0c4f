//! Parses the JSON entry of one tensor: `dtype`, `shape` and `data_offsets`, each once, and no other field.

use std::{fmt, ops::Range};

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor},
};

use super::{HeaderError, json::State};
use crate::{Dtype, Shape};

pub(super) struct Entry<'s, 'l> {
    pub(super) state: &'s mut State<'l>,
}

impl<'de> DeserializeSeed<'de> for Entry<'_, '_> {
    type Value = (Dtype, Shape, Range<u64>);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entry<'_, '_> {
    type Value = (Dtype, Shape, Range<u64>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of dtype, shape and data_offsets")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let state = self.state;
        let (mut dtype, mut shape, mut offsets) = (None, None, None);
        while let Some(field) = map.next_key_seed(FieldName)? {
            let twice = match field {
                Field::Dtype => dtype.replace(map.next_value_seed(DtypeName { state })?).is_some(),
                Field::Shape => shape.replace(map.next_value_seed(Dims { state })?).is_some(),
                Field::DataOffsets => offsets.replace(map.next_value_seed(Offsets)?).is_some(),
                Field::Unknown(field) => {
                    let tensor = state.tensor();
                    return Err(state.refuse(HeaderError::UnknownField { tensor, field }));
                }
            };
            if twice {
                let (tensor, field) = (state.tensor(), field.name());
                return Err(state.refuse(HeaderError::DuplicateField { tensor, field }));
            }
        }
        match (dtype, shape, offsets) {
            (Some(dtype), Some(shape), Some(offsets)) => Ok((dtype, shape, offsets)),
            (dtype, shape, _) => {
                let field = if dtype.is_none() {
                    Field::Dtype
                } else if shape.is_none() {
                    Field::Shape
                } else {
                    Field::DataOffsets
                };
                let (tensor, field) = (state.tensor(), field.name());
                Err(state.refuse(HeaderError::MissingField { tensor, field }))
            }
        }
    }
}

enum Field {
    Dtype,
    Shape,
    DataOffsets,
    Unknown(Box<str>),
}

impl Field {
    const fn name(&self) -> &'static str {
        match self {
            Self::Dtype => "dtype",
            Self::Shape => "shape",
            Self::DataOffsets => "data_offsets",
            Self::Unknown(_) => "",
        }
    }
}

struct FieldName;

impl<'de> DeserializeSeed<'de> for FieldName {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldName {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dtype, shape or data_offsets")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Field, E> {
        Ok(match name {
            "dtype" => Field::Dtype,
            "shape" => Field::Shape,
            "data_offsets" => Field::DataOffsets,
            other => Field::Unknown(other.into()),
        })
    }
}

struct DtypeName<'s, 'l> {
    state: &'s mut State<'l>,
}

impl<'de> DeserializeSeed<'de> for DtypeName<'_, '_> {
    type Value = Dtype;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Dtype, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for DtypeName<'_, '_> {
    type Value = Dtype;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a dtype name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Dtype, E> {
        name.parse().map_err(|_| {
            let tensor = self.state.tensor();
            self.state.refuse(HeaderError::UnknownDtype { tensor, found: name.into() })
        })
    }
}

struct Dims<'s, 'l> {
    state: &'s mut State<'l>,
}

impl<'de> DeserializeSeed<'de> for Dims<'_, '_> {
    type Value = Shape;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Dims<'_, '_> {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a shape as an array of whole numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
        let limit = self.state.limits.rank;
        let mut dims = Vec::new();
        while let Some(dim) = seq.next_element::<u64>()? {
            if dims.len() >= limit {
                let tensor = self.state.tensor();
                return Err(self.state.refuse(HeaderError::RankTooLarge { tensor, limit }));
            }
            dims.push(dim);
        }
        Ok(dims.into())
    }
}

struct Offsets;

impl<'de> DeserializeSeed<'de> for Offsets {
    type Value = Range<u64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Range<u64>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Offsets {
    type Value = Range<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("data_offsets as [begin, end]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Range<u64>, A::Error> {
        let begin = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
        let end = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(1, &self))?;
        if seq.next_element::<de::IgnoredAny>()?.is_some() {
            return Err(de::Error::invalid_length(3, &self));
        }
        Ok(begin..end)
    }
}
