//! The weights of a model, opened and perhaps loaded.

use std::{
    num::NonZero,
    path::{Path, PathBuf},
};

use longshore_manifest::{Model, Store, document::Quantization, weights::OpenOptions};
use longshore_quant::FloatType;

#[cfg(any(target_os = "macos", longshore_mlx))]
use crate::backend;
use crate::{
    MlxError, Tensor,
    map::FileError,
    plan::Plan,
    source::{Index, OpenError},
};

/// The tensors of a model, or of one component of it, as MLX arrays.
///
/// Opening reads headers and checks everything that can be checked without the data; [`load`](Self::load) makes the arrays. Names,
/// sizes and schemes are known in between, when nothing has been read.
#[derive(Debug)]
pub struct MlxWeights {
    index: Index,
    tensors: Option<Vec<Tensor>>,
}

/// Options of a load. Later versions may add fields: `..Default::default()` fills them in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// The type that floats become: plain tensors of F32, F16 and BF16, and scales and biases of affine schemes. Packed codes, U8 scales
    /// and global scales stay what they are. `None` keeps every type.
    pub dtype: Option<FloatType>,
    /// Number of reading threads; `None` is one for each core, eight at most.
    pub threads: Option<NonZero<usize>>,
    /// Whose memory the arrays have.
    pub memory: Memory,
}

/// Whose memory loaded arrays have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Memory {
    /// The files', where MLX takes them; MLX's own otherwise. It takes them with Metal, and on Linux in a build that `linux/setup.sh` prepared.
    #[default]
    Automatic,
    /// The files', mapped. MLX makes a copy all the same where it cannot take them.
    Mapped,
    /// MLX's own, into which the files are copied once. They may be deleted or overwritten then.
    Copied,
}

/// Outcome of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadOutcome {
    /// The number of tensors.
    pub tensors: usize,
    /// Bytes of the files that MLX uses where they are mapped.
    pub mapped_bytes: u64,
    /// Bytes of the files that MLX has copied, once.
    pub copied_bytes: u64,
}

/// Weights that cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// This build has no MLX.
    #[error("this build has no MLX back end")]
    NotBuilt,
    /// A tensor is too long for MLX to count its elements.
    #[error("tensor {tensor:?} has {bytes} bytes, more than MLX can index")]
    TooLong {
        /// The tensor.
        tensor: String,
        /// Its length.
        bytes: usize,
    },
    /// A file cannot be read any more, or is another one.
    #[error(transparent)]
    File(#[from] FileError),
    /// MLX failed.
    #[error("cannot load {}", tensor.as_ref().map_or("the tensors".into(), |name| format!("tensor {name:?}")))]
    Mlx {
        /// The tensor, where it was about one.
        tensor: Option<String>,
        /// MLX's error.
        source: MlxError,
    },
}

/// A tensor that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GetError {
    /// There is no tensor of this name.
    #[error("there is no tensor {name:?}")]
    Missing {
        /// The name.
        name: String,
    },
    /// This build has no MLX, so that nothing is ever loaded.
    #[error("tensor {name:?} is not loaded: this build has no MLX back end")]
    NotBuilt {
        /// The name.
        name: String,
    },
    /// The weights are not loaded.
    #[error("tensor {name:?} is not loaded: the weights have not been loaded, or have been released")]
    NotLoaded {
        /// The name.
        name: String,
    },
}

impl MlxWeights {
    /// Opens a stored model: maps its blobs, and checks their headers against its tensor table. `options` may ask for one component of a
    /// pipeline, whose tensors never have it as a prefix, and for some tensors only.
    ///
    /// # Errors
    ///
    /// [`OpenError::Table`], [`OpenError::Component`], and what is wrong with a blob or a tensor.
    pub fn open(store: &Store, model: &Model, options: &OpenOptions<'_>) -> Result<Self, OpenError> {
        Index::of_model(store, model, options).map(Self::of)
    }

    /// Opens the weights of a directory: the shards of its index, or else all `.safetensors` files in it. Where its `config.json` says that
    /// MLX quantized them, so they are.
    ///
    /// # Errors
    ///
    /// [`OpenError::NoFiles`], [`OpenError::Config`], and what is wrong with a file or a tensor.
    pub fn open_dir(dir: impl AsRef<Path>) -> Result<Self, OpenError> {
        Index::of_dir(dir.as_ref()).map(Self::of)
    }

