//! Names in a configuration that fit no module of the checkpoint.

use std::collections::BTreeMap;

use longshore_model::{WeightCoding, modules::Unmatched};
use longshore_quant::Scheme;

use super::{
    error::CodingError,
    extents::{self, Extents},
    files::Files,
    kind::{Coding, PackedLayout},
};
use crate::model::tensor::ModelTensor;

/// Returns warnings about names that set a coding and fit no module.
///
/// Refuses a name if one of the weights `found` may be meant by it: the weight's words and scales fit the coding under
/// that name as well as the coding that was used for the weight, and the two differ.
pub(super) fn check(files: &Files<'_>, found: &[ModelTensor]) -> Result<Vec<String>, CodingError> {
    let unmatched = files.modules.as_ref().map_or(&[][..], |modules| modules.unmatched());
    let Some(first) = unmatched.first() else { return Ok(Vec::new()) };
    let mut distinct: BTreeMap<(Option<u32>, Option<u32>), &Unmatched<'_>> = BTreeMap::new();
    for named in unmatched.iter().filter(|named| matches!(named.coding.mode.as_deref(), None | Some("affine"))) {
        distinct.entry((named.coding.bits, named.coding.group_size)).or_insert(named);
    }
    for tensor in found {
        let Coding::Packed { scheme, layout: layout @ (PackedLayout::Mlx | PackedLayout::Symmetric) } = tensor.coding
        else {
            continue;
        };
        if !scheme.is_affine() {
            continue;
        }
        for named in distinct.values() {
            let other = other_coding(files, tensor, scheme, named.coding);
            let Some(other) = other.filter(|other| layout == PackedLayout::Mlx || matches!(other.bits(), 4 | 8)) else {
                continue;
            };
            return Err(CodingError::Unmatched {
                module: named.name.to_owned(),
                said: other,
                tensor: files.tensors[tensor.parts.weight].name.clone(),
                used: scheme,
            });
        }
    }
    let (name, count) = (first.name, unmatched.len());
    Ok(vec![match count {
        1 => format!("config.json describes module {name:?}, and no tensor belongs to such a module"),
        _ => format!("config.json describes {count} modules that no tensor belongs to, {name:?} first"),
    }])
}

/// Returns a note about names that fit no module and set no coding: those of excluded modules, and empty descriptions.
pub(super) fn idle(files: &Files<'_>) -> Option<String> {
    let idle = files.modules.as_ref()?.idle();
    let (first, count) = (idle.first()?, idle.len());
    Some(match count {
        1 => format!("config.json's quantization names {first:?}, which fits no module and sets no coding"),
        _ => format!(
            "config.json's quantization has {count} names that fit no module and set no coding, {first:?} first"
        ),
    })
}

/// Returns the scheme that `said` gives the codes of `tensor`, unless it is `used` or other evidence speaks for `used`.
fn other_coding(files: &Files<'_>, tensor: &ModelTensor, used: Scheme, said: &WeightCoding) -> Option<Scheme> {
    let per_group = u64::from(used.bits()) * u64::from(used.group_size());
    let columns = tensor.shape.dims().last().copied()?;
    let groups = columns / u64::from(used.group_size());
    let module = tensor.name.strip_suffix(".weight").unwrap_or(&tensor.name);
    let known = Extents::of(files, module);
    let is_known = |columns: u64| known.names(columns).is_some();
    extents::affine(per_group).find(|other| {
        let is_said = said.bits.is_none_or(|bits| bits == u32::from(other.bits()))
            && said.group_size.is_none_or(|group| group == other.group_size());
        *other != used && is_said && (is_known(groups * u64::from(other.group_size())) || !is_known(columns))
    })
}
