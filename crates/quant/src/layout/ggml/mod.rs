//! ggml's block types, the tensors of GGUF files: decodes every type to `f32`, and encodes the common ones.
//!
//! A tensor is rows of whole blocks. All functions take a piece of any number of blocks, from and into slices that the
//! caller owns, and allocate nothing. A piece gives the same values as within the tensor.
//!
//! Fields of several bytes are little-endian, and `d`, `m` and `dmin` are F16. `q` is the unsigned code of an element.
//! The first operation of a formula is computed first, and each is rounded to `f32`: ggml's own decoder gives the same
//! bits where its compiler fuses nothing. Only the payload and the sign of a NaN are not promised.
//!
//! | type | elements | bytes | layout of a block | value |
//! |---|---|---|---|---|
//! | `F32` `F16` `BF16` `F64` | 1 | 4, 2, 2, 8 | the number | the number, rounded |
//! | `I8` `I16` `I32` `I64` | 1 | 1, 2, 4, 8 | the number | the number, rounded |
//! | `Q4_0` | 32 | 18 | `d`, 16 bytes of nibbles | d × (q − 8) |
//! | `Q4_1` | 32 | 20 | `d`, `m`, 16 bytes of nibbles | d × q + m |
//! | `Q5_0` | 32 | 22 | `d`, u32 of fifth bits, 16 bytes of nibbles | d × (q − 16) |
//! | `Q5_1` | 32 | 24 | `d`, `m`, u32 of fifth bits, 16 bytes of nibbles | d × q + m |
//! | `Q8_0` | 32 | 34 | `d`, 32 signed bytes | d × q |
//! | `Q8_1` | 32 | 36 | `d`, F16 sum, 32 signed bytes | d × q |
//! | `Q2_K` | 256 | 84 | 16 scale bytes, 64 bytes of codes, `d`, `dmin` | d × s × q − dmin × s′ |
//! | `Q3_K` | 256 | 110 | 32 bytes of high bits, 64 bytes of codes, 12 of scales, `d` | d × s × (q − 4) |
//! | `Q4_K` | 256 | 144 | `d`, `dmin`, 12 bytes of scales, 128 bytes of nibbles | d × s × q − dmin × s′ |
//! | `Q5_K` | 256 | 176 | as `Q4_K`, with 32 bytes of fifth bits before the nibbles | d × s × q − dmin × s′ |
//! | `Q6_K` | 256 | 210 | 128 bytes of nibbles, 64 of high bits, 16 signed scales, `d` | d × s × (q − 32) |
//! | `Q8_K` | 256 | 292 | F32 `d`, 256 signed bytes, 16 sums | d × q |
//! | `IQ4_NL` | 32 | 18 | as `Q4_0` | d × the step of q |
//! | `IQ4_XS` | 256 | 136 | `d`, u16 and 4 bytes of scales, 128 bytes of nibbles | d × (s − 32) × the step of q |
//! | `IQ2_XXS` `IQ2_XS` `IQ2_S` | 256 | 66, 74, 82 | `d`, codebook rows, signs, scales | d × (s + ½) ÷ 4 × row |
//! | `IQ3_XXS` | 256 | 98 | `d`, codebook rows, signs, scales | d × (s + ½) ÷ 2 × row |
//! | `IQ3_S` | 256 | 110 | `d`, codebook rows, signs, scales | d × (2s + 1) × row |
//! | `IQ1_S` `IQ1_M` | 256 | 50, 56 | codebook rows, offsets, scales, `d` | d × (2s + 1) × (row ± ⅛) |
//! | `TQ1_0` | 256 | 54 | 52 bytes of five or four ternary digits, `d` | d × (q − 1) |
//! | `TQ2_0` | 256 | 66 | 64 bytes of four codes, `d` | d × (q − 1) |
//! | `MXFP4` | 32 | 17 | exponent, 16 bytes of nibbles | E2M1 × 2^(exponent − 127) |
//! | `NVFP4` | 64 | 36 | 4 bytes of E4M3, 32 bytes of nibbles | E2M1 × E4M3 |
//! | `Q1_0` | 128 | 18 | `d`, 16 bytes of bits | d or −d |
//! | `Q2_0` | 64 | 18 | `d`, 16 bytes of four codes | d × (q − 1) |
//!
//! Where a scheme of MLX holds a type's values, [`Mapping`] gives its codes, scales and biases, and [`from_mlx`] is the way
//! back.
//!
//! Nibbles of a block of 32 come in halves: the low ones are the elements 0 to 15, the high ones the elements 16 to 31.
//! `Q4_K` and `Q5_K` do the same with 64 elements at a time, `NVFP4` with 16.
//!
//! Source: the layouts are those of ggml's `ggml-common.h` and `ggml-quants.c`, which nothing else documents. The
//! codebooks of the i-quants are ggml's tables, in `grids/`.
//!
//! ```
//! use longshore_quant::ggml::{self, GgmlType};
//!
//! // A block of Q8_0: the scale 0.5 as an F16, and 32 signed bytes.
//! let mut block = [3; 34];
//! block[..2].copy_from_slice(&[0x00, 0x38]);
//! let mut values = [0.0; 32];
//! ggml::decode(GgmlType::Q8_0, &block, &mut values)?;
//! assert_eq!(values, [1.5; 32]);
//! # Ok::<(), ggml::GgmlError>(())
//! ```
#![expect(clippy::inline_always, reason = "each level compiles decoders with its own instructions")]

