//! Reading a model whose name others may replace or remove meanwhile.

use std::{
    error::Error,
    io, thread,
    time::{Duration, SystemTime},
};

use super::{Model, ModelError, Store, models::is_absent};
use crate::ModelName;

/// How often a model that has not changed is tried again, each time after twice the time: a quarter of a second altogether.
const TRIES: u32 = 8;

/// What tells a manifest from the one that takes its place, were it of the same bytes.
type Stamp = (Option<SystemTime>, u64, u64);

impl Store {
    /// Reads the model `name` and does `work` with it. If that fails and the name points at another model by then, it is done again with
    /// that one.
    ///
    /// Readers announce nothing: the blobs of a model that is replaced or removed are deleted at once, and who has read its manifest a moment
    /// ago may find some of them gone. A blob can also be out of sight for a moment while it is decided whether to delete it; so what is
    /// missing is looked for again.
    ///
    /// ```
    /// use std::error::Error;
    ///
    /// use longshore_manifest::{ModelName, Store, Weights};
    ///
    /// fn open(store: &Store, name: &ModelName) -> Result<Weights, Box<dyn Error + Send + Sync>> {
    ///     store.with_model(name, |model| Ok(Weights::open(store, &model, &Default::default())?))
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ModelError::NotFound`] for an unknown name, [`ModelError::Removed`] for one that is removed meanwhile, and otherwise what
    /// [`Self::model`] or `work` answers about a model that its name still points at.
    pub fn with_model<T, E>(&self, name: &ModelName, mut work: impl FnMut(Model) -> Result<T, E>) -> Result<T, E>
    where
        E: From<ModelError> + AsRef<dyn Error + Send + Sync>,
    {
        self.steadily(name, || self.model(name).map_err(E::from).and_then(&mut work))
    }

    /// Does `work`, which itself reads the model `name`, as [`Self::with_model`] does: if it fails and the name points at another model by
    /// then, it is done again.
    ///
    /// # Errors
    ///
    /// [`ModelError::Removed`] for a name that is removed meanwhile, and otherwise what `work` answers about a model that its name still
    /// points at.
    pub fn steadily<T, E>(&self, name: &ModelName, mut work: impl FnMut() -> Result<T, E>) -> Result<T, E>
    where
        E: From<ModelError> + AsRef<dyn Error + Send + Sync>,
    {
        let mut tries = 0;
        let mut was_there = false;
        loop {
            let before = self.stamp(name);
            let error = match work() {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let (Ok(before), Ok(after)) = (before, self.stamp(name)) else { return Err(error) };
            was_there |= before.is_some();
            if after.is_none() && was_there {
                let removed = ModelError::Removed { name: Box::new(name.clone()), root: self.root().to_path_buf() };
                return Err(removed.into());
            }
            if after != before {
                tries = 0;
            } else if tries < TRIES && after.is_some() && is_absence(error.as_ref()) {
                thread::sleep(Duration::from_millis(1 << tries));
                tries += 1;
            } else {
                return Err(error);
            }
        }
    }

    /// What the name's manifest is told by; `None` where there is none. An error, where the system does not say.
    fn stamp(&self, name: &ModelName) -> io::Result<Option<Stamp>> {
        let found = match self.manifest_path(name).metadata() {
            Ok(found) => found,
            Err(error) if is_absent(error.kind()) => return Ok(None),
            Err(error) => return Err(error),
        };
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&found);
        #[cfg(not(unix))]
        let inode = 0;
        Ok(Some((found.modified().ok(), found.len(), inode)))
    }
}

/// Whether a file was not there.
fn is_absence(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return true;
        }
        cause = error.source();
    }
    false
}
