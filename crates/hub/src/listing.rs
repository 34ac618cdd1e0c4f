//! Which files a repository has at a commit. What a hub lists may come from anybody.

use std::collections::{HashMap, HashSet};

use longshore_manifest::{Digest, RelativePath};
use longshore_transfer::{Call, TransferError, encode};
use serde::Deserialize;

use crate::{Hub, HubError, HubReference};

/// Most files of a repository.
const MAX_FILES: usize = 20_000;
/// Longest file, in bytes. All files together stay below what a number of 64 bits holds.
pub(crate) const MAX_SIZE: u64 = 1 << 48;
/// Most pages of a list.
const MAX_PAGES: usize = 100;
/// Longest page, in bytes.
const MAX_PAGE: u64 = 64 << 20;

/// The files of a repository at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The repository.
    pub repository: String,
    /// The commit, 40 hexadecimal digits or more. Every request for a file names it.
    pub commit: String,
    /// The files, in byte order of their paths.
    pub files: Vec<Listed>,
}

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its path.
    pub path: RelativePath,
    /// Its length in bytes.
    pub size: u64,
    /// The digest of its bytes.
    pub digest: FileDigest,
}

/// The digest that a hub lists for a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileDigest {
    /// SHA-256, for a file that is kept outside Git.
    Sha256(Digest),
    /// Git's name: SHA-1. It finds damage, not malice.
    Git(String),
}

