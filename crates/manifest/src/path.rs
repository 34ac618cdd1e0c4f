//! Relative paths of companion files.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Path of a companion file below the model's directory, such as `config.json` or `1_Pooling/config.json`.
///
/// A relative path joined to a directory stays inside that directory on every platform. Segments are separated by `/`.
/// No segment is empty or consists only of dots and spaces, and none contains a backslash, a colon, a NUL or another
/// control character. No segment is a name that Windows keeps for a device (`nul`, `CON.json`), ends with a dot or a
/// space, or contains one of `<>"|?*`.
///
/// ```
/// use longshore_manifest::RelativePath;
///
/// assert_eq!(RelativePath::parse("1_Pooling/config.json")?.as_str(), "1_Pooling/config.json");
/// assert!(RelativePath::parse("../config.json").is_err());
/// # Ok::<(), longshore_manifest::PathError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelativePath(String);

/// A text that is not a [`RelativePath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} is not a relative file path: {problem}")]
#[non_exhaustive]
pub struct PathError {
    /// The text, cut to its first 200 characters.
    pub path: String,
    /// Rule that the text breaks.
    pub problem: &'static str,
}

/// Longest path, in bytes.
const MAX_PATH: usize = 1024;
/// Longest segment, in bytes. Common file systems allow no longer names.
const MAX_SEGMENT: usize = 255;

impl RelativePath {
    /// Checks `text` and wraps it.
    ///
    /// # Errors
    ///
    /// [`PathError`] with the rule that `text` breaks.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        match problem(text) {
            None => Ok(Self(text.to_owned())),
            Some(problem) => Err(PathError { path: text.chars().take(200).collect(), problem }),
        }
    }

    /// Returns the path as text, with `/` between its segments.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Iterates over the segments, outermost first.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

fn problem(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("it is empty");
    }
    if text.len() > MAX_PATH {
        return Some("it is longer than 1,024 bytes");
    }
    text.split('/').find_map(|segment| match segment {
        "" => Some("it has an empty segment"),
        // Windows removes dots and spaces at the end of a name, so `.. ` would become `..`.
        s if s.chars().all(|c| matches!(c, '.' | ' ')) => Some("it has a segment of dots and spaces only"),
        s if s.len() > MAX_SEGMENT => Some("a segment is longer than 255 bytes"),
        s if s.contains(['\\', ':']) => Some("it has a backslash or a colon"),
        s if s.chars().any(char::is_control) => Some("it has a control character"),
        s => not_on_windows(s),
    })
}

/// Names of devices on Windows, with whatever ending after a dot. `COM` and `LPT` go on with a digit.
const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];
const PORTS: [&str; 2] = ["COM", "LPT"];

/// Why Windows cannot hold a file or directory of this name; `None` where it can. Slashes, backslashes, colons and control
/// characters are not looked for.
pub(crate) fn not_on_windows(segment: &str) -> Option<&'static str> {
    let stem = segment.split('.').next().unwrap_or_default().trim_end_matches(' ').to_uppercase();
    let is_number = |text: &str| matches!(text, "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³");
    let is_port = PORTS.iter().filter_map(|port| stem.strip_prefix(port)).any(is_number);
    if is_port || DEVICES.contains(&stem.as_str()) {
        Some("Windows keeps a name in it for a device")
    } else if segment.ends_with(['.', ' ']) {
        Some("a name in it ends with a dot or a space, which Windows drops")
    } else if segment.contains(['<', '>', '"', '|', '?', '*']) {
        Some("it has one of < > \" | ? *, which Windows does not take in a name")
    } else {
        None
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for RelativePath {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        Self::parse(&text)
    }
}

impl From<RelativePath> for String {
    fn from(path: RelativePath) -> Self {
        path.0
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_checkpoints_hold() {
        for good in ["config.json", "1_Pooling/config.json", "a b.json", "LICENSE", "..json", "ünï.jinja"] {
            assert_eq!(RelativePath::parse(good).unwrap().as_str(), good);
        }
        for good in ["console.json", "CONFIG", "com.json", "COM10", "com0", "lpt", "null", "a/nul_", ".con", "x.nul"] {
            assert!(RelativePath::parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn refuses_what_windows_cannot_hold() {
        for (bad, words) in [
            ("CON", "device"),
            ("nul", "device"),
            ("Nul.txt", "device"),
            ("nul .tar.gz", "device"),
            ("a/aux/b", "device"),
            ("prn.", "device"),
            ("com1", "device"),
            ("LPT9.json", "device"),
            ("com².json", "device"),
            ("conin$", "device"),
            ("a.", "drops"),
            ("a /b", "drops"),
            ("a./b", "drops"),
            ("what?.json", "one of"),
            ("a|b", "one of"),
            ("<a>", "one of"),
            ("a\"b", "one of"),
            ("*.py", "one of"),
        ] {
            let error = RelativePath::parse(bad).unwrap_err();
            assert!(error.problem.contains(words), "{error}");
        }
    }

    #[test]
    fn refuses_what_could_leave_the_directory() {
        let long = "a".repeat(256);
        for bad in [
            "",
            "/etc/passwd",
            "..",
            "a/../b",
            "a//b",
            "a/",
            "./a",
            ".. /a",
            "...",
            " ",
            "C:x",
            "a\\b",
            "a\0b",
            "a\nb",
            &long,
        ] {
            assert!(RelativePath::parse(bad).is_err(), "{bad:?}");
        }
    }
}
