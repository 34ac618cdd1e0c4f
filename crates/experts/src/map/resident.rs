//! The tensors that every token uses.

use std::collections::BTreeMap;

use longshore_manifest::document::{TensorEntry, TensorTable};

use super::{
    group::{Layer, Place},
    name,
};

/// A tensor that is no expert's own, and that every token uses.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Resident<'m> {
    /// The tensor.
    pub tensor: &'m TensorEntry,
    /// Use of the tensor.
    pub kind: ResidentKind,
}

/// Use of a tensor that is no expert's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResidentKind {
    /// Part of the experts that every token uses, or of their gate.
    SharedExpert,
    /// Part of what chooses the experts of a token.
    Router,
    /// Anything else: attention, norms, embeddings, dense layers.
    Other,
}

/// Parts of names that shared experts have in all families.
const SHARED: [&str; 6] = ["shared_expert", "shared_mlp", "shared_experts", "_shexp", "shared_moe", "share_expert"];
/// Modules beside the experts that choose them.
const ROUTERS: [&str; 4] = ["gate", "router", "ffn_gate_inp", "exp_probs_b"];

impl<'m> Resident<'m> {
    pub(super) fn new(tensor: &'m TensorEntry, kind: ResidentKind) -> Self {
        Self { tensor, kind }
    }
}

/// Tells the use of a tensor by its name and the names of the groups.
pub(super) fn kind(table: &TensorTable, layers: &BTreeMap<u32, Layer>, place: Place) -> ResidentKind {
    let tensor = &place.tensor(table).name;
    let number = name::layer(tensor).and_then(|(_, number)| number.parse::<u32>().ok());
    let Some(layer) = number.and_then(|number| layers.get(&number)) else { return ResidentKind::Other };
    if SHARED.iter().any(|part| tensor.contains(part)) {
        return ResidentKind::SharedExpert;
    }
    // The router stands beside the group, or in it where the experts have no module of their own.
    let beside = layer.group.rsplit_once('.').map_or("", |(parent, _)| parent);
    let module = |prefix: &str| tensor.strip_prefix(prefix)?.strip_prefix('.')?.split('.').next();
    let is_router = [beside, &layer.group].into_iter().filter_map(module).any(|module| ROUTERS.contains(&module));
    let is_block =
        tensor.starts_with(name::BLOCK) && ROUTERS.iter().any(|router| tensor.contains(&format!(".{router}.")));
    if is_router || is_block { ResidentKind::Router } else { ResidentKind::Other }
}
