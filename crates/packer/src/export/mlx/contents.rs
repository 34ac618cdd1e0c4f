//! The contents of an export for mlx-lm.

use std::collections::BTreeMap;

use longshore_manifest::{
    Store,
    document::{BlobEntry, GgmlBlocks, Quantization, Role, TensorEntry, TensorTable},
    store::Model,
};
use longshore_model::{ModelConfig, keys::QUANTIZATION_FILE};
use longshore_quant::Scheme;
use longshore_st_format::{Dtype, Shape};

use super::{
    architecture::{Architecture, Place},
    config,
    quantization::{self, Modules},
};
use crate::{
    export::{
        contents::{Contents, Edit, read_config},
        error::ExportError,
        restore::{Output, Pick, Values, check_names},
        stored::Stored,
    },
    gguf::headers::is_header,
};

const CONFIG: &str = "config.json";
/// Prefixes of the names of tensors that only GGUF has.
const OF_GGUF: [&str; 2] = ["rope_freqs.", "rope_factors_"];

/// Returns the tensors under mlx-lm's names, and a configuration that says how they are quantized.
pub(in crate::export) fn contents<'w>(
    store: &Store,
    model: &Model,
    table: &'w TensorTable,
) -> Result<Contents<'w>, ExportError> {
    let whole = |problem: &str| ExportError::NotForMlx { problem: problem.to_owned() };
    if table.blobs.iter().any(|blob| blob.component.is_some()) {
        return Err(whole("it is a pipeline, and mlx-lm loads language models"));
    }
    if model.config.draft.is_some() {
        return Err(whole("it has a draft model, which mlx-lm loads from a directory of its own"));
    }
    let mut config = read_config(store, model, CONFIG)?
        .ok_or_else(|| whole("it has no config.json that can be read, which mlx-lm needs"))?;
    let facts = ModelConfig::parse(config.to_text().as_bytes())
        .map_err(|error| ExportError::NotForMlx { problem: format!("its config.json cannot be read: {error}") })?;
    let architecture = architecture(&facts)?;

    let has_head = table.tensors().any(|(_, entry)| entry.name == "lm_head.weight");
    let is_tied = facts.tied_embeddings == Some(true);
    let mut parts = Parts::default();
    let mut left_out = 0;
    let headers: Vec<_> = model.manifest.files().filter(|(name, _)| is_header(name.as_str())).collect();
    for (blob, entry) in table.tensors() {
        // mlx-lm computes these from the configuration.
        if !headers.is_empty() && OF_GGUF.iter().any(|start| entry.name.starts_with(start)) {
            left_out += 1;
            continue;
        }
        let fail = |problem| ExportError::MlxTensor { tensor: entry.name.clone(), problem };
        let place = architecture
            .place(&entry.name, facts.layers, is_tied)
            .ok_or_else(|| fail(format!("mlx-lm's {} has no such tensor", architecture.name())))?;
        if place == Place::LeftOut {
            left_out += 1;
            continue;
        }
        if let Some(coding) = entry.quantization.as_ref().filter(|coding| GgmlBlocks::of(&coding.quant_type).is_some())
        {
            return Err(fail(format!("it has ggml's blocks {coding}, which mlx-lm does not read")));
        }
        if entry.offset != 0 {
            return Err(fail(format!("its values are the model's plus {}", entry.offset)));
        }
        if entry.part(Role::GlobalScale).is_some() {
            return Err(ExportError::MlxGlobalScale { tensor: entry.name.clone() });
        }
        if entry.quantization.is_some() && matches!(place, Place::Raw { .. } | Place::Conv { .. }) {
            return Err(ExportError::MlxQuantized { tensor: entry.name.clone() });
        }
        parts.add(blob, entry, place).map_err(fail)?;
    }
    check_names(&parts.outputs)?;
    config::spell(&mut config, architecture.name(), architecture.ties_head().then_some(has_head));
    quantization::describe(&mut config, &parts.modules, &parts.elements);
    let edits = [(CONFIG, Edit::Text(config.to_text())), (QUANTIZATION_FILE, Edit::LeaveOut)];
    let edits = edits.map(|(name, edit)| (name.to_owned(), edit)).into_iter();
    let edits = edits.chain(headers.into_iter().map(|(name, _)| (name.to_string(), Edit::LeaveOut)));
    Ok(Contents { directories: BTreeMap::from([(String::new(), parts.outputs)]), edits: edits.collect(), left_out })
}

fn architecture(facts: &ModelConfig) -> Result<&'static Architecture, ExportError> {
    let class = facts.architecture.as_deref();
    let found = match facts.model_type.as_deref() {
        Some(model_type) => Architecture::of_type(model_type),
        None => class.and_then(Architecture::of_class),
    };
    found.ok_or_else(|| ExportError::MlxArchitecture {
        found: facts.model_type.as_deref().or(class).unwrap_or("a model of no named architecture").to_owned(),
    })
}

