//! Memory that a thread keeps for its tiles.

use std::cell::Cell;

use super::{
    exact::LANES,
    fast::{CHAINS, COLUMNS, ROWS, STAGED, Sums, TOKENS},
};

/// Elements of the smallest group.
const LEAST_GROUP: usize = 16;

thread_local! {
    static KEPT: Cell<Scratch> = const { Cell::new(Scratch::new()) };
}

/// Buffers of a thread. They grow to what the largest tile needs.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    decoded: Vec<f32>,
    lanes: Vec<f32>,
    codes: Vec<u8>,
    tile: Vec<u8>,
    scales: Vec<f32>,
    biases: Vec<f32>,
    tile_scales: Vec<[f32; ROWS]>,
    tile_biases: Vec<[f32; ROWS]>,
    sums: Vec<Sums>,
    staged: Vec<[f32; STAGED]>,
}

/// Buffers of the fast path.
#[derive(Debug)]
pub(super) struct Fast<'a> {
    pub(super) codes: &'a mut [u8],
    pub(super) tile: &'a mut [[u8; COLUMNS]; ROWS],
    pub(super) scales: &'a mut [f32],
    pub(super) biases: &'a mut [f32],
    /// Scales and biases of the groups of a tile.
    pub(super) tile_scales: &'a mut [[f32; ROWS]],
    pub(super) tile_biases: &'a mut [[f32; ROWS]],
    /// One for each block of input rows.
    pub(super) sums: &'a mut [Sums],
    /// Numbers of some rows of weights for each input row of the blocks.
    pub(super) staged: &'a mut [[f32; STAGED]],
}

impl Scratch {
    const fn new() -> Self {
        Self {
            decoded: Vec::new(),
            lanes: Vec::new(),
            codes: Vec::new(),
            tile: Vec::new(),
            scales: Vec::new(),
            biases: Vec::new(),
            tile_scales: Vec::new(),
            tile_biases: Vec::new(),
            sums: Vec::new(),
            staged: Vec::new(),
        }
    }

    /// Runs `work` with the buffers of this thread.
    pub(super) fn with<T>(work: impl FnOnce(&mut Self) -> T) -> T {
        // Taken out of its place, so that work that comes here again finds fresh buffers.
        let mut scratch = KEPT.take();
        let result = work(&mut scratch);
        KEPT.set(scratch);
        result
    }

    /// Buffers of the exact path: decoded numbers, and lanes. What they hold is arbitrary.
    pub(super) fn exact(&mut self, decoded: usize, lanes: usize) -> (&mut [f32], &mut [[f32; LANES]]) {
        (aligned(&mut self.decoded, decoded), aligned(&mut self.lanes, lanes * LANES).as_chunks_mut().0)
    }

    /// Buffers of the fast path: an expanded row, a tile, scales and biases of several rows, and sums of blocks. What
    /// they hold is arbitrary.
    pub(super) fn fast(&mut self, codes: usize, groups: usize, blocks: usize) -> Fast<'_> {
        if self.sums.len() < blocks {
            self.sums.resize(blocks, [[[0.0; TOKENS]; ROWS]; CHAINS]);
        }
        if self.staged.len() < blocks * TOKENS {
            self.staged.resize(blocks * TOKENS, [0.0; STAGED]);
        }
        let tile = at_least(&mut self.tile, COLUMNS * ROWS).as_chunks_mut().0;
        Fast {
            codes: at_least(&mut self.codes, codes),
            tile: tile.try_into().expect("it has that many rows"),
            scales: at_least(&mut self.scales, groups),
            biases: at_least(&mut self.biases, groups),
            tile_scales: at_least(&mut self.tile_scales, COLUMNS / LEAST_GROUP),
            tile_biases: at_least(&mut self.tile_biases, COLUMNS / LEAST_GROUP),
            sums: &mut self.sums[..blocks],
            staged: &mut self.staged[..blocks * TOKENS],
        }
    }
}

/// Returns the first `len` elements of a buffer that grows if it has to.
fn at_least<T: Clone + Default>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::default());
    }
    &mut buffer[..len]
}

/// Returns `len` numbers that start at a line of the cache, so that no vector lies in two.
fn aligned(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    let buffer = at_least(buffer, len + LANES);
    let start = first_line(buffer);
    &mut buffer[start..start + len]
}

/// The place of the first number at the start of a line of the cache, which is one of the first sixteen.
pub(super) fn first_line(numbers: &[f32]) -> usize {
    numbers.as_ptr().align_offset(LANES * size_of::<f32>()).min(LANES)
}
