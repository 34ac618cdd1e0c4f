//! Patterns that stand for many modules.

use super::path::WRAPPERS;
#[cfg(feature = "patterns")]
pub(super) use super::regex::Patterns;
#[cfg(not(feature = "patterns"))]
pub(super) use without::Patterns;

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

/// A build without the feature `patterns`, which reads no pattern.
#[cfg(not(feature = "patterns"))]
mod without {
    use super::super::error::ModuleError;

    /// No patterns.
    #[derive(Debug)]
    pub(in super::super) struct Patterns(());

    impl Patterns {
        pub(in super::super) fn new(patterns: &[&str]) -> Result<Self, ModuleError> {
            match patterns.first() {
                None => Ok(Self(())),
                Some(pattern) => Err(ModuleError::Pattern {
                    pattern: (*pattern).to_owned(),
                    problem: "the feature `patterns` of longshore-model is off in this build".to_owned(),
                }),
            }
        }

        #[expect(clippy::unused_self, reason = "the signature is that of compiled patterns")]
        pub(in super::super) fn matching(&self, _: &str) -> Vec<usize> {
            Vec::new()
        }
    }
}

#[cfg(all(test, not(feature = "patterns")))]
mod tests {
    use super::super::{NamedModules, error::ModuleError};
    use crate::ModelConfig;

    #[test]
    fn names_are_matched_and_a_pattern_is_an_error_that_names_the_feature() {
        let of = |text: &str| {
            ModelConfig::parse(text.as_bytes()).expect("it is an object").quantization.expect("it is there")
        };
        let said = of(r#"{"quantization": {"bits": 4, "group_size": 64, "a.b": {"bits": 8, "group_size": 64}}}"#);
        let named = NamedModules::new(&said, ["model.a.b", "model.c"]).expect("there is no pattern");
        assert_eq!(named.of("model.a.b").and_then(|coding| coding.bits), Some(8));
        let said =
            of(r#"{"quantization_config": {"quant_method": "gptq", "bits": 4, "dynamic": {"+:.*b": {"bits": 8}}}}"#);
        let error = NamedModules::new(&said, ["a.b"]).expect_err("it is a pattern");
        assert!(matches!(&error, ModuleError::Pattern { problem, .. } if problem.contains("`patterns`")), "{error}");
    }
}
