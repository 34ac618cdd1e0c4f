//! Adapters: which products are added to which tensors of a plan.

use longshore_manifest::document::Arrangement;
use longshore_quant::Scheme;
use longshore_st_format::Shape;
use longshore_transform::adapter::{BaseTensor, Format, ProductUpdate, Updates};

use super::{
    draft::Draft,
    error::PlanError,
    options::PlanOptions,
    planned::{Merge, PlannedTensor, float_type},
};
use crate::{
    model::coding::kind::Coding,
    source::{checkpoint::Source, classify::Kind, inventory::StoredTensor, member::Member, merging::SourceAdapter},
    tensor::SourceParts,
};

/// Where a tensor of the base lies in the plan.
#[derive(Debug, Clone, Copy)]
struct Place {
    draft: usize,
    tensor: usize,
    /// The matrix of the planned tensor that the base's tensor is, or the first of several.
    matrix: u64,
    /// Whether the planned tensor has the base's rows as columns.
    is_transposed: bool,
}

/// Gives the tensors of `drafts` what the source's adapters add to them. Returns notes for the user.
pub(super) fn adapt(source: &Source, options: &PlanOptions, drafts: &mut [Draft]) -> Result<Vec<String>, PlanError> {
    if source.adapters.is_empty() {
        return Ok(Vec::new());
    }
    let path = || source.adapters[0].path.clone();
    if source.kind == Kind::Pipeline {
        return Err(PlanError::AdapterBase { path: path(), found: "a pipeline" });
    }
    if source.changes.as_ref().is_some_and(|changes| changes.rotation.is_some()) {
        return Err(PlanError::AdapterRotated { path: path() });
    }
    if source.changes.as_ref().is_some_and(|changes| changes.awq.is_some()) {
        return Err(PlanError::AdapterScaled { path: path() });
    }
    let (base, places) = base(source, drafts);
    let is_tied = is_tied(source, &base);
    let mut notes = Vec::new();
    for (number, adapter) in source.adapters.iter().enumerate() {
        let fail = |source| PlanError::Adapter { path: adapter.path.clone(), source: Box::new(source) };
        let updates = adapter.adapter.fit(&base, is_tied).map_err(fail)?;
        for update in &updates.products {
            let place = places[update.base];
            let planned = &mut drafts[place.draft].tensors[place.tensor];
            let is_twice = |other: &Merge| {
                (other.magnitude.is_some() || update.magnitude.is_some())
                    && other.matrix == update.matrix + place.matrix
            };
            if planned.merges.iter().any(|other| other.adapter != number && is_twice(other)) {
                return Err(PlanError::Magnitudes { tensor: planned.name.clone() });
            }
            is_mergeable(planned, options)?;
            let merge = merge(number, adapter, update, place);
            if !merge.scale.is_finite() {
                let (found, expected) = (merge.scale.to_string(), "a finite number times its WEIGHT");
                return Err(fail(longshore_transform::adapter::AdapterError::Setting {
                    setting: "a scale",
                    found,
                    expected,
                }));
            }
            planned.merges.push(merge);
        }
        for replacement in &updates.replacements {
            let place = places[replacement.base];
            let planned = &mut drafts[place.draft].tensors[place.tensor];
            replace(source, adapter, planned, adapter.first + replacement.tensor)?;
        }
        notes.push(note(adapter, &updates));
    }
    Ok(notes)
}

/// Gives tensors whose values are changed the global scale of those whose codes are chosen anew.
pub(super) fn renew_global_scales(options: &PlanOptions, drafts: &mut [Draft]) {
    for planned in drafts.iter_mut().flat_map(|draft| &mut draft.tensors).filter(|planned| planned.is_changed()) {
        planned.global_scale = (planned.scheme == Some(Scheme::NVFP4) && options.global_scale).then(|| Shape::new([]));
    }
}

