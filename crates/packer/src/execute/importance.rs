//! Importance of the input channels of weights, read from a file.

use std::{collections::HashSet, path::PathBuf};

use longshore_manifest::Digest;
use longshore_quant::{Importance, ImportanceError};
use longshore_st_format::{Dtype, OpenError, SafeTensors, Shape, TensorView, open};
use memmap2::Mmap;

use crate::plan::planned::{Plan, PlannedTensor};

/// Importance of each input channel of a model's weights: the mean of x² over the activations x that the weight is
/// multiplied with, as a calibration run measures it.
///
/// The file has the safetensors format. For a weight `[out, in]` it holds an F32 tensor of shape `[in]` under the
/// weight's name, with or without `.weight`. For a stack of experts `[experts, out, in]` it holds a tensor of shape
/// `[experts, in]` or `[in]` under the name of the stack. A weight without such a tensor is quantized as if all
/// channels had the same importance.
#[derive(Debug)]
pub struct ImportanceFile {
    path: PathBuf,
    digest: Digest,
    file: SafeTensors<Mmap>,
}

/// Reason why a file cannot be used as the importance of a model's weights.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportanceFileError {
    /// The file cannot be opened or is not in the safetensors format.
    #[error("cannot read the importance file {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The error of the reader.
        source: OpenError,
    },
    /// A tensor has another type than F32.
    #[error("tensor {tensor:?} of the importance file {} is {found}, expected F32", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Type of the tensor.
        found: Dtype,
    },
    /// A tensor holds values that cannot be used as importance.
    #[error("tensor {tensor:?} of the importance file {} cannot be used", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The error in the values.
        source: ImportanceError,
    },
    /// A tensor does not fit the shape of the weight with its name.
    #[error(
        "tensor {tensor:?} of the importance file {} has shape {found}, expected {expected} for a weight {weight}",
        path.display()
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Shape of the tensor.
        found: Shape,
        /// The shapes that fit.
        expected: String,
        /// The shape of the weight.
        weight: Shape,
    },
    /// No tensor in the file belongs to a weight that is quantized.
    #[error(
        "the importance file {} has no tensor for any weight that is quantized; {example:?} is one of those", path.display()
    )]
    Unused {
        /// The file.
        path: PathBuf,
        /// The first weight that is quantized.
        example: String,
    },
}

impl ImportanceFile {
    /// Maps the file into memory and checks all of its values.
    ///
    /// # Errors
    ///
    /// Returns [`ImportanceFileError::Open`], [`ImportanceFileError::Dtype`] or [`ImportanceFileError::Value`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ImportanceFileError> {
        let path = path.into();
        let file = open(&path).map_err(|source| ImportanceFileError::Open { path: path.clone(), source })?;
        for tensor in file.iter() {
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
        let bytes = file.into_inner();
        let digest = Digest::of(&bytes);
        let file = SafeTensors::new(bytes).expect("BUG: a header that was accepted a moment ago");
        Ok(Self { path, digest, file })
    }

    /// The digest of the file's bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Checks that the file fits the weights that `plan` quantizes. [`Plan::import`] calls this first; a program that
    /// only shows a plan should call it, too. Returns a warning if the file and the plan agree only in part.
    ///
    /// # Errors
    ///
    /// Returns [`ImportanceFileError::Shape`] for the first tensor that does not fit, and
    /// [`ImportanceFileError::Unused`] if no tensor belongs to a weight that is quantized.
    pub fn check(&self, plan: &Plan) -> Result<Option<String>, ImportanceFileError> {
        let tensors = plan.blobs.iter().flat_map(|blob| &blob.tensors);
        let mut quantized = tensors.filter(|tensor| tensor.scheme.is_some()).peekable();
        let Some(example) = quantized.peek().map(|tensor| tensor.name.clone()) else { return Ok(None) };
        let (mut used, mut unweighted) = (HashSet::new(), 0);
        for tensor in quantized {
            match self.view(tensor) {
                None => unweighted += 1,
                Some(view) => {
                    self.extents(tensor, view)?;
                    used.insert(view.name);
                }
            }
        }
        if used.is_empty() {
            return Err(ImportanceFileError::Unused { path: self.path.clone(), example });
        }
        let other = self.file.header().len() - used.len();
        Ok((other > 0 || unweighted > 0).then(|| {
            let path = self.path.display();
            format!("{path}: {other} tensors belong to no quantized weight, {unweighted} quantized weights have none")
        }))
    }

    /// The importance of the channels of a planned tensor, if the file has it.
    pub(super) fn of(&self, tensor: &PlannedTensor) -> Result<Option<TensorImportance>, ImportanceFileError> {
        let Some(view) = self.view(tensor) else { return Ok(None) };
        let (columns, matrix) = self.extents(tensor, view)?;
        Ok(Some(TensorImportance { values: floats(view.data), columns, matrix }))
    }

    fn view(&self, tensor: &PlannedTensor) -> Option<TensorView<'_>> {
        let module = || tensor.name.strip_suffix(".weight");
        self.file.tensor(&tensor.name).or_else(|| self.file.tensor(module()?))
    }

    /// The number of columns of a weight, and the number of its elements that share one importance: all elements, or
    /// those of one expert.
    fn extents(&self, tensor: &PlannedTensor, view: TensorView<'_>) -> Result<(usize, u64), ImportanceFileError> {
        let columns = tensor.shape.dims().last().copied().unwrap_or_default();
        let all = tensor.shape.elements().unwrap_or(u64::MAX);
        let index = |columns| usize::try_from(columns).expect("a map of so many floats fits the address space");
        match (view.shape.dims(), tensor.shape.dims()) {
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
                weight: tensor.shape.clone(),
            }),
        }
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let float = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("chunks of four bytes"));
    bytes.chunks_exact(4).map(float).collect()
}

/// The importance of the columns of one tensor.
#[derive(Debug)]
pub(super) struct TensorImportance {
    /// `[columns]`, or `[experts, columns]`.
    values: Vec<f32>,
    columns: usize,
    /// Number of elements of the tensor that share one importance.
    matrix: u64,
}

impl TensorImportance {
    /// The importance from element `element` of the tensor on, and the number of elements that it applies to.
    pub(super) fn at(&self, element: u64) -> (Importance<'_>, u64) {
        let within = element % self.matrix;
        let rows = self.values.chunks_exact(self.columns);
        let of_matrix = usize::try_from(element / self.matrix).ok().and_then(|matrix| rows.clone().nth(matrix));
        let of_matrix = of_matrix.or_else(|| rows.clone().next()).unwrap_or_default();
        let column = usize::try_from(within % self.columns as u64).expect("it is below the number of columns");
        let importance = Importance::new(of_matrix).expect("the file's numbers were checked when it was opened");
        (importance.starting_at(column), self.matrix - within)
    }
}
