//! Model names: `[host[:port]/][namespace/]model[:tag]`.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize, de};

use crate::path::not_on_windows;

/// Host of a name that gives none.
const DEFAULT_HOST: &str = "registry.ollama.ai";
/// Namespace of a name that gives none.
const DEFAULT_NAMESPACE: &str = "library";
/// Tag of a name that gives none.
const DEFAULT_TAG: &str = "latest";

/// Longest host with its port, in bytes. Common file systems allow no longer file names.
const MAX_HOST: usize = 255;
/// Longest other part of a name, in bytes.
const MAX_PART: usize = 80;

/// Checked name of a model: `[host[:port]/][namespace/]model[:tag]`.
///
/// Each part is the name of a directory or a file. A host with its port has 1 to 255 characters, and every other part 1
/// to 80. A part starts with an ASCII letter, a digit or `_` and continues with these, `-` and (except in a namespace)
/// `.`. A host may end in `:` and a port. No part can be `.` or `..`, so a path made from a name stays inside the
/// store. No part can be a name that Windows cannot hold: one that it keeps for a device (`con`, `nul.4b`), or one that
/// ends with a dot.
///
/// Names keep their case, and names that differ only in case are different. A store holds at most one of such names,
/// because both would be one file on a file system that ignores case: see
/// [`Store::check_spelling`](crate::Store::check_spelling).
///
/// ```
/// use longshore_manifest::ModelName;
///
/// let name: ModelName = "qwen3:4b".parse()?;
/// assert_eq!((name.model(), name.tag()), ("qwen3", "4b"));
/// assert_eq!(name.to_string(), "qwen3:4b");
/// assert_eq!("localhost:5000/me/m".parse::<ModelName>()?.host(), "localhost:5000");
/// assert!("../../etc/passwd".parse::<ModelName>().is_err());
/// # Ok::<(), longshore_manifest::NameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelName {
    host: String,
    namespace: String,
    model: String,
    tag: String,
}

/// A text that is not a [`ModelName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid model name {name:?}: {problem}")]
#[non_exhaustive]
pub struct NameError {
    /// The text, cut to its first 200 characters.
    pub name: String,
    /// Rule that the text breaks.
    pub problem: NameProblem,
}

/// Rule that a name breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameProblem {
    /// The name has more parts than `host/namespace/model:tag`.
    #[error("it has {found} parts between slashes, expected at most 3 (host/namespace/model)")]
    TooManyParts {
        /// Number of parts between slashes.
        found: usize,
    },
    /// A part is empty.
    #[error("the {part} is empty")]
    Empty {
        /// Name of the part: `host`, `namespace`, `model` or `tag`.
        part: &'static str,
    },
    /// A part is too long.
    #[error("the {part} has {found} characters, expected at most {limit}")]
    TooLong {
        /// Name of the part.
        part: &'static str,
        /// Length of the part in bytes.
        found: usize,
        /// Largest allowed length in bytes.
        limit: usize,
    },
    /// A part has a character that is not allowed at its position.
    #[error(
        "the {part} has {found:?} at position {position}; letters, digits, `_`, `-` and `.` are allowed, and a part starts with a letter, a digit or `_`"
    )]
    Character {
        /// Name of the part.
        part: &'static str,
        /// Character that is not allowed.
        found: char,
        /// Position of the character in the part, in characters from 1.
        position: usize,
    },
    /// A part cannot be the name of a file or directory on Windows.
    #[error("the {part} is no name of a file on Windows: {problem}")]
    Windows {
        /// Name of the part.
        part: &'static str,
        /// Rule of Windows that the part breaks.
        problem: &'static str,
    },
    /// The text after the `:` of a host is not a port.
    #[error("the host's port {found:?} is not a number from 1 to 65535")]
    Port {
        /// The text after the colon.
        found: String,
    },
}

