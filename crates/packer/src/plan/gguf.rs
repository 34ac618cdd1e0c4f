//! Planning the tensors of GGUF files.

use super::{
    layout::Draft,
    planned::{PlannedTensor, Unit},
};
use crate::{
    gguf::names::{Canonical, canonical},
    model::{coding::kind::Coding, tensor::ModelTensor},
    source::member::Member,
    tensor::SourceTensor,
};

/// Plans the tensors of a member that consists of GGUF files, or was imported from some. Each becomes a blob of its own,
/// with the bytes that the file has.
pub(super) fn drafts(member: &Member, files: &[SourceTensor], tensors: Vec<ModelTensor>) -> Vec<Draft> {
    let is_stored = member.stored().is_some();
    let drafts = tensors.into_iter().map(|tensor| {
        let ModelTensor { name: own, dtype, shape, coding, parts } = tensor;
        let Canonical { name, arrangement } =
            if is_stored { Canonical::kept(&own) } else { canonical(member.architecture(), &own) };
        let rule = match coding {
            Coding::Ggml { blocks } => format!("{}: kept", blocks.name).into(),
            _ => format!("{dtype}: kept").into(),
        };
        let source_len = parts.iter().map(|(_, at)| files[at].byte_len()).fold(0, u64::saturating_add);
        let planned = PlannedTensor {
            name: name.clone(),
            dtype,
            shape,
            scheme: None,
            global_scale: None,
            arrangement,
            coding,
            units: vec![Unit { name: own, parts }],
            rule,
            source_len,
        };
        Draft::new(name, vec![planned])
    });
    drafts.collect()
}