pub(crate) mod block;
pub(crate) mod codebook;
mod encode;
mod error;
mod ggml_type;
mod grid;
pub(crate) mod kquant;
pub(crate) mod legacy;
pub(crate) mod microscaled;
mod mlx;
pub(crate) mod plain;
pub(crate) mod ternary;

pub use encode::encode;
pub use error::GgmlError;
pub use ggml_type::{GgmlType, UnknownGgmlType};
pub use mlx::{Mapping, fits, from_mlx, types_of};

use crate::{FloatType, level::Level, portable::write};

/// Decodes whole blocks. The lengths fit together.
pub(crate) type DecodeBlocks = fn(&[u8], &mut [f32]);

/// Decodes whole blocks to `f32`. They may be any part of a tensor.
///
/// # Errors
///
/// [`GgmlError::PartialBlock`] where `bytes` is not whole blocks, [`GgmlError::OutputLength`] unless `out` has one
/// element for each of theirs. Nothing has been written then.
pub fn decode(ggml_type: GgmlType, bytes: &[u8], out: &mut [f32]) -> Result<(), GgmlError> {
    decode_at(Level::detect(), ggml_type, bytes, out)
}

/// Decodes whole blocks and rounds the values to elements of type `output`, little-endian. The blocks may be any part of
/// a tensor.
///
/// # Errors
///
/// [`GgmlError::PartialBlock`] where `bytes` is not whole blocks, [`GgmlError::OutputLength`] unless `out` has exactly
/// the decoded size. Nothing has been written then.
pub fn decode_to(ggml_type: GgmlType, bytes: &[u8], output: FloatType, out: &mut [u8]) -> Result<(), GgmlError> {
    const PIECE: usize = 1024;
    let size = output.size();
    let expected = elements_of(ggml_type, bytes)?.saturating_mul(size);
    if out.len() != expected {
        return Err(GgmlError::OutputLength { ggml_type, unit: "bytes", expected, found: out.len() });
    }
    let decode = decoder(Level::detect(), ggml_type);
    let mut values = [0.0; PIECE];
    let pieces = bytes.chunks(PIECE / ggml_type.block_size() * ggml_type.block_bytes());
    for (bytes, out) in pieces.zip(out.chunks_mut(PIECE * size)) {
        let values = &mut values[..out.len() / size];
        decode(bytes, values);
        write(output, values, out);
    }
    Ok(())
}

/// [`decode`] with the kernel of a level. All levels give the same bits.
#[doc(hidden)]
pub fn decode_at(level: Level, ggml_type: GgmlType, bytes: &[u8], out: &mut [f32]) -> Result<(), GgmlError> {
    let expected = elements_of(ggml_type, bytes)?;
    if out.len() != expected {
        return Err(GgmlError::OutputLength { ggml_type, unit: "elements", expected, found: out.len() });
    }
    decoder(level, ggml_type)(bytes, out);
    Ok(())
}

