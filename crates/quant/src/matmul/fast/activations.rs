//! Rounds rows of an input to integers, and lays them out for the kernels.
//!
//! A few rows are kept one after another, each in the order of the codes. Many rows lie side by side in blocks of
//! sixteen, four consecutive integers of each row together:
//!
//! ```text
//! one row, codes of 4 bits    the 64 even elements of each 128, then the 64 odd ones
//! one row, other codes        as they come
//! block                       [columns / 4][16 rows][4]
//! ```
//!
//! An integer of 14 bits is 128 × high + low, with high and low signed bytes in planes of their own.

use super::{CHAINS, Codes, Form};
use crate::matmul::{
    level::{Kind, Level},
    task,
};

/// Rows of the input in a block.
pub(in crate::matmul) const TOKENS: usize = 16;

/// The largest number of rows beyond whole blocks that are not worth a block, and that of rows without a block, where a
/// kernel reads codes of 4 or of 8 bits as they are stored.
const FEW: usize = 4;
const FEW_NIBBLES: usize = 7;
const FEW_BYTES: usize = 6;

/// Largest integer of 8 bits, and of 14 bits. With these, two products with codes always fit in 16 bits.
const NARROW: f32 = 127.0;
const WIDE: f32 = 8192.0;

/// Bytes of a line of the cache.
const LINE: usize = 64;

/// Bits of 2^-100: groups below count as zeros.
const LEAST: u32 = 27 << 23;

/// Rounds to an integer when added and taken away again.
const ROUNDER: f32 = 12_582_912.0;

/// An input in integers.
#[derive(Debug)]
pub(in crate::matmul) struct Input {
    pub(in crate::matmul) form: Form,
    /// Number of rows that are kept one after another. They come before those of the blocks.
    pub(in crate::matmul) rows: usize,
    pub(in crate::matmul) blocks: Vec<LaneBlock>,
    padded_columns: usize,
    /// Groups of a row, padded to a multiple of [`CHAINS`].
    pub(in crate::matmul) padded_groups: usize,
    high: Lines,
    low: Lines,
    scales: Vec<f32>,
    sums: Vec<f32>,
    offsets: Vec<i32>,
}

/// Integers that start at a line of the cache, so that no vector lies in two.
#[derive(Debug)]
struct Lines {
    integers: Vec<i8>,
    start: usize,
}

impl Lines {
    /// A number of zeros.
    fn new(len: usize) -> Self {
        let integers = vec![0; if len > 0 { len + LINE } else { 0 }];
        let start = integers.as_ptr().align_offset(LINE).min(integers.len().min(LINE));
        Self { integers, start }
    }

    fn get(&self) -> &[i8] {
        &self.integers[self.start..]
    }

    fn get_mut(&mut self) -> &mut [i8] {
        &mut self.integers[self.start..]
    }
}

/// A row of an input. What is beyond its end is zero.
#[derive(Clone, Copy, Debug)]
pub(in crate::matmul) struct Row<'a> {
    /// The integers, or the upper parts of those of 14 bits.
    pub(in crate::matmul) high: &'a [i8],
    /// The lower parts, or nothing.
    pub(in crate::matmul) low: &'a [i8],
    /// d of each group.
    pub(in crate::matmul) scales: &'a [f32],
    /// d × the sum of the integers of each group.
    pub(in crate::matmul) sums: &'a [f32],
    /// Sum that the codes' offset adds to each group, negated.
    pub(in crate::matmul) offsets: &'a [i32],
}

/// Sixteen rows of an input, side by side.
#[derive(Debug, Default)]
pub(in crate::matmul) struct LaneBlock {
    /// Rows that there are. The others are zeros.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only kernels take less than all rows"))]
    rows: usize,
    pub(in crate::matmul) high: Vec<[[i8; 4]; TOKENS]>,
    pub(in crate::matmul) low: Vec<[[i8; 4]; TOKENS]>,
    pub(in crate::matmul) scales: Vec<[f32; TOKENS]>,
    pub(in crate::matmul) sums: Vec<[f32; TOKENS]>,
    pub(in crate::matmul) offsets: Vec<[i32; TOKENS]>,
}

