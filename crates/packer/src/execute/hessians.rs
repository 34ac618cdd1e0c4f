//! Products of the inputs of weights, read from a file of statistics.

use std::{collections::BTreeMap, path::PathBuf};

use longshore_manifest::{Digest, document::Arrangement};
use longshore_st_format::{Dtype, OpenError, SafeTensors, Shape, open};
use longshore_transform::{cholesky::FactorError, product::WIDTH};
use memmap2::Mmap;
use serde::Deserialize;

use crate::{
    plan::{
        factors::Factors,
        planned::{Plan, PlannedTensor, Turn},
    },
    statistics::recorded::{OTHER_BASIS, OtherBasis, Recorded},
};

/// Mean products of the inputs of weights, as `longshore calibrate --hessians` writes them.
///
/// The file has the safetensors format. Its metadata names, under `hessians`, an array for each weight: F32 `[in, in]`, or
/// `[experts, in, in]` for a stack of experts. A weight without an array is not quantized by products.
#[derive(Debug)]
pub struct HessianFile {
    path: PathBuf,
    digest: Digest,
    file: SafeTensors<Mmap>,
    arrays: BTreeMap<String, String>,
    rows: BTreeMap<String, Rows>,
    recorded: Recorded,
}

/// Numbers of inputs that were seen.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Rows {
    All(u64),
    OfExperts(Vec<u64>),
}

/// Reason why a file of Hessians cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HessianFileError {
    /// The file cannot be opened or is not in the safetensors format.
    #[error("cannot read the file of Hessians {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The error of the reader.
        source: OpenError,
    },
    /// The file names no Hessians, or names them wrongly.
    #[error("{} has no Hessians: {problem}", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// The error in the metadata.
        problem: String,
    },
    /// An array does not fit the shape of the weight with its name, or has another type than F32.
    #[error("the Hessian of {tensor:?} in {} is {dtype} {found}, expected F32 {expected}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The weight.
        tensor: String,
        /// Type of the array.
        dtype: Dtype,
        /// Shape of the array.
        found: Shape,
        /// The shape that fits.
        expected: Shape,
    },
    /// A Hessian is none.
    #[error("the Hessian of {tensor:?} in {} cannot be used", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The weight.
        tensor: String,
        /// The error in the values.
        source: FactorError,
    },
    /// No Hessian belongs to a weight whose codes are chosen by it.
    #[error("{} has no Hessian for any weight that is quantized to integers; {example:?} is one of those", path.display())]
    Unused {
        /// The file.
        path: PathBuf,
        /// The first such weight.
        example: String,
    },
    /// The Hessians were recorded while a model with other weights ran.
    #[error("{} was recorded on a model that is {found}, and the weights are {expected}", path.display())]
    Rotation {
        /// The file.
        path: PathBuf,
        /// The rotation of that model, or the factors of its columns, in words.
        found: String,
        /// That of the weights.
        expected: String,
    },
}

impl HessianFileError {
    /// Advice to the user, if there is any for this error.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        matches!(self, Self::Rotation { .. }).then_some(OTHER_BASIS)
    }
}

