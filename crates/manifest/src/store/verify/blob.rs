//! Check of one blob against the expectations of its models.

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

/// Number of bytes that are read and hashed at a time. They fit into a core's own cache.
pub(super) const CHUNK: usize = 256 << 10;

/// Expectations that one model has of a blob.
pub(super) struct Use<'m> {
    pub(super) model: &'m Reached,
    /// Size in the manifest, in bytes.
    pub(super) size: u64,
    /// Names of the layers that are the blob.
    pub(super) names: Vec<&'m str>,
    /// Entries of the blob in the table. Several if components share the blob.
    pub(super) entries: Vec<&'m BlobEntry>,
    /// Error of the config in the blob.
    pub(super) unusable: Option<ModelError>,
}

impl Store {
    /// Returns all problems of one blob, which is read through `buffer`. Each problem names the models that it harms,
    /// as models may expect different things of the blob.
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

    /// Whether the name still has the manifest that was read, and was not removed or replaced in the meantime.
    pub(super) fn still_reaches(&self, model: &Reached) -> bool {
        match self.read_manifest(&model.name) {
            Ok((digest, _)) => digest == model.digest,
            // One that cannot be read may be the same.
            Err(error) => matches!(error, ModelError::Fs(_)),
        }
    }
}

/// Hashes a file through `buffer`. It is read and not mapped, because a mapped file that is truncated in the meantime
/// would end the process.
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

/// Reason why a blob was not checked to the end.
pub(super) enum Stop {
    Cancelled,
    Read(FsError),
}

impl From<FsError> for Stop {
    fn from(error: FsError) -> Self {
        Self::Read(error)
    }
}
