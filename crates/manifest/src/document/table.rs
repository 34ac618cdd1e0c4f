//! The tensor table: where every tensor of a model lies, and how it was made.

use std::{collections::HashSet, fmt};

use longshore_st_format::{Dtype, Shape};
use serde::{Deserialize, Serialize};

use super::{DocumentError, Facts, Import, coding};
use crate::{Digest, path::not_on_windows};

/// The version of the table that this release reads and writes.
const VERSION: u32 = 1;

/// Every tensor of a model, by blob. Loading needs the manifest and this table; the blobs' own headers are a check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TensorTable {
    /// The version of the table's format.
    pub version: u32,
    /// What the model is.
    pub facts: Facts,
    /// How it was imported.
    pub import: Import,
    /// The tensor blobs, in the manifest's order.
    pub blobs: Vec<BlobEntry>,
}

/// The tensors of one blob.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlobEntry {
    /// The blob.
    pub digest: Digest,
    /// The pipeline component that the tensors belong to, such as `text_encoder`; absent for a model of one part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// The tensors, by name.
    pub tensors: Vec<TensorEntry>,
}

/// One tensor: what it is, how it was made, and where its parts lie.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorEntry {
    /// The name, without a component's prefix.
    pub name: String,
    /// The type of the values: of a quantized tensor, the float type that it was quantized from.
    pub dtype: Dtype,
    /// The logical shape, in elements.
    pub shape: Shape,
    /// How the values are coded; absent for a plain tensor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<Quantization>,
    /// How import arranged the source's values before any quantization. The document calls it `transform`.
    #[serde(default, rename = "transform")]
    pub arrangement: Arrangement,
    /// The source's tensors that it was made from, in order; empty where that is one tensor of the same name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// The parts: the weight, then the companions.
    pub parts: Vec<Part>,
    /// What quantization lost, where import was asked to measure it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Loss>,
}

/// What quantization lost of a tensor: the values that its codes stand for, in F32, against those that were quantized.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// The largest absolute error, in the unit of the values.
    pub max_abs: f64,
    /// The root of the squared errors' sum over that of the squared values' sum: 0.01 is one percent. Absent where all values
    /// are zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative_rmse: Option<f64>,
    /// The number of groups, not all zero, that decode to nothing but zeros.
    pub zeroed_groups: u64,
    /// The number of values that are infinite or NaN, before or after. The other figures leave them out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub non_finite: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Loss {
    /// The signal-to-quantization-noise ratio in decibels. `None` where nothing is lost, or all values are zero.
    #[must_use]
    pub fn sqnr_db(&self) -> Option<f64> {
        self.relative_rmse.filter(|rmse| *rmse > 0.0).map(|rmse| -20.0 * rmse.log10())
    }
}

/// How the values of a tensor are coded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Quantization {
    /// The code: `int2` … `int8`, `nvfp4`, `mxfp4` or `mxfp8`.
    #[serde(rename = "scheme")]
    pub quant_type: String,
    /// The number of consecutive elements of the last axis that share a scale.
    pub group_size: u32,
}

/// The arrangement of a tensor's values, which are those of its sources.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Arrangement {
    /// Nothing.
    #[default]
    None,
    /// The sources' tensors, of one shape `[…]`, became one of shape `[sources, …]`.
    Stack,
    /// The last two axes, of three or more, were swapped.
    Transpose,
}

/// A part of a tensor: one array in a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What the array is to the tensor.
    pub role: Role,
    /// The type of the array's elements.
    pub dtype: Dtype,
    /// The array's extents, outermost first: of packed codes in words, `[…, out, in × bits / 32]`.
    pub shape: Shape,
    /// Where the array starts, in bytes from the start of the blob.
    pub offset: u64,
    /// The length of the array in bytes.
    pub length: u64,
    /// The blob that it lies in, where that is not the tensor's own: some that ollama wrote have their scales in blobs of their
    /// own. Never in a document.
    #[serde(skip)]
    pub blob: Option<Digest>,
}

