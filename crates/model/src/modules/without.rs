//! A build without the feature `patterns`, which reads no pattern.

use super::error::ModuleError;

/// No patterns.
#[derive(Debug)]
pub(super) struct Patterns(());

impl Patterns {
    /// Refuses every pattern.
    pub(super) fn new(patterns: &[&str]) -> Result<Self, ModuleError> {
        match patterns.first() {
            None => Ok(Self(())),
            Some(pattern) => Err(ModuleError::Pattern {
                pattern: (*pattern).to_owned(),
                problem: "the feature `patterns` of longshore-model is off in this build".to_owned(),
            }),
        }
    }

    #[expect(clippy::unused_self, reason = "the signature is that of compiled patterns")]
    pub(super) fn matching(&self, _: &str) -> Vec<usize> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NamedModules, error::ModuleError};
    use crate::{ModelConfig, SourceQuantization};

    fn of(text: &str) -> SourceQuantization {
        ModelConfig::parse(text.as_bytes()).expect("it is an object").quantization.expect("it is there")
    }

    #[test]
    fn names_are_matched_and_a_pattern_is_an_error_that_names_the_feature() {
        let said = of(r#"{"quantization": {"bits": 4, "group_size": 64, "a.b": {"bits": 8, "group_size": 64}}}"#);
        let named = NamedModules::new(&said, ["model.a.b", "model.c"]).expect("there is no pattern");
        assert_eq!(named.of("model.a.b").and_then(|coding| coding.bits), Some(8));
        let said =
            of(r#"{"quantization_config": {"quant_method": "gptq", "bits": 4, "dynamic": {"+:.*b": {"bits": 8}}}}"#);
        let error = NamedModules::new(&said, ["a.b"]).expect_err("it is a pattern");
        assert!(matches!(&error, ModuleError::Pattern { problem, .. } if problem.contains("`patterns`")), "{error}");
    }
}
