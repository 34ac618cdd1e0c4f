//! The files beside the weights: those that a model needs to run, and those that are left out.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use longshore_manifest::{Digest, RelativePath};

use super::{
    error::SourceError,
    walk::{Entry, EntryKind},
};
use crate::io::{data::Data, has_suffix, memory};

/// The largest number of companion files of one model.
pub const MAX_COMPANIONS: usize = 4096;
/// The longest companion file, in bytes.
pub const MAX_COMPANION_BYTES: u64 = 1 << 30;
/// The largest number of names in one warning.
const LISTED: usize = 20;

/// A file beside the weights that is stored with the model, byte for byte.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Companion {
    /// Path of the file below the model's directory, such as `1_Pooling/config.json`.
    pub name: RelativePath,
    /// Path of the file, as messages give it.
    pub path: PathBuf,
    /// Length in bytes when the directory was read.
    pub size: u64,
    /// The kind of layer that the file is stored as.
    pub kind: CompanionKind,
    /// The bytes of the file.
    pub(crate) data: Arc<dyn Data>,
    /// The SHA-256 that the source promises for the bytes. An import that reads others fails.
    pub(crate) digest: Option<Digest>,
    /// Whether the file is made of what the weight files say, and was none of the source's own.
    pub(crate) is_derived: bool,
}

impl Companion {
    /// Creates a companion file of `size` bytes that are read from `data`. Its name determines its kind.
    #[must_use]
    pub fn new(name: RelativePath, size: u64, data: Arc<dyn Data>) -> Self {
        let path = PathBuf::from(name.as_str());
        let kind = kind_of(name.as_str()).unwrap_or(CompanionKind::Other);
        Self { name, path, size, kind, data, digest: None, is_derived: false }
    }

    /// The same file with the SHA-256 that the source promises for its bytes. An import hashes the file while it copies
    /// it, and fails with [`ReadError::Damaged`](crate::ReadError::Damaged) if the digest is another.
    #[must_use]
    pub fn with_digest(mut self, digest: Digest) -> Self {
        self.digest = Some(digest);
        self
    }

    /// Creates a companion that is made of what the weight files say.
    pub(crate) fn derived(name: RelativePath, bytes: Vec<u8>) -> Self {
        let size = bytes.len() as u64;
        let data: Arc<[u8]> = bytes.into();
        Self { is_derived: true, ..Self::new(name, size, Arc::new(data)) }
    }

    /// Creates a companion that is a file.
    pub(crate) fn file(name: RelativePath, path: PathBuf, size: u64, kind: CompanionKind) -> Self {
        let data = Arc::new(path.clone());
        Self { name, path, size, kind, data, digest: None, is_derived: false }
    }

    /// The whole contents; `None` if there are more than `limit` bytes or if reading fails.
    pub(crate) fn bytes(&self, limit: u64) -> Option<Vec<u8>> {
        let len = usize::try_from(Some(self.size).filter(|size| *size <= limit)?).ok()?;
        let mut bytes = memory::zeros(len).ok()?;
        self.data.open().and_then(|data| data.read_exact_at(&mut bytes, 0)).ok()?;
        Some(bytes)
    }
}

/// The kind of layer that a companion file is stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CompanionKind {
    /// A JSON document.
    Json,
    /// Any other file: a tokenizer's model, a template, code, a licence.
    Other,
}

/// Names of files that are companions. [`kind_of`] recognises other companions by the beginning or end of their names.
const NAMES: &[&str] = &["vocab.txt", "merges.txt", "vocab.bpe", "bpe.codes"];
/// Endings of the names of vocabularies of sentencepiece and tiktoken, of templates, and of a model's own code.
const SUFFIXES: &[&str] = &[".model", ".spm", ".tiktoken", ".jinja", ".py"];
/// Beginnings of the names of legal and descriptive files, in upper case. Names are compared without regard to case.
const PREFIXES: &[&str] = &["LICENSE", "LICENCE", "NOTICE", "COPYING", "README"];
/// Endings of the names of files in other weight formats, and of files for the tools that read these formats.
const OTHER_WEIGHTS: &[&str] = &[
    ".safetensors",
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".gguf",
    ".ggml",
    ".h5",
    ".msgpack",
    ".onnx",
    ".onnx_data",
    ".ot",
    ".tflite",
    ".npz",
    ".pdparams",
    ".index.json",
];
const OTHER_RUNTIMES: &[&str] = &["onnx/", "openvino/", "coreml/", "tf/", "flax/", "gguf/"];

/// The kind that a file with this name is stored as; `None` if the file is no companion.
pub(crate) fn kind_of(file_name: &str) -> Option<CompanionKind> {
    // The shard index of a variant is called `model.safetensors.index.fp16.json`, for example.
    let is_index = [".safetensors.index.", ".bin.index."].iter().any(|part| file_name.contains(part));
    if has_suffix(file_name, ".json") && !is_index {
        return Some(CompanionKind::Json);
    }
    let upper = file_name.to_uppercase();
    let is_other = NAMES.contains(&file_name)
        || SUFFIXES.iter().any(|suffix| has_suffix(file_name, suffix))
        || file_name.starts_with("tokenizer.model.")
        || PREFIXES.iter().any(|prefix| upper.starts_with(prefix))
        || upper.contains("POLICY");
    let is_weights = is_index || OTHER_WEIGHTS.iter().any(|suffix| has_suffix(file_name, suffix));
    (is_other && !is_weights).then_some(CompanionKind::Other)
}

