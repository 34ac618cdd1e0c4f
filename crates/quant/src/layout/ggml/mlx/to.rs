//! From blocks to the parts of a scheme.

use super::{
    super::{
        GgmlType,
        block::{field, half},
        kquant::pairs,
    },
    codes::{self, MAX_BLOCK},
};
use crate::{
    EncodeBuffers, FloatType, Format, Scheme,
    layout::{LayoutError, error::expect_len},
    portable::{
        bits,
        element::{f16_to_f32, f32_to_f16},
    },
};

/// The scheme of MLX that holds all values of a type's blocks.
///
/// ```
/// use longshore_quant::{EncodeBuffers, FloatType, ggml::{GgmlType, Mapping}};
///
/// let mapping = Mapping::of(GgmlType::Q8_0).expect("int8 holds it");
/// assert_eq!((mapping.scheme().to_string().as_str(), mapping.float()), ("int8-g32", FloatType::F16));
/// assert!(Mapping::of(GgmlType::Q6K).is_none());
///
/// // A block of Q8_0: the scale 0.5 as an F16, and 32 signed bytes.
/// let mut block = [3; 34];
/// block[..2].copy_from_slice(&[0x00, 0x38]);
/// let (mut weight, mut scale, mut bias) = ([0; 32], [0; 2], [0; 2]);
/// mapping.to_mlx(&block, EncodeBuffers { weight: &mut weight, scale: &mut scale, bias: &mut bias })?;
/// assert_eq!((weight, scale), ([131; 32], [0x00, 0x38]));
/// assert_eq!(bias, 0xD400_u16.to_le_bytes()); // −64
/// # Ok::<(), longshore_quant::layout::LayoutError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    ggml_type: GgmlType,
    scheme: Scheme,
    float: FloatType,
}

impl Mapping {
    /// The mapping of a type. `None` where no scheme holds the values of all of its blocks.
    #[must_use]
    pub fn of(ggml_type: GgmlType) -> Option<Self> {
        let affine = |bits, group| Scheme::affine(bits, group).expect("MLX has the width and the group");
        let (scheme, float) = match ggml_type {
            GgmlType::Q4_0 | GgmlType::Q4_1 => (affine(4, 32), FloatType::F16),
            GgmlType::Q5_0 | GgmlType::Q5_1 => (affine(5, 32), FloatType::F16),
            GgmlType::Q8_0 => (affine(8, 32), FloatType::F16),
            GgmlType::Q2_0 => (affine(2, 64), FloatType::F16),
            GgmlType::Q1_0 | GgmlType::TQ1_0 | GgmlType::TQ2_0 => (affine(2, 128), FloatType::F16),
            GgmlType::Q4K => (affine(4, 32), FloatType::F32),
            GgmlType::Q5K => (affine(5, 32), FloatType::F32),
            GgmlType::MXFP4 => (Scheme::MXFP4, FloatType::BF16),
            GgmlType::NVFP4 => (Scheme::NVFP4, FloatType::BF16),
            _ => return None,
        };
        Some(Self { ggml_type, scheme, float })
    }

    /// The type of the blocks.
    #[must_use]
    pub const fn ggml_type(self) -> GgmlType {
        self.ggml_type
    }

    /// The scheme that holds the values.
    #[must_use]
    pub const fn scheme(self) -> Scheme {
        self.scheme
    }

    /// The type of the scales and biases of an affine scheme. For the other schemes, whose scales are bytes, the
    /// narrowest type that holds the values: BF16.
    #[must_use]
    pub const fn float(self) -> FloatType {
        self.float
    }

    /// Writes the codes, scales and biases of whole blocks, which may be any part of a tensor.
    ///
    /// # Errors
    ///
    /// [`LayoutError::PartialRow`] where `blocks` is not whole blocks, [`LayoutError::Length`] unless the buffers have
    /// the length of [`Scheme::encoded_len`]; nothing has been written then. [`LayoutError::Lossy`] where a scale lies
    /// beyond the range that the scheme holds.
    pub fn to_mlx(self, blocks: &[u8], out: EncodeBuffers<'_>) -> Result<(), LayoutError> {
        let Self { ggml_type, scheme, float } = self;
        let EncodeBuffers { weight, scale, bias } = out;
        let (block_len, size) = (ggml_type.block_bytes(), ggml_type.block_size());
        if !blocks.len().is_multiple_of(block_len) {
            return Err(LayoutError::PartialRow { part: "blocks", row: block_len, found: blocks.len() });
        }
        let per_block = size / scheme.group_elements();
        let one = scheme.group_len(float);
        let [weight_len, scale_len, bias_len] = [one.weight, one.scale, one.bias].map(|len| len * per_block);
        let count = blocks.len() / block_len;
        for (part, len, found) in
            [("weight", weight_len, weight.len()), ("scale", scale_len, scale.len()), ("bias", bias_len, bias.len())]
        {
            expect_len(part, count.saturating_mul(len), found)?;
        }
        let mut codes = [0; MAX_BLOCK];
        let codes = &mut codes[..size];
        for (at, block) in blocks.chunks_exact(block_len).enumerate() {
            codes::read(ggml_type, block, codes);
            pack(scheme, codes, &mut weight[at * weight_len..(at + 1) * weight_len]);
            let scale = &mut scale[at * scale_len..(at + 1) * scale_len];
            let bias = &mut bias[at * bias_len..(at + 1) * bias_len];
            scales(ggml_type, block, scale, bias)?;
        }
        Ok(())
    }
}

