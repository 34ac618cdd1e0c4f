//! Reading whole experts ahead, for engines that compute from mapped files.

use std::sync::Arc;

use longshore_manifest::weights::Source;

use crate::{
    files::{ExpertFiles, ExpertFilesError},
    map::{ExpertMap, ExpertMapError},
};

/// Asks the system for whole experts before an engine computes them from mapped files.
///
/// A page of a mapped file that is not in memory is read when it is touched, with a few of its neighbours. An expert has thousands
/// of pages in several places, so that an engine waits for each in turn. One request for all of a token's experts has them read
/// together. It gives no memory and keeps none: the pages are the system's, as any page of a mapped file.
///
/// ```no_run
/// use longshore_experts::{ReadAhead, manifest::{Weights, weights::{OpenOptions, Source}}};
///
/// let source = Source::open("./Qwen3-30B-A3B")?;
/// let (weights, ahead) = (Weights::open_source(&source, &OpenOptions::default())?, ReadAhead::open(&source)?);
/// // The router has chosen: before the first expert of layer 3 is computed.
/// ahead.ask(3, &[17, 4, 90]);
/// # let _ = weights;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ReadAhead {
    map: Arc<ExpertMap>,
    files: Arc<ExpertFiles>,
}

/// Reason why experts cannot be read ahead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadAheadError {
    /// The experts cannot be told apart.
    #[error(transparent)]
    Map(#[from] ExpertMapError),
    /// A file cannot be used.
    #[error(transparent)]
    Files(#[from] ExpertFilesError),
}

impl ReadAhead {
    /// Maps the experts of a `source` and opens the files that hold them.
    ///
    /// # Errors
    ///
    /// [`ReadAheadError`].
    pub fn open(source: &Source) -> Result<Self, ReadAheadError> {
        let map = Arc::new(ExpertMap::new(source)?);
        let files = Arc::new(ExpertFiles::open(source, &map)?);
        Ok(Self::new(map, files))
    }

    /// Takes a map and its files.
    #[must_use]
    pub fn new(map: Arc<ExpertMap>, files: Arc<ExpertFiles>) -> Self {
        Self { map, files }
    }

    /// Returns the map of the experts.
    #[must_use]
    pub fn map(&self) -> &Arc<ExpertMap> {
        &self.map
    }

    /// Asks for the union of the bytes of these experts of a layer in one go, and does not wait. Experts that the layer does not have
    /// are left out. Returns the bytes that were asked for.
    #[expect(clippy::must_use_candidate, reason = "the bytes are only worth a count")]
    pub fn ask(&self, layer: u32, experts: &[u32]) -> u64 {
        self.files.ask(&self.map.ranges_of(layer, experts))
    }
}