    /// Opens safetensors files.
    ///
    /// # Errors
    ///
    /// [`OpenError::Duplicate`] where two have a tensor of one name, and what is wrong with a file or a tensor.
    pub fn open_files<P: Into<PathBuf>>(paths: impl IntoIterator<Item = P>) -> Result<Self, OpenError> {
        let paths: Vec<_> = paths.into_iter().map(Into::into).collect();
        Index::of_files(&paths).map(Self::of)
    }

    fn of(index: Index) -> Self {
        Self { index, tensors: None }
    }

    /// Makes the arrays, in place of any that were loaded before: every file is mapped once, and arrays are views of the mapping, or of
    /// one copy of it where MLX does not take that. All are evaluated when this returns.
    ///
    /// A file whose memory arrays have had is mapped once more for the next load, as operations may write into the memory of
    /// an array that nobody else holds. So those files must still have their names then.
    ///
    /// # Errors
    ///
    /// [`LoadError`]; nothing stays loaded then.
    pub fn load(&mut self, options: &LoadOptions) -> Result<LoadOutcome, LoadError> {
        self.release();
        self.index.renew()?;
        #[cfg(any(target_os = "macos", longshore_mlx))]
        let is_mapped = backend::is_mapped(options);
        #[cfg(not(any(target_os = "macos", longshore_mlx)))]
        let is_mapped = false;
        let plan = Plan::new(&self.index, is_mapped).map_err(|error| LoadError::TooLong {
            tensor: self.index.tensors[error.place.tensor].name.clone(),
            bytes: error.bytes,
        })?;
        #[cfg(any(target_os = "macos", longshore_mlx))]
        {
            let (tensors, outcome) = backend::load(&self.index, &plan, options)?;
            self.tensors = Some(tensors);
            Ok(outcome)
        }
        #[cfg(not(any(target_os = "macos", longshore_mlx)))]
        {
            let _ = (plan, options);
            Err(LoadError::NotBuilt)
        }
    }

    /// Frees the arrays. Clones of them live on, and so does the memory that they view. The weights can be loaded again.
    pub fn release(&mut self) {
        self.tensors = None;
    }

    /// Whether the arrays are there.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.tensors.is_some()
    }

    /// The tensor of this name. Components may have tensors of one name: where more than one was opened, this is the tensor of the
    /// first in byte order.
    ///
    /// # Errors
    ///
    /// [`GetError::Missing`], and [`GetError::NotLoaded`] before [`load`](Self::load) and after [`release`](Self::release), which is
    /// [`GetError::NotBuilt`] in a build without MLX.
    pub fn get(&self, name: &str) -> Result<&Tensor, GetError> {
        let at = self.index.position(name).ok_or_else(|| GetError::Missing { name: name.into() })?;
        self.tensors.as_ref().map(|tensors| &tensors[at]).ok_or_else(|| {
            let name = name.into();
            if cfg!(any(target_os = "macos", longshore_mlx)) {
                GetError::NotLoaded { name }
            } else {
                GetError::NotBuilt { name }
            }
        })
    }

    /// The number of tensors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.tensors.len()
    }

    /// Whether there is no tensor.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.tensors.is_empty()
    }

    /// The names, sorted. Companions of a quantized tensor are not among them.
    #[must_use]
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.index.tensors.iter().map(|tensor| tensor.name.as_str())
    }

    /// Whether there is a tensor of this name, loaded or not.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.index.position(name).is_some()
    }

    /// The size of all tensors in their files in bytes, companions included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let parts = self.index.tensors.iter().flat_map(|tensor| &tensor.parts);
        parts.map(|part| part.len as u64).fold(0, u64::saturating_add)
    }

    /// The scheme of the quantized tensors, if all have the same; `None` if there are none or they differ.
    #[must_use]
    pub fn quantization(&self) -> Option<&Quantization> {
        self.alike(|quantization| quantization)
    }

    /// The scheme of one tensor; `None` if it is plain or absent.
    #[must_use]
    pub fn quantization_of(&self, name: &str) -> Option<&Quantization> {
        let coding = self.index.tensors[self.index.position(name)?].coding.as_ref()?;
        Some(&coding.quantization)
    }

    /// The number of elements that share a scale, if that is the same for all quantized tensors.
    #[must_use]
    pub fn group_size(&self) -> Option<u32> {
        self.alike(|quantization| quantization.group_size)
    }

    fn alike<'w, T: PartialEq>(&'w self, of: impl Fn(&'w Quantization) -> T) -> Option<T> {
        let mut all = self.index.tensors.iter().filter_map(|tensor| Some(of(&tensor.coding.as_ref()?.quantization)));
        let first = all.next()?;
        all.all(|other| other == first).then_some(first)
    }
}
