use std::{cmp::Reverse, collections::BTreeMap, ops::Range};

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::{
    Dtype, Header, Limits, Shape, ShapeError, TensorInfo,
    header::{METADATA_KEY, PREFIX_LEN},
};

/// From this many bytes of data on, the data section starts on a page.
const LARGE_DATA: u64 = 1 << 20;
const LARGE_ALIGNMENT: usize = 4_096;
const SMALL_ALIGNMENT: usize = 64;

/// The plan of a safetensors file: its whole header, and where each tensor goes. [`Writer`](crate::Writer) streams it.
///
/// The plan is a function of the arguments as sets: the order in which tensors are given does not count. Data is ordered by
/// width of element, widest first, and by name within a width, without holes. It starts on a 64-byte boundary, or on a
/// 4,096-byte boundary where it is 1 MiB or more; so every tensor is aligned to its element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    bytes: Box<[u8]>,
    header: Header,
}

/// One tensor of a [`Layout`], with its place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayoutPart<'a> {
    /// The tensor's name.
    pub name: &'a str,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its extents, outermost first.
    pub shape: &'a Shape,
    /// Its bytes, counted from the start of the **file**.
    pub range: Range<u64>,
}

/// Why tensors cannot be one safetensors file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// Two tensors have the same name.
    #[error("tensor {tensor:?} is given twice")]
    DuplicateTensor {
        /// The name.
        tensor: Box<str>,
    },
    /// A tensor is called `__metadata__`.
    #[error("`__metadata__` cannot be the name of a tensor")]
    ReservedName,
    /// A dtype and shape that have no length in bytes.
    #[error("tensor {tensor:?} has an impossible shape")]
    Shape {
        /// The tensor.
        tensor: Box<str>,
        /// Overflow, or a partial byte.
        source: ShapeError,
    },
    /// The file would pass [`u64::MAX`] bytes.
    #[error("the file passes 2^64 bytes at tensor {tensor:?}")]
    FileTooLong {
        /// The tensor that does not fit any more.
        tensor: Box<str>,
    },
    /// More tensors than the default [`Limits::tensors`].
    #[error("{found} tensors: expected at most {limit}")]
    TooManyTensors {
        /// Tensors given.
        found: usize,
        /// The most tensors.
        limit: usize,
    },
    /// More dimensions than the default [`Limits::rank`].
    #[error("tensor {tensor:?} has {found} dimensions: expected at most {limit}")]
    RankTooLarge {
        /// The tensor.
        tensor: Box<str>,
        /// Its dimensions.
        found: usize,
        /// The most dimensions.
        limit: usize,
    },
    /// A longer name than the default [`Limits::name_bytes`].
    #[error("the tensor name that begins {start:?} has {found} bytes: expected at most {limit}")]
    NameTooLong {
        /// The first characters of the name.
        start: Box<str>,
        /// Its length in bytes.
        found: usize,
        /// The most bytes.
        limit: usize,
    },
    /// The header would be longer than the default [`Limits::header_bytes`], which no reader accepts.
    #[error("the header has {found} bytes: expected at most {limit}")]
    HeaderTooLong {
        /// Bytes of the header, padding included.
        found: u64,
        /// The most bytes.
        limit: u64,
    },
}

impl Layout {
    /// Plans a file of these tensors, each a name, a dtype and a shape. `__metadata__` is left out where `metadata` is empty.
    ///
    /// What it makes is accepted by [`Header::parse`] under default [`Limits`] and by the `safetensors` crate.
    ///
    /// # Errors
    ///
    /// Every variant of [`LayoutError`], with the tensor at fault.
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

        // Positions in the file are filled in below, when the length of the JSON is known.
        let mut header = Header::assemble(tensors, metadata.clone(), 0, data_len)
            .map_err(|tensor| LayoutError::DuplicateTensor { tensor })?;
        let bytes = encode(&header, data_len)?;
        let data_start = bytes.len() as u64;
        let file_len = data_start.checked_add(data_len).ok_or(LayoutError::FileTooLong { tensor: last })?;
        header.place(data_start, file_len);
        Ok(Self { bytes: bytes.into(), header })
    }

    /// The first bytes of the file: prefix, JSON and padding. The data section follows at once.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        &self.bytes
    }

    /// The same header as a reader of the file will see it.
    #[must_use]
    pub fn parsed(&self) -> &Header {
        &self.header
    }

    /// Where the data section starts, in bytes from the start of the file.
    #[must_use]
    pub fn data_start(&self) -> u64 {
        self.header.data_start()
    }

    /// The length of the whole file in bytes.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.header.file_len()
    }

    /// The tensors in the order in which their bytes must be written.
    #[must_use]
    pub fn parts(&self) -> impl ExactSizeIterator<Item = LayoutPart<'_>> + DoubleEndedIterator + Clone {
        self.header.iter().map(|tensor| self.part(tensor))
    }

    /// The tensor called `name`, in O(log n).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<LayoutPart<'_>> {
        self.header.get(name).map(|tensor| self.part(tensor))
    }

    /// The part at `index` in data order.
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

/// A tensor with its length as a range from 0.
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

/// Prefix, JSON and padding.
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

/// `__metadata__` first, then the tensors in byte order of their names.
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
