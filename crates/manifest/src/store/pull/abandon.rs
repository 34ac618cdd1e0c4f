//! Giving up a pull.

use std::collections::HashSet;

use super::{
    super::{Store, gc::GcError, lease, remove::Removed},
    list::PullEntry,
    lock,
    open::{PullError, file_name, is_free},
};

impl Store {
    /// Gives up an unfinished pull: removes its files, and deletes the blobs that only it needed. Returns these, and the number of bytes of
    /// its files.
    ///
    /// # Errors
    ///
    /// [`PullError::Running`] if a process works on it, [`PullError::Fs`] if its files cannot be removed.
    pub fn abandon_pull(&self, pull: &PullEntry) -> Result<(Removed, u64), PullError> {
        self.check_own()?;
        let _finding = lock::pulls(&self.pulls_dir());
        if !is_free(&pull.dir) {
            return Err(PullError::Running { reference: pull.record.reference.clone() });
        }
        let own = self.create_temporary()?;
        // What is killed here is removed by the next import, blobs included, as the journal says which.
        let taken = own.join(file_name(&pull.dir).replace("sha256-", "pull-"));
        let done = self.disk.rename(&pull.dir, &taken).map(|()| {
            let bytes = super::super::sweep::weigh(&taken).bytes;
            let blobs: HashSet<_> =
                lease::read(&taken).unwrap_or_default().into_iter().map(|line| line.digest).collect();
            let freed = self.free_unnamed(blobs, Some(&own));
            let left = |error: GcError| Removed { left: Some(error), ..Removed::default() };
            (freed.unwrap_or_else(left), bytes)
        });
        let discarded = self.discard(&own);
        match done {
            Ok(done) => discarded.map(|()| done).map_err(PullError::from),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(PullError::NotFound { reference: pull.record.reference.clone() })
            }
            Err(error) => Err(error.into()),
        }
    }
}
