//! Hints for a checkpoint that cannot be read.

use std::{
    io::Read as _,
    path::{Component, Path},
};

use longshore_manifest::{open_regular, weights};
use longshore_packer::SourceError;
use longshore_st_format::{HeaderError, OpenError};

use crate::door;

const LFS: &str = "this is a Git LFS pointer in place of the file: git lfs pull fetches it";
const NO_MODEL: &str = "name the directory that holds a checkpoint's config.json and .safetensors files";

/// The hint of an error about a source, where the source's own is not enough.
pub(super) fn of_source(error: &SourceError) -> Option<String> {
    match error {
        SourceError::NotFound { path } => Some(of_absent(path)),
        SourceError::Weights { source } => of_file(source),
        SourceError::Gguf { source } if source.path().is_some_and(is_lfs_pointer) => Some(LFS.into()),
        SourceError::Config { path, .. } | SourceError::Index { path, .. } if is_lfs_pointer(path) => Some(LFS.into()),
        // Weights without a configuration lack only that; other directories are no model's.
        SourceError::NoConfig { dir, below } if below.is_empty() && !has_weights(dir) => Some(NO_MODEL.into()),
        SourceError::Empty { .. } => Some(NO_MODEL.into()),
        other => other.hint(),
    }
}

/// A name on a hub looks like a path; everything else is a path that leads nowhere.
fn of_absent(path: &Path) -> String {
    let parts: Vec<Component<'_>> = path.components().collect();
    let path = door::path(path);
    match parts.as_slice() {
        [Component::Normal(home), ..] if *home == "~" => {
            "~ is the shell's: it stands for a home directory only where it is not quoted".into()
        }
        [Component::Normal(_), Component::Normal(_)] => format!(
            "a path is read, not a hub: hf download {path} --local-dir DIR fetches a model of that name; then import DIR"
        ),
        _ => "name a checkpoint's directory, or one .safetensors file; a relative path starts at the current directory"
            .into(),
    }
}

/// The hint of an error about a directory or files that are opened without an import.
pub(super) fn of_opened(error: &weights::SourceError) -> Option<String> {
    use weights::SourceError as Error;
    match error {
        Error::Header { path, source } => of_header(path, source),
        Error::Document { path, .. } | Error::Index { path, .. } if is_lfs_pointer(path) => Some(LFS.into()),
        Error::NoWeights { found: None, .. } => {
            Some("name a directory that holds a checkpoint's .safetensors files".into())
        }
        Error::NoWeights { found: Some(found), .. } if found.extension().is_some_and(|end| end == "gguf") => {
            Some("longshore import stores GGUF files, and load takes them by their name in the store".into())
        }
        Error::MissingShard { .. } | Error::WrongShard { .. } => {
            Some("download the file again, or remove the index if it belongs to other files".into())
        }
        Error::Contradiction { .. } => Some(
            "correct config.json, or leave the member that is wrong out of it; or name the files themselves".into(),
        ),
        _ => None,
    }
}

/// Whether a directory holds safetensors files.
fn has_weights(dir: &Path) -> bool {
    let mut entries = dir.read_dir().into_iter().flatten().flatten();
    entries.any(|entry| Path::new(&entry.file_name()).extension().is_some_and(|end| end == "safetensors"))
}

/// The hint about a weight file whose header is not valid.
pub(super) fn of_file(error: &OpenError) -> Option<String> {
    let OpenError::Header { path, source } = error else { return None };
    of_header(path, source)
}

fn of_header(path: &Path, source: &HeaderError) -> Option<String> {
    if is_lfs_pointer(path) {
        return Some(LFS.into());
    }
    let is_cut = matches!(
        source,
        HeaderError::PrefixTruncated { .. }
            | HeaderError::HeaderBeyondFile { .. }
            | HeaderError::BytesTruncated { .. }
            | HeaderError::RangeBeyondData { .. }
    );
    is_cut.then(|| "the file ends too early, as after a download that was cut off: download it again".into())
}

/// Whether a file is what Git leaves where large files are kept elsewhere and were not fetched.
fn is_lfs_pointer(path: &Path) -> bool {
    const START: &[u8] = b"version https://git-lfs";
    let mut start = [0; START.len()];
    open_regular(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == START
}