/// Packs the codes of whole groups.
pub(super) fn pack(scheme: Scheme, codes: &[u8], out: &mut [u8]) {
    match scheme.bits() {
        2 => bits::pack::<2>(codes, out),
        3 => bits::pack::<3>(codes, out),
        4 => bits::pack::<4>(codes, out),
        5 => bits::pack::<5>(codes, out),
        6 => bits::pack::<6>(codes, out),
        _ => bits::pack::<8>(codes, out),
    }
}

/// Writes the scales and biases of the groups of one block.
fn scales(ggml_type: GgmlType, block: &[u8], scale: &mut [u8], bias: &mut [u8]) -> Result<(), LayoutError> {
    let symmetric = |at: usize, steps: f32, offset: f32, scale: &mut [u8], bias: &mut [u8]| {
        let d = half(block, at);
        let (step, least) = (exact_half(steps * d)?, exact_half(offset * d)?);
        scale.as_chunks_mut().0.fill(step);
        bias.as_chunks_mut().0.fill(least);
        Ok(())
    };
    match ggml_type {
        GgmlType::Q4_0 => symmetric(0, 1.0, -8.0, scale, bias),
        GgmlType::Q5_0 => symmetric(0, 1.0, -16.0, scale, bias),
        GgmlType::Q8_0 => symmetric(0, 1.0, -128.0, scale, bias),
        GgmlType::Q1_0 => symmetric(0, 2.0, -1.0, scale, bias),
        GgmlType::Q2_0 => symmetric(0, 1.0, -1.0, scale, bias),
        GgmlType::TQ1_0 => symmetric(52, 1.0, -1.0, scale, bias),
        GgmlType::TQ2_0 => symmetric(64, 1.0, -1.0, scale, bias),
        GgmlType::Q4_1 | GgmlType::Q5_1 => {
            scale.copy_from_slice(&exact_half(half(block, 0))?);
            bias.copy_from_slice(&exact_half(half(block, 2))?);
            Ok(())
        }
        GgmlType::Q4K | GgmlType::Q5K => {
            let (d, dmin) = (finite(half(block, 0))?, finite(half(block, 2))?);
            let places = scale.as_chunks_mut::<4>().0.iter_mut().zip(bias.as_chunks_mut::<4>().0);
            for ([factor, min], (scale, bias)) in pairs(field(block, 4)).into_iter().zip(places) {
                // Eleven bits times six are exact in an F32.
                *scale = (d * f32::from(factor)).to_le_bytes();
                *bias = (-(dmin * f32::from(min))).to_le_bytes();
            }
            Ok(())
        }
        GgmlType::MXFP4 => match block[0] {
            255 => Err(LayoutError::Lossy { expected: "exponents below 255", found: "255".to_owned() }),
            exponent => {
                scale[0] = exponent;
                Ok(())
            }
        },
        GgmlType::NVFP4 => {
            let found = field::<4>(block, 0);
            unsigned_e4m3(found)?;
            scale.copy_from_slice(found);
            Ok(())
        }
        other => unreachable!("BUG: {other} has no scales of a scheme"),
    }
}

/// Checks that E4M3 scales have neither a sign nor the code that is NaN for MLX and zero for ggml.
pub(super) fn unsigned_e4m3(scales: &[u8]) -> Result<(), LayoutError> {
    match scales.iter().find(|scale| **scale >= 0x7F) {
        None => Ok(()),
        Some(found) => Err(LayoutError::Lossy {
            expected: "E4M3 scales below 0x7F, without a sign",
            found: format!("{found:#04x}"),
        }),
    }
}

/// The F16 that is exactly `value`.
pub(super) fn exact_half(value: f32) -> Result<[u8; 2], LayoutError> {
    let bits = f32_to_f16(value);
    let stored = f16_to_f32(bits);
    if stored.to_bits() == value.to_bits() && value.is_finite() {
        return Ok(bits.to_le_bytes());
    }
    Err(LayoutError::Lossy { expected: "scales and biases that are finite F16", found: format!("{value:e}") })
}

fn finite(value: f32) -> Result<f32, LayoutError> {
    if value.is_finite() {
        return Ok(value);
    }
    Err(LayoutError::Lossy { expected: "finite scales", found: value.to_string() })
}

/// Whether a scheme's scales are E2M1's, whose codes are nibbles.
pub(super) fn is_e2m1(scheme: Scheme) -> bool {
    matches!(scheme.format(), Format::Nvfp4 | Format::Mxfp4)
}