/// The companions among `entries`, sorted by name. Adds a warning that names the other files, except for the weight
/// files in `used`. An entry with the name of a companion that is no readable file is an error.
pub(crate) fn collect(
    root: &Path,
    entries: Vec<Entry>,
    used: &[String],
    warnings: &mut Vec<String>,
) -> Result<Vec<Companion>, SourceError> {
    let mut companions = Vec::new();
    let mut weights = Vec::new();
    let mut others = Vec::new();
    let mut unread = Vec::new();
    for entry in entries {
        if used.contains(&entry.name) {
            continue;
        }
        let kind = kind_of(entry.file_name());
        let Entry { name, path, kind: found } = entry;
        let (kind, size, digest) = match (found, kind) {
            (EntryKind::File { len, digest }, Some(kind)) => (kind, len, digest),
            (EntryKind::File { .. }, None) => {
                if is_other_weights(&name) { &mut weights } else { &mut others }.push(name);
                continue;
            }
            (EntryKind::Broken(source), Some(_)) => return Err(SourceError::Io { path, source }),
            (EntryKind::Outside { target }, Some(_)) => return Err(SourceError::Link { link: path, target }),
            (EntryKind::Special, Some(_)) => return Err(SourceError::NotRegular { path }),
            (found, _) => {
                unread.push(format!("{name} ({})", why_unread(found)));
                continue;
            }
        };
        let Ok(name) = RelativePath::parse(&name) else {
            unread.push(format!("{name:?} (its name is not portable)"));
            continue;
        };
        if size > MAX_COMPANION_BYTES {
            return Err(SourceError::TooLarge { path, found: size, limit: MAX_COMPANION_BYTES });
        }
        if companions.len() == MAX_COMPANIONS {
            return Err(SourceError::TooManyFiles { dir: root.to_owned(), limit: MAX_COMPANIONS });
        }
        companions.push(Companion { digest, ..Companion::file(name, path, size, kind) });
    }
    companions.sort_by(|a, b| a.name.cmp(&b.name));
    warnings.extend(left_out("weights in other files or formats", &weights));
    warnings.extend(left_out("files that no model needs to run", &others));
    warnings.extend(left_out("entries that are not read", &unread));
    Ok(companions)
}

/// The reason, for a warning, why an entry that is neither a companion nor a regular file is left out.
fn why_unread(found: EntryKind) -> String {
    match found {
        EntryKind::Skipped(reason) => reason,
        EntryKind::Broken(error) if error.kind() == io::ErrorKind::NotFound => "a broken link".to_owned(),
        EntryKind::Broken(error) => format!("it cannot be read: {error}"),
        EntryKind::Outside { .. } => "a link out of the source".to_owned(),
        EntryKind::Special | EntryKind::File { .. } => "it is not a regular file".to_owned(),
    }
}

fn is_other_weights(name: &str) -> bool {
    OTHER_WEIGHTS.iter().any(|suffix| has_suffix(name, suffix))
        || name.contains(".safetensors.index.")
        || OTHER_RUNTIMES.iter().any(|prefix| name.starts_with(prefix))
}

fn left_out(what: &str, names: &[String]) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    let listed = names.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    Some(match names.len().saturating_sub(LISTED) {
        0 => format!("left out {what}: {listed}"),
        more => format!("left out {what}: {listed} and {more} more"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn companions_are_told_by_name() {
        use CompanionKind::{Json, Other};
        for (name, expected) in [
            ("config.json", Some(Json)),
            ("tokenizer.json", Some(Json)),
            ("hf_quant_config.json", Some(Json)),
            ("model.safetensors.index.json", None),
            ("diffusion_pytorch_model.safetensors.index.json", None),
            ("pytorch_model.bin.index.json", None),
            ("diffusion_pytorch_model.safetensors.index.fp16.json", None),
            ("tokenizer.model", Some(Other)),
            ("tokenizer.model.v3", Some(Other)),
            ("spiece.model", Some(Other)),
            ("sentencepiece.bpe.model", Some(Other)),
            ("source.spm", Some(Other)),
            ("qwen.tiktoken", Some(Other)),
            ("vocab.txt", Some(Other)),
            ("merges.txt", Some(Other)),
            ("chat_template.jinja", Some(Other)),
            ("modeling_own.py", Some(Other)),
            ("LICENSE", Some(Other)),
            ("License.txt", Some(Other)),
            ("LICENCE.md", Some(Other)),
            ("NOTICE", Some(Other)),
            ("COPYING", Some(Other)),
            ("USE_POLICY.md", Some(Other)),
            ("README.md", Some(Other)),
            ("requirements.txt", None),
            ("model.safetensors", None),
            ("policy.safetensors", None),
            ("pytorch_model.bin", None),
            ("picture.png", None),
        ] {
            assert_eq!(kind_of(name), expected, "{name}");
        }
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<_> = (0..LISTED + 3).map(|i| format!("f{i}")).collect();
        let warning = left_out("things", &names).expect("there are names");
        assert!(warning.starts_with("left out things: f0, f1,") && warning.ends_with(" f19 and 3 more"), "{warning}");
        assert_eq!(left_out("things", &names[..1]).as_deref(), Some("left out things: f0"));
        assert_eq!(left_out("things", &[]), None);
    }
}
