//! Weights as they lie in a file: views of bytes, with their shapes.

use std::ops::Range;

use super::{MatmulError, exact::Reader, level::Level};
use crate::{EncodedLen, FloatType, Scheme, SchemeError, ggml::GgmlType};

/// A matrix of weights, `[rows, columns]`, as it is stored. It borrows the bytes, which need no alignment, and copies
/// none of them. A value is as small as a few slices.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    rows: usize,
    columns: usize,
    pub(super) stored: Stored<'a>,
}

/// The bytes of a matrix, and what they mean.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stored<'a> {
    Encoded(Encoded<'a>),
    Plain { float: FloatType, bytes: &'a [u8] },
    Blocks { ggml_type: GgmlType, bytes: &'a [u8] },
}

/// The parts of a matrix in one of the schemes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoded<'a> {
    pub(super) scheme: Scheme,
    /// Type of the scales and biases of an affine scheme.
    pub(super) float: FloatType,
    pub(super) weight: &'a [u8],
    pub(super) scale: &'a [u8],
    pub(super) bias: &'a [u8],
    pub(super) global: Option<f32>,
}

impl<'a> Encoded<'a> {
    /// Returns the parts of `count` groups from the group `start` on.
    pub(super) fn groups(self, start: usize, count: usize) -> Self {
        let one = self.scheme.group_len(self.float);
        let cut = |part: &'a [u8], len: usize| &part[start * len..(start + count) * len];
        Self {
            weight: cut(self.weight, one.weight),
            scale: cut(self.scale, one.scale),
            bias: cut(self.bias, one.bias),
            ..self
        }
    }
}

impl<'a> Weights<'a> {
    /// Creates weights of `[rows, columns]` from the parts that [`Scheme::parts`] lays out for this shape. `scales` is
    /// the type of the scales and biases of an affine scheme; the other schemes ignore it. `bias` is empty where the
    /// scheme has no biases.
    ///
    /// # Errors
    ///
    /// [`MatmulError::Scheme`] where `columns` is not a multiple of the scheme's group, [`MatmulError::PartLength`]
    /// where a part is not as long as the shape requires, [`MatmulError::TooLarge`] where such a length does not exist.
    pub fn encoded(
        scheme: Scheme,
        scales: FloatType,
        [rows, columns]: [usize; 2],
        [weight, scale, bias]: [&'a [u8]; 3],
    ) -> Result<Self, MatmulError> {
        let group = scheme.group_elements();
        if !columns.is_multiple_of(group) {
            return Err(MatmulError::Scheme(SchemeError::LastDimension {
                quant_type: scheme.quant_type(),
                group_size: scheme.group_size(),
                last: u64::try_from(columns).unwrap_or(u64::MAX),
            }));
        }
        let lengths = rows.checked_mul(columns / group).and_then(|groups| scheme.encoded_len(groups, scales));
        let EncodedLen { weight: weight_len, scale: scale_len, bias: bias_len } =
            lengths.ok_or(MatmulError::TooLarge { rows, columns })?;
        for (part, expected, found) in
            [("weight", weight_len, weight.len()), ("scale", scale_len, scale.len()), ("bias", bias_len, bias.len())]
        {
            if expected != found {
                return Err(MatmulError::PartLength { part, rows, columns, expected, found });
            }
        }
        let encoded = Encoded { scheme, float: scales, weight, scale, bias, global: None };
        Ok(Self { rows, columns, stored: Stored::Encoded(encoded) })
    }

    /// Creates weights of `[rows, columns]` from little-endian floats.
    ///
    /// # Errors
    ///
    /// [`MatmulError::PartLength`] where `bytes` is not as long as the shape requires, [`MatmulError::TooLarge`] where
    /// such a length does not exist.
    pub fn plain(float: FloatType, [rows, columns]: [usize; 2], bytes: &'a [u8]) -> Result<Self, MatmulError> {
        let expected = rows.checked_mul(columns).and_then(|elements| elements.checked_mul(float.size()));
        let expected = expected.ok_or(MatmulError::TooLarge { rows, columns })?;
        if bytes.len() != expected {
            return Err(MatmulError::PartLength { part: "weight", rows, columns, expected, found: bytes.len() });
        }
        Ok(Self { rows, columns, stored: Stored::Plain { float, bytes } })
    }

    /// Creates weights of `[rows, columns]` from blocks of ggml, as GGUF files have them.
    ///
    /// # Errors
    ///
    /// [`MatmulError::PartialBlock`] where `columns` is not a multiple of the type's block,
    /// [`MatmulError::PartLength`] where `bytes` is not as long as the shape requires, [`MatmulError::TooLarge`] where
    /// such a length does not exist.
    pub fn blocks(ggml_type: GgmlType, [rows, columns]: [usize; 2], bytes: &'a [u8]) -> Result<Self, MatmulError> {
        let block = ggml_type.block_size();
        if !columns.is_multiple_of(block) {
            return Err(MatmulError::PartialBlock { ggml_type, block, columns });
        }
        let expected = rows.checked_mul(columns / block).and_then(|blocks| blocks.checked_mul(ggml_type.block_bytes()));
        let expected = expected.ok_or(MatmulError::TooLarge { rows, columns })?;
        if bytes.len() != expected {
            return Err(MatmulError::PartLength { part: "weight", rows, columns, expected, found: bytes.len() });
        }
        Ok(Self { rows, columns, stored: Stored::Blocks { ggml_type, bytes } })
    }

    /// Returns these weights under the global scale that is stored beside an nvfp4 tensor. Other weights have none and
    /// ignore it.
    #[must_use]
    pub fn with_global_scale(mut self, multiplier: f32) -> Self {
        if let Stored::Encoded(encoded) = &mut self.stored
            && encoded.scheme == Scheme::NVFP4
        {
            encoded.global = Some(multiplier);
        }
        self
    }

    /// Returns the bytes: codes, scales and biases, the last two empty where there are none.
    #[must_use]
    pub fn parts(&self) -> [&'a [u8]; 3] {
        match self.stored {
            Stored::Encoded(Encoded { weight, scale, bias, .. }) => [weight, scale, bias],
            Stored::Plain { bytes, .. } | Stored::Blocks { bytes, .. } => [bytes, &[], &[]],
        }
    }

    /// Returns weights of the same shape and meaning over other bytes, such as a copy of [`Self::parts`] in another place.
    ///
    /// # Errors
    ///
    /// [`MatmulError::PartLength`] where a part has another length.
    pub fn with_parts(self, parts: [&[u8]; 3]) -> Result<Weights<'_>, MatmulError> {
        let Self { rows, columns, .. } = self;
        for ((part, expected), found) in ["weight", "scale", "bias"].into_iter().zip(self.parts()).zip(parts) {
            if expected.len() != found.len() {
                let (expected, found) = (expected.len(), found.len());
                return Err(MatmulError::PartLength { part, rows, columns, expected, found });
            }
        }
        let [weight, scale, bias] = parts;
        let stored = match self.stored {
            Stored::Encoded(Encoded { scheme, float, global, .. }) => {
                Stored::Encoded(Encoded { scheme, float, weight, scale, bias, global })
            }
            Stored::Plain { float, .. } => Stored::Plain { float, bytes: weight },
            Stored::Blocks { ggml_type, .. } => Stored::Blocks { ggml_type, bytes: weight },
        };
        Ok(Weights { rows, columns, stored })
    }

    /// Number of rows: the numbers that a product has for each row of its input.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Elements of a row: the numbers that a row of the input has.
    #[must_use]
    pub const fn columns(&self) -> usize {
        self.columns
    }

    /// Returns the rows in `range` as weights of their own: a shard, or one expert of a stack.
    ///
    /// # Errors
    ///
    /// [`MatmulError::Range`] where these rows do not exist.
    pub fn range(&self, range: Range<usize>) -> Result<Self, MatmulError> {
        if range.start > range.end || range.end > self.rows {
            return Err(MatmulError::Range { rows: self.rows, start: range.start, end: range.end });
        }
        Ok(self.cut(range))
    }

    /// Returns the rows in a range that exists.
    pub(super) fn cut(self, range: Range<usize>) -> Self {
        let stored = match self.stored {
            Stored::Encoded(encoded) => {
                let groups = self.columns / encoded.scheme.group_elements();
                Stored::Encoded(encoded.groups(range.start * groups, range.len() * groups))
            }
            Stored::Plain { float, bytes } => {
                let row = self.columns * float.size();
                Stored::Plain { float, bytes: &bytes[range.start * row..range.end * row] }
            }
            Stored::Blocks { ggml_type, bytes } => {
                let row = self.columns / ggml_type.block_size() * ggml_type.block_bytes();
                Stored::Blocks { ggml_type, bytes: &bytes[range.start * row..range.end * row] }
            }
        };
        Self { rows: range.len(), columns: self.columns, stored }
    }

    /// Decodes the rows of `indices` to `out`, `[indices, columns]`, as a table of embeddings is read. A row may be
    /// asked for many times.
    ///
    /// # Errors
    ///
    /// [`MatmulError::Row`] where a row does not exist, [`MatmulError::OutputLength`] where `out` has another length.
    /// Nothing has been written then.
    pub fn decode_rows(&self, indices: &[usize], out: &mut [f32]) -> Result<(), MatmulError> {
        let (rows, columns) = (indices.len(), self.columns);
        let expected = rows.checked_mul(columns).ok_or(MatmulError::TooLarge { rows, columns })?;
        if out.len() != expected {
            return Err(MatmulError::OutputLength { rows, columns, expected, found: out.len() });
        }
        if let Some(&found) = indices.iter().find(|&&index| index >= self.rows) {
            return Err(MatmulError::Row { what: "the weights", rows: self.rows, found });
        }
        if columns == 0 {
            return Ok(());
        }
        let reader = Reader::new(Level::detect().decoding(), *self);
        for (&index, out) in indices.iter().zip(out.chunks_exact_mut(columns)) {
            reader.read(index, 0..columns, out);
        }
        Ok(())
    }
}
