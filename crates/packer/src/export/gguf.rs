//! The GGUF files that a model came from, byte for byte.

mod restore;

use std::{
    collections::BTreeMap,
    fs::File,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use longshore_gguf::{Header, Limits, MemberName, SplitSet, TensorInfo};
use longshore_manifest::{Descriptor, FsError, Progress, RelativePath, Store, document::TensorTable, store::Model};
use restore::Restored;

use super::{
    contents::{Contents, Edit, name_of},
    error::ExportError,
    options::ExportFormat,
    stored::Reader,
};
use crate::{
    gguf::headers,
    io::{memory, positioned, threads::share},
    source::companions::MAX_COMPANION_BYTES,
};

/// The beginning of the names of the files.
const STEM: &str = "model";
/// Number of bytes of a tensor that are copied at a time.
const CHUNK: u64 = 1 << 20;

/// A GGUF file to be written.
pub(super) struct GgufFile<'w> {
    /// Name of the file in the export's directory.
    pub(super) name: String,
    header: Header,
    /// The tensors, in the order of the header.
    tensors: Vec<Restored<'w>>,
}

/// Refuses a model that came from GGUF files: its names are ggml's, which no other format has.
pub(super) fn refuse(model: &Model, format: ExportFormat) -> Result<(), ExportError> {
    match headers_of(model).next() {
        Some(_) => Err(ExportError::FromGguf { format }),
        None => Ok(()),
    }
}

/// The contents of an export beside the files of [`files`]: the companions without the headers.
pub(super) fn contents<'w>(model: &Model) -> Contents<'w> {
    let edits = headers_of(model).map(|(name, _)| (name.to_string(), Edit::LeaveOut)).collect();
    Contents { directories: BTreeMap::new(), edits, left_out: 0 }
}

/// The files that the model came from.
pub(super) fn files<'w>(
    store: &Store,
    model: &Model,
    table: &'w TensorTable,
) -> Result<Vec<GgufFile<'w>>, ExportError> {
    let set = read_headers(store, model)?;
    let mut stored = restore::by_source(table);
    let mut files = Vec::with_capacity(set.members().len());
    for member in set.members() {
        let mut tensors = Vec::with_capacity(member.header.len());
        for info in member.header.iter() {
            let fail = |problem: &str| ExportError::Restore { tensor: info.name().to_owned(), problem: problem.into() };
            let parts = stored.remove(info.name()).ok_or_else(|| fail("the model does not have it"))?;
            let other = "it is stored with another type or shape than the header of its file says";
            tensors.push(Restored::new(info, &parts).ok_or_else(|| fail(other))?);
        }
        let name = member.path.to_string_lossy().into_owned();
        files.push(GgufFile { name, header: member.header.clone(), tensors });
    }
    match stored.into_keys().min() {
        None => Ok(files),
        Some(more) => Err(ExportError::Restore {
            tensor: more.to_owned(),
            problem: "no header of the model's files lists it".to_owned(),
        }),
    }
}

/// The companions that hold headers of GGUF files.
fn headers_of(model: &Model) -> impl Iterator<Item = (RelativePath, &Descriptor)> {
    model.manifest.files().filter(|(name, _)| headers::is_header(name.as_str()))
}

/// Reads the headers of the model's files as a set, whose paths are the names of the files to be written.
fn read_headers(store: &Store, model: &Model) -> Result<SplitSet, ExportError> {
    let mut layers: Vec<_> = headers_of(model).collect();
    layers.sort_by(|a, b| a.0.cmp(&b.0));
    let refuse = |problem: String| ExportError::NotFromGguf { problem };
    let count = u16::try_from(layers.len()).ok().filter(|count| *count > 0);
    let count = count.ok_or_else(|| refuse("it did not come from GGUF files".to_owned()))?;
    let mut members = Vec::with_capacity(layers.len());
    for (no, (name, layer)) in (0..count).zip(layers) {
        if name != headers::name(no, count) {
            return Err(refuse(format!("it has {count} headers of GGUF files, {name} among them")));
        }
        let header = Header::parse_with_end(&read(store, layer)?, &Limits::default());
        let header = header.map_err(|source| ExportError::GgufHeader { name: name.to_string(), source })?;
        let file = match MemberName::new(STEM, no, count) {
            Ok(name) if count > 1 => name.to_string(),
            _ => format!("{STEM}.gguf"),
        };
        members.push((file, header));
    }
    SplitSet::new(members, &Limits::default()).map_err(|source| ExportError::GgufSet { source })
}

fn read(store: &Store, layer: &Descriptor) -> Result<Vec<u8>, ExportError> {
    let path = store.blob_path(&layer.digest);
    let fail = |source| ExportError::Read { path: path.clone(), layer: name_of(layer), source };
    if layer.size > MAX_COMPANION_BYTES {
        return Err(fail(std::io::ErrorKind::FileTooLarge.into()));
    }
    let mut bytes =
        memory::zeros(usize::try_from(layer.size).unwrap_or(usize::MAX)).map_err(|error| fail(error.into()))?;
    let blob = store.open_blob(&layer.digest);
    blob.and_then(|blob| blob.read_exact_at(&mut bytes, 0)).map_err(|FsError { source, .. }| fail(source))?;
    Ok(bytes)
}

impl GgufFile<'_> {
    /// The number of tensors in the file.
    pub(super) fn len(&self) -> usize {
        self.tensors.len()
    }

    /// The length of the file in bytes.
    pub(super) fn file_len(&self) -> u64 {
        self.header.file_len()
    }

    /// Writes the file. Each thread takes one tensor at a time and writes it in its place. Returns `Ok(false)` if
    /// `progress` asked to stop; the file is then incomplete.
    pub(super) fn write(
        &self,
        store: &Store,
        dir: &Path,
        threads: usize,
        progress: &dyn Progress,
    ) -> Result<bool, ExportError> {
        let path = dir.join(&self.name);
        let fail = |source| ExportError::Write { path: path.clone(), source };
        let file = File::create_new(&path).map_err(fail)?;
        // What is not written is padding, which is zero.
        file.set_len(self.header.file_len()).map_err(fail)?;
        positioned::write_all_at(&file, &self.header.to_bytes(), 0).map_err(fail)?;
        progress.advance(self.header.data_start());
        let places: Vec<_> = self.header.iter().map(TensorInfo::file_range).zip(&self.tensors).collect();
        let next = AtomicUsize::new(0);
        let (failed, cancelled) = (AtomicBool::new(false), AtomicBool::new(false));
        let work = || -> Result<(), ExportError> {
            let mut reader = Reader::new(store);
            let (mut buffer, mut scratch) = (Vec::new(), Vec::new());
            while let Some((range, tensor)) = places.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut at = range.start;
                while at < range.end {
                    if progress.cancelled() {
                        cancelled.store(true, Ordering::Relaxed);
                    }
                    if failed.load(Ordering::Relaxed) || cancelled.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                    let len = CHUNK.min(range.end - at);
                    let copied = tensor
                        .read_to(at - range.start, len, &mut reader, &mut buffer, &mut scratch)
                        .and_then(|()| positioned::write_all_at(&file, &buffer, at).map_err(fail));
                    if copied.is_err() {
                        failed.store(true, Ordering::Relaxed);
                        return copied;
                    }
                    progress.advance(len);
                    at += len;
                }
            }
            Ok(())
        };
        share(threads.min(places.len()).max(1), &work).into_iter().collect::<Result<(), _>>()?;
        Ok(!cancelled.into_inner())
    }
}
