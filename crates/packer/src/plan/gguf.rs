//! Planning the tensors of GGUF files.

use longshore_manifest::document::{Arrangement, Change};

use super::{
    layout::Draft,
    planned::{PlannedTensor, Unit},
};
use crate::{
    gguf::names::Canonical,
    model::{coding::kind::Coding, tensor::ModelTensor},
    source::{inventory::Contents, member::Member},
    tensor::SourceTensor,
};

/// Plans the tensors of a member that consists of GGUF files, or was imported from some. Each becomes a blob of its own.
pub(super) fn drafts(member: &Member, files: &[SourceTensor], tensors: &[ModelTensor]) -> Vec<Draft> {
    let kept = |(at, tensor): (usize, &ModelTensor)| Canonical {
        name: tensor.name.clone(),
        shape: tensor.shape.clone(),
        arrangement: Arrangement::None,
        change: Change::None,
        ulps: Vec::new(),
        offset: 0,
        sources: vec![at],
    };
    let own: Vec<Canonical>;
    let names = match &member.contents {
        Contents::Gguf(gguf) => &gguf.names.tensors,
        // An earlier import has named and arranged them.
        Contents::Checkpoint { .. } | Contents::Stored(_) => {
            own = tensors.iter().enumerate().map(kept).collect();
            &own
        }
    };
    names.iter().map(|canonical| draft(canonical, files, tensors)).collect()
}

fn draft(canonical: &Canonical, files: &[SourceTensor], tensors: &[ModelTensor]) -> Draft {
    let Canonical { name, shape, arrangement, change, ulps, offset, sources } = canonical.clone();
    let ModelTensor { dtype, coding, .. } = tensors[sources[0]];
    let rule = match coding {
        Coding::Ggml { blocks } => format!("{}: kept", blocks.name).into(),
        _ => format!("{dtype}: kept").into(),
    };
    let units = sources.iter().map(|at| &tensors[*at]);
    let units: Vec<Unit> = units.map(|unit| Unit { name: unit.name.clone(), parts: unit.parts }).collect();
    let parts = units.iter().flat_map(|unit| unit.parts.iter());
    let all = parts.map(|(_, at)| files[at].byte_len()).fold(0, u64::saturating_add);
    let source_len = match arrangement {
        // The rest of the source is another tensor's.
        Arrangement::Rows { axis, of, .. } => {
            let rows = shape.dims().get(usize::from(axis)).copied().unwrap_or_default();
            all.checked_div(of).unwrap_or_default().saturating_mul(rows)
        }
        _ => all,
    };
    let planned = PlannedTensor {
        name: name.clone(),
        dtype,
        shape,
        scheme: None,
        global_scale: None,
        arrangement,
        change,
        ulps,
        offset,
        coding,
        units,
        rule,
        source_len,
    };
    Draft::new(name, vec![planned])
}
