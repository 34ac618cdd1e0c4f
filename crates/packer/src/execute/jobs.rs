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

use longshore_manifest::{Progress, store::Ingest};

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

/// Builds every blob and copies every companion file; the result is in the order of the plan, blobs first.
pub(super) fn run(
    ingest: &Ingest<'_>,
    files: &ShardFiles<'_>,
    plan: &Plan,
    options: &ImportOptions,
    progress: &dyn Progress,
) -> Result<Vec<Done>, ImportError> {
    let jobs = plan.blobs.len() + plan.files.len();
    // The largest first, so that no thread is left alone with one at the end.
    let mut order: Vec<usize> = (0..jobs).collect();
    order.sort_by_key(|&job| std::cmp::Reverse(plan.blobs.get(job).map_or(0, PlannedBlob::source_len)));
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let stop = || failed.load(Ordering::Relaxed) || progress.cancelled();
    let done: Vec<OnceLock<Done>> = (0..jobs).map(|_| OnceLock::new()).collect();
    let error: Mutex<Option<ImportError>> = Mutex::new(None);
    let work = || {
        let mut builder = BlobBuilder { ingest, files, options, progress, stop: &stop, buffers: Buffers::default() };
        while let Some(&job) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = match plan.blobs.get(job) {
                Some(blob) => builder.build(blob),
                None => copy_file(ingest, &plan.files[job - plan.blobs.len()], &stop, progress),
            };
            match result {
                Ok(found) => assert!(done[job].set(found).is_ok(), "BUG: job {job} was done twice"),
                Err(found) => {
                    // Those who stop because another failed must not hide why it did.
                    if !failed.swap(true, Ordering::Relaxed) {
                        *error.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
                    }
                    return;
                }
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

/// How many threads to use where `asked` were asked for: all that the machine has if none.
pub(crate) fn threads(asked: Option<NonZero<usize>>) -> usize {
    asked.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZero::get)
}

/// Copies a companion file, which must be as long as it was when it was listed.
fn copy_file(
    ingest: &Ingest<'_>,
    file: &Companion,
    stop: &dyn Fn() -> bool,
    progress: &dyn Progress,
) -> Result<Done, ImportError> {
    let fail = |source| ImportError::Companion { path: file.path.clone(), source };
    // One byte more than expected tells that it has grown, and ends the copy of what never ends.
    let mut from = File::open(&file.path).map_err(fail)?.take(file.size.saturating_add(1));
    let mut to = ingest.blob_like(file.name.as_str(), file.size)?;
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
                progress.advance(read as u64);
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
