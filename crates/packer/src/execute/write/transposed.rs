//! Writing AWQ and GPTQ weights: integers of a matrix that has to be transposed.

use longshore_manifest::document::Role;
use longshore_quant::{
    EncodeBuffers, FloatType, Scheme,
    layout::{LayoutError, Packing, Transposed, TransposedParts},
};

use super::{
    finite,
    target::{Noticed, Target},
};
use crate::{
    execute::{
        error::ImportError,
        read::{matrices::Matrices, piece::as_index},
    },
    io::memory,
};

/// Number of bytes of AWQ or GPTQ codes that are transposed at a time. A larger number makes the short lines longer
/// that the source is read in.
const SLAB: u64 = 2 << 20;

/// Transposes a few outputs of a source matrix at a time. Outputs are columns in the source and rows in the store.
pub(super) fn repack(target: &mut Target<'_, '_>, scheme: Scheme, packing: Packing) -> Result<Noticed, ImportError> {
    let (tensor, files) = (target.tensor, target.files);
    let fail = |source| ImportError::Repack { tensor: tensor.name.clone(), source };
    let not_finite = |scales: &[u8]| finite::not_finite(scheme, tensor.dtype, scales);
    let Matrices { rows: outputs, columns: inputs, .. } = Matrices::of(tensor);
    let width = u64::from(scheme.bits());
    let group = u64::from(scheme.group_size());
    let (groups, per_word) = (inputs / group, 32 / width);
    let stored = tensor.float();
    let starts = [Role::Weight, Role::Scale, Role::Bias].map(|role| target.start(role));
    let most = (SLAB / (inputs * width / 8).max(1) / per_word * per_word).max(per_word);
    let [mut codes, mut zeros, mut scales, mut order] = [const { Vec::new() }; 4];
    let [mut weight, mut scale, mut bias] = [const { Vec::new() }; 3];
    let mut found = Noticed::default();
    for (number, unit) in tensor.units.iter().enumerate() {
        let of_codes = files.tensor(unit.parts.weight);
        let of_zeros = files.tensor(unit.parts.zeros.expect("the coding was recognised by its zeros"));
        let of_scales = files.scales(unit);
        let float: FloatType = of_scales.dtype.name().parse().expect("the coding was recognised by it");
        let has_order = unit.parts.group_index.is_some();
        if let Some(index) = unit.parts.group_index {
            memory::resize(&mut order, as_index(4 * inputs))?;
            files.read(files.tensor(index), 0, &mut order)?;
        }
        let mut from = 0;
        while from < outputs {
            target.check()?;
            let taken = most.min(outputs - from);
            // Codes lie in words of 32 bits. In AWQ a word holds several outputs of one input, in GPTQ several inputs
            // of one output.
            let (lines, unit_bytes, per_unit) = match packing {
                Packing::Awq => (inputs, 4, per_word),
                _ => (inputs / per_word, 4, 1),
            };
            let line = |total: u64, per: u64, size: u64| (total / per * size, from / per * size, taken / per * size);
            for (source, lines, (stride, at, len), out) in [
                (of_codes, lines, line(outputs, per_unit, unit_bytes), &mut codes),
                (of_zeros, groups, line(outputs, per_word, 4), &mut zeros),
                (of_scales, groups, line(outputs, 1, float.size() as u64), &mut scales),
            ] {
                memory::resize(out, as_index(lines * len))?;
                if len == 0 {
                    continue;
                }
                for (line, out) in (0..lines).zip(out.chunks_exact_mut(as_index(len))) {
                    files.read(source, line * stride + at, out)?;
                }
            }
            let group_index = has_order.then_some(order.as_slice());
            let parts = TransposedParts { weight: &codes, zeros: &zeros, scales: &scales, float, group_index };
            memory::resize(&mut weight, as_index(taken * inputs * width / 8))?;
            memory::resize(&mut scale, as_index(taken * groups) * stored.size())?;
            memory::resize(&mut bias, scale.len())?;
            let out = EncodeBuffers { weight: &mut weight, scale: &mut scale, bias: &mut bias };
            let shape = [as_index(taken), as_index(inputs)];
            Transposed::new(packing, scheme.bits(), shape, as_index(group), parts)
                .and_then(|source| source.to_affine(0, stored, out))
                .map_err(fail)?;
            let checked = match (stored, float) {
                (FloatType::F32, FloatType::F32) => biases_are_exact(&scale, &bias),
                (FloatType::F32, _) => Ok(()),
                _ => in_the_middle(packing, scheme.bits(), &zeros),
            };
            checked.map_err(fail)?;
            found.stats.non_finite += not_finite(&scale).max(not_finite(&bias)) * group;
            let row = number as u64 * outputs + from;
            let scales_at = row * groups * stored.size() as u64;
            for (start, at, bytes) in [
                (starts[0], row * inputs * width / 8, &weight),
                (starts[1], scales_at, &scale),
                (starts[2], scales_at, &bias),
            ] {
                target.write_at(start + at, bytes)?;
            }
            target.progress.advance((codes.len() + zeros.len() + scales.len()) as u64);
            from += taken;
        }
    }
    Ok(found)
}

