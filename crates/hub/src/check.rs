//! The digest that the hub lists for a file, of either kind, computed while bytes arrive.

use longshore_manifest::Hasher;

use crate::{FileDigest, Listed, git::GitHasher};

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
