//! The GGUF files that a model came from: byte for byte, or with other types.

mod checkpoint;
mod metadata;
pub(super) mod tensor;
#[cfg(test)]
mod tests;
mod types;

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use longshore_gguf::{Dims, Header, Layout, Limits, MemberName, Metadata, SplitSet};
use longshore_manifest::{
    Descriptor, FsError, Progress, RelativePath, Store,
    document::{Role, TensorTable},
    store::Model,
};
use longshore_quant::ggml::GgmlType;
use longshore_st_format::Shape;

use super::{
    contents::{Contents, Edit, name_of},
    error::ExportError,
    options::{ExportFormat, ExportOptions},
    stored::Reader,
};
use crate::{
    gguf::{
        headers,
        metadata::{GgufFiles, GgufMetadata, gguf_metadata},
    },
    io::{memory, positioned, threads::share},
    source::companions::MAX_COMPANION_BYTES,
};
use checkpoint::Named;
use tensor::{Buffers, CHUNK, GgufTensor, StoredPart, Types, scale_name};

/// The beginning of the names of the files.
const STEM: &str = "model";

/// A GGUF file to be written.
pub(super) struct GgufFile<'w> {
    /// Name of the file in the export's directory.
    pub(super) name: String,
    header: Header,
    /// The tensors, in the order of the header.
    tensors: Vec<GgufTensor<'w>>,
}

/// Refuses a model that came from GGUF files: what it was before is not known.
pub(super) fn refuse(model: &Model, format: ExportFormat) -> Result<(), ExportError> {
    match headers_of(model).next() {
        Some(_) => Err(ExportError::FromGguf { format }),
        None => Ok(()),
    }
}

/// Companion files whose contents are pairs of a new file.
const IN_PAIRS: [&str; 9] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
];

/// The contents of an export beside the files of [`files`]: the companions without the headers, and without what was made of
/// them or is made into pairs.
pub(super) fn contents<'w>(model: &Model, table: &TensorTable) -> Contents<'w> {
    let headers: Vec<_> = headers_of(model).map(|(name, _)| name.to_string()).collect();
    let in_pairs: &[&str] = if headers.is_empty() { &IN_PAIRS } else { &[] };
    let derived = table.import.derived.iter().cloned();
    let left = headers.into_iter().chain(derived).chain(in_pairs.iter().map(|name| (*name).to_owned()));
    let edits = left.map(|name| (name, Edit::LeaveOut)).collect();
    Contents { directories: BTreeMap::new(), edits, left_out: 0 }
}

