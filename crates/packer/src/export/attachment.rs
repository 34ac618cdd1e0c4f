//! The weights of an adapter that was stored as an attachment, as the file that they were.

use std::{
    collections::HashMap,
    fs::File,
    io::{Seek as _, SeekFrom, Write as _},
    ops::Range,
    path::Path,
};

use longshore_manifest::{
    Progress, Store,
    document::{Role, TensorTable},
    store::Model,
};
use longshore_st_format::{Header, Limits};
use longshore_transform::adapter::GGUF_DOCUMENT;

use super::{
    error::ExportError,
    stored::{Reader, Stored},
};
use crate::{
    attachment::{GGUF, weights_of},
    io::small,
};

/// Number of bytes that are copied at a time.
const CHUNK: u64 = 256 << 10;
/// Bytes beside a header: the number of its bytes, or the padding at a file's end.
const MARGIN: u64 = 1 << 20;

/// The weight file of an attachment.
pub(super) struct AdapterFile<'w> {
    /// Name of the file in the export's directory.
    pub(super) name: &'static str,
    /// Names of the companion files that are no files of the adapter: the one that holds its header, and what is made of that.
    pub(super) left_out: Vec<String>,
    header: Vec<u8>,
    file_len: u64,
    /// The tensors in the order of the file, with their places in it.
    tensors: Vec<(Stored<'w>, Range<u64>)>,
}

/// What the header of a weight file tells of it.
struct Layout {
    /// All bytes before the data.
    header: Vec<u8>,
    file_len: u64,
    /// Names of the tensors, with their places in the file.
    tensors: Vec<(String, Range<u64>)>,
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
    let fail = |problem: String| ExportError::AdapterHeader { path: path.clone(), problem };
    let is_gguf = name == GGUF;
    let limit = if is_gguf { longshore_gguf::Limits::default().header_bytes } else { Limits::default().header_bytes };
    let bytes = small::read(&path, limit.saturating_add(MARGIN)).map_err(|_| fail("it cannot be read".into()))?;
    let layout = if is_gguf { of_gguf(&bytes) } else { of_safetensors(bytes, table) };
    let Layout { header, file_len, tensors: mut order } = layout.map_err(fail)?;
    let entries: HashMap<&str, _> = table.tensors().map(|(blob, entry)| (entry.name.as_str(), (blob, entry))).collect();
    order.sort_by_key(|(_, range)| range.start);
    let mut tensors = Vec::with_capacity(order.len());
    for (name, range) in order {
        let len = range.end - range.start;
        let stored = entries.get(name.as_str()).and_then(|(blob, entry)| {
            let part = entry.parts.iter().find(|part| part.role == Role::Weight)?;
            (part.length == len && entry.quantization.is_none()).then(|| Stored::new(blob, entry, part))
        });
        let missing = || fail(format!("the model has no tensor {name:?} of {len} bytes"));
        tensors.push((stored.ok_or_else(missing)?, range));
    }
    let left_out = [header_name].into_iter().chain(is_gguf.then(|| GGUF_DOCUMENT.to_owned())).collect();
    Ok(Some(AdapterFile { name, left_out, header, file_len, tensors }))
}

/// Reads the header of a file of safetensors, whose length follows from the tensors.
fn of_safetensors(bytes: Vec<u8>, table: &TensorTable) -> Result<Layout, String> {
    let lengths = table.tensors().map(|(_, entry)| entry.parts.first().map_or(0, |part| part.length));
    let file_len = lengths.fold(bytes.len() as u64, u64::saturating_add);
    let parsed = Header::parse(&bytes, file_len, &Limits::default()).map_err(|error| error.to_string())?;
    let start = bytes.len() as u64;
    let place = |range: Range<u64>| start + range.start..start + range.end;
    let tensors = parsed.iter().map(|info| (info.name().to_owned(), place(info.range()))).collect();
    Ok(Layout { header: bytes, file_len, tensors })
}

/// Reads the header of a GGUF file, with the padding at its end.
fn of_gguf(bytes: &[u8]) -> Result<Layout, String> {
    let parsed = longshore_gguf::Header::parse_with_end(bytes, &longshore_gguf::Limits::default());
    let parsed = parsed.map_err(|error| error.to_string())?;
    let tensors = parsed.iter().map(|info| (info.name().to_owned(), info.file_range())).collect();
    Ok(Layout { header: parsed.to_bytes(), file_len: parsed.file_len(), tensors })
}

impl AdapterFile<'_> {
    /// Whether the file is one of llama.cpp.
    pub(super) fn is_gguf(&self) -> bool {
        self.name == GGUF
    }

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
        for (stored, range) in &self.tensors {
            // Bytes that are not written are padding, which is zero.
            file.seek(SeekFrom::Start(range.start)).map_err(fail)?;
            let (mut at, len) = (0, range.end - range.start);
            while at < len {
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
        file.set_len(self.file_len).map_err(fail)?;
        Ok(true)
    }
}
