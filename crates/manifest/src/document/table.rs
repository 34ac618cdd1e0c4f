//! The tensor table: the place and origin of every tensor of a model.

use std::{collections::HashSet, fmt};

use longshore_st_format::{Dtype, Shape};
use serde::{Deserialize, Serialize};

use super::{Chunks, DocumentError, DraftHead, Facts, Import, arrangement, coding};
use crate::{Digest, path::not_on_windows};

/// Version of the table that this release reads and writes.
const VERSION: u32 = 1;

/// All tensors of a model, by blob. A loader needs only the manifest and this table. The blobs' own headers serve as a
/// check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TensorTable {
    /// Version of the table's format.
    pub version: u32,
    /// Facts about the model.
    pub facts: Facts,
    /// Record of the model's import.
    pub import: Import,
    /// Tensors that predict further tokens than the next. Empty in a model without any, and in tables of earlier releases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heads: Vec<DraftHead>,
    /// Tensor blobs, in the order of the manifest.
    pub blobs: Vec<BlobEntry>,
}

/// Tensors of one blob.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlobEntry {
    /// Digest of the blob.
    pub digest: Digest,
    /// Pipeline component of the tensors, such as `text_encoder`. `None` in a model of one part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// Digests of the blob's chunks. `None` for a blob of one chunk, and in tables of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<Chunks>,
    /// Tensors of the blob, by name.
    pub tensors: Vec<TensorEntry>,
}

/// One tensor: its type and shape, its origin, and the places of its parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorEntry {
    /// Name without a component's prefix.
    pub name: String,
    /// Type of the values. For a quantized tensor, the float type from which it was quantized.
    pub dtype: Dtype,
    /// Logical shape, in elements.
    pub shape: Shape,
    /// Coding of the values. `None` for a plain tensor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<Quantization>,
    /// Rearrangement of the source's values before any quantization. The document calls it `transform`.
    #[serde(default, rename = "transform")]
    pub arrangement: Arrangement,
    /// Change of every value on the way from the source, which an export to the source's format undoes exactly.
    #[serde(default, skip_serializing_if = "Change::is_none")]
    pub change: Change,
    /// Corrections of what undoing the change computes: for each value, the steps of F32, away from zero, to the value of the
    /// source, which another program computed. Empty if all are 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ulps: Vec<i8>,
    /// The stored values are those of the model plus this number. 0 but for tensors of a GGUF file whose values could not
    /// be changed in a way that can be undone. A loader subtracts the number or refuses the tensor.
    #[serde(default, skip_serializing_if = "is_no_offset")]
    pub offset: i32,
    /// Names of the source tensors, in order. Empty if the only source is a tensor of the same name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// Parts of the tensor: the weight, then its companions.
    pub parts: Vec<Part>,
    /// Loss by quantization, if import was asked to measure it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Loss>,
}

/// Loss by quantization: difference between the values that the codes stand for, in F32, and the values before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// Largest absolute error, in the unit of the values.
    pub max_abs: f64,
    /// Root of the sum of squared errors divided by the sum of squared values: 0.01 is one percent. `None` if all
    /// values are zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative_rmse: Option<f64>,
    /// Number of groups with a value other than zero that decode to zeros only.
    pub zeroed_groups: u64,
    /// Number of values that are infinite or NaN before or after quantization. The other figures leave these values
    /// out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub non_finite: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_no_offset(offset: &i32) -> bool {
    *offset == 0
}

impl Loss {
    /// Returns the signal-to-quantization-noise ratio in decibels, or `None` if nothing was lost or all values are
    /// zero.
    #[must_use]
    pub fn sqnr_db(&self) -> Option<f64> {
        self.relative_rmse.filter(|rmse| *rmse > 0.0).map(|rmse| -20.0 * rmse.log10())
    }
}

/// Coding of the values of a quantized tensor.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Quantization {
    /// Name of the code: `int2` … `int8`, `nvfp4`, `mxfp4` or `mxfp8`, or that of one of ggml's [blocks](super::GgmlBlocks).
    #[serde(rename = "scheme")]
    pub quant_type: String,
    /// Number of consecutive elements of the last axis that share a scale, or that make one of ggml's blocks.
    pub group_size: u32,
}

