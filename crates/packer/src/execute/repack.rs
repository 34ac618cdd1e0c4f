//! Writing tensors whose codes are kept.

use longshore_manifest::{Progress, document::Role, store::BlobWriter};
use longshore_quant::{
    EncodeBuffers, FloatType, Format, Scheme,
    layout::{LayoutError, Packing, Transposed, TransposedParts},
};
use longshore_st_format::Dtype;

use super::{
    ImportError,
    blob::{Noticed, part},
    coded::{Fp8Blocks, Matrices},
    packed::{NAN, PackedParts},
    reader::as_index,
    shards::ShardFiles,
};
use crate::{
    coding::{Coding, GROUP_INDEX, SCALES, WEIGHT, ZEROS},
    plan::{PlannedBlob, PlannedTensor},
};

/// Bytes of a part that are read and written at a time.
const CHUNK: u64 = 256 << 10;
/// Bytes of the codes of AWQ or GPTQ that are turned at a time. Their source is read in short lines, the longer the larger this is.
const SLAB: u64 = 2 << 20;

/// Repacks one planned tensor.
pub(super) struct Repacker<'a, 'w> {
    pub(super) files: &'a ShardFiles<'a>,
    pub(super) blob: &'a PlannedBlob,
    pub(super) tensor: &'a PlannedTensor,
    pub(super) scheme: Scheme,
    pub(super) writer: &'a mut BlobWriter<'w>,
    pub(super) progress: &'a dyn Progress,
    pub(super) stop: &'a dyn Fn() -> bool,
}

impl Repacker<'_, '_> {
    pub(super) fn run(mut self) -> Result<Noticed, ImportError> {
        match self.tensor.coding {
            Coding::Fp8 { block, .. } => self.fp8(block),
            Coding::Packed { .. } => self.packed(),
            Coding::Transposed { packing, .. } => self.transposed(packing),
            Coding::Plain | Coding::Double => unreachable!("BUG: plain values have no codes to repack"),
        }
    }

    fn check(&self) -> Result<(), ImportError> {
        if (self.stop)() { Err(ImportError::Cancelled) } else { Ok(()) }
    }

    fn start(&self, role: Role) -> u64 {
        part(self.blob, self.tensor, role).range.start
    }

    fn fail(&self, source: LayoutError) -> ImportError {
        ImportError::Repack { tensor: self.tensor.name.clone(), source }
    }

    /// Bytes as they are, and a scale for each group instead of each block.
    fn fp8(&mut self, block: [u64; 2]) -> Result<Noticed, ImportError> {
        let matrices = Matrices::of(self.tensor);
        let Matrices { count, rows, columns, .. } = matrices;
        let groups = columns / u64::from(self.scheme.group_size());
        let (weight_start, scale_start) = (self.start(Role::Weight), self.start(Role::Scale));
        let band = (CHUNK / columns.max(1)).max(1);
        let blocks = Fp8Blocks::new(self.files, self.tensor, matrices, block);
        let (mut weight, mut scales, mut of_blocks) = (Vec::new(), Vec::new(), Vec::new());
        let mut found = Noticed::default();
        for matrix in 0..count {
            let (unit, within) = matrices.place(matrix);
            let source = self.files.tensor(self.tensor.source(WEIGHT, unit).expect("every unit has a weight"));
            let mut row = 0;
            while row < rows {
                self.check()?;
                let taken = band.min(rows - row);
                let at = matrix * rows + row;
                weight.resize(as_index(taken * columns), 0);
                self.files.read(source, (within * rows + row) * columns, &mut weight)?;
                found.stats.non_finite += weight.iter().filter(|byte| **byte & NAN == NAN).count() as u64;
                self.writer.write_at(weight_start + at * columns, &weight)?;
                scales.resize(as_index(taken * groups), 0);
                let (blocks, first) = blocks.rows((matrix, row), taken, &mut of_blocks)?;
                let written = blocks.and_then(|blocks| blocks.mxfp8_scales(first, &mut scales));
                written.map_err(|source| self.fail(source))?;
                self.writer.write_at(scale_start + at * groups, &scales)?;
                self.progress.advance(weight.len() as u64);
                row += taken;
            }
        }
        Ok(found)
    }

