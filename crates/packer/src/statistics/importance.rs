//! Importance of the input channels of weights, read from a file.

use std::{
    borrow::Cow,
    io::Read as _,
    path::{Path, PathBuf},
};

use longshore_manifest::Digest;
use longshore_quant::Importance;
use longshore_st_format::{Dtype, SafeTensors, Shape, open};
use memmap2::Mmap;

use super::{
    error::ImportanceFileError,
    imatrix::Imatrix,
    recorded::{OtherBasis, Recorded, Weighed},
};
use crate::io::hash;

/// Importance of each input channel of a model's weights: the mean of x² over the activations x that the weight is
/// multiplied with, as a calibration run measures it.
///
/// The file has the safetensors format. For a weight `[out, in]` it holds an F32 tensor of shape `[in]` under the
/// weight's name, with or without `.weight`. For a stack of experts `[experts, out, in]` it holds a tensor of shape
/// `[experts, in]` or `[in]` under the name of the stack. llama.cpp's importance matrices, in GGUF and in their older form, are
/// read, too. A weight without such a tensor is quantized as if all channels had the same importance.
#[derive(Debug)]
pub struct ImportanceFile {
    path: PathBuf,
    digest: Digest,
    content: Content,
    recorded: Recorded,
}

#[derive(Debug)]
enum Content {
    Statistics(SafeTensors<Mmap>),
    Imatrix(Imatrix),
}

/// The importance of one weight, as the file has it.
pub(crate) struct View<'f> {
    /// Name in the file.
    pub(crate) name: &'f str,
    shape: Shape,
    values: Cow<'f, [f32]>,
}

