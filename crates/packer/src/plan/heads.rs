//! The draft heads among the tensors of a plan.

use longshore_manifest::document::HeadRole;
use longshore_model::ModelConfig;

use super::{draft::Draft, error::PlanError};
use crate::{
    heads::{self, DraftTensors, Found, HeadError},
    source::{
        checkpoint::Source,
        classify::Kind,
        member::{DRAFT, Member},
    },
};

/// Finds the draft heads among `blobs`, which are planned for `source`.
pub(super) fn find(source: &Source, blobs: &[Draft]) -> Result<Found, PlanError> {
    // The names of a GGUF file are its own, and neither a pipeline nor an attachment writes text.
    if matches!(source.kind, Kind::Gguf | Kind::Pipeline) || source.base.is_some() {
        return Ok(Found::default());
    }
    let prefix = format!("{DRAFT}.");
    let member = source.members.iter().find(|member| Member::is_draft(member));
    let tensors = blobs.iter().flat_map(|blob| &blob.tensors);
    let tensors = tensors.map(|tensor| (tensor.name.as_str(), tensor.shape.dims()));
    let (of_draft, own): (Vec<_>, Vec<_>) =
        tensors.partition(|(name, _)| member.is_some() && name.starts_with(&prefix));
    let facts = source.config.as_ref().map(ModelConfig::facts).unwrap_or_default();
    let draft = member.map(|member| DraftTensors {
        tensors: of_draft.into_iter().map(|(name, shape)| (&name[prefix.len()..], shape)).collect(),
        hidden: member.config.as_ref().and_then(|config| config.facts().hidden_size),
        prefix: prefix.clone(),
    });
    let found = heads::find(&facts, own.into_iter(), draft).map_err(|source| PlanError::Head { source })?;
    let is_rotated = source.changes.as_ref().is_some_and(|changes| changes.rotation.is_some());
    if is_rotated && found.heads.iter().any(|head| head.role == HeadRole::Eagle3) {
        return Err(PlanError::Head { source: HeadError::Rotated });
    }
    Ok(found)
}
