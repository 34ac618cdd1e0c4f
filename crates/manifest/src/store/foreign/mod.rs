//! Tensors of models without a table, which another program stored. Their table is made from the headers of their
//! blobs.

mod arrays;
mod error;
mod hints;
mod scheme;

use std::{collections::HashSet, sync::Arc};

use super::{Model, Store};
use crate::{
    Config, Manifest,
    document::{BlobEntry, Import, Part, Role, TensorEntry, TensorTable, media_type},
};
use arrays::{Array, Arrays, Component};
pub use error::TableError;
pub(super) use hints::facts;
use hints::{Files, Hints};
use scheme::Parts;

/// `model_format` of a model that is one GGUF file.
const GGUF: &str = "gguf";
/// Largest number of arrays in a table. Each component that names a blob gets all its arrays, so a small manifest and a
/// small blob could otherwise ask for any number.
const MAX_ARRAYS: usize = 1 << 20;

impl Model {
    /// Whether the weights are one GGUF file. Such a model can be listed and verified, but its tensors cannot be read.
    #[must_use]
    pub fn is_gguf(&self) -> bool {
        is_gguf(&self.config, &self.manifest)
    }
}

fn is_gguf(config: &Config, manifest: &Manifest) -> bool {
    config.model_format == GGUF || manifest.layers.iter().any(|layer| layer.media_type == media_type::GGUF)
}

impl Store {
    /// Returns the tensor table of `model`. For a model that another program stored, the table is made from the headers
    /// of the model's blobs, which are read in parallel on the current rayon pool.
    ///
    /// Supports all three ways in which ollama has written tensors: a blob with one array called `data`, and scales and
    /// biases in layers of their own; a blob with named arrays and `.scale`, `.bias` and `.global_scale`; and groups of
    /// several tensors with metadata for all tensors or for each. A type in the metadata takes precedence over one
    /// implied by shapes. If no type is stated and shapes leave a choice, the result is an error.
    ///
    /// # Errors
    ///
    /// [`TableError::Gguf`] for a model that is a GGUF file, [`TableError::NoTensors`] for a model without tensors,
    /// [`TableError::Header`] for a blob that is missing or whose header is not valid, and the other variants for
    /// tensors that contradict themselves.
    pub fn table(&self, model: &Model) -> Result<Arc<TensorTable>, TableError> {
        if let Some(table) = &model.config.longshore {
            return Ok(Arc::clone(table));
        }
        if model.is_gguf() {
            return Err(TableError::Gguf { name: model.name.to_string() });
        }
        let table = self.read_table(&model.config, &model.manifest)?;
        let table = table.ok_or_else(|| TableError::NoTensors { name: model.name.to_string() })?;
        Ok(Arc::new(table))
    }

    /// Makes a table from the headers of the model's blobs. Returns `None` if the model has no blob of tensors.
    pub(super) fn read_table(&self, config: &Config, manifest: &Manifest) -> Result<Option<TensorTable>, TableError> {
        let headers = self.headers(manifest)?;
        if headers.is_empty() {
            return Ok(None);
        }
        let components = arrays::components(manifest, &headers);
        let arrays = components.iter().map(Component::len).fold(0, usize::saturating_add);
        if arrays > MAX_ARRAYS {
            return Err(TableError::TooLarge { arrays, limit: MAX_ARRAYS });
        }
        let (mut blobs, files) = (Vec::new(), Files::of(self, manifest));
        let index = files.object("model_index.json").unwrap_or_default();
        for component in components {
            let hints = Hints::read(&files, &index, config, component.name);
            add(&component, &hints, &mut blobs)?;
        }
        let table = TensorTable::new(facts(self, manifest), Import::default(), blobs);
        table.check().map_err(|source| TableError::Table { source })?;
        Ok(Some(table))
    }
}

/// Adds the tensors in the blobs of one component.
fn add(component: &Component<'_>, hints: &Hints, blobs: &mut Vec<BlobEntry>) -> Result<(), TableError> {
    let arrays = Arrays::of(component);
    let mut seen = HashSet::new();
    for blob in &component.blobs {
        let mut tensors = Vec::new();
        for array in blob.arrays() {
            // A blob may hold a tensor both with and without the component's prefix.
            if arrays.is_companion(&array) || !seen.insert((array.name, array.blob)) {
                continue;
            }
            tensors.push(tensor(&arrays, &array, hints)?);
        }
        if !tensors.is_empty() {
            blobs.push(BlobEntry {
                component: component.name.map(str::to_owned),
                ..BlobEntry::new(blob.digest, tensors)
            });
        }
    }
    Ok(())
}

/// Makes the entry of one tensor from its weight.
fn tensor(arrays: &Arrays<'_>, weight: &Array<'_>, hints: &Hints) -> Result<TensorEntry, TableError> {
    let stored = part(weight, weight, Role::Weight);
    let Some(scale) = arrays.companion(weight, Role::Scale) else {
        let (dtype, shape) = (stored.dtype, stored.shape.clone());
        return scheme::check_plain(weight).map(|()| TensorEntry::new(weight.name, dtype, shape, vec![stored]));
    };
    let bias = arrays.companion(weight, Role::Bias);
    let parts = Parts { weight, scale: &scale, bias: bias.as_ref() };
    let (found, dtype, shape) = scheme::of(&parts, hints)?;
    let global = arrays.companion(weight, Role::GlobalScale).or_else(|| arrays.second_scale(weight));
    let companions = [(Role::Scale, Some(scale)), (Role::Bias, bias), (Role::GlobalScale, global)];
    let companions = companions.iter().filter_map(|(role, array)| Some(part(array.as_ref()?, weight, *role)));
    let parts = std::iter::once(stored).chain(companions).collect();
    let tensor = TensorEntry { quantization: Some(found), ..TensorEntry::new(weight.name, dtype, shape, parts) };
    match tensor.check() {
        Ok(()) => Ok(tensor),
        Err(problem) => Err(TableError::Tensor { digest: weight.blob, tensor: tensor.name, problem }),
    }
}

/// Returns the place of an array of the tensor whose weight is `weight`.
fn part(array: &Array<'_>, weight: &Array<'_>, role: Role) -> Part {
    let range = array.info.file_range(array.header);
    Part {
        role,
        dtype: array.info.dtype(),
        shape: array.info.shape().clone(),
        offset: range.start,
        length: range.end - range.start,
        blob: (array.blob != weight.blob).then_some(array.blob),
    }
}