/// Rearrangement by which a tensor's values were made from those of its sources.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Arrangement {
    /// No rearrangement.
    #[default]
    None,
    /// Source tensors of one shape `[…]` were stacked into one of shape `[sources, …]`.
    Stack,
    /// The last two of three or more axes were swapped.
    Transpose,
    /// The elements have the order of the source, which has another shape or other values.
    Reshape,
    /// Each of `heads` heads along the first axis has the rows of its first half, then those of its second. In the source
    /// they alternate.
    Halves {
        /// Number of heads.
        heads: u64,
    },
    /// Along `axis`, one row of each source follows another: sources of one shape alternate.
    Interleave {
        /// The axis: 0, or 1 in a stack.
        axis: u8,
    },
    /// Along `axis`, the rows of each source follow those of the one before: sources of one shape are joined.
    Concatenate {
        /// The axis: 0, or 1 in a stack.
        axis: u8,
    },
    /// Along `axis`, these are rows `first` and following of the source.
    Rows {
        /// The axis: 0, or 1 in a stack.
        axis: u8,
        /// The first row.
        first: u64,
        /// Number of rows in the source.
        of: u64,
    },
    /// Each of `heads` heads along the first of two axes has `keys` rows of the first source, `[heads, rank, keys]`, whose
    /// last two axes are swapped, and then the rows of the second, `[heads, values, rank]`.
    LatentHeads {
        /// Number of heads.
        heads: u64,
        /// Number of rows of a head that come from the first source.
        keys: u64,
    },
}

/// Change of the values of a tensor of F32 on the way from its source. The values before it can be had back to the bit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change {
    /// No change.
    #[default]
    None,
    /// 1 was subtracted.
    MinusOne,
    /// The logarithm of the negative: `ln(-a)`.
    LogNegative,
}

impl Change {
    /// Whether the values are those of the source.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// Part of a tensor: one array in a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Role of the array in the tensor.
    pub role: Role,
    /// Type of the array's elements.
    pub dtype: Dtype,
    /// Shape of the array, outermost extent first. Packed codes are counted in words: `[…, out, in × bits / 32]`.
    pub shape: Shape,
    /// Start of the array, in bytes from the start of the blob.
    pub offset: u64,
    /// Length of the array, in bytes.
    pub length: u64,
    /// Blob that holds the array, if it is not the tensor's own blob. Some tensors that ollama wrote have their scales
    /// in separate blobs. The field is never part of a document.
    #[serde(skip)]
    pub blob: Option<Digest>,
}

/// Role of an array in the tensor that it is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// The values, or the packed codes of a quantized tensor.
    Weight,
    /// One scale per group.
    Scale,
    /// One bias per group.
    Bias,
    /// Multiplier of the scales: one F32 for the tensor, or `[experts, 1, 1]` with one F32 for each expert of a stack.
    GlobalScale,
}

impl Quantization {
    /// Parses the name of a coding as a request spells it: `int4`, `int4-g32`, `nvfp4`. `None` for a name that is not known.
    #[must_use]
    pub fn from_request(name: &str) -> Option<Self> {
        let (quant_type, group) = name.split_once("-g").map_or((name, None), |(name, group)| (name, Some(group)));
        let group_size = match (group, coding::Coding::of(quant_type)?.group_size) {
            (Some(group), _) => group.parse().ok()?,
            (None, fixed) => fixed.unwrap_or(64),
        };
        Some(Self { quant_type: quant_type.to_owned(), group_size })
    }
}

/// Spells the coding as in a request: `int4-g64`, `nvfp4`. An affine code always has its group size.
impl fmt::Display for Quantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.quant_type)?;
        if self.quant_type.starts_with("int") { write!(f, "-g{}", self.group_size) } else { Ok(()) }
    }
}

impl Role {
    /// Returns the suffix that turns the tensor's name into the name of the array in the blob.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Weight => "",
            Self::Scale => ".scale",
            Self::Bias => ".bias",
            Self::GlobalScale => ".global_scale",
        }
    }
}

/// Whether `name` can be the name of a pipeline component: 1 to 128 ASCII letters, digits, `.`, `_` and `-`, except `.`
/// and `..` and names that Windows cannot hold, such as `nul` or one with a dot at the end. Such a name is one segment of
/// a path.
#[must_use]
pub fn is_component(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=128).contains(&name.len()) && name.bytes().all(allowed) && not_on_windows(name).is_none()
}

impl TensorTable {
    /// Makes a table from its blobs.
    #[must_use]
    pub fn new(facts: Facts, import: Import, blobs: Vec<BlobEntry>) -> Self {
        Self { version: VERSION, facts, import, heads: Vec::new(), blobs }
    }

    /// Iterates over all tensors with their blobs, in the order of the blobs.
    pub fn tensors(&self) -> impl Iterator<Item = (&BlobEntry, &TensorEntry)> {
        self.blobs.iter().flat_map(|blob| blob.tensors.iter().map(move |tensor| (blob, tensor)))
    }

