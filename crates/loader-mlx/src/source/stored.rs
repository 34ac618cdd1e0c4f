//! The tensors of a source, by its tensor table. The headers of its files are a check.

use std::collections::{HashMap, HashSet};

use longshore_manifest::{
    Digest,
    document::{BlobEntry, Part, TensorEntry},
    weights::{
        Source,
        plan::{LoadPlan, LoadPlanError, LoadPlanOptions, Selection, View},
    },
};
use longshore_quant::Scheme;
use longshore_st_format::{Dtype, Header, Shape};

use super::{Blocks, Coding, Described, Index, Indexed, OpenError};
use crate::map::MappedFile;

impl Index {
    /// Maps the files that hold what `selection` takes of a source.
    /// Converts tensors of ggml's blocks, those that no scheme holds to `dtype` or to BF16.
    pub(crate) fn of_source(source: &Source, selection: &Selection, dtype: Option<Dtype>) -> Result<Self, OpenError> {
        let table = source.table();
        let blocks = Blocks::of(source, selection, dtype);
        let options = LoadPlanOptions { blocks: blocks.as_ref().map(|_| false), ..LoadPlanOptions::default() };
        let plan = LoadPlan::new(table, selection, &options).map_err(|error| match error {
            LoadPlanError::Component { component, found } => {
                OpenError::Component { name: source.name().to_owned(), component, found }
            }
            error => OpenError::Plan(error),
        })?;
        let views = plan.tensors.iter().map(|view| ((view.component.as_deref(), view.name.as_str()), view));
        let views: HashMap<_, _> = views.collect();
        let mut blobs = Blobs { source, files: Vec::new(), by_digest: HashMap::new() };
        let mut tensors = Vec::with_capacity(views.len());
        for (blob, tensor) in table.tensors() {
            if let Some(view) = views.get(&(blob.component.as_deref(), tensor.name.as_str())) {
                tensors.push(indexed(tensor, blob, view, &mut blobs)?);
            }
        }
        let requested = plan.requested;
        let mut files: Vec<_> = blobs.files.into_iter().map(|blob| blob.file).collect();
        if let Some((file, converted)) = blocks.map(|blocks| blocks.index(files.len())).transpose()?.flatten() {
            files.push(file);
            tensors.extend(converted);
        }
        Ok(Self::new(files, tensors, requested))
    }
}

/// The blobs that are mapped so far.
struct Blobs<'s> {
    source: &'s Source,
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
        let (path, checked) = (self.source.path(&digest), self.source.checked(&digest));
        // A table that was made of the headers of its files need not be checked against them.
        let (file, arrays) = if self.source.is_unchecked() {
            let (file, header) = MappedFile::open_safetensors(&path, checked)?;
            (file, arrays(&header))
        } else {
            (MappedFile::open(&path, checked)?, HashSet::new())
        };
        self.files.push(Blob { file, arrays });
        self.by_digest.insert(digest, self.files.len() - 1);
        Ok(self.files.len() - 1)
    }

    /// Whether the blob holds what the table says.
    fn check(&self, file: usize, tensor: &TensorEntry, part: &Part) -> Result<(), OpenError> {
        let Blob { file, arrays } = &self.files[file];
        if !self.source.is_unchecked() || arrays.contains(&(part.offset, part.length, part.dtype, part.shape.clone())) {
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

fn indexed(tensor: &TensorEntry, blob: &BlobEntry, view: &View, blobs: &mut Blobs<'_>) -> Result<Indexed, OpenError> {
    let mut parts = Vec::with_capacity(tensor.parts.len());
    for (part, selected) in tensor.parts.iter().zip(&view.parts) {
        let file = blobs.get(part.blob.unwrap_or(blob.digest))?;
        blobs.check(file, tensor, part)?;
        let extents = &selected.origin.extents;
        let described = Described {
            tensor: &tensor.name,
            role: part.role,
            dtype: selected.dtype,
            shape: &selected.shape,
            offset: extents.first().map_or(part.offset, |first| first.offset),
            len: selected.len,
            extents,
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
    Ok(Indexed {
        name: tensor.name.clone(),
        component: blob.component.clone(),
        dtype: tensor.dtype,
        elements: view.shape.elements().unwrap_or(u64::MAX),
        coding: coding.transpose()?,
        parts,
    })
}