    fn packed(&mut self) -> Result<Noticed, ImportError> {
        let parts = PackedParts::new(self.files, self.tensor, self.scheme);
        let mut found = Noticed::default();
        let mut buffer = Vec::new();
        let mut roles = vec![Role::Weight, Role::Scale];
        roles.extend(self.scheme.has_bias().then_some(Role::Bias));
        for role in roles {
            let (start, len) = (self.start(role), parts.group_len(role) as u64);
            let each = (CHUNK / len).max(1);
            let mut group = 0;
            while group < parts.groups() {
                self.check()?;
                let count = each.min(parts.groups() - group);
                if role == Role::Weight {
                    found.mended += parts.read_codes(group, count, &mut buffer)?;
                } else {
                    parts.read(role, group, count, &mut buffer)?;
                    let spoilt = self.not_finite(&buffer) * u64::from(self.scheme.group_size());
                    found.stats.non_finite = found.stats.non_finite.saturating_add(spoilt);
                }
                self.writer.write_at(start + group * len, &buffer)?;
                self.progress.advance(buffer.len() as u64);
                group += count;
            }
        }
        if let Some(shape) = &self.tensor.global_scale {
            let start = self.start(Role::GlobalScale);
            for unit in 0..as_index(shape.elements().unwrap_or_default()) {
                let global = parts.global_scale(unit)?.expect("the plan asked the same");
                self.writer.write_at(start + 4 * unit as u64, &global.to_le_bytes())?;
            }
        }
        Ok(found)
    }

    /// How many of these scales or biases are infinite or NaN.
    fn not_finite(&self, scales: &[u8]) -> u64 {
        let count = match (self.scheme.format(), self.tensor.dtype) {
            (Format::Affine { .. }, Dtype::F32) => {
                scales.chunks_exact(4).filter(|bytes| bytes[3] & 0x7F == 0x7F && bytes[2] & 0x80 != 0).count()
            }
            (Format::Affine { .. }, Dtype::F16) => {
                scales.chunks_exact(2).filter(|bytes| bytes[1] & 0x7C == 0x7C).count()
            }
            (Format::Affine { .. }, _) => {
                scales.chunks_exact(2).filter(|bytes| bytes[1] & 0x7F == 0x7F && bytes[0] & 0x80 != 0).count()
            }
            _ if self.scheme == Scheme::NVFP4 => scales.iter().filter(|byte| **byte & NAN == NAN).count(),
            // E8M0's NaN.
            _ => scales.iter().map(|byte| usize::from(*byte == u8::MAX)).sum(),
        };
        count as u64
    }