/// What an array is to the tensor whose part it is.
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
    /// What multiplies the scales: one F32 for all of them, or `[experts, 1, 1]`, one for those of each expert of a stack.
    GlobalScale,
}

/// As a request for it is written: `int4-g64`, `nvfp4`; an affine code always with its group.
impl fmt::Display for Quantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.quant_type)?;
        if self.quant_type.starts_with("int") { write!(f, "-g{}", self.group_size) } else { Ok(()) }
    }
}

impl Role {
    /// What the array's name in the blob adds to the tensor's name.
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

/// Whether a pipeline's component may be so called: 1 to 128 ASCII letters, digits, `.`, `_` and `-`, but not `.` or `..`, and
/// nothing that Windows cannot hold, such as `nul` or a dot at the end. Such a name is one segment of a path.
#[must_use]
pub fn is_component(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=128).contains(&name.len()) && name.bytes().all(allowed) && not_on_windows(name).is_none()
}

impl TensorTable {
    /// A table of these blobs.
    #[must_use]
    pub fn new(facts: Facts, import: Import, blobs: Vec<BlobEntry>) -> Self {
        Self { version: VERSION, facts, import, blobs }
    }

    /// All tensors, with their blobs, in the order of the blobs.
    pub fn tensors(&self) -> impl Iterator<Item = (&BlobEntry, &TensorEntry)> {
        self.blobs.iter().flat_map(|blob| blob.tensors.iter().map(move |tensor| (blob, tensor)))
    }

    /// Checks what every reader relies on.
    pub(crate) fn check(&self) -> Result<(), DocumentError> {
        if self.version != VERSION {
            return Err(DocumentError::Version { what: "tensor table", found: self.version, expected: VERSION });
        }
        for component in self.blobs.iter().filter_map(|blob| blob.component.as_deref()) {
            if !is_component(component) {
                let problem = format!(
                    "the component {component:?} is no name of a directory: expected letters, digits, '.', '_' and '-', at most 128, and a name that Windows can hold"
                );
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

impl TensorEntry {
    /// The part with this role.
    #[must_use]
    pub fn part(&self, role: Role) -> Option<&Part> {
        self.parts.iter().find(|part| part.role == role)
    }

    /// The weight: the values, or the packed codes.
    ///
    /// # Panics
    ///
    /// Never for a table that was parsed or planned: both make sure of the weight.
    #[must_use]
    pub fn weight(&self) -> &Part {
        self.part(Role::Weight).expect("BUG: a table entry without a weight")
    }

    /// The source's tensors that it was made from, in order.
    pub fn source_names(&self) -> impl Iterator<Item = &str> {
        let own = self.sources.is_empty().then_some(self.name.as_str());
        own.into_iter().chain(self.sources.iter().map(String::as_str))
    }

    /// The bytes of all its parts.
    #[must_use]
    pub fn byte_len(&self) -> u64 {
        self.parts.iter().map(|part| part.length).fold(0, u64::saturating_add)
    }

    /// The number of elements.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.shape.elements().unwrap_or(u64::MAX)
    }

    /// Whether the sources can have become one tensor of this shape.
    fn check_arrangement(&self) -> Result<(), String> {
        let (sources, rank) = (self.source_names().count() as u64, self.shape.rank());
        let expected = match self.arrangement {
            Arrangement::Stack if self.shape.dims().first() == Some(&sources) => return Ok(()),
            Arrangement::Stack => "as many sources as its first extent",
            Arrangement::Transpose if rank < 3 => "three axes or more",
            Arrangement::Transpose | Arrangement::None if sources > 1 => "one source at most",
            Arrangement::Transpose | Arrangement::None => return Ok(()),
        };
        Err(format!(
            "it is {} of {sources} sources with the transform {:?}, expected {expected}",
            self.shape, self.arrangement
        ))
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
        self.check_arrangement()?;
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
