//! Reads AWQ and GPTQ: integer codes of a transposed matrix, `[inputs, outputs]`, with a scale and a zero point for
//! each group of inputs of each output.
//!
//! ```text
//! weight[output, input] = (code[input, output] − zero[group, output]) × scale[group, output]
//!
//!        codes                                 zeros, always along outputs
//! AWQ    words of 8 outputs, order 02461357    words in the same order
//! GPTQ   words of 32 / bits inputs, in order   words of 32 / bits outputs, in order, less one in version 1
//! ```

use super::error::{LayoutError, expect_len, expect_rows, product};
use crate::{
    EncodeBuffers, FloatType, Scheme, SchemeError,
    portable::{
        bits,
        element::{Bf16, Element, F16, F32},
        read,
    },
};

/// Order in which codes and zero points are packed into 32-bit words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Packing {
    /// Eight codes of 4 bits along the outputs, in the order 0, 2, 4, 6, 1, 3, 5, 7 from the low bits.
    Awq,
    /// Codes of 2, 4 or 8 bits along the inputs, in order. Zero points lie along the outputs and are stored less one.
    Gptq,
    /// The packing of [`Gptq`](Self::Gptq), but zero points are stored as they are.
    GptqV2,
}

/// The tensors of one weight, as bytes.
#[derive(Clone, Copy, Debug)]
pub struct TransposedParts<'a> {
    /// `qweight`, I32: `[inputs, outputs × bits / 32]` in AWQ, `[inputs × bits / 32, outputs]` in GPTQ.
    pub weight: &'a [u8],
    /// `qzeros`, I32 `[inputs / group, outputs × bits / 32]`.
    pub zeros: &'a [u8],
    /// `scales`, `[inputs / group, outputs]`.
    pub scales: &'a [u8],
    /// Element type of the scales.
    pub float: FloatType,
    /// `g_idx`, I32 `[inputs]`: the group of each input, where inputs were reordered (act-order). Where it is `None`,
    /// groups are runs of consecutive inputs.
    pub group_index: Option<&'a [u8]>,
}

/// A weight as AWQ or GPTQ stores it.
#[derive(Clone, Copy, Debug)]
pub struct Transposed<'a> {
    packing: Packing,
    bits: usize,
    inputs: usize,
    outputs: usize,
    group: usize,
    parts: TransposedParts<'a>,
    reordered: bool,
}

/// Position of each output's code in a 32-bit word of AWQ.
const AWQ_PLACES: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

fn word(bytes: &[u8], index: usize) -> u32 {
    let bytes = bytes[4 * index..].first_chunk().expect("lengths were checked");
    u32::from_le_bytes(*bytes)
}

impl<'a> Transposed<'a> {
    /// Creates a weight of `shape` (`[outputs, inputs]`, as the matrix is multiplied) with a scale for each `group`
    /// inputs.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Bits`] for a width that `packing` does not support; [`LayoutError::Dimension`] where `group` is
    /// zero, does not divide the inputs, or a dimension is not a multiple of the codes per word;
    /// [`LayoutError::TooLarge`] where a part would not fit in memory; [`LayoutError::Length`] where a part has another
    /// length than these numbers require; [`LayoutError::GroupIndex`] where an input is assigned to a group that does
    /// not exist.
    pub fn new(
        packing: Packing,
        bits: u8,
        shape: [usize; 2],
        group: usize,
        parts: TransposedParts<'a>,
    ) -> Result<Self, LayoutError> {
        if !matches!((packing, bits), (_, 4) | (Packing::Gptq | Packing::GptqV2, 2 | 8)) {
            return Err(LayoutError::Bits { found: bits });
        }
        let [outputs, inputs] = shape;
        let per_word = 32 / usize::from(bits);
        let dimensions = [("group", 1, group), ("inputs", group, inputs)];
        for (what, multiple, found) in
            dimensions.into_iter().chain([("inputs", per_word, inputs), ("outputs", per_word, outputs)])
        {
            if found == 0 || !found.is_multiple_of(multiple) {
                return Err(LayoutError::Dimension { what, multiple, found });
            }
        }
        let elements = product("the shape", shape)?;
        let groups = inputs / group;
        let scales = product("the scales", [groups, outputs])?;
        expect_len("weight", elements / per_word * 4, parts.weight.len())?;
        expect_len("zeros", scales / per_word * 4, parts.zeros.len())?;
        expect_len("scales", product("the scales", [parts.float.size(), scales])?, parts.scales.len())?;
        let mut reordered = false;
        if let Some(index) = parts.group_index {
            expect_len("group index", product("the group index", [4, inputs])?, index.len())?;
            for input in 0..inputs {
                let found = word(index, input).cast_signed();
                match usize::try_from(found) {
                    Ok(found) if found < groups => reordered |= found != input / group,
                    _ => return Err(LayoutError::GroupIndex { input, groups, found }),
                }
            }
        }
        Ok(Self { packing, bits: usize::from(bits), inputs, outputs, group, parts, reordered })
    }

    /// Returns one of the codes that are packed along the outputs.
    fn along_outputs(&self, words: &[u8], row: usize, output: usize) -> u8 {
        let per_word = 32 / self.bits;
        let word = word(words, row * (self.outputs / per_word) + output / per_word);
        let place = if self.packing == Packing::Awq { AWQ_PLACES[output % 8] } else { output % per_word };
        (word >> (place * self.bits)).to_le_bytes()[0] & (u8::MAX >> (8 - self.bits))
    }

