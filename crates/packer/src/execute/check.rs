//! Refusing a plan that was made from another source, before anything is written.

use longshore_st_format::Dtype;

use super::ImportError;
use crate::{
    coding::{Coding, SCALES},
    plan::{Plan, PlannedTensor},
    source::Source,
};

/// Refuses a plan that was made from another source.
pub(super) fn sources(source: &Source, plan: &Plan) -> Result<(), ImportError> {
    let mut tensors = plan.blobs.iter().flat_map(|blob| &blob.tensors);
    tensors.try_for_each(|tensor| of_tensor(source, tensor)).map_err(|problem| ImportError::OtherSource { problem })
}

fn of_tensor(source: &Source, tensor: &PlannedTensor) -> Result<(), String> {
    let mut found = 0_u64;
    for (place, &at) in tensor.sources.iter().enumerate() {
        let Some(of_source) = source.tensors.get(at) else {
            return Err(format!("{:?} is made from tensor {at} of {}", tensor.name, source.tensors.len()));
        };
        let expected = expected(tensor, place / tensor.names.len().max(1));
        if !expected.is_empty() && !expected.contains(&of_source.dtype) {
            let expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
            let expected = expected.join(" or ");
            return Err(format!("{:?} is {}, expected {expected}", of_source.name, of_source.dtype));
        }
        found = found.saturating_add(of_source.byte_len());
    }
    let expected = tensor.source_len();
    if found != expected {
        return Err(format!("{:?} is made from {found} bytes, expected {expected}", tensor.name));
    }
    Ok(())
}

/// The types that what plays `role` can have; none if any will do.
fn expected(tensor: &PlannedTensor, role: usize) -> Vec<Dtype> {
    let floats = || vec![Dtype::F32, Dtype::F16, Dtype::BF16];
    match (tensor.coding, role) {
        (Coding::Plain, _) => vec![tensor.dtype],
        (Coding::Double, _) => vec![Dtype::F64],
        (Coding::Fp8 { .. }, SCALES) => [floats(), vec![Dtype::F8E8M0]].concat(),
        (Coding::Fp8 { .. }, _) => vec![Dtype::F8E4M3],
        (Coding::Packed { scheme, .. }, SCALES) if scheme.is_affine() => vec![tensor.dtype],
        (Coding::Transposed { .. }, SCALES) => floats(),
        (Coding::Packed { .. } | Coding::Transposed { .. }, _) => Vec::new(),
    }
}
