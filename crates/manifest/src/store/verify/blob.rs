//! Check of one blob against the expectations of its models.

use std::io::{self, Seek as _, SeekFrom};

use longshore_st_format::{Header, Limits, ReadError};

use super::{
    super::{
        ModelError, Store,
        hash::{hash, hash_whole},
    },
    Bad, Problem, Reached,
    header::disagreement,
    outcome::{chain, ranges_text},
};
use crate::{
    Digest, FsError, Progress,
    document::{BlobEntry, Chunks},
    fs,
};

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

impl Use<'_> {
    /// The digests of the blob's chunks, as the model's table has them. Several if components share the blob.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &Chunks> {
        self.entries.iter().filter_map(|entry| entry.chunks.as_ref())
    }
}

/// Findings in a blob.
pub(super) struct Checked {
    pub(super) problems: Vec<Bad>,
    /// Whether the digests of its chunks decided.
    pub(super) is_by_chunks: bool,
}

impl Store {
    /// Returns all problems of one blob, which is read through `buffer`. Each problem names the models that it harms,
    /// as models may expect different things of the blob. `chunks` are the digests that its chunks were found to have, if they
    /// were looked at: if all tables that have a list of them have these, the blob is not hashed as a whole. With `all_chunks` it is hashed chunk by chunk, too.
    pub(super) fn check_blob(
        &self,
        digest: Digest,
        uses: &mut [Use<'_>],
        chunks: Option<&Chunks>,
        all_chunks: bool,
        buffer: &mut [u8],
        progress: &dyn Progress,
    ) -> Result<Checked, Stop> {
        let by_hash = |problems| Ok(Checked { problems, is_by_chunks: false });
        let bad = |problem, uses: &[Use<'_>]| Bad::of(digest, problem, uses);
        let path = self.blob_path(&digest);
        let file = match fs::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut missing = bad(Problem::Missing, uses);
                missing
                    .models
                    .retain(|name| uses.iter().any(|blob| blob.model.name == *name && self.still_reaches(blob.model)));
                return by_hash(if missing.models.is_empty() { Vec::new() } else { vec![missing] });
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
            return by_hash(problems);
        }
        let lists = || right.iter().flat_map(Use::chunks);
        let is_by_chunks = chunks.is_some_and(|chunks| lists().next().is_some() && lists().all(|list| list == chunks));
        if !is_by_chunks {
            let add = &mut |read| {
                progress.advance(read);
                if progress.cancelled() { Err(Stop::Cancelled) } else { Ok(()) }
            };
            let (actual, of_bytes) = if all_chunks {
                hash(&file, &path, buffer, add)?
            } else {
                (hash_whole(&file, &path, buffer, add)?, chunks.cloned())
            };
            if actual != digest {
                let list = lists().find(|list| list.fits(found));
                let of_bytes = match list {
                    // It is read once more to say where it is damaged.
                    Some(_) if of_bytes.is_none() => {
                        (&file).seek(SeekFrom::Start(0)).map_err(FsError::at("read", &path))?;
                        let go_on = &mut |_| if progress.cancelled() { Err(Stop::Cancelled) } else { Ok(()) };
                        hash(&file, &path, buffer, go_on)?.1
                    }
                    _ => of_bytes,
                };
                let ranges =
                    list.zip(of_bytes).map_or_else(Vec::new, |(list, chunks)| list.differences(&chunks, found));
                problems.push(bad(Problem::Content { found: actual, ranges }, right));
                return by_hash(problems);
            }
            for blob in &*right {
                let of_bytes = of_bytes.as_ref();
                let wrong = blob.chunks().find(|list| !list.fits(found) || of_bytes.is_some_and(|own| *list != own));
                let problem =
                    wrong.map(|list| Problem::Chunks { detail: disagreement_of_chunks(list, of_bytes, found) });
                problems.extend(problem.map(|problem| bad(problem, std::slice::from_ref(blob))));
            }
        }
        let is_described = right.iter().any(|blob| !blob.entries.is_empty());
        let header = match is_described.then(|| Header::read_from(&file, &Limits::default())) {
            // The disk says nothing about the bytes.
            Some(Err(ReadError::Io { source })) => {
                problems.push(bad(Problem::Read(FsError::at("read the header of", &path)(source)), right));
                return by_hash(problems);
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
        Ok(Checked { problems, is_by_chunks })
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

/// Says how a table's list differs from the digests of the chunks of a good blob of `size` bytes.
fn disagreement_of_chunks(list: &Chunks, found: Option<&Chunks>, size: u64) -> String {
    let (count, expected) = (list.digests.len(), Chunks::count(size));
    match found.filter(|_| list.fits(size)) {
        None => format!("it has digests of {count} chunks, expected {expected} for {size} bytes"),
        Some(found) => {
            format!("the digests of its chunks are others in {}", ranges_text(&list.differences(found, size)))
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
