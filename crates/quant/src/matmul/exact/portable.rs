//! The reference of the exact path.

use super::{LANES, Lanes, Tile};

/// Adds the products of a tile to the lanes.
pub(in crate::matmul) fn add(tile: Tile<'_>, lanes: &mut Lanes) {
    for (input, lanes) in lanes.chunks_exact_mut(tile.rows).enumerate() {
        let x = &tile.inputs[input * tile.inputs_stride..][..tile.columns];
        for (row, lanes) in lanes.iter_mut().enumerate() {
            let w = &tile.weights[row * tile.weights_stride..][..tile.columns];
            for (w, x) in w.as_chunks::<LANES>().0.iter().zip(x.as_chunks::<LANES>().0) {
                for i in 0..LANES {
                    lanes[i] = w[i].mul_add(x[i], lanes[i]);
                }
            }
        }
    }
}
