//! Reads, cut to the size of a staging buffer and joined where they lie together in a file.

use std::ops::Range;

use super::{ALIGNMENT, Cast, Extent, Read};

/// Sizes to which reads are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The most bytes of a piece: the size of a staging buffer. What is no multiple of [`ALIGNMENT`] counts as the one below it, and 0 as the first.
    pub piece: u64,
    /// Bytes that nobody wants are read through where so many or fewer lie between two that are wanted.
    pub gap: u64,
    /// The most bytes that are read at once, those that nobody wants included, unless one run has more.
    pub fetch: u64,
}

/// A range of the arena, and all that is read for it. Bytes that no fetch fills are padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The range, in bytes from the start of the arena.
    pub arena: Range<u64>,
    /// Reads that fill it, in the order of the arena.
    pub fetches: Vec<Fetch>,
}

/// One range of one blob that is read at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// An index into the plan's blobs.
    pub blob: usize,
    /// The range, in bytes from the start of the blob.
    pub file: Range<u64>,
    /// Byte ranges of the read with their places, in the order of the file and of the arena.
    pub takes: Vec<Take>,
}

/// Bytes of a fetch, and where they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Take {
    /// The bytes, in bytes from the start of the blob.
    pub extent: Extent,
    /// Where they go, in bytes from the start of the piece.
    pub at: u64,
    /// Conversion of the elements on the way.
    pub cast: Option<Cast>,
}

impl Cut {
    /// Pieces of at most `piece` bytes; gaps of up to 64 KiB are read through, and at most four times the piece is read at once.
    #[must_use]
    pub fn new(piece: u64) -> Self {
        Self { piece, gap: 64 << 10, fetch: piece.saturating_mul(4) }
    }
}

impl Take {
    /// The bytes that it fills.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self.cast.map(Cast::widths) {
            None => self.extent.len(),
            Some((from, to)) => self.extent.len() / from * to,
        }
    }

    /// Whether it fills nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Fetch {
    /// Whether its bytes go to the piece as they are, range by range, so that they can be read right into their places.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.takes.iter().all(|take| take.cast.is_none() && take.extent.is_range())
    }
}

pub(super) fn cut(reads: &[Read], cut: &Cut) -> Vec<Piece> {
    let cut = &Cut { piece: (cut.piece / ALIGNMENT).max(1) * ALIGNMENT, ..*cut };
    let mut pieces: Vec<Piece> = Vec::new();
    for read in reads {
        let (len, mut done) = (read.arena_len(), 0);
        while done < len {
            let at = read.arena + done;
            let piece = match pieces.last_mut() {
                Some(piece) if at - piece.arena.start < cut.piece => pieces.last_mut().expect("there is one"),
                _ => {
                    pieces.push(Piece { arena: at..at, fetches: Vec::new() });
                    pieces.last_mut().expect("it was pushed")
                }
            };
            let room = piece.arena.start.saturating_add(cut.piece) - at;
            let next = done + room.min(len - done);
            piece.add(read, done..next, cut);
            piece.arena.end = read.arena + next;
            done = next;
        }
    }
    pieces
}

impl Piece {
    /// Adds the bytes `range` of what `read` fills.
    fn add(&mut self, read: &Read, range: Range<u64>, cut: &Cut) {
        // Pieces and views start at multiples of the alignment, so that no element is cut.
        let (before, after) = read.cast.map_or((1, 1), Cast::widths);
        let mut at = read.arena + range.start - self.arena.start;
        for extent in read.extent.slice(range.start / after * before, range.end / after * before) {
            let is_read_through = extent.stride - extent.run <= cut.gap;
            let runs = if is_read_through { cut.fetch / extent.stride } else { 1 };
            for extent in extent.chunks(runs) {
                let take = Take { extent, at, cast: read.cast };
                at += take.len();
                self.join(read.blob, take, cut);
            }
        }
    }

    /// Adds a take to the last fetch, if it lies close behind it in the same blob; else to a new one.
    fn join(&mut self, blob: usize, take: Take, cut: &Cut) {
        let file = take.extent.offset..take.extent.end();
        if let Some(last) = self.fetches.last_mut()
            && last.blob == blob
            && file.start.checked_sub(last.file.end).is_some_and(|gap| gap <= cut.gap)
            && file.end - last.file.start <= cut.fetch
        {
            last.file.end = file.end;
            last.takes.push(take);
            return;
        }
        self.fetches.push(Fetch { blob, file, takes: vec![take] });
    }
}
