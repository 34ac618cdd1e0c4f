//! The tensors of a stored model, by its tensor table. The headers of its blobs are a check.

use std::collections::{HashMap, HashSet};

use longshore_manifest::{
    Digest, Model, Store,
    document::{BlobEntry, Part, TensorEntry},
    weights::OpenOptions,
};
use longshore_quant::Scheme;
use longshore_st_format::{Dtype, Header, Shape};

use super::{Coding, Described, Index, Indexed, OpenError};
use crate::map::MappedFile;

impl Index {
    /// Maps the blobs that hold the tensors that `options` ask for.
    pub(crate) fn of_model(store: &Store, model: &Model, options: &OpenOptions<'_>) -> Result<Self, OpenError> {
        let table = store.table(model)?;
        if let Some(component) = &options.component {
            let mut found: Vec<_> = table.blobs.iter().filter_map(|blob| blob.component.clone()).collect();
            found.sort_unstable();
            found.dedup();
            if !found.contains(component) {
                let name = model.name.to_string();
                return Err(OpenError::Component { name, component: component.clone(), found });
            }
        }
        // A table that was made of the headers need not be checked against them.
        let is_checked = model.config.longshore.is_some();
        let (mut blobs, mut tensors) =
            (Blobs { store, is_checked, files: Vec::new(), by_digest: HashMap::new() }, Vec::new());
        let is_wanted = |blob: &&BlobEntry| options.component.is_none() || blob.component == options.component;
        for blob in table.blobs.iter().filter(is_wanted) {
            let selected = |tensor: &&TensorEntry| options.select.is_none_or(|select| select(&tensor.name));
            for tensor in blob.tensors.iter().filter(selected) {
                tensors.push(indexed(tensor, blob, &mut blobs)?);
            }
        }
        Self::new(blobs.files.into_iter().map(|blob| blob.file).collect(), tensors)
    }
}

/// The blobs that are mapped so far.
struct Blobs<'s> {
    store: &'s Store,
    is_checked: bool,
    files: Vec<Blob>,
    by_digest: HashMap<Digest, usize>,
}

struct Blob {
    file: MappedFile,
    /// The arrays by all that a table says of one, except for the name: a blob need not have the names of every model that has it.
    arrays: HashSet<(u64, u64, Dtype, Shape)>,
}

impl Blobs<'_> {
    /// The index of a blob, which is mapped if it is not yet.
    fn get(&mut self, digest: Digest) -> Result<usize, OpenError> {
        if let Some(at) = self.by_digest.get(&digest) {
            return Ok(*at);
        }
        let (file, header) = MappedFile::open(&self.store.blob_path(&digest))?;
        let arrays = if self.is_checked { arrays(&header) } else { HashSet::new() };
        self.files.push(Blob { file, arrays });
        self.by_digest.insert(digest, self.files.len() - 1);
        Ok(self.files.len() - 1)
    }

    /// Whether the blob holds what the table says.
    fn check(&self, file: usize, tensor: &TensorEntry, part: &Part) -> Result<(), OpenError> {
        let Blob { file, arrays } = &self.files[file];
        if !self.is_checked || arrays.contains(&(part.offset, part.length, part.dtype, part.shape.clone())) {
            return Ok(());
        }
        let describe = |dtype, shape: &Shape, len| format!("{dtype} {shape}, {len} bytes");
        let found = arrays.iter().find(|(offset, ..)| *offset == part.offset);
        Err(OpenError::Disagreement {
            path: file.path().into(),
            tensor: tensor.name.clone(),
            expected: format!("{} at byte {}", describe(part.dtype, &part.shape, part.length), part.offset),
            found: found.map_or("no array there".into(), |(_, len, dtype, shape)| describe(*dtype, shape, *len)),
        })
    }
}

fn arrays(header: &Header) -> HashSet<(u64, u64, Dtype, Shape)> {
    let array = |info: &longshore_st_format::TensorInfo| {
        let range = info.file_range(header);
        (range.start, range.end - range.start, info.dtype(), info.shape().clone())
    };
    header.iter().map(array).collect()
}

fn indexed(tensor: &TensorEntry, blob: &BlobEntry, blobs: &mut Blobs<'_>) -> Result<Indexed, OpenError> {
    let mut parts = Vec::with_capacity(tensor.parts.len());
    for part in &tensor.parts {
        let file = blobs.get(part.blob.unwrap_or(blob.digest))?;
        blobs.check(file, tensor, part)?;
        let described = Described {
            tensor: &tensor.name,
            role: part.role,
            dtype: part.dtype,
            shape: &part.shape,
            offset: part.offset,
            len: part.length,
        };
        parts.push(described.part(file, &blobs.files[file].file)?);
    }
    parts.sort_by_key(|part| part.role);
    let coding = tensor.quantization.as_ref().map(|quantization| {
        let scheme = Scheme::from_metadata(&quantization.quant_type, quantization.group_size);
        let path = blobs.files[parts[0].file].file.path();
        let scheme =
            scheme.map_err(|source| OpenError::Scheme { tensor: tensor.name.clone(), path: path.into(), source })?;
        Ok::<_, OpenError>(Coding { quantization: quantization.clone(), scheme })
    });
    Ok(Indexed { name: tensor.name.clone(), component: blob.component.clone(), coding: coding.transpose()?, parts })
}
