//! Memory that a thread keeps for its tiles.

use std::cell::Cell;

use super::{
    exact::LANES,
    fast::{CHAINS, PAIR, ROWS, STRIP, Sums, TOKENS, TileBuffer},
};

thread_local! {
    static KEPT: Cell<Scratch> = const { Cell::new(Scratch::new()) };
}

/// Buffers of a thread. They grow to what the largest tile needs.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    decoded: Vec<f32>,
    lanes: Vec<f32>,
    codes: Vec<u8>,
    scales: Vec<f32>,
    biases: Vec<f32>,
    tiles: [Vec<TileBuffer>; STRIP / ROWS],
    sums: Vec<Sums>,
    lines: Vec<[f32; STRIP]>,
}

/// Buffers of the fast path.
#[derive(Debug)]
pub(super) struct Fast<'a> {
    pub(super) codes: &'a mut [u8],
    pub(super) scales: &'a mut [f32],
    pub(super) biases: &'a mut [f32],
    /// The first and the second rows of a strip, in tiles that together have all columns.
    pub(super) tiles: [&'a mut [TileBuffer]; STRIP / ROWS],
    /// One for each of two blocks of input rows.
    pub(super) sums: &'a mut [Sums],
    /// Numbers of a strip for each input row of these blocks.
    pub(super) lines: &'a mut [[f32; STRIP]],
}

impl Scratch {
    const fn new() -> Self {
        Self {
            decoded: Vec::new(),
            lanes: Vec::new(),
            codes: Vec::new(),
            scales: Vec::new(),
            biases: Vec::new(),
            tiles: [Vec::new(), Vec::new()],
            sums: Vec::new(),
            lines: Vec::new(),
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

    /// Buffers of the fast path: an expanded row, scales and biases of several rows, tiles of a strip, and sums of blocks. What they
    /// hold is arbitrary.
    pub(super) fn fast(&mut self, codes: usize, groups: usize, tiles: usize) -> Fast<'_> {
        self.sums.resize(PAIR, [[[0.0; TOKENS]; ROWS]; CHAINS]);
        self.lines.resize(PAIR * TOKENS, [0.0; STRIP]);
        for buffer in &mut self.tiles {
            if buffer.len() < tiles {
                buffer.resize(tiles, TileBuffer::ZERO);
            }
        }
        Fast {
            codes: at_least(&mut self.codes, codes),
            scales: at_least(&mut self.scales, groups),
            biases: at_least(&mut self.biases, groups),
            tiles: self.tiles.each_mut().map(|buffer| &mut buffer[..tiles]),
            sums: &mut self.sums,
            lines: &mut self.lines,
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
