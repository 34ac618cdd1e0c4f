//! Patterns that stand for many modules.

use super::path::WRAPPERS;
#[cfg(feature = "patterns")]
pub(super) use super::regex::Patterns;
#[cfg(not(feature = "patterns"))]
pub(super) use none::Patterns;

/// In place of patterns in a build that reads none.
#[cfg(not(feature = "patterns"))]
mod none {
    use super::super::error::ModuleError;

    #[derive(Debug)]
    pub(in crate::modules) struct Patterns;

    impl Patterns {
        /// Refuses the first of `patterns`.
        pub(in crate::modules) fn new(patterns: &[&str]) -> Result<Self, ModuleError> {
            match patterns.first() {
                None => Ok(Self),
                Some(pattern) => Err(ModuleError::NotBuilt { pattern: (*pattern).to_owned() }),
            }
        }

        #[expect(clippy::unused_self, reason = "it is a method of the patterns that are compiled")]
        pub(in crate::modules) fn matching(&self, _module: &str) -> Vec<usize> {
            Vec::new()
        }
    }
}

/// Returns the path `bare`, which has no wrappers, with those that writers of patterns may have seen before it.
pub(super) fn wrapped(bare: &str) -> impl Iterator<Item = String> {
    let [model, language, text] = WRAPPERS;
    let prefixes = [
        String::new(),
        format!("{model}."),
        format!("{language}."),
        format!("{text}."),
        format!("{model}.{language}."),
        format!("{language}.{model}."),
        format!("{model}.{text}."),
        format!("{text}.{model}."),
    ];
    prefixes.into_iter().map(move |prefix| prefix + bare)
}

/// Translates a pattern with `*` and `?`, which has to match a whole path, to a regular expression.
pub(super) fn of_glob(glob: &str) -> String {
    let mut regex = String::with_capacity(glob.len() + 8);
    for letter in glob.chars() {
        match letter {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            letter if letter.is_ascii_alphanumeric() || letter == '_' || !letter.is_ascii() => regex.push(letter),
            letter => {
                regex.push('\\');
                regex.push(letter);
            }
        }
    }
    regex.push_str(r"\z");
    regex
}
