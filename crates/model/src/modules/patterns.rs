//! Patterns that stand for many modules.

use super::path::WRAPPERS;
#[cfg(feature = "patterns")]
pub(super) use super::regex::Patterns;
#[cfg(not(feature = "patterns"))]
pub(super) use super::without::Patterns;

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
