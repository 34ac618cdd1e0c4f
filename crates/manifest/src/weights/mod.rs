//! Tensors of a model as arrays in host memory, mapped without a copy.
//!
//! [`Source`] says where the tensors lie, and [`Weights`] opens them, or a [`Selection`] of them. What a selection cuts out of a
//! tensor, and what is converted, lies in memory of its own.

mod check;
#[cfg(feature = "decode")]
mod compare;
mod error;
mod hold;
mod made;
mod map;
pub mod plan;
mod source;
mod summary;
mod tensor;
#[cfg(feature = "decode")]
mod values;
mod verify;

use std::{collections::HashMap, fmt, sync::Arc};

use longshore_st_format::Dtype;
use memmap2::MmapMut;

use crate::{
    Digest, Progress, Silent, Store,
    document::{Quantization, TensorTable},
    store::Model,
};
pub use check::check;
#[cfg(feature = "decode")]
pub use compare::{Difference, difference};
pub use error::WeightsError;
use hold::hold_all;
use made::{Made, Planned};
pub use map::MapError;
use map::{BlobBytes, Dir, Wanted, many_maps};
use plan::{Selection, View};
pub use source::{Checked, MemoryFile, Source, SourceError, SourceFile};
pub use summary::ModelQuantization;
pub use tensor::{Array, Tensor};
#[cfg(feature = "decode")]
pub use values::Values;
pub use verify::{CorruptError, Verified};

/// Tensors of a model, or of one of its components, in host memory.
///
/// Opening maps every blob once, read-only and shared, and copies nothing: the system reads a page from the file when
/// it is first touched. Small blobs are read into memory instead once the process has half of the maps that the system
/// allows: see [`Self::read_bytes`].
///
/// # Risk of a mapped array
///
/// A page of a mapped blob that the system cannot read ends the process with `SIGBUS` when it is touched. The file was
/// truncated, or its disk fails. The store never writes to a blob once the blob has its name, and deleting or replacing
/// a blob does not affect its mapping, so only another program or a failing disk causes this. [`Self::populate`] and
/// [`Self::verify`] load the pages first and report the system's error, where the system can do so. They do not protect
/// against a truncation afterwards. [`Store::open_blob`] reads without that risk.
#[derive(Debug)]
pub struct Weights {
    source: Source,
    /// Files that hold the tensors, in the order of their first use.
    blobs: Vec<(Digest, BlobBytes)>,
    made: Made,
    /// Tensors sorted by name and then by component, each with the index of its first part in `places`.
    tensors: Vec<(View, usize)>,
    places: Vec<Place>,
    /// Size of all tensors in bytes, including companions.
    bytes: u64,
}

/// Place of an array.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// In the file of this index, in bytes from its start.
    File { blob: usize, start: usize },
    /// In the memory that was made, in bytes from its start.
    Made(usize),
}

/// Options of opening weights. Later versions may add fields: `..Default::default()` fills them in.
#[derive(Clone)]
pub struct OpenOptions<'p> {
    /// Tensors, and parts of tensors, to open. What is left out costs nothing: a file is mapped only if one of its
    /// tensors is selected.
    pub selection: Selection,
    /// Type to which plain tensors of F64, F32, F16 and BF16 are converted: F32, F16 or BF16. Integers and booleans stay as they
    /// are; other types are an error.
    pub dtype: Option<Dtype>,
    /// Whether quantized tensors are decoded, to `dtype` or to the float type from which they were quantized.
    pub decode: bool,
    /// Form of tensors of ggml's blocks that are not decoded.
    pub blocks: BlockForm,
    /// Receiver of the progress of copies and conversions. [`Progress::begin`] tells their bytes before any is made.
    pub progress: &'p dyn Progress,
}

/// Form in which tensors of ggml's blocks are opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockForm {
    /// The blocks of the file, as one array of bytes.
    #[default]
    Kept,
    /// Codes, scales and biases of the scheme of MLX that holds the values, made in memory. Types that no scheme holds are
    /// decoded to [`OpenOptions::dtype`], or to BF16, and are plain tensors then.
    Mlx,
    /// Like [`Self::Mlx`], but tensors that are stored otherwise are left out.
    MlxAlone,
}

impl Default for OpenOptions<'_> {
    fn default() -> Self {
        Self { selection: Selection::default(), dtype: None, decode: false, blocks: BlockForm::Kept, progress: &Silent }
    }
}

impl fmt::Debug for OpenOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenOptions")
            .field("selection", &self.selection)
            .field("dtype", &self.dtype)
            .field("decode", &self.decode)
            .field("blocks", &self.blocks)
            .finish_non_exhaustive()
    }
}

impl Weights {
    /// Opens the tensors of a stored `model`.
    ///
    /// # Errors
    ///
    /// [`WeightsError::Table`] for a model whose tensors cannot be read, and the errors of [`Self::open_source`].
    pub fn open(store: &Store, model: &Model, options: &OpenOptions<'_>) -> Result<Self, WeightsError> {
        Self::open_source(&Source::of_model(store, model)?, options)
    }