/// The tensors of the model itself, as a checkpoint names them, and where they lie.
fn base(source: &Source, drafts: &[Draft]) -> (Vec<BaseTensor>, Vec<Place>) {
    let (mut base, mut places) = (Vec::new(), Vec::new());
    let member = source.members.iter().find(|member| !member.is_draft());
    let stored = member.and_then(Member::stored).filter(|stored| stored.is_ours);
    let is_of_draft = |name: &str| source.members.iter().any(Member::is_draft) && name.starts_with("draft.");
    let of_gguf = source.kind == Kind::Gguf;
    for (draft, tensors) in drafts.iter().enumerate() {
        for (tensor, planned) in tensors.tensors.iter().enumerate().filter(|(_, planned)| !is_of_draft(&planned.name)) {
            let find = |stored: &'_ [StoredTensor]| stored.iter().position(|tensor| tensor.name == planned.name);
            let origin = stored.and_then(|stored| Some(&stored.tensors[find(&stored.tensors)?]));
            let (arrangement, names): (_, Vec<&str>) = match origin {
                Some(origin) if !origin.sources.is_empty() => {
                    (origin.arrangement, origin.sources.iter().map(String::as_str).collect())
                }
                _ => (planned.arrangement, planned.units.iter().map(|unit| unit.name.as_str()).collect()),
            };
            let mut add = |name: &str, shape: Vec<u64>, matrix, is_transposed| {
                base.push(BaseTensor::new(name, shape).transposed(is_transposed));
                places.push(Place { draft, tensor, matrix, is_transposed });
            };
            match (arrangement, planned.shape.dims()) {
                (Arrangement::Stack, [_, of_one @ ..]) if !of_gguf => {
                    for (matrix, name) in (0..).zip(names) {
                        add(name, of_one.to_vec(), matrix, false);
                    }
                }
                (Arrangement::Transpose, [outer @ .., rows, columns]) if !of_gguf => {
                    let shape = [outer, &[*columns, *rows]].concat();
                    add(names.first().copied().unwrap_or(&planned.name), shape, 0, true);
                }
                (Arrangement::None, dims) if !of_gguf => {
                    add(names.first().copied().unwrap_or(&planned.name), dims.to_vec(), 0, false);
                }
                // The names and the rows of a checkpoint, whatever the file has.
                (_, dims) => add(&planned.name, dims.to_vec(), 0, false),
            }
        }
    }
    (base, places)
}

/// Whether the model has one matrix for its embedding and its head.
fn is_tied(source: &Source, base: &[BaseTensor]) -> bool {
    let module = |tensor: &BaseTensor| tensor.name.strip_suffix(".weight")?.rsplit('.').next().map(str::to_owned);
    let has = |modules: &[&str]| base.iter().filter_map(module).any(|module| modules.contains(&&*module));
    // A rotation gives the head a matrix of its own only after adapters are merged, and has rewritten the configuration already.
    let is_untied = source.rotation.as_ref().is_some_and(|rotation| rotation.is_untied);
    let says = source.config.as_ref().and_then(|config| config.tied_embeddings);
    // An encoder has embeddings of this name too, and no head.
    let of_falcon = base.iter().any(|tensor| tensor.name.ends_with("transformer.word_embeddings.weight"));
    let has_embedding = of_falcon || has(&["embed_tokens", "wte", "tok_embeddings"]);
    is_untied || says.unwrap_or(false) || has_embedding && !has(&["lm_head", "output"])
}

/// Whether the values of a tensor are at hand, and may be quantized anew.
pub(super) fn is_decoded(planned: &PlannedTensor, options: &PlanOptions) -> bool {
    match planned.coding {
        Coding::Plain | Coding::Double => true,
        // 8-bit floats are decoded to be quantized, and so is what is quantized again.
        Coding::Fp8 { .. } => planned.scheme.is_none() || options.scheme.is_some(),
        Coding::Packed { .. } => options.requantize,
        Coding::Ggml { .. } => options.requantize && planned.scheme.is_some(),
        Coding::Transposed { .. } => false,
    }
}

