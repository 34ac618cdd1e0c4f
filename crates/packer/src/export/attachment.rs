//! The weights of an adapter that was stored as an attachment, as the file that they were.

use std::{collections::HashMap, fs::File, io::Write as _, path::Path};

use longshore_manifest::{
    Progress, Store,
    document::{Role, TensorTable},
    store::Model,
};
use longshore_st_format::{Header, Limits};

use super::{
    error::ExportError,
    stored::{Reader, Stored},
};
use crate::{attachment::weights_of, io::small};

/// Number of bytes that are copied at a time.
const CHUNK: u64 = 256 << 10;

/// The weight file of an attachment.
pub(super) struct AdapterFile<'w> {
    /// Name of the file in the export's directory.
    pub(super) name: &'static str,
    /// Name of the companion file that holds its header.
    pub(super) header_name: String,
    header: Vec<u8>,
    file_len: u64,
    /// The tensors in the order of the file, with their lengths.
    tensors: Vec<(Stored<'w>, u64)>,
}

/// The weight file of the attachment `model`; `None` for any other model.
pub(super) fn file<'w>(
    store: &Store,
    model: &Model,
    table: &'w TensorTable,
) -> Result<Option<AdapterFile<'w>>, ExportError> {
    let mut files = model.manifest.files();
    let found = files.find_map(|(name, layer)| Some((weights_of(name.as_str())?, name.to_string(), layer)));
    let Some((name, header_name, layer)) = found else { return Ok(None) };
    let path = store.blob_path(&layer.digest);
    let limits = Limits::default();
    let fail = |problem: String| ExportError::AdapterHeader { path: path.clone(), problem };
    let bytes =
        small::read(&path, limits.header_bytes.saturating_add(8)).map_err(|_| fail("it cannot be read".into()))?;
    let lengths = table.tensors().map(|(_, entry)| entry.parts.first().map_or(0, |part| part.length));
    let file_len = lengths.fold(bytes.len() as u64, u64::saturating_add);
    let header = Header::parse(&bytes, file_len, &limits).map_err(|error| fail(error.to_string()))?;
    let entries: HashMap<&str, _> = table.tensors().map(|(blob, entry)| (entry.name.as_str(), (blob, entry))).collect();
    let mut order: Vec<_> = header.iter().collect();
    order.sort_by_key(|info| info.range().start);
    let mut tensors = Vec::with_capacity(order.len());
    for info in order {
        let stored = entries.get(info.name()).and_then(|(blob, entry)| {
            let part = entry.parts.iter().find(|part| part.role == Role::Weight)?;
            (part.length == info.byte_len() && entry.quantization.is_none()).then(|| Stored::new(blob, entry, part))
        });
        let missing = || fail(format!("the model has no tensor {:?} of {} bytes", info.name(), info.byte_len()));
        tensors.push((stored.ok_or_else(missing)?, info.byte_len()));
    }
    Ok(Some(AdapterFile { name, header_name, header: bytes, file_len, tensors }))
}

impl AdapterFile<'_> {
    pub(super) fn len(&self) -> usize {
        self.tensors.len()
    }

    pub(super) fn file_len(&self) -> u64 {
        self.file_len
    }

    /// Writes the file. Returns `Ok(false)` if `progress` asked to stop; the file is then incomplete.
    pub(super) fn write(&self, store: &Store, dir: &Path, progress: &dyn Progress) -> Result<bool, ExportError> {
        let path = dir.join(self.name);
        let fail = |source| ExportError::Write { path: path.clone(), source };
        let mut file = File::create_new(&path).map_err(fail)?;
        file.write_all(&self.header).map_err(fail)?;
        let (mut reader, mut bytes) = (Reader::new(store), Vec::new());
        for (stored, len) in &self.tensors {
            let mut at = 0;
            while at < *len {
                if progress.cancelled() {
                    return Ok(false);
                }
                let count = CHUNK.min(len - at);
                reader.read_to(stored, at, count, &mut bytes)?;
                file.write_all(&bytes).map_err(fail)?;
                at += count;
                progress.advance(count);
            }
        }
        Ok(true)
    }
}
