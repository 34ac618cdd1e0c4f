//! `gc`: deleting blobs that nobody needs, and what killed imports left.

use std::{collections::HashSet, path::PathBuf, time::Duration};

use super::{ForeignStore, ModelError, SplitStore, Store, sweep::weigh};
use crate::{Digest, FsError, ModelName};

/// Blobs that cannot be deleted now.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GcError {
    /// The store belongs to another program.
    #[error(transparent)]
    Foreign(#[from] ForeignStore),
    /// Its directories lie on several file systems.
    #[error(transparent)]
    Split(#[from] Box<SplitStore>),
    /// A manifest cannot be read, so nobody knows which blobs it needs.
    #[error("the manifest of {name} cannot be read, so its blobs are not known")]
    Unreadable {
        /// The name whose manifest it is.
        name: Box<ModelName>,
        /// Why it cannot be read.
        source: ModelError,
    },
    /// The lease of an import that runs, or may run, cannot be read.
    #[error("the lease in {} cannot be read, so the blobs that its import needs are not known", dir.display())]
    Lease {
        /// The import's directory.
        dir: PathBuf,
        /// Why it cannot be read.
        source: FsError,
    },
    /// A name to be removed that does not exist.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// Options of [`Store::gc`].
///
/// ```
/// use longshore_manifest::store::GcOptions;
///
/// let options = GcOptions { dry_run: true, ..GcOptions::default() };
/// assert_eq!(options.grace.as_secs(), 3600);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcOptions {
    /// Only say what would be deleted.
    pub dry_run: bool,
    /// Blobs that were written or reused less than this ago stay, although nobody is known to need them. An hour by default. It
    /// is what protects the import of another machine where a network file system shows its lease too late.
    pub grace: Duration,
}

impl Default for GcOptions {
    fn default() -> Self {
        Self { dry_run: false, grace: Duration::from_secs(60 * 60) }
    }
}

/// Outcome of [`Store::gc`]: blobs that were, or would be, deleted.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct GcOutcome {
    /// The blobs that no name reaches, with their sizes in bytes.
    pub blobs: Vec<(Digest, u64)>,
    /// The size of temporaries of killed imports, in bytes.
    pub temporary_bytes: u64,
    /// The blobs that no name reaches and that stay because they are younger than [`GcOptions::grace`], with their sizes in bytes.
    pub young: Vec<(Digest, u64)>,
    /// The blobs that no name reaches and that stay because a running import needs them, with their sizes in bytes.
    pub in_use: Vec<(Digest, u64)>,
    /// Why something that killed imports left is still there, if it is: the first failure.
    pub left: Option<FsError>,
}

impl GcOutcome {
    /// The space freed, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        total(&self.blobs).saturating_add(self.temporary_bytes)
    }

    /// The size in bytes of the blobs that are too young.
    #[must_use]
    pub fn young_bytes(&self) -> u64 {
        total(&self.young)
    }
}

pub(super) fn total(blobs: &[(Digest, u64)]) -> u64 {
    blobs.iter().map(|(_, size)| *size).fold(0, u64::saturating_add)
}

/// Entries that were removed from `tmp`.
#[derive(Default)]
struct Swept {
    /// Its size.
    bytes: u64,
    /// The blobs that the leases of dead owners list.
    orphans: HashSet<Digest>,
    /// The first reason why not all of it is gone.
    left: Option<FsError>,
}

impl Store {
    /// Deletes the blobs that no name reaches and no running import needs, and what killed imports left. It runs beside imports,
    /// removals and others of its kind.
    ///
    /// # Errors
    ///
    /// [`GcError::Unreadable`] or [`GcError::Lease`] if a manifest or a lease cannot be read: then no blob is deleted;
    /// [`GcError::Foreign`], [`GcError::Split`], [`GcError::Fs`]. A temporary that cannot be removed is no error, see
    /// [`GcOutcome::left`].
    pub fn gc(&self, options: &GcOptions) -> Result<GcOutcome, GcError> {
        self.check_own()?;
        if !self.blobs().exists() {
            return Ok(GcOutcome::default());
        }
        if options.dry_run {
            let dead = self.temporaries()?.into_iter().filter(|found| found.is_dead);
            let dead: Vec<_> = dead.map(|found| found.path).collect();
            let temporary_bytes = dead.iter().map(|path| weigh(path).bytes).sum();
            return Ok(GcOutcome { temporary_bytes, ..self.sort_out(options.grace, &self.orphans(&dead))? });
        }
        self.check_whole()?;
        // First of all, whether blobs can be deleted at all.
        self.mark(None)?;
        let Swept { bytes: temporary_bytes, orphans, left } = self.sweep()?;
        let mut outcome = self.sort_out(options.grace, &orphans)?;
        let candidates = std::mem::take(&mut outcome.blobs);
        let is_free = |digest: &Digest| orphans.contains(digest) || !self.is_young(digest, options.grace);
        let freed = self.free(&candidates, None, is_free)?;
        // A blob that is needed since then is in use too: a name may have come for it.
        outcome.in_use.extend(freed.needed);
        Ok(GcOutcome { blobs: freed.deleted, temporary_bytes, left, ..outcome })
    }

    /// Removes what dead owners have left in `tmp`.
    fn sweep(&self) -> Result<Swept, FsError> {
        if !self.temporaries()?.iter().any(|found| found.is_dead) {
            return Ok(Swept::default());
        }
        let own = self.create_temporary()?;
        let taken = self.take_dead(&own);
        let bytes = taken.iter().flat_map(|taken| &taken.paths).map(|path| weigh(path).bytes).sum();
        let orphans = taken.as_ref().map(|taken| self.orphans(&taken.paths)).unwrap_or_default();
        let discarded = self.discard(&own);
        let left = taken?.failed.or(discarded.err());
        Ok(Swept { bytes, orphans, left })
    }

    /// Sorts the blobs that no name reaches: those to delete, those too young, those in use. The `orphans` of dead owners are never too young.
    fn sort_out(&self, grace: Duration, orphans: &HashSet<Digest>) -> Result<GcOutcome, GcError> {
        // The blobs are listed first: one that comes into the store after the leases were read is no candidate.
        let files = self.blob_files()?;
        let marked = self.mark(None)?;
        let mut outcome = GcOutcome::default();
        for blob in files.into_iter().filter(|(digest, _)| !marked.named.contains(digest)) {
            let kind = if marked.leased.contains(&blob.0) {
                &mut outcome.in_use
            } else if !orphans.contains(&blob.0) && self.is_young(&blob.0, grace) {
                &mut outcome.young
            } else {
                &mut outcome.blobs
            };
            kind.push(blob);
        }
        Ok(outcome)
    }

    /// Whether a blob was written or reused less than `grace` ago. A time in the future is as good as now.
    fn is_young(&self, digest: &Digest, grace: Duration) -> bool {
        let modified = self.blob_path(digest).metadata().and_then(|found| found.modified());
        !grace.is_zero() && modified.is_ok_and(|time| time.elapsed().unwrap_or_default() < grace)
    }
}