    /// A few outputs of one of the source's matrices at a time: columns there, rows here.
    fn transposed(&mut self, packing: Packing) -> Result<Noticed, ImportError> {
        let Matrices { rows: outputs, columns: inputs, .. } = Matrices::of(self.tensor);
        let width = u64::from(self.scheme.bits());
        let group = u64::from(self.scheme.group_size());
        let (groups, per_word) = (inputs / group, 32 / width);
        let stored = self.tensor.float();
        let starts = [Role::Weight, Role::Scale, Role::Bias].map(|role| self.start(role));
        let most = (SLAB / (inputs * width / 8).max(1) / per_word * per_word).max(per_word);
        let [mut codes, mut zeros, mut scales, mut order] = [const { Vec::new() }; 4];
        let [mut weight, mut scale, mut bias] = [const { Vec::new() }; 3];
        let mut found = Noticed::default();
        for unit in 0..self.tensor.names.len() {
            let source = |role| self.tensor.source(role, unit).map(|at| self.files.tensor(at));
            let needed = |role| source(role).expect("the coding was recognised by it");
            let float: FloatType = needed(SCALES).dtype.name().parse().expect("the coding was recognised by it");
            let has_order = source(GROUP_INDEX).is_some();
            if let Some(index) = source(GROUP_INDEX) {
                order.resize(as_index(4 * inputs), 0);
                self.files.read(index, 0, &mut order)?;
            }
            let mut from = 0;
            while from < outputs {
                self.check()?;
                let taken = most.min(outputs - from);
                // Words of 32 bits: of codes along the outputs in AWQ, along the inputs in GPTQ.
                let (lines, unit_bytes, per_unit) = match packing {
                    Packing::Awq => (inputs, 4, per_word),
                    _ => (inputs / per_word, 4, 1),
                };
                let line =
                    |total: u64, per: u64, size: u64| (total / per * size, from / per * size, taken / per * size);
                for (role, lines, (stride, at, len), out) in [
                    (WEIGHT, lines, line(outputs, per_unit, unit_bytes), &mut codes),
                    (ZEROS, groups, line(outputs, per_word, 4), &mut zeros),
                    (SCALES, groups, line(outputs, 1, float.size() as u64), &mut scales),
                ] {
                    out.resize(as_index(lines * len), 0);
                    if len == 0 {
                        continue;
                    }
                    for (number, out) in (0..lines).zip(out.chunks_exact_mut(as_index(len))) {
                        self.files.read(needed(role), number * stride + at, out)?;
                    }
                }
                let group_index = has_order.then_some(order.as_slice());
                let parts = TransposedParts { weight: &codes, zeros: &zeros, scales: &scales, float, group_index };
                weight.resize(as_index(taken * inputs * width / 8), 0);
                scale.resize(as_index(taken * groups) * stored.size(), 0);
                bias.resize(scale.len(), 0);
                let out = EncodeBuffers { weight: &mut weight, scale: &mut scale, bias: &mut bias };
                let shape = [as_index(taken), as_index(inputs)];
                Transposed::new(packing, self.scheme.bits(), shape, as_index(group), parts)
                    .and_then(|source| source.to_affine(0, stored, out))
                    .map_err(|source| self.fail(source))?;
                let checked = match (stored, float) {
                    (FloatType::F32, FloatType::F32) => biases_are_exact(&scale, &bias),
                    (FloatType::F32, _) => Ok(()),
                    _ => in_the_middle(packing, self.scheme.bits(), &zeros),
                };
                checked.map_err(|source| self.fail(source))?;
                found.stats.non_finite += self.not_finite(&scale).max(self.not_finite(&bias)) * group;
                let row = unit as u64 * outputs + from;
                let of_scales = row * groups * stored.size() as u64;
                for (start, at, bytes) in [
                    (starts[0], row * inputs * width / 8, &weight),
                    (starts[1], of_scales, &scale),
                    (starts[2], of_scales, &bias),
                ] {
                    self.writer.write_at(start + at, bytes)?;
                }
                self.progress.advance((codes.len() + zeros.len() + scales.len()) as u64);
                from += taken;
            }
        }
        Ok(found)
    }
}

/// Makes sure that all zeros are the middle code, a power of two, whose products with scales are exact in the scales' type.
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

/// Makes sure that F32 biases are whole multiples of their scales, and not rounded.
fn biases_are_exact(scales: &[u8], biases: &[u8]) -> Result<(), LayoutError> {
    let read = |bytes: &[u8]| f64::from(f32::from_le_bytes(bytes.try_into().expect("chunks of this length")));
    for (scale, bias) in scales.chunks_exact(4).zip(biases.chunks_exact(4)) {
        let (scale, bias) = (read(scale), read(bias));
        // Zeros have 9 bits at most and scales 24, so that rounding does not lead to another zero, and F64 has their products.
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
