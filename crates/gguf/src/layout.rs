use crate::{
    AlignmentError, Dims, DimsError, GgmlType, Header, Limits, Metadata, NameError, TensorInfo,
    header::{self, VERSION},
    name,
};

/// The plan of a GGUF file: its whole header, and where each tensor goes. [`Writer`](crate::Writer) streams it.
///
/// The plan is a function of the arguments: pairs and tensors keep the order in which they are given. The alignment is the
/// `general.alignment` of the metadata, or 32. Padding is zero, and the last tensor has it too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    bytes: Box<[u8]>,
    header: Header,
}

/// Why tensors cannot be one GGUF file. The limits are the default [`Limits`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// `general.alignment` is none.
    #[error("the alignment is refused")]
    Alignment {
        /// What is wrong with it.
        #[from]
        source: AlignmentError,
    },
    /// A name of a tensor that is none, or longer than 63 bytes.
    #[error("the tensor name that begins {start:?} is refused")]
    TensorName {
        /// Its first characters.
        start: Box<str>,
        /// What is wrong with it.
        source: NameError,
    },
    /// Two tensors have the same name.
    #[error("tensor {tensor:?} is given twice")]
    DuplicateTensor {
        /// The name.
        tensor: Box<str>,
    },
    /// Dims that have no length in bytes with the type.
    #[error("tensor {tensor:?} has impossible dims")]
    Dims {
        /// The tensor.
        tensor: Box<str>,
        /// The problem.
        source: DimsError,
    },
    /// More tensors than [`Limits::tensors`].
    #[error("{found} tensors: expected at most {limit}")]
    TooManyTensors {
        /// Tensors given.
        found: u64,
        /// The most tensors.
        limit: u64,
    },
    /// The header would be longer than [`Limits::header_bytes`], which no reader accepts.
    #[error("the header has {found} bytes: expected at most {limit}")]
    HeaderTooLong {
        /// Bytes of the header, padding included.
        found: u64,
        /// The most bytes.
        limit: u64,
    },
    /// The file would pass [`u64::MAX`] bytes.
    #[error("the file passes 2^64 bytes at tensor {tensor:?}")]
    FileTooLong {
        /// The tensor that does not fit any more.
        tensor: Box<str>,
    },
}

impl Layout {
    /// Plans a file of version 3 of these tensors, each a name, a type and dims.
    ///
    /// Every layout is accepted by [`Header::parse`] under default [`Limits`].
    ///
    /// # Errors
    ///
    /// Every variant of [`LayoutError`], with the tensor at fault.
    pub fn new<N: Into<Box<str>>>(
        metadata: Metadata,
        tensors: impl IntoIterator<Item = (N, GgmlType, Dims)>,
    ) -> Result<Self, LayoutError> {
        Self::from_tensors(metadata, measure(tensors)?)
    }

    /// Plans the file that this is the header of, byte for byte: its version, and its end with or without padding.
    #[must_use]
    pub fn from_header(header: Header) -> Self {
        Self { bytes: header.to_bytes().into(), header }
    }

    /// The first bytes of the file: all before the data section.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        &self.bytes
    }

    /// The same header as a reader of the file will see it, with the tensors in the order in which they must be written.
    #[must_use]
    pub fn parsed(&self) -> &Header {
        &self.header
    }

    /// The length of the whole file in bytes.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.header.file_len
    }

    /// Plans a file of tensors that are measured, and not placed.
    pub(crate) fn from_tensors(metadata: Metadata, mut tensors: Vec<TensorInfo>) -> Result<Self, LayoutError> {
        let limits = Limits::default();
        let alignment = header::alignment(&metadata, &limits)?;
        let by_name = Header::index(&tensors).map_err(|tensor| LayoutError::DuplicateTensor { tensor })?;
        // Neither sum nears the end of u64: both are of bytes in memory.
        let infos_len = tensors.iter().map(header::info_len).sum();
        let found = header::data_start(metadata.as_bytes().len() as u64, infos_len, alignment);
        let data_start = found
            .filter(|&found| found <= limits.header_bytes)
            .ok_or(LayoutError::HeaderTooLong { found: found.unwrap_or(u64::MAX), limit: limits.header_bytes })?;
        let end =
            header::place(&mut tensors, data_start, alignment).map_err(|tensor| LayoutError::FileTooLong { tensor })?;
        for tensor in &mut tensors {
            tensor.offset = tensor.file_range.start - data_start;
        }
        let file_len = if tensors.is_empty() { end } else { header::align(end, alignment).unwrap_or(end) };
        let tensors = tensors.into();
        let header = Header { version: VERSION, metadata, tensors, by_name, alignment, data_start, file_len };
        Ok(Self::from_header(header))
    }
}

/// The tensors with their lengths, and without their places.
pub(crate) fn measure<N: Into<Box<str>>>(
    tensors: impl IntoIterator<Item = (N, GgmlType, Dims)>,
) -> Result<Vec<TensorInfo>, LayoutError> {
    let limit = Limits::default().tensors;
    let tensors = tensors
        .into_iter()
        .map(|(name, ggml_type, dims)| measure_one(name.into(), ggml_type, dims))
        .collect::<Result<Vec<_>, _>>()?;
    let found = tensors.len() as u64;
    if found > limit {
        return Err(LayoutError::TooManyTensors { found, limit });
    }
    Ok(tensors)
}

fn measure_one(name: Box<str>, ggml_type: GgmlType, dims: Dims) -> Result<TensorInfo, LayoutError> {
    name::check(name.as_bytes(), name::TENSOR_NAME_LIMIT)
        .map_err(|source| LayoutError::TensorName { start: name.chars().take(32).collect(), source })?;
    match dims.byte_len(ggml_type) {
        Ok(byte_len) => Ok(TensorInfo { name, ggml_type, dims, offset: 0, byte_len, file_range: 0..0 }),
        Err(source) => Err(LayoutError::Dims { tensor: name, source }),
    }
}