/// The files of the export: those that the model came from, or one that is made of a checkpoint. With a type that is `asked` for, its matrices are encoded as that type; else every
/// tensor has the type of its file. Adds `notes` about tensors that get another type.
pub(super) fn files<'w>(
    store: &Store,
    model: &Model,
    table: &'w TensorTable,
    options: &ExportOptions,
    notes: &mut Vec<String>,
) -> Result<Vec<GgufFile<'w>>, ExportError> {
    if headers_of(model).next().is_none() {
        return Ok(vec![of_checkpoint(store, model, table, options, notes)?]);
    }
    let asked = options.gguf_type;
    let set = read_headers(store, model)?;
    let mut stored = by_source(table);
    let types = Types { asked, is_from_gguf: true };
    let (mut reader, mut refused) = (Reader::new(store), Vec::new());
    let (mut chosen, mut scales) = (HashMap::new(), HashMap::new());
    for (_, info) in set.iter() {
        let Some(made) = stored.remove(info.name()) else { continue };
        let own = info.ggml_type().name().parse().expect("both crates name ggml's types alike");
        let shape = Shape::from(info.dims().shape().collect::<Vec<u64>>());
        match types.choose(&mut reader, info.name(), shape, &made, Some(own))? {
            Ok(tensor) => {
                if let [StoredPart { blob, entry, .. }] = &*made {
                    scales.extend(tensor::scale_of(&tensor, blob, entry).map(|scale| (scale.name.clone(), scale)));
                }
                chosen.insert(info.name().to_owned(), tensor);
            }
            Err(reason) => refused.push((info.name().to_owned(), reason)),
        }
    }
    if !refused.is_empty() {
        return Err(ExportError::GgufTensors { tensors: refused });
    }
    // A scale that was multiplied with the values it belongs to is no tensor of its own any more.
    let is_merged = |name: &str| {
        let owners = table.tensors().filter(|(_, entry)| entry.part(Role::GlobalScale).is_some());
        owners.flat_map(|(_, entry)| entry.source_names()).any(|owner| scale_name(owner).as_deref() == Some(name))
    };
    let mut files = Vec::with_capacity(set.members().len());
    for member in set.members() {
        let mut tensors = Vec::with_capacity(member.header.len());
        for info in member.header.iter() {
            match chosen.remove(info.name()).or_else(|| scales.remove(info.name())) {
                Some(tensor) => tensors.push(tensor),
                None if asked.is_some() && is_merged(info.name()) => {}
                None => {
                    let (tensor, problem) = (info.name().to_owned(), "the model does not have it".to_owned());
                    return Err(ExportError::Restore { tensor, problem });
                }
            }
        }
        let name = member.path.to_string_lossy().into_owned();
        files.push(GgufFile { name, header: member.header.clone(), tensors });
    }
    if let Some(more) = stored.into_keys().min() {
        let problem = "no header of the model's files lists it".to_owned();
        return Err(ExportError::Restore { tensor: more.to_owned(), problem });
    }
    if let Some(asked) = asked {
        notes.extend(metadata::fallback(asked, files.iter().flat_map(|file| &file.tensors)));
        let count = files.iter().map(GgufFile::len).sum();
        for file in &mut files {
            let metadata = metadata::of_type(file.header.metadata(), asked, count);
            *file = GgufFile::new(std::mem::take(&mut file.name), metadata, std::mem::take(&mut file.tensors))?;
        }
    }
    Ok(files)
}

/// The file of a model that came from a checkpoint: its pairs are made of its facts and its tokenizer. Codes that a type of
/// ggml holds stay; with a type that is `asked` for, other matrices are encoded as that type.
fn of_checkpoint<'w>(
    store: &Store,
    model: &Model,
    table: &'w TensorTable,
    options: &ExportOptions,
    notes: &mut Vec<String>,
) -> Result<GgufFile<'w>, ExportError> {
    let asked = options.gguf_type;
    let document = |name: &str| {
        let found = model.manifest.files().find(|(found, _)| found.as_str() == name);
        found.map(|(_, layer)| read(store, layer)).transpose()
    };
    let (tokenizer, tokenizer_config) = (document("tokenizer.json")?, document("tokenizer_config.json")?);
    let template = document("chat_template.jinja")?;
    let files = GgufFiles {
        tokenizer: tokenizer.as_deref(),
        tokenizer_config: tokenizer_config.as_deref(),
        template: template.as_deref(),
    };
    let made = gguf_metadata(&table.facts, None, &files, !options.no_tokenizer);
    let GgufMetadata { metadata, notes: said } = made.map_err(|source| ExportError::GgufMetadata { source })?;
    notes.extend(said);
    let named = checkpoint::named(table, &metadata)?;
    let own = checkpoint::own(&table.facts, &metadata);
    file_of(store, metadata, named, own, asked, notes)
}

/// A new file of these pairs and tensors, each under the name that the file has for it.
fn file_of<'w>(
    store: &Store,
    metadata: Metadata,
    named: Vec<Named<'w>>,
    own: Vec<GgufTensor<'w>>,
    asked: Option<GgmlType>,
    notes: &mut Vec<String>,
) -> Result<GgufFile<'w>, ExportError> {
    let types = Types { asked, is_from_gguf: false };
    let (mut reader, mut tensors, mut refused) = (Reader::new(store), own, Vec::new());
    for (name, shape, made) in named {
        match types.choose(&mut reader, &name, shape, &made, None)? {
            Ok(tensor) => {
                let scale = match &*made {
                    [StoredPart { blob, entry, .. }] => tensor::scale_of(&tensor, blob, entry),
                    _ => None,
                };
                tensors.push(tensor);
                tensors.extend(scale);
            }
            Err(reason) => refused.push((name, reason)),
        }
    }
    if !refused.is_empty() {
        return Err(ExportError::GgufTensors { tensors: refused });
    }
    notes.extend(asked.and_then(|asked| metadata::fallback(asked, tensors.iter())));
    let metadata = metadata::of_new(metadata, tensors.iter().map(|tensor| tensor.ggml_type));
    GgufFile::new(format!("{STEM}.gguf"), metadata, tensors)
}