    fn code(&self, input: usize, output: usize) -> u8 {
        if self.packing == Packing::Awq {
            return self.along_outputs(self.parts.weight, input, output);
        }
        let per_word = 32 / self.bits;
        let word = word(self.parts.weight, input / per_word * self.outputs + output);
        (word >> (input % per_word * self.bits)).to_le_bytes()[0] & (u8::MAX >> (8 - self.bits))
    }

    /// Zero point of a group of an output, at most 256.
    fn zero(&self, group: usize, output: usize) -> u16 {
        let stored = u16::from(self.along_outputs(self.parts.zeros, group, output));
        stored + u16::from(self.packing == Packing::Gptq)
    }

    fn scale(&self, group: usize, output: usize) -> f32 {
        let (size, mut value) = (self.parts.float.size(), [0.0]);
        read(self.parts.float, &self.parts.scales[(group * self.outputs + output) * size..][..size], &mut value);
        value[0]
    }

    fn group_of(&self, input: usize) -> usize {
        match self.parts.group_index {
            Some(index) => usize::try_from(word(index, input)).expect("`new` has checked the group index"),
            None => input / self.group,
        }
    }

    /// Returns true where inputs were reordered, so that groups are not runs of consecutive inputs.
    #[must_use]
    pub const fn is_reordered(&self) -> bool {
        self.reordered
    }

    /// Decodes as many rows as `out` holds, starting with row `first` of the matrix as it is multiplied,
    /// `[outputs, inputs]`: (code − zero) × scale in `f32`, rounded to elements of type `output`. Allocates nothing.
    ///
    /// # Errors
    ///
    /// [`LayoutError::PartialRow`] where `out` is not whole rows, [`LayoutError::Rows`] where the rows go beyond the
    /// last one. Nothing has been written then.
    pub fn decode_rows(&self, first: usize, output: FloatType, out: &mut [u8]) -> Result<(), LayoutError> {
        let row = product("a row", [self.inputs, output.size()])?;
        expect_rows("output", row, out.len(), first, self.outputs)?;
        match output {
            FloatType::F32 => self.decode_to::<F32>(first, out),
            FloatType::F16 => self.decode_to::<F16>(first, out),
            FloatType::BF16 => self.decode_to::<Bf16>(first, out),
        }
        Ok(())
    }

    fn decode_to<O: Element>(&self, first: usize, out: &mut [u8]) {
        for (output, out) in (first..).zip(out.chunks_exact_mut(self.inputs * O::SIZE)) {
            for (input, out) in out.chunks_exact_mut(O::SIZE).enumerate() {
                let group = self.group_of(input);
                let steps = f32::from(self.code(input, output)) - f32::from(self.zero(group, output));
                O::write(&[steps * self.scale(group, output)], out);
            }
        }
    }

    /// The affine scheme that holds these codes.
    ///
    /// # Errors
    ///
    /// [`SchemeError::GroupSize`] where MLX has no such group.
    pub fn scheme(&self) -> Result<Scheme, SchemeError> {
        let group = u32::try_from(self.group).unwrap_or(u32::MAX);
        Scheme::affine(u8::try_from(self.bits).expect("a code has at most 8 bits"), group)
    }

    /// Repacks rows of the matrix as it is multiplied, `[outputs, inputs]`, into the parts of [`scheme`](Self::scheme),
    /// starting with row `first`. Scales and biases have type `stored`. The codes stay the same. The bias is −zero ×
    /// scale: exact in F32 where scales are F16 or BF16, rounded in F16 and BF16. Allocates nothing.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Lossy`] where inputs were reordered or MLX has no such group; [`LayoutError::PartialRow`],
    /// [`LayoutError::Rows`] and [`LayoutError::Length`] where the buffers do not fit. Nothing has been written then.
    pub fn to_affine(&self, first: usize, stored: FloatType, out: EncodeBuffers<'_>) -> Result<(), LayoutError> {
        if self.reordered {
            return Err(LayoutError::Lossy {
                expected: "groups of consecutive inputs",
                found: "inputs in another order".into(),
            });
        }
        if let Err(error) = self.scheme() {
            return Err(LayoutError::Lossy { expected: "a group size of MLX's", found: error.to_string() });
        }
        let rows = expect_rows("weight", self.inputs * self.bits / 8, out.weight.len(), first, self.outputs)?;
        let scales = rows * (self.inputs / self.group) * stored.size();
        expect_len("scale", scales, out.scale.len())?;
        expect_len("bias", scales, out.bias.len())?;
        match stored {
            FloatType::F32 => self.repack::<F32>(first, out),
            FloatType::F16 => self.repack::<F16>(first, out),
            FloatType::BF16 => self.repack::<Bf16>(first, out),
        }
        Ok(())
    }

    fn repack<S: Element>(&self, first: usize, out: EncodeBuffers<'_>) {
        let EncodeBuffers { weight, scale, bias } = out;
        let groups = self.inputs / self.group;
        let parts = scale.chunks_exact_mut(S::SIZE).zip(bias.chunks_exact_mut(S::SIZE));
        let parts = parts.zip(weight.chunks_exact_mut(self.group * self.bits / 8));
        for (index, ((scale, bias), packed)) in parts.enumerate() {
            let (output, group) = (first + index / groups, index % groups);
            let step = self.scale(group, output);
            S::write(&[step], scale);
            S::write(&[-f32::from(self.zero(group, output)) * step], bias);
            for (eight, packed) in packed.chunks_exact_mut(self.bits).enumerate() {
                let codes: [u8; 8] = std::array::from_fn(|i| self.code(group * self.group + 8 * eight + i, output));
                match self.bits {
                    2 => bits::pack::<2>(&codes, packed),
                    4 => bits::pack::<4>(&codes, packed),
                    _ => bits::pack::<8>(&codes, packed),
                }
            }
        }
    }
}
