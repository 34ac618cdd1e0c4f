//! Refusing a plan that was made from another source, before anything is written.

use super::ImportError;
use crate::{
    coding::Coding,
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
    for &at in &tensor.sources {
        let Some(of_source) = source.tensors.get(at) else {
            return Err(format!("{:?} is made from tensor {at} of {}", tensor.name, source.tensors.len()));
        };
        if tensor.coding == Coding::Plain && of_source.dtype != tensor.dtype {
            return Err(format!("{:?} is {}, expected {}", of_source.name, of_source.dtype, tensor.dtype));
        }
        found = found.saturating_add(of_source.byte_len());
    }
    let expected = tensor.source_len();
    if found != expected {
        return Err(format!("{:?} is made from {found} bytes, expected {expected}", tensor.name));
    }
    Ok(())
}
