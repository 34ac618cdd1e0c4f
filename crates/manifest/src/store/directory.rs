//! Recognition of directories without a marker of this project.

use std::{io, path::Path};

use super::owner::is_unique_name;
use crate::FsError;

/// Kind of a directory that is neither empty nor a store of this project. Such a directory is never written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Owner {
    /// A store in this layout that another program keeps, such as ollama. Its models can be read.
    OtherProgram,
    /// A Hugging Face hub cache, or the directory of one of its models. Its snapshots can be imported.
    HubCache,
    /// A directory with other files. A store is created only in a directory of its own.
    Nobody,
}

/// Files that operating systems create in directories by themselves.
const SYSTEM: [&str; 11] = [
    "lost+found",
    ".directory",
    ".DS_Store",
    ".localized",
    ".Spotlight-V100",
    ".fseventsd",
    ".TemporaryItems",
    "Thumbs.db",
    "desktop.ini",
    "System Volume Information",
    "$RECYCLE.BIN",
];
const SYSTEM_PREFIXES: [&str; 3] = [".Trash", ".nfs", ".fuse_hidden"];

/// Returns the kind of the directory `root`, which has no marker, or `None` if a store may be created in it.
pub(super) fn owner_of(root: &Path) -> Result<Option<Owner>, FsError> {
    let has = |name: &str| root.join(name).is_dir();
    if has("snapshots") && (has("refs") || has("blobs")) {
        return Ok(Some(Owner::HubCache));
    }
    if root.join("blobs").exists() || root.join("manifests").exists() {
        return Ok(Some(Owner::OtherProgram));
    }
    let list = |dir: &Path| std::fs::read_dir(dir).map_err(FsError::at("list", dir));
    let mut owner = None;
    for entry in list(root)? {
        let name = entry.map_err(FsError::at("list", root))?.file_name();
        let name = name.to_string_lossy();
        if ["models--", "datasets--", "spaces--"].iter().any(|prefix| name.starts_with(prefix)) {
            return Ok(Some(Owner::HubCache));
        }
        let is_system = SYSTEM.contains(&&*name) || SYSTEM_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        let is_ours = name == "tmp" && is_unfinished(&root.join("tmp"));
        if !is_system && !is_ours {
            owner = Some(Owner::Nobody);
        }
    }
    Ok(owner)
}

/// Whether a store's `tmp` holds only files from before, or right after, the marker was written. Another process is
/// then creating the store, or was stopped while creating it.
fn is_unfinished(dir: &Path) -> bool {
    let is_ours = |entry: io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|entry| is_unique_name(&entry.file_name().to_string_lossy()))
    };
    match std::fs::read_dir(dir) {
        Ok(mut entries) => entries.all(is_ours),
        // The creating process has continued; or a file is in the way, which the next process that creates the store
        // reports.
        Err(error) => matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
    }
}
