//! Compiled patterns.

use regex_automata::{
    Anchored, Input, MatchKind, PatternSet,
    meta::{Config, Regex},
    util::syntax,
};

use super::error::ModuleError;

/// The most patterns that are read. Published configurations have a few dozen.
const MAX_PATTERNS: usize = 1024;
/// The most memory that the compiled patterns may take, in bytes.
const MAX_COMPILED: usize = 1 << 20;

/// Regular expressions that have to match from the beginning of a module's path, as Python's `re.match` does.
#[derive(Debug)]
pub(super) struct Patterns {
    regex: Option<Regex>,
    len: usize,
}

impl Patterns {
    /// Compiles `patterns`.
    pub(super) fn new(patterns: &[&str]) -> Result<Self, ModuleError> {
        let len = patterns.len();
        if len == 0 {
            return Ok(Self { regex: None, len });
        }
        if len > MAX_PATTERNS {
            return Err(ModuleError::TooMany { found: len, limit: MAX_PATTERNS });
        }
        let config = Config::new().match_kind(MatchKind::All).nfa_size_limit(Some(MAX_COMPILED)).utf8_empty(false);
        // Paths are ASCII in practice, and tables of Unicode's classes take megabytes.
        let syntax = syntax::Config::new().unicode(false).utf8(false).nest_limit(64);
        let regex = Regex::builder().configure(config).syntax(syntax).build_many(patterns);
        let regex = regex.map_err(|error| {
            let at = error.pattern().map_or(0, |pattern| pattern.as_usize());
            let problem = match error.syntax_error() {
                Some(_) => "it is no regular expression, or looks around".to_owned(),
                None => error.to_string(),
            };
            ModuleError::Pattern { pattern: patterns[at].to_owned(), problem }
        })?;
        Ok(Self { regex: Some(regex), len })
    }

    /// Returns the indices of the patterns that match `module`, in ascending order.
    pub(super) fn matching(&self, module: &str) -> Vec<usize> {
        let Some(regex) = &self.regex else { return Vec::new() };
        let mut found = PatternSet::new(self.len);
        regex.which_overlapping_matches(&Input::new(module).anchored(Anchored::Yes), &mut found);
        found.iter().map(|pattern| pattern.as_usize()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::patterns::of_glob, *};

    #[test]
    fn patterns_match_from_the_beginning() {
        let patterns = Patterns::new(&[".*down_proj", "layers", r"model\.layers\.\d+\.mlp", ".*o_proj$", "x{0}"])
            .expect("they are regular expressions");
        assert_eq!(patterns.matching("model.layers.12.mlp.down_proj.child"), [0, 2, 4]);
        assert_eq!(patterns.matching("layers.1.o_proj"), [1, 3, 4]);
        assert_eq!(Patterns::new(&[]).expect("there is none").matching("x"), [0; 0]);
    }

    #[test]
    fn patterns_that_are_none() {
        for bad in ["(", "(?!x)", "a{1000}{1000}", "[b-a]"] {
            let error = Patterns::new(&["fine", bad]).expect_err("it should be refused");
            assert!(matches!(&error, ModuleError::Pattern { .. }), "{bad}: {error}");
        }
        assert!(matches!(Patterns::new(&vec!["a"; 1025]), Err(ModuleError::TooMany { found: 1025, .. })));
    }

    #[test]
    fn globs() {
        let matches = |glob: &str, path: &str| {
            !Patterns::new(&[&of_glob(glob)]).expect("it is a pattern").matching(path).is_empty()
        };
        assert!(matches("*.mlp.gate", "model.layers.0.mlp.gate"));
        assert!(!matches("*.mlp.gate", "model.layers.0.mlp.gate_proj"));
        assert!(matches("lm_head*", "lm_head") && matches("a?c", "abc") && !matches("a.c", "abc"));
        assert!(matches("[(+", "[(+"));
    }
}
