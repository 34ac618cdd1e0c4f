//! Places of one expert's bytes in a stack.

use longshore_st_format::Shape;

use super::{Part, Role, TensorEntry};

impl TensorEntry {
    /// Returns the places of entry `index` of the first axis. For a stack `[experts, …]` these are one expert's values
    /// or codes and their companions, each as a part of shape `[…]`, in the order of [`Self::parts`].
    ///
    /// Parts are row-major, so an expert's bytes are one range of each part. The ranges of two experts do not overlap,
    /// and the ranges of all experts cover the part. A global scale that all experts share is the exception: each
    /// expert has the whole of it.
    ///
    /// Returns `None` if the tensor has no entry `index`, or if its entries are not whole numbers of bytes.
    #[must_use]
    pub fn expert_parts(&self, index: u64) -> Option<Vec<Part>> {
        let experts = *self.shape.dims().first()?;
        if index >= experts {
            return None;
        }
        self.parts.iter().map(|part| part.of_expert(index, experts)).collect()
    }
}

impl Part {
    /// Returns the share of expert `index`, which is below `experts`.
    fn of_expert(&self, index: u64, experts: u64) -> Option<Self> {
        if self.is_shared(experts) {
            return Some(self.clone());
        }
        let (first, rest) = self.shape.dims().split_first()?;
        let shape = Shape::from(rest);
        let length = shape.byte_len(self.dtype).ok()?;
        // Also refuses experts without whole bytes of their own, even if the whole stack has whole bytes.
        if *first != experts || length.checked_mul(experts) != Some(self.length) {
            return None;
        }
        let offset = index.checked_mul(length)?.checked_add(self.offset)?;
        Some(Self { role: self.role, dtype: self.dtype, shape, offset, length, blob: self.blob })
    }

    /// Whether the part is a single global scale for all experts.
    fn is_shared(&self, experts: u64) -> bool {
        let is_of_each = self.shape.dims().first() == Some(&experts);
        self.role == Role::GlobalScale && self.shape.elements() == Some(1) && !is_of_each
    }
}