impl ModelName {
    /// Returns the host, with its port if it has one.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the namespace, `library` if none was given.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Returns the model.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Returns the tag, `latest` if none was given.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Returns the path of the manifest below the store's `manifests` directory: `host/namespace/model/tag`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        [&self.host, &self.namespace, &self.model, &self.tag].iter().collect()
    }

    /// Makes the name whose manifest has the path of these four parts, or returns `None` if a part is not valid.
    ///
    /// Parts that Windows cannot hold are accepted here, unlike in a text that is parsed: a store may have a manifest of
    /// such a name from another program, and its blobs must not count as unused.
    #[must_use]
    pub fn from_parts(host: &str, namespace: &str, model: &str, tag: &str) -> Option<Self> {
        let name = Self { host: host.into(), namespace: namespace.into(), model: model.into(), tag: tag.into() };
        name.check().is_ok().then_some(name)
    }

    fn check(&self) -> Result<(), NameProblem> {
        check_host(&self.host)?;
        check_part("namespace", &self.namespace, MAX_PART, false)?;
        check_part("model", &self.model, MAX_PART, true)?;
        check_part("tag", &self.tag, MAX_PART, true)
    }

    fn check_windows(&self) -> Result<(), NameProblem> {
        let host = self.host.split(':').next().unwrap_or_default();
        let parts = [("host", host), ("namespace", &self.namespace), ("model", &self.model), ("tag", &self.tag)];
        let problem = parts.into_iter().find_map(|(part, text)| Some((part, not_on_windows(text)?)));
        problem.map_or(Ok(()), |(part, problem)| Err(NameProblem::Windows { part, problem }))
    }
}

impl FromStr for ModelName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        split(text)
            .and_then(|name| name.check().and_then(|()| name.check_windows()).map(|()| name))
            .map_err(|problem| NameError { name: text.chars().take(200).collect(), problem })
    }
}

/// Splits a name into unchecked parts. A `:` starts a tag only after the last `/`.
fn split(text: &str) -> Result<ModelName, NameProblem> {
    let model_at = text.rfind('/').map_or(0, |slash| slash + 1);
    let (path, tag) = match text[model_at..].find(':') {
        Some(colon) => (&text[..model_at + colon], &text[model_at + colon + 1..]),
        None => (text, DEFAULT_TAG),
    };
    let parts: Vec<&str> = path.split('/').collect();
    let (host, namespace, model) = match parts[..] {
        [model] => (DEFAULT_HOST, DEFAULT_NAMESPACE, model),
        [namespace, model] => (DEFAULT_HOST, namespace, model),
        [host, namespace, model] => (host, namespace, model),
        _ => return Err(NameProblem::TooManyParts { found: parts.len() }),
    };
    Ok(ModelName { host: host.into(), namespace: namespace.into(), model: model.into(), tag: tag.into() })
}

fn check_host(host: &str) -> Result<(), NameProblem> {
    let (name, port) = match host.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    if host.len() > MAX_HOST {
        return Err(NameProblem::TooLong { part: "host", found: host.len(), limit: MAX_HOST });
    }
    check_part("host", name, MAX_HOST, true)?;
    match port {
        Some(port) if !is_port(port) => Err(NameProblem::Port { found: port.into() }),
        _ => Ok(()),
    }
}

/// Whether `text` is a port: 1 to 65535 in digits without a leading zero, so that a port has only one spelling.
fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0') && text.parse::<u16>().is_ok()
}

fn check_part(part: &'static str, text: &str, limit: usize, dots: bool) -> Result<(), NameProblem> {
    if text.is_empty() {
        return Err(NameProblem::Empty { part });
    }
    if text.len() > limit {
        return Err(NameProblem::TooLong { part, found: text.len(), limit });
    }
    for (at, found) in text.chars().enumerate() {
        let word = found.is_ascii_alphanumeric() || found == '_';
        if !(word || at > 0 && (found == '-' || dots && found == '.')) {
            return Err(NameProblem::Character { part, found, position: at + 1 });
        }
    }
    Ok(())
}

/// Writes the shortest text that parses to the name. The tag is always included.
impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host != DEFAULT_HOST {
            write!(f, "{}/{}/", self.host, self.namespace)?;
        } else if self.namespace != DEFAULT_NAMESPACE {
            write!(f, "{}/", self.namespace)?;
        }
        write!(f, "{}:{}", self.model, self.tag)
    }
}

impl Serialize for ModelName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ModelName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}
