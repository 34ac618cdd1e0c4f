//! Names of models in registries: `[oci:][http://]host[:port]/repository[:tag|@digest]`.

use std::{fmt, str::FromStr};

use longshore_manifest::Digest;
use longshore_transfer::{Url, redacted};

/// Name of a model in a registry.
///
/// `http://` has to be written out, except for this machine. Docker Hub's names get its host and `library/`.
///
/// ```
/// use longshore_registry::Reference;
///
/// let reference: Reference = "oci:ghcr.io/me/qwen3:int4".parse()?;
/// assert_eq!((reference.registry(), reference.repository()), ("ghcr.io", "me/qwen3"));
/// assert_eq!(reference.to_string(), "oci:ghcr.io/me/qwen3:int4");
/// # Ok::<(), longshore_registry::ReferenceError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    base: Url,
    registry: String,
    is_spelt_http: bool,
    repository: String,
    version: Version,
}

/// Which version of a model is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Version {
    /// What the tag points at now.
    Tag(String),
    /// This one, for ever.
    Digest(Digest),
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => write!(f, "{digest}"),
        }
    }
}

/// A text that is no [`Reference`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reference:?} is not a reference to a model in a registry: {problem}")]
#[non_exhaustive]
pub struct ReferenceError {
    /// The text without what may be a password, cut to its first 200 characters.
    pub reference: String,
    /// Rule that the text breaks.
    pub problem: String,
}

impl Reference {
    /// Host and port of the registry, as credentials are stored for it.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Path of the repository.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag or digest.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Address of the registry.
    #[must_use]
    pub fn base(&self) -> &Url {
        &self.base
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let shown = redacted(text);
        let fail = |problem: String| ReferenceError { reference: shown.chars().take(200).collect(), problem };
        if shown != text {
            let rule = "`@` stands before a digest, sha256:…, and nowhere else; `longshore login HOST` keeps user names and passwords";
            return Err(fail(rule.into()));
        }
        let rest = text.strip_prefix("oci:").unwrap_or(text);
        let (scheme, rest) = match rest.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => (Some(scheme), rest),
            Some(_) => return Err(fail("only http:// and https:// may be written before the host".into())),
            None => (None, rest),
        };
        let (host, path) = rest.split_once('/').ok_or_else(|| fail("expected host/repository".into()))?;
        let is_host = host == "localhost" || host.contains(['.', ':']);
        if !is_host {
            return Err(fail(format!(
                "{host:?} is no host: a registry is named first, such as ghcr.io or localhost:5000"
            )));
        }
        let (path, version) = if let Some((path, digest)) = path.split_once('@') {
            // A tag before a digest says nothing more.
            let path = path.rsplit_once(':').map_or(path, |(path, _)| path);
            (path, Version::Digest(digest.parse().map_err(|error| fail(format!("{error}")))?))
        } else {
            let (path, tag) = path.rsplit_once(':').unwrap_or((path, "latest"));
            (path, Version::Tag(tag.to_owned()))
        };
        if let Version::Tag(tag) = &version {
            let is_tag =
                |at: usize, byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || at > 0 && b".-".contains(&byte);
            if tag.is_empty() || tag.len() > 128 || !tag.bytes().enumerate().all(|(at, byte)| is_tag(at, byte)) {
                return Err(fail("a tag has 1 to 128 letters, digits, `_`, `.` and `-`".into()));
            }
        }
        let is_docker = matches!(host, "docker.io" | "index.docker.io");
        let repository = if is_docker && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
        if repository.len() > 255 || !repository.split('/').all(is_component) {
            let rule = "a repository's parts have lower-case letters and digits, separated by `.`, `_`, `__` or `-`";
            return Err(fail(rule.into()));
        }
        let server = if is_docker { "registry-1.docker.io" } else { host };
        let is_local: Url = format!("http://{server}").parse().map_err(|error| fail(format!("{error}")))?;
        let scheme = scheme.unwrap_or(if is_local.origin().is_loopback() { "http" } else { "https" });
        let base: Url = format!("{scheme}://{server}").parse().map_err(|error| fail(format!("{error}")))?;
        let is_spelt_http = scheme == "http" && !base.origin().is_loopback();
        Ok(Self { registry: server.to_ascii_lowercase(), base, is_spelt_http, repository, version })
    }
}

/// Whether a part of a repository's path is one: `[a-z0-9]+` joined by `.`, `_`, `__` or hyphens.
fn is_component(part: &str) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends = bytes.first().is_some_and(is_word) && bytes.last().is_some_and(is_word);
    let mut separators = bytes.split(is_word).filter(|run| !run.is_empty());
    ends && separators.all(|run| matches!(run, b"." | b"_" | b"__") || run.iter().all(|byte| *byte == b'-'))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.is_spelt_http, self.base.origin().is_loopback(), self.base.origin().scheme) {
            (true, ..) => "http://",
            (_, true, longshore_transfer::Scheme::Https) => "https://",
            _ => "",
        };
        let separator = if matches!(self.version, Version::Digest(_)) { '@' } else { ':' };
        write!(f, "oci:{scheme}{}/{}{separator}{}", self.registry, self.repository, self.version)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]
mod tests {
    use super::*;

    #[test]
    fn references_come_back() {
        let digest = Digest::of(b"");
        for (text, base, shown) in [
            ("oci:ghcr.io/a/b:int4", "https://ghcr.io/", "oci:ghcr.io/a/b:int4".to_owned()),
            ("localhost:5000/a", "http://localhost:5000/", "oci:localhost:5000/a:latest".to_owned()),
            (
                "oci:https://localhost:5000/a",
                "https://localhost:5000/",
                "oci:https://localhost:5000/a:latest".to_owned(),
            ),
            ("oci:http://r.corp:5000/a/b__c", "http://r.corp:5000/", "oci:http://r.corp:5000/a/b__c:latest".to_owned()),
            ("docker.io/x:1", "https://registry-1.docker.io/", "oci:registry-1.docker.io/library/x:1".to_owned()),
            (&format!("r.io/a:t@{digest}"), "https://r.io/", format!("oci:r.io/a@{digest}")),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!((reference.base().to_string().as_str(), reference.to_string()), (base, shown.clone()), "{text}");
            assert_eq!(shown.parse::<Reference>().unwrap(), reference, "{text}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        for bad in [
            "oci:https://me:hunter2@ghcr.io/a/b",
            "oci:https://me:hunter2@x@ghcr.io/a/b",
            "oci:https://me:?hunter2@ghcr.io/a/b",
            "oci:https://me:/hunter2@ghcr.io/a/b",
            "oci:me:hunter2@ghcr.io/a",
            "me:/hunter2@ghcr.io/a:1@sha256:12",
        ] {
            let error = bad.parse::<Reference>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in [
            "",
            "oci:",
            "qwen3",
            "me/qwen3",
            "oci:ghcr.io",
            "oci:ghcr.io/",
            "oci:ghcr.io/A",
            "oci:ghcr.io/a//b",
            "oci:ghcr.io/../b",
            "oci:ghcr.io/a:",
            "oci:ghcr.io/a:.t",
            "oci:ghcr.io/a:a b",
            "oci:ghcr.io/a@sha256:12",
            "oci:ftp://ghcr.io/a",
            "oci:u:p@ghcr.io/a",
            "oci:ghcr.io/a___b",
            "oci:ghcr.io/-a",
            "oci:ghcr.io:0/a",
            "oci:ghcr.io/a?b",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }
}