/// Returns the number of elements in whole blocks.
fn elements_of(ggml_type: GgmlType, bytes: &[u8]) -> Result<usize, GgmlError> {
    let block = ggml_type.block_bytes();
    if !bytes.len().is_multiple_of(block) {
        return Err(GgmlError::PartialBlock { ggml_type, unit: "bytes", block, found: bytes.len() });
    }
    // The product does not fit in memory only where no slice is as long either.
    Ok((bytes.len() / block).saturating_mul(ggml_type.block_size()))
}

/// Returns the function that decodes whole blocks of a type. It is looked up once per tensor.
pub(crate) fn decoder(level: Level, ggml_type: GgmlType) -> DecodeBlocks {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = level.avx2() {
        return avx2.ggml_decoder(ggml_type);
    }
    let _ = level;
    portable(ggml_type)
}

/// Calls `$each` with the decoder of one block of the type `$ggml_type`. This macro holds the only list of them.
macro_rules! of_type {
    ($ggml_type:expr, $each:ident) => {{
        use $crate::layout::ggml::{codebook, kquant, legacy, microscaled, plain, ternary};
        match $ggml_type {
            GgmlType::F32 => $each!(plain::f32),
            GgmlType::F16 => $each!(plain::f16),
            GgmlType::Q4_0 => $each!(legacy::q4_0),
            GgmlType::Q4_1 => $each!(legacy::q4_1),
            GgmlType::Q5_0 => $each!(legacy::q5_0),
            GgmlType::Q5_1 => $each!(legacy::q5_1),
            GgmlType::Q8_0 => $each!(legacy::q8_0),
            GgmlType::Q8_1 => $each!(legacy::q8_1),
            GgmlType::Q2K => $each!(kquant::q2_k),
            GgmlType::Q3K => $each!(kquant::q3_k),
            GgmlType::Q4K => $each!(kquant::q4_k),
            GgmlType::Q5K => $each!(kquant::q5_k),
            GgmlType::Q6K => $each!(kquant::q6_k),
            GgmlType::Q8K => $each!(kquant::q8_k),
            GgmlType::IQ2XXS => $each!(codebook::iq2_xxs),
            GgmlType::IQ2XS => $each!(codebook::iq2_xs),
            GgmlType::IQ3XXS => $each!(codebook::iq3_xxs),
            GgmlType::IQ1S => $each!(codebook::iq1_s),
            GgmlType::IQ4NL => $each!(legacy::iq4_nl),
            GgmlType::IQ3S => $each!(codebook::iq3_s),
            GgmlType::IQ2S => $each!(codebook::iq2_s),
            GgmlType::IQ4XS => $each!(kquant::iq4_xs),
            GgmlType::I8 => $each!(plain::i8),
            GgmlType::I16 => $each!(plain::i16),
            GgmlType::I32 => $each!(plain::i32),
            GgmlType::I64 => $each!(plain::i64),
            GgmlType::F64 => $each!(plain::f64),
            GgmlType::IQ1M => $each!(codebook::iq1_m),
            GgmlType::BF16 => $each!(plain::bf16),
            GgmlType::TQ1_0 => $each!(ternary::tq1_0),
            GgmlType::TQ2_0 => $each!(ternary::tq2_0),
            GgmlType::MXFP4 => $each!(microscaled::mxfp4),
            GgmlType::NVFP4 => $each!(microscaled::nvfp4),
            GgmlType::Q1_0 => $each!(ternary::q1_0),
            GgmlType::Q2_0 => $each!(ternary::q2_0),
        }
    }};
}

#[allow(unused_imports, reason = "only the levels with other kernels use it")]
pub(crate) use of_type;

/// The portable decoder of a type.
fn portable(ggml_type: GgmlType) -> DecodeBlocks {
    macro_rules! each {
        ($one:path) => {
            |bytes, out| block::each(bytes, out, $one)
        };
    }
    of_type!(ggml_type, each)
}