/// The stored tensors that were made of each tensor of the files, by its name.
fn by_source(table: &TensorTable) -> HashMap<&str, Vec<StoredPart<'_>>> {
    let mut found: HashMap<&str, Vec<StoredPart<'_>>> = HashMap::new();
    for (blob, entry) in table.tensors() {
        for (at, name) in entry.source_names().enumerate() {
            found.entry(name).or_default().push(StoredPart::recorded(blob, entry, at));
        }
    }
    found
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

impl<'w> GgufFile<'w> {
    /// The file `name` with these pairs and tensors.
    pub(super) fn new(name: String, metadata: Metadata, tensors: Vec<GgufTensor<'w>>) -> Result<Self, ExportError> {
        let mut infos = Vec::with_capacity(tensors.len());
        for tensor in &tensors {
            let fail = |problem: String| ExportError::GgufValues { tensor: tensor.name.clone(), problem };
            let dims = Dims::from_shape(tensor.shape.dims()).map_err(|error| fail(error.to_string()))?;
            let known = tensor.ggml_type.name().parse().expect("both crates name ggml's types alike");
            infos.push((tensor.name.as_str(), known, dims));
        }
        match Layout::new(metadata, infos) {
            Ok(layout) => Ok(Self { name, header: layout.parsed().clone(), tensors }),
            Err(source) => Err(ExportError::GgufLayout { file: name, source }),
        }
    }
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

    /// Writes the file. Each thread takes one piece of a tensor at a time and writes it in its place. Returns `Ok(false)` if
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
        // Bytes that are not written are padding, which is zero.
        file.set_len(self.header.file_len()).map_err(fail)?;
        positioned::write_all_at(&file, &self.header.to_bytes(), 0).map_err(fail)?;
        progress.advance(self.header.data_start());
        let starts = self.header.iter().map(|info| info.file_range().start);
        let pieces: Vec<_> = starts.zip(&self.tensors).flat_map(|(start, tensor)| pieces(start, tensor)).collect();
        let next = AtomicUsize::new(0);
        let (failed, cancelled) = (AtomicBool::new(false), AtomicBool::new(false));
        let work = || -> Result<(), ExportError> {
            let mut reader = Reader::new(store);
            let (mut buffers, mut bytes) = (Buffers::default(), Vec::new());
            while let Some(&(start, tensor, from, to)) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                if progress.cancelled() {
                    cancelled.store(true, Ordering::Relaxed);
                }
                if failed.load(Ordering::Relaxed) || cancelled.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let at = start + tensor.bytes_of(from);
                let made = tensor
                    .make((from, to), &mut reader, &mut buffers, &mut bytes)
                    .and_then(|()| positioned::write_all_at(&file, &bytes, at).map_err(fail));
                if made.is_err() {
                    failed.store(true, Ordering::Relaxed);
                    return made;
                }
                progress.advance(bytes.len() as u64);
            }
            Ok(())
        };
        share(threads.min(pieces.len()).max(1), &work).into_iter().collect::<Result<(), _>>()?;
        Ok(!cancelled.into_inner())
    }
}

/// The pieces of a tensor, whose bytes begin at `start`: each with its first element and the one after its last.
fn pieces<'f, 'w>(
    start: u64,
    tensor: &'f GgufTensor<'w>,
) -> impl Iterator<Item = (u64, &'f GgufTensor<'w>, u64, u64)> + use<'f, 'w> {
    let elements = tensor.elements();
    let count = elements.div_ceil(CHUNK);
    (0..count).map(move |piece| (start, tensor, piece * CHUNK, elements.min((piece + 1) * CHUNK)))
}
