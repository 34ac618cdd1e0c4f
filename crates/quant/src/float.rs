//! The float types that are quantized as they are.

use std::{fmt, str::FromStr};

/// The element type of a tensor before it is encoded or after it is decoded, and of an affine scheme's scales and
/// biases. Little-endian in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FloatType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    BF16,
}

impl FloatType {
    /// All three, widest first.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::BF16];

    /// Bytes per element: 4 or 2.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// The name that safetensors headers use: `F32`, `F16` or `BF16`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
        }
    }
}

impl fmt::Display for FloatType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A type name that is none of the three that can be quantized.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a float type (F32, F16 or BF16), found {found:?}")]
#[non_exhaustive]
pub struct UnknownFloatType {
    /// What stood there instead.
    pub found: String,
}

/// Parses the exact upper-case name that a safetensors header holds.
impl FromStr for FloatType {
    type Err = UnknownFloatType;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|float| float.name() == name).ok_or_else(|| UnknownFloatType { found: name.into() })
    }
}
