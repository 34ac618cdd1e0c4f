//! Encodes floats to blocks, with the bits of ggml's reference encoders built without fused operations.

mod kquant;
mod legacy;
mod search;

use super::{GgmlError, GgmlType, block::half};
use crate::{
    EncodeStats,
    portable::element::{f32_to_bf16, f32_to_f16},
};

/// The types that [`encode`] writes, for an error.
pub(super) const NAMES: &str = "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q6_K";

/// Encodes whole blocks of values as `F32`, `F16`, `BF16`, `Q8_0`, `Q4_0`, `Q4_1`, `Q5_0`, `Q5_1`, `Q4_K` or `Q6_K`,
/// with the bits of ggml's reference encoders. The values may be any part of a tensor, cut at blocks.
///
/// `Q4_K` and `Q6_K` search for the scales of least squared error as ggml does, without an importance matrix. The stats
/// count what a block cannot hold: a block of the stored type is a group.
///
/// # Errors
///
/// [`GgmlError::NotEncoded`] for another type, [`GgmlError::PartialBlock`] where `values` is not whole blocks,
/// [`GgmlError::OutputLength`] unless `out` has exactly their length. Nothing has been written then.
///
/// ```
/// use longshore_quant::ggml::{self, GgmlType};
///
/// let values: Vec<f32> = (0..32u8).map(|i| f32::from(i) - 16.0).collect();
/// let mut block = [0; 18];
/// let stats = ggml::encode(GgmlType::Q4_0, &values, &mut block)?;
/// assert_eq!(stats.non_finite, 0);
///
/// let mut restored = [0.0; 32];
/// ggml::decode(GgmlType::Q4_0, &block, &mut restored)?;
/// assert_eq!(restored[..4], [-16.0, -14.0, -14.0, -12.0]);
/// # Ok::<(), ggml::GgmlError>(())
/// ```
pub fn encode(ggml_type: GgmlType, values: &[f32], out: &mut [u8]) -> Result<EncodeStats, GgmlError> {
    let run = encoder(ggml_type).ok_or(GgmlError::NotEncoded { ggml_type })?;
    let block = ggml_type.block_size();
    if !values.len().is_multiple_of(block) {
        return Err(GgmlError::PartialBlock { ggml_type, unit: "elements", block, found: values.len() });
    }
    // The product does not fit in memory only where no slice is as long either.
    let expected = (values.len() / block).saturating_mul(ggml_type.block_bytes());
    if out.len() != expected {
        return Err(GgmlError::OutputLength { ggml_type, unit: "bytes", expected, found: out.len() });
    }
    Ok(run(values, out))
}

/// Encodes whole blocks. The lengths fit together.
type EncodeBlocks = fn(&[f32], &mut [u8]) -> EncodeStats;

/// Returns the encoder of a type, or `None` where there is none.
fn encoder(ggml_type: GgmlType) -> Option<EncodeBlocks> {
    Some(match ggml_type {
        GgmlType::F32 => |values, out| plain(values, out, |value| (value.to_le_bytes(), value)),
        GgmlType::F16 => |values, out| {
            plain(values, out, |value| {
                let bytes = f32_to_f16(value).to_le_bytes();
                (bytes, half(&bytes, 0))
            })
        },
        GgmlType::BF16 => |values, out| {
            plain(values, out, |value| {
                let bits = f32_to_bf16(value);
                (bits.to_le_bytes(), f32::from_bits(u32::from(bits) << 16))
            })
        },
        GgmlType::Q4_0 => |values, out| each(values, out, &[0], legacy::q4_0),
        GgmlType::Q4_1 => |values, out| each(values, out, &[0, 2], legacy::q4_1),
        GgmlType::Q5_0 => |values, out| each(values, out, &[0], legacy::q5_0),
        GgmlType::Q5_1 => |values, out| each(values, out, &[0, 2], legacy::q5_1),
        GgmlType::Q8_0 => |values, out| each(values, out, &[0], legacy::q8_0),
        GgmlType::Q4K => |values, out| each(values, out, &[0, 2], kquant::q4_k),
        GgmlType::Q6K => |values, out| each(values, out, &[208], kquant::q6_k),
        _ => return None,
    })
}

/// Encodes elements one by one. `one` returns the bytes and what they stand for.
#[inline]
fn plain<const N: usize>(values: &[f32], out: &mut [u8], one: impl Fn(f32) -> ([u8; N], f32)) -> EncodeStats {
    let mut stats = EncodeStats::default();
    for (value, out) in values.iter().zip(out.as_chunks_mut().0) {
        let stored;
        (*out, stored) = one(*value);
        stats.non_finite += u64::from(!value.is_finite());
        stats.overflowed_groups += u64::from(value.is_finite() && !stored.is_finite());
        stats.zeroed_groups += u64::from(*value != 0.0 && stored == 0.0);
    }
    stats
}

/// Beyond every value of a type with an F16 scale: 128 × 32 × the largest F16 is less.
const REACH: f32 = 1e9;

/// Encodes blocks one by one. `scales` are the places of their F16 numbers.
#[inline]
fn each<const BYTES: usize, const LEN: usize>(
    values: &[f32],
    out: &mut [u8],
    scales: &[usize],
    one: impl Fn(&[f32; LEN], &mut [u8; BYTES]),
) -> EncodeStats {
    let mut stats = EncodeStats::default();
    for (values, out) in values.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        one(values, out);
        let non_finite = values.iter().filter(|value| !value.is_finite()).count();
        if non_finite > 0 {
            stats.non_finite += u64::try_from(non_finite).expect("a block is small");
            continue;
        }
        let scale = |at: &usize| half(out, *at);
        // The square of a large value may overflow in a search, which then finds no scale.
        let overflowed =
            scales.iter().any(|at| !scale(at).is_finite()) || values.iter().any(|value| value.abs() > REACH);
        let zeroed = scales.iter().all(|at| scale(at) == 0.0) && values.iter().any(|value| *value != 0.0);
        stats.overflowed_groups += u64::from(overflowed);
        stats.zeroed_groups += u64::from(zeroed && !overflowed);
    }
    stats
}
