//! Small models, made by hand through the public interface.

use std::{
    collections::BTreeMap,
    error::Error,
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use longshore_manifest::{
    Config, Descriptor, Digest, Manifest, ModelName, RelativePath, Silent, Store,
    document::{BlobEntry, Facts, Import, Part, Quantization, Role, TensorEntry, TensorTable},
    store::{Added, Committed, GcOptions, Ingest, VerifyOptions, VerifyOutcome},
};
use longshore_st_format::{Dtype, Layout, Shape, Writer};
use tempfile::TempDir;

/// A store in a temporary directory that is removed with it.
pub(crate) struct Scratch {
    pub(crate) store: Store,
    dir: TempDir,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        Self { store: Store::open(dir.path().join("store")).unwrap(), dir }
    }

    /// Makes a store in memory for very many files, if the system supports it.
    pub(crate) fn of_many_files() -> Self {
        let dir = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
        Self { store: Store::open(dir.path().join("store")).unwrap(), dir }
    }

    /// Returns a path beside the store.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Lists the names of the files in `blobs`, sorted.
    pub(crate) fn blobs(&self) -> Vec<String> {
        entries(&self.store.root().join("blobs"))
    }

    /// Lists the names in `tmp`, sorted.
    pub(crate) fn temporaries(&self) -> Vec<String> {
        entries(&self.store.root().join("tmp"))
    }
}

fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

pub(crate) fn name(text: &str) -> ModelName {
    text.parse().unwrap()
}

/// A tensor blob with its description in the table.
#[derive(Clone)]
pub(crate) struct Blob {
    pub(crate) name: String,
    pub(crate) component: Option<String>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) tensors: Vec<TensorEntry>,
}

impl Blob {
    /// Makes one plain F32 tensor `[rows, 4]`.
    pub(crate) fn plain(name: &str, rows: u64, seed: u8) -> Self {
        Self::of(name, Dtype::F32, &[rows, 4], None, &[(Role::Weight, Dtype::F32, vec![rows, 4])], seed)
    }

    /// Makes one affine tensor `[rows, 2 * group]` of BF16 as int4.
    pub(crate) fn int4(name: &str, rows: u64, group: u32, seed: u8) -> Self {
        let columns = u64::from(group) * 2;
        let parts = [
            (Role::Weight, Dtype::U32, vec![rows, columns / 8]),
            (Role::Scale, Dtype::BF16, vec![rows, 2]),
            (Role::Bias, Dtype::BF16, vec![rows, 2]),
        ];
        Self::of(name, Dtype::BF16, &[rows, columns], Some(("int4", group)), &parts, seed)
    }

    /// Makes one tensor `[rows, 32]` of BF16 as nvfp4 with a global scale.
    pub(crate) fn nvfp4(name: &str, rows: u64, seed: u8) -> Self {
        Self::nvfp4_of(name, &[rows], seed)
    }

    /// Makes one tensor `[outer, 32]` of BF16 as nvfp4 with a global scale.
    pub(crate) fn nvfp4_of(name: &str, outer: &[u64], seed: u8) -> Self {
        let shape = |last| [outer, &[last]].concat();
        let parts = [
            (Role::Weight, Dtype::U32, shape(4)),
            (Role::Scale, Dtype::U8, shape(2)),
            (Role::GlobalScale, Dtype::F32, vec![]),
        ];
        Self::of(name, Dtype::BF16, &shape(32), Some(("nvfp4", 16)), &parts, seed)
    }

    /// Returns the name of the blob's layer.
    pub(crate) fn layer(&self) -> String {
        self.component.as_ref().map_or_else(|| self.name.clone(), |component| format!("{component}/{}", self.name))
    }

    pub(crate) fn in_component(mut self, component: &str) -> Self {
        self.component = Some(component.to_owned());
        self
    }