/// Refuses tensors that nothing can be merged into.
fn is_mergeable(planned: &PlannedTensor, options: &PlanOptions) -> Result<(), PlanError> {
    if !is_decoded(planned, options) {
        return Err(PlanError::AdapterQuantized { tensor: planned.name.clone() });
    }
    if float_type(planned.dtype).is_none() {
        return Err(PlanError::AdapterDtype { tensor: planned.name.clone(), found: planned.dtype });
    }
    Ok(())
}

fn merge(number: usize, adapter: &SourceAdapter, update: &ProductUpdate, place: Place) -> Merge {
    let after = |mut view: longshore_transform::adapter::View| {
        view.tensor += adapter.first;
        view
    };
    let (left, right) = (after(update.left), after(update.right));
    let (rows, columns) = (update.rows.clone(), update.columns);
    let magnitude = update.magnitude.map(|mut magnitude| {
        magnitude.tensor += adapter.first;
        magnitude.is_of_columns ^= place.is_transposed;
        magnitude
    });
    let (left, right, rows, columns) = if place.is_transposed {
        (right, left, 0..columns, rows.end - rows.start)
    } else {
        (left, right, rows, columns)
    };
    #[expect(clippy::cast_possible_truncation, reason = "rounding to F32 is part of the merge")]
    let scale = (f64::from(update.scale) * adapter.weight) as f32;
    let matrix = place.matrix + update.matrix;
    Merge { adapter: number, matrix, rows, columns, left, right, rank: update.rank, scale, magnitude }
}

/// Reads a tensor from the adapter in place of the base's.
fn replace(source: &Source, adapter: &SourceAdapter, planned: &mut PlannedTensor, at: usize) -> Result<(), PlanError> {
    let tensor = &source.tensors[at];
    let is_whole = planned.units.len() == 1 && matches!(planned.arrangement, Arrangement::None);
    if !is_whole || planned.is_changed() {
        return Err(PlanError::AdapterReplaces { path: adapter.path.clone(), tensor: tensor.name.clone() });
    }
    if matches!(planned.coding, Coding::Ggml { .. }) && planned.scheme.is_none() {
        return Err(PlanError::AdapterQuantized { tensor: planned.name.clone() });
    }
    if float_type(planned.dtype).is_none() {
        return Err(PlanError::AdapterDtype { tensor: planned.name.clone(), found: planned.dtype });
    }
    planned.coding = Coding::Plain;
    planned.units[0].parts = SourceParts::plain(at);
    planned.source_len = tensor.byte_len();
    planned.replaced = Some(tensor.dtype);
    Ok(())
}

fn note(adapter: &SourceAdapter, updates: &Updates) -> String {
    let products = updates.products.len();
    let replaced = match updates.replacements.len() {
        0 => String::new(),
        1 => ", 1 replaced".to_owned(),
        count => format!(", {count} replaced"),
    };
    let scales = if adapter.weight.to_bits() == 1.0_f64.to_bits() {
        String::new()
    } else {
        format!(", times {}", adapter.weight)
    };
    let factors = if adapter.adapter.format() == Format::Gguf { factors(updates) } else { String::new() };
    format!("adapter {}: {products} updates merged{replaced}{scales}{factors}", adapter.path.display())
}

/// The factors of products, which a file of llama.cpp does not tell: it has an alpha, and no word of the way to divide it.
fn factors(updates: &Updates) -> String {
    let scales = || updates.products.iter().map(|update| update.scale);
    let (least, most) = (scales().fold(f32::INFINITY, f32::min), scales().fold(f32::NEG_INFINITY, f32::max));
    if least < most {
        format!(", with the scales alpha / rank from {least} to {most}")
    } else if least.is_finite() {
        format!(", with the scale {least}")
    } else {
        String::new()
    }
}
