//! What is fetched of which layer: large blobs alone, small ones that lie together in one request.

use std::collections::HashMap;

use longshore_manifest::{
    Digest,
    store::{Ingest, Partial, Pull},
};
use longshore_transfer::Download;

use crate::{
    Registry, RegistryError,
    wire::{Artifact, Checked},
};

/// Bytes of others that are fetched along, rather than asking twice.
const GAP: u64 = 64 << 10;
/// Size from which a blob is fetched by itself.
const ALONE: u64 = 1 << 20;

/// A blob, with its place in the layers.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) at: Vec<(usize, u64, u64)>,
}

/// One piece of work.
#[derive(Debug, Clone)]
pub(crate) enum Fetch {
    /// A blob by itself, from as many places as it lies in.
    Alone(Wanted),
    /// Blobs of one layer, in its order, in one request.
    Run { layer: usize, start: u64, end: u64, blobs: Vec<Wanted> },
}

impl Fetch {
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Alone(blob) => blob.size,
            Self::Run { start, end, .. } => end - start,
        }
    }
}

/// Decides on the requests for the missing blobs, the largest first.
pub(crate) fn plan(checked: &Checked, is_missing: &dyn Fn(&Digest) -> bool) -> Vec<Fetch> {
    let mut fetches = Vec::new();
    let mut small: HashMap<usize, Vec<Wanted>> = HashMap::new();
    for blob in checked.blobs.iter().filter(|blob| is_missing(&blob.digest)) {
        let wanted = Wanted { digest: blob.digest, size: blob.size, at: blob.at.clone() };
        match *blob.at {
            [(layer, ..)] if blob.size < ALONE => small.entry(layer).or_default().push(wanted),
            _ => fetches.push(Fetch::Alone(wanted)),
        }
    }
    for (layer, mut blobs) in small {
        blobs.sort_unstable_by_key(|blob| blob.at[0].1);
        let size = checked.artifact.layers[layer].size;
        let missing: u64 = blobs.iter().map(|blob| blob.size).sum();
        // Of a layer that is missing for the most part, all comes in one request.
        let gap = if missing > size / 2 { u64::MAX } else { GAP };
        let mut run: Vec<Wanted> = Vec::new();
        let mut end = 0;
        let mut close = |run: &mut Vec<Wanted>, end: u64| {
            if let Some(first) = run.first() {
                let start = first.at[0].1;
                fetches.push(Fetch::Run { layer, start, end, blobs: std::mem::take(run) });
            }
        };
        for blob in blobs {
            let (_, start, len) = blob.at[0];
            if !run.is_empty() && start - end > gap {
                close(&mut run, end);
            }
            end = start + len;
            run.push(blob);
        }
        close(&mut run, end);
    }
    fetches.sort_by_key(|fetch| std::cmp::Reverse(fetch.bytes()));
    fetches
}

/// Where fetched blobs go.
pub(crate) struct Target<'a, 's> {
    pub(crate) registry: &'a Registry,
    pub(crate) artifact: &'a Artifact,
    pub(crate) ingest: &'a Ingest<'s>,
    pub(crate) pull: &'a Pull<'s>,
    /// Called with the number of bytes that arrived, gaps and what comes a second time included.
    pub(crate) moved: &'a (dyn Fn(u64) + Sync),
    /// Called with the number of bytes of blobs that are there, each byte once.
    pub(crate) there: &'a (dyn Fn(u64) + Sync),
    pub(crate) stop: &'a (dyn Fn() -> bool + Sync),
}

impl Target<'_, '_> {
    pub(crate) fn fetch(&self, fetch: &Fetch) -> Result<(), RegistryError> {
        match fetch {
            Fetch::Alone(blob) => self.alone(blob),
            Fetch::Run { layer, start, end, blobs } => self.run(*layer, *start, *end, blobs),
        }
    }

    fn what(&self, blob: &Wanted) -> String {
        let layers = blob.at.iter().map(|(layer, ..)| format!("{layer} ({})", self.artifact.layers[*layer].digest));
        match (layers.collect::<Vec<_>>().join(", "), blob.at.len()) {
            (_, 0) => blob.digest.to_string(),
            (layer, 1) => format!("{} in layer {layer}", blob.digest),
            (layers, _) => format!("{} in the layers {layers}", blob.digest),
        }
    }

