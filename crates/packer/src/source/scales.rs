//! Small tensors whose values are read before an import is planned: scales that may be powers of two, and shapes.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use longshore_st_format::Dtype;

use super::{error::SourceError, form};
use crate::{
    io::{data::OpenData, memory},
    tensor::{Shard, SourceTensor},
};

/// Number of bytes of scales that are read at a time.
const CHUNK: usize = 1 << 20;
/// Largest number of axes of a stated shape.
const MAX_AXES: usize = 8;

/// Indices of the scales of 8-bit floats whose elements are all powers of two from 2^-127 to 2^127. Reads the scales.
/// They are about a thousandth of the weights.
pub(crate) fn powers_of_two(tensors: &[SourceTensor], shards: &[Shard]) -> Result<HashSet<usize>, SourceError> {
    let weights = tensors.iter().filter(|tensor| tensor.dtype == Dtype::F8E4M3);
    let names: HashSet<String> = weights.flat_map(|tensor| form::fp8_scales(&tensor.name)).collect();
    let mut found = HashSet::new();
    let mut files: HashMap<usize, Box<dyn OpenData>> = HashMap::new();
    let mut buffer = Vec::new();
    for (at, tensor) in tensors.iter().enumerate().filter(|(_, tensor)| names.contains(&tensor.name)) {
        let fail = |source| SourceError::Io { path: shards[tensor.shard].path.clone(), source };
        let file = match files.entry(tensor.shard) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(closed) => closed.insert(shards[tensor.shard].data.open().map_err(fail)?),
        };
        let mut from = tensor.range.start;
        let mut holds = true;
        while from < tensor.range.end && holds {
            let len = usize::try_from(tensor.range.end - from).unwrap_or(usize::MAX).min(CHUNK);
            memory::resize(&mut buffer, len).map_err(|error| fail(error.into()))?;
            file.read_exact_at(&mut buffer, from).map_err(fail)?;
            holds = are_powers(tensor.dtype, &buffer);
            from += len as u64;
        }
        if holds {
            found.insert(at);
        }
    }
    Ok(found)
}

/// The values of the tensors called `weight_shape` beside packed weights, by the index of the tensor. Each has a few
/// bytes.
pub(crate) fn stated_shapes(
    tensors: &[SourceTensor],
    shards: &[Shard],
) -> Result<HashMap<usize, Vec<i64>>, SourceError> {
    let mut files: HashMap<usize, Box<dyn OpenData>> = HashMap::new();
    let mut found = HashMap::new();
    let is_shape = |tensor: &SourceTensor| {
        tensor.name.ends_with(".weight_shape")
            && matches!(tensor.dtype, Dtype::I32 | Dtype::I64)
            && tensor.shape.elements().is_some_and(|count| count <= MAX_AXES as u64)
    };
    for (at, tensor) in tensors.iter().enumerate().filter(|(_, tensor)| is_shape(tensor)) {
        let fail = |source| SourceError::Io { path: shards[tensor.shard].path.clone(), source };
        let file = match files.entry(tensor.shard) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(closed) => closed.insert(shards[tensor.shard].data.open().map_err(fail)?),
        };
        let mut buffer = [0; 8 * MAX_AXES];
        let len = usize::try_from(tensor.range.end - tensor.range.start).unwrap_or(usize::MAX).min(buffer.len());
        file.read_exact_at(&mut buffer[..len], tensor.range.start).map_err(fail)?;
        let values = if tensor.dtype == Dtype::I64 {
            let each = buffer[..len].chunks_exact(8);
            each.map(|bytes| i64::from_le_bytes(bytes.try_into().expect("chunks of this length"))).collect()
        } else {
            let each = buffer[..len].chunks_exact(4);
            each.map(|bytes| i32::from_le_bytes(bytes.try_into().expect("chunks of this length")).into()).collect()
        };
        found.insert(at, values);
    }
    Ok(found)
}

fn are_powers(dtype: Dtype, bytes: &[u8]) -> bool {
    match dtype {
        Dtype::F8E8M0 => bytes.iter().all(|byte| *byte != u8::MAX),
        Dtype::F32 => floats(bytes, u32::from_le_bytes),
        Dtype::BF16 => floats(bytes, |bytes| u32::from(u16::from_le_bytes(bytes)) << 16),
        Dtype::F16 => floats(bytes, |bytes| half(u16::from_le_bytes(bytes))),
        _ => false,
    }
}

/// Whether all elements, widened to the bits of F32, are positive powers of two that E8M0 can hold.
fn floats<const N: usize>(bytes: &[u8], widen: impl Fn([u8; N]) -> u32) -> bool {
    bytes.chunks_exact(N).all(|bytes| is_power_of_two(widen(bytes.try_into().expect("chunks of this length"))))
}

fn is_power_of_two(bits: u32) -> bool {
    // 2^-127 is subnormal in F32.
    bits == 1 << 22 || (bits.trailing_zeros() >= 23 && (1..255).contains(&(bits >> 23)))
}

/// Widens an F16 that is a positive power of two to the bits of an F32. Any other value becomes bits that are no power
/// of two.
fn half(bits: u16) -> u32 {
    let (exponent, mantissa) = (u32::from(bits >> 10), u32::from(bits & 0x3FF));
    match (exponent, mantissa) {
        (1..=30, 0) => (exponent + 112) << 23,
        (0, mantissa) if mantissa.is_power_of_two() => (mantissa.ilog2() + 103) << 23,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_in_every_type() {
        for exponent in -127..=127 {
            let value = 2f64.powi(exponent);
            #[expect(clippy::cast_possible_truncation, reason = "a power of two that F32 has")]
            let bits = (value as f32).to_bits();
            assert!(is_power_of_two(bits), "{exponent}");
            assert!(!is_power_of_two(bits | 1) && !is_power_of_two(bits | 1 << 31), "{exponent}");
        }
        for bits in [0, 1, 0x7F80_0000, 0x7FC0_0000, 1.5f32.to_bits()] {
            assert!(!is_power_of_two(bits));
        }
        for (bits, value) in
            [(0x3C00, 1.0f32), (0x3800, 0.5), (0x0400, 2f32.powi(-14)), (1, 2f32.powi(-24)), (2, 2f32.powi(-23))]
        {
            assert_eq!(half(bits), value.to_bits());
        }
        for bits in [0, 3, 0x7C00, 0x7E00, 0xBC00, 0x3C01] {
            assert!(!is_power_of_two(half(bits)), "{bits:x}");
        }
    }
}
