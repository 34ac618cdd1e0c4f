//! The hub's own cache: read where it has a file, never written.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use longshore_manifest::{Hasher, open_regular};

use crate::{FileDigest, HubOptions, HubReference, Listed, git::GitHasher};

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

/// A digest that is computed while bytes arrive.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    expected: FileDigest,
    sha256: Hasher,
    git: Option<GitHasher>,
}

impl Check {
    pub(crate) fn new(file: &Listed) -> Self {
        let git = matches!(file.digest, FileDigest::Git(_)).then(|| GitHasher::new(file.size));
        Self { expected: file.digest.clone(), sha256: Hasher::default(), git }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match &mut self.git {
            Some(git) => git.update(bytes),
            None => self.sha256.update(bytes),
        }
    }

    /// Returns the digest that was expected, and that of the bytes, if they are not the same.
    pub(crate) fn finish(self) -> Result<(), (String, String)> {
        let (expected, found) = match (self.expected, self.git) {
            (FileDigest::Sha256(expected), _) => (expected.to_string(), self.sha256.finish().to_string()),
            (FileDigest::Git(expected), git) => (expected, git.map(GitHasher::finish).unwrap_or_default()),
        };
        if expected == found { Ok(()) } else { Err((expected, found)) }
    }
}