    /// Opens the tensors of a `source`: a stored model, a directory, or files.
    ///
    /// # Errors
    ///
    /// [`WeightsError::Component`] for a component that the model does not have, [`WeightsError::Plan`] for another selection
    /// that cannot be met and for a tensor that cannot be converted, [`WeightsError::Blob`] and [`WeightsError::File`] for a file that
    /// is missing, cannot be mapped or has changed, [`WeightsError::Short`] for one that is cut off, and the other variants for
    /// copies and conversions.
    pub fn open_source(source: &Source, options: &OpenOptions<'_>) -> Result<Self, WeightsError> {
        let planned = Planned::new(source, options)?;
        let mut blobs: Vec<(Digest, &str)> = Vec::new();
        let mut by_digest: HashMap<Digest, usize> = HashMap::new();
        for tensor in &planned.tensors {
            for part in tensor.stored() {
                by_digest.entry(part.origin.digest).or_insert_with(|| {
                    blobs.push((part.origin.digest, &tensor.view.name));
                    blobs.len() - 1
                });
            }
        }
        let blobs = hold(source, &blobs)?;
        for tensor in &planned.tensors {
            for part in tensor.stored() {
                let digest = part.origin.digest;
                let found = blobs[by_digest[&digest]].1.len() as u64;
                let expected = part.origin.extents.iter().map(plan::Extent::end).max().unwrap_or_default();
                if expected > found {
                    let path = source.path(&digest);
                    return Err(WeightsError::Short { path, found, expected, tensor: tensor.view.name.clone() });
                }
            }
        }
        let made = Made::new(source, &planned, &blobs, &by_digest, options)?;
        let mut places = Vec::new();
        let mut tensors = Vec::with_capacity(planned.tensors.len());
        for tensor in planned.tensors {
            let first = places.len();
            tensor.places(&by_digest, &mut places);
            tensors.push((tensor.view, first));
        }
        Ok(Self { source: source.clone(), blobs, made, tensors, places, bytes: planned.bytes })
    }

    /// Returns the bytes of memory that opening takes for copies and conversions, before it takes any.
    ///
    /// # Errors
    ///
    /// [`WeightsError::Component`] and [`WeightsError::Plan`], as for [`Self::open_source`].
    pub fn made_bytes_of(source: &Source, options: &OpenOptions<'_>) -> Result<u64, WeightsError> {
        Ok(Planned::new(source, options)?.made_bytes)
    }

    /// Returns the bytes of memory that copies and conversions take.
    #[must_use]
    pub fn made_bytes(&self) -> u64 {
        self.made.len() as u64
    }

    /// Takes the memory of copies and conversions, in which [`Tensor::made_at`] says where arrays lie, and drops the rest.
    /// `None` if there are none.
    #[must_use]
    pub fn into_made(self) -> Option<MmapMut> {
        self.made.into_memory()
    }

    /// Returns the source of the tensors.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Returns the model's tensor table: its own, or the one that [`Store::table`] made.
    #[must_use]
    pub fn table(&self) -> &Arc<TensorTable> {
        self.source.table()
    }

    /// Returns the number of tensors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are no tensors.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Returns the size of all tensors in bytes, including companions.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the size in bytes of the blobs that were read into memory and not mapped, because the system limits the
    /// maps of a process.
    #[must_use]
    pub fn read_bytes(&self) -> u64 {
        self.blobs.iter().filter(|(_, blob)| blob.is_read()).map(|(_, blob)| blob.len() as u64).sum()
    }

    /// Iterates over the tensor names in byte order.
    #[must_use]
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors.iter().map(|(view, _)| view.name.as_str())
    }

    /// Whether a tensor called `name` was opened.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Returns the tensor called `name`. Several components may have a tensor of this name. If more than one was
    /// opened, the first component in byte order counts; [`Selection::component`] selects one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Tensor<'_>> {
        let at = self.tensors.partition_point(|(view, _)| view.name.as_str() < name);
        self.tensors.get(at).filter(|(view, _)| view.name == name).map(|entry| self.tensor(entry))
    }

    /// Iterates over the tensors, sorted by name and then by component.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Tensor<'_>> {
        self.tensors.iter().map(|entry| self.tensor(entry))
    }

    /// Iterates over the digests of the mapped blobs. Those of plain files are stand-ins: see [`Source`].
    pub fn digests(&self) -> impl Iterator<Item = Digest> {
        self.blobs.iter().map(|(digest, _)| *digest)
    }

    /// Returns the coding of the quantized tensors, or `None` if there are none. To read a tensor, use its
    /// [`Tensor::quantization`] instead.
    #[must_use]
    pub fn quantization(&self) -> Option<ModelQuantization> {
        let requested = self.table().import.quantize.as_deref().and_then(Quantization::from_request);
        ModelQuantization::of(
            requested.as_ref(),
            self.tensors.iter().filter_map(|(view, _)| view.quantization.as_ref()),
        )
    }

    /// Returns the number of elements that share a scale, if it is the same for all quantized tensors.
    #[must_use]
    pub fn group_size(&self) -> Option<u32> {
        let mut all = self.iter().filter_map(|tensor| tensor.quantization().map(|found| found.group_size));
        let first = all.next()?;
        all.all(|other| other == first).then_some(first)
    }

    fn tensor<'w>(&'w self, (view, first): &'w (View, usize)) -> Tensor<'w> {
        Tensor { weights: self, view, first: *first }
    }
}

/// Opens files in the given order, each given with the name of one of its tensors.
fn hold(source: &Source, blobs: &[(Digest, &str)]) -> Result<Vec<(Digest, BlobBytes)>, WeightsError> {
    let fail = |(at, error): (usize, MapError)| {
        let (digest, tensor) = blobs[at];
        let tensor = tensor.to_owned();
        if source.is_stored() {
            WeightsError::Blob { digest, tensor, source: error }
        } else {
            WeightsError::File { tensor, source: error }
        }
    };
    if blobs.is_empty() {
        return Ok(Vec::new());
    }
    let dir = Dir::open(source.dir()).map_err(|error| fail((0, error)))?;
    let wanted = blobs.iter().map(|(digest, _)| Wanted {
        path: if source.is_stored() { digest.file_name().into() } else { source.path(digest) },
        checked: source.checked(digest),
    });
    let held = hold_all(&dir, &wanted.collect::<Vec<_>>(), many_maps()).map_err(fail)?;
    Ok(blobs.iter().map(|(digest, _)| *digest).zip(held).collect())
}
