//! Planning the tensors of GGUF files.

use std::collections::HashSet;

use longshore_manifest::document::{Arrangement, Change};

use super::{
    blocks::{BlockDecider, BlockDecision},
    draft::Draft,
    error::PlanError,
    nvfp4::{self, Scales},
    options::PlanOptions,
    planned::{PlannedTensor, Unit},
};
use crate::{
    gguf::names::Canonical,
    model::{coding::kind::Coding, tensor::ModelTensor},
    source::{inventory::Contents, member::Member},
    tensor::SourceTensor,
};

/// Plans the tensors of a member that consists of GGUF files, or was imported from some. Each becomes a blob of its own,
/// with the values that the file has or in the scheme that the options ask for.
pub(super) fn drafts(
    member: &Member,
    files: &[SourceTensor],
    tensors: &[ModelTensor],
    options: &PlanOptions,
) -> Result<Vec<Draft>, PlanError> {
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
    let mut planner = Planner {
        files,
        tensors,
        scales: nvfp4::scales(tensors),
        decider: BlockDecider::new(member, options),
        used: HashSet::new(),
    };
    let found = names.iter().map(|canonical| planner.tensor(canonical)).collect::<Result<Vec<_>, _>>()?;
    let Planner { decider, used, .. } = planner;
    decider.finish()?;
    // The scale of an NVFP4 tensor is part of the tensor that it was taken over with.
    let is_used = |tensor: &PlannedTensor| tensor.units.iter().any(|unit| used.contains(&unit.parts.weight));
    let found = found.into_iter().filter(|tensor| !is_used(tensor));
    Ok(found.map(|tensor| Draft::new(tensor.name.clone(), vec![tensor])).collect())
}

struct Planner<'a> {
    files: &'a [SourceTensor],
    tensors: &'a [ModelTensor],
    scales: Scales,
    decider: BlockDecider<'a>,
    /// Scales that are parts of other tensors.
    used: HashSet<usize>,
}

impl Planner<'_> {
    fn tensor(&mut self, canonical: &Canonical) -> Result<PlannedTensor, PlanError> {
        let Canonical { name, shape, arrangement, change, ulps, offset, sources } = canonical.clone();
        let ModelTensor { dtype, coding, .. } = self.tensors[sources[0]];
        let decision = match coding {
            // Parts of one tensor have no scale in common.
            Coding::Ggml { blocks } if self.has_several_scales(canonical) => BlockDecision {
                scheme: None,
                dtype,
                coding,
                rule: format!("{}: kept, its sources have scales of their own", blocks.name).into(),
            },
            _ => self.decider.decide(&name, dtype, &shape, coding)?,
        };
        let BlockDecision { scheme, dtype, coding, rule } = decision;
        let units = sources.iter().map(|at| &self.tensors[*at]);
        let mut units: Vec<Unit> = units.map(|unit| Unit { name: unit.name.clone(), parts: unit.parts }).collect();
        let mut global_scale = None;
        if let [unit] = &mut *units {
            global_scale = nvfp4::global_scale(&self.scales, scheme, coding, &unit.name, &shape, &mut unit.parts);
            if let (Coding::Ggml { .. }, Some(at)) = (coding, unit.parts.global_scale) {
                self.used.insert(at);
            }
        }
        let parts = units.iter().flat_map(|unit| unit.parts.iter());
        let all = parts.map(|(_, at)| self.files[at].byte_len()).fold(0, u64::saturating_add);
        let source_len = match arrangement {
            // The rest of the source is another tensor's.
            Arrangement::Rows { axis, of, .. } => {
                let rows = shape.dims().get(usize::from(axis)).copied().unwrap_or_default();
                all.checked_div(of).unwrap_or_default().saturating_mul(rows)
            }
            _ => all,
        };
        let mut planned = PlannedTensor {
            name,
            dtype,
            shape,
            scheme,
            global_scale,
            arrangement,
            change,
            ulps,
            offset,
            coding,
            units,
            rule,
            source_len,
            merges: Vec::new(),
            replaced: None,
            turn: None,
            factors: None,
        };
        if planned.global_scale.is_none() && planned.has_global_scale() {
            let scale = planned.units.first().and_then(|unit| unit.parts.global_scale);
            planned.global_scale = scale.map(|at| self.files[at].shape.clone());
        }
        Ok(planned)
    }
    /// Whether a tensor is not one whole source, and its sources have scales for a whole tensor.
    fn has_several_scales(&self, canonical: &Canonical) -> bool {
        let is_whole = canonical.sources.len() == 1 && !matches!(canonical.arrangement, Arrangement::Rows { .. });
        !is_whole && canonical.sources.iter().any(|at| nvfp4::has_scale(&self.scales, &self.tensors[*at].name))
    }
}
