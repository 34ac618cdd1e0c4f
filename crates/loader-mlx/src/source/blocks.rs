//! Tensors of ggml's blocks, which are converted in memory when they are opened.

use std::path::Path;

use longshore_manifest::{
    document::{GgmlBlocks, Role},
    weights::{BlockForm, OpenOptions, Source, Weights, WeightsError, plan::Selection},
};
use longshore_quant::Scheme;
use longshore_st_format::Dtype;

use super::{Coding, Described, Indexed, OpenError};
use crate::map::MappedFile;

/// The roles of the parts that conversion makes.
const ROLES: [Role; 3] = [Role::Weight, Role::Scale, Role::Bias];

/// The tensors of ggml's blocks that a selection takes of a source.
#[derive(Debug, Clone)]
pub(crate) struct Blocks {
    source: Source,
    selection: Selection,
    /// Type of the values that no scheme of MLX holds.
    dtype: Option<Dtype>,
}

impl Blocks {
    /// `None` if the source has no such tensors.
    pub(super) fn of(source: &Source, selection: &Selection, dtype: Option<Dtype>) -> Option<Self> {
        let mut codings = source.table().tensors().filter_map(|(_, tensor)| tensor.quantization.as_ref());
        let has_blocks = codings.any(|coding| GgmlBlocks::of(&coding.quant_type).is_some());
        has_blocks.then(|| Self { source: source.clone(), selection: selection.clone(), dtype })
    }

    /// The source's name, in the place of a file's path in messages.
    pub(crate) fn name(&self) -> &Path {
        Path::new(self.source.name())
    }

    /// Converts the tensors: into schemes of MLX where these hold their values, else to floats.
    pub(crate) fn open(&self) -> Result<Weights, WeightsError> {
        let selection = self.selection.clone();
        let options =
            OpenOptions { selection, dtype: self.dtype, blocks: BlockForm::MlxAlone, ..OpenOptions::default() };
        Weights::open_source(&self.source, &options)
    }

    /// The converted tensors, and their memory, which is the file of the index `file`. `None` if there are none.
    pub(super) fn index(self, file: usize) -> Result<Option<(MappedFile, Vec<Indexed>)>, OpenError> {
        let weights = self.open()?;
        let mut tensors = Vec::with_capacity(weights.len());
        let mut described = Vec::new();
        for tensor in weights.iter() {
            let view = tensor.view();
            let parts = ROLES.into_iter().filter_map(|role| {
                let array = tensor.companion(role)?;
                let at = tensor.made_at(role).unwrap_or_default();
                Some((role, array.dtype, array.shape.clone(), at as u64, array.data.len() as u64))
            });
            described.push((view.clone(), parts.collect::<Vec<_>>()));
        }
        let Some(map) = weights.into_made() else { return Ok(None) };
        let mapped = MappedFile::made(map, self);
        for (view, arrays) in described {
            let mut parts = Vec::with_capacity(arrays.len());
            for (role, dtype, shape, offset, len) in &arrays {
                let (role, dtype, offset, len) = (*role, *dtype, *offset, *len);
                let described = Described { tensor: &view.name, role, dtype, shape, offset, len, extents: &[] };
                parts.push(described.part(file, &mapped)?);
            }
            let coding = view.quantization.map(|quantization| {
                let scheme = Scheme::from_metadata(&quantization.quant_type, quantization.group_size);
                let (tensor, path) = (view.name.clone(), mapped.path().to_owned());
                let scheme = scheme.map_err(|source| OpenError::Scheme { tensor, path, source })?;
                Ok::<_, OpenError>(Coding { quantization, scheme })
            });
            tensors.push(Indexed {
                name: view.name,
                component: view.component,
                dtype: view.dtype,
                elements: view.shape.elements().unwrap_or(u64::MAX),
                coding: coding.transpose()?,
                parts,
            });
        }
        Ok(Some((mapped, tensors)))
    }
}
