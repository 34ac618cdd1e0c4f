//! Matrices that a checkpoint has with their axes swapped.

use longshore_manifest::weights::Source;
use longshore_model::architecture::{Architecture, Architectures};

/// Whether checkpoints of the source's architecture have experts as `[experts, in, out]`.
pub(super) fn has_transposed_experts(source: &Source) -> bool {
    let facts = &source.table().facts;
    let mut names = [&facts.architecture, &facts.model_type].into_iter().flatten();
    names.any(|name| Architectures::known().find(name).is_some_and(Architecture::has_transposed_experts))
}

/// Swaps the axes of matrices that lie one after another, whose elements have `size` bytes.
pub(super) fn swap(matrices: &[u8], [rows, columns]: [usize; 2], size: usize) -> Vec<u8> {
    let mut swapped = Vec::with_capacity(matrices.len());
    for matrix in matrices.chunks_exact((rows * columns * size).max(1)) {
        for column in 0..columns {
            for row in 0..rows {
                swapped.extend_from_slice(&matrix[(row * columns + column) * size..][..size]);
            }
        }
    }
    swapped
}
