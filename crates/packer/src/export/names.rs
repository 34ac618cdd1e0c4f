//! Refusal of file names that occur more than once in an export.

use std::collections::HashSet;

use longshore_manifest::RelativePath;

use super::error::ExportError;

/// Refuses companion files that have the name of another companion file, of a file in `own`, or of a directory above
/// another file. `own` are the names of the files that the export itself writes.
pub(super) fn check<'n>(own: &[String], files: impl IntoIterator<Item = &'n RelativePath>) -> Result<(), ExportError> {
    let clash = |path: &str, problem: String| Err(ExportError::Clash { path: path.to_owned(), problem });
    let own: HashSet<&str> = own.iter().map(String::as_str).collect();
    let mut seen: HashSet<&str> = HashSet::new();
    let mut above: HashSet<&str> = own.iter().flat_map(|path| directories(path)).collect();
    let mut names = Vec::new();
    for path in files.into_iter().map(RelativePath::as_str) {
        if own.contains(path) {
            return clash(path, "the export writes a file of this name itself".to_owned());
        }
        if !seen.insert(path) {
            return clash(path, "the model has two files of this name".to_owned());
        }
        above.extend(directories(path));
        names.push(path);
    }
    for path in names {
        if let Some(file) = directories(path).find(|directory| own.contains(directory)) {
            return clash(path, format!("the export writes a file {file:?} itself, which cannot be a directory too"));
        }
        if above.contains(path) {
            return clash(path, "another file of the model lies below it, as if it were a directory".to_owned());
        }
    }
    Ok(())
}

/// The directories above a file, below the export's directory.
fn directories(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clash(files: &[&str]) -> Option<(String, String)> {
        let own = ["model.safetensors".to_owned(), "model.safetensors.index.json".to_owned()];
        let files: Vec<_> = files.iter().map(|file| RelativePath::parse(file).expect("tests use paths")).collect();
        match check(&own, &files) {
            Ok(()) => None,
            Err(ExportError::Clash { path, problem }) => Some((path, problem)),
            Err(error) => panic!("{error:?}"),
        }
    }

    #[test]
    fn names_that_differ_stand_side_by_side() {
        assert_eq!(clash(&[]), None);
        assert_eq!(clash(&["a", "a.json", "b/a", "b/c", "b/d/a", "b/model.safetensors"]), None);
    }

    #[test]
    fn names_that_clash() {
        for (files, path, words) in [
            (&["a", "b/c", "b/c"][..], "b/c", "two files"),
            (&["a/b/c", "a"], "a", "lies below it"),
            (&["a", "a/b/c"], "a", "lies below it"),
            (&["a/b", "a/b/c"], "a/b", "lies below it"),
            (&["model.safetensors"], "model.safetensors", "writes a file of this name"),
            (&["model.safetensors.index.json"], "model.safetensors.index.json", "writes a file of this name"),
            (&["model.safetensors/a.json"], "model.safetensors/a.json", "\"model.safetensors\""),
        ] {
            let (found, problem) = clash(files).unwrap_or_else(|| panic!("{files:?} clash"));
            assert_eq!(found, path, "{files:?}");
            assert!(problem.contains(words), "{files:?}: {problem}");
        }
    }
}
