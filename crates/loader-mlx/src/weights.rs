//! The weights of a model, opened and perhaps loaded.

use std::{
    num::NonZero,
    path::{Path, PathBuf},
};

use longshore_manifest::{
    Model, Store,
    document::Quantization,
    weights::{ModelQuantization, Source, plan::Selection},
};
use longshore_quant::FloatType;
use longshore_st_format::Dtype;

#[cfg(any(target_os = "macos", longshore_mlx))]
use crate::backend;
use crate::{
    MlxError, Tensor,
    map::FileError,
    plan::Plan,
    source::{Index, Indexed, OpenError},
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
    /// Whether quantized tensors are decoded by MLX, to `dtype` or to the float type from which they were quantized. They are plain
    /// tensors then.
    pub decode: bool,
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
    /// The values of a tensor cannot be converted.
    #[error("tensor {tensor:?} is {found}, which cannot be converted to {to}")]
    Convert {
        /// The tensor.
        tensor: String,
        /// Its type.
        found: Dtype,
        /// The type that was asked for.
        to: FloatType,
    },
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
    /// Opens a `selection` of a stored model, like [`open_source`](Self::open_source).
    ///
    /// # Errors
    ///
    /// [`OpenError::Table`], and the errors of [`open_source`](Self::open_source).
    pub fn open(store: &Store, model: &Model, selection: &Selection) -> Result<Self, OpenError> {
        Self::open_source(&Source::of_model(store, model)?, selection)
    }

    /// Opens a `selection` of a source: a stored model, a directory, or files. Maps the files that hold it, and checks their headers
    /// against the table. Tensors of a pipeline's component never have it as a prefix.
    ///
    /// # Errors
    ///
    /// [`OpenError::Component`], [`OpenError::Plan`], and what is wrong with a file or a tensor.
    pub fn open_source(source: &Source, selection: &Selection) -> Result<Self, OpenError> {
        Self::open_source_as(source, selection, None)
    }

    /// Opens like [`open_source`](Self::open_source), and has `dtype` for the values of tensors of ggml's blocks that no scheme of MLX
    /// holds; BF16 if it is `None`. Opening converts all tensors of such blocks, in memory of their own: those that a scheme holds
    /// into its codes, scales and biases, without loss.
    ///
    /// # Errors
    ///
    /// [`OpenError::Blocks`], and the errors of [`open_source`](Self::open_source).
    pub fn open_source_as(source: &Source, selection: &Selection, dtype: Option<FloatType>) -> Result<Self, OpenError> {
        let dtype = dtype.map(|dtype| dtype.name().parse().expect("the three float types are safetensors types"));
        Index::of_source(source, selection, dtype).map(Self::of)
    }

    /// Opens the weights of a directory, as [`Source::open_dir`] chooses them. Where its `config.json` says that MLX quantized them, so
    /// they are.
    ///
    /// # Errors
    ///
    /// [`OpenError::Source`], and what is wrong with a file or a tensor.
    pub fn open_dir(dir: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_source(&Source::open_dir(dir)?, &Selection::default())
    }

    /// Opens safetensors files.
    ///
    /// # Errors
    ///
    /// [`OpenError::Source`], for example where two have a tensor of one name, and what is wrong with a file or a tensor.
    pub fn open_files<P: Into<PathBuf>>(paths: impl IntoIterator<Item = P>) -> Result<Self, OpenError> {
        Self::open_source(&Source::open_files(paths)?, &Selection::default())
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
        self.check(options)?;
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

    /// Refuses types that cannot be converted.
    fn check(&self, options: &LoadOptions) -> Result<(), LoadError> {
        let Some(to) = options.dtype else { return Ok(()) };
        let is_refused = |dtype| {
            matches!(dtype, Dtype::F8E4M3 | Dtype::F8E8M0 | Dtype::C64) || dtype.bits() < 8 && dtype != Dtype::Bool
        };
        let mut plain = self.index.tensors.iter().filter(|tensor| tensor.coding.is_none());
        match plain.find(|tensor| is_refused(tensor.dtype)) {
            Some(tensor) => Err(LoadError::Convert { tensor: tensor.name.clone(), found: tensor.dtype, to }),
            None => Ok(()),
        }
    }

    /// The bytes of memory that converting and decoding takes, beside what the files hold, before anything is loaded.
    #[must_use]
    pub fn converted_bytes(&self, options: &LoadOptions) -> u64 {
        let size = |dtype: FloatType| dtype.size() as u64;
        let of = |tensor: &Indexed| match (&tensor.coding, options.dtype) {
            (Some(_), to) if options.decode => {
                let own = || tensor.dtype.name().parse().ok();
                to.or_else(own).map_or(0, |to| tensor.elements.saturating_mul(size(to)))
            }
            (None, Some(to)) if tensor.parts[0].element.is_float() && tensor.dtype.name() != to.name() => {
                tensor.elements.saturating_mul(size(to))
            }
            _ => 0,
        };
        self.index.tensors.iter().map(of).fold(0, u64::saturating_add)
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

    /// The scheme of the quantized tensors, and whether some have another; `None` if there are none.
    #[must_use]
    pub fn quantization(&self) -> Option<ModelQuantization> {
        let codings = self.index.tensors.iter().filter_map(|tensor| Some(&tensor.coding.as_ref()?.quantization));
        ModelQuantization::of(self.index.requested.as_ref(), codings)
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
        let codings = self.index.tensors.iter().filter_map(|tensor| tensor.coding.as_ref());
        let mut all = codings.map(|coding| coding.quantization.group_size);
        let first = all.next()?;
        all.all(|other| other == first).then_some(first)
    }
}
