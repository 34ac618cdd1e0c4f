//! Whether the blobs of a table are there.

use std::collections::HashMap;

use super::{MapError, WeightsError};
use crate::{Digest, FsError, Store, document::TensorTable};

/// Makes sure, as [`Weights::open`](super::Weights::open) does, that each blob of a table is there and has all parts of tensors that the
/// table says, and maps nothing: for those who read with [`Store::open_blob`].
///
/// # Errors
///
/// [`WeightsError::Blob`] for a blob that is missing or cannot be opened, [`WeightsError::Short`] for one that is cut off.
pub fn check(store: &Store, table: &TensorTable) -> Result<(), WeightsError> {
    let mut sizes: HashMap<Digest, u64> = HashMap::new();
    for (blob, tensor) in table.tensors() {
        for part in &tensor.parts {
            let digest = part.blob.unwrap_or(blob.digest);
            let found = if let Some(size) = sizes.get(&digest) {
                *size
            } else {
                let found = store.open_blob(&digest).and_then(|file| file.byte_len());
                let fail = |FsError { action, path, source, .. }| WeightsError::Blob {
                    digest,
                    tensor: tensor.name.clone(),
                    source: MapError { action, path, source },
                };
                *sizes.entry(digest).or_insert(found.map_err(fail)?)
            };
            let expected = part.offset.saturating_add(part.length);
            if expected > found {
                let path = store.blob_path(&digest);
                return Err(WeightsError::Short { path, found, expected, tensor: tensor.name.clone() });
            }
        }
    }
    Ok(())
}