#[derive(Deserialize)]
struct Revision {
    sha: String,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    oid: String,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

impl Hub {
    /// Pins the revision to a commit, and lists the files of that.
    ///
    /// # Errors
    ///
    /// [`HubError::NotFound`], [`HubError::Revision`], [`HubError::Gated`] as the hub says; [`HubError::Listing`] if a path could leave a
    /// directory, or cannot lie beside the others on every platform; [`HubError::Transfer`].
    pub fn listing(&self, reference: &HubReference, stop: &(dyn Fn() -> bool + Sync)) -> Result<Listing, HubError> {
        let shown = reference.to_string();
        let fail = |problem: String| HubError::Listing { reference: shown.clone(), problem };
        let repository = reference.repository();
        let read = |url: &longshore_transfer::Url| {
            self.client.read(&Call::get(url), MAX_PAGE, stop).map_err(|error| HubError::of(error, &shown))
        };
        let url = self.url(&format!("api/models/{repository}/revision/{}", encode(reference.revision(), false)))?;
        let (_, body) = read(&url)?;
        let Revision { sha: commit } = serde_json::from_slice(&body)
            .map_err(|error| fail(format!("the answer about the revision is not valid: {error}")))?;
        if !is_hex(&commit) || !(40..=64).contains(&commit.len()) {
            return Err(fail("the hub names no commit".into()));
        }
        let mut url = self.url(&format!("api/models/{repository}/tree/{commit}"))?.with_query("recursive", "true");
        let mut files = Vec::new();
        for page in 0.. {
            if page == MAX_PAGES {
                return Err(fail(format!("it has more than {MAX_PAGES} pages")));
            }
            let (answer, body) = read(&url)?;
            let entries: Vec<Entry> =
                serde_json::from_slice(&body).map_err(|error| fail(format!("a page of it is not valid: {error}")))?;
            for entry in entries.into_iter().filter(|entry| entry.kind == "file") {
                files.push(listed(entry).map_err(&fail)?);
            }
            if files.len() > MAX_FILES {
                return Err(fail(format!("it has more than {MAX_FILES} files")));
            }
            let Some(next) = answer.headers.all("Link").find_map(next_link) else { break };
            let next = answer.url.join(&next).map_err(TransferError::from)?;
            if next.origin() != url.origin() {
                return Err(fail("its next page is on another host".into()));
            }
            url = next;
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        check(&files).map_err(fail)?;
        Ok(Listing { repository: repository.to_owned(), commit, files })
    }
}

fn listed(entry: Entry) -> Result<Listed, String> {
    let path = RelativePath::parse(&entry.path).map_err(|error| error.to_string())?;
    let (size, digest) = match entry.lfs {
        Some(lfs) => {
            let digest = format!("sha256:{}", lfs.oid).parse().map_err(|_| format!("{path} has no SHA-256"))?;
            (lfs.size, FileDigest::Sha256(digest))
        }
        None if is_hex(&entry.oid) && entry.oid.len() == 40 => (entry.size, FileDigest::Git(entry.oid)),
        None => return Err(format!("{path} has no digest")),
    };
    if size > MAX_SIZE {
        return Err(format!("{path} has {size} bytes, expected at most {MAX_SIZE}"));
    }
    Ok(Listed { path, size, digest })
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Checks that all files can lie in one directory of any platform.
fn check(files: &[Listed]) -> Result<(), String> {
    let mut seen: HashMap<String, &str> = HashMap::new();
    for file in files {
        if let Some(other) = seen.insert(file.path.as_str().to_lowercase(), file.path.as_str()) {
            return Err(format!("{other:?} and {:?} are one file where case does not count", file.path.as_str()));
        }
    }
    let folded: HashSet<&String> = seen.keys().collect();
    let mut spelt: HashMap<String, &str> = HashMap::new();
    for file in files {
        for (at, _) in file.path.as_str().match_indices('/') {
            let directory = &file.path.as_str()[..at];
            let lower = directory.to_lowercase();
            if folded.contains(&lower) {
                return Err(format!("{:?} lies below a file", file.path.as_str()));
            }
            if spelt.insert(lower, directory).is_some_and(|other| other != directory) {
                return Err(format!("the directory {directory:?} has another spelling too"));
            }
        }
    }
    Ok(())
}

/// The address of the next page in a `Link`.
fn next_link(link: &str) -> Option<String> {
    link.split(',').find_map(|part| {
        let (address, rest) = part.trim().strip_prefix('<')?.split_once('>')?;
        rest.replace('\'', "\"").contains("rel=\"next\"").then(|| address.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> Listed {
        let path = RelativePath::parse(path).expect("it is one");
        Listed { path, size: 0, digest: FileDigest::Git(String::new()) }
    }

    #[test]
    fn files_that_would_be_one_are_refused() {
        for bad in [&["a.json", "A.json"][..], &["x", "x/y"], &["X/y", "x/z"], &["a/b", "a/B/c"]] {
            let files: Vec<Listed> = bad.iter().map(|path| file(path)).collect();
            assert!(check(&files).is_err(), "{bad:?}");
        }
        assert!(check(&[file("a/b"), file("a/c"), file("ab")]).is_ok());
    }

    #[test]
    fn paths_that_leave_are_refused() {
        for bad in ["../x", "/x", "a\\b", "CON", "a/../b", "", "a//b", "nul.txt", "a/.", "C:/x"] {
            let entry = Entry { kind: "file".into(), path: bad.into(), size: 1, oid: "0".repeat(40), lfs: None };
            assert!(listed(entry).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_have_a_bound() {
        let of = |size| Entry { kind: "file".into(), path: "x".into(), size, oid: "0".repeat(40), lfs: None };
        assert!(listed(of(MAX_SIZE)).is_ok());
        assert!(listed(of(MAX_SIZE + 1)).is_err() && listed(of(u64::MAX)).is_err());
        let lfs = |size| Entry { lfs: Some(Lfs { oid: "0".repeat(64), size }), ..of(1) };
        assert!(listed(lfs(1)).is_ok() && listed(lfs(u64::MAX)).is_err());
    }

    #[test]
    fn the_next_page_is_found() {
        assert_eq!(next_link("<http://h/x?cursor=1>; rel=\"next\"").as_deref(), Some("http://h/x?cursor=1"));
        assert_eq!(next_link("<a>; rel=\"prev\", <b>; rel='next'").as_deref(), Some("b"));
        for none in ["", "<a>; rel=\"prev\"", "a; rel=\"next\"", "<a"] {
            assert_eq!(next_link(none), None, "{none}");
        }
    }
}
