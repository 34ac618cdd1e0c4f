//! The places that the symbolic links of a source may lead to.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use longshore_manifest::Digest;

/// The directories in which the files of a source may lie: its own, and `blobs` of the hub cache that it is a snapshot
/// of.
#[derive(Debug)]
pub(crate) struct Links {
    root: PathBuf,
    blobs: Option<PathBuf>,
    follow: bool,
}

/// The place that a symbolic link leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A file that may be read, with its SHA-256 if its name in a hub cache is that.
    Inside(Option<Digest>),
    /// A file outside the source.
    Outside(PathBuf),
}

impl Links {
    /// The links of the source in the directory `root`. With `follow`, they may lead anywhere.
    pub(crate) fn of(root: &Path, follow: bool) -> io::Result<Self> {
        let root = fs::canonicalize(root)?;
        // Of a link in place of `blobs`, no target lies in the path that is compared with.
        let snapshots =
            root.ancestors().skip(1).find(|above| above.file_name().is_some_and(|name| name == "snapshots"));
        let blobs = snapshots.and_then(Path::parent).map(|cache| cache.join("blobs"));
        Ok(Self { root, blobs, follow })
    }

    /// The place that `link` leads to, after following every link on the way.
    pub(crate) fn place(&self, link: &Path) -> io::Result<Place> {
        let target = fs::canonicalize(link)?;
        if self.blobs.is_some() && target.parent() == self.blobs.as_deref() {
            let name = target.file_name().unwrap_or_default().to_string_lossy();
            // A file that the hub keeps outside Git has its SHA-256 as name, any other the shorter digest of Git.
            return Ok(Place::Inside(format!("sha256:{name}").parse().ok()));
        }
        if self.follow || target.starts_with(&self.root) {
            return Ok(Place::Inside(None));
        }
        Ok(Place::Outside(target))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// The place that a link with this target has in `snapshots/1` of a hub cache.
    fn place(dir: &Path, target: &str) -> Place {
        let link = dir.join("cache/snapshots/1/link");
        let _ = fs::remove_file(&link);
        symlink(target, &link).expect("the directory is ours");
        let links = Links::of(&dir.join("cache/snapshots/1"), false).expect("it is there");
        let found = links.place(&link).expect("it leads somewhere");
        let all = Links::of(&dir.join("cache/snapshots/1"), true).expect("it is there");
        assert!(matches!(all.place(&link), Ok(Place::Inside(_))));
        found
    }

    #[test]
    fn links_stay_in_the_source_or_in_the_blobs_of_its_hub_cache() {
        let dir = tempfile::tempdir().expect("the system has room for temporary files");
        let dir = fs::canonicalize(dir.path()).expect("it is there");
        let hex = "0123456789abcdef".repeat(4);
        for below in ["cache/blobs", "cache/snapshots/1/a", "cache/snapshots/2", "other/blobs"] {
            fs::create_dir_all(dir.join(below)).expect("the directory is ours");
        }
        let sha1 = &hex[..40];
        for file in [
            format!("cache/blobs/{hex}"),
            format!("cache/blobs/{sha1}"),
            "cache/snapshots/1/a/file".into(),
            "cache/snapshots/2/file".into(),
            format!("other/blobs/{hex}"),
            "secret".into(),
        ] {
            fs::write(dir.join(file), "x").expect("the directory is ours");
        }
        symlink(dir.join("secret"), dir.join("cache/blobs/passed-on")).expect("the directory is ours");
        let digest: Digest = format!("sha256:{hex}").parse().expect("it is one");
        assert_eq!(place(&dir, &format!("../../blobs/{hex}")), Place::Inside(Some(digest)));
        assert_eq!(place(&dir, &format!("../../blobs/{sha1}")), Place::Inside(None));
        assert_eq!(place(&dir, "a/file"), Place::Inside(None));
        for (target, at) in [
            ("../../../secret", "secret"),
            ("../../blobs/passed-on", "secret"),
            ("../2/file", "cache/snapshots/2/file"),
            (&format!("../../../other/blobs/{hex}"), &format!("other/blobs/{hex}")),
        ] {
            assert_eq!(place(&dir, target), Place::Outside(dir.join(at)), "{target}");
        }

        // A link in place of `blobs` makes no hub cache of what it leads to.
        fs::rename(dir.join("cache/blobs"), dir.join("moved")).expect("the directory is ours");
        symlink(dir.join("other/blobs"), dir.join("cache/blobs")).expect("the directory is ours");
        let outside = Place::Outside(dir.join(format!("other/blobs/{hex}")));
        assert_eq!(place(&dir, &format!("../../blobs/{hex}")), outside);
    }
}
