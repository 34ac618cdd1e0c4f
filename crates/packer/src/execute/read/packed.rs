//! Reading the parts of tensors whose codes are packed in the source as they will be in the store.

use longshore_manifest::document::Role;
use longshore_quant::{
    EncodedLen, FloatType, Scheme,
    layout::{LayoutError, global_scale_of_divisor, symmetric_biases},
};

use super::{piece::as_index, shards::ShardFiles};
use crate::{
    execute::error::ImportError,
    io::memory,
    model::coding::kind::{Coding, PackedLayout},
    plan::planned::PlannedTensor,
    tensor::SourceParts,
};

/// Reads any range of groups of any part. Groups are counted from the first of the whole tensor.
pub(in crate::execute) struct PackedParts<'a> {
    files: &'a ShardFiles<'a>,
    tensor: &'a PlannedTensor,
    layout: PackedLayout,
    /// Type of the scales and biases of an affine scheme.
    stored: FloatType,
    /// Length of one group in bytes, for each part.
    group: EncodedLen,
    groups_per_unit: u64,
}

impl<'a> PackedParts<'a> {
    /// Creates a reader for the parts of a tensor that is packed in `scheme`.
    pub(in crate::execute) fn new(files: &'a ShardFiles<'a>, tensor: &'a PlannedTensor, scheme: Scheme) -> Self {
        let Coding::Packed { layout, .. } = tensor.coding else {
            unreachable!("BUG: {:?} has no parts of its own", tensor.coding)
        };
        let stored = tensor.float();
        let elements = tensor.shape.elements().unwrap_or_default() / (tensor.units.len() as u64).max(1);
        let group = scheme.encoded_len(1, stored).expect("a group is small");
        Self { files, tensor, layout, stored, group, groups_per_unit: elements / u64::from(scheme.group_size()) }
    }

    /// The number of groups in the tensor.
    pub(in crate::execute) fn groups(&self) -> u64 {
        self.groups_per_unit * self.tensor.units.len() as u64
    }

    /// The length in bytes of one group of a part.
    pub(in crate::execute) fn group_len(&self, part: Role) -> usize {
        match part {
            Role::Weight => self.group.weight,
            Role::Scale => self.group.scale,
            _ => self.group.bias,
        }
    }

    /// Fills `out` with `count` groups of a part, starting at group `first`.
    pub(in crate::execute) fn read(
        &self,
        part: Role,
        first: u64,
        count: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), ImportError> {
        let len = self.group_len(part);
        memory::resize(out, as_index(count) * len)?;
        let source = |parts: &SourceParts| match (part, self.layout) {
            (Role::Weight, _) => Some(parts.weight),
            (Role::Bias, PackedLayout::Symmetric) | (Role::Scale, _) => parts.scales,
            _ => parts.biases,
        };
        let mut group = first;
        let mut rest = out.as_mut_slice();
        while !rest.is_empty() {
            let (unit, within) = (group / self.groups_per_unit, group % self.groups_per_unit);
            let here = (self.groups_per_unit - within).min((rest.len() / len) as u64);
            let source = source(&self.tensor.units[as_index(unit)].parts).expect("the coding was recognised by it");
            let (head, tail) = rest.split_at_mut(as_index(here) * len);
            self.files.read(self.files.tensor(source), within * len as u64, head)?;
            group += here;
            rest = tail;
        }
        if (part, self.layout) == (Role::Bias, PackedLayout::Symmetric) {
            let scales = out.clone();
            let bits = self.tensor.coding.exact_scheme().map_or(4, Scheme::bits);
            symmetric_biases(&scales, self.stored, bits, out)
                .map_err(|source| ImportError::Repack { tensor: self.tensor.name.clone(), source })?;
        }
        Ok(())
    }

    /// The number of groups, within one source tensor, that share one global scale.
    pub(in crate::execute) fn groups_per_unit(&self) -> u64 {
        self.groups_per_unit / self.experts_in_unit().max(1)
    }

    /// The number of global scales in one array of the source. A store keeps the global scales of a stack's experts in
    /// one array.
    fn experts_in_unit(&self) -> u64 {
        match (self.layout, self.tensor.units[0].parts.global_scale) {
            (PackedLayout::Stored, Some(at)) if self.group.bias == 0 => {
                self.files.tensor(at).shape.elements().unwrap_or(1)
            }
            _ => 1,
        }
    }

    /// Like [`Self::read`] for codes, but replaces MXFP8 codes that MLX wrote as NaN by mistake with the largest
    /// number. Returns the number of replaced codes.
    pub(in crate::execute) fn read_codes(&self, first: u64, count: u64, out: &mut Vec<u8>) -> Result<u64, ImportError> {
        self.read(Role::Weight, first, count, out)?;
        let is_of_mlx = matches!(self.layout, PackedLayout::Mlx | PackedLayout::Stored);
        let is_mended = is_of_mlx && self.tensor.coding.exact_scheme() == Some(Scheme::MXFP8);
        Ok(if is_mended { mend(out) } else { 0 })
    }

    /// The global scale of a source tensor, or of one expert in a stack, as a multiplier. `None` if there is no global
    /// scale.
    pub(in crate::execute) fn global_scale(&self, at: usize) -> Result<Option<f32>, ImportError> {
        let has_one = match self.layout {
            PackedLayout::Stored => self.group.bias == 0,
            layout => matches!(layout, PackedLayout::ModelOpt | PackedLayout::CompressedTensors),
        };
        if !has_one {
            return Ok(None);
        }
        let each = as_index(self.experts_in_unit().max(1));
        let Some(source) = self.tensor.units.get(at / each).and_then(|unit| unit.parts.global_scale) else {
            return Ok(None);
        };
        let mut bytes = [0; 4];
        self.files.read(self.files.tensor(source), 4 * (at % each) as u64, &mut bytes)?;
        let found = f32::from_le_bytes(bytes);
        let multiplier = match self.layout {
            PackedLayout::CompressedTensors => global_scale_of_divisor(found),
            _ if found >= 0.0 && found.is_finite() => Ok(found),
            _ => Err(LayoutError::Lossy {
                expected: "a finite global scale that is not negative",
                found: found.to_string(),
            }),
        };
        multiplier.map(Some).map_err(|source| ImportError::Repack { tensor: self.tensor.name.clone(), source })
    }
}

/// The NaN of E4M3, without the sign.
pub(in crate::execute) const NAN: u8 = 0x7F;

/// Replaces the NaN codes that MLX before 0.32.2 wrote for weights beyond the largest number by the code of the largest
/// number. Later versions of MLX read such codes as NaN. Returns the number of replaced codes.
fn mend(codes: &mut [u8]) -> u64 {
    let mut found = 0;
    for code in codes.iter_mut().filter(|code| **code & NAN == NAN) {
        *code -= 1;
        found += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_are_nan_become_the_largest() {
        let mut codes = [0x7F, 0xFF, 0x7E, 0xFE, 0, 0x80, 0x3F];
        assert_eq!(mend(&mut codes), 2);
        assert_eq!(codes, [0x7E, 0xFE, 0x7E, 0xFE, 0, 0x80, 0x3F]);
    }
}
