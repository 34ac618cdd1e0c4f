//! Whether one blob is what its models expect.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use longshore_st_format::{Header, Limits, ReadError};

use super::{
    super::{ModelError, Store},
    Bad, Problem, Reached,
    header::disagreement,
    outcome::chain,
};
use crate::{Digest, FsError, Hasher, Progress, document::BlobEntry, fs};

/// Bytes read and hashed at a time: what lies in a core's own cache when it is hashed.
pub(super) const CHUNK: usize = 256 << 10;

/// What one model expects of a blob.
pub(super) struct Use<'m> {
    pub(super) model: &'m Reached,
    /// In bytes, from the manifest.
    pub(super) size: u64,
    /// What it calls the blob: the names of layers.
    pub(super) names: Vec<&'m str>,
    /// From the table: more than one where components share the blob.
    pub(super) entries: Vec<&'m BlobEntry>,
    /// Why the config in the blob cannot be used.
    pub(super) unusable: Option<ModelError>,
}

impl Store {
    /// Everything that is bad about one blob, which is read through `buffer`. Models that expect different things of it are harmed by different problems.
    pub(super) fn check_blob(
        &self,
        digest: Digest,
        uses: &mut [Use<'_>],
        buffer: &mut [u8],
        progress: &dyn Progress,
    ) -> Result<Vec<Bad>, Stop> {
        let bad = |problem, uses: &[Use<'_>]| Bad::of(digest, problem, uses);
        let path = self.blob_path(&digest);
        let file = match fs::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut missing = bad(Problem::Missing, uses);
                missing
                    .models
                    .retain(|name| uses.iter().any(|blob| blob.model.name == *name && self.still_reaches(blob.model)));
                return Ok(if missing.models.is_empty() { Vec::new() } else { vec![missing] });
            }
            Err(error) => return Err(error.into()),
        };
        let found = file.metadata().map_err(FsError::at("read the size of", &path))?.len();
        uses.sort_by_key(|blob| (blob.size != found, blob.size));
        let (right, wrong) = uses.split_at_mut(uses.partition_point(|blob| blob.size == found));
        let mut problems: Vec<Bad> = wrong
            .chunk_by(|a, b| a.size == b.size)
            .map(|alike| bad(Problem::Size { found, expected: alike[0].size }, alike))
            .collect();
        if right.is_empty() && !wrong.is_empty() {
            return Ok(problems);
        }
        let actual = hash(&file, &path, buffer, progress)?;
        if actual != digest {
            problems.push(bad(Problem::Content { found: actual }, right));
            return Ok(problems);
        }
        let is_described = right.iter().any(|blob| !blob.entries.is_empty());
        let header = match is_described.then(|| Header::read_from(&file, &Limits::default())) {
            // The disk says nothing about the bytes.
            Some(Err(ReadError::Io { source })) => {
                problems.push(bad(Problem::Read(FsError::at("read the header of", &path)(source)), right));
                return Ok(problems);
            }
            other => other.map(|read| read.map_err(|error| chain(&error))),
        };
        for blob in right {
            let detail = blob.entries.iter().find_map(|entry| match header.as_ref()? {
                Ok(header) => disagreement(entry, header),
                Err(error) => Some(error.clone()),
            });
            let problem = detail.map(|detail| Problem::Header { detail });
            let unusable = blob.unusable.take().map(Problem::of_document);
            problems
                .extend(problem.into_iter().chain(unusable).map(|problem| bad(problem, std::slice::from_ref(blob))));
        }
        Ok(problems)
    }

    /// Whether the model is what it was when its manifest was read, and not removed or replaced meanwhile.
    pub(super) fn still_reaches(&self, model: &Reached) -> bool {
        match self.read_manifest(&model.name) {
            Ok((digest, _)) => digest == model.digest,
            // One that cannot be read may be the same.
            Err(error) => matches!(error, ModelError::Fs(_)),
        }
    }
}

/// Hashes a file that is read through `buffer`. It is not mapped: one that is cut short meanwhile would end the process.
fn hash(mut file: &File, path: &Path, buffer: &mut [u8], progress: &dyn Progress) -> Result<Digest, Stop> {
    let mut hasher = Hasher::default();
    let mut add = |bytes: &[u8]| {
        hasher.update(bytes);
        progress.advance(bytes.len() as u64);
        if progress.cancelled() { Err(Stop::Cancelled) } else { Ok(()) }
    };
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(read) => add(&buffer[..read])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FsError::at("read", path)(error).into()),
        }
    }
}

/// Why a blob was not checked to the end.
pub(super) enum Stop {
    Cancelled,
    Read(FsError),
}

impl From<FsError> for Stop {
    fn from(error: FsError) -> Self {
        Self::Read(error)
    }
}
