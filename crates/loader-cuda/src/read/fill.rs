//! Fills one staging buffer after another.

use std::io::IoSliceMut;

use longshore_manifest::{
    Hasher,
    weights::plan::{Fetch, Piece, Take},
};

use super::{BlobFile, Blobs, ColdReads, cast};
use crate::CudaError;

/// What one thread reads with. It keeps the last blob open, as the next piece is often of the same.
#[derive(Debug)]
pub(crate) struct Filler<'p> {
    blobs: &'p Blobs<'p>,
    open: Option<(usize, BlobFile)>,
    /// For bytes that are not read right into their places.
    scratch: Vec<u8>,
    /// Of the blob whose digest is being checked.
    hashing: Option<Hashing>,
    /// Bytes that were read past the page cache.
    pub(crate) direct_bytes: u64,
}

#[derive(Debug)]
struct Hashing {
    blob: usize,
    hasher: Hasher,
    /// Everything before it is hashed.
    done: u64,
}

impl<'p> Filler<'p> {
    pub(crate) fn new(blobs: &'p Blobs<'p>) -> Self {
        Self { blobs, open: None, scratch: Vec::new(), hashing: None, direct_bytes: 0 }
    }

    /// Fills `out`, which is as long as the piece, with the bytes of the piece; padding becomes zero.
    pub(crate) fn fill(&mut self, piece: &Piece, out: &mut [u8]) -> Result<(), CudaError> {
        let mut done = 0;
        for fetch in &piece.fetches {
            for take in &fetch.takes {
                let (start, end) = place(take);
                out[done..start].fill(0);
                done = end;
            }
            self.fetch(piece.arena.start, fetch, out)?;
        }
        out[done..].fill(0);
        Ok(())
    }

    /// Hashes the blob of the next pieces, all of which have to be given to [`Self::fill`] in their order, with nothing between.
    pub(crate) fn start_digest(&mut self, blob: usize) {
        self.hashing = Some(Hashing { blob, hasher: Hasher::default(), done: 0 });
    }

    /// Hashes the rest of the blob, and compares.
    pub(crate) fn finish_digest(&mut self) -> Result<(), CudaError> {
        let Some(Hashing { blob, mut hasher, mut done }) = self.hashing.take() else { return Ok(()) };
        self.open(blob)?;
        let file = &self.open.as_ref().expect("it was opened above").1;
        self.scratch.resize(self.scratch.len().max(1 << 16), 0);
        loop {
            let read = file.read(done, &mut self.scratch);
            let read = read.map_err(|source| self.blobs.read_error("read", blob, None, source))?;
            if read == 0 {
                break;
            }
            hasher.update(&self.scratch[..read]);
            done += read as u64;
        }
        let planned = &self.blobs.plan.blobs[blob];
        let (found, expected) = (hasher.finish(), planned.digest);
        if found != expected {
            let (path, tensor) = (self.blobs.path(blob), planned.tensor.clone());
            return Err(CudaError::Digest { path, tensor, found, expected });
        }
        Ok(())
    }

    /// Closes the last blob; an error if it changed while it was read.
    pub(crate) fn close(&mut self) -> Result<(), CudaError> {
        match self.open.take() {
            Some((blob, file)) => self.blobs.check(blob, &file),
            None => Ok(()),
        }
    }

    fn open(&mut self, blob: usize) -> Result<(), CudaError> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != blob) {
            self.close()?;
            self.open = Some((blob, self.blobs.open(blob)?));
        }
        Ok(())
    }

    fn fetch(&mut self, arena: u64, fetch: &Fetch, out: &mut [u8]) -> Result<(), CudaError> {
        self.open(fetch.blob)?;
        let (blobs, blob) = (self.blobs, fetch.blob);
        let file = &mut self.open.as_mut().expect("it was opened above").1;
        let at = arena + fetch.takes.first().map_or(0, |take| take.at);
        let fail = |source| blobs.read_error("read", blob, Some(at), source);

        // What is hashed is read without a hole.
        let mut range = fetch.file.clone();
        if let Some(hashing) = &self.hashing {
            range.start = range.start.min(hashing.done);
        }
        let len = usize::try_from(range.end - range.start).map_err(|_| fail(std::io::ErrorKind::OutOfMemory.into()))?;
        let is_cold = blobs.cold == ColdReads::Direct && !file.is_warm(&range);
        let mut direct = None;
        if is_cold {
            direct = file.read_direct(&range, &mut self.scratch).map_err(fail)?;
        }
        let (start, read) = match direct {
            Some((start, read)) => {
                self.direct_bytes += read as u64;
                (start, read)
            }
            None if self.hashing.is_none() && fetch.is_direct() => {
                let read = scatter(file, fetch, out, &mut self.scratch).map_err(fail)?;
                let found = range.start + read as u64;
                return if read == len { Ok(()) } else { Err(blobs.short(blob, at, found, range.end)) };
            }
            None => {
                self.scratch.resize(self.scratch.len().max(len), 0);
                (0, file.read(range.start, &mut self.scratch[..len]).map_err(fail)?)
            }
        };
        if read < len {
            return Err(blobs.short(blob, at, range.start + read as u64, range.end));
        }
        let bytes = &self.scratch[start..start + len];
        if let Some(hashing) = &mut self.hashing {
            let new = usize::try_from(hashing.done - range.start).expect("it is within what was read");
            hashing.hasher.update(&bytes[new..]);
            hashing.done = range.end;
        }
        for take in &fetch.takes {
            let (from, to) = place(take);
            distribute(take, range.start, bytes, &mut out[from..to]);
        }
        Ok(())
    }
}

/// Where in the piece a take goes.
fn place(take: &Take) -> (usize, usize) {
    let index = |at: u64| usize::try_from(at).expect("a piece is as long as a buffer at most");
    (index(take.at), index(take.at + take.len()))
}

/// Reads the takes of `fetch` right into their places, and what lies between them into `scratch`.
fn scatter(file: &BlobFile, fetch: &Fetch, out: &mut [u8], scratch: &mut Vec<u8>) -> std::io::Result<usize> {
    if let [take] = &fetch.takes[..] {
        let (from, to) = place(take);
        return file.read(fetch.file.start, &mut out[from..to]);
    }
    let starts = fetch.takes.iter().skip(1).map(|take| take.extent.offset);
    let gaps = fetch.takes.iter().zip(starts).map(|(take, next)| next - take.extent.end());
    let gaps: Vec<_> = gaps.map(|gap| usize::try_from(gap).expect("a fetch fits in memory")).chain([0]).collect();
    scratch.resize(scratch.len().max(gaps.iter().sum()), 0);
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

/// Copies or converts the runs of `take` out of `bytes`, which start at `start` in the blob, one after another into `out`.
fn distribute(take: &Take, start: u64, bytes: &[u8], out: &mut [u8]) {
    let index = |at: u64| usize::try_from(at).expect("a fetch fits in memory");
    let run = index(take.extent.run);
    let share = out.len() / index(take.extent.count);
    for (number, out) in (0..take.extent.count).zip(out.chunks_exact_mut(share.max(1))) {
        let from = index(take.extent.offset + number * take.extent.stride - start);
        let from = &bytes[from..from + run];
        match take.cast {
            None => out.copy_from_slice(from),
            Some(cast) => cast::convert(cast, from, out),
        }
    }
}
