//! Floats to packed codes.

use std::{iter::Sum, ops::AddAssign};

use crate::{
    EncodedLen, FloatType, GlobalScale, Importance, Profile, Scheme, dispatch, kernels::Encode, level::Level,
    portable::Params,
};

/// Turns whole groups of floats into a scheme's packed parts.
///
/// An encoder is a small value, chosen once per tensor and shared freely between threads. It keeps nothing between
/// calls: a tensor may be cut at any group boundary and its pieces encoded in any order, and the bytes are the same.
#[derive(Clone, Copy, Debug)]
pub struct Encoder {
    scheme: Scheme,
    float: FloatType,
    profile: Profile,
    params: Params<GlobalScale>,
    kernel: Encode,
}

/// The buffers that one call of [`Encoder::encode`] fills. Each must have exactly the length that
/// [`Scheme::encoded_len`] gives.
#[derive(Debug)]
pub struct EncodeBuffers<'a> {
    /// For the packed codes: little-endian 32-bit words, `[groups, group × bits / 32]`.
    pub weight: &'a mut [u8],
    /// For the scales, `[groups]`.
    pub scale: &'a mut [u8],
    /// For the biases, `[groups]`; empty where the scheme has none.
    pub bias: &'a mut [u8],
}

/// What an encoder noticed on the way. Stats of pieces add up to those of the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncodeStats {
    /// Elements that are NaN or infinite. Their groups decode to arbitrary numbers: callers should refuse them.
    pub non_finite: u64,
    /// Groups of finite weights, not all zero, that decode to nothing but zeros.
    pub zeroed_groups: u64,
    /// Groups of finite weights of which some lie more than half a step beyond the largest value that a
    /// floating-point format reaches under the largest scale that it has.
    pub clipped_groups: u64,
    /// Groups of finite weights whose scale overflows, so that they decode to NaN, infinity or noise. F16 weights near the type's
    /// largest may overflow when they are decoded to F16 all the same, since MLX rounds each step of that: those are not counted.
    pub overflowed_groups: u64,
}

impl AddAssign for EncodeStats {
    fn add_assign(&mut self, other: Self) {
        self.non_finite += other.non_finite;
        self.zeroed_groups += other.zeroed_groups;
        self.clipped_groups += other.clipped_groups;
        self.overflowed_groups += other.overflowed_groups;
    }
}

impl Sum for EncodeStats {
    fn sum<I: Iterator<Item = Self>>(pieces: I) -> Self {
        pieces.fold(Self::default(), |mut total, piece| {
            total += piece;
            total
        })
    }
}

/// Buffers that do not fit each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The source is not a whole number of groups.
    #[error("expected a source of whole groups of {group_bytes} bytes, found {found} bytes")]
    PartialGroup {
        /// Bytes per group.
        group_bytes: usize,
        /// The source's length in bytes.
        found: usize,
    },
    /// A buffer is too short or too long for the source.
    #[error("expected {expected} bytes in the {part} buffer, found {found}")]
    BufferLength {
        /// `weight`, `scale` or `bias`.
        part: &'static str,
        /// The length that fits, in bytes.
        expected: usize,
        /// The buffer's length in bytes.
        found: usize,
    },
    /// An importance is that of a matrix whose rows are not whole groups, or of a source that does not begin with one.
    #[error(
        "expected the importance of whole groups of {group} columns, found {columns} columns and a start in {first}"
    )]
    Importance {
        /// Elements per group.
        group: usize,
        /// The number of columns.
        columns: usize,
        /// The column of the source's first element.
        first: usize,
    },
}

impl Encoder {
    /// An encoder of elements of type `float`, whose codes are chosen as `profile` says. Every profile has every scheme.
    #[must_use]
    pub fn new(scheme: Scheme, float: FloatType, profile: Profile) -> Self {
        let params = Params { group: scheme.group_elements(), global: None };
        Self { scheme, float, profile, params, kernel: dispatch::encoder(Level::detect(), scheme, float, profile) }
    }

    /// This encoder with the kernel of another level, which gives the same bytes.
    #[doc(hidden)]
    #[must_use]
    pub fn with_level(mut self, level: Level) -> Self {
        self.kernel = dispatch::encoder(level, self.scheme, self.float, self.profile);
        self
    }

    /// This encoder with a global scale for an nvfp4 tensor, which the caller stores and hands to the
    /// [`Decoder`](crate::Decoder). The other schemes have none and ignore it. [`GlobalScale`] tells how to choose one.
    #[must_use]
    pub fn with_global_scale(mut self, global: GlobalScale) -> Self {
        self.params.global = (self.scheme == Scheme::NVFP4).then_some(global);
        self
    }

