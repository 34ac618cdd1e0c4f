//! The tensors of opened weights.

use longshore_st_format::{Dtype, Shape};

use super::{Place, Weights, plan::View};
use crate::document::{Quantization, Role};

/// One array: a type, a shape and the bytes of the elements.
#[derive(Debug, Clone, Copy)]
pub struct Array<'w> {
    /// Type of the elements.
    pub dtype: Dtype,
    /// Extents, outermost first. Packed codes are counted in words: `[…, out, in × bits / 32]`.
    pub shape: &'w Shape,
    /// Bytes of the elements, little-endian and row-major.
    pub data: &'w [u8],
}

/// One tensor: its weight and, if it is quantized, its companions.
#[derive(Debug, Clone, Copy)]
pub struct Tensor<'w> {
    pub(super) weights: &'w Weights,
    pub(super) view: &'w View,
    /// Index of the first part among the places.
    pub(super) first: usize,
}

impl<'w> Tensor<'w> {
    /// Returns the name, without a component's prefix.
    #[must_use]
    pub fn name(&self) -> &'w str {
        &self.view.name
    }

    /// Returns the pipeline component of the tensor, or `None` in a model of one part.
    #[must_use]
    pub fn component(&self) -> Option<&'w str> {
        self.view.component.as_deref()
    }

    /// Returns the type of the values. For a quantized tensor, it is the float type from which it was quantized.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.view.dtype
    }

    /// Returns the logical shape of the selected part of the tensor, in elements.
    #[must_use]
    pub fn shape(&self) -> &'w Shape {
        &self.view.shape
    }

    /// Returns the coding of the values, or `None` for a plain tensor.
    #[must_use]
    pub fn quantization(&self) -> Option<&'w Quantization> {
        self.view.quantization.as_ref()
    }

    /// Returns the number that was added to the model's values before they were stored. It is 0 unless the selection has
    /// [`offsets`](super::plan::Selection::offsets).
    #[must_use]
    pub fn offset(&self) -> i32 {
        self.view.offset
    }

    /// Returns the values, or the packed codes.
    #[must_use]
    pub fn weight(&self) -> Array<'w> {
        self.companion(Role::Weight).expect("every table was checked to have a weight for each tensor")
    }

    /// Returns the description of the tensor as it was opened. Places in it are those of files, or mean nothing.
    #[must_use]
    pub fn view(&self) -> &'w View {
        self.view
    }

    /// Returns a companion of a quantized tensor: its scales, biases or global scale.
    #[must_use]
    pub fn companion(&self, role: Role) -> Option<Array<'w>> {
        let at = self.view.parts.iter().position(|part| part.role == role)?;
        let part = &self.view.parts[at];
        let length = usize::try_from(part.len).expect("open checked that the part lies in memory");
        let data = match self.weights.places[self.first + at] {
            Place::File { blob, start } => &self.weights.blobs[blob].1[start..start + length],
            Place::Made(start) => &self.weights.made.bytes()[start..start + length],
        };
        Some(Array { dtype: part.dtype, shape: &part.shape, data })
    }

    /// Returns the place of the part of this role in the memory of copies and conversions, in bytes from its start. `None` if the
    /// part is a range of a file.
    #[must_use]
    pub fn made_at(&self, role: Role) -> Option<usize> {
        let at = self.view.parts.iter().position(|part| part.role == role)?;
        match self.weights.places[self.first + at] {
            Place::Made(start) => Some(start),
            Place::File { .. } => None,
        }
    }

    /// Whether the part of this role lies in memory of its own, since it was cut out or converted.
    #[must_use]
    pub fn is_made(&self, role: Role) -> bool {
        let at = self.view.parts.iter().position(|part| part.role == role);
        at.is_some_and(|at| matches!(self.weights.places[self.first + at], Place::Made(_)))
    }
}
