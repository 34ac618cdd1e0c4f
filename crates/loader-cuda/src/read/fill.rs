//! Fills staging buffers with the bytes of pieces.

use std::{collections::VecDeque, io::IoSliceMut, ops::Range, rc::Rc};

use longshore_manifest::{
    Digest, Hasher,
    document::Chunks,
    weights::plan::{Fetch, Piece, Take},
};

use super::{
    BlobFile, Blobs, ColdReads, Hashed,
    cold::{self, Buffers, ColdRead, Found, Reader},
    hashing::{Hashing, WrongChunk},
};
use crate::CudaError;

/// Reading state of one thread. It keeps the last blob open, because the next piece often belongs to the same blob.
#[derive(Debug)]
pub(crate) struct Filler<'p> {
    blobs: &'p Blobs<'p>,
    /// Fetches in progress, oldest first.
    begun: VecDeque<Begun>,
    /// Blob of the fetch that was begun last.
    newest: Option<Rc<Opened>>,
    /// Blob of the fetch that was finished last. It is checked when the next blob begins.
    oldest: Option<Rc<Opened>>,
    /// Reader of bytes that are not in memory, created on first use.
    cold: Option<Box<dyn Reader>>,
    buffers: Buffers,
    /// Buffer for bytes that are not read directly to their places.
    scratch: Vec<u8>,
    /// Hashing state of the blob, or the part of one, that is being verified.
    hashing: Option<Hashing<'p>>,
    /// True where the newest fetch reads bytes that are not in memory.
    is_cold: bool,
    /// Bytes that were read past the page cache.
    pub(crate) direct_bytes: u64,
    /// Part of `direct_bytes` that was read with many reads at once.
    pub(crate) ring_bytes: u64,
}

/// An open blob.
#[derive(Debug)]
struct Opened {
    blob: usize,
    file: Rc<BlobFile>,
}

/// A fetch in progress.
#[derive(Debug)]
struct Begun {
    opened: Rc<Opened>,
    /// Range to read, in bytes from the start of the blob: the fetch, and bytes before it that have to be hashed.
    range: Range<u64>,
    is_cold: bool,
}

impl<'p> Filler<'p> {
    pub(crate) fn new(blobs: &'p Blobs<'p>) -> Self {
        Self {
            blobs,
            begun: VecDeque::new(),
            newest: None,
            oldest: None,
            cold: None,
            buffers: Buffers::default(),
            scratch: Vec::new(),
            hashing: None,
            is_cold: false,
            direct_bytes: 0,
            ring_bytes: 0,
        }
    }

    /// Fills `out`, which is as long as the piece, with the bytes of the piece; padding becomes zero. `next` is the
    /// piece of the next call, where it is known; some of it may be read already.
    pub(crate) fn fill(&mut self, piece: &Piece, next: Option<&Piece>, out: &mut [u8]) -> Result<(), CudaError> {
        let mut filled = 0;
        for (at, fetch) in piece.fetches.iter().enumerate() {
            for take in &fetch.takes {
                let (start, end) = place(take);
                out[filled..start].fill(0);
                filled = end;
            }
            let rest = piece.fetches[at..].iter().map(|fetch| (piece.arena.start, fetch));
            let after = next.into_iter().flat_map(|next| next.fetches.iter().map(|fetch| (next.arena.start, fetch)));
            let mut upcoming = rest.chain(after).skip(self.begun.len());
            while self.begun.len() < self.depth()
                && let Some((arena, fetch)) = upcoming.next()
            {
                self.begin(arena, fetch)?;
            }
            self.finish(piece.arena.start, fetch, out)?;
        }
        out[filled..].fill(0);
        Ok(())
    }

    /// Returns true where it helps to know the next piece while one is filled.
    pub(crate) fn looks_ahead(&self) -> bool {
        self.depth() > 1
    }

    /// Starts to hash a blob, or the part of one whose `chunks` have these digests. All pieces of it must be given to [`Self::fill`] in
    /// order, with nothing between them.
    pub(crate) fn start_digest(&mut self, part: Hashed, chunks: Option<&'p Chunks>) {
        self.hashing = Some(Hashing::new(part, chunks));
    }

