//! Transposing a matrix of fixed-size elements, by tiles that fit in memory.

/// Rows are cut only at multiples of this number of elements, which is a multiple of every scheme's group size.
pub(crate) const QUANTUM: u64 = 128;

/// Transposes a matrix `[rows, columns]` of elements of `size` bytes into `to`, which has as many bytes as `from`.
pub(crate) fn transpose(from: &[u8], rows: usize, columns: usize, size: usize, to: &mut [u8]) {
    match size {
        1 => blocks::<1>(from, rows, columns, to),
        2 => blocks::<2>(from, rows, columns, to),
        4 => blocks::<4>(from, rows, columns, to),
        8 => blocks::<8>(from, rows, columns, to),
        _ => unreachable!("BUG: no dtype has elements of {size} bytes"),
    }
}

/// Transposes block by block. If the element size were known only at run time, each element would cost a call of
/// `memcpy`.
fn blocks<const SIZE: usize>(from: &[u8], rows: usize, columns: usize, to: &mut [u8]) {
    /// Elements along each side of a block. Two blocks of the widest elements fit in the first-level cache.
    const BLOCK: usize = 32;
    let (from, to) = (from.as_chunks::<SIZE>().0, to.as_chunks_mut::<SIZE>().0);
    for row in (0..rows).step_by(BLOCK) {
        for column in (0..columns).step_by(BLOCK) {
            for c in column..columns.min(column + BLOCK) {
                for r in row..rows.min(row + BLOCK) {
                    to[c * rows + r] = from[r * columns + c];
                }
            }
        }
    }
}

/// Part of a matrix that is transposed at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tile {
    pub rows: u64,
    pub columns: u64,
}

/// Number of rows below which tiles of whole rows would read the untransposed matrix in pieces that are too small.
const WHOLE: u64 = 64;
/// Largest number of rows of a tile that holds parts of rows.
const SIDE: u64 = 1024;

impl Tile {
    /// Chooses a tile of at most `room` elements for a matrix `[rows, columns]` that is the result of transposing.
    /// Neither extent may be 0.
    ///
    /// The tile has whole rows if enough of them fit, so that the result is written in order. Otherwise the tile has
    /// parts of rows, each a multiple of `quantum` elements long. `room` has to be at least `SIDE × quantum`.
    pub(crate) fn new(rows: u64, columns: u64, room: u64, quantum: u64) -> Self {
        if columns.saturating_mul(rows.min(WHOLE)) <= room {
            return Self { rows: (room / columns).min(rows), columns };
        }
        let rows = rows.min(SIDE);
        let columns = (room / rows / quantum * quantum).min(columns);
        Self { rows, columns }
    }
}

#[cfg(test)]
mod tests {
    use longshore_quant::Scheme;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rows_become_columns() {
        // 33 and 65 cross the edge of a block.
        for (rows, columns, size) in [(1, 1, 2), (3, 5, 1), (33, 65, 2), (32, 64, 4), (65, 1, 2), (7, 34, 8)] {
            let matrix: Vec<u8> = (0..=250).cycle().take(rows * columns * size).collect();
            let mut found = vec![0; matrix.len()];
            transpose(&matrix, rows, columns, size, &mut found);
            let element = |row: usize, column: usize| &matrix[(row * columns + column) * size..][..size];
            let expected = (0..columns).flat_map(|column| (0..rows).flat_map(move |row| element(row, column)));
            assert!(found.iter().eq(expected), "{rows} x {columns} of {size} bytes");
        }
    }

    #[test]
    fn a_row_is_cut_between_groups() {
        for scheme in Scheme::all() {
            assert!(QUANTUM.is_multiple_of(u64::from(scheme.group_size())), "{scheme}");
        }
    }

    #[test]
    fn tiles_are_of_whole_rows_where_these_fit() {
        let room = 1 << 21;
        assert_eq!(Tile::new(5760, 2880, room, 128), Tile { rows: 728, columns: 2880 });
        assert_eq!(Tile::new(10, 2880, room, 128), Tile { rows: 10, columns: 2880 });
        assert_eq!(Tile::new(1, 1 << 21, room, 128), Tile { rows: 1, columns: 1 << 21 });
        assert_eq!(Tile::new(1, 1 << 30, room, 128), Tile { rows: 1, columns: 1 << 21 });
        assert_eq!(Tile::new(1 << 30, 1 << 30, room, 128), Tile { rows: 1024, columns: 2048 });
        assert_eq!(Tile::new(1 << 40, 1, room, 128), Tile { rows: 1 << 21, columns: 1 });
    }

    proptest! {
        #[test]
        fn a_tile_fits_its_room(rows in 1_u64.., columns in 1_u64.., quantum in 1_u64..256, more in 0_u64..1 << 22) {
            let room = SIDE * quantum + more;
            let tile = Tile::new(rows, columns, room, quantum);
            prop_assert!(tile.rows > 0 && tile.rows <= rows);
            prop_assert!(tile.columns > 0 && tile.columns <= columns);
            prop_assert!(tile.rows * tile.columns <= room);
            prop_assert!(tile.columns == columns || tile.columns.is_multiple_of(quantum));
        }
    }
}
