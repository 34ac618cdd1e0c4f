use crate::{Dims, GgmlType, Header, HeaderError, Limits, TensorInfo};

/// A whole GGUF file over any bytes: a [`Vec`], a slice, or a memory map.
///
/// ```
/// use longshore_gguf::Gguf;
///
/// let bytes = b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// assert!(Gguf::new(bytes)?.header().is_empty());
/// # Ok::<(), longshore_gguf::HeaderError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Gguf<B> {
    header: Header,
    bytes: B,
}

/// One tensor of a [`Gguf`], borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorView<'a> {
    /// The tensor's name.
    pub name: &'a str,
    /// The type of its blocks.
    pub ggml_type: GgmlType,
    /// Its extents.
    pub dims: Dims,
    /// Its blocks, row by row, without padding. Their alignment in memory is that of the file.
    pub data: &'a [u8],
}

impl<B: AsRef<[u8]>> Gguf<B> {
    /// Parses the header of `bytes`, a whole file, under the default [`Limits`], and checks the padding behind tensors.
    ///
    /// # Errors
    ///
    /// The errors of [`Header::parse`] and [`Header::check_padding`].
    pub fn new(bytes: B) -> Result<Self, HeaderError> {
        Self::with_limits(bytes, &Limits::default())
    }

    /// [`Self::new`] under limits of one's own.
    ///
    /// # Errors
    ///
    /// The errors of [`Header::parse`] and [`Header::check_padding`].
    pub fn with_limits(bytes: B, limits: &Limits) -> Result<Self, HeaderError> {
        let all = bytes.as_ref();
        let header = Header::parse(all, all.len() as u64, limits)?;
        header.check_padding(all)?;
        Ok(Self { header, bytes })
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The tensor called `name`, in O(log n).
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        self.view(self.header.get(name)?)
    }

    /// The tensors in the file's order.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = TensorView<'_>> {
        self.header.iter().filter_map(|tensor| self.view(tensor))
    }

    /// Gives the bytes back.
    #[must_use]
    pub fn into_inner(self) -> B {
        self.bytes
    }

    /// `None` only for a `B` that has fewer bytes than it had at first, which no sane one does.
    fn view<'a>(&'a self, tensor: &'a TensorInfo) -> Option<TensorView<'a>> {
        let range = usize::try_from(tensor.file_range.start).ok()?..usize::try_from(tensor.file_range.end).ok()?;
        Some(TensorView {
            name: &tensor.name,
            ggml_type: tensor.ggml_type,
            dims: tensor.dims,
            data: self.bytes.as_ref().get(range)?,
        })
    }
}
