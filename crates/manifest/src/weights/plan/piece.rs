//! Reads, cut to the size of a staging buffer, and joined where their bytes are close together in a file.

use std::ops::Range;

use super::{ALIGNMENT, Cast, Extent, Read};

/// Limits by which reads are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Maximum size of a piece in bytes: the size of a staging buffer. Rounded down to a multiple of [`ALIGNMENT`], but
    /// at least one [`ALIGNMENT`].
    pub piece: u64,
    /// Largest gap between two wanted ranges that is read along with them, in bytes.
    pub gap: u64,
    /// Maximum number of bytes of one fetch, including gaps. A single longer run is still one fetch.
    pub fetch: u64,
}

/// A range of the arena with all fetches that fill it. Bytes that no fetch fills are padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Range in bytes from the start of the arena.
    pub arena: Range<u64>,
    /// Fetches that fill the range, in the order of the arena.
    pub fetches: Vec<Fetch>,
}

/// One range of a blob that is read in one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Index into the plan's blobs.
    pub blob: usize,
    /// Range in bytes from the start of the blob.
    pub file: Range<u64>,
    /// Wanted bytes of the range and their destinations, in the order of the file and of the arena.
    pub takes: Vec<Take>,
}

/// Wanted bytes of a fetch, with their destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Take {
    /// Position of the bytes in the blob.
    pub extent: Extent,
    /// Destination in bytes from the start of the piece.
    pub at: u64,
    /// Cast of the elements during the copy.
    pub cast: Option<Cast>,
}

impl Cut {
    /// Makes limits for pieces of at most `piece` bytes, with gaps of up to 64 KiB and fetches of up to four pieces.
    #[must_use]
    pub fn new(piece: u64) -> Self {
        Self { piece, gap: 64 << 10, fetch: piece.saturating_mul(4) }
    }
}

impl Take {
    /// Returns the number of bytes that the take fills.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self.cast.map(Cast::widths) {
            None => self.extent.len(),
            Some((from, to)) => self.extent.len() / from * to,
        }
    }

    /// Whether the take fills no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Fetch {
    /// Whether the bytes of the fetch go to the piece unchanged and range by range, so that they can be read directly
    /// into place.
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
    /// Adds fetches for the bytes `range`, counted within those that `read` fills.
    fn add(&mut self, read: &Read, range: Range<u64>, cut: &Cut) {
        // No element is cut, because pieces and views start at multiples of the alignment.
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

    /// Adds a take to the last fetch if its bytes lie close behind it in the same blob. Otherwise starts a new fetch.
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
