use crate::{Dtype, Header, HeaderError, Limits, Shape, TensorInfo};

/// A safetensors file with all its bytes, over any byte container: a [`Vec`], a slice, or a memory map.
///
/// ```
/// use longshore_st_format::SafeTensors;
///
/// let bytes = b"\x02\0\0\0\0\0\0\0{}";
/// assert!(SafeTensors::new(bytes)?.header().is_empty());
/// # Ok::<(), longshore_st_format::HeaderError>(())
/// ```
#[derive(Clone, Debug)]
pub struct SafeTensors<B> {
    header: Header,
    bytes: B,
}

/// One tensor of a [`SafeTensors`], borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorView<'a> {
    /// Name of the tensor.
    pub name: &'a str,
    /// Type of the tensor's elements.
    pub dtype: Dtype,
    /// Extents of the tensor, outermost first.
    pub shape: &'a Shape,
    /// The tensor's elements, row-major and little-endian. Their alignment in memory is that of the file's bytes.
    pub data: &'a [u8],
}

impl<B: AsRef<[u8]>> SafeTensors<B> {
    /// Parses the header of `bytes`, a whole file, under the default [`Limits`].
    ///
    /// # Errors
    ///
    /// The errors of [`Header::parse`].
    pub fn new(bytes: B) -> Result<Self, HeaderError> {
        Self::with_limits(bytes, &Limits::default())
    }

    /// Parses the header of `bytes`, a whole file, under the given limits.
    ///
    /// # Errors
    ///
    /// The errors of [`Header::parse`].
    pub fn with_limits(bytes: B, limits: &Limits) -> Result<Self, HeaderError> {
        let all = bytes.as_ref();
        let header = Header::parse(all, all.len() as u64, limits)?;
        Ok(Self { header, bytes })
    }

    /// The parsed header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Looks the tensor called `name` up, in O(log n).
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        self.view(self.header.get(name)?)
    }

    /// Iterates over the tensors in the order of their bytes in the file.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = TensorView<'_>> {
        self.header.iter().filter_map(|tensor| self.view(tensor))
    }

    /// Returns the byte container and drops the header.
    #[must_use]
    pub fn into_inner(self) -> B {
        self.bytes
    }

    /// Cuts the view of `tensor` out of the bytes. Returns `None` only where `B` now yields fewer bytes than it did
    /// when the file was parsed; no sensible container does.
    fn view<'a>(&'a self, tensor: &'a TensorInfo) -> Option<TensorView<'a>> {
        let range = tensor.file_range(&self.header);
        let range = usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?;
        Some(TensorView {
            name: &tensor.name,
            dtype: tensor.dtype,
            shape: &tensor.shape,
            data: self.bytes.as_ref().get(range)?,
        })
    }
}
