//! Names that differ from names of the store only in case, in whole or in part, or by a typing error.

use std::path::PathBuf;

use super::Store;
use crate::{FsError, ModelName, fs};

/// A name whose path in the store differs from that of another name only in case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} has {existing}, whose {} differs from that of {name} only in case: file systems that ignore case cannot hold both",
    root.display(),
    self.part()
)]
#[non_exhaustive]
pub struct SpellingError {
    /// Requested name.
    pub name: ModelName,
    /// Name of the store that spells its host, namespace, model or tag in another case.
    pub existing: ModelName,
    /// Directory of the store.
    pub root: PathBuf,
}

impl SpellingError {
    /// Returns the first part that the two names spell in different cases.
    fn part(&self) -> &'static str {
        let pairs = segments(&self.name).into_iter().zip(segments(&self.existing));
        let mut parts = ["host", "namespace", "model", "tag"].into_iter().zip(pairs);
        parts.find(|(_, (asked, found))| asked != found).map_or("name", |(part, _)| part)
    }
}

/// Returns the parts of a name's path.
fn segments(name: &ModelName) -> [&str; 4] {
    [name.host(), name.namespace(), name.model(), name.tag()]
}

impl Store {
    /// Checks that `name` may be written. The store must have `name` itself, or no name whose host, namespace, model or
    /// tag differs from that of `name` only in ASCII case, after equal parts before it. On a file system that ignores
    /// case, two such directories or files would be one, and a store must mean the same wherever it is copied.
    ///
    /// Two processes that write two spellings at the same moment, on a file system that distinguishes case, do not
    /// notice each other.
    ///
    /// # Errors
    ///
    /// [`SpellingError`] with the other spelling. A directory that cannot be listed does not lead to an error here,
    /// because writing to it fails anyway.
    pub fn check_spelling(&self, name: &ModelName) -> Result<(), Box<SpellingError>> {
        match self.other_spelling(name).unwrap_or_default() {
            Some(existing) => {
                Err(Box::new(SpellingError { name: name.clone(), existing, root: self.root().to_path_buf() }))
            }
            None => Ok(()),
        }
    }

    /// Returns a name of the store that excludes `name`, or `None` if there is none or the store has `name` itself.
    fn other_spelling(&self, name: &ModelName) -> Result<Option<ModelName>, FsError> {
        let (mut other, mut above) = (None, Vec::new());
        for segment in segments(name) {
            let found = fs::entries(&self.directory_of(&above))?;
            let is_other = |entry: &str| entry.eq_ignore_ascii_case(segment) && entry != segment;
            for (entry, _) in found.iter().filter(|(entry, _)| is_other(entry)) {
                if other.is_none() {
                    other = self.first_below(&[&above[..], &[entry]].concat())?;
                }
            }
            if !found.iter().any(|(entry, _)| entry == segment) {
                return Ok(other);
            }
            above.push(segment);
        }
        Ok(None)
    }

    /// Returns the first name whose path starts with `parts`.
    fn first_below(&self, parts: &[&str]) -> Result<Option<ModelName>, FsError> {
        let is_file = self.directory_of(parts).metadata().is_ok_and(|found| !found.is_dir());
        if let [host, namespace, model, tag] = parts {
            return Ok(ModelName::from_parts(host, namespace, model, tag).filter(|_| is_file));
        }
        if is_file {
            return Ok(None);
        }
        for (entry, _) in fs::entries(&self.directory_of(parts))? {
            if let Some(name) = self.first_below(&[parts, &[&entry]].concat())? {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    fn directory_of(&self, parts: &[&str]) -> PathBuf {
        self.manifests().join(parts.iter().collect::<PathBuf>())
    }

    /// Returns at most three names of the store that a person who typed `name` may have meant, the likeliest first: the
    /// same name in another case, other tags of the same model, names that differ in one or two letters, and names that
    /// start with `name`. Returns none if the store cannot be listed.
    #[must_use]
    pub fn near(&self, name: &ModelName) -> Vec<ModelName> {
        let asked = name.to_string().to_ascii_lowercase();
        let rank = |other: &ModelName| {
            let text = other.to_string().to_ascii_lowercase();
            if text == asked {
                return Some(0);
            }
            let is_same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
            let beside = is_same(other.namespace(), name.namespace()) && is_same(other.host(), name.host());
            let models = (name.model().to_ascii_lowercase(), other.model().to_ascii_lowercase());
            let is_tag = beside && distance(&models.0, &models.1) <= usize::from(models.0.len() >= 5);
            // One wrong letter in a short name gives another valid name. The implied tag must not make a name count as
            // longer.
            let written = asked.strip_suffix(":latest").unwrap_or(&asked);
            let allowed = if written.len() < 8 { 1 } else { 2 };
            let distance = distance(&asked, &text);
            let is_longer = written.len() >= 3 && text.starts_with(written);
            if distance <= allowed {
                Some(distance)
            } else if is_tag {
                Some(3)
            } else {
                is_longer.then_some(4)
            }
        };
        let names = self.names().unwrap_or_default();
        let mut near: Vec<_> = names.into_iter().filter_map(|other| Some((rank(&other)?, other))).collect();
        near.sort_unstable();
        near.into_iter().map(|(_, name)| name).take(3).collect()
    }
}

/// Returns the least number of letters to insert, remove, replace, or swap with the next one, that turns `a` into `b`.
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
