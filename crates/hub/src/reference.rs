//! Names of repositories: `[hf:]owner/repository[@revision]`.

use std::{fmt, str::FromStr};

use longshore_transfer::redacted;

/// A repository of a hub, and which state of it.
///
/// ```
/// use longshore_hub::HubReference;
///
/// let reference: HubReference = "hf:Qwen/Qwen3-4B@main".parse()?;
/// assert_eq!((reference.repository(), reference.revision()), ("Qwen/Qwen3-4B", "main"));
/// # Ok::<(), longshore_hub::HubReferenceError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubReference {
    repository: String,
    revision: String,
}

/// A text that is no [`HubReference`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reference:?} is not a reference to a hub's repository: {problem}")]
#[non_exhaustive]
pub struct HubReferenceError {
    /// The text without what may be a password, cut to its first 200 characters.
    pub reference: String,
    /// Rule that the text breaks.
    pub problem: &'static str,
}

impl HubReference {
    /// `owner/repository`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Branch, tag or commit; `main` if none was given.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The same repository at another revision.
    ///
    /// # Errors
    ///
    /// [`HubReferenceError`] if the text is no revision.
    pub fn at(&self, revision: &str) -> Result<Self, HubReferenceError> {
        format!("{}@{revision}", self.repository).parse()
    }
}

impl FromStr for HubReference {
    type Err = HubReferenceError;

    fn from_str(text: &str) -> Result<Self, HubReferenceError> {
        let rest = text.strip_prefix("hf:").unwrap_or(text);
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        // An address may hold a password.
        let shown = if rest.contains("://") { redacted(text) } else { text.to_owned() };
        let fail = |problem| HubReferenceError { reference: shown.chars().take(200).collect(), problem };
        let (repository, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        let parts: Vec<&str> = repository.split('/').collect();
        let [owner, name] = parts[..] else { return Err(fail("expected owner/repository")) };
        if !is_part(owner) || !is_part(name) {
            return Err(fail("owner and repository have letters, digits, `_`, `-` and `.`, and at most 96 of them"));
        }
        let is_revision = !revision.is_empty()
            && revision.len() <= 250
            && revision.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && is_word(part));
        if !is_revision {
            return Err(fail("a revision has letters, digits, `_`, `-`, `.` and `/`"));
        }
        Ok(Self { repository: repository.to_owned(), revision: revision.to_owned() })
    }
}

fn is_word(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

fn is_part(part: &str) -> bool {
    let first = part.bytes().next();
    first.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && part.len() <= 96
        && is_word(part)
        && !part.contains("..")
}

impl fmt::Display for HubReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hf:{}@{}", self.repository, self.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_repositories_are_references() {
        for good in ["hf:a/b", "a/b@v1.0", "hf://a/b", "hf:Qwen/Qwen3-30B-A3B@refs/pr/1", "_a/b.c"] {
            assert!(good.parse::<HubReference>().is_ok(), "{good}");
        }
        for bad in [
            "", "hf:", "a", "a/b/c", "../b", "a/..", "a/b@", "a/b@../x", "a/b@x y", "a/b?x", "a b/c", "a/b@x//y",
            "-/b/", "a/.b", "a/b@.x",
        ] {
            assert!(bad.parse::<HubReference>().is_err(), "{bad}");
        }
        for bad in ["hf:https://me:hunter2@hub.example/a/b", "hf://https://me:hun?ter2@h/a"] {
            let error = bad.parse::<HubReference>().expect_err("it is an address");
            assert!(!error.to_string().contains("ter2"), "{error}");
        }
    }
}
