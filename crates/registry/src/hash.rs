//! Layers as streams of stored blobs, and their digests.

use std::{
    collections::HashMap,
    io::{self, Read},
    sync::{Mutex, PoisonError},
};

use longshore_manifest::{Digest, Hasher, Progress, Store, document::Chunks};

use crate::{
    CHUNK, LayerKind, Piece, RegistryError, WireBlob, WireLayout,
    threads::share,
    wire::{self, WireLayer},
};

/// Number of bytes that are read at a time.
pub(crate) const COPY: usize = 256 << 10;

/// Digests of everything that a push sends.
pub(crate) struct Digests {
    /// Of each layer.
    pub(crate) layers: Vec<Digest>,
    /// Of the chunks of each blob; none for a blob of one chunk.
    pub(crate) chunks: Vec<Vec<Digest>>,
}

/// Digests of chunks that the model's table has, by blob.
pub(crate) type Known = HashMap<Digest, Chunks>;

/// Computes them, on as many threads as the machine has, but for the chunks in `known`. Blobs that travel with others are checked: the
/// registry will not.
pub(crate) fn digests(
    store: &Store,
    layout: &WireLayout,
    known: &Known,
    progress: &dyn Progress,
) -> Result<Digests, RegistryError> {
    let known_of = |blob: usize| {
        let WireBlob { digest, size } = layout.blobs[blob];
        known.get(&digest).filter(|chunks| chunks.fits(size))
    };
    let units = units(layout);
    let layers = Mutex::new(vec![None; layout.layers.len()]);
    let from_table =
        (0..layout.blobs.len()).map(|blob| known_of(blob).map_or_else(Vec::new, |list| list.digests.clone()));
    let chunks = Mutex::new(from_table.collect::<Vec<_>>());
    let needs_pass = |unit: &&Vec<usize>| {
        let first = &layout.layers[unit[0]];
        first.kind != LayerKind::Blob || first.size > CHUNK && known_of(first.pieces[0].blob).is_none()
    };
    let bytes = |unit: &Vec<usize>| unit.iter().map(|layer| layout.layers[*layer].size).sum::<u64>();
    for unit in units.iter().filter(|unit| !needs_pass(unit)) {
        let layer = unit[0];
        let digest = layout.blobs[layout.layers[layer].pieces[0].blob].digest;
        layers.lock().unwrap_or_else(PoisonError::into_inner)[layer] = Some(digest);
    }
    let mut work: Vec<&Vec<usize>> = units.iter().filter(needs_pass).collect();
    work.sort_by_key(|unit| std::cmp::Reverse(bytes(unit)));
    progress.begin("hashing", work.iter().map(|unit| bytes(unit)).sum());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    share(threads, work.len(), &|at, stop| {
        let mut pass = Pass { store, layout, known: &|blob| known_of(blob).is_some(), blob: None, found: Vec::new() };
        for &layer in work[at] {
            let digest = pass.layer(&layout.layers[layer], progress, stop)?;
            layers.lock().unwrap_or_else(PoisonError::into_inner)[layer] = Some(digest);
        }
        pass.end_blob()?;
        let mut chunks = chunks.lock().unwrap_or_else(PoisonError::into_inner);
        for (blob, found) in pass.found {
            chunks[blob] = found;
        }
        Ok(())
    })?;
    let layers = layers.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Digests {
        layers: layers.into_iter().map(|digest| digest.expect("each layer is in a unit")).collect(),
        chunks: chunks.into_inner().unwrap_or_else(PoisonError::into_inner),
    })
}

/// Layers that have to be read one after the other, because a blob goes on from one to the next.
fn units(layout: &WireLayout) -> Vec<Vec<usize>> {
    let mut units: Vec<Vec<usize>> = Vec::new();
    let mut last: Option<usize> = None;
    for (at, layer) in layout.layers.iter().enumerate() {
        let first = layer.pieces.first().map(|piece| (piece.blob, piece.offset));
        match (first, last) {
            (Some((blob, offset)), Some(last)) if blob == last && offset > 0 => {
                units.last_mut().expect("a blob goes on from a layer before").push(at);
            }
            _ => units.push(vec![at]),
        }
        last = layer.pieces.last().map(|piece| piece.blob);
    }
    units
}

