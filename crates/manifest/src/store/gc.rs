//! `gc`: deletion of blobs that nobody needs, and of the files of killed imports.

use std::{collections::HashSet, path::PathBuf, time::Duration};

use super::{ForeignStore, ModelError, SplitStore, Store, sweep::weigh};
use crate::{Digest, FsError, ModelName, Progress};

/// Reason why blobs cannot be deleted now.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GcError {
    /// The store belongs to another program.
    #[error(transparent)]
    Foreign(#[from] ForeignStore),
    /// The directories of the store lie on several file systems.
    #[error(transparent)]
    Split(#[from] Box<SplitStore>),
    /// A manifest cannot be read, so the blobs that it needs are not known.
    #[error("the manifest of {name} cannot be read, so its blobs are not known")]
    Unreadable {
        /// Name of the manifest.
        name: Box<ModelName>,
        /// Reason why the manifest cannot be read.
        source: ModelError,
    },
    /// The lease of an import cannot be read. The import is running, or its state is not known.
    #[error("the lease in {} cannot be read, so the blobs that its import needs are not known", dir.display())]
    Lease {
        /// Directory of the import.
        dir: PathBuf,
        /// Reason why the lease cannot be read.
        source: FsError,
    },
    /// The name to remove does not exist.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The progress receiver cancelled the operation. Blobs that were not deleted yet are in place again.
    #[error("stopped before everything was deleted")]
    Cancelled,
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
    /// Whether to report what would be deleted, without deleting it.
    pub dry_run: bool,
    /// Time for which blobs stay after they were written or reused, even if nobody is known to need them. The default
    /// is an hour. It protects an import on another machine, if a network file system shows its lease too late.
    pub grace: Duration,
}

impl Default for GcOptions {
    fn default() -> Self {
        Self { dry_run: false, grace: Duration::from_secs(60 * 60) }
    }
}

/// Result of [`Store::gc`]: what was deleted, or would be deleted.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct GcOutcome {
    /// Blobs that no name reaches, with their sizes in bytes.
    pub blobs: Vec<(Digest, u64)>,
    /// Size of the temporaries of killed imports, in bytes.
    pub temporary_bytes: u64,
    /// Blobs that no name reaches but that stay because they are younger than [`GcOptions::grace`], with their sizes in
    /// bytes.
    pub young: Vec<(Digest, u64)>,
    /// Blobs that no name reaches but that stay because a running import needs them, with their sizes in bytes.
    pub in_use: Vec<(Digest, u64)>,
    /// First error that kept files of killed imports, or records of models that are gone, from being removed.
    pub left: Option<FsError>,
}

impl GcOutcome {
    /// Returns the number of freed bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        total(&self.blobs).saturating_add(self.temporary_bytes)
    }

    /// Returns the size of the blobs that are too young, in bytes.
    #[must_use]
    pub fn young_bytes(&self) -> u64 {
        total(&self.young)
    }
}

pub(super) fn total(blobs: &[(Digest, u64)]) -> u64 {
    blobs.iter().map(|(_, size)| *size).fold(0, u64::saturating_add)
}

/// Result of sweeping `tmp`.
#[derive(Default)]
struct Swept {
    /// Size of the removed temporaries in bytes.
    bytes: u64,
    /// Blobs in the leases of dead owners.
    orphans: HashSet<Digest>,
    /// First error that kept a temporary from being removed.
    left: Option<FsError>,
}

impl Store {
    /// Deletes the blobs that no name reaches and no running import needs, the files of killed imports, and the
    /// [records](super::Origins) of models that are gone. Imports, removals and other calls may run at the same time.
    ///
    /// # Errors
    ///
    /// [`GcError::Unreadable`] or [`GcError::Lease`] if a manifest or a lease cannot be read: no blob is deleted then.
    /// [`GcError::Cancelled`]: no blob is deleted, and files of killed imports may be. Also [`GcError::Foreign`],
    /// [`GcError::Split`] and [`GcError::Fs`]. A temporary that cannot be removed is not an
    /// error, see [`GcOutcome::left`].
    pub fn gc(&self, options: &GcOptions, progress: &dyn Progress) -> Result<GcOutcome, GcError> {
        self.check_own()?;
        let blobs = self.blobs();
        if !blobs.try_exists().map_err(FsError::at("look for", &blobs))? {
            return Ok(GcOutcome::default());
        }
        if options.dry_run {
            let dead = self.temporaries()?.into_iter().filter(|found| found.is_dead);
            let dead: Vec<_> = dead.map(|found| found.path).collect();
            let temporary_bytes = dead.iter().map(|path| weigh(path).bytes).sum();
            return Ok(GcOutcome { temporary_bytes, ..self.sort_out(options.grace, &self.orphans(&dead))? });
        }
        self.check_whole()?;
        // Checks first that blobs can be deleted at all.
        self.mark(None)?;
        let Swept { bytes: temporary_bytes, orphans, left } = self.sweep()?;
        let mut outcome = self.sort_out(options.grace, &orphans)?;
        let candidates = std::mem::take(&mut outcome.blobs);
        let is_free = |digest: &Digest| orphans.contains(digest) || !self.is_young(digest, options.grace);
        let freed = self.free(&candidates, None, is_free, progress)?;
        // Blobs that became needed since then count as in use, even if it is a name that needs them.
        outcome.in_use.extend(freed.needed);
        let left = left.or(self.drop_origins().err());
        Ok(GcOutcome { blobs: freed.deleted, temporary_bytes, left, ..outcome })
    }

    /// Removes the temporaries of dead owners from `tmp`.
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

    /// Sorts the blobs that no name reaches into those to delete, those too young and those in use. The `orphans` of
    /// dead owners are never too young.
    fn sort_out(&self, grace: Duration, orphans: &HashSet<Digest>) -> Result<GcOutcome, GcError> {
        // Blobs are listed first, so that a blob that is stored after the leases were read is not a candidate.
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

    /// Whether a blob was written or reused less than `grace` ago. A time in the future counts as the present.
    fn is_young(&self, digest: &Digest, grace: Duration) -> bool {
        let modified = self.blob_path(digest).metadata().and_then(|found| found.modified());
        !grace.is_zero() && modified.is_ok_and(|time| time.elapsed().unwrap_or_default() < grace)
    }
}
