//! What no loader can be faster than.

use std::{
    fs::File,
    hint::black_box,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::map::{MapError, MappedBlob};

/// The least that any loader does for these files: opens each, asks its size, maps it and touches its first page, on one
/// thread. A yardstick for [`Weights::open`](super::Weights::open).
///
/// # Errors
///
/// [`MapError`] for the first file that cannot be mapped.
pub fn plain_loop(paths: &[PathBuf]) -> Result<Duration, MapError> {
    let started = Instant::now();
    // Mapping asks for the size.
    let map = |path: &PathBuf| File::open(path).and_then(|file| MappedBlob::map(&file));
    let mut maps = Vec::with_capacity(paths.len());
    for path in paths {
        maps.push(map(path).map_err(|source| MapError { action: "map", path: path.clone(), source })?);
    }
    for map in &maps {
        black_box(map.first());
    }
    let took = started.elapsed();
    drop(maps);
    Ok(took)
}
