//! Where the tensors lie: everything that is known before any array exists.

mod blocks;
mod error;
mod stored;

use std::sync::Arc;

pub(crate) use blocks::Blocks;
pub use error::OpenError;
use longshore_manifest::{
    document::{Quantization, Role},
    weights::plan::Extent,
};
use longshore_quant::Scheme;
use longshore_st_format::{Dtype, Shape};

use crate::{
    dtype::Element,
    map::{FileError, MappedFile},
};

/// The tensors of a model and the mapped files that they lie in.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) files: Vec<Arc<MappedFile>>,
    /// Sorted by name, then by component.
    pub(crate) tensors: Vec<Indexed>,
    /// Coding that the model's import was asked for.
    pub(crate) requested: Option<Quantization>,
}

/// One tensor.
#[derive(Debug, Clone)]
pub(crate) struct Indexed {
    pub(crate) name: String,
    pub(crate) component: Option<String>,
    /// Type of the values. For a quantized tensor, the float type from which it was quantized.
    pub(crate) dtype: Dtype,
    /// Number of values.
    pub(crate) elements: u64,
    pub(crate) coding: Option<Coding>,
    /// The weight, then the companions.
    pub(crate) parts: Vec<IndexedPart>,
}

/// The scheme of a tensor's values, as text and parsed.
#[derive(Debug, Clone)]
pub(crate) struct Coding {
    pub(crate) quantization: Quantization,
    #[cfg_attr(not(any(target_os = "macos", longshore_mlx)), expect(dead_code, reason = "only the back end decodes"))]
    pub(crate) scheme: Scheme,
}

/// One array: its type and shape are MLX's, and its bytes lie in the file.
#[derive(Debug, Clone)]
pub(crate) struct IndexedPart {
    pub(crate) role: Role,
    /// An index into the files.
    pub(crate) file: usize,
    /// In bytes from the start of the file.
    pub(crate) offset: usize,
    /// In bytes.
    pub(crate) len: usize,
    pub(crate) element: Element,
    pub(crate) dims: Vec<i32>,
    /// The pieces of the file that the bytes are put together from, if they are no range of it. The offset is then that of the
    /// first piece.
    pub(crate) pieces: Vec<Extent>,
}

impl Index {
    /// Sorts the tensors.
    fn new(files: Vec<MappedFile>, mut tensors: Vec<Indexed>, requested: Option<Quantization>) -> Self {
        tensors.sort_by(|a, b| (&a.name, &a.component).cmp(&(&b.name, &b.component)));
        Self { files: files.into_iter().map(Arc::new).collect(), tensors, requested }
    }

    /// Maps again what arrays have had: an operation may have written into it, or may yet.
    pub(crate) fn renew(&mut self) -> Result<(), FileError> {
        for file in self.files.iter_mut().filter(|file| file.is_lent()) {
            *file = Arc::new(file.again()?);
        }
        Ok(())
    }

    /// The tensor of this name; of several, the one of the first component.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        let at = self.tensors.partition_point(|tensor| tensor.name.as_str() < name);
        (self.tensors.get(at)?.name == name).then_some(at)
    }
}

/// Description of an array from a header or a table.
struct Described<'a> {
    tensor: &'a str,
    role: Role,
    dtype: Dtype,
    shape: &'a Shape,
    /// In bytes from the start of the file.
    offset: u64,
    len: u64,
    /// Pieces of the file that the bytes are put together from.
    extents: &'a [Extent],
}

impl Described<'_> {
    /// The array as MLX will have it, which lies in `mapped`, the file of the index `file`.
    fn part(&self, file: usize, mapped: &MappedFile) -> Result<IndexedPart, OpenError> {
        let path = mapped.path();
        let Some(element) = Element::of(self.dtype) else {
            return Err(OpenError::Dtype { tensor: self.tensor.into(), dtype: self.dtype, path: path.into() });
        };
        let extent = || OpenError::Extent { tensor: self.tensor.into(), shape: self.shape.clone(), path: path.into() };
        let dims = self.shape.dims().iter().map(|&dim| i32::try_from(dim).map_err(|_| extent()));
        let dims = dims.collect::<Result<Vec<_>, _>>()?;
        let is_range = matches!(self.extents, [] | [Extent { count: 1, .. }]);
        // The windows, and those who put pieces together, rely on this one.
        let end = if is_range { self.offset.checked_add(self.len) } else { self.extents.iter().map(Extent::end).max() };
        let end = end.filter(|&end| end <= mapped.len() as u64);
        let range = usize::try_from(self.offset).ok().zip(usize::try_from(self.len).ok()).filter(|_| end.is_some());
        let (offset, len) = range.ok_or_else(|| OpenError::Disagreement {
            path: path.into(),
            tensor: self.tensor.into(),
            expected: format!("{} bytes at byte {}", self.len, self.offset),
            found: format!("a file of {} bytes", mapped.len()),
        })?;
        let pieces = if is_range { Vec::new() } else { self.extents.to_vec() };
        Ok(IndexedPart { role: self.role, file, offset, len, element, dims, pieces })
    }
}
