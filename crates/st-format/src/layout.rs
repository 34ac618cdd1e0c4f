use std::{cmp::Reverse, collections::BTreeMap, ops::Range};

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::{
    Dtype, Header, Limits, Shape, ShapeError, TensorInfo,
    header::{METADATA_KEY, PREFIX_LEN},
};

/// Length of the data in bytes from which the data section starts on a page.
const LARGE_DATA: u64 = 1 << 20;
const LARGE_ALIGNMENT: usize = 4_096;
const SMALL_ALIGNMENT: usize = 64;

/// Plan of a safetensors file: its whole header, and the place of each tensor. [`Writer`](crate::Writer) streams the
/// file.
///
/// The order in which tensors are given does not matter: equal sets of arguments give equal plans. Data is ordered by
/// element width, widest first, and by name within a width, without holes. The data section starts on a 64-byte
/// boundary, or on a 4,096-byte boundary where it has 1 MiB or more, so every tensor is aligned to its element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    bytes: Box<[u8]>,
    header: Header,
}

/// One tensor of a [`Layout`], with its place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayoutPart<'a> {
    /// Name of the tensor.
    pub name: &'a str,
    /// Type of the tensor's elements.
    pub dtype: Dtype,
    /// Extents of the tensor, outermost first.
    pub shape: &'a Shape,
    /// Byte range of the tensor, counted from the start of the **file**.
    pub range: Range<u64>,
}

/// Error from planning a safetensors file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// Two tensors have the same name.
    #[error("tensor {tensor:?} is given twice")]
    DuplicateTensor {
        /// The repeated name.
        tensor: Box<str>,
    },
    /// A tensor is called `__metadata__`.
    #[error("`__metadata__` cannot be the name of a tensor")]
    ReservedName,
    /// A tensor has a dtype and a shape that together have no length in bytes.
    #[error("tensor {tensor:?} has an impossible shape")]
    Shape {
        /// The tensor.
        tensor: Box<str>,
        /// The overflow or the partial byte.
        source: ShapeError,
    },
    /// The file would pass [`u64::MAX`] bytes.
    #[error("the file passes 2^64 bytes at tensor {tensor:?}")]
    FileTooLong {
        /// The first tensor that does not fit.
        tensor: Box<str>,
    },
    /// There are more tensors than the default [`Limits::tensors`].
    #[error("{found} tensors: expected at most {limit}")]
    TooManyTensors {
        /// Number of tensors given.
        found: usize,
        /// The largest permitted number of tensors.
        limit: usize,
    },
    /// A tensor has more dimensions than the default [`Limits::rank`].
    #[error("tensor {tensor:?} has {found} dimensions: expected at most {limit}")]
    RankTooLarge {
        /// The tensor.
        tensor: Box<str>,
        /// Number of dimensions of the tensor.
        found: usize,
        /// The largest permitted number of dimensions.
        limit: usize,
    },
    /// A tensor's name is longer than the default [`Limits::name_bytes`].
    #[error("the tensor name that begins {start:?} has {found} bytes: expected at most {limit}")]
    NameTooLong {
        /// The first characters of the name.
        start: Box<str>,
        /// Length of the name in bytes.
        found: usize,
        /// The largest permitted length in bytes.
        limit: usize,
    },
    /// The header would be longer than the default [`Limits::header_bytes`], so readers would refuse the file.
    #[error("the header has {found} bytes: expected at most {limit}")]
    HeaderTooLong {
        /// Length of the header in bytes, padding included.
        found: u64,
        /// The largest permitted length in bytes.
        limit: u64,
    },
}

impl Layout {
    /// Plans a file of `tensors`, each given by name, dtype and shape. The header has no `__metadata__` where
    /// `metadata` is empty.
    ///
    /// [`Header::parse`] under default [`Limits`] and the `safetensors` crate accept every file that follows the plan.
    ///
    /// # Errors
    ///
    /// [`LayoutError`], with the tensor at fault.
    pub fn new<N: Into<Box<str>>>(
        metadata: &BTreeMap<String, String>,
        tensors: impl IntoIterator<Item = (N, Dtype, Shape)>,
    ) -> Result<Self, LayoutError> {
        let limits = Limits::default();
        let mut tensors = tensors
            .into_iter()
            .map(|(name, dtype, shape)| measure(name.into(), dtype, shape, &limits))
            .collect::<Result<Vec<_>, _>>()?;
        if tensors.len() > limits.tensors {
            return Err(LayoutError::TooManyTensors { found: tensors.len(), limit: limits.tensors });
        }

        tensors.sort_unstable_by(|a, b| {
            Reverse(a.dtype.bits()).cmp(&Reverse(b.dtype.bits())).then_with(|| a.name.cmp(&b.name))
        });
        let mut data_len = 0_u64;
        for tensor in &mut tensors {
            let end = data_len
                .checked_add(tensor.range.end)
                .ok_or_else(|| LayoutError::FileTooLong { tensor: tensor.name.clone() })?;
            tensor.range = data_len..end;
            data_len = end;
        }
        let last = tensors.last().map(|tensor| tensor.name.clone()).unwrap_or_default();

        // The positions in the file are filled in below, once the length of the JSON is known.
        let mut header = Header::assemble(tensors, metadata.clone(), 0, data_len)
            .map_err(|tensor| LayoutError::DuplicateTensor { tensor })?;
        let bytes = encode(&header, data_len)?;
        let data_start = bytes.len() as u64;
        let file_len = data_start.checked_add(data_len).ok_or(LayoutError::FileTooLong { tensor: last })?;
        header.place(data_start, file_len);
        Ok(Self { bytes: bytes.into(), header })
    }