impl Input {
    /// Rounds the rows of `x`, each of `columns` numbers.
    pub(in crate::matmul) fn new(level: Level, form: Form, x: &[f32], columns: usize) -> Self {
        let total = x.len() / columns;
        let rows = match total % TOKENS {
            _ if !level.takes_blocks() => total,
            few if few <= FEW => few,
            few if few == total && few <= alone(level, form) => few,
            _ => 0,
        };
        let padded_groups = (columns / form.group).next_multiple_of(CHAINS);
        let padded_columns = padded_groups * form.group;
        let wide = form.codes.is_wide();
        let (singles, blocks) = x.split_at(rows * columns);
        let mut input = Self {
            form,
            rows,
            blocks: task::map(blocks.chunks(TOKENS * columns), |x| LaneBlock::new(level, form, x, columns)),
            padded_columns,
            padded_groups,
            high: Lines::new(rows * padded_columns),
            low: Lines::new(if wide { rows * padded_columns } else { 0 }),
            scales: vec![0.0; rows * padded_groups],
            sums: vec![0.0; rows * padded_groups],
            offsets: vec![0; rows * padded_groups],
        };
        let mut integers = vec![0; columns];
        for (row, x) in singles.chunks_exact(columns).enumerate() {
            let groups = row * padded_groups;
            for (g, (x, integers)) in x.chunks_exact(form.group).zip(integers.chunks_exact_mut(form.group)).enumerate()
            {
                let rounded = round(level, wide, x, integers);
                input.scales[groups + g] = rounded.scale;
                input.sums[groups + g] = rounded.scale * rounded.sum_as_float();
                input.offsets[groups + g] = -form.codes.offset() * rounded.sum;
            }
            let high = &mut input.high.get_mut()[row * padded_columns..][..padded_columns];
            if wide {
                let low = &mut input.low.get_mut()[row * padded_columns..];
                for ((integer, high), low) in integers.iter().zip(high).zip(low) {
                    [*high, *low] = planes(*integer);
                }
            } else if form.codes.are_nibbles() {
                for (integers, high) in integers.chunks(128).zip(high.as_chunks_mut::<128>().0) {
                    let (even, odd) = high.split_at_mut(64);
                    for ((pair, even), odd) in integers.as_chunks::<2>().0.iter().zip(even).zip(odd) {
                        (*even, *odd) = (low_byte(pair[0]), low_byte(pair[1]));
                    }
                }
            } else {
                for (integer, high) in integers.iter().zip(high) {
                    *high = low_byte(*integer);
                }
            }
        }
        input
    }

    /// One of the rows that are kept one after another.
    pub(in crate::matmul) fn row(&self, row: usize) -> Row<'_> {
        let columns = row * self.padded_columns..(row + 1) * self.padded_columns;
        let groups = row * self.padded_groups..(row + 1) * self.padded_groups;
        Row {
            high: &self.high.get()[columns.clone()],
            low: self.low.get().get(columns).unwrap_or_default(),
            scales: &self.scales[groups.clone()],
            sums: &self.sums[groups.clone()],
            offsets: &self.offsets[groups],
        }
    }
}

/// The largest number of rows that stand alone where there is no block.
fn alone(level: Level, form: Form) -> usize {
    match form.codes {
        Codes::Nibbles if level.reads_stored_scales(form) => FEW_NIBBLES,
        Codes::Bytes if level.reads_stored_scales(form) => FEW_BYTES,
        _ => FEW,
    }
}

impl LaneBlock {
    /// Whether the second half of the rows is zeros.
    #[cfg(target_arch = "x86_64")]
    pub(in crate::matmul) fn is_half(&self) -> bool {
        self.rows <= TOKENS / 2
    }

    /// Rounds at most sixteen rows. Rows that are missing are zeros.
    fn new(level: Level, form: Form, x: &[f32], columns: usize) -> Self {
        let (quads, groups, wide) = (columns / 4, columns / form.group, form.codes.is_wide());
        let mut block = Self {
            rows: x.len() / columns,
            high: vec![[[0; 4]; TOKENS]; quads],
            low: vec![[[0; 4]; TOKENS]; if wide { quads } else { 0 }],
            scales: vec![[0.0; TOKENS]; groups],
            sums: vec![[0.0; TOKENS]; groups],
            offsets: vec![[0; TOKENS]; groups],
        };
        let mut integers = [0; 128];
        let integers = &mut integers[..form.group];
        for (token, x) in x.chunks_exact(columns).enumerate() {
            for (g, x) in x.chunks_exact(form.group).enumerate() {
                let rounded = round(level, wide, x, integers);
                block.scales[g][token] = rounded.scale;
                block.sums[g][token] = rounded.scale * rounded.sum_as_float();
                block.offsets[g][token] = -form.codes.offset() * rounded.sum;
                let at = g * form.group / 4;
                for (i, quad) in integers.as_chunks::<4>().0.iter().enumerate() {
                    if wide {
                        let planes = quad.map(planes);
                        block.high[at + i][token] = planes.map(|[high, _]| high);
                        block.low[at + i][token] = planes.map(|[_, low]| low);
                    } else {
                        block.high[at + i][token] = quad.map(low_byte);
                    }
                }
            }
        }
        block
    }
}