/// A pass over layers in order.
struct Pass<'a> {
    store: &'a Store,
    layout: &'a WireLayout,
    /// Whether the digests of a blob's chunks are known.
    known: &'a dyn Fn(usize) -> bool,
    blob: Option<OpenBlob>,
    found: Vec<(usize, Vec<Digest>)>,
}

struct OpenBlob {
    blob: usize,
    whole: Option<Hasher>,
    chunk: Hasher,
    chunks: Vec<Digest>,
    at: u64,
}

impl Pass<'_> {
    fn layer(
        &mut self,
        layer: &WireLayer,
        progress: &dyn Progress,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Digest, RegistryError> {
        let is_whole = layer.kind == LayerKind::Blob;
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; COPY];
        for piece in &layer.pieces {
            let WireBlob { digest, size } = self.layout.blobs[piece.blob];
            if self.blob.as_ref().is_none_or(|open| open.blob != piece.blob) {
                self.end_blob()?;
                let whole = (!is_whole).then(Hasher::default);
                self.blob =
                    Some(OpenBlob { blob: piece.blob, whole, chunk: Hasher::default(), chunks: Vec::new(), at: 0 });
            }
            let is_chunked = size > CHUNK && !(self.known)(piece.blob);
            let open = self.blob.as_mut().expect("it was opened above");
            let reader = self.store.open_blob(&digest)?;
            let mut left = piece.len;
            let mut at = piece.offset;
            while left > 0 {
                if stop() || progress.cancelled() {
                    return Err(RegistryError::Cancelled);
                }
                // A read ends where a chunk does.
                let to_chunk = CHUNK - at % CHUNK;
                let want = usize::try_from(left.min(to_chunk)).unwrap_or(COPY).min(COPY);
                reader.read_exact_at(&mut buffer[..want], at)?;
                let bytes = &buffer[..want];
                if !is_whole {
                    hasher.update(bytes);
                }
                if let Some(whole) = &mut open.whole {
                    whole.update(bytes);
                }
                if is_chunked {
                    open.chunk.update(bytes);
                }
                at += want as u64;
                left -= want as u64;
                open.at = at;
                if is_chunked && (at.is_multiple_of(CHUNK) || at == size) {
                    open.chunks.push(std::mem::take(&mut open.chunk).finish());
                }
                progress.advance(want as u64);
            }
        }
        // The registry checks a blob that travels alone.
        Ok(if is_whole { self.layout.blobs[layer.pieces[0].blob].digest } else { hasher.finish() })
    }

    fn end_blob(&mut self) -> Result<(), RegistryError> {
        let Some(open) = self.blob.take() else { return Ok(()) };
        let WireBlob { digest, size } = self.layout.blobs[open.blob];
        if let Some(whole) = open.whole
            && open.at == size
        {
            let found = whole.finish();
            if found != digest {
                return Err(RegistryError::Damaged { digest, found });
            }
        }
        if !open.chunks.is_empty() {
            self.found.push((open.blob, open.chunks));
        }
        Ok(())
    }
}

/// Opens a layer for reading, from its start.
pub(crate) fn open_layer<'a>(store: &'a Store, layout: &'a wire::WireLayout, layer: &'a WireLayer) -> impl Read + 'a {
    LayerReader { store, layout, pieces: layer.pieces.iter(), open: None }
}

struct LayerReader<'a> {
    store: &'a Store,
    layout: &'a WireLayout,
    pieces: std::slice::Iter<'a, Piece>,
    open: Option<(longshore_manifest::store::BlobReader, u64, u64)>,
}

impl Read for LayerReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some((reader, at, end)) = &mut self.open
                && at < end
            {
                let want = usize::try_from(*end - *at).unwrap_or(usize::MAX).min(buffer.len());
                reader.read_exact_at(&mut buffer[..want], *at).map_err(io::Error::other)?;
                *at += want as u64;
                return Ok(want);
            }
            let Some(piece) = self.pieces.next() else { return Ok(0) };
            let digest = self.layout.blobs[piece.blob].digest;
            let reader = self.store.open_blob(&digest).map_err(io::Error::other)?;
            self.open = Some((reader, piece.offset, piece.offset + piece.len));
        }
    }
}