    fn of(
        name: &str,
        dtype: Dtype,
        shape: &[u64],
        code: Option<(&str, u32)>,
        parts: &[(Role, Dtype, Vec<u64>)],
        seed: u8,
    ) -> Self {
        let metadata = code.map_or_else(BTreeMap::new, |(quant_type, group)| {
            BTreeMap::from([
                ("quant_type".to_owned(), quant_type.to_owned()),
                ("group_size".to_owned(), group.to_string()),
            ])
        });
        let part_name = |role: Role| format!("{name}{}", role.suffix());
        let arrays = parts.iter().map(|(role, dtype, dims)| (part_name(*role), *dtype, Shape::new(dims.clone())));
        let layout = Layout::new(&metadata, arrays).unwrap();
        let parts = parts.iter().map(|(role, ..)| Part::new(*role, layout.get(&part_name(*role)).unwrap()));
        let entry = TensorEntry {
            quantization: code
                .map(|(quant_type, group_size)| Quantization { quant_type: quant_type.to_owned(), group_size }),
            ..TensorEntry::new(name, dtype, Shape::new(shape), parts.collect())
        };
        let data_len = usize::try_from(layout.file_len() - layout.data_start()).unwrap();
        let mut writer = Writer::new(Vec::new(), layout).unwrap();
        writer.write(&bytes(data_len, seed)).unwrap();
        Self { name: name.to_owned(), component: None, bytes: writer.finish().unwrap(), tensors: vec![entry] }
    }

    /// Returns the data of a part as it was written.
    pub(crate) fn data(&self, role: Role) -> &[u8] {
        let part = self.tensors[0].part(role).unwrap();
        let (start, len) = (usize::try_from(part.offset).unwrap(), usize::try_from(part.length).unwrap());
        &self.bytes[start..start + len]
    }
}

/// Returns bytes that look random and depend only on the seed.
pub(crate) fn bytes(len: usize, seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed).wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    (0..len).map(|_| next()).collect()
}

/// Describes a companion file.
pub(crate) fn file(path: &str, added: Added) -> Descriptor {
    Descriptor::file(&RelativePath::parse(path).unwrap(), added)
}

/// Makes the table of these blobs.
pub(crate) fn table(blobs: &[Blob]) -> TensorTable {
    let entries = blobs.iter().map(|blob| BlobEntry {
        component: blob.component.clone(),
        ..BlobEntry::new(Digest::of(&blob.bytes), blob.tensors.clone())
    });
    TensorTable::new(facts(), import(), entries.collect())
}

fn facts() -> Facts {
    Facts { architecture: Some("Qwen3ForCausalLM".into()), layers: Some(2), ..Facts::default() }
}

fn import() -> Import {
    Import { kind: "float".into(), ..Import::default() }
}

/// Adds the blobs, a `config.json` and the config document, and returns the manifest of all of them.
pub(crate) fn add(ingest: &Ingest<'_>, blobs: &[Blob]) -> Manifest {
    add_with_config(ingest, blobs, &Config::new(table(blobs)).to_bytes())
}

pub(crate) fn add_with_config(ingest: &Ingest<'_>, blobs: &[Blob], config: &[u8]) -> Manifest {
    let mut layers: Vec<_> =
        blobs.iter().map(|blob| Descriptor::tensor(blob.layer(), ingest.add(&blob.bytes).unwrap())).collect();
    layers.push(Descriptor::json(&RelativePath::parse("config.json").unwrap(), ingest.add(b"{}\n").unwrap()));
    Manifest::new(Descriptor::config(ingest.add(config).unwrap()), layers)
}

pub(crate) fn commit(store: &Store, text: &str, blobs: &[Blob]) -> Committed {
    let ingest = store.ingest().unwrap();
    let manifest = add(&ingest, blobs);
    ingest.commit(&name(text), &manifest).unwrap()
}

/// Verifies the whole store.
pub(crate) fn verify(store: &Store) -> VerifyOutcome {
    store.verify(&VerifyOptions::default(), &Silent).unwrap()
}

/// Options of a `gc` that deletes new blobs too.
pub(crate) fn at_once(dry_run: bool) -> GcOptions {
    GcOptions { dry_run, grace: Duration::ZERO }
}

/// Replaces the bytes of a read-only file.
pub(crate) fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Writes a new file, and creates the directories above it.
pub(crate) fn put(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Makes a file look as if it had been written this many minutes ago.
pub(crate) fn age(path: &Path, minutes: u64) {
    let time = SystemTime::now() - Duration::from_secs(60 * minutes);
    File::open(path).unwrap().set_modified(time).unwrap();
}

/// Returns every file below a directory with its content, and every directory.
pub(crate) fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path.clone());
                found.insert(path, None);
            } else {
                found.insert(path.clone(), fs::read(&path).ok());
            }
        }
    }
    found
}

/// Returns the messages of an error and its causes. No message may repeat the one below it.
pub(crate) fn chain(error: &dyn Error) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(found) = cause {
        let (text, above) = (found.to_string(), texts.last().unwrap());
        assert!(!above.contains(&text), "{above:?} repeats {text:?}");
        texts.push(text);
        cause = found.source();
    }
    texts
}
