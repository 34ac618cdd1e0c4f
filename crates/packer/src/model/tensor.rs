//! A tensor of the model.

use longshore_st_format::{Dtype, Shape};

use super::coding::kind::Coding;
use crate::tensor::SourceParts;

/// A tensor of the model, in however many tensors the source stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelTensor {
    /// Its name in a float checkpoint.
    pub name: String,
    /// The type of its values, once decoded.
    pub dtype: Dtype,
    /// Its logical shape.
    pub shape: Shape,
    pub coding: Coding,
    /// The tensors that hold it.
    pub parts: SourceParts,
}

/// What a member's files hold.
#[derive(Debug, Default)]
pub(crate) struct ModelTensors {
    /// In byte order of the names.
    pub tensors: Vec<ModelTensor>,
    pub warnings: Vec<String>,
}