    /// Checks the properties on which every reader relies.
    pub(crate) fn check(&self) -> Result<(), DocumentError> {
        if self.version != VERSION {
            return Err(DocumentError::Version { what: "tensor table", found: self.version, expected: VERSION });
        }
        for component in self.blobs.iter().filter_map(|blob| blob.component.as_deref()) {
            if !is_component(component) {
                let problem = format!(
                    "the component {component:?} is not a directory name: expected letters, digits, '.', '_' and '-', at most 128, and a name that Windows can hold"
                );
                return Err(DocumentError::Inconsistent { what: "tensor table", problem });
            }
        }
        for (blob, chunks) in self.blobs.iter().filter_map(|blob| Some((blob, blob.chunks.as_ref()?))) {
            let ends = blob.tensors.iter().flat_map(|tensor| &tensor.parts).filter(|part| part.blob.is_none());
            let end = ends.map(|part| part.offset.saturating_add(part.length)).max().unwrap_or(0);
            if let Err(problem) = chunks.check(end) {
                let problem = format!("the blob {}: {problem}", blob.digest);
                return Err(DocumentError::Inconsistent { what: "tensor table", problem });
            }
        }
        let mut names = HashSet::new();
        for (blob, tensor) in self.tensors() {
            let fail = |problem: String| {
                Err(DocumentError::Inconsistent {
                    what: "tensor table",
                    problem: format!("tensor {:?}: {problem}", tensor.name),
                })
            };
            if !names.insert((blob.component.as_deref(), tensor.name.as_str())) {
                return fail("it is listed twice".into());
            }
            if let Err(problem) = tensor.check() {
                return fail(problem);
            }
        }
        Ok(())
    }
}

impl BlobEntry {
    /// The digests of the blob's chunks, if there are as many as a blob of `size` bytes has.
    #[must_use]
    pub fn chunks_of(&self, size: u64) -> Option<&Chunks> {
        self.chunks.as_ref().filter(|chunks| chunks.fits(size))
    }
}

impl TensorEntry {
    /// Returns the part with this role.
    #[must_use]
    pub fn part(&self, role: Role) -> Option<&Part> {
        self.parts.iter().find(|part| part.role == role)
    }

    /// Returns the weight: the values, or the packed codes.
    ///
    /// # Panics
    ///
    /// Panics if the tensor has no weight. A parsed or planned table has none of these, because parsing and planning
    /// check for a weight.
    #[must_use]
    pub fn weight(&self) -> &Part {
        self.part(Role::Weight).expect("BUG: a table entry without a weight")
    }

    /// Iterates over the names of the source tensors, in order.
    pub fn source_names(&self) -> impl Iterator<Item = &str> {
        let own = self.sources.is_empty().then_some(self.name.as_str());
        own.into_iter().chain(self.sources.iter().map(String::as_str))
    }

    /// Returns the size of all parts in bytes.
    #[must_use]
    pub fn byte_len(&self) -> u64 {
        self.parts.iter().map(|part| part.length).fold(0, u64::saturating_add)
    }

    /// Returns the number of elements.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.shape.elements().unwrap_or(u64::MAX)
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        if self.shape.elements().is_none() {
            return Err(format!("the shape {} has more elements than can be counted", self.shape));
        }
        for (at, part) in self.parts.iter().enumerate() {
            if self.parts[..at].iter().any(|other| other.role == part.role) {
                return Err(format!("it has two parts of role {:?}", part.role));
            }
            let expected = part.shape.byte_len(part.dtype).map_err(|error| error.to_string())?;
            if part.length != expected {
                return Err(format!(
                    "its {:?} has {} bytes, expected {expected} for {} {}",
                    part.role, part.length, part.dtype, part.shape
                ));
            }
            if part.offset.checked_add(part.length).is_none() {
                return Err(format!("its {:?} lies at {} and has {} bytes", part.role, part.offset, part.length));
            }
        }
        let Some(weight) = self.part(Role::Weight) else {
            return Err("it has no weight".into());
        };
        arrangement::check(self)?;
        if let Some(quantization) = &self.quantization {
            return coding::check(self, quantization);
        }
        if self.parts.len() > 1 || weight.dtype != self.dtype || weight.shape != self.shape {
            return Err(format!(
                "it is plain {} {}, but its parts are not: {} of them, the first {} {}",
                self.dtype,
                self.shape,
                self.parts.len(),
                weight.dtype,
                weight.shape
            ));
        }
        Ok(())
    }
}