    /// Hashes the rest of the blob or of the part, and compares the digests.
    pub(crate) fn finish_digest(&mut self) -> Result<(), CudaError> {
        let Some(mut hashing) = self.hashing.take() else { return Ok(()) };
        let blob = hashing.part.blob;
        let opened = self.open(blob)?;
        grow(&mut self.scratch, 1 << 16).map_err(|source| self.blobs.read_error("read", blob, None, source))?;
        while hashing.part.end.is_none_or(|end| hashing.done < end) {
            let read = opened.file.read(hashing.done, &mut self.scratch);
            let read = read.map_err(|source| self.blobs.read_error("read", blob, None, source))?;
            if read == 0 {
                break;
            }
            let added = hashing.add(hashing.done, &self.scratch[..read]);
            added.map_err(|wrong| self.blobs.wrong_chunk(blob, &opened.file, wrong))?;
        }
        let expected = self.blobs.plan.blobs[blob].digest;
        match hashing.finish() {
            Ok(found) if found.is_none_or(|found| found == expected) => Ok(()),
            Ok(found) => Err(self.blobs.wrong_digest(blob, found.unwrap_or(expected))),
            Err(wrong) => Err(self.blobs.wrong_chunk(blob, &opened.file, wrong)),
        }
    }

    /// Closes the last blob. Returns an error if the blob changed while it was read.
    pub(crate) fn close(&mut self) -> Result<(), CudaError> {
        self.newest = None;
        let oldest = self.oldest.take();
        oldest.map_or(Ok(()), |opened| self.blobs.check(opened.blob, &opened.file))
    }

    fn open(&mut self, blob: usize) -> Result<Rc<Opened>, CudaError> {
        if let Some(newest) = self.newest.as_ref().filter(|newest| newest.blob == blob) {
            return Ok(Rc::clone(newest));
        }
        let opened = Rc::new(Opened { blob, file: Rc::new(self.blobs.open(blob)?) });
        self.newest = Some(Rc::clone(&opened));
        Ok(opened)
    }

    /// Number of fetches that may be begun before one is finished.
    fn depth(&self) -> usize {
        self.cold.as_ref().filter(|_| self.is_cold).map_or(1, |cold| cold.depth())
    }

    /// Opens the blob of a fetch, and begins to read the fetch where it is not in memory.
    fn begin(&mut self, arena: u64, fetch: &Fetch) -> Result<(), CudaError> {
        let opened = self.open(fetch.blob)?;
        // Bytes to be hashed are read without gaps.
        let mut range = fetch.file.clone();
        if let Some(hashing) = &mut self.hashing {
            range.start = range.start.min(hashing.begun);
            hashing.begun = hashing.begun.max(range.end);
        }
        let fail = |source| self.blobs.read_error("read", fetch.blob, Some(first(arena, fetch)), source);
        let file = &opened.file;
        let may = self.blobs.cold != ColdReads::Buffered;
        self.is_cold = may && !file.is_warm(&range) && file.direct().map_err(fail)?.is_some();
        if self.is_cold {
            let read = ColdRead::new(Rc::clone(file), &range, &mut self.buffers).map_err(fail)?;
            self.cold.get_or_insert_with(|| cold::reader(self.blobs.cold)).begin(read);
        }
        self.begun.push_back(Begun { opened, range, is_cold: self.is_cold });
        Ok(())
    }

    /// Reads the oldest fetch in progress, and puts its bytes into their places in `out`.
    fn finish(&mut self, arena: u64, fetch: &Fetch, out: &mut [u8]) -> Result<(), CudaError> {
        let Begun { opened, range, is_cold } = self.begun.pop_front().expect("it was begun before");
        let (blobs, blob, file) = (self.blobs, fetch.blob, &opened.file);
        assert_eq!(opened.blob, blob, "BUG: another piece was announced");
        if let Some(left) = self.oldest.replace(Rc::clone(&opened)).filter(|left| !Rc::ptr_eq(left, &opened)) {
            blobs.check(left.blob, &left.file)?;
        }
        let at = first(arena, fetch);
        let fail = |source| blobs.read_error("read", blob, Some(at), source);
        let len = usize::try_from(range.end - range.start).map_err(|_| fail(std::io::ErrorKind::OutOfMemory.into()))?;
        let mut found = None;
        if let Some(cold) = self.cold.as_mut().filter(|_| is_cold) {
            found = cold.finish().map_err(fail)?;
        }
        let bytes = match &found {
            Some(found) => {
                self.direct_bytes += found.bytes().len() as u64;
                self.ring_bytes += found.ring_bytes as u64;
                found.bytes()
            }
            None if self.hashing.is_none() && fetch.is_direct() => {
                let read = scatter(file, fetch, out, &mut self.scratch).map_err(fail)?;
                let end = range.start + read as u64;
                return if read == len { Ok(()) } else { Err(blobs.short(blob, at, end, range.end)) };
            }
            None => {
                grow(&mut self.scratch, len).map_err(fail)?;
                let read = file.read(range.start, &mut self.scratch[..len]).map_err(fail)?;
                &self.scratch[..read]
            }
        };
        if bytes.len() < len {
            return Err(blobs.short(blob, at, range.start + bytes.len() as u64, range.end));
        }
        if let Some(hashing) = &mut self.hashing {
            hashing.add(range.start, bytes).map_err(|wrong| blobs.wrong_chunk(blob, file, wrong))?;
        }
        for take in &fetch.takes {
            let (from, to) = place(take);
            distribute(take, range.start, bytes, &mut out[from..to]);
        }
        if let Some(buffer) = found.map(Found::into_buffer) {
            self.buffers.give(buffer);
        }
        Ok(())
    }
}

