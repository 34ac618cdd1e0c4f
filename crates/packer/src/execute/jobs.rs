//! Sharing the blobs and files of a plan among threads.

use std::{
    fs::File,
    io::{self, Read as _},
    num::NonZero,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use longshore_manifest::{
    Digest, FsError, Progress,
    store::{BlobWriter, Ingest},
};

use super::{
    ImportError, ImportOptions,
    blob::{BlobBuilder, Buffers, Done},
    shards::ShardFiles,
};
use crate::{
    companions::Companion,
    plan::{Plan, PlannedBlob},
};

/// Bytes of a companion file that are copied at a time.
const COPY: usize = 256 << 10;

/// The blobs and files of a plan, to be built in an ingest.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    pub(super) ingest: &'a Ingest<'a>,
    pub(super) files: &'a ShardFiles<'a>,
    pub(super) plan: &'a Plan,
    pub(super) options: &'a ImportOptions,
    pub(super) progress: &'a dyn Progress,
    /// The blobs of the store whose place they take, in the order of the plan, blobs first; `None` in an import.
    pub(super) replaces: Option<&'a [Digest]>,
}

impl Work<'_> {
    /// Builds every blob and copies every companion file; the result is in the order of the plan, blobs first.
    pub(super) fn run(self) -> Result<Vec<Done>, ImportError> {
        self.attempt(&|_| true)?.into_iter().collect()
    }

    /// The same, where only an error that `is_fatal` ends the work. Others are those of a blob.
    pub(super) fn attempt(
        self,
        is_fatal: &(dyn Fn(&ImportError) -> bool + Sync),
    ) -> Result<Vec<Result<Done, ImportError>>, ImportError> {
        let Self { files, plan, options, progress, .. } = self;
        let jobs = plan.blobs.len() + plan.files.len();
        // The largest first, so that no thread is left alone with one at the end.
        let mut order: Vec<usize> = (0..jobs).collect();
        order.sort_by_key(|&job| std::cmp::Reverse(plan.blobs.get(job).map_or(0, PlannedBlob::source_len)));
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let stop = || failed.load(Ordering::Relaxed) || progress.cancelled();
        let done: Vec<OnceLock<_>> = (0..jobs).map(|_| OnceLock::new()).collect();
        let error: Mutex<Option<ImportError>> = Mutex::new(None);
        let work = || {
            let mut builder = BlobBuilder { files, options, progress, stop: &stop, buffers: Buffers::default() };
            while let Some(&job) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                let result = match plan.blobs.get(job) {
                    Some(blob) => self
                        .writer(job, &blob.name, blob.layout.file_len())
                        .map_err(ImportError::from)
                        .and_then(|writer| builder.build(blob, writer)),
                    None => self.copy_file(job, &plan.files[job - plan.blobs.len()], &stop),
                };
                match result {
                    Err(found) if is_fatal(&found) => {
                        // Those who stop because another failed must not hide why it did.
                        if !failed.swap(true, Ordering::Relaxed) {
                            *error.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
                        }
                        return;
                    }
                    result => assert!(done[job].set(result).is_ok(), "BUG: job {job} was done twice"),
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads(options.threads).min(jobs) {
                scope.spawn(work);
            }
            work();
        });
        match error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(done.into_iter().map(|cell| cell.into_inner().expect("every job is done")).collect()),
        }
    }

    fn writer(&self, job: usize, name: &str, size: u64) -> Result<BlobWriter<'_>, FsError> {
        match self.replaces {
            None => self.ingest.blob_like(name, size),
            Some(digests) => self.ingest.replacement(digests[job]),
        }
    }

    /// Copies a companion file, which must be as long as it was when it was listed.
    fn copy_file(&self, job: usize, file: &Companion, stop: &dyn Fn() -> bool) -> Result<Done, ImportError> {
        let fail = |source| ImportError::Companion { path: file.path.clone(), source };
        // One byte more than expected tells that it has grown, and ends the copy of what never ends.
        let mut from = File::open(&file.path).map_err(fail)?.take(file.size.saturating_add(1));
        let mut to = self.writer(job, file.name.as_str(), file.size)?;
        let mut buffer = vec![0; usize::try_from(file.size).unwrap_or(COPY).clamp(1, COPY)];
        let mut at = 0;
        loop {
            if stop() {
                return Err(ImportError::Cancelled);
            }
            match from.read(&mut buffer) {
                Ok(0) if at == file.size => {
                    return Ok(Done { added: to.finish()?, warnings: Vec::new(), losses: Vec::new() });
                }
                Ok(read) if read > 0 && at + read as u64 <= file.size => {
                    to.write_at(at, &buffer[..read])?;
                    at += read as u64;
                    self.progress.advance(read as u64);
                }
                Ok(read) => {
                    let found = if read == 0 { format!("{at} bytes") } else { "more".to_owned() };
                    let problem = format!("it has {found}, expected the {} that it had when it was listed", file.size);
                    return Err(fail(io::Error::new(io::ErrorKind::InvalidData, problem)));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(fail(error)),
            }
        }
    }
}

/// How many threads to use where `asked` were asked for: all that the machine has if none.
pub(crate) fn threads(asked: Option<NonZero<usize>>) -> usize {
    asked.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZero::get)
}
