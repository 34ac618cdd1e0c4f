//! The arrays that tensors of GGUF files are stored as.

use longshore_gguf::TensorInfo;
use longshore_manifest::document::GgmlBlocks;
use longshore_st_format::{Dtype, Shape};

/// The array that a tensor of a GGUF file is stored as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Array {
    pub dtype: Dtype,
    /// Extents of the array, outermost first: in bytes where it holds blocks.
    pub extents: Shape,
    /// Extents of the tensor in elements, outermost first.
    pub shape: Shape,
    /// The blocks that hold the values. `None` for a type of single numbers.
    pub blocks: Option<&'static GgmlBlocks>,
}

/// One tensor of a GGUF file.
#[derive(Debug)]
pub(crate) struct GgufTensor {
    /// The blocks that hold the values. `None` for a type of single numbers.
    pub(crate) blocks: Option<&'static GgmlBlocks>,
    /// Extents in elements, outermost first. Those of the source tensor are in bytes where it holds blocks.
    pub(crate) shape: Shape,
}

impl Array {
    /// `None` for a type that no array can hold.
    pub(crate) fn of(tensor: &TensorInfo) -> Option<Self> {
        let shape = Shape::from(tensor.dims().shape().collect::<Vec<u64>>());
        let name = tensor.ggml_type().name();
        match GgmlBlocks::of_ggml(name) {
            Some(blocks) => {
                let extents = blocks.shape(&shape)?;
                Some(Self { dtype: Dtype::U8, extents, shape, blocks: Some(blocks) })
            }
            // Types whose blocks are single numbers have the names of safetensors dtypes.
            None => Some(Self { dtype: name.parse().ok()?, extents: shape.clone(), shape, blocks: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    use longshore_gguf::{Dims, GgmlType, Layout, Metadata};

    use super::*;

    #[test]
    fn every_type_has_an_array_of_as_many_bytes() {
        for known in GgmlType::ALL {
            for dims in [vec![3, 2 * known.block_size()], vec![known.block_size()], vec![0, known.block_size()]] {
                let dims = Dims::from_shape(&dims).expect("it is small");
                let layout = Layout::new(Metadata::new(), [("a", *known, dims)]).expect("it is one tensor");
                let tensor = layout.parsed().get("a").expect("it was planned");
                let array = Array::of(tensor).unwrap_or_else(|| panic!("{known} has no array"));
                assert_eq!(array.extents.byte_len(array.dtype), Ok(tensor.byte_len()), "{known}");
                assert!(array.shape.dims().iter().rev().eq(dims.as_slice()), "{known}");
            }
        }
    }
}