impl HessianFile {
    /// Maps the file into memory, reads its metadata and hashes it.
    ///
    /// # Errors
    ///
    /// Returns [`HessianFileError::Open`] or [`HessianFileError::Metadata`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, HessianFileError> {
        let path = path.into();
        let file = open(&path).map_err(|source| HessianFileError::Open { path: path.clone(), source })?;
        let fail = |problem: String| HessianFileError::Metadata { path: path.clone(), problem };
        let metadata = file.header().metadata();
        let found = metadata.get("hessians").ok_or_else(|| fail("its metadata have no \"hessians\"".into()))?;
        let bad = |member: &str, error: serde_json::Error| fail(format!("{member:?} in its metadata: {error}"));
        let arrays: BTreeMap<String, String> = serde_json::from_str(found).map_err(|error| bad("hessians", error))?;
        if let Some((weight, array)) = arrays.iter().find(|(_, array)| file.tensor(array).is_none()) {
            return Err(fail(format!("it has no array {array:?}, which its metadata name for {weight:?}")));
        }
        let rows = metadata.get("rows").map(|rows| serde_json::from_str(rows)).transpose();
        let rows = rows.map_err(|error| bad("rows", error))?.unwrap_or_default();
        let recorded = Recorded::of(metadata);
        let bytes = file.into_inner();
        let digest = Digest::of(&bytes);
        let file = SafeTensors::new(bytes).expect("BUG: a header that was accepted a moment ago");
        Ok(Self { path, digest, file, arrays, rows, recorded })
    }

    /// The digest of the file's bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Checks that the file fits the weights that `plan` quantizes. [`Plan::import`] calls this first; a program that only
    /// shows a plan should call it, too. Returns warnings: weights that have no Hessian or one of few inputs, and another model.
    ///
    /// # Errors
    ///
    /// Returns [`HessianFileError::Shape`] for the first array that does not fit, [`HessianFileError::Unused`] if no array
    /// belongs to a weight that is quantized, and [`HessianFileError::Rotation`] for statistics of other weights.
    pub fn check(&self, plan: &Plan) -> Result<Vec<String>, HessianFileError> {
        let path = || self.path.clone();
        let of_model = self
            .recorded
            .check(&self.path, plan.weighed())
            .map_err(|OtherBasis { found, expected }| HessianFileError::Rotation { path: path(), found, expected })?;
        let tensors = plan.blobs.iter().flat_map(|blob| &blob.tensors);
        let is_chosen = |tensor: &&PlannedTensor| {
            tensor.scheme.is_some_and(longshore_quant::Scheme::is_affine) && !tensor.is_repacked()
        };
        let quantized: Vec<_> = tensors.filter(is_chosen).collect();
        let Some(example) = quantized.first() else { return Ok(Vec::new()) };
        let (mut without, mut turned, mut few) = (Vec::new(), Vec::new(), Vec::new());
        for tensor in &quantized {
            match self.of(tensor)? {
                None if !has_rows(tensor) && self.arrays.contains_key(&tensor.name) => {
                    turned.push(tensor.name.as_str());
                }
                None => without.push(tensor.name.as_str()),
                Some(hessians) if hessians.least_rows < hessians.columns as u64 => {
                    few.push((tensor.name.as_str(), hessians.least_rows, hessians.columns));
                }
                Some(_) => {}
            }
        }
        if without.len() == quantized.len() {
            return Err(HessianFileError::Unused { path: path(), example: example.name.clone() });
        }
        let mut warnings = Vec::new();
        let (file, all) = (self.path.display(), quantized.len());
        match *without {
            [] => {}
            [only] => warnings.push(format!("{file}: {only:?} has no Hessian; its codes are searched for")),
            [first, ..] => warnings.push(format!(
                "{file}: {} of {all} quantized weights have no Hessian; their codes are searched for: {first:?} first",
                without.len()
            )),
        }
        if let [first, ..] = *turned {
            warnings.push(format!(
                "{file}: the Hessians of {} of {all} quantized weights are not used, and their codes are searched for, since this import \
                 makes their rows ({first:?} first): store the model without --quantize, and quantize the stored model",
                turned.len()
            ));
        }
        if let [(name, rows, columns), ..] = *few {
            let others = few.len() - 1;
            let others = if others == 0 { String::new() } else { format!(", and {others} more likewise") };
            warnings.push(format!("{file}: {name} was seen with {rows} inputs, fewer than its {columns} channels{others}: use a longer text"));
        }
        warnings.extend(of_model);
        Ok(warnings)
    }

    /// The products of the inputs of a planned tensor, if the file has them.
    pub(super) fn of<'f>(&'f self, tensor: &'f PlannedTensor) -> Result<Option<TensorHessians<'f>>, HessianFileError> {
        if !has_rows(tensor) {
            return Ok(None);
        }
        let Some(view) = self.arrays.get(&tensor.name).and_then(|array| self.file.tensor(array)) else {
            return Ok(None);
        };
        let expected = match tensor.shape.dims() {
            [_, columns] => Shape::new([*columns, *columns]),
            [experts, _, columns] => Shape::new([*experts, *columns, *columns]),
            _ => return Ok(None),
        };
        if view.dtype != Dtype::F32 || *view.shape != expected {
            let (dtype, found) = (view.dtype, view.shape.clone());
            let (path, tensor) = (self.path.clone(), tensor.name.clone());
            return Err(HessianFileError::Shape { path, tensor, dtype, found, expected });
        }
        let columns = tensor.shape.dims().last().copied().unwrap_or_default();
        let columns = usize::try_from(columns).expect("a map of so many floats fits the address space");
        let least_rows = match self.rows.get(&tensor.name) {
            Some(Rows::All(rows)) => *rows,
            Some(Rows::OfExperts(rows)) => rows.iter().copied().min().unwrap_or_default(),
            None => u64::MAX,
        };
        Ok(Some(TensorHessians { data: view.data, columns, factors: tensor.factors.as_ref(), least_rows }))
    }

    /// The error for values of a tensor's Hessian.
    pub(super) fn value(&self, tensor: &str, source: FactorError) -> HessianFileError {
        HessianFileError::Value { path: self.path.clone(), tensor: tensor.to_owned(), source }
    }
}

