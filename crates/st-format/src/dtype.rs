use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Element type of a tensor, under the name that safetensors gives it.
///
/// Elements are little-endian. Elements narrower than a byte are packed, so only a whole tensor has a length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// One byte, 0 or 1.
    Bool,
    /// 4-bit float of the OCP microscaling formats: two exponent bits, one mantissa bit.
    F4,
    /// 6-bit float of the OCP microscaling formats: two exponent bits, three mantissa bits.
    F6E2M3,
    /// 6-bit float of the OCP microscaling formats: three exponent bits, two mantissa bits.
    F6E3M2,
    /// Unsigned byte.
    U8,
    /// Signed byte.
    I8,
    /// 8-bit float with five exponent bits, infinities and NaNs as in IEEE 754.
    F8E5M2,
    /// 8-bit float with four exponent bits, no infinity.
    F8E4M3,
    /// 8-bit float with the bits of [`Self::F8E5M2`] but another bias, no infinity and no negative zero.
    F8E5M2Fnuz,
    /// 8-bit float with the bits of [`Self::F8E4M3`] but another bias and no negative zero.
    F8E4M3Fnuz,
    /// 8-bit power of two: the scale of the OCP microscaling formats.
    F8E8M0,
    /// Signed 16-bit integer.
    I16,
    /// Unsigned 16-bit integer.
    U16,
    /// IEEE 754 half precision.
    F16,
    /// Bfloat16: the upper half of an [`Self::F32`].
    BF16,
    /// Signed 32-bit integer.
    I32,
    /// Unsigned 32-bit integer.
    U32,
    /// IEEE 754 single precision.
    F32,
    /// Complex number of two [`Self::F32`]: real part, then imaginary part.
    C64,
    /// IEEE 754 double precision.
    F64,
    /// Signed 64-bit integer.
    I64,
    /// Unsigned 64-bit integer.
    U64,
}

impl Dtype {
    /// All dtypes.
    pub const ALL: &'static [Self] = &[
        Self::Bool,
        Self::F4,
        Self::F6E2M3,
        Self::F6E3M2,
        Self::U8,
        Self::I8,
        Self::F8E5M2,
        Self::F8E4M3,
        Self::F8E5M2Fnuz,
        Self::F8E4M3Fnuz,
        Self::F8E8M0,
        Self::I16,
        Self::U16,
        Self::F16,
        Self::BF16,
        Self::I32,
        Self::U32,
        Self::F32,
        Self::C64,
        Self::F64,
        Self::I64,
        Self::U64,
    ];

    /// Width of one element in bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::F4 => 4,
            Self::F6E2M3 | Self::F6E3M2 => 6,
            Self::Bool
            | Self::U8
            | Self::I8
            | Self::F8E5M2
            | Self::F8E4M3
            | Self::F8E5M2Fnuz
            | Self::F8E4M3Fnuz
            | Self::F8E8M0 => 8,
            Self::I16 | Self::U16 | Self::F16 | Self::BF16 => 16,
            Self::I32 | Self::U32 | Self::F32 => 32,
            Self::C64 | Self::F64 | Self::I64 | Self::U64 => 64,
        }
    }

    /// Name of the dtype in a safetensors header, such as `"F8_E4M3"`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::F4 => "F4",
            Self::F6E2M3 => "F6_E2M3",
            Self::F6E3M2 => "F6_E3M2",
            Self::U8 => "U8",
            Self::I8 => "I8",
            Self::F8E5M2 => "F8_E5M2",
            Self::F8E4M3 => "F8_E4M3",
            Self::F8E5M2Fnuz => "F8_E5M2FNUZ",
            Self::F8E4M3Fnuz => "F8_E4M3FNUZ",
            Self::F8E8M0 => "F8_E8M0",
            Self::I16 => "I16",
            Self::U16 => "U16",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::I32 => "I32",
            Self::U32 => "U32",
            Self::F32 => "F32",
            Self::C64 => "C64",
            Self::F64 => "F64",
            Self::I64 => "I64",
            Self::U64 => "U64",
        }
    }

    /// Returns true where elements are real floating-point numbers of any width. Complex numbers do not count.
    #[must_use]
    pub const fn is_float(self) -> bool {
        match self {
            Self::F4
            | Self::F6E2M3
            | Self::F6E3M2
            | Self::F8E5M2
            | Self::F8E4M3
            | Self::F8E5M2Fnuz
            | Self::F8E4M3Fnuz
            | Self::F8E8M0
            | Self::F16
            | Self::BF16
            | Self::F32
            | Self::F64 => true,
            Self::Bool
            | Self::U8
            | Self::I8
            | Self::I16
            | Self::U16
            | Self::I32
            | Self::U32
            | Self::C64
            | Self::I64
            | Self::U64 => false,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Error from parsing a dtype name that safetensors does not define. Names are case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown dtype {found:?}: expected a safetensors name such as \"BF16\"")]
#[non_exhaustive]
pub struct UnknownDtype {
    /// The name as found.
    pub found: Box<str>,
}

impl FromStr for Dtype {
    type Err = UnknownDtype;

    fn from_str(name: &str) -> Result<Self, UnknownDtype> {
        Self::ALL.iter().copied().find(|dtype| dtype.name() == name).ok_or_else(|| UnknownDtype { found: name.into() })
    }
}

impl Serialize for Dtype {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Dtype {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl de::Visitor<'_> for Name {
            type Value = Dtype;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a dtype name")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Dtype, E> {
                name.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Name)
    }
}
