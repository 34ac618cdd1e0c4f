//! Names that differ from the names of the store: in case only, or by a slip.

use std::path::{Path, PathBuf};

use super::Store;
use crate::{FsError, ModelName, fs};

/// A name that the store has in another spelling.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} has {existing}, which differs from {name} only in case: file systems that ignore case cannot hold both", root.display())]
#[non_exhaustive]
pub struct SpellingError {
    /// The name that was asked for.
    pub name: ModelName,
    /// The name as the store has it.
    pub existing: ModelName,
    /// The store's directory.
    pub root: PathBuf,
}

impl Store {
    /// Makes sure that `name` may be written: the store has it as it is, or has none that differs from it only in ASCII case.
    /// Where a file system ignores case the two would be one file, and a store must mean the same wherever it is copied.
    ///
    /// # Errors
    ///
    /// [`SpellingError`] with the other spelling. A directory that cannot be listed is no reason to refuse: writing to it fails
    /// by itself.
    pub fn check_spelling(&self, name: &ModelName) -> Result<(), Box<SpellingError>> {
        let found = self.spellings(name).unwrap_or_default();
        match found.first() {
            Some(existing) if !found.contains(name) => Err(Box::new(SpellingError {
                name: name.clone(),
                existing: existing.clone(),
                root: self.root().to_path_buf(),
            })),
            _ => Ok(()),
        }
    }

    /// The names of the store that differ from `name` in ASCII case at most, sorted.
    fn spellings(&self, name: &ModelName) -> Result<Vec<ModelName>, FsError> {
        let mut found: Vec<Vec<String>> = vec![Vec::new()];
        let segments = [name.host(), name.namespace(), name.model(), name.tag()];
        for (depth, segment) in segments.into_iter().enumerate() {
            let mut deeper = Vec::new();
            for above in found {
                let dir = above.iter().fold(self.manifests(), |dir, part| dir.join(part));
                for entry in alike(&dir, segment, depth + 1 < segments.len())? {
                    deeper.push([above.as_slice(), &[entry]].concat());
                }
            }
            found = deeper;
        }
        let names = found.iter().filter_map(|parts| ModelName::from_parts(&parts[0], &parts[1], &parts[2], &parts[3]));
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Names of the store that someone who typed `name` may have meant, the likeliest first, at most three: the same in another
    /// case, other tags of the same model, and what is a letter or two away. Empty where the store cannot be listed.
    #[must_use]
    pub fn near(&self, name: &ModelName) -> Vec<ModelName> {
        let asked = name.to_string().to_ascii_lowercase();
        let rank = |other: &ModelName| {
            let text = other.to_string().to_ascii_lowercase();
            if text == asked {
                return Some(0);
            }
            let is_same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
            let is_tag = is_same(other.model(), name.model())
                && is_same(other.namespace(), name.namespace())
                && is_same(other.host(), name.host());
            // A slip in a short name makes another name.
            let allowed = if asked.len() < 8 { 1 } else { 2 };
            let distance = distance(&asked, &text);
            if distance <= allowed { Some(distance) } else { is_tag.then_some(3) }
        };
        let names = self.names().unwrap_or_default();
        let mut near: Vec<_> = names.into_iter().filter_map(|other| Some((rank(&other)?, other))).collect();
        near.sort_unstable();
        near.into_iter().map(|(_, name)| name).take(3).collect()
    }
}

/// The entries of a directory that are `segment` but for case; only directories, or only what is none.
fn alike(dir: &Path, segment: &str, directories: bool) -> Result<Vec<String>, FsError> {
    let entries = fs::entries(dir)?.into_iter().filter(|(_, kind)| kind.is_dir() == directories);
    Ok(entries.map(|(entry, _)| entry).filter(|entry| entry.eq_ignore_ascii_case(segment)).collect())
}

/// The least number of letters to insert, remove, replace, or swap with the next, that makes `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    let mut rows: [Vec<usize>; 3] = [Vec::new(), Vec::new(), (0..=b.len()).collect()];
    for (i, letter) in a.iter().enumerate() {
        rows.rotate_left(1);
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, other) in b.iter().enumerate() {
            let mut least = (rows[1][j] + usize::from(letter != other)).min(rows[1][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *letter == b[j - 1] && a[i - 1] == *other {
                least = least.min(rows[0][j - 1] + 1);
            }
            row.push(least);
        }
        rows[2] = row;
    }
    rows[2][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("a", "", 1),
            ("qwen3", "qwen3", 0),
            ("qwen3", "qwen4", 1),
            ("qwen3", "qewn3", 1),
            ("qwen3", "wen3", 1),
            ("qwen3", "qqwen33", 2),
            ("abc", "xyz", 3),
        ] {
            assert_eq!((distance(a, b), distance(b, a)), (expected, expected), "{a} {b}");
        }
        assert_eq!(distance("qwen3", "qwen3-coder"), usize::MAX);
    }
}
