//! Distribution of the blobs and files of a plan over threads.

use std::{
    cmp::Reverse,
    io,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use longshore_manifest::{FsError, Hasher, Progress};

use super::{
    error::ImportError,
    options::ImportOptions,
    read::shards::{ReadError, ShardFiles},
    sink::{SinkBlob, SinkImport},
    spare::Spare,
    write::blob::{BlobBuilder, Buffers, Done},
};
use crate::{
    io::{
        memory,
        threads::{share, threads},
    },
    plan::planned::{Plan, PlannedBlob},
    source::companions::Companion,
};

/// Number of bytes of a companion file that are copied at a time.
const COPY: usize = 256 << 10;

/// Starts the blob of a job. The arguments are the job, the name of its layer, and its size in bytes.
pub(super) type OpenBlob<'a> = dyn Fn(usize, &str, u64) -> Result<Box<dyn SinkBlob + 'a>, FsError> + Sync + 'a;

/// The blobs and files of a plan that have to be built. A job is the index of a blob or file in the plan, blobs first.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    pub(super) open: &'a OpenBlob<'a>,
    /// Where blobs go that are made for the first time; `None` where they are built again.
    pub(super) import: Option<&'a dyn SinkImport>,
    pub(super) files: &'a ShardFiles<'a>,
    pub(super) plan: &'a Plan,
    pub(super) options: &'a ImportOptions,
    pub(super) progress: &'a dyn Progress,
}

impl Work<'_> {
    /// Builds every blob and copies every companion file. The result is in the order of the plan, blobs first.
    pub(super) fn run(self) -> Result<Vec<Done>, ImportError> {
        self.attempt(&|_| true)?.into_iter().collect()
    }

    /// Like [`Self::run`], but only errors for which `is_fatal` is true end the work. Other errors are returned for
    /// their job alone.
    pub(super) fn attempt(
        self,
        is_fatal: &(dyn Fn(&ImportError) -> bool + Sync),
    ) -> Result<Vec<Result<Done, ImportError>>, ImportError> {
        let Self { files, plan, options, progress, import, .. } = self;
        let jobs = plan.blobs.len() + plan.files.len();
        // The largest jobs come first, so that no thread is left alone with a large job at the end.
        let mut order: Vec<usize> = (0..jobs).collect();
        order.sort_by_cached_key(|&job| {
            let blob = plan.blobs.get(job);
            let turn = import.zip(blob).map_or(0, |(import, blob)| import.turn(&blob.name));
            (turn, blob.map_or(0, |blob| files.turn(blob)), Reverse(blob.map_or(0, PlannedBlob::source_len)))
        });
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let stop = || failed.load(Ordering::Relaxed) || progress.cancelled();
        let done: Vec<OnceLock<_>> = (0..jobs).map(|_| OnceLock::new()).collect();
        let error: Mutex<Option<ImportError>> = Mutex::new(None);
        let factor = Mutex::new(());
        let threads = threads(options.threads);
        let spare = Spare::new(threads.saturating_sub(jobs));
        let work = || {
            let buffers = Buffers::default();
            let mut builder =
                BlobBuilder { files, options, progress, stop: &stop, buffers, spare: &spare, factor: &factor };
            while let Some(&job) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                let result = self.one(job, &mut builder, &stop);
                match result {
                    Err(found) if is_fatal(&found) => {
                        // Threads that stop because another failed must not replace the error of the first.
                        if !failed.swap(true, Ordering::Relaxed) {
                            *error.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
                        }
                        return;
                    }
                    result => assert!(done[job].set(result).is_ok(), "BUG: job {job} was done twice"),
                }
            }
            spare.add();
        };
        share(threads.min(jobs), &work);
        match error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(done.into_iter().map(|cell| cell.into_inner().expect("every job is done")).collect()),
        }
    }

    /// Does one job, unless its blob is there from an earlier attempt.
    fn one(&self, job: usize, builder: &mut BlobBuilder<'_>, stop: &dyn Fn() -> bool) -> Result<Done, ImportError> {
        let Some(blob) = self.plan.blobs.get(job) else {
            return self.copy_file(job, &self.plan.files[job - self.plan.blobs.len()], stop);
        };
        let size = blob.layout.file_len();
        let finished = self.import.map(|import| import.finished(&blob.name, size)).transpose()?;
        if let Some(added) = finished.flatten() {
            self.progress.advance(blob.source_len());
            return Ok(Done::found(added, blob.tensors.len()));
        }
        let writer = (self.open)(job, &blob.name, size)?;
        builder.build(blob, writer)
    }

    /// Copies a companion file, which must be as long as when it was listed, and have the digest that the source
    /// promises, if any.
    fn copy_file(&self, job: usize, file: &Companion, stop: &dyn Fn() -> bool) -> Result<Done, ImportError> {
        let fail = |source| ImportError::Companion { path: file.path.clone(), source };
        let from = file.data.open().map_err(fail)?;
        let check = |found: u64| {
            let has = if found > file.size { "more".to_owned() } else { format!("{found} bytes") };
            let problem = format!("it has {has}, expected the {} that it had when it was listed", file.size);
            if found == file.size { Ok(()) } else { Err(fail(io::Error::new(io::ErrorKind::InvalidData, problem))) }
        };
        check(from.byte_len().map_err(fail)?)?;
        let mut to = (self.open)(job, file.name.as_str(), file.size)?;
        let mut buffer = memory::zeros(usize::try_from(file.size).unwrap_or(COPY).min(COPY))?;
        let mut hasher = file.digest.map(|expected| (expected, Hasher::default()));
        let mut at = 0;
        while at < file.size {
            if stop() {
                return Err(ImportError::Cancelled);
            }
            let len = usize::try_from(file.size - at).unwrap_or(usize::MAX).min(COPY);
            from.read_exact_at(&mut buffer[..len], at).map_err(|error| match error.kind() {
                // The file was truncated after its length was checked. Its new length makes the better message.
                io::ErrorKind::UnexpectedEof => {
                    from.byte_len().map_err(fail).and_then(check).err().unwrap_or_else(|| fail(error))
                }
                _ => fail(error),
            })?;
            if let Some((_, hasher)) = &mut hasher {
                hasher.update(&buffer[..len]);
            }
            to.write_at(at, &buffer[..len])?;
            at += len as u64;
            self.progress.advance(len as u64);
        }
        check(from.byte_len().map_err(fail)?)?;
        let damaged =
            hasher.map(|(expected, hasher)| (expected, hasher.finish())).filter(|(expected, found)| expected != found);
        if let Some((expected, found)) = damaged {
            return Err(ReadError::Damaged { path: file.path.clone(), found, expected }.into());
        }
        Ok(Done::found(to.finish()?, 0))
    }
}
