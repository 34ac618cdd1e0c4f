//! A tensor of the model.

use longshore_st_format::{Dtype, Shape};

use super::coding::kind::Coding;
use crate::tensor::SourceParts;

/// One tensor of the model. The source may store it in several tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelTensor {
    /// Name of the tensor in a float checkpoint.
    pub name: String,
    /// Type of the values once decoded.
    pub dtype: Dtype,
    /// Logical shape.
    pub shape: Shape,
    pub coding: Coding,
    /// The source tensors that hold this tensor.
    pub parts: SourceParts,
}

/// The tensors of one member of a source.
#[derive(Debug, Default)]
pub(crate) struct ModelTensors {
    /// The tensors, in byte order of their names.
    pub tensors: Vec<ModelTensor>,
    pub warnings: Vec<String>,
    pub notes: Vec<String>,
}
