//! The tensors that make up an encoded tensor: their types, shapes and lengths.

use super::{Scheme, SchemeError};
use crate::FloatType;

/// Element type of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartKind {
    /// Little-endian 32-bit words of packed codes.
    U32,
    /// Bytes: E4M3 or power-of-two scales.
    U8,
    /// Floats: the scales and biases of affine schemes.
    Float(FloatType),
}

impl PartKind {
    /// Dtype of the part in a safetensors header: `U32`, `U8`, `F32`, `F16` or `BF16`.
    #[must_use]
    pub const fn dtype(self) -> &'static str {
        match self {
            Self::U32 => "U32",
            Self::U8 => "U8",
            Self::Float(float) => float.name(),
        }
    }

    /// Bytes per element.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::U32 => 4,
            Self::U8 => 1,
            Self::Float(float) => float.size(),
        }
    }
}

/// One of the tensors that make up an encoded tensor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Part {
    /// Dimensions of the part, outermost first.
    pub shape: Vec<u64>,
    /// Element type of the part.
    pub kind: PartKind,
}

impl Part {
    /// Length of the part in bytes, or `None` where the length does not fit in 64 bits.
    #[must_use]
    pub fn byte_len(&self) -> Option<u64> {
        if self.shape.contains(&0) {
            return Some(0);
        }
        let size = u64::try_from(self.kind.size()).expect("an element has at most 4 bytes");
        self.shape.iter().try_fold(size, |len, &dim| len.checked_mul(dim))
    }
}

/// The tensors that make up an encoded tensor. All dimensions but the last are those of the original tensor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Parts {
    /// The packed codes, `[…, K × bits / 32]`.
    pub weight: Part,
    /// The scales, `[…, K / group]`.
    pub scale: Part,
    /// The biases, shaped like the scales; affine schemes only.
    pub bias: Option<Part>,
}

/// Lengths in bytes of the parts of a run of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct EncodedLen {
    /// Bytes of the packed codes.
    pub weight: usize,
    /// Bytes of the scales.
    pub scale: usize,
    /// Bytes of the biases; 0 where the scheme has none.
    pub bias: usize,
}

impl Scheme {
    /// Computes the parts that a tensor of `shape` (`[…, rows, K]`) and type `float` is encoded into.
    ///
    /// # Errors
    ///
    /// [`SchemeError::Rank`] below rank 2, [`SchemeError::LastDimension`] where K is not a multiple of the group.
    pub fn parts(&self, float: FloatType, shape: &[u64]) -> Result<Parts, SchemeError> {
        let [outer @ .., last] = shape else {
            return Err(SchemeError::Rank { quant_type: self.quant_type(), rank: 0 });
        };
        if outer.is_empty() {
            return Err(SchemeError::Rank { quant_type: self.quant_type(), rank: 1 });
        }
        let group = u64::from(self.group_size);
        if !last.is_multiple_of(group) {
            return Err(SchemeError::LastDimension {
                quant_type: self.quant_type(),
                group_size: self.group_size,
                last: *last,
            });
        }
        let groups = last / group;
        // A group is at least one word in every scheme, and has at least as many elements as words, so the product
        // cannot overflow.
        let words = groups * (group * u64::from(self.bits()) / 32);
        let part = |last, kind| Part { shape: [outer, &[last]].concat(), kind };
        let scale_kind = if self.is_affine() { PartKind::Float(float) } else { PartKind::U8 };
        Ok(Parts {
            weight: part(words, PartKind::U32),
            scale: part(groups, scale_kind),
            bias: self.has_bias().then(|| part(groups, scale_kind)),
        })
    }

    /// Computes the lengths of the buffers for `groups` groups of elements of type `float`, or `None` where a length
    /// does not fit in memory.
    #[must_use]
    pub fn encoded_len(&self, groups: usize, float: FloatType) -> Option<EncodedLen> {
        let one = self.group_len(float);
        Some(EncodedLen {
            weight: one.weight.checked_mul(groups)?,
            scale: one.scale.checked_mul(groups)?,
            bias: one.bias.checked_mul(groups)?,
        })
    }

    /// Lengths of the parts of a single group.
    pub(crate) fn group_len(self, float: FloatType) -> EncodedLen {
        let scale = if self.is_affine() { float.size() } else { 1 };
        EncodedLen {
            weight: self.group_elements() * usize::from(self.bits()) / 8,
            scale,
            bias: if self.has_bias() { scale } else { 0 },
        }
    }

    /// The group size as a `usize`.
    pub(crate) fn group_elements(self) -> usize {
        usize::try_from(self.group_size).expect("a group has at most 128 elements")
    }
}