impl Blobs<'_> {
    fn wrong_digest(&self, blob: usize, found: Digest) -> CudaError {
        let planned = &self.plan.blobs[blob];
        CudaError::Digest { path: self.path(blob), tensor: planned.tensor.clone(), found, expected: planned.digest }
    }

    /// Says whether a blob or the table's list of its chunks is wrong: the blob is hashed as a whole.
    fn wrong_chunk(&self, blob: usize, file: &BlobFile, WrongChunk(bytes): WrongChunk) -> CudaError {
        let whole = || -> std::io::Result<Digest> {
            let (mut hasher, mut buffer, mut done) = (Hasher::default(), Vec::new(), 0);
            grow(&mut buffer, 1 << 16)?;
            loop {
                match file.read(done, &mut buffer)? {
                    0 => return Ok(hasher.finish()),
                    read => {
                        hasher.update(&buffer[..read]);
                        done += read as u64;
                    }
                }
            }
        };
        match whole() {
            Err(source) => self.read_error("read", blob, None, source),
            Ok(found) if found != self.plan.blobs[blob].digest => self.wrong_digest(blob, found),
            Ok(_) => CudaError::Chunks { path: self.path(blob), tensor: self.plan.blobs[blob].tensor.clone(), bytes },
        }
    }
}

/// Arena offset of the first bytes of a fetch.
fn first(arena: u64, fetch: &Fetch) -> u64 {
    arena + fetch.takes.first().map_or(0, |take| take.at)
}

/// Range of the piece that a take fills.
fn place(take: &Take) -> (usize, usize) {
    let index = |at: u64| usize::try_from(at).expect("a piece is as long as a buffer at most");
    (index(take.at), index(take.at + take.len()))
}

/// Reads the takes of `fetch` directly to their places, and the bytes between them into `scratch`.
fn scatter(file: &BlobFile, fetch: &Fetch, out: &mut [u8], scratch: &mut Vec<u8>) -> std::io::Result<usize> {
    if let [take] = &fetch.takes[..] {
        let (from, to) = place(take);
        return file.read(fetch.file.start, &mut out[from..to]);
    }
    let starts = fetch.takes.iter().skip(1).map(|take| take.extent.offset);
    let gaps = fetch.takes.iter().zip(starts).map(|(take, next)| next - take.extent.end());
    let gaps: Vec<_> = gaps.map(|gap| usize::try_from(gap).expect("a fetch fits in memory")).chain([0]).collect();
    grow(scratch, gaps.iter().sum())?;
    let (mut out, mut scratch, mut end) = (out, &mut scratch[..], 0);
    let mut slices = Vec::with_capacity(2 * fetch.takes.len());
    for (take, gap) in fetch.takes.iter().zip(gaps) {
        let (from, to) = place(take);
        let (wanted, rest) = out.split_at_mut(to - end);
        slices.push(IoSliceMut::new(&mut wanted[from - end..]));
        (out, end) = (rest, to);
        if gap > 0 {
            let (unwanted, rest) = scratch.split_at_mut(gap);
            slices.push(IoSliceMut::new(unwanted));
            scratch = rest;
        }
    }
    file.read_scattered(fetch.file.start, &mut slices)
}

/// Makes `buffer` at least `len` bytes long. It is an error if the system gives no memory for them.
fn grow(buffer: &mut Vec<u8>, len: usize) -> std::io::Result<()> {
    if len > buffer.len() {
        buffer.try_reserve(len - buffer.len()).map_err(|_| std::io::ErrorKind::OutOfMemory)?;
        buffer.resize(len, 0);
    }
    Ok(())
}

/// Copies or converts the runs of `take` from `bytes`, which start at `start` in the blob, one after another into
/// `out`.
fn distribute(take: &Take, start: u64, bytes: &[u8], out: &mut [u8]) {
    let index = |at: u64| usize::try_from(at).expect("a fetch fits in memory");
    let run = index(take.extent.run);
    let share = out.len() / index(take.extent.count);
    for (number, out) in (0..take.extent.count).zip(out.chunks_exact_mut(share.max(1))) {
        let from = index(take.extent.offset + number * take.extent.stride - start);
        let from = &bytes[from..from + run];
        match take.cast {
            None => out.copy_from_slice(from),
            Some(cast) => cast.convert(from, out),
        }
    }
}