impl ImportanceFile {
    /// Maps the file into memory and checks all of its values.
    ///
    /// # Errors
    ///
    /// Returns [`ImportanceFileError::Open`], [`ImportanceFileError::Imatrix`], [`ImportanceFileError::Dtype`] or
    /// [`ImportanceFileError::Value`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ImportanceFileError> {
        let path = path.into();
        let mut head = [0; 9];
        let read = longshore_manifest::open_regular(&path).and_then(|mut file| file.read_exact(&mut head));
        if read.is_ok() && head.starts_with(b"GGUF") {
            return Self::imatrix(path, Imatrix::gguf);
        }
        let is_dat = path.extension().is_some_and(|end| end == "dat" || end == "imatrix");
        // A header of safetensors begins with its length and a brace.
        if read.is_ok() && is_dat && head[8] != b'{' {
            return Self::imatrix(path, Imatrix::dat);
        }
        let file = open(&path).map_err(|source| ImportanceFileError::Open { path: path.clone(), source })?;
        for tensor in file.iter().filter(|tensor| !is_hessian(tensor.name)) {
            let name = || (path.clone(), tensor.name.to_owned());
            if tensor.dtype != Dtype::F32 {
                let ((path, tensor), found) = (name(), tensor.dtype);
                return Err(ImportanceFileError::Dtype { path, tensor, found });
            }
            if let Err(source) = Importance::new(&floats(tensor.data)) {
                let (path, tensor) = name();
                return Err(ImportanceFileError::Value { path, tensor, source });
            }
        }
        let recorded = Recorded::of(file.header().metadata());
        let bytes = file.into_inner();
        let digest = Digest::of(&bytes);
        let file = SafeTensors::new(bytes).expect("BUG: a header that was accepted a moment ago");
        Ok(Self { path, digest, content: Content::Statistics(file), recorded })
    }

    /// Reads an importance matrix of llama.cpp.
    fn imatrix(path: PathBuf, read: fn(&Path) -> Result<Imatrix, String>) -> Result<Self, ImportanceFileError> {
        let fail = |problem| ImportanceFileError::Imatrix { path: path.clone(), problem };
        let found = read(&path).map_err(fail)?;
        for entry in found.entries() {
            if let Err(source) = Importance::new(&entry.means) {
                return Err(ImportanceFileError::Value { path, tensor: entry.name.clone(), source });
            }
        }
        let (digest, _) = hash::digest(&path).map_err(|error| fail(error.to_string()))?;
        Ok(Self { path, digest, content: Content::Imatrix(found), recorded: Recorded::NOTHING })
    }

    /// The digest of the file's bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Refuses statistics of weights in another basis. Returns warnings: a basis that is not known, and another model.
    pub(crate) fn check_recorded(&self, weights: Weighed) -> Result<Vec<String>, ImportanceFileError> {
        self.recorded.check(&self.path, weights).map_err(|OtherBasis { found, expected }| {
            ImportanceFileError::Rotation { path: self.path.clone(), found, expected }
        })
    }

    /// The importance of the channels of the weight with this name and shape, if the file has it.
    pub(crate) fn of_weight(&self, name: &str, shape: &Shape) -> Result<Option<TensorImportance>, ImportanceFileError> {
        let Some(view) = self.view(name, shape) else { return Ok(None) };
        let (columns, matrix) = self.extents(shape, &view)?;
        Ok(Some(TensorImportance { values: view.values.into_owned(), columns, matrix }))
    }

    /// The names of the weights that the file has an importance of.
    pub(crate) fn names(&self) -> Vec<&str> {
        match &self.content {
            Content::Statistics(file) => file.header().names().filter(|name| !is_hessian(name)).collect(),
            Content::Imatrix(found) => found.entries().iter().map(|entry| entry.name.as_str()).collect(),
        }
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The importance of the weight with this name and shape.
    pub(crate) fn view(&self, name: &str, of: &Shape) -> Option<View<'_>> {
        match &self.content {
            Content::Statistics(file) => {
                let module = || name.strip_suffix(".weight");
                let found = file.tensor(name).or_else(|| file.tensor(module()?))?;
                Some(View { name: found.name, shape: found.shape.clone(), values: Cow::Owned(floats(found.data)) })
            }
            Content::Imatrix(found) => {
                let entry = found.get(name)?;
                let all = entry.means.len() as u64;
                // The older form does not say how many matrices share the numbers.
                let experts = entry.matrices.or_else(|| of.dims().split_last_chunk::<2>()?.0.first().copied());
                let shape = match experts.filter(|experts| *experts > 1 && all.is_multiple_of(*experts)) {
                    Some(experts) => Shape::new([experts, all / experts]),
                    None => Shape::new([all]),
                };
                Some(View { name: &entry.name, shape, values: Cow::Borrowed(&entry.means) })
            }
        }
    }

    /// The number of columns of a weight, and the number of its elements that share one importance: all elements, or
    /// those of one expert.
    pub(crate) fn extents(&self, of: &Shape, view: &View<'_>) -> Result<(usize, u64), ImportanceFileError> {
        let columns = of.dims().last().copied().unwrap_or_default();
        let all = of.elements().unwrap_or(u64::MAX);
        let index = |columns| usize::try_from(columns).expect("a map of so many floats fits the address space");
        match (view.shape.dims(), of.dims()) {
            ([found], _) if *found == columns => Ok((index(columns), all)),
            ([experts, found], [of_weight, ..]) if *found == columns && experts == of_weight && *experts > 0 => {
                Ok((index(columns), all / experts))
            }
            (_, dims) => Err(ImportanceFileError::Shape {
                path: self.path.clone(),
                tensor: view.name.to_owned(),
                found: view.shape.clone(),
                expected: match dims {
                    [experts, _, _] => format!("[{columns}] or [{experts}, {columns}]"),
                    _ => format!("[{columns}]"),
                },
                weight: of.clone(),
            }),
        }
    }
}

/// Whether a tensor of a file of statistics holds products of inputs.
fn is_hessian(name: &str) -> bool {
    name.starts_with("hessian/")
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let float = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("chunks of four bytes"));
    bytes.chunks_exact(4).map(float).collect()
}

/// The importance of the columns of one tensor.
#[derive(Debug)]
pub(crate) struct TensorImportance {
    /// `[columns]`, or `[experts, columns]`.
    pub(crate) values: Vec<f32>,
    pub(crate) columns: usize,
    /// Number of elements of the tensor that share one importance.
    pub(crate) matrix: u64,
}

impl TensorImportance {
    /// The importance of the columns of a matrix.
    pub(crate) fn of_matrix(&self, matrix: u64) -> &[f32] {
        let mut rows = self.values.chunks_exact(self.columns);
        let of_matrix = usize::try_from(matrix).ok().and_then(|matrix| rows.clone().nth(matrix));
        of_matrix.or_else(|| rows.next()).unwrap_or_default()
    }

    /// The importance from element `element` of the tensor on, and the number of elements that it applies to.
    pub(crate) fn at(&self, element: u64) -> (Importance<'_>, u64) {
        let within = element % self.matrix;
        let of_matrix = self.of_matrix(element / self.matrix);
        let column = usize::try_from(within % self.columns as u64).expect("it is below the number of columns");
        let importance = Importance::new(of_matrix).expect("numbers of a file that was checked, which stay finite");
        (importance.starting_at(column), self.matrix - within)
    }
}
