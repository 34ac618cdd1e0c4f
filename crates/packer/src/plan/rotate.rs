//! Rotation of the residual stream: what is done to which tensor of a plan.

use longshore_manifest::document::Arrangement;

use super::{
    adapt::is_decoded,
    anatomy::{BIASES, FIRST, OTHERS, READERS, SECOND, WRITERS},
    draft::Draft,
    error::PlanError,
    options::PlanOptions,
    planned::{PlannedTensor, Turn, float_type},
};
use crate::{
    model::tensor::ModelTensor,
    source::{
        checkpoint::Source,
        rotation::{HEAD, LAST_NORM, SourceRotation},
    },
};

const EMBEDDING: &str = "model.embed_tokens.weight";

/// Makes the head a copy of the embedding, if it is to become a tensor of its own.
pub(super) fn untie(source: &Source, tensors: &mut Vec<ModelTensor>) {
    if !source.rotation.as_ref().is_some_and(|rotation| rotation.is_untied) {
        return;
    }
    let embedding = tensors.iter().find(|tensor| tensor.name == EMBEDDING);
    let Some(head) = embedding.map(|embedding| ModelTensor { name: HEAD.to_owned(), ..embedding.clone() }) else {
        return;
    };
    tensors.retain(|tensor| tensor.name != HEAD);
    tensors.push(head);
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
}

/// Tells each tensor of `drafts` what rotation does to it. Returns a note for the user.
pub(super) fn rotate(
    source: &Source,
    options: &PlanOptions,
    drafts: &mut [Draft],
) -> Result<Option<String>, PlanError> {
    let Some(rotation) = &source.rotation else { return Ok(None) };
    let tensors = || drafts.iter().flat_map(|draft| &draft.tensors);
    if !tensors().any(|planned| planned.name == EMBEDDING) {
        return Err(in_the_way(EMBEDDING, "is missing"));
    }
    let mut turns = Vec::new();
    for planned in tensors() {
        let turn = match role(&planned.name) {
            Role::Reads { norm } => {
                let gain = norm.map(|norm| gain(&norm, rotation, tensors())).transpose()?;
                Some(Turn::Reads { gain })
            }
            Role::Writes => Some(Turn::Writes),
            Role::Gain => Some(Turn::Gain),
            Role::None => None,
            Role::Unknown if !planned.shape.dims().contains(&rotation.size) => None,
            Role::Unknown => {
                let problem = "has an extent as wide as the residual stream, and is none that a rotation is known to keep or \
                               to change";
                return Err(in_the_way(&planned.name, problem));
            }
        };
        if let Some(turn) = turn {
            check(planned, turn, rotation.size, options)?;
        }
        turns.push(turn);
    }
    for (planned, turn) in drafts.iter_mut().flat_map(|draft| &mut draft.tensors).zip(turns) {
        planned.turn = turn;
    }
    let (order, power) = rotation.rotation.orders();
    let head = if rotation.is_untied { ", and the head is a tensor of its own" } else { "" };
    Ok(Some(format!("the residual stream is rotated by a Hadamard matrix of order {order} × {power}{head}")))
}

/// The part of a tensor in the stream.
enum Role {
    Reads { norm: Option<String> },
    Writes,
    Gain,
    None,
    Unknown,
}

fn role(name: &str) -> Role {
    match name {
        EMBEDDING => return Role::Reads { norm: None },
        HEAD => return Role::Reads { norm: Some(LAST_NORM.into()) },
        LAST_NORM => return Role::Gain,
        _ => {}
    }
    let in_layer = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
    let Some((layer, rest)) = in_layer else { return Role::Unknown };
    if let Some((_, norm)) = READERS.iter().find(|(reader, _)| *reader == rest) {
        Role::Reads { norm: Some(format!("model.layers.{layer}.{norm}")) }
    } else if WRITERS.contains(&rest) {
        Role::Writes
    } else if BIASES.contains(&rest) {
        Role::Reads { norm: None }
    } else if [FIRST, SECOND].contains(&rest) {
        Role::Gain
    } else if OTHERS.contains(&rest) {
        Role::None
    } else {
        Role::Unknown
    }
}

/// The source tensor that holds the gain of a norm.
fn gain<'t>(
    name: &str,
    rotation: &SourceRotation,
    mut tensors: impl Iterator<Item = &'t PlannedTensor>,
) -> Result<usize, PlanError> {
    let fail = |problem: &str| in_the_way(name, problem);
    let norm = tensors.find(|planned| planned.name == name).ok_or_else(|| fail("is missing"))?;
    match &*norm.units {
        [unit] if norm.shape.dims() == [rotation.size] => Ok(unit.parts.weight),
        _ => Err(fail("is no vector as wide as the residual stream")),
    }
}

/// The error of a tensor that stands in the way.
fn in_the_way(tensor: &str, problem: impl Into<String>) -> PlanError {
    PlanError::Rotation { tensor: tensor.to_owned(), problem: problem.into(), hint: None }
}

/// Refuses tensors that cannot be turned.
fn check(planned: &PlannedTensor, turn: Turn, size: u64, options: &PlanOptions) -> Result<(), PlanError> {
    let fail = |problem: String| Err(in_the_way(&planned.name, problem));
    let width = match (turn, planned.shape.dims()) {
        (Turn::Reads { .. } | Turn::Gain, [.., last]) => Some(*last),
        (Turn::Writes, [.., rows, _]) => Some(*rows),
        _ => None,
    };
    if width != Some(size) {
        return fail(format!("has shape {}, and the residual stream {size} numbers", planned.shape));
    }
    if planned.arrangement == Arrangement::Transpose {
        return fail("has its inputs as rows, which are not rotated".into());
    }
    if !is_decoded(planned, options) {
        return Err(PlanError::Rotation {
            tensor: planned.name.clone(),
            problem: "is quantized already: its values would be decoded, rotated and quantized again".into(),
            hint: Some("rotate the model as it was before it was quantized, or add --requantize"),
        });
    }
    if float_type(planned.dtype).is_none() {
        return fail(format!("is {}, expected F32, F16 or BF16", planned.dtype));
    }
    Ok(())
}