    /// Takes a blob whose bytes are all there; `None` if they are wrong for the first time.
    fn take(&self, blob: &Wanted, partial: Partial, is_last: bool) -> Result<bool, RegistryError> {
        match self.ingest.adopt(partial) {
            Ok(_) => Ok(true),
            Err(longshore_manifest::store::PartialError::Digest { .. }) if !is_last => Ok(false),
            Err(error) => {
                Err(RegistryError::of_partial(error, self.what(blob), &self.registry.reference().to_string()))
            }
        }
    }

    fn alone(&self, blob: &Wanted) -> Result<(), RegistryError> {
        // What is wrong is fetched once more, from its start.
        for is_last in [false, true] {
            let mut partial = self.pull.partial(blob.digest, blob.size)?;
            // What comes a second time is counted already.
            let there = |bytes: u64| {
                if !is_last {
                    (self.there)(bytes);
                }
            };
            there(partial.received());
            let mut before = 0;
            for &(layer, start, len) in &blob.at {
                let has = partial.received().saturating_sub(before).min(len);
                before += len;
                if has == len {
                    continue;
                }
                let layer = &self.artifact.layers[layer];
                let url = self.registry.blob_url(&layer.digest)?;
                let what = Download { url: &url, size: layer.size, start: start + has, end: start + len };
                let mut accept = |bytes: &[u8]| {
                    partial.write(bytes).map_err(std::io::Error::other)?;
                    (self.moved)(bytes.len() as u64);
                    there(bytes.len() as u64);
                    Ok(())
                };
                self.registry.client().download(&what, &mut accept, self.stop)?;
            }
            if self.take(blob, partial, is_last)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn run(&self, layer: usize, start: u64, end: u64, blobs: &[Wanted]) -> Result<(), RegistryError> {
        let layer = &self.artifact.layers[layer];
        let url = self.registry.blob_url(&layer.digest)?;
        let mut left: Vec<&Wanted> = blobs.iter().collect();
        for is_last in [false, true] {
            let what = Download { url: &url, size: layer.size, start, end };
            let round = std::mem::take(&mut left);
            let mut split =
                Split { target: self, at: start, blobs: &round, next: 0, open: None, wrong: Vec::new(), is_last };
            let mut accept = |bytes: &[u8]| {
                (self.moved)(bytes.len() as u64);
                split.accept(bytes).map_err(std::io::Error::other)
            };
            self.registry.client().download(&what, &mut accept, self.stop).map_err(unwrap)?;
            left = split.wrong;
            if left.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Our own error, where that is what ended a download.
fn unwrap(error: longshore_transfer::TransferError) -> RegistryError {
    match error {
        longshore_transfer::TransferError::Receiver(error) => match error.downcast::<RegistryError>() {
            Ok(error) => error,
            Err(error) => longshore_transfer::TransferError::Receiver(error).into(),
        },
        error => error.into(),
    }
}

/// Splits the bytes of a run into its blobs.
struct Split<'r, 't, 'a, 's> {
    target: &'t Target<'a, 's>,
    /// Next byte of the layer.
    at: u64,
    blobs: &'r [&'t Wanted],
    next: usize,
    open: Option<Partial>,
    wrong: Vec<&'t Wanted>,
    is_last: bool,
}

impl Split<'_, '_, '_, '_> {
    fn accept(&mut self, mut bytes: &[u8]) -> Result<(), RegistryError> {
        while let Some(&blob) = self.blobs.get(self.next) {
            let (_, start, len) = blob.at[0];
            if self.at < start {
                let skip = usize::try_from(start - self.at).unwrap_or(usize::MAX).min(bytes.len());
                self.at += skip as u64;
                bytes = &bytes[skip..];
            }
            if bytes.is_empty() {
                return Ok(());
            }
            let mut partial = match self.open.take() {
                Some(partial) => partial,
                None => self.target.pull.partial(blob.digest, blob.size)?.restart()?,
            };
            let want = usize::try_from(start + len - self.at).unwrap_or(usize::MAX).min(bytes.len());
            partial.write(&bytes[..want])?;
            if !self.is_last {
                (self.target.there)(want as u64);
            }
            self.at += want as u64;
            bytes = &bytes[want..];
            if self.at < start + len {
                self.open = Some(partial);
                return Ok(());
            }
            if !self.target.take(blob, partial, self.is_last)? {
                self.wrong.push(blob);
            }
            self.next += 1;
        }
        self.at += bytes.len() as u64;
        Ok(())
    }
}
