//! Encodes floats to packed codes.

use std::{iter::Sum, ops::AddAssign};

use crate::{
    EncodedLen, FloatType, GlobalScale, Importance, Profile, Scheme, dispatch, kernels::Encode, level::Level,
    portable::Params,
};

/// Encodes whole groups of floats to a scheme's packed parts.
///
/// An encoder is a small value that is created once per tensor and shared freely between threads. It keeps nothing
/// between calls: a tensor may be cut at any group boundary and its pieces encoded in any order, and the bytes are the
/// same.
#[derive(Clone, Copy, Debug)]
pub struct Encoder {
    scheme: Scheme,
    float: FloatType,
    profile: Profile,
    params: Params<GlobalScale>,
    kernel: Encode,
}

/// Output buffers for one call of [`Encoder::encode`]. Each must have exactly the length that [`Scheme::encoded_len`]
/// gives.
#[derive(Debug)]
pub struct EncodeBuffers<'a> {
    /// Packed codes: little-endian 32-bit words, `[groups, group × bits / 32]`.
    pub weight: &'a mut [u8],
    /// Scales, `[groups]`.
    pub scale: &'a mut [u8],
    /// Biases, `[groups]`; empty where the scheme has none.
    pub bias: &'a mut [u8],
}

/// Counts of inputs that a scheme cannot represent well. The stats of pieces add up to those of the whole tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncodeStats {
    /// Elements that are NaN or infinite. Their groups decode to arbitrary numbers, so callers should refuse the
    /// tensor.
    pub non_finite: u64,
    /// Groups of finite weights, not all zero, that decode to zeros only.
    pub zeroed_groups: u64,
    /// Groups of finite weights that the largest scale of a floating-point format cannot reach: some weights lie more
    /// than half a step beyond its largest value.
    pub clipped_groups: u64,
    /// Groups of finite weights whose scale overflows, so that they decode to NaN, infinity or noise. F16 weights near
    /// the type's largest value are not counted where only MLX's rounding of each step to F16 makes them overflow.
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

/// Error from encoding with buffers of the wrong size or an importance that does not fit.
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
    /// A buffer has another length than the source requires.
    #[error("expected {expected} bytes in the {part} buffer, found {found}")]
    BufferLength {
        /// `weight`, `scale` or `bias`.
        part: &'static str,
        /// The required length in bytes.
        expected: usize,
        /// The buffer's length in bytes.
        found: usize,
    },
    /// The importance has rows that are not whole groups, or the source does not begin at a group boundary of its row.
    #[error(
        "expected the importance of whole groups of {group} columns, found {columns} columns and a start in {first}"
    )]
    Importance {
        /// Elements per group.
        group: usize,
        /// Number of columns of the importance.
        columns: usize,
        /// Column of the source's first element.
        first: usize,
    },
}

impl Encoder {
    /// Creates an encoder of elements of type `float`, which chooses codes by `profile`. Every profile supports every
    /// scheme.
    #[must_use]
    pub fn new(scheme: Scheme, float: FloatType, profile: Profile) -> Self {
        let params = Params { group: scheme.group_elements(), global: None, streams: false };
        Self { scheme, float, profile, params, kernel: dispatch::encoder(Level::detect(), scheme, float, profile) }
    }

    /// Returns this encoder with the kernel of another level. All levels give the same bytes.
    #[doc(hidden)]
    #[must_use]
    pub fn with_level(mut self, level: Level) -> Self {
        self.kernel = dispatch::encoder(level, self.scheme, self.float, self.profile);
        self
    }

    /// Returns this encoder with a global scale for an nvfp4 tensor. The caller stores its
    /// [`multiplier`](GlobalScale::multiplier) and passes it to the [`Decoder`](crate::Decoder). The other schemes have
    /// no global scale and ignore it. [`GlobalScale`] tells how to choose one.
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

    /// The element type that this encoder reads.
    #[must_use]
    pub const fn float(&self) -> FloatType {
        self.float
    }

    /// Encodes `src`, little-endian elements that make whole groups. The buffers need no alignment, and nothing is
    /// allocated.
    ///
    /// Values that no scheme can represent are encoded as MLX would encode them, and counted in the returned stats.
    ///
    /// # Errors
    ///
    /// [`EncodeError::PartialGroup`] where `src` is not whole groups, [`EncodeError::BufferLength`] where a buffer does
    /// not have the length of [`Scheme::encoded_len`]. Nothing has been written then.
    pub fn encode(&self, src: &[u8], out: EncodeBuffers<'_>) -> Result<EncodeStats, EncodeError> {
        self.check(src, None, &out)?;
        Ok(self.run(Piece { src, importance: None, out }))
    }

    /// Encodes `src` like [`encode`](Self::encode), and weights the search of [`Profile::Best`] by the importance of
    /// each column. The other profiles do not search and ignore the importance.
    ///
    /// # Errors
    ///
    /// The errors of `encode`, and [`EncodeError::Importance`] where the number of columns, or the column of the
    /// source's first element, is not a multiple of the group. Nothing has been written then.
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

    /// Checks the lengths of all buffers and returns the number of groups.
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

    /// Encodes a piece whose lengths [`check`](Self::check) has accepted.
    pub(crate) fn run(&self, piece: Piece<'_>) -> EncodeStats {
        self.kernel.run(&self.params, piece.importance, piece.src, piece.out)
    }
}

/// Consecutive groups, and the buffers for their parts.
pub(crate) struct Piece<'a> {
    pub(crate) src: &'a [u8],
    pub(crate) importance: Option<Importance<'a>>,
    pub(crate) out: EncodeBuffers<'a>,
}

#[cfg(feature = "rayon")]
impl<'a> Piece<'a> {
    /// Splits the piece into its first `at` groups and the others.
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
