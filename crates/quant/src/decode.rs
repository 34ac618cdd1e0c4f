//! Decodes packed codes to floats.

use crate::{
    EncodedLen, FloatType, Scheme, dispatch,
    level::Level,
    portable::{DecodeKernel, Params},
};

/// Bytes of an output from which it is written past the caches. Less may still be in the second-level cache when it is read.
const STREAMED: usize = 4 << 20;

/// Decodes whole groups of a scheme's packed parts to floats.
///
/// For an F32 output every step is computed in `f32`. An affine value is code × scale, rounded, plus bias, rounded. A
/// value of the floating-point formats is code × (scale × global scale). An F16 or BF16 output has the bits of
/// `mx.dequantize` on MLX's CPU backend, which rounds each step of an affine scheme to the type of the scales, and then
/// converts the result if the output type is another one.
///
/// A decoder is a small value and keeps nothing between calls, like an [`Encoder`](crate::Encoder): a tensor may be cut
/// at any group boundary.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    scheme: Scheme,
    stored: FloatType,
    output: FloatType,
    params: Params<f32>,
    kernel: DecodeKernel,
}

/// Error from decoding parts into an output of another size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The output is not a whole number of groups.
    #[error("expected an output of whole groups of {group_bytes} bytes, found {found} bytes")]
    PartialGroup {
        /// Bytes per group.
        group_bytes: usize,
        /// The output's length in bytes.
        found: usize,
    },
    /// A part has another length than the output requires.
    #[error("expected {expected} bytes of {part}, found {found}")]
    PartLength {
        /// `weight`, `scale` or `bias`.
        part: &'static str,
        /// The required length in bytes.
        expected: usize,
        /// The part's length in bytes.
        found: usize,
    },
}

impl Decoder {
    /// Creates a decoder from `scheme` to elements of type `output`. `stored` is the type of the scales and biases of
    /// an affine scheme; the other schemes ignore it.
    #[must_use]
    pub fn new(scheme: Scheme, stored: FloatType, output: FloatType) -> Self {
        let params = Params { group: scheme.group_elements(), global: None, streams: false };
        Self { scheme, stored, output, params, kernel: dispatch::decoder(Level::detect(), scheme, stored, output) }
    }

    /// Returns this decoder with the kernel of another level. All levels give the same bytes.
    #[doc(hidden)]
    #[must_use]
    pub fn with_level(mut self, level: Level) -> Self {
        self.kernel = dispatch::decoder(level, self.scheme, self.stored, self.output);
        self
    }

    /// Returns this decoder with the global scale that is stored beside an nvfp4 tensor. Decoded values are multiplied
    /// by it. The other schemes have no global scale and ignore it.
    #[must_use]
    pub fn with_global_scale(mut self, multiplier: f32) -> Self {
        self.params.global = (self.scheme == Scheme::NVFP4).then_some(multiplier);
        self
    }

    /// The scheme that this decoder reads.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The type of the scales and biases that this decoder reads, in an affine scheme.
    #[must_use]
    pub const fn stored(&self) -> FloatType {
        self.stored
    }

    /// The element type that this decoder writes.
    #[must_use]
    pub const fn output(&self) -> FloatType {
        self.output
    }

    /// Decodes as many groups as `out` holds. The buffers need no alignment, and nothing is allocated. `bias` is empty
    /// where the scheme has no biases.
    ///
    /// # Errors
    ///
    /// [`DecodeError::PartialGroup`] where `out` is not whole groups, [`DecodeError::PartLength`] where a part does not
    /// have the length of [`Scheme::encoded_len`]. Nothing has been written then.
    pub fn decode(&self, weight: &[u8], scale: &[u8], bias: &[u8], out: &mut [u8]) -> Result<(), DecodeError> {
        self.check(weight, scale, bias, out)?;
        self.to_whole(out.len()).run(weight, scale, bias, out);
        Ok(())
    }

    /// Returns this decoder for the pieces of an output of so many bytes.
    pub(crate) fn to_whole(mut self, bytes: usize) -> Self {
        self.params.streams = bytes >= STREAMED;
        self
    }

    /// Checks the lengths of all buffers and returns the number of groups.
    pub(crate) fn check(&self, weight: &[u8], scale: &[u8], bias: &[u8], out: &[u8]) -> Result<usize, DecodeError> {
        let group_bytes = self.params.group * self.output.size();
        if !out.len().is_multiple_of(group_bytes) {
            return Err(DecodeError::PartialGroup { group_bytes, found: out.len() });
        }
        let groups = out.len() / group_bytes;
        let EncodedLen { weight: weight_len, scale: scale_len, bias: bias_len } = self
            .scheme
            .encoded_len(groups, self.stored)
            .expect("no part is longer than the output: a code has at most 8 bits, an element at least 16");
        for (part, expected, found) in
            [("weight", weight_len, weight.len()), ("scale", scale_len, scale.len()), ("bias", bias_len, bias.len())]
        {
            if expected != found {
                return Err(DecodeError::PartLength { part, expected, found });
            }
        }
        Ok(groups)
    }

    /// Decodes buffers whose lengths [`check`](Self::check) has accepted.
    pub(crate) fn run(&self, weight: &[u8], scale: &[u8], bias: &[u8], out: &mut [u8]) {
        (self.kernel)(&self.params, weight, scale, bias, out);
    }

    /// Lengths of the parts of a single group.
    #[cfg(feature = "rayon")]
    pub(crate) fn group_len(&self) -> EncodedLen {
        self.scheme.group_len(self.stored)
    }
}