/// The tensors so far, and the quantized modules among them.
#[derive(Default)]
struct Parts<'w> {
    outputs: Vec<Output<'w>>,
    modules: Modules,
    /// Number of elements of each quantized module.
    elements: BTreeMap<String, u64>,
}

impl<'w> Parts<'w> {
    fn add(&mut self, blob: &BlobEntry, entry: &'w TensorEntry, place: Place) -> Result<(), String> {
        let weight = entry.weight();
        let data = Stored::new(blob, entry, weight);
        match place {
            Place::LeftOut => Ok(()),
            Place::Raw { name } => self.push(name, weight.dtype, &weight.shape, data, None),
            Place::Conv { name } => {
                let shape = match *entry.shape.dims() {
                    // One of the two extents is 1, so swapping the axes does not move any bytes.
                    [channels, 1, width] | [channels, width, 1] => Shape::new([channels, width, 1]),
                    _ => return Err(format!("expected the shape [channels, 1, width], found {}", entry.shape)),
                };
                self.push(name, weight.dtype, &shape, data, None)
            }
            Place::Weight { module } => self.weight(&module, blob, entry, None),
            Place::Split { modules, is_bias, take_turns } => {
                let &[_, rows, ref rest @ ..] = entry.shape.dims() else {
                    return Err(format!("expected the projection of all experts, found {}", entry.shape));
                };
                if rest.len() != usize::from(!is_bias) || rows % 2 != 0 {
                    return Err(format!("expected an even number of rows for each expert, found {}", entry.shape));
                }
                for (at, module) in (0..).zip(modules) {
                    let run = if take_turns { 1 } else { rows / 2 };
                    let half = Half { first: at * run, run };
                    if is_bias {
                        self.half(format!("{module}.bias"), weight.dtype, &weight.shape, data, half)?;
                    } else {
                        self.weight(&module, blob, entry, Some(half))?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Adds all parts of a module's weight, or the selected half of each.
    fn weight(
        &mut self,
        module: &str,
        blob: &BlobEntry,
        entry: &'w TensorEntry,
        half: Option<Half>,
    ) -> Result<(), String> {
        let roles = [(Role::Weight, "weight"), (Role::Scale, "scales"), (Role::Bias, "biases")];
        for (role, suffix) in roles {
            let Some(part) = entry.part(role) else { continue };
            let data = Stored::new(blob, entry, part);
            let name = format!("{module}.{suffix}");
            match half {
                Some(half) => self.half(name, part.dtype, &part.shape, data, half)?,
                None => self.push(name, part.dtype, &part.shape, data, None)?,
            }
        }
        if let Some(Quantization { quant_type, group_size }) = &entry.quantization {
            let scheme = Scheme::from_metadata(quant_type, *group_size).map_err(|error| error.to_string())?;
            self.modules.insert(module.to_owned(), scheme);
            self.elements.insert(module.to_owned(), entry.elements());
        }
        Ok(())
    }

    /// Adds the selected half of the rows of a tensor `[experts, rows, …]`.
    fn half(&mut self, name: String, dtype: Dtype, shape: &Shape, data: Stored<'w>, half: Half) -> Result<(), String> {
        let &[experts, rows, ref rest @ ..] = shape.dims() else {
            return Err(format!("expected the projection of all experts, found {shape}"));
        };
        if !dtype.bits().is_multiple_of(8) {
            return Err(format!("{dtype} elements are no whole bytes"));
        }
        let row: u64 = rest.iter().product();
        let pick = Pick { run: half.run * row, period: 2 * half.run * row, first: half.first * row };
        let dims: Vec<u64> = [experts, rows / 2].iter().chain(rest).copied().collect();
        self.push(name, dtype, &Shape::new(dims), data, Some(pick))
    }

    fn push(
        &mut self,
        name: String,
        dtype: Dtype,
        shape: &Shape,
        data: Stored<'w>,
        pick: Option<Pick>,
    ) -> Result<(), String> {
        let (dtype, values) = match dtype {
            Dtype::F64 => (Dtype::F32, Values::Doubles(data)),
            _ => (dtype, Values::Plain(data)),
        };
        let bytes = shape.byte_len(dtype).map_err(|error| error.to_string())?;
        let elements = shape.elements().expect("a shape with a length in bytes has elements");
        let shape = shape.clone();
        self.outputs.push(Output { name, dtype, shape, elements, bytes, values, start: 0, is_transposed: false, pick });
        Ok(())
    }
}

/// Half of the rows of every expert: alternating runs of `run` rows, starting with the row `first`.
#[derive(Clone, Copy)]
struct Half {
    first: u64,
    run: u64,
}
