//! Constructors of table entries, from the places that a layout gives to the arrays of a blob.

use longshore_st_format::{Dtype, LayoutPart, Shape};

use super::{Arrangement, BlobEntry, Change, Part, Role, TensorEntry};
use crate::Digest;

impl BlobEntry {
    /// Makes the entry of a blob that belongs to no component, without digests of its chunks.
    #[must_use]
    pub fn new(digest: Digest, tensors: Vec<TensorEntry>) -> Self {
        Self { digest, component: None, chunks: None, tensors }
    }
}

impl TensorEntry {
    /// Makes a tensor from its parts, with values that import neither quantized nor rearranged. Set other properties as
    /// fields:
    ///
    /// ```
    /// use longshore_manifest::document::{Part, Quantization, Role, TensorEntry};
    /// use longshore_st_format::{Dtype, Layout, Shape};
    ///
    /// let arrays = [("w", Dtype::U32, Shape::new([4, 8])), ("w.scale", Dtype::U8, Shape::new([4, 2]))];
    /// let layout = Layout::new(&Default::default(), arrays)?;
    /// let place = |name, role| Part::new(role, layout.get(name).expect("it was planned above"));
    /// let parts = vec![place("w", Role::Weight), place("w.scale", Role::Scale)];
    /// let tensor = TensorEntry {
    ///     quantization: Some(Quantization { quant_type: "mxfp4".into(), group_size: 32 }),
    ///     ..TensorEntry::new("w", Dtype::BF16, Shape::new([4, 64]), parts)
    /// };
    /// assert_eq!(tensor.byte_len(), 128 + 8);
    /// # Ok::<(), longshore_st_format::LayoutError>(())
    /// ```
    #[must_use]
    pub fn new(name: impl Into<String>, dtype: Dtype, shape: Shape, parts: Vec<Part>) -> Self {
        Self {
            name: name.into(),
            dtype,
            shape,
            quantization: None,
            arrangement: Arrangement::default(),
            change: Change::default(),
            ulps: Vec::new(),
            offset: 0,
            sources: Vec::new(),
            parts,
            loss: None,
        }
    }

    /// Makes a plain tensor from one array of a blob. The tensor has the array's name.
    #[must_use]
    pub fn plain(array: LayoutPart<'_>) -> Self {
        let (name, shape) = (array.name, array.shape.clone());
        Self::new(name, array.dtype, shape, vec![Part::new(Role::Weight, array)])
    }
}

impl Part {
    /// Makes a part from an array of the tensor's own blob.
    #[must_use]
    pub fn new(role: Role, array: LayoutPart<'_>) -> Self {
        let LayoutPart { dtype, shape, range, .. } = array;
        Self { role, dtype, shape: shape.clone(), offset: range.start, length: range.end - range.start, blob: None }
    }
}
