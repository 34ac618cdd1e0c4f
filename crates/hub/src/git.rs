//! Digests of Git: SHA-1 over a header and the bytes. They find damage, not malice.

use sha1::{Digest as _, Sha1};

/// Hasher of a file as Git names it.
#[derive(Debug, Clone)]
pub(crate) struct GitHasher(Sha1);

impl GitHasher {
    pub(crate) fn new(size: u64) -> Self {
        Self(Sha1::new_with_prefix(format!("blob {size}\0")))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> String {
        use std::fmt::Write as _;
        self.0.finalize().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gits_names_are_known() {
        assert_eq!(GitHasher::new(0).finish(), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        let mut hasher = GitHasher::new(6);
        hasher.update(b"hel");
        hasher.update(b"lo\n");
        assert_eq!(hasher.finish(), "ce013625030ba8dba906f756967f9e9ca394464a");
    }
}