/// Whether whole rows of a tensor's matrices are at hand. Those of a matrix that is transposed, or whose columns are rotated, are not.
fn has_rows(tensor: &PlannedTensor) -> bool {
    tensor.arrangement != Arrangement::Transpose && tensor.turn != Some(Turn::Writes)
}

/// The Hessians of the matrices of one tensor.
#[derive(Debug, Clone, Copy)]
pub(super) struct TensorHessians<'f> {
    data: &'f [u8],
    pub(super) columns: usize,
    /// Factors of the columns, which the inputs are divided by.
    factors: Option<&'f Factors>,
    /// The least number of inputs that a matrix was seen with.
    least_rows: u64,
}

/// The Hessian of one matrix, row by row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hessian<'f> {
    data: &'f [u8],
    pub(super) columns: usize,
    /// Numbers that the inputs are divided by.
    factors: Option<&'f [f32]>,
}

impl<'f> TensorHessians<'f> {
    pub(super) fn matrix(self, matrix: u64) -> Hessian<'f> {
        let len = self.columns * self.columns * 4;
        let at = usize::try_from(matrix).expect("the map has as many matrices as the tensor");
        let factors = self.factors.and_then(|factors| factors.of_matrix(matrix, self.columns));
        Hessian { data: &self.data[at * len..][..len], columns: self.columns, factors }
    }
}

impl Hessian<'_> {
    /// Reads a part of a row.
    fn read(self, row: usize, first: usize, out: &mut [f32]) {
        let bytes = &self.data[(row * self.columns + first) * 4..][..out.len() * 4];
        for (bytes, value) in bytes.as_chunks().0.iter().zip(&mut *out) {
            *value = f32::from_le_bytes(*bytes);
        }
        if let Some(factors) = self.factors {
            out.iter_mut().zip(&factors[first..]).for_each(|(value, factor)| *value /= factors[row] * factor);
        }
    }

    pub(super) fn row(self, row: usize, out: &mut [f32]) {
        self.read(row, 0, out);
    }

    pub(super) fn diagonal(self) -> Vec<f32> {
        let mut found = vec![0.0; self.columns];
        found.iter_mut().enumerate().for_each(|(at, value)| self.read(at, at, std::slice::from_mut(value)));
        found
    }

    /// Reads columns from `first` on of as many rows as `out` has, [`WIDTH`] numbers for each.
    pub(super) fn panel(self, first: usize, out: &mut [f32]) {
        let width = WIDTH.min(self.columns - first);
        for (row, out) in out.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
            *out = [0.0; WIDTH];
            self.read(row, first, &mut out[..width]);
        }
    }
}
