//! Refusal of names that occur more than once in a plan.

use std::collections::{HashMap, HashSet};

use longshore_manifest::document::Role;

use super::{draft::Draft, error::PlanError, planned::PlannedTensor};
use crate::source::checkpoint::Source;

/// Roles of the companions of a quantized tensor. A reader takes a tensor with a companion's name for that companion.
const COMPANIONS: [Role; 3] = [Role::Scale, Role::Bias, Role::GlobalScale];

/// Refuses a name that two blobs or two tensors have, and tensors with the name of a quantized tensor's companion.
pub(super) fn names(blobs: &[Draft], source: &Source) -> Result<(), PlanError> {
    let origin = |tensor: &PlannedTensor| {
        let first = tensor.units.first();
        first.map(|unit| source.tensors[unit.parts.weight].name.clone()).unwrap_or_default()
    };
    let first_tensor = |blob: &Draft| origin(&blob.tensors[0]);
    // Names are unique within a component. Other components may use the same names.
    let mut blob_names: HashMap<(Option<&str>, &str), &Draft> = HashMap::with_capacity(blobs.len());
    let mut tensor_names: HashMap<(Option<&str>, &str), &PlannedTensor> = HashMap::with_capacity(blobs.len());
    for blob in blobs {
        let component = blob.component.as_deref();
        if let Some(other) = blob_names.insert((component, &blob.name), blob) {
            let name = blob.name.clone();
            return Err(PlanError::Clash { name, first: first_tensor(other), second: first_tensor(blob) });
        }
        for tensor in &blob.tensors {
            if let Some(other) = tensor_names.insert((component, &tensor.name), tensor) {
                let name = tensor.name.clone();
                return Err(PlanError::Clash { name, first: origin(other), second: origin(tensor) });
            }
        }
    }
    for blob in blobs.iter().filter(|blob| blob.scheme().is_some()) {
        let component = blob.component.as_deref();
        let in_blob: HashSet<&str> = blob.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        for tensor in &blob.tensors {
            // A reader takes a plain tensor for a quantized one only in a blob whose metadata names a scheme.
            let is_taken = |name: &str| match tensor.scheme {
                Some(_) => tensor_names.contains_key(&(component, name)),
                None => in_blob.contains(name),
            };
            let mut names = COMPANIONS.iter().map(|role| format!("{}{}", tensor.name, role.suffix()));
            let taken = names.find(|name| is_taken(name));
            if let Some(taken) = taken {
                return Err(PlanError::Reserved { tensor: taken, owner: tensor.name.clone() });
            }
        }
    }
    Ok(())
}
