//! The hub's own cache: read where it has a file, never written.

use std::{
    collections::HashMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use longshore_manifest::{RelativePath, open_regular};

use crate::{FileDigest, HubError, HubOptions, HubReference, Listed, Listing, check::Check, error::at};

/// Longest reference file that is read, in bytes.
const MAX_REFERENCE: u64 = 100;

/// The directory of a repository in the cache.
pub(crate) fn repository(options: &HubOptions, repository: &str) -> Option<PathBuf> {
    Some(options.cache.as_ref()?.join(format!("models--{}", repository.replace('/', "--"))))
}

/// The file in the cache, if its bytes are right. Reads all of it.
pub(crate) fn find(options: &HubOptions, repo: &str, file: &Listed, stop: &dyn Fn() -> bool) -> Option<PathBuf> {
    let name = match &file.digest {
        FileDigest::Sha256(digest) => digest.to_string().trim_start_matches("sha256:").to_owned(),
        FileDigest::Git(oid) => oid.clone(),
    };
    let path = repository(options, repo)?.join("blobs").join(name);
    let is_right = path.metadata().is_ok_and(|found| found.is_file() && found.len() == file.size);
    (is_right && has_digest(&path, file, stop)).then_some(path)
}

/// Whether a file has the digest that the hub lists.
pub(crate) fn has_digest(path: &Path, file: &Listed, stop: &dyn Fn() -> bool) -> bool {
    let Ok(mut opened) = open_regular(path) else { return false };
    let mut check = Check::new(file);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match opened.read(&mut buffer) {
            Ok(0) => return check.finish().is_ok(),
            Ok(got) if !stop() => check.update(&buffer[..got]),
            _ => return false,
        }
    }
}

/// The snapshot of a revision, as the cache has it.
pub(crate) fn snapshot(options: &HubOptions, reference: &HubReference) -> Option<PathBuf> {
    let dir = repository(options, reference.repository())?;
    let mut commit = String::new();
    let named = fs::File::open(dir.join("refs").join(reference.revision()));
    match named {
        Ok(file) => drop(file.take(MAX_REFERENCE).read_to_string(&mut commit).ok()?),
        Err(_) => reference.revision().clone_into(&mut commit),
    }
    let commit = commit.trim();
    let is_commit = !commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    let path = dir.join("snapshots").join(commit);
    (is_commit && path.is_dir()).then_some(path)
}

/// Deepest directory of a snapshot that is listed.
const MAX_DEPTH: usize = 32;

/// The files of a snapshot, with the digests that their names in the cache say, and where they lie.
pub(crate) fn listing(
    snapshot: &Path,
    reference: &HubReference,
    commit: &str,
) -> Result<(Listing, HashMap<RelativePath, PathBuf>), HubError> {
    let (mut files, mut paths) = (Vec::new(), HashMap::new());
    let mut dirs = vec![(snapshot.to_path_buf(), String::new())];
    while let Some((dir, above)) = dirs.pop() {
        for entry in fs::read_dir(&dir).map_err(at("list", &dir))? {
            let path = entry.map_err(at("list", &dir))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let relative = format!("{above}{name}");
            let found = path.symlink_metadata().map_err(at("look at", &path))?;
            if found.is_dir() {
                if relative.split('/').count() < MAX_DEPTH {
                    dirs.push((path, format!("{relative}/")));
                }
                continue;
            }
            let (Ok(relative), Ok(target)) = (RelativePath::parse(&relative), path.canonicalize()) else { continue };
            let Some(found) = target.metadata().ok().filter(fs::Metadata::is_file) else { continue };
            files.push(Listed { path: relative.clone(), size: found.len(), digest: named(&target) });
            paths.insert(relative, target);
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let repository = reference.repository().to_owned();
    Ok((Listing { repository, commit: commit.to_owned(), files }, paths))
}

/// The digest that the name of a file in `blobs` says.
fn named(target: &Path) -> FileDigest {
    let is_blob = target.parent().and_then(Path::file_name).is_some_and(|name| name == "blobs");
    let name = target.file_name().and_then(|name| name.to_str()).filter(|_| is_blob).unwrap_or_default();
    match format!("sha256:{name}").parse() {
        Ok(digest) => FileDigest::Sha256(digest),
        Err(_) if name.len() == 40 => FileDigest::Git(name.to_owned()),
        Err(_) => FileDigest::Git(String::new()),
    }
}

/// Whether nothing says a file's digest: it lies in the snapshot itself.
pub(crate) fn is_unnamed(file: &Listed) -> bool {
    matches!(&file.digest, FileDigest::Git(name) if name.is_empty())
}

/// Checks that a file of the cache has the digest of its name.
pub(crate) fn check(path: &Path, file: &Listed, stop: &dyn Fn() -> bool) -> Result<(), HubError> {
    let mut opened = open_regular(path).map_err(at("open", path))?;
    let mut check = Check::new(file);
    let mut buffer = vec![0; 1 << 20];
    loop {
        if stop() {
            return Err(HubError::Cancelled);
        }
        match opened.read(&mut buffer).map_err(at("read", path))? {
            0 => break,
            got => check.update(&buffer[..got]),
        }
    }
    let done = check.finish();
    done.map_err(|(expected, found)| HubError::Cached { path: path.to_path_buf(), expected, found })
}