/// Checks that all zeros are the middle code. The middle code is a power of two, so its products with scales are exact
/// in the type of the scales.
fn in_the_middle(packing: Packing, bits: u8, zeros: &[u8]) -> Result<(), LayoutError> {
    let middle = 1_u32 << (bits - 1);
    let stored = if packing == Packing::Gptq { middle - 1 } else { middle };
    let word = (0..32 / u32::from(bits)).fold(0_u32, |word, place| word | stored << (place * u32::from(bits)));
    match zeros.chunks_exact(4).find(|bytes| **bytes != word.to_le_bytes()) {
        None => Ok(()),
        Some(bytes) => Err(LayoutError::Lossy {
            expected: "zeros in the middle, as the configuration promises (sym)",
            found: format!("the word of zeros {bytes:02x?}"),
        }),
    }
}

/// Checks that F32 biases are exact multiples of their scales.
fn biases_are_exact(scales: &[u8], biases: &[u8]) -> Result<(), LayoutError> {
    let read = |bytes: &[u8]| f64::from(f32::from_le_bytes(bytes.try_into().expect("chunks of this length")));
    for (scale, bias) in scales.chunks_exact(4).zip(biases.chunks_exact(4)) {
        let (scale, bias) = (read(scale), read(bias));
        // Zeros have at most 9 bits and scales 24. Rounding can therefore not lead to another zero, and F64 holds the
        // products exactly.
        #[expect(clippy::float_cmp, reason = "exactness is what is asked")]
        let is_exact = bias.is_finite() && (bias == 0.0 || (bias / scale).round() * scale == bias);
        if !is_exact && scale.is_finite() {
            let found = format!("the scale {scale}, whose product with its zero F32 rounds to {bias}");
            return Err(LayoutError::Lossy { expected: "scales whose products with zeros F32 holds", found });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_in_the_middle() {
        for (packing, bits, byte) in [
            (Packing::Gptq, 4, 0x77),
            (Packing::GptqV2, 4, 0x88),
            (Packing::Awq, 4, 0x88),
            (Packing::Gptq, 8, 0x7F),
            (Packing::Gptq, 2, 0x55),
            (Packing::GptqV2, 2, 0xAA),
        ] {
            assert_eq!(in_the_middle(packing, bits, &[byte; 8]), Ok(()));
            assert!(in_the_middle(packing, bits, &[byte, byte, byte, byte, byte, byte ^ 1, byte, byte]).is_err());
        }
    }

    #[test]
    fn rounded_biases_are_found() {
        let check = |scale: f32, zero: f32| biases_are_exact(&scale.to_le_bytes(), &(-zero * scale).to_le_bytes());
        for (scale, zero) in [(0.1, 8.0), (0.1, 128.0), (0.0, 7.0), (1.5, 11.0), (-0.25, 256.0), (f32::NAN, 3.0)] {
            assert_eq!(check(scale, zero), Ok(()), "{scale} {zero}");
        }
        for (scale, zero) in [(0.1, 7.0), (1.000_000_1, 11.0), (f32::MAX, 2.0)] {
            assert!(check(scale, zero).is_err(), "{scale} {zero}");
        }
    }
}