    /// First bytes of the file: prefix, JSON and padding. The data section follows directly.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        &self.bytes
    }

    /// The header as a reader of the file parses it.
    #[must_use]
    pub fn parsed(&self) -> &Header {
        &self.header
    }

    /// Start of the data section, in bytes from the start of the file.
    #[must_use]
    pub fn data_start(&self) -> u64 {
        self.header.data_start()
    }

    /// Length of the whole file in bytes.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.header.file_len()
    }

    /// Iterates over the tensors in the order in which their bytes must be written.
    #[must_use]
    pub fn parts(&self) -> impl ExactSizeIterator<Item = LayoutPart<'_>> + DoubleEndedIterator + Clone {
        self.header.iter().map(|tensor| self.part(tensor))
    }

    /// Looks the tensor called `name` up, in O(log n).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<LayoutPart<'_>> {
        self.header.get(name).map(|tensor| self.part(tensor))
    }

    /// Returns the tensor at `index` in data order.
    pub(crate) fn nth(&self, index: usize) -> Option<LayoutPart<'_>> {
        self.header.nth(index).map(|tensor| self.part(tensor))
    }

    fn part<'a>(&'a self, tensor: &'a TensorInfo) -> LayoutPart<'a> {
        LayoutPart {
            name: &tensor.name,
            dtype: tensor.dtype,
            shape: &tensor.shape,
            range: tensor.file_range(&self.header),
        }
    }
}

/// Checks one tensor against `limits`. Its range in the result starts at 0; `Layout::new` moves it to its place.
fn measure(name: Box<str>, dtype: Dtype, shape: Shape, limits: &Limits) -> Result<TensorInfo, LayoutError> {
    if &*name == METADATA_KEY {
        return Err(LayoutError::ReservedName);
    }
    if name.len() > limits.name_bytes {
        let (start, found) = (name.chars().take(32).collect(), name.len());
        return Err(LayoutError::NameTooLong { start, found, limit: limits.name_bytes });
    }
    if shape.rank() > limits.rank {
        return Err(LayoutError::RankTooLarge { tensor: name, found: shape.rank(), limit: limits.rank });
    }
    match shape.byte_len(dtype) {
        Ok(len) => Ok(TensorInfo { name, dtype, shape, range: 0..len }),
        Err(source) => Err(LayoutError::Shape { tensor: name, source }),
    }
}

/// Encodes the header: prefix, JSON and padding.
fn encode(header: &Header, data_len: u64) -> Result<Vec<u8>, LayoutError> {
    let mut bytes = vec![0; size_of::<u64>()];
    serde_json::to_writer(&mut bytes, &Json(header)).expect("strings and integers become JSON, and a Vec takes it");
    let alignment = if data_len >= LARGE_DATA { LARGE_ALIGNMENT } else { SMALL_ALIGNMENT };
    bytes.resize(bytes.len().next_multiple_of(alignment), b' ');
    let header_len = bytes.len() as u64 - PREFIX_LEN;
    let limit = Limits::default().header_bytes;
    if header_len > limit {
        return Err(LayoutError::HeaderTooLong { found: header_len, limit });
    }
    bytes[..size_of::<u64>()].copy_from_slice(&header_len.to_le_bytes());
    Ok(bytes)
}

/// The header's JSON: `__metadata__` first, then the tensors in byte order of their names.
struct Json<'a>(&'a Header);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Entry<'a> {
            dtype: Dtype,
            shape: &'a Shape,
            data_offsets: [u64; 2],
        }

        let metadata = self.0.metadata();
        let mut map = serializer.serialize_map(None)?;
        if !metadata.is_empty() {
            map.serialize_entry(METADATA_KEY, metadata)?;
        }
        for tensor in self.0.by_name() {
            let entry = Entry {
                dtype: tensor.dtype,
                shape: &tensor.shape,
                data_offsets: [tensor.range.start, tensor.range.end],
            };
            map.serialize_entry(&*tensor.name, &entry)?;
        }
        map.end()
    }
}