    /// The scheme that this encoder produces.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The element type that it reads.
    #[must_use]
    pub const fn float(&self) -> FloatType {
        self.float
    }

    /// Encodes `src`, little-endian elements that make whole groups, without regard to alignment. Allocates nothing.
    ///
    /// Input that no scheme can hold is encoded all the same, as MLX would, and counted in the stats.
    ///
    /// # Errors
    ///
    /// [`EncodeError::PartialGroup`] where `src` is not whole groups, [`EncodeError::BufferLength`] where a buffer has
    /// another length than [`Scheme::encoded_len`] gives. Nothing has been written then.
    pub fn encode(&self, src: &[u8], out: EncodeBuffers<'_>) -> Result<EncodeStats, EncodeError> {
        self.check(src, None, &out)?;
        Ok(self.run(Piece { src, importance: None, out }))
    }

    /// [`encode`](Self::encode), with the importance of each column to steer the search of [`Profile::Best`]. The other
    /// profiles do not search and make no use of it.
    ///
    /// # Errors
    ///
    /// Those of `encode`, and [`EncodeError::Importance`] where the columns, or the column of the source's first element,
    /// are not a whole number of groups. Nothing has been written then.
    pub fn encode_weighted(
        &self,
        src: &[u8],
        importance: Importance<'_>,
        out: EncodeBuffers<'_>,
    ) -> Result<EncodeStats, EncodeError> {
        let importance = Some(importance);
        self.check(src, importance, &out)?;
        Ok(self.run(Piece { src, importance, out }))
    }

    /// The number of groups, if everything fits.
    pub(crate) fn check(
        &self,
        src: &[u8],
        importance: Option<Importance<'_>>,
        out: &EncodeBuffers<'_>,
    ) -> Result<usize, EncodeError> {
        let group = self.params.group;
        if let Some(importance) = importance {
            let (columns, first) = (importance.columns(), importance.first_column());
            if !columns.is_multiple_of(group) || !first.is_multiple_of(group) {
                return Err(EncodeError::Importance { group, columns, first });
            }
        }
        let group_bytes = group * self.float.size();
        if !src.len().is_multiple_of(group_bytes) {
            return Err(EncodeError::PartialGroup { group_bytes, found: src.len() });
        }
        let groups = src.len() / group_bytes;
        let EncodedLen { weight, scale, bias } =
            self.scheme.encoded_len(groups, self.float).expect("encoding makes no part longer than the source");
        for (part, expected, found) in
            [("weight", weight, out.weight.len()), ("scale", scale, out.scale.len()), ("bias", bias, out.bias.len())]
        {
            if expected != found {
                return Err(EncodeError::BufferLength { part, expected, found });
            }
        }
        Ok(groups)
    }

    /// Encodes what [`check`](Self::check) has found to fit.
    pub(crate) fn run(&self, piece: Piece<'_>) -> EncodeStats {
        self.kernel.run(&self.params, piece.importance, piece.src, piece.out)
    }
}

/// Groups with the buffers for their parts.
pub(crate) struct Piece<'a> {
    pub(crate) src: &'a [u8],
    pub(crate) importance: Option<Importance<'a>>,
    pub(crate) out: EncodeBuffers<'a>,
}

#[cfg(feature = "rayon")]
impl<'a> Piece<'a> {
    /// The first `at` groups and the others.
    pub(crate) fn split_at(self, at: usize, encoder: &Encoder) -> (Self, Self) {
        let one = encoder.scheme.group_len(encoder.float);
        let (src, tail_src) = self.src.split_at(at * encoder.params.group * encoder.float.size());
        let (weight, tail_weight) = self.out.weight.split_at_mut(at * one.weight);
        let (scale, tail_scale) = self.out.scale.split_at_mut(at * one.scale);
        let (bias, tail_bias) = self.out.bias.split_at_mut(at * one.bias);
        let advanced =
            |importance: Importance<'a>| importance.starting_at(importance.first_column() + at * encoder.params.group);
        let head = EncodeBuffers { weight, scale, bias };
        let tail = EncodeBuffers { weight: tail_weight, scale: tail_scale, bias: tail_bias };
        (
            Self { src, importance: self.importance, out: head },
            Self { src: tail_src, importance: self.importance.map(advanced), out: tail },
        )
    }
}
