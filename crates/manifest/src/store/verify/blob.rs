//! Check of one blob against the expectations of its models.

use std::{
    cell::OnceCell,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use longshore_st_format::{Header, Limits};

use super::{
    super::{ModelError, Store, owner::is_local},
    Bad, Problem, Reached,
    header::disagreement,
    outcome::chain,
};
use crate::{Digest, FsError, Hasher, Progress, document::BlobEntry, fs, weights::MappedPart};

/// Number of bytes that are read and hashed at a time. They fit into a core's own cache.
pub(super) const CHUNK: usize = 256 << 10;
/// Number of bytes that are mapped at a time. They are few of the memory's bytes, and take long to hash compared with
/// the time to map them.
const PART: usize = 4 << 20;

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
        let actual = hash(&file, &path, if self.may_map() { found } else { 0 }, buffer, progress)?;
        if actual != digest {
            problems.push(bad(Problem::Content { found: actual }, right));
            return Ok(problems);
        }
        let header = OnceCell::new();
        for blob in right {
            let read = || Header::read_from(&file, &Limits::default()).map_err(|error| chain(&error));
            let detail = blob.entries.iter().find_map(|entry| match header.get_or_init(read) {
                Ok(header) => disagreement(entry, header),
                Err(error) => Some(error.clone()),
            });
            let problem = detail.map(|detail| Problem::Header { detail });
            let unusable = blob.unusable.take().map(|error| Problem::Model(Box::new(error)));
            problems
                .extend(problem.into_iter().chain(unusable).map(|problem| bad(problem, std::slice::from_ref(blob))));
        }
        Ok(problems)
    }

    /// Whether blobs may be mapped for hashing, which saves a copy. Blobs of this project's own stores on a local disk
    /// may, because they are never written to again. A server could make mapped pages inaccessible.
    fn may_map(&self) -> bool {
        !self.is_foreign() && is_local(&self.blobs())
    }

    /// Whether the name still has the manifest that was read, and was not removed or replaced in the meantime.
    pub(super) fn still_reaches(&self, model: &Reached) -> bool {
        self.read_manifest(&model.name).is_ok_and(|(digest, _)| digest == model.digest)
    }
}

/// Hashes a file: up to the first `mappable` bytes from mappings, and the rest through `buffer`.
fn hash(
    mut file: &File,
    path: &Path,
    mappable: u64,
    buffer: &mut [u8],
    progress: &dyn Progress,
) -> Result<Digest, Stop> {
    let mut hasher = Hasher::default();
    let mut add = |bytes: &[u8]| {
        hasher.update(bytes);
        progress.advance(bytes.len() as u64);
        if progress.cancelled() { Err(Stop::Cancelled) } else { Ok(()) }
    };
    let mut at = 0;
    // Parts that cannot be mapped, because the file was cut off or the disk fails, are read below. The error is then
    // that of reading.
    while mappable - at >= PART as u64
        && let Ok(part) = MappedPart::read(file, at, PART)
    {
        part.chunks(CHUNK).try_for_each(&mut add)?;
        at += part.len() as u64;
    }
    file.seek(SeekFrom::Start(at)).map_err(FsError::at("read", path))?;
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