/// A group in integers.
#[derive(Clone, Copy, Debug)]
pub(in crate::matmul) struct Rounded {
    scale: f32,
    sum: i32,
}

impl Rounded {
    /// The sum, which has at most 21 bits.
    #[expect(clippy::cast_precision_loss, reason = "128 integers of 14 bits have a sum of 21 bits")]
    fn sum_as_float(self) -> f32 {
        self.sum as f32
    }
}

/// Rounds a group to integers.
fn round(level: Level, wide: bool, x: &[f32], integers: &mut [i32]) -> Rounded {
    match level.0 {
        Kind::Portable => round_group(wide, x, integers),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(proof) => proof.round(wide, x, integers),
        #[cfg(target_arch = "x86_64")]
        Kind::AvxVnni(proof) => proof.avx2().round(wide, x, integers),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512(proof) => proof.avx2().round(wide, x, integers),
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        Kind::Neon => round_group(wide, x, integers),
    }
}

/// Rounds a group to integers.
///
/// Always inlined, so that it is compiled with the instructions of its caller.
#[inline(always)]
#[expect(clippy::inline_always, reason = "the loops are compiled for several sets of instructions")]
pub(in crate::matmul) fn round_group(wide: bool, x: &[f32], integers: &mut [i32]) -> Rounded {
    // The bits of magnitudes have the order of the magnitudes, and NaN is above all.
    let largest = x.iter().fold(0, |largest, x| (x.to_bits() & 0x7FFF_FFFF).max(largest));
    if !(LEAST..0x7F80_0000).contains(&largest) {
        integers.fill(0);
        return Rounded { scale: if largest < LEAST { 0.0 } else { f32::NAN }, sum: 0 };
    }
    let top = if wide { WIDE } else { NARROW };
    let largest = f32::from_bits(largest);
    let inverse = top / largest;
    let mut sum = 0i32;
    for (integer, x) in integers.iter_mut().zip(x) {
        *integer = (x * inverse + ROUNDER).to_bits().cast_signed() - ROUNDER.to_bits().cast_signed();
        sum += *integer;
    }
    Rounded { scale: largest / top, sum }
}

/// The low byte of an integer of 8 bits.
fn low_byte(integer: i32) -> i8 {
    integer.to_le_bytes()[0].cast_signed()
}

/// Splits an integer of 14 bits: 128 × the first plus the second.
fn planes(integer: i32) -> [i8; 2] {
    let high = (integer + 64) >> 7;
    [low_byte(high), low_byte(integer - high * 128)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_hold_every_integer() {
        for integer in -8192..=8192 {
            let [high, low] = planes(integer);
            assert_eq!(i32::from(high) * 128 + i32::from(low), integer);
            assert!((-64..64).contains(&low));
        }
    }

    #[test]
    fn groups_are_rounded_under_their_largest_magnitude() {
        let mut integers = [0; 4];
        let rounded = round_group(false, &[-2.0, 1.0, 0.5, 0.01], &mut integers);
        assert_eq!(integers, [-127, 64, 32, 1]);
        assert_eq!((rounded.sum, rounded.scale.to_bits()), (-30, (2.0f32 / 127.0).to_bits()));
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let rounded = round_group(false, &[1.0, odd, 0.0, 0.0], &mut integers);
            assert!(rounded.scale.is_nan());
            assert_eq!((integers, rounded.sum), ([0; 4], 0));
        }
        let rounded = round_group(true, &[1e-40, -0.0, 0.0, 0.0], &mut integers);
        assert_eq!((rounded.scale.to_bits(), integers), (0, [0; 4]));
    }
}
